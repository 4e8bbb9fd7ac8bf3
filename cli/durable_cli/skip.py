"""``durable skip``: a pending step ends by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable.verbs import VERBS
from durable_cli._bulk import act_on_many
from durable_cli._options import (
    bulk_options,
    color_option,
    file_option,
    json_value,
    outcome_option,
    reason_option,
    target_argument,
)
from durable_cli._output import clean
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Client, Run
    from durable.client import Job

__all__ = ["command"]


@click.command("skip")
@target_argument
@click.argument("step")
@click.option("--output", metavar="JSON", help="What the step is to have returned; @FILE reads it.")
@click.option("--error", metavar="TEXT", help="Let it fail instead, with this message.")
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(
    run: str,
    step: str,
    output: str | None,
    error: str | None,
    reason: str,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    """End a pending STEP, its id or its name, by hand: with a result or an error of yours.

    Whatever becomes of its attempts does not count. An output that does not fit the step's type is
    kept as a dead letter (durable show), and the step stays pending.

    Example: durable skip order-8812 4 --output '{"charged": true}'
    """
    if (output is None) == (error is None):
        raise click.UsageError("say how the step ends: --output JSON or --error TEXT")
    value = None if output is None else json_value(output)

    words = VERBS["skip"]

    async def many(client: Client, query: str) -> Job:
        if error is None:
            return await client.skip_all(query, step, value, reason=reason)
        return await client.fail_all(query, step, error, reason=reason)

    async def verb(handle: Run[Any]) -> Run[Any]:
        if error is None:
            await handle.skip(step, value, reason=reason)
        else:
            await handle.fail(step, error, reason=reason)
        return handle

    if act_on_many(run, words, many, verb, yes=yes, dry_run=dry_run):
        return

    asked = ask(run, verb)
    how = "with your output" if error is None else "as failed"
    asked.screen.line(f"step {clean(step)} of {asked.name} is to end {how}")
    asked.say_status()
