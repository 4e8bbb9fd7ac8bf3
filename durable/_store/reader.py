"""Reading: pages of runs, histories, what steps remember. One connection, read to the end always.

A half-read cursor would pin the log; every method here finishes its statement before it returns.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import apsw

from durable._core.events import Event, Kind
from durable._store.connection import connect, explain, moved, moved_probe
from durable._store.filtering import as_bytes, select, select_sorted
from durable._store.queries import QUERIES
from durable._store.rows import (
    AlertRow,
    AnswerRow,
    AttemptRow,
    AuditRow,
    ChildRow,
    HoldRow,
    InboxRow,
    IssueRow,
    ItemRow,
    JobRow,
    LetterRow,
    LogRow,
    PlaceHolder,
    RunRow,
    SourceRow,
    StepRow,
    ValueRow,
    WorkerRow,
    checked_secret,
    continuation,
)
from durable._store.statements import Statement
from durable.errors import FileCorrupt, ForkedEngine, PayloadError
from durable.payloads import checksum, decompress, encode_document
from durable.run_name import RunName, run_name

if TYPE_CHECKING:
    from durable._store.filtering import Selection, Sort

__all__ = ["Reader"]

# A page of a history: it bounds what a replay holds of a long one.
EVENTS_PER_PAGE = 2_000
RUNS_PER_PAGE_MAX = 1_000
# How often what was read beside a foreign close is read again.
READ_TRIES = 3
_KINDS = frozenset(map(int, Kind))


class Reader:
    """A connection that never writes.

    Raises:
        StoreError: On opening; see `connection.connect`.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection = connect(path, read_only=True)
        self._has_moved = moved_probe(self._connection)
        self._losses = 0
        self._secret: bytes | None = None
        self._pid = os.getpid()

    @property
    def path(self) -> str:
        """The real path of the file."""
        return self._path

    def close(self, *, leaves_log: bool = False) -> None:
        """Close the connection.

        Args:
            leaves_log: Whether the log stays beside the file though nobody else has it open.
        """
        if leaves_log:
            self._connection.leave_log()
        self._connection.close()

    def log_index(self) -> bytes:
        """Return the header of the log's index; empty where there is none."""
        guard = self._connection.guard
        return b"" if guard is None else guard.index()

    def refuse_moved(self) -> None:
        """Refuse to read on in a file that is not at its path any more.

        Raises:
            FileMoved: It was moved, deleted or replaced.
        """
        if self._has_moved():
            raise moved(self._path)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything read inside be of one moment; others go on writing."""
        self._rows("BEGIN", ())
        try:
            self._all("get_last_key")  # The moment is that of the first look.
            yield
        finally:
            self._rows("ROLLBACK", ())

    def _all(self, statement: Statement, /, **values: Any) -> list[tuple[Any, ...]]:
        return self._rows(QUERIES[statement].text, values, statement)

    def _shown(self, statement: Statement, /, **values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a named statement, for people: text that is not UTF-8 escaped.

        One such row must not hide the others of a list.
        """
        try:
            return self._all(statement, **values)
        except FileCorrupt as error:
            if not isinstance(error.__cause__, UnicodeDecodeError):
                raise
        text = QUERIES[statement].text
        columns = [f"c{at}" for at, _ in enumerate(self._columns(text, values))]
        bare = "CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END"
        parts = ", ".join(map(bare.format, columns))
        wrapped = f"WITH found({', '.join(columns)}) AS ({text}) SELECT {parts} FROM found"  # noqa: S608
        return [tuple(map(_as_text, row)) for row in self._rows(wrapped, values)]

    def _columns(self, text: str, values: dict[str, Any]) -> Sequence[object]:
        cursor = self._connection.execute(text, values)
        try:
            return cursor.get_description()
        finally:
            cursor.close()

    def _rows(
        self, text: str, values: Sequence[object] | dict[str, Any], statement: str = "a filter"
    ) -> list[tuple[Any, ...]]:
        if self._pid != os.getpid():
            raise ForkedEngine(
                f"{self._path} was opened before a fork; open it again in the child process"
            )
        try:
            return self._read(text, values)
        except apsw.Error as error:
            raise explain(error, self._path) from error
        except UnicodeDecodeError as error:
            raise FileCorrupt(
                f"{self._path} is damaged: {statement} finds text that is not UTF-8 "
                f"({error.object!r:.80}); restore a backup of it"
            ) from error

    def _read(self, text: str, values: Sequence[object] | dict[str, Any]) -> list[tuple[Any, ...]]:
        """Read, and again if the disk failed, or SQLite's locks were dropped by a foreign close."""
        for _ in range(READ_TRIES):
            try:
                found = self._connection.execute(text, values).fetchall()
            except apsw.IOError:
                continue
            except apsw.CorruptError:
                if not self._was_disturbed():
                    raise
            else:
                if not self._was_disturbed():
                    return found
        return self._connection.execute(text, values).fetchall()

    def _was_disturbed(self) -> bool:
        """Say whether SQLite's locks were dropped since this was asked last."""
        guard, losses = self._connection.guard, self._losses
        if guard is None or self._connection.in_transaction:
            return False
        self._losses = guard.losses()
        return self._losses != losses

    def all(self, name: Statement, /, **values: Any) -> list[tuple[Any, ...]]:
        """Run a named statement that reads; return its rows."""
        return self._all(name, **values)

    # -- runs ------------------------------------------------------------------------------------

    def find_run(self, pk: int) -> RunRow | None:
        """Return one run by key."""
        rows = self._shown("get_run", pk=pk)
        return RunRow(*rows[0]) if rows else None

    def find_ids_by_end(self, end: str, limit: int) -> list[str]:
        """Return ids that end with a text."""
        return [one for (one,) in self._all("find_ids_by_end", end=end, limit=limit)]

    def find_newest(self, run_id: str) -> RunRow | None:
        """Return the newest ordinal of an id."""
        rows = self._all("find_newest", id=run_id)
        return RunRow(*rows[0]) if rows else None

    def find_ordinal(self, run_id: str, ordinal: int) -> RunRow | None:
        """Return exactly one ordinal of an id."""
        rows = self._all("find_ordinal", id=run_id, ordinal=ordinal)
        return RunRow(*rows[0]) if rows else None

    def find_continuation(self, row: RunRow) -> RunRow | None:
        """Return the ordinal that a run went on as; None if it did not, or that was deleted."""
        return continuation(row, self.find_ordinal)

    def find_named(self, name: RunName) -> RunRow | None:
        """Return the newest run of an id, or exactly the ordinal that the name has."""
        if name.ordinal is None:
            return self.find_newest(name.id)
        return self.find_ordinal(name.id, name.ordinal)

    def select(
        self,
        selection: Selection,
        *,
        after: int = 0,
        before: int = 1 << 62,
        limit: int = RUNS_PER_PAGE_MAX,
        is_ascending: bool = False,
    ) -> list[RunRow]:
        """Return a page of the runs that a filter means, newest first.

        Args:
            selection: The compiled filter.
            after: Only keys above it.
            before: Only keys below it.
            limit: At most so many, and never more than 1,000.
            is_ascending: The oldest first.
        """
        return select(
            self._rows_or_bytes,
            selection,
            after=after,
            before=before,
            limit=min(limit, RUNS_PER_PAGE_MAX),
            is_ascending=is_ascending,
        )

    def select_sorted(
        self, selection: Selection, sort: Sort, *, before: int | None, limit: int
    ) -> list[RunRow] | None:
        """Return a page of the runs that a filter means, sorted; see `filtering.select_sorted`."""
        limit = min(limit, RUNS_PER_PAGE_MAX)
        return select_sorted(self._rows_or_bytes, selection, sort, before=before, limit=limit)

    def _rows_or_bytes(self, text: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            return self._rows(text, values)
        except FileCorrupt as error:
            if not isinstance(error.__cause__, UnicodeDecodeError):
                raise
        # One of them holds text that is not UTF-8: it is shown as such, and hides no other.
        rows = self._rows(*as_bytes(text, values))
        return [tuple(map(_as_text, row)) for row in rows]

    def tally(self, selection: Selection) -> list[tuple[str, str | None, int | None, int]]:
        """Count the runs that a filter means.

        Returns:
            (stored state, what it waits for, the worker of ready ones, how many).
        """
        found: list[tuple[str, str | None, int | None, int]] = []
        for source in selection.choose(self._count, is_disjoint=True):
            rows = self._rows(*selection.tally(source))
            found += [(state, kind, worker, number) for state, kind, worker, number in rows]
        return found

    def _count(self, text: str, values: Sequence[object]) -> int:
        number: int = self._rows(text, values)[0][0]
        return number

    def workflows(self) -> list[str]:
        """Return the names of all workflows in the file."""
        return [name for (name,) in self._shown("list_workflows")]

    def last_key(self) -> int:
        """Return the key of the newest run, or 0."""
        return int(self._all("get_last_key")[0][0])

    def tally_all(
        self, workflow: str | None = None
    ) -> list[tuple[str, str | None, int | None, int]]:
        """Count the runs of which no newer ordinal exists, all or of one workflow; see `tally`.

        They are counted already: a file of a million runs answers at once.
        """
        if workflow is None:
            rows = self._shown("count_by_state")
        else:
            rows = self._shown("count_by_state_of_workflow", workflow=workflow)
        held = self._all("count_ready_of_workers", workflow=workflow)
        return [
            *((state, kind or None, None, number) for state, kind, number in rows),
            *(("ready", None, worker, number) for worker, number in held),
            ("ready", None, None, -sum(number for _, number in held)),
        ]

    def count_open(self) -> int:
        """Return how many runs can still go on by themselves."""
        count: int = self._all("count_open")[0][0]
        return count

    def find_due(self, workflow: str, now_us: int, limit: int) -> list[tuple[int, int]]:
        """Return (due time, key) of a workflow's parked runs whose time has come, oldest first."""
        rows = self._all("find_due", workflow=workflow, now_us=now_us, limit=limit)
        return [(wake_at_us, pk) for pk, wake_at_us in rows]

    def soonest(self, limit: int) -> list[tuple[int, str, int]]:
        """Return (due time, workflow, key) of the free parked runs that come due first."""
        rows = self._all("list_soonest", limit=limit)
        return [(due_us, _as_name(name), pk) for due_us, name, pk in rows]

    def wakes(self) -> list[tuple[str, int]]:
        """Return (workflow, due time) of the first free parked run of each workflow."""
        return [(_as_name(name), due_us) for name, due_us in self._all("list_wakes")]

    def find_asked(self, workflows: Iterable[str], limit: int) -> list[int]:
        """Return keys of free, ready runs of workflows that have begun and have a message."""
        names = encode_document(list(workflows)).decode()
        return [pk for (pk,) in self._all("find_asked", workflows=names, limit=limit)]

    def claimable(self) -> list[tuple[str, int, int]]:
        """Return (workflow, priority, key) of the most urgent free, ready run of each workflow."""
        rows = self._all("list_claimable")
        return [(_as_name(name), priority, pk) for name, priority, pk in rows]

    def find_claimable(self, workflow: str, limit: int) -> list[tuple[int, int]]:
        """Return (priority, key) of free, ready runs of a workflow, most urgent first."""
        rows = self._all("find_claimable", workflow=workflow, limit=limit)
        return [(priority, pk) for priority, pk in rows]

    # -- one run ---------------------------------------------------------------------------------

    def events(self, run: int, after: int = 0) -> Iterator[Event]:
        """Yield a history in order, page by page, large payloads included.

        Raises:
            PayloadError: An event is missing or damaged; its number is in the message.
        """
        while True:
            try:
                rows = self._all("list_events", run=run, after=after, limit=EVENTS_PER_PAGE)
            except FileCorrupt as error:
                if isinstance(error.__cause__, UnicodeDecodeError):
                    # One run's trouble, not the file's: whoever replays it blocks it alone.
                    raise PayloadError(f"an event after event {after}: {error}") from error
                raise
            for seq, kind, step, name, mark, arguments, result, check, at_us, took_us in rows:
                after += 1
                if seq != after:
                    raise PayloadError(f"event {after} is missing: the file was changed or damaged")
                try:
                    one, other = self.payload(arguments), self.payload(result)
                except PayloadError as error:
                    raise PayloadError(f"event {seq}: {error}") from error
                if checksum(one, other) != check:
                    raise PayloadError(
                        f"event {seq} does not match its checksum: the file was changed or damaged"
                    )
                yield Event(seq, kind, step, name, mark, one, other, at_us, took_us)
            if len(rows) < EVENTS_PER_PAGE:
                return

    def events_as_found(
        self, run: int, after: int = 0, page: int = EVENTS_PER_PAGE
    ) -> Iterator[tuple[Event, str]]:
        """Yield a history for people: each event after a place, and what is wrong with it, or "".

        Of a damaged event the payloads are empty. What is missing is one event of kind 0, at the
        first missing place.
        """
        while True:
            rows = self._all("list_events_as_found", run=run, after=after, limit=page)
            for seq, *row in rows:
                if seq != after + 1:
                    gap = f"event {after + 1} is missing: the file was changed or damaged"
                    yield Event(after + 1, 0, "", "", 0, b"", b"", row[-2], 0), gap
                after = seq
                yield self._event_as_found(seq, *row)
            if len(rows) < page:
                return

    def _event_as_found(
        self, seq: int, kind: int, step: bytes, name: bytes, mark: int,
        arguments: bytes | int | None, result: bytes | int | None, check: int, at_us: int,
        took_us: int,
    ) -> tuple[Event, str]:  # fmt: skip
        damage, one, other = "", b"", b""
        try:
            one, other = self._as_found(arguments), self._as_found(result)
            for text in (step, name, one, other):
                text.decode()
            if checksum(one, other) != check:
                damage = f"event {seq} does not match its checksum: the file was changed or damaged"
            elif kind not in _KINDS:
                damage = f"event {seq} is of kind {kind}, which this version does not know"
        except UnicodeDecodeError:
            damage = f"event {seq} holds text that is not UTF-8"
        except (PayloadError, FileCorrupt) as error:
            damage = f"event {seq}: {error}"
        if damage:
            one = other = b""
        names = step.decode("utf-8", "replace"), name.decode("utf-8", "replace")
        return Event(seq, kind, *names, mark, one, other, at_us, took_us), damage

    def _as_found(self, stored: bytes | int | None) -> bytes:
        return stored if isinstance(stored, bytes) else self.payload(stored)

    def received(self, run: int, until: int) -> dict[str, int]:
        """Return how many signals of each name a run received up to an event."""
        rows = self._all("count_received", run=run, until=until) if until else []
        return {name.decode("utf-8", "replace"): count for name, count in rows}

    def patches(self, run: int) -> list[str]:
        """Return the names of the patches a history went through."""
        return [name for (name,) in self._all("list_patches", run=run)]

    def steps(self, run: int) -> list[StepRow]:
        """Return what the run's pending steps remember."""
        return [StepRow(*row) for row in self._all("list_steps", run=run)]

    def place_holders(self, worker: int, limit: int) -> list[PlaceHolder]:
        """Return the slow steps that a worker's attempts have begun, oldest first."""
        return [
            PlaceHolder(run_name(run, ordinal), name, started_us)
            for run, ordinal, name, started_us in self._all(
                "list_place_holders", worker=worker, limit=limit
            )
        ]

    def count_queued_before(self, row: RunRow, since_us: int) -> int:
        """Return how many slow steps of its worker come before one of a run that waits."""
        rows = self._all(
            "count_queued_before",
            worker=row.worker_id,
            priority=row.priority,
            since_us=since_us,
            run=row.pk,
        )
        return int(rows[0][0])

    def attempts(self, run: int) -> list[AttemptRow]:
        """Return the run's failed attempts."""
        return [AttemptRow(*row) for row in self._all("list_attempts", run=run)]

    def completed_after(self, run: int, after: int) -> list[tuple[str, str]]:
        """Return (step id, name) of steps completed after an event."""
        return self._all("find_completed_after", run=run, after=after)

    def inbox_of_worker(self, worker: int, after: int, limit: int = 1_000) -> list[InboxRow]:
        """Return requests to a worker's runs, oldest first."""
        rows = self._all("list_inbox_of_worker", worker=worker, after=after, limit=limit)
        return [InboxRow(*row) for row in rows]

    def newest_request(self) -> int:
        """Return the id of the newest request that nobody has taken, or 0."""
        newest: int = self._all("get_newest_request")[0][0]
        return newest

    def inbox_of_run(self, run: int) -> list[InboxRow]:
        """Return requests to one run, oldest first."""
        return [InboxRow(*row) for row in self._all("list_inbox_of_run", run=run)]

    def find_child(self, parent: int, step: str) -> int | None:
        """Return the key of the run that a step of a run started."""
        rows = self._all("find_child", parent=parent, step=step)
        return rows[0][0] if rows else None

    def children(self, parent: int, limit: int = 1_000) -> list[tuple[int, str]]:
        """Return the runs that a run started: the key, and where its end is delivered."""
        rows = self._all("list_children", parent=parent, limit=limit)
        return [(pk, step or "") for pk, step in rows]

    def child_rows(self, parent: int, limit: int) -> list[ChildRow]:
        """Return what is shown of the runs that a run started, oldest first."""
        rows = self._all("list_family", parent=parent, limit=limit)
        return [ChildRow(*row) for row in rows]

    def followers(self, run: int) -> list[int]:
        """Return the keys of the runs that go on from a run, oldest first."""
        return [pk for (pk,) in self._all("list_followers", run=run)]

    def find_answer(self, run: RunRow, key: str) -> tuple[str, str, bytes] | None:
        """Return (state, name, result) of how an update or query ended, in a run or its line."""
        first, last = self._line(run)
        rows = self._all("find_answer", id=run.id, first=first, last=last, key=key)
        if not rows:
            return None
        state, name, result = rows[0]
        return state, name, self.payload(result)

    def answers(self, run: int, limit: int = 1_000) -> list[AnswerRow]:
        """Return how a run's updates ended, in the order of their ids."""
        return [AnswerRow(*row) for row in self._all("list_answers", run=run, limit=limit)]

    def find_update(self, run: RunRow, key: str) -> bool:
        """Return whether an update of this id was ever sent to a run, or to its line."""
        first, last = self._line(run)
        values = {"id": run.id, "first": first, "last": last, "key": key}
        return bool(
            self._all("find_message", **values, kind="update", event_kind=int(Kind.UPDATE_ACCEPTED))
        )

    def _line(self, run: RunRow) -> tuple[int, int]:
        """Return the first and last of the ordinals that go on from each other, with this one."""
        first, last = self._all("find_line", id=run.id, ordinal=run.ordinal)[0]
        return first, last

    def find_value(self, run: int, name: str) -> bytes | None:
        """Return a published value.

        Raises:
            PayloadError: It is damaged.
        """
        rows = self._all("find_value", run=run, name=name)
        return self.payload(rows[0][0], rows[0][1]) if rows else None

    def values(self, run: int) -> list[ValueRow]:
        """Return all values that a run has published, by name."""
        return [ValueRow(*row) for row in self._all("list_values", run=run)]

    def items(self, run: int, stream: str, from_position: int, limit: int) -> list[ItemRow]:
        """Return a page of a stream, in order."""
        rows = self._all(
            "list_items", run=run, stream=stream, from_position=from_position, limit=limit
        )
        return [ItemRow(*row) for row in rows]

    def next_position(self, run: int, stream: str, before: int = 1 << 62) -> int:
        """Return where the next item of a stream goes, of those written before an event."""
        rows = self._all("find_last_position", run=run, stream=stream, before=before)
        return rows[0][0] + 1 if rows else 0

    def redone(self, run: int) -> dict[str, int]:
        """Return the steps that completed before and are done again, and since which ordinal."""
        return {step: ordinal for step, ordinal in self._all("list_redone", run=run)}  # noqa: C416

    def code_spans(self, run: int) -> list[tuple[int, str, int]]:
        """Return (first event, fingerprint, time) of each code that a run went on with."""
        return [(seq, code, at_us) for seq, code, at_us in self._all("list_code_spans", run=run)]

    def logs(self, run: int, after: int, level: int, limit: int) -> list[LogRow]:
        """Return a page of what a run's code said, in order; below 0 the end of it."""
        if after < 0:
            rows = self._all("list_last_logs", run=run, level=level, limit=limit)[::-1]
        else:
            rows = self._shown("list_logs", run=run, after=after, level=level, limit=limit)
        return [LogRow(*row) for row in rows]

    def count_logs(self, run: int) -> int:
        """Return how many lines are kept of a run."""
        count: int = self._all("count_logs", run=run)[0][0]
        return count

    def find_source(self, code: str) -> SourceRow | None:
        """Return the source of a workflow's code by its fingerprint."""
        rows = self._all("get_source", code=code)
        return SourceRow(*rows[0]) if rows else None

    def policies(self, run: int) -> dict[str, str]:
        """Return what was changed of the policies of a run's steps, as JSON by step."""
        return {step: changes for step, changes in self._all("list_policies", run=run)}  # noqa: C416

    def accepted(self, run: int) -> list[str]:
        """Return the steps whose recorded ends a person let pass."""
        return [step for (step,) in self._all("list_accepted", run=run)]

    def audit(self, run: int, limit: int = 1_000) -> list[AuditRow]:
        """Return what was done to a run by people, oldest first."""
        return [AuditRow(*row) for row in self._shown("list_audit", run=run, limit=limit)]

    def issues(self, limit: int) -> list[IssueRow]:
        """Return groups of like failures, the one with the newest failure first."""
        return [IssueRow(*row) for row in self._shown("list_issues", limit=limit)]

    def find_issue(self, number: int, fingerprint: str) -> IssueRow | None:
        """Return a group by its number or by its fingerprint."""
        rows = self._shown("find_issue", id=number, fingerprint=fingerprint)
        return IssueRow(*rows[0]) if rows else None

    def count_open_of_issue(self, issue: int) -> int:
        """Count the runs of a group that still need somebody."""
        return int(self._all("count_open_of_issue", issue=issue)[0][0])

    def holds(self) -> list[HoldRow]:
        """Return the workflows and queues that are paused as a whole."""
        return [HoldRow(*row) for row in self._shown("list_holds")]

    def alerts(self, limit: int = 100) -> list[AlertRow]:
        """Return what somebody is to be told, the oldest first."""
        return [AlertRow(*row) for row in self._shown("list_alerts", limit=limit)]

    def jobs(self, limit: int) -> list[JobRow]:
        """Return acts on many runs, the newest first."""
        return [JobRow(*row) for row in self._shown("list_jobs", limit=limit)]

    def find_job(self, job: int) -> JobRow | None:
        """Return one act on many runs."""
        rows = self._all("get_job", id=job)
        return JobRow(*rows[0]) if rows else None

    def running_jobs(self) -> list[int]:
        """Return the acts on many runs that are not done yet, the oldest first."""
        return [job for (job,) in self._all("list_running_jobs")]

    def refusals(self, job: int, limit: int) -> list[tuple[int, str]]:
        """Return the runs for which a job's act was refused, and why."""
        return [(run, why) for run, why in self._shown("list_refusals", job=job, limit=limit)]

    def counts_of_issue(self, fingerprint: str, from_hour: int) -> list[tuple[int, str, str, int]]:
        """Return (hour since the epoch, workflow, code, how often) of a group."""
        rows = self._shown("list_counts_of_issue", fingerprint=fingerprint, from_hour=from_hour)
        return [(hour, workflow, code, seen) for hour, workflow, code, seen in rows]

    def streams(self, run: int) -> list[tuple[str, int]]:
        """Return (name, items) of a run's streams."""
        return [(name, count) for name, count in self._shown("list_streams", run=run)]

    def letters(self, run: int, limit: int = 100) -> list[LetterRow]:
        """Return a run's dead letters."""
        return [LetterRow(*row) for row in self._shown("list_letters", run=run, limit=limit)]

    def data_version(self) -> int:
        """Return a number that changes with each commit of anybody else."""
        version: int = self._rows("PRAGMA data_version", (), "data_version")[0][0]
        return version

    def find_last_seq(self, run: int) -> int:
        """Return a run's last event; 0 if it has none, -1 if there is no such run."""
        rows = self._all("find_last_seq", run=run)
        return -1 if not rows else rows[0][0]

    def meta(self, name: str) -> int:
        """Return a number that is true of the file as a whole; 0 if it was changed by hand."""
        rows = self._all("get_meta", name=name)
        return rows[0][0] if rows and isinstance(rows[0][0], int) else 0

    def secret(self) -> bytes:
        """Return what the file's tokens are keyed with.

        Raises:
            StoreError: It is not there, or was changed by hand.
        """
        if self._secret is None:
            found = self._all("get_meta", name="secret")
            self._secret = checked_secret(found[0] if found else None)
        return self._secret

    def knows_worker(self, worker: int, pid: int, started_us: int) -> bool:
        """Say whether a worker has been one of this file; ids alone are in every file."""
        return (pid, started_us) in self._all("get_worker", id=worker)

    def live_workers(self) -> list[WorkerRow]:
        """Return the workers that have not ended in order; the kernel knows which of them live."""
        return [WorkerRow(*row) for row in self._shown("list_live_workers")]

    def payload(self, stored: str | int | None, check: int | None = None) -> bytes:
        """Return a payload column's bytes, out of its blob if it has one.

        Args:
            stored: The column.
            check: Its checksum, where the row has one for it alone.

        Raises:
            PayloadError: The blob is missing or damaged, or the checksum is another.
        """
        return self.unpack(stored, check)()

    def unpack(self, stored: str | int | None, check: int | None = None) -> Callable[[], bytes]:
        """Read a payload column as `payload` does; return what unpacks it, on any thread."""
        size, data = None, b""
        match stored:
            case str():
                data = stored.encode()
            case None:
                pass
            case int():
                rows = self._all("get_blob", id=stored)
                if not rows:
                    raise PayloadError(f"blob {stored} is missing from the file")
                size, data = rows[0]
            case _:
                raise PayloadError(f"a payload is text or the number of a blob, not {stored!r:.80}")
        return partial(_unpacked, size, data, check)


def _unpacked(size: int | None, data: bytes, check: int | None) -> bytes:
    payload = data if size is None else decompress(data, size)
    if check is not None and checksum(payload) != check:
        raise PayloadError(
            "the payload does not match its checksum: the file was changed or damaged"
        )
    return payload


def _as_name(name: bytes) -> str:
    """Return a name; of a damaged row one that nobody has."""
    return name.decode("utf-8", "backslashreplace")


def _as_text(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
