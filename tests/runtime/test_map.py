"""`durable.map` and `durable.settle`: bounds, order, budgets, and what is cancelled."""

import asyncio
import math
from typing import Any

import pytest

import durable
from durable import Outcome, Retry, Signal, Value, activity, workflow

number = Signal("number", int)
state = Value("state", str)
running = {"now": 0, "most": 0}
noted: list[str] = []


class Sad(Exception):
    pass


@pytest.fixture(autouse=True)
def _forget():
    running.update(now=0, most=0)
    noted.clear()


@activity
async def echo(value: int) -> int:
    return value


@activity
async def counts(value: int) -> int:
    """Take a few turns of the loop, so that all that may run at once does."""
    running["now"] += 1
    running["most"] = max(running.values())
    try:
        for _ in range(5):
            await asyncio.sleep(0)
    finally:
        running["now"] -= 1
    return value


@activity(retry=Retry(max_attempts=1))
async def fails_below(value: int, limit: int) -> int:
    if value < limit:
        raise Sad(f"{value} is below {limit}")
    return value


@activity
async def hang() -> None:
    await asyncio.Event().wait()


@workflow
async def child(value: int) -> int:
    await durable.sleep(100 - value)
    return value * 10


@workflow
async def hangs(value: int) -> int:
    try:
        return await number.receive()
    finally:
        noted.append(f"{value} gave up")


# -- bounds and order ------------------------------------------------------------------------------


@workflow
async def maps_counted(count: int, limit: int) -> list[int]:
    return await durable.map(counts, range(count), limit=limit)


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (20, 6)])
async def test_no_more_than_the_limit_run_at_once(durable_harness, limit, most):
    harness = durable_harness

    assert await harness.run(maps_counted, 6, limit) == list(range(6))

    assert running["most"] <= most
    if harness.mode == "warm":  # A death ends what runs: the next ones begin alone.
        assert running["most"] == most


@workflow
async def counts_inside(count: int, limit: int) -> list[int]:
    """Return the most items in the works at once, seen by the workflow itself."""
    now = most = 0

    async def one(value: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await durable.sleep(10 + value % 3)
        now -= 1
        return value

    found = await durable.map(one, range(count), limit=limit)
    return [most, *found]


@pytest.mark.parametrize("limit", [1, 4])
async def test_the_limit_holds_for_what_the_workflow_sees(durable_harness, limit):
    assert await durable_harness.run(counts_inside, 9, limit) == [limit, *range(9)]


@workflow
async def maps_in_reverse(how: str) -> list[int]:
    """Let later items end first."""

    async def waits(value: int) -> int:
        await durable.sleep(100 - value)
        return value * 10

    if how == "workflow":
        return await durable.map(child, range(4), limit=3)
    if how == "function":
        return await durable.map(waits, range(4), limit=4)
    return await durable.map(child, (value for value in range(4)), limit=100)


@pytest.mark.parametrize("how", ["workflow", "function", "generator"])
async def test_results_are_in_the_order_of_the_items_whatever_ends_first(durable_harness, how):
    harness = durable_harness
    harness.started.append(child)

    assert await harness.run(maps_in_reverse, how) == [0, 10, 20, 30]


@workflow
async def bounded_children(limit: int) -> list[int]:
    return await durable.map(child, range(4), limit=limit)


async def test_no_more_children_than_the_limit_are_open_at_once(durable_harness):
    harness = durable_harness
    harness.started.append(child)
    handle = await harness.start(bounded_children, 2)
    assert await harness.finish(handle) == [0, 10, 20, 30]

    spans = []
    for one in await (await harness.again(handle)).children():
        details = await one.details()
        spans.append((details.created, details.closed))

    for begin, _ in spans:
        assert sum(began <= begin < ended for began, ended in spans) <= 2


@workflow
async def maps_nothing() -> list[int]:
    outcomes = await durable.map(echo, [], tolerate=0)
    return [len(await durable.map(echo, [])), len(outcomes), len(await durable.settle())]


async def test_no_items_are_no_steps(durable_harness):
    handle = await durable_harness.start(maps_nothing)

    assert await durable_harness.finish(handle) == [0, 0, 0]
    assert await (await durable_harness.again(handle)).history() == []


@workflow
async def maps_nested() -> list[list[int]]:
    async def row(y: int) -> list[int]:
        async def cell(x: int) -> int:
            return await echo(10 * y + x) + await echo(0)

        return await durable.map(cell, range(3), limit=2)

    return await durable.map(row, range(3), limit=2)


async def test_a_map_in_a_map_keeps_both_orders(durable_harness):
    assert await durable_harness.run(maps_nested) == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]


