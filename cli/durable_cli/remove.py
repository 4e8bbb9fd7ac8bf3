"""``durable remove``: a run that has ended is deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

import durable
from durable.verbs import VERBS
from durable_cli._bulk import act_on_many, confirmed, runs_text
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
    from collections.abc import Awaitable, Callable

    from durable import Client, Run
    from durable.client import Job

__all__ = ["command"]


@click.command("remove")
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

    Example: durable remove order-8812#1 --yes
    """

    async def many(client: Client, query: str) -> Job:
        return await client.remove_all(query, children=children, reason=reason)

    async def verb(handle: Run[Any]) -> int:
        return await handle.remove(children=children, reason=reason)

    words = VERBS["remove"]
    if act_on_many(run, words, many, verb, yes=yes, dry_run=dry_run):
        return
    path, name, found = look(run)
    what = f"{clean(found.id)} ({clean(found.workflow)}, {clean(found.status)})"
    confirmed(f"delete {what}", yes=yes)
    removed = asyncio.run(_remove(path, name, verb))
    noun = "is" if removed == 1 else "are"
    settings().outcome({"deleted": removed})
    settings().words().line(f"{runs_text(removed)} {noun} deleted")


async def _remove(path: str, name: str, verb: Callable[[Run[Any]], Awaitable[int]]) -> int:
    client: durable.Client
    async with durable.Client(path) as client:
        return await verb(await client.get(name))
