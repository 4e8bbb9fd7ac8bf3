"""Who lives: one locked byte of ``app.db-lock`` for each worker, and one for who writes.

The locks are those of an open file description: freed by the kernel when the process dies, kept
while it is stopped, and kept when somebody else in the process reads or copies the file and closes
it, which drops POSIX locks. A forked child would keep them, so it closes its descriptors at once.
Where a platform has no such locks they are POSIX locks, which belong to the process. Hence the laws
of this module: it alone opens the lock file, once per process and file, and never closes it while a
byte is held; workers of this process are told apart in memory.

The byte of who writes is a second layer under SQLite's own write lock: two processes of ours never
write at once, whatever has become of SQLite's locks.

The file holds two records. One says of which database it is, how many logs of it were begun, and
which files the database and its log were then. A database whose log is missing, or that is another
than the log beside it belongs to, is known by it. The other says why a worker cannot write.

Source: fcntl(2), "Advisory record locking" and "Open file description locks"; tried by experiment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import threading

import attrs

from durable._clock import steady_s
from durable._store.file_guard import SET_LOCK, Identity, flock, identity, kind_of, set_lock
from durable._store.ownership import create_private, lock_mode

__all__ = ["LockFile", "Record", "Trouble", "lock_file"]

# Ids of workers are rows' keys, and never come near it.
_WRITE_BYTE = 1 << 62
# Made once: they are used twice in each commit.
_TAKE = flock(fcntl.F_WRLCK, _WRITE_BYTE, 1)
_GIVE = flock(fcntl.F_UNLCK, _WRITE_BYTE, 1)
_RECORD = struct.Struct("=8sqqQQQQ")
_MAGIC = b"durable1"
_TROUBLE = struct.Struct("=qqH")
# Behind the record, and with it in the first block of the file: a full disk takes it too.
_TROUBLE_AT, _TROUBLE_BYTES_MAX = 256, 1024
# Each worker looks once a second whether its lock file is at its place; twice that, and some.
NEW_S = 2.5

_files: dict[str, LockFile] = {}
_guard = threading.Lock()


@attrs.frozen
class Record:
    """What the lock file says of the database beside it.

    Attributes:
        generation: Which database it is; see ``durable_meta``.
        logs: How many logs of it were begun, as its newest commit known here says.
        file: The database then.
        log: Its log then.
    """

    generation: int
    logs: int
    file: Identity
    log: Identity


@attrs.frozen
class Trouble:
    """Why a worker cannot write, for people.

    Attributes:
        worker: Which worker; who reads this asks whether it lives.
        since_us: Since when, by the wall clock, in microseconds since the epoch.
        text: What is wrong.
    """

    worker: int
    since_us: int
    text: str


class LockFile:
    """The lock file beside one database, shared by all engines and clients of this process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._pid = 0
        self._held: set[int] = set()
        self._users = 0
        self._made_s: float | None = None
        self._writing = threading.Lock()

    def open(self) -> None:
        """Count one more user, opening the file for the first; 0600 as all our files.

        Where the file cannot be written to, it is opened for asking alone.

        Raises:
            OSError: It can be neither made nor read, or is no regular file.
        """
        with _guard:
            if self._fd < 0:
                self._fd, is_made = _open(self._path)
                self._made_s = steady_s() if is_made else None
                self._pid = os.getpid()
            self._users += 1

    @property
    def is_open(self) -> bool:
        """Whether this process has it open."""
        return self._is_ours

    def exists(self) -> bool:
        """Say whether there is one beside the database."""
        return identity(self._path) is not None

    @property
    def is_new(self) -> bool:
        """Whether this process has just made it, so that others may hold bytes of one before it."""
        return self._made_s is not None and steady_s() - self._made_s < NEW_S

    def close(self) -> None:
        """Count one user less; the file is closed with the last, when no byte is held."""
        with _guard:
            if self._is_ours:
                self._users = max(0, self._users - 1)
                self._close_unused()

    def leave_to_parent(self) -> None:
        """In a forked child: let go what the parent holds, which goes on holding it."""
        self._writing = threading.Lock()
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._held, self._users = -1, set(), 0

    def hold(self, worker: int) -> bool:
        """Lock a worker's byte; False if another worker has it, of this process or another.

        Raises:
            OSError: The file system has no locks, or the file is for asking alone.
        """
        with _guard:
            assert self._is_ours, "the lock file was not opened in this process"
            if worker in self._held:
                return False
            if not set_lock(self._fd, fcntl.F_WRLCK, worker, 1):
                return False
            self._held.add(worker)
            return True

    def release(self, worker: int) -> None:
        """Unlock a worker's byte."""
        with _guard:
            if worker in self._held and self._is_ours:
                set_lock(self._fd, fcntl.F_UNLCK, worker, 1)
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
        if not 0 < worker < _WRITE_BYTE:  # Of a row changed by hand: there is no such byte.
            return False
        with _guard:
            if worker in self._held:
                return True
            if self._fd < 0:  # In a forked child, which asks with what its parent opened.
                self._fd, _ = _open(self._path)
                self._pid = os.getpid()
            answer = fcntl.fcntl(self._fd, fcntl.F_GETLK, flock(fcntl.F_WRLCK, worker, 1))
            return kind_of(answer) != fcntl.F_UNLCK

    def take_turn(self) -> bool:
        """Take the byte of who writes; False if another writer has it, of this process or another.

        Raises:
            OSError: The file system has no locks.
        """
        if not self._writing.acquire(blocking=False):
            return False
        try:
            fcntl.fcntl(self._fd, SET_LOCK, _TAKE)
        except OSError as error:
            if error.errno == errno.EBADF:  # For asking alone: SQLite's own lock has to do.
                return True
            self._writing.release()
            if error.errno in {errno.EACCES, errno.EAGAIN}:
                return False
            raise
        return True

    def end_turn(self) -> None:
        """Give the byte of who writes back."""
        try:
            fcntl.fcntl(self._fd, SET_LOCK, _GIVE)
        except OSError:  # It was not held: the file is for asking alone.
            pass
        finally:
            self._writing.release()

    def is_gone(self) -> bool:
        """Say whether the file is not at its place any more: deleted, or replaced."""
        found = os.fstat(self._fd)
        return identity(self._path) != (found.st_dev, found.st_ino)

    def make_again(self) -> None:
        """Make a file that is gone again, or take the one that is there; lock what is held in it.

        Raises:
            OSError: There can be none, or somebody else has one of the bytes in it.
        """
        with _guard:
            fd, _ = _open(self._path)
            try:
                for worker in self._held:
                    if not set_lock(fd, fcntl.F_WRLCK, worker, 1):
                        raise BlockingIOError(errno.EAGAIN, "another process has a worker's byte")
            except OSError:
                os.close(fd)
                raise
            # The old one is a file of no name by now; whoever is in it for a turn leaves it first.
            with self._writing:
                before, self._fd = self._fd, fd
            os.close(before)

    def find_record(self) -> Record | None:
        """Return what the file says of the database beside it; None if nothing."""
        data = os.pread(self._fd, _RECORD.size, 0)
        if len(data) < _RECORD.size:
            return None
        magic, generation, logs, *numbers = _RECORD.unpack(data)
        if magic != _MAGIC:
            return None
        return Record(generation, logs, (numbers[0], numbers[1]), (numbers[2], numbers[3]))

    def write_record(self, record: Record) -> None:
        """Say of which database this is; nothing is synced."""
        data = _RECORD.pack(_MAGIC, record.generation, record.logs, *record.file, *record.log)
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, data, 0)

    def find_trouble(self) -> Trouble | None:
        """Return why a worker cannot write, as it says; None if it says nothing."""
        size = _TROUBLE.size
        data = os.pread(self._fd, size + _TROUBLE_BYTES_MAX, _TROUBLE_AT) if self._fd >= 0 else b""
        if len(data) < size:
            return None
        worker, since_us, length = _TROUBLE.unpack_from(data)
        if worker <= 0 or since_us <= 0 or length > len(data) - size:
            return None
        return Trouble(worker, since_us, data[size : size + length].decode("utf-8", "replace"))

    def write_trouble(self, trouble: Trouble) -> None:
        """Say why a worker cannot write; of several workers the last one counts."""
        text = trouble.text.encode("utf-8", "replace")[:_TROUBLE_BYTES_MAX]
        data = _TROUBLE.pack(trouble.worker, trouble.since_us, len(text)) + text
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, data, _TROUBLE_AT)

    def clear_trouble(self, worker: int) -> None:
        """A worker can write again: what it said counts no more."""
        found = self.find_trouble()
        if found is not None and found.worker == worker:
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, bytes(_TROUBLE.size), _TROUBLE_AT)


def _open(path: str) -> tuple[int, bool]:
    """Open the lock file; say whether it was made now."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    is_made = False
    try:
        try:
            fd = create_private(path, os.O_RDWR | os.O_NONBLOCK)
            is_made = True
            _make_like_database(path.removesuffix("-lock"), fd)
        except FileExistsError:
            fd = os.open(path, flags | os.O_RDWR)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EROFS, errno.EPERM}:
            raise
        fd = os.open(path, flags | os.O_RDONLY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, f"{path} is no regular file")
    return fd, is_made


def _make_like_database(database: str, fd: int) -> None:
    mode, owner, group = lock_mode(database)
    with contextlib.suppress(OSError):  # It is private then: others cannot open the database.
        os.fchown(fd, owner, group)
        os.fchmod(fd, mode)


def _leave_to_parent() -> None:
    """In a forked child: close what is the parent's; it would be held while the child lives."""
    if _guard.locked():  # By a thread that the child has not.
        _guard.release()
    for one in _files.values():
        one.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parent)


def lock_file(database: str) -> LockFile:
    """Return this process's lock file of a database, given the database's real path."""
    with _guard:
        path = database + "-lock"
        return _files.setdefault(path, LockFile(path))
