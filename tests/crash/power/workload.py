"""Runs of every kind, and what the outside does with them, as a plan that can be driven again.

Every act has an id or asks first, so a plan can be driven to its end over any state of the file.
What the outside learns is handed to `told`, at the moment it learns it.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import durable
from durable import Retry, Signal, Stream, Update, Value, activity, transaction, workflow

SOON = Retry(initial_interval=0.01, max_interval=0.02, jitter=0)
TABLES = (
    "CREATE TABLE IF NOT EXISTS ledger (key TEXT, amount INTEGER)",
    "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, amount INTEGER)",
)
# Above the size from which a payload is kept in a blob, and of chance: zlib takes it to half.
BLOB_BYTES, PAGE_BYTES = 60_000, 3_000

number, stop = Signal("number", int), Signal("stop", bool)
add = Update("add", int, int)
lines, state = Stream("lines", str), Value("state", str)


class Outside:
    """What the world around the runs knows, and has mended.

    Attributes:
        told: Called with the kind of a fact and what it is about.
        begun: (run, step, number, activity) of each attempt that began.
        mended: Ids of the runs whose bug is mended.
    """

    def __init__(self) -> None:
        self.told: Callable[..., None] = lambda kind, *about: None
        self.begun: list[tuple[str, str, int, str]] = []
        self.mended: set[str] = set()

    def begin(self, after: int = 0) -> durable.AttemptInfo:
        """Note that an attempt begins: those before it, and so many events, are recorded."""
        attempt = durable.attempt()
        name = attempt.activity.rpartition(".")[2]
        self.begun.append((attempt.run_id, attempt.step_id, attempt.number, name))
        self.told("attempt", attempt.run_id, attempt.step_id, attempt.number)
        self.told("events", attempt.run_id, after)
        return attempt


outside = Outside()


def text_of(n: int, size: int) -> str:
    return f"{n}:" + random.Random(n).randbytes(size // 2).hex()


# -- activities ---------------------------------------------------------------------------------


@activity(retry=SOON)
async def write(n: int, size: int) -> str:
    outside.begin(after=n)
    return text_of(n, size)


@activity(retry=SOON)
async def flaky(n: int) -> int:
    if (attempt := outside.begin(after=n)).number < 3:
        raise ConnectionError(f"attempt {attempt.number} fails")
    return n


@activity(retry=SOON)
def in_thread(n: int, after: int = 0) -> int:
    outside.begin(after)
    return n * n


@activity(at_most_once=True)
async def pay(n: int) -> int:
    attempt = outside.begin(after=n)
    outside.told("paid", attempt.run_id, attempt.step_id)
    await asyncio.sleep(0.002)
    return n


@activity(retry=Retry(max_attempts=1))
async def breaks(n: int) -> int:
    if outside.begin(after=1).run_id not in outside.mended:
        raise ValueError("the bug")
    return n


@activity(retry=SOON)
async def speak(count: int, after: int) -> int:
    outside.begin(after)
    for n in range(count):
        lines.append(f"activity {n}")
        await asyncio.sleep(0.001)
    return count


@transaction(retry=SOON)
def book(cursor: durable.Cursor, amount: int) -> int:
    """Add a row to the ledger; every third amount fails first, which must leave nothing.

    What happened before may be recorded by the same commit, so it tells nothing of it.
    """
    attempt = outside.begin()
    cursor.execute("INSERT INTO ledger VALUES (?, ?)", (attempt.idempotency_key, amount))
    if attempt.number == 1 and amount % 3 == 2:
        raise ConnectionError("the first attempt fails")
    return amount


# -- workflows ----------------------------------------------------------------------------------


@workflow
async def steps(count: int, size: int) -> list[int]:
    return [len(await write(n, size)) for n in range(count)]


@workflow
async def retries(count: int) -> int:
    return sum([await flaky(n) for n in range(count)])


@workflow
async def threads(count: int) -> int:
    return sum(await asyncio.gather(*(in_thread(n) for n in range(count))))


@workflow
async def sleeps(count: int) -> int:
    for _ in range(count):
        await durable.sleep(0.02)
    return await in_thread(count, after=count)


@workflow
async def receives(count: int) -> list[int]:
    return [await book(await number.receive()) for _ in range(count)]


@workflow
async def goes_on(left: int, found: list[int]) -> list[int]:
    found = [*found, await number.receive()]
    if left > 1:
        durable.continue_as_new(left - 1, found)
    return found


@workflow
async def adds() -> int:
    total = 0

    @add.handler
    async def on_add(amount: int) -> int:
        nonlocal total
        total += await book(amount)
        return total

    await stop.receive()
    return total


@workflow
async def child(amount: int) -> int:
    await durable.sleep(0.005)
    return await book(amount)


@workflow
async def parent(count: int) -> list[int]:
    return list(await asyncio.gather(*(child(n) for n in range(count))))


@workflow
async def asks() -> str:
    answer = durable.promise("answer", str)
    state.set(answer.token)
    return await answer


@workflow
async def says(count: int) -> int:
    for n in range(count):
        lines.append(f"workflow {n}")
        state.set(f"round {n}")
        await speak(3, after=n)
    return count


@workflow
async def pays(count: int) -> int:
    total = 0
    for n in range(count):
        try:
            total += await pay(n)
        except durable.OutcomeUnknown:
            total += n
    return total


@workflow
async def stopped() -> None:
    try:
        await stop.receive()
    finally:
        await book(77)


@workflow
async def fails(amount: int) -> int:
    await book(amount)
    return await breaks(amount)


# -- the plan -----------------------------------------------------------------------------------


class Planned(NamedTuple):
    """A run, how it is treated, and what becomes of it."""

    id: str
    work: Any
    arguments: tuple[Any, ...]
    how: str
    wanted: Any


_KINDS: tuple[tuple[str, Any, tuple[Any, ...], str, Any], ...] = (
    ("steps", steps, (4, PAGE_BYTES), "wait", [PAGE_BYTES + 2] * 4),
    ("big", steps, (2, BLOB_BYTES), "wait", [BLOB_BYTES + 2] * 2),
    ("retries", retries, (2,), "wait", 1),
    ("threads", threads, (3,), "wait", 5),
    ("sleeps", sleeps, (2,), "wait", 4),
    ("receives", receives, (3,), "signal", [10, 11, 12]),
    ("goes", goes_on, (3, []), "signal", [10, 11, 12]),
    ("adds", adds, (), "update", 33),
    ("parent", parent, (3,), "wait", [0, 1, 2]),
    ("asks", asks, (), "answer", "yes"),
    ("says", says, (2,), "tail", 2),
    ("pays", pays, (3,), "wait", 3),
    ("cancelled", stopped, (), "cancel", "cancelled"),
    ("terminated", stopped, (), "terminate", "terminated"),
    ("fails", fails, (5,), "retry", 5),
    ("order", child, (50,), "order", 50),
)


def plan(size: int) -> list[Planned]:
    """Return so many runs of each kind."""
    return [
        Planned(f"{name}-{n}", work, arguments, how, wanted)
        for n in range(size)
        for name, work, arguments, how, wanted in _KINDS
    ]


# Rows in the ledger that a run of a kind leaves; one that is cancelled may not have begun.
LEDGER_ROWS = {
    "receives": {3}, "adds": {3}, "parent": {3}, "cancelled": {0, 1}, "terminated": {0},
    "fails": {1}, "order": {1},
}  # fmt: skip


# -- driving ------------------------------------------------------------------------------------


class Driver:
    """Does what the outside does with the runs of a plan, through an engine and a client."""

    def __init__(self, engine: durable.Engine, client: durable.Client) -> None:
        self._engine = engine
        self.client = client

    async def begin(self, one: Planned) -> durable.Run[Any]:
        """Start a run, alone or together with its order."""
        start = one.work.options(id=one.id)
        if one.how == "order":

            def place(tables: durable.EngineTransaction) -> str:
                tables.execute("INSERT OR IGNORE INTO orders VALUES (?, 1)", (one.id,))
                return tables.start(start, *one.arguments)

            await self._engine.transaction(place)
            outside.told("ordered", one.id)
            return await self._engine.get(one.id)
        run: durable.Run[Any] = await self._engine.start(start, *one.arguments)
        outside.told("started", one.id)
        return run

    async def drive(self, one: Planned) -> Any:
        """Do everything that is to be done with a run, and return what became of it."""
        own = await self.begin(one)
        run = await self.client.get(one.id)
        with contextlib.suppress(durable.RunClosed, durable.TokenUnknown):
            await self._treat(one.how, run)
        if one.how in {"cancel", "terminate"}:
            return await self._end_of_stopped(own)
        if one.how == "retry":
            own = await self._mend(one.id)
        value = await own.result()
        outside.told("result", one.id, value)
        return value

    async def _treat(self, how: str, run: durable.Run[Any]) -> None:
        treatments: dict[str, Callable[[durable.Run[Any]], Awaitable[None]]] = {
            "signal": self._signal,
            "update": self._update,
            "answer": self._answer,
            "tail": self._tail,
            "cancel": self._cancel,
            "terminate": self._terminate,
        }
        if how in treatments:
            await treatments[how](run)

    async def _signal(self, run: durable.Run[Any]) -> None:
        for n in range(3):
            await run.signal(number, 10 + n, id=f"m{n}")
            outside.told("signal", run.id, f"m{n}")

    async def _update(self, run: durable.Run[Any]) -> None:
        for n in range(3):
            answer = await run.update(add, 10 + n, id=f"u{n}")
            outside.told("update", run.id, f"u{n}", answer)
        await run.signal(stop, True, id="stop")
        outside.told("signal", run.id, "stop")

    async def _answer(self, run: durable.Run[Any]) -> None:
        async for token in run.watch(state):
            outside.told("value", run.id, token)
            await self.client.resolve(token, "yes")
            outside.told("answered", run.id)
            return

    async def _tail(self, run: durable.Run[Any]) -> None:
        async for item in run.tail(lines):
            kind = "item of an attempt" if item.attempt else "item"
            outside.told(kind, run.id, item.position, item.value)

    async def _cancel(self, run: durable.Run[Any]) -> None:
        await run.cancel("enough")
        outside.told("stopped", run.id, "cancel")

    async def _terminate(self, run: durable.Run[Any]) -> None:
        await run.terminate("enough")
        outside.told("stopped", run.id, "terminate")

    async def _end_of_stopped(self, run: durable.Run[Any]) -> str:
        state = (await run.wait()).status
        outside.told("closed", run.id, state)
        return state

    async def _mend(self, run_id: str) -> durable.Run[Any]:
        """Retry a run that failed, once its bug is mended; return its newest ordinal."""
        run = await self._engine.get(run_id)
        try:
            await run.result()
        except durable.RunFailed:
            outside.told("failed", run_id)
        outside.mended.add(run_id)
        outside.mended.add(f"{run_id}#2")
        with contextlib.suppress(durable.WrongState):
            await (await self._engine.get(run_id)).retry()
            outside.told("retried", run_id)
        return await self._engine.get(run_id)


async def make_tables(engine: durable.Engine) -> None:
    def make(tables: durable.EngineTransaction) -> None:
        for text in TABLES:
            tables.execute(text)

    await engine.transaction(make)
    outside.told("tables")


async def live(
    path: str, durability: Any, driven: Iterable[Planned], begun: Iterable[Planned] = ()
) -> dict[str, Any]:
    """Let an engine and a client live: some runs are driven to their end, others only begin."""
    driven = list(driven)
    async with durable.Engine(path, durability=durability, grace=0) as engine:
        await make_tables(engine)
        async with durable.Client(path) as client:
            driver = Driver(engine, client)
            for one in begun:
                await driver.begin(one)
            ends = await asyncio.gather(*(driver.drive(one) for one in driven))
    return {one.id: end for one, end in zip(driven, ends, strict=True) if end != one.wanted}
