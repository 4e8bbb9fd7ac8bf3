"""Calls to the file system that fail, once or for a while, and an outside that tries again.

Laws, for whatever fails: each run ends as it should once the fault is over, no attempt is used up
by it, nothing is done or recorded twice, and no run is blocked.
"""

import asyncio
import contextlib
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import apsw

import durable
from durable._store.reader import Reader
from tests.crash.power import workload
from tests.crash.power.workload import Driver, Planned

# How long a fault lasts that is there for a while.
LASTS_S = 0.1
# Between two tries of a call, and between two looks for runs that are blocked.
PAUSE_S = 0.01
# Calls of a client that fail after the fault is over, before a new client is opened.
FAILURES_MAX = 3
_CODES = {
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "delete": apsw.SQLITE_IOERR_DELETE,
    "read": apsw.SQLITE_IOERR_READ,
}


def error_of(kind: str, *, is_full: bool) -> apsw.Error:
    """Return what a call of a kind fails with."""
    if kind == "open":
        return apsw.CantOpenError("made to fail: open")
    if kind == "write" and is_full:
        return apsw.FullError("made to fail: the disk is full")
    error = apsw.IOError(f"made to fail: {kind}")
    code = _CODES.get(kind, apsw.SQLITE_IOERR_WRITE)
    error.extendedresult = code  # type: ignore[attr-defined]
    return error


class Trouble(Protocol):
    """What a life meets."""

    @property
    def is_over(self) -> bool:
        """Whether it has come, and is over."""

    def hear(self, text: str) -> None:
        """Learn what a call has said of it."""


class Fault:
    """Lets one call fail, or all of its kind for a while.

    Args:
        kind: Of the call: ``read``, ``write``, ``sync``, ``truncate``, ``open`` or ``delete``.
        name: Of its file.
        number: Which of these calls fails first, from 1.
        lasts: Whether those after it fail too, for a while.
    """

    def __init__(self, kind: str, name: str, number: int, *, lasts: bool) -> None:
        self._call = kind, name
        self._kind = kind
        self._left = number
        self._lasts = lasts
        self._until_s = 0.0
        self.failed = 0

    def __call__(self, kind: str, name: str) -> None:
        """Fail, if it is this call's turn."""
        if self.failed:
            if not self._lasts or kind != self._kind or self.is_over:
                return
        else:
            self._left -= (kind, name) == self._call
            if self._left > 0 or (kind, name) != self._call:
                return
            self._until_s = time.monotonic() + LASTS_S
        self.failed += 1
        raise error_of(kind, is_full=self._lasts)

    @property
    def is_over(self) -> bool:
        """Whether nothing fails any more."""
        return bool(self.failed) and (not self._lasts or time.monotonic() > self._until_s)

    def hear(self, text: str) -> None:
        """Learn what a call has said; it changes nothing."""


class StatementFault(Fault):
    """Lets the first read fail that the reader's n-th run of a statement makes.

    Args:
        statement: Its name; ``data_version`` is the reader's look for news.
        number: Which of its runs, from 1.
    """

    def __init__(self, statement: str, number: int) -> None:
        super().__init__("read", statement, number, lasts=False)
        self._statement = statement
        self._thread = 0

    def __call__(self, kind: str, name: str) -> None:
        """Fail, if this read is the statement's."""
        if kind == "read" and self._thread == threading.get_ident():
            self._thread = 0
            self.failed += 1
            raise error_of(kind, is_full=False)

    @contextlib.contextmanager
    def during(self, reader: Reader, statement: str) -> Iterator[None]:
        """Let a statement run, whose reads may fail: what it reads is not in memory then."""
        self._left -= statement == self._statement
        if self._left == 0 and not self.failed and statement == self._statement:
            reader._connection.release_memory()
            self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = 0


def watch_statements(during: Callable[[Reader, str], AbstractContextManager[None]]) -> None:
    """Let each statement of each reader run within a context."""
    rows, data_version = Reader._rows, Reader.data_version

    def watched(self: Reader, text: str, values: Any, statement: str = "a filter") -> Any:
        with during(self, statement):
            return rows(self, text, values, statement)

    def watched_version(self: Reader) -> int:
        with during(self, "data_version"):
            return data_version(self)

    Reader._rows, Reader.data_version = watched, watched_version  # type: ignore[method-assign]


