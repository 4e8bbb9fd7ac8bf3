"""Attempts: performing activities, with their timeouts, retries and cancellation.

An async activity runs on the engine's loop, in a task and a context of its own; a plain function
runs in a thread. An attempt ends once: by its result, by its exception, by a timeout, or because
nobody waits for it any more; what comes later is ignored.

A run that lost its worker again and again is served alone, so that the next death has one suspect:
its attempts begin when those of all other runs have ended and its row says so, and no other begins
until the row says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any

import msgspec

from durable._clock import uniform
from durable._core import context
from durable._core.events import Kind
from durable._core.failures import failure_json, rebuild_exception, record_exception, summary
from durable._core.loop import HostAway
from durable._runtime.attempts import Attempt
from durable._runtime.issues import RETRIES_MIN
from durable._runtime.limits import TimeLimits
from durable._runtime.runs import LiveRun, Rows, step_row
from durable._store import messages
from durable._store.repairs import Pausing
from durable._store.rows import LOST_ALONE, StepRow
from durable._store.writer import Change, Transaction
from durable.errors import (
    ActivityError,
    OutcomeUnknown,
    PayloadError,
    RetryAfter,
    ScheduleToCloseTimeout,
    ScheduleToStartTimeout,
    StoreError,
    UsageError,
)
from durable.payloads import check_size, checksum, seems_large
from durable.policies import duration_us, edited

if TYPE_CHECKING:
    from durable._core.loop import Step
    from durable._runtime.worker import Worker

__all__ = ["Activities"]

logger = logging.getLogger("durable.activity")

# Heartbeats reach the file at most this often; the last one always does.
HEARTBEAT_STORE_US = 1_000_000


_SMALL = {int, float, bool, NoneType}
# Another attempt would come too late as well.
_NEVER_RETRIED = (ScheduleToCloseTimeout, ScheduleToStartTimeout)


class Activities:
    """Performs the attempts of one worker's runs."""

    def __init__(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        self._worker = worker
        self._loop = loop
        self._now_us = worker.now_us
        self._payload_bytes_max = worker.limits.payload_bytes_max
        self._queue: deque[Attempt] = deque()
        self._limit = worker.limits.max_running_activities
        self._limits = TimeLimits(worker, self._time_out)
        self.running = 0
        self._ended: list[tuple[Attempt, bytes | None, BaseException | None]] = []
        self._suspects: dict[LiveRun, deque[Attempt]] = {}
        """Attempts of runs that are served alone, until it is their turn."""
        self._alone: LiveRun | None = None
        """The run served alone, or about to be: meanwhile no attempt of another begins."""
        self._is_marked = False
        self._stopping = False

    @property
    def is_unsettled(self) -> bool:
        """Whether attempts have ended whose ends are not yet recorded."""
        return bool(self._ended)

    @property
    def is_busy(self) -> bool:
        """Whether attempts run, or have ended and are not yet recorded."""
        return self.running > 0 or bool(self._ended)

    # -- the life of a step ----------------------------------------------------------------------

    def begin(self, run: LiveRun, step: Step) -> None:
        """Perform a step the code asked for, from where an earlier process left it."""
        now_us = self._now_us()
        attempt = Attempt(run, step, now_us)
        run.attempts[step.step_id] = attempt
        if run.policies:
            self._look_at_policy(attempt)
        policy = attempt.policy
        if run.steps:
            remembered = run.steps.get(step.step_id)
            if remembered is not None and self._recall(attempt, remembered):
                return
        elif policy.is_plain:
            self._enqueue(attempt, now_us)
            return
        self._limits.limit_all(attempt)
        if attempt.retry_at_us is not None:
            self._wait_for_retry(attempt)
        elif policy.at_most_once:
            self._remember(attempt, "intent", [], partial(self._enqueue, attempt))
        else:
            self._enqueue(attempt, now_us)

    def _recall(self, attempt: Attempt, row: StepRow) -> bool:
        """Take over what the file remembers; True if nothing is left to perform."""
        attempt.number, attempt.counted_from = row.attempt, row.counted_from
        attempt.scheduled_us = row.scheduled_us
        attempt.details, attempt.last_error = row.details, row.error
        if row.state == "intent":
            name = attempt.activity.name
            self._end_failed(
                attempt,
                OutcomeUnknown(
                    f"{name} was begun at most once, and its end was not recorded: it may or may "
                    "not have happened. Find out, then decide in the workflow"
                ),
                [],
            )
            return True
        if row.state == "later":
            self._wait_for_answer(attempt)
            return True
        if row.state == "done":  # The transaction that did it also said so.
            attempt.started_us = row.scheduled_us
            self._succeeded(attempt, self._worker.store.reader.payload(row.result))
            return True
        if row.state == "retrying":
            attempt.retry_at_us = row.retry_at_us
        return False

    def look_again(self, attempt: Attempt) -> None:
        """Its run goes on after all: what was not begun meanwhile is begun."""
        if not attempt.is_in_hand and not attempt.is_later:
            if attempt.retry_at_us is None:
                self._enqueue(attempt)
            else:
                self._wait_for_retry(attempt)

    def _enqueue(self, attempt: Attempt, now_us: int | None = None) -> None:
        if attempt.over or attempt.run.pausing is not None:
            return
        attempt.is_in_hand = True
        if attempt.run.lost >= LOST_ALONE:
            self._suspects.setdefault(attempt.run, deque()).append(attempt)
            self._serve_alone()
            if attempt.started_us:
                return
        elif self.running < self._limit and not self._stopping and self._alone is None:
            self._launch(attempt, self._now_us() if now_us is None else now_us)
            return
        else:
            self._queue.append(attempt)
        self._limits.limit_wait(attempt, self.running)

    def _launch(self, attempt: Attempt, now_us: int) -> None:
        self.running += 1
        attempt.retry_at_us = None
        activity = attempt.activity
        attempt.started_us = now_us
        policy = attempt.policy
        if not policy.is_plain:
            attempt.last_beat_us = now_us
            self._limits.limit_launched(attempt)
        fresh = Context()
        if activity.in_transaction:
            self._perform_in_transaction(attempt, fresh)
        elif activity.is_async:
            # Not loop.create_task: a task factory is for the host's tasks, and costs a call.
            attempt.task = asyncio.Task(self._perform(attempt), loop=self._loop, context=fresh)
        else:
            fresh.run(context.attempt.set, attempt)
            self._worker.threads.run(partial(fresh.run, self._perform_in_thread, attempt))

    async def _perform(self, attempt: Attempt) -> None:
        context.attempt.set(attempt)
        activity = attempt.activity
        codec = activity.codec
        try:
            args, kwargs = codec.decode(attempt.step.arguments)
            value = await activity.fn(*args, **kwargs)
            if value.__class__ not in _SMALL and seems_large(value):
                payload = await self._in_thread(partial(codec.result.encode, value))
            else:
                payload = codec.result.encode(value)
        except KeyboardInterrupt:
            self._leave_place(attempt)
            raise
        except BaseException as error:  # noqa: BLE001  an activity may raise anything
            self._ended_with(attempt, None, error)
        else:
            self._ended_with(attempt, payload, None)

    def _perform_in_transaction(self, attempt: Attempt, fresh: Context) -> None:
        """Run the function inside the writer's transaction, which also keeps its result."""
        run, step, activity = attempt.run, attempt.step, attempt.activity
        codec, limit = activity.codec, self._payload_bytes_max
        fresh.run(context.attempt.set, attempt)
        payload = b""

        def perform(cursor: Any) -> bytes:
            args, kwargs = codec.decode(step.arguments)
            value = fresh.run(activity.fn, cursor, *args, **kwargs)
            encoded: bytes = codec.result.encode(value)
            codec.result.decode(encoded)
            return check_size(encoded, limit, f"result of {step.name}")

        def operation(transaction: Transaction) -> None:
            nonlocal payload
            payload = transaction.perform(perform, f"{activity.name} of run {run.row.name}")
            stored = messages.pack(payload, self._worker.new_salt()).store(transaction)
            row = attempt.remembered("done")
            row.result = stored
            transaction.rows("upsert_step", [step_row(run, step, row)])

        def done(change: Change) -> None:
            if change.error is None:
                run.steps[step.step_id] = attempt.remembered("done")
                self._ended_with(attempt, payload, None)
            elif isinstance(change.error, StoreError):
                self._leave_place(attempt)
                self._worker.commit_failed(change.error)
            else:
                self._ended_with(attempt, None, change.error)

        self._worker.submit(Change((), done, None, None, operation))

    async def _in_thread(self, work: Callable[[], bytes]) -> bytes:
        future: asyncio.Future[bytes] = self._loop.create_future()

        def job() -> None:
            try:
                value = work()
            except Exception as error:  # noqa: BLE001  handed over
                self._worker.call_from_thread(_set_exception, future, error)
            else:
                self._worker.call_from_thread(_set_result, future, value)

        self._worker.threads.run(job)
        return await future

    def _perform_in_thread(self, attempt: Attempt) -> None:
        activity = attempt.activity
        try:
            args, kwargs = activity.codec.decode(attempt.step.arguments)
            payload = activity.codec.result.encode(activity.fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  an activity may raise anything
            self._worker.call_from_thread(self._ended_with, attempt, None, error)
        else:
            self._worker.call_from_thread(self._ended_with, attempt, payload, None)

    def _ended_with(
        self, attempt: Attempt, payload: bytes | None, error: BaseException | None
    ) -> None:
        """Note an end; all that end in one turn of the host's loop are settled together."""
        self._leave_place(attempt)
        attempt.has_ended = True
        if not self._ended:
            self._loop.call_soon(self._settle)
        self._ended.append((attempt, payload, error))

    def _settle(self) -> None:
        ended, self._ended = self._ended, []
        with HostAway():
            for attempt, payload, error in ended:
                if attempt.over or attempt.run.is_over:
                    continue
                if payload is not None:
                    self._succeeded(attempt, payload)
                elif isinstance(error, PayloadError):
                    self._end_attempt_failed(attempt, error)
                elif self._stopping and isinstance(error, asyncio.CancelledError):
                    self._cut_off(attempt)
                else:
                    assert error is not None
                    self._failed(attempt, error)
        self._worker.commit_here()  # Not a turn later: all that could come along is settled.

    def _leave_place(self, attempt: Attempt) -> None:
        self.running -= 1
        attempt.task = None
        if self._queue or self._suspects:
            self._loop.call_soon(self._fill_places)

    def _fill_places(self) -> None:
        if self._suspects or self._alone is not None:
            self._serve_alone()
        while self._queue and self.running < self._limit and self._alone is None:
            if self._stopping:
                return
            attempt = self._queue.popleft()
            if not attempt.over:
                self._launch(attempt, self._now_us())

    # -- alone -----------------------------------------------------------------------------------

    def look_alone(self) -> None:
        """See whether the run served alone still is, and who comes next."""
        if self._suspects or self._alone is not None:
            self._loop.call_soon(self._fill_places)

    def _serve_alone(self) -> None:
        """Choose who is served alone, and begin its attempts once the file says so."""
        run = self._alone
        if run is None or run.gone or not run.alone:
            run = self._alone = self._next_suspect()
            self._is_marked = False
        if run is None or self._stopping:
            return
        if not run.alone:
            if not self._others_run(run):
                self._mark(run)
        elif self._is_marked:
            attempts = self._suspects.pop(run, deque())
            while attempts and self.running < self._limit:
                attempt = attempts.popleft()
                if not attempt.over:
                    self._launch(attempt, self._now_us())
            if attempts:
                self._suspects[run] = attempts

    def _next_suspect(self) -> LiveRun | None:
        while self._suspects:
            run, attempts = next(iter(self._suspects.items()))
            wanted = [attempt for attempt in attempts if not attempt.over]
            if wanted and run.lost >= LOST_ALONE:
                return run
            del self._suspects[run]
            self._queue += wanted  # An event of it was recorded: it kills no worker.
        return None

    def _others_run(self, run: LiveRun) -> bool:
        return any(
            attempt.started_us and attempt.is_in_hand and not attempt.has_ended
            for other in self._worker.live.values()
            if other is not run
            for attempt in other.attempts.values()
        )

    def _mark(self, run: LiveRun) -> None:
        run.alone = True
        run.uncommitted += 1

        def done(change: Change) -> None:
            if change.error is not None:
                run.not_committed(change.error)
                return
            run.uncommitted -= 1
            if self._alone is run:
                self._is_marked = True
                self._fill_places()

        self._worker.submit(Change([run.alone_row(alone=True)], done))

    # -- ends ------------------------------------------------------------------------------------

    def _finish(self, attempt: Attempt) -> None:
        attempt.over = True
        attempt.is_in_hand = False
        attempt.run.attempts.pop(attempt.step_id, None)
        if attempt.timers is not None:
            for timer in attempt.timers:
                self._worker.timers.cancel(timer)

    def _wait_for_answer(self, attempt: Attempt) -> None:
        """Let the step wait for its token; its time limits go on."""
        if attempt.over:
            return
        attempt.is_later, attempt.is_in_hand = True, False
        # Its function has ended, the step has not. A limit that was reached meanwhile was not
        # judged, so all are set again.
        attempt.has_ended = False
        self._limits.clear(attempt)
        limit_us = attempt.policy.start_to_close_us
        if limit_us is not None:
            attempt.started_us = attempt.started_us or attempt.scheduled_us
            self._limits.limit_attempt(attempt, limit_us)
        attempt.run.look_idle()

    def answered(
        self, run: LiveRun, step: Step, payload: bytes, rows: Rows, *, rejects: bool
    ) -> None:
        """Somebody outside completed a step that waits for its token."""
        attempt = run.attempts.get(step.step_id)
        if attempt is None or not attempt.later | attempt.is_later:
            self._worker.submit(Change(rows))
            return
        if rejects:
            error = rebuild_exception(msgspec.json.decode(payload))
            rows.append(self._attempt_row(attempt, error, self._now_us()))
            self._end_failed(attempt, error, rows)
            return
        self._finish(attempt)
        if run.steps.pop(step.step_id, None) is not None:
            rows.append(("delete_step", (run.row.pk, step.step_id)))
        started_us = attempt.started_us or attempt.scheduled_us
        run.deliver(
            Kind.COMPLETED, step.step_id, step.name, step.fingerprint, step.arguments, payload,
            max(0, self._now_us() - started_us), rows,
        )  # fmt: skip

    def publish(self, attempt: Attempt, payload: bytes, name: str, *, is_item: bool) -> None:
        """Write what an attempt publishes as it comes; from any thread."""
        check_size(payload, self._payload_bytes_max, name)
        self._worker.call_from_thread(self._publish, attempt, payload, name, is_item)

    def _publish(self, attempt: Attempt, payload: bytes, name: str, is_item: bool) -> None:
        run, now_us = attempt.run, self._now_us()
        if attempt.over or run.is_over:
            return
        rows: Rows = []
        if is_item:
            number = attempt.next_item(name)
            run.append(name, attempt.step_id, attempt.number, number, payload, now_us, rows)
        else:
            stored = self._worker.stored(payload, rows)
            rows.append(("upsert_value", (run.row.pk, name, stored, checksum(payload), now_us)))

        def done(change: Change) -> None:
            if change.error is not None:
                self._worker.commit_failed(change.error)
            else:
                self._worker.notify(run.row.pk, "news")

        self._worker.submit(Change(rows, done, soft=True))

    def _succeeded(self, attempt: Attempt, payload: bytes) -> None:
        run, step = attempt.run, attempt.step
        if attempt.later:
            self._remember(attempt, "later", [], partial(self._wait_for_answer, attempt))
            return
        try:
            if len(payload) > self._payload_bytes_max:
                check_size(payload, self._payload_bytes_max, f"result of {step.name}")
            value = step.decode(payload)
        except PayloadError as error:
            self._end_attempt_failed(attempt, error)
            return
        self._finish(attempt)
        rows: Rows | None = None
        if run.steps and run.steps.pop(step.step_id, None) is not None:
            rows = [("delete_step", (run.row.pk, step.step_id))]
        now_us = self._now_us()
        took_us = now_us - attempt.started_us
        run.deliver(
            Kind.COMPLETED,
            step.step_id,
            step.name,
            step.fingerprint,
            step.arguments,
            payload,
            took_us if took_us > 0 else 0,
            rows,
            value,
            now_us,
        )

    def _failed(self, attempt: Attempt, error: BaseException) -> None:
        """An attempt raised: try again later, pause, or hand the exception to the workflow."""
        policy, now_us = attempt.policy, self._now_us()
        retry = policy.retry
        counted = attempt.number - attempt.counted_from + 1
        rows: Rows = [self._attempt_row(attempt, error, now_us)]
        if policy.at_most_once or isinstance(error, _NEVER_RETRIED):
            self._end_failed(attempt, error, rows)
            return
        try:
            gives_up = retry.gives_up(error, counted)
        except Exception:
            logger.exception("retry_if of %s raised; giving up", attempt.activity.name)
            gives_up = True
        if gives_up:
            if retry.on_exhausted == "pause":
                self._exhausted(attempt, error, rows)
            else:
                self._end_failed(attempt, error, rows)
            return
        if isinstance(error, RetryAfter):
            wait_us = duration_us(error.seconds)
        else:
            wait_us = retry.wait_us(counted, uniform(0.0, 1.0))
        limit_us = policy.schedule_to_close_us
        if limit_us is not None and now_us + wait_us >= attempt.scheduled_us + limit_us:
            late = ScheduleToCloseTimeout(
                f"{attempt.activity.name} did not succeed within {limit_us / 1e6:g} s: the next "
                f"attempt would be too late; attempt {attempt.number} failed: "
                f"{type(error).__name__}: {error}"
            )
            late.__cause__ = error
            self._end_failed(attempt, late, rows)
            return
        attempt.number += 1
        attempt.retry_at_us = now_us + wait_us
        record = record_exception(error)
        attempt.last_error = summary(record)
        run = attempt.run
        if counted >= RETRIES_MIN and not run.has_issue:
            rows += run.failure_rows("retrying", record, now_us, attempt.activity.name)
        attempt.is_in_hand = False
        attempt.started_us = 0
        attempt._info = None
        attempt.has_ended = attempt.later = attempt.is_later = False
        self._limits.clear(attempt)
        self._remember(attempt, "retrying", rows, partial(self._wait_for_retry, attempt))

    def _attempt_row(
        self, attempt: Attempt, error: BaseException, now_us: int, state: str = "failed"
    ) -> tuple[str, tuple[Any, ...]]:
        return "insert_attempt", (
            attempt.run.row.pk, attempt.step_id, attempt.number, attempt.activity.name, state,
            attempt.started_us or now_us, now_us, failure_json(error).decode(),
        )  # fmt: skip

    def _end_attempt_failed(self, attempt: Attempt, error: BaseException) -> None:
        """End the step with an error that no retry can mend."""
        self._end_failed(attempt, error, [self._attempt_row(attempt, error, self._now_us())])

    def _end_failed(self, attempt: Attempt, error: BaseException, rows: Rows) -> None:
        run, step = attempt.run, attempt.step
        self._finish(attempt)
        if run.steps.pop(step.step_id, None) is not None:
            rows.append(("delete_step", (run.row.pk, step.step_id)))
        started_us = attempt.started_us or attempt.scheduled_us
        run.deliver(
            Kind.FAILED,
            step.step_id,
            step.name,
            step.fingerprint,
            step.arguments,
            failure_json(error),
            max(0, self._now_us() - started_us),
            rows,
        )

    def _exhausted(self, attempt: Attempt, error: BaseException, rows: Rows) -> None:
        attempt.last_error = summary(record_exception(error))
        attempt.number += 1
        row = attempt.remembered("exhausted")
        rows.append(("upsert_step", step_row(attempt.run, attempt.step, row)))
        self._finish(attempt)
        why = (
            f"step {attempt.step_id} ({attempt.activity.name}) failed {attempt.number - 1} times: "
            f"{attempt.last_error}; retry it once the reason is mended"
        )
        attempt.run.pause(Pausing(message=why), rows)

    def _remember(
        self, attempt: Attempt, state: str, rows: Rows, then: Callable[[], None] | None
    ) -> None:
        """Commit what the file is to remember of a pending step, then go on."""
        run, row = attempt.run, attempt.remembered(state)
        run.steps[attempt.step_id] = row
        rows.append(("upsert_step", step_row(run, attempt.step, row)))
        if state == "intent":
            rows.append(("insert_once", (run.row.pk, attempt.step_id)))
        run.uncommitted += 1
        ends_alone = False
        if run.alone and state == "retrying":
            begun = (one for one in run.attempts.values() if one.started_us and one.is_in_hand)
            ends_alone = next(begun, None) is None
        if ends_alone:  # It only waits now: whoever kills the worker meanwhile, it is another.
            self._is_marked = False
            rows.append(run.alone_row(alone=False))

        def done(change: Change) -> None:
            if change.error is not None:
                run.not_committed(change.error)
                return
            run.uncommitted -= 1
            if ends_alone:
                run.alone = False
                self.look_alone()
            if then is not None and not attempt.over and not run.is_over:
                then()
                run.look_idle()

        self._worker.submit(Change(rows, done))

    def _wait_for_retry(self, attempt: Attempt) -> None:
        assert attempt.retry_at_us is not None
        attempt.is_in_hand = False
        self._limits.at(attempt, attempt.retry_at_us, self._enqueue)

    def hurry(self, run: LiveRun) -> None:
        """Try everything that waits for a retry now; earlier attempts count no more."""
        now_us = self._now_us()
        for attempt in list(run.attempts.values()):
            if attempt.retry_at_us is not None:
                attempt.retry_at_us = None
                attempt.counted_from, attempt.scheduled_us = attempt.number, now_us
                self._limits.clear(attempt)
                self._enqueue(attempt)

    # -- a policy changed by a person ------------------------------------------------------------

    def _look_at_policy(self, attempt: Attempt) -> None:
        """Let a step have the policy that a person gave it."""
        text = attempt.run.policies.get(attempt.step_id)
        if text is None:
            return
        try:
            attempt.policy = edited(attempt.activity.policy, msgspec.json.decode(text))
        except (UsageError, TypeError, msgspec.DecodeError) as error:
            logger.warning(
                "run %s: the changed policy of step %s (%s) is of no use: %s",
                attempt.run.row.name, attempt.step_id, attempt.activity.name, error,
            )  # fmt: skip

    def edit(self, run: LiveRun, step_id: str) -> None:
        """A person changed the policy of a step: its limits and its wait are set anew."""
        attempt = run.attempts.get(step_id)
        if attempt is None or attempt.over:
            return
        self._look_at_policy(attempt)
        attempt.deadline_us = None
        attempt._info = None
        self._limits.clear(attempt)
        now_us = self._now_us()
        if attempt.is_later:
            self._wait_for_answer(attempt)
        elif attempt.retry_at_us is not None:
            failed = max(1, attempt.number - attempt.counted_from)
            soon_us = now_us + attempt.policy.retry.wait_us(failed, 0.5)
            attempt.retry_at_us = min(attempt.retry_at_us, soon_us)
            self._remember(attempt, "retrying", [], partial(self._wait_for_retry, attempt))
        elif attempt.started_us:
            self._limits.limit_launched(attempt)

    # -- cancellation ----------------------------------------------------------------------------

    def drop(self, run: LiveRun, step: Step) -> None:
        """Nobody waits for the step any more: end its attempt without an event."""
        attempt = run.attempts.get(step.step_id)
        if attempt is None:
            if run.steps.pop(step.step_id, None) is not None:  # It was to be begun again.
                self._worker.submit(Change([("delete_step", (run.row.pk, step.step_id))]))
            return
        rows = self.give_up(attempt, "the workflow no longer waits for this step")
        if rows:
            self._worker.submit(Change(rows))

    def give_up(self, attempt: Attempt, why: str) -> Rows:
        """End an attempt without an event; return the rows that say so."""
        run, step_id = attempt.run, attempt.step_id
        rows: Rows = []
        if attempt.started_us:
            rows.append(self._attempt_row(attempt, ActivityError(why), self._now_us(), "abandoned"))
        if run.steps.pop(step_id, None) is not None:
            rows.append(("delete_step", (run.row.pk, step_id)))
        self.abandon(attempt)
        return rows

    def abandon(self, attempt: Attempt) -> None:
        """Tell an attempt's code that its end is of no interest; it keeps its place until then."""
        self._finish(attempt)
        attempt.unwanted = True
        if attempt.task is not None:
            attempt.task.cancel()
        self.look_alone()

    def _cut_off(self, attempt: Attempt) -> None:
        """The engine stops: the attempt is made again later, under the same number."""
        self._finish(attempt)

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping = True

    def cancel_all(self, runs: list[LiveRun]) -> None:
        """The grace time is over: cancel what still runs; it is made again later."""
        for run in runs:
            for attempt in list(run.attempts.values()):
                attempt.unwanted = True
                if attempt.task is not None:
                    attempt.task.cancel()

    # -- time ------------------------------------------------------------------------------------

    def _time_out(self, attempt: Attempt, error: BaseException) -> None:
        """End the running attempt with a timeout; its own late end is ignored."""
        ghost = Attempt(attempt.run, attempt.step, attempt.scheduled_us)
        if attempt.started_us or attempt.task is not None:
            # The code that still runs keeps the old object; a new one goes on in its place.
            for field in (
                "number", "counted_from", "started_us", "details", "last_error", "last_beat_us",
                "policy",
            ):  # fmt: skip
                setattr(ghost, field, getattr(attempt, field))
            self.abandon(attempt)
            attempt.run.attempts[attempt.step_id] = ghost
            self._failed(ghost, error)
            return
        self._failed(attempt, error)

    def beat(self, attempt: Attempt, details: Any) -> None:
        """Note a heartbeat; from any thread."""
        now_us = self._now_us()
        attempt.last_beat_us = now_us
        if details is None:
            return
        try:
            attempt.details = msgspec.json.encode(details).decode()
        except (TypeError, ValueError, RecursionError) as error:
            raise PayloadError(
                f"heartbeat details of {attempt.activity.name}: {error}; pass plain data"
            ) from error
        if attempt.over or now_us - attempt.details_stored_us < HEARTBEAT_STORE_US:
            return
        attempt.details_stored_us = now_us
        self._worker.call_from_thread(self._store_details, attempt)

    def _store_details(self, attempt: Attempt) -> None:
        if attempt.over or attempt.run.is_over or attempt.policy.at_most_once:
            return
        run, row = attempt.run, attempt.remembered("running")
        run.steps[attempt.step_id] = row
        rows = [("upsert_step", step_row(run, attempt.step, row))]
        self._worker.submit(Change(rows, soft=True))


def _set_result(future: asyncio.Future[bytes], value: bytes) -> None:
    if not future.done():
        future.set_result(value)


def _set_exception(future: asyncio.Future[bytes], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
