"""How running code finds whoever runs it: one small protocol in a context variable.

Definitions and the functions of ``durable.inside`` know nothing of the runtime. They look here: the
SQLite runtime puts a runner into the context of each workflow; another engine may put its own.
Nothing there means a plain call, so that a workflow of activities can be tested without an engine.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import attrs

if TYPE_CHECKING:
    from durable._clock import Random

__all__ = ["AttemptInfo", "AttemptRunner", "WorkflowInfo", "WorkflowRunner", "attempt", "workflow"]


@attrs.frozen(kw_only=True)
class WorkflowInfo:
    """What a workflow may know about its run.

    Attributes:
        run_id: The id, shared by all ordinals.
        ordinal: From 1; more after a restart, a retry or ``continue_as_new``.
        workflow: The stored name.
        started: When the run began, UTC; a retried run's clock goes on from its first start.
        headers: What the starter passed along.
        is_replaying: Whether recorded events are being delivered again. Do not branch on it.
        events: Recorded events so far.
    """

    run_id: str
    ordinal: int
    workflow: str
    started: dt.datetime
    headers: Mapping[str, str]
    is_replaying: bool
    events: int


class WorkflowRunner(Protocol):
    """What durable calls inside a workflow ask for."""

    def step(self, activity: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Ask for a step."""
        ...

    def now(self) -> dt.datetime:
        """Return the run's time."""
        ...

    def random(self) -> Random:
        """Return the task's random stream."""
        ...

    def uuid4(self) -> uuid.UUID:
        """Return a UUID out of the task's random stream."""
        ...

    def info(self) -> WorkflowInfo:
        """Return what is known about the run."""
        ...

    def patched(self, name: str) -> bool:
        """Decide, once per run, whether it goes through the new branch."""
        ...

    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        """End this ordinal and go on as the next."""
        ...


@attrs.frozen(kw_only=True)
class AttemptInfo:
    """What an activity may know about its attempt.

    Attributes:
        run_id: The run's id with its ordinal, as ``order-42`` or ``order-42#2``.
        step_id: The step's id in the run.
        activity: The activity's stored name.
        number: From 1.
        idempotency_key: The same for every attempt of this step in every process: hand it to
            outside services so that they recognise a repeated call.
        started: When this attempt began, UTC.
        deadline: When ``start_to_close`` or ``schedule_to_close`` ends it, UTC, or None.
        details: What the last heartbeat of an earlier attempt said, or None.
        headers: The run's headers.
    """

    run_id: str
    step_id: str
    activity: str
    number: int
    idempotency_key: str
    started: dt.datetime
    deadline: dt.datetime | None
    details: Any
    headers: Mapping[str, str]


class AttemptRunner(Protocol):
    """What calls inside an activity ask for."""

    def info(self) -> AttemptInfo:
        """Return what is known about the attempt."""
        ...

    def heartbeat(self, details: Any) -> None:
        """Give a sign of life; ``details`` reach the next attempt."""
        ...

    def is_cancelled(self) -> bool:
        """Say whether the attempt's end is of no interest any more."""
        ...

    def resource(self, name: str) -> Any:
        """Return what the engine's lifespan opened."""
        ...


workflow: ContextVar[WorkflowRunner | None] = ContextVar("durable_workflow", default=None)
attempt: ContextVar[AttemptRunner | None] = ContextVar("durable_attempt", default=None)