class Outcome:
    """What became of a life with a fault in it.

    Attributes:
        wrong: What broke a law.
        raw: Errors of SQLite's that reached a caller as they are, and where they were raised.
        blocked: Runs that had to be retried by a person.
        renewed: How many clients had to be opened again.
        raised: Errors that calls raised, and how often.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.raw: list[str] = []
        self.blocked: list[str] = []
        self.renewed = 0
        self.raised: Counter[str] = Counter()


class Life:
    """An engine and a client that meet a fault, and an outside that tries again.

    Args:
        path: The file.
        fault: What fails.
        alone: Whether the outside does all through the engine.
        life_s_max: How long its end is waited for.
    """

    def __init__(
        self, path: Path, fault: Trouble, *, alone: bool = False, life_s_max: float = 20
    ) -> None:
        self._life_s_max = life_s_max
        self._path = str(path)
        self._fault = fault
        self._alone = alone
        self._opened: list[durable.Client] = []
        self._main: asyncio.Task[Any] | None = None
        self.outcome = Outcome()

    def live(self, runs: list[Planned]) -> Outcome:
        """Drive some runs to their end, and say what was wrong."""
        try:
            ends = asyncio.run(self._live(runs))
        except TimeoutError:
            self.outcome.wrong.append("it does not end")
        except asyncio.CancelledError:
            assert self.outcome.wrong, "it was cancelled for what is wrong"
        except Exception as error:
            self.outcome.wrong.append(f"it raised {error!r}")
        else:
            self.outcome.wrong += [
                f"{one.id} ended with {end}"
                for one, end in zip(runs, ends, strict=True)
                if end != one.wanted
            ]
        return self.outcome

    async def _live(self, runs: list[Planned]) -> list[Any]:
        self._main = asyncio.current_task()
        asyncio.get_running_loop().set_exception_handler(self._note_unhandled)
        async with asyncio.timeout(self._life_s_max):
            while True:
                with self._noted("open"):
                    async with durable.Engine(self._path, grace=0) as engine:
                        return await self._drive_all(engine, runs)
                await asyncio.sleep(PAUSE_S)

    async def _drive_all(self, engine: durable.Engine, runs: list[Planned]) -> list[Any]:
        await self._insist_on_tables(engine)
        watcher = asyncio.create_task(self._watch(engine))
        try:
            driver = Driver(engine, await self._open_client(engine))
            return await asyncio.gather(*(self._insist(driver, engine, one) for one in runs))
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
            for client in self._opened:
                with self._noted("close"):
                    await client.__aexit__()

    async def _insist_on_tables(self, engine: durable.Engine) -> None:
        while True:
            with self._noted("tables"):
                return await workload.make_tables(engine)
            await asyncio.sleep(PAUSE_S)

    async def _insist(self, driver: Driver, engine: durable.Engine, one: Planned) -> Any:
        """Do all that is to be done with a run, again and again until no call fails."""
        failures = 0
        while True:
            client = driver.client
            with self._noted("call"):
                return await driver.drive(one)
            failures += self._fault.is_over
            if failures > FAILURES_MAX and driver.client is client and not self._alone:
                failures = 0
                self.outcome.renewed += 1
                driver.client = await self._open_client(engine)
            await asyncio.sleep(PAUSE_S)

    async def _open_client(self, engine: durable.Engine) -> durable.Client:
        if self._alone:
            return engine
        while True:
            with self._noted("open client"):
                client = await durable.Client(self._path).__aenter__()
                self._opened.append(client)
                return client
            await asyncio.sleep(PAUSE_S)

    async def _watch(self, engine: durable.Engine) -> None:
        """Retry what is blocked, as a person would."""
        while True:
            with self._noted("look"):
                for run in await engine.list("status:blocked"):
                    self.outcome.blocked.append(run.id)
                    with contextlib.suppress(durable.WrongState):
                        await (await engine.get(run.id)).retry()
            await asyncio.sleep(5 * PAUSE_S)

    @contextlib.contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        """Pass over an error of the file; what else is raised is wrong."""
        try:
            yield
        except durable.StoreError as error:
            self._fault.hear(str(error))
            self.outcome.raised[f"{what}: {type(error).__name__}"] += 1
        except apsw.Error as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "/durable/_" in frame.filename]
            where = f"{ours[-1].name} in {Path(ours[-1].filename).name}" if ours else "nowhere"
            self.outcome.raw.append(f"{what}: {error!r} from {where}")

    def _note_unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Note what a callback of the loop's has raised, and end: what it left out never comes."""
        what = f"{context.get('message')}: {context.get('exception')!r}"
        self.outcome.wrong.append(f"unhandled: {what}")
        assert self._main is not None
        self._main.cancel()
