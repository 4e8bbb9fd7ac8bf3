"""The single writer: one thread, one connection, group commit.

Laws:

* A `Change` is atomic: all of it is in one transaction, whose commit its ``done`` waits for.
* Whatever gathers while the last fsync runs goes out in the next transaction.
* A transaction crosses the interpreter lock a fixed number of times (see `queries`).
* Fence: a worker's transaction begins by reading its own row; if it is not ``live`` any more,
  nothing is written.
* A failed COMMIT means *unknown*: SQLite may bring the transaction back after a crash. The writer
  stops for good; its owner opens a new one and reads again. Errors before COMMIT are rolled back
  and tried again: a full disk or a busy file is nobody's outcome.
* Each transaction looks, before its COMMIT, whether the path still leads to the file, and the log
  is at its place: what goes into one that was moved, deleted or replaced is lost, so it is not said
  to be durable. It looks whether SQLite's locks were dropped meanwhile, too; then it begins again.
* What no second try can mend (a row the file refuses, a value SQLite cannot hold, a bug in an
  operation) fails the change it belongs to, and every later event of the same run: a history has
  no gaps. The run's owner blocks it, and only then its events are taken again.
* The thread outlives every error: a writer that is gone would be a silent stall.

Source: sqlite.org/wal.html; the rest by experiment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import apsw
import msgspec

from durable._clock import steady_s
from durable._store.connection import (
    APPLICATION_ID,
    FILE_VERSION,
    connect,
    explain,
    moved,
    moved_probe,
    too_new,
)
from durable._store.cursor import Cursor, Guard, UserError
from durable._store.locks import LockFile
from durable._store.queries import IN_CHANGES, QUERIES, SETUP, batches
from durable._store.rows import NewRun
from durable._store.statements import ChangeStatement, Row, Statement
from durable._store.stored_payloads import PLAIN_BLOB, compressed
from durable._store.wal import WriteAheadLog
from durable.errors import (
    CommitUnknown,
    DurableError,
    FileCorrupt,
    FileMoved,
    ForkedEngine,
    LogLost,
    OwnershipLost,
    RowRefused,
    StoreError,
    UsageError,
)
from durable.payloads import encode_document

__all__ = ["Change", "Transaction", "Writer", "is_large"]

T = TypeVar("T")

logger = logging.getLogger("durable.store")

# The user's code in a transaction keeps everybody from writing: longer than this is warned of.
TRANSACTION_WARN_S = 1.0
# What one transaction takes at most: it bounds the memory and the time of a commit.
CHANGES_PER_COMMIT_MAX = 4_000
# How long the idle writer sleeps between two looks for commits of other processes.
POLL_IDLE_S = 0.01
RETRY_S_MIN, RETRY_S_MAX = 0.05, 2.0
# 4 MiB of pages of 4 KiB are kept for what comes next; a MiB is given back at once.
FREE_PAGES_KEPT, FREE_PAGES_AT_ONCE = 1_000, 256
# sqlite.org/pragma.html#pragma_auto_vacuum
INCREMENTAL = 2
# A commit of another process takes less; a longer wait on a host's loop holds everything else up.
HERE_WAIT_S = 0.002
# Who stops does not wait for others for long: what it cannot say is found out by the next one.
CLOSE_WAIT_S = 0.5
# How often a transaction begins again because SQLite's locks were dropped. After that the byte of
# who writes has to do: only writers that are not ours do not know it.
ALONE_TRIES = 5
# The operator, or time, can mend these; every other error belongs to what was written.
_PASSING = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.NoMemError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.InterruptError,
)
_DAMAGE = (apsw.CorruptError, apsw.NotADBError)

_TRIGGERS = ("create_tally_on_insert", "create_tally_on_update", "create_tally_on_delete")
# Of several rows for one key in a transaction only the last counts.
_LAST_WINS: tuple[ChangeStatement, ...] = ("mark_redo", "update_run")
_IN_CHANGES = cast("list[ChangeStatement]", IN_CHANGES)


class _UserEnded(Exception):
    """The user's code rolled back the whole transaction; its ``__cause__`` is what they raised."""

    change: Change | None = None

    def is_of(self, change: Change) -> bool:
        """Say whether this is the change that did it, which fails with what was raised."""
        if change is not self.change:
            return False
        change.error = self.__cause__
        return True


