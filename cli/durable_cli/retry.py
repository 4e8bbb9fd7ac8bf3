"""``durable retry``: a run goes on."""

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
from durable_cli._output import clean
from durable_cli._verbs import Asked, ask

if TYPE_CHECKING:
    from durable import Client, Run
    from durable.client import Job

__all__ = ["command"]


@click.command("retry")
@target_argument
@click.option(
    "--anyway",
    is_flag=True,
    help="Also if steps completed after the one that failed (clean-up, compensation).",
)
@click.option(
    "--again",
    metavar="STEP",
    multiple=True,
    help="An at-most-once step that may be done again. May be given again.",
)
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(
    run: str, reason: str, again: tuple[str, ...], *, anyway: bool, yes: bool, dry_run: bool
) -> None:
    """Let a run go on from where it failed.

    A failed, cancelled or terminated run goes on as a new one, RUN#2, with all that was recorded
    before the failure. A blocked, paused or retrying one goes on in place, now. Of a QUERY all that
    are failed, blocked or retrying do, unless it names a status; I-14 means the runs of that issue.
    """
    words = VERBS["retry"]

    async def many(client: Client, query: str) -> Job:
        return await client.retry_all(query, anyway=anyway, again=again, reason=reason)

    async def verb(handle: Run[Any]) -> Run[Any]:
        return await handle.retry(anyway=anyway, again=again, reason=reason)

    if act_on_many(run, words, many, verb, yes=yes, dry_run=dry_run):
        return

    asked = ask(run, verb)
    asked.screen.line(f"{asked.name} goes on{_from_where(asked)}")
    asked.say_status()


def _from_where(asked: Asked) -> str:
    before, after = asked.before, asked.after
    if after.id == before.id:
        return ""
    kept = asked.kept()
    failed = [step for step in before.steps if step not in kept and step.status == "failed"]
    noun = "step" if len(kept) == 1 else "steps"
    if failed:
        where = f"step {clean(failed[0].step)} ({clean(failed[0].name)}) of {clean(before.id)}"
    else:
        where = f"where {clean(before.id)} stopped"
    return f" from {where}, with {len(kept):,} recorded {noun}"
