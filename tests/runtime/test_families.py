"""Families of runs: who runs a child, what binds it to its parent, and how both find each other."""

import asyncio

import pytest

import durable
from durable import Signal, activity, workflow
from durable.testing import ManualClock

go = Signal("go", bool)
number = Signal("number", int)
broken = {"parent": False}
noted: list[str] = []


class Sad(Exception):
    pass


@pytest.fixture(autouse=True)
def _mend():
    broken.update(parent=False)
    noted.clear()


@activity
async def echo(value: int) -> int:
    return value


@activity(retry=durable.Retry(max_attempts=1))
async def may_break(who: str) -> str:
    if broken[who]:
        raise Sad(f"{who} is broken")
    return who


@activity
async def note(text: str) -> None:
    noted.append(text)


async def appears(harness, handle, name):
    """Wait until a run of this name is in the file; return it."""
    while True:
        await harness.again(handle)
        try:
            return await harness.engine.get(name)
        except durable.RunNotFound:
            await asyncio.sleep(0)


async def end_of(harness, handle):
    """Drive a run to its end; return its status."""
    await asyncio.gather(harness.finish(handle), return_exceptions=True)
    return await (await harness.again(handle)).status()


@workflow
async def fails(text: str) -> int:
    await echo(1)
    raise Sad(text)


@workflow
async def waits() -> int:
    return await number.receive()


# -- other workers ---------------------------------------------------------------------------------
# Not by the harness: each engine here knows other functions.


@pytest.fixture
def two_functions():
    """Two workflows that only the engine they are given to knows."""

    @workflow
    async def far(value: int) -> int:
        if value < 0:
            raise Sad(f"{value}")
        return await echo(value) + int(await go.receive())

    @workflow
    async def near(value: int, how: str) -> str:
        options = far.options(id="far")
        try:
            if how == "awaited":
                return str(await options(value))
            handle = await options.start(value)
            if how == "cancelled":
                await handle.cancel("not needed")
            return str(await handle.result())
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    return near, far


@pytest.mark.parametrize("how", ["awaited", "handle"])
async def test_a_child_left_by_its_parent_s_engine_is_run_by_another(tmp_path, two_functions, how):
    near, far = two_functions
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[near], grace=0) as engine:
        await engine.start(near.options(id="near"), 5, how)
        while not await engine.count("workflow:far"):
            await asyncio.sleep(0)

    async with (
        asyncio.timeout(20),
        durable.Engine(path, functions=[far]) as knows_the_child,
        durable.Engine(path, functions=[near]) as knows_the_parent,
    ):
        child = await knows_the_child.get("far")
        await child.signal(go, True)
        result = await (await knows_the_parent.get("near")).result()
        workers = [run.id for run in await knows_the_child.list()]

    assert result == "6"
    assert sorted(workers) == ["far", "near"]


@pytest.mark.parametrize("how", ["awaited", "handle"])
async def test_a_failure_elsewhere_reaches_the_parent(tmp_path, two_functions, how):
    near, far = two_functions
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[near], grace=0) as engine:
        await engine.start(near.options(id="near", start_delay=0), -5, how)

    async with (
        asyncio.timeout(20),
        durable.Engine(path, functions=[far]),
        durable.Engine(path, functions=[near]) as knows_the_parent,
    ):
        assert await (await knows_the_parent.get("near")).result() == "Sad: -5"


async def test_a_cancel_by_handle_reaches_a_child_in_another_engine(tmp_path, two_functions):
    near, far = two_functions
    path = tmp_path / "app.db"

    async with (
        asyncio.timeout(20),
        durable.Engine(path, functions=[far]),
        durable.Engine(path, functions=[near]) as knows_the_parent,
    ):
        run = await knows_the_parent.start(near.options(id="near"), 5, "cancelled")
        assert await run.result() == "RunCancelled: run far was cancelled: not needed"


async def test_a_parent_cancelled_here_cancels_its_child_there(tmp_path, two_functions):
    near, far = two_functions
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[near], grace=0) as engine:
        await engine.start(near.options(id="near"), 5, "awaited")
        while not await engine.count("workflow:far"):
            await asyncio.sleep(0)

    async with (
        asyncio.timeout(20),
        durable.Engine(path, functions=[far]) as knows_the_child,
        durable.Engine(path, functions=[near]) as knows_the_parent,
    ):
        parent = await knows_the_parent.get("near")
        while not await (await knows_the_child.get("far")).history():
            await asyncio.sleep(0.001)  # Another engine's commits are looked for, not announced.
        await parent.cancel("enough")
        with pytest.raises(durable.RunCancelled):
            await parent.result()
        with pytest.raises(durable.RunCancelled, match="run near no longer waits for it"):
            await (await knows_the_child.get("far")).result()


# -- adoption --------------------------------------------------------------------------------------


