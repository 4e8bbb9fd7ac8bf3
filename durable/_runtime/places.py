"""Places: how many attempts are performed at once, and which of those that wait comes next.

An attempt has one place from the moment it may begin until its body has ended, and one of a plain
function a thread as well. A plain function waits here, and not in the queue of a thread pool: until
a thread is free nothing of it has begun, and giving it up costs nothing.

Who waits is served by priority (lower numbers first), then in the order of asking; plain functions
stand in a line of their own, so that hung threads keep no async activity from beginning.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from durable._core.machines import AttemptState

if TYPE_CHECKING:
    from durable._runtime.attempts import Attempt

__all__ = ["Line", "Places"]

# A line is swept of those that were given up once they are more than half, and more than this.
SWEEP_MIN = 64


class Line:
    """Attempts that wait, most urgent first; those given up meanwhile are passed over."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Attempt]] = []
        self._given_up = 0

    def __len__(self) -> int:
        return len(self._heap) - self._given_up

    def add(self, attempt: Attempt, order: int) -> None:
        heapq.heappush(self._heap, (attempt.run.row.priority, order, attempt))

    def forget_one(self) -> None:
        """Note that one of them was given up."""
        self._given_up += 1
        if self._given_up > SWEEP_MIN and 2 * self._given_up > len(self._heap):
            self._heap = [one for one in self._heap if one[2].state is AttemptState.WAITING]
            heapq.heapify(self._heap)
            self._given_up = 0

    def first(self) -> tuple[int, int, Attempt] | None:
        """Return the one that comes next, with what it is ordered by; it stays."""
        while self._heap:
            if self._heap[0][2].state is AttemptState.WAITING:
                return self._heap[0]
            heapq.heappop(self._heap)
            self._given_up -= 1
        return None

    def pop(self) -> Attempt:
        """Take out the one that `first` has shown."""
        return heapq.heappop(self._heap)[2]


class Places:
    """The places and threads of one worker.

    Args:
        limit: Attempts at once.
        threads_limit: Of them, plain functions.

    Attributes:
        running: Places in use.
        on_threads: Threads in use.
        waiting: Attempts that wait for a place or a thread.
        backlog: Free runs may wait in the file until there are places for their steps.
    """

    def __init__(self, limit: int, threads_limit: int) -> None:
        self.limit = limit
        self.threads_limit = threads_limit
        self.running = 0
        self.on_threads = 0
        self.waiting = 0
        self.backlog = False
        self._orders = 0
        self._line = Line()
        self._thread_line = Line()

    def _line_of(self, attempt: Attempt) -> Line:
        return self._thread_line if attempt.needs_thread else self._line

    @property
    def free_threads(self) -> int:
        """How many plain functions could begin now."""
        return min(self.threads_limit - self.on_threads, self.limit - self.running)

    def has_room(self, attempt: Attempt) -> bool:
        """Say whether an attempt may begin at once: a place is free, and nobody waits for it."""
        if self.running >= self.limit:
            return False
        if attempt.needs_thread:
            return self.on_threads < self.threads_limit and not len(self._thread_line)
        return not len(self._line)

    def take(self, attempt: Attempt) -> None:
        """Give an attempt its place."""
        self.running += 1
        if attempt.needs_thread:
            attempt.on_thread = True
            self.on_threads += 1

    def wait(self, attempt: Attempt) -> None:
        """Let an attempt wait for its place."""
        self._orders += 1
        self.waiting += 1
        attempt.line = self._line_of(attempt)
        attempt.line.add(attempt, self._orders)

    def forget(self, attempt: Attempt) -> None:
        """Note that an attempt was given up that may wait in a line."""
        if attempt.line is not None:
            self.waiting -= 1
            attempt.line.forget_one()

    def next(self) -> Attempt | None:
        """Take the next one that may begin now out of its line; None if none may."""
        if self.running >= self.limit:
            return None
        first = self._line.first()
        if self.on_threads < self.threads_limit:
            other = self._thread_line.first()
            if other is not None and (first is None or other[:2] < first[:2]):
                self.waiting -= 1
                return self._thread_line.pop()
        if first is None:
            return None
        self.waiting -= 1
        return self._line.pop()

    def what_holds_up(self, attempt: Attempt) -> str:
        """Return what all of an attempt's line wait for, for people."""
        if attempt.needs_thread and self.running < self.limit:
            return f"all {self.threads_limit} threads are in use (Limits.threads_max)"
        return f"all {self.limit} places are in use (Limits.max_running_activities)"
