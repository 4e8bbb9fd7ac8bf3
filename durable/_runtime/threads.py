"""Daemon threads for plain functions.

`concurrent.futures` joins its threads when the interpreter ends, so that one activity that ignores
its cancellation would keep a stopped process alive. Ours are daemons: what they leave undone has no
event, and runs again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

__all__ = ["Threads"]


class Threads:
    """At most ``limit`` threads, started as needed, given back when idle for a while."""

    IDLE_S = 10.0

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._alive = 0
        self._idle = 0
        self._given = 0
        """Jobs that no thread has taken yet. The queue knows less: a thread that was idle has taken
        one out of it a moment before it says so."""
        self.busy = 0
        """Jobs given and not yet done."""

    def run(self, job: Callable[[], None]) -> None:
        """Run a job on a thread as soon as one is free; the job must not raise."""
        with self._guard:
            self._given += 1
            start = self._idle < self._given and self._alive < self._limit
            self._alive += start
            self.busy += 1
        self._jobs.put(job)
        if start:
            threading.Thread(target=self._work, name="durable-activity", daemon=True).start()

    def close(self) -> None:
        """Let idle threads end."""
        with self._guard:
            for _ in range(self._alive):
                self._jobs.put(None)

    def _work(self) -> None:
        while True:
            with self._guard:
                self._idle += 1
            try:
                job = self._jobs.get(timeout=self.IDLE_S)
            except queue.Empty:
                job = None
            with self._guard:
                self._idle -= 1
                self._given -= job is not None
                if job is None and self._jobs.empty():
                    self._alive -= 1
                    return
            if job is not None:
                job()
                job = None
                with self._guard:
                    self.busy -= 1
