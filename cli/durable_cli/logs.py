"""``durable logs``: what a run's code said through Python's logging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import click

import durable
from durable.inspection import LIST_LIMIT_MAX, OPEN
from durable_cli._options import (
    color_option,
    file_option,
    find_run,
    json_option,
    run_argument,
    settings,
)
from durable_cli._output import clean, clean_lines, moment

if TYPE_CHECKING:
    from durable.inspection import LogView, Viewer
    from durable_cli._output import Screen

__all__ = ["command"]

_COLORS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@click.command("logs", epilog="Example: durable logs order-8812 --level WARNING --follow")
@run_argument
@click.option(
    "--level", default="0", metavar="LEVEL", help="The lowest that is shown, as in WARNING."
)
@click.option(
    "-n", "--lines", type=click.IntRange(1, LIST_LIMIT_MAX), default=1_000, show_default=True,
    help="The last so many.",
)  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@json_option
@file_option
@color_option
def command(run: str, level: str, lines: int, *, follow: bool, as_json: bool) -> None:
    """Show what a run's code has logged; with --json a line of JSON each.

    It is kept by the engine that serves the run: what its loggers let through, by default from INFO
    on, at most 10,000 lines of a run.
    """
    with durable.view(settings().path()) as runs:
        name = find_run(runs, run)
        screen = settings().screen()
        # Exactly this ordinal, also while it is followed.
        name = runs.get_row(name).name
        last = -1
        while True:
            mark = runs.mark()
            is_open = runs.summary_of(runs.get_row(name)).status in OPEN
            last = _write(screen, runs, name, last, level, lines, as_json=as_json)
            if not follow or not is_open:
                return
            screen.flush()
            runs.wait(mark, 1.0)


def _write(
    screen: Screen, runs: Viewer, name: str, last: int, level: str, limit: int, *, as_json: bool
) -> int:
    while True:
        found = runs.logs(name, after=last, level=level, limit=limit)
        for one in found:
            if as_json:
                screen.json(attrs.asdict(one), is_line=True)
            else:
                _line(screen, one)
        if not found:
            return max(last, 0)
        has_more = last >= 0 and len(found) == limit
        last = found[-1].n
        if not has_more:
            return last


def _line(screen: Screen, one: LogView) -> None:
    step = f" {clean(one.step)}" if one.step else ""
    attempt = f" (attempt {one.attempt})" if one.attempt > 1 else ""
    level = screen.style(one.level, _COLORS.get(one.level, "dim"))
    where = screen.style(f"{clean(one.logger)}{step}{attempt}", "dim")
    screen.line(f"{moment(one.at)} {level} {where} {clean_lines(one.text)}")
