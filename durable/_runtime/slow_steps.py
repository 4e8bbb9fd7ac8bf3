"""Slow steps: whatever waits for a place or runs for longer than a second has a row in the file.

So lists, pages and other processes see it: since when, its arguments, its heartbeat. Most steps are
faster, and cost one entry in a queue: the oldest are looked at once a second.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from durable._core.machines import AttemptState

if TYPE_CHECKING:
    from durable._runtime.activities import Activities
    from durable._runtime.attempts import Attempt
    from durable._runtime.worker import Worker

__all__ = ["SlowSteps"]

# Everything slow is visible, everything fast is cheap: this is where one becomes the other.
SLOW_US = 1_000_000
LOOK_S = 0.5
# Rows written at once: a backlog of a million does not become one transaction.
ROWS_PER_LOOK = 1_000


class SlowSteps:
    """Writes down the slow steps of one worker."""

    def __init__(self, worker: Worker, activities: Activities) -> None:
        self._worker = worker
        self._activities = activities
        self._watched: deque[tuple[int, Attempt, AttemptState]] = deque()
        self._will_look = False

    def watch(self, attempt: Attempt, now_us: int) -> None:
        """See in a second whether an attempt still is where it is now."""
        self._watched.append((now_us, attempt, attempt.state))
        if not self._will_look:
            self._will_look = True
            self._worker.after(LOOK_S, self._look)

    def _look(self) -> None:
        self._will_look = False
        until_us = self._worker.now_us() - SLOW_US
        written = 0
        while self._watched and self._watched[0][0] <= until_us and written < ROWS_PER_LOOK:
            _, attempt, state = self._watched.popleft()
            if attempt.state is AttemptState.WAITING and state is AttemptState.WAITING:
                self._activities.write_down(attempt.pending, "queued")
                written += 1
            elif attempt.state is AttemptState.BEGUN and state is not AttemptState.WAITING:
                self._activities.write_down(attempt.pending, "running")
                written += 1
        if self._watched:
            self._will_look = True
            self._worker.after(LOOK_S, self._look)
