"""The viewer: reads runs, and finds out why each open one waits."""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from durable._clock import Clock, SystemClock
from durable._core.events import Kind
from durable._core.summaries import summary
from durable._store.connection import real_path
from durable._store.locks import lock_file
from durable._store.reader import Reader
from durable.errors import DurableError, FileCorrupt, RunNotFound, UsageError
from durable.inspection._events import Told, damaged
from durable.inspection._looks import Looks
from durable.inspection._talk import Talk
from durable.inspection._texts import (
    cut,
    decoded_list,
    decoded_record,
    decoded_text,
    duration,
    moment,
    summary_of_payload,
    time_of,
)
from durable.inspection._views import (
    STATUSES,
    AttemptView,
    AuditView,
    ChildView,
    DifferenceView,
    IssueView,
    RunDetails,
    RunSummary,
    StepView,
    ValueView,
)

if TYPE_CHECKING:
    from durable._store.rows import IssueRow, RunRow

LIST_LIMIT_MAX = 1_000
HOUR_US = 3_600_000_000
# A page of runs is filtered by shown status in memory; this many pages are looked through at most.
PAGES_MAX = 1_000
# By step. Spelled out here, for inside `Viewer` the word `list` means its method.
_Attempts = dict[str, list[AttemptView]]

_ENDS_OF_ACTIVITIES = {int(Kind.COMPLETED), int(Kind.FAILED)}


