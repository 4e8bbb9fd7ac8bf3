"""Retries, timeouts, heartbeats, cancellation, at most once: with a manual clock."""

import asyncio
import contextlib
import contextvars
import threading

import pytest

import durable
from durable import Retry, activity, workflow
from durable.testing import Harness, ManualClock

QUICK = Retry(initial_interval=1, jitter=0)


class Down(Exception):
    pass


class Bad(Exception):
    pass


class Calls:
    """What ran, kept outside of workflows."""

    def __init__(self):
        self.numbers = []
        self.keys = set()
        self.details = []


calls = Calls()


@pytest.fixture(autouse=True)
def fresh_calls():
    calls.__init__()


def note():
    about = durable.attempt()
    calls.numbers.append(about.number)
    calls.keys.add(about.idempotency_key)
    calls.details.append(about.details)
    return about


@activity(retry=QUICK)
async def third_time(fail_with: str) -> int:
    if note().number < 3:
        raise {"Down": Down, "Bad": Bad}[fail_with]("not yet")
    return durable.attempt().number


@workflow
async def retried(fail_with: str) -> int:
    return await third_time(fail_with)


async def test_a_failing_activity_is_tried_again_without_limit_by_default(durable_harness):
    assert await durable_harness.run(retried, "Down") == 3
    assert calls.numbers == [1, 2, 3]
    assert len(calls.keys) == 1


async def test_every_failed_attempt_is_kept_with_its_traceback(durable_harness):
    run = await durable_harness.start(retried.options(id="r"), "Down")
    await durable_harness.finish(run)

    engine = await durable_harness.restart()
    (step,) = (await (await engine.get("r")).details()).steps
    assert [one.number for one in step.attempts] == [1, 2]
    assert step.tries == 3
    assert all("raise {" in one.traceback and "Down: not yet" in one.error for one in step.attempts)


@activity(retry=Retry(initial_interval=1, jitter=0, max_attempts=2))
async def twice() -> int:
    note()
    raise Down("always")


@workflow
async def gives_up() -> str:
    try:
        await twice()
    except Down as error:
        return f"{error} after {durable.now():%S} s"
    return "?"


async def test_max_attempts_counts_the_first(durable_harness):
    assert await durable_harness.run(gives_up) == "always after 01 s"
    assert calls.numbers == [1, 2]


@pytest.mark.parametrize(
    ("policy", "attempts"),
    [
        (Retry(give_up_on=[Bad]), 1),
        (Retry(give_up_on=[Exception]), 1),
        (Retry(retry_if=lambda error: not isinstance(error, Bad)), 1),
        (Retry(give_up_on=[Down], initial_interval=0.001), 3),
    ],
    ids=["class", "base class", "predicate", "another class"],
)
async def test_some_errors_are_never_tried_again(tmp_path, policy, attempts):
    @workflow
    async def one() -> int:
        try:
            return await third_time.options(retry=policy)("Bad")
        except Bad:
            return -1

    async with Harness(tmp_path / "app.db") as harness:
        await harness.run(one)

    assert len(calls.numbers) == attempts


@activity(retry=QUICK)
async def asks_for_a_pause() -> int:
    if note().number == 1:
        raise durable.RetryAfter(3600, "busy")
    return 1


@workflow
async def pauses() -> int:
    await asks_for_a_pause()
    return round(asyncio.get_running_loop().time())


async def test_retry_after_sets_the_wait(durable_harness):
    assert await durable_harness.run(pauses) == 3600


async def test_long_waits_for_a_retry_hold_no_task_and_survive_a_restart(tmp_path):
    clock = ManualClock(jumps=False)
    async with Harness(tmp_path / "app.db", clock=clock) as harness:
        run = await harness.start(pauses.options(id="p"))
        while not calls.numbers:
            await asyncio.sleep(0.001)
        while await run.status() != "retrying":
            clock.advance(1)
            harness.engine._worker.timers.fire_due()
            await asyncio.sleep(0.001)
        assert harness.engine._worker.activities.running == 0
        assert "busy" in (await run.details()).why

        await harness.restart()
        clock.jumps = True
        harness.engine._worker.look_idle()
        await harness.finish(run)

    assert calls.numbers == [1, 2]


