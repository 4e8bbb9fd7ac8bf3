"""Children: ends of every kind, adoption by a retried parent, other workers."""

import asyncio

import pytest

import durable
from durable import Signal, Value, activity, workflow
from durable.testing import ManualClock
from tests.until import until

number = Signal("number", int)
go = Signal("go", bool)
state = Value("state", str)


class Sad(Exception):
    pass


@activity
async def echo_child(value: int) -> int:
    return value


async def wait_for(harness, handle, name):
    """Wait until a run of this name is in the file; return it."""
    while True:
        await harness.again(handle)
        try:
            return await harness.engine.get(name)
        except durable.RunNotFound:
            await asyncio.sleep(0)


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


# -- ends of every kind ----------------------------------------------------------------------------


@workflow
async def waits_for_go() -> str:
    return "went" if await go.receive() else "stayed"


@workflow
async def tells_its_childs_end(how: str) -> str:
    options = waits_for_go.options(id="the-child")
    try:
        if how == "awaited":
            return await options()
        return await (await options.start()).result()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("how", ["awaited", "handle"])
@pytest.mark.parametrize(
    ("verb", "said"),
    [("cancel", "RunCancelled: run the-child was cancelled: because"),
     ("terminate", "RunTerminated: run the-child was terminated: because")],
)  # fmt: skip
async def test_a_child_stopped_from_outside_is_an_exception(durable_harness, how, verb, said):
    harness = durable_harness
    handle = await harness.start(tells_its_childs_end, how)
    child = await wait_for(harness, handle, "the-child")

    await getattr(child, verb)("because")

    assert await harness.finish(handle) == said


@workflow
async def child_goes_on(left: int, total: int) -> int:
    total += await echo_child(left)
    if left > 1:
        durable.continue_as_new(left - 1, total)
    return total


@workflow
async def awaits_one_that_goes_on(how: str) -> int:
    options = child_goes_on.options(id="goes-on")
    if how == "awaited":
        return await options(3, 0)
    return await (await options.start(3, 0)).result()


@pytest.mark.parametrize("how", ["awaited", "handle"])
async def test_a_child_that_goes_on_is_awaited_to_its_last_end(durable_harness, how):
    harness = durable_harness

    handle = await harness.start(awaits_one_that_goes_on, how)

    assert await harness.finish(handle) == 6
    assert (await (await harness.again(handle))._client.get("goes-on")).ordinal == 3


@workflow
async def child_that_waits_on(left: int) -> str:
    await number.receive()
    if left:
        durable.continue_as_new(left - 1)
    return "done"


@workflow
async def cancels_one_that_went_on() -> str:
    handle = await child_that_waits_on.options(id="went-on").start(1)
    await number.send(handle, 1)
    await go.receive()
    await handle.cancel("enough")
    try:
        await handle.result()
    except durable.RunCancelled as error:
        return error.args[-1]
    return "never"


async def test_a_handle_cancels_the_ordinal_its_child_went_on_as(durable_harness):
    harness = durable_harness
    handle = await harness.start(cancels_one_that_went_on)
    await wait_for(harness, handle, "went-on#2")
    await (await harness.again(handle)).signal(go, True)

    assert await harness.finish(handle) == "enough"


@workflow
async def cancels_its_wait(on_cancel: str) -> str:
    options = waits_for_go.options(id="the-child", on_cancel=on_cancel)  # type: ignore[arg-type]
    task = asyncio.ensure_future(options())
    await number.receive()
    task.cancel()
    (outcome,) = await durable.settle(task)
    return type(outcome.error).__name__


@pytest.mark.parametrize(("on_cancel", "end"), [("cancel", "cancelled"), ("abandon", "completed")])
async def test_a_task_cancelled_at_its_await_cancels_the_child_if_told_so(
    durable_harness, on_cancel, end
):
    harness = durable_harness
    harness.started.append(waits_for_go)
    handle = await harness.start(cancels_its_wait, on_cancel)
    child = await wait_for(harness, handle, "the-child")
    await (await harness.again(handle)).signal(number, 1)

    assert await harness.finish(handle) == "CancelledError"
    if on_cancel == "abandon":
        await (await harness.again(child)).signal(go, True)
    await asyncio.gather(harness.finish(child), return_exceptions=True)
    assert await (await harness.again(child)).status() == end


# -- ends of the parent ----------------------------------------------------------------------------


@workflow
async def leaves_three(how: str) -> None:
    for what in ("abandon", "cancel", "terminate"):
        options = waits_for_go.options(id=f"to-{what}", on_parent_close=what)  # type: ignore[arg-type]
        await options.start()
    await number.receive()
    if how == "fails":
        raise Sad(how)


@pytest.mark.parametrize("how", ["completes", "fails", "is cancelled", "is terminated"])
async def test_each_end_of_a_parent_minds_its_children(durable_harness, how):
    harness = durable_harness
    handle = await harness.start(leaves_three, how)
    await wait_for(harness, handle, "to-terminate")
    run = await harness.again(handle)
    match how:
        case "is cancelled":
            await run.cancel()
        case "is terminated":
            await run.terminate()
        case _:
            await run.signal(number, 1)

    await asyncio.gather(harness.finish(handle), return_exceptions=True)
    abandoned = await wait_for(harness, handle, "to-abandon")
    await abandoned.signal(go, True)

    assert await harness.finish(abandoned) == "went"
    for what in ("cancel", "terminate"):
        child = await wait_for(harness, handle, f"to-{what}")
        await asyncio.gather(harness.finish(child), return_exceptions=True)
        assert (await (await harness.again(child)).status()).startswith(what)


