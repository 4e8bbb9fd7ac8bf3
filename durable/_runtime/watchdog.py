"""A drain that takes a second stalls every run: say where it is, once, and never kill it.

Workflow code shares one thread. Another one looks every half second whether one drain still goes
on; under a debugger it says nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durable._store.rows import RunRow

__all__ = ["Watchdog"]

logger = logging.getLogger("durable.watchdog")

LOOK_S = 0.5
SLOW_LOOKS = 2


class Watchdog:
    """Watches the drains of the engine on the calling thread.

    Args:
        report: Called on the watching thread with the run and its stack.

    Attributes:
        draining: The run whose code runs now.
        drains: Counts drains, so that many short ones are told from a long one.
    """

    def __init__(self, report: Callable[[RunRow, str], None]) -> None:
        self.draining: RunRow | None = None
        self.drains = 0
        self._report = report
        self._thread_id = threading.get_ident()
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="durable-watchdog", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _run(self) -> None:
        seen, looks = 0, 0
        while not self._stop.wait(LOOK_S):
            run, drain = self.draining, self.drains
            looks = looks + 1 if run is not None and drain == seen else 0
            seen = drain
            if run is None or looks != SLOW_LOOKS:
                continue
            frame = sys._current_frames().get(self._thread_id)
            if frame is None or _is_debugged(frame):
                continue
            stack = "".join(traceback.format_stack(frame))
            self._report(run, stack)
            logger.warning(
                "the workflow code of run %s has not come to rest for a second; meanwhile no other "
                "run moves. Move heavy computing into an activity\n%s",
                run.name,
                stack,
            )


def _is_debugged(frame: FrameType | None) -> bool:
    """Say whether pdb or pydevd (VS Code, PyCharm) traces the thread; coverage does not count."""
    while frame is not None:
        owner = type(getattr(frame.f_trace, "__self__", frame.f_trace))
        names = {f"{cls.__module__}.{cls.__name__}" for cls in owner.__mro__}
        if "bdb.Bdb" in names or any("pydevd" in name for name in names):
            return True
        frame = frame.f_back
    return False