class _LogTaken(Exception):
    """The log is not at its place any more; nothing was committed."""


class Transaction:
    """What an operation may do inside the writer's transaction: named statements only."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._guard = connection.authorizer = Guard()
        self._failure: apsw.Error | None = None
        """What a statement of ours has raised inside the user's code."""
        self.has_freed = False
        """Whether rows were deleted whose pages the file need not keep."""
        self.held: set[int] = set()
        """Of the runs stored last, those that are paused from the first."""

    def all(self, name: Statement, /, **values: Any) -> list[tuple[Any, ...]]:
        """Run a named statement; return its rows."""
        return self._connection.execute(QUERIES[name].text, values).fetchall()

    def one(self, name: Statement, /, **values: Any) -> tuple[Any, ...] | None:
        """Run a named statement; return its only row."""
        rows = self.all(name, **values)
        assert len(rows) <= 1, f"{name} gave {len(rows)} rows"
        return rows[0] if rows else None

    def rows(self, name: Statement, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Run a statement of many rows; return what it returns."""
        found: list[tuple[Any, ...]] = []
        for text, values in batches(QUERIES[name], rows):
            found += self._connection.execute(text, values).fetchall()
        return found

    def insert_run(self, run: NewRun) -> int:
        """Store a new run whose id is free; return its key."""
        ((pk, _),) = self.insert_runs([run])
        return pk

    def insert_runs(self, runs: Sequence[NewRun]) -> list[tuple[int, int]]:
        """Store new runs, with their labels; return (key, salt) of those whose id was free."""
        rows = [run.values() for run in runs]
        found = [(pk, salt) for pk, salt in self.rows("insert_run", rows)]
        self.held = self.hold([pk for pk, _ in found])
        labelled = {run.salt for run in runs if run.labels is not None}
        if labelled:
            self.rows("insert_labels", [(pk,) for pk, salt in found if salt in labelled])
        return found

    def hold(self, pks: Sequence[int]) -> set[int]:
        """Pause those of some runs that are of a workflow or a queue that is paused as a whole."""
        if not pks or not self.all("has_hold")[0][0]:
            return set()
        self.rows("hold_runs", [(pk,) for pk in pks])
        return {pk for (pk,) in self.all("list_held", pks=encode_document(list(pks)).decode())}

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Let what is done inside be undone alone if it raises."""
        self._connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO part")
                self._connection.execute("RELEASE part")
            raise
        self._connection.execute("RELEASE part")

    def select(self, text: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Run a statement of a compiled filter."""
        return self._connection.execute(text, values).fetchall()

    def perform(self, fn: Callable[[Cursor], T], what: str) -> T:
        """Run the user's code on their own tables, inside this transaction.

        Whatever it raises, SQLite's errors included, is `UserError`, with the error as its cause:
        it is rolled back alone. ``OR ROLLBACK`` takes everybody's part with it: that is
        `_UserEnded`, and the others' parts are written again.

        Args:
            fn: Gets a cursor that is closed afterwards.
            what: Who it is, for the warning if it takes long.
        """
        cursor = Cursor(self._connection, what, self._guard)
        started_s = steady_s()
        self._failure = None
        self._let_user(is_user=True)
        try:
            value = fn(cursor)
        except BaseException as error:
            # That another file of the user's is busy or full is no reason to wait for this one.
            ours = cursor.has_raised(error) or error is self._failure
            if ours and isinstance(error, _PASSING):
                raise
            if not self._connection.in_transaction:
                raise _UserEnded from error
            raise UserError from error
        else:
            if not self._connection.in_transaction:
                raise _UserEnded from UsageError(
                    f"{what} rolled the library's transaction back (OR ROLLBACK?); use OR ABORT, "
                    "or raise an exception: that rolls back your own part"
                )
            return value
        finally:
            self._let_user(is_user=False)
            cursor.close()
            took_s = steady_s() - started_s
            if took_s > TRANSACTION_WARN_S:
                logger.warning(
                    "%s held the file's only writer for %.1f s; do the slow part in an activity, "
                    "and write its result here",
                    what,
                    took_s,
                )

    @contextlib.contextmanager
    def unguarded(self) -> Iterator[None]:
        """Let our own statements pass inside the user's code."""
        before = self._guard.on
        self._let_user(is_user=False)
        try:
            yield
        except apsw.Error as error:
            self._failure = error
            raise
        finally:
            self._let_user(is_user=before)

    def _let_user(self, *, is_user: bool) -> None:
        """Say whose statements come now: the user's have an authorizer, views and triggers."""
        if self._guard.on != is_user:
            self._guard.on = is_user
            self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, int(is_user))
            self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, int(is_user))

    @property
    def last_rowid(self) -> int:
        """The key of the newest row."""
        return self._connection.last_insert_rowid()


