"""Restart from any point: every place of a history, edited input and outputs, children."""

import asyncio
import contextlib
from typing import Any

import pytest

import durable
from durable import Signal, Stream, Update, Value, activity, workflow
from durable.testing import ManualClock

go = Signal("go", int)
add = Update("add", int, int)
seen = Value("seen", list)
log = Stream("log", str)
calls: list[tuple[str, int]] = []
keys: list[str] = []
is_broken = [False]


@pytest.fixture(autouse=True)
def _forget():
    calls.clear()
    keys.clear()
    is_broken[0] = False


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


@activity(retry=durable.Retry(max_attempts=1))
async def call(name: str, value: int) -> int:
    calls.append((name, value))
    keys.append(durable.attempt().idempotency_key)
    if is_broken[0] and name == "breaks":
        raise ValueError("broken")
    return value + 1


@workflow
async def child_of(value: int) -> int:
    return await call("child", value)


@workflow
async def eight(start: int) -> list[int]:
    """Two in a row, three at once, a timer, a signal, a child: 8 steps and one more."""
    found = [await call("a", start)]
    found.append(await call("b", found[-1]))
    found += await asyncio.gather(*(call(name, found[-1]) for name in "cde"))
    log.append("gathered")
    await asyncio.sleep(60)
    found.append(await go.receive())
    found.append(await child_of(found[-1]))
    seen.set(found)
    found.append(await call("last", found[-1]))
    return found


def right(start: int, outputs: dict[str, int] | None = None) -> list[int]:
    """Return what ``eight`` returns, whatever was replaced in it."""
    given = outputs or {}
    a = given.get("a", start + 1)
    b = given.get("b", a + 1)
    c, d, e = (given.get(name, b + 1) for name in "cde")
    child = 7 + 1
    return [a, b, c, d, e, 7, child, child + 1]


async def made(harness: Any, start: int = 10) -> Any:
    run = await harness.start(eight.options(id="x"), start)
    with contextlib.suppress(durable.UsageError):
        await run.signal(go, 7)
    assert await harness.finish(run) == right(start)
    return await harness.again(run)


# -- the matrix ------------------------------------------------------------------------------------

EVENTS = 9


@pytest.mark.parametrize("seq", range(1, EVENTS + 2))
async def test_a_run_is_restarted_from_before_each_event(durable_harness, seq):
    harness = durable_harness
    run = await made(harness)
    before = await run.history()
    assert len(before) == EVENTS
    calls.clear()

    again = await run.restart(f"event:{seq}")

    assert await harness.finish(again) == right(10)
    kept = {event.step for event in before[: seq - 1]}
    made_again = [one for one in before[seq - 1 :] if one.name == "call"]
    assert len(calls) == len(made_again)  # Not the child's: it is there already.
    after = await (await harness.again(again)).history()
    assert [one.step for one in after[: seq - 1]] == [one.step for one in before[: seq - 1]]
    assert kept <= {one.step for one in after}
    assert await (await harness.again(run)).history() == before


@workflow
async def hears() -> list[int]:
    found: list[int] = []

    @add.handler
    async def _add(value: int) -> int:
        found.append(value)
        return len(found)

    await asyncio.sleep(60)
    found += [await go.receive(), await go.receive()]
    await durable.wait_until(lambda: len(found) == 3)
    return found


async def test_every_id_that_a_run_shows_is_a_place(durable_harness):
    harness = durable_harness
    run = await harness.start(hears.options(id="x"))
    for number in (1, 2):
        run = await harness.again(run)
        with contextlib.suppress(durable.UsageError):
            await run.signal(go, number)
    run = await harness.again(run)
    with contextlib.suppress(durable.UsageError):
        await run.update(add, 3, id="three")
    result = await harness.finish(run)
    assert sorted(result) == [1, 2, 3]
    run = await harness.again(run)
    history = await run.history()
    shown = [one.step for one in (await run.details()).steps]
    assert sorted(shown) == ["!t1", "signal:go#1", "signal:go#2", "update:three"]

    for seq, place in enumerate(shown, 1):
        again = await run.restart(place)
        assert sorted(await harness.finish(again)) == [1, 2, 3]
        run = await harness.again(run)
        after = await (await harness.again(again)).history()
        assert after[: seq - 1] == history[: seq - 1]

    with pytest.raises(durable.WrongState, match="has no step 'signal:go#3'"):
        await run.restart("signal:go#3")


