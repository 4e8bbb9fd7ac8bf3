"""``durable terminate``: a run ends, and none of its code runs any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable.inspection import CLOSED
from durable_cli._options import color_option, file_option, reason_option, run_argument
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Run

__all__ = ["command"]


@click.command("terminate")
@run_argument
@reason_option
@file_option
@color_option
def command(run: str, reason: str) -> None:
    """End a run; none of its code runs any more, no clean-up either.

    A run in a worker's hands is closed by that worker.
    """

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.terminate(reason)
        return handle

    asked = ask(run, verb)
    if asked.after.status in CLOSED:
        asked.screen.line(f"{asked.name} is {asked.after.status}")
    else:
        asked.screen.line(f"{asked.name} is in a worker's hands, which will terminate it")
