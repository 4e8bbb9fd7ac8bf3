"""``durable resume``: a paused run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable.verbs import VERBS
from durable_cli._bulk import act_on_many, act_on_whole
from durable_cli._options import (
    bulk_options,
    color_option,
    file_option,
    outcome_option,
    reason_option,
    whole_options,
)
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Client, Run
    from durable.client import Job

__all__ = ["command"]


@click.command("resume")
@whole_options
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(
    run: str, workflow: str | None, queue: str | None, reason: str, *, yes: bool, dry_run: bool
) -> None:
    """Let a paused run go on; or a workflow or queue, with the runs that were paused with it.

    Example: durable resume order-8812
    """
    whole = ("goes on", "going on")

    async def of_whole(client: Client, kind: str, named: str) -> Job:
        if kind == "workflow":
            return await client.resume_workflow(named, reason=reason)
        return await client.resume_queue(named, reason=reason)

    if act_on_whole(run, workflow, queue, whole, of_whole):
        return
    words = VERBS["resume"]

    async def many(client: Client, query: str) -> Job:
        return await client.resume_all(query, reason=reason)

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.resume(reason)
        return handle

    if act_on_many(run, words, many, verb, yes=yes, dry_run=dry_run):
        return

    asked = ask(run, verb)
    asked.screen.line(f"{asked.name} goes on")
    asked.say_status()
