"""Clients and run handles: the verbs, without executing anything.

`Client` and `Engine` share these verbs. Opening a file never starts work.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

import attrs
import msgspec

from durable import definitions
from durable._clock import Clock, SystemClock, new_id, new_salt
from durable._core.events import Kind
from durable._store import messages, requests, starts
from durable._store.messages import Parcel
from durable._store.rows import OPEN_STATES, RunRow, new_run
from durable._store.store import Store
from durable._store.writer import Change, Transaction
from durable.definitions import OnClosed, Workflow
from durable.errors import (
    IdConflict,
    QueryFailed,
    RunCancelled,
    RunClosed,
    RunFailed,
    RunNotFound,
    RunTerminated,
    UpdateAbandoned,
    UpdateFailed,
    UpdateRefused,
    UsageError,
)
from durable.inspection import RunDetails, RunSummary, Viewer
from durable.payloads import INLINE_BYTES_MAX, check_size, checksum
from durable.policies import Limits

if TYPE_CHECKING:
    from durable._store.reader import Reader
    from durable._store.starts import Letter
    from durable.blocking import BlockingClient
    from durable.messages import Query, Signal, Stream, Update, Value

__all__ = ["Client", "HistoryEvent", "Item", "Run"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
A = TypeVar("A")
D = TypeVar("D")
P = ParamSpec("P")

# How often a client looks for commits of other processes while it waits.
POLL_S = 0.005
# Items of a stream read at once.
TAIL_PAGE = 500
# How long a query waits for the worker that has the run in hand.
QUERY_DEADLINE_S = 10.0
MESSAGE_ID_CHARACTERS_MAX = 200
_REQUIRED: Any = object()
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@attrs.frozen(kw_only=True)
class HistoryEvent:
    """One recorded fact of a run, decoded.

    Attributes:
        seq: Its place, from 1.
        kind: ``completed`` or ``failed`` (a step of an activity), ``fired`` (a timer),
            ``received`` (a signal), ``update_accepted``, ``child_completed``, ``child_failed``,
            ``acted`` or ``refused`` (a start, signal or cancel of another run), ``resolved`` or
            ``rejected`` (a promise), ``cancel_requested``, ``timed_out`` (its ``run_timeout``) or
            ``patched``.
        step: The step's or timer's id; a signal's or update's own id, if it has one; or empty.
        name: Of the activity, the child's workflow, the promise, the signal, the update or the
            patch, or empty.
        arguments: As stored: plain JSON data; an update's content.
        result: As stored: plain JSON data; of a failure its record, of a signal its content.
        at: When, UTC.
        took: How long the attempt that ended it ran, or the child.
    """

    seq: int
    kind: str
    step: str
    name: str
    arguments: Any
    result: Any
    at: dt.datetime
    took: dt.timedelta


@attrs.frozen(kw_only=True)
class Item(Generic[T]):
    """One item of a stream.

    Attributes:
        value: What was appended.
        position: Its place in the stream of its run, from 0.
        ordinal: Of its run; `Run.tail` goes on to the next one after ``continue_as_new``.
        step: The call that appended it: a workflow's own, or the activity's step.
        attempt: Of the activity, from 1; 0 for the workflow itself. An attempt that its process's
            death cut off is made again under the same number.
        index: Of the item among those of its attempt in this stream, from 0: an item takes the
            place of whatever its step appended from this index on.
        at: When, UTC.
    """

    value: T
    position: int
    ordinal: int
    step: str
    attempt: int
    index: int
    at: dt.datetime


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
        client = self._client
        return client._viewer.summary_of(client._get_row(self._pk)).status

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

    # -- messages --------------------------------------------------------------------------------

    async def signal(self, signal: Signal[T], value: T, *, id: str = "") -> None:
        """Send a signal to the run.

        On return the signal is in the file: the run receives it once, in sending order, even if its
        worker dies first. It follows ``continue_as_new``.

        Args:
            signal: The declared signal.
            value: What it carries.
            id: Of the message, at most 200 characters: a second one of this id is not delivered.

        Raises:
            RunClosed: The run takes no more signals; nothing was stored.
            PayloadError: The value cannot be stored, or does not fit the signal's type.
        """
        client = self._client
        parcel = await client._pack(signal._encode(value), f"signal {signal.name}")
        operation = messages.signal(
            self._pk, signal.name, parcel, _message_id(id), client._clock.wall_us()
        )
        await client._commit(operation)

    async def update(self, update: Update[T, R], value: T, *, id: str = "") -> R:
        """Send an update to the run, and wait for its answer.

        With an id the answer can be asked for again, later and elsewhere: the update is done once.
        Cancelling the wait takes nothing back.

        Args:
            update: The declared update.
            value: What it carries.
            id: Of the message, at most 200 characters; made up if left out.

        Raises:
            UpdateRefused: Its validator refused, or the run has no handler for it.
            UpdateFailed: Its handler raised; see ``__cause__``.
            UpdateAbandoned: The run ended first.
            RunClosed: The run had ended before.
        """
        client = self._client
        key = _message_id(id) or new_id(client._clock.wall_us())
        parcel = await client._pack(update._encode(value), f"update {update.name}")
        operation = messages.update(self._pk, update.name, parcel, key, client._clock.wall_us())
        pk: int = await client._commit(operation)
        return await self._answer_of(update, key, pk)

    async def update_result(self, update: Update[Any, R], id: str) -> R:
        """Wait for the answer of an update that was sent with an id.

        Raises:
            UsageError: No update of this id was ever sent.
            UpdateRefused: Its validator refused, or the run has no handler for it.
            UpdateFailed: Its handler raised; see ``__cause__``.
            UpdateAbandoned: The run ended first.
        """
        known = self._client._reader.find_update(self.id, _message_id(id))
        if not known:
            raise UsageError(f"no update {id!r} was ever sent to run {self.name}")
        return await self._answer_of(update, id, self._pk)

    async def _answer_of(self, update: Update[Any, R], key: str, pk: int) -> R:
        state, payload = await self._client._wait_answer(self.id, pk, key)
        match state:
            case "completed":
                answer: R = update._codec(1).decode(payload)
                return answer
            case "refused":
                raise UpdateRefused(msgspec.json.decode(payload, type=str))
            case "failed":
                from durable._core.failures import rebuild_exception, summary

                record = msgspec.json.decode(payload)
                what = f"update {update.name} of run {self.name} failed: {summary(record)}"
                raise UpdateFailed(what) from rebuild_exception(record)
            case _:
                raise UpdateAbandoned(
                    f"run {self.name} ended before update {key} ({update.name}) did"
                )

    async def query(self, query: Query[R], *args: Any, **kwargs: Any) -> R:
        """Ask the run a question; its owner answers, after the last committed event.

        Where no worker has the run in memory (it is closed, or nobody serves the file) it is
        answered by a replay in this process, which needs the workflow's code.

        Raises:
            QueryFailed: There is no such query, it raised, or nobody can answer.
        """
        from durable.payloads import codec_for

        whole = {"args": [*args], "kwargs": kwargs} if kwargs else [*args]
        encoded = codec_for(Any, f"arguments of query {query.name}").encode(whole)
        payload = await self._client._query(self._pk, query.name, encoded)
        answer: R = query._codec().decode(payload)
        return answer

    async def read(self, value: Value[T], default: D = _REQUIRED) -> T | D:
        """Return a published value's newest state, also after the run's end.

        Args:
            value: The declared value.
            default: What to return if it was never set.

        Raises:
            LookupError: It was never set, and there is no default.
        """
        payload = self._client._reader.find_value(self._newest().pk, value.name)
        if payload is not None:
            found: T = value._codec().decode(payload)
            return found
        if default is _REQUIRED:
            raise LookupError(f"run {self.name} has not set the value {value.name}")
        return default

    async def watch(self, value: Value[T]) -> AsyncIterator[T]:
        """Yield a value whenever it changes, the newest state first; ends with the run."""
        client, seen = self._client, None
        while True:
            version = client._version()
            row = self._newest()
            payload = client._reader.find_value(row.pk, value.name)
            if payload is not None and payload != seen:
                seen = payload
                yield value._codec().decode(payload)
                continue
            if not row.is_open:
                return
            await client._wait_change(row.pk, version)

    async def tail(self, stream: Stream[T], *, from_: int = 0) -> AsyncIterator[Item[T]]:
        """Yield a stream's items as they are written; ends with the run.

        Follows ``continue_as_new``. What a repeated attempt of an activity appends comes again: an
        item takes the place of what its step appended from its index on.

        Args:
            stream: The declared stream.
            from_: The position to begin at; the first item has 0.
        """
        client, position = self._client, from_
        pk = self._pk
        while True:
            version = client._version()
            row = client._get_row(pk)
            page = client._reader.items(pk, stream.name, position, TAIL_PAGE)
            for one in page:
                position = one.position + 1
                payload = client._reader.payload(one.payload, one.checksum)
                yield Item(
                    value=stream._codec().decode(payload),
                    position=one.position,
                    ordinal=row.ordinal,
                    step=one.step,
                    attempt=one.attempt,
                    index=one.number,
                    at=_EPOCH + dt.timedelta(microseconds=one.at_us),
                )
            if page:
                continue
            if row.state == "continued":
                following = client._reader.find_ordinal(row.id, row.ordinal + 1)
                if following is not None:
                    pk, position = following.pk, 0
                    continue
            if not row.is_open:
                return
            await client._wait_change(pk, version)

    async def children(self) -> list[Run[Any]]:
        """Return the runs that this one started, oldest first."""
        client = self._client
        return [Run(client, client._get_row(one[0])) for one in client._reader.children(self._pk)]

    async def parent(self) -> Run[Any] | None:
        """Return the run that started this one, or None."""
        pk = self._client._get_row(self._pk).parent_pk
        return None if pk is None else Run(self._client, self._client._get_row(pk))

    def _newest(self) -> RunRow:
        """Return the run's row, or of what it continued as."""
        row = self._client._get_row(self._pk)
        while row.state == "continued":
            following = self._client._reader.find_ordinal(row.id, row.ordinal + 1)
            if following is None:
                break
            row = following
        return row

    def __repr__(self) -> str:
        return f"<run {self.name} of {self.workflow}>"


