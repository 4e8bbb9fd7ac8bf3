"""What a run does to other runs: starting children, signalling, cancelling, waiting for tokens.

Each is a step. It is done by one transaction, keyed by (run, step), so that asking twice after a
crash does nothing twice; its end is an event like that of an activity.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from durable._clock import new_salt
from durable._core.events import Kind
from durable._core.failures import failure_json
from durable._runtime.runs import LiveRun, Rows
from durable._runtime.specs import Act, ChildCall
from durable._store import messages, requests, restarts
from durable._store.rows import NewRun, RunRow
from durable._store.stored_payloads import EncodedPayload, column_of
from durable._store.writer import Change, Transaction
from durable.errors import IdConflict, UsageError
from durable.payloads import checksum, decode_document, encode_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable._core.loop import Step
    from durable._runtime.worker import Worker

__all__ = ["Outside"]

RUN_ID_CHARACTERS_MAX = 200


def child_id(parent: RunRow, step: str) -> str:
    """Return the id of a child that was given none: its parent's, and the step that started it."""
    found = f"{parent.id}/{step}"
    if len(found) <= RUN_ID_CHARACTERS_MAX and "#" not in found:
        return found
    digest = hashlib.blake2b(found.encode(), digest_size=8).hexdigest()
    return f"{parent.id[: RUN_ID_CHARACTERS_MAX - 20]}/{digest}"


