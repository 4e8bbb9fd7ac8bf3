"""What anybody may ask of a run, as operations of one transaction.

A run nobody holds in memory is changed here and now; one that a worker holds gets a row in its
inbox, which its owner turns into an event (law 3).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from durable._store.rows import LOST_ALONE, RunRow, continuation
from durable._store.stored_payloads import EncodedPayload
from durable._store.writer import Transaction
from durable.errors import RunClosed, RunNotFound
from durable.payloads import checksum, encode_document
from durable.run_name import RunName

__all__ = [
    "cancel",
    "end_children",
    "end_left_children",
    "find_named",
    "get",
    "get_open",
    "put",
    "terminate",
]


def get(transaction: Transaction, pk: int) -> RunRow:
    """Return a run.

    Raises:
        RunNotFound: It was deleted.
    """
    row = transaction.one("get_run", pk=pk)
    if row is None:
        raise RunNotFound("the run was deleted")
    return RunRow(*row)


def find_named(transaction: Transaction, name: str) -> RunRow:
    """Return the newest run of an id, or exactly the one that ``id#n`` names.

    Raises:
        RunNotFound: There is none.
    """
    run_id, ordinal = RunName.parse(name)
    if ordinal is not None:
        run = _find_ordinal(transaction, run_id, ordinal)
    else:
        newest = transaction.one("find_newest", id=run_id)
        run = None if newest is None else RunRow(*newest)
    if run is None:
        raise RunNotFound(f"no run {name!r} is in the file")
    return run


def _find_ordinal(transaction: Transaction, run_id: str, ordinal: int) -> RunRow | None:
    row = transaction.one("find_ordinal", id=run_id, ordinal=ordinal)
    return None if row is None else RunRow(*row)


def get_open(transaction: Transaction, pk: int, what: str) -> RunRow:
    """Return an open run, or the one that it continued as.

    Raises:
        RunClosed: It has ended.
    """
    run = get(transaction, pk)
    while (following := continuation(run, partial(_find_ordinal, transaction))) is not None:
        run = following
    if not run.is_open:
        raise RunClosed(f"run {run.name} is {run.state}; {what}")
    return run


def _put(transaction: Transaction, run: RunRow, kind: str, payload: str, now_us: int) -> None:
    put(transaction, run.pk, kind, "", "", payload, now_us)


def put(
    transaction: Transaction,
    pk: int,
    kind: str,
    name: str,
    key: str,
    payload: str | int,
    now_us: int,
) -> None:
    """Put a request into a run's inbox, and let a parked run look."""
    transaction.one(
        "insert_inbox", run=pk, kind=kind, name=name, key=key, payload=payload, at_us=now_us
    )
    transaction.all("wake_run", pk=pk)


def _close_free(
    transaction: Transaction, run: RunRow, state: str, reason: str, now_us: int
) -> None:
    """End a run that nobody holds, without running its code."""
    pk, payload = run.pk, encode_document(reason)
    transaction.one(
        "close_run_from_outside",
        pk=pk,
        state=state,
        now_us=now_us,
        result=payload.decode(),
        checksum=checksum(payload),
    )
    for statement in (
        "bury_inbox_of_runs", "abandon_updates_of_runs", "delete_inbox_of_run",
        "delete_steps_of_run",
    ):  # fmt: skip
        transaction.rows(statement, [(pk,)])
    if run.parent_pk is not None and run.parent_step is not None:
        transaction.rows("insert_child_ends", [(pk, now_us)])
        transaction.rows("wake_parents", [(pk,)])


def cancel(pk: int, reason: str, now_us: int) -> Callable[[Transaction], None]:
    """Return the operation that asks a run to stop.

    Raises:
        RunClosed: It has ended already.
    """

    def operation(transaction: Transaction) -> None:
        run = get_open(transaction, pk, "there is nothing to cancel")
        if run.worker_id is None and run.started_us is None and run.wake_at_us is not None:
            # It was to begin later, and has nothing to clean up.
            _close_free(transaction, run, "cancelled", reason, now_us)
            return
        _put(transaction, run, "cancel", encode_document(reason).decode(), now_us)

    return operation


def terminate(
    pk: int,
    reason: str,
    now_us: int,
    is_alive: Callable[[int], bool],
    kind: str = "terminate",
    request: object = None,
) -> Callable[[Transaction], bool]:
    """Return the operation that ends a run without running its code; True if it is closed now.

    Else its owner is told to: by a request of this kind, with its reason or something else.

    Raises:
        RunClosed: It has ended already.
    """

    def operation(transaction: Transaction) -> bool:
        run = get(transaction, pk)
        if not run.is_open:
            raise RunClosed(f"run {run.name} is {run.state} already")
        payload = encode_document(reason)
        if run.worker_id is not None and not is_alive(run.worker_id):
            # Its worker died; a free byte is the kernel's word for it.
            worker = run.worker_id
            if transaction.one("end_worker", id=worker, state="dead", now_us=now_us) is not None:
                transaction.all("lose_runs_of_worker", worker=worker, lost_alone=LOST_ALONE)
                run = get(transaction, pk)
        if run.worker_id is None:
            _close_free(transaction, run, "terminated", reason, now_us)
            end_children(transaction, pk, now_us, is_alive)
            return True
        asked = payload if request is None else encode_document(request)
        put(transaction, pk, kind, "", "", EncodedPayload.of(asked).store(transaction), now_us)
        return False

    return operation


def end_children(
    transaction: Transaction, pk: int, now_us: int, is_alive: Callable[[int], bool]
) -> None:
    """Do to the children of a run that ends what ``on_parent_close`` says."""
    for child, what in transaction.all("list_open_children", parent=pk):
        reason = "its parent run has ended"
        if what == "cancel":
            cancel(child, reason, now_us)(transaction)
        else:
            terminate(child, reason, now_us, is_alive)(transaction)


def end_left_children(
    transaction: Transaction, run: RunRow, now_us: int, is_alive: Callable[[int], bool]
) -> None:
    """Terminate the open children of a run that is restarted and begins them again."""
    for child, _ in transaction.all("list_open_children_of", parent=run.pk):
        why = f"its parent {run.name} was restarted"
        terminate(child, why, now_us, is_alive)(transaction)
