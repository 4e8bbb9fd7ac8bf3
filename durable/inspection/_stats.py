"""Figures for people: how many runs, how often, how long, how large."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from durable._store import figures
from durable.errors import UsageError
from durable.inspection._texts import time_of

if TYPE_CHECKING:
    from durable._store.reader import Reader
    from durable.policies import Duration

__all__ = ["STATS_DAYS_MAX", "DurationView", "HourView", "StatsView", "stats_of"]

HOUR_US = 3_600_000_000
STATS_DAYS_MAX = 366
# More workflows or activities than that nobody reads; the busiest are kept.
NAMES_MAX = 1_000


@attrs.frozen(kw_only=True)
class HourView:
    """What happened in one hour.

    Attributes:
        hour: Its beginning, UTC.
        started: Runs made in it, restarts and retries of closed ones too.
        completed: Runs that completed in it.
        failed: Runs that failed in it.
    """

    hour: dt.datetime
    started: int
    completed: int
    failed: int


@attrs.frozen(kw_only=True)
class DurationView:
    """How long the runs of a workflow took, or the steps of an activity.

    Attributes:
        name: Of the workflow or the activity, as stored.
        ended: How many ended, however they did.
        completed: How many completed.
        failed: How many failed.
        p50_us: Half of them took at most so many microseconds: runs from when their code first ran,
            steps in the attempt that ended them. None if none of them ever ran.
        p95_us: Nineteen of twenty took at most so many.
    """

    name: str
    ended: int
    completed: int
    failed: int
    p50_us: int | None
    p95_us: int | None


@attrs.frozen(kw_only=True)
class StatsView:
    """Figures of a file.

    Attributes:
        since: The beginning of the time looked at, UTC.
        at: Its end: when this was asked, UTC.
        runs: All runs by shown status; statuses without a run are left out.
        hours: The hours since then, oldest first; the first may be cut by the beginning.
        by: What `durations` are of.
        durations: Of what ended since then; at most 1,000 names, the busiest first.
        file_bytes: Of the file.
        wal_bytes: Of the log beside it.
        free_bytes: Of the file's pages that are free.
        blob_bytes: Of payloads over 32 KiB, compressed.
        rows: How many ``runs``, ``events`` and ``blobs`` there are.
    """

    since: dt.datetime
    at: dt.datetime
    runs: Mapping[str, int]
    hours: Sequence[HourView]
    by: Literal["workflow", "activity"]
    durations: Sequence[DurationView]
    file_bytes: int
    wal_bytes: int
    free_bytes: int
    blob_bytes: int
    rows: Mapping[str, int]


def stats_of(
    reader: Reader,
    runs: Mapping[str, int],
    now_us: int,
    by: Literal["workflow", "activity"],
    since: Duration,
) -> StatsView:
    """Return the figures of a file; see `Viewer.stats`."""
    if by not in {"workflow", "activity"}:
        raise UsageError(f'by is "workflow" or "activity", not {by!r}')
    since_us = now_us - _window_us(since)
    found = figures.durations(reader, by, since_us, NAMES_MAX)
    sizes = figures.sizes(reader)
    return StatsView(
        since=time_of(since_us),
        at=time_of(now_us),
        runs=runs,
        hours=_hours(reader, since_us, now_us),
        by=by,
        durations=[DurationView(**attrs.asdict(one)) for one in found],
        file_bytes=sizes.file_bytes,
        wal_bytes=sizes.wal_bytes,
        free_bytes=sizes.free_bytes,
        blob_bytes=sizes.blob_bytes,
        rows={"runs": sizes.runs, "events": sizes.events, "blobs": sizes.blobs},
    )


def _window_us(since: Duration) -> int:
    from durable.policies import duration_us

    window_us = duration_us(since, "since")
    if not 0 < window_us <= STATS_DAYS_MAX * 24 * HOUR_US:
        raise UsageError(f"since is longer than 0 and at most {STATS_DAYS_MAX} days, not {since!r}")
    return window_us


def _hours(reader: Reader, since_us: int, now_us: int) -> Sequence[HourView]:
    started, completed, failed = Counter[int](), Counter[int](), Counter[int]()
    for created, closed, state, count in figures.by_hour(reader, since_us):
        if created is not None:
            started[created] += count
        if closed is not None and state == "completed":
            completed[closed] += count
        if closed is not None and state == "failed":
            failed[closed] += count
    return [
        HourView(
            hour=time_of(hour * HOUR_US), started=started[hour], completed=completed[hour],
            failed=failed[hour],
        )
        for hour in range(since_us // HOUR_US, now_us // HOUR_US + 1)
    ]  # fmt: skip
