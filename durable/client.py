"""Clients and run handles: the verbs, without executing anything.

`Client` and `Engine` share these verbs. Opening a file never starts work.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import attrs
import msgspec

from durable._clock import Clock, SystemClock
from durable._core.events import Kind
from durable._store import requests
from durable._store.rows import OPEN_STATES, RunRow
from durable._store.store import Store
from durable._store.writer import Change, Transaction
from durable.errors import (
    IdConflict,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunTerminated,
    UsageError,
)
from durable.inspection import RunDetails, RunSummary, Viewer

if TYPE_CHECKING:
    from durable._store.reader import Reader
    from durable.definitions import Workflow

__all__ = ["Client", "HistoryEvent", "Run"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

# How often a client looks for commits of other processes while it waits.
POLL_S_MIN, POLL_S_MAX = 0.002, 0.02
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@attrs.frozen(kw_only=True)
class HistoryEvent:
    """One recorded fact of a run, decoded.

    Attributes:
        seq: Its place, from 1.
        kind: ``completed``, ``failed``, ``fired``, ``cancel_requested`` or ``patched``.
        step: The step's or timer's id, or empty.
        name: The activity's or patch's name, or empty.
        arguments: As stored: plain JSON data.
        result: As stored: plain JSON data; of a failure its record.
        at: When, UTC.
        took: How long the attempt that ended it ran.
    """

    seq: int
    kind: str
    step: str
    name: str
    arguments: Any
    result: Any
    at: dt.datetime
    took: dt.timedelta


class Run(Generic[R_co]):
    """A handle on one run."""

    def __init__(
        self, client: Client, row: RunRow, decode: Callable[[bytes], Any] | None = None
    ) -> None:
        self._client = client
        self._pk = row.pk
        self._decode: Callable[[bytes], Any] = decode or msgspec.json.decode
        self.id: str = row.id
        """The run's id, shared by its ordinals."""
        self.ordinal: int = row.ordinal
        """Which of the id's runs this is, from 1."""
        self.workflow: str = row.workflow
        """The workflow's stored name."""

    @property
    def name(self) -> str:
        """The id as people write it: with the ordinal from the second on."""
        return self.id if self.ordinal == 1 else f"{self.id}#{self.ordinal}"

    async def result(self) -> R_co:
        """Wait until the run has ended, and return what it returned.

        Follows ``continue_as_new``. Cancelling the wait never cancels the run. A run that is
        blocked or paused is waited for: it may be repaired.

        Raises:
            RunFailed: It failed; the exception that ended it is the cause.
            RunCancelled: It was cancelled.
            RunTerminated: It was terminated.
        """
        row = await self._client._wait_closed(self._pk)
        return self._outcome(row)  # type: ignore[no-any-return]

    def _outcome(self, row: RunRow) -> Any:
        payload = self._client._reader.payload(row.result, row.result_checksum)
        match row.state:
            case "completed":
                return self._decode(payload)
            case "failed":
                from durable._core.failures import rebuild_exception, summary

                record = msgspec.json.decode(payload)
                raise RunFailed(row.name, summary(record)) from rebuild_exception(record)
            case "cancelled":
                raise RunCancelled(row.name, msgspec.json.decode(payload, type=str))
            case _:
                raise RunTerminated(row.name, msgspec.json.decode(payload, type=str))

    async def status(self) -> str:
        """Return the run's status as shown: see the table of statuses in the documentation."""
        return (await self.details()).status

    async def details(self) -> RunDetails:
        """Return everything about the run: header, why it waits, steps with their attempts.

        A step whose row is damaged is shown as ``damaged``, with the reason; all else as it is.
        """
        return self._client._viewer.details_of(self._client._get_row(self._pk))

    async def history(self) -> list[HistoryEvent]:
        """Return the recorded events, in order.

        Raises:
            PayloadError: One is damaged or missing; `details` shows the others.
        """
        row = self._client._get_row(self._pk)
        zero_us = row.clock_us or row.created_us
        return [
            HistoryEvent(
                seq=event.seq,
                kind=Kind(event.kind).name.lower(),
                step=event.step,
                name=event.name,
                arguments=msgspec.json.decode(event.arguments) if event.arguments else None,
                result=msgspec.json.decode(event.result) if event.result else None,
                at=_EPOCH + dt.timedelta(microseconds=zero_us + event.at_us),
                took=dt.timedelta(microseconds=event.took_us),
            )
            for event in self._client._reader.events(self._pk)
        ]

    async def cancel(self, reason: str = "") -> None:
        """Ask the run to stop: ``CancelledError`` in its main task, which it may catch.

        On return the request is in the file. It may be asked again.

        Raises:
            RunClosed: It has ended already.
        """
        now_us = self._client._clock.wall_us()
        await self._client._commit(requests.cancel(self._pk, _text(reason), now_us))

    async def terminate(self, reason: str = "") -> None:
        """End the run: none of its code runs any more.

        On return it is closed, or its live owner has been told to close it.

        Raises:
            RunClosed: It has ended already.
        """
        client = self._client
        now_us = client._clock.wall_us()
        closed = await client._commit(
            requests.terminate(self._pk, _text(reason), now_us, client._store.locks.is_held)
        )
        if closed:
            client._notify_closed(self._pk, "terminated")

    async def retry(self, *, anyway: bool = False) -> Run[R_co]:
        """Let the run go on: in place if it is open, as a new ordinal from the failure if closed.

        On return the request is in the file. An open run can be retried if it is blocked or paused,
        or if a step of it waits for its next attempt, which is then made now.

        Args:
            anyway: Also if steps completed after the one that failed.

        Returns:
            The run that goes on.

        Raises:
            WrongState: It completed; or it is running, queued, waiting or sleeping, and no step of
                it waits for a retry; or steps completed after the failure.
        """
        client = self._client
        now_us, is_alive = client._clock.wall_us(), client._store.locks.is_held
        operation = requests.retry(self._pk, now_us, is_alive, anyway=anyway)
        pk: int = await client._commit(operation)
        return Run(client, client._get_row(pk), self._decode)

    def __repr__(self) -> str:
        return f"<run {self.name} of {self.workflow}>"


