"""How long another thread may keep the interpreter from the engine.

A commit gives the interpreter lock away at each of its statements and at each turn of the loop.
Beside a thread of pure Python each way back takes one switch interval: 5 ms by CPython's default,
ten times what the commit itself takes. While an engine is open the interval is shorter; it is the
process's, so the last engine to leave sets it back, unless somebody else has changed it meanwhile.

Measured beside one busy thread on two cores: 0.07 of the idle steps/s and 0.01 of the idle latency
with 5 ms, 0.31 and 0.18 with 250 us. What two busy threads get done together changes by less than
its noise.
"""

from __future__ import annotations

import sys
import threading

__all__ = ["SwitchInterval"]


class SwitchInterval:
    """Keeps the interpreter's switch interval at or below a limit, over all engines."""

    _guard = threading.Lock()
    _open: dict[int, int] = {}  # noqa: RUF012  the process has one interval, so all share this
    _before_us = 0
    _set_us = 0

    def __init__(self, interval_us: int) -> None:
        self._interval_us = interval_us

    def shorten(self) -> None:
        """Begin: the interval is at most ours, until `restore`."""
        cls = SwitchInterval
        with cls._guard:
            if not cls._open:
                cls._before_us = _get_us()
            cls._open[id(self)] = self._interval_us
            self._apply()

    def restore(self) -> None:
        """End; a second call does nothing."""
        cls = SwitchInterval
        with cls._guard:
            if cls._open.pop(id(self), None) is None:
                return
            if _get_us() == cls._set_us:  # Nobody else has changed it.
                self._apply()

    @classmethod
    def _apply(cls) -> None:
        cls._set_us = min([cls._before_us, *cls._open.values()])
        if cls._set_us != _get_us():
            # CPython cuts to whole microseconds, and 0.0002 is a little less than 200 of them.
            sys.setswitchinterval((cls._set_us + 0.5) / 1e6)


def _get_us() -> int:
    return round(sys.getswitchinterval() * 1e6)