class Viewer(Looks):
    """Reads runs for people.

    Args:
        reader: An open reader of the file.
        is_alive: Says whether a worker lives.
        clock: Time, for "in how long".
    """

    def __init__(
        self, reader: Reader, is_alive: Callable[[int], bool], clock: Clock | None = None
    ) -> None:
        self._reader = reader
        self._is_alive = is_alive
        self._clock = clock or SystemClock()
        self._names: list[tuple[int, set[str]]] | None = None

    def now(self) -> dt.datetime:
        """Return this moment, UTC: ages are counted to it."""
        return time_of(self._clock.wall_us())

    # -- lookups ---------------------------------------------------------------------------------

    def get_row(self, run_id: str) -> RunRow:
        """Return the row of an id, or of ``id#n``.

        Raises:
            RunNotFound: There is none; the message tells how to look.
        """
        base, mark, number = run_id.rpartition("#")
        if mark and number.isdecimal() and number.isascii() and len(number) < 10:
            row = self._reader.find_ordinal(base, int(number))
        else:
            row = self._reader.find_newest(run_id)
        if row is None:
            raise RunNotFound(f"no run {run_id!r} is in the file; `durable ls` lists them")
        return row

    def get(self, run_id: str) -> RunDetails:
        """Return everything about one run.

        Raises:
            RunNotFound: There is none.
        """
        return self.details_of(self.get_row(run_id))

    def issues(self, *, state: str | None = "open", limit: int = 100) -> Sequence[IssueView]:
        """Return groups of like failures, the one with the newest failure first.

        Args:
            state: ``open``, ``resolved``, ``muted``, or None for all.
            limit: At most so many, 1 to 1,000.
        """
        if state not in {None, "open", "resolved", "muted"}:
            raise UsageError(
                f'the state of an issue is "open", "resolved" or "muted", not {state!r}'
            )
        rows = self._reader.issues(max(1, min(limit, LIST_LIMIT_MAX)))
        return [self._issue(row) for row in rows if state in {None, row.state}]

    def issue(self, name: str) -> IssueView:
        """Return a group by ``I-14`` or by its fingerprint.

        Raises:
            RunNotFound: There is none.
        """
        return self._issue(self.issue_row(name))

    def issue_row(self, name: str) -> IssueRow:
        """Return the row of a group.

        Raises:
            RunNotFound: There is none.
        """
        number = name.upper().removeprefix("I-")
        is_number = number.isdecimal() and number.isascii() and len(number) < 16
        row = self._reader.find_issue(int(number) if is_number else -1, name)
        if row is None:
            raise RunNotFound(f"no issue {name!r} is in the file; `durable issues` lists them")
        return row

    def _issue(self, row: IssueRow) -> IssueView:
        hour = self._clock.wall_us() // HOUR_US
        counts = self._reader.counts_of_issue(row.fingerprint, hour - 30 * 24)
        hours, workflows, versions = [0] * 24, Counter[str](), Counter[str]()
        for at, workflow, code, seen in counts:
            if 0 <= hour - at < len(hours):
                hours[at - hour - 1] += seen
            workflows[workflow] += seen
            versions[code] += seen
        return IssueView(
            id=f"I-{row.id}", fingerprint=row.fingerprint, kind=row.kind, state=row.state,
            title=row.title, function=row.function, place=row.place, seen=row.seen,
            open=self._reader.count_open_of_issue(row.id), first=moment(row.first_us),
            last=moment(row.last_us), hours=hours, workflows=dict(workflows.most_common()),
            versions=dict(versions.most_common()), sample=row.sample,
            sample_run=self.name_of(row.sample_run),
        )  # fmt: skip

    def values(self, run_id: str) -> Sequence[ValueView]:
        """Return the values that a run has published, whole, by name.

        Raises:
            RunNotFound: There is none.
        """
        return self._values(self.get_row(run_id), whole=True)

    def list(
        self, *, status: str | None = None, workflow: str | None = None, limit: int = 100
    ) -> list[RunSummary]:
        """Return runs, newest first; see `Client.list`."""
        if status is not None and status not in STATUSES:
            raise UsageError(f"{status!r} is no status; there are {', '.join(STATUSES)}")
        if not 1 <= limit <= LIST_LIMIT_MAX:
            raise UsageError(f"limit is 1 to {LIST_LIMIT_MAX}, not {limit}")
        found: list[RunSummary] = []
        for state in _states_of(status):
            before = 1 << 62
            # Enough where every row matches; a filter's next pages are as large as they may be.
            page = limit
            for _ in range(PAGES_MAX):
                rows = self._reader.list_runs(
                    state=state, workflow=workflow if state is None else None,
                    before=before, limit=page,
                )  # fmt: skip
                for row in rows:
                    if workflow is not None and row.workflow != workflow:
                        continue
                    line = self.summary_of(row)
                    if status is None or line.status == status:
                        found.append(line)
                if len(rows) < page or len(found) >= limit:
                    break
                before, page = rows[-1].pk, LIST_LIMIT_MAX
        found.sort(key=lambda one: one.created, reverse=True)
        return found[:limit]

    def count(self, *, workflow: str | None = None) -> dict[str, int]:
        """Return how many runs are shown with each status; open ones are looked at one by one."""
        counts = {
            state: number
            for state, number in self._reader.count_by_state(workflow).items()
            if state not in {"ready", "parked"}
        }
        for state in ("ready", "parked"):
            before = 1 << 62
            while True:
                rows = self._reader.list_runs(
                    state=state, workflow=None, before=before, limit=LIST_LIMIT_MAX
                )
                for row in rows:
                    if workflow is None or row.workflow == workflow:
                        status = row.status(self._is_alive)
                        counts[status] = counts.get(status, 0) + 1
                if len(rows) < LIST_LIMIT_MAX:
                    break
                before = rows[-1].pk
        return {status: counts[status] for status in STATUSES if counts.get(status)}

    # -- one run ---------------------------------------------------------------------------------

    def summary_of(self, row: RunRow) -> RunSummary:
        """Return one line about a run; a damaged row shows as such and harms no other."""
        return RunSummary(**self._summary(row))

    def _summary(self, row: RunRow) -> dict[str, Any]:
        status = row.status(self._is_alive)
        return {
            "id": row.name,
            "workflow": row.workflow,
            "status": status,
            "why": self._why(row, status),
            "created": moment(row.created_us),
            "started": moment(row.started_us),
            "closed": moment(row.closed_us),
            "wakes": moment(row.wake_at_us),
            "cause": row.cause,
        }

    def details_of(self, row: RunRow) -> RunDetails:
        """Return everything about a run; of what is damaged, the reason stands in its place."""
        traceback, result = "", ""
        if not row.is_open:
            if row.state == "failed":
                traceback = str(self._failure(row)[0].get("traceback", ""))
            else:
                result = self._preview(row.result, row.result_checksum)
        failed, unread = self._attempts(row.pk)
        talk = Talk(self._reader, row)
        events, steps = self._recorded(row, failed, talk)
        pending = self._pending(row.pk, failed)
        return RunDetails(
            **self._summary(row),
            arguments=self._preview(row.arguments, row.checksum),
            result=result,
            traceback=traceback,
            events=events,
            worker=self._worker(row),
            lost=row.lost,
            parent=self.name_of(row.parent_pk),
            root=self.name_of(row.root_pk),
            deadline=moment(row.deadline_us),
            waits_for=_texts(row.waits_for()) if row.state == "parked" else [],
            steps=[*steps, *pending, *unread],
            children=self._children(row.pk),
            values=self._values(row, whole=False),
            streams=talk.streams(),
            updates=talk.updates,
            promises=talk.promises(pending),
            dead_letters=talk.dead_letters(),
            source=self.name_of(row.source_pk),
            followed_by=[self.name_of(pk) for pk in self._reader.followers(row.pk)],
            audit=self._audit(row.pk),
            difference=_difference(row),
            issue="" if row.issue is None else f"I-{row.issue}",
        )

    def _audit(self, pk: int) -> Sequence[AuditView]:
        return [
            AuditView(
                verb=one.verb, who=one.who, why=one.why, details=one.details,
                at=moment(one.at_us),
            )
            for one in self._reader.audit(pk)
        ]  # fmt: skip

    def _recorded(
        self, row: RunRow, failed: _Attempts, talk: Talk
    ) -> tuple[int, Sequence[StepView]]:
        """Return the number of the last event, and what happened."""
        events = 0
        steps: list[StepView] = []
        told = Told(row.clock_us or row.created_us, talk.answers(), talk.buried())
        for event, damage in self._reader.events_as_found(row.pk):
            events = event.seq
            # A message's id may be that of a step.
            attempts = failed.pop(event.step, []) if event.kind in _ENDS_OF_ACTIVITIES else []
            if damage:
                steps.append(told.damaged(event, damage, attempts))
            else:
                steps.append(told.step_of(event, attempts))
        talk.know(told)
        return events, steps

    def _children(self, pk: int) -> Sequence[ChildView]:
        found: list[ChildView] = []
        for child, step in self._reader.children(pk):
            row = self._reader.find_run(child)
            if row is not None:
                status = row.status(self._is_alive)
                found.append(
                    ChildView(id=row.name, workflow=row.workflow, status=status, step=step or "")
                )
        return found

    def name_of(self, pk: int | None) -> str:
        """Return a run's name by its key, or an empty text if there is none."""
        row = None if pk is None else self._reader.find_run(pk)
        return "" if row is None else row.name

    def _values(self, row: RunRow, *, whole: bool) -> Sequence[ValueView]:
        return [
            ValueView(
                name=one.name,
                value=self._preview(one.payload, one.checksum, whole=whole),
                at=time_of(one.at_us),
            )
            for one in self._reader.values(row.pk)
        ]

    def _pending(self, pk: int, failed: _Attempts) -> Sequence[StepView]:
        try:
            rows = self._reader.steps(pk)
        except FileCorrupt as error:
            return [damaged(f"what its pending steps remember does not read: {error}")]
        pending = [
            StepView(
                step=row.step,
                kind="activity",
                name=row.name,
                status=row.state,
                tries=row.attempt - (row.state in {"retrying", "exhausted"}),
                ended=None,
                took_us=None,
                next_try=moment(row.retry_at_us) if row.state == "retrying" else None,
                error=row.error or "",
                arguments="",
                result="",
                attempts=failed.pop(row.step, []),
            )
            for row in rows
        ]
        abandoned = [
            StepView(
                step=step, kind="activity", name="", status="abandoned", tries=len(attempts),
                ended=None, took_us=None, next_try=None, error=attempts[-1].error, arguments="",
                result="", attempts=attempts,
            )
            for step, attempts in failed.items()
        ]  # fmt: skip
        return pending + abandoned

    def _attempts(self, pk: int) -> tuple[_Attempts, Sequence[StepView]]:
        """Return the failed attempts, and what stands for them where they do not read."""
        found: _Attempts = {}
        try:
            rows = self._reader.attempts(pk)
        except FileCorrupt as error:
            return found, [damaged(f"its failed attempts do not read: {error}")]
        for row in rows:
            record = decoded_record(row.error)
            found.setdefault(row.step, []).append(
                AttemptView(
                    number=row.attempt,
                    state=row.state,
                    started=time_of(row.started_us),
                    ended=time_of(row.ended_us),
                    error=summary_of_payload(row.error.encode()),
                    traceback=str(record.get("traceback", "")),
                )
            )
        return found, []

    # -- status ----------------------------------------------------------------------------------

    def _why(self, row: RunRow, status: str) -> str:
        waits = row.waits_for()
        match status:
            case "blocked" | "paused":
                return str(waits.get("message", "the reason does not decode"))
            case "running":
                return f"worker {self._worker(row)} has it in hand"
            case "queued":
                return self._why_queued(row)
            case "retrying":
                return (
                    f"step {waits.get('step')} ({waits.get('name')}): attempt "
                    f"{waits.get('attempt')} {self._in(waits.get('at_us'))}, after "
                    f"{waits.get('error') or 'a failure'}"
                )
            case "sleeping":
                return self._timer(row, waits.get("step", ""))
            case "waiting":
                what = ", ".join(_texts(waits)) or "a message"
                return what if row.wake_at_us is None else f"{what}; {self._timer(row)}"
            case "failed":
                record, text = self._failure(row)
                return str(record.get("durable_summary") or summary(record)) if record else text
            case "cancelled" | "terminated":
                return decoded_text(self._preview(row.result, row.result_checksum))
            case _:
                return ""

    def _why_queued(self, row: RunRow) -> str:
        if row.worker_id is not None:
            return f"its worker ({row.worker_id}) died; the next one takes it over"
        if self._names is None:
            live = [one for one in self._reader.live_workers() if self._is_alive(one.id)]
            self._names = [(one.id, set(decoded_list(one.workflows))) for one in live]
        if not self._names:
            return "no worker lives; start one with `durable worker APP:ENGINE`"
        if not any(row.workflow in names for _, names in self._names):
            return f"no living worker knows the workflow {row.workflow}"
        return "a worker will take it"

    def _timer(self, row: RunRow, step: object = "") -> str:
        return f"timer {step} {self._in(row.wake_at_us)}".replace("  ", " ")

    def _in(self, at_us: Any) -> str:
        if not isinstance(at_us, int):
            return "some time"
        left_s = (at_us - self._clock.wall_us()) / 1e6
        return "is due" if left_s <= 0 else f"in {duration(left_s)}"

    def _worker(self, row: RunRow) -> str:
        return "" if row.worker_id is None else str(row.worker_id)

    def _failure(self, row: RunRow) -> tuple[dict[str, Any], str]:
        """Return the record of what ended a run, empty if it does not read, and its text."""
        text = self._preview(row.result, row.result_checksum, whole=True)
        return decoded_record(text), text

    def _preview(self, stored: str | int | None, check: int | None, *, whole: bool = False) -> str:
        try:
            payload = self._reader.payload(stored, check)
        except DurableError as error:
            return f"<{error}>"
        return payload.decode("utf-8", "replace") if whole else cut(payload)


