"""``durable restart``: a run goes on from any place of its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

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


@click.command("restart")
@target_argument
@click.option(
    "--from",
    "place",
    metavar="PLACE",
    default="failed",
    show_default=True,
    help="start, failed, last, a step's id or name, or event:N.",
)
@click.option(
    "--input",
    "given",
    metavar="JSON",
    help='Other arguments: a list, or {"args": [...], "kwargs": {...}}; @FILE reads them.',
)
@click.option(
    "--step-output",
    "outputs",
    metavar="STEP=JSON",
    multiple=True,
    help="What a recorded step is to have returned; STEP=@FILE reads it. May be given again.",
)
@click.option(
    "--messages",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="Signals, updates and answers of after the place: said again, or not.",
)
@click.option(
    "--children",
    type=click.Choice(["keep", "again"]),
    help="Children of after the place: found as they are, or started again.",
)
@click.option(
    "--again",
    metavar="STEP",
    multiple=True,
    help="An at-most-once step, or a child that has begun one, to do again. Repeatable.",
)
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def command(
    run: str,
    place: str,
    given: str | None,
    outputs: tuple[str, ...],
    messages: str,
    children: str | None,
    again: tuple[str, ...],
    reason: str,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    """Do a run again from any place of its history, as RUN#2; RUN itself stays as it is.

    What was recorded before the place is kept, the rest is done by today's code. A run that is open
    is ended first.

    Example: durable restart order-8812 --from charge --step-output 'charge={"charged": true}'
    """
    replaced = dict(map(_output, outputs))
    edited = None if given is None else json_value(given)

    keeps: Literal["keep", "drop"] = "keep" if messages == "keep" else "drop"
    kept: Literal["keep", "again"] | None = None
    if children is not None:
        kept = "keep" if children == "keep" else "again"

    async def many(client: Client, query: str) -> Job:
        return await client.restart_all(
            query, place, input=edited, outputs=replaced, messages=keeps, children=kept,
            again=again, reason=reason,
        )  # fmt: skip

    async def verb(handle: Run[Any]) -> Run[Any]:
        return await handle.restart(
            place, input=edited, outputs=replaced, messages=keeps, children=kept, again=again,
            reason=reason,
        )  # fmt: skip

    if act_on_many(run, VERBS["restart"], many, verb, yes=yes, dry_run=dry_run):
        return

    asked = ask(run, verb)
    steps = len(asked.kept())
    noun = "step" if steps == 1 else "steps"
    asked.screen.line(
        f"{asked.name} begins from {clean(place)} of {clean(asked.before.id)}, with {steps:,} "
        f"recorded {noun}"
    )
    asked.say_status()


def _output(text: str) -> tuple[str, Any]:
    step, is_there, value = text.partition("=")
    if not step or not is_there:
        raise click.UsageError(f"--step-output takes STEP=JSON, not {clean(text)!r:.60}")
    return step, json_value(value)
