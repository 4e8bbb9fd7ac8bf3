"""A worker gives back what waits for its places and has not begun, where another could take it."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import durable
from durable import Engine, Limits, activity, workflow
from tests.until import until

FEW = Limits(max_running_activities=2, threads_max=1)
MANY = Limits(max_running_activities=40, threads_max=20)


class Gate:
    def __init__(self) -> None:
        self.opened = threading.Event()
        self.began: list[str] = []


gates: dict[str, Gate] = {}


@pytest.fixture
def gate(tmp_path: Path) -> Any:
    made = gates[str(tmp_path)] = Gate()
    yield made
    made.opened.set()
    del gates[str(tmp_path)]


@activity
async def held(key: str) -> str:
    run = durable.attempt().run_id
    gates[key].began.append(run)
    while not gates[key].opened.is_set():
        await asyncio.sleep(0.002)
    return run


@activity
def held_on_a_thread(key: str) -> str:
    run = durable.attempt().run_id
    gates[key].began.append(run)
    gates[key].opened.wait(20)
    return run


go = durable.Signal[None]("go")


@activity
async def quick() -> int:
    return 1


@workflow
async def one_step(key: str) -> str:
    return await held(key)


@workflow
async def one_plain_step(key: str) -> str:
    return await held_on_a_thread(key)


@workflow
async def second_step(key: str) -> str:
    await quick()
    await go.receive()
    return await held(key)


FUNCTIONS = [one_step, one_plain_step, second_step]


@contextlib.asynccontextmanager
async def two_engines(
    path: Path, first: Limits = FEW, second: Limits = MANY, others: Any = None
) -> AsyncIterator[tuple[Engine, Engine]]:
    async with (
        Engine(path, functions=FUNCTIONS, limits=first, grace=0) as one,
        Engine(path, functions=others or FUNCTIONS, limits=second, grace=0) as other,
    ):
        yield one, other


@pytest.mark.slow
@pytest.mark.parametrize("defined", [one_step, one_plain_step], ids=["async", "plain"])
async def test_a_backlog_that_one_engine_started_spreads_over_the_other(tmp_path, gate, defined):
    key = str(tmp_path)
    async with two_engines(tmp_path / "app.db") as (one, other):
        runs = [await one.start(defined.options(id=f"r-{at}"), key) for at in range(15)]

        await until(lambda: len(gate.began) >= 14)
        assert len(other._running().live) >= 11
        assert await one.count("status:running") != {}
        gate.opened.set()
        found = [await run.result() for run in runs]

    assert found == [f"r-{at}" for at in range(15)]
    assert Counter(gate.began) == Counter(found)  # Nothing that had begun was given back.


@pytest.mark.slow
async def test_the_most_urgent_stay_and_no_more_go_than_have_no_place_soon(tmp_path, gate):
    key = str(tmp_path)
    async with two_engines(tmp_path / "app.db") as (one, _):
        for at in range(12):
            await one.start(one_step.options(id=f"r-{at}", priority=-at), key)

        await until(lambda: len(gate.began) >= 11)
        kept = sorted(run.row.id for run in one._running().live.values())
        gate.opened.set()

    # The first two had begun; of the others one is kept ahead, the most urgent.
    assert {"r-0", "r-1", "r-11"} == set(kept)


@pytest.mark.slow
@pytest.mark.parametrize("others", [[second_step], None], ids=["does not know it", "is full"])
async def test_what_no_other_could_take_is_served_here_in_the_end(tmp_path, gate, others):
    key = str(tmp_path)
    async with two_engines(tmp_path / "app.db", second=FEW, others=others) as (one, _):
        runs = [await one.start(one_step.options(id=f"r-{at}"), key) for at in range(9)]
        await until(lambda: len(gate.began) >= (2 if others else 4))
        await asyncio.sleep(0)

        counted = await one.count()
        gate.opened.set()
        found = [await run.result() for run in runs]

    assert set(counted) <= {"running", "queued"}
    assert Counter(gate.began) == Counter(found)


@pytest.mark.slow
async def test_an_engine_that_is_alone_keeps_all_it_started(tmp_path, gate):
    key = str(tmp_path)
    async with Engine(tmp_path / "app.db", functions=FUNCTIONS, limits=FEW, grace=0) as engine:
        for at in range(9):
            await engine.start(one_step.options(id=f"r-{at}"), key)
        await until(
            lambda: sum(run.shown == "queued" for run in engine._running().live.values()) > 6
        )

        engine._running().claims.give_back()

        assert len(engine._running().live) == 9
        gate.opened.set()


@pytest.mark.slow
async def test_a_run_that_has_recorded_anything_is_not_given_back(tmp_path, gate):
    key = str(tmp_path)
    async with two_engines(tmp_path / "app.db") as (one, other):
        runs = [await one.start(second_step.options(id=f"r-{at}"), key) for at in range(6)]
        live = one._running().live
        await until(lambda: all(run.driver.seq == 1 for run in live.values()))
        for run in runs:
            await run.signal(go, None)
        await until(lambda: sum(run.shown == "queued" for run in live.values()) == 4)

        one._running().claims.give_back()

        assert (len(live), len(other._running().live)) == (6, 0)
        gate.opened.set()
        for run in runs:
            await run.result()
    assert len(gate.began) == 6
