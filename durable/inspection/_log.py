"""A history as people follow it: event by event, also while it grows."""

from __future__ import annotations

from array import array
from itertools import islice
from typing import TYPE_CHECKING

from durable.inspection._events import Told
from durable.inspection._views import EventView

if TYPE_CHECKING:
    from durable._core.events import Event
    from durable._store.reader import Reader
    from durable._store.rows import RunRow
    from durable.inspection._views import StepView

__all__ = ["EventLog"]


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