@workflow
async def maps_in_a_gather() -> list[list[int]]:
    found = await asyncio.gather(
        durable.map(echo, range(2), limit=2),
        durable.map(echo, range(4, 6), limit=1),
        durable.map(child, range(2)),
    )
    return [*found, await durable.map(echo, range(2))]


async def test_maps_side_by_side_do_not_mix(durable_harness):
    harness = durable_harness
    harness.started.append(child)

    found = await harness.run(maps_in_a_gather)

    assert found == [[0, 1], [4, 5], [0, 10], [0, 1]]


@workflow
async def maps_groups() -> list[int]:
    async def one(value: int) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(echo(value + extra)) for extra in (0, 100)]
        async with asyncio.timeout(50):
            return sum(task.result() for task in tasks) + int(durable.random().random() < 2)

    return await durable.map(one, range(4), limit=2)


async def test_items_may_make_tasks_timers_and_chance_of_their_own(durable_harness):
    assert await durable_harness.run(maps_groups) == [101, 103, 105, 107]


@workflow
async def maps_ten_thousand() -> list[int]:
    most = 0

    async def one(value: int) -> int:
        nonlocal most
        if not value % 100:
            most = max(most, len(asyncio.all_tasks()))
        return await echo(value)

    found = await durable.map(one, range(10_000), limit=20)
    return [most, len(found), sum(found)]


@pytest.mark.slow
async def test_ten_thousand_items_are_as_few_tasks_as_the_limit(tmp_path):
    # Warm only: each of 10,000 events would be followed by a replay of all before it.
    async with durable.Engine(tmp_path / "app.db", durability="normal") as engine:
        run = await engine.start(maps_ten_thousand)

        most, count, total = await run.result()

    assert most <= 22
    assert (count, total) == (10_000, sum(range(10_000)))


async def test_map_and_settle_work_without_an_engine():
    async def refuses(value: int) -> int:
        if value == 2:
            raise Sad("two")
        return value

    outcomes = await durable.map(refuses, range(4), limit=2, tolerate=1)
    settled = await durable.settle(refuses(1), refuses(2))

    assert [one.value for one in outcomes] == [0, 1, None, 3]
    assert [one.ok for one in settled] == [True, False]
    with pytest.raises(Sad):
        await durable.map(refuses, range(4))


# -- failures --------------------------------------------------------------------------------------


@workflow
async def fails_at_three() -> str:
    async def one(value: int) -> int:
        try:
            if value == 3:
                await durable.sleep(5)
                return await fails_below(value, 4)
            await durable.sleep(100)
        except asyncio.CancelledError:
            noted.append(f"{value} cancelled")
            state.set(f"cleaned up {await echo(value)}")
            raise
        return value

    try:
        await durable.map(one, range(1, 100), limit=3)
    except Sad as error:
        now = (durable.now() - durable.info().started).total_seconds()
        return f"{error} at {now:g}"
    return "never"


async def test_the_first_failure_cancels_the_rest_and_is_raised(durable_harness):
    handle = await durable_harness.start(fails_at_three)

    assert await durable_harness.finish(handle) == "3 is below 4 at 5"
    assert {"1 cancelled", "2 cancelled"} == set(noted)
    assert await (await durable_harness.again(handle)).read(state) in {
        "cleaned up 1",
        "cleaned up 2",
    }


@workflow
async def has_a_bug(place: str) -> str:
    async def one(value: int) -> int:
        await echo(value)
        if value == 2:
            raise KeyError(f"a bug at {value}")
        return value

    def items():
        yield 1
        if place == "items":
            raise KeyError("a bug in the items")
        yield from (2, 3, 4)

    try:
        await durable.map(one, items(), limit=2)
    except KeyError as error:
        return f"{error.args[0]}, {await echo(9)}"
    return "never"


@pytest.mark.parametrize(
    ("place", "said"), [("function", "a bug at 2, 9"), ("items", "a bug in the items, 9")]
)
async def test_a_bug_in_the_middle_is_raised_and_the_run_may_go_on(durable_harness, place, said):
    assert await durable_harness.run(has_a_bug, place) == said


