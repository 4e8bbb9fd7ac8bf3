"""How running code finds whoever runs it: one small protocol in a context variable.

Definitions and the functions of ``durable.inside`` know nothing of the runtime. They look here: the
SQLite runtime puts a runner into the context of each workflow; another engine may put its own.
Nothing there means a plain call, so that a workflow of activities can be tested without an engine.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import attrs

if TYPE_CHECKING:
    from logging import LogRecord

    from durable._clock import Random
    from durable._core.mailbox import Mailbox

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
        cancel_reason: What the newest request to cancel said, perhaps ``""``; None without one.
        deadline: When its ``run_timeout`` is over, UTC, or None.
        parent: The step of the parent that started it, or None: a run of its own.
        parent_run: The id of the run that started it, or None.
        root: The id of the run at the top of its family; its own if it has no parent.
        update: In the handler of an update, and in what it starts: the update's id; else None.
    """

    run_id: str
    ordinal: int
    workflow: str
    started: dt.datetime
    headers: Mapping[str, str]
    is_replaying: bool
    events: int
    cancel_reason: str | None = None
    deadline: dt.datetime | None = None
    parent: str | None = None
    parent_run: str | None = None
    root: str = ""
    update: str | None = None


class WorkflowRunner(Protocol):
    """What durable calls inside a workflow ask for."""

    @property
    def is_silent(self) -> bool:
        """Whether log records of this drain were made before."""
        ...

    def keep(self, record: LogRecord) -> None:
        """Keep a line that the code has logged."""
        ...

    def step(self, activity: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Ask for a step."""
        ...

    @property
    def mailbox(self) -> Mailbox:
        """The run's messages and handlers."""
        ...

    def child(self, workflow: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Start a child run and wait for its end."""
        ...

    async def start_child(
        self, workflow: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, int, Awaitable[Any]]:
        """Start a child run; return its id, its ordinal and what ends with it."""
        ...

    def act(self, verb: str, target: str, name: str, payload: bytes, key: str) -> Awaitable[None]:
        """Signal or cancel another run."""
        ...

    def promise(self, name: str, decode: Callable[[bytes], Any]) -> tuple[str, Awaitable[Any]]:
        """Return a token, and what ends when somebody answers it."""
        ...

    def wait_until(self, predicate: Callable[[], object]) -> Awaitable[None]:
        """Wait until a predicate holds."""
        ...

    def set_value(self, name: str, payload: bytes) -> None:
        """Publish a value."""
        ...

    def append(self, stream: str, payload: bytes) -> None:
        """Append to a stream."""
        ...

    def begin_items(self) -> str:
        """Return the id of a call that does something for each of many items."""
        ...

    def enter_item(self, call: str, index: int) -> None:
        """Let what the running task asks for from here on count for one item."""
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
        deadline: When ``start_to_close``, ``schedule_to_close`` or what is left of the run's
            ``run_timeout`` ends it, UTC, or None.
        details: What the last heartbeat of an earlier attempt said, or None.
        headers: The run's headers.
        last_failure: The type and message of the last attempt that failed, in one line, or None.
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
    last_failure: str | None = None

    def is_stopping(self) -> bool:
        """Say whether the engine stops: an attempt that goes on beyond its grace is cut off."""
        runner = attempt.get()
        return runner is not None and runner.is_stopping()


class AttemptRunner(Protocol):
    """What calls inside an activity ask for."""

    def info(self) -> AttemptInfo:
        """Return what is known about the attempt."""
        ...

    def keep(self, record: LogRecord) -> None:
        """Keep a line that the code has logged."""
        ...

    def heartbeat(self, details: Any) -> None:
        """Give a sign of life; ``details`` reach the next attempt."""
        ...

    def set_value(self, name: str, payload: bytes) -> None:
        """Publish a value of the run."""
        ...

    def append(self, stream: str, payload: bytes) -> None:
        """Append to a stream of the run."""
        ...

    def complete_later(self) -> str:
        """Let the step end by its token; return it."""
        ...

    def is_cancelled(self) -> bool:
        """Say whether the attempt's end is of no interest any more."""
        ...

    def is_stopping(self) -> bool:
        """Say whether the engine stops."""
        ...

    def resource(self, name: str) -> Any:
        """Return what the engine's lifespan opened."""
        ...


workflow: ContextVar[WorkflowRunner | None] = ContextVar("durable_workflow", default=None)
attempt: ContextVar[AttemptRunner | None] = ContextVar("durable_attempt", default=None)