class Outside:
    """Performs the steps of one worker's runs that concern other runs."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def begin(self, run: LiveRun, step: Step, *, again: bool) -> None:
        """Do what a step asks for; ``again`` after a crash, when it may be done already."""
        match step.spec:
            case ChildCall():
                self._begin_child(run, step, step.spec, again=again)
            case Act():
                self._begin_act(run, step, step.spec)
            case _:
                pass  # It ends when an answer comes in.

    # -- children --------------------------------------------------------------------------------

    def _begin_child(self, run: LiveRun, step: Step, call: ChildCall, *, again: bool) -> None:
        worker = self._worker
        worker.know(call.workflow)
        if again:
            known = worker.store.reader.find_child(run.row.pk, call.end_step)
            if known is not None and self._tells_its_end(run, call, known):
                self._child_is_there(run, step, known)
                return
        rows: Rows = []
        child = self._new_child(run, step, call, rows)
        run.uncommitted += 1

        def done(change: Change) -> None:
            if change.error is not None:
                worker.commit_failed(change.error)
                return
            run.uncommitted -= 1
            if change.value is None:  # The id is taken: by an earlier ordinal's child, perhaps.
                self._take_child(run, step, call, child)
                return
            if not change.is_held:
                worker.begin_started(child.row(change.value), call.workflow)
            self._child_is_there(run, step, change.value)

        worker.submit(Change(rows, done, start=child))

    def _tells_its_end(self, run: LiveRun, call: ChildCall, pk: int) -> bool:
        """Say whether a child's end comes in by itself: it is open, or its end is in the inbox.

        Neither is so once its parent was retried in place, from before that end.
        """
        reader = self._worker.store.reader
        row = reader.find_run(pk)
        return (row is not None and row.is_open) or any(
            one.kind == "child" and one.key == call.end_step
            for one in reader.inbox_of_run(run.row.pk)
        )

    def _new_child(self, run: LiveRun, step: Step, call: ChildCall, rows: Rows) -> NewRun:
        worker, workflow, parent = self._worker, call.workflow, run.row
        options, now_us = workflow.start_options, worker.now_us()
        delayed = options.start_delay_us > 0
        begins_us = now_us + options.start_delay_us
        limits = [] if run.deadline_us is None else [run.deadline_us]
        if options.run_timeout_us is not None:
            limits.append(begins_us + options.run_timeout_us)
        return NewRun(
            id=call.run_id or child_id(parent, step.step_id),
            ordinal=1,
            workflow=workflow.name,
            state="parked" if delayed else "ready",
            worker_id=None if delayed else worker.id,
            wake_at_us=begins_us if delayed else None,
            queue=parent.queue if options.queue == "default" else options.queue,
            priority=options.priority or parent.priority,
            headers=(
                encode_document({**run.headers, **options.headers}).decode()
                if run.headers or options.headers
                else None
            ),
            salt=new_salt(),
            arguments=column_of(step.arguments, rows),
            fingerprint=step.fingerprint,
            checksum=checksum(step.arguments),
            cause="started",
            code=workflow.fingerprint,
            created_us=now_us,
            started_us=None if delayed else now_us,
            clock_us=None if delayed else now_us,
            root_pk=parent.root_pk or parent.pk,
            parent_pk=parent.pk,
            parent_step=call.end_step,
            on_parent_close=options.on_parent_close,
            deadline_us=min(limits, default=None),
            run_timeout_us=options.run_timeout_us,
            labels=options.labels,
        )

    def _take_child(self, run: LiveRun, step: Step, call: ChildCall, child: NewRun) -> None:
        """The id is taken: go on with that run if it is ours, else say so."""
        worker, now_us = self._worker, self._worker.now_us()
        run.uncommitted += 1

        def done(change: Change) -> None:
            run.uncommitted -= 1
            if isinstance(change.error, IdConflict):
                self._refuse(run, step, change.error)
            elif change.error is not None:
                worker.commit_failed(change.error)
            else:
                self._child_is_there(run, step, change.value)
                worker.look_soon()

        is_alive = worker.store.locks.is_held
        operation = partial(_take_over_child, run.row, call, child, now_us, is_alive)
        worker.submit(Change((), done, None, None, operation))

    def _child_is_there(self, run: LiveRun, step: Step, pk: int) -> None:
        if step.kind == Kind.ACTED and not step.done() and not run.is_over:
            row = self._worker.store.reader.find_run(pk)
            assert row is not None
            self._end(run, step, Kind.ACTED, encode_document([row.id, row.ordinal]))
            self._worker.inbox.look_again(run)
        else:
            run.look_idle()

    # -- acts ------------------------------------------------------------------------------------

    def _begin_act(self, run: LiveRun, step: Step, act: Act) -> None:
        worker = self._worker
        now_us = worker.now_us()
        parcel = EncodedPayload.of(act.payload)
        key = act.key or f"{run.row.id}/{run.row.salt:x}/{step.step_id}"

        def operation(transaction: Transaction) -> None:
            pk = requests.find_named(transaction, act.target).pk
            if act.verb == "signal":
                messages.signal(pk, act.name, parcel, key, now_us)(transaction)
            else:
                reason = decode_document(act.payload, type=str)
                requests.cancel(pk, reason, now_us)(transaction)

        run.uncommitted += 1

        def done(change: Change) -> None:
            run.uncommitted -= 1
            if change.error is None:
                self._end(run, step, Kind.ACTED, b"null")
                worker.look_soon()
            elif isinstance(change.error, UsageError):
                self._refuse(run, step, change.error)
            else:
                worker.commit_failed(change.error)

        worker.submit(Change((), done, None, None, operation))

    # -- ends ------------------------------------------------------------------------------------

    def _refuse(self, run: LiveRun, step: Step, error: BaseException) -> None:
        self._end(run, step, Kind(step.kind).failure, failure_json(error))

    def _end(self, run: LiveRun, step: Step, kind: Kind, result: bytes) -> None:
        if run.is_over or step.done():
            return
        run.deliver(
            kind, step.step_id, step.name, step.fingerprint, step.arguments, result, rows=None
        )


def _take_over_child(
    parent: RunRow,
    call: ChildCall,
    new: NewRun,
    now_us: int,
    is_alive: Callable[[int], bool],
    transaction: Transaction,
) -> int:
    """Find or make the child of a step whose id is taken; return its key.

    A retried parent goes on with the children of its earlier ordinal, or, retried in place, with
    its own: with an open one's end, a completed one's result; one that failed is retried from the
    step that failed. A parent that began anew (``continue_as_new``, a restart) gets a new ordinal
    of the id; after a restart the one that an earlier ordinal left open is ended.

    Raises:
        IdConflict: The id is somebody else's, or its run was started with other arguments.
    """
    found = transaction.one("find_newest", id=new.id)
    if found is None:  # It was deleted a moment ago.
        return transaction.insert_run(new)
    child = RunRow(*found)
    above = None
    if child.parent_pk is not None:
        found = transaction.one("get_run", pk=child.parent_pk)
        above = None if found is None else RunRow(*found)
    conflict = IdConflict(
        f"the child run {child.id} of {parent.name} cannot start: the id is taken by "
        f"{child.name}, of workflow {child.workflow}; choose another id"
    )
    if above is None or above.id != parent.id:
        raise conflict
    if child.parent_pk == parent.pk:
        if child.parent_step != call.end_step:
            raise conflict  # Taken from the other step, that one would wait for ever.
    elif above.salt != parent.salt or not parent.adopts:
        if child.is_open and above.is_open:
            raise conflict
        return _begin_anew(transaction, parent, child, new, now_us, is_alive)
    if child.workflow == new.workflow and child.fingerprint != new.fingerprint:
        raise IdConflict(
            f"the child run {child.id} of {parent.name} cannot start: {child.name} was started "
            "with other arguments. Restart its parent with --children again to have a new one, or "
            "choose another id"
        )
    if child.workflow != new.workflow:
        raise conflict
    return _go_on_with(transaction, parent, call.end_step, child, now_us)


def _begin_anew(
    transaction: Transaction,
    parent: RunRow,
    child: RunRow,
    new: NewRun,
    now_us: int,
    is_alive: Callable[[int], bool],
) -> int:
    """Make the next ordinal of a child's id for a parent that has begun anew."""
    if child.is_open and parent.cause != "continued":
        why = f"{parent.name} has begun it anew"
        requests.terminate(child.pk, why, now_us, is_alive)(transaction)
    return transaction.insert_run(replace(new, ordinal=child.ordinal + 1, worker_id=None))


def _go_on_with(
    transaction: Transaction, parent: RunRow, step: str, child: RunRow, now_us: int
) -> int:
    """Let a child report to this parent and step; one that did not complete is retried."""
    pk = child.pk
    if not child.is_open and child.state != "completed":
        pk = restarts.retried(transaction, child, now_us)
    transaction.all("adopt_run", pk=pk, parent=parent.pk, step=step)
    if child.state == "completed":
        requests.put(transaction, parent.pk, "child", "", step, str(pk), now_us)
    return pk
