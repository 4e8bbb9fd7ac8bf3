"""Execution: the bodies of attempts, on the loop, on threads and in the writer's transaction.

An async activity runs on the engine's loop, in a task and a context of its own; a plain function
runs in a thread; either of them in a process with ``isolation="process"`` (see `Performance`); a
``@transaction`` in the very transaction that records its end.

Transactions: the rows of the user and the event of the step are one commit. From the moment the
transaction is in the writer's hands until it has come back, its run takes no other event
(`LiveRun.is_recording`), so that the event has the next place in the history, and a timeout or a
cancel that comes meanwhile comes after it. The drain of the event is not in that commit: should the
process die before anything later of the run is in the file, the drain is done again (``redo_seq``).
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import tasks as asyncio_tasks
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar

from durable._core import context
from durable._core.events import Event, Kind
from durable._core.machines import ATTEMPT, AttemptState
from durable._runtime.attempt_timeouts import too_slow
from durable._runtime.isolation import Performance
from durable._runtime.logs import about
from durable._runtime.threads import Threads
from durable._store.stored_payloads import EncodedPayload
from durable._store.writer import Change, Transaction
from durable.errors import StoreError
from durable.payloads import INLINE_BYTES_MAX, check_size, checksum_of_two, seems_large

if TYPE_CHECKING:
    from durable._runtime.activities import Activities
    from durable._runtime.attempts import Attempt
    from durable._runtime.runs import LiveRun
    from durable._runtime.worker import Worker

__all__ = ["Execution"]

R = TypeVar("R")

logger = logging.getLogger("durable.activity")

_BODY_BEGINS = ATTEMPT.facts["body begins"]
_SMALL = {int, float, bool, NoneType}
# Threads that encode and decode what is large: plain functions that hang do not hold them.
CODING_THREADS = 4


class _NotWanted(Exception):
    """A transaction's step was given up before its body began: nothing is written."""


