"""`run_timeout`: where it reaches a run, what its clean-up may do, and how it ends."""

import asyncio
import datetime as dt
import math
from typing import Any

import pytest

import durable
from durable import Signal, Value, activity, workflow
from durable.testing import ManualClock

HOUR = 3_600.0
GRACE = 60.0
number = Signal("number", int)
state = Value("state", str)
cleaned: list[int] = []


@activity
async def echo(value: int) -> int:
    return value


@activity
async def clean(value: int) -> int:
    cleaned.append(value)
    return value


@activity
async def hang() -> None:
    await asyncio.Event().wait()


@activity
async def tells_deadline() -> float | None:
    deadline = durable.attempt().deadline
    return None if deadline is None else deadline.timestamp()


@workflow
async def hangs() -> None:
    await number.receive()


@workflow
async def waits_in_vain(where: str) -> None:
    match where:
        case "activity":
            await hang()
        case "timer":
            await durable.sleep("300d")
        case "signal":
            await number.receive()
        case "child":
            await hangs()
        case "handle":
            await (await hangs.start()).result()
        case "promise":
            await durable.promise("ok", bool)
        case "wait_until":
            number.handler(lambda value: None)
            await durable.wait_until(lambda: False)
        case "gather":
            await asyncio.gather(hang(), durable.sleep("300d"), number.receive())
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(hang())
                group.create_task(hangs())
        case "retry":
            await always_fails()


@activity(retry=durable.Retry(initial_interval="1d", max_interval="1d"))
async def always_fails() -> None:
    raise ConnectionError("no")


async def failure_of(harness, handle):
    with pytest.raises(durable.RunFailed) as failed:
        await harness.finish(handle)
    return failed.value.__cause__


async def begin_of(harness, name):
    return (await (await harness.engine.get(name)).details()).created


async def time_of(harness, handle):
    """Return how long the run took, in seconds."""
    details = await (await harness.again(handle)).details()
    assert details.closed is not None
    return (details.closed - details.created).total_seconds()


# -- where it reaches the run ----------------------------------------------------------------------

PLACES = (
    "activity", "timer", "signal", "child", "handle", "promise", "wait_until", "gather", "group",
    "retry",
)  # fmt: skip


@pytest.mark.parametrize("where", PLACES)
async def test_a_run_is_cancelled_where_it_waits_and_fails_as_timed_out(durable_harness, where):
    harness = durable_harness
    harness.started.append(hangs)

    handle = await harness.start(waits_in_vain.options(run_timeout="1h"), where)

    assert isinstance(await failure_of(harness, handle), durable.RunTimedOut)
    assert HOUR <= await time_of(harness, handle) < HOUR + 1
    last = (await (await harness.again(handle)).history())[-1]
    assert last.kind == "timed_out"


@workflow(run_timeout="1h")
async def tells_what_it_gets(value: int) -> None:
    try:
        await durable.sleep("2h")
    except BaseException as error:
        state.set(f"{type(error).__name__}: {error}, reason {durable.info().cancel_reason}")
        raise


async def test_the_code_is_told_that_it_is_cancelled_by_its_run_timeout(durable_harness):
    handle = await durable_harness.start(tells_what_it_gets, 1)

    await failure_of(durable_harness, handle)

    told = await (await durable_harness.again(handle)).read(state)
    assert told == "CancelledError: the run's run_timeout is over, reason None"


@workflow(run_timeout="1h")
async def ends_at(seconds: float) -> int:
    await durable.sleep(seconds)
    return await echo(1)


@pytest.mark.parametrize("seconds", [1.0, HOUR - 0.000001])
async def test_a_run_that_ends_before_it_has_no_trace_of_it(durable_harness, seconds):
    handle = await durable_harness.start(ends_at, seconds)

    assert await durable_harness.finish(handle) == 1
    history = await (await durable_harness.again(handle)).history()
    assert [event.kind for event in history] == ["fired", "completed"]


async def test_a_run_without_a_limit_waits_as_long_as_it_likes(durable_harness):
    assert await durable_harness.run(ends_at.options(run_timeout=None), 1000 * 86_400) == 1


# -- clean-up --------------------------------------------------------------------------------------


@workflow(run_timeout="1h")
async def cleans_up(how: str) -> str:
    try:
        await durable.sleep("300d")
    except asyncio.CancelledError:
        if how == "except":
            await clean(1)
            await durable.sleep(10)
            await clean(2)
            raise
        if how == "swallow":
            return f"swallowed {await clean(3)}"
        if how == "raise":
            raise ValueError("of the clean-up") from None
        raise
    finally:
        if how == "finally":
            await clean(4)
            await asyncio.gather(durable.sleep(20), clean(5))
    return "never"


