"""``durable stats``: how many runs, how often, how long, how large."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

import click

import durable
from durable.inspection import duration
from durable_cli._options import (
    color_option,
    file_option,
    json_option,
    seconds_of,
    settings,
    watch_option,
)
from durable_cli._output import Cell, clean, size
from durable_cli._talk import field
from durable_cli._watch import repeated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.inspection import DurationView, StatsView
    from durable_cli._output import Screen

__all__ = ["command"]

# A line of bars is at most so wide; of more hours several share a bar.
BARS_MAX = 48


@click.command("stats", epilog="Example: durable stats --by activity --since 7d")
@click.option(
    "--by",
    type=click.Choice(["workflow", "activity"]),
    default="workflow",
    show_default=True,
    help="Whose durations: runs by workflow, or steps by activity.",
)
@click.option(
    "--since",
    metavar="TIME",
    default="24h",
    show_default=True,
    help="What happened in the last so long, as in 24h or 7d; at most 366d.",
)
@watch_option
@json_option
@file_option
@color_option
def command(
    by: Literal["workflow", "activity"], since: str, watch: float | None, *, as_json: bool
) -> None:
    """Show how many runs there are, how often they start and end, how long they take.

    And how large the file is. Every run is looked at once: with a million of them that takes a few
    seconds.
    """
    window = dt.timedelta(seconds=seconds_of(since, "--since"))
    path, screen = settings().path(), settings().screen()
    with durable.view(path) as runs:

        def once() -> None:
            found = runs.stats(by=by, since=window)
            if as_json:
                screen.json(found)
            else:
                _write(screen, found, by, since)

        repeated(screen, runs, once, watch)


def _write(screen: Screen, found: StatsView, by: str, since: str) -> None:
    _write_counts(screen, found, since)
    _write_sizes(screen, found)
    if found.durations:
        screen.line()
        titles = (by.upper(), "ENDED", "COMPLETED", "FAILED", "P50", "P95")
        rows = [_row(one) for one in found.durations]
        screen.table(titles, rows, yielding=(0,), is_cut=screen.is_terminal)


def _write_counts(screen: Screen, found: StatsView, since: str) -> None:
    by_status = ", ".join(f"{count:,} {status}" for status, count in found.runs.items())
    total = found.rows["runs"]
    field(screen, "runs", f"{total:,}{f': {by_status}' if by_status else ''}")
    for name in ("started", "completed", "failed"):
        counts = [int(getattr(one, name)) for one in found.hours]
        bars = screen.bars(_folded(counts)) if screen.is_unicode else ""
        field(screen, name, f"{sum(counts):,} in {clean(since)}  {bars}".rstrip())


def _folded(counts: Sequence[int]) -> Sequence[int]:
    """Return sums of as many hours each as make the line short enough, the newest whole."""
    share = -(-len(counts) // BARS_MAX)
    first = len(counts) % share
    ends = range(first, len(counts) + 1, share)
    sums = [sum(counts[end - share : end]) for end in ends if end >= share]
    return [sum(counts[:first]), *sums] if first else sums


def _write_sizes(screen: Screen, found: StatsView) -> None:
    free = f", {size(found.free_bytes)} of it free" if found.free_bytes else ""
    field(screen, "file", f"{size(found.file_bytes)}{free}; log {size(found.wal_bytes)}")
    blobs = f"{found.rows['blobs']:,} large payloads ({size(found.blob_bytes)})"
    field(screen, "rows", f"{found.rows['runs']:,} runs, {found.rows['events']:,} events, {blobs}")


def _row(one: DurationView) -> Sequence[Cell]:
    return (
        Cell(clean(one.name), ("bold",)),
        Cell(f"{one.ended:,}"),
        Cell(f"{one.completed:,}"),
        Cell(f"{one.failed:,}"),
        Cell(_took(one.p50_us)),
        Cell(_took(one.p95_us)),
    )


def _took(took_us: int | None) -> str:
    return "" if took_us is None else duration(max(0, took_us) / 1e6)
