"""``durable cancel``: a run is asked to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

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


@click.command("cancel")
@target_argument
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(run: str, reason: str, *, yes: bool, dry_run: bool) -> None:
    """Ask a run to stop.

    Its code gets a CancelledError and may clean up. The request is in the file when this returns;
    a worker passes it on, now or when one starts.
    """
    words = VERBS["cancel"]

    async def many(client: Client, query: str) -> Job:
        return await client.cancel_all(query, reason=reason)

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.cancel(reason)
        return handle

    if act_on_many(run, words, many, verb, yes=yes, dry_run=dry_run):
        return

    asked = ask(run, verb)
    asked.screen.line(f"{asked.name} is asked to stop")
    asked.say_status()
