"""The time limits of attempts: when each is over, and what is said of it then.

Law: a limit is judged only after the loop had one free turn since it fell due: a result that is
there by then counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from durable.errors import (
    HeartbeatTimeout,
    ScheduleToCloseTimeout,
    ScheduleToStartTimeout,
    StartToCloseTimeout,
)

if TYPE_CHECKING:
    from durable._runtime.attempts import Attempt
    from durable._runtime.worker import Worker

__all__ = ["TimeLimits"]


class TimeLimits:
    """Sets the timers of one worker's attempts.

    Args:
        worker: The one.
        time_out: What ends an attempt whose time is over, with the error that says which.
    """

    def __init__(self, worker: Worker, time_out: Callable[[Attempt, BaseException], None]) -> None:
        self._worker = worker
        self._time_out = time_out

    def at(self, attempt: Attempt, due_us: int, callback: Callable[[Attempt], None]) -> None:
        """Call with the attempt when that time has come, if it has not ended by then."""
        worker = self._worker

        def judge() -> None:
            if not attempt.over and not attempt.has_ended and not attempt.run.is_over:
                callback(attempt)

        def fire() -> None:
            if attempt.timers is not None and handle in attempt.timers:
                attempt.timers.remove(handle)
            worker.call_soon(judge)

        handle = worker.timers.at(due_us, fire)
        if attempt.timers is None:
            attempt.timers = []
        attempt.timers.append(handle)

    def clear(self, attempt: Attempt) -> None:
        """Cancel all of them but the one for all attempts together."""
        for timer in attempt.timers or ():
            self._worker.timers.cancel(timer)
        attempt.timers = None
        self.limit_all(attempt)

    def limit_all(self, attempt: Attempt) -> None:
        """Limit all attempts at the step together."""
        limit_us = attempt.policy.schedule_to_close_us
        if limit_us is None:
            return
        attempt.deadline_us = attempt.scheduled_us + limit_us
        error = ScheduleToCloseTimeout(
            f"{attempt.activity.name} did not end within {limit_us / 1e6:g} s, attempts together"
        )
        self.at(attempt, attempt.deadline_us, lambda attempt: self._time_out(attempt, error))

    def limit_wait(self, attempt: Attempt, running: int) -> None:
        """Limit how long it waits for a free place; ``running`` others have one."""
        limit_us = attempt.policy.schedule_to_start_us
        if limit_us is None:
            return
        error = ScheduleToStartTimeout(
            f"{attempt.activity.name} found no free place within {limit_us / 1e6:g} s "
            f"({running} attempts are running)"
        )

        def judge(attempt: Attempt) -> None:
            if attempt.started_us == 0:
                self._time_out(attempt, error)

        self.at(attempt, attempt.scheduled_us + limit_us, judge)

    def limit_launched(self, attempt: Attempt) -> None:
        """Limit an attempt that has begun, and the time between its heartbeats."""
        policy = attempt.policy
        if policy.start_to_close_us is not None:
            self.limit_attempt(attempt, policy.start_to_close_us)
        if policy.heartbeat_us is not None:
            attempt.last_beat_us = attempt.last_beat_us or attempt.started_us
            self._watch_heart(attempt, policy.heartbeat_us)

    def limit_attempt(self, attempt: Attempt, limit_us: int) -> None:
        """Limit an attempt that has begun."""
        due_us = attempt.started_us + limit_us
        if attempt.deadline_us is None or due_us < attempt.deadline_us:
            attempt.deadline_us = due_us
        number = attempt.number
        error = StartToCloseTimeout(
            f"attempt {number} of {attempt.activity.name} did not end within {limit_us / 1e6:g} s"
        )

        def judge(attempt: Attempt) -> None:
            if attempt.number == number:
                self._time_out(attempt, error)

        self.at(attempt, due_us, judge)

    def _watch_heart(self, attempt: Attempt, limit_us: int) -> None:
        number = attempt.number

        def judge(attempt: Attempt) -> None:
            if attempt.number != number or attempt.started_us == 0:
                return
            if self._worker.now_us() - attempt.last_beat_us < limit_us:
                self._watch_heart(attempt, limit_us)
                return
            self._time_out(
                attempt,
                HeartbeatTimeout(
                    f"attempt {number} of {attempt.activity.name} gave no heartbeat for "
                    f"{limit_us / 1e6:g} s"
                ),
            )

        self.at(attempt, attempt.last_beat_us + limit_us, judge)
