"""Handles on runs: what a run says, and what is said to it."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

import attrs

from durable._clock import moment, new_id
from durable._core.events import Kind
from durable._store import messages
from durable._store.rows import RunRow
from durable.client._repair import Repairs
from durable.errors import (
    RunCancelled,
    RunFailed,
    RunTerminated,
    UpdateAbandoned,
    UpdateFailed,
    UpdateRefused,
    UsageError,
)
from durable.inspection import EventLog, EventView, RunDetails, RunSummary
from durable.messages import Query, Signal, Stream, Update, Value, message_id, require
from durable.payloads import codec_for, decode_document
from durable.run_name import run_name

if TYPE_CHECKING:
    from durable.client._client import Client

__all__ = ["HistoryEvent", "Item", "Run"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
A = TypeVar("A")
D = TypeVar("D")
P = ParamSpec("P")

logger = logging.getLogger("durable.client")

# Items of a stream read at once.
TAIL_PAGE = 500
# Events of a history told at once.
EVENTS_PAGE = 500
_REQUIRED: Any = object()
# What a handle without types returns, and what the history shows.
_plain = codec_for(Any, "what is stored")


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


class Run(Repairs, Generic[R_co]):
    """A handle on one run."""

    def __init__(
        self, client: Client, row: RunRow, decode: Callable[[bytes], Any] | None = None
    ) -> None:
        self._client = client
        self._pk = row.pk
        self._decode: Callable[[bytes], Any] = decode or _plain.decode
        self.id: str = row.id
        """The run's id, shared by its ordinals."""
        self.ordinal: int = row.ordinal
        """Which of the id's runs this is, from 1."""
        self.workflow: str = row.workflow
        """The workflow's stored name."""

    @property
    def name(self) -> str:
        """The id as people write it: with the ordinal from the second on."""
        return run_name(self.id, self.ordinal)

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
        unpack = self._client._reader.unpack(row.result, row.result_checksum)
        if isinstance(row.result, str):
            return self._outcome(row, unpack)  # type: ignore[no-any-return]
        return await self._client._elsewhere(partial(self._outcome, row, unpack))

    async def wait(self) -> RunSummary:
        """Wait until the run has ended, however it did, and return its last ordinal's summary.

        Does what `result` does, and raises nothing for a run that failed or was stopped.

        Raises:
            RunNotFound: It was deleted meanwhile.
        """
        client = self._client
        return client._viewer.summary_of(await client._wait_closed(self._pk))

    def _outcome(self, row: RunRow, unpack: Callable[[], bytes]) -> Any:
        payload = unpack()
        match row.state:
            case "completed":
                return self._decode(payload)
            case "failed":
                from durable._core.failures import rebuild_exception, summary

                record = decode_document(payload)
                raise RunFailed(row.name, summary(record)) from rebuild_exception(record)
            case "cancelled":
                raise RunCancelled(row.name, decode_document(payload, type=str))
            case _:
                raise RunTerminated(row.name, decode_document(payload, type=str))

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
                arguments=_plain.decode(event.arguments) if event.arguments else None,
                result=_plain.decode(event.result) if event.result else None,
                at=moment(zero_us + event.at_us),
                took=dt.timedelta(microseconds=event.took_us),
            )
            for event in self._client._reader.events(self._pk)
        ]

    # -- messages --------------------------------------------------------------------------------

    async def signal(self, signal: Signal[T], value: T, *, id: str = "") -> None:
        """Send a signal to the run.

        On return the signal is in the file: the run receives it once, in sending order, even if its
        worker dies first. It follows ``continue_as_new``. A name that the code of a waiting run is
        not known to ask for is told in a warning (logger ``durable.client``): it may be misspelt.

        Args:
            signal: The declared signal.
            value: What it carries.
            id: Of the message, at most 200 characters: a second one of this id is not delivered.

        Raises:
            RunClosed: The run takes no more signals; nothing was stored.
            PayloadError: The value cannot be stored, or does not fit the signal's type.
        """
        client = self._client
        require(signal, Signal)
        payload = await client._pack(signal._encode(value), f"signal {signal.name}")
        row = client._row_now(client._get_row(self._pk))  # A run that is woken waits for nothing.
        operation = messages.signal(
            self._pk,
            signal.name,
            payload,
            message_id(id or signal.message_id),
            client._clock.wall_us(),
        )
        await client._commit(operation)
        _warn_of_unknown(row, signal.name)

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
        require(update, Update)
        client = self._client
        key = message_id(id or update.message_id) or new_id(client._clock.wall_us())
        payload = await client._pack(update._encode(value), f"update {update.name}")
        operation = messages.update(self._pk, update.name, payload, key, client._clock.wall_us())
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
        known = self._client._reader.find_update(self._client._get_row(self._pk), message_id(id))
        if not known:
            raise UsageError(f"no update {id!r} was ever sent to run {self.name}")
        return await self._answer_of(update, id, self._pk)

    async def _answer_of(self, update: Update[Any, R], key: str, pk: int) -> R:
        state, payload = await self._client._wait_answer(pk, key)
        match state:
            case "completed":
                answer: R = update._codec(1).decode(payload)
                return answer
            case "refused":
                raise UpdateRefused(decode_document(payload, type=str))
            case "failed":
                from durable._core.failures import rebuild_exception, summary

                record = decode_document(payload)
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
        require(query, Query)
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

        Raises:
            UsageError: ``from_`` is no position.
        """
        if not isinstance(from_, int) or from_ < 0:
            raise UsageError(f"from_ is a position, 0 or more, not {from_!r:.80}")
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
                    at=moment(one.at_us),
                )
            if page:
                continue
            if (following := client._reader.find_continuation(row)) is not None:
                pk, position = following.pk, 0
                continue
            if not row.is_open:
                return
            await client._wait_change(pk, version)

    async def events(self, *, after: int = 0) -> AsyncIterator[EventView]:
        """Yield the recorded events as they are committed; ends with the run.

        Follows ``continue_as_new``. A damaged event is shown as such, and the others as they are.
        Events that a retry in place dropped are followed by those recorded instead.

        Args:
            after: The number of the last event that is left out; the first event has 1.

        Raises:
            UsageError: ``after`` is no such number.
        """
        if not isinstance(after, int) or after < 0:
            raise UsageError(f"after is the number of an event, or 0, not {after!r:.80}")
        client, row = self._client, self._client._get_row(self._pk)
        log = EventLog(client._reader, row.pk, after)
        while True:
            version = client._reader.data_version()
            row = client._get_row(row.pk)
            page = log.news(row, EVENTS_PAGE)
            for one in page:
                yield one
            if page:
                continue
            if (following := client._reader.find_continuation(row)) is not None:
                row, log = following, EventLog(client._reader, following.pk)
                continue
            if not row.is_open:
                return
            await client._wait_commit(version)

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
        while (following := self._client._reader.find_continuation(row)) is not None:
            row = following
        return row

    def __repr__(self) -> str:
        return f"<run {self.name} of {self.workflow}>"


def _warn_of_unknown(row: RunRow, name: str) -> None:
    """Warn of a signal that the code of a waiting run is not known to ask for."""
    known: Any = row.waits_for().get("signals")
    if not isinstance(known, list) or name in known:
        return
    names = ", ".join(str(one) for one in cast("list[object]", known))
    logger.warning(
        "signal %r is sent to run %s, and kept, but nothing in its code is known to ask for it; it "
        "knows: %s",
        name,
        row.name,
        names,
    )
