"""``durable read``: what a run has published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import durable
from durable_cli._errors import NOT_FOUND, Failed
from durable_cli._options import (
    color_option,
    file_option,
    find_run,
    json_option,
    run_argument,
    settings,
)
from durable_cli._output import Cell, Screen, age, clean
from durable_cli._talk import decoded

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from durable.inspection import ValueView

__all__ = ["command"]

TITLES = ("NAME", "AGE", "VALUE")


@click.command("read", epilog="Example: durable read order-42 state")
@run_argument
@click.argument("name", required=False)
@json_option
@file_option
@color_option
def command(run: str, name: str | None, *, as_json: bool) -> None:
    """Show what a run has published: the value NAME as JSON, or all of them.

    No worker is needed, and a run that has ended keeps its values.
    """
    path, screen = settings().path(), settings().screen()
    with durable.view(path) as runs:
        run = find_run(runs, run)
        found = runs.values(run)
        now = runs.now()
    if name is not None:
        _one(screen, run, name, found, as_json=as_json)
    elif as_json:
        screen.json([_fields(one) for one in found])
    else:
        _all(screen, run, found, now)


def _one(screen: Screen, run: str, name: str, found: Sequence[ValueView], *, as_json: bool) -> None:
    value = next((one for one in found if one.name == name), None)
    if value is None:
        known = ", ".join(one.name for one in found) or "none"
        raise Failed(f"run {run} has not set the value {name!r}; it has: {known}", code=NOT_FOUND)
    screen.json(_fields(value) if as_json else decoded(value.value))


def _fields(one: ValueView) -> dict[str, object]:
    return {"name": one.name, "value": decoded(one.value), "at": one.at}


def _all(screen: Screen, run: str, found: Sequence[ValueView], now: dt.datetime) -> None:
    rows = [
        (Cell(clean(one.name), ("bold",)), Cell(age(now - one.at)), Cell(clean(one.value)))
        for one in found
    ]
    if not screen.is_terminal:
        screen.rows(rows)
    elif rows:
        screen.table(TITLES, rows, yielding=(0,))
    else:
        screen.line(f"run {clean(run)} has published nothing")
