"""Opening the file again: after a commit whose outcome is unknown, and whatever else ends a writer.

What is in memory may be ahead of the file, so all of it is dropped and read again, by a new worker.
The file of before, or none: a new one would be empty, and the keys of another, a copy of this very
file included, mean other runs or an older state of them. What no waiting can mend (another file, a
damaged one, one of a newer version) ends the engine for good, with one line.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from durable._store.connection import moved, replaced
from durable._store.file_guard import Identity, identity
from durable._store.wal import Synced
from durable._store.writer import Change, Transaction
from durable.errors import (
    CommitUnknown,
    FileCorrupt,
    FileMoved,
    FileTooNew,
    LogLost,
    NotADurableFile,
    OwnershipLost,
    RowRefused,
    StoreError,
)

if TYPE_CHECKING:
    from durable._runtime.worker import Worker

__all__ = ["ENDS_THE_WRITER", "Reopening"]

ENDS_THE_WRITER = (
    CommitUnknown, FileCorrupt, FileMoved, FileTooNew, LogLost, OwnershipLost
)  # fmt: skip
"""After these a writer commits nothing more: its owner opens the file again."""

WAIT_S_MIN, WAIT_S_MAX = 0.05, 2.0
# A file that is opened well and lost again at once is not opened again a hundred times a second.
CALM_S = 5.0


class Reopening:
    """How one worker's file is opened again.

    Attributes:
        failed: Raises once nothing is tried any more.
    """

    def __init__(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        self._worker = worker
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._trouble: StoreError | None = None
        self._synced: Synced | None = None
        self._file: Identity | None = None
        self._generation = 0
        self._started_us = 0
        self._wait_s = 0.0
        self._opened_s = 0.0
        self.failed: asyncio.Future[None] = loop.create_future()

    @property
    def is_under_way(self) -> bool:
        """Whether the file is not open, for whatever reason but closing."""
        return self._task is not None

    @property
    def synced(self) -> Synced | None:
        """How much of the log is on the disk, after a commit whose outcome is unknown."""
        return self._synced

    def refusal(self) -> StoreError | None:
        """Return what to raise for a call that needs the file; None if that is open."""
        trouble = self._trouble
        if trouble is None:
            return None
        if isinstance(trouble, FileCorrupt | FileMoved | FileTooNew):
            return type(trouble)(str(trouble))
        return StoreError(f"{self._worker.store.path} is being opened again: {trouble}")

    def opened(self, started_us: int) -> None:
        """Remember which file was opened, and when."""
        store = self._worker.store
        self._file, self._generation = store.file, store.generation
        self._started_us = started_us
        self._opened_s = self._loop.time()

    def leave_previous(self) -> None:
        """Opened again: the worker this was has ended, and did not die; none of its runs killed it.

        Raises:
            FileMoved: It never was one of this file, so it is another, whose keys mean other runs.
        """
        worker, store = self._worker, self._worker.store
        is_known = store.reader.knows_worker(worker.id, os.getpid(), self._started_us)
        if not is_known or store.generation != self._generation:
            raise replaced(store.path)
        operation = store.end_worker(worker.id, worker.now_us())
        store.writer.commit_now(Change(operation=operation))

    # -- again -----------------------------------------------------------------------------------

    def begin(self, error: BaseException) -> None:
        """Close the file, and open it again as another worker."""
        if self._task is not None:
            return
        self._worker.log.error("%s; the engine opens the file again", error)
        self._trouble = error if isinstance(error, StoreError) else StoreError(str(error))
        if self._loop.time() - self._opened_s > CALM_S:
            self._wait_s = 0.0
        self._task = self._loop.create_task(self._begin_again())

    def cancel(self) -> None:
        """The engine closes: nothing is opened any more."""
        if self._task is not None:
            self._task.cancel()

    async def _begin_again(self) -> None:
        worker, trouble = self._worker, self._trouble
        if isinstance(trouble, FileMoved):
            worker.end_waiters(trouble)
        in_log = worker.store.writer.log.runs
        if isinstance(trouble, CommitUnknown):
            self._synced = worker.store.writer.log.synced
        await worker.leave_file()
        if trouble is not None and self._is_for_good(trouble):
            return
        while True:
            await asyncio.sleep(self._wait_s)
            self._wait_s = min(2 * self._wait_s, WAIT_S_MAX) or WAIT_S_MIN
            try:
                self._refuse_other_file()
                worker.open()
            except Exception as error:  # noqa: BLE001  whatever it is, nobody else would try again
                known = error if isinstance(error, StoreError) else _unknown(worker, error)
                if self._is_for_good(known):
                    return
                self._still_closed(known)
            else:
                break
        if isinstance(trouble, LogLost):
            self._tell_lost(in_log)
        self._task = self._trouble = self._synced = None
        worker.opened_again()

    def _refuse_other_file(self) -> None:
        """Refuse what is at the path by now if it is not the file that was opened first.

        Raises:
            FileMoved: It is another one: a copy, however like, has other commits.
        """
        if self._is_other_file():
            raise replaced(self._worker.store.path)

    def _is_other_file(self) -> bool:
        return identity(self._worker.store.path) not in {None, self._file}

    def _is_for_good(self, error: StoreError) -> bool:
        """Stop for good if no waiting can mend it; the file is touched no more."""
        if isinstance(error, RowRefused) and isinstance(error.__cause__, FileCorrupt):
            error = error.__cause__  # Of no run's history, which would block that run alone.
        is_other = isinstance(error, FileMoved) and self._is_other_file()
        is_row = isinstance(error.__cause__, UnicodeDecodeError)  # Of one run, not of the file.
        if not is_other and (is_row or not isinstance(error, FileTooNew | FileCorrupt)):
            return False
        self._trouble = replaced(self._worker.store.path) if is_other else error
        self._worker.log.error("%s; the engine has stopped", self._trouble)
        self._worker.end_waiters(self._trouble)
        self.failed.set_exception(self._trouble)
        self.failed.exception()  # Whoever does not wait for it need not be told twice.
        return True

    def _still_closed(self, error: StoreError) -> None:
        """Note why the file cannot be opened again; each reason is said once."""
        if isinstance(error, NotADurableFile):  # Missing, empty or of another program.
            error = moved(self._worker.store.path)
        if str(error) == str(self._trouble):
            return
        self._worker.log.error("%s; trying again", error)
        self._trouble = error
        if isinstance(error, FileMoved):
            self._worker.end_waiters(error)

    def _tell_lost(self, in_log: Mapping[int, int]) -> None:
        """Say of how many runs something is gone that was said to be durable."""
        store = self._worker.store
        lost = sum(store.reader.find_last_seq(run) < seq for run, seq in in_log.items())
        if lost:
            self._worker.log.error(
                "%s: %d run%s lost events, or were lost whole, that had been said to be durable",
                store.path,
                lost,
                "" if lost == 1 else "s",
            )

    # -- what is beside the file -----------------------------------------------------------------

    def look_beside(self) -> None:
        """See that the log and the lock file are at their places."""
        worker = self._worker
        if worker.store.is_broken:  # The writer says why, and saves what it can of a lost log.
            worker.submit(Change(done=self._looked, operation=_nothing))
        if worker.store.locks.is_gone():
            self._make_lock_file()

    def _make_lock_file(self) -> None:
        worker = self._worker
        try:
            worker.store.locks.make_again()
        except OSError as error:
            worker.commit_failed(
                StoreError(
                    f"{worker.store.path}-lock was deleted or replaced, and cannot be made again "
                    f"({error.strerror}), so nobody can tell which runs are whose"
                )
            )
            return
        worker.log.error(
            "%s-lock was deleted or replaced while it was in use; it was made again",
            worker.store.path,
        )

    def _looked(self, change: Change) -> None:
        if isinstance(change.error, ENDS_THE_WRITER):
            self._worker.commit_failed(change.error)


def _unknown(worker: Worker, error: Exception) -> StoreError:
    found = StoreError(f"{worker.store.path}: {type(error).__name__}: {error}")
    found.__cause__ = error
    return found


def _nothing(_transaction: Transaction) -> None:
    pass
