"""Lineage: the names of steps.

A step id is the path of the task that asked, and the number of the call in that task, both from 1:
``3`` is the main task's third call, ``2/1.3`` the third call of the first task made by the second
task of the main one; ``3[7].1`` the first call for the eighth item of the ``map`` that is call 3,
and ``signal:stop#2.1`` that of the handler of the second signal ``stop``. Calls, tasks, timers,
writes and dropped generators are counted separately, so that adding a timeout renames nothing;
branches count on their own, so that reordering them renames nothing either.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Lineage"]


class Lineage:
    """The counters of one task."""

    __slots__ = ("calls", "dropped", "path", "random", "tasks", "timers", "writes")

    def __init__(self, path: str) -> None:
        self.path = path
        self.calls = self.tasks = self.timers = self.dropped = self.writes = 0
        self.random: Any = None

    def child(self) -> Lineage:
        """Return the lineage of the next task this one makes."""
        self.tasks += 1
        return Lineage(f"{self.path}/{self.tasks}" if self.path else str(self.tasks))

    def closer(self) -> Lineage:
        """Return the lineage of the task that closes a generator this one dropped."""
        self.dropped += 1
        return Lineage(f"{self.path}~{self.dropped}")

    def next_call(self) -> str:
        """Return the id of the next call."""
        self.calls += 1
        return f"{self.path}.{self.calls}" if self.path else str(self.calls)

    def next_timer(self) -> str:
        """Return the id of the next timer."""
        self.timers += 1
        return f"{self.path}!t{self.timers}"

    def next_write(self) -> str:
        """Return the id of the next item appended to a stream."""
        self.writes += 1
        return f"{self.path}!w{self.writes}"
