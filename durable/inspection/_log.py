"""Histories as people follow them: event by event, of one run or of many, also while they grow."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from durable._store.pages import last_seq
from durable.inspection._events import Told
from durable.inspection._views import EventView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable._core.events import Event
    from durable._store.filtering import Selection
    from durable._store.reader import Reader
    from durable._store.rows import RunRow
    from durable.inspection._views import StepView

__all__ = ["EventLog", "EventsOfMany"]

# Of runs that are followed together, the newest; so many are looked at whenever somebody commits.
FOLLOWED_MAX = 1_000
# An event has its time before it is in the file; nobody waits longer for a commit.
BEHIND_US = 1_000_000
# A run that ended, or is not meant any more, is forgotten after so long.
FORGOTTEN_AFTER_US = 60_000_000
EVENTS_PAGE = 500


class EventLog:
    """The events of one run, from a place on.

    Args:
        reader: An open reader of the file.
        pk: The run.
        after: The number of the last event that is left out.
    """

    def __init__(self, reader: Reader, pk: int, after: int = 0) -> None:
        self._reader = reader
        self._pk = pk
        self._after = after
        # A mark of each event told: a paused run that is retried drops its last ones, and records
        # others in their places.
        self._marks = array("q")
        self._received: dict[str, int] | None = None

    def news(self, row: RunRow, limit: int) -> list[EventView]:
        """Return what was recorded since the last call, in order.

        Args:
            row: The run as it is now.
            limit: At most so many; the next call has the others.
        """
        self._forget_dropped()
        last = self._after + len(self._marks)
        if self._received is None:
            self._received = self._reader.received(self._pk, last)
        told = Told(row.clock_us or row.created_us, {}, frozenset(), self._received)
        found: list[EventView] = []
        for event, damage in islice(self._reader.events_as_found(self._pk, last, limit), limit):
            self._marks.append(_mark(event))
            view = told.damaged(event, damage, ()) if damage else told.step_of(event, ())
            found.append(_view(row, event, view))
        self._received = told.received
        return found

    def _forget_dropped(self) -> None:
        while self._marks:
            before = self._after + len(self._marks) - 1
            event, _ = next(self._reader.events_as_found(self._pk, before, 1), (None, ""))
            if event is not None and _mark(event) == self._marks[-1]:
                return
            self._marks.pop()
            self._received = None


class EventsOfMany:
    """The events of all runs that a filter means, from a moment on.

    A run that comes to be meant later is followed from the time of the last look at it.

    Args:
        reader: An open reader of the file.
        since_us: The moment.
    """

    def __init__(self, reader: Reader, since_us: int) -> None:
        self._reader = reader
        self._since_us = since_us
        self._logs: dict[int, tuple[EventLog, int]] = {}

    def news(self, meant: Sequence[Selection], now_us: int) -> list[EventView]:
        """Return what was recorded since the last call, in the order of time.

        Args:
            meant: What the filter means now: the open runs, and those that ended lately.
            now_us: This moment.
        """
        found: list[EventView] = []
        rows = [row for one in meant for row in self._reader.select(one, limit=FOLLOWED_MAX)]
        for row in rows:
            known = self._logs.get(row.pk)
            log = self._begun(row) if known is None else known[0]
            self._logs[row.pk] = log, now_us
            while page := log.news(row, EVENTS_PAGE):
                found += page
        for pk, (_, seen_us) in list(self._logs.items()):
            if now_us - seen_us > FORGOTTEN_AFTER_US:
                del self._logs[pk]
        self._since_us = now_us - BEHIND_US
        return sorted(found, key=lambda one: (one.at, one.run, one.seq))

    def _begun(self, row: RunRow) -> EventLog:
        """Return the events of a run from the last look on; times never go back in a history."""
        zero_us = row.clock_us or row.created_us
        places = range(last_seq(self._reader, row.pk))
        before = bisect_left(places, self._since_us - zero_us, key=partial(self._at_us, row.pk))
        return EventLog(self._reader, row.pk, before)

    def _at_us(self, pk: int, before: int) -> int:
        for event, _ in islice(self._reader.events_as_found(pk, before, 1), 1):
            return event.at_us
        return 0


def _mark(event: Event) -> int:
    return hash((event.kind, event.step, event.at_us, event.took_us))


def _view(row: RunRow, event: Event, view: StepView) -> EventView:
    at = view.ended
    assert at is not None, "every event has its time"
    return EventView(
        seq=event.seq, run=row.name, at=at, kind=view.kind, step=view.step, name=view.name,
        status=view.status, took_us=view.took_us, error=view.error, arguments=view.arguments,
        result=view.result,
    )  # fmt: skip
