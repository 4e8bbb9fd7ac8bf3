"""Mapping: bounded, in order, with a budget for failures; and settling, which never raises."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import durable
from durable import activity, workflow


class Odd(Exception):
    pass


class _Gauge:
    """Counts what is in the works: how many now, and how many at most."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    def __enter__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        self.now -= 1


@activity
async def map_twice(value: int) -> int:
    return value * 2


@activity(retry=durable.Retry(max_attempts=1))
async def map_refuses(value: int) -> int:
    if value < 0:
        raise Odd(f"{value} is refused")
    return value


@workflow
async def map_child(value: int) -> int:
    if value < 0:
        raise Odd(f"{value} is refused")
    return await map_twice(value)


async def napping(value: int) -> int:
    """Do the first last."""
    await asyncio.sleep(100 - value)
    return await map_twice(value)


FUNCTIONS: dict[str, Callable[[int], Awaitable[int]]] = {
    "activity": map_twice,
    "workflow": map_child,
    "async function": napping,
}


# -- in order, bounded -----------------------------------------------------------------------------


@workflow
async def maps_over(what: str, count: int, limit: int) -> list[list[int]]:
    gauge = _Gauge()
    ended: list[int] = []

    async def gauged(value: int) -> int:
        with gauge:
            found = await FUNCTIONS[what](value)
        ended.append(value)
        return found

    found = await durable.map(gauged, range(count), limit=limit)
    return [found, ended, [gauge.most, gauge.now]]


@pytest.mark.parametrize("what", FUNCTIONS)
@pytest.mark.parametrize(("count", "limit"), [(1, 1), (4, 1), (4, 3), (4, 4), (4, 5), (0, 1)])
async def test_a_limit_bounds_what_is_in_the_works_and_results_are_in_order(
    durable_harness, what, count, limit
):
    found, ended, (most, now) = await durable_harness.run(maps_over, what, count, limit)

    assert found == [2 * value for value in range(count)]
    assert sorted(ended) == list(range(count))
    assert (most, now) == (min(count, limit), 0)
    if what == "async function" and limit >= count:
        assert ended == [*reversed(range(count))]


@workflow
async def maps_directly(what: str) -> list[int]:
    return await durable.map(FUNCTIONS[what], iter([3, 1, 2]), limit=2)


@pytest.mark.parametrize("what", FUNCTIONS)
async def test_what_is_mapped_over_may_be_an_iterator(durable_harness, what):
    assert await durable_harness.run(maps_directly, what) == [6, 2, 4]


@workflow
async def maps_a_generator() -> list[list[int]]:
    read: list[int] = []

    def items():
        for value in range(3):
            read.append(value)
            yield value

    async def first_reads(value: int) -> int:
        seen = len(read)
        await map_twice(value)
        return seen

    return [await durable.map(first_reads, items(), limit=1), read]


async def test_a_generator_is_read_once_and_at_the_beginning(durable_harness):
    assert await durable_harness.run(maps_a_generator) == [[3, 3, 3], [0, 1, 2]]


@workflow
async def maps_nested() -> list[list[int]]:
    async def row(first: int) -> list[int]:
        return await durable.map(map_twice, range(first, first + 2), limit=2)

    return await durable.map(row, [0, 10], limit=2)


async def test_maps_nest(durable_harness):
    assert await durable_harness.run(maps_nested) == [[0, 2], [20, 22]]


@workflow
async def maps_in_gather() -> list[list[int]]:
    return list(
        await asyncio.gather(
            durable.map(napping, [1, 2], limit=2),
            durable.map(map_twice, [3, 4], limit=1),
            durable.map(map_child, [5], limit=1),
        )
    )


async def test_maps_are_gathered(durable_harness):
    assert await durable_harness.run(maps_in_gather) == [[2, 4], [6, 8], [10]]