@pytest.mark.parametrize(("how", "steps"), [("except", {1, 2}), ("finally", {4, 5})])
async def test_clean_up_takes_steps_and_the_run_still_fails_as_timed_out(
    durable_harness, how, steps
):
    cleaned.clear()

    handle = await durable_harness.start(cleans_up, how)

    assert isinstance(await failure_of(durable_harness, handle), durable.RunTimedOut)
    assert set(cleaned) == steps


async def test_a_run_that_swallows_it_and_ends_in_time_has_its_result(durable_harness):
    assert await durable_harness.run(cleans_up, "swallow") == "swallowed 3"


async def test_an_exception_of_the_clean_up_is_the_failure(durable_harness):
    handle = await durable_harness.start(cleans_up, "raise")

    assert isinstance(await failure_of(durable_harness, handle), ValueError)


@workflow
async def child_cleans(value: int) -> int:
    await durable.sleep(5)
    return await clean(value)


@workflow(run_timeout="1h")
async def cleans_up_by_a_child(how: str) -> None:
    try:
        await durable.sleep("2h")
    finally:
        if how == "awaited":
            state.set(f"child: {await child_cleans(7)}")
        else:
            state.set(f"child: {await (await child_cleans.start(7)).result()}")


@pytest.mark.parametrize("how", ["awaited", "handle"])
async def test_clean_up_may_run_a_child_that_has_what_is_left_of_the_grace(durable_harness, how):
    handle = await durable_harness.start(cleans_up_by_a_child, how)

    assert isinstance(await failure_of(durable_harness, handle), durable.RunTimedOut)
    run = await durable_harness.again(handle)
    assert await run.read(state, "") == "child: 7"
    (child,) = await run.children()
    began, deadline = (await run.details()).created, (await child.details()).deadline
    assert deadline is not None
    assert (deadline - began).total_seconds() == HOUR + GRACE


# -- the grace -------------------------------------------------------------------------------------


@workflow(run_timeout="1h")
async def cleans_up_for(seconds: float) -> str:
    try:
        await durable.sleep("300d")
    except asyncio.CancelledError:
        await durable.sleep(seconds)
        state.set("cleaned up")
        return "in time"
    return "never"


@pytest.mark.parametrize("seconds", [1.0, GRACE - 0.001])
async def test_clean_up_that_takes_less_than_the_grace_is_let_be(durable_harness, seconds):
    assert await durable_harness.run(cleans_up_for, seconds) == "in time"


@pytest.mark.parametrize("seconds", [GRACE + 0.001, 10 * GRACE])
async def test_clean_up_that_takes_more_than_the_grace_is_cut_off_and_says_so(
    durable_harness, seconds
):
    handle = await durable_harness.start(cleans_up_for, seconds)

    error = await failure_of(durable_harness, handle)

    assert isinstance(error, durable.RunTimedOut)
    assert "nor in the 60 s after it" in str(error)
    run = await durable_harness.again(handle)
    assert await run.read(state, "nothing") == "nothing"
    assert HOUR + GRACE <= await time_of(durable_harness, handle) < HOUR + GRACE + 1


@workflow(run_timeout="1h")
async def never_gives_in() -> None:
    while True:
        try:
            await durable.sleep("1d")
        except asyncio.CancelledError:
            continue


async def test_a_run_that_swallows_it_for_ever_is_cut_off(durable_harness):
    handle = await durable_harness.start(never_gives_in)

    assert isinstance(await failure_of(durable_harness, handle), durable.RunTimedOut)
    assert HOUR + GRACE <= await time_of(durable_harness, handle) < HOUR + GRACE + 1


@workflow(run_timeout="1h")
async def cleans_up_with_a_hanging_activity() -> None:
    try:
        await durable.sleep("1d")
    finally:
        await hang()


async def test_an_activity_that_hangs_in_clean_up_is_cut_off(durable_harness):
    handle = await durable_harness.start(cleans_up_with_a_hanging_activity)

    assert isinstance(await failure_of(durable_harness, handle), durable.RunTimedOut)
    assert HOUR + GRACE <= await time_of(durable_harness, handle) < HOUR + GRACE + 1


@workflow(run_timeout="1h")
async def leaves_a_child_behind(what: str) -> None:
    await hangs.options(id="left", on_parent_close=what).start()  # type: ignore[arg-type]
    try:
        await durable.sleep("1d")
    finally:
        await durable.sleep("1d")