@activity
async def other(fail_with: str) -> int:
    return 77


@workflow
async def falls_back() -> int:
    policy = Retry(max_attempts=1)
    return await third_time.options(retry=policy, fallback=other)("Down")


async def test_a_fallback_is_called_once_the_activity_failed_for_good(durable_harness):
    assert await durable_harness.run(falls_back) == 77


@activity(retry=Retry(max_attempts=1, on_exhausted="pause"))
async def repairable() -> int:
    note()
    if len(calls.numbers) == 1:
        raise Down("mend me")
    return 5


@workflow
async def waits_for_repair() -> int:
    return await repairable()


async def test_an_exhausted_step_can_pause_the_run_until_somebody_retries_it(durable_harness):
    run = await durable_harness.start(waits_for_repair.options(id="p"))
    with pytest.raises(durable.WrongState, match="mend me"):
        await durable_harness.finish(run)
    engine = await durable_harness.restart()
    again = await engine.get("p")
    assert await again.status() == "paused"

    same = await again.retry()

    assert same.ordinal == 1
    assert await durable_harness.finish(same) == 5


@workflow(on_failure="pause")
async def pauses_on_failure() -> int:
    first = await other("x")
    if len(calls.numbers) == 0:
        note_failure()
    return first


def note_failure():
    calls.numbers.append(0)
    raise Bad("a bug")


async def test_a_failed_run_can_pause_instead_of_closing(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        run = await harness.start(pauses_on_failure)
        with pytest.raises(durable.WrongState):
            await harness.finish(run)
        assert await run.status() == "paused"

        await run.retry()

        assert await harness.finish(run) == 77


# -- timeouts -----------------------------------------------------------------------------------


@activity
async def sleeps(seconds: float) -> str:
    note()
    await asyncio.sleep(seconds)
    return "slept"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"start_to_close": 2, "retry": Retry(max_attempts=2)}, "StartToCloseTimeout"),
        ({"schedule_to_close": "3s"}, "ScheduleToCloseTimeout"),
        ({"heartbeat": 2, "retry": Retry(max_attempts=1)}, "HeartbeatTimeout"),
        (
            {"start_to_close": 2, "schedule_to_close": 5, "retry": QUICK},
            "ScheduleToCloseTimeout",
        ),
    ],
)
async def test_each_timeout_is_its_own_timeout_error(tmp_path, options, error):
    @workflow
    async def limited() -> list[str]:
        try:
            return [await sleeps.options(**options)(10_000)]
        except TimeoutError as caught:
            return [type(caught).__name__]

    async with Harness(tmp_path / "app.db") as harness:
        assert await harness.run(limited) == [error]


async def test_schedule_to_start_limits_the_wait_for_a_place(tmp_path):
    @workflow
    async def crowded() -> list[str]:
        found = await asyncio.gather(
            sleeps.options(start_to_close=50, retry=Retry(max_attempts=1))(10_000),
            sleeps.options(schedule_to_start=5)(0),
            return_exceptions=True,
        )
        return [type(one).__name__ for one in found]

    limits = durable.Limits(max_running_activities=1)
    async with Harness(tmp_path / "app.db", limits=limits) as harness:
        assert await harness.run(crowded) == ["StartToCloseTimeout", "ScheduleToStartTimeout"]


async def test_a_late_result_after_a_timeout_is_ignored(tmp_path):
    release = threading.Event()

    @activity(start_to_close=1, retry=Retry(max_attempts=1))
    def ignores_everything() -> int:
        release.wait(10)
        return 99

    @workflow
    async def one() -> str:
        try:
            await ignores_everything()
        except durable.StartToCloseTimeout:
            await durable.sleep(1)
            return "timed out"
        return "?"

    clock = ManualClock(jumps=False)
    async with Harness(tmp_path / "app.db", clock=clock) as harness:
        run = await harness.start(one.options(id="x"))
        worker = harness.engine._worker
        while worker.activities.running == 0:
            await asyncio.sleep(0.001)
        clock.advance(1)
        worker.timers.fire_due()
        while (await run.details()).events == 0:
            await asyncio.sleep(0.001)
        release.set()
        while worker.activities.running:
            await asyncio.sleep(0.001)
        clock.jumps = True
        worker.look_idle()
        assert await harness.finish(run) == "timed out"
        assert [event.kind for event in await run.history()] == ["failed", "fired"]