# -- ids -------------------------------------------------------------------------------------------


@workflow
async def wants_an_id_that_is_taken(how: str) -> str:
    try:
        if how == "awaited":
            await child_goes_on.options(id="taken")(1, 1)
        else:
            await child_goes_on.options(id="taken").start(1, 1)
    except durable.IdConflict:
        return f"conflict, {await child_goes_on.options(id='free')(1, 1)}"
    return "never"


@pytest.mark.parametrize("how", ["awaited", "started"])
async def test_an_id_of_somebody_else_is_an_error_and_the_parent_goes_on(durable_harness, how):
    harness = durable_harness
    taken = await harness.start(child_goes_on.options(id="taken"), 1, 1)
    await harness.finish(taken)
    await harness.again(taken)

    handle = await harness.start(wants_an_id_that_is_taken, how)

    assert await harness.finish(handle) == "conflict, 2"
    assert await (await harness.again(taken)).children() == []


# -- a parent that is retried ----------------------------------------------------------------------

broken = {"parent": False, "child": False}
began: list[str] = []


@activity(retry=durable.Retry(max_attempts=1))
async def may_break(who: str) -> int:
    if broken[who]:
        raise Sad(f"{who} is broken")
    return 1


@activity
async def note_began(who: str) -> None:
    began.append(who)


@workflow
async def adopted(how: str) -> str:
    await note_began("child")
    if how in {"open", "completed"}:
        await go.receive()
    if how == "failed":
        await may_break("child")
    return f"child {how}"


@workflow
async def adopts(how: str) -> str:
    async with asyncio.TaskGroup() as group:
        child = group.create_task(adopted.options(id="adopted", on_cancel="abandon")(how))
        await number.receive()
        await may_break("parent")
    return child.result()


@pytest.mark.parametrize(
    ("how", "child_is", "parent_is"),
    [("open", "adopted", "adopts#2"), ("completed", "adopted", "adopts#2"),
     ("recorded", "adopted", "adopts"), ("failed", "adopted#2", "adopts#2")],
)  # fmt: skip
async def test_a_retried_parent_goes_on_with_its_child(
    engine, monkeypatch, how, child_is, parent_is
):
    began.clear()
    monkeypatch.setitem(broken, "parent", True)
    monkeypatch.setitem(broken, "child", True)
    run = await engine.start(adopts.options(id="adopts"), how)
    if how == "recorded":
        while not await run.history():
            await asyncio.sleep(0)
    await run.signal(number, 1)
    with pytest.raises(durable.RunFailed):
        await run.result()
    if how == "completed":
        child = await engine.get("adopted")
        await child.signal(go, True)
        await child.result()
    monkeypatch.setitem(broken, "parent", False)
    monkeypatch.setitem(broken, "child", False)

    again = await run.retry()
    if how == "open":
        await (await engine.get("adopted")).signal(go, True)

    async with asyncio.timeout(10):
        assert await again.result() == f"child {how}"
    assert began == ["child"]
    newest = await engine.get("adopted")
    parent = await newest.parent()
    assert parent is not None
    assert (again.name, newest.name, parent.name) == ("adopts#2", child_is, parent_is)


# -- other workers ---------------------------------------------------------------------------------


async def test_a_child_is_run_by_the_engine_that_alone_knows_it(tmp_path):
    path = tmp_path / "app.db"

    @workflow
    async def far(value: int) -> int:
        return value + int(await go.receive())

    @workflow
    async def near(value: int) -> int:
        return await far.options(id="far")(value)

    async with durable.Engine(path, functions=[near], grace=0) as engine:
        await engine.start(near.options(id="near"), 5)
        while not await engine.count("workflow:far status:waiting"):
            await asyncio.sleep(0)

    async with durable.Engine(path, functions=[far]) as knows_the_child:
        run = await knows_the_child.get("far")
        await run.signal(go, True)
        assert await run.result() == 6
        assert await knows_the_child.count("workflow:near status:completed") == {}
        async with durable.Engine(path, functions=[near]) as knows_the_parent:
            assert await (await knows_the_parent.get("near")).result() == 6


# -- a child that is given up ----------------------------------------------------------------------


@workflow
async def sleeps_long() -> None:
    await durable.sleep("30d")


@workflow
async def gives_its_child_up() -> int:
    task = asyncio.ensure_future(sleeps_long.options(id="the-child")())
    await echo_child(1)
    task.cancel()
    return await echo_child(2)


async def test_a_child_that_is_given_up_hears_of_it(durable_harness):
    durable_harness.clock.jumps = False
    run = await durable_harness.start(gives_its_child_up.options(id="parent"))

    assert await durable_harness.finish(run) == 2

    async def is_cancelled():
        return await (await durable_harness.engine.get("the-child")).status() == "cancelled"

    await until(is_cancelled)
