"""``durable terminate``: a run ends, and none of its code runs any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable.inspection import CLOSED
from durable.verbs import VERBS
from durable_cli._bulk import act_on_many
from durable_cli._options import (
    bulk_options,
    color_option,
    file_option,
    outcome_option,
    reason_option,
    target_argument,
)
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Client, Run
    from durable.client import Job

__all__ = ["command"]


@click.command("terminate")
@target_argument
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(run: str, reason: str, *, yes: bool, dry_run: bool) -> None:
    """End a run; none of its code runs any more, no clean-up either.

    A run in a worker's hands is closed by that worker.
    """
    words = VERBS["terminate"]

    async def many(client: Client, query: str) -> Job:
        return await client.terminate_all(query, reason=reason)

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.terminate(reason)
        return handle

    if act_on_many(run, words, many, verb, yes=yes, dry_run=dry_run):
        return

    asked = ask(run, verb)
    if asked.after.status in CLOSED:
        asked.screen.line(f"{asked.name} is {asked.after.status}")
    else:
        asked.screen.line(f"{asked.name} is in a worker's hands, which will terminate it")
