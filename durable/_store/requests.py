"""What anybody may ask of a run, as operations of one transaction.

A run nobody holds in memory is changed here and now; one that a worker holds gets a row in its
inbox, which its owner turns into an event (law 3).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from durable._store.rows import LOST_ALONE, RunRow, new_run
from durable._store.writer import Transaction
from durable.errors import RunClosed, RunNotFound, WrongState
from durable.payloads import checksum

__all__ = [
    "cancel",
    "end_children",
    "get",
    "get_open",
    "put",
    "retry",
    "retry_closed",
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


def get_open(transaction: Transaction, pk: int, what: str) -> RunRow:
    """Return an open run, or the one that it continued as.

    Raises:
        RunClosed: It has ended.
    """
    run = get(transaction, pk)
    while run.state == "continued":
        row = transaction.one("find_ordinal", id=run.id, ordinal=run.ordinal + 1)
        if row is None:
            break
        run = RunRow(*row)
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


def cancel(pk: int, reason: str, now_us: int) -> Callable[[Transaction], None]:
    """Return the operation that asks a run to stop.

    Raises:
        RunClosed: It has ended already.
    """

    def operation(transaction: Transaction) -> None:
        run = get_open(transaction, pk, "there is nothing to cancel")
        _put(transaction, run, "cancel", msgspec.json.encode(reason).decode(), now_us)

    return operation


def terminate(
    pk: int, reason: str, now_us: int, is_alive: Callable[[int], bool]
) -> Callable[[Transaction], bool]:
    """Return the operation that ends a run without running its code; True if it is closed now.

    Raises:
        RunClosed: It has ended already.
    """

    def operation(transaction: Transaction) -> bool:
        run = get(transaction, pk)
        if not run.is_open:
            raise RunClosed(f"run {run.name} is {run.state} already")
        payload = msgspec.json.encode(reason)
        if run.worker_id is not None and not is_alive(run.worker_id):
            # Its worker died; a free byte is the kernel's word for it.
            worker = run.worker_id
            if transaction.one("end_worker", id=worker, state="dead", now_us=now_us) is not None:
                transaction.all("lose_runs_of_worker", worker=worker, lost_alone=LOST_ALONE)
                run = get(transaction, pk)
        if run.worker_id is None:
            transaction.one(
                "close_run_from_outside",
                pk=pk,
                state="terminated",
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
            end_children(transaction, pk, now_us, is_alive)
            return True
        _put(transaction, run, "terminate", payload.decode(), now_us)
        return False

    return operation


def retry(
    pk: int, now_us: int, is_alive: Callable[[int], bool], *, anyway: bool
) -> Callable[[Transaction], int]:
    """Return the operation that lets a run go on; its value is the key of the run that goes on.

    An open run goes on in place: what waits for a retry is tried now, a paused or blocked one
    starts again. A closed one never changes: a new ordinal gets a copy of what was recorded before
    the failure's origin.

    Raises:
        WrongState: It completed, or nothing of it failed, or steps completed after the failure.
    """

    def operation(transaction: Transaction) -> int:
        run = get(transaction, pk)
        match run.state:
            case "completed" | "continued":
                raise WrongState(f"run {run.name} is {run.state}; there is nothing to retry")
            case "failed" | "cancelled" | "terminated":
                return retry_closed(transaction, run, now_us, anyway=anyway)
            case "paused" | "blocked":
                if run.origin is not None:
                    _refuse_if_later(transaction, run, anyway=anyway)
                    _drop_from_origin(transaction, run, now_us)
                transaction.all("retry_steps_now", run=pk, now_us=now_us)
                transaction.one("ready_run", pk=pk)
                return pk
            case _:
                _refuse_if_nothing_waits(transaction, run, now_us, is_alive)
                transaction.all("retry_steps_now", run=pk, now_us=now_us)
                _put(transaction, run, "retry", "null", now_us)
                return pk

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


def _refuse_if_nothing_waits(
    transaction: Transaction, run: RunRow, now_us: int, is_alive: Callable[[int], bool]
) -> None:
    """Refuse a run none of whose steps waits for its next attempt.

    The rows of its steps tell: a run is written down as retrying only once it waited for a second.
    """
    status = run.status(is_alive)
    if status == "retrying" or transaction.all("find_waiting_retry", run=run.pk, now_us=now_us):
        return
    raise WrongState(f"run {run.name} is {status}, and no step of it waits for a retry")


def _drop_from_origin(transaction: Transaction, run: RunRow, now_us: int) -> None:
    del now_us
    if run.origin:
        # What was said to it meanwhile is said again.
        transaction.all("resend_signals", to=run.pk, run=run.pk, from_seq=run.origin)
        transaction.all("resend_updates", run=run.pk, from_seq=run.origin)
        transaction.all("delete_events_from", run=run.pk, from_seq=run.origin)


def _refuse_if_later(transaction: Transaction, run: RunRow, *, anyway: bool) -> None:
    if anyway or not run.origin:
        return
    later = transaction.all("find_completed_after", run=run.pk, after=run.origin)
    if later:
        names = ", ".join(f"step {step} ({name})" for step, name in later[:5])
        raise WrongState(
            f"run {run.name}: {names} completed after the step that failed (clean-up or "
            "compensation, perhaps); a retry would do the failed step again with these undone. "
            "Retry with --anyway if that is right"
        )


def retry_closed(transaction: Transaction, run: RunRow, now_us: int, *, anyway: bool) -> int:
    """Make the next ordinal of a closed run, with what was recorded before the failure.

    Raises:
        WrongState: It is not the newest, or steps completed after the failure.
    """
    newest = transaction.one("find_newest", id=run.id)
    assert newest is not None
    ordinal = RunRow(*newest).ordinal
    if ordinal != run.ordinal:
        raise WrongState(
            f"run {run.name} was retried or restarted already: {run.id}#{ordinal} is the newest"
        )
    if run.state == "failed":
        _refuse_if_later(transaction, run, anyway=anyway)
    # A copied history keeps its salt and its clock: the order of sets, chance and the times of its
    # events stay what they were.
    inserted = transaction.rows(
        "insert_run",
        [
            new_run(
                id=run.id,
                ordinal=ordinal + 1,
                workflow=run.workflow,
                queue=run.queue,
                priority=run.priority,
                headers=run.headers,
                salt=run.salt,
                arguments=run.arguments,
                fingerprint=run.fingerprint,
                checksum=run.checksum,
                cause="retried",
                code=run.code,
                now_us=now_us,
                clock_us=run.clock_us,
                root_pk=run.root_pk,
                parent_pk=run.parent_pk,
            )
        ],
    )
    to: int = inserted[0][0]
    # Without an origin the code alone failed: everything recorded is kept.
    before = run.origin or (1 << 62)
    transaction.all("copy_events", run=run.pk, to=to, before=before)
    transaction.all("share_blobs_of_events", run=run.pk, before=before)
    if isinstance(run.arguments, int):
        transaction.all("share_blob", id=run.arguments)
    transaction.all("copy_values", run=run.pk, to=to)
    transaction.all("copy_items", run=run.pk, to=to, before=before)
    transaction.all("resend_signals", run=run.pk, to=to, from_seq=before)
    transaction.all("resend_letters", run=run.pk, to=to)
    transaction.all("share_blobs_of_inbox", run=to)
    return to
