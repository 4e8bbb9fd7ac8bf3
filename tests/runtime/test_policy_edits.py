"""A pending step gets another retry policy or other timeouts, while its run goes on."""

from __future__ import annotations

import asyncio
import json

import pytest

from durable import Client, Engine, Retry, activity, workflow
from durable.errors import RunClosed, RunFailed, UsageError, WrongState
from durable.testing import ManualClock
from tests.until import until

attempts: list[int] = []
succeeds_at = [0]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    attempts.clear()
    succeeds_at[0] = 0


@activity(retry=Retry(initial_interval=3_600, backoff=1, jitter=0))
async def slow_retry() -> int:
    attempts.append(1)
    if len(attempts) < succeeds_at[0] or not succeeds_at[0]:
        raise ConnectionError(f"attempt {len(attempts)}")
    return len(attempts)


@activity(retry=Retry(max_attempts=1))
async def hangs() -> int:
    attempts.append(1)
    await asyncio.sleep(3_600)
    return 1


@activity(at_most_once=True)
async def once() -> int:
    attempts.append(1)
    await asyncio.sleep(3_600)
    return 1


@workflow
async def tries() -> int:
    return await slow_retry()


@workflow
async def hanging() -> int:
    return await hangs()


@workflow
async def at_most_once() -> int:
    return await once()


def turn(engine: Engine, clock: ManualClock, seconds: float) -> None:
    clock.advance(seconds)
    engine._running().timers.fire_due()


@pytest.fixture
async def playing(tmp_path):
    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", clock=clock, grace=0) as engine:
        yield engine, clock


async def test_a_wait_gets_shorter_and_attempts_count_by_the_new_policy(playing):
    engine, clock = playing
    run = await engine.start(tries.options(id="x"))
    await until(lambda: attempts and engine._reader.steps(run._pk))

    await run.edit("1", max_attempts=3, initial_interval="5s", reason="it is urgent")
    await asyncio.sleep(0.05)
    for made in (1, 2):
        assert len(attempts) == made
        turn(engine, clock, 5)
        await until(lambda: len(attempts) == made + 1)  # noqa: B023  awaited at once
        await asyncio.sleep(0.05)

    with pytest.raises(RunFailed, match="attempt 3"):
        await run.result()
    (row,) = (await run.details()).audit
    assert (row.verb, row.why) == ("edit", "it is urgent")
    assert '"max_attempts":3' in row.details


async def test_the_audit_of_an_edit_says_times_as_people_do(playing):
    engine, _ = playing
    run = await engine.start(tries.options(id="x"))
    await until(lambda: attempts and engine._reader.steps(run._pk))

    await run.edit("1", start_to_close="30d", heartbeat=None, max_interval=1.5, backoff=2.0)

    (row,) = (await run.details()).audit
    assert json.loads(row.details) == {
        "step": "1",
        "start_to_close": "2592000s",
        "heartbeat": "none",
        "max_interval": "1.5s",
        "backoff": 2.0,
    }


async def test_a_wait_never_gets_longer(playing):
    engine, clock = playing
    run = await engine.start(tries.options(id="x"))
    await until(lambda: attempts and engine._reader.steps(run._pk))
    succeeds_at[0] = 2

    await run.edit("1", initial_interval="30d", max_interval="30d")
    await asyncio.sleep(0.05)
    turn(engine, clock, 3_601)

    assert await run.result() == 2


@pytest.mark.parametrize("limit", ["start_to_close", "heartbeat", "schedule_to_close"])
async def test_an_attempt_that_runs_gets_limits_from_its_begin(playing, limit):
    engine, clock = playing
    run = await engine.start(hanging.options(id="x"))
    await until(lambda: attempts)
    clock.advance(30)

    await run.edit("1", **{limit: "20s"})

    ending = asyncio.ensure_future(run.result())
    while not ending.done():
        turn(engine, clock, 0)
        await asyncio.sleep(0)
    with pytest.raises(RunFailed, match=r"did not end within 20 s|no heartbeat for 20 s"):
        await ending


