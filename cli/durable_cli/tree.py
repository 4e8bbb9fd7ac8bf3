"""``durable tree``: a run's family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import durable
from durable.inspection import duration
from durable_cli._options import (
    color_option,
    file_option,
    find_run,
    json_option,
    run_argument,
    settings,
)
from durable_cli._output import clean

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from durable.inspection import FamilyView
    from durable_cli._output import Screen

__all__ = ["command"]

# How a line begins: of the last of some siblings or of another one, and below it.
_LINES = {True: ("└─ ", "   ", "├─ ", "│  "), False: ("`- ", "   ", "|- ", "|  ")}


@click.command("tree", epilog="Example: durable tree batch-7 --up")
@run_argument
@click.option("--up", is_flag=True, help="From the run on top of the family; RUN is marked.")
@click.option("--all", "every", is_flag=True, help="Every run: many like ones are not folded.")
@json_option
@file_option
@color_option
def command(run: str, *, up: bool, every: bool, as_json: bool) -> None:
    """Show the runs that RUN started, and those that they started, each with its status.

    At most 100 levels deep, and 100,000 runs.
    """
    path, screen = settings().path(), settings().screen()
    with durable.view(path) as runs:
        name = find_run(runs, run)
        asked = runs.get_row(name).name
        found = runs.family(name, from_root=up, is_folded=not every)
        now = runs.now()
    if as_json:
        screen.json(found)
        return
    for line in _lines(screen, found, asked if up else "", now):
        screen.line(line)


def _lines(screen: Screen, top: FamilyView, asked: str, now: dt.datetime) -> Iterator[str]:
    """Yield the lines of a tree, without recursion: it may be deep."""
    last_head, last_below, head, below = _LINES[screen.is_unicode]
    waiting: list[tuple[str, str, FamilyView | str]] = [("", "", top)]
    while waiting:
        first, rest, one = waiting.pop()
        room = screen.columns - len(first) if screen.is_terminal else None
        if isinstance(one, str):
            yield first + screen.style(one if room is None else screen.cut(one, room), "dim")
            continue
        yield first + _member(screen, one, asked, now, room)
        under: list[FamilyView | str] = [*one.children, *_left_out(screen, one)]
        for at, each in reversed(list(enumerate(under, 1))):
            is_last = at == len(under)
            lines = (last_head, last_below) if is_last else (head, below)
            waiting.append((rest + lines[0], rest + lines[1], each))


def _member(screen: Screen, one: FamilyView, asked: str, now: dt.datetime, room: int | None) -> str:
    status = screen.status(one.status)
    shape = status.text.partition(" ")[0] + " " if " " in status.text else ""
    took = ""
    if one.started is not None:
        took = f" {duration(max(0.0, ((one.closed or now) - one.started).total_seconds()))}"
    parts = [
        (shape, status.styles, ""),
        (clean(one.id), ("bold",), "  "),
        ("(this one)" if one.id == asked else "", ("yellow",), "  "),
        (clean(one.workflow), (), "  "),
        (f"{clean(one.status)}{took}", status.styles, "  "),
        (clean(one.why), status.styles, ""),
    ]
    shown = ""
    for text, styles, gap in parts:
        cut = text if room is None else screen.cut(text, max(0, room))
        if room is not None:
            room -= len(text) + len(gap)
        shown += screen.style(cut, *styles) + (gap if text else "")
    return shown.rstrip(" ")


def _left_out(screen: Screen, one: FamilyView) -> Iterator[str]:
    for workflow, counts in one.folded.items():
        told = ", ".join(f"{count:,} {clean(status)}" for status, count in counts.items())
        more = f"and {sum(counts.values()):,} more of {clean(workflow)}: {told}"
        yield f"{screen.ellipsis} {more}"
    if one.is_cut:
        yield f"{screen.ellipsis} and more, which is left out here: the tree is too large"
