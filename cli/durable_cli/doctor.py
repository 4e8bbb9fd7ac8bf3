"""``durable doctor``: is the file whole, served, and nothing in its way."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import durable
from durable_cli._options import color_option, file_option, json_option, settings
from durable_cli._output import Cell, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.inspection import CheckView

__all__ = ["UNWELL", "command", "looked_over"]

UNWELL = 1


def looked_over(path: str, *, quick: bool) -> Sequence[CheckView]:
    """Look a file over, as far as it goes."""
    from durable.inspection import CheckView

    try:
        with durable.view(path) as runs:
            return runs.doctor(quick=quick)
    except durable.FileCorrupt as error:  # Not even its tables are known.
        return [CheckView(name="integrity", is_well=False, text=str(error))]


def _show(*, quick: bool, as_json: bool) -> None:
    screen = settings().screen()
    found = looked_over(settings().path(), quick=quick)
    if as_json:
        screen.json(list(found))
    else:
        rows = [
            [Cell("well" if one.is_well else "WRONG"), Cell(one.name), Cell(clean(one.text))]
            for one in found
        ]
        if screen.is_terminal:
            screen.table(["", "", ""], rows, yielding=[2])
        else:
            screen.rows(rows)
    if not all(one.is_well for one in found):
        screen.flush()
        sys.exit(UNWELL)


@click.command(
    "doctor", epilog="Example: durable doctor --quick || mail -s durable ops@example.org"
)
@click.option(
    "--quick", is_flag=True, help="Compare no indexes with tables, nor payloads with checksums."
)
@json_option
@file_option
@color_option
def command(*, quick: bool, as_json: bool) -> None:
    """Look the file over: pages, rows, counts, log, disk, workers.

    It is read whole: a second for each quarter of a gigabyte. Exits with 1 if anything is wrong; a
    damaged file is looked at as far as it goes.
    """
    _show(quick=quick, as_json=as_json)