@pytest.mark.parametrize("seq", range(1, EVENTS + 2))
async def test_with_another_input_the_rest_is_right_or_the_run_says_where_it_does_not_fit(
    durable_harness, seq
):
    harness = durable_harness
    run = await made(harness)

    again = await run.restart(f"event:{seq}", input=[20])

    if seq == 1:
        assert await harness.finish(again) == right(20)
        return
    with pytest.raises(durable.Blocked, match=r"step 1 \(call\) was recorded with other arguments"):
        await harness.finish(again)


@pytest.mark.parametrize("name", "abcde")
async def test_with_another_output_of_its_step_a_run_goes_on_behind_it(durable_harness, name):
    harness = durable_harness
    run = await made(harness)
    step = next(one.step for one in await run.history() if (one.arguments or [0])[0] == name)
    calls.clear()

    again = await run.restart(step, outputs={step: 100})

    assert await harness.finish(again) == right(10, {name: 100})
    assert name not in [one for one, _ in calls]


async def test_another_output_of_an_earlier_step_blocks_where_what_is_kept_does_not_fit(engine):
    run = await engine.start(eight.options(id="x"), 10)
    await run.signal(go, 7)
    await run.result()

    again = await run.restart("last", outputs={"1": 100})

    while await again.status() != "blocked":
        await asyncio.sleep(0)
    assert "step 2 (call) was recorded with other arguments" in (await again.details()).why


# -- places ----------------------------------------------------------------------------------------


@workflow
async def breaks(value: int) -> int:
    first = await call("a", value)
    second = await call("breaks", first)
    try:
        return await call("breaks", second)
    except ValueError:
        await call("refund", second)
        raise


@pytest.mark.parametrize(
    ("place", "expected"),
    [("start", ["a", "breaks", "breaks"]), ("failed", ["breaks", "breaks"]),
     ("2", ["breaks", "breaks"]), ("call", ["a", "breaks", "breaks"]),
     ("last", ["breaks", "breaks"]), ("1", ["a", "breaks", "breaks"])],
)  # fmt: skip
async def test_a_place_is_a_word_a_step_or_a_name(durable_harness, place, expected):
    harness = durable_harness
    is_broken[0] = True
    run = await harness.start(fails_at_two.options(id="x"), 1)
    with pytest.raises(durable.RunFailed):
        await harness.finish(run)
    is_broken[0] = False
    calls.clear()

    again = await (await harness.again(run)).restart(place, reason="mended")

    assert await harness.finish(again) == 4
    assert [name for name, _ in calls] == expected
    assert again.name == "x#2"
    details = await (await harness.again(again)).details()
    assert [(one.verb, one.why) for one in details.audit] == [("restart", "mended")]
    assert details.source == "x"


@workflow
async def fails_at_two(value: int) -> int:
    first = await call("a", value)
    second = await call("breaks", first)
    return await call("breaks", second)


@pytest.mark.parametrize(
    ("place", "why"),
    [("9", "has no step '9'; it has 1 \\(call\\)"), ("event:99", "has no event 99; it has 1"),
     ("event:0", "no event 0")],
)  # fmt: skip
async def test_a_place_that_is_not_there_is_refused_and_nothing_is_stored(engine, place, why):
    run = await engine.start(child_of.options(id="x"), 1)
    await run.result()

    with pytest.raises(durable.WrongState, match=why):
        await run.restart(place)

    assert await engine.count() == {"completed": 1}


@pytest.mark.parametrize(
    "wrong",
    [{"input": 3}, {"input": "text"}, {"input": {"other": 1}}, {"messages": "all"},
     {"children": "none"}, {"again": "1"}, {"outputs": {"": 1}}, {"input": [object()]}],
)  # fmt: skip
async def test_a_restart_that_makes_no_sense_is_refused(engine, wrong):
    run = await engine.start(child_of.options(id="x"), 1)
    await run.result()

    with pytest.raises(durable.UsageError):
        await run.restart("1", **wrong)

    assert await engine.count() == {"completed": 1}


async def test_an_output_of_a_step_that_is_not_kept_is_refused(engine):
    run = await engine.start(eight.options(id="x"), 1)
    await run.signal(go, 1)
    await run.result()

    with pytest.raises(durable.WrongState, match="step 5 is not among those that are kept"):
        await run.restart("2", outputs={"5": 1})

    assert (await engine.get("x")).name == "x"


