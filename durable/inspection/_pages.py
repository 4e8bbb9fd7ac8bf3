"""Looks in pages, for one who looks again and again: nothing here reads a whole history."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Literal

from durable._core.events import Kind
from durable._store import pages
from durable.errors import DurableError, PayloadError, RunNotFound
from durable.inspection._events import Told, abandoned_step, damaged, pending_step
from durable.inspection._looks import EVENTS_LIMIT_MAX
from durable.inspection._talk import Talk
from durable.inspection._texts import (
    check_limit,
    cut,
    decoded_list,
    decoded_record,
    level_of,
    moment,
    summary_of_payload,
    time_of,
)
from durable.inspection._views import (
    AttemptTime,
    AttemptView,
    ItemView,
    LogView,
    QueueView,
    SourceView,
    StepLine,
    StepView,
    WorkerView,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable._clock import Clock
    from durable._store.reader import Reader
    from durable._store.rows import RunRow
    from durable.inspection._views import CodeView, HoldView, RunSummary

__all__ = ["ATTEMPTS_SHOWN_MAX", "Pages"]

# A label is there to tell like steps apart.
LABEL_CHARACTERS_MAX = 120
# Of a step that is tried for ever the newest attempts are shown, with their tracebacks.
ATTEMPTS_SHOWN_MAX = 100
# Of a run, when its attempts ran.
ATTEMPT_TIMES_MAX = 5_000
QUEUES_MAX = 1_000
_KINDS = frozenset(map(int, Kind))


class Pages:
    """What a `Viewer` shows of large runs and large files, page by page."""

    _reader: Reader
    _is_alive: Callable[[int], bool]
    _clock: Clock

    def get_row(self, run_id: str) -> RunRow:
        """Return the row of an id, or of ``id#n``."""
        raise NotImplementedError

    def summary_of(self, row: RunRow) -> RunSummary:
        """Return one line about a run."""
        raise NotImplementedError

    def holds(self) -> Sequence[HoldView]:
        """Return what is paused as a whole."""
        raise NotImplementedError

    def _codes(self, row: RunRow) -> Sequence[CodeView]:
        """Return which code went through a run."""
        raise NotImplementedError

    # -- the steps of a run ----------------------------------------------------------------------

    def steps(
        self, run_id: str, *, after: int = 0, limit: int = EVENTS_LIMIT_MAX
    ) -> Sequence[StepLine]:
        """Return a page of what happened in a run, a line each, in order.

        Args:
            run_id: An id, or ``id#n``.
            after: The number of the last event that is left out.
            limit: At most so many, 1 to 1,000.

        Raises:
            RunNotFound: There is none.
        """
        check_limit(limit, EVENTS_LIMIT_MAX)
        row = self.get_row(run_id)
        found: list[StepLine] = []
        told = self._told(row, after)
        zero_us = row.clock_us or row.created_us
        tries = pages.attempts_by_step(self._reader, row.pk)
        for event in pages.step_events(self._reader, row.pk, after, limit):
            if event.kind in _KINDS:
                view = told.step_of(event, ())
            else:
                reason = f"event {event.seq} is of kind {event.kind}, which nobody knows"
                view = damaged(reason, event.step, "", event.name, told.time_of(event))
            began_us, failed = None, 0
            if view.took_us is not None and view.kind != "update":
                began_us = zero_us + event.at_us - event.took_us
            if view.kind == "activity" and event.step in tries:
                failed, began_us = tries[event.step]
            found.append(
                StepLine(
                    seq=event.seq, step=view.step, kind=view.kind, name=view.name,
                    status=view.status,
                    tries=max(view.tries, failed + (view.status == "completed")),
                    started=moment(began_us), ended=view.ended, next_try=None, error=view.error,
                    label=_label(view.arguments),
                )
            )  # fmt: skip
        return found

    def pending(self, run_id: str) -> Sequence[StepLine]:
        """Return the steps of a run that are tried again, wait long or are served elsewhere.

        Raises:
            RunNotFound: There is none.
        """
        row = self.get_row(run_id)
        found: list[StepLine] = []
        for one in self._reader.steps(row.pk):
            view = pending_step(one, ())
            found.append(
                StepLine(
                    seq=None, step=view.step, kind=view.kind, name=view.name, status=view.status,
                    tries=view.tries, started=time_of(one.scheduled_us), ended=None,
                    next_try=view.next_try, error=view.error, label="",
                )
            )  # fmt: skip
        return found

    def attempt_times(self, run_id: str) -> Sequence[AttemptTime]:
        """Return when failed attempts of a run's steps ran, step by step, at most 5,000.

        Raises:
            RunNotFound: There is none.
        """
        row = self.get_row(run_id)
        return [
            AttemptTime(
                step=step, number=number, state=state, started=time_of(started_us),
                ended=time_of(ended_us),
            )
            for step, number, state, started_us, ended_us in pages.attempt_times(
                self._reader, row.pk, ATTEMPT_TIMES_MAX
            )
        ]  # fmt: skip

    def step(self, run_id: str, *, seq: int | None = None, step: str = "") -> StepView:
        """Return the whole of one step: its attempts too, of many the newest 100.

        Args:
            run_id: An id, or ``id#n``.
            seq: The number of its event.
            step: Instead, the id of one that is pending or was given up.

        Raises:
            RunNotFound: There is no such run, or it has no such step.
        """
        row = self.get_row(run_id)
        if seq is None:
            return self._pending_step(row, step)
        told = self._told(row, seq - 1)
        for event, damage in islice(self._reader.events_as_found(row.pk, seq - 1, 1), 1):
            if event.seq == seq:
                attempts = self._attempts_of(row.pk, event.step)
                if damage:
                    return told.damaged(event, damage, attempts)
                is_activity = event.kind in {int(Kind.COMPLETED), int(Kind.FAILED)}
                return told.step_of(event, attempts if is_activity else ())
        raise RunNotFound(f"run {row.name} has no event {seq}")

    def _pending_step(self, row: RunRow, step: str) -> StepView:
        attempts = self._attempts_of(row.pk, step)
        for one in self._reader.steps(row.pk):
            if one.step == step:
                return pending_step(one, attempts)
        if not attempts:
            raise RunNotFound(f"run {row.name} has no pending step {step!r:.60}")
        return abandoned_step(step, attempts)

    def _attempts_of(self, pk: int, step: str) -> Sequence[AttemptView]:
        rows = pages.attempts_of_step(self._reader, pk, step, ATTEMPTS_SHOWN_MAX)
        return [
            AttemptView(
                number=row.attempt,
                state=row.state,
                started=time_of(row.started_us),
                ended=time_of(row.ended_us),
                error=summary_of_payload(row.error.encode()),
                traceback=str(decoded_record(row.error).get("traceback", "")),
            )
            for row in rows
        ]

    def _told(self, row: RunRow, after: int) -> Told:
        talk = Talk(self._reader, row)
        zero_us = row.clock_us or row.created_us
        received = self._reader.received(row.pk, after)
        return Told(zero_us, talk.answers(), talk.buried(), received)

    def payload(
        self, run_id: str, of: Literal["arguments", "result"], seq: int | None = None
    ) -> bytes:
        """Return a payload whole, as stored: JSON text.

        Args:
            run_id: An id, or ``id#n``.
            of: Which one.
            seq: Of this event; left out, of the run itself.

        Raises:
            RunNotFound: There is no such run or event.
            PayloadError: It is damaged.
        """
        row = self.get_row(run_id)
        if seq is None:
            if of == "arguments":
                return self._reader.payload(row.arguments, row.checksum)
            return self._reader.payload(row.result, row.result_checksum)
        for event, damage in islice(self._reader.events_as_found(row.pk, seq - 1, 1), 1):
            if damage:
                raise PayloadError(damage)
            if event.seq == seq:
                return event.arguments if of == "arguments" else event.result
        raise RunNotFound(f"run {row.name} has no event {seq}")

    def items(
        self, run_id: str, stream: str, *, from_: int = 0, limit: int = 100
    ) -> Sequence[ItemView]:
        """Return a page of a stream, in order.

        Args:
            run_id: An id, or ``id#n``.
            stream: Its name.
            from_: The first position; below 0 so many from its end.
            limit: At most so many, 1 to 1,000.

        Raises:
            RunNotFound: There is no such run.
        """
        check_limit(limit, EVENTS_LIMIT_MAX)
        row = self.get_row(run_id)
        first = from_
        if from_ < 0:
            first = max(0, self._reader.next_position(row.pk, stream) + from_)
        found: list[ItemView] = []
        for one in self._reader.items(row.pk, stream, first, limit):
            try:
                value = cut(self._reader.payload(one.payload))
            except DurableError as error:
                value = f"<{error}>"
            found.append(ItemView(position=one.position, value=value, at=time_of(one.at_us)))
        return found

    def logs(
        self, run_id: str, *, after: int = -1, level: int | str = 0, limit: int = 1_000
    ) -> Sequence[LogView]:
        """Return what a run's code has logged, in order.

        Args:
            run_id: An id, or ``id#n``.
            after: The number of the last line that is left out; below 0: the end of it.
            level: The lowest level, as a number or a name.
            limit: At most so many, 1 to 1,000.

        Raises:
            RunNotFound: There is no such run.
        """
        check_limit(limit, EVENTS_LIMIT_MAX)
        row = self.get_row(run_id)
        return [
            LogView(
                n=one.id, at=time_of(one.at_us), level=logging.getLevelName(one.level),
                logger=one.logger, step=one.step, attempt=one.attempt, text=one.text,
            )
            for one in self._reader.logs(row.pk, after, level_of(level), limit)
        ]  # fmt: skip

    def sources(self, run_id: str) -> Sequence[SourceView]:
        """Return the source of the code that went through a run, the one it began with first.

        What is not kept in this file is left out: code that has no source, or of another host.

        Raises:
            RunNotFound: There is no such run.
        """
        found: list[SourceView] = []
        for one in self._codes(self.get_row(run_id)):
            row = self._reader.find_source(one.code)
            if row is not None:
                place = f"{row.file}:{row.line}"
                found.append(
                    SourceView(
                        code=one.code, event=one.event, place=place, line=row.line, text=row.text
                    )
                )
        return found

    # -- the file --------------------------------------------------------------------------------

    def soonest(self, *, limit: int = 100) -> Sequence[RunSummary]:
        """Return runs that go on by themselves at a known time, the soonest first.

        Args:
            limit: At most so many, 1 to 1,000.
        """
        check_limit(limit, EVENTS_LIMIT_MAX)
        rows = [self._reader.find_run(pk) for _, _, pk in self._reader.soonest(limit)]
        return [self.summary_of(row) for row in rows if row is not None]

    def workers(self) -> Sequence[WorkerView]:
        """Return the processes that serve the file, and those that died without a word."""
        runs = dict(pages.runs_of_workers(self._reader))
        return [
            WorkerView(
                id=one.id, pid=one.pid, host=one.host, started=time_of(one.started_us),
                is_alive=self._is_alive(one.id), workflows=decoded_list(one.workflows),
                runs=runs.get(one.id, 0),
            )
            for one in self._reader.live_workers()
        ]  # fmt: skip

    def queues(self) -> Sequence[QueueView]:
        """Return the task queues with runs that could go on now, and those that are paused."""
        held = {one.name for one in self.holds() if one.kind == "queue"}
        found = {
            name: (queued, taken) for name, queued, taken in pages.queues(self._reader, QUEUES_MAX)
        }
        for name in held:
            found.setdefault(name, (0, 0))
        return [
            QueueView(name=name, queued=queued, in_hand=taken, is_held=name in held)
            for name, (queued, taken) in sorted(found.items())
        ]

    def workflows(self) -> Sequence[str]:
        """Return the names of all workflows in the file, sorted."""
        return sorted(self._reader.workflows())


def _label(arguments: str) -> str:
    """Return the beginning of arguments without what all of them have."""
    text = arguments.strip()
    if text in {"[]", "null"}:
        return ""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return text[:LABEL_CHARACTERS_MAX]
