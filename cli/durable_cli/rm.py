"""``durable rm``: a run that has ended is deleted."""

from __future__ import annotations

import asyncio
import sys

import click

import durable
from durable_cli._options import color_option, file_option, reason_option, run_argument, settings
from durable_cli._output import clean
from durable_cli._verbs import look

__all__ = ["command"]


@click.command("rm")
@run_argument
@click.option("--children", is_flag=True, help="The runs it started too, and theirs.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@reason_option
@file_option
@color_option
def command(run: str, reason: str, *, children: bool, yes: bool) -> None:
    """Delete a run that has ended, with its history and its payloads.

    RUN means one run: an id its newest, id#1 the first. What was done to runs stays in the audit.

    Example: durable rm order-8812#1 --yes
    """
    path, name, found = look(run)
    what = f"{clean(found.id)} ({clean(found.workflow)}, {clean(found.status)})"
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"nobody is there to ask about deleting {what}; say --yes")
        click.confirm(f"delete {what}?", abort=True)
    removed = asyncio.run(_remove(path, name, reason, children=children))
    noun = "run is" if removed == 1 else "runs are"
    settings().screen().line(f"{removed:,} {noun} deleted")


async def _remove(path: str, name: str, reason: str, *, children: bool) -> int:
    client: durable.Client
    async with durable.Client(path) as client:
        return await (await client.get(name)).remove(children=children, reason=reason)
