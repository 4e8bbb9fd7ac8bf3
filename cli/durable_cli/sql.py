"""``durable sql``: one statement that reads."""

from __future__ import annotations

import csv
import io
import math
import sys
from typing import TYPE_CHECKING, Any

import click

import durable
from durable_cli._options import (
    color_option,
    file_option,
    json_option,
    settings,
    timeout_option,
)
from durable_cli._output import Cell, Screen, clean, clean_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.inspection import TableView

__all__ = ["command"]

LIMIT = 1_000
LIMIT_MAX = 1_000_000


@click.command("sql", epilog="Example: durable sql 'SELECT id, state FROM durable_runs' --csv")
@click.argument("text", metavar="SQL")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT,
    help=f"At most so many rows; {LIMIT} by default.",
    metavar="N",
)
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated, with a line of titles.")
@timeout_option("Give up after so long, 30s by default")
@json_option
@file_option
@color_option
def command(text: str, limit: int, limit_s: float | None, *, as_csv: bool, as_json: bool) -> None:
    """Ask the file in SQL: one statement that reads a view or a table.

    The views durable_runs, durable_steps and durable_events are documented.

    Whatever could do more than read is refused.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv or --json, not both")
    screen = settings().screen()
    with durable.view(settings().path()) as runs:
        found = runs.sql(text, limit=limit, timeout=limit_s)
    if as_json:
        names = _names(found.columns)
        screen.json([dict(zip(names, map(_plain, row), strict=True)) for row in found.rows])
    elif as_csv:
        _csv(screen, found)
    else:
        _table(screen, found)
    if found.has_more:
        screen.flush()
        Screen(sys.stderr).line(f"there are more than {limit:,} rows; --limit N shows more of them")


def _names(columns: Sequence[str]) -> Sequence[str]:
    """Return the columns' names, made different."""
    names: dict[str, None] = {}
    for column in columns:
        name, number = column, 0
        while name in names:
            number += 1
            name = f"{column}:{number}"
        names[name] = None
    return [*names]


def _plain(value: Any) -> Any:
    """Return a value that JSON has, too."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _text(value: Any) -> str:
    return "" if value is None else str(_plain(value))


def _csv(screen: Screen, found: TableView) -> None:
    for row in (found.columns, *found.rows):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([clean_lines(_text(one)) for one in row])
        screen.line(line.getvalue())


def _table(screen: Screen, found: TableView) -> None:
    rows = [[Cell(clean(_text(one))) for one in row] for row in found.rows]
    if not screen.is_terminal:
        screen.rows(rows)
    elif found.columns:
        titles = [clean(one) for one in found.columns]
        screen.table(titles, rows, yielding=range(len(titles) - 1))
