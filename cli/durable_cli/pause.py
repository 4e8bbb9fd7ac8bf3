"""``durable pause``: a run does nothing more until it is resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable_cli._options import color_option, file_option, reason_option, run_argument
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Run

__all__ = ["command"]


@click.command("pause")
@run_argument
@reason_option
@file_option
@color_option
def command(run: str, reason: str) -> None:
    """Let a run do nothing more until it is resumed.

    Attempts that run now finish and are recorded; nothing new begins. Signals and answers are kept.

    Example: durable pause order-8812 --reason 'the bank is down'
    """

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.pause(reason)
        return handle

    asked = ask(run, verb)
    asked.screen.line(f"{asked.name} is asked to pause")
    asked.say_status()
