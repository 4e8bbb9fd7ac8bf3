"""How a run ends: what its last commit says, who hears of it, and what goes on after it.

Law: a run's last event and its end are one commit, and so is whatever its end means to others: its
children, its parent, those who asked something of it, and the next ordinal.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from durable._clock import new_salt
from durable._core.driver import Cancelled, Completed, Continued, Failed
from durable._core.failures import failure_json, summary
from durable._core.machines import RunState
from durable._store import requests, restarts
from durable._store.repairs import Pausing
from durable._store.rows import NewRun
from durable._store.stored_payloads import EncodedPayload, column_of
from durable._store.writer import Change
from durable.errors import PayloadError
from durable.payloads import check_size, checksum, decode_document, encode_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable._core.driver import Outcome
    from durable._runtime.runs import LiveRun, Rows
    from durable._store.restarts import Plan
    from durable._store.writer import Transaction

__all__ = ["close", "terminate"]


def _end_of(run: LiveRun, outcome: Outcome) -> tuple[str, bytes, int | None]:
    """Return the state a run ends in, what is stored of it, and the event that led to it."""
    match outcome:
        case Completed(value):
            try:
                payload = run.workflow.codec.result.encode(value)
                check_size(payload, run.worker.limits.payload_bytes_max, "result")
                run.workflow.codec.result.decode(payload)
            except PayloadError as refusal:
                return "failed", failure_json(refusal), 0
            return "completed", payload, None
        case Failed():
            return "failed", failure_json(outcome.error), outcome.origin
        case Cancelled():
            return "cancelled", encode_document(outcome.reason), outcome.origin
        case Continued():
            return "continued", b"null", None
        case _:
            assert_never(outcome)


def close(run: LiveRun, outcome: Outcome, rows: Rows) -> Change:
    """Return the change of the run's last event and its end."""
    run.worker.keeper.write()  # Whoever sees the end sees every line.
    state, payload, origin = _end_of(run, outcome)
    run.worker.activities.told.run_ended(run, state, payload)
    operation: Callable[[Transaction], Any] | None = None
    if isinstance(outcome, Continued):
        values = _next_ordinal(run, outcome.args, outcome.kwargs, rows)
        operation = _continuing(run, values)
    stored = column_of(payload, rows)
    now_us = run.ends_at_us()
    pk = run.row.pk
    if state == "failed":
        record = decode_document(payload)
        rows += run.failure_rows("failed", record, now_us)
        if run.workflow.on_failure == "pause":
            return _pausing(run, rows, stored, checksum(payload), origin, summary(record))
    rows.append(("close_run", (pk, state, now_us, stored, checksum(payload), origin)))
    for update, name in run.driver.mailbox.open_updates.items():
        rows.append(("upsert_answer", (pk, update, name, "abandoned", "null", now_us)))
    if state != "continued":
        _bury_letters(run, rows, now_us)
        _end_rows(run, rows, now_us)
        if run.inside.minds_children:
            is_alive = run.worker.store.locks.is_held
            operation = partial(requests.end_children, pk=pk, now_us=now_us, is_alive=is_alive)
    return Change(rows, run.closed, state, None, operation)


def _bury_letters(run: LiveRun, rows: Rows, now_us: int) -> None:
    """Keep the signals that the code has not received as dead letters."""
    for one in run.driver.mailbox.unreceived():
        stored = column_of(one.payload, rows)
        why = "the run ended, and its code had not received it"
        rows.append(("insert_letter", (run.row.pk, one.seq, one.name, one.id, stored, why, now_us)))


def _end_rows(run: LiveRun, rows: Rows, now_us: int) -> None:
    """Add what every end of a run needs: its inbox is answered, its parent hears of it."""
    row = run.row
    pk = (row.pk,)
    rows.append(("bury_inbox_of_runs", pk))
    rows.append(("abandon_updates_of_runs", pk))
    rows.append(("delete_inbox_of_run", pk))
    if run.has_step_rows:
        rows.append(("delete_steps_of_run", pk))
    if row.parent_pk is not None and row.parent_step is not None:
        rows.append(("insert_child_ends", (row.pk, now_us)))
        rows.append(("wake_parents", pk))