@pytest.mark.parametrize("what", ["cancel", "terminate"])
async def test_a_run_that_is_cut_off_ends_its_children_as_told(durable_harness, what):
    harness = durable_harness
    # Without it the child's own limit, which it inherits, would be faster than its parent's end.
    harness.started.append(hangs)
    handle = await harness.start(leaves_a_child_behind, what)

    await failure_of(harness, handle)

    left = await harness.engine.get("left")
    await asyncio.gather(harness.finish(left), return_exceptions=True)
    assert await (await harness.again(left)).status() == "failed"


# -- inheriting ------------------------------------------------------------------------------------


@workflow
async def tells_its_deadline() -> float | None:
    deadline = durable.info().deadline
    return None if deadline is None else deadline.timestamp()


@workflow
async def asks_its_child(own: float | None, delay: float) -> list[float | None]:
    """Return its own deadline and its child's; the child begins after half an hour."""
    await durable.sleep(HOUR / 2)
    mine = durable.info().deadline
    child = tells_its_deadline.options(run_timeout=own, start_delay=delay)
    return [None if mine is None else mine.timestamp(), await child()]


@pytest.mark.parametrize(
    ("limit", "own", "delay", "left"),
    [
        (HOUR, None, 0, HOUR),
        (HOUR, 2 * HOUR, 0, HOUR),
        (HOUR, 60.0, 0, HOUR / 2 + 60),
        (HOUR, 60.0, 60.0, HOUR / 2 + 120),
        (None, 60.0, 0, HOUR / 2 + 60),
        (None, None, 0, None),
    ],
)
async def test_a_child_has_what_is_left_or_its_own_limit_if_that_is_less(
    durable_harness, limit, own, delay, left
):
    harness = durable_harness
    handle = await harness.start(asks_its_child.options(run_timeout=limit, id="p"), own, delay)

    mine, of_child = await harness.finish(handle)

    began = (await begin_of(harness, "p")).timestamp()
    assert mine is None if limit is None else mine == began + limit
    if left is None:
        assert of_child is None
    else:
        assert of_child == pytest.approx(began + left, abs=0.01)


@workflow
async def three_deep(depth: int) -> float | None:
    if depth:
        return await three_deep(depth - 1)
    deadline = durable.info().deadline
    return None if deadline is None else deadline.timestamp()


async def test_grandchildren_inherit_the_limit_of_the_root(durable_harness):
    handle = await durable_harness.start(three_deep.options(run_timeout="1h", id="top"), 2)

    deadline = await durable_harness.finish(handle)

    assert deadline == (await begin_of(durable_harness, "top")).timestamp() + HOUR


@workflow
async def goes_on_under_a_parent(left: int) -> float | None:
    await durable.sleep(HOUR / 4)
    if left:
        durable.continue_as_new(left - 1)
    deadline = durable.info().deadline
    return None if deadline is None else deadline.timestamp()


@workflow(run_timeout="1h")
async def has_a_child_that_goes_on(own: float | None) -> float | None:
    return await goes_on_under_a_parent.options(run_timeout=own)(1)


@pytest.mark.parametrize(("own", "left"), [(None, HOUR), (1200.0, HOUR / 4 + 1200)])
async def test_a_child_that_goes_on_as_new_has_no_more_than_its_parent(durable_harness, own, left):
    handle = await durable_harness.start(has_a_child_that_goes_on.options(id="p"), own)

    deadline = await durable_harness.finish(handle)

    began = (await begin_of(durable_harness, "p")).timestamp()
    assert deadline == pytest.approx(began + left, abs=0.01)


@workflow
async def asks_its_activity(own: float | None, way: str) -> float | None:
    if way == "clean-up":
        try:
            await durable.sleep("300d")
        except asyncio.CancelledError:
            return await tells_deadline()
    if own is None:
        return await tells_deadline()
    if way == "start_to_close":
        return await tells_deadline.options(start_to_close=own)()
    return await tells_deadline.options(schedule_to_close=own)()


@pytest.mark.parametrize("way", ["start_to_close", "schedule_to_close"])
@pytest.mark.parametrize(
    ("limit", "own", "left"),
    [(HOUR, None, HOUR), (HOUR, 60.0, 60.0), (HOUR, 2 * HOUR, HOUR), (None, 60.0, 60.0),
     (None, None, None)],
)  # fmt: skip
async def test_an_activity_has_what_is_left_or_its_own_limit_if_that_is_less(
    durable_harness, limit, own, left, way
):
    harness = durable_harness
    handle = await harness.start(asks_its_activity.options(run_timeout=limit, id="p"), own, way)

    deadline = await harness.finish(handle)

    began = (await begin_of(harness, "p")).timestamp()
    assert deadline == (None if left is None else pytest.approx(began + left, abs=0.01))


