"""Whether a file is whole: its pages, its rows, what it counts, and what is beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from durable._store.asking import ask
from durable._store.wholeness import MISSING
from durable.run_name import RunName

if TYPE_CHECKING:
    from durable._store.reader import Reader

__all__ = ["faults", "journal_mode", "miscounted_blobs", "once_missing", "tampered"]

# Rows that no version of the library writes.
_TAMPERED = (
    "list_runs_of_unknown_workers", "list_gaps", "list_wrong_json", "list_circles",
)  # fmt: skip


def faults(path: str, limit: int, *, is_quick: bool) -> list[str]:
    """Return what is wrong with a file's pages, at most so many; none if every page reads.

    Args:
        path: The file.
        limit: At most so many.
        is_quick: Not whether indexes and their tables agree: a quarter of the time.
    """
    check = "PRAGMA quick_check" if is_quick else "PRAGMA integrity_check"
    found = [str(row[0]) for row in ask(path, check, limit).rows]
    return [] if found == ["ok"] else found


def journal_mode(path: str) -> str:
    """Return how the file is written: ``wal``, if an engine has had it."""
    return str(ask(path, "PRAGMA journal_mode", 1).rows[0][0])


def tampered(reader: Reader, now_us: int, limit: int) -> Sequence[str]:
    """Return runs with rows that this library does not write, each with what is odd."""
    rows = [row for name in _TAMPERED for row in reader.all(name, limit=limit)]
    rows += reader.all("list_times_to_come", limit=limit, now_us=now_us)
    return [f"{RunName(run, ordinal)} {what}" for run, ordinal, what in rows]


def miscounted_blobs(reader: Reader, limit: int) -> Sequence[int]:
    """Return large payloads that are named by more or fewer rows than they count."""
    return [one for (one,) in reader.all("list_miscounted_blobs", limit=limit)]


def once_missing(reader: Reader, limit: int) -> Sequence[tuple[str, int]]:
    """Return what the file was once found to lack, newest first, and when that was found."""
    return [
        (why, at_us) for why, at_us in reader.all("list_audit_of_file", verb=MISSING, limit=limit)
    ]