async def test_a_bug_that_nobody_catches_fails_the_run(durable_harness):
    @workflow
    async def has_one() -> None:
        async def one(value: int) -> int:
            return await echo(value) // 0

        await durable.map(one, range(5), limit=2)

    with pytest.raises(durable.RunFailed, match="ZeroDivisionError"):
        await durable_harness.run(has_one)


@workflow
async def tolerates(count: int, failing: int, tolerate: Any) -> list[str]:
    async def one(value: int) -> int:
        return await fails_below(value, failing)

    try:
        outcomes = await durable.map(one, range(count), limit=3, tolerate=tolerate)
    except durable.TooManyFailures as error:
        assert isinstance(error.__cause__, Sad)
        return [str(error).partition(":")[0]]
    return [str(one.value if one.ok else one.error) for one in outcomes]


@pytest.mark.parametrize(
    ("failing", "tolerate", "fits"),
    [
        (0, 0, True), (1, 0, False),
        (1, 2, True), (2, 2, True), (3, 2, False),
        (10, 10, True), (10, 9, False), (10, 1_000, True),
        (0, 0.0, True), (1, 0.0, False),
        (1, 0.2, True), (2, 0.2, True), (3, 0.2, False),
        (2, 0.29, True), (3, 0.29, False),
        (10, 1.0, True), (10, 0.99, False),
    ],
)  # fmt: skip
async def test_a_budget_holds_at_below_and_above_its_edge(durable_harness, failing, tolerate, fits):
    said = await durable_harness.run(tolerates, 10, failing, tolerate)

    if fits:
        failed = [f"{value} is below {failing}" for value in range(failing)]
        assert said == [*failed, *map(str, range(failing, 10))]
    else:
        (message,) = said
        assert message.endswith("of 10 items failed, more than the "
                                f"{int(tolerate * 10) if isinstance(tolerate, float) else tolerate}"
                                " that are tolerated; the last")  # fmt: skip


@pytest.mark.parametrize("share", [0.07, 0.14, 0.28, 0.29, 0.55, 0.57, 0.58])
async def test_a_share_is_not_one_item_less_by_rounding(share):
    failing = round(share * 100)

    async def one(value: int) -> int:
        if value < failing:
            raise Sad(str(value))
        return value

    outcomes = await durable.map(one, range(100), tolerate=share)
    with pytest.raises(durable.TooManyFailures):
        await durable.map(one, range(99), tolerate=share)

    assert sum(not outcome.ok for outcome in outcomes) == failing


@workflow
async def exceeds_with_children() -> str:
    async def one(value: int) -> int:
        if value < 2:
            await durable.sleep(value + 1)
            return await fails_below(value, 2)
        return await hangs.options(id=f"child {value}")(value)

    try:
        await durable.map(one, range(100), limit=4, tolerate=1)
    except durable.TooManyFailures as error:
        return str(error)
    return "never"


async def test_a_budget_that_is_exceeded_cancels_what_is_in_the_works(durable_harness):
    harness = durable_harness
    harness.started.append(hangs)
    handle = await harness.start(exceeds_with_children)

    said = await harness.finish(handle)

    assert said.startswith("2 of 100 items failed, more than the 1 that are tolerated")
    found = await (await harness.again(handle)).children()
    assert [one.id for one in found] == ["child 2", "child 3", "child 4"]
    for one in found:
        with pytest.raises(durable.RunCancelled, match="no longer waits for it"):
            await harness.finish(one)


@workflow
async def is_cancelled_within(how: str) -> None:
    if how == "map":
        await durable.map(hangs, range(50), limit=2, tolerate=1.0)
    else:
        await durable.settle(hangs(0), hangs(1))
    noted.append("went on")


@pytest.mark.parametrize("how", ["map", "settle"])
async def test_a_cancel_passes_through_and_asks_the_children(durable_harness, how):
    harness = durable_harness
    harness.started.append(hangs)
    handle = await harness.start(is_cancelled_within, how)
    while len(await (await harness.again(handle)).children()) < 2:
        await asyncio.sleep(0)
    await (await harness.again(handle)).cancel("enough")

    with pytest.raises(durable.RunCancelled, match="enough"):
        await harness.finish(handle)
    found = await (await harness.again(handle)).children()
    for one in found:
        with pytest.raises(durable.RunCancelled):
            await harness.finish(one)
    assert len(found) == 2
    assert "went on" not in noted


