"""A clock that stands still, and jumps to the next due moment when nothing else can happen."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """Time moved by hand, or by itself whenever the engine is idle.

    Args:
        now_us: Where it starts, in microseconds since the epoch; 2026-01-01 by default.
        jumps: Whether it goes to the next due moment when the engine is idle.
    """

    def __init__(self, now_us: int = 1_767_225_600_000_000, *, jumps: bool = True) -> None:
        self._wall_us = now_us
        self._steady_us = 0
        self.jumps = jumps

    def wall_us(self) -> int:
        """Microseconds since the epoch."""
        return self._wall_us

    def steady_us(self) -> int:
        """Microseconds since the clock was made."""
        return self._steady_us

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        self._wall_us += round(seconds * 1e6)
        self._steady_us += round(seconds * 1e6)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP does."""
        self._wall_us += round(seconds * 1e6)

    def jump(self, due_us: int) -> bool:
        """Go to a due moment, if it lies ahead and the clock jumps."""
        if not self.jumps:
            return False
        ahead = due_us - self._wall_us
        if ahead > 0:
            self._wall_us += ahead
            self._steady_us += ahead
        return True
