"""What is shown of a run: its summary, its details, its steps and their attempts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import attrs

CLOSED = ("completed", "failed", "cancelled", "terminated", "continued")
OPEN = ("blocked", "paused", "running", "retrying", "queued", "waiting", "sleeping")
STATUSES = (*OPEN, *CLOSED)
"""Every status a run can be shown with; open ones in the order in which the first match counts."""


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
        status: ``completed``, ``failed``, ``fired``, ``running``, ``retrying``, ``exhausted``,
            ``intent``, ``abandoned``, or ``damaged``: its row does not read; ``error`` says why.
        tries: Attempts made.
        ended: When, UTC, or None while it is pending.
        took_us: Microseconds of the attempt that ended it, or None.
        next_try: When it is tried again, UTC, or None.
        error: One line of the last failure, or empty.
        arguments: As stored: JSON text, at most 64 KiB of it; ``<the reason>`` if it is damaged.
        result: As stored: JSON text, at most 64 KiB of it; ``<the reason>`` if it is damaged.
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
