"""Keeping other SQLite libraries of this process from taking the log away.

SQLite's locks are POSIX record locks, which belong to the process: they do not stand between two
SQLite libraries of one process (apsw's, and the one behind Python's ``sqlite3``), and closing *any*
descriptor of a file drops all of them. A foreign connection that closes takes itself for the last
one, copies the log into the file and deletes it, while ours goes on to commit into nothing.

So a process that has a file open also holds *open file description* locks on the very bytes that
SQLite asks for: a read lock where a connection holds SHARED, which keeps everybody from the
exclusive lock that deleting the log needs, and one on the byte of ``-shm`` that says "somebody is
here", which keeps everybody from cutting it. Such locks belong to the descriptor, conflict with
those of the own process too, and outlive foreign closes.

Laws of this module:

* It alone opens the database and its ``-shm`` beside SQLite. A descriptor is never closed while a
  connection of ours is open: it would drop SQLite's locks. At the end the bytes are unlocked, then
  the last connection closes, then the descriptors.
* Nor do we take the log away from others: the last connection leaves it where it is, and it is
  copied into the file only if nobody else has the file open, in this process or another.
* The byte of ``-shm`` is locked after SQLite has opened it, never before: SQLite takes a locked one
  for a living index, and would trust what a dead process left.
* One POSIX lock of ours on ``-shm``, on a byte that SQLite does not use, tells whether a foreign
  close has dropped the locks of this process: then it is gone too.

Source: SQLite's os_unix.c (the bytes), fcntl(2) "Open file description locks"; tried by experiment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
import threading
import time
from collections.abc import Callable

from durable._clock import steady_s

__all__ = [
    "SET_LOCK", "FileGuard", "Identity", "OpenLog", "file_guard", "flock", "has_ofd_locks",
    "identity", "kind_of", "set_lock",
]  # fmt: skip

# struct flock: Linux on 64 bits has (type, whence, start, length, pid), macOS (start, length, pid,
# type, whence).
_FLOCK = "qqihh" if sys.platform == "darwin" else "hhxxxxqqixxxx"
# Python knows the names where the platform has them.
_SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)
SET_LOCK: int = fcntl.F_SETLK if _SET is None else _SET
"""The command that locks bytes, without waiting."""
_GET: int | None = getattr(fcntl, "F_OFD_GETLK", None)
# os_unix.c: PENDING_BYTE + 2, and SHARED_SIZE; os_unix.c: UNIX_SHM_DMS.
_SHARED = (0x40000002, 510)
_WRITE_LOCK = 120
_SOMEBODY_IS_HERE = (128, 1)
# sqlite.org/walformat.html, "The WAL-Index Header".
INDEX_HEADER_BYTES = 48
# Far behind everything that SQLite locks; each process has its own byte from there on.
_CANARY_FROM = 1 << 40
# The last one to leave holds the file alone while it copies a log of at most some hundred MB.
_ALONE_DEADLINE_S = 30.0
_ALONE_LOOK_S = 0.001
_NO_LOCKS = {errno.EINVAL, errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS}

_guards: dict[str, FileGuard] = {}
_known = threading.Lock()

Identity = tuple[int, int]
"""Device and inode."""


def _descriptors(of: Identity | None) -> int:
    """Return how many descriptors of a file this process has; 0 where the kernel does not tell."""
    found = 0
    try:
        with os.scandir("/proc/self/fd") as entries:
            numbers = [int(one.name) for one in entries]
    except OSError:
        return 0
    for number in numbers:
        with contextlib.suppress(OSError):
            found += _identity_of(number) == of
    return found


def has_ofd_locks() -> bool:
    """Say whether this platform has locks that stand between two libraries of one process."""
    return _SET is not None


class OpenLog:
    """The log that one connection has open. SQLite has no locks on it, so it may be closed."""

    def __init__(self, path: str, descriptor: int, one: Identity) -> None:
        self._path = path
        self._descriptor = descriptor
        self.identity = one

    @classmethod
    def at(cls, path: str) -> OpenLog | None:
        """Return the log at a path; None if there is none."""
        descriptor = _open(path)
        one = _identity_of(descriptor)
        return None if one is None else cls(path, descriptor, one)

    def is_lost(self) -> bool:
        """Say whether it is not at its place any more: deleted, or replaced."""
        try:
            found = os.lstat(self._path)
        except OSError:
            return True
        return found.st_ino != self.identity[1] or found.st_dev != self.identity[0]

    def salts(self) -> bytes:
        """Return the eight bytes that tell this log from the same file when it begins anew."""
        return os.pread(self._descriptor, 8, 16)

    def may_be_saved(self) -> bool:
        """Say whether a log that is not at its place can still be copied into the file.

        It can unless somebody has begun another one: what is known of the log is in ``-shm``, which
        all share, and would be of that one by now. Its first salt is greater by one for each time a
        log begins anew; a copy of this one, however old, has the same or a smaller one.

        Source: sqlite.org/fileformat2.html, "The Write-Ahead Log".
        """
        found = _open(self._path)
        try:
            there = os.pread(found, 4, 16) if found >= 0 else b""
        finally:
            if found >= 0:
                os.close(found)
        ours = os.pread(self._descriptor, 4, 16)
        if len(there) < 4 or len(ours) < 4:
            return True
        ahead = (int.from_bytes(there, "big") - int.from_bytes(ours, "big")) % (1 << 32)
        return ahead == 0 or ahead >= 1 << 31

    def close(self) -> None:
        """Close it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FileGuard:
    """What this process holds of one database while it has connections to it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._users = 0
        self._file = self._shm = -1
        self._is_locked = False
        self._canary = self._canary_gone = b""
        self._losses = 0

    # -- connections come and go -----------------------------------------------------------------

    def enter(self) -> None:
        """Count one more connection, before SQLite opens it.

        A file that has a log is locked at once: from here on no other library deletes the log.
        """
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._file = _open(self._path)
            if self._has_log_mode():
                self._lock_file()

    def settle(self) -> OpenLog | None:
        """Hold the index that a connection has made, or found, by reading for the first time.

        Returns:
            The log that this connection has open; another connection may have one of later.
        """
        with self._lock:
            if self._users == 0:
                return None
            if self._file < 0:  # It was not there yet.
                self._file = _open(self._path)
            if not self._is_locked and self._has_log_mode():
                self._lock_file()
            if self._shm < 0:
                self._shm = _open(self._path + "-shm")
                _set(self._shm, fcntl.F_RDLCK, *_SOMEBODY_IS_HERE)
                self._arm()
            return OpenLog.at(self._path + "-wal")

    def pid_of_writer(self) -> int | None:
        """Return which other process has SQLite's write lock; None if that is not known.

        Source: sqlite.org/walformat.html, "WAL Locks": byte 120 of ``-shm``.
        """
        if self._shm < 0:
            return None
        try:
            answer = fcntl.fcntl(self._shm, fcntl.F_GETLK, flock(fcntl.F_WRLCK, _WRITE_LOCK, 1))
        except OSError:
            return None
        fields = struct.unpack(_FLOCK, answer)
        pid: int = fields[2] if sys.platform == "darwin" else fields[4]
        return pid if kind_of(answer) != fcntl.F_UNLCK and pid > 0 else None

    def leave(self, close: Callable[[], None], copy_log: Callable[[], None]) -> None:
        """Close a connection; with the last one everything is given back.

        Args:
            close: Closes it, and leaves the log where it is.
            copy_log: Copies the log into the file and deletes it: called after the last connection
                of all has closed. Another library of this process does not count for SQLite.
        """
        with self._lock:
            if self._users == 0:  # Of a process that has forked: the guard stayed with the parent.
                close()
                return
            self._users -= 1
            if self._users:
                close()
                return
            _set(self._file, fcntl.F_UNLCK, *_SHARED)
            _set(self._shm, fcntl.F_UNLCK, *_SOMEBODY_IS_HERE)
            try:
                close()
                if not self._has_company():
                    copy_log()
            finally:
                self._forget()

    def _forget(self) -> None:
        for descriptor in (self._shm, self._file):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._shm = -1
        self._is_locked, self._users = False, 0

    def forget_parent(self) -> None:
        """In a forked child: let go what the parent holds, which goes on holding it."""
        self._lock = threading.RLock()
        self._forget()

    # -- what is asked of it ---------------------------------------------------------------------

    @property
    def file(self) -> Identity | None:
        """Device and inode of the database that is open."""
        return _identity_of(self._file)

    def index(self) -> bytes:
        """Return the header of the log's index, which all share; empty where there is none."""
        with self._lock:
            return os.pread(self._shm, INDEX_HEADER_BYTES, 0) if self._shm >= 0 else b""

    def losses(self) -> int:
        """Return how often foreign closes have dropped this process's locks of ``-shm`` so far.

        What was read or prepared between two different answers may not have been alone, if other
        processes have the file too: do it again.
        """
        if self._shm < 0 or _GET is None:
            return self._losses
        # Asked in each commit and read: no call that need not be.
        if fcntl.fcntl(self._shm, _GET, self._canary) == self._canary_gone:
            with self._lock:
                if fcntl.fcntl(self._shm, _GET, self._canary) == self._canary_gone:
                    self._losses += 1
                    self._arm()
        return self._losses

    def _has_company(self) -> bool:
        """Say whether anybody has the file open, once our own connections have closed."""
        if self._file < 0 or _GET is None:
            return False
        if _is_locked_by_others(self._file, *_SHARED):
            return True
        return _descriptors(_identity_of(self._file)) > 1

    # -- bytes -----------------------------------------------------------------------------------

    def _has_log_mode(self) -> bool:
        # Bytes 18 and 19 of the header are 2 where a log is written. Locking one that has none yet
        # would keep everybody, ourselves too, from changing it.
        return self._file >= 0 and os.pread(self._file, 2, 18) == b"\x02\x02"

    def _lock_file(self) -> None:
        until_s = steady_s() + _ALONE_DEADLINE_S
        while not _set(self._file, fcntl.F_RDLCK, *_SHARED):
            if steady_s() > until_s:
                return  # SQLite will say who keeps the file locked.
            time.sleep(_ALONE_LOOK_S)
        self._is_locked = True

    def _arm(self) -> None:
        if self._shm >= 0 and _GET is not None:
            at = _CANARY_FROM + os.getpid()
            self._canary = flock(fcntl.F_WRLCK, at, 1)
            # What the kernel answers where no lock is in the way: the same, but for the kind.
            self._canary_gone = flock(fcntl.F_UNLCK, at, 1)
            fcntl.lockf(self._shm, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, at)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # Not there, or not to be read: SQLite says what is wrong.
        return -1