class Change(msgspec.Struct, gc=False):
    """What has to be committed together.

    Attributes:
        rows: Pairs of a statement's name and one row for it.
        done: Called on the owner's thread after the commit, or with ``error`` set.
        context: Whatever ``done`` wants to find again.
        start: A run to be stored; ``value`` becomes its key, or None if the id was taken.
        operation: Runs inside the transaction after all rows, those that belong to rows first;
            ``value`` becomes what it returns. What it raises is rolled back alone and becomes
            ``error``.
        soft: Its loss in a power cut harms nothing (heartbeats).
        event: A row for ``insert_event``; apart from ``rows`` because nearly every change has one.
        is_held: Whether what it started is paused from the first: its workflow or queue is.
    """

    rows: Sequence[Row] = ()
    done: Callable[[Change], None] | None = None
    context: Any = None
    start: NewRun | None = None
    operation: Callable[[Transaction], Any] | None = None
    soft: bool = False
    value: Any = None
    error: BaseException | None = None
    event: tuple[Any, ...] | None = None
    is_held: bool = False


def is_large(change: Change) -> bool:
    """Say whether the writer has a large payload of it to compress: for its own thread to do."""
    return any(row[0] == PLAIN_BLOB for row in change.rows)


def _comes_alone(change: Change) -> bool:
    return not change.rows


def _wrote_nothing(change: Change) -> bool:
    """Say whether all of a change was rolled back."""
    return (
        change.error is not None
        and not change.rows
        and change.event is None
        and change.start is None
    )


def _event_of(change: Change) -> tuple[Any, ...] | None:
    """Return the first row a change adds to a history."""
    if change.event is not None:
        return change.event
    return next((row for name, row in change.rows if name == "insert_event"), None)


