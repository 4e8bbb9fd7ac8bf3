"""Families: links both ways, other engines' children, and restarts of parents from any place."""

import asyncio
from typing import Any

import pytest

import durable
from durable import Signal, activity, workflow
from durable.testing import ManualClock

go = Signal("go", bool)
broken = [False]
began: list[int] = []


class Torn(Exception):
    pass


@pytest.fixture(autouse=True)
def _forget():
    broken[0] = False
    began.clear()


@pytest.fixture
async def engine(tmp_path):
    # Where a restart and its children are looked at in between, one engine lives.
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


@activity(retry=durable.Retry(max_attempts=1))
async def family_step(value: int) -> int:
    if broken[0]:
        raise Torn(str(value))
    return value


@workflow
async def family_of(depth: int) -> int:
    if depth == 0:
        return await family_step(1)
    return 1 + await family_of.options(id=f"level-{depth - 1}")(depth - 1)


@pytest.mark.parametrize("depth", [1, 2, 12])
async def test_a_family_is_linked_both_ways_and_has_one_root(durable_harness, depth):
    harness = durable_harness
    handle = await harness.start(family_of.options(id=f"level-{depth}"), depth)

    assert await harness.finish(handle) == depth + 1

    run = await harness.again(handle)
    assert await run.parent() is None
    assert (await run.details()).parent == ""
    for level in range(depth - 1, -1, -1):
        (child,) = await run.children()
        parent = await child.parent()
        details = await child.details()
        assert parent is not None
        assert (child.name, parent.name) == (f"level-{level}", f"level-{level + 1}")
        assert (details.parent, details.root) == (parent.name, f"level-{depth}")
        assert [one.id for one in (await run.details()).children] == [child.name]
        run = child
    assert await run.children() == []


@workflow
async def family_fails() -> int:
    raise Torn("always")


@workflow
async def leaves_a_failing_child() -> str:
    child = await family_fails.options(id="fails").start()
    while not child.done():
        await asyncio.sleep(1)
    return "unharmed"


async def test_a_failing_child_fails_no_parent_that_does_not_await_it(durable_harness):
    assert await durable_harness.run(leaves_a_failing_child) == "unharmed"


@workflow
async def family_goes_on(left: int) -> int:
    found = await family_step.options()(left)
    child = await family_step_run.options(id=f"of-{left}")(left)
    if left:
        durable.continue_as_new(left - 1)
    return found + child


@workflow
async def family_step_run(value: int) -> int:
    return await family_step(value)


async def test_each_ordinal_of_a_run_that_goes_on_has_its_own_children(durable_harness):
    harness = durable_harness
    handle = await harness.start(family_goes_on.options(id="on"), 1)

    await harness.finish(handle)

    await harness.again(handle)
    for name, child in (("on#1", "of-1"), ("on#2", "of-0")):
        run = await harness.engine.get(name)
        assert [one.name for one in await run.children()] == [child]


@workflow
async def waits_for_go() -> bool:
    return await go.receive()


@workflow
async def goes_on_beside_a_child(left: int) -> int:
    await waits_for_go.options(on_parent_close="terminate").start()
    if left:
        durable.continue_as_new(left - 1)
    return left


async def test_an_open_child_lives_on_when_its_parent_goes_on_as_new(durable_harness):
    harness = durable_harness
    handle = await harness.start(goes_on_beside_a_child.options(id="on"), 1)

    assert await harness.finish(handle) == 0

    await harness.again(handle)
    (first,) = await (await harness.engine.get("on#1")).children()
    (second,) = await (await harness.engine.get("on#2")).children()
    assert (first.name, second.name) == ("on/1", "on/1#2")
    assert await (await harness.engine.get("on/1#1")).status() in {"queued", "running", "waiting"}
    assert await second.status() == "terminated"


# -- other engines ---------------------------------------------------------------------------------


async def test_a_child_is_claimed_by_another_engine_while_its_parents_lives(tmp_path):
    # Two engines of one file are the point; the harness has one.
    @workflow
    async def far_child(value: int) -> int:
        return value + 1

    @workflow
    async def near_parent(value: int) -> int:
        return await far_child.options(id="far")(value)

    path = tmp_path / "app.db"
    async with (
        durable.Engine(path, functions=[near_parent]) as near,
        durable.Engine(path, functions=[far_child]),
        asyncio.timeout(10),
    ):
        run = await near.start(near_parent, 1)

        assert await run.result() == 2


# -- restarts --------------------------------------------------------------------------------------


@workflow
async def family_restarted(value: int, how: str) -> int:
    began.append(value)
    if how == "open":
        await go.receive()
    if how == "failed":
        await family_step(value)
    return value


@workflow
async def restarts_with(kind: str, how: str) -> list[int]:
    await family_step_plain(0)
    ids = ["c0", "c1"]

    async def one(value: int) -> int:
        return await family_restarted.options(id=ids[value])(value, how)

    match kind:
        case "awaited":
            return [await one(0)]
        case "handle":
            child = await family_restarted.options(id="c0").start(0, how)
            return [await child.result()]
        case _:
            return await durable.map(one, range(2), limit=2)


@activity
async def family_step_plain(value: int) -> int:
    return value


async def until(engine: Any, name: str, status: str) -> Any:
    async with asyncio.timeout(5):
        while True:
            try:
                run = await engine.get(name)
            except durable.RunNotFound:
                await asyncio.sleep(0)
                continue
            if await run.status() == status:
                return run
            await asyncio.sleep(0)


@pytest.mark.parametrize("children", ["keep", "again"])
@pytest.mark.parametrize("how", ["open", "completed", "failed"])
@pytest.mark.parametrize("kind", ["awaited", "handle", "map"])
@pytest.mark.parametrize("place", ["start", "1"])
async def test_a_restarted_parent_keeps_its_children_or_begins_them_again(
    engine, kind, how, children, place
):
    count = 2 if kind == "map" else 1
    broken[0] = how == "failed"
    run = await engine.start(restarts_with.options(id="p"), kind, how)
    for index in range(count):
        await until(engine, f"c{index}", {"open": "waiting"}.get(how, how))
    if how != "open":
        await asyncio.gather(run.result(), return_exceptions=True)
    broken[0] = False

    again = await run.restart(place, children=children)
    names = [f"c{index}" for index in range(count)]
    if how == "open":
        for name in names:
            newest = f"{name}#2" if children == "again" else name
            await (await until(engine, newest, "waiting")).signal(go, True)

    async with asyncio.timeout(5):
        assert await again.result() == list(range(count))
    is_new = children == "again" or how == "failed"
    for name in names:
        newest = await engine.get(name)
        parent = await newest.parent()
        assert parent is not None
        assert (newest.ordinal, parent.name) == (2 if is_new else 1, "p#2")
    assert [one.name for one in await again.children()] == [
        f"{name}#2" if is_new else name for name in names
    ]


@pytest.mark.parametrize("place", ["start", "1"])
async def test_an_open_child_is_terminated_when_it_is_begun_again(engine, place):
    run = await engine.start(restarts_with.options(id="p"), "handle", "open")
    await until(engine, "c0", "waiting")

    await run.restart(place, children="again")
    await until(engine, "c0#2", "waiting")

    assert await (await engine.get("c0#1")).status() == "terminated"
