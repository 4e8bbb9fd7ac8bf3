"""What the core makes of code that is unusual: it swallows, forgets, or waits for nothing."""

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import durable
from durable import Query, Signal, Update, Value, activity, workflow
from durable.testing import MODES, Harness, ManualClock
from tests.runtime.insist import insist, reach
from tests.until import until

go = Signal("go", int)
double = Update("double", int, int)
never = Signal("never", int)
asked = Query("asked", str)
state = Value("state", int)


@pytest.fixture(params=MODES)
async def harness(request, tmp_path):
    clock = ManualClock(jumps=False)  # What sleeps sleeps on.
    async with Harness(tmp_path / "app.db", request.param, clock=clock) as opened:
        yield opened


@activity
async def hang() -> None:
    await asyncio.Event().wait()


@workflow
async def hanging_child() -> None:
    await never.receive()


async def in_a_timeout() -> None:
    async with asyncio.timeout(3600):
        await never.receive()


async def in_a_scope() -> None:
    with anyio.move_on_after(3600):
        await hang()


async def in_a_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(hang())


async def after_a_value() -> None:
    state.set(1)
    await durable.sleep(3600)


WAITS: dict[str, Callable[[], Awaitable[object]]] = {
    "activity": hang,
    "sleep": lambda: durable.sleep(3600),
    "receive": never.receive,
    "child": hanging_child,
    "wait_until": lambda: durable.wait_until(lambda: False),
    "timeout": in_a_timeout,
    "scope": in_a_scope,
    "task group": in_a_task_group,
    "value": after_a_value,
    "map": lambda: durable.map(lambda _: durable.sleep(3600), [1, 2]),
}


async def swallow(what: str) -> None:
    while True:
        with contextlib.suppress(BaseException):
            await WAITS[what]()


@workflow
async def swallows(what: str, place: str) -> None:
    match place:
        case "main":
            waiting = asyncio.create_task(never.receive())
            await swallow(what)
            await waiting
        case "handler":
            go.handler(lambda _: swallow(what))
            await never.receive()
        case "finally":
            try:
                await never.receive()
            finally:
                await swallow(what)


@pytest.mark.parametrize("place", ["main", "finally"])
@pytest.mark.parametrize("what", WAITS)
async def test_a_run_that_swallows_everything_is_terminated(harness, what, place):
    run = await harness.start(swallows.options(id="x"), what, place)

    await insist(harness, run, lambda one: one.terminate())

    with pytest.raises(durable.RunTerminated):
        await harness.finish(run)


@pytest.mark.parametrize("what", WAITS)
async def test_an_engine_closes_though_its_runs_swallow_everything(tmp_path, what):
    async with Harness(tmp_path / "app.db", clock=ManualClock(jumps=False)) as harness:
        run = await harness.start(swallows, what, "handler")
        await run.signal(go, 1)
        await reach(harness, run, lambda kinds: "received" in kinds)

    async with durable.Client(tmp_path / "app.db") as client:
        assert await (await client.get(run.id)).status() in ("queued", "waiting", "sleeping")


# -- handlers of all kinds -------------------------------------------------------------------------


@activity
async def doubled(value: int) -> int:
    return 2 * value


class Doubles:
    async def __call__(self, value: int) -> int:
        return await doubled(value)


@workflow
async def listens(kind: str) -> list[int]:
    heard: list[int] = []

    async def hear(value: int) -> None:
        heard.append(await doubled(value))

    handlers: dict[str, Any] = {"lambda": lambda value: doubled(value=value), "object": Doubles()}
    double.handler(handlers[kind])
    go.handler(lambda value: hear(value=value))
    await durable.wait_until(lambda: bool(heard))
    return heard


@pytest.mark.parametrize("kind", ["lambda", "object"])
async def test_handlers_that_are_no_async_functions_are_awaited(harness, kind):
    run = await harness.start(listens.options(id="x"), kind)

    answer = await insist(harness, run, lambda one: one.update(double, 4, id="u"))
    await insist(harness, run, lambda one: one.signal(go, 5, id="s"))

    assert answer == 8
    assert await harness.finish(run) == [10]


@workflow
async def ends_with_its_handler(how: str) -> str:
    seen = asyncio.Event()

    async def hear(_: int) -> None:
        seen.set()
        if how == "late":
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        raise ValueError("the handler failed")

    go.handler(hear)
    await seen.wait()
    return "the main function ended"


