"""The viewer: reads runs, and finds out why each open one waits."""

from __future__ import annotations

import bisect
import contextlib
import datetime as dt
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import attrs
import msgspec

from durable._clock import Clock, SystemClock, steady_s
from durable._core.events import Kind
from durable._core.summaries import summary
from durable._store import pages
from durable._store.connection import has_log, real_path
from durable._store.filtering import Sort, compiled
from durable._store.locks import Trouble, lock_file
from durable._store.reader import Reader
from durable._store.trouble import find_trouble
from durable._store.wholeness import find_missing, refuse_other_log
from durable.errors import DurableError, FileCorrupt, RunNotFound, StoreError, UsageError
from durable.filters import STATUSES, And, Filter, Term, Value, parse
from durable.inspection._events import RUNNING, Told, abandoned_step, damaged, pending_step
from durable.inspection._groups import LIST_LIMIT_MAX, Groups
from durable.inspection._looks import Looks
from durable.inspection._pages import Pages
from durable.inspection._talk import Talk
from durable.inspection._texts import (
    check_limit,
    cut,
    decoded_record,
    decoded_text,
    duration,
    moment,
    summary_of_payload,
    time_of,
)
from durable.inspection._views import (
    AttemptView,
    AuditView,
    ChildView,
    CodeView,
    DifferenceView,
    RunDetails,
    RunSummary,
    StepView,
    ValueView,
)
from durable.payloads import decode_document
from durable.run_name import RunName

if TYPE_CHECKING:
    from durable._store.filtering import Selection
    from durable._store.rows import RunRow

# What a list of runs can be sorted by.
SORTS = ("created", "started", "finished", "wakes", "took")
# How often the file is asked whether anybody has committed: a read of one page in memory.
LOOK_S = 0.05
# Shorter ends of ids mean nothing; of several ids with one end so many are told.
SUFFIX_CHARACTERS_MIN = 4
SUFFIXES_SHOWN = 5
# Of a header: older updates are found among the steps.
MESSAGES_SHOWN_MAX = 1_000
# Of what a running run has in hand: so many steps are told, and so much of a heartbeat.
STEPS_TOLD = 3
HEARTBEAT_SHOWN = 80
# Of what has the places that a queued run waits for: those that began first.
PLACE_HOLDERS_SHOWN = 3
# Until then what waits for a place need not be in the file.
SHOWN_AFTER_US = 1_000_000
# By step. Spelled out here, for inside `Viewer` the word `list` means its method.
_Attempts = dict[str, list[AttemptView]]

_ENDS_OF_ACTIVITIES = {int(Kind.COMPLETED), int(Kind.FAILED)}


