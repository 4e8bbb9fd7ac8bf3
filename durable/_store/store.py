"""The store: what the runtime and clients hold of a file."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable

from durable._clock import SystemClock
from durable._store.connection import connect, explain_place, has_log, real_path
from durable._store.file_guard import Identity
from durable._store.locks import lock_file
from durable._store.mending import mend
from durable._store.migrate import migrate
from durable._store.ownership import refuse_shared
from durable._store.reader import Reader
from durable._store.rows import LOST_ALONE, WorkerRow
from durable._store.wal import Synced
from durable._store.wholeness import MISSING, find_missing, refuse_other_log
from durable._store.writer import Change, Transaction, Writer
from durable.errors import StoreError

__all__ = ["Store"]

logger = logging.getLogger("durable.store")

# How long readers are waited for when the log must be emptied before anything else.
EMPTY_WAIT_S = 5.0


class Store:
    """One open file: a writer, a reader, and the locks of its workers.

    Args:
        path: The file.
        durability: See `Writer`.
        deliver: See `Writer`.
        on_foreign_commit: See `Writer`.
        create: Whether it is made if it does not exist.
        after: Of the store before, if a commit or a checkpoint of it had an unknown outcome: how
            much of the log is on the disk. The log is emptied before anything is committed.
        allow_shared: Whether others may own it, or write to it.

    Raises:
        StoreError: What is wrong with the file.
    """

    def __init__(
        self,
        path: str,
        *,
        durability: str,
        deliver: Callable[[list[Change]], None],
        on_foreign_commit: Callable[[], None],
        create: bool = True,
        after: Synced | None = None,
        allow_shared: bool = False,
    ) -> None:
        self.path = real_path(path)
        refuse_shared(self.path, allow_shared=allow_shared)
        self.locks = lock_file(self.path)
        with contextlib.ExitStack() as undo:
            if self.locks.exists():
                self._open_locks(undo)
                refuse_other_log(self.path, self.locks)
            had_log = has_log(self.path)
            connection = connect(self.path, create=create)
            try:
                migrate(connection, self.path)
                if after is None:  # Else nothing is committed before the log was emptied.
                    mend(connection, self.path)
            finally:
                connection.leave_log()  # Its log is the writer's, which comes next.
                connection.close()
            if not self.locks.is_open:
                self._open_locks(undo)
            record = self.locks.find_record()
            self.writer = Writer(self.path, durability, deliver, on_foreign_commit, self.locks)
            undo.callback(self.writer.close)
            if after is not None:
                self.writer.log.empty(EMPTY_WAIT_S, after)
            self.reader = Reader(self.path)
            undo.callback(self.reader.close)
            # It is remembered: an activity's thread asks for it, and must not read.
            self.reader.secret()
            missing = find_missing(self.reader, record, self.locks.is_held, had_log=had_log)
            if missing:
                self._tell_missing(missing)
            # Somebody may have made one of them meanwhile.
            refuse_shared(self.path, allow_shared=allow_shared)
            undo.pop_all()

    @property
    def is_broken(self) -> bool:
        """Whether it has to be opened again before it is of use."""
        return self.writer.is_broken or self.writer.log.is_lost()

    @property
    def file(self) -> Identity | None:
        """Device and inode of the database that is open."""
        return self.writer.log.file

    @property
    def generation(self) -> int:
        """Which database this is: a backup of it is another."""
        return self.writer.log.generation

    def _open_locks(self, undo: contextlib.ExitStack) -> None:
        try:
            self.locks.open()
        except OSError as error:
            raise explain_place(error, f"{self.path}-lock", "opened") from error
        undo.callback(self.locks.close)

    def _tell_missing(self, text: str) -> None:
        """Say it loudly, and write it down: from the next commit on nothing shows it."""
        logger.error("%s", text)
        row = (None, MISSING, "durable", text, "{}", SystemClock().wall_us())
        self.writer.commit_now(Change(operation=lambda t: t.rows("insert_audit", [row])))

    def close(self) -> None:
        """Commit what is queued and close everything."""
        with contextlib.ExitStack() as last:
            last.callback(self.locks.close)
            if self.writer.worker is not None:
                last.callback(self.locks.release, self.writer.worker)
            last.callback(self.reader.close, leaves_log=self.writer.is_broken)
            self.writer.close()

    # -- workers ---------------------------------------------------------------------------------

    def open_worker(self, workflows: str, now_us: int) -> int:
        """Make this store a worker's. Its byte is locked before its row can be seen.

        Raises:
            StoreError: There is no new worker; its byte is free again.
        """
        held: list[int] = []

        def operation(transaction: Transaction) -> int:
            row = transaction.one(
                "insert_worker",
                pid=os.getpid(),
                host=socket.gethostname(),
                started_us=now_us,
                workflows=workflows,
            )
            assert row is not None
            worker: int = row[0]
            while held:  # The transaction began again.
                self.locks.release(held.pop())
            try:
                free = self.locks.hold(worker)
            except OSError as error:
                raise StoreError(f"{self.path}-lock cannot be locked: {error.strerror}") from error
            if not free:
                raise StoreError(f"the lock of worker {worker} in {self.path}-lock is taken")
            held.append(worker)
            transaction.all("delete_ended_workers", before=worker - 100)
            return worker

        try:
            worker: int = self.writer.commit_now(Change(operation=operation))
        except BaseException:
            for one in held:
                self.locks.release(one)
            raise
        self.writer.serve(worker)
        return worker

    def free_orphans(self) -> None:
        """Free runs in the hands of workers that are not there: of a row changed by hand, say."""
        if self.reader.all("list_runs_of_unknown_workers", limit=1):
            free = Change(operation=lambda t: t.all("free_runs_of_unknown_workers"))
            self.writer.commit_now(free)

    def dead_workers(self) -> list[WorkerRow]:
        """Return the workers whose process is gone: nobody holds their byte.

        None while the lock file is new: it may have been deleted under workers that live, which
        notice that within a second and lock their bytes in this one.
        """
        if self.locks.is_new:
            return []
        return [row for row in self.reader.live_workers() if not self.locks.is_held(row.id)]

    def take_over(self, worker: int, now_us: int) -> Callable[[Transaction], bool]:
        """Return the operation that declares a worker dead and frees its runs.

        Ids are never reused and a worker locks its byte before its row is visible, so a free byte
        in this transaction is the kernel's word that it is gone.
        """

        def operation(transaction: Transaction) -> bool:
            if self.locks.is_held(worker):
                return False
            if transaction.one("end_worker", id=worker, state="dead", now_us=now_us) is None:
                return False
            transaction.all("lose_runs_of_worker", worker=worker, lost_alone=LOST_ALONE)
            return True

        return operation

    @staticmethod
    def end_worker(worker: int, now_us: int) -> Callable[[Transaction], None]:
        """Return the operation by which a worker ends in order: its runs are free at once."""

        def operation(transaction: Transaction) -> None:
            transaction.all("free_runs_of_worker", worker=worker)
            transaction.one("end_worker", id=worker, state="closed", now_us=now_us)

        return operation
