"""Figures of a file: how much is in it, how often things happen, how long they take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from durable._store.reader import Reader

__all__ = ["Durations", "Sizes", "by_hour", "durations", "sizes"]


@attrs.frozen(kw_only=True)
class Sizes:
    """How much is in a file; bytes on the disk, the log apart."""

    file_bytes: int
    wal_bytes: int
    free_bytes: int
    blob_bytes: int
    runs: int
    events: int
    blobs: int


@attrs.define
class Durations:
    """How long the runs of a workflow took, or the steps of an activity, in microseconds."""

    name: str
    ended: int
    completed: int
    failed: int
    p50_us: int | None
    p95_us: int | None


def by_hour(reader: Reader, since_us: int) -> list[tuple[int | None, int | None, str, int]]:
    """Return (hour made, hour ended, state, how many) of the runs made or ended since a time."""
    return [
        (created, closed, state, count)
        for created, closed, state, count in reader._shown("count_by_hour", since_us=since_us)
    ]


def durations(
    reader: Reader, by: Literal["workflow", "activity"], since_us: int, limit: int
) -> list[Durations]:
    """Return how long things took that ended since a time; what happened most often first."""
    if by == "workflow":
        rows = reader._all("list_durations_of_workflows", since_us=since_us, limit=limit)
    else:
        rows = reader._all("list_durations_of_activities", since_us=since_us, limit=limit)
    return [Durations(name.decode("utf-8", "replace"), *others) for name, *others in rows]


def sizes(reader: Reader) -> Sizes:
    """Return how much is in the file."""
    runs, events, blobs, blob_bytes = reader._all("get_sizes")[0]
    connection, path = reader._connection, reader.path
    page_bytes: int = connection.pragma("page_size")
    return Sizes(
        file_bytes=Path(path).stat().st_size,
        wal_bytes=_bytes_of(Path(f"{path}-wal")),
        free_bytes=connection.pragma("freelist_count") * page_bytes,
        blob_bytes=blob_bytes,
        runs=runs,
        events=events,
        blobs=blobs,
    )


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # There is no log while nobody has the file open.
        return 0
