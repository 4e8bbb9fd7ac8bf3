"""Trouble that passes: the file is locked by others, the disk is full or fails for a while.

Nothing is lost and no run's outcome is touched by it, but a writer waits. It says so: in its log,
and for everybody who looks at the file in the lock file, until a commit works again. What is said
there counts as long as its worker lives.
"""

from __future__ import annotations

import logging

from durable._clock import SystemClock
from durable._store.file_guard import FileGuard
from durable._store.locks import LockFile, Trouble

__all__ = ["TroubleOfWriter", "find_trouble"]

logger = logging.getLogger("durable.store")

# What the errors of the store say, and what is said here for each.
_NOTHING_LOST = "; nothing is lost, make room"


class TroubleOfWriter:
    """What keeps one writer from committing.

    Args:
        path: The file.
        guard: Its guard.
        locks: The lock file beside it.

    Attributes:
        worker: Whose writer it is; of a client's, None, nothing is written into the lock file.
    """

    def __init__(self, path: str, guard: FileGuard, locks: LockFile) -> None:
        self._path = path
        self._guard = guard
        self._locks = locks
        self._since_us = 0
        self._text = ""
        self.worker: int | None = None

    @property
    def is_told(self) -> bool:
        """Whether there is some, and it was said."""
        return self._since_us > 0

    def is_locked_out(self, waited_s: float) -> None:
        """Others have the lock for so long: said once in the log, each time in the lock file."""
        pid = self._guard.pid_of_writer()
        who = "another writer has" if pid is None else f"process {pid} has"
        text = f"{who} the write lock"
        if not self._since_us:
            logger.warning("%s is busy: %s; waiting, nothing is lost", self._path, text)
        self._begin(f"busy: {text}", round(waited_s * 1e6))

    def fails(self, text: str) -> None:
        """A commit failed, and will be tried again."""
        text = text.removesuffix(_NOTHING_LOST)
        if text != self._text:  # Once, and not each two seconds.
            logger.error("%s; nothing is lost, trying again", text)
        self._text = text
        self._begin(text.removeprefix(f"{self._path}: "), 0)

    def _begin(self, text: str, waited_us: int) -> None:
        if not self._since_us:
            self._since_us = SystemClock().wall_us() - waited_us
        if self.worker is not None:
            self._locks.write_trouble(Trouble(self.worker, self._since_us, text))

    def ends(self) -> None:
        """A commit has worked."""
        took_s = (SystemClock().wall_us() - self._since_us) / 1e6
        logger.warning("%s is written to again, after %.1f s", self._path, took_s)
        self._since_us, self._text = 0, ""
        if self.worker is not None:
            self._locks.clear_trouble(self.worker)


def find_trouble(locks: LockFile) -> Trouble | None:
    """Return what keeps a living worker from writing; None if nothing is said."""
    found = locks.find_trouble()
    return found if found is not None and locks.is_held(found.worker) else None
