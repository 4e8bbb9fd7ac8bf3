"""The client: looks at a file, and asks of its runs; never executes anything.

`Client` and `Engine` share these verbs. Opening a file never starts work.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

import msgspec

from durable import definitions
from durable._clock import Clock, SystemClock, new_id, new_salt
from durable._runtime.first_run import first_run
from durable._store import messages, repairs, restarts, starts
from durable._store.reader import Reader
from durable._store.repairs import By
from durable._store.restarts import Plan
from durable._store.rows import OPEN_STATES, RunRow
from durable._store.store import Store
from durable._store.stored_payloads import EncodedPayload
from durable._store.trouble import find_trouble
from durable._store.writer import Change, Transaction
from durable.client._bulk import Bulk
from durable.client._keep import Keeping
from durable.client._open_file import OpenFile
from durable.client._repair import reason_text, user_name
from durable.client._run import Run
from durable.client._starts import conflict
from durable.definitions import OnClosed, Workflow
from durable.errors import (
    IdConflict,
    PromiseRejected,
    QueryFailed,
    RunClosed,
    RunNotFound,
    UsageError,
)
from durable.inspection import EventsOfMany, EventView, IssueView, RunSummary, Viewer
from durable.messages import Signal, Update, require
from durable.names import is_name
from durable.payloads import INLINE_BYTES_MAX, check_size, decode_document, encode_document
from durable.policies import Limits

if TYPE_CHECKING:
    from durable._store.starts import Letter
    from durable.client._blocking import BlockingClient

__all__ = ["Client"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
A = TypeVar("A")
D = TypeVar("D")
P = ParamSpec("P")

# How often a client looks for commits of other processes while it waits.
POLL_S = 0.005
# How often events of many runs are looked for, at most; and which runs, beside the open ones.
EVENTS_LOOK_S = 0.05
ENDED = "finished:<1m"
# How long a query waits for the worker that has the run in hand.
QUERY_DEADLINE_S = 10.0


class Client(Bulk, Keeping):
    """Looks at a file, and asks of its runs; never executes anything.

    Args:
        path: The file.
        create: Whether it is made, readable by its owner only, if it does not exist.
        allow_shared: Whether the file, or one beside it, may belong to another user, or be written
            to by its group or by everybody; else that is refused.

    Use it as an async context manager.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = False,
        allow_shared: bool = False,
    ) -> None:
        self._path = _path_of(path)
        self._creates = create
        self._allow_shared = allow_shared
        self._file = OpenFile(self._path, allow_shared=allow_shared)
        self._clock: Clock = SystemClock()
        self._payload_bytes_max = Limits().payload_bytes_max
        self._starting: dict[str, asyncio.Lock] = {}
        self._who = user_name()
        self._is_dry = False

    async def __aenter__(self) -> Self:
        self._file.open(create=self._creates)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._file.close()

    def acting_as(self, who: str) -> Self:
        """Return this client under another name: what it does is that person's, in the audit.

        Both have the same open file; this one closes it.

        Args:
            who: A name, as ``user@host``; 1 to 200 printable characters.

        Raises:
            UsageError: It is none.
        """
        if not is_name(who):
            raise UsageError(f"who acts has 1 to 200 printable characters, not {who!r:.80}")
        made = copy.copy(self)
        made._who = who
        return made

    @contextlib.contextmanager
    def _dry_run(self) -> Generator[Self]:
        """Give this client, but for what it does: that is undone in the transaction that does it.

        The verb inside ends there; what it would be refused for is raised as ever.
        """
        made = copy.copy(self)
        made._is_dry = True
        with contextlib.suppress(_Undone):
            yield made

    @property
    def _store(self) -> Store:
        store = self._file.find_store()
        if store is None:
            kind = type(self).__name__
            raise UsageError(f"the {kind} is not open; use `async with durable.{kind}(...)`")
        return store

    @property
    def _reader(self) -> Reader:
        reader = self._store.reader
        reader.refuse_moved()
        return reader

    @property
    def _viewer(self) -> Viewer:
        return _viewer(self._store, self._reader, self._clock, self._row_now)

    def _row_now(self, row: RunRow) -> RunRow:
        """Return a run's row as it is now: an engine knows what has just begun to wait."""
        return row

    @property
    def path(self) -> str:
        """The file, as given."""
        return self._path

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
        query: str = "",
        *,
        limit: int = 100,
        before: int | None = None,
        sort: str = "-created",
    ) -> Sequence[RunSummary]:
        """Return runs, newest first, or sorted otherwise.

        Args:
            query: A filter, as in ``"status:failed workflow:invoice.* started:<2d"``; see
                `durable.filters`. Runs of which a newer ordinal exists are left out, unless it asks
                for them (``superseded:any``).
            limit: At most so many, 1 to 1,000.
            before: Only runs that come after the one of this `RunSummary.key`: the next page begins
                behind the last one.
            sort: By ``created``, ``started``, ``finished``, ``wakes`` or ``took``, the smallest
                first; with a ``-`` before it the largest. Runs that have no such value come last.
                By ``wakes`` and ``took`` all that the filter means are walked.

        Raises:
            FilterError: The query is no filter.
            UsageError: Runs are not sorted by that.
            RunNotFound: The run of the key was deleted, and the order is another than the usual.
        """
        return self._viewer.list(query, limit=limit, before=before, sort=sort)

    async def count(self, query: str = "") -> dict[str, int]:
        """Count runs by the status they are shown with; a status of which there is none is missing.

        Args:
            query: A filter; see `list`.

        Raises:
            FilterError: The query is no filter.
        """
        return self._viewer.count(query)

    async def events(self, query: str = "") -> AsyncIterator[EventView]:
        """Yield the events of all runs that a filter means, from now on, as they are committed.

        It never ends. A run is followed once it is meant; `Run.events` has what was before. Of more
        than 1,000 open runs the newest are followed. What several runs have recorded since the last
        look comes in the order of its times.

        Args:
            query: A filter; see `list`. All runs if it is empty.

        Raises:
            FilterError: The query is no filter.
        """
        self._viewer.selection(query)
        meant = f"({query}) superseded:any" if query.strip() else "superseded:any"
        many = EventsOfMany(self._reader, self._clock.wall_us())
        while True:
            version = self._reader.data_version()
            looks = [self._viewer.selection(f"{meant} {which}") for which in ("status:open", ENDED)]
            for one in many.news(looks, self._clock.wall_us()):
                yield one
            await asyncio.sleep(EVENTS_LOOK_S)
            await self._wait_commit(version)

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

        The run's code finds the signal before its first step. ``signal.options(id=)`` is sent once
        for its id, however often this is called, and whether the run has ended since or not.

        Raises:
            RunClosed: The id's newest run is closed, and ``on_closed`` is not ``"restart"``.
            IdConflict: The id belongs to another workflow or to other arguments.
        """
        require(signal, Signal)
        payload = await self._pack(signal._encode(value), f"signal {signal.name}")
        now_us = self._clock.wall_us()

        def letter(transaction: Transaction, pk: int) -> None:
            messages.signal(pk, signal.name, payload, signal.message_id, now_us)(transaction)

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

        An open run of its id gets the update too. ``update.options(id=)`` is done once for its id,
        however often this is called; its answer is given again, after the run's end too, and
        ``run.update_result`` knows it.

        Raises:
            RunClosed: The id's newest run is closed, and ``on_closed`` is not ``"restart"``.
            IdConflict: The id belongs to another workflow or to other arguments.
            UpdateRefused: Its validator refused, or the run has no handler for it.
            UpdateFailed: Its handler raised; see ``__cause__``.
            UpdateAbandoned: The run ended first.
        """
        require(update, Update)
        payload = await self._pack(update._encode(value), f"update {update.name}")
        now_us = self._clock.wall_us()
        key = update.message_id or new_id(now_us)

        def letter(transaction: Transaction, pk: int) -> None:
            messages.update(pk, update.name, payload, key, now_us)(transaction)

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

        payload = await self._pack(codec_for(Any, "answer").encode(value), "answer")
        return await self._answer_token(token, payload, rejects=False)

    async def reject(self, token: str, message: str) -> Run[Any]:
        """Reject a promise, or fail an activity that asked for an answer, by its token.

        Where it is awaited, `PromiseRejected` is raised with the message.

        Returns:
            The run that waited for it.

        Raises:
            TokenUnknown: It is no token, or no open run waits for it any more.
        """
        from durable._core.failures import record_exception

        record = record_exception(PromiseRejected(reason_text(message)))
        payload = await self._pack(encode_document(record), "message")
        return await self._answer_token(token, payload, rejects=True)

    async def _answer_token(
        self, token: str, payload: EncodedPayload, *, rejects: bool
    ) -> Run[Any]:
        now_us = self._clock.wall_us()
        operation = messages.answer_token(token, payload, now_us, rejects=rejects)
        pk: int = await self._commit(operation)
        return Run(self, self._get_row(pk))

    async def issues(
        self, *, state: Literal["open", "resolved", "muted"] | None = "open", limit: int = 100
    ) -> Sequence[IssueView]:
        """Return groups of like failures, the one with the newest failure first.

        Args:
            state: Only these; None for all.
            limit: At most so many, 1 to 1,000.
        """
        return self._viewer.issues(state=state, limit=limit)

    async def set_issue(
        self, issue: str, state: Literal["open", "resolved", "muted"], *, reason: str = ""
    ) -> None:
        """Resolve a group of like failures (the next one opens it again), mute it, or open it.

        Args:
            issue: ``I-14``, or its fingerprint.
            state: What it becomes.
            reason: For the audit.

        Raises:
            RunNotFound: There is no such group.
        """
        if state not in {"open", "resolved", "muted"}:
            raise UsageError(
                f'the state of an issue is "open", "resolved" or "muted", not {state!r}'
            )
        row = self._viewer.issue_row(issue)
        await self._commit(repairs.set_issue(row.id, state, self._by(reason)))

    def blocking(self) -> BlockingClient:
        """Return the same verbs for plain functions: ``with client.blocking() as c: c.get(...)``.

        It opens the file itself, on a thread of its own, and may be used from any thread.
        """
        from durable.client._blocking import BlockingClient

        return BlockingClient(self)

    # -- inside ----------------------------------------------------------------------------------

    def _for_threads(self) -> Client:
        """Return the client that `blocking` opens on its thread."""
        return self

    def _require_elsewhere(self) -> None:
        """Refuse a call that would wait for the very loop it is made on."""

    async def _commit(self, operation: Callable[[Transaction], Any]) -> Any:
        change = Change(operation=self._undone_if_dry(operation))
        return await self._elsewhere(partial(self._store.writer.commit_now, change))

    def _undone_if_dry(
        self, operation: Callable[[Transaction], Any]
    ) -> Callable[[Transaction], Any]:
        return _undone(operation) if self._is_dry else operation

    @staticmethod
    async def _elsewhere(work: Callable[[], T]) -> T:
        """Do it on a thread; the caller's loop goes on meanwhile."""
        from anyio import to_thread

        return await to_thread.run_sync(work)

    async def _look(self, look: Callable[[Viewer], T]) -> T:
        """Look at the file on a thread, through a reader of its own."""
        store, clock = self._store, self._clock

        def looking() -> T:
            with contextlib.closing(Reader(store.path)) as reader:
                return look(_viewer(store, reader, clock))

        return await self._elsewhere(looking)

    async def _note(self, run: Run[Any], verb: str, **details: object) -> None:
        """Write down who said something to a run: what leaves no row of its own in the audit."""
        await self._commit(repairs.note(run._pk, self._by(""), verb, **details))

    def _by(self, reason: str) -> By:
        """Return who does something now, and why, for the audit."""
        return By(
            who=self._who,
            why=reason_text(reason),
            now_us=self._clock.wall_us(),
            is_alive=self._store.locks.is_held,
        )

    def _get_newest(self, row: RunRow) -> RunRow:
        """Return the newest ordinal of a run's id."""
        found = self._reader.find_newest(row.id)
        if found is None:
            raise RunNotFound("the run was deleted")
        return found

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
            row, _, _ = await self._insert(workflow, args, kwargs, encoded, letter)
            return Run(self, row, workflow.codec.result.decode)
        lock = self._starting.setdefault(run_id, asyncio.Lock())
        try:
            async with lock:
                existing = self._reader.find_newest(run_id)
                if existing is None or letter is not None:
                    if existing is not None:
                        self._refuse_conflict(existing, workflow, args, kwargs)
                    existing, is_new, is_told = await self._insert(
                        workflow, args, kwargs, encoded, letter
                    )
                    if is_told and not is_new:  # It may have ended since, because of it.
                        self._refuse_conflict(existing, workflow, args, kwargs)
                    if is_new or is_told:
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
    ) -> tuple[RunRow, bool, bool]:
        """Store a new run, for any worker to take.

        Returns:
            The run, whether it is new, and whether it got the message.
        """
        payload = await self._pack(encoded, f"arguments of {workflow.name}")
        run = first_run(
            workflow, args, kwargs, encoded,
            arguments=payload.column, salt=new_salt(), now_us=self._clock.wall_us(),
        )  # fmt: skip
        pk, is_new, is_told = await self._commit(starts.start(run, payload.rows(), letter))
        return self._get_row(pk), is_new, is_told

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
                plan = Plan(
                    place="start",
                    arguments=msgspec.Raw(workflow.codec.encode(args, kwargs)),
                    keeps_messages=False,
                    keeps_children=False,
                    begins_anew=True,
                )
                by = self._by("")

                def operation(transaction: Transaction) -> int:
                    pk = restarts.restarted(transaction, row, plan, by.now_us)
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

    async def _pack(self, payload: bytes, what: str) -> EncodedPayload:
        check_size(payload, self._payload_bytes_max, what)
        if len(payload) <= INLINE_BYTES_MAX:
            return EncodedPayload.of(payload)
        return await self._elsewhere(partial(EncodedPayload.of, payload))

    async def _wait_answer(self, pk: int, key: str) -> tuple[str, bytes]:
        asked = self._get_row(pk)
        while True:
            version = self._version()
            found = self._reader.find_answer(asked, key)
            if found is not None:
                return found[0], found[2]
            row = self._reader.find_run(pk)
            if row is None or (not row.is_open and row.state != "continued"):
                # Its end is a commit that answers what is open: look once more, then it is lost.
                found = self._reader.find_answer(asked, key)
                return ("abandoned", b"null") if found is None else (found[0], found[2])
            following = self._reader.find_continuation(row)
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
        if row.state == "parked" and row.started_us is None:
            return False  # Its delay is not over: to be asked does not let it begin.
        return any(
            row.workflow in decode_document(one.workflows)
            for one in self._reader.live_workers()
            if self._store.locks.is_held(one.id)
        )

    async def _query_owner(self, row: RunRow, name: str, encoded: bytes) -> bytes:
        now_us = self._clock.wall_us()
        key = new_id(now_us)
        asked = await self._pack(encoded, f"query {name}")
        pk: int = await self._commit(messages.ask("query", row.pk, name, asked, key, now_us))
        try:
            async with asyncio.timeout(QUERY_DEADLINE_S):
                state, payload = await self._wait_answer(pk, key)
        except TimeoutError:
            raise QueryFailed(
                f"run {row.name} did not answer query {name} within {QUERY_DEADLINE_S:g} s; its "
                "worker may be busy, or stopped"
            ) from None
        if state == "abandoned":
            return self._query_by_replay(self._get_row(pk), name, encoded)
        await self._commit(messages.forget_answer(pk, key))
        if state != "completed":
            raise QueryFailed(decode_document(payload, type=str))
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
            if self._is_in_hand(
                pk
            ):  # Whoever has it says so when it ends: there is no need to look.
                await self._wait_change(pk, version)
                continue
            row = self._get_row(pk)
            if (following := self._reader.find_continuation(row)) is not None:
                pk = following.pk
                continue
            if row.state not in OPEN_STATES:
                return row
            await self._wait_change(pk, version)

    def _is_in_hand(self, pk: int) -> bool:
        """Whether this process holds a run, so that its end is told."""
        del pk
        return False

    def _version(self) -> int:
        """Return what to hand to `_wait_change`: taken before looking, nothing is missed."""
        return self._reader.data_version()

    async def _wait_change(self, pk: int, version: int) -> None:
        """Wait until there may be news of a run since ``version``."""
        del pk
        await self._wait_commit(version)

    async def _wait_commit(self, version: int) -> None:
        """Wait until anybody, this process too, has committed since the reader's ``version``."""
        while self._reader.data_version() == version:  # noqa: ASYNC110  another process commits
            await asyncio.sleep(POLL_S)


class _Undone(Exception):
    """What was done dry would be done."""


def _undone(operation: Callable[[Transaction], Any]) -> Callable[[Transaction], None]:
    """Return an operation that does what another does, and raises, so that it is undone."""

    def undo(transaction: Transaction) -> None:
        operation(transaction)
        raise _Undone

    return undo


def _viewer(
    store: Store,
    reader: Reader,
    clock: Clock,
    row_now: Callable[[RunRow], RunRow] = lambda row: row,
) -> Viewer:
    trouble = partial(find_trouble, store.locks)
    return Viewer(reader, store.locks.is_held, clock, row_now, trouble)


def _path_of(path: str | os.PathLike[str]) -> str:
    found: object = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(found, str) or not found:
        raise UsageError(f"the path of the file is text or a Path, not {path!r:.80}")
    return found
