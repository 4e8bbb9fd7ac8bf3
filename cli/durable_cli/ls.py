"""``durable ls``: the runs, newest first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import durable
from durable.inspection import LIST_LIMIT_MAX, SORTS, duration
from durable_cli._options import (
    color_option,
    file_option,
    json_option,
    settings,
    tell,
    watch_option,
)
from durable_cli._output import Cell, Screen, age, clean, moment
from durable_cli._watch import repeated

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    from durable.inspection import RunSummary, Viewer

__all__ = ["command"]

LIMIT = 100
USUAL = "status,workflow,run,age,took,why"


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
    help="The next page: runs behind the last one's key, which --json shows.",
)
@click.option(
    "--sort",
    metavar="FIELD",
    default="-created",
    help=f"{', '.join(SORTS)}: the smallest first; -took the largest. Newest first by default.",
)
@click.option(
    "--cols",
    metavar="NAMES",
    default=USUAL,
    help="The columns, with commas; there are also created, started, finished, wakes, cause, tags, "
    f"key. {USUAL} by default.",
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
    sort: str,
    cols: str,
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
    text, columns = " ".join(query), _columns(cols)
    path, screen = settings().path(), settings().screen()
    with durable.view(path) as runs:
        tell(runs)

        def once() -> None:
            if only_counts:
                _counts(screen, runs.count(text), as_json=as_json or as_lines)
                return
            found = runs.list(text, limit=limit, before=before, sort=sort)
            if as_json:
                screen.json(found)
            elif as_lines or ids:
                for one in found:
                    screen.line(clean(one.id)) if ids else screen.json(one, is_line=True)
            else:
                _table(screen, runs, found, columns, text, path)

        repeated(screen, runs, once, watch)


def _columns(text: str) -> Sequence[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in COLUMNS:
            raise click.UsageError(
                f"--cols takes {', '.join(COLUMNS)}, with commas, not {clean(name)!r:.60}"
            )
    return names


def _table(
    screen: Screen,
    runs: Viewer,
    found: Sequence[RunSummary],
    columns: Sequence[str],
    query: str,
    path: str,
) -> None:
    now = runs.now()
    rows = [[COLUMNS[name][1](one, screen, now) for name in columns] for one in found]
    if not screen.is_terminal:
        screen.rows(rows)
        return
    counts = runs.count(query)
    if rows:
        yielding = [place for place, name in enumerate(columns) if name in YIELDING]
        screen.table([COLUMNS[name][0] for name in columns], rows, yielding=yielding)
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


def _took(run: RunSummary, _: Screen, now: dt.datetime) -> Cell:
    if run.started is None:
        return Cell("")
    return Cell(duration(max(0.0, ((run.closed or now) - run.started).total_seconds())))


def _ago(at: dt.datetime | None, now: dt.datetime) -> Cell:
    return Cell("" if at is None else age(now - at))


def _ahead(at: dt.datetime | None, now: dt.datetime) -> Cell:
    if at is None:
        return Cell("")
    return Cell(f"in {age(at - now)}" if at > now else "now")


COLUMNS: Mapping[str, tuple[str, Callable[[RunSummary, Screen, dt.datetime], Cell]]] = {
    "status": ("STATUS", lambda run, screen, _: screen.status(run.status)),
    "workflow": ("WORKFLOW", lambda run, _, __: Cell(clean(run.workflow))),
    "run": ("RUN", lambda run, _, __: Cell(clean(run.id), ("bold",))),
    "age": ("AGE", lambda run, _, now: _ago(run.created, now)),
    "created": ("CREATED", lambda run, _, __: Cell(moment(run.created))),
    "started": ("STARTED", lambda run, _, now: _ago(run.started, now)),
    "finished": ("FINISHED", lambda run, _, now: _ago(run.closed, now)),
    "wakes": ("WAKES", lambda run, _, now: _ahead(run.wakes, now)),
    "took": ("TOOK", _took),
    "cause": ("CAUSE", lambda run, _, __: Cell(run.cause)),
    "tags": ("TAGS", lambda run, _, __: Cell(clean(" ".join(run.tags)))),
    "key": ("KEY", lambda run, _, __: Cell(str(run.key))),
    "why": ("WAITING FOR / ERROR", lambda run, _, __: Cell(clean(run.why))),
}
# Long ones give way where the line is too short.
YIELDING = frozenset({"workflow", "run", "tags"})


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
