"""A drain that takes a second stalls every run: say where it is, once, and never kill it.

Workflow code shares one thread. A thread looks every half second whether one drain still goes on;
under a debugger it says nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import traceback
from collections.abc import Iterator

__all__ = ["Watchdog"]

logger = logging.getLogger("durable.watchdog")

SLOW_LOOKS = 2  # half seconds


class Watchdog:
    """Watches the drains of one engine."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        del loop
        self._thread_id = threading.get_ident()
        self._watched = ""
        self._drains = 0
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="durable-watchdog", daemon=True).start()

    @contextlib.contextmanager
    def watching(self, run: str) -> Iterator[None]:
        """Note which run's code runs now."""
        self._drains += 1
        self._watched = run
        try:
            yield
        finally:
            self._watched = ""

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _run(self) -> None:
        seen, looks = 0, 0
        while not self._stop.wait(0.5):
            run, drain = self._watched, self._drains
            looks = looks + 1 if run and drain == seen else 0
            seen = drain
            if looks == SLOW_LOOKS and sys.gettrace() is None:
                frame = sys._current_frames().get(self._thread_id)
                stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
                logger.warning(
                    "the workflow code of run %s has not come to rest for a second; meanwhile no "
                    "other run moves. Move heavy computing into an activity\n%s",
                    run,
                    stack,
                )
