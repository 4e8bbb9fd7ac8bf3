"""``durable resume``: a paused run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable_cli._options import color_option, file_option, reason_option, run_argument
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Run

__all__ = ["command"]


@click.command("resume")
@run_argument
@reason_option
@file_option
@color_option
def command(run: str, reason: str) -> None:
    """Let a paused run go on.

    Example: durable resume order-8812
    """

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.resume(reason)
        return handle

    asked = ask(run, verb)
    asked.screen.line(f"{asked.name} goes on")
    asked.say_status()