# -- open runs -------------------------------------------------------------------------------------


async def test_an_open_run_is_ended_and_restarted_in_one_commit(durable_harness):
    harness = durable_harness
    run = await harness.start(eight.options(id="x"), 10)
    while len(await (await harness.again(run)).history()) < 6:
        await asyncio.sleep(0)
    run = await harness.again(run)

    with contextlib.suppress(durable.UsageError):
        await run.restart("2", input=[10], reason="again")
    await harness.again(run)
    while True:
        again = await harness.engine.get("x")
        if again.ordinal == 2:
            break
        await asyncio.sleep(0)
        await harness.again(run)
    with contextlib.suppress(durable.UsageError):
        await again.signal(go, 7)

    assert await harness.finish(again) == right(10)
    for one in (again, run):
        audit = (await (await harness.again(one)).details()).audit
        assert ("restart", "again") in [(row.verb, row.why) for row in audit]
    with pytest.raises(durable.RunTerminated, match="restarted from 2"):
        await (await harness.again(run)).result()


async def test_a_blocked_run_is_restarted(tmp_path):
    path = tmp_path / "app.db"

    @workflow(name="edited")
    async def before() -> int:
        await call("a", 1)
        return await go.receive()

    @workflow(name="edited")
    async def after() -> int:
        return await child_of(await call("b", 2))

    async with durable.Engine(path, functions=[before], clock=ManualClock()) as engine:
        run = await engine.start(before.options(id="x"))
        while not await run.history():
            await asyncio.sleep(0)
    async with durable.Engine(path, functions=[after, child_of], clock=ManualClock()) as engine:
        run = await engine.get("x")
        while await run.status() != "blocked":
            await asyncio.sleep(0)

        again = await run.restart("1")

        assert await again.result() == 4
        assert await run.status() == "terminated"


async def test_only_the_newest_may_be_open(engine):
    run = await engine.start(child_of.options(id="x"), 1)
    await run.result()
    waits = await run.restart("start")
    await waits.result()
    third = await run.restart("start")

    assert (waits.name, third.name) == ("x#2", "x#3")
    assert await third.result() == 2
    other = await engine.start(receives.options(id="y"))
    newer = await other.restart("start")
    with pytest.raises(durable.WrongState, match="goes on as y#2 already, which is open"):
        await other.restart("start")
    await newer.terminate()


@workflow
async def receives() -> list[int]:
    return [await go.receive(), await call("a", await go.receive())]


# -- what is kept, and what is said again ----------------------------------------------------------


@pytest.mark.parametrize(("messages", "expected"), [("keep", [1, 3]), ("drop", [1, 6])])
async def test_signals_after_the_place_are_kept_or_dropped(engine, messages, expected):
    run = await engine.start(receives.options(id="x"))
    for value in (1, 2):
        await run.signal(go, value)
    await run.result()

    again = await run.restart("event:2", messages=messages)
    if messages == "drop":
        await again.signal(go, 5)

    assert await again.result() == expected


async def test_the_drain_before_the_place_is_done_anew(durable_harness):
    """What it publishes is published once, and its patches are decided by today's code."""
    harness = durable_harness
    run = await made(harness)
    place = "event:6"  # The gather is the last thing that is kept.

    again = await run.restart(place)

    assert await harness.finish(again) == right(10)
    again = await harness.again(again)
    assert [item.value async for item in again.tail(log)] == ["gathered"]
    assert await again.read(seen) == right(10)[:-1]


@workflow(name="patched")
async def old_code() -> str:
    await call("a", 1)
    return str(await call("breaks", 1))


@workflow(name="patched")
async def new_code() -> str:
    await call("a", 1)
    if durable.patched("mended"):
        return "new"
    return str(await call("breaks", 1))


async def test_a_retried_run_goes_through_a_patch_at_the_place_where_it_failed(tmp_path):
    path = tmp_path / "app.db"
    is_broken[0] = True
    async with durable.Engine(path, functions=[old_code]) as engine:
        run = await engine.start(old_code.options(id="x"))
        with pytest.raises(durable.RunFailed):
            await run.result()

    async with durable.Engine(path, functions=[new_code]) as engine:
        again = await (await engine.get("x")).retry()

        assert await again.result() == "new"
        assert [one.kind for one in await again.history()] == ["completed", "patched"]