async def test_a_limit_is_lifted(tmp_path):
    clock = ManualClock(jumps=False)

    @activity(start_to_close=10, retry=Retry(max_attempts=1))
    async def limited() -> int:
        attempts.append(1)
        await go.wait()
        return 7

    @workflow
    async def waits() -> int:
        return await limited()

    go = asyncio.Event()
    async with Engine(tmp_path / "app.db", functions=[waits], clock=clock) as engine:
        run = await engine.start(waits.options(id="x"))
        await until(lambda: attempts)
        await run.edit("1", start_to_close=None)
        await asyncio.sleep(0.05)
        turn(engine, clock, 100)
        go.set()

        assert await run.result() == 7


async def test_it_is_kept_over_restarts_and_by_later_ordinals(tmp_path):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    async with Engine(path, clock=clock) as engine:
        run = await engine.start(tries.options(id="x"))
        await until(lambda: attempts and engine._reader.steps(run._pk))
    async with Client(path) as client:
        await (await client.get("x")).edit("1", max_attempts=2)
    clock.advance(3_601)
    async with Engine(path, clock=clock) as engine:
        run = await engine.get("x")
        with pytest.raises(RunFailed, match="attempt 2"):
            await run.result()
        again = await run.retry()
        await until(lambda: len(attempts) == 3)
        await asyncio.sleep(0.05)
        turn(engine, clock, 3_601)
        with pytest.raises(RunFailed, match="attempt 4"):
            await again.result()
        assert await (await engine.get("x#1")).remove() == 1
        assert engine._reader.policies(1) == {}


async def test_a_paused_run_has_it_when_it_goes_on(playing):
    engine, clock = playing
    run = await engine.start(tries.options(id="x"))
    await until(lambda: attempts and engine._reader.steps(run._pk))
    await run.pause()
    while await run.status() != "paused":
        await asyncio.sleep(0)

    await run.edit("1", max_attempts=2)
    await run.edit("1", backoff=2)
    await run.resume()
    await asyncio.sleep(0.05)
    turn(engine, clock, 3_601)

    with pytest.raises(RunFailed, match="attempt 2"):
        await run.result()


async def test_what_does_not_go_with_the_step_changes_nothing(playing, caplog):
    engine, _ = playing
    run = await engine.start(at_most_once.options(id="x"))
    await until(lambda: attempts)

    await run.edit("1", max_attempts=5)
    await until(lambda: "is of no use" in caplog.text)

    assert "at_most_once=True means one attempt" in caplog.text
    await run.terminate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "say what of the step"),
        ({"max_attempts": 0}, "must be a whole number of 1 or more"),
        ({"max_attempts": "many"}, "must be a whole number"),
        ({"max_attempts": 4.5}, "must be a whole number"),
        ({"max_attempts": True}, "must be a whole number"),
        ({"backoff": 0.5}, "must be a number from 1"),
        ({"backoff": "x"}, "must be a number from 1"),
        ({"initial_interval": "soon"}, "no duration"),
        ({"max_interval": 0}, "longer than 0"),
        ({"on_exhausted": "explode"}, "on_exhausted"),
        ({"start_to_close": 0}, "start_to_close must be longer than 0"),
        ({"heartbeat": "later"}, "no duration"),
    ],
)
async def test_wrong_use_is_refused_before_anything_is_stored(playing, changes, message):
    engine, _ = playing
    run = await engine.start(tries.options(id="x"))

    with pytest.raises(UsageError, match=message):
        await run.edit("1", **changes)

    assert engine._reader.policies(run._pk) == {}


async def test_what_has_ended_has_no_policy(playing):
    engine, _ = playing
    succeeds_at[0] = 1
    run = await engine.start(tries.options(id="x"))
    await run.result()

    with pytest.raises(RunClosed):
        await run.edit("1", max_attempts=2)
    two = await engine.start(two_steps.options(id="y"))
    await until(lambda: engine._reader.find_newest("y") and len(attempts) > 2)
    with pytest.raises(WrongState, match="step 1 of run y has ended"):
        await two.edit("1", max_attempts=2)


@activity
async def quick() -> int:
    attempts.append(1)
    return 1


@workflow
async def two_steps() -> int:
    await quick()
    return await hangs()