@workflow
async def adopted() -> str:
    await note("child began")
    value = await number.receive()
    return f"child got {value}"


@workflow
async def adopts(how: str) -> str:
    handle = await adopted.options(id="adopted").start()
    await go.receive()
    await may_break("parent")
    if how == "awaited":
        return await handle.result()
    return f"left {handle.name}"


@pytest.mark.parametrize("how", ["awaited", "left"])
async def test_a_retried_parent_adopts_its_open_child(durable_harness, how):
    harness = durable_harness
    harness.started.append(adopted)
    broken["parent"] = True
    handle = await harness.start(adopts.options(id="adopts"), how)
    child = await appears(harness, handle, "adopted")
    await (await harness.again(handle)).signal(go, True)
    with pytest.raises(durable.RunFailed):
        await harness.finish(handle)
    broken["parent"] = False

    again = await (await harness.again(handle)).retry()
    if how == "awaited":
        await (await harness.again(child)).signal(number, 5)

    assert await harness.finish(again) == ("child got 5" if how == "awaited" else "left adopted")
    if how == "left":
        await (await harness.again(child)).signal(number, 5)
        assert await harness.finish(child) == "child got 5"
    assert set(noted) == {"child began"}
    found = await harness.engine.get("adopted")
    parent = await found.parent()
    assert parent is not None
    assert (found.name, parent.name) == ("adopted", "adopts#2")
    assert [one.name for one in await parent.children()] == ["adopted"]
    assert await (await harness.engine.get("adopts#1")).children() == []


@workflow
async def adopts_with_orders(what: str) -> str:
    await adopted.options(id="adopted", on_parent_close=what).start()  # type: ignore[arg-type]
    await may_break("parent")
    return "done"


@pytest.mark.parametrize("what", ["cancel", "terminate"])
async def test_a_child_stopped_by_its_parent_s_failure_stays_stopped(durable_harness, what):
    harness = durable_harness
    harness.started.append(adopted)
    broken["parent"] = True
    handle = await harness.start(adopts_with_orders.options(id="adopts"), what)
    with pytest.raises(durable.RunFailed):
        await harness.finish(handle)
    child = await appears(harness, handle, "adopted")
    stopped = await end_of(harness, child)
    broken["parent"] = False

    again = await (await harness.again(handle)).retry()

    assert await harness.finish(again) == "done"
    assert stopped == ("cancelled" if what == "cancel" else "terminated")
    first = await harness.engine.get("adopted#1")
    assert await first.status() == stopped


@workflow
async def may_break_as_a_child() -> str:
    await note("child began")
    return await may_break("parent")


@workflow(on_failure="pause")
async def paused_by_its_child(how: str) -> str:
    options = may_break_as_a_child.options(id="child")
    if how == "awaited":
        return await options()
    return await (await options.start()).result()


@pytest.mark.parametrize("how", ["awaited", "handle"])
async def test_a_parent_retried_in_place_retries_the_child_that_failed(durable_harness, how):
    harness = durable_harness
    harness.started.append(may_break_as_a_child)
    broken["parent"] = True
    handle = await harness.start(paused_by_its_child.options(id="p"), how)
    with pytest.raises(durable.WrongState, match="parent is broken"):
        await harness.finish(handle)
    broken["parent"] = False

    await (await harness.again(handle)).retry()

    async with asyncio.timeout(10):
        assert await harness.finish(handle) == "parent"
    assert set(noted) == {"child began"}


# -- failures --------------------------------------------------------------------------------------


@workflow
async def leaves_a_failing_child(how: str) -> str:
    handle = await fails.options(id="sad").start("alone")
    await go.receive()
    if how == "never awaited":
        return "fine"
    if how == "done":
        return f"done {handle.done()}"
    try:
        await handle.result()
    except Sad as error:
        try:
            await handle.result()
        except Sad as again:
            return f"{error} and {again}"
    return "never"


@pytest.mark.parametrize(
    ("how", "said"),
    [("never awaited", "fine"), ("done", "done True"), ("awaited", "alone and alone")],
)
async def test_a_failing_child_is_a_failure_only_where_it_is_awaited(durable_harness, how, said):
    harness = durable_harness
    harness.started.append(fails)
    handle = await harness.start(leaves_a_failing_child, how)
    sad = await appears(harness, handle, "sad")
    assert await end_of(harness, sad) == "failed"
    while len(await (await harness.again(handle)).history()) < 2:
        await asyncio.sleep(0)
    await (await harness.again(handle)).signal(go, True)

    assert await harness.finish(handle) == said


@workflow
async def awaits_a_failing_child() -> int:
    return await fails.options(id="sad")("aloud")


