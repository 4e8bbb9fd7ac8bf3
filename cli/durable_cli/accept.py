"""``durable accept``: a recorded result is taken although its arguments changed."""

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
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Client, Run
    from durable.client import Job

__all__ = ["command"]


@click.command("accept")
@target_argument
@click.argument("step")
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(run: str, step: str, reason: str, *, yes: bool, dry_run: bool) -> None:
    """Take the recorded result of STEP although the code now passes it other arguments.

    RUN is blocked for that reason; it goes on with the result as it was recorded.

    Example: durable accept order-8812 4
    """
    words = VERBS["accept"]

    async def many(client: Client, query: str) -> Job:
        return await client.accept_all(query, step, reason=reason)

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.accept(step, reason=reason)
        return handle

    if act_on_many(run, words, many, verb, yes=yes, dry_run=dry_run):
        return

    asked = ask(run, verb)
    asked.screen.line(f"{asked.name} takes the recorded result of step {clean(step)}")
    asked.say_status()