@workflow
async def maps_many(count: int) -> list[int]:
    tasks = [0]

    async def counting(value: int) -> int:
        found = await map_twice(value)
        tasks[0] = max(tasks[0], len(asyncio.all_tasks()))
        return found

    return [sum(await durable.map(counting, range(count), limit=20)), tasks[0]]


@pytest.mark.slow
async def test_ten_thousand_items_are_so_many_tasks_as_the_limit(tmp_path):
    # Warm only: replaying after each of 10,000 events is quadratic.
    async with durable.Engine(tmp_path / "app.db", durability="normal") as engine:
        total, tasks = await (await engine.start(maps_many, 10_000)).result()

    assert total == 2 * sum(range(10_000))
    assert 20 <= tasks <= 25


# -- a budget for failures -------------------------------------------------------------------------


def item_values(count: int, bad: int) -> list[int]:
    return [-value - 1 if value < bad else value for value in range(count)]


@workflow
async def maps_tolerantly(
    what: str, values: list[int], limit: int, tolerate: float, whole: bool
) -> list[str]:
    function = map_refuses if what == "activity" else map_child
    budget = int(tolerate) if whole else float(tolerate)
    try:
        outcomes = await durable.map(function, values, limit=limit, tolerate=budget)
    except durable.TooManyFailures as error:
        return [f"{type(error).__name__}: {type(error.__cause__).__name__}"]
    return [f"{type(one.error).__name__}: {one.error}" if one.error else "ok" for one in outcomes]


@pytest.mark.parametrize("what", ["activity", "workflow"])
@pytest.mark.parametrize(
    ("tolerate", "bad", "goes_well"),
    [(0, 0, True), (0, 1, False), (2, 1, True), (2, 2, True), (2, 3, False), (9, 4, True),
     (0.0, 0, True), (0.0, 1, False), (0.5, 1, True), (0.5, 2, True), (0.5, 3, False),
     (1.0, 4, True)],
)  # fmt: skip
async def test_so_many_failures_are_tolerated_and_no_more(
    durable_harness, what, tolerate, bad, goes_well
):
    values = item_values(4, bad)
    whole = isinstance(tolerate, int)

    said = await durable_harness.run(maps_tolerantly, what, values, 2, tolerate, whole)

    if goes_well:
        assert said == [f"Odd: {one} is refused" if one < 0 else "ok" for one in values]
    else:
        assert said == ["TooManyFailures: Odd"]


@pytest.mark.parametrize(
    ("share", "count", "failures_max"),
    [(0.29, 100, 29), (0.57, 100, 57), (0.07, 100, 7), (0.7, 10, 7), (0.3, 10, 3), (0.1, 9, 0)],
)
async def test_a_share_is_the_number_that_is_written(share, count, failures_max):
    # Outside of any workflow: it is arithmetic.
    async def refuse(value: int) -> int:
        if value < 0:
            raise Odd
        return value

    found = await durable.map(refuse, item_values(count, failures_max), tolerate=share)

    assert sum(not one.ok for one in found) == failures_max
    with pytest.raises(durable.TooManyFailures):
        await durable.map(refuse, item_values(count, failures_max + 1), tolerate=share)


@workflow
async def maps_till_it_breaks(tolerate: int | None) -> list[str]:
    said: list[str] = []

    async def item(value: int) -> None:
        try:
            if value < 0:
                await map_refuses(value)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            said.append(f"{value} cancelled")
            raise

    values = [0, -1, 1, -2, 2, 3]
    try:
        if tolerate is None:
            await durable.map(item, values, limit=4)
        else:
            await durable.map(item, values, limit=4, tolerate=tolerate)
    except (Odd, durable.TooManyFailures) as error:
        said.append(type(error).__name__)
    return said


@pytest.mark.parametrize("tolerate", [None, 0, 1])
async def test_beyond_the_budget_what_is_in_the_works_is_cancelled_and_nothing_begins(
    durable_harness, tolerate
):
    said = await durable_harness.run(maps_till_it_breaks, tolerate)

    assert said[-1] == ("Odd" if tolerate is None else "TooManyFailures")
    assert {"0 cancelled", "1 cancelled"} <= set(said)
    assert not any(one.startswith("3") for one in said)


