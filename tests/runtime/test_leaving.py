"""An engine that leaves hands back what it was doing, however long its activities take to end."""

import asyncio

import pytest

from durable import Engine, Signal, activity, workflow
from durable.testing import ManualClock
from tests.until import until

go = Signal("go", int)


class Bodies:
    """Which bodies have begun, and when the one that lingers may end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = asyncio.Event()
        self.is_again = False


BODIES: list[Bodies] = []


@activity
async def works(name: str) -> str:
    bodies = BODIES[-1]
    bodies.begun.append(name)
    if not bodies.is_again:
        await asyncio.Event().wait()
    return name


@activity
async def lingers() -> None:
    bodies = BODIES[-1]
    bodies.begun.append("lingers")
    if bodies.is_again:
        return
    try:
        await asyncio.Event().wait()
    finally:
        await bodies.may_end.wait()


@workflow
async def waits_then_works() -> str:
    await go.receive()
    return await works("works")


@workflow
async def only_lingers() -> None:
    await lingers()


@pytest.fixture(autouse=True)
def _bodies():
    BODIES.append(Bodies())
    yield
    BODIES.clear()


async def test_a_run_whose_step_was_stopped_is_not_parked_while_its_engine_leaves(tmp_path):
    path, clock, bodies = tmp_path / "app.db", ManualClock(jumps=False), BODIES[-1]
    engine = Engine(path, clock=clock, grace=0)
    await engine.__aenter__()
    run = await engine.start(waits_then_works.options(id="works"))
    await run.signal(go, 1)
    await engine.start(only_lingers.options(id="lingers"))
    await until(lambda: sorted(bodies.begun) == ["lingers", "works"])
    worker = engine._worker
    live = worker.live[run._pk]

    leaving = asyncio.ensure_future(engine.__aexit__(None, None, None))
    await until(lambda: not live.is_working)
    live._park()  # As its timer does, a second after the run last waited.
    bodies.may_end.set()
    await leaving
    bodies.is_again = True

    async with Engine(path, clock=clock) as engine, asyncio.timeout(20):
        assert await (await engine.get("works")).result() == "works"