def _text(reason: object) -> str:
    if not isinstance(reason, str) or len(reason) > 10_000:
        raise UsageError(f"a reason is text of at most 10,000 characters, not {reason!r:.80}")
    return reason


class Client:
    """Looks at a file, and asks of its runs; never executes anything.

    Args:
        path: The file; it must exist.

    Use it as an async context manager.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._clock: Clock = SystemClock()
        self._opened: Store | None = None

    async def __aenter__(self) -> Self:
        self._opened = Store(
            self._path,
            durability="full",
            deliver=_ignore,
            on_foreign_commit=_ignore,
            create=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        store, self._opened = self._opened, None
        if store is not None:
            store.close()

    @property
    def _store(self) -> Store:
        if self._opened is None:
            kind = type(self).__name__
            raise UsageError(f"the {kind} is not open; use `async with durable.{kind}(...)`")
        return self._opened

    @property
    def _reader(self) -> Reader:
        reader = self._store.reader
        reader.refuse_moved()
        return reader

    @property
    def _viewer(self) -> Viewer:
        return Viewer(self._reader, self._store.locks.is_held, self._clock)

    # -- verbs -----------------------------------------------------------------------------------

    async def get(self, run_id: str) -> Run[Any]:
        """Return a run.

        Args:
            run_id: An id, which means its newest ordinal, or ``id#n``, which means exactly one.

        Raises:
            RunNotFound: There is none.
        """
        return Run(self, self._viewer.get_row(run_id))

    async def list(
        self,
        *,
        status: str | None = None,
        workflow: str | None = None,
        limit: int = 100,
    ) -> Sequence[RunSummary]:
        """Return runs, newest first.

        Args:
            status: Only runs shown with this status.
            workflow: Only runs of this workflow.
            limit: At most so many, 1 to 1,000.
        """
        return self._viewer.list(status=status, workflow=workflow, limit=limit)

    async def count(
        self, *, status: str | None = None, workflow: str | None = None
    ) -> int | dict[str, int]:
        """Count runs: by shown status, or of one status."""
        counts = self._viewer.count(workflow=workflow)
        return counts if status is None else counts.get(status, 0)

    # -- inside ----------------------------------------------------------------------------------

    async def _commit(self, operation: Callable[[Transaction], Any]) -> Any:
        from anyio import to_thread

        return await to_thread.run_sync(self._store.writer.commit_now, Change(operation=operation))

    def _notify_closed(self, pk: int, state: str) -> None:
        """Tell waiters of this process, where there are any."""

    def _get_row(self, pk: int) -> RunRow:
        row = self._reader.find_run(pk)
        if row is None:
            raise RunNotFound("the run was deleted")
        return row

    async def _wait_closed(self, pk: int) -> RunRow:
        wait_s = POLL_S_MIN
        while True:
            row = self._get_row(pk)
            if row.state == "continued":
                following = self._reader.find_ordinal(row.id, row.ordinal + 1)
                if following is not None:
                    pk = following.pk
                    continue
            if row.state not in OPEN_STATES:
                return row
            await self._wait_change(pk, wait_s)
            wait_s = min(2 * wait_s, POLL_S_MAX)

    async def _wait_change(self, pk: int, wait_s: float) -> None:
        del pk
        await asyncio.sleep(wait_s)


def _ignore(*_: object) -> None:
    """Nobody waits for news."""


def conflict(
    row: RunRow, workflow: Workflow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> IdConflict | None:
    """Return the error if an existing run is of another workflow, or of other arguments."""
    if row.workflow not in {workflow.name, *workflow.aliases}:
        return IdConflict(
            f"run {row.name} exists and is of workflow {row.workflow}, not {workflow.name}; choose "
            "another id"
        )
    codec = workflow.codec
    mark = codec.fingerprint(args, kwargs, codec.encode(args, kwargs))
    if mark != row.fingerprint:
        return IdConflict(
            f"run {row.name} exists with other arguments; an id means one run: choose another, or "
            "pass the same arguments"
        )
    return None