@activity(retry=durable.Retry(max_attempts=1), at_most_once=True)
async def charge(amount: int) -> int:
    calls.append(("charge", amount))
    if is_broken[0]:
        raise ValueError("broken")
    return amount


@workflow
async def pays() -> int:
    await call("a", 1)
    paid = await charge(5)
    if len(calls) < 3:
        raise RuntimeError("after it")
    return paid


@pytest.mark.parametrize("verb", ["retry", "restart"])
async def test_a_step_that_runs_at_most_once_is_done_again_only_if_it_is_named(engine, verb):
    is_broken[0] = True
    run = await engine.start(pays.options(id="x"))
    with pytest.raises(durable.RunFailed):
        await run.result()
    is_broken[0] = False

    with pytest.raises(durable.WrongState, match=r"step 2 runs at most once.*--again 2"):
        await getattr(run, verb)()
    again = await getattr(run, verb)(again=["2"])

    assert await again.result() == 5
    assert [name for name, _ in calls] == ["a", "charge", "charge"]


async def test_the_output_of_a_step_that_runs_at_most_once_may_be_given(engine):
    is_broken[0] = True
    run = await engine.start(pays.options(id="x"))
    with pytest.raises(durable.RunFailed):
        await run.result()
    calls.append(("found out by hand", 5))

    again = await run.restart("2", outputs={"2": 5})

    assert await again.result() == 5
    assert [name for name, _ in calls] == ["a", "charge", "found out by hand"]


async def test_a_completed_step_done_again_has_a_key_of_its_own_and_a_failed_one_keeps_its(engine):
    is_broken[0] = True
    run = await engine.start(fails_at_two.options(id="x"), 1)
    with pytest.raises(durable.RunFailed):
        await run.result()
    is_broken[0] = False
    first, second = keys

    keys.clear()
    await (await run.restart("1")).result()

    assert keys[0] == f"{first}#2"
    assert keys[1] == second


# -- children --------------------------------------------------------------------------------------


@workflow
async def has_child(how: str) -> int:
    await call("a", 1)
    if how == "awaited":
        found = await kept_child.options(id="child")(3)
    else:
        found = await (await kept_child.options(id="child").start(3)).result()
    return await call("b", found)


@workflow
async def kept_child(value: int) -> int:
    calls.append(("child", value))
    return value + await go.receive()


@pytest.mark.parametrize("how", ["awaited", "handle"])
@pytest.mark.parametrize(("children", "child_is"), [("keep", "child"), ("again", "child#2")])
@pytest.mark.parametrize("child_ends", [True, False])
async def test_children_are_kept_or_started_again(engine, how, children, child_is, child_ends):
    parent = await engine.start(has_child.options(id="x"), how)
    child = await found(engine, "child")
    if child_ends:
        await child.signal(go, 4)
        await parent.result()

    again = await parent.restart("1", children=children)
    newest = await found(engine, child_is)
    if not child_ends or children == "again":
        await newest.signal(go, 4)

    async with asyncio.timeout(20):
        assert await again.result() == 8
    parent_now = await newest.parent()
    assert parent_now is not None
    assert (await engine.get("child")).name == child_is
    assert parent_now.name == again.name


async def test_a_child_whose_start_is_kept_reports_to_the_new_run(engine):
    parent = await engine.start(has_child.options(id="x"), "handle")
    child = await found(engine, "child")
    while len(await parent.history()) < 2:
        await asyncio.sleep(0)

    again = await parent.restart("event:3")
    await child.signal(go, 4)

    async with asyncio.timeout(20):
        assert await again.result() == 8
    assert [name for name, _ in calls].count("child") == 1


@workflow
async def abandons(wanted: int) -> int:
    options = kept_child.options(id="child", on_parent_close="abandon")
    await options.start(wanted)
    return await call("b", wanted)


async def test_a_child_left_open_by_a_closed_parent_is_ended_when_it_is_begun_again(engine):
    parent = await engine.start(abandons.options(id="x"), 3)
    assert await parent.result() == 4

    again = await parent.restart("start", children="again")

    assert await again.result() == 4
    # Its own worker ends it, in a commit of its own: the parent's next end does not wait for that.
    assert (await (await engine.get("child#1")).wait()).status == "terminated"
    assert await (await engine.get("child#2")).status() in {"queued", "running", "waiting"}


