"""Ten thousand steps given up in every way: afterwards the engine performs as it did before."""

import asyncio
import os
import random
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import durable
from durable import Engine, Limits, Retry, activity, transaction, workflow
from tests.until import until

# `make crash` plays all of them, and so many runs side by side.
GIVE_UPS = int(os.environ.get("DURABLE_MANY_GIVE_UPS", "1000"))
RUNS = 20
PLACES, THREADS = 12, 4
SEED = 20_261_201


class Probe:
    """Counts bodies while it is full: so many attempts really are performed side by side."""

    def __init__(self) -> None:
        self.inside = 0
        self.lock = threading.Lock()
        self.opened = threading.Event()

    def enter(self) -> None:
        with self.lock:
            self.inside += 1


PROBES: dict[str, Probe] = {}


@activity
async def quick(value: int) -> int:
    await asyncio.sleep(0)
    return value


@activity(start_to_close=60)
async def waits(value: int) -> int:
    await asyncio.Event().wait()
    return value


@activity
async def swallows(value: int) -> int:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0.001)
    return value


@activity(retry=Retry(initial_interval=0.001, jitter=0))
async def fails(value: int) -> int:
    raise ValueError(value)


@activity
def on_a_thread(value: int) -> int:
    return value


@transaction
def writes(cursor: durable.Cursor, value: int) -> int:
    cursor.execute("INSERT INTO written (value) VALUES (?)", (value,))
    return value


STEPS = (quick, waits, swallows, fails, on_a_thread, writes)


async def give_up_one(at: int, chance: random.Random) -> None:
    """Ask for a step and give it up, or for several of which one is taken."""
    asked = [chance.choice(STEPS)(at) for _ in range(chance.randint(1, 3))]
    match chance.randrange(5):
        case 0:
            await durable_timeout(asyncio.gather(*asked), chance.choice([0, 0, 0.002]))
        case 1:
            tasks = [asyncio.ensure_future(one) for one in asked]
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        case 2:
            tasks = [asyncio.ensure_future(one) for one in (*asked, quick(at))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        case 3:
            tasks = [asyncio.ensure_future(one) for one in asked]
            await durable_timeout(asyncio.shield(asyncio.gather(*tasks)), 0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        case _:
            await durable_timeout(durable.map(on_a_thread, range(3), limit=2), 0)
            for one in asked:
                one.close()


async def durable_timeout(what: Any, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await what
    except TimeoutError:
        pass


@workflow
async def gives_up(seed: int, count: int) -> int:
    chance = random.Random(seed)
    for at in range(count):
        await give_up_one(at, chance)
    return count


@activity
async def probed(key: str) -> None:
    PROBES[key].enter()
    while not PROBES[key].opened.is_set():
        await asyncio.sleep(0.001)


@activity
def probed_on_a_thread(key: str) -> None:
    PROBES[key].enter()
    PROBES[key].opened.wait(20)


@workflow
async def fills(key: str, on_threads: bool, count: int) -> None:
    called = probed_on_a_thread if on_threads else probed
    await asyncio.gather(*(called(key) for _ in range(count)))


def make_table(cursor: durable.EngineTransaction) -> None:
    cursor.execute("CREATE TABLE written (value INTEGER)")


def is_full(probe: Probe, limit: int) -> bool:
    return probe.inside >= limit


async def performs(engine: Engine, key: str) -> tuple[int, int]:
    """Return how many async bodies, and plain ones, the engine performs side by side."""
    found = []
    for on_threads, limit in ((False, PLACES), (True, THREADS)):
        probe = PROBES[f"{key}-{on_threads}"] = Probe()
        run = await engine.start(fills, f"{key}-{on_threads}", on_threads, 2 * limit)
        await until(partial(is_full, probe, limit))
        found.append(probe.inside)
        probe.opened.set()
        await run.result()
    return found[0], found[1]


@pytest.mark.slow
async def test_an_engine_performs_after_any_number_of_give_ups_as_before(tmp_path: Path) -> None:
    limits = Limits(max_running_activities=PLACES, threads_max=THREADS)
    async with Engine(tmp_path / "app.db", limits=limits, durability="normal", grace=0) as engine:
        await engine.transaction(make_table)
        before = await performs(engine, "before")
        threads = threading.active_count()

        runs = [
            await engine.start(gives_up, SEED + number, GIVE_UPS // RUNS) for number in range(RUNS)
        ]
        for run in runs:
            assert await run.result() == GIVE_UPS // RUNS

        worker = engine._running()
        places = worker.activities.places
        await until(lambda: not (places.running or places.threads.in_use or places.waiting))
        assert await performs(engine, "after") == before == (PLACES, THREADS)
        await until(lambda: not worker.live)
        assert threading.active_count() <= threads
        await until(lambda: worker.timers.next_due_us() is None)
        histories = [await run.history() for run in runs]
        recorded = sum(
            event.name == "writes" and event.kind == "completed"
            for history in histories
            for event in history
        )
        rows = engine._reader._rows("SELECT COUNT(*) FROM written", ())[0][0]
        assert rows == recorded > 0
        assert engine._reader._rows("SELECT COUNT(*) FROM durable_step", ())[0][0] == 0
