"""Stopping in order: what SIGTERM and Ctrl-C do to a process that serves a file.

The first signal cancels the task that serves, so that everything is left in order: nothing new
begins, running activities get their grace time. The second one ends that grace at once. Either way
nothing is lost; what had not ended is done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durable._runtime.worker import Worker

__all__ = ["stopping_on_signals"]

logger = logging.getLogger("durable.engine")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
"""As the shell shows a process that was terminated, or interrupted."""


class _Stop:
    """What the signals of one serving task have asked for."""

    def __init__(self, task: asyncio.Task[object], worker: Callable[[], Worker | None]) -> None:
        self._task = task
        self._worker = worker
        self.got: signal.Signals | None = None

    def take(self, number: signal.Signals) -> None:
        """Stop in order at the first signal, at once at the next."""
        serving = self._worker()
        if self.got is None:
            self.got = number
            waits_for = "" if serving is None else serving.waits_for_text()
            if waits_for:
                logger.warning("stopping; it waits for %s", waits_for)
            self._task.cancel()
        elif serving is not None:
            serving.stop_at_once()


def _install(loop: asyncio.AbstractEventLoop, stop: _Stop) -> list[signal.Signals]:
    """Handle the signals; none in a thread but the main one, where they are another's concern."""
    try:
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop.take, number)
    except (ValueError, RuntimeError):
        return []
    return list(_SIGNALS)


@contextlib.asynccontextmanager
async def stopping_on_signals(
    worker: Callable[[], Worker | None], farewell: str = ""
) -> AsyncGenerator[None]:
    """Turn SIGTERM and Ctrl-C into a cancellation of this task.

    Args:
        worker: Returns the worker that serves, as long as it does.
        farewell: What a person is told at the end who pressed Ctrl-C.

    Raises:
        SystemExit: With 143 or 130, once everything was left in order.
        KeyboardInterrupt: Ctrl-C in an interactive session, which goes on.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    stop = _Stop(task, worker)
    before = signal.getsignal(signal.SIGINT)
    installed = _install(loop, stop)
    try:
        yield
    except asyncio.CancelledError:
        if stop.got is None:
            raise
        if stop.got is signal.SIGINT:
            if farewell:
                logger.warning("%s", farewell)
            if hasattr(sys, "ps1"):
                raise KeyboardInterrupt from None
        raise SystemExit(EXIT_CODES[stop.got]) from None
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
        if installed:
            signal.signal(signal.SIGINT, before)
