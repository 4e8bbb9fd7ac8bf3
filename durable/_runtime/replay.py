"""Replays that only look: a run's code, brought to where its history ends, without an engine.

Nothing is performed and nothing is written. A run's code may log and compute, as in any replay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, assert_never

import attrs

from durable._core import context
from durable._core.driver import Cancelled, Completed, Continued, Driver, Failed, Outcome
from durable._runtime import logs
from durable._runtime.inside import InWorkflow
from durable._runtime.remembered import check_remembered
from durable.errors import Blocked, PayloadError, QueryFailed, StoreError
from durable.payloads import decode_document
from durable.policies import Limits

if TYPE_CHECKING:
    from durable._store.filtering import Selection
    from durable._store.reader import Reader
    from durable._store.rows import RunRow
    from durable.definitions import Workflow

__all__ = [
    "Misfit",
    "check_run",
    "check_runs",
    "driven",
    "go",
    "query_by_replay",
    "stack_by_replay",
]

RUNS_PER_PAGE = 200


@attrs.frozen(kw_only=True)
class Misfit:
    """A run that today's code would block, or a closed one that it would end otherwise.

    Attributes:
        run: As people write it.
        workflow: The stored name.
        kind: As `Blocked.kind`; or ``end``.
        message: What does not fit, with both sides.
        difference: As `Blocked.difference`; empty if the code is missing or a payload damaged.
    """

    run: str
    workflow: str
    kind: str
    message: str
    difference: Mapping[str, Any]


@contextlib.contextmanager
def replayed(
    reader: Reader, row: RunRow, workflow: Workflow[Any, Any], until: int | None = None
) -> Generator[Driver]:
    """Bring a run's code to the end of its history, or to an event; it is dropped afterwards.

    Raises:
        Blocked: The code does not fit the history.
        PayloadError: The history is damaged, or does not decode.
    """
    with driven(reader, row, workflow) as driver:
        go(driver, reader, row, until)
        yield driver


@contextlib.contextmanager
def driven(reader: Reader, row: RunRow, workflow: Workflow[Any, Any]) -> Generator[Driver]:
    """Make a run's code, not begun; it is dropped afterwards. Its replay logs nothing anew."""
    headers = decode_document(row.headers, type=dict[str, str]) if row.headers else {}
    limits = Limits()
    runner = InWorkflow(
        row, workflow, row.clock_us or row.created_us, headers, limits.payload_bytes_max,
        reader=reader,
    )  # fmt: skip
    fresh = Context()
    fresh.run(context.workflow.set, runner)

    def make() -> Any:
        args, kwargs = workflow.codec.decode(reader.payload(row.arguments, row.checksum))
        return workflow.fn(*args, **kwargs)

    driver = Driver(make, fresh, row.salt, limits.drain_callbacks_max, limits.stalled_drains_max)
    runner.bind(driver)
    logs.install()
    try:
        yield driver
    finally:
        driver.evict()
        logs.uninstall()


def go(driver: Driver, reader: Reader, row: RunRow, until: int | None = None) -> None:
    """Replay a history, or what of it comes up to an event.

    Raises:
        Blocked: The code does not fit the history.
        PayloadError: The history is damaged, or does not decode.
    """
    driver.know_patches(reader.patches(row.pk))
    driver.accept(reader.accepted(row.pk))
    events = reader.events(row.pk)
    if until is not None:
        events = (event for event in events if event.seq <= until)
    driver.replay(events)
    if until is None and row.is_open:
        check_remembered(driver, reader.steps(row.pk), row.redo_seq)


def query_by_replay(
    reader: Reader, row: RunRow, workflow: Workflow[Any, Any], name: str, encoded: bytes
) -> bytes:
    """Answer a query from a run's history.

    Raises:
        QueryFailed: The code does not fit the history, there is no such query, or it raised.
    """
    try:
        with replayed(reader, row, workflow) as driver, driver.loop.reading():
            return driver.mailbox.query(name, encoded)
    except (Blocked, PayloadError) as error:
        raise QueryFailed(f"run {row.name} cannot be replayed here: {error}") from error


def stack_by_replay(reader: Reader, row: RunRow, workflow: Workflow[Any, Any]) -> str:
    """Return where a run's code waits, task by task.

    Raises:
        Blocked: The code does not fit the history.
        PayloadError: The history is damaged, or does not decode.
    """
    with replayed(reader, row, workflow) as driver:
        return driver.loop.stack()


def check_run(
    reader: Reader, row: RunRow, resolve: Callable[[str], Workflow[Any, Any] | str]
) -> Misfit | None:
    """Replay a run against today's code; None if it fits, and a closed one ends as it did."""
    found = resolve(row.workflow)
    kind, message, difference = "function", "", {}
    if isinstance(found, str):
        message = found
    else:
        try:
            with replayed(reader, row, found) as driver:
                kind, message = "end", _other_end(reader, row, found, driver)
            if not message:
                return None
        except Blocked as error:
            kind, message, difference = error.kind, str(error), dict(error.difference)
            if difference:
                difference["at_us"] += row.clock_us or row.created_us
        except (PayloadError, StoreError) as error:  # A damaged row is one run's.
            kind, message = "payload", str(error)
    return Misfit(
        run=row.name, workflow=row.workflow, kind=kind, message=message, difference=difference
    )


def _other_end(reader: Reader, row: RunRow, workflow: Workflow[Any, Any], driver: Driver) -> str:
    """Say how today's code would end a closed run otherwise than it did; empty if it would not."""
    if row.is_open or row.state == "terminated":
        return ""
    if driver.outcome is None:
        # Its code may not have come to an end in the time that was left.
        if row.state == "failed" and driver.timed_out_seq and row.origin == driver.timed_out_seq:
            return ""
        return f"the run is {row.state}, but the code now goes on where its history ends"
    state, payload = _end_of(driver.outcome, workflow)
    if state != row.state:
        return f"the run is {row.state}, but with the code now it would be {state}"
    is_hidden = "" in reader.accepted(row.pk)  # An export was told to hide what it returned.
    if payload and not is_hidden and payload != reader.payload(row.result, row.result_checksum):
        return "the code now returns something else than what is recorded"
    return ""


def _end_of(outcome: Outcome, workflow: Workflow[Any, Any]) -> tuple[str, bytes]:
    """Return the state an outcome ends a run in, and what a completed one returned."""
    match outcome:
        case Completed(value):
            try:
                return "completed", workflow.codec.result.encode(value)
            except PayloadError:
                return "failed", b""
        case Failed():
            return "failed", b""
        case Cancelled():
            return "cancelled", b""
        case Continued():
            return "continued", b""
        case _:
            assert_never(outcome)


def check_runs(
    reader: Reader, selection: Selection, resolve: Callable[[str], Workflow[Any, Any] | str]
) -> Iterator[Misfit | None]:
    """Replay the open runs of a filter against today's code: for each None, or what does not fit.

    One that goes on meanwhile is looked at once, as it was then.
    """
    before = 1 << 62
    while page := reader.select(selection, before=before, limit=RUNS_PER_PAGE):
        for row in page:
            if row.is_open:
                yield check_run(reader, row, resolve)
        before = page[-1].pk
