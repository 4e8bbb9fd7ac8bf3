"""Places: how many attempts are performed at once, and which of those that wait comes next.

An attempt has one place from the moment it may begin until its body has ended, and one of a plain
function a thread as well. A plain function waits here, and not in the queue of a thread pool: until
a thread is free nothing of it has begun, and giving it up costs nothing.

An attempt with ``isolation="process"`` waits for a process of the pool in the same way.

Who waits is served by priority (lower numbers first), then in the order of asking; plain functions
and isolated ones stand in lines of their own, so that hung threads keep no async activity from
beginning.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from durable._core.machines import AttemptState

if TYPE_CHECKING:
    from durable._runtime.attempts import Attempt
    from durable.policies import Limits

__all__ = ["Line", "Places", "Pool"]

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


class Pool:
    """Threads or processes, of which an attempt has one with its place; and who waits for one.

    Attributes:
        limit: How many there are at most.
        limit_name: The limit's name, for people.
        name: What they are called.
        in_use: How many are in use.
        line: Who waits.
    """

    def __init__(self, limit: int, limit_name: str, name: str) -> None:
        self.limit = limit
        self.limit_name = limit_name
        self.name = name
        self.in_use = 0
        self.line = Line()

    @property
    def is_full(self) -> bool:
        """Whether none is free."""
        return self.in_use >= self.limit


class Places:
    """The places, threads and processes of one worker.

    Attributes:
        limit: Attempts at once.
        running: Places in use.
        threads: Of plain functions.
        processes: Of isolated ones.
        waiting: Attempts that wait for a place, a thread or a process.
        backlog: Free runs may wait in the file until there are places for their steps.
    """

    def __init__(self, limits: Limits) -> None:
        self.limit = limits.max_running_activities
        self.running = 0
        self.threads = Pool(limits.threads_max, "threads_max", "threads")
        self.processes = Pool(limits.processes_max, "processes_max", "processes")
        self.waiting = 0
        self.backlog = False
        self._orders = 0
        self._line = Line()

    def _pool_of(self, attempt: Attempt) -> Pool | None:
        if attempt.needs_process:
            return self.processes
        return self.threads if attempt.needs_thread else None

    @property
    def free_threads(self) -> int:
        """How many plain functions could begin now."""
        return min(self.threads.limit - self.threads.in_use, self.limit - self.running)

    def has_room(self, attempt: Attempt) -> bool:
        """Say whether an attempt may begin at once: a place is free, and nobody waits for it."""
        if self.running >= self.limit:
            return False
        pool = self._pool_of(attempt)
        if pool is not None:
            return not pool.is_full and not len(pool.line)
        return not len(self._line)

    def has_free(self, attempt: Attempt) -> bool:
        """Say whether what an attempt needs beside a place is free."""
        pool = self._pool_of(attempt)
        return pool is None or not pool.is_full

    def take(self, attempt: Attempt) -> None:
        """Give an attempt its place."""
        self.running += 1
        pool = attempt.pool = self._pool_of(attempt)
        if pool is not None:
            pool.in_use += 1

    def give_back(self, attempt: Attempt) -> None:
        """Take an attempt's place back."""
        self.running -= 1
        if attempt.pool is not None:
            attempt.pool.in_use -= 1

    def wait(self, attempt: Attempt) -> None:
        """Let an attempt wait for its place."""
        self._orders += 1
        self.waiting += 1
        pool = self._pool_of(attempt)
        attempt.line = self._line if pool is None else pool.line
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
        line, first = self._line, self._line.first()
        for pool in (self.threads, self.processes):
            other = None if pool.is_full else pool.line.first()
            if other is not None and (first is None or other[:2] < first[:2]):
                line, first = pool.line, other
        if first is None:
            return None
        self.waiting -= 1
        return line.pop()

    def what_holds_up(self, attempt: Attempt) -> str:
        """Return what all of an attempt's line wait for, for people."""
        pool = self._pool_of(attempt)
        if pool is not None and self.running < self.limit:
            return f"all {pool.limit} {pool.name} are in use (Limits.{pool.limit_name})"
        return f"all {self.limit} places are in use (Limits.max_running_activities)"