async def test_an_activity_of_the_clean_up_has_what_is_left_of_the_grace(durable_harness):
    harness = durable_harness
    handle = await harness.start(
        asks_its_activity.options(run_timeout=HOUR, id="p"), None, "clean-up"
    )

    deadline = await harness.finish(handle)

    began = (await begin_of(harness, "p")).timestamp()
    assert deadline == pytest.approx(began + HOUR + GRACE, abs=0.01)


# -- deaths, delays, repairs -----------------------------------------------------------------------


clocks: list[ManualClock] = []


@activity
async def stop_the_clock() -> None:
    clocks[0].jumps = False


@workflow(run_timeout="1h")
async def dies_while_it_waits() -> None:
    await stop_the_clock()
    await number.receive()


@workflow(run_timeout="1h")
async def dies_in_its_clean_up(seconds: float) -> str:
    try:
        await number.receive()
    except asyncio.CancelledError:
        await stop_the_clock()
        await durable.sleep(seconds)
        return "in time"
    return "never"


async def die(clock, path, made, args, events):
    """Start a run, and close its engine when it has so many events."""
    clocks[:] = [clock]
    async with durable.Engine(path, clock=clock, grace=0) as engine, asyncio.timeout(10):
        run = await engine.start(made.options(id="x"), *args)
        while len(await run.history()) < events:
            await asyncio.sleep(0)


async def come_back(clock, path):
    """Open the file again; return how the run ends, and after how many seconds."""
    clock.jumps = True
    async with durable.Engine(path, clock=clock) as engine, asyncio.timeout(10):
        run = await engine.get("x")
        (outcome,) = await asyncio.gather(run.result(), return_exceptions=True)
        details = await run.details()
    assert details.closed is not None
    return outcome, (details.closed - details.created).total_seconds()


@pytest.mark.parametrize("dead_for", [0.5 * HOUR, HOUR, 5 * HOUR])
async def test_a_death_before_its_time_neither_delays_nor_forgives_it(tmp_path, dead_for):
    # Not by the harness: the clock goes on while no engine is open.
    clock, path = ManualClock(), tmp_path / "app.db"
    await die(clock, path, dies_while_it_waits, (), 1)
    clock.advance(dead_for)

    outcome, took = await come_back(clock, path)

    assert isinstance(outcome.__cause__, durable.RunTimedOut)
    assert max(HOUR, dead_for) <= took < max(HOUR, dead_for) + 1


@pytest.mark.parametrize(
    ("seconds", "dead_for", "in_time"),
    [(45.0, 30.0, True), (GRACE + 1, 30.0, False), (GRACE + 1, GRACE, False)],
)
async def test_the_grace_goes_on_over_a_death(tmp_path, seconds, dead_for, in_time):
    # Not by the harness: the clock goes on while no engine is open.
    clock, path = ManualClock(), tmp_path / "app.db"
    await die(clock, path, dies_in_its_clean_up, (seconds,), 2)
    clock.advance(dead_for)

    outcome, took = await come_back(clock, path)

    if in_time:
        assert outcome == "in time"
    else:
        assert "nor in the 60 s" in str(outcome.__cause__)
        assert HOUR + GRACE <= took < HOUR + GRACE + 2


async def test_the_time_counts_from_the_run_s_begin_after_its_start_delay(durable_harness):
    harness = durable_harness
    delayed = ends_at.options(start_delay="5h")

    assert await harness.run(delayed, HOUR - 1) == 1
    handle = await harness.start(delayed, HOUR + 1)
    assert isinstance(await failure_of(harness, handle), durable.RunTimedOut)
    assert 6 * HOUR <= await time_of(harness, handle) < 6 * HOUR + 1


async def test_a_run_that_waited_for_a_worker_has_its_whole_time(tmp_path):
    # Not by the harness: no engine is open when it is started.
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[]):
        pass
    async with durable.Client(path) as client:
        started = await client.start(ends_at.options(id="x"), HOUR / 2)
        created = (await started.details()).created
    clock = ManualClock(round((created.timestamp() + 2 * HOUR) * 1e6))

    async with durable.Engine(path, clock=clock) as engine:
        assert await (await engine.get("x")).result() == 1


@workflow(run_timeout="1h")
async def goes_on(left: int) -> float:
    await durable.sleep("50m")
    if left:
        durable.continue_as_new(left - 1)
    info = durable.info()
    assert info.deadline is not None
    return (info.deadline - info.started).total_seconds()


async def test_each_ordinal_of_continue_as_new_has_the_whole_time(durable_harness):
    assert await durable_harness.run(goes_on, 3) == HOUR


