"""``durable jobs``: acts on many runs, how far they are, and what they could not do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

import durable
from durable_cli._bulk import runs_text
from durable_cli._options import (
    color_option,
    file_option,
    json_option,
    outcome_option,
    reason_option,
    settings,
    watch_option,
)
from durable_cli._output import Cell, age, clean, moment
from durable_cli._talk import field
from durable_cli._watch import repeated

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from durable.inspection import JobView
    from durable_cli._output import Screen

__all__ = ["command"]

TITLES = ("JOB", "VERB", "STATE", "RUNS", "DONE", "REFUSED", "AGE", "WHO", "QUERY")


@click.group("jobs", invoke_without_command=True)
@watch_option
@json_option
@file_option
@color_option
@click.pass_context
def command(context: click.Context, watch: float | None, *, as_json: bool) -> None:
    """List acts on many runs, the newest first: what a retry, cancel or remove of a filter became.

    Example: durable jobs show 3
    """
    if context.invoked_subcommand is not None:
        return
    screen = settings().screen()
    with durable.view(settings().path()) as runs:

        def once() -> None:
            found, now = runs.jobs(), runs.now()
            if as_json:
                screen.json(found)
                return
            screen.listing(TITLES, [_row(one, screen, now) for one in found], yielding=(7,))

        repeated(screen, runs, once, watch)


@command.command("show")
@click.argument("job", type=click.IntRange(min=1))
@json_option
@file_option
@color_option
def show(job: int, *, as_json: bool) -> None:
    """Show one: how far it is, and the runs for which it was refused.

    Example: durable jobs show 3
    """
    screen = settings().screen()
    with durable.view(settings().path()) as runs:
        found, now = runs.job(job), runs.now()
    if as_json:
        screen.json(found)
        return
    state = screen.status(found.state)
    screen.line(
        f"job {found.id}  {screen.style(found.verb, 'bold')}  "
        f"{screen.style(state.text, *state.styles)}"
    )
    screen.line()
    field(screen, "query", clean(found.query))
    field(screen, "asked", f"{moment(found.created)} ({age(now - found.created)} ago)")
    field(screen, "by", clean(f"{found.who}: {found.why}" if found.why else found.who))
    if found.ended is not None:
        field(screen, "ended", moment(found.ended))
    field(
        screen, "runs", f"{found.total:,} matched, {found.done:,} done, {found.refused:,} refused"
    )
    for name, why in found.refusals.items():
        field(screen, "not", f"{clean(name)}: {clean(why)}")


@command.command("stop")
@click.argument("job", type=click.IntRange(min=1))
@reason_option
@outcome_option
@file_option
@color_option
def stop(job: int, reason: str) -> None:
    """Leave what is left of a job undone.

    Example: durable jobs stop 3
    """
    path = settings().path()
    with durable.view(path) as runs:
        found = runs.job(job)
    asyncio.run(_stop(path, job, reason))
    settings().outcome({"job": job, "state": "stopped"})
    settings().words().line(
        f"job {job} is stopped; it was done to {found.done:,} of {runs_text(found.total)}"
    )


async def _stop(path: str, job: int, reason: str) -> None:
    client: durable.Client
    async with durable.Client(path) as client:
        await (await client.job(job)).stop(reason)


def _row(one: JobView, screen: Screen, now: dt.datetime) -> Sequence[Cell]:
    return (
        Cell(str(one.id), ("bold",)),
        Cell(one.verb),
        screen.status(one.state),
        Cell(f"{one.total:,}"),
        Cell(f"{one.done:,}"),
        Cell(f"{one.refused:,}"),
        Cell(age(now - one.created)),
        Cell(clean(one.who)),
        Cell(clean(one.query)),
    )
