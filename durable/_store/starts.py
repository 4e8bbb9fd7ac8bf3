"""Starting runs from outside, alone or together with a first message, as one transaction."""

from __future__ import annotations

from collections.abc import Callable

from durable._store.rows import RunRow
from durable._store.writer import Transaction

__all__ = ["start"]

Letter = Callable[[Transaction, int], object]
"""Sends a message to the run of this key, inside the same transaction."""


def start(
    values: tuple[object, ...],
    rows: list[tuple[str, tuple[object, ...]]],
    letter: Letter | None = None,
) -> Callable[[Transaction], tuple[int, bool, bool]]:
    """Return the operation that starts a run nobody holds yet, or finds the newest of its id.

    Args:
        values: Those of ``insert_run``.
        rows: What goes with it: the blob of large arguments.
        letter: A first message; to an open run of that id if there is one.

    Returns:
        The operation; its value is the run's key, whether it was started now, and whether it got
        the message: by the time anybody looks, the run may have ended because of it.
    """

    def operation(transaction: Transaction) -> tuple[int, bool, bool]:
        found = transaction.one("find_newest", id=values[0])
        if found is not None:
            run = RunRow(*found)
            is_told = letter is not None and run.is_open
            if letter is not None and is_told:
                letter(transaction, run.pk)
            return run.pk, False, is_told
        for name, row in rows:
            transaction.rows(name, [row])
        pk = transaction.insert_runs([values])[0][0]
        if letter is not None:
            letter(transaction, pk)
        return pk, True, letter is not None

    return operation
