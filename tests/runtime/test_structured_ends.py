"""Ends are structured: a run ends when its main function and the handlers that had begun have."""

import asyncio

import pytest

import durable
from durable import Signal, Update, Value, activity, workflow
from durable.testing import MODES, Harness
from tests.runtime.insist import insist, reach

item = Signal("item", int)
stop = Signal("stop", str)
add = Update("add", int, int)
state = Value("state", list[str])


@activity
async def slow(value: int) -> int:
    return value


@activity
async def clean(what: str) -> str:
    return what


@pytest.fixture(params=MODES)
async def harness(request, tmp_path):
    async with Harness(tmp_path / "app.db", request.param) as found:
        yield found


@workflow
async def takes(got: list[int], how: str) -> list[int]:
    said: list[str] = []

    @item.handler
    async def _(value: int) -> None:
        try:
            if how == "wait":
                await asyncio.Event().wait()
            await durable.sleep(60)
            got.append(await slow(value))
        except asyncio.CancelledError:
            said.append(await clean(f"cleaned up {value}"))
            state.set(said)
            raise

    await stop.receive()
    if how == "return":
        return got
    if how == "go on":
        durable.continue_as_new(got, "return")
    if how == "fail":
        raise ValueError("the main function failed")
    await asyncio.Event().wait()
    return got


async def begun(harness, how):
    run = await harness.start(takes.options(id="x"), [], how)
    await insist(harness, run, lambda one: one.signal(item, 1, id="1"))
    await reach(harness, run, lambda kinds: "received" in kinds)
    await insist(harness, run, lambda one: one.signal(stop, "now", id="stop"))
    return run


async def cancelled_once(run):
    """Cancel a run; a second cancel would cut its clean-up short, as asyncio's does."""
    client = run._client
    asked = client._reader.inbox_of_run(run._pk)
    kinds = [event.kind for event in await run.history()]
    if "cancel_requested" not in kinds and not any(one.kind == "cancel" for one in asked):
        await run.cancel("enough")


async def test_a_return_waits_for_the_handlers_that_have_begun(harness):
    run = await begun(harness, "return")

    assert await harness.finish(run) == [1]


async def test_going_on_as_new_waits_for_them_and_their_work_is_kept(harness):
    run = await begun(harness, "go on")
    await insist(harness, run, lambda one: one.signal(stop, "again", id="again"))

    assert await harness.finish(run) == [1]


async def test_a_failure_cancels_them_and_waits_for_their_clean_up(harness):
    run = await begun(harness, "fail")

    with pytest.raises(durable.RunFailed, match="the main function failed"):
        await harness.finish(run)
    assert await (await harness.again(run)).read(state) == ["cleaned up 1"]


async def test_a_cancel_cancels_them_and_waits_for_their_clean_up(harness):
    run = await begun(harness, "wait")
    await reach(harness, run, lambda kinds: kinds.count("received") == 2)

    await insist(harness, run, cancelled_once)

    with pytest.raises(durable.RunCancelled, match="enough"):
        await harness.finish(run)
    assert await (await harness.again(run)).read(state) == ["cleaned up 1"]


@workflow
async def ends_slowly() -> str:
    @item.handler
    async def _(value: int) -> None:
        await stop.receive()

    @add.handler
    async def _(value: int) -> int:
        return value

    await add_seen()
    return "returned"


async def add_seen() -> None:
    await durable.sleep(1)


async def test_from_the_end_of_the_main_function_on_no_handler_begins(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        run = await harness.start(ends_slowly.options(id="x"))
        await run.signal(item, 1)
        async with asyncio.timeout(10):
            while await run.status() != "waiting":
                await asyncio.sleep(0.01)

        why = (await run.details()).why
        with pytest.raises(durable.UpdateRefused, match="its main function has ended"):
            await run.update(add, 1)
        await run.signal(item, 2)
        await run.signal(stop, "now")

        assert await run.result() == "returned"
        assert "the end of its handlers (signal item#1): its main function has ended" in why
        letters = (await run.details()).dead_letters
        assert [(one.name, one.payload) for one in letters] == [("item", "2")]


@workflow
async def leaves_its_handler() -> str:
    @item.handler(on_end="abandon")
    async def _(value: int) -> None:
        await asyncio.Event().wait()

    await stop.receive()
    return "returned"


async def test_an_abandoned_handler_is_not_waited_for(harness):
    run = await harness.start(leaves_its_handler.options(id="x"))
    await insist(harness, run, lambda one: one.signal(item, 1, id="1"))
    await insist(harness, run, lambda one: one.signal(stop, "now", id="stop"))

    assert await harness.finish(run) == "returned"


@workflow
async def cleans_up_when_a_handler_fails() -> None:
    @item.handler
    async def _(value: int) -> None:
        raise ValueError(f"no {value}")

    try:
        await asyncio.Event().wait()
    finally:
        state.set([await clean("the main function cleaned up")])


async def test_a_handler_that_raises_cancels_the_main_function_as_a_task_group_does(harness):
    run = await harness.start(cleans_up_when_a_handler_fails.options(id="x"))

    await insist(harness, run, lambda one: one.signal(item, 1, id="1"))

    with pytest.raises(durable.RunFailed, match="no 1"):
        await harness.finish(run)
    assert await (await harness.again(run)).read(state) == ["the main function cleaned up"]


async def test_a_cancel_ends_a_run_that_only_waits_for_its_handlers(harness):
    with harness.clock_held():
        run = await harness.start(ends_slowly.options(id="x"))
        await insist(harness, run, lambda one: one.signal(item, 1, id="1"))
    await reach(harness, run, lambda kinds: "fired" in kinds)

    await insist(harness, run, cancelled_once)

    with pytest.raises(durable.RunCancelled, match="enough"):
        await harness.finish(run)


def test_on_end_is_wait_or_abandon():
    with pytest.raises(durable.UsageError, match='"wait" or "abandon"'):
        item.handler(on_end="leave")


approvd = Signal("approvd", int)


@workflow
async def waits_for_a_stop() -> str:
    return await stop.receive()


async def test_a_signal_that_nothing_asks_for_is_told_while_the_run_waits_and_kept_at_its_end(
    tmp_path,
):
    async with Harness(tmp_path / "app.db") as harness:
        run = await harness.start(waits_for_a_stop.options(id="x"))
        await run.signal(approvd, 1)
        async with asyncio.timeout(10):
            while await run.status() != "waiting":
                await asyncio.sleep(0.01)

        why = (await run.details()).why
        await run.signal(stop, "now")
        await run.result()
        letters = (await run.details()).dead_letters

    assert why == "signal stop; signals came that nothing in the code asks for: 'approvd' (1)"
    assert [(one.name, one.why) for one in letters] == [
        ("approvd", "the run ended, and its code had not received it")
    ]
