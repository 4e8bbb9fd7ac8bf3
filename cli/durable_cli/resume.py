"""``durable resume``: a paused run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable_cli._bulk import Words, act_on_many
from durable_cli._options import (
    bulk_options,
    color_option,
    file_option,
    reason_option,
    target_argument,
)
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Client, Run
    from durable.client import Job

__all__ = ["command"]


@click.command("resume")
@target_argument
@bulk_options
@reason_option
@file_option
@color_option
def command(run: str, reason: str, *, yes: bool, dry_run: bool) -> None:
    """Let a paused run go on.

    Example: durable resume order-8812
    """
    words = Words("resume", "goes on", "go on")

    async def many(client: Client, query: str) -> Job:
        return await client.resume_all(query, reason=reason)

    if act_on_many(run, words, many, yes=yes, dry_run=dry_run):
        return

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.resume(reason)
        return handle

    asked = ask(run, verb)
    asked.screen.line(f"{asked.name} goes on")
    asked.say_status()
