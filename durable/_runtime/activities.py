"""Activities: what becomes of the steps that runs ask for, attempt by attempt.

This module decides: it moves steps and attempts through the tables of `durable._core.machines`,
gives places, and turns ends into events. `Execution` runs the bodies, `Places` says which attempt
may begin, `Quarantine` which run must be alone, `TimeLimits` when time is over.

Laws:

* An attempt ends once: by its result, by its exception, by a timeout, or because nobody waits for
  it any more. What comes later changes nothing.
* A body that has not begun when its step is given up, when its run ends or pauses or when the
  engine stops, never begins.
* What an attempt holds is given back on every way out: its place and thread by `_give_place_back`,
  everything else by `_close`.
* Whatever an attempt raises or returns concerns that attempt: the others that ended in the same
  turn of the loop are settled, the engine lives.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from durable._clock import uniform
from durable._core.events import Event, Kind
from durable._core.failures import failure_json, rebuild_exception, record_exception, summary
from durable._core.loop import HostAway
from durable._core.machines import ATTEMPT, STEP, AttemptState, RunState, StepState
from durable._runtime.attempt_timeouts import TimeLimits
from durable._runtime.attempts import Attempt, PendingStep
from durable._runtime.execution import Execution
from durable._runtime.issues import RETRIES_MIN
from durable._runtime.logs import about
from durable._runtime.places import Places
from durable._runtime.quarantine import Quarantine
from durable._runtime.runs import LiveRun, Rows, step_row
from durable._runtime.slow_steps import SlowSteps
from durable._runtime.told import Told
from durable._store.repairs import Pausing
from durable._store.rows import LOST_ALONE, StepRow
from durable._store.statements import Row
from durable._store.stored_payloads import column_of
from durable._store.writer import Change
from durable.errors import (
    ActivityError,
    DefinitionError,
    HeartbeatTimeout,
    OutcomeUnknown,
    PayloadError,
    RetryAfter,
    ScheduleToCloseTimeout,
    ScheduleToStartTimeout,
    StartToCloseTimeout,
    UsageError,
)
from durable.payloads import check_size, checksum, decode_document, encode_document
from durable.policies import duration_us, edited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from durable._core.loop import Step
    from durable._runtime.worker import Worker

__all__ = ["Activities"]

logger = logging.getLogger("durable.activity")

# Heartbeats reach the file at most this often; the last one always does.
HEARTBEAT_STORE_US = 1_000_000

# Another attempt would come too late as well.
_NEVER_RETRIED = (ScheduleToCloseTimeout, ScheduleToStartTimeout)
_OUR_TIMEOUTS = (*_NEVER_RETRIED, StartToCloseTimeout, HeartbeatTimeout)

_PLACE_FREE = ATTEMPT.facts["place free"]
_BODY_BEGINS = ATTEMPT.facts["body begins"]
_BODY_BEGINS_AGAIN = ATTEMPT.facts["body begins again"]
_BODY_ENDS = ATTEMPT.facts["body ends"]
_SETTLED = ATTEMPT.facts["settled"]
_GIVEN_UP = ATTEMPT.facts["given up"]
_WANTED = STEP.facts["attempt wanted"]
_RETRY_WAIT = STEP.facts["waits for its retry"]
_TOKEN_WAIT = STEP.facts["waits for its token"]
_RUN_PAUSES = STEP.facts["run pauses"]
_STEP_ENDS = STEP.facts["ends"]
_STEP_GIVEN_UP = STEP.facts["given up"]

_WAITING, _PLACED = AttemptState.WAITING, AttemptState.PLACED
_BEGUN, _RETURNED = AttemptState.BEGUN, AttemptState.RETURNED
_CLOSED = AttemptState.CLOSED
_NOT_BEGUN = frozenset({_WAITING, _PLACED})
_PAUSING = RunState.PAUSING


class Activities:
    """Performs the steps of one worker's runs.

    Attributes:
        places: Who may begin.
        is_stopping: Nothing new begins.
        grace_is_over: What still runs was told to end.
    """

    def __init__(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        self._worker = worker
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._now_us = worker.now_us
        self._payload_bytes_max = worker.limits.payload_bytes_max
        self._guard = threading.Lock()
        """Between the loop, which gives attempts up, and the threads on which bodies begin."""
        self.places = Places(worker.limits)
        self._limits = TimeLimits(worker, self._time_out)
        self._execution = Execution(worker, loop, self)
        self._quarantine = Quarantine(worker, self)
        self._slow = SlowSteps(worker, self)
        self.told = Told(loop)
        self._ended: list[tuple[Attempt, bytes | None, BaseException | None]] = []
        self._will_fill = False
        self.is_stopping = False
        self.grace_is_over = False

    @property
    def running(self) -> int:
        """Attempts that have a place."""
        return self.places.running

    @property
    def is_unsettled(self) -> bool:
        """Whether attempts have ended whose ends are not yet recorded."""
        return bool(self._ended)

    @property
    def is_busy(self) -> bool:
        """Whether attempts run, or have ended and are not yet recorded."""
        return self.places.running > 0 or bool(self._ended)

    def has_tasks(self, runs: Iterable[LiveRun]) -> bool:
        """Say whether async bodies of some runs go on, or have ended and are not yet recorded."""
        return bool(self._ended) or any(
            one.attempt is not None and one.attempt.task is not None
            for run in runs
            for one in run.pending.values()
        )

    def look_alone_soon(self) -> None:
        """See in this turn of the loop whether the run served alone still is."""
        self._quarantine.look_soon()

    # -- the beginning of a step -----------------------------------------------------------------

    def begin(self, run: LiveRun, step: Step) -> None:
        """Perform a step the code asked for, from where an earlier process left it."""
        now_us = self._now_us()
        pending = PendingStep(run, step, now_us)
        run.pending[step.step_id] = pending
        if run.policies:
            self._look_at_policy(pending)
        if run.step_rows:
            remembered = run.step_rows.get(step.step_id)
            if remembered is not None and self._recall(pending, remembered):
                return
        if not pending.policy.is_plain:
            self._limits.limit_all(pending)
        elif pending.activity.is_async and self._begins_at_once(pending, now_us):
            return
        if pending.retry_at_us is not None:
            self._wait_for_retry(pending)
        else:
            self._want(pending, now_us)

    def _begins_at_once(self, pending: PendingStep, now_us: int) -> bool:
        """Let the body of an async activity without limits begin, if nothing at all is in its way.

        That is nearly every step: what `_want`, `seek_place`, `place` and `launch` do for it, in
        one call instead of six.
        """
        run, places = pending.run, self.places
        if (
            places.waiting
            or places.running >= places.limit
            or self._quarantine.run is not None
            or run.lost >= LOST_ALONE
            or run.state is _PAUSING
            or self.is_stopping
            or pending.retry_at_us is not None
            or run.shown
        ):
            return False
        pending.state = _WANTED[pending.state]
        attempt = pending.attempt = Attempt(pending, now_us)
        attempt.state = _PLACE_FREE[attempt.state]
        attempt.started_us = now_us
        places.running += 1
        if not self._slow.will_look:
            self._slow.watch()
        self._execution.begin_task(attempt)
        return True

    def _recall(self, pending: PendingStep, row: StepRow) -> bool:
        """Take over what the file remembers; True if nothing is left to perform."""
        pending.number, pending.counted_from = row.attempt, row.counted_from
        pending.scheduled_us = row.scheduled_us
        pending.details, pending.last_error = row.details, row.error
        if row.state == "intent":
            name = pending.activity.name
            self._end_failed(
                pending,
                OutcomeUnknown(
                    f"{name} was begun at most once, and its end was not recorded: it may or may "
                    "not have happened. Find out, then decide in the workflow"
                ),
                [],
            )
            return True
        if row.state == "later":
            pending.state = _TOKEN_WAIT[pending.state]
            pending.token_since_us = row.started_us or row.scheduled_us
            self._wait_for_answer(pending)
            return True
        if row.state == "retrying":
            pending.retry_at_us = row.retry_at_us
        return False

    def take_up(self, run: LiveRun) -> None:
        """A run that was about to be paused goes on after all: what was held back begins."""
        for pending in list(run.pending.values()):
            if pending.state is StepState.HELD:
                self._want(pending, self._now_us())

    def _want(self, pending: PendingStep, now_us: int) -> None:
        """Begin an attempt, as soon as there is a place for it."""
        run = pending.run
        pending.retry_at_us = None
        if run.state is _PAUSING or self.is_stopping:
            pending.state = _RUN_PAUSES[pending.state]
            return
        pending.state = _WANTED[pending.state]
        attempt = pending.attempt = Attempt(pending, now_us)
        if attempt.activity.in_transaction and not self._execution.has_turn(attempt):
            self._limit_wait(attempt)
        else:
            self.seek_place(attempt, now_us)

    def seek_place(self, attempt: Attempt, now_us: int) -> None:
        """Let an attempt begin, or wait where it has to."""
        if attempt.run.lost >= LOST_ALONE:
            self._quarantine.add(attempt)
        elif self._quarantine.run is None and self.places.has_room(attempt):
            self.place(attempt, now_us)
            return
        else:
            self.places.wait(attempt)
        if attempt.state is _WAITING:
            self._limit_wait(attempt)

    def _limit_wait(self, attempt: Attempt) -> None:
        if attempt.timers is None:
            self._limits.limit_wait(attempt, lambda: self.what_holds_up(attempt))
            self._slow.watch()

    def what_holds_up(self, attempt: Attempt) -> str:
        """Return why an attempt that waits does not begin, for people."""
        if attempt.line is not None:
            return self.places.what_holds_up(attempt)
        alone = self._quarantine.run
        if alone is not None and alone is not attempt.run:
            return (
                f"run {alone.row.name} is served alone: it has lost its worker {alone.lost} times"
            )
        if attempt.run.lost >= LOST_ALONE:
            return "its run has lost its worker again and again, and waits to be served alone"
        return "a transaction of its run comes before it"

    def place(self, attempt: Attempt, now_us: int) -> None:
        """Give an attempt that waits its place, and let its body begin."""
        attempt.state = _PLACE_FREE[attempt.state]
        attempt.started_us = attempt.since_us = now_us
        if attempt.run.shown:
            attempt.run.show_ready()
        self.places.take(attempt)
        self._slow.watch()
        if attempt.pending.policy.at_most_once:
            attempt.has_intent = True
            then = partial(self._execution.launch, attempt)
            self.remember(attempt.pending, "intent", [], then)
        else:
            self._execution.launch(attempt)

    # -- the body --------------------------------------------------------------------------------

    def body_begins(self, attempt: Attempt) -> bool:
        """Note that a body begins, on any thread; False if it must not: it was given up.

        The code may have given it up in a drain that is not committed yet.
        """
        with self._guard:
            if attempt.pending.step.done():
                return False
            if attempt.state is _PLACED:
                attempt.state = _BODY_BEGINS[attempt.state]
            elif attempt.state is _BEGUN:
                attempt.state = _BODY_BEGINS_AGAIN[attempt.state]
            else:
                return False
            attempt.started_us = self._now_us()
        return True

    def watch_body(self, attempt: Attempt) -> None:
        """Set the clocks of a body that has begun."""
        if attempt.state is _BEGUN:
            self._limits.limit_begun(attempt)

    def body_ends(
        self, attempt: Attempt, payload: bytes | None, error: BaseException | None
    ) -> None:
        """Note an end; all that end in one turn of the host's loop are settled together."""
        state = attempt.state = _BODY_ENDS[attempt.state]
        self._give_place_back(attempt)
        if state is _CLOSED:
            return
        if not self._ended:
            self._loop.call_soon(self._settle)
        self._ended.append((attempt, payload, error))

    def transaction_recorded(self, attempt: Attempt, event: Event) -> None:
        """A transaction is in the file, with the event of its step: let the code react."""
        run, pending = attempt.run, attempt.pending
        state = attempt.state = _BODY_ENDS[attempt.state]
        self._give_place_back(attempt)
        if run.gone:
            return  # Whoever reads the run again finds the event.
        if state is not _CLOSED:
            attempt.state = _SETTLED[attempt.state]
            self._close(attempt, _RETURNED)
            self.finish(pending)
        run.recorded(event)  # Of a step given up meanwhile it is a late end: it changes nothing.

    def _give_place_back(self, attempt: Attempt) -> None:
        attempt.task = None
        places = self.places
        places.give_back(attempt)
        if places.waiting or places.backlog or self._quarantine.run is not None:
            self.fill_soon()

    def fill_soon(self) -> None:
        """Let those that wait have the places that are free, in this turn of the loop."""
        if not self._will_fill:
            self._will_fill = True
            self._loop.call_soon(self._fill)

    def _fill(self) -> None:
        self._will_fill = False
        if self.is_stopping:
            return
        self._quarantine.look()
        while self._quarantine.run is None:
            attempt = self.places.next()
            if attempt is None:
                break
            self.place(attempt, self._now_us())
        if self.places.backlog and self._worker.claims.has_room:
            self._worker.claim_soon()

    # -- ends ------------------------------------------------------------------------------------

    def _settle(self) -> None:
        ended, self._ended = self._ended, []
        with HostAway():
            for attempt, payload, error in ended:
                if attempt.state is _RETURNED:  # Else it was given up in this turn.
                    self._settle_one(attempt, payload, error)
        self._worker.commit_here()  # Not a turn later: all that could come along is settled.

    def _settle_one(
        self, attempt: Attempt, payload: bytes | None, error: BaseException | None
    ) -> None:
        """Turn the end of one body into what it means; whatever goes wrong is that run's."""
        run = attempt.run
        if run.is_recording:
            run.hold_back(partial(self._settle_held, attempt, payload, error))
            return
        pending = attempt.pending
        if run.is_over or (self.is_stopping and isinstance(error, asyncio.CancelledError)):
            self.abandon(pending)  # It is made again later, under the same number, or never.
            return
        attempt.state = _SETTLED[attempt.state]
        pending.attempt = None
        if attempt.timers is not None:
            self._limits.clear(attempt)
        try:
            if payload is not None:
                self._succeeded(attempt, payload)
            elif isinstance(error, PayloadError) or (
                attempt.needs_process and isinstance(error, DefinitionError)
            ):
                rows = [self._attempt_row(attempt, error)]
                self._end_failed(pending, error, rows, attempt)
            else:
                assert error is not None
                self._failed(pending, error, attempt)
        except Exception as fault:
            with about(run.subject(attempt.step_id, attempt.number)):
                logger.exception("run %s: step %s cannot be settled", run.row.name, attempt.step_id)
            if not run.is_over:
                run.block("internal", f"step {attempt.step_id} cannot be settled: {fault!r}")

    def _settle_held(
        self, attempt: Attempt, payload: bytes | None, error: BaseException | None
    ) -> None:
        if attempt.state is _RETURNED:
            self._settle_one(attempt, payload, error)

    def _give_up(self, attempt: Attempt, *, tell: bool = True) -> None:
        """Nobody waits for an attempt any more: a body that has not begun never begins.

        One that has begun goes on, and keeps its place until it ends; ``tell`` cancels it.
        """
        with self._guard:
            before = attempt.state
            attempt.state = _GIVEN_UP[before]
        task = attempt.task
        self._close(attempt, before)
        if task is not None and tell:
            task.cancel()

    def _close(self, attempt: Attempt, before: AttemptState) -> None:
        """Give back what an attempt holds that is waited for no more, by the state it was in."""
        if attempt.pending.attempt is attempt:
            attempt.pending.attempt = None
        if attempt.timers is not None:
            self._limits.clear(attempt)
        if before is _PLACED:
            self._give_place_back(attempt)
        elif before is _WAITING:
            self.places.forget(attempt)
            if attempt.activity.in_transaction:
                self._execution.pass_turn(attempt)

    def _succeeded(self, attempt: Attempt, payload: bytes) -> None:
        pending = attempt.pending
        run, step = attempt.run, pending.step
        if attempt.asks_later:
            pending.state = _TOKEN_WAIT[pending.state]
            pending.token_since_us = attempt.started_us
            self.remember(pending, "later", [], partial(self._wait_for_answer, pending))
            return
        try:
            if len(payload) > self._payload_bytes_max:
                check_size(payload, self._payload_bytes_max, f"result of {step.name}")
            decoded = attempt.decoded
            value = step.decode(payload) if decoded is None else decoded[0]
        except PayloadError as error:
            self._end_failed(pending, error, [self._attempt_row(attempt, error)], attempt)
            return
        pending.state = _STEP_ENDS[pending.state]
        rows = None
        if pending.timers is not None or run.step_rows:
            rows = self._forget(pending)
        else:
            del run.pending[step.step_id]
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

    def finish(self, pending: PendingStep) -> Rows | None:
        """A step ends: return the rows by which the file forgets what it remembers of it."""
        pending.state = _STEP_ENDS[pending.state]
        return self._forget(pending)

    def _forget(self, pending: PendingStep) -> Rows | None:
        run, step_id = pending.run, pending.step_id
        run.pending.pop(step_id, None)
        if pending.timers is not None:
            self._limits.clear(pending)
        if run.step_rows and run.step_rows.pop(step_id, None) is not None:
            return [("delete_step", (run.row.pk, step_id))]
        return None

    # -- failures --------------------------------------------------------------------------------

    def _failed(self, pending: PendingStep, error: BaseException, attempt: Attempt | None) -> None:
        """An attempt failed: try again later, pause, or hand the exception to the workflow."""
        policy, now_us = pending.policy, self._now_us()
        retry = policy.retry
        counted = pending.number - pending.counted_from + 1
        rows: Rows = [self._attempt_row_of(pending, attempt, error, now_us)]
        if policy.at_most_once or isinstance(error, _NEVER_RETRIED):
            self._end_failed(pending, error, rows, attempt)
            return
        try:
            gives_up = retry.gives_up(error, counted)
            wait_us = self._wait_us(pending, error, counted)
        except Exception:
            with about(pending.run.subject(pending.step_id, pending.number)):
                logger.exception(
                    "the retry policy of %s raised; it is not tried again", pending.activity.name
                )
            gives_up, wait_us = True, 0
        if gives_up:
            if retry.on_exhausted == "pause":
                self._exhausted(pending, error, rows)
            else:
                self._end_failed(pending, error, rows, attempt)
            return
        limit_us = policy.schedule_to_close_us
        if limit_us is not None and now_us + wait_us >= pending.scheduled_us + limit_us:
            late = ScheduleToCloseTimeout(
                f"{pending.activity.name} did not succeed within {limit_us / 1e6:g} s: the next "
                f"attempt would be too late; attempt {pending.number} failed: "
                f"{summary(record_exception(error))}"
            )
            late.__cause__ = error
            self._end_failed(pending, late, rows, attempt)
            return
        record = record_exception(error)
        self.told.attempt_failed(pending, error, wait_us)
        pending.number += 1
        pending.retry_at_us = now_us + wait_us
        pending.last_error = summary(record)
        if not isinstance(error, _OUR_TIMEOUTS) or pending.last_record is None:
            pending.last_record = record
        run = pending.run
        if counted >= RETRIES_MIN and not run.has_issue:
            rows += run.failure_rows("retrying", record, now_us, pending.activity.name)
        pending.state = _RETRY_WAIT[pending.state]
        self.remember(pending, "retrying", rows, partial(self._arm_retry, pending))

    @staticmethod
    def _wait_us(pending: PendingStep, error: BaseException, counted: int) -> int:
        if isinstance(error, RetryAfter):
            return duration_us(error.seconds, "RetryAfter")
        wait_us: int = pending.policy.retry.wait_us(counted, uniform(0.0, 1.0))
        return wait_us

    def _attempt_row(self, attempt: Attempt, error: BaseException) -> Row:
        return self._attempt_row_of(attempt.pending, attempt, error, self._now_us())

    @staticmethod
    def _attempt_row_of(
        pending: PendingStep, attempt: Attempt | None, error: BaseException, now_us: int,
        state: str = "failed",
    ) -> Row:  # fmt: skip
        started_us = now_us if attempt is None else attempt.started_us or now_us
        return "insert_attempt", (
            pending.run.row.pk, pending.step_id, pending.number, pending.activity.name, state,
            started_us, now_us, failure_json(error).decode(),
        )  # fmt: skip

    def _end_failed(
        self,
        pending: PendingStep,
        error: BaseException,
        rows: Rows,
        attempt: Attempt | None = None,
    ) -> None:
        """End the step with an error that no retry can mend."""
        run, step = pending.run, pending.step
        rows += self.finish(pending) or []
        self.told.step_failed(pending, error)
        started_us = attempt.started_us if attempt is not None else 0
        run.deliver(
            Kind.FAILED,
            step.step_id,
            step.name,
            step.fingerprint,
            step.arguments,
            failure_json(error),
            max(0, self._now_us() - (started_us or pending.scheduled_us)),
            rows,
        )

    def _exhausted(self, pending: PendingStep, error: BaseException, rows: Rows) -> None:
        pending.last_error = summary(record_exception(error))
        pending.number += 1
        run = pending.run
        rows.append(("upsert_step", step_row(run, pending.remembered("exhausted"))))
        pending.state = _STEP_ENDS[pending.state]
        run.pending.pop(pending.step_id, None)
        self._limits.clear(pending)
        why = (
            f"step {pending.step_id} ({pending.activity.name}) failed {pending.number - 1} times: "
            f"{pending.last_error}; retry it once the reason is mended"
        )
        with about(run.subject(pending.step_id, pending.number - 1)):
            logger.error("run %s is paused: %s", run.row.name, why)
        run.pause(Pausing(message=why), rows)

    def _time_out(self, pending: PendingStep, error: BaseException) -> None:
        """End what waits or runs with a timeout; the body's own late end changes nothing."""
        attempt = pending.attempt
        if attempt is not None:
            self._give_up(attempt)
        self._keep_last_failure(pending, error)
        self._failed(pending, error, attempt)

    def _keep_last_failure(self, pending: PendingStep, error: BaseException) -> None:
        """Let a timeout tell which real failure came before it."""
        record = pending.last_record
        if record is None and pending.last_error is not None:
            rows = self._worker.store.reader.attempts(pending.run.row.pk)
            texts = [one.error for one in rows if one.step == pending.step_id]
            record = decode_document(texts[-1]) if texts else None
        if record is None:
            return
        error.args = (f"{error.args[0]}; the attempt before it failed: {summary(record)}",)
        error.__cause__ = rebuild_exception(dict(record))

    # -- what the file remembers -----------------------------------------------------------------

    def remember(
        self,
        pending: PendingStep,
        state: str,
        rows: Rows,
        then: Callable[[], None],
    ) -> None:
        """Commit what the file is to remember of a pending step, then go on."""
        run, row = pending.run, pending.remembered(state)
        run.step_rows[pending.step_id] = row
        run.has_step_rows = True
        rows.append(("upsert_step", step_row(run, row)))
        if state == "intent":
            rows.append(("insert_once", (run.row.pk, pending.step_id)))
        run.uncommitted += 1
        released = self._quarantine.released_by(run) if state == "retrying" else []
        rows += released

        def done(change: Change) -> None:
            if change.error is not None:
                run.not_committed(change.error)
                return
            run.uncommitted -= 1
            if released:
                self._quarantine.release(run)
            if pending.state is not StepState.ENDED and not run.is_over:
                then()
                run.look_idle()

        self._worker.submit(Change(rows, done))

    def _wait_for_retry(self, pending: PendingStep) -> None:
        pending.state = _RETRY_WAIT[pending.state]
        self._arm_retry(pending)

    def _arm_retry(self, pending: PendingStep) -> None:
        if pending.state is not StepState.RETRYING:
            return  # A person was faster.
        assert pending.retry_at_us is not None
        due_us = pending.retry_at_us
        self._limits.wait_for_retry(pending, due_us, partial(self._retry_now, pending, due_us))

    def _retry_now(self, pending: PendingStep, due_us: int) -> None:
        if pending.state is StepState.RETRYING and pending.retry_at_us == due_us:
            self._want(pending, self._now_us())

    def hurry(self, run: LiveRun) -> None:
        """Try everything that waits for a retry now; earlier attempts count no more."""
        now_us = self._now_us()
        for pending in list(run.pending.values()):
            if pending.state is StepState.RETRYING:
                pending.counted_from, pending.scheduled_us = pending.number, now_us
                self._limits.clear(pending)
                self._limits.limit_all(pending)
                self._want(pending, now_us)

    # -- completed from outside ------------------------------------------------------------------

    def _wait_for_answer(self, pending: PendingStep) -> None:
        """Let the step wait for its token; its time limits go on."""
        # A limit that was reached while its code ended was not judged, so all are set again.
        self._limits.clear(pending)
        self._limits.limit_all(pending)
        self._limits.limit_token(pending, pending.token_since_us)
        self._worker.inbox.look_again(pending.run)
        pending.run.look_idle()

    def answered(
        self, run: LiveRun, step: Step, payload: bytes, rows: Rows, *, rejects: bool
    ) -> bool:
        """Somebody outside completed a step; False if its code has not asked for that yet."""
        pending = run.pending.get(step.step_id)
        if pending is None or not pending.awaits_token:
            return False
        attempt = pending.attempt
        if attempt is not None:  # Its code has not returned yet: it goes on, and counts no more.
            self._give_up(attempt, tell=False)
        started_us = pending.token_since_us if attempt is None else attempt.started_us
        if rejects:
            error = rebuild_exception(decode_document(payload))
            rows.append(self._attempt_row_of(pending, attempt, error, self._now_us()))
            self._end_failed(pending, error, rows, attempt)
            return True
        rows += self.finish(pending) or []
        run.deliver(
            Kind.COMPLETED, step.step_id, step.name, step.fingerprint, step.arguments, payload,
            max(0, self._now_us() - (started_us or pending.scheduled_us)), rows,
        )  # fmt: skip
        return True

    # -- what an attempt publishes ---------------------------------------------------------------

    def publish(self, attempt: Attempt, payload: bytes, name: str, *, is_item: bool) -> None:
        """Write what an attempt publishes as it comes; from any thread.

        On the loop's own thread at once: it must not come after the end of its attempt, which is
        settled with others in one turn of the loop.
        """
        check_size(payload, self._payload_bytes_max, name)
        if threading.get_ident() == self._loop_thread:
            self._publish(attempt, payload, name, is_item)
        else:
            self._worker.call_from_thread(self._publish, attempt, payload, name, is_item)

    def _publish(self, attempt: Attempt, payload: bytes, name: str, is_item: bool) -> None:
        run, now_us = attempt.run, self._now_us()
        if not attempt.is_current or run.is_over:
            return
        rows: Rows = []
        if is_item:
            number = attempt.next_item(name)
            run.append(name, attempt.step_id, attempt.number, number, payload, now_us, rows)
        else:
            stored = column_of(payload, rows)
            rows.append(("upsert_value", (run.row.pk, name, stored, checksum(payload), now_us)))

        def done(change: Change) -> None:
            if change.error is not None:
                self._worker.commit_failed(change.error)
            else:
                self._worker.notify(run.row.pk, "news")

        self._worker.submit(Change(rows, done, soft=True))

    def beat(self, attempt: Attempt, details: Any) -> None:
        """Note a heartbeat; from any thread."""
        steady_us = attempt.last_beat_us = self._worker.clock.steady_us()
        if details is None:
            return
        pending = attempt.pending
        try:
            encoded = encode_document(details).decode()
        except (TypeError, ValueError, RecursionError) as error:
            raise PayloadError(
                f"heartbeat details of {attempt.activity.name}: {error}; pass plain data"
            ) from error
        if not attempt.is_current or pending.attempt is not attempt:
            return  # Given up: its details are nobody's any more.
        pending.details = encoded
        if steady_us - pending.details_stored_us >= HEARTBEAT_STORE_US:
            pending.details_stored_us = steady_us
            self._worker.call_from_thread(self.write_down, pending, "running")

    def write_down(self, pending: PendingStep, state: str) -> None:
        """Let the file show a step that waits or runs; nothing depends on it."""
        run, attempt = pending.run, pending.attempt
        if pending.state is StepState.ENDED or run.is_over:
            return
        if attempt is not None and attempt.has_intent:
            state = "intent"
        row = pending.remembered(state)
        run.step_rows[pending.step_id] = row
        run.has_step_rows = True
        self._worker.submit(Change([("upsert_step", step_row(run, row))], soft=True))

    # -- a policy changed by a person ------------------------------------------------------------

    def _look_at_policy(self, pending: PendingStep) -> None:
        """Let a step have the policy that a person gave it."""
        text = pending.run.policies.get(pending.step_id)
        if text is None:
            return
        try:
            pending.policy = edited(pending.activity.policy, decode_document(text))
        except (UsageError, TypeError, msgspec.DecodeError) as error:
            with about(pending.run.subject(pending.step_id, pending.number)):
                logger.warning(
                    "run %s: the changed policy of step %s (%s) is of no use: %s",
                    pending.run.row.name, pending.step_id, pending.activity.name, error,
                )  # fmt: skip

    def edit(self, run: LiveRun, step_id: str) -> None:
        """A person changed the policy of a step: its limits and its wait are set anew."""
        pending = run.pending.get(step_id)
        if pending is None:
            return
        self._look_at_policy(pending)
        pending.deadline_us = None
        self._limits.clear(pending)
        self._limits.limit_all(pending)
        now_us = self._now_us()
        attempt = pending.attempt
        if attempt is not None:
            attempt.renew_info()
            self._limits.clear(attempt)
            if attempt.state is _BEGUN:
                self._limits.limit_begun(attempt)
            elif attempt.state is _WAITING:
                self._limit_wait(attempt)
        elif pending.state is StepState.AWAITING:
            self._limits.limit_token(pending, pending.token_since_us)
        elif pending.retry_at_us is not None:
            failed = max(1, pending.number - pending.counted_from)
            soon_us = now_us + pending.policy.retry.wait_us(failed, 0.5)
            pending.retry_at_us = min(pending.retry_at_us, soon_us)
            self.remember(pending, "retrying", [], partial(self._arm_retry, pending))

    # -- given up --------------------------------------------------------------------------------

    def drop(self, run: LiveRun, step: Step) -> None:
        """Nobody waits for the step any more: end its attempt without an event."""
        pending = run.pending.get(step.step_id)
        if pending is None:
            if run.step_rows.pop(step.step_id, None) is not None:  # It was to be begun again.
                self._worker.submit(Change([("delete_step", (run.row.pk, step.step_id))]))
            return
        rows = self.give_up(pending, "the workflow no longer waits for this step")
        if rows:
            self._worker.submit(Change(rows))

    def give_up(self, pending: PendingStep, why: str) -> Rows:
        """End a step without an event; return the rows that say so."""
        rows: Rows = []
        attempt = pending.attempt
        if attempt is not None and pending.has_begun:
            error = ActivityError(why)
            now_us = self._now_us()
            rows.append(self._attempt_row_of(pending, attempt, error, now_us, "abandoned"))
        elif attempt is not None and attempt.has_intent:
            rows.append(("delete_once", (pending.run.row.pk, pending.step_id)))
        rows += self.abandon(pending) or []
        return rows

    def abandon(self, pending: PendingStep) -> Rows | None:
        """Nobody waits for a step any more; return the rows by which the file forgets it.

        A body that has begun is told, and keeps its place until it ends.
        """
        pending.state = _STEP_GIVEN_UP[pending.state]
        if pending.attempt is not None:
            self._give_up(pending.attempt)
        rows = self._forget(pending)
        self._quarantine.look_soon()
        return rows

    def withdraw(self, run: LiveRun, rows: Rows) -> None:
        """Let nothing of a run begin any more; what has begun goes on.

        Args:
            run: It pauses, ends or is handed back.
            rows: Get what the file forgets: the intent of what will not begin.
        """
        for pending in run.pending.values():
            attempt = pending.attempt
            if attempt is None or not self._withdraw_one(attempt):
                continue
            pending.state = _RUN_PAUSES[pending.state]
            key = (run.row.pk, pending.step_id)
            if attempt.has_intent:
                rows.append(("delete_once", key))
                run.step_rows.pop(pending.step_id, None)
                rows.append(("delete_step", key))

    def _withdraw_one(self, attempt: Attempt) -> bool:
        """Give up an attempt whose body has not begun; False if it has."""
        with self._guard:  # A thread may be about to begin it.
            before = attempt.state
            if before not in _NOT_BEGUN:
                return False
            attempt.state = _GIVEN_UP[before]
        task = attempt.task
        self._close(attempt, before)
        if task is not None:
            task.cancel()
        return True

    # -- the end of the engine -------------------------------------------------------------------

    def stop(self, runs: Iterable[LiveRun]) -> None:
        """Begin nothing new: what waits for a place, or has not begun, is taken back."""
        self.is_stopping = True
        for run in runs:
            rows: Rows = []
            self.withdraw(run, rows)
            if rows:
                self._worker.submit(Change(rows))

    def leave_behind(self) -> None:
        """The engine is closed: `asyncio.run` does not wait for what swallows its cancel."""
        self._execution.leave_behind()

    def cancel_all(self, runs: Iterable[LiveRun]) -> None:
        """The grace time is over: cancel what still runs; it is made again later."""
        self.grace_is_over = True
        for run in runs:
            for pending in list(run.pending.values()):
                if pending.attempt is not None and pending.attempt.task is not None:
                    pending.attempt.task.cancel()
