"""``durable rm``: a run that has ended is deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

import durable
from durable_cli._bulk import Words, act_on_many, confirmed, runs_text
from durable_cli._options import (
    bulk_options,
    color_option,
    file_option,
    outcome_option,
    reason_option,
    settings,
    target_argument,
)
from durable_cli._output import clean
from durable_cli._verbs import look

if TYPE_CHECKING:
    from durable import Client
    from durable.client import Job

__all__ = ["command"]


@click.command("rm")
@target_argument
@click.option("--children", is_flag=True, help="The runs it started too, and theirs.")
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(run: str, reason: str, *, children: bool, yes: bool, dry_run: bool) -> None:
    """Delete a run that has ended, with its history and its payloads.

    RUN means one run: an id its newest, id#1 the first. What was done to runs stays in the audit.

    Example: durable rm order-8812#1 --yes
    """

    async def many(client: Client, query: str) -> Job:
        return await client.remove_all(query, children=children, reason=reason)

    if act_on_many(run, Words("rm", "is deleted", "are deleted"), many, yes=yes, dry_run=dry_run):
        return
    path, name, found = look(run)
    what = f"{clean(found.id)} ({clean(found.workflow)}, {clean(found.status)})"
    confirmed(f"delete {what}", yes=yes)
    removed = asyncio.run(_remove(path, name, reason, children=children))
    verb = "is" if removed == 1 else "are"
    settings().outcome({"deleted": removed})
    settings().words().line(f"{runs_text(removed)} {verb} deleted")


async def _remove(path: str, name: str, reason: str, *, children: bool) -> int:
    client: durable.Client
    async with durable.Client(path) as client:
        return await (await client.get(name)).remove(children=children, reason=reason)
