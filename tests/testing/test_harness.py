"""The harness itself: what it must not get wrong, whatever the writer's thread does meanwhile."""

import asyncio

import pytest

import durable
from durable import Signal, workflow
from durable.testing.harness import MODES, Harness

go = Signal("go", int)


@workflow
async def adds_two() -> int:
    return await go.receive() + await go.receive()


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_is_finished_whose_end_is_in_the_file_before_its_engine_knows(tmp_path, mode):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[adds_two]) as engine:
        begun = await engine.start(adds_two)  # Signals that come before would be its first drain's.
        while not engine._running().live:
            await asyncio.sleep(0)
    async with durable.Client(path) as client:
        told = await client.get(begun.id)
        await told.signal(go, 3)
        await told.signal(go, 4)
    harness = Harness(path, mode, functions=[adds_two])
    opening = asyncio.create_task(harness.__aenter__())
    # Both events are made in one turn of the loop, and the engine vanishes after the first of them.
    while (worker := harness.engine._worker) is None or told._pk not in worker.live:
        await asyncio.sleep(0)
    assert worker.live[told._pk].uncommitted == 2
    while worker.store.reader.find_run(told._pk).is_open:
        pass  # The loop stands still here: only the writer's thread goes on.

    try:
        assert await harness.finish(told) == 7
    finally:
        await opening
        await harness.__aexit__(None, None, None)
