"""``durable prune``: what has ended is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from durable.verbs import VERBS
from durable_cli._bulk import act_on_many
from durable_cli._options import (
    bulk_options,
    color_option,
    file_option,
    outcome_option,
    reason_option,
    seconds_of,
)

if TYPE_CHECKING:
    from durable import Client
    from durable.client import Job

__all__ = ["command"]


@click.command("prune")
@click.argument("query", nargs=-1)
@click.option("--older-than", metavar="TIME", help="Only runs that ended so long ago: 30d, 12h.")
@click.option("--children", is_flag=True, help="The runs they started too, and theirs.")
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(
    query: tuple[str, ...],
    older_than: str | None,
    reason: str,
    *,
    children: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Delete runs that have ended: those a filter means, those that ended long ago, or both.

    Open runs are left alone whatever QUERY says. An engine does this by itself with
    Engine(retention=durable.Retention(completed="30d")).

    Example: durable prune status:completed --older-than 30d --yes
    """
    text = " ".join(query)
    if not text.strip() and older_than is None:
        raise click.UsageError(
            "say which runs: a filter, or --older-than 30d; all that has ended is status:closed"
        )

    async def many(client: Client, meant: str) -> Job:
        return await client.remove_all(meant, children=children, reason=reason)

    from durable.client import ended_before

    age = None if older_than is None else seconds_of(older_than, "--older-than")
    words = VERBS["remove"]
    act_on_many(ended_before(text, age), words, many, yes=yes, dry_run=dry_run)