@workflow
async def maps_what_will_not_stop(how: str) -> list[int]:
    begun: list[int] = []

    async def stubborn(value: int) -> int:
        begun.append(value)
        if value < 0:
            return await map_refuses(value)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if how == "turns it":
                raise Odd from None
        return value

    values = [0, 1, 2, 3] if how == "timeout" else [0, -1, 2, 3]
    try:
        async with asyncio.timeout(None if how == "failure" else 10):
            if how == "turns it":
                await durable.map(stubborn, [0, 1, 2, 3], limit=2, tolerate=4)
            else:
                await durable.map(stubborn, values, limit=2)
    except (Odd, TimeoutError):
        return begun
    return [-99]


@pytest.mark.parametrize("how", ["failure", "timeout", "turns it"])
async def test_an_item_that_swallows_its_cancellation_is_followed_by_no_other(durable_harness, how):
    assert len(await durable_harness.run(maps_what_will_not_stop, how)) == 2


# -- outcomes --------------------------------------------------------------------------------------


@workflow
async def tells_outcomes() -> list[str]:
    good, bad = await durable.map(map_refuses, [1, -1], tolerate=1)
    said = [str((good.ok, good.value, good.error, good.unwrap())), str((bad.ok, bad.value))]
    try:
        bad.unwrap()
    except Odd as error:
        said.append(f"{error}, {error is bad.error}")
    return said


async def test_an_outcome_has_a_value_or_an_error(durable_harness):
    assert await durable_harness.run(tells_outcomes) == [
        "(True, 1, None, 1)",
        "(False, None)",
        "-1 is refused, True",
    ]


# -- settle ----------------------------------------------------------------------------------------


@workflow
async def settles() -> list[str]:
    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    outcomes = await durable.settle(
        map_refuses(-1), map_child(-2), map_twice(3), cancels_itself(), asyncio.sleep(5, "slept")
    )
    nothing = await durable.settle()
    return [f"{type(one.error).__name__} {one.value}" for one in outcomes] + [str(nothing)]


async def test_settling_never_raises_for_one_of_them(durable_harness):
    assert await durable_harness.run(settles) == [
        "Odd None",
        "Odd None",
        "NoneType 6",
        "CancelledError None",
        "NoneType slept",
        "[]",
    ]


@workflow
async def settles_under_a_timeout() -> list[str]:
    said: list[str] = []

    async def naps(value: int) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            said.append(f"{value} cancelled")

    try:
        async with asyncio.timeout(1):
            await durable.settle(naps(1), naps(2), map_refuses(-1))
    except TimeoutError:
        said.append("timeout")
    return said


async def test_a_cancelled_settle_cancels_them_and_is_cancelled(durable_harness):
    assert await durable_harness.run(settles_under_a_timeout) == [
        "1 cancelled",
        "2 cancelled",
        "timeout",
    ]


# -- refused ---------------------------------------------------------------------------------------


@workflow
async def maps_wrongly(options: dict[str, Any]) -> str:
    called: list[int] = []

    async def item(value: int) -> int:
        called.append(value)
        return value

    given = {"tolerate": float(options["share"])} if "share" in options else options
    try:
        await durable.map(item, [1], **given)
    except durable.UsageError as error:
        return f"{error} {called}"
    return "never"


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"limit": -1}, {"limit": 1.5}, {"limit": None}, {"limit": True},
     {"tolerate": -1}, {"tolerate": -0.5}, {"tolerate": 1.5}, {"tolerate": True},
     {"tolerate": "all"}, {"share": "nan"}, {"share": "inf"}],
)  # fmt: skip
async def test_what_has_no_meaning_is_refused_before_anything_begins(durable_harness, options):
    said = await durable_harness.run(maps_wrongly, options)

    assert said.endswith(" []")
