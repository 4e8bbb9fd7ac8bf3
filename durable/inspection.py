"""What people see of runs: statuses that tell the truth, and why each open run waits.

Stored is only what needs a commit anyway; the rest is computed here, and whether a worker lives is
asked of the kernel, not of a column. Everything is synchronous and reads only: the command line and
scripts use it without an event loop.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import attrs
import msgspec

from durable._clock import Clock, SystemClock
from durable._core.events import Kind
from durable._store.connection import real_path
from durable._store.locks import lock_file
from durable._store.reader import Reader
from durable.errors import DurableError, RunNotFound, UsageError

if TYPE_CHECKING:
    from durable._store.rows import RunRow

__all__ = [
    "STATUSES",
    "AttemptView",
    "RunDetails",
    "RunSummary",
    "StepView",
    "Viewer",
    "view",
]

CLOSED = ("completed", "failed", "cancelled", "terminated", "continued")
OPEN = ("blocked", "paused", "running", "retrying", "queued", "waiting", "sleeping")
STATUSES = (*OPEN, *CLOSED)
"""Every status a run can be shown with; open ones in the order in which the first match counts."""

LIST_LIMIT_MAX = 1_000
# A page of runs is filtered by shown status in memory; this many pages are looked through at most.
PAGES_MAX = 1_000
SUMMARY_CHARACTERS_MAX = 300
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TIME_MIN = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
_TIME_MAX = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)


def _moment(at_us: int | None) -> dt.datetime | None:
    return None if at_us is None else _time(at_us)


def _time(at_us: int) -> dt.datetime:
    try:
        return _EPOCH + dt.timedelta(microseconds=at_us)
    except OverflowError:  # A damaged number is shown as the end, or the beginning, of all time.
        return _TIME_MAX if at_us > 0 else _TIME_MIN


@attrs.frozen(kw_only=True)
class RunSummary:
    """One line of a list of runs.

    Attributes:
        id: As people write it, with ``#n`` from the second ordinal on.
        workflow: The stored name.
        status: One of `STATUSES`.
        why: Why an open run waits, or what ended it; one line.
        created: When it was stored, UTC.
        started: When its code first ran, UTC, or None.
        closed: When it ended, UTC, or None.
        wakes: When it goes on by itself, UTC, or None.
        cause: ``started``, ``restarted``, ``retried`` or ``continued``.
    """

    id: str
    workflow: str
    status: str
    why: str
    created: dt.datetime
    started: dt.datetime | None
    closed: dt.datetime | None
    wakes: dt.datetime | None
    cause: str


@attrs.frozen(kw_only=True)
class AttemptView:
    """A failed or abandoned attempt, with its whole traceback."""

    number: int
    state: str
    started: dt.datetime
    ended: dt.datetime
    error: str
    traceback: str


@attrs.frozen(kw_only=True)
class StepView:
    """One step or timer of a run.

    Attributes:
        step: Its id; timers have ``!`` in it.
        name: The activity's name; ``timer`` for a timer.
        status: ``completed``, ``failed``, ``fired``, ``running``, ``retrying``, ``exhausted`` or
            ``intent``.
        tries: Attempts made.
        ended: When, UTC, or None while it is pending.
        took_us: Microseconds of the attempt that ended it, or None.
        next_try: When it is tried again, UTC, or None.
        error: One line of the last failure, or empty.
        arguments: As stored: JSON text, at most 64 KiB of it.
        result: As stored: JSON text, at most 64 KiB of it.
        attempts: The failed ones.
    """

    step: str
    name: str
    status: str
    tries: int
    ended: dt.datetime | None
    took_us: int | None
    next_try: dt.datetime | None
    error: str
    arguments: str
    result: str
    attempts: Sequence[AttemptView]


@attrs.frozen(kw_only=True)
class RunDetails(RunSummary):
    """Everything about one run."""

    arguments: str
    result: str
    traceback: str
    events: int
    worker: str
    lost: int
    steps: Sequence[StepView]


PREVIEW_BYTES_MAX = 64 * 1024
# By step. Spelled out here, for inside `Viewer` the word `list` means its method.
_Attempts = dict[str, list[AttemptView]]


class Viewer:
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
        return _time(self._clock.wall_us())

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
                    summary = self.summary_of(row)
                    if status is None or summary.status == status:
                        found.append(summary)
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
                        status = self._status(row)
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
        status = self._status(row)
        return {
            "id": row.name,
            "workflow": row.workflow,
            "status": status,
            "why": self._why(row, status),
            "created": _moment(row.created_us),
            "started": _moment(row.started_us),
            "closed": _moment(row.closed_us),
            "wakes": _moment(row.wake_at_us),
            "cause": row.cause,
        }

    def details_of(self, row: RunRow) -> RunDetails:
        """Return everything about a run."""
        traceback, result = "", ""
        if not row.is_open:
            if row.state == "failed":
                traceback = str(self._record(row.result).get("traceback", ""))
            else:
                result = self._preview(row.result)
        events = 0
        steps: list[StepView] = []
        failed = self._attempts(row.pk)
        zero_us = row.started_us or row.created_us
        for event in self._reader.events(row.pk):
            events = event.seq
            kind = Kind(event.kind)
            if not event.step:
                continue
            attempts = failed.pop(event.step, [])
            succeeded = kind == Kind.COMPLETED
            steps.append(
                StepView(
                    step=event.step,
                    name=event.name or "timer",
                    status=kind.name.lower(),
                    tries=0 if kind == Kind.FIRED else max(1, len(attempts) + succeeded),
                    ended=_moment(zero_us + event.at_us),
                    took_us=None if kind == Kind.FIRED else event.took_us,
                    next_try=None,
                    error="" if kind != Kind.FAILED else _summary_of(event.result),
                    arguments=_cut(event.arguments),
                    result=_cut(event.result) if succeeded else "",
                    attempts=attempts,
                )
            )
        steps += self._pending(row.pk, failed)
        return RunDetails(
            **self._summary(row),
            arguments=self._preview(row.arguments),
            result=result,
            traceback=traceback,
            events=events,
            worker=self._worker(row),
            lost=row.lost,
            steps=steps,
        )

    def _pending(self, pk: int, failed: _Attempts) -> Sequence[StepView]:
        pending = [
            StepView(
                step=row.step,
                name=row.name,
                status=row.state,
                tries=row.attempt - (row.state in {"retrying", "exhausted"}),
                ended=None,
                took_us=None,
                next_try=_moment(row.retry_at_us) if row.state == "retrying" else None,
                error=row.error or "",
                arguments="",
                result="",
                attempts=failed.pop(row.step, []),
            )
            for row in self._reader.steps(pk)
        ]
        abandoned = [
            StepView(
                step=step, name="", status="abandoned", tries=len(attempts), ended=None,
                took_us=None, next_try=None, error=attempts[-1].error, arguments="", result="",
                attempts=attempts,
            )
            for step, attempts in failed.items()
        ]  # fmt: skip
        return pending + abandoned

    def _attempts(self, pk: int) -> _Attempts:
        found: _Attempts = {}
        for row in self._reader.attempts(pk):
            record = _decoded(row.error)
            found.setdefault(row.step, []).append(
                AttemptView(
                    number=row.attempt,
                    state=row.state,
                    started=_time(row.started_us),
                    ended=_time(row.ended_us),
                    error=_summary_of(row.error.encode()),
                    traceback=str(record.get("traceback", "")),
                )
            )
        return found

    # -- status ----------------------------------------------------------------------------------

    def _status(self, row: RunRow) -> str:
        match row.state:
            case "ready":
                if row.worker_id is not None and self._is_alive(row.worker_id):
                    return "running"
                return "queued"
            case "parked":
                kind = row.waits_for().get("kind")
                return kind if kind in {"retrying", "waiting", "sleeping"} else "sleeping"
            case _:
                return row.state

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
                step = waits.get("step", "")
                return f"timer {step} {self._in(row.wake_at_us)}".replace("  ", " ")
            case "waiting":
                return "a message"
            case "failed":
                record = self._record(row.result)
                return str(record.get("durable_summary") or _one_line(record))
            case "cancelled" | "terminated":
                return _reason(self._preview(row.result))
            case _:
                return ""

    def _why_queued(self, row: RunRow) -> str:
        if row.worker_id is not None:
            return f"its worker ({row.worker_id}) died; the next one takes it over"
        if self._names is None:
            live = [one for one in self._reader.live_workers() if self._is_alive(one.id)]
            self._names = [(one.id, set(_decoded_list(one.workflows))) for one in live]
        if not self._names:
            return "no worker lives; start one with `durable worker APP:ENGINE`"
        if not any(row.workflow in names for _, names in self._names):
            return f"no living worker knows the workflow {row.workflow}"
        return "a worker will take it"

    def _in(self, at_us: Any) -> str:
        if not isinstance(at_us, int):
            return "some time"
        left_s = (at_us - self._clock.wall_us()) / 1e6
        return "is due" if left_s <= 0 else f"in {duration(left_s)}"

    def _worker(self, row: RunRow) -> str:
        return "" if row.worker_id is None else str(row.worker_id)

    def _record(self, stored: str | int | None) -> dict[str, Any]:
        return _decoded(self._preview(stored, whole=True))

    def _preview(self, stored: str | int | None, *, whole: bool = False) -> str:
        try:
            payload = self._reader.payload(stored)
        except DurableError as error:
            return f"<{error}>"
        return payload.decode("utf-8", "replace") if whole else _cut(payload)


def duration(seconds: float) -> str:
    """Return a duration for people: ``412ms``, ``3.1s``, ``2m 05s``, ``3h 07m``, ``29d 23h``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3_600}h {whole % 3_600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3_600:02d}h"


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


def _cut(payload: bytes) -> str:
    if len(payload) <= PREVIEW_BYTES_MAX:
        return payload.decode("utf-8", "replace")
    head = payload[:PREVIEW_BYTES_MAX].decode("utf-8", "replace")
    return f"{head}... ({len(payload):,} bytes)"


def _decoded(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _decoded_list(text: str) -> list[str]:
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:
        return []


def _one_line(record: dict[str, Any]) -> str:
    """Do as `durable._core.failures.summary` does, without loading asyncio as that module does."""
    kind, message = record.get("type"), record.get("message")
    name = kind.rpartition(".")[2] if isinstance(kind, str) and kind else "ActivityError"
    text = f"{name}: {message}" if isinstance(message, str) and message else name
    text = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in text[: SUMMARY_CHARACTERS_MAX + 1]
    )
    if len(text) <= SUMMARY_CHARACTERS_MAX:
        return text
    return text[: SUMMARY_CHARACTERS_MAX - 3] + "..."


def _summary_of(payload: bytes) -> str:
    return _one_line(_decoded(payload.decode("utf-8", "replace")))


def _reason(text: str) -> str:
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        return text


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
