"""The store: what the runtime and clients hold of a file."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable

from durable._store.connection import connect, real_path
from durable._store.locks import lock_file
from durable._store.migrate import migrate
from durable._store.reader import Reader
from durable._store.rows import LOST_ALONE, WorkerRow
from durable._store.writer import Change, Transaction, Writer
from durable.errors import StoreError

__all__ = ["Store"]


class Store:
    """One open file: a writer, a reader, and the locks of its workers."""

    def __init__(
        self,
        path: str,
        *,
        durability: str,
        deliver: Callable[[list[Change]], None],
        on_foreign_commit: Callable[[], None],
        create: bool = True,
    ) -> None:
        self.path = real_path(path)
        connection = connect(self.path, create=create)
        try:
            migrate(connection, self.path)
        finally:
            connection.close()
        self.locks = lock_file(self.path)
        with contextlib.ExitStack() as undo:
            try:
                self.locks.open()
            except OSError as error:
                raise StoreError(f"{self.path}-lock cannot be opened: {error.strerror}") from error
            undo.callback(self.locks.close)
            self.writer = Writer(self.path, durability, deliver, on_foreign_commit)
            undo.callback(self.writer.close)
            self.reader = Reader(self.path)
            undo.pop_all()

    def close(self) -> None:
        """Commit what is queued and close everything."""
        with contextlib.ExitStack() as last:
            last.callback(self.locks.close)
            if self.writer.worker is not None:
                last.callback(self.locks.release, self.writer.worker)
            last.callback(self.reader.close)
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
        self.writer.worker = worker
        return worker

    def dead_workers(self) -> list[WorkerRow]:
        """Return the workers whose process is gone: nobody holds their byte."""
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
