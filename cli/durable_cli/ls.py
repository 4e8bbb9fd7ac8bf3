"""``durable ls``: the runs, newest first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import durable
from durable.inspection import LIST_LIMIT_MAX, STATUSES, duration
from durable_cli._options import color_option, file_option, json_option, settings
from durable_cli._output import Cell, Screen, age, clean

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from durable.inspection import RunSummary

__all__ = ["command"]

LIMIT = 100
TITLES = ("STATUS", "WORKFLOW", "RUN", "AGE", "TOOK", "WAITING FOR / ERROR")


@click.command("ls")
@click.option(
    "--status",
    type=click.Choice(STATUSES),
    metavar="STATUS",
    help=f"Only runs with this status: {', '.join(STATUSES)}.",
)
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, LIST_LIMIT_MAX),
    default=LIMIT,
    help=f"At most so many; {LIMIT} by default.",
    metavar="N",
)
@json_option
@file_option
@color_option
def command(status: str | None, workflow: str | None, limit: int, *, as_json: bool) -> None:
    """List runs, newest first.

    On a terminal a table; into a pipe the same columns, tab-separated, without titles.
    """
    path, screen = settings().path(), settings().screen()
    with durable.view(path) as runs:
        found = runs.list(status=status, workflow=workflow, limit=limit)
        now = runs.now()
        counts = runs.count(workflow=workflow) if screen.is_terminal and not as_json else {}
    if as_json:
        screen.json(found)
        return
    rows = [_row(one, screen, now) for one in found]
    if not screen.is_terminal:
        screen.rows(rows)
        return
    if rows:
        screen.table(TITLES, rows, yielding=(1, 2))
        for line in _folded(_footer(len(rows), counts), screen.columns):
            screen.line(screen.style(line, "dim"))
    else:
        Screen(sys.stderr).line(_nothing(path, counts))


def _row(run: RunSummary, screen: Screen, now: dt.datetime) -> Sequence[Cell]:
    took = ""
    if run.started is not None:
        took = duration(max(0.0, ((run.closed or now) - run.started).total_seconds()))
    return (
        screen.status(run.status),
        Cell(clean(run.workflow)),
        Cell(clean(run.id), ("bold",)),
        Cell(age(now - run.created)),
        Cell(took),
        Cell(clean(run.why)),
    )


def _footer(shown: int, counts: Mapping[str, int]) -> str:
    every = sum(counts.values())
    noun = "run" if every == 1 else "runs"
    # Between the list and the count a run may have been added: then both are shown as they are.
    head = f"{every:,} {noun}" if shown == every else f"{shown:,} of {every:,} {noun}"
    return f"{head}: {_by_status(counts)}"


def _folded(text: str, columns: int) -> Sequence[str]:
    """Break at the commas between statuses; the line has no other comma with a blank after it."""
    first, *others = text.split(", ")
    lines = [first]
    for other in others:
        if len(lines[-1]) + len(other) + 3 <= columns:
            lines[-1] += f", {other}"
        else:
            lines[-1] += ","
            lines.append(f"  {other}")
    return lines


def _by_status(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {status}" for status, number in counts.items())


def _nothing(path: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return f"no runs in {clean(path)}"
    return f"no such run among {sum(counts.values()):,} in {clean(path)}: {_by_status(counts)}"
