"""Timers of one engine: two heaps, one armed handle, two clocks.

A timer fires as soon as the wall clock shows it due, or, in the life of the process that armed it,
as soon as the steady clock does: a step back of the wall clock never delays it for hours, and a
suspended machine is not early. Each clock has a heap of its own, for after a step they disagree
about what comes first. A limit on how long something takes in this process goes by the steady clock
alone: nothing took longer because somebody set the wall clock.

The wait is cut into short ones, for the host's loop sleeps by a clock that stands still during
suspension on some systems, and does not hear when the wall clock is set. (That one second in
another year ends nothing is `CheckedClock`'s doing.)
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from durable._clock import Clock

__all__ = ["TimerHandle", "Timers"]

# No timer is later than that after a clock was set, or the host slept.
SLEEP_S_MAX = 0.5
# So many that were fired or cancelled may lie in a heap before it is swept, beside as many as live.
GONE_MAX = 64


class TimerHandle:
    """One timer; those fired or cancelled stay in a heap until they come up or it is swept."""

    __slots__ = ("callback", "due_us", "order")

    def __init__(self, due_us: int, order: int, callback: Callable[[], None]) -> None:
        self.due_us = due_us
        self.order = order
        self.callback: Callable[[], None] | None = callback


class _Heap:
    """Timers by when one clock shows them due, equal ones in the order they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, TimerHandle]] = []

    def push(self, due_us: int, handle: TimerHandle, alive: int) -> None:
        if len(self._heap) > 2 * alive + GONE_MAX:
            self._heap = [one for one in self._heap if one[2].callback is not None]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due_us, handle.order, handle))

    def next_us(self) -> int | None:
        """Return when the first comes due."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now_us: int, found: list[TimerHandle]) -> None:
        """Take what is due, but for what is gone."""
        heap = self._heap
        while heap and heap[0][0] <= now_us:
            handle = heapq.heappop(heap)[2]
            if handle.callback is not None:
                found.append(handle)

    def clear(self) -> None:
        self._heap.clear()


class Timers:
    """Fires callbacks in the order they come due, equal ones in the order they were set.

    Attributes:
        alive: How many were neither fired nor cancelled.
    """

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = clock
        self._loop = loop
        self._by_wall = _Heap()
        self._by_steady = _Heap()
        self._orders = 0
        self.alive = 0
        self._armed: asyncio.TimerHandle | None = None

    def at(
        self, due_us: int, callback: Callable[[], None], *, now_us: int | None = None
    ) -> TimerHandle:
        """Call back when a moment has come.

        Args:
            due_us: The moment, in microseconds since the epoch.
            callback: Called once.
            now_us: What it counts from, if that is not what the wall clock shows: the clock of a
                run never goes back, and is ahead after the wall clock was set back.
        """
        wall_us = self._clock.wall_us()
        left_us = due_us - (wall_us if now_us is None else now_us)
        handle = self._push(due_us, left_us, callback)
        self._by_wall.push(due_us, handle, self.alive)
        self._arm(min(left_us, due_us - wall_us))
        return handle

    def after(self, delay_us: int, callback: Callable[[], None]) -> TimerHandle:
        """Call back when so much time has passed, whatever becomes of the wall clock."""
        handle = self._push(self._clock.wall_us() + delay_us, delay_us, callback)
        self._arm(delay_us)
        return handle

    def _push(self, due_us: int, left_us: int, callback: Callable[[], None]) -> TimerHandle:
        self._orders += 1
        self.alive += 1
        handle = TimerHandle(due_us, self._orders, callback)
        self._by_steady.push(self._clock.steady_us() + left_us, handle, self.alive)
        return handle

    def cancel(self, handle: TimerHandle) -> None:
        """Forget a timer."""
        if handle.callback is not None:
            handle.callback = None
            self.alive -= 1

    def next_due_us(self) -> int | None:
        """Return what the wall clock will show when the next timer comes due."""
        left_us = self._left_us()
        return None if left_us is None else self._clock.wall_us() + left_us

    def _left_us(self) -> int | None:
        """Return how long it is until the next timer comes due by either clock."""
        steady_us, wall_us = self._by_steady.next_us(), self._by_wall.next_us()
        if steady_us is None:
            return None
        left_us = steady_us - self._clock.steady_us()
        return left_us if wall_us is None else min(left_us, wall_us - self._clock.wall_us())

    def fire_due(self) -> None:
        """Fire everything that is due now, oldest due time first."""
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None
        # In this order: the clock checks the one against the other.
        steady_us, wall_us = self._clock.steady_us(), self._clock.wall_us()
        while True:
            due: list[TimerHandle] = []
            self._by_wall.pop_due(wall_us, due)
            self._by_steady.pop_due(steady_us, due)
            if not due:
                break
            due.sort(key=lambda one: (one.due_us, one.order))
            for handle in due:  # One that is due by both is there twice.
                callback, handle.callback = handle.callback, None
                if callback is not None:
                    self.alive -= 1
                    callback()
        left_us = self._left_us()
        if left_us is not None:
            self._arm(left_us)

    def close(self) -> None:
        """Forget all timers."""
        self._by_wall.clear()
        self._by_steady.clear()
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None

    def _arm(self, left_us: int) -> None:
        """Look again when a timer comes due, or in a while."""
        wait_s = min(max(0.0, left_us / 1e6), SLEEP_S_MAX)
        if self._armed is not None:
            if self._armed.when() <= self._loop.time() + wait_s:
                return
            self._armed.cancel()
        self._armed = self._loop.call_later(wait_s, self._wake)

    def _wake(self) -> None:
        self._armed = None
        self.fire_due()
