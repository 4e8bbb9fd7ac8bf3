"""The time limits of steps and attempts: when each is over, and what is said of it then.

Law: a limit is judged only after the loop had one free turn since it fell due: a result that is
there by then counts.

``schedule_to_close`` is the step's, over all its attempts; the others are the attempt's, and end
with it. The clocks of an attempt (``start_to_close``, ``heartbeat``) begin with its body;
``schedule_to_start`` covers the wait before it. They are lengths of time in this process, and go by
its steady clock: setting the wall clock ends no attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from durable._core.machines import AttemptState, StepState
from durable.errors import (
    HeartbeatTimeout,
    ScheduleToCloseTimeout,
    ScheduleToStartTimeout,
    StartToCloseTimeout,
)

if TYPE_CHECKING:
    from durable._runtime.attempts import Attempt, PendingStep
    from durable._runtime.worker import Worker

__all__ = ["TimeLimits"]


class TimeLimits:
    """Sets the timers of one worker's steps and attempts.

    Args:
        worker: Whose timers they are.
        time_out: Called with a step whose time is over, and the error that says which.
    """

    def __init__(
        self, worker: Worker, time_out: Callable[[PendingStep, BaseException], None]
    ) -> None:
        self._worker = worker
        self._time_out = time_out

    def _set(
        self, owner: PendingStep | Attempt, pending: PendingStep, due_us: int | None,
        judge: Callable[[], None], *, after_us: int = 0,
    ) -> None:  # fmt: skip
        """Judge at a moment or, if that is None, after a length of time."""
        worker = self._worker

        def judge_now() -> None:
            run = pending.run
            if run.is_over or pending.state is StepState.ENDED:
                return
            attempt = pending.attempt
            if attempt is not None and attempt.state is AttemptState.RETURNED:
                return  # Its end is there, and is settled in this turn.
            if run.is_recording:
                run.hold_back(judge_now)
            else:
                judge()

        def fire() -> None:
            if owner.timers is not None and handle in owner.timers:
                owner.timers.remove(handle)
            worker.call_soon(judge_now)

        timers = worker.timers
        handle = timers.after(after_us, fire) if due_us is None else timers.at(due_us, fire)
        if owner.timers is None:
            owner.timers = []
        owner.timers.append(handle)

    def clear(self, owner: PendingStep | Attempt) -> None:
        """Cancel all timers of a step, or of an attempt."""
        if owner.timers is not None:
            for timer in owner.timers:
                self._worker.timers.cancel(timer)
            owner.timers = None

    def wait_for_retry(self, pending: PendingStep, due_us: int, then: Callable[[], None]) -> None:
        """Call back when the next attempt's time has come."""
        self._set(pending, pending, due_us, then)

    def limit_all(self, pending: PendingStep) -> None:
        """Limit all attempts at the step together."""
        limit_us = pending.policy.schedule_to_close_us
        if limit_us is None:
            return
        pending.deadline_us = pending.scheduled_us + limit_us
        error = ScheduleToCloseTimeout(
            f"{pending.activity.name} did not end within {limit_us / 1e6:g} s, attempts together"
        )
        self._set(pending, pending, pending.deadline_us, lambda: self._time_out(pending, error))

    def limit_wait(self, attempt: Attempt, why: Callable[[], str]) -> None:
        """Limit how long it waits for a place or a thread; ``why`` says what is in use then."""
        pending = attempt.pending
        limit_us = pending.policy.schedule_to_start_us
        if limit_us is None:
            return

        def judge() -> None:
            if attempt.state is AttemptState.WAITING:
                error = ScheduleToStartTimeout(
                    f"{attempt.activity.name} could not begin within {limit_us / 1e6:g} s: {why()}"
                )
                self._time_out(pending, error)

        self._set(attempt, pending, pending.scheduled_us + limit_us, judge)

    def limit_begun(self, attempt: Attempt) -> None:
        """Limit an attempt whose body has begun, and the time between its heartbeats."""
        policy = attempt.pending.policy
        # A limit may be set when the body has run for a while: it counts from its beginning.
        began_us = attempt.started_us - self._worker.now_us() + self._worker.clock.steady_us()
        if policy.start_to_close_us is not None:
            self._limit_body(attempt, policy.start_to_close_us, began_us)
        if policy.heartbeat_us is not None:
            attempt.last_beat_us = attempt.last_beat_us or began_us
            self._watch_heart(attempt, policy.heartbeat_us)

    def _limit_body(self, attempt: Attempt, limit_us: int, began_us: int) -> None:
        error = too_slow(attempt, limit_us)

        def judge() -> None:
            if attempt.state is AttemptState.BEGUN:
                self._time_out(attempt.pending, error)

        left_us = began_us + limit_us - self._worker.clock.steady_us()
        self._set(attempt, attempt.pending, None, judge, after_us=left_us)

    def limit_token(self, pending: PendingStep, since_us: int) -> None:
        """Limit the wait for a token by what is left of the time of the attempt that asked."""
        limit_us = pending.policy.start_to_close_us
        if limit_us is None:
            return
        error = StartToCloseTimeout(
            f"attempt {pending.number} of {pending.activity.name} was not completed within "
            f"{limit_us / 1e6:g} s"
        )

        def judge() -> None:
            if pending.state is StepState.AWAITING:
                self._time_out(pending, error)

        self._set(pending, pending, since_us + limit_us, judge)

    def _watch_heart(self, attempt: Attempt, limit_us: int) -> None:
        steady_us = self._worker.clock.steady_us

        def judge() -> None:
            if attempt.state is not AttemptState.BEGUN:
                return
            if steady_us() - attempt.last_beat_us < limit_us:
                self._watch_heart(attempt, limit_us)
                return
            self._time_out(
                attempt.pending,
                HeartbeatTimeout(
                    f"attempt {attempt.number} of {attempt.activity.name} gave no heartbeat for "
                    f"{limit_us / 1e6:g} s"
                ),
            )

        left_us = attempt.last_beat_us + limit_us - steady_us()
        self._set(attempt, attempt.pending, None, judge, after_us=left_us)


def too_slow(attempt: Attempt, limit_us: int) -> StartToCloseTimeout:
    """Return the error of an attempt whose body took longer than ``start_to_close``."""
    return StartToCloseTimeout(
        f"attempt {attempt.number} of {attempt.activity.name} did not end within "
        f"{limit_us / 1e6:g} s"
    )