def _texts(waits: dict[str, Any]) -> Sequence[str]:
    """Return what a run waits for from outside, as its worker wrote it down."""
    found = waits.get("for")
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _states_of(status: str | None) -> tuple[str | None, ...]:
    """Return the stored states whose runs may be shown with a status."""
    match status:
        case None:
            return (None,)
        case "running" | "queued":
            return ("ready",)
        case "retrying" | "waiting" | "sleeping":
            return ("parked",)
        case _:
            return (status,)


class view:  # noqa: N801  reads as a verb: `with view(path) as runs`
    """Open a file for looking, without an event loop: ``with durable.view("app.db") as runs``.

    Args:
        path: The file; it must exist, and is not changed.

    Raises:
        StoreError: The file cannot be read; one line says why.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = real_path(path)
        self._reader = Reader(self._path)
        self._locks = lock_file(self._path)

    def __enter__(self) -> Viewer:
        try:
            self._locks.open()
        except OSError:
            # A file of somebody else's: whether workers live cannot be asked, so none is shown so.
            return Viewer(self._reader, lambda _: False)
        return Viewer(self._reader, self._locks.is_held)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        self._reader.close()
        self._locks.close()
        return False


def _difference(row: RunRow) -> DifferenceView | None:
    """Return where code and history part, if the run is blocked for that."""
    found = row.waits_for().get("difference") if row.state == "blocked" else None
    if not isinstance(found, dict):
        return None
    event, at_us = found.get("event"), found.get("at_us")
    return DifferenceView(
        step=str(found.get("step", "")),
        event=event if isinstance(event, int) else 0,
        recorded=str(found.get("recorded", "")),
        at=moment(at_us if isinstance(at_us, int) else None),
        code=str(found.get("code", "")),
        where=str(found.get("where", "")),
    )
