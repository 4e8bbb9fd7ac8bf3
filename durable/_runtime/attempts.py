"""An attempt: what the code of a step finds in its context, and what the worker knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable._runtime.inside import attempt_info
from durable._store.messages import make_token
from durable._store.rows import StepRow

if TYPE_CHECKING:
    import asyncio
    import logging

    from durable._core.context import AttemptInfo
    from durable._core.loop import Step
    from durable._runtime.runs import LiveRun
    from durable._runtime.timers import TimerHandle
    from durable.definitions import Activity

__all__ = ["Attempt"]


class Attempt:
    """One attempt at a step, from the moment it is asked for to its end.

    It is also what the attempt's own code finds in its context (`context.AttemptRunner`).
    """

    # Defaults stand on the class: an attempt is made for each step, and most never change them.
    number = 1
    counted_from = 1
    deadline_us: int | None = None
    retry_at_us: int | None = None
    last_error: str | None = None
    details: str | None = None
    details_stored_us = 0
    last_beat_us = 0
    is_in_hand = True
    """Running, or waiting for a place; not waiting for a retry."""
    unwanted = False
    later = False
    """Its code asked to be completed by its token; what it returns does not count."""
    is_later = False
    """Its code has returned, and somebody outside is to complete it."""
    has_ended = False
    """Its code has ended; what that means is settled in this turn of the loop."""
    over = False
    task: asyncio.Task[None] | None = None
    timers: list[TimerHandle] | None = None
    items: dict[tuple[str, int], int] | None = None
    """By stream and number of the attempt: how many items it has appended."""
    _info: AttemptInfo | None = None

    def __init__(self, run: LiveRun, step: Step, now_us: int) -> None:
        self.run = run
        self.step = step
        self.step_id = step.step_id
        self.activity: Activity[Any, Any] = step.spec
        self.policy = self.activity.policy
        self.scheduled_us = now_us
        self.started_us = 0

    def info(self) -> AttemptInfo:
        """Return what is known about the attempt."""
        if self._info is None:
            self._info = attempt_info(self)
        return self._info

    def keep(self, record: logging.LogRecord) -> None:
        """Keep a line that its code has logged; from any thread."""
        self.run.worker.keeper.keep(record, self.run.row, self.step_id, self.number)

    def is_cancelled(self) -> bool:
        """Say whether the attempt's end is of no interest any more; from any thread."""
        return self.unwanted

    def heartbeat(self, details: Any) -> None:
        """Give a sign of life; from any thread."""
        self.run.worker.activities.beat(self, details)

    def resource(self, name: str) -> Any:
        """Return what the engine's lifespan opened."""
        return self.run.worker.resource(name)

    def complete_later(self) -> str:
        """Let the step end by its token, whatever the code returns; return the token."""
        self.later = True
        row = self.run.row
        return make_token(row.id, row.salt, self.step_id)

    def next_item(self, stream: str) -> int:
        """Count an item that this attempt appends; one made again, elsewhere, begins at 0."""
        if self.items is None:
            self.items = {}
        number = self.items.get((stream, self.number), 0)
        self.items[stream, self.number] = number + 1
        return number

    def set_value(self, name: str, payload: bytes) -> None:
        """Publish a value of the run; from any thread."""
        self.run.worker.activities.publish(self, payload, name, is_item=False)

    def append(self, stream: str, payload: bytes) -> None:
        """Append to a stream of the run; from any thread."""
        self.run.worker.activities.publish(self, payload, stream, is_item=True)

    def remembered(self, state: str) -> StepRow:
        """Return what the file is to remember of the step."""
        return StepRow(
            self.step_id, self.step.name, state, self.number, self.counted_from, self.scheduled_us,
            self.retry_at_us, self.details, self.last_error, None,
        )  # fmt: skip
