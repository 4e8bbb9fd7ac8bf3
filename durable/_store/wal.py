"""The write-ahead log of a writer: watched, copied into the file, and accounted for.

Laws:

* Whoever writes, or copies the log, has the byte of who writes of the lock file: our processes take
  turns, whatever has become of SQLite's own locks.
* The first commit after the log was copied counts it, in the file and in the lock file. So a file
  whose log is missing is known at the next opening: the lock file counts more logs than it.
* A log that is not at its place any more takes no more commits. It is still open, so what it holds
  is copied into the file, unless somebody has begun another one.
* A sync that failed while the log was copied is like a commit that failed: the kernel may take for
  written what is on no disk.

Source: sqlite.org/wal.html; sqlite.org/atomiccommit.html; the rest by experiment.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import apsw
import attrs

from durable._store.connection import BUSY_DEADLINE_S, Connection, explain, fair_waiting
from durable._store.file_guard import FileGuard, Identity, identity
from durable._store.locks import LockFile, Record
from durable._store.queries import QUERIES
from durable._store.trouble import TroubleOfWriter
from durable.errors import CommitUnknown, LogLost

__all__ = ["Synced", "WriteAheadLog"]

logger = logging.getLogger("durable.store")

# 16 MiB of 4 KiB pages: the log is checkpointed then, between two transactions.
CHECKPOINT_PAGES = 4_000
# A log of 64 MiB is worth a short wait for readers and other writers, so that it can begin anew.
RESTART_PAGES = 4 * CHECKPOINT_PAGES
RESTART_WAIT_S = 0.05
# Of a log that is written again, at once: SQLite's VFS takes less than 128 KiB in one piece.
COPY_BYTES = 1 << 16
# sqlite.org/fileformat2.html, "The Write-Ahead Log".
HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
# How many runs are remembered whose newest events may be in the log alone.
RUNS_MAX = 100_000


@attrs.frozen
class Synced:
    """How much of a log is on the disk.

    Attributes:
        salts: Which log: each that begins anew has others.
        length: So many bytes.
    """

    salts: bytes = b""
    length: int = 0


class WriteAheadLog:
    """The log of one writing connection.

    Args:
        path: The database's real path.
        connection: The writer's.
        locks: The lock file beside it.

    Attributes:
        generation: Which database this is.
        runs: The newest event, by its seq, of each run that only the log may have.
        trouble: What keeps its writer from committing.
        patience_s: How long its writer waits for others; what waits already heeds it too.
    """

    def __init__(self, path: str, connection: Connection, locks: LockFile) -> None:
        assert connection.guard is not None
        self._path = path
        self._connection = connection
        self._guard: FileGuard = connection.guard
        self._locks = locks
        self.generation: int = connection.execute(
            QUERIES["get_meta"].text, {"name": "generation"}
        ).get
        self._frame_bytes = FRAME_HEADER_BYTES + connection.pragma("page_size")
        self._salts = b""
        self._synced_pages = 0
        self._is_new = True
        self._losses = 0
        self._pages = 0
        self._checkpoint_at = CHECKPOINT_PAGES
        self.runs: dict[int, int] = {}
        self.checkpoints = 0
        self.patience_s = BUSY_DEADLINE_S
        self.trouble = TroubleOfWriter(path, self._guard, locks)
        connection.set_wal_hook(self._note_pages)
        self._wait_for_others()

    def _note_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._pages = pages
        return 0

    @contextlib.contextmanager
    def turn(self, wait_s: float = BUSY_DEADLINE_S) -> Iterator[None]:
        """Have the byte of who writes.

        Raises:
            apsw.BusyError: Others had it all the time.
        """
        self.begin_turn(wait_s)
        try:
            yield
        finally:
            self.end_turn()

    def begin_turn(self, wait_s: float = BUSY_DEADLINE_S) -> None:
        """Take the byte of who writes; see `turn`."""
        if self._locks.take_turn():
            return
        wait = fair_waiting(lambda: min(wait_s, self.patience_s), self.trouble.is_locked_out)
        tries = 0
        while not self._locks.take_turn():
            if not wait(tries):
                raise apsw.BusyError("another process writes")
            tries += 1

    def end_turn(self) -> None:
        """Give the byte back."""
        self._locks.end_turn()

    # -- what is in it ---------------------------------------------------------------------------

    def count(self) -> int | None:
        """Count the log in the transaction that is its first; return the number, or None."""
        if not self._is_new:
            return None
        logs: int = self._connection.execute(QUERIES["count_log"].text).get
        return logs

    def note(self, logs: int) -> None:
        """Say in the lock file that this log was begun, once that is committed."""
        self._is_new = False
        file, log = self._guard.file, self._connection.log
        self._salts = b"" if log is None else log.salts()
        if file is not None and log is not None:
            self._locks.write_record(Record(self.generation, logs, file, log.identity))

    def was_synced(self) -> None:
        """Note that everything in the log is on the disk: the newest commit was synced."""
        self._synced_pages = self._pages

    @property
    def synced(self) -> Synced:
        """How much of which log is on the disk."""
        return Synced(self._salts, HEADER_BYTES + self._synced_pages * self._frame_bytes)

    def remember(self, run: int, seq: int) -> None:
        """Remember a run whose newest event only the log may have."""
        if len(self.runs) < RUNS_MAX or run in self.runs:
            self.runs[run] = seq

    @property
    def file(self) -> Identity | None:
        """Device and inode of the database that is open."""
        return self._guard.file

    def was_disturbed(self) -> bool:
        """Say whether foreign closes have dropped SQLite's locks since this was asked last."""
        before, self._losses = self._losses, self._guard.losses()
        return self._losses != before

    # -- copying it ------------------------------------------------------------------------------

    def checkpoint(self) -> CommitUnknown | None:
        """Copy the log into the file, each time it has grown by so much.

        PASSIVE never waits, and lets the next transaction begin the log anew if nobody reads or
        writes meanwhile. Where somebody always does, the log grows until it is worth waiting a
        moment; a reader of minutes is not waited for.

        Returns:
            Why nothing more may be committed: what of the log is on the disk is not known.
        """
        pages = self._pages
        if pages < CHECKPOINT_PAGES:
            self._checkpoint_at = CHECKPOINT_PAGES
            return None
        if pages < self._checkpoint_at:
            return None
        self._checkpoint_at = pages + CHECKPOINT_PAGES
        late = pages >= RESTART_PAGES
        return self._copy(
            apsw.SQLITE_CHECKPOINT_TRUNCATE if late else apsw.SQLITE_CHECKPOINT_PASSIVE
        )

    def copy_some(self) -> CommitUnknown | None:
        """Copy what can be without waiting: the file alone shows then that it is in use."""
        return self._copy(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _copy(self, mode: int) -> CommitUnknown | None:
        try:
            with self._waiting(RESTART_WAIT_S):
                in_log, copied = self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            logger.debug("%s: others keep the log of %d pages in use", self._path, self._pages)
        except apsw.IOError as error:
            return CommitUnknown(
                f"{self._path}: the log could not be copied into the file ({error}), and what of "
                "it is on the disk is not known, so everything is read again"
            )
        except apsw.Error as error:
            why = explain(error, self._path)
            logger.warning("the log cannot be copied into the file: %s", why)
        else:
            self.checkpoints += 1
            if copied == in_log:
                self._was_copied()
            logger.debug("%s: %d of %d pages of the log copied", self._path, copied, in_log)
        return None

    @contextlib.contextmanager
    def _waiting(self, wait_s: float) -> Iterator[None]:
        """Have the byte of who writes, and wait so long at most: for it, and for SQLite's locks."""
        self._connection.set_busy_handler(fair_waiting(wait_s))
        try:
            with self.turn(wait_s):
                yield
        finally:
            self._wait_for_others()

    def _wait_for_others(self) -> None:
        waiting = fair_waiting(lambda: self.patience_s, self.trouble.is_locked_out)
        self._connection.set_busy_handler(waiting)

    def _was_copied(self) -> None:
        self._is_new = True
        self.runs.clear()

    def empty(self, wait_s: float, synced: Synced) -> None:
        """Copy the whole log into the file and cut it, before anything else is committed.

        First what of the log may not be on the disk is written once more, as it is, and synced: a
        power cut while the log is copied finds what the copying began with.

        Args:
            wait_s: How long others who read are waited for.
            synced: How much surely is on the disk.

        Raises:
            StoreError: It could not be done; or others read it all the time.
        """
        try:
            with self._waiting(wait_s):
                # Nobody writes meanwhile; and a connection that has read nothing copies nothing.
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    self._write_again(synced)
                finally:
                    self._connection.execute("ROLLBACK")
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as error:
            raise explain(error, self._path) from error
        self._was_copied()

    def _write_again(self, synced: Synced) -> None:
        """Write the log's bytes where they are, and sync them: the disk may lack some of them.

        Source: "Can Applications Recover from fsync Failures?", Rebello and others, ATC 2020.
        """
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_WAL
        log = apsw.VFSFile("", self._path + "-wal", [flags, 0])
        try:
            size, at = log.xFileSize(), 0
            if size >= HEADER_BYTES and log.xRead(8, 16) == synced.salts:
                at = synced.length
            while at < size:
                part = log.xRead(min(COPY_BYTES, size - at), at)
                log.xWrite(part, at)
                at += len(part)
            log.xSync(apsw.SQLITE_SYNC_FULL)
        finally:
            log.xClose()

    # -- losing it -------------------------------------------------------------------------------

    def is_lost(self) -> bool:
        """Say whether it is not at its place any more: deleted, or replaced."""
        log = self._connection.log
        return log is not None and log.is_lost()

    def lost(self) -> LogLost:
        """Save what can be of a log that was taken away; return what to say."""
        return LogLost(
            f"{self._path}-wal was deleted or replaced while it was open: {self._save()}"
        )

    def _save(self) -> str:
        try:
            with self.turn():
                log = self._connection.log
                if log is None or not log.may_be_saved():
                    return "another log is there, so what only it held is lost"
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
                left = Path(self._path + "-wal")
                if identity(str(left)) is not None:  # A copy of it: played back, it would do harm.
                    left.replace(f"{left}.replaced")
        except (apsw.Error, OSError) as error:
            return f"it cannot be copied into the file ({error}), so what only it held is lost"
        self.runs.clear()
        return "what it held was copied into the file all the same, and nothing is lost"
