"""``durable ls``: the runs, newest first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import durable
from durable.inspection import LIST_LIMIT_MAX, duration
from durable_cli._options import color_option, file_option, json_option, settings, watch_option
from durable_cli._output import Cell, Screen, age, clean
from durable_cli._watch import repeated

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from durable.inspection import RunSummary, Viewer

__all__ = ["command"]

LIMIT = 100
TITLES = ("STATUS", "WORKFLOW", "RUN", "AGE", "TOOK", "WAITING FOR / ERROR")


@click.command("ls", epilog="Example: durable ls status:failed 'workflow:invoice.*' 'started:<2d'")
@click.argument("query", nargs=-1)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, LIST_LIMIT_MAX),
    default=LIMIT,
    help=f"At most so many; {LIMIT} by default.",
    metavar="N",
)
@click.option(
    "--before",
    type=click.IntRange(min=1),
    metavar="KEY",
    help="The next page: runs before the last one's key, which --json shows.",
)
@click.option("--count", "only_counts", is_flag=True, help="How many, by status, and no list.")
@click.option("--ids", is_flag=True, help="Only the ids, one a line.")
@click.option("--jsonl", "as_lines", is_flag=True, help="As JSON, a run a line.")
@watch_option
@json_option
@file_option
@color_option
def command(
    query: tuple[str, ...],
    limit: int,
    before: int | None,
    watch: float | None,
    *,
    only_counts: bool,
    ids: bool,
    as_lines: bool,
    as_json: bool,
) -> None:
    """List runs, newest first; all of them, or those a filter means.

    QUERY is a filter: field:value terms that must all hold (durable help query). Runs of which a
    newer ordinal exists are left out, unless it says superseded:any. On a terminal a table; into a
    pipe the same columns, tab-separated, without titles.
    """
    text = " ".join(query)
    path, screen = settings().path(), settings().screen()
    with durable.view(path) as runs:

        def once() -> None:
            if only_counts:
                _counts(screen, runs.count(text), as_json=as_json or as_lines)
                return
            found = runs.list(text, limit=limit, before=before)
            if as_json:
                screen.json(found)
            elif as_lines or ids:
                for one in found:
                    screen.line(clean(one.id)) if ids else screen.json(one, is_line=True)
            else:
                _table(screen, runs, found, text, path)

        repeated(screen, runs, once, watch)


def _table(
    screen: Screen, runs: Viewer, found: Sequence[RunSummary], query: str, path: str
) -> None:
    now = runs.now()
    rows = [_row(one, screen, now) for one in found]
    if not screen.is_terminal:
        screen.rows(rows)
        return
    counts = runs.count(query)
    if rows:
        screen.table(TITLES, rows, yielding=(1, 2))
        for line in _folded(_footer(len(rows), counts), screen.columns):
            screen.line(screen.style(line, "dim"))
    else:
        Screen(sys.stderr).line(_nothing(path, runs.count()))


def _counts(screen: Screen, counts: Mapping[str, int], *, as_json: bool) -> None:
    if as_json:
        screen.json(dict(counts))
        return
    rows = [(screen.status(status), Cell(str(number))) for status, number in counts.items()]
    screen.rows(rows)


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
