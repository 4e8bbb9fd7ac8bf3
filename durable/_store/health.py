"""Whether a file is whole: its pages, its rows, what it counts, and what is beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from durable._store.asking import ask
from durable._store.statements import Statement
from durable._store.wholeness import MISSING
from durable.errors import PayloadError
from durable.payloads import decompress
from durable.run_name import RunName

if TYPE_CHECKING:
    from durable._store.reader import Reader

__all__ = [
    "damaged_payloads",
    "faults",
    "journal_mode",
    "miscounted_blobs",
    "once_missing",
    "tampered",
]

# Rows that no version of the library writes.
_TAMPERED: Final = (
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


def damaged_payloads(reader: Reader, limit: int) -> Sequence[str]:
    """Return payloads that are not what was written, at most so many: each is read and checked."""
    with reader.snapshot():
        return list(itertools.islice(_damaged_payloads(reader), limit))


def _damaged_payloads(reader: Reader) -> Iterator[str]:
    for pk, run_id, ordinal, *payloads in _walk(reader, "list_payloads_of_runs", 1_000):
        name = f"{run_id}#{ordinal}"
        yield from _damage(reader, f"the arguments of {name}", *payloads[:2])
        yield from _damage(reader, f"the result of {name}", *payloads[2:])
        for _, damage in reader.events_as_found(pk):
            if damage:
                yield f"{name}: {damage}"
        for value, payload, check in reader.all("list_payloads_of_values", run=pk):
            yield from _damage(reader, f"the value {value} of {name}", payload, check)
        for stream, position, payload, check in reader.all("list_payloads_of_items", run=pk):
            what = f"item {position} of the stream {stream} of {name}"
            yield from _damage(reader, what, payload, check)
    # Those of messages that wait have no checksum of their own; each carries one of zlib's.
    for number, size, data in _walk(reader, "list_blobs", 1):
        try:
            decompress(data, size)
        except PayloadError as error:
            yield f"large payload {number}: {error}"


def _walk(reader: Reader, statement: Statement, page: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a statement that begins after a key, which is its first column."""
    after = -(1 << 63)
    while rows := reader.all(statement, after=after, limit=page):
        yield from rows
        after = rows[-1][0]


def _damage(reader: Reader, what: str, stored: Any, check: int | None) -> Iterator[str]:
    try:
        reader.payload(stored, check)
    except PayloadError as error:
        yield f"{what}: {error}"
