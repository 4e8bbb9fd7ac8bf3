"""Runs whose time is over are deleted: a chunk a transaction, along the times when they ended.

A run that somebody still needs stays, and is looked at again on the next walk: one whose parent or
child is open, and one from which an open run goes on.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from durable._store import repairs
from durable._store.writer import Transaction

__all__ = ["Chunk", "expire"]

# Looked at, and deleted, in one transaction: some milliseconds of the only writer.
LOOKED_AT_MAX = 200
EVENTS_MAX = 2_000

AgeOf = Callable[[str, str, str | None], int | None]
"""Returns how long a run stays, given its state, workflow and labels; None: for ever."""


@attrs.frozen
class Chunk:
    """What one transaction did.

    Attributes:
        deleted: So many runs.
        after: Where the walk goes on: the time of an end, and the key of the run.
        is_over: Whether it has come to its end.
    """

    deleted: int
    after: tuple[int, int]
    is_over: bool


def expire(
    age_of: AgeOf, age_us: int, after: tuple[int, int], now_us: int
) -> Callable[[Transaction], Chunk]:
    """Return the operation that deletes the next runs of one age.

    Args:
        age_of: How long a run stays.
        age_us: Only runs that stay so long: each age is a walk of its own.
        after: Where the walk has come to.
        now_us: This moment.
    """

    def operation(transaction: Transaction) -> Chunk:
        rows = transaction.all(
            "list_ended", at_us=after[0], pk=after[1], until_us=now_us - age_us, limit=LOOKED_AT_MAX
        )
        here, deleted, events = after, 0, 0
        for closed_us, pk, state, workflow, labels in rows:
            if events > EVENTS_MAX:
                return Chunk(_noted(transaction, deleted, now_us), here, is_over=False)
            here = (closed_us, pk)
            if age_of(state, workflow, labels) != age_us or transaction.all("is_needed", pk=pk):
                continue
            events += transaction.all("find_last_seq", run=pk)[0][0]
            repairs.delete(transaction, pk)
            deleted += 1
        is_over = len(rows) < LOOKED_AT_MAX
        return Chunk(_noted(transaction, deleted, now_us), here, is_over=is_over)

    return operation


def _noted(transaction: Transaction, deleted: int, now_us: int) -> int:
    """Write down how many runs went, once for all of them."""
    if deleted:
        transaction.all("delete_free_blobs")
        row = (None, "expire", "retention", f"{deleted} runs", "{}", now_us)
        transaction.rows("insert_audit", [row])
        transaction.has_freed = True
    return deleted