async def test_a_failure_that_nobody_catches_goes_up_the_family(durable_harness):
    harness = durable_harness

    @workflow
    async def top() -> int:
        return await awaits_a_failing_child()

    handle = await harness.start(top.options(id="top"))
    with pytest.raises(durable.RunFailed) as failed:
        await harness.finish(handle)

    assert isinstance(failed.value.__cause__, Sad)
    assert "in the child run of step 1 (fails)" in failed.value.__cause__.__notes__
    for name in ("top/1", "sad"):
        assert await (await harness.engine.get(name)).status() == "failed"


@workflow
async def loses_a_child(how: str) -> str:
    """Its child's failure has one sibling cancelled, as task groups do."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails("in a group"))
            group.create_task(waits.options(id="sibling")())
    except* Sad as errors:
        (error,) = errors.exceptions
        how = str(error)
    return how


async def test_a_failing_child_in_a_task_group_cancels_its_siblings(durable_harness):
    harness = durable_harness
    harness.started.append(waits)
    handle = await harness.start(loses_a_child, "never")

    assert await harness.finish(handle) == "in a group"
    sibling = await harness.engine.get("sibling")
    assert await end_of(harness, sibling) == "cancelled"


# -- links -----------------------------------------------------------------------------------------


@workflow
async def family(depth: int) -> int:
    if depth == 0:
        return await echo(0)
    return 1 + await family(depth - 1)


async def test_a_deep_family_is_linked_both_ways(durable_harness):
    harness = durable_harness
    handle = await harness.start(family.options(id="top"), 4)
    assert await harness.finish(handle) == 4

    names = ["top"]
    run = await harness.again(handle)
    while found := await run.children():
        (below,) = found
        details, above = await below.details(), await below.parent()
        assert above is not None
        assert (above.name, details.parent, details.root) == (names[-1], names[-1], "top")
        names.append(below.name)
        run = below

    assert names == ["top", "top/1", "top/1/1", "top/1/1/1", "top/1/1/1/1"]
    top = await (await harness.again(handle)).details()
    assert (top.parent, top.root, await (await harness.again(handle)).parent()) == ("", "", None)


@workflow
async def has_several() -> list[int]:
    first = await echo(1)
    await waits.options(id="named").start()
    both = await asyncio.gather(family(0), family(1))
    mapped = await durable.map(family, [0, 0])
    await number.send("named", 1)
    return [first, *both, *mapped]


async def test_children_are_listed_oldest_first_with_ids_of_their_steps(durable_harness):
    harness = durable_harness
    harness.started += [waits, family]
    handle = await harness.start(has_several.options(id="p"))
    assert await harness.finish(handle) == [1, 0, 1, 0, 0]

    found = [one.name for one in await (await harness.again(handle)).children()]

    assert found[0] == "named"
    assert sorted(found[1:3]) == ["p/1.1", "p/2.1"]
    assert sorted(found[3:]) == ["p/3[0].1", "p/3[1].1"]


@workflow
async def tells_its_parent() -> str | None:
    return durable.info().parent


@workflow
async def asks_its_child() -> list[str | None]:
    return [durable.info().parent, await tells_its_parent()]


async def test_a_child_knows_that_it_is_one(durable_harness):
    assert await durable_harness.run(asks_its_child) == [None, "1"]


# -- ids -------------------------------------------------------------------------------------------


@workflow
async def wants(run_id: str, how: str) -> str:
    options = family.options(id=run_id)
    try:
        if how == "awaited":
            return f"got {await options(0)}"
        return f"got {await (await options.start(0)).result()}"
    except durable.IdConflict as error:
        return f"conflict {run_id in str(error)}, {await echo(1)}"


@pytest.mark.parametrize("how", ["awaited", "handle"])
@pytest.mark.parametrize("whose", ["open", "closed", "its own parent", "another's child"])
async def test_an_id_in_use_is_a_conflict_to_catch(durable_harness, how, whose):
    harness = durable_harness
    harness.started += [waits, family, wants]
    match whose:
        case "open":
            await harness.start(waits.options(id="used"))
            run_id = "used"
        case "closed":
            await harness.finish(await harness.start(family.options(id="used"), 0))
            run_id = "used"
        case "its own parent":
            run_id = "p"
        case _:
            await harness.finish(await harness.start(wants.options(id="q"), "used", "awaited"))
            run_id = "used"
    if harness.engine._worker is None:
        await harness.restart()
    handle = await harness.start(wants.options(id="p"), run_id, how)

    assert await harness.finish(handle) == "conflict True, 1"
    assert await (await harness.again(handle)).children() == []


@workflow
async def wants_twice(how: str, values: list[int]) -> list[str]:
    options = family.options(id="mine")
    found: list[object] = []
    if how == "at once":
        found += await asyncio.gather(*(options(value) for value in values), return_exceptions=True)
    elif how == "by handles":
        handles = await durable.settle(*(options.start(value) for value in values))
        for one in handles:
            found.append(await one.value.result() if one.value is not None else one.error)
    else:
        for value in values:
            (outcome,) = await durable.settle(options(value))
            found.append(outcome.value if outcome.ok else outcome.error)
    return [type(one).__name__ for one in found]


@pytest.mark.parametrize("how", ["at once", "by handles", "in turn"])
@pytest.mark.parametrize("values", [[0, 1], [0, 0]], ids=["other arguments", "same arguments"])
async def test_two_children_of_one_id_are_a_conflict(durable_harness, how, values):
    async with asyncio.timeout(10):
        said = await durable_harness.run(wants_twice, how, values)

    assert said == ["int", "IdConflict"]


@pytest.mark.parametrize("bad", ["", "a#2", "x" * 201, 5, "a\nb"], ids=repr)
def test_a_bad_id_is_refused_where_it_is_written(bad):
    with pytest.raises(durable.UsageError, match="cannot be the id of a run"):
        family.options(id=bad)


# -- going on --------------------------------------------------------------------------------------


@workflow
async def parent_goes_on(left: int) -> str:
    await waits.options(id=f"left by {left}").start()
    if left:
        durable.continue_as_new(left - 1)
    return durable.info().run_id


async def test_children_of_a_run_that_goes_on_stay_with_the_ordinal_that_made_them(
    durable_harness,
):
    harness = durable_harness
    harness.started.append(waits)
    handle = await harness.start(parent_goes_on.options(id="p"), 2)
    assert await harness.finish(handle) == "p"

    found = {}
    for ordinal in (1, 2, 3):
        run = await harness.engine.get(f"p#{ordinal}")
        found[ordinal] = [one.name for one in await run.children()]

    assert found == {1: ["left by 2"], 2: ["left by 1"], 3: ["left by 0"]}
    for left in (2, 1, 0):
        child = await harness.engine.get(f"left by {left}")
        assert await child.status() != "cancelled"
        await (await harness.again(child)).signal(number, left)
        assert await harness.finish(child) == left


@workflow
async def parent_goes_on_and_orders(left: int) -> int:
    if left:
        options = waits.options(id="bound", on_parent_close="cancel")
        await options.start()
        durable.continue_as_new(left - 1)
    return await number.receive()


async def test_a_run_that_goes_on_has_not_ended_for_its_children(durable_harness):
    harness = durable_harness
    harness.started.append(waits)
    handle = await harness.start(parent_goes_on_and_orders.options(id="p"), 1)
    bound = await appears(harness, handle, "bound")
    await appears(harness, handle, "p#2")
    await (await harness.again(bound)).signal(number, 4)

    assert await harness.finish(bound) == 4


@workflow
async def has_the_same_child(left: int) -> int:
    found = await family.options(id="same")(0)
    if left:
        durable.continue_as_new(left - 1)
    return found


async def test_each_ordinal_may_have_a_child_of_the_same_id(durable_harness):
    harness = durable_harness
    harness.started.append(family)
    handle = await harness.start(has_the_same_child.options(id="p"), 2)

    assert await harness.finish(handle) == 0
    parents = []
    for ordinal in (1, 2, 3):
        parent = await (await harness.engine.get(f"same#{ordinal}")).parent()
        assert parent is not None
        parents.append(parent.name)
    assert parents == ["p", "p#2", "p#3"]


@workflow
async def child_goes_on(left: int) -> str:
    await echo(left)
    if left:
        durable.continue_as_new(left - 1)
    return f"ordinal {durable.info().ordinal}"


@workflow
async def has_one_that_goes_on() -> str:
    return await child_goes_on.options(id="goes on")(2)


async def test_all_ordinals_of_a_child_are_its_parent_s(durable_harness):
    harness = durable_harness
    harness.started.append(child_goes_on)
    handle = await harness.start(has_one_that_goes_on.options(id="p"))
    assert await harness.finish(handle) == "ordinal 3"

    found = await (await harness.again(handle)).children()

    assert {one.id for one in found} == {"goes on"}
    for ordinal in (1, 2, 3):
        details = await (await harness.engine.get(f"goes on#{ordinal}")).details()
        assert (details.parent, details.root) == ("p", "p")


# -- outside ---------------------------------------------------------------------------------------


async def test_a_child_is_cancelled_from_a_client_of_the_file(tmp_path):
    # Not by the harness: the client is another reader and writer of the file.
    path = tmp_path / "app.db"

    @workflow
    async def top() -> str:
        try:
            await waits.options(id="child")()
        except durable.RunCancelled as error:
            return str(error)
        return "never"

    async with durable.Engine(path, clock=ManualClock(), functions=[top, waits]) as engine:
        run = await engine.start(top)
        while not await run.children():
            await asyncio.sleep(0)
        async with durable.Client(path) as client:
            await (await client.get("child")).cancel("by a client")

        async with asyncio.timeout(10):
            assert await run.result() == "run child was cancelled: by a client"