class Execution:
    """Runs the bodies of one worker's attempts."""

    def __init__(
        self, worker: Worker, loop: asyncio.AbstractEventLoop, activities: Activities
    ) -> None:
        self._worker = worker
        self._loop = loop
        self._activities = activities
        self._payload_bytes_max = worker.limits.payload_bytes_max
        self._coding = Threads(CODING_THREADS)
        self._turns: dict[LiveRun, deque[Attempt]] = {}
        """Transactions by run: the first has its turn, the others wait for theirs."""

    def launch(self, attempt: Attempt) -> None:
        """Let the body of an attempt that has a place begin."""
        if attempt.state is not AttemptState.PLACED:
            self.pass_turn(attempt)  # Given up while its intent was written down.
            return
        activity = attempt.activity
        if attempt.needs_process:
            attempt.task = performance = Performance(self._worker, self._activities, attempt)
            self._worker.processes.run(performance.perform)
            return
        if activity.is_async:
            self.begin_task(attempt)
            return
        fresh = Context()
        fresh.run(context.attempt.set, attempt)
        if activity.in_transaction:
            self._transact(attempt, fresh)
        else:
            self._worker.threads.run(partial(fresh.run, self._perform_in_thread, attempt))

    # -- on the loop -----------------------------------------------------------------------------

    def begin_task(self, attempt: Attempt) -> None:
        """Let the body of an async activity begin in the next turn of the loop."""
        # Not loop.create_task: a task factory is for the host's tasks, and costs a call.
        attempt.task = asyncio.Task(self._perform(attempt), loop=self._loop, context=Context())

    async def _perform(self, attempt: Attempt) -> None:
        activities, pending = self._activities, attempt.pending
        if attempt.state is not AttemptState.PLACED or pending.step.done():
            return  # Given up; perhaps in a drain that is not committed yet.
        attempt.state = _BODY_BEGINS[attempt.state]
        if not pending.policy.is_plain:
            attempt.started_us = self._worker.now_us()
            activities.watch_body(attempt)
        context.attempt.set(attempt)
        activity = pending.activity
        codec = activity.codec
        try:
            arguments = pending.step.arguments
            if len(arguments) > INLINE_BYTES_MAX:
                args, kwargs = await self._elsewhere(partial(codec.decode, arguments))
            else:
                args, kwargs = codec.decode(arguments)
            value = await activity.fn(*args, **kwargs)
            if value.__class__ not in _SMALL and seems_large(value):
                payload = await self._elsewhere(partial(self._encode, attempt, value))
            else:
                payload = codec.result.encode(value)
        except BaseException as error:  # noqa: BLE001  an activity may raise anything
            if self._loop.is_running():  # Else the loop is closed under a body that still waits.
                activities.body_ends(attempt, None, error)
        else:
            activities.body_ends(attempt, payload, None)

    def leave_behind(self) -> None:
        """Take tasks that swallowed their cancellation out of those `asyncio.run` waits for."""
        for task in asyncio.all_tasks(self._loop):
            coro: Any = task.get_coro()
            if getattr(coro, "cr_code", None) is not _PERFORM or coro.cr_frame is None:
                continue
            if coro.cr_frame.f_locals.get("self") is not self:
                continue
            attempt: Attempt = coro.cr_frame.f_locals["attempt"]
            with about(attempt.run.subject(attempt.step_id, attempt.number)):
                logger.warning(
                    "%s of run %s did not end when it was cancelled; it is left behind, and done "
                    "again later. Let asyncio.CancelledError pass",
                    attempt.activity.name, attempt.run.row.name,
                )  # fmt: skip
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            asyncio_tasks._unregister_task(task)

    def _encode(self, attempt: Attempt, value: Any) -> bytes:
        """Encode a result; what is large is decoded too, on this thread: the run gets that."""
        payload: bytes = attempt.activity.codec.result.encode(value)
        attempt.decode_if_large(payload, self._payload_bytes_max)
        return payload

    async def _elsewhere(self, work: Callable[[], R]) -> R:
        future: asyncio.Future[R] = self._loop.create_future()

        def job() -> None:
            try:
                value = work()
            except Exception as error:  # noqa: BLE001  handed over
                self._worker.call_from_thread(_set_exception, future, error)
            else:
                self._worker.call_from_thread(_set_result, future, value)

        self._coding.run(job)
        return await future

    # -- on a thread -----------------------------------------------------------------------------

    def _perform_in_thread(self, attempt: Attempt) -> None:
        activities, activity = self._activities, attempt.activity
        if not activities.body_begins(attempt):
            return
        if not attempt.pending.policy.is_plain:
            self._worker.call_from_thread(activities.watch_body, attempt)
        try:
            args, kwargs = activity.codec.decode(attempt.pending.step.arguments)
            payload = self._encode(attempt, activity.fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  an activity may raise anything
            self._worker.call_from_thread(activities.body_ends, attempt, None, error)
        else:
            self._worker.call_from_thread(activities.body_ends, attempt, payload, None)

    # -- in the writer's transaction -------------------------------------------------------------

    def has_turn(self, attempt: Attempt) -> bool:
        """Say whether a transaction may begin now; else it waits for those of its run before it."""
        turns = self._turns.setdefault(attempt.run, deque())
        turns.append(attempt)
        return turns[0] is attempt

    def pass_turn(self, attempt: Attempt) -> None:
        """A transaction has ended, or was given up: the next one of its run has its turn."""
        run = attempt.run
        turns = self._turns.get(run)
        if turns is None or attempt not in turns:
            return
        had_turn = turns[0] is attempt
        turns.remove(attempt)
        if not turns:
            del self._turns[run]
        elif had_turn:
            self._loop.call_soon(self._next_turn, run)

    def _next_turn(self, run: LiveRun) -> None:
        turns = self._turns.get(run)
        if turns and turns[0].state is AttemptState.WAITING and turns[0].line is None:
            self._activities.seek_place(turns[0], self._worker.now_us())

    def _transact(self, attempt: Attempt, fresh: Context) -> None:
        run, pending = attempt.run, attempt.pending
        driver, limit = run.driver, self._payload_bytes_max
        activity, step = attempt.activity, pending.step
        codec = activity.codec
        start_to_close_us = pending.policy.start_to_close_us
        event: Event | None = None

        def body(cursor: Any) -> bytes:
            args, kwargs = codec.decode(step.arguments)
            value = fresh.run(activity.fn, cursor, *args, **kwargs)
            encoded: bytes = codec.result.encode(value)
            codec.result.decode(encoded)
            took_us = self._worker.now_us() - attempt.started_us
            if start_to_close_us is not None and took_us > start_to_close_us:
                raise too_slow(attempt, start_to_close_us)
            return check_size(encoded, limit, f"result of {step.name}")

        def operation(transaction: Transaction) -> bytes:
            nonlocal event
            # Nothing but transactions of this run writes to its history now.
            found = transaction.one("get_owner_and_last_seq", run=run.row.pk)
            if found != (self._worker.id, driver.seq) or not self._activities.body_begins(attempt):
                raise _NotWanted
            payload = transaction.perform(body, f"{activity.name} of run {run.row.name}")
            now_us = self._worker.now_us()
            event = Event(
                driver.seq + 1, int(Kind.COMPLETED), step.step_id, step.name, step.fingerprint,
                step.arguments, payload, max(now_us - run.clock_us, driver.at_us),
                max(0, now_us - attempt.started_us),
            )  # fmt: skip
            record(transaction, run, event)
            return payload

        def done(change: Change) -> None:
            self._done(attempt, change, event)

        run.is_recording = True
        run.uncommitted += 1
        self._worker.submit(Change((), done, None, None, operation))

    def _done(self, attempt: Attempt, change: Change, event: Event | None) -> None:
        run, error = attempt.run, change.error
        run.uncommitted -= 1
        run.is_recording = False
        activities = self._activities
        if error is None:
            assert event is not None
            activities.transaction_recorded(attempt, event)
        elif isinstance(error, StoreError):
            self._worker.commit_failed(error)
        elif isinstance(error, _NotWanted):
            if not run.is_over and attempt.is_current and not attempt.pending.step.done():
                self._worker.commit_failed(StoreError(f"run {run.row.name} is another's now"))
        else:
            activities.body_ends(attempt, None, error)
        run.thaw()
        self.pass_turn(attempt)


_PERFORM = Execution._perform.__code__


def record(transaction: Transaction, run: LiveRun, event: Event) -> None:
    """Write the event of a transaction's step in the very transaction."""
    pk = run.row.pk
    arguments = EncodedPayload.of(event.arguments).store(transaction)
    result = EncodedPayload.of(event.result).store(transaction)
    transaction.rows(
        "insert_event",
        [
            (
                pk, event.seq, event.kind, event.step, event.name, event.fingerprint, arguments,
                result, checksum_of_two(event.arguments, event.result), event.at_us, event.took_us,
            )
        ],
    )  # fmt: skip
    transaction.all("note_recorded", run=pk, seq=event.seq)
    transaction.rows("delete_step", [(pk, event.step)])


def _set_result(future: asyncio.Future[R], value: R) -> None:
    if not future.done():
        future.set_result(value)


def _set_exception(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
