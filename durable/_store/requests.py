"""What anybody may ask of a run, as operations of one transaction.

A run nobody holds in memory is changed here and now; one that a worker holds gets a row in its
inbox, which its owner turns into an event (law 3).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from durable._store.rows import LOST_ALONE, RunRow
from durable._store.writer import Transaction
from durable.errors import RunClosed, RunNotFound, WrongState
from durable.payloads import checksum

__all__ = ["cancel", "retry", "terminate"]


def _get(transaction: Transaction, pk: int) -> RunRow:
    row = transaction.one("get_run", pk=pk)
    if row is None:
        raise RunNotFound("the run was deleted")
    return RunRow(*row)


def _put(transaction: Transaction, run: RunRow, kind: str, payload: str, now_us: int) -> None:
    transaction.one("insert_inbox", run=run.pk, kind=kind, payload=payload, at_us=now_us)
    transaction.all("wake_run", pk=run.pk)


def cancel(pk: int, reason: str, now_us: int) -> Callable[[Transaction], None]:
    """Return the operation that asks a run to stop.

    Raises:
        RunClosed: It has ended already.
    """

    def operation(transaction: Transaction) -> None:
        run = _get(transaction, pk)
        if not run.is_open:
            raise RunClosed(f"run {run.name} is {run.state}; there is nothing to cancel")
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
        run = _get(transaction, pk)
        if not run.is_open:
            raise RunClosed(f"run {run.name} is {run.state} already")
        payload = msgspec.json.encode(reason)
        if run.worker_id is not None and not is_alive(run.worker_id):
            # Its worker died; a free byte is the kernel's word for it.
            worker = run.worker_id
            if transaction.one("end_worker", id=worker, state="dead", now_us=now_us) is not None:
                transaction.all("lose_runs_of_worker", worker=worker, lost_alone=LOST_ALONE)
                run = _get(transaction, pk)
        if run.worker_id is None:
            transaction.one(
                "close_run_from_outside",
                pk=pk,
                state="terminated",
                now_us=now_us,
                result=payload.decode(),
                checksum=checksum(payload),
            )
            transaction.rows("delete_inbox_of_run", [(pk,)])
            transaction.rows("delete_steps_of_run", [(pk,)])
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
        run = _get(transaction, pk)
        match run.state:
            case "completed" | "continued":
                raise WrongState(f"run {run.name} is {run.state}; there is nothing to retry")
            case "failed" | "cancelled" | "terminated":
                return _retry_closed(transaction, run, now_us, anyway=anyway)
            case "paused" | "blocked":
                if run.origin is not None:
                    _refuse_if_later(transaction, run, anyway=anyway)
                    _drop_from_origin(transaction, run)
                transaction.all("retry_steps_now", run=pk, now_us=now_us)
                transaction.one("ready_run", pk=pk)
                return pk
            case _:
                _refuse_if_nothing_waits(transaction, run, now_us, is_alive)
                transaction.all("retry_steps_now", run=pk, now_us=now_us)
                _put(transaction, run, "retry", "null", now_us)
                return pk

    return operation


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


def _drop_from_origin(transaction: Transaction, run: RunRow) -> None:
    if run.origin:
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


def _retry_closed(transaction: Transaction, run: RunRow, now_us: int, *, anyway: bool) -> int:
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
            (
                run.id, ordinal + 1, run.workflow, "ready", None, None, run.queue, run.priority,
                run.headers, run.salt, run.arguments, run.fingerprint, run.checksum, "retried",
                run.code, now_us, None, run.clock_us,
            )
        ],
    )  # fmt: skip
    to: int = inserted[0][0]
    # Without an origin the code alone failed: everything recorded is kept.
    before = run.origin or (1 << 62)
    transaction.all("copy_events", run=run.pk, to=to, before=before)
    transaction.all("share_blobs_of_events", run=run.pk, before=before)
    if isinstance(run.arguments, int):
        transaction.all("share_blob", id=run.arguments)
    return to
