"""Who lives: one locked byte of ``app.db-lock`` for each worker.

POSIX record locks are freed by the kernel when the process dies, kept while it is stopped, and not
inherited by fork. They belong to the process, though: a second descriptor sees its own process's
locks as free, and closing *any* descriptor of the file drops them all. Hence the laws of this
module: it alone opens the lock file, once per process and file, and never closes it while a byte is
held; workers of this process are told apart in memory.

Source: POSIX fcntl(2), "Advisory record locking"; tried by experiment.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
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
        """Count one more user, opening the file for the first; 0600 as all our files.

        Where the file cannot be written to, it is opened for asking alone.

        Raises:
            OSError: It can be neither made nor read, or is no regular file.
        """
        with _guard:
            if not self._is_ours:
                # A forked child: the locks stayed with the parent. The descriptor is closed: that
                # drops locks of this process alone, and it has none.
                if self._fd >= 0:
                    os.close(self._fd)
                self._fd, self._held, self._users = -1, set(), 0
            if self._fd < 0:
                self._fd = _open(self._path)
                self._pid = os.getpid()
            self._users += 1

    def close(self) -> None:
        """Count one user less; the file is closed with the last, when no byte is held."""
        with _guard:
            if self._is_ours:
                self._users = max(0, self._users - 1)
                self._close_unused()

    def hold(self, worker: int) -> bool:
        """Lock a worker's byte; False if another worker has it, of this process or another.

        Raises:
            OSError: The file system has no locks, or the file is for asking alone.
        """
        with _guard:
            assert self._is_ours, "the lock file was not opened in this process"
            if worker in self._held:
                return False
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, worker)
            except OSError as error:
                if error.errno in {errno.EACCES, errno.EAGAIN}:
                    return False
                raise
            self._held.add(worker)
            return True

    def release(self, worker: int) -> None:
        """Unlock a worker's byte."""
        with _guard:
            if worker in self._held and self._is_ours:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, worker)
                self._held.discard(worker)
                self._close_unused()

    @property
    def _is_ours(self) -> bool:
        return self._fd >= 0 and self._pid == os.getpid()

    def _close_unused(self) -> None:
        if self._users == 0 and not self._held:
            os.close(self._fd)
            self._fd = -1

    def is_held(self, worker: int) -> bool:
        """Ask whether the worker lives, without touching its lock."""
        with _guard:
            # In a forked child the set tells about the parent, which the kernel knows better.
            if worker in self._held and self._is_ours:
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


def _open(path: str) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EROFS, errno.EPERM}:
            raise
        fd = os.open(path, flags | os.O_RDONLY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, f"{path} is no regular file")
    return fd


def lock_file(database: str) -> LockFile:
    """Return this process's lock file of a database, given the database's real path."""
    with _guard:
        path = database + "-lock"
        return _files.setdefault(path, LockFile(path))
