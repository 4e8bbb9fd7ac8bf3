"""``durable edit``: a pending step gets another retry policy, or other timeouts."""

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

# No limit.
NONE = "none"


@click.command("edit", epilog="Example: durable edit order-8812 2 --max-attempts none")
@target_argument
@click.argument("step")
@click.option("--max-attempts", metavar="N", help="Attempts in all; none for no limit.")
@click.option("--initial-interval", metavar="TIME", help="The wait before the second attempt.")
@click.option("--backoff", type=float, metavar="FACTOR", help="From one wait to the next.")
@click.option("--max-interval", metavar="TIME", help="No wait is longer.")
@click.option(
    "--on-exhausted", type=click.Choice(["fail", "pause"]), help="What follows the last attempt."
)
@click.option("--start-to-close", metavar="TIME", help="Limit of an attempt; none for no limit.")
@click.option(
    "--schedule-to-close", metavar="TIME", help="Limit of all attempts; none for no limit."
)
@click.option("--heartbeat", metavar="TIME", help="Between signs of life; none for no limit.")
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(run: str, step: str, reason: str, *, yes: bool, dry_run: bool, **given: Any) -> None:
    """Change the retry policy or the timeouts of a pending step; what is left out stays.

    STEP is its id, as durable show has it. A wait for the next attempt gets shorter, never longer;
    limits of an attempt that runs are counted from its begin.
    """
    changes = {name: _meant(name, value) for name, value in given.items() if value is not None}

    words = VERBS["edit"]

    async def many(client: Client, query: str) -> Job:
        return await client.edit_all(query, step, reason=reason, **changes)

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.edit(step, reason=reason, **changes)
        return handle

    if act_on_many(run, words, many, verb, yes=yes, dry_run=dry_run):
        return

    asked = ask(run, verb)
    told = ", ".join(f"{name} {given[name]}" for name in changes)
    asked.screen.line(f"step {clean(step)} of {asked.name} has {clean(told)}")
    asked.say_status()


def _meant(name: str, value: Any) -> Any:
    if value == NONE:
        return None
    if name != "max_attempts":
        return value
    try:
        return int(value)
    except ValueError:
        raise click.UsageError(
            f"--max-attempts takes a whole number or none, not {clean(value)!r:.60}"
        ) from None