@workflow
async def maps_over_a_cancelled_child(tolerate: int) -> list[str]:
    async def one(value: int) -> int:
        if value == 1:
            handle = await hangs.start(value)
            await handle.cancel("not this one")
            return await handle.result()
        return await echo(value)

    outcomes = await durable.map(one, range(3), tolerate=tolerate)
    return [str(outcome.error or outcome.value) for outcome in outcomes]


async def test_a_cancelled_child_is_a_failure_like_others(durable_harness):
    said = await durable_harness.run(maps_over_a_cancelled_child, 1)

    assert (said[0], said[2]) == ("0", "2")
    assert "not this one" in said[1]


@workflow
async def goes_on_within(left: int) -> str:
    async def one(value: int) -> int:
        await echo(value)
        if value == 1 and left:
            durable.continue_as_new(left - 1)
        return value

    await durable.map(one, range(3), limit=1, tolerate=1.0)
    return f"ordinal {durable.info().ordinal}"


async def test_an_item_may_continue_as_new(durable_harness):
    assert await durable_harness.run(goes_on_within, 2) == "ordinal 3"


# -- settle ----------------------------------------------------------------------------------------


@workflow
async def settles() -> list[str]:
    cancelled = asyncio.ensure_future(durable.sleep(100))
    asyncio.get_running_loop().call_later(1, cancelled.cancel)
    stopped = await hangs.start(1)
    await stopped.cancel("not needed")

    async def raises() -> None:
        raise BaseExceptionGroup("two", [Sad("a"), Sad("b")])

    outcomes = await durable.settle(
        echo(1), fails_below(1, 2), cancelled, stopped.result(), raises(), child(5)
    )
    return [f"{outcome.ok} {outcome.value} {type(outcome.error).__name__}" for outcome in outcomes]


async def test_settle_tells_each_end_in_order_and_raises_for_none(durable_harness):
    harness = durable_harness
    harness.started += [child, hangs]

    assert await harness.run(settles) == [
        "True 1 NoneType",
        "False None Sad",
        "False None CancelledError",
        "False None RunCancelled",
        "False None ExceptionGroup",
        "True 50 NoneType",
    ]


@workflow
async def settles_twice_the_same() -> list[int]:
    task = asyncio.ensure_future(echo(3))
    outcomes = await durable.settle(task, task)
    return [outcome.unwrap() for outcome in outcomes]


async def test_settle_takes_one_task_twice(durable_harness):
    assert await durable_harness.run(settles_twice_the_same) == [3, 3]


def test_an_outcome_gives_its_value_or_raises_its_error():
    good, bad = Outcome(5), Outcome(None, Sad("no"))

    assert (good.ok, good.unwrap(), bad.ok) == (True, 5, False)
    with pytest.raises(Sad):
        bad.unwrap()


# -- bad arguments ---------------------------------------------------------------------------------

began: list[int] = []


async def begins(value: int) -> int:
    began.append(value)
    return value


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", None, math.inf, math.nan, True], ids=repr)
async def test_a_bad_limit_is_refused_and_nothing_begins(limit):
    began.clear()

    with pytest.raises(durable.UsageError, match="limit"):
        await durable.map(begins, [1, 2], limit=limit)

    assert began == []


@pytest.mark.parametrize(
    "tolerate", [-1, -0.1, 1.1, math.nan, math.inf, -math.inf, "1", True, [1]], ids=repr
)
async def test_a_bad_budget_is_refused_and_nothing_begins(tolerate):
    began.clear()

    with pytest.raises(durable.UsageError, match=r"tolerate|share"):
        await durable.map(begins, [1, 2], tolerate=tolerate)

    assert began == []


@pytest.mark.parametrize("fn", [None, 5, "echo"], ids=repr)
async def test_what_cannot_be_called_is_refused_and_nothing_begins(fn):
    with pytest.raises(durable.UsageError, match="function"):
        await durable.map(fn, [1, 2], tolerate=1.0)


async def test_settle_of_what_cannot_be_awaited_is_refused_and_nothing_begins():
    began.clear()
    good = begins(1)

    with pytest.raises(durable.UsageError, match="awaitable"):
        await durable.settle(good, 5)  # type: ignore[arg-type]
    await asyncio.sleep(0)

    assert began == []
    good.close()