class Viewer(Groups, Pages, Looks):
    """Reads runs for people.

    Args:
        reader: An open reader of the file.
        is_alive: Says whether a worker lives.
        clock: Time, for "in how long".
        row_now: Returns the row of a run as its worker in this process would write it now.
        trouble: Returns what keeps a worker from writing, if it says something.
    """

    def __init__(
        self,
        reader: Reader,
        is_alive: Callable[[int], bool],
        clock: Clock | None = None,
        row_now: Callable[[RunRow], RunRow] = lambda row: row,
        trouble: Callable[[], Trouble | None] = lambda: None,
    ) -> None:
        super().__init__(reader, is_alive, clock or SystemClock())
        self._row_now = row_now
        self.missing = ""
        """What the file seems to lack, for people; empty if nothing."""
        self._find_trouble = trouble

    def now(self) -> dt.datetime:
        """Return this moment, UTC: ages are counted to it."""
        return time_of(self._clock.wall_us())

    @property
    def path(self) -> str:
        """The file."""
        return self._reader.path

    def version(self) -> str:
        """Return a text that changes with each commit, and with what is told of workers.

        It is of this viewer: another one has others.

        Raises:
            FileMoved: The path leads to another file by now, or to none.
        """
        self._reader.refuse_moved()
        alive = [one.id for one in self._reader.live_workers() if self._is_alive(one.id)]
        self._known = None  # Who lives is asked anew.
        trouble = self._find_trouble()
        since_us = 0 if trouble is None else trouble.since_us
        return f"{self._reader.data_version()}.{'-'.join(map(str, alive))}.{since_us}"

    def mark(self) -> int:
        """Return a number that changes with each commit, for `wait`."""
        return self._reader.data_version()

    def wait(self, mark: int, seconds: float) -> None:
        """Wait until somebody has committed since a mark was taken, or so long.

        Take the mark before you read: what is committed while you read is not missed.
        """
        until_s = steady_s() + seconds
        while self.mark() == mark and steady_s() < until_s:
            time.sleep(LOOK_S)

    # -- lookups ---------------------------------------------------------------------------------

    def get_row(self, run_id: str) -> RunRow:
        """Return the row of an id, or of ``id#n``.

        Raises:
            RunNotFound: There is none; the message tells how to look.
        """
        if not isinstance(run_id, str):
            raise UsageError(f"a run is named by its id, or id#n, not by {run_id!r:.80}")
        row = self._reader.find_named(RunName.parse(run_id))
        if row is None:
            raise RunNotFound(f"no run {run_id!r} is in the file; `durable ls` lists them")
        return row

    def find_name(self, text: str) -> str | None:
        """Return what names the run that a person means, or None.

        Args:
            text: An id; ``id#n``; ``last``, the newest run, or ``last:invoice.*``, the newest of
                these workflows; or the end of one id, at least 4 characters of it.

        Raises:
            RunNotFound: Several ids end so.
        """
        word, colon, pattern = text.partition(":")
        if text == "last" or (word == "last" and colon and pattern and '"' not in pattern):
            newest = self.list(f"workflow:{pattern or '*'}", limit=1)
            if newest:
                return newest[0].id
        name = RunName.parse(text)
        if self._reader.find_named(name) is not None:
            return text
        if len(name.id) < SUFFIX_CHARACTERS_MIN:
            return None
        ids = self._reader.find_ids_by_end(name.id, SUFFIXES_SHOWN + 1)
        if len(ids) > 1:
            more = ", ..." if len(ids) > SUFFIXES_SHOWN else ""
            raise RunNotFound(
                f"several ids end with {text!r}: {', '.join(ids[:SUFFIXES_SHOWN])}{more}"
            )
        return str(name._replace(id=ids[0])) if ids else None

    def get(self, run_id: str) -> RunDetails:
        """Return everything about one run.

        Raises:
            RunNotFound: There is none.
        """
        return self.details_of(self.get_row(run_id))

    def values(self, run_id: str) -> Sequence[ValueView]:
        """Return the values that a run has published, whole, by name.

        Raises:
            RunNotFound: There is none.
        """
        return self._values(self.get_row(run_id), whole=True)

    def list(
        self,
        query: str = "",
        *,
        limit: int = 100,
        before: int | None = None,
        sort: str = "-created",
    ) -> list[RunSummary]:
        """Return runs, newest first; see `Client.list`.

        Args:
            query: A filter.
            limit: At most so many, 1 to 1,000.
            before: Only runs that come after the one of this key in the list, as it is sorted.
            sort: See `Client.list`.
        """
        check_limit(limit, LIST_LIMIT_MAX)
        name = sort.removeprefix("-")
        if name not in SORTS:
            raise UsageError(
                f"runs are sorted by {', '.join(SORTS)}, with a - before it the other way round, "
                f"not by {sort!r:.60}"
            )
        selection, is_descending = self.selection(query), sort != name
        if name == "created":
            newest = 1 << 62 if before is None or not is_descending else before
            oldest = before if before is not None and not is_descending else 0
            rows = self._reader.select(
                selection,
                after=oldest,
                before=newest,
                limit=limit,
                is_ascending=not is_descending,
            )
            return [self.summary_of(row) for row in rows]
        order = Sort.by(name, self._clock.wall_us(), is_descending=is_descending)
        found = self._reader.select_sorted(selection, order, before=before, limit=limit)
        if found is None:
            raise RunNotFound(f"the run of the key {before} is gone; list from the first page")
        return [self.summary_of(row) for row in found]

    def selection(self, query: str) -> Selection:
        """Return a filter as this moment, and the workers that live now, would have it.

        Raises:
            FilterError: It is no filter.
        """
        return compiled(
            parse(query),
            alive=[one.id for one in self._reader.live_workers() if self._is_alive(one.id)],
            now_us=self._clock.wall_us(),
            workflows=self._reader.workflows,
        )

    def count(self, query: str = "") -> dict[str, int]:
        """Return how many runs are shown with each status."""
        only = parse(query)
        if only == And(()):
            found = self._reader.tally_all()
        elif (workflow := _only_workflow(only)) is not None:
            found = self._reader.tally_all(workflow)
        else:
            found = self._reader.tally(self.selection(query))
        counts = Counter[str]()
        for state, kind, worker, number in found:
            counts[self._shown(state, kind, worker)] += number
        return {status: counts[status] for status in STATUSES if counts[status] > 0}

    def _shown(self, state: str, kind: str | None, worker: int | None) -> str:
        if kind is not None:
            return kind
        if state == "ready":
            return "running" if worker is not None and self._is_alive(worker) else "queued"
        return state

    # -- one run ---------------------------------------------------------------------------------

    def summary_of(self, row: RunRow) -> RunSummary:
        """Return one line about a run; a damaged row shows as such and harms no other."""
        return RunSummary(**self._summary(self._row_now(row)))

    def _summary(self, row: RunRow) -> dict[str, Any]:
        status = row.status(self._is_alive)
        tags, attributes = _labels(row)
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
            "key": row.pk,
            "tags": tags,
            "attributes": attributes,
        }

    def details_of(self, row: RunRow) -> RunDetails:
        """Return everything about a run; of what is damaged, the reason stands in its place."""
        row = self._row_now(row)
        failed, unread = self._attempts(row.pk)
        talk = Talk(self._reader, row)
        events, steps = self._recorded(row, failed, talk, self._codes(row))
        pending = self._pending(row.pk, failed)
        return self._details(row, talk, events, [*steps, *pending, *unread], pending)

    def header(self, run_id: str) -> RunDetails:
        """Return everything about one run but its recorded steps and its attempts.

        Its history may be of any length: `steps` has it page by page. Of its messages at most 1,000
        are there.

        Raises:
            RunNotFound: There is none.
        """
        row = self._row_now(self.get_row(run_id))
        talk = Talk(self._reader, row)
        told = Told(row.clock_us or row.created_us, talk.answers(), talk.buried())
        for event in pages.message_events(self._reader, row.pk, MESSAGES_SHOWN_MAX):
            told.step_of(event, ())
        talk.know(told)
        pending = self._pending(row.pk, {})
        return self._details(row, talk, pages.last_seq(self._reader, row.pk), pending, pending)

    def _details(
        self,
        row: RunRow,
        talk: Talk,
        events: int,
        steps: Sequence[StepView],
        pending: Sequence[StepView],
    ) -> RunDetails:
        traceback, result = "", ""
        if not row.is_open:
            if row.state == "failed":
                traceback = str(self._failure(row)[0].get("traceback", ""))
            else:
                result = self._preview(row.result, row.result_checksum)
        summary = self._summary(row)
        summary["why"] += self._place_holders(row)
        return RunDetails(
            **summary,
            arguments=self._preview(row.arguments, row.checksum),
            result=result,
            traceback=traceback,
            events=events,
            worker=self._worker(row),
            lost=row.lost,
            parent=self.name_of(row.parent_pk),
            root=self.name_of(row.root_pk),
            deadline=moment(row.deadline_us),
            waits_for=_texts(row.waits_for()),
            steps=steps,
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
            codes=self._codes(row),
        )

    def _codes(self, row: RunRow) -> Sequence[CodeView]:
        """Return which code went through a run, the one it began with first."""
        began = [] if row.code is None else [(1, row.code, row.started_us or row.created_us)]
        spans = self._reader.code_spans(row.pk)
        found = spans if spans and spans[0][0] == 1 else [*began, *spans]
        return [CodeView(code=code, event=seq, at=time_of(at_us)) for seq, code, at_us in found]

    def _audit(self, pk: int) -> Sequence[AuditView]:
        return [
            AuditView(
                verb=one.verb, who=one.who, why=one.why, details=one.details,
                at=moment(one.at_us),
            )
            for one in self._reader.audit(pk)
        ]  # fmt: skip

    def _recorded(
        self, row: RunRow, failed: _Attempts, talk: Talk, codes: Sequence[CodeView]
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
                step = told.step_of(event, attempts)
                steps.append(attrs.evolve(step, code=_code_at(codes, event.seq)))
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
        pending = [pending_step(row, failed.pop(row.step, [])) for row in rows]
        return pending + [abandoned_step(step, attempts) for step, attempts in failed.items()]

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
        return self._why_alone(row, status) + _unreceived(row.waits_for())

    def _why_alone(self, row: RunRow, status: str) -> str:
        waits = row.waits_for()
        match status:
            case "blocked" | "paused":
                return str(waits.get("message", "the reason does not decode"))
            case "running":
                return self._in_hand(row)
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

    def _in_hand(self, row: RunRow) -> str:
        """Return what runs, or waits for its place, as far as it has a row: that takes a second."""
        try:
            steps = self._reader.steps(row.pk)
        except FileCorrupt:
            steps = []
        now_us = self._clock.wall_us()
        running = sorted(
            (one for one in steps if one.state in RUNNING and one.started_us is not None),
            key=lambda one: one.started_us or 0,
        )
        told = [
            f"{one.name} (step {one.step}), attempt {one.attempt}, "
            f"{duration((now_us - (one.started_us or now_us)) / 1e6)}"
            + (f", heartbeat {one.details[:HEARTBEAT_SHOWN]}" if one.details else "")
            for one in running[:STEPS_TOLD]
        ]
        queued = sum(one.state == "queued" for one in steps)
        if told and queued:
            told.append(f"{queued} {'waits' if queued == 1 else 'wait'} for a place or a thread")
        more = max(0, len(running) - STEPS_TOLD)
        worker = f"worker {self._worker(row)} has it in hand"
        if not told:
            return worker
        return "; ".join(told) + (f" and {more} more" if more else "") + f"; {worker}"

    def _why_queued(self, row: RunRow) -> str:
        if self._waits_for_place(row):
            return self._why_no_place(row.waits_for())
        if row.worker_id is not None:
            return f"its worker ({row.worker_id}) died; the next one takes it over"
        known = self.known_by_workers()
        if not known:
            return "no worker lives; start one with `durable worker APP:ENGINE`"
        if not any(row.workflow in names for names in known):
            return f"no living worker knows the workflow {row.workflow}"
        return "a worker will take it"

    def _waits_for_place(self, row: RunRow) -> bool:
        """Say whether a run waits for places of a worker that lives."""
        is_alive = row.worker_id is not None and self._is_alive(row.worker_id)
        return is_alive and row.waits_for().get("kind") == "queued"

    def _why_no_place(self, waits: Mapping[str, Any]) -> str:
        since_us, steps = waits.get("since_us"), waits.get("steps")
        now_us = self._clock.wall_us()
        waited = f" {duration((now_us - since_us) / 1e6)}" if isinstance(since_us, int) else ""
        text = f"{waits.get('name')} (step {waits.get('step')}) has waited{waited} for its place"
        if isinstance(steps, int) and steps > 1:
            text += f", with {steps - 1} more of this run"
        return f"{text}: {waits.get('holder')}"

    def _place_holders(self, row: RunRow) -> str:
        """Return what has the places that a queued run waits for, to end a sentence with.

        It walks what the worker has in hand, so lists do without.
        """
        since_us, now_us = row.waits_for().get("since_us"), self._clock.wall_us()
        if row.worker_id is None or not isinstance(since_us, int) or not self._waits_for_place(row):
            return ""
        holders = ", ".join(
            f"{one.name} of {one.run} ({duration((now_us - one.started_us) / 1e6)})"
            for one in self._reader.place_holders(row.worker_id, PLACE_HOLDERS_SHOWN)
        )
        before = self._reader.count_queued_before(row, since_us)
        place = f"; {before:,} before it" if before else "; it comes next"
        if now_us - since_us < SHOWN_AFTER_US:
            place = ""  # Those before it may have no rows yet.
        return f"{f'; in use by {holders}' if holders else ''}{place}"

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


def _unreceived(waits: Mapping[str, Any]) -> str:
    """Return which signals came that nothing in the code asks for, to end a sentence with."""
    found = waits.get("unreceived")
    if not isinstance(found, dict) or not found:
        return ""
    told = ", ".join(f"{name!r} ({count})" for name, count in found.items())
    return f"; signals came that nothing in the code asks for: {told}"


def _texts(waits: dict[str, Any]) -> Sequence[str]:
    """Return what a run waits for from outside, as its worker wrote it down."""
    found = waits.get("for")
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _only_workflow(query: Filter) -> str | None:
    """Return the workflow, if that is all a filter asks for."""
    match query:
        case Term("workflow", "", (Value() as value,)) if not value.is_pattern:
            return value.text
        case _:
            return None


def _code_at(codes: Sequence[CodeView], seq: int) -> str:
    """Return the code that went through an event."""
    at = bisect.bisect_right(codes, seq, key=lambda one: one.event)
    return codes[max(0, at - 1)].code if codes else ""


def _labels(row: RunRow) -> tuple[Sequence[str], Mapping[str, str | int | float | bool]]:
    """Return a run's tags and attributes; what does not decode is left out."""
    try:
        found = decode_document(row.labels or "[]", type=list[tuple[str, Any]])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return [], {}
    tags = [value for name, value in found if name == "tag"]
    return tags, {name[5:]: value for name, value in found if name.startswith("attr.")}


class view:  # noqa: N801  reads as a verb: `with view(path) as runs`
    """Open a file for looking, without an event loop: ``with durable.view("app.db") as runs``.

    Args:
        path: The file; it must exist, and is not changed.

    Raises:
        StoreError: The file cannot be read; one line says why.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = real_path(path)
        self._locks = lock_file(self._path)
        self._has_locks = self._locks.exists() and self._open_locks()
        if self._has_locks:
            try:
                refuse_other_log(self._path, self._locks)
            except BaseException:
                self._locks.close()
                raise
        self._had_log = has_log(self._path)
        self._leaves_log = False
        try:
            self._reader = Reader(self._path)
        except BaseException:
            if self._has_locks:
                self._locks.close()
            raise

    def _open_locks(self) -> bool:
        try:
            self._locks.open()
        except OSError:
            return False
        return True

    def __enter__(self) -> Viewer:
        self._has_locks = self._has_locks or self._open_locks()
        # A file of somebody else's: whether workers live cannot be asked, so none is shown so.
        is_held = self._locks.is_held if self._has_locks else _is_not
        record = self._locks.find_record() if self._has_locks else None
        trouble = partial(find_trouble, self._locks) if self._has_locks else _nothing
        viewer = Viewer(self._reader, is_held, trouble=trouble)
        with contextlib.suppress(StoreError):  # Of a damaged file something is shown all the same.
            viewer.missing = find_missing(self._reader, record, is_held, had_log=self._had_log)
        # What is left of its log may help a person, and tells the next engine.
        self._leaves_log = bool(viewer.missing)
        return viewer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        self._reader.close(leaves_log=self._leaves_log)
        if self._has_locks:
            self._locks.close()
        return False


def _is_not(_worker: int) -> bool:
    return False


def _nothing() -> None:
    return None


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