@workflow
async def abandons_later() -> int:
    await call("breaks", 1)
    return await abandons_now()


async def abandons_now() -> int:
    await kept_child.options(id="child", on_parent_close="abandon").start(3)
    return 4


async def test_a_child_of_an_ordinal_before_the_last_is_ended_too_when_it_is_begun_again(engine):
    first = await engine.start(abandons_later.options(id="x"))
    assert await first.result() == 4
    is_broken[0] = True
    second = await first.restart("start", children="keep")
    with pytest.raises(durable.RunFailed):  # Before it has come to its child.
        await second.result()
    is_broken[0] = False

    third = await second.restart("start", children="again")

    assert await third.result() == 4
    # Its own worker ends it, in a commit of its own: the parent's next end does not wait for that.
    assert (await (await engine.get("child#1")).wait()).status == "terminated"
    assert (await engine.get("child")).name == "child#2"


async def test_a_child_that_is_kept_but_asked_with_other_arguments_says_what_to_do(engine):
    parent = await engine.start(abandons.options(id="x"), 3)
    await parent.result()

    again = await parent.restart("start", input=(5,), children="keep")

    with pytest.raises(durable.RunFailed, match=r"other arguments.*--children again") as caught:
        await again.result()
    assert isinstance(caught.value.__cause__, durable.IdConflict)
    assert (await engine.get("child")).name == "child"


@workflow
async def has_paying_child(depth: int) -> int:
    if depth:
        return await has_paying_child.options(id=f"depth-{depth - 1}")(depth - 1)
    return await charge(5)


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_child_with_a_step_that_runs_at_most_once_begins_again_only_if_it_is_named(
    engine, depth
):
    parent = await engine.start(has_paying_child.options(id="x"), depth)
    assert await parent.result() == 5

    with pytest.raises(durable.WrongState, match=r"depth-0 .*step 1.*--again depth-0"):
        await parent.restart("start", children="again")
    assert await (await parent.restart("start", children="keep")).result() == 5
    assert len(calls) == 1
    again = await parent.restart("start", children="again", again=["depth-0"])

    assert await again.result() == 5
    assert len(calls) == 2


async def found(engine, name):
    """Wait until a run is there."""
    while True:
        try:
            return await engine.get(name)
        except durable.RunNotFound:
            await asyncio.sleep(0)


# -- what was let pass, and what was undone --------------------------------------------------------


def paying(more: int):
    """Return a workflow whose second step gets other arguments with each version of the code."""

    @workflow(name="paying")
    async def paying(value: int) -> int:
        first = await call("first", value)
        second = await call("second", first + more)
        return second + await go.receive()

    return paying


@pytest.mark.parametrize("place", ["start", "call"])
async def test_what_was_let_pass_does_not_hold_for_a_step_that_is_done_again(tmp_path, place):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)

    def served(code):
        return durable.Engine(path, functions=[code], clock=clock)

    async def until(engine, run_id, status):
        run = await engine.get(run_id)
        while await run.status() != status:
            await asyncio.sleep(0)
        return run

    first = paying(0)
    async with served(first) as engine:
        run = await engine.start(first.options(id="p"), 1)
        while len(await run.history()) < 2:
            await asyncio.sleep(0)
    async with served(paying(1)) as engine:
        run = await until(engine, "p", "blocked")
        await run.accept("2")
        new = await run.restart("2" if place == "call" else "start")
        while len(await new.history()) < 2:
            await asyncio.sleep(0)
    async with served(paying(70)) as engine:
        run = await until(engine, new.name, "blocked")

        assert "step 2" in (await run.details()).why


@workflow
async def order_and_refund(value: int) -> int:
    await call("charge", value)
    try:
        return await go.receive()
    except asyncio.CancelledError:
        await call("refund", value)
        raise


async def test_a_cancelled_run_whose_clean_up_completed_is_not_retried_just_so(engine):
    run = await engine.start(order_and_refund.options(id="o"), 1)
    while not calls:
        await asyncio.sleep(0)
    await run.cancel("enough")
    assert (await run.wait()).status == "cancelled"

    with pytest.raises(durable.WrongState, match=r"step 2 \(call\) completed after it was cancel"):
        await run.retry()
    again = await run.retry(anyway=True)
    await again.signal(go, 5)

    assert await again.result() == 5
    assert [name for name, _ in calls] == ["charge", "refund"]
