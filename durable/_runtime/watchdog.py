"""What holds the loop for a second stalls every run: say where it is, once, and never kill it.

Workflow code and async activities share the thread of the host's loop. Another thread looks every
half second whether one drain still goes on, and whether the loop still turns; under a debugger it
says nothing.
"""

from __future__ import annotations

import asyncio
import asyncio.runners
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from durable._core.frames import owner_of
from durable._runtime.logs import Subject, about

if TYPE_CHECKING:
    from durable._store.rows import RunRow

__all__ = ["Watchdog"]

logger = logging.getLogger("durable.watchdog")

LOOK_S = 0.5
SLOW_LOOKS = 2
# Places that held the loop: each is told once, and so many.
PLACES_MAX = 100
# Below the loop's turn, or what runs the loop, stands only who started it.
_TURN = asyncio.BaseEventLoop._run_once.__code__  # type: ignore[attr-defined]


class Watchdog:
    """Watches the drains of the engine on the calling thread.

    Args:
        report: Called on the watching thread with the run and its stack.
        ask: Lets the loop call back in its next turn; called on the watching thread.

    Attributes:
        draining: The run whose code runs now.
        drains: Counts drains, so that many short ones are told from a long one.
    """

    def __init__(
        self,
        report: Callable[[RunRow, str], None],
        ask: Callable[[Callable[[], None]], None] = lambda _: None,
    ) -> None:
        self.draining: RunRow | None = None
        self.drains = 0
        self._report = report
        self._ask = ask
        self._asked = self._answered = 0
        self._told: set[tuple[str, int]] = set()
        self._thread_id = threading.get_ident()
        self._stop = threading.Event()
        threading.Thread(target=self._run, name="durable-watchdog", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _answer(self) -> None:
        self._answered = self._asked

    def _tell_what_holds_the_loop(self) -> None:
        frame = sys._current_frames().get(self._thread_id)
        place = _holder_of(frame)
        if place is None or _is_debugged(frame):
            return
        path = place.f_code.co_filename
        where = path, place.f_lineno
        if where in self._told or len(self._told) >= PLACES_MAX:
            return
        self._told.add(where)
        logger.warning(
            "%s (%s:%d) has held the event loop for a second; meanwhile no run moves, nor anything "
            "else on this loop. %s\n%s",
            place.f_code.co_qualname,
            *where,
            "Is the disk slow? Else please report it with this stack"
            if owner_of(path) == "durable"
            else "Make the activity a plain function: that has a thread",
            "".join(traceback.format_stack(frame)),
        )

    def _run(self) -> None:
        seen, looks, unanswered = 0, 0, 0
        while not self._stop.wait(LOOK_S):
            unanswered = unanswered + 1 if self._asked > self._answered else 0
            if unanswered == SLOW_LOOKS and self.draining is None:
                self._tell_what_holds_the_loop()
            if not unanswered:
                self._asked += 1
                self._ask(self._answer)
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
            with about(Subject(run.name, run.workflow)):
                logger.warning(
                    "the workflow code of run %s has not come to rest for a second; meanwhile no "
                    "other run moves. Move heavy computing into an activity\n%s",
                    run.name,
                    stack,
                )


def _holder_of(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame above the loop that is the user's or an installed package's.

    Where there is none it is durable's own, and nothing where only Python's own code runs.
    """
    ours: FrameType | None = None
    while frame is not None and frame.f_code is not _TURN:
        path = frame.f_code.co_filename
        if path == asyncio.runners.__file__:
            break
        match owner_of(path):
            case "user" | "installed":
                return frame
            case "durable":
                ours = ours or frame
            case "python":
                pass
        frame = frame.f_back
    return ours


def _is_debugged(frame: FrameType | None) -> bool:
    """Say whether pdb or pydevd (VS Code, PyCharm) traces the thread; coverage does not count."""
    while frame is not None:
        owner = type(getattr(frame.f_trace, "__self__", frame.f_trace))
        names = {f"{cls.__module__}.{cls.__name__}" for cls in owner.__mro__}
        if "bdb.Bdb" in names or any("pydevd" in name for name in names):
            return True
        frame = frame.f_back
    return False
