"""Starting runs from outside, alone or together with a first message, as one transaction."""

from __future__ import annotations

from collections.abc import Callable

from durable._store.rows import NewRun, RunRow
from durable._store.statements import Rows
from durable._store.writer import Transaction
from durable.errors import RunClosed

__all__ = ["start"]

Letter = Callable[[Transaction, int], object]
"""Sends a message to the run of this key, inside the same transaction."""


def _hears(transaction: Transaction, pk: int, letter: Letter) -> bool:
    """Send a message to a run that is there; False if it is closed and never heard of it."""
    try:
        letter(transaction, pk)
    except RunClosed:
        return False
    return True


def start(
    run: NewRun,
    rows: Rows,
    letter: Letter | None = None,
) -> Callable[[Transaction], tuple[int, bool, bool]]:
    """Return the operation that starts a run nobody holds yet, or finds the newest of its id.

    Args:
        run: The run, if its id is free.
        rows: What goes with it: the blob of large arguments.
        letter: A first message; to an open run of that id if there is one.

    Returns:
        The operation; its value is the run's key, whether it was started now, and whether it got
        the message: by the time anybody looks, the run may have ended because of it.
    """

    def operation(transaction: Transaction) -> tuple[int, bool, bool]:
        found = transaction.one("find_newest", id=run.id)
        if found is not None:
            pk = RunRow(*found).pk
            return pk, False, letter is not None and _hears(transaction, pk, letter)
        for name, row in rows:
            transaction.rows(name, [row])
        pk = transaction.insert_run(run)
        if letter is not None:
            letter(transaction, pk)
        return pk, True, letter is not None

    return operation
