"""A file with runs whose ends are known, what a bad disk makes of it, and what is then seen of it.

Laws, whatever is hit: nobody sees a traceback or waits for ever, the file is not opened again and
again, no run fails by it, and what is said to be a run's result is that result.
"""

import asyncio
import contextlib
import io
import logging
import random
import shutil
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import durable
import durable_cli
from durable import Signal, Stream, Value, activity, workflow
from tests.crash.damage import logs

PAGE_BYTES = 4096
# Of a text kept as it is, and of one kept in a blob.
SMALL_BYTES, LARGE_BYTES = 300, 40_000
# Far beyond what serving takes: about 0.1 s.
SERVE_S_MAX = 10.0
# How often an engine may open the file again in one life.
REOPENED_MAX = 2

go = Signal("go", int)
notes, shown = Stream("notes", str), Value("shown", str)


class Gate:
    """Whether the second half of the work may be done."""

    is_open = True


def text_of(n: int, size: int) -> str:
    return random.Random(n).randbytes(size // 2).hex()


@activity
async def writes(n: int, size: int) -> str:
    return text_of(n, size)


@activity
async def passes(n: int) -> int:
    if not Gate.is_open:
        await asyncio.Event().wait()
    return n


@workflow
async def work(n: int, size: int) -> str:
    """Return a text that depends on each recorded result."""
    found = [await writes(n * 10 + i, size) for i in range(3)]
    shown.set(f"{n} is half done")
    notes.append(f"{n} goes on")
    found.append(str(await passes(n)))
    found.append(await writes(n * 10 + 4, size))
    return "/".join(found)


@workflow
async def waits(n: int) -> int:
    return n + await go.receive()


@workflow
async def sleeps() -> None:
    await durable.sleep(1e6)


@workflow
async def breaks() -> None:
    raise ValueError("as asked")


FUNCTIONS: list[Any] = [work, waits, sleeps, breaks]


def wanted_of(n: int, size: int) -> str:
    parts = [text_of(n * 10 + i, size) for i in range(3)]
    return "/".join([*parts, str(n), text_of(n * 10 + 4, size)])


CLOSED = {f"closed-{n}": wanted_of(n, SMALL_BYTES if n % 4 else LARGE_BYTES) for n in range(8)}
OPEN = {f"open-{n}": wanted_of(n, SMALL_BYTES if n % 4 else LARGE_BYTES) for n in range(20, 26)}


async def fill(path: Path) -> None:
    """Make the file, and die with half of the work under way; the log is left beside it."""
    async with durable.Engine(path, functions=FUNCTIONS, grace=0) as engine:
        for run_id in CLOSED:
            await (await _start(engine, run_id)).result()
        for n in range(3):
            await engine.start(waits.options(id=f"waits-{n}"), n)
            await engine.start(sleeps.options(id=f"sleeps-{n}", tags=["slow"]))
        broken = await engine.start(breaks.options(id="broken"))
        with contextlib.suppress(durable.RunFailed):
            await broken.result()
    Gate.is_open = False
    engine = durable.Engine(path, functions=FUNCTIONS, grace=0)
    await engine.__aenter__()
    for run_id in OPEN:
        run = await _start(engine, run_id)
        async for _ in run.watch(shown):
            break


async def _start(engine: durable.Engine, run_id: str) -> durable.Run[str]:
    n = int(run_id.rpartition("-")[2])
    size = SMALL_BYTES if n % 4 else LARGE_BYTES
    return await engine.start(work.options(id=run_id), n, size)


# -- damage ---------------------------------------------------------------------------------------


class Hit(NamedTuple):
    """What a disk has done.

    Attributes:
        file: The end of the file's name.
        kind: What became of it.
        at: Where.
        to: Where else, or which bit.
        is_before_last: Whether commits of a log are lost by it that others follow.
    """

    file: str
    kind: str
    at: int
    to: int = 0
    is_before_last: bool = False

    def __str__(self) -> str:
        return f"{self.kind} at {self.at} ({self.to}) of app.db{self.file}"


def hits(folder: Path, count: int, seed: int) -> Iterator[Hit]:
    """Yield damage by chance: three of four in the file, the others in the log."""
    chance = random.Random(seed)
    size = (folder / "app.db").stat().st_size
    log = list(logs.frames_of((folder / "app.db-wal").read_bytes()))
    last = [one.end for one in log if one.commits][-2]
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        if number % 4 < 3:
            step, begin, places = PAGE_BYTES, 0, size // PAGE_BYTES
        else:
            step, begin, places = log[0].end - log[0].at, log[0].at, len(log)
        at, to = (begin + step * chance.randrange(places) for _ in range(2))
        if kind in {"bit", "bytes"}:
            at, to = at + chance.randrange(step), chance.randrange(8)
        if number % 4 < 3:
            yield Hit("", kind, at, to)
        else:
            # What is cut off leaves nothing that could tell.
            yield Hit("-wal", kind, at, to, at < last and kind != "cut" and at != to)


def aimed(folder: Path) -> Iterator[Hit]:
    """Yield hits that change one letter of a recorded text, and leave every page well formed."""
    data = (folder / "app.db").read_bytes()
    for wanted in CLOSED.values():
        for text in (wanted, wanted.split("/")[1]):
            at = data.find(f'"{text}"'.encode())
            if at >= 0:  # Large ones are compressed.
                yield Hit("", "letter", at)


def strike(path: Path, hit: Hit) -> None:
    """Do to a file what a disk has done."""
    with Path(f"{path}{hit.file}").open("r+b") as file:
        data = bytearray(file.read())
        KINDS_OF[hit.kind](data, hit.at, hit.to, PAGE_BYTES + (24 if hit.file else 0))
        file.seek(0)
        file.write(data)
        file.truncate(len(data))


def _flip(data: bytearray, at: int, to: int, _: int) -> None:
    data[at] ^= 1 << to


def _scribble(data: bytearray, at: int, to: int, _: int) -> None:
    data[at : at + 16] = random.Random(at + to).randbytes(len(data[at : at + 16]))


def _misspell(data: bytearray, at: int, _: int, __: int) -> None:
    """Change one letter of a text, also where an older page has it."""
    text = bytes(data[at : at + 40])
    data[:] = data.replace(text, text[:9] + bytes([text[9] ^ 1]) + text[10:])


def _zero(data: bytearray, at: int, _: int, size: int) -> None:
    data[at : at + size] = bytes(size)


def _swap(data: bytearray, at: int, to: int, size: int) -> None:
    data[at : at + size], data[to : to + size] = data[to : to + size], data[at : at + size]


def _copy(data: bytearray, at: int, to: int, size: int) -> None:
    data[at : at + size] = data[to : to + size]


def _garble(data: bytearray, at: int, to: int, size: int) -> None:
    data[at : at + size] = random.Random(at + to).randbytes(size)


def _cut(data: bytearray, at: int, _: int, __: int) -> None:
    del data[at:]


KINDS_OF: dict[str, Callable[[bytearray, int, int, int], None]] = {
    "bit": _flip, "bytes": _scribble, "zeros": _zero, "swap": _swap, "copy": _copy,
    "garbage": _garble, "cut": _cut, "letter": _misspell,
}  # fmt: skip
# Most disks flip bits, and most of a page is payload.
KINDS = ("bit", "zeros", "bit", "swap", "bytes", "copy", "bit", "garbage", "bytes", "cut", "bit")


# -- what is seen ---------------------------------------------------------------------------------


class Seen(logging.Handler):
    """What became of a damaged file, and what was wrong of that.

    Attributes:
        wrong: What broke a law.
        noticed: Who noticed the damage.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(logging.WARNING)
        self._path = path
        self.wrong: list[str] = []
        self.noticed: set[str] = set()
        self.reopened = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count how often the file is opened again."""
        self.reopened += "opens the file again" in record.getMessage()
        if record.exc_info and record.exc_info[0] and "asyncio" in record.name:
            self.wrong.append(f"logged: {record.getMessage()[:300]}: {record.exc_info[1]!r:.300}")

    def look(self) -> "Seen":
        """Look at the file, serve it, and look at it again."""
        names = [logging.getLogger(name) for name in ("durable", "asyncio")]
        for one in names:
            one.addHandler(self)
            one.propagate = False
        threads, threading.excepthook = threading.excepthook, self._raised_in_thread
        try:
            self._view("before")
            self._commands()
            self._served()
            self._view("after")
        finally:
            threading.excepthook = threads
            for one in names:
                one.removeHandler(self)
                one.propagate = True
        if self.reopened > REOPENED_MAX:
            self.wrong.append(f"it was opened again {self.reopened} times")
        return self

    def _raised_in_thread(self, what: threading.ExceptHookArgs) -> None:
        self.wrong.append(f"a thread raised {what.exc_value!r:.300}")

    @contextlib.contextmanager
    def _allowed(self, what: str) -> Iterator[None]:
        """Let the library say that something is wrong; nobody else may."""
        try:
            yield
        except durable.DurableError as error:
            self.noticed.add(what)
            if "\n" in str(error) and not isinstance(error, durable.Blocked):
                self.wrong.append(f"{what}: more than a line: {error}")
        except TimeoutError as error:
            self.wrong.append(f"{what}: no end: {error!r}")
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.wrong.append(f"{what}: {type(error).__name__}: {error!s:.300}{_where(error)}")

    def _view(self, when: str) -> None:
        is_first = when == "before"
        with self._allowed(f"view {when}"), durable.view(self._path) as runs:
            for look in (runs.count, runs.stats, runs.issues, runs.workers):
                with self._allowed(f"view {when}"):
                    look()
            with self._allowed(f"view {when}"):
                for one in runs.list(limit=100 if is_first else 3):
                    with self._allowed(f"view {when}"):
                        found = runs.get(one.id)
                        if any(step.status == "damaged" for step in found.steps):
                            self.noticed.add(f"view {when}")
            with self._allowed(f"doctor {when}"):
                if not all(
                    one.is_well
                    for one in runs.doctor(quick=not is_first)
                    if one.name not in _NOT_OF_IT
                ):
                    self.noticed.add(f"doctor {when}")

    def _commands(self) -> None:
        for words in (["ls"], ["show", "closed-1"], ["show", "open-21"], ["verify"]):
            out, err = io.StringIO(), io.StringIO()
            with self._allowed(f"durable {words[0]}"):
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    code = durable_cli.main(["-d", str(self._path), *words])
                if code:
                    self.noticed.add(f"durable {words[0]}")
                if "Traceback" in err.getvalue():
                    self.wrong.append(f"durable {words[0]}: {err.getvalue()[-400:]}")

    def _served(self) -> None:
        with self._allowed("engine"):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        asyncio.get_running_loop().set_exception_handler(self._unhandled)
        async with (
            asyncio.timeout(SERVE_S_MAX),
            durable.Engine(self._path, functions=FUNCTIONS, grace=0, on_issue=str) as engine,
        ):
            with self._allowed("start"):
                await self._ask_result(await _start(engine, "new-7"), wanted_of(7, 300))
            with self._allowed("signal"):
                await (await engine.get("waits-1")).signal(go, 5)
            for run_id, wanted in (CLOSED | OPEN).items():
                with self._allowed("result"):
                    run = await engine.get(run_id)
                    await self._ask_result(run, wanted)

    async def _ask_result(self, run: Any, wanted: str) -> None:
        """Ask a run that has ended for its result; it may be blocked instead."""
        while (await run.status()) not in _ENDS:
            await asyncio.sleep(0.005)
        found = await run.details()
        if found.status == "blocked":
            self.noticed.add("blocked")
            return
        if found.status in {"failed", "cancelled", "terminated"}:
            self.wrong.append(f"{run.id} is {found.status}: {found.error!s:.300}")
            return
        value = await run.result()
        if value != wanted:
            self.wrong.append(f"{run.id} has another result: {value!r:.60}")

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.wrong.append(f"unhandled: {context.get('message')}: {error!r:.300}{_where(error)}")


# Who serves the file, and how much room there is, is no damage.
_ENDS = {"completed", "failed", "cancelled", "terminated", "blocked"}
_NOT_OF_IT = {"workers", "disk", "blocked", "locks"}


def _where(error: BaseException | None) -> str:
    if error is None or error.__traceback__ is None:
        return ""
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "/durable/" in frame.filename
    ]
    return f" from {' '.join(frames[-4:])}"


def struck(base: Path, folder: Path, hit: Hit) -> Path:
    """Copy a file and what is beside it, and let a disk strike the copy."""
    folder.mkdir(parents=True)
    for one in base.glob("app.db*"):
        if not one.name.endswith("-shm"):
            shutil.copy2(one, folder)
    path = folder / "app.db"
    strike(path, hit)
    return path
