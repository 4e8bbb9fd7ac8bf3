"""``durable cancel``: a run is asked to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable_cli._options import color_option, file_option, reason_option, run_argument
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Run

__all__ = ["command"]


@click.command("cancel")
@run_argument
@reason_option
@file_option
@color_option
def command(run: str, reason: str) -> None:
    """Ask a run to stop.

    Its code gets a CancelledError and may clean up. The request is in the file when this returns;
    a worker passes it on, now or when one starts.
    """

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.cancel(reason)
        return handle

    asked = ask(run, verb)
    asked.screen.line(f"{asked.name} is asked to stop")
    asked.say_status()