def _identity_of(descriptor: int) -> Identity | None:
    if descriptor < 0:
        return None
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def identity(path: str) -> Identity | None:
    """Return device and inode of what is at a path; None if nothing is."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def flock(kind: int, start: int, length: int) -> bytes:
    """Return the C structure that names bytes and the kind of lock on them."""
    if sys.platform == "darwin":
        return struct.pack(_FLOCK, start, length, 0, kind, os.SEEK_SET)
    return struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)


def set_lock(descriptor: int, kind: int, start: int, length: int) -> bool:
    """Lock or unlock bytes, without waiting; False if somebody's lock is in the way.

    Raises:
        OSError: The file system has no locks, or the descriptor cannot hold this kind.
    """
    try:
        fcntl.fcntl(descriptor, SET_LOCK, flock(kind, start, length))
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EAGAIN}:
            return False
        raise
    return True


def _set(descriptor: int, kind: int, start: int, length: int) -> bool:
    """Lock or unlock bytes; False if somebody's lock is in the way."""
    if _SET is None or descriptor < 0:
        return True
    try:
        return set_lock(descriptor, kind, start, length)
    except OSError as error:
        return error.errno in _NO_LOCKS


def _is_locked_by_others(descriptor: int, start: int, length: int) -> bool:
    """Say whether anybody but this descriptor has bytes locked, this process's SQLite included.

    True where the platform cannot tell.
    """
    if _GET is None or descriptor < 0:
        return True
    try:
        answer = fcntl.fcntl(descriptor, _GET, flock(fcntl.F_WRLCK, start, length))
    except OSError:
        return True
    return kind_of(answer) != fcntl.F_UNLCK


def kind_of(answer: bytes) -> int:
    """Return the kind of the lock that the kernel tells of."""
    fields = struct.unpack(_FLOCK, answer)
    kind: int = fields[3] if sys.platform == "darwin" else fields[0]
    return kind


def file_guard(path: str) -> FileGuard:
    """Return this process's guard of a database, given the database's real path."""
    with _known:
        return _guards.setdefault(path, FileGuard(path))


def _forget_parent() -> None:
    for guard in _guards.values():
        guard.forget_parent()


os.register_at_fork(after_in_child=_forget_parent)
