"""`durable.map` and `durable.settle`: bounds, order, budgets, outcomes."""

import asyncio
from typing import Any

import pytest

import durable
from durable import activity, workflow
from durable.testing import ManualClock

at_once: dict[str, int] = {"now": 0, "most": 0}
cancelled: list[int] = []
done: list[int] = []


class Sad(Exception):
    pass


@pytest.fixture(autouse=True)
def _forget():
    at_once.update(now=0, most=0)
    cancelled.clear()
    done.clear()


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


@activity(retry=durable.Retry(max_attempts=1))
async def work(item: int) -> int:
    """Later items end earlier; negative ones fail."""
    at_once["now"] += 1
    at_once["most"] = max(at_once["most"], at_once["now"])
    try:
        for _ in range(max(1, 20 - 3 * abs(item))):
            await asyncio.sleep(0)
        if item < 0:
            raise Sad(f"item {item}")
        done.append(item)
        return item * 10
    except asyncio.CancelledError:
        cancelled.append(item)
        raise
    finally:
        at_once["now"] -= 1


@workflow
async def child(item: int) -> int:
    return await work(item)


@workflow
async def maps(kind: str, items: list[int], limit: int) -> list[int]:
    return await durable.map(work if kind == "activity" else child, iter(items), limit=limit)


@pytest.mark.parametrize("kind", ["activity", "workflow"])
@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_results_come_in_the_order_of_the_items(durable_harness, kind, limit):
    items = [5, 0, 3, 1, 4, 2]

    found = await durable_harness.run(maps, kind, items, limit)

    assert found == [item * 10 for item in items]
    assert at_once["most"] <= limit


async def test_nothing_of_nothing(durable_harness):
    assert await durable_harness.run(maps, "activity", [], 5) == []


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (4, 4), (100, 12)])
async def test_so_many_are_in_the_works_at_once_and_no_more(engine, limit, most):
    run = await engine.start(maps, "activity", [0] * 12, limit)

    await run.result()

    assert at_once["most"] == most


# -- failures --------------------------------------------------------------------------------------


@workflow
async def catches(items: list[int]) -> list[Any]:
    try:
        return await durable.map(work, items, limit=2)
    except Sad as error:
        return [str(error), await work(7)]


async def test_the_first_failure_cancels_the_rest_and_is_raised(durable_harness):
    assert await durable_harness.run(catches, [1, -6, 2, 3, 4]) == ["item -6", 70]
    assert 4 not in done


@workflow
async def tolerates(items: list[int], count: int | None, share: float) -> list[Any]:
    tolerate: float = share if count is None else count
    try:
        outcomes = await durable.map(work, items, limit=3, tolerate=tolerate)
    except durable.TooManyFailures as error:
        return ["too many", str(error), type(error.__cause__).__name__]
    return [one.value if one.ok else f"{type(one.error).__name__}: {one.error}" for one in outcomes]


@pytest.mark.parametrize(("count", "share"), [(2, 0.0), (3, 0.0), (None, 0.5), (None, 1.0)])
async def test_so_many_failures_are_outcomes(durable_harness, count, share):
    found = await durable_harness.run(tolerates, [1, -1, 2, -2], count, share)

    assert found == [10, "Sad: item -1", 20, "Sad: item -2"]


@pytest.mark.parametrize(("count", "share"), [(0, 0.0), (1, 0.0), (None, 0.0), (None, 0.49)])
async def test_one_failure_more_is_too_many(durable_harness, count, share):
    found = await durable_harness.run(tolerates, [1, -1, 2, -2], count, share)

    allowed = count if count is not None else int(share * 4)
    assert found[0] == "too many"
    assert f"{allowed + 1} of 4 items failed, more than the {allowed}" in found[1]
    assert found[2] == "Sad"


@workflow
async def counts_tasks(count: int) -> list[int]:
    most = [0]

    async def note(item: int) -> int:
        most[0] = max(most[0], len(asyncio.all_tasks()))
        return await quick(item)

    found = await durable.map(note, range(count), limit=20)
    return [most[0], sum(found)]


@activity
async def quick(item: int) -> int:
    return item


@pytest.mark.slow
async def test_ten_thousand_items_are_not_ten_thousand_tasks(engine):
    # Warm alone: a replay after each of 10,000 events is a test of patience.
    most, total = await (await engine.start(counts_tasks, 10_000)).result()

    assert total == sum(range(10_000))
    assert most <= 25


# -- in other things -------------------------------------------------------------------------------


@workflow
async def nests() -> list[list[int]]:
    async def row(number: int) -> list[int]:
        return await durable.map(work, [number, number + 1], limit=2)

    first, second = await asyncio.gather(
        durable.map(row, [1, 2], limit=2), durable.map(row, [3, 4], limit=1)
    )
    return first + second


async def test_maps_nest_and_stand_side_by_side(durable_harness):
    assert await durable_harness.run(nests) == [[10, 20], [20, 30], [30, 40], [40, 50]]


@workflow
async def gives_up() -> str:
    try:
        async with asyncio.timeout(10):
            await durable.map(sleeps, [1, 2, 3], limit=2)
    except TimeoutError:
        return "gave up"
    return "never"


@workflow
async def sleeps(item: int) -> int:
    await asyncio.sleep(1_000)
    return item


async def test_a_map_that_is_given_up_asks_its_children_to_stop(durable_harness):
    harness = durable_harness
    assert await harness.run(gives_up) == "gave up"
    while True:
        harness.engine = harness.engine if harness.engine._worker else await harness.restart()
        runs = [one for one in await harness.engine.list() if one.workflow == "sleeps"]
        if all(one.status == "cancelled" for one in runs):
            break
        await asyncio.sleep(0)
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("options", "why"),
    [({"limit": 0}, "limit"), ({"limit": 1.5}, "limit"), ({"tolerate": -1}, "tolerate"),
     ({"tolerate": 1.5}, "share"), ({"tolerate": True}, "tolerate"),
     ({"tolerate": float("nan")}, "share|tolerate")],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(options, why):
    with pytest.raises(durable.UsageError, match=why):
        await durable.map(quick, [1], **options)


# -- settle ----------------------------------------------------------------------------------------


@workflow
async def settles() -> list[str]:
    slow = asyncio.ensure_future(asyncio.sleep(100))
    asyncio.get_running_loop().call_later(1, slow.cancel)
    outcomes = await durable.settle(work(1), work(-1), child(2), child(-2), slow)
    return [str(one.value) if one.ok else type(one.error).__name__ for one in outcomes]


async def test_settle_tells_how_each_ended_and_raises_nothing(durable_harness):
    found = await durable_harness.run(settles)

    assert found == ["10", "Sad", "20", "Sad", "CancelledError"]


@workflow
async def settles_in_time() -> str:
    try:
        async with asyncio.timeout(5):
            await durable.settle(asyncio.sleep(10), sleeps(1))
    except TimeoutError:
        return "in time"
    return "never"


async def test_settle_is_cancelled_as_a_whole(durable_harness):
    assert await durable_harness.run(settles_in_time) == "in time"


async def test_settle_of_nothing_is_nothing():
    assert await durable.settle() == []
