"""A pending step and its attempts: data, and what the code of an attempt finds in its context.

A `PendingStep` lives as long as the code waits for the step: its number of attempts, its policy and
what its last heartbeat said. An `Attempt` lives as long as one try. Their states are those of
`durable._core.machines`; only `Activities` moves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable._core.machines import AttemptState, StepState
from durable._runtime.inside import attempt_info
from durable._store.messages import make_token
from durable._store.rows import StepRow
from durable.payloads import INLINE_BYTES_MAX

if TYPE_CHECKING:
    import asyncio
    import logging
    from collections.abc import Mapping

    from durable._core.context import AttemptInfo
    from durable._core.loop import Step
    from durable._runtime.isolation import Performance
    from durable._runtime.places import Line, Pool
    from durable._runtime.runs import LiveRun
    from durable._runtime.timers import TimerHandle
    from durable.definitions import Activity

__all__ = ["Attempt", "PendingStep"]


class PendingStep:
    """A step the code waits for, over all its attempts.

    Attributes:
        run: Whose it is.
        step: The future that the code awaits; another one once the code was built again.
        state: See `StepState`.
        attempt: The one that waits or runs, or None.
        number: Of that attempt, or of the next one; from 1.
        counted_from: Earlier attempts do not count against ``max_attempts``.
        scheduled_us: Since when all attempts together are timed.
        retry_at_us: When the next attempt begins, while RETRYING.
        deadline_us: When the attempts together are over.
        last_error: One line of the last real failure.
        last_record: The whole of it, if it was in this process.
        details: What the last heartbeat said, as JSON.
        token_since_us: When the attempt began whose code asked to be completed later, while
            AWAITING.
    """

    # Defaults stand on the class: one is made for each step, and most never change them.
    state = StepState.ASKED
    attempt: Attempt | None = None
    number = 1
    counted_from = 1
    retry_at_us: int | None = None
    deadline_us: int | None = None
    last_error: str | None = None
    last_record: Mapping[str, Any] | None = None
    details: str | None = None
    details_stored_us = 0
    token_since_us = 0
    timers: list[TimerHandle] | None = None

    def __init__(self, run: LiveRun, step: Step, now_us: int) -> None:
        self.run = run
        self.step = step
        self.step_id = step.step_id
        self.activity: Activity[Any, Any] = step.spec
        self.policy = self.activity.policy
        self.scheduled_us = now_us

    @property
    def has_begun(self) -> bool:
        """Whether the body of its attempt runs, or has just ended."""
        attempt = self.attempt
        return attempt is not None and attempt.state in _BEGUN

    @property
    def is_in_hand(self) -> bool:
        """Whether an attempt waits or runs: its run is not idle."""
        return self.state is StepState.ATTEMPTING

    @property
    def awaits_token(self) -> bool:
        """Whether somebody outside may complete it."""
        if self.state is StepState.AWAITING:
            return True
        return self.attempt is not None and self.attempt.asks_later

    def remembered(self, state: str) -> StepRow:
        """Return what the file is to remember of the step."""
        step, attempt = self.step, self.attempt
        arguments = step.arguments
        return StepRow(
            self.step_id, step.name, state, self.number, self.counted_from, self.scheduled_us,
            self._since_us(attempt) or None,
            self.retry_at_us,
            step.fingerprint,
            arguments.decode() if len(arguments) <= INLINE_BYTES_MAX else None,
            self.details, self.last_error,
        )  # fmt: skip

    def _since_us(self, attempt: Attempt | None) -> int:
        if attempt is None:
            return self.token_since_us
        return attempt.since_us if attempt.state is AttemptState.WAITING else attempt.started_us


class Attempt:
    """One try at a step; what its own code finds in its context (`context.AttemptRunner`).

    Attributes:
        state: See `AttemptState`.
        number: From 1; a try that a crash cut off is made again under its number.
        started_us: When its body began, or 0.
        since_us: Since when it waits, or has its place.
        shown: The state that a row in the file shows of it, or None.
        last_beat_us: When it last gave a sign of life, by the steady clock.
        task: What performs an async or isolated body, and ends it when it is cancelled.
        line: The line in which it waits for a place, or waited.
        asks_later: Its code asked to be completed by its token; what it returns does not count.
        has_intent: The file says that it was about to begin.
        pool: Whose thread or process comes with its place, or None.
        decoded: Its large result as the run gets it, or None: the loop's thread decodes it.
    """

    state = AttemptState.WAITING
    number = 1
    started_us = 0
    last_beat_us = 0
    task: asyncio.Task[None] | Performance | None = None
    timers: list[TimerHandle] | None = None
    line: Line | None = None
    shown: AttemptState | None = None
    asks_later = False
    has_intent = False
    pool: Pool | None = None
    decoded: tuple[Any] | None = None
    _items: dict[str, int] | None = None
    """By stream: how many items it has appended."""
    _info: AttemptInfo | None = None

    def __init__(self, pending: PendingStep, now_us: int) -> None:
        self.pending = pending
        self.run = pending.run
        self.since_us = now_us
        if pending.number != 1:
            self.number = pending.number

    @property
    def step_id(self) -> str:
        """The step's id."""
        return self.pending.step_id

    @property
    def activity(self) -> Activity[Any, Any]:
        """What it calls."""
        return self.pending.activity

    @property
    def needs_process(self) -> bool:
        """Whether its body runs in a process of the pool."""
        return self.pending.activity.policy.isolation is not None

    @property
    def needs_thread(self) -> bool:
        """Whether its body is a plain function's, and has a thread of this process."""
        activity = self.pending.activity
        return not (activity.is_async or activity.in_transaction or self.needs_process)

    def decode_if_large(self, payload: bytes, bytes_max: int) -> None:
        """Decode a large result on the thread that has made it, instead of the loop's.

        Raises:
            PayloadError: It does not fit the type of the result.
        """
        if INLINE_BYTES_MAX < len(payload) <= bytes_max and not self.asks_later:
            self.decoded = (self.pending.step.decode(payload),)

    @property
    def is_current(self) -> bool:
        """Whether what it says and returns still counts."""
        return self.state in _WANTED

    def info(self) -> AttemptInfo:
        """Return what is known about the attempt."""
        if self._info is None:
            self._info = attempt_info(self)
        return self._info

    def renew_info(self) -> None:
        """Let its code see a changed deadline."""
        self._info = None

    def keep(self, record: logging.LogRecord) -> None:
        """Keep a line that its code has logged; from any thread."""
        self.run.worker.keeper.keep(record, self.run.row, self.step_id, self.number)

    def is_cancelled(self) -> bool:
        """Say whether its code should end: nobody waits for it, or the grace time is over."""
        return not self.is_current or self.run.worker.activities.grace_is_over

    def is_stopping(self) -> bool:
        """Say whether the engine stops: what has not ended by the end of its grace is cut off."""
        return self.run.worker.activities.is_stopping

    def heartbeat(self, details: Any) -> None:
        """Give a sign of life; from any thread."""
        self.run.worker.activities.beat(self, details)

    def resource(self, name: str) -> Any:
        """Return what the engine's lifespan opened."""
        return self.run.worker.resource(name)

    def complete_later(self) -> str:
        """Let the step end by its token, whatever the code returns; return the token."""
        self.asks_later = True
        return self.token

    @property
    def token(self) -> str:
        """By which its step may be completed from outside."""
        row = self.run.row
        secret = self.run.worker.store.reader.secret()
        return make_token(secret, row.id, row.salt, self.step_id)

    def next_item(self, stream: str) -> int:
        """Count an item that it appends; one made again, elsewhere, begins at 0."""
        if self._items is None:
            self._items = {}
        number = self._items.get(stream, 0)
        self._items[stream] = number + 1
        return number

    def set_value(self, name: str, payload: bytes) -> None:
        """Publish a value of the run; from any thread."""
        self.run.worker.activities.publish(self, payload, name, is_item=False)

    def append(self, stream: str, payload: bytes) -> None:
        """Append to a stream of the run; from any thread."""
        self.run.worker.activities.publish(self, payload, stream, is_item=True)


_BEGUN = frozenset({AttemptState.BEGUN, AttemptState.RETURNED})
_WANTED = frozenset(
    {AttemptState.WAITING, AttemptState.PLACED, AttemptState.BEGUN, AttemptState.RETURNED}
)
