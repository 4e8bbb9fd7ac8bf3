"""What runs or waits for longer than a second has a row, so that people see it."""

import asyncio

import durable
from durable import Engine, Limits, activity, workflow
from durable.testing import ManualClock


@activity
async def slow_upload(name: str) -> str:
    durable.heartbeat({"done": 25})
    await asyncio.Event().wait()
    return name


@workflow
async def uploads(name: str) -> str:
    return await slow_upload(name)


async def until(holds):
    async with asyncio.timeout(10):
        while not (found := await holds()):
            await asyncio.sleep(0.01)
    return found


async def test_running_names_what_runs_and_what_waits(tmp_path):
    clock = ManualClock(jumps=False)
    limits = Limits(max_running_activities=1)
    async with Engine(tmp_path / "app.db", clock=clock, limits=limits, grace=0) as engine:
        first = await engine.start(uploads.options(id="first"), "a")
        second = await engine.start(uploads.options(id="second"), "b")
        clock.advance(18)

        async def is_shown():
            details = await first.details()
            return details if "attempt 1" in details.why else None

        async def is_queued():
            details = await second.details()
            return details if "waits for a place" in details.why else None

        one, other = await until(is_shown), await until(is_queued)

    assert one.why == (
        'slow_upload (step 1), attempt 1, 18.0s, heartbeat {"done":25}; worker 1 has it in hand'
    )
    assert other.why == (
        "slow_upload (step 1) waits for a place or a thread; worker 1 has it in hand"
    )
    (step,) = one.steps
    assert (step.status, step.arguments, step.details) == ("running", '["a"]', '{"done":25}')
    assert step.started is not None
    assert [step.status for step in other.steps] == ["queued"]


@activity
async def quick() -> int:
    return 1


@workflow
async def is_quick() -> int:
    return await quick()


async def test_what_is_quick_has_no_row(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        run = await engine.start(is_quick)

        assert await run.result() == 1
        assert engine._reader.steps(run._pk) == []