async def test_what_a_handler_raises_before_the_main_function_ends_fails_the_run(harness):
    run = await harness.start(ends_with_its_handler.options(id="x"), "early")

    await insist(harness, run, lambda one: one.signal(go, 1, id="s"))

    with pytest.raises(durable.WorkflowError, match="the handler failed"):
        await harness.finish(run)


async def test_what_a_handler_raises_that_outlives_the_main_function_fails_the_run_too(harness):
    run = await harness.start(ends_with_its_handler.options(id="x"), "late")

    await insist(harness, run, lambda one: one.signal(go, 1, id="s"))

    with pytest.raises(durable.WorkflowError, match="the handler failed"):
        await harness.finish(run)


# -- waiting for nothing ---------------------------------------------------------------------------


@activity
async def clean_up() -> str:
    return "cleaned"


@workflow
async def serves() -> None:
    asked.handler(lambda: "here")
    try:
        await asyncio.Event().wait()
    finally:
        state.set(1)
        await clean_up()


async def test_a_run_that_waits_for_a_cancel_is_cancelled_after_its_clean_up(harness):
    run = await harness.start(serves.options(id="x"))

    await insist(harness, run, lambda one: one.cancel("enough"))

    with pytest.raises(durable.RunCancelled, match="enough"):
        await harness.finish(run)
    assert await insist(harness, run, lambda one: one.read(state)) == 1


async def test_a_cancel_that_is_there_before_the_first_step_reaches_a_run_that_waits_for_it(
    tmp_path,
):
    async with durable.Client(tmp_path / "app.db", create=True) as client:
        run = await client.start(serves.options(id="x"))
        await run.cancel("enough")

    async with durable.Engine(tmp_path / "app.db", functions=[serves]) as engine:
        with pytest.raises(durable.RunCancelled, match="enough"):
            await (await engine.get("x")).result()


async def test_a_run_that_waits_for_nothing_answers_queries_and_says_so_once(tmp_path, caplog):
    async with Harness(tmp_path / "app.db") as harness:
        run = await harness.start(serves.options(id="x"))
        while await run.status() != "waiting":
            await asyncio.sleep(0.01)

        answers = [await run.query(asked) for _ in range(2)]
        why = (await run.details()).why
        await until(lambda: any("waits for nothing" in one.message for one in caplog.records))

    told = [one for one in caplog.records if "waits for nothing that is durable" in one.message]
    assert answers == ["here", "here"]
    assert why == "only a cancel can wake it"
    assert len(told) == 1
    assert told[0].name == "durable.engine"
    assert "test_given_up_core.py" in told[0].message


# -- failures that nothing awaited -----------------------------------------------------------------


@workflow
async def fails_in_a_child() -> None:
    raise ValueError("the child failed")


@workflow
async def forgets(what: str) -> str:
    async def fails_in_a_task() -> None:
        raise KeyError("nobody awaits me")

    if what == "task":
        task = asyncio.create_task(fails_in_a_task())
        await doubled(1)
        return "ended" if task.done() else "begun"
    await fails_in_a_child.start()
    await durable.sleep(60)
    return "ended"


async def test_a_failed_task_that_nothing_awaited_is_told_once_with_its_run(harness, caplog):
    run = await harness.start(forgets.options(id="x"), "task")

    assert await harness.finish(run) == "ended"
    await asyncio.sleep(0)

    told = [one for one in caplog.records if "nothing has awaited it" in one.getMessage()]
    assert [one.getMessage() for one in told] == [
        "run x: task 1 failed, and nothing has awaited it: KeyError: 'nobody awaits me'"
    ]


async def test_asyncio_says_nothing_of_a_failed_child_that_nothing_awaited(tmp_path, caplog):
    async with Harness(tmp_path / "app.db", functions=[fails_in_a_child]) as harness:
        run = await harness.start(forgets.options(id="x"), "child")
        assert await harness.finish(run) == "ended"
        kinds = [event.kind for event in await run.history()]
    gc.collect()

    assert len(kinds) == 3  # It was started, it failed, and the parent slept on.
    assert not [one for one in caplog.records if "never retrieved" in one.getMessage()]
