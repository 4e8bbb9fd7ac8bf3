"""The harness itself: what it must not get wrong, whatever the writer's thread does meanwhile."""

import asyncio

import pytest

from durable import Signal, workflow
from durable.testing.harness import MODES, Harness

go = Signal("go", int)


@workflow
async def adds_two() -> int:
    return await go.receive() + await go.receive()


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_is_finished_whose_end_is_in_the_file_before_its_engine_knows(tmp_path, mode):
    async with Harness(tmp_path / "app.db", mode) as harness:
        handle = await harness.start(adds_two)
        worker = harness.engine._worker
        assert worker is not None
        # Both events are in one commit, and the engine vanishes after the first of them.
        await asyncio.gather(handle.signal(go, 3), handle.signal(go, 4))
        while handle._pk not in worker.live or worker.live[handle._pk].uncommitted < 2:
            await asyncio.sleep(0)
        while harness.engine._get_row(handle._pk).is_open:
            pass  # The loop stands still here: only the writer's thread goes on.

        assert await harness.finish(handle) == 7
