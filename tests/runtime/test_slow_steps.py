"""What runs or waits for longer than a second has a row, so that people see it."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import durable
from durable import Engine, Limits, Retry, activity, workflow
from durable.inspection import Viewer
from durable.testing import ManualClock
from tests.until import until


@activity
async def slow_upload(name: str) -> str:
    durable.heartbeat({"done": 25})
    await asyncio.Event().wait()
    return name


@workflow
async def uploads(name: str) -> str:
    return await slow_upload(name)


LIMITED = Limits(max_running_activities=1, threads_max=1)


async def details_when(run: Any, holds: Callable[[Any], bool]) -> Any:
    async def look() -> Any:
        found = await run.details()
        return found if holds(found) else None

    return await until(look)


async def test_running_names_what_runs_and_what_waits_is_queued(tmp_path):
    clock = ManualClock(jumps=False)
    async with (
        Engine(tmp_path / "app.db", clock=clock, limits=LIMITED, grace=0) as engine,
        durable.Client(tmp_path / "app.db") as client,
    ):
        client._clock = clock
        first = await engine.start(uploads.options(id="first"), "a")
        second = await engine.start(uploads.options(id="second"), "b")
        third = await engine.start(uploads.options(id="third"), "c")
        clock.advance(18)

        one = await details_when(first, lambda found: "attempt 1" in found.why)
        other = await details_when(second, lambda found: "in use by" in found.why and found.steps)
        last = await details_when(third, lambda found: "1 before it" in found.why)
        from_the_file = await details_when(
            await client.get("third"), lambda found: found.status == "queued"
        )
        counted = await client.count(), await engine.count("workflow:uploads")
        listed = {one.id for one in await client.list("status:queued")}
        running = [one.id for one in await client.list("status:running")]

    assert one.why == (
        'slow_upload (step 1), attempt 1, 18.0s, heartbeat {"done":25}; worker 1 has it in hand'
    )
    assert other.status == last.status == "queued"
    assert other.why == (
        "slow_upload (step 1) has waited 18.0s for its place: all 1 places are in use "
        "(Limits.max_running_activities); in use by slow_upload of first (18.0s); it comes next"
    )
    assert from_the_file.why == last.why
    (step,) = one.steps
    assert (step.status, step.arguments, step.details) == ("running", '["a"]', '{"done":25}')
    assert step.started is not None
    assert [step.status for step in other.steps] == ["queued"]
    assert counted == ({"running": 1, "queued": 2},) * 2
    assert (listed, running) == ({"second", "third"}, ["first"])


async def test_an_urgent_one_that_came_later_has_fewer_before_it(tmp_path):
    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", clock=clock, limits=LIMITED, grace=0) as engine:
        await engine.start(uploads.options(id="first"), "a")
        plain = await engine.start(uploads.options(id="plain"), "b")
        await until(lambda: engine._worker.activities.places.waiting == 1)
        clock.advance(1)
        urgent = await engine.start(uploads.options(id="urgent", priority=-5), "c")
        clock.advance(5)

        await details_when(urgent, lambda found: found.why.endswith("; it comes next"))
        await details_when(plain, lambda found: found.why.endswith("; 1 before it"))


async def test_what_has_its_place_at_last_is_running_and_what_it_was_is_forgotten(tmp_path):
    clock, path = ManualClock(jumps=False), tmp_path / "app.db"
    async with (
        Engine(path, clock=clock, limits=LIMITED, grace=0) as engine,
        durable.Client(path) as client,
    ):
        first = await engine.start(uploads.options(id="first"), "a")
        second = await engine.start(uploads.options(id="second"), "b")
        clock.advance(2)
        looked_at = await client.get("second")
        await details_when(looked_at, lambda found: found.status == "queued")

        await first.terminate()

        found = await details_when(looked_at, lambda found: found.status == "running")
        assert found.why.startswith("slow_upload (step 1), attempt 1") or "in hand" in found.why
        assert await client.count("status:queued") == {}
        await second.terminate()
        await second.wait()
        assert await client.count() == {"terminated": 2}


async def test_runs_that_waited_for_places_of_a_worker_that_ended_wait_for_a_worker(tmp_path):
    clock, path = ManualClock(jumps=False), tmp_path / "app.db"
    async with Engine(path, clock=clock, limits=LIMITED, grace=0) as engine:
        await engine.start(uploads.options(id="first"), "a")
        second = await engine.start(uploads.options(id="second"), "b")
        clock.advance(2)
        await until(lambda: engine._reader.find_newest("second").waits)
        assert await second.status() == "queued"

    async with durable.Client(path) as client:
        found = await (await client.get("second")).details()
        assert found.status == "queued"
        assert found.why == "no worker lives; start one with `durable worker APP:ENGINE`"
        assert await client.count() == {"queued": 2}


async def test_what_waited_for_places_of_a_dead_worker_says_that_it_died(tmp_path):
    clock = ManualClock(jumps=False)
    async with (
        Engine(tmp_path / "app.db", clock=clock, limits=LIMITED, grace=0) as engine,
        durable.Client(tmp_path / "app.db") as client,
    ):
        await engine.start(uploads.options(id="first"), "a")
        await engine.start(uploads.options(id="second"), "b")
        clock.advance(3)
        row = await until(lambda: (found := client._reader.find_newest("second")).waits and found)

        found = Viewer(client._reader, lambda _: False).details_of(row)

        assert (found.status, found.why) == (
            "queued",
            "its worker (1) died; the next one takes it over",
        )


@activity
def on_a_thread(number: int) -> int:
    THREADS[number].wait(20)
    return number


THREADS: dict[int, threading.Event] = {}


@workflow
async def threaded(number: int) -> int:
    return await on_a_thread(number)


async def test_what_waits_for_a_thread_is_queued_at_once_for_its_own_engine(tmp_path):
    THREADS.update({1: threading.Event(), 2: threading.Event()})
    limits = Limits(threads_max=1)
    async with Engine(tmp_path / "app.db", limits=limits) as engine:
        first = await engine.start(threaded.options(id="first"), 1)
        second = await engine.start(threaded.options(id="second"), 2)
        await until(lambda: engine._worker.activities.places.waiting == 1)

        found = await second.details()
        listed = {one.id: one.status for one in await engine.list()}

        assert (await first.status(), found.status) == ("running", "queued")
        assert "all 1 threads are in use (Limits.threads_max)" in found.why
        assert "before it" not in found.why
        assert listed == {"first": "running", "second": "queued"}
        for one in THREADS.values():
            one.set()
        assert [await first.result(), await second.result()] == [1, 2]


@workflow
async def side_by_side() -> list[str]:
    return list(await asyncio.gather(*(slow_upload(name) for name in "abc")))


async def test_a_run_with_a_place_is_running_and_tells_what_else_of_it_waits(tmp_path):
    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", clock=clock, limits=LIMITED, grace=0) as engine:
        run = await engine.start(side_by_side)
        other = await engine.start(side_by_side)
        clock.advance(3)

        found = await details_when(run, lambda found: "wait for a place" in found.why)
        waiting = await details_when(other, lambda found: "in use by" in found.why)

    assert found.status == "running"
    assert "2 wait for a place or a thread" in found.why
    assert (waiting.status, "with 2 more of this run" in waiting.why) == ("queued", True)


class Failing:
    """What `fails` has done so far, and what lets its held attempt go on."""

    def __init__(self) -> None:
        self.attempts = 0
        self.goes_on = asyncio.Event()


FAILING: dict[str, Failing] = {}


@activity(retry=Retry(initial_interval=5, backoff=1, jitter=0))
async def fails(key: str, held: int) -> str:
    one = FAILING[key]
    one.attempts += 1
    if one.attempts == held:
        await one.goes_on.wait()
    raise ValueError(f"failure {one.attempts}")


@workflow
async def keeps_trying(key: str, held: int) -> str:
    return await fails(key, held)


async def test_a_run_shows_the_attempt_that_runs_now_and_the_one_that_comes_next(tmp_path):
    clock, path = ManualClock(jumps=False), tmp_path / "app.db"
    failing = FAILING["now"] = Failing()
    async with (
        Engine(path, clock=clock, grace=0) as engine,
        durable.Client(path) as client,
    ):
        client._clock = clock
        run = await engine.start(keeps_trying.options(id="now"), "now", 3)
        looked_at = await client.get("now")

        await details_when(run, lambda found: "attempt 2 in 5.0s" in found.why)  # At once.
        assert failing.attempts == 1
        clock.advance(2)
        await details_when(looked_at, lambda found: "attempt 2 in 3.0s" in found.why)
        clock.advance(3)
        await until(lambda: failing.attempts == 2)
        await details_when(
            run, lambda found: "attempt 3 in 5.0s, after ValueError: failure 2" in found.why
        )
        clock.advance(2)
        await details_when(looked_at, lambda found: "attempt 3 in 3.0s" in found.why)
        clock.advance(3)
        await until(lambda: failing.attempts == 3)
        assert await run.status() == "running"
        clock.advance(2)
        for one in (looked_at, run):
            found = await details_when(one, lambda found: found.why.startswith("fails (step 1)"))
            assert (found.status, "attempt 3, 2.0s" in found.why) == ("running", True)
        assert await client.count() == {"running": 1}

        failing.goes_on.set()
        await details_when(run, lambda found: "attempt 4 in 5.0s" in found.why)
        clock.advance(2)
        await details_when(looked_at, lambda found: "attempt 4 in 3.0s" in found.why)
        assert await client.count() == {"retrying": 1}


@workflow
async def sleeps() -> None:
    await durable.sleep("1h")


@workflow
async def receives() -> int:
    return await durable.Signal("never", int).receive()


async def test_a_wait_that_has_just_begun_is_shown_at_once_by_its_own_engine(tmp_path):
    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", clock=clock) as engine:
        asleep = await engine.start(sleeps)
        receiving = await engine.start(receives)

        one = await details_when(asleep, lambda found: found.status != "running")
        other = await details_when(receiving, lambda found: found.status != "running")

        assert engine._get_row(asleep._pk).state == "ready"  # A second later it is written down.
        assert (one.status, one.why) == ("sleeping", "timer !t1 in 1h 00m")
        assert (other.status, other.waits_for) == ("waiting", ["signal never"])


@workflow
async def receives_or_sleeps(key: str) -> None:
    match key:
        case "sleeps":
            await durable.sleep("30d")
        case "receives":
            await durable.Signal("never", int).receive()
        case "promises":
            await durable.promise("never", int)
        case "retries":
            await fails(key, 0)
        case "works":
            await slow_upload("a")
        case "has a child":
            await sleeps()


@pytest.mark.parametrize(
    ("key", "status"),
    [
        *(("sleeps", "sleeping"), ("receives", "waiting"), ("promises", "waiting")),
        *(("retries", "retrying"), ("has a child", "waiting"), ("works", "queued")),
    ],
)
async def test_a_run_that_just_waits_when_its_engine_ends_is_shown_so(tmp_path, key, status):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    FAILING[key] = Failing()
    async with Engine(path, clock=clock, grace=0) as engine:
        run = await engine.start(receives_or_sleeps.options(id=key), key)
        await details_when(run, lambda found: found.status != "running" or key == "works")

    async with durable.Client(path) as client:
        assert await (await client.get(key)).status() == status
        assert await client.count(f"status:{status}") == {status: 1}
        assert client._get_row(run._pk).worker_id is None


async def test_an_engine_that_comes_and_leaves_changes_nothing_of_what_is_shown(tmp_path):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    FAILING["retries"] = Failing()
    keys = ["sleeps", "receives", "promises", "retries"]
    async with Engine(path, clock=clock, grace=0) as engine:
        for key in keys:
            run = await engine.start(receives_or_sleeps.options(id=key), key)
            await details_when(run, lambda found: found.status != "running")

    async def shown() -> dict[str, tuple[str, str]]:
        async with durable.Client(path) as client:
            client._clock = clock
            return {one.id: (one.status, one.why) for one in await client.list()}

    before = await shown()
    for _ in range(3):
        async with Engine(path, clock=clock, grace=0):
            pass
        assert await shown() == before
    assert {status for status, _ in before.values()} == {"sleeping", "waiting", "retrying"}


async def test_what_was_left_retrying_and_has_no_place_now_is_queued(tmp_path):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    FAILING["retries"] = Failing()
    async with Engine(path, clock=clock, grace=0) as engine:
        run = await engine.start(receives_or_sleeps.options(id="retries"), "retries")
        await details_when(run, lambda found: found.status == "retrying")

    async with (
        Engine(path, clock=clock, limits=LIMITED, grace=0) as engine,
        durable.Client(path) as client,
    ):
        await engine.start(uploads.options(id="first"), "a")
        await until(lambda: engine._running().activities.places.running == 1)
        clock.advance(10)
        await until(lambda: engine._running().activities.places.waiting == 1)
        clock.advance(2)
        looked_at = await client.get("retries")

        await details_when(looked_at, lambda found: found.status == "queued")


@pytest.mark.parametrize("key", ["sleeps", "retries", "receives"])
async def test_what_was_parked_at_an_end_goes_on_with_the_next_engine(tmp_path, key):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    failing = FAILING[key] = Failing()
    async with Engine(path, clock=clock, grace=0) as engine:
        run = await engine.start(receives_or_sleeps.options(id=key), key)
        await details_when(run, lambda found: found.status != "running")

    clock.advance(30 * 86_400)
    async with Engine(path, clock=clock, grace=0) as engine:
        again = await engine.get(key)
        match key:
            case "sleeps":
                await again.result()
            case "retries":
                await until(lambda: failing.attempts == 2)
            case _:
                await again.signal(durable.Signal("never", int), 1)
                await again.result()


@activity
async def quick() -> int:
    return 1


@workflow
async def is_quick() -> int:
    return await quick()


async def test_what_is_quick_has_no_row(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        run = await engine.start(is_quick)

        assert await run.result() == 1
        assert engine._reader.steps(run._pk) == []