@activity(heartbeat=2, retry=Retry(initial_interval=1, jitter=0, max_attempts=3))
async def beats() -> int:
    about = note()
    durable.heartbeat({"page": about.number * 10})
    if about.number < 3:
        raise Down("half way")
    return about.details["page"]


@workflow
async def resumes_from_heartbeat() -> int:
    return await beats()


async def test_heartbeat_details_reach_the_next_attempt(durable_harness):
    assert await durable_harness.run(resumes_from_heartbeat) == 20
    assert calls.details[0] is None


# -- cancellation -------------------------------------------------------------------------------


async def test_an_abandoned_async_activity_is_cancelled_at_once(tmp_path):
    seen = []

    @activity
    async def slow() -> None:
        try:
            await asyncio.sleep(10_000)
        except asyncio.CancelledError:
            seen.append(durable.is_cancelled())
            raise

    @workflow
    async def one() -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await slow()
        return "done"

    async with Harness(tmp_path / "app.db") as harness:
        assert await harness.run(one) == "done"
        while harness.engine._worker.activities.running:
            await asyncio.sleep(0.001)

    assert seen == [True]


async def test_an_abandoned_thread_activity_sees_is_cancelled(tmp_path):
    seen = []
    begun = threading.Event()

    @activity
    def polls() -> None:
        begun.set()
        while not durable.is_cancelled():
            threading.Event().wait(0.001)
        seen.append("stopped")

    @workflow
    async def one() -> str:
        task = asyncio.create_task(polls())
        await durable.step(lambda: begun.wait(5), name="tick")
        task.cancel()
        return "done"

    async with Harness(tmp_path / "app.db") as harness:
        assert await harness.run(one) == "done"
        while harness.engine._worker.activities.running:
            await asyncio.sleep(0.001)

    assert seen == ["stopped"]


# -- surroundings -------------------------------------------------------------------------------

leak = contextvars.ContextVar("leak", default="clean")


@activity
async def looks(value: str) -> list[str]:
    before = leak.get()
    leak.set(value)
    return [before, durable.attempt().headers["trace"]]


@activity
def looks_in_a_thread(value: str) -> list[str]:
    before = leak.get()
    leak.set(value)
    return [before, durable.attempt().headers["trace"]]


@workflow
async def isolated() -> list[list[str]]:
    return [await looks("a"), await looks("b"), await looks_in_a_thread("c"), await looks("d")]


async def test_each_attempt_has_a_fresh_context_and_the_runs_headers(durable_harness):
    leak.set("host")

    result = await durable_harness.run(isolated.options(headers={"trace": "t1"}))

    assert result == [["clean", "t1"]] * 4


async def test_resources_of_the_lifespan_reach_activities(tmp_path):
    opened = []

    @contextlib.asynccontextmanager
    async def lifespan():
        opened.append("open")
        yield {"pool": "the pool"}
        opened.append("close")

    @activity
    async def uses() -> str:
        return durable.resource("pool")

    @activity(retry=Retry(max_attempts=1))
    async def misses() -> str:
        return durable.resource("cache")

    @workflow
    async def one() -> list[str]:
        try:
            return [await uses(), await misses()]
        except KeyError as error:
            return [await uses(), str(error)]

    async with Harness(tmp_path / "app.db", lifespan=lifespan) as harness:
        pool, message = await harness.run(one)

    assert pool == "the pool"
    assert "opened no 'cache'; it opened pool" in message
    assert opened == ["open", "close"]