class Writer:
    """Commits changes.

    Args:
        path: The database's real path.
        durability: ``"full"`` survives a power cut, ``"normal"`` a killed process.
        deliver: Called from the writer's thread with the changes of a transaction; hands them to
            the owner's thread, which calls each ``done``.
        on_foreign_commit: Called from the writer's thread when another process has committed.
        locks: The lock file beside it.
    """

    def __init__(
        self,
        path: str,
        durability: str,
        deliver: Callable[[list[Change]], None],
        on_foreign_commit: Callable[[], None],
        locks: LockFile,
    ) -> None:
        self._path = path
        self._deliver = deliver
        self._on_foreign_commit = on_foreign_commit
        self._synchronous = 2 if durability == "full" else 1
        self._connection = connect(path)
        # Ours alone, in no file: those of a file are never run, whoever has written it.
        for trigger in _TRIGGERS:
            self._connection.execute(QUERIES[trigger].text)
        self._connection.execute(SETUP)
        self._has_moved = moved_probe(self._connection)
        self.log = WriteAheadLog(path, self._connection, locks)
        is_adopted = self._connection.pragma("application_id") != APPLICATION_ID
        self._ask_version = (
            QUERIES["get_adopted_version"].text if is_adopted else "PRAGMA user_version"
        )
        self._connection.pragma("synchronous", self._synchronous)
        self._transaction = Transaction(self._connection)
        self._pid = os.getpid()
        self._data_version = 0
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._broken: StoreError | None = None
        self._closing = threading.Event()
        self._refused: dict[int, RowRefused] = {}
        self.worker: int | None = None
        """The worker whose row is the fence; None for a client, which has none."""
        self.commits = 0

    @property
    def is_broken(self) -> bool:
        """Whether it commits nothing more: its owner has to open the file again."""
        return self._broken is not None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="durable-writer", daemon=True)
        self._thread.start()

    def submit(self, change: Change) -> None:
        """Queue a change; returns at once. Any thread may call."""
        self._changes.put(change)

    def commit_now(self, change: Change) -> Any:
        """Commit one change on the calling thread, where no writer thread runs; return its value.

        Raises:
            StoreError: It was not committed, or (`CommitUnknown`) perhaps.
        """
        assert self._thread is None
        if self._pid != os.getpid():
            raise ForkedEngine(
                f"{self._path} was opened before a fork; open it again in the child process"
            )
        with self._guard:
            self._commit([change], forever=False)
            self._checkpoint()
            self._shrink()
        if change.error is not None:
            raise change.error
        return change.value

    @contextlib.contextmanager
    def impatient(self, wait_s: float) -> Iterator[None]:
        """Within, wait at most so long for others: the thread has something else to do."""
        before, self.log.patience_s = self.log.patience_s, wait_s
        try:
            yield
        finally:
            self.log.patience_s = before

    def commit_here(self, batch: list[Change]) -> bool:
        """Commit changes on the calling thread, if the writer's thread is idle right now.

        Saves two changes of threads for a caller that has nothing else to do. False: nothing was
        written, the thread has to do it (it is at work, or the file is busy or full).
        """
        if not self._guard.acquire(blocking=False):
            return False
        try:
            if self._broken is not None or self._refused or not self._changes.empty():
                return False
            try:
                with self.impatient(HERE_WAIT_S):
                    self._try_commit(batch)
            except DurableError as error:
                self._fail(batch, error)
            except Exception:  # noqa: BLE001  the thread finds out what it was
                return False
            self._checkpoint()
            return True
        finally:
            self._guard.release()

    def close(self) -> None:
        """Commit what is queued, stop the thread, close the connection.

        What cannot be committed now (the disk is full) fails: a process that stops does not wait
        for an operator.
        """
        self._closing.set()
        self.log.patience_s = CLOSE_WAIT_S
        if self._thread is not None:
            self._changes.put(None)
            self._thread.join()
            self._thread = None
        if self._broken is None and self.log.is_lost():
            logger.error("%s", self.log.lost())
        with self._guard:
            if self._broken is not None:  # Who opens the file again writes the log once more first.
                self._connection.leave_log()
            self._connection.close()

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        stopping = False
        while not stopping:
            try:
                change = self._changes.get(timeout=POLL_IDLE_S)
            except queue.Empty:
                with self._guard:
                    self._look_for_others()
                    self._shrink()
                continue
            batch: list[Change] = []
            while change is not None:
                batch.append(change)
                if len(batch) == CHANGES_PER_COMMIT_MAX:
                    break
                try:
                    change = self._changes.get_nowait()
                except queue.Empty:
                    break
            else:
                stopping = True
            if batch:
                with self._guard:
                    self._commit(batch, forever=True)
                self._deliver(batch)
                with self._guard:
                    self._look_for_others()
                    self._checkpoint()
            # Kept until the next wake-up, a batch would be thousands of objects for the collector.
            del batch
            change = None

    def _look_for_others(self) -> None:
        with contextlib.suppress(apsw.Error):
            version = self._connection.execute("PRAGMA data_version").get
            if version != self._data_version:
                self._data_version = version
                self._on_foreign_commit()

    def _checkpoint(self) -> None:
        self._broken = self._broken or self.log.checkpoint()

    def settle(self) -> None:
        """Let the file itself show that a worker uses it: a copy of it alone tells that."""
        self._broken = self._broken or self.log.copy_some()

    def _shrink(self) -> None:
        """Give some free pages back to the disk, after runs were deleted.

        Some stay: what comes next needs them. Files that were adopted, or whose program chose
        otherwise, keep all of theirs.
        """
        if not self._transaction.has_freed or self._broken is not None:
            return
        try:
            free = self._connection.pragma("freelist_count") - FREE_PAGES_KEPT
            if free <= 0 or self._connection.pragma("auto_vacuum") != INCREMENTAL:
                self._transaction.has_freed = False
                return
            with self.log.turn(0):
                self._connection.execute(
                    f"PRAGMA incremental_vacuum({min(free, FREE_PAGES_AT_ONCE)})"
                ).fetchall()
            self._checkpoint()
        except apsw.Error as error:  # Others write; or it is said by the next commit.
            logger.debug("%s: no pages given back: %s", self._path, error)

    # -- one transaction -------------------------------------------------------------------------

    def _commit(self, batch: list[Change], *, forever: bool) -> None:
        wait_s = RETRY_S_MIN
        batch = self._without_refused_runs(batch)
        while batch:
            try:
                self._try_commit(batch)
            except _UserEnded as ended:  # The others are written without it.
                batch = [change for change in batch if not ended.is_of(change)]
            except DurableError as error:
                self._fail(batch, error)
                return
            except _PASSING as error:
                if isinstance(error, apsw.FullError) and (used_up := self._used_up()):
                    self._refuse_alone(batch, used_up, forever=forever)
                    return
                if not self._waits_for_better(batch, error, wait_s, forever=forever):
                    return
                wait_s = min(2 * wait_s, RETRY_S_MAX)
            except Exception as error:  # noqa: BLE001  whatever it is, the thread goes on
                self._refuse_alone(batch, error, forever=forever)
                return
            else:
                return

    def _refuse_alone(self, batch: list[Change], error: Exception, *, forever: bool) -> None:
        """Refuse the change that is wrong, and no other of its batch."""
        if len(batch) == 1:
            self._refuse(batch[0], error)
            return
        for change in batch:
            self._commit([change], forever=forever)

    def _used_up(self) -> StoreError | None:
        """Return what is wrong if SQLite has no more numbers for rows, and calls that full."""
        found = self._transaction.all("find_used_up")
        if not found:
            return None
        ((table,),) = found
        return StoreError(
            f"{self._path}: {table} has no more numbers for rows: the last one was given by hand. "
            f"Restore a backup; or, with every process stopped, give the rows of {table} small "
            "numbers, and remove its row from sqlite_sequence"
        )

    def _waits_for_better(
        self, batch: list[Change], error: apsw.Error, wait_s: float, *, forever: bool
    ) -> bool:
        """Wait before the next try, if there is to be one; else the changes fail."""
        explained = self._moved() if self._has_moved() else explain(error, self._path)
        if not forever or self._closing.is_set() or isinstance(explained, FileMoved):
            self._fail(batch, explained)
            return False
        self.log.trouble.fails(str(explained))
        self._closing.wait(wait_s)
        return True

    def _refuse(self, change: Change, error: Exception) -> None:
        if (
            change.operation is not None
            and change.event is None
            and not isinstance(error, apsw.Error)
        ):
            change.error = error  # A bug in the operation, for its caller to see as it is.
            return
        event = _event_of(change)
        what = "a row" if event is None else f"event {event[1]}"
        refused = RowRefused(
            f"{self._path}: {what} was refused ({type(error).__name__}: {error}); nothing of its "
            "change was written"
        )
        refused.__cause__ = explain(error, self._path) if isinstance(error, _DAMAGE) else error
        change.error = refused
        if event is not None:
            self._refused[event[0]] = refused

    def _without_refused_runs(self, batch: list[Change]) -> list[Change]:
        if not self._refused:
            return batch
        kept = []
        for change in batch:
            event = _event_of(change)
            refused = None if event is None else self._refused.get(event[0])
            if refused is None:
                kept.append(change)
            else:
                change.error = refused
        return kept

    def serve(self, worker: int) -> None:
        """Be the writer of a worker: its row is the fence, and what troubles it is told of it."""
        self.worker = self.log.trouble.worker = worker

    def take_again(self, run: int) -> None:
        """Take a run's events again, after one was refused: its owner has dropped the others."""
        self._refused.pop(run, None)

    def _try_commit(self, batch: list[Change]) -> None:
        if self._broken is not None:
            raise self._broken
        synchronous = self._level(batch)
        if synchronous != self._synchronous:
            self._connection.pragma("synchronous", synchronous)
        try:
            self.log.begin_turn()
            try:
                tries = ALONE_TRIES
                is_synced = synchronous == 2
                while not self._commit_in_turn(batch, is_last=tries == 0, is_synced=is_synced):
                    tries -= 1
            finally:
                self.log.end_turn()
        except _LogTaken:
            raise self._log_lost() from None
        finally:
            if synchronous != self._synchronous:
                self._connection.pragma("synchronous", self._synchronous)

    def _level(self, batch: list[Change]) -> int:
        """Return how a transaction is synced: 2 survives a power cut, 1 need not."""
        if self._synchronous == 2:
            return 1 if all(change.soft for change in batch) else 2
        # A call that is made at most once must not be forgotten, whatever else may be.
        return 2 if any(row[0] == "insert_once" for change in batch for row in change.rows) else 1

    def _commit_in_turn(self, batch: list[Change], *, is_last: bool, is_synced: bool) -> bool:
        """Commit; False if it has to begin again, because SQLite's locks were dropped meanwhile."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            self._fence()
            self._write(batch)
            writes = not all(map(_wrote_nothing, batch))
            logs = self.log.count() if writes else None
            self._look_beside()  # As late as possible, for then it is nobody's commit.
            if self.log.was_disturbed() and not is_last:
                execute("ROLLBACK")
                return False
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        try:
            execute("COMMIT" if writes else "ROLLBACK")
        except (apsw.FullError, apsw.BusyError):
            # Known after all: the frame that commits is the log's last, and was not written.
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        except apsw.Error as error:
            self._broken = CommitUnknown(
                f"{self._path}: a commit failed ({error}); what it held may or may not be in "
                "the file, so everything is read again"
            )
            raise self._broken from error
        self.commits += 1
        if self.log.trouble.is_told:
            self.log.trouble.ends()
        self._remember(batch)
        if logs is not None:
            self.log.note(logs)
        if writes and is_synced:
            self.log.was_synced()
        return True

    def _look_beside(self) -> None:
        """See that what is committed goes into the file, and the log, that others open."""
        if self._has_moved():
            raise self._moved()
        if self.log.is_lost():
            raise _LogTaken

    def _remember(self, batch: list[Change]) -> None:
        remember = self.log.remember
        for change in batch:
            if change.event is not None:
                remember(change.event[0], change.event[1])
            elif change.start is not None and change.value is not None:
                remember(change.value, 0)

    def _log_lost(self) -> LogLost:
        error = self.log.lost()
        self._broken = error
        return error

    def _moved(self) -> FileMoved:
        error = moved(self._path)
        if self.worker is not None:  # Put back, the file must not get a run's later events alone.
            self._broken = error
        return error

    def _fence(self) -> None:
        try:
            version: int = self._connection.execute(self._ask_version).get
            row = (
                None
                if self.worker is None
                else self._transaction.one("get_worker_state", id=self.worker)
            )
        except _DAMAGE as error:
            self._broken = FileCorrupt(f"{self._path} is damaged ({error}); restore a backup of it")
            raise self._broken from error
        if version > FILE_VERSION:
            self._broken = too_new(self._path, version)
            raise self._broken
        if self.worker is None:
            return
        if row is None or row[0] != "live":
            self._broken = OwnershipLost(
                f"worker {self.worker} was declared dead by another process, which runs its runs "
                "now; nothing was written"
            )
            raise self._broken

    def _write(self, batch: list[Change]) -> None:
        starts = [change for change in batch if change.start is not None]
        by_statement = self._sorted(batch)
        if by_statement["upsert_value"]:
            self._replace_values(by_statement)
        if starts:
            self._insert_runs(starts)
        for name, rows in by_statement.items():
            if rows:
                self._transaction.rows(name, rows)
        operations = [change for change in batch if change.operation is not None]
        # One with rows is their other half: a run whose row says that it went on has a next ordinal
        # before anybody who came earlier, but alone, looks for it.
        operations.sort(key=_comes_alone)
        for change in operations:
            self._operate(change)

    def _replace_values(self, by_statement: dict[ChangeStatement, list[tuple[Any, ...]]]) -> None:
        """Let large values that are replaced leave nothing, not even in this transaction."""
        rows = by_statement["upsert_value"]
        newest = {row[:2]: row for row in rows}
        gone = {row[2] for row in rows} - {row[2] for row in newest.values()}
        by_statement["upsert_value"] = list(newest.values())
        by_statement["insert_blob"] = [
            row for row in by_statement["insert_blob"] if row[0] not in gone
        ]
        self._transaction.rows("delete_blobs_of_values", list(newest))
        self._transaction.rows("unshare_blobs_of_values", list(newest))

    @staticmethod
    def _sorted(batch: list[Change]) -> dict[ChangeStatement, list[tuple[Any, ...]]]:
        """Return the rows of all changes by statement, in the order the statements run."""
        by_statement: dict[ChangeStatement, list[tuple[Any, ...]]]
        by_statement = {name: [] for name in _IN_CHANGES}
        plain = by_statement[PLAIN_BLOB] = []
        events = by_statement["insert_event"]
        for change in batch:
            change.error = change.value = None
            if change.event is not None:
                events.append(change.event)
            for name, row in change.rows:
                by_statement[name].append(row)
        del by_statement[PLAIN_BLOB]
        by_statement["insert_blob"] += map(compressed, plain)
        for name in _LAST_WINS:
            by_statement[name] = list({row[0]: row for row in by_statement[name]}.values())
        return by_statement

    def _insert_runs(self, starts: list[Change]) -> None:
        # A salt is 53 bits of chance: it tells two starts of one id in one transaction apart.
        runs = [change.start for change in starts if change.start is not None]
        keys = {salt: pk for pk, salt in self._transaction.insert_runs(runs)}
        for change in starts:
            assert change.start is not None
            change.value = keys.get(change.start.salt)
            change.is_held = change.value in self._transaction.held

    def _operate(self, change: Change) -> None:
        assert change.operation is not None
        execute = self._connection.execute
        execute("SAVEPOINT operation")
        try:
            change.value = change.operation(self._transaction)
        except apsw.Error:
            raise
        except _UserEnded as ended:
            ended.change = change
            raise
        except UserError as error:
            execute("ROLLBACK TO operation")
            change.error = error.__cause__
        except Exception as error:  # noqa: BLE001  its caller gets it, whatever it is
            execute("ROLLBACK TO operation")
            change.error = error
        execute("RELEASE operation")

    def _fail(self, batch: list[Change], error: StoreError | DurableError) -> None:
        for change in batch:
            change.error = error