def _message_id(given: object) -> str:
    if (
        not isinstance(given, str)
        or len(given) > MESSAGE_ID_CHARACTERS_MAX
        or not (given.isprintable() or not given)
    ):
        raise UsageError(
            f"the id of a message is at most {MESSAGE_ID_CHARACTERS_MAX} printable characters, not "
            f"{given!r:.80}"
        )
    return given


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
        self._payload_bytes_max = Limits().payload_bytes_max
        self._starting: dict[str, asyncio.Lock] = {}

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

    async def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """Start a run; on return it is in the file, and survives the process.

        With an id (``workflow.options(id=...)``) the same workflow and arguments mean the same run,
        open or closed: it is returned. ``.options(on_closed=...)`` chooses otherwise for closed
        ones. A client executes nothing: a worker that knows the workflow takes the run.

        Args:
            workflow: The workflow, with its options.
            *args: Passed to it, and stored.
            **kwargs: Passed to it, and stored.

        Raises:
            IdConflict: The id belongs to another workflow or to other arguments; or its run is
                closed and ``on_closed`` is ``"error"``.
            TypeError: The arguments do not fit its signature.
            PayloadError: An argument cannot be stored.
        """
        return await self._start(workflow, args, kwargs, "return", None)

    async def signal_with_start(
        self,
        signal: Signal[T],
        value: T,
        workflow: Workflow[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Run[R]:
        """Start a run and send it a signal, in one transaction; an open run of its id gets it too.

        The run's code finds the signal before its first step.

        Raises:
            RunClosed: The id's newest run is closed, and ``on_closed`` is not ``"restart"``.
            IdConflict: The id belongs to another workflow or to other arguments.
        """
        parcel = await self._pack(signal._encode(value), f"signal {signal.name}")
        now_us = self._clock.wall_us()

        def letter(transaction: Transaction, pk: int) -> None:
            messages.signal(pk, signal.name, parcel, "", now_us)(transaction)

        return await self._start(workflow, args, kwargs, "return", letter)

    async def update_with_start(
        self,
        update: Update[T, A],
        value: T,
        workflow: Workflow[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> A:
        """Start a run and send it an update, in one transaction; return the update's answer.

        An open run of its id gets the update too.

        Raises:
            RunClosed: The id's newest run is closed, and ``on_closed`` is not ``"restart"``.
            IdConflict: The id belongs to another workflow or to other arguments.
            UpdateRefused: Its validator refused, or the run has no handler for it.
            UpdateFailed: Its handler raised; see ``__cause__``.
            UpdateAbandoned: The run ended first.
        """
        parcel = await self._pack(update._encode(value), f"update {update.name}")
        now_us = self._clock.wall_us()
        key = new_id(now_us)

        def letter(transaction: Transaction, pk: int) -> None:
            messages.update(pk, update.name, parcel, key, now_us)(transaction)

        run = await self._start(workflow, args, kwargs, "return", letter)
        return await run._answer_of(update, key, run._pk)

    async def resolve(self, token: str, value: object) -> Run[Any]:
        """Keep a promise, or complete an activity that asked for it, by its token.

        On return the answer is in the file. One that does not fit the promise's type is kept as a
        dead letter, and the run goes on waiting.

        Returns:
            The run that waited for it.

        Raises:
            TokenUnknown: It is no token, or no open run waits for it any more.
            PayloadError: The value cannot be stored.
        """
        from durable.payloads import codec_for

        parcel = await self._pack(codec_for(Any, "answer").encode(value), "answer")
        return await self._answer_token(token, parcel, rejects=False)

    async def reject(self, token: str, message: str) -> Run[Any]:
        """Reject a promise, or fail an activity that asked for an answer, by its token.

        Where it is awaited, `PromiseRejected` is raised with the message.

        Returns:
            The run that waited for it.

        Raises:
            TokenUnknown: It is no token, or no open run waits for it any more.
        """
        parcel = await self._pack(msgspec.json.encode(_text(message)), "message")
        return await self._answer_token(token, parcel, rejects=True)

    async def _answer_token(self, token: str, parcel: Parcel, *, rejects: bool) -> Run[Any]:
        now_us = self._clock.wall_us()
        operation = messages.answer_token(token, parcel, now_us, rejects=rejects)
        pk: int = await self._commit(operation)
        return Run(self, self._get_row(pk))

    def blocking(self) -> BlockingClient:
        """Return the same verbs for plain functions: ``with client.blocking() as c: c.get(...)``.

        It opens the file itself, on a thread of its own, and may be used from any thread.
        """
        from durable.blocking import BlockingClient

        return BlockingClient(self)

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

    async def _start(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        on_closed: OnClosed,
        letter: Letter | None,
    ) -> Run[Any]:
        if not isinstance(workflow, Workflow):
            raise UsageError(f"{workflow!r} is no workflow; decorate the function with @workflow")
        on_closed = workflow.start_options.on_closed or on_closed
        encoded = workflow.codec.encode(args, kwargs)
        check_size(encoded, self._payload_bytes_max, f"arguments of {workflow.name}")
        workflow.codec.decode(encoded)  # What does not fit the annotations is refused here.
        self._know(workflow)
        run_id = workflow.start_options.id
        if run_id is None:
            pk, _ = await self._insert(workflow, args, kwargs, encoded, letter)
            return Run(self, self._get_row(pk), workflow.codec.result.decode)
        lock = self._starting.setdefault(run_id, asyncio.Lock())
        try:
            async with lock:
                existing = self._reader.find_newest(run_id)
                if existing is None or letter is not None:
                    if existing is not None:
                        self._refuse_conflict(existing, workflow, args, kwargs)
                    pk, is_new = await self._insert(workflow, args, kwargs, encoded, letter)
                    existing = self._get_row(pk)
                    if is_new:
                        return Run(self, existing, workflow.codec.result.decode)
                return await self._existing(existing, workflow, args, kwargs, on_closed, letter)
        finally:
            if not lock.locked():
                self._starting.pop(run_id, None)

    def _know(self, workflow: Workflow[Any, Any]) -> None:
        """Remember a workflow that was started here, where that matters."""

    async def _insert(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        encoded: bytes,
        letter: Letter | None,
    ) -> tuple[int, bool]:
        """Store a new run, for any worker to take; return its key, and whether it is new."""
        parcel = await self._pack(encoded, f"arguments of {workflow.name}")
        rows: list[tuple[str, tuple[object, ...]]] = []
        if parcel.text is None:
            rows.append(("insert_blob", (parcel.blob, 1, parcel.size, parcel.data)))
        arguments = parcel.blob if parcel.text is None else parcel.text
        values = new_start(
            workflow, args, kwargs, encoded, arguments, self._clock.wall_us(), new_salt()
        )
        found: tuple[int, bool] = await self._commit(starts.start(values, rows, letter))
        return found

    async def _existing(
        self,
        row: RunRow,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        on_closed: OnClosed,
        letter: Letter | None,
    ) -> Run[Any]:
        self._refuse_conflict(row, workflow, args, kwargs)
        run: Run[Any] = Run(self, row, workflow.codec.result.decode)
        if row.is_open:
            return run
        if letter is not None and on_closed != "restart":
            raise RunClosed(
                f"run {row.name} is {row.state}; it takes no more messages. Choose another id, or "
                '.options(on_closed="restart")'
            )
        match on_closed:
            case "return":
                return run
            case "error":
                raise IdConflict(f"run {row.name} is {row.state} already, and on_closed is error")
            case "retry":
                return run if row.state == "completed" else await run.retry()
            case _:
                again = starts.restart(row, restarted(row, self._clock.wall_us(), new_salt()))

                def operation(transaction: Transaction) -> int:
                    pk = again(transaction)
                    if letter is not None:
                        letter(transaction, pk)
                    return pk

                pk: int = await self._commit(operation)
                return Run(self, self._get_row(pk), workflow.codec.result.decode)

    def _refuse_conflict(
        self,
        row: RunRow,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        # The ordinal whose arguments count is the first; later ones may go on with others.
        first = row if row.ordinal == 1 else self._reader.find_ordinal(row.id, 1) or row
        error = conflict(first, workflow, args, kwargs)
        if error is not None:
            raise error

    async def _pack(self, payload: bytes, what: str) -> Parcel:
        check_size(payload, self._payload_bytes_max, what)
        if len(payload) <= INLINE_BYTES_MAX:
            return messages.pack(payload, 0)
        from anyio import to_thread

        return await to_thread.run_sync(messages.pack, payload, new_salt())

    async def _wait_answer(self, run_id: str, pk: int, key: str) -> tuple[str, bytes]:
        while True:
            version = self._version()
            found = self._reader.find_answer(run_id, key)
            if found is not None:
                return found[0], found[2]
            row = self._reader.find_run(pk)
            if row is None or (not row.is_open and row.state != "continued"):
                # Its end is a commit that answers what is open: look once more, then it is lost.
                found = self._reader.find_answer(run_id, key)
                return ("abandoned", b"null") if found is None else (found[0], found[2])
            if row.state == "continued":
                following = self._reader.find_ordinal(row.id, row.ordinal + 1)
                pk = pk if following is None else following.pk
            await self._wait_change(pk, version)

    async def _query(self, pk: int, name: str, encoded: bytes) -> bytes:
        row = Run(self, self._get_row(pk))._newest()
        alive = row.worker_id is not None and self._store.locks.is_held(row.worker_id)
        if not alive and not await self._is_served(row):
            return self._query_by_replay(row, name, encoded)
        return await self._query_owner(row, name, encoded)

    async def _is_served(self, row: RunRow) -> bool:
        """Say whether a worker lives that would take the run to answer for it."""
        if row.state not in {"ready", "parked"}:
            return False
        return any(
            row.workflow in msgspec.json.decode(one.workflows)
            for one in self._reader.live_workers()
            if self._store.locks.is_held(one.id)
        )

    async def _query_owner(self, row: RunRow, name: str, encoded: bytes) -> bytes:
        now_us = self._clock.wall_us()
        key = new_id(now_us)
        parcel = await self._pack(encoded, f"query {name}")
        pk: int = await self._commit(messages.ask("query", row.pk, name, parcel, key, now_us))
        try:
            async with asyncio.timeout(QUERY_DEADLINE_S):
                state, payload = await self._wait_answer(row.id, pk, key)
        except TimeoutError:
            raise QueryFailed(
                f"run {row.name} did not answer query {name} within {QUERY_DEADLINE_S:g} s; its "
                "worker may be busy, or stopped"
            ) from None
        if state == "abandoned":
            return self._query_by_replay(self._get_row(pk), name, encoded)
        await self._commit(lambda transaction: transaction.all("delete_answer", run=pk, key=key))
        if state != "completed":
            raise QueryFailed(msgspec.json.decode(payload, type=str))
        return payload

    def _query_by_replay(self, row: RunRow, name: str, encoded: bytes) -> bytes:
        from durable._runtime.replay import query_by_replay

        found = self._resolve(row.workflow)
        if isinstance(found, str):
            raise QueryFailed(
                f"run {row.name} is in no worker's memory, and it cannot be replayed here: {found}"
            )
        return query_by_replay(self._reader, row, found, name, encoded)

    def _resolve(self, name: str) -> Workflow[Any, Any] | str:
        """Find the one workflow of a stored name, or say why there is none; nothing is guessed."""
        found = list(definitions.candidates().get(name, ()))
        if not found:
            return (
                f"no workflow {name!r} is known to this process; import the module that defines it"
            )
        if len(found) > 1:
            places = " and ".join(one.place for one in found)
            return f"two workflows are called {name!r}: {places}; rename one"
        return found[0]

    async def _wait_closed(self, pk: int) -> RunRow:
        while True:
            version = self._version()
            row = self._get_row(pk)
            if row.state == "continued":
                following = self._reader.find_ordinal(row.id, row.ordinal + 1)
                if following is not None:
                    pk = following.pk
                    continue
            if row.state not in OPEN_STATES:
                return row
            await self._wait_change(pk, version)

    def _version(self) -> int:
        """Return what to hand to `_wait_change`: taken before looking, nothing is missed."""
        return self._reader.data_version()

    async def _wait_change(self, pk: int, version: int) -> None:
        """Wait until there may be news of a run since ``version``."""
        del pk
        while self._reader.data_version() == version:  # noqa: ASYNC110  another process commits
            await asyncio.sleep(POLL_S)


def _ignore(*_: object) -> None:
    """Nobody waits for news."""


def new_start(
    workflow: Workflow[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    encoded: bytes,
    arguments: str | int,
    now_us: int,
    salt: int,
) -> tuple[Any, ...]:
    """Return the row of a run that some worker is to take."""
    options = workflow.start_options
    begins_us = now_us + options.start_delay_us
    delayed = options.start_delay_us > 0
    limit_us = options.run_timeout_us
    return new_run(
        id=new_id(now_us) if options.id is None else options.id,
        ordinal=1,
        workflow=workflow.name,
        state="parked" if delayed else "ready",
        wake_at_us=begins_us if delayed else None,
        queue=options.queue,
        priority=options.priority,
        headers=msgspec.json.encode(options.headers).decode() if options.headers else None,
        salt=salt,
        arguments=arguments,
        fingerprint=workflow.codec.fingerprint(args, kwargs, encoded),
        checksum=checksum(encoded),
        cause="started",
        code=workflow.fingerprint,
        now_us=now_us,
        deadline_us=None if limit_us is None else begins_us + limit_us,
    )


def restarted(row: RunRow, now_us: int, salt: int) -> tuple[Any, ...]:
    """Return the row of a closed run's next ordinal, from the start."""
    limit_us = None
    if row.deadline_us is not None:
        limit_us = now_us + row.deadline_us - (row.started_us or row.created_us)
    return new_run(
        id=row.id,
        ordinal=row.ordinal + 1,
        workflow=row.workflow,
        queue=row.queue,
        priority=row.priority,
        headers=row.headers,
        salt=salt,
        arguments=row.arguments,
        fingerprint=row.fingerprint,
        checksum=row.checksum,
        cause="restarted",
        code=None,
        now_us=now_us,
        root_pk=row.root_pk,
        parent_pk=row.parent_pk,
        deadline_us=limit_us,
    )


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
