"""Timers of one engine: a heap, one armed handle, two clocks.

A timer fires as soon as the wall clock shows it due, or, in the life of the process that armed it,
as soon as the steady clock does: a step back of the wall clock never delays it for hours, and a
suspended machine is not early. The wait is cut into short ones, for the host's loop sleeps by a
clock that stands still during suspension on some systems.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from durable._clock import Clock

__all__ = ["TimerHandle", "Timers"]

SLEEP_S_MAX = 5.0


class TimerHandle:
    """One timer; cancelled ones stay in the heap until they come up or it is swept."""

    __slots__ = ("callback", "due_us", "order", "steady_due_us")

    def __init__(
        self, due_us: int, steady_due_us: int, order: int, callback: Callable[[], None]
    ) -> None:
        self.due_us = due_us
        self.steady_due_us = steady_due_us
        self.order = order
        self.callback: Callable[[], None] | None = callback

    def __lt__(self, other: TimerHandle) -> bool:
        return (self.due_us, self.order) < (other.due_us, other.order)


class Timers:
    """Fires callbacks in the order they come due, equal ones in the order they were set."""

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = clock
        self._loop = loop
        self._heap: list[TimerHandle] = []
        self._orders = 0
        self._cancelled = 0
        self._armed: asyncio.TimerHandle | None = None
        self._armed_for = 0

    def at(self, due_us: int, callback: Callable[[], None]) -> TimerHandle:
        """Call back when ``due_us``, microseconds since the epoch, has come."""
        self._orders += 1
        steady_due_us = self._clock.steady_us() + (due_us - self._clock.wall_us())
        handle = TimerHandle(due_us, steady_due_us, self._orders, callback)
        heapq.heappush(self._heap, handle)
        if self._heap[0] is handle:
            self._arm()
        return handle

    def cancel(self, handle: TimerHandle) -> None:
        """Forget a timer."""
        if handle.callback is None:
            return
        handle.callback = None
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [one for one in self._heap if one.callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def next_due_us(self) -> int | None:
        """Return when the next timer comes due."""
        while self._heap and self._heap[0].callback is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0].due_us if self._heap else None

    def fire_due(self) -> None:
        """Fire everything that is due now, oldest due time first."""
        self._armed = None
        now_us, steady_us = self._clock.wall_us(), self._clock.steady_us()
        while self._heap:
            handle = self._heap[0]
            if handle.callback is None:
                self._cancelled -= 1
            elif handle.due_us > now_us and handle.steady_due_us > steady_us:
                break
            heapq.heappop(self._heap)
            callback, handle.callback = handle.callback, None
            if callback is not None:
                callback()
        self._arm()

    def close(self) -> None:
        """Forget all timers."""
        self._heap.clear()
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None

    def _arm(self) -> None:
        due_us = self.next_due_us()
        if due_us is None:
            return
        if self._armed is not None:
            if self._armed_for <= due_us:
                return
            self._armed.cancel()
        self._armed_for = due_us
        wait_s = (due_us - self._clock.wall_us()) / 1e6
        self._armed = self._loop.call_later(min(max(0.0, wait_s), SLEEP_S_MAX), self.fire_due)
