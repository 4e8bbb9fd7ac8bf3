"""The engine: a client that also executes. And `run`, for scripts."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import sys
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
)

from durable import definitions
from durable._clock import CheckedClock, Clock, SystemClock, new_salt
from durable._core import context
from durable._runtime.alerts import Hook
from durable._runtime.first_run import first_run
from durable._runtime.stopping import stopping_on_signals
from durable._runtime.waits import row_now
from durable._runtime.worker import Worker
from durable._store import messages, requests, starts
from durable._store.connection import real_path
from durable._store.cursor import Cursor
from durable._store.migrate import adopt as adopt_now
from durable._store.rows import AlertRow, RunRow
from durable._store.stored_payloads import EncodedPayload
from durable._store.writer import Transaction
from durable.client import Client, conflict
from durable.definitions import Activity, Workflow, register
from durable.durations import is_negative
from durable.errors import (
    Blocked,
    CodeMisfit,
    DefinitionError,
    ForkedEngine,
    RunNotFound,
    UsageError,
    WrongState,
)
from durable.messages import Signal, message_id, require
from durable.payloads import check_size
from durable.policies import Duration, Limits, Retention, duration_us

if TYPE_CHECKING:
    from durable._runtime.debugging import Stopped
    from durable._runtime.replay import Misfit
    from durable._store.starts import Letter
    from durable._store.store import Store
    from durable.client import BlockingClient
    from durable.inspection import IssueAlert

__all__ = ["Engine", "run"]

_logger = logging.getLogger("durable.engine")

CLOSED = "the engine was closed; the run goes on when one opens the file again"
# How often a blocking client looks whether the engine that it was made of is still open.
LOOK_FOR_ENGINE_S = 0.1

_STOPPED = "stopped, and nothing is lost; run it again to go on"

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Lifespan = Callable[[], contextlib.AbstractAsyncContextManager[Mapping[str, Any] | None]]


class Engine(Client):
    """Opens a file, recovers what a dead process left, and executes its runs.

    ::

        async with durable.Engine("app.db") as engine:
            run = await engine.start(publish.options(id="batch-7"), urls)
            print(await run.result())

    Entering it starts work; leaving it stops: nothing new begins, running activities get a grace
    time, and what is left is done when an engine opens the file again.

    Args:
        path: The file; created, readable by its owner only, if it does not exist.
        functions: The workflows this engine runs; by default every one defined at module level.
            Ones defined inside a function must be named here, or are known once started through
            this engine.
        lifespan: Opens what activities share (pools, clients) when the engine is entered: a
            function that returns an async context manager of a mapping; ``durable.resource(name)``
            finds its values.
        durability: ``"full"`` survives a power cut; ``"normal"`` survives a killed process and is
            faster.
        limits: See `Limits`.
        grace: How long running activities may go on when the engine is left.
        check: Whether every open run is replayed against this code before it goes on: ``"warn"``
            logs each that does not fit, ``"refuse"`` raises `CodeMisfit` and starts nothing. The
            same as ``durable check APP:ENGINE``.
        on_issue: Called with an `IssueAlert` when a failure is like no other before, or like a
            group that was resolved, or when runs are blocked: to post it, or to page somebody.
            At least once for each, by one of the engines of the file that have a hook; a plain
            function is called on a thread. Runs never wait for it; one that raises, or takes longer
            than 30 seconds, is called again, after 1 second first and at last every 5 minutes.
            Muted groups are silent.
        keep_logs: The lowest level of what workflows and activities log (Python's ``logging``) that
            is kept with their runs, as a name or a number; None: nothing is. Only what their
            loggers let through is seen. At most 10,000 lines of a run are kept, each of at most
            8,192 characters; they are written within a fifth of a second, and a killed process
            takes along what was not.
        retention: How long runs stay that have ended; see `Retention`. By default for ever.
        adopt: Whether a SQLite file of another program, your own application's, gets the library's
            tables beside its own; see `adopt`.
        allow_shared: Whether the file, or one beside it, may belong to another user, or be written
            to by its group or by everybody; else that is refused. ``DURABLE_ALLOW_SHARED=1`` in the
            environment allows it too, `run` and the command line as well.
        clock: Time; tests pass their own.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        functions: Iterable[Workflow[..., Any]] | None = None,
        lifespan: Lifespan | None = None,
        durability: Literal["full", "normal"] = "full",
        limits: Limits | None = None,
        grace: Duration = 10,
        check: Literal["no", "warn", "refuse"] = "no",
        on_issue: Callable[[IssueAlert], Awaitable[object] | object] | None = None,
        keep_logs: int | str | None = "INFO",
        retention: Retention | None = None,
        adopt: bool = False,
        allow_shared: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(path, allow_shared=allow_shared)
        if not isinstance(adopt, bool):
            raise UsageError(f"adopt is True or False, not {adopt!r:.80}: it changes a file")
        self._adopt = adopt
        if retention is not None and not isinstance(retention, Retention):
            raise UsageError(f"retention is a durable.Retention, not {retention!r}")
        self._retention = retention
        self._keep_logs = _level(keep_logs)
        if check not in {"no", "warn", "refuse"}:
            raise UsageError(f'check is "no", "warn" or "refuse", not {check!r}')
        self._check: Literal["no", "warn", "refuse"] = check
        if durability not in {"full", "normal"}:
            raise UsageError(f'durability is "full" or "normal", not {durability!r}')
        if limits is not None and not isinstance(limits, Limits):
            raise UsageError(f"limits is a durable.Limits, not {limits!r:.80}")
        if clock is not None and not hasattr(clock, "steady_us"):
            raise UsageError(f"clock has wall_us() and steady_us(), and {clock!r:.80} has not")
        for name, given in (("lifespan", lifespan), ("on_issue", on_issue)):
            if given is not None and not callable(given):
                raise UsageError(f"{name} is a function, not {given!r:.80}")
        if is_negative(grace):
            raise UsageError(f"grace is how long activities may go on, not {grace!r:.80}")
        self._clock = CheckedClock(clock or SystemClock())
        self._limits = limits or Limits()
        self._durability: Literal["full", "normal"] = durability
        self._lifespan = lifespan
        self._on_issue = on_issue
        self._grace_s = duration_us(grace, "grace") / 1e6
        self._given = None if functions is None else _by_name(functions)
        self._local: dict[str, list[Workflow[Any, Any]]] = {}
        self._worker: Worker | None = None
        self._leaving: Worker | None = None
        self._stack: contextlib.AsyncExitStack | None = None
        self._pid = 0
        self._payload_bytes_max = self._limits.payload_bytes_max

    async def __aenter__(self) -> Self:
        if self._worker is not None:
            raise UsageError(
                "this engine is open already; use it as it is, or in a thread "
                "`with engine.blocking() as client`"
            )
        _require_fcntl()
        _require_asyncio()
        if self._adopt:
            shared = self._allow_shared
            adopt_now(real_path(self._path), may_be_missing=True, allow_shared=shared)
        if self._check != "no":
            self._check_runs()
        self._pid = os.getpid()
        async with contextlib.AsyncExitStack() as stack:
            resources: Mapping[str, Any] = {}
            if self._lifespan is not None:
                opened = await stack.enter_async_context(self._lifespan())
                resources = {} if opened is None else opened
            worker = Worker(
                self._path,
                clock=self._clock,
                limits=self._limits,
                durability=self._durability,
                names=self._names,
                resolve=self._resolve,
                know=self._know,
                resources=resources,
                keep_logs=self._keep_logs,
                retention=self._retention,
                allow_shared=self._allow_shared,
                hook=None if self._on_issue is None else Hook(self._alert_of, self._on_issue),
            )
            self._prepare(worker)
            await worker.open_patiently()
            self._worker = worker
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        worker, stack = self._worker, self._stack
        self._worker = self._stack = None
        if worker is not None and os.getpid() == self._pid:
            self._leaving = worker
            try:
                await worker.close(self._grace_s)
            finally:
                self._leaving = None
        if stack is not None:
            await stack.__aexit__(None, None, None)

    def _check_runs(self) -> None:
        """Replay what is open against this engine's code, before anything goes on.

        Raises:
            CodeMisfit: Some do not fit, and ``check`` is ``"refuse"``.
        """
        if not os.path.exists(self._path):  # noqa: PTH110  a new file has no runs
            return
        found = [one for one in self.check() if one is not None]
        for one in found:
            _logger.warning("run %s does not fit this code: %s", one.run, one.message)
        if found and self._check == "refuse":
            raise CodeMisfit(
                f"{len(found):,} open {'run does' if len(found) == 1 else 'runs do'} not fit this "
                f"code, so it was not started; the first: run {found[0].run}: {found[0].message}"
            )

    def check(
        self,
        query: str = "",
        *,
        runs: Iterable[str] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Iterator[Misfit | None]:
        """Replay runs against this engine's code: for each None, or what does not fit.

        Nothing is performed and nothing is written; the engine need not be entered, and others may
        serve the file meanwhile. An open run that fits goes on with this code; a closed one that
        fits would end with it as it did.

        Args:
            query: Only open runs of this filter; see `Client.list`.
            runs: Instead, these ids, or ``id#n``, open or closed.
            path: The file; the engine's own by default.

        Raises:
            FilterError: The query is no filter.
            RunNotFound: One of the runs is not in the file.
            StoreError: The file cannot be read.
        """
        from durable._runtime.replay import check_run, check_runs
        from durable.inspection import view

        with view(self._path if path is None else path) as found:
            if runs is None:
                meant = f"status:open ({query})" if query.strip() else "status:open"
                yield from check_runs(found._reader, found.selection(meant), self._resolve)
                return
            rows = [found.get_row(one) for one in runs]
            for row in rows:
                yield check_run(found._reader, row, self._resolve)

    def stack(self, run_id: str, path: str | os.PathLike[str] | None = None) -> str:
        """Return where a run's code waits, task by task, by a replay with this engine's code.

        Nothing is performed and nothing is written; the engine need not be entered.

        Args:
            run_id: An id, which means its newest ordinal, or ``id#n``.
            path: The file; the engine's own by default.

        Raises:
            RunNotFound: There is none.
            Blocked: The code does not fit its history, or is not known to this engine.
        """
        from durable._runtime.replay import stack_by_replay
        from durable.inspection import view

        with view(self._path if path is None else path) as runs:
            row = runs.get_row(run_id)
            workflow = self._resolve(row.workflow)
            if isinstance(workflow, str):
                raise Blocked(workflow, "function")
            return stack_by_replay(runs._reader, row, workflow)

    def _alert_of(self, row: AlertRow) -> IssueAlert | None:
        """Return what the hook is called with; None if the group was deleted."""
        try:
            return self._viewer.alert_of(row)
        except RunNotFound:
            return None

    @contextlib.contextmanager
    def stopped(
        self, run_id: str, *, at: str | None = None, path: str | os.PathLike[str] | None = None
    ) -> Generator[Stopped]:
        """Replay a run up to a place of its history, and keep its code there, to look into it.

        Nothing is performed and nothing is written; the engine need not be entered. A
        ``breakpoint()`` in the workflow stops the replay there.

        Args:
            run_id: An id, which means its newest ordinal, or ``id#n``.
            at: Before this: a step's end, by its id or its name, or ``"event:17"``, ``"failed"`` or
                ``"last"``; by default after the whole history.
            path: The file; the engine's own by default.

        Raises:
            RunNotFound: There is none.
            WrongState: There is no such place.
            Blocked: Its workflow is not known to this engine.
        """
        from durable._runtime.debugging import stopped
        from durable.inspection import view

        with view(self._path if path is None else path) as runs:
            row = runs.get_row(run_id)
            workflow = self._resolve(row.workflow)
            if isinstance(workflow, str):
                raise Blocked(workflow, "function")
            with stopped(runs._reader, row, workflow, at) as found:
                yield found

    def _row_now(self, row: RunRow) -> RunRow:
        live = None if self._worker is None else self._worker.live.get(row.pk)
        return row if live is None else row_now(live, row)

    def _prepare(self, worker: Worker) -> None:
        """Let a test change the worker before it opens."""

    def blocking(self) -> BlockingClient:
        """Return the same verbs for plain functions: ``with engine.blocking() as c: c.start(...)``.

        Of an engine that is open it is a client of the same file, for other threads: views of a web
        framework, callbacks. Of one that is not it opens the engine itself, which serves the file
        on a thread of its own until the ``with`` ends.
        """
        return super().blocking()

    def _for_threads(self) -> Client:
        return self if self._worker is None else _Beside(self, self._worker)

    # -- functions -------------------------------------------------------------------------------

    def _names(self) -> Sequence[str]:
        known = definitions.candidates() if self._given is None else self._given
        return sorted({*known, *self._local})

    def _resolve(self, name: str) -> Workflow[Any, Any] | str:
        """Find the one workflow of a stored name, or say why there is none; nothing is guessed."""
        given = self._given or {}
        found = given.get(name) or self._local.get(name)
        if not found and self._given is None:
            found = list(definitions.candidates().get(name, ()))
        if not found:
            return (
                f"no workflow {name!r} is known to this engine; import the module that defines it"
            )
        if len(found) > 1:
            places = " and ".join(one.place for one in found)
            return (
                f"two workflows are called {name!r}: {places}; rename one, or pass the right one "
                "as Engine(functions=[...])"
            )
        return found[0]

    def _know(self, workflow: Workflow[Any, Any]) -> None:
        known = self._resolve(workflow.name)
        if isinstance(known, Workflow) and known.fn is workflow.fn:
            return
        if isinstance(known, Workflow) and self._given is not None and workflow.name in self._given:
            raise UsageError(
                f"this engine runs another workflow called {workflow.name!r} ({known.place}); "
                f"rename {workflow.place}"
            )
        register(workflow, self._local)

    # -- starting --------------------------------------------------------------------------------

    async def _insert(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        encoded: bytes,
        letter: Letter | None,
    ) -> tuple[RunRow, bool, bool]:
        if letter is not None:  # Its code is to find the message before its first step.
            return await super()._insert(workflow, args, kwargs, encoded, letter)
        row = await self._running().start(workflow, args, kwargs, encoded)
        if row is not None:
            return row, True, False
        run_id = workflow.start_options.id
        assert run_id is not None, "an id of chance was taken"
        existing = self._reader.find_newest(run_id)  # Another process was faster.
        assert existing is not None
        return existing, False, False

    async def transaction(
        self,
        fn: Callable[Concatenate[EngineTransaction, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a plain function in one transaction: your own rows, and starts or signals, together.

        On return all of it is in the file; if it raises, nothing is. It runs on the writer's
        thread, and nobody else writes meanwhile: keep it short.

        Args:
            fn: Gets an `EngineTransaction`, which is a cursor that can also start and signal.
            *args: Passed on.
            **kwargs: Passed on.

        Raises:
            Exception: What the function raised.
        """
        if inspect.iscoroutinefunction(fn):
            raise UsageError(f"{fn!r} is async; engine.transaction takes a plain function")
        worker = self._running()
        now_us = self._clock.wall_us()

        def operation(transaction: Transaction) -> R:
            def perform(cursor: Cursor) -> R:
                mine = EngineTransaction(
                    cursor, transaction, now_us, self._know, self._payload_bytes_max
                )
                return fn(mine, *args, **kwargs)

            return transaction.perform(perform, "engine.transaction()")

        value: R = await self._commit(operation)
        if self._worker is worker:
            worker.claim()
        return value

    # -- inside ----------------------------------------------------------------------------------

    def __enter__(self) -> NoReturn:
        """Refuse to be entered without async.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "an Engine is entered with `async with durable.Engine(...)`; plain functions use "
            "`with durable.Client(path).blocking() as client`"
        )

    def __exit__(self, *error: object) -> None:
        """Never called: see `__enter__`."""

    def _running(self) -> Worker:
        if self._worker is None:
            raise UsageError("the engine is not open; use `async with durable.Engine(...)`")
        if not self._worker.is_here():
            raise UsageError(
                "this engine runs in another event loop or thread, so nothing was done; use it "
                "there, or `with durable.Client(path).blocking() as client` here"
            )
        if os.getpid() != self._pid:
            raise ForkedEngine(
                "this engine was opened before a fork; open a new one in the child process"
            )
        return self._worker

    @property
    def _serving(self) -> Worker | None:
        """The worker that serves the file, until it has left."""
        return self._worker or self._leaving

    @property
    def _store(self) -> Store:
        worker = self._running()
        worker.require_open()
        return worker.store

    async def _commit(self, operation: Callable[[Transaction], Any]) -> Any:
        return await self._running().commit(self._undone_if_dry(operation))

    def _job_created(self) -> None:
        self._running().jobs.look()

    def _notify_closed(self, pk: int, state: str) -> None:
        if self._worker is not None:
            self._worker.notify(pk, state)

    @property
    def workflows(self) -> Sequence[str]:
        """The stored names this engine can run now."""
        return self._names()

    def _is_in_hand(self, pk: int) -> bool:
        return pk in self._running().live

    def _version(self) -> int:
        return 0

    async def _wait_change(self, pk: int, version: int) -> None:
        del version
        if await self._running().wait(pk) == "closed":
            raise UsageError(CLOSED)

    async def _query(self, pk: int, name: str, encoded: bytes) -> bytes:
        worker = self._running()
        worker.inbox.look()  # Whoever has signalled and asks is answered after the signal's event.
        run = worker.live.get(pk)
        if run is not None and not run.uncommitted and not run.is_over:
            return worker.inbox.query(run, name, encoded)
        return await super()._query(pk, name, encoded)

    async def wait_idle(self) -> None:
        """Wait until no open run can go on by itself: all are closed, blocked or paused."""
        worker = self._running()
        while self._reader.count_open():
            await asyncio.sleep(0.01)
            del worker
            worker = self._running()


class _Beside(Client):
    """A client of the file that an engine of this process serves, for its other threads."""

    def __init__(self, engine: Engine, worker: Worker) -> None:
        super().__init__(engine._path)
        self._engine = engine
        self._worker = worker
        self._clock = engine._clock
        self._payload_bytes_max = engine._payload_bytes_max

    def _require_elsewhere(self) -> None:
        if self._worker.is_here():
            raise UsageError(
                "this thread runs the engine, which would wait for itself; here, `await` the "
                "engine's own verbs, and use `engine.blocking()` in another thread"
            )

    async def _insert(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        encoded: bytes,
        letter: Letter | None,
    ) -> tuple[RunRow, bool, bool]:
        self._engine._know(workflow)
        return await super()._insert(workflow, args, kwargs, encoded, letter)

    async def _wait_change(self, pk: int, version: int) -> None:
        # A thread that waits for what nobody does any more would keep the process from its end.
        waiting = asyncio.ensure_future(super()._wait_change(pk, version))
        try:
            while not waiting.done():
                if self._engine._worker is not self._worker:
                    raise UsageError(CLOSED)
                await asyncio.wait([waiting], timeout=LOOK_FOR_ENGINE_S)
        finally:
            waiting.cancel()
        waiting.result()


class EngineTransaction:
    """What a function in `Engine.transaction` may do: its own tables, starts and signals."""

    def __init__(
        self,
        cursor: Cursor,
        transaction: Transaction,
        now_us: int,
        know: Callable[[Workflow[Any, Any]], None],
        payload_bytes_max: int,
    ) -> None:
        self._cursor = cursor
        self._payload_bytes_max = payload_bytes_max
        self._transaction = transaction
        self._now_us = now_us
        self._know = know

    def execute(self, sql: str, bindings: Sequence[Any] | Mapping[str, Any] = ()) -> Cursor:
        """Run statements on your own tables; see `Cursor.execute`."""
        return self._cursor.execute(sql, bindings)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> Cursor:
        """Run a statement once for each row; see `Cursor.executemany`."""
        return self._cursor.executemany(sql, rows)

    def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Start a run with this transaction; return its id. A run of its id is left alone.

        Raises:
            IdConflict: The id belongs to another workflow or to other arguments.
            PayloadError: An argument cannot be stored.
        """
        self._cursor.require_open()
        if not isinstance(workflow, Workflow):
            raise UsageError(f"{workflow!r} is no workflow; decorate the function with @workflow")
        encoded = workflow.codec.encode(args, kwargs)
        workflow.codec.decode(encoded)
        self._know(workflow)
        payload = self._pack(encoded, f"arguments of {workflow.name}")
        run = first_run(
            workflow, args, kwargs, encoded,
            arguments=payload.column, salt=new_salt(), now_us=self._now_us,
        )  # fmt: skip
        with self._transaction.unguarded():
            pk, is_new, _ = starts.start(run, payload.rows())(self._transaction)
            row = requests.get(self._transaction, pk)
            # The ordinal whose arguments count is the first; later ones may go on with others.
            first = self._transaction.one("find_ordinal", id=row.id, ordinal=1)
            row = row if first is None else RunRow(*first)
        if not is_new and (error := conflict(row, workflow, args, kwargs)) is not None:
            raise error
        return row.id

    def signal(self, run_id: str, signal: Signal[T], value: T, *, id: str = "") -> None:
        """Send a signal with this transaction.

        Args:
            run_id: An id, which means its newest ordinal, or ``id#n``, which means exactly one.
            signal: The declared signal.
            value: What it carries.
            id: Of the message, at most 200 characters: a second one of this id is not delivered.

        Raises:
            RunNotFound: There is no such run.
            RunClosed: It has ended.
            PayloadError: The value cannot be stored, or does not fit the signal's type.
        """
        self._cursor.require_open()
        key = message_id(id or signal.message_id)
        require(signal, Signal)
        payload = self._pack(signal._encode(value), f"signal {signal.name}")
        with self._transaction.unguarded():
            pk = requests.find_named(self._transaction, run_id).pk
            messages.signal(pk, signal.name, payload, key, self._now_us)(self._transaction)

    def _pack(self, payload: bytes, what: str) -> EncodedPayload:
        check_size(payload, self._payload_bytes_max, what)
        return EncodedPayload.of(payload)


def _by_name(functions: Iterable[Workflow[..., Any]]) -> dict[str, list[Workflow[Any, Any]]]:
    """Return the workflows that an engine is given, by their stored names.

    Raises:
        UsageError: It is no list of them, or holds two of one name.
    """
    passed: object = functions
    if isinstance(passed, Workflow | Activity):
        raise UsageError(f"functions= takes a list: functions=[{passed.name}]")
    if isinstance(passed, str) or not isinstance(passed, Iterable):
        raise UsageError(f"functions= takes a list of workflows, not {passed!r}")
    given: dict[str, list[Workflow[Any, Any]]] = {}
    for one in functions:
        if isinstance(one, Activity):
            continue  # Activities are called by workflows, not by name.
        if not isinstance(one, Workflow):
            raise UsageError(f"functions= holds {one!r}; decorate it with @workflow")
        others = [other for other in given.get(one.name, ()) if other.fn is not one.fn]
        if others:
            raise UsageError(
                f"functions= holds two workflows called {one.name!r}: "
                f"{others[0].place} and {one.place}; rename one (name=)"
            )
        register(one, given)
    return given


def _level(level: int | str | None) -> int | None:
    if level is None:
        return None
    from durable.inspection._texts import level_of

    return level_of(level)


def _require_fcntl() -> None:
    if sys.platform == "win32":
        raise UsageError("durable's engine runs on Linux and macOS: it needs POSIX file locks")


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "no asyncio loop runs here, and an engine needs one; under trio, run it in a thread: "
            "`with durable.Engine(path).blocking() as client`"
        ) from None


def run(
    path: str | os.PathLike[str],
    workflow: Workflow[P, R],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Run a workflow to its end in this process, and return its result: for scripts.

    With an id it goes on where an earlier process stopped: after a crash it resumes, after a
    failure, with the bug fixed, it goes on from the step that failed, and once completed it returns
    the recorded result. The file's other open runs are served meanwhile; `run_only` does not.

    SIGTERM and Ctrl-C stop it without losing anything: running activities get a grace time.

    Args:
        path: The file.
        workflow: The workflow, with its options.
        *args: Passed to it, and stored.
        **kwargs: Passed to it, and stored.

    Raises:
        UsageError: An event loop runs already, or a call was passed instead of the workflow.
        RunFailed: It failed.
        RunCancelled: It was cancelled.
        Blocked: Its code and its history do not fit; the message says what to do.
        WrongState: It is paused.
        IdConflict: The id belongs to another workflow or to other arguments.
    """
    return _run_now(path, workflow, args, kwargs, only=False)


def run_only(
    path: str | os.PathLike[str],
    workflow: Workflow[P, R],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Do what `run` does, and leave the file's other open runs alone."""
    return _run_now(path, workflow, args, kwargs, only=True)


def _run_now(
    path: str | os.PathLike[str],
    workflow: Workflow[P, R],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    only: bool,
) -> R:
    """Run a workflow in an event loop of its own, once it is clear that this can be done."""
    given: object = workflow
    if inspect.iscoroutine(given):
        given.close()
        raise UsageError(
            "durable.run was given a coroutine: pass the workflow and its arguments apart, as in "
            "durable.run(path, flow, 1), not durable.run(path, flow(1))"
        )
    if isinstance(path, Workflow):
        raise UsageError("durable.run takes the file first: durable.run(path, workflow, ...)")
    if not isinstance(workflow, Workflow):
        raise DefinitionError(f"{workflow!r} is no workflow; decorate the function with @workflow")
    if context.workflow.get() is not None:
        raise UsageError(
            f"durable.run was called inside a workflow; there, `await {workflow.name}(...)`: that "
            "is a child run"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise UsageError(
            "durable.run was called where an event loop runs already (in a notebook, a service, or "
            "a workflow); there, use `async with durable.Engine(path) as engine: run = await "
            "engine.start(workflow, ...)`, and `await run.result()`"
        )
    result: R = asyncio.run(_run(path, workflow, args, kwargs, only=only))
    return result


async def _run(
    path: str | os.PathLike[str],
    workflow: Workflow[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    only: bool,
) -> Any:
    functions = [workflow] if workflow.is_local else None
    engine = _OneRun(path, functions=functions) if only else Engine(path, functions=functions)
    async with stopping_on_signals(lambda: engine._serving, _STOPPED), engine:
        handle = await engine._start(workflow, args, kwargs, "retry", None)
        worker = engine._running()
        worker.owns_loop = True
        if only:
            worker.only = handle._pk
            worker.claim()
        while True:
            row = engine._get_row(handle._pk)
            if row.state == "blocked":
                waits = row.waits_for()
                raise Blocked(
                    f"run {row.name} is blocked: {waits.get('message')}",
                    str(waits.get("why", "history")),
                )
            if row.state == "paused":
                raise WrongState(f"run {row.name} is paused: {row.waits_for().get('message')}")
            if not row.is_open:
                return await handle.result()
            await worker.wait(handle._pk)


class _OneRun(Engine):
    """An engine that claims nothing but one run."""

    def _prepare(self, worker: Worker) -> None:
        worker.only = 0


def adopt(path: str | os.PathLike[str]) -> None:
    """Put the library's tables into a SQLite file of your application, beside its own.

    From then on it is used like any other: ``durable.run(path, ...)``, ``Engine(path)``. The
    tables, indexes and views are named ``durable_...``; the file gets a write-ahead log, if it had
    none, and nothing else of it changes. A file that has them already stays as it is.

    Args:
        path: The file; it must exist.

    Raises:
        NotADurableFile: It cannot be adopted: the message says why. Nothing was changed.
        StoreError: It cannot be written to.
    """
    adopt_now(real_path(path))


def run_until_stopped(engine: Engine, *, until_idle: bool = False) -> None:
    """Serve a file until SIGTERM or Ctrl-C: what ``durable worker`` does."""

    async def serve() -> None:
        async with stopping_on_signals(lambda: engine._serving), engine:
            engine._running().owns_loop = True
            if until_idle:
                await engine.wait_idle()
            else:
                await engine._running().reopening.failed

    serving: Coroutine[Any, Any, None] = serve()
    asyncio.run(serving)