async def test_no_more_attempts_run_at_once_than_the_limit(tmp_path):
    running, most = [0], [0]

    @activity
    async def one(_number: int) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running[0] -= 1

    @workflow
    async def many() -> int:
        await asyncio.gather(*(one(number) for number in range(20)))
        return 1

    limits = durable.Limits(max_running_activities=3)
    async with Harness(tmp_path / "app.db", limits=limits) as harness:
        await harness.run(many)

    assert most[0] == 3


# -- at most once -------------------------------------------------------------------------------


@activity(at_most_once=True)
async def pay(amount: int) -> int:
    calls.numbers.append(amount)
    await asyncio.sleep(0)
    return amount


@workflow
async def pays() -> str:
    try:
        return f"paid {await pay(5)}"
    except durable.OutcomeUnknown:
        return "ask the bank"


async def test_at_most_once_returns_like_any_other(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        assert await harness.run(pays) == "paid 5"


async def test_at_most_once_is_never_called_twice(tmp_path):
    started = asyncio.Event()

    @activity(at_most_once=True)
    async def hangs() -> int:
        calls.numbers.append(1)
        started.set()
        await asyncio.sleep(10_000)
        return 1

    @workflow
    async def one() -> str:
        try:
            await hangs()
        except durable.OutcomeUnknown:
            return "unknown"
        return "?"

    clock = ManualClock(jumps=False)
    async with Harness(tmp_path / "app.db", functions=[one], clock=clock) as harness:
        run = await harness.start(one)
        await started.wait()
        await harness.restart()

        assert await harness.finish(run) == "unknown"

    assert calls.numbers == [1]


async def test_at_most_once_with_a_failure_is_not_tried_again(tmp_path):
    @activity(at_most_once=True)
    async def fails() -> int:
        calls.numbers.append(1)
        raise Down("no")

    @workflow
    async def one() -> str:
        try:
            await fails()
        except Down:
            return "failed"
        return "?"

    async with Harness(tmp_path / "app.db") as harness:
        assert await harness.run(one) == "failed"
    assert calls.numbers == [1]


# -- what cannot be stored ----------------------------------------------------------------------


@activity
async def takes_anything(value: object) -> object:
    return value


@activity
async def returns_a_lock() -> object:
    calls.numbers.append(1)
    return {"items": [1, threading.Lock()]}


@activity
async def lies() -> int:
    calls.numbers.append(1)
    return "not a number"  # type: ignore[return-value]


async def test_a_result_that_cannot_be_stored_fails_the_step_once(tmp_path):
    @workflow
    async def one(which: str) -> str:
        try:
            if which == "lock":
                await returns_a_lock()
            elif which == "lies":
                await lies()
            else:
                await takes_anything(threading.Lock())
        except durable.PayloadError as error:
            return str(error)
        return "?"

    async with Harness(tmp_path / "app.db") as harness:
        assert "result of returns_a_lock: $.items[1]" in await harness.run(one, "lock")
        assert "result of lies" in await harness.run(one, "lies")
        assert "takes_anything" in await harness.run(one, "argument")
    assert calls.numbers == [1, 1]


@activity
async def makes(size: int) -> str:
    return "x" * size


@workflow
async def carries(size: int) -> int:
    text = await makes(size)
    return len(await takes_text(text))


@activity
async def takes_text(text: str) -> str:
    return text


@pytest.mark.parametrize("size", [10, 32 * 1024 - 2, 32 * 1024 - 1, 32 * 1024, 3_000_000])
async def test_payloads_of_any_size_come_back_whole(tmp_path, size):
    async with Harness(tmp_path / "app.db", "restart") as harness:
        assert await harness.run(carries, size) == size


@pytest.mark.parametrize(("size", "fits"), [(997, True), (998, True), (999, False)])
async def test_the_limit_of_a_payload_is_exact(tmp_path, size, fits):
    limits = durable.Limits(payload_bytes_max=1_000)  # a text has two quotes around it

    @workflow
    async def one() -> str:
        try:
            return str(len(await makes(size)))
        except durable.PayloadTooLarge as error:
            return str(error)

    async with Harness(tmp_path / "app.db", limits=limits) as harness:
        result = await harness.run(one)

    assert result == str(size) if fits else "result of makes: 1,001 bytes" in result
