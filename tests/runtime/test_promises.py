"""Promises and tokens: answered once, from outside, over retries and ordinals."""

import asyncio

import pytest

import durable
from durable import Value, activity, workflow
from durable.testing import ManualClock

token = Value("token", str)


class Sad(Exception):
    pass


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


async def answer(harness, handle, verb, value, seen=""):
    """Answer the token the run shows, once it shows another than ``seen``; return it."""
    vanished = False
    while True:
        await asyncio.sleep(0)
        run = await harness.again(handle)
        found = await (await harness.engine.get(run.id)).read(token, default="")
        if found in {"", seen}:
            continue
        try:
            await getattr(harness.engine, verb)(found, value)
        except durable.UsageError as error:
            if vanished and isinstance(error, durable.TokenUnknown):
                return found  # It was answered before the engine vanished.
            if "engine" not in str(error):
                raise
            vanished = True
        else:
            return found


@workflow
async def asks_in_vain() -> str:
    asked = durable.promise("ok", int)
    try:
        await asked.wait(10)
    except TimeoutError:
        token.set(asked.token)
    try:
        return f"kept {await asked}"
    except durable.PromiseRejected as error:
        return f"rejected {error}"


@pytest.mark.parametrize(
    ("verb", "value", "said"), [("resolve", 7, "kept 7"), ("reject", "no", "rejected no")]
)
async def test_a_promise_that_timed_out_may_still_be_answered(durable_harness, verb, value, said):
    harness = durable_harness
    handle = await harness.start(asks_in_vain)

    await answer(harness, handle, verb, value)

    assert await harness.finish(handle) == said


async def test_an_answer_of_the_wrong_type_is_a_dead_letter_and_the_run_waits_on(durable_harness):
    harness = durable_harness
    handle = await harness.start(asks_in_vain)

    await answer(harness, handle, "resolve", "no number")
    while not (await (await harness.again(handle)).details()).dead_letters:
        await asyncio.sleep(0)
    await answer(harness, handle, "resolve", 7)

    assert await harness.finish(handle) == "kept 7"


@workflow
async def asks_each_time(left: int, got: list[int]) -> list[int]:
    asked = durable.promise("ok", int)
    token.set(asked.token)
    got = [*got, await asked]
    if left > 1:
        durable.continue_as_new(left - 1, got)
    return got


async def test_each_ordinal_of_a_run_has_promises_of_its_own(durable_harness):
    harness = durable_harness
    handle = await harness.start(asks_each_time, 3, [])

    seen = ""
    for value in (1, 2, 3):
        seen = await answer(harness, handle, "resolve", value, seen)

    assert await harness.finish(handle) == [1, 2, 3]


async def test_a_token_is_good_once_and_for_its_own_run_alone(engine):
    run = await engine.start(asks_each_time.options(id="x"), 1, [])
    found = await anext(run.watch(token))
    for wrong in ("", "nonsense", found[:-4] + "AAAA", "é"):
        with pytest.raises(durable.TokenUnknown):
            await engine.resolve(wrong, 1)

    await engine.resolve(found, 1)

    with pytest.raises(durable.TokenUnknown):
        await engine.resolve(found, 2)
    assert await run.result() == [1]
    with pytest.raises(durable.TokenUnknown, match="completed"):
        await engine.resolve(found, 2)


@workflow
async def asks_and_minds() -> int:
    asked = durable.promise("ok", int)
    token.set(asked.token)
    return await asked


async def test_a_rejected_promise_may_be_kept_after_a_retry(engine):
    run = await engine.start(asks_and_minds)
    found = await anext(run.watch(token))
    await engine.reject(found, "not yet")
    with pytest.raises(durable.RunFailed, match="not yet"):
        await run.result()

    again = await run.retry()
    await engine.resolve(found, 5)

    async with asyncio.timeout(5):
        assert await again.result() == 5


@workflow
async def answers_an_update_of_the_same_name() -> int:
    double = durable.Update("double", int, int)
    double.handler(lambda value: 2 * value)
    asked = durable.promise("ok", int)
    token.set(asked.token)
    return await asked


async def test_an_updates_id_is_no_steps_answer(engine):
    run = await engine.start(answers_an_update_of_the_same_name)
    assert await run.update(durable.Update("double", int, int), 4, id="1") == 8

    await engine.resolve(await anext(run.watch(token)), 5)

    assert await run.result() == 5


@activity(schedule_to_close="1h")
async def by_hand() -> str:
    token.set(durable.complete_later())
    return "ignored"


@workflow
async def waits_for_a_hand() -> str:
    try:
        return await by_hand()
    except (durable.PromiseRejected, durable.ActivityTimeout) as error:
        return type(error).__name__


@pytest.mark.parametrize(("verb", "said"), [("resolve", "done"), ("reject", "PromiseRejected")])
async def test_an_activity_is_completed_after_its_worker_died(tmp_path, verb, said):
    clock = ManualClock(jumps=False)
    async with durable.Engine(tmp_path / "app.db", clock=clock, grace=0) as engine:
        run = await engine.start(waits_for_a_hand.options(id="x"))
        found = await anext(run.watch(token))
        engine._running().crash()
    async with durable.Engine(tmp_path / "app.db", clock=clock) as engine:
        run = await engine.get("x")
        await getattr(engine, verb)(found, "done")

        async with asyncio.timeout(5):
            assert await run.result() == said


async def test_nobody_completes_the_activity_in_time(durable_harness):
    assert await durable_harness.run(waits_for_a_hand) == "ScheduleToCloseTimeout"
