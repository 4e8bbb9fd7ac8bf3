"""Who lives: one locked byte of ``app.db-lock`` for each worker.

POSIX record locks are freed by the kernel when the process dies, kept while it is stopped, and not
inherited by fork. They belong to the process, though: a second descriptor sees its own process's
locks as free, and closing *any* descriptor of the file drops them all. Hence the laws of this
module: it alone opens the lock file, once per process and file, and never closes it while a byte is
held; workers of this process are told apart in memory.

Source: POSIX fcntl(2), "Advisory record locking"; tried by experiment.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading

__all__ = ["LockFile", "lock_file"]

# struct flock: Linux on 64 bits has (type, whence, start, length, pid), macOS (start, length, pid,
# type, whence).
_LINUX = "hhxxxxqqixxxx"
_MACOS = "qqihh"

_files: dict[str, LockFile] = {}
_guard = threading.Lock()


class LockFile:
    """The lock file beside one database, shared by all engines and clients of this process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._pid = 0
        self._held: set[int] = set()
        self._users = 0

    def open(self) -> None:
        """Count one more user, opening the file for the first; 0600 as all our files."""
        with _guard:
            if self._fd >= 0 and self._pid != os.getpid():
                # A forked child: the locks stayed with the parent, its descriptor is of no use.
                self._fd, self._held, self._users = -1, set(), 0
            if self._fd < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._fd = os.open(self._path, flags, 0o600)
                self._pid = os.getpid()
            self._users += 1

    def close(self) -> None:
        """Count one user less; the file is closed with the last, when no byte is held."""
        with _guard:
            self._users = max(0, self._users - 1)
            if self._users == 0 and not self._held and self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def hold(self, worker: int) -> bool:
        """Lock a worker's byte; False if another process holds it."""
        with _guard:
            if worker in self._held:
                return False
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, worker)
            except OSError:
                return False
            self._held.add(worker)
            return True

    def release(self, worker: int) -> None:
        """Unlock a worker's byte."""
        with _guard:
            if worker in self._held and self._pid == os.getpid():
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, worker)
            self._held.discard(worker)

    def is_held(self, worker: int) -> bool:
        """Ask whether the worker lives, without touching its lock."""
        with _guard:
            if worker in self._held:
                return True
            mac = sys.platform == "darwin"
            wanted = (
                struct.pack(_MACOS, worker, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
                if mac
                else struct.pack(_LINUX, fcntl.F_WRLCK, os.SEEK_SET, worker, 1, 0)
            )
            answer = fcntl.fcntl(self._fd, fcntl.F_GETLK, wanted)
            kind = struct.unpack(_MACOS, answer)[3] if mac else struct.unpack(_LINUX, answer)[0]
            return bool(kind != fcntl.F_UNLCK)


def lock_file(database: str) -> LockFile:
    """Return this process's lock file of a database, given the database's real path."""
    with _guard:
        path = database + "-lock"
        return _files.setdefault(path, LockFile(path))