def _continuing(run: LiveRun, following: NewRun) -> Callable[[Transaction], int]:
    """Return the operation that makes the next ordinal, and moves unreceived signals along."""
    old, now_us = run.row.pk, run.worker.now_us()
    letters = [(one.name, one.id, one.payload) for one in run.driver.mailbox.unreceived()]

    def operation(transaction: Transaction) -> int:
        pk = transaction.insert_run(following)
        for name, key, payload in letters:
            stored = EncodedPayload.of(payload).store(transaction)
            requests.put(transaction, pk, "signal", name, key, stored, now_us)
        transaction.all("move_inbox", run=old, to=pk)
        transaction.rows("delete_inbox_of_run", [(old,)])
        transaction.rows("delete_steps_of_run", [(old,)])
        return pk

    return operation


def _pausing(
    run: LiveRun, rows: Rows, stored: str | int, check: int, origin: int | None, error: str
) -> Change:
    pk = run.row.pk
    rows.append(
        run.paused_row(
            Pausing(
                message=f"the workflow raised {error}; on_failure is pause: retry it once that "
                "is mended"
            )
        )
    )

    def operation(transaction: Transaction) -> None:
        transaction.all("pause_run", pk=pk, result=stored, checksum=check, origin=origin)

    return run.leaving(rows, RunState.PAUSED, operation)


def _next_ordinal(
    run: LiveRun, args: tuple[Any, ...], kwargs: dict[str, Any], rows: Rows
) -> NewRun:
    encoded = run.workflow.codec.encode(args, kwargs)
    stored = column_of(encoded, rows)
    mark = run.workflow.codec.fingerprint(args, kwargs, encoded)
    row, now_us = run.row, run.worker.now_us()
    return NewRun(
        id=row.id,
        ordinal=row.ordinal + 1,
        workflow=row.workflow,
        worker_id=run.worker.id,
        queue=row.queue,
        priority=row.priority,
        headers=row.headers,
        salt=new_salt(),
        arguments=stored,
        fingerprint=mark,
        checksum=checksum(encoded),
        cause="continued",
        code=run.workflow.fingerprint,
        created_us=now_us,
        started_us=now_us,
        clock_us=now_us,
        root_pk=row.root_pk,
        parent_pk=row.parent_pk,
        parent_step=row.parent_step,
        on_parent_close=row.on_parent_close,
        deadline_us=_deadline_again_us(run, now_us),
        run_timeout_us=row.run_timeout_us,
        source_pk=row.pk,
        labels=row.labels,
    )


def _deadline_again_us(run: LiveRun, now_us: int) -> int | None:
    """Return the next ordinal's deadline: the whole time again, within what a parent has."""
    row = run.row
    limits = [row.deadline_again_us(now_us)]
    if row.parent_pk is not None and row.deadline_us is not None:
        parent = run.worker.store.reader.find_run(row.parent_pk)
        if parent is not None and parent.is_open and parent.deadline_us is not None:
            limits.append(max(parent.deadline_us, row.deadline_us))
    return min((one for one in limits if one is not None), default=None)


def terminate(run: LiveRun, reason: str, rows: Rows, plan: Plan | None = None) -> None:
    """End the run without running any of its code; with a plan, as it is restarted."""
    run.worker.keeper.write()  # Whoever sees the end sees every line.
    payload = encode_document(reason)
    pk = run.row.pk
    now_us = run.ends_at_us()
    rows.append(("close_run", (pk, "terminated", now_us, payload.decode(), checksum(payload), 0)))
    for update, name in run.driver.mailbox.open_updates.items():
        rows.append(("upsert_answer", (pk, update, name, "abandoned", "null", now_us)))
    rows.append(("delete_steps_of_run", (pk,)))
    _end_rows(run, rows, now_us)
    is_alive = run.worker.store.locks.is_held
    operation: Callable[[Transaction], Any]
    operation = partial(requests.end_children, pk=pk, now_us=now_us, is_alive=is_alive)
    if plan is not None:
        operation = partial(
            _restart, end_children=operation, pk=pk, plan=plan, now_us=now_us, is_alive=is_alive
        )
    run.worker.submit(run.leaving(rows, RunState.CLOSED, operation))


def _restart(
    transaction: Transaction,
    *,
    end_children: Callable[[Transaction], None],
    pk: int,
    plan: Plan,
    now_us: int,
    is_alive: Callable[[int], bool],
) -> None:
    """Make the next ordinal of a run in the very commit that ends it."""
    end_children(transaction)
    run = requests.get(transaction, pk)
    to = restarts.restarted(transaction, run, plan, now_us)
    transaction.all("copy_audit_of_restart", run=pk, to=to)
    if not plan.keeps_children:
        requests.end_left_children(transaction, run, now_us, is_alive)
