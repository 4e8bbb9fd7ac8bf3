"""How often the interpreter's cyclic collector runs, while an engine is open.

CPython collects each time 700 more objects were made than freed (2,000 from 3.14 on): with 10,000
runs beginning at once that is every dozen of runs, and as they live on, nothing is found. The runs
themselves are freed by reference counts. So the threshold is raised to `COLLECT_AFTER`, if it was
not higher or 0 (off), for as long as any engine of the process is open; garbage in cycles waits for
that many objects, a few megabytes. What the host sets meanwhile stays.

Source: measured, 10,000 one-step runs begun at once: 151 to 212 us of the loop's CPU a run, not 271
to 318.
"""

from __future__ import annotations

import gc
import threading

__all__ = ["COLLECT_AFTER", "Collecting"]

COLLECT_AFTER = 20_000


class Collecting:
    """Keeps the collector's first threshold at or above a limit, over all engines."""

    _guard = threading.Lock()
    _open: set[int] = set()  # noqa: RUF012  the process has one collector, so all share this
    _before: tuple[int, int, int] | None = None
    """What it was, if it was raised."""

    def rarely(self) -> None:
        """Begin: it runs rarely, until `restore`."""
        cls = Collecting
        with cls._guard:
            before = gc.get_threshold()
            if not cls._open and 0 < before[0] < COLLECT_AFTER:
                cls._before = before
                gc.set_threshold(COLLECT_AFTER, *before[1:])
            cls._open.add(id(self))

    def restore(self) -> None:
        """End; a second call does nothing."""
        cls = Collecting
        with cls._guard:
            if id(self) not in cls._open:
                return
            cls._open.remove(id(self))
            if cls._open or cls._before is None:
                return
            if gc.get_threshold() == (COLLECT_AFTER, *cls._before[1:]):  # Nobody has changed it.
                gc.set_threshold(*cls._before)
            cls._before = None