async def test_the_last_ordinal_of_continue_as_new_is_timed_out_too(durable_harness):
    harness = durable_harness

    @workflow(run_timeout="1h")
    async def goes_on_too_long(left: int) -> None:
        if left:
            await durable.sleep("50m")
            durable.continue_as_new(left - 1)
        await durable.sleep("2h")

    handle = await harness.start(goes_on_too_long.options(id="x"), 2)

    assert isinstance(await failure_of(harness, handle), durable.RunTimedOut)
    last = await harness.engine.get("x")
    assert last.ordinal == 3
    assert HOUR <= await time_of(harness, last) < HOUR + 1


is_slow = {"now": True}


@activity
async def slow_once() -> int:
    if is_slow["now"]:
        await asyncio.Event().wait()
    return 1


@workflow(run_timeout="1h")
async def slow_at_first() -> int:
    return await slow_once()


@workflow(run_timeout="1h", on_failure="pause")
async def slow_at_first_and_paused() -> int:
    return await slow_once()


@pytest.mark.parametrize(
    "made",
    [
        slow_at_first,
        slow_at_first_and_paused,
    ],
)
async def test_a_retry_of_a_run_that_timed_out_has_the_whole_time_again(
    durable_harness, monkeypatch, made
):
    harness = durable_harness
    monkeypatch.setitem(is_slow, "now", True)
    handle = await harness.start(made.options(id="x"))
    with pytest.raises((durable.RunFailed, durable.WrongState)):
        await harness.finish(handle)
    monkeypatch.setitem(is_slow, "now", False)

    await (await harness.again(handle)).retry()

    assert await harness.finish(await harness.engine.get("x")) == 1


async def test_a_cancel_before_it_is_a_cancel(durable_harness):
    harness = durable_harness
    handle = await harness.start(waits_in_vain.options(run_timeout="1h"), "signal")
    await handle.cancel("enough")

    with pytest.raises(durable.RunCancelled, match="enough"):
        await harness.finish(handle)


async def test_a_cancel_in_the_clean_up_leaves_it_timed_out(durable_harness):
    harness = durable_harness
    handle = await harness.start(never_gives_in_quickly)
    while not await (await harness.again(handle)).history():
        await asyncio.sleep(0)
    await (await harness.again(handle)).cancel("enough")

    assert isinstance(await failure_of(harness, handle), durable.RunTimedOut)


@workflow(run_timeout="1h")
async def never_gives_in_quickly() -> None:
    try:
        await durable.sleep("2h")
    finally:
        await number.receive()


@workflow(run_timeout="1h")
async def has_a_handler() -> None:
    @number.handler
    async def on_number(value: int) -> None:
        try:
            await hang()
        finally:
            state.set(f"the handler of {value} was cancelled")

    await durable.sleep("2h")


async def test_its_handlers_are_cancelled_with_it(durable_harness):
    harness = durable_harness
    handle = await harness.start(has_a_handler)
    await handle.signal(number, 7)

    assert isinstance(await failure_of(harness, handle), durable.RunTimedOut)
    run = await harness.again(handle)
    assert await run.read(state) == "the handler of 7 was cancelled"


@workflow
async def awaits_one_that_times_out(how: str) -> str:
    limited = hangs.options(run_timeout="1h")
    try:
        if how == "awaited":
            await limited()
        else:
            await (await limited.start()).result()
    except durable.RunTimedOut as error:
        return f"{type(error).__name__}, a TimeoutError: {isinstance(error, TimeoutError)}"
    return "never"


@pytest.mark.parametrize("how", ["awaited", "handle"])
async def test_a_child_s_run_timeout_is_an_exception_where_it_is_awaited(durable_harness, how):
    harness = durable_harness

    assert await harness.run(awaits_one_that_times_out, how) == "RunTimedOut, a TimeoutError: True"


# -- bad values ------------------------------------------------------------------------------------

BAD: tuple[Any, ...] = (
    0,
    -1,
    -0.5,
    math.nan,
    math.inf,
    "garbage",
    "",
    "0s",
    "-1h",
    True,
    dt.timedelta(),
    [],
    1e300,
)


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_a_bad_limit_is_refused_where_it_is_written(value):
    with pytest.raises(durable.UsageError, match="run_timeout"):
        hangs.options(run_timeout=value)
    with pytest.raises(durable.UsageError, match="run_timeout"):
        workflow(run_timeout=value)(hangs.fn)


@pytest.mark.parametrize("value", [0.0000001, "1us", 1, "1h30m", dt.timedelta(days=1), None])
def test_a_good_limit_is_taken(value):
    assert hangs.options(run_timeout=value).start_options.run_timeout_us != 0
