"""Given up is given up: places, threads, transactions, failures and what attempts publish."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

import pytest

import durable
from durable import Engine, Limits, Retry, Signal, Stream, Value, activity, transaction, workflow
from durable.testing import ManualClock

go = Signal("go", int)
done = Signal[None]("done")
words = Stream("words", str)
state = Value("state", int)


@activity
async def tiny(value: int) -> int:
    return value


@workflow
async def hello() -> int:
    return await tiny(2)


def places(engine):
    return engine._running().activities.places


async def at_rest(engine):
    async with asyncio.timeout(10):
        while places(engine).running or places(engine).threads.in_use or places(engine).waiting:
            await asyncio.sleep(0.001)


# -- places ----------------------------------------------------------------------------------------


@workflow
async def ends_at_once(how: str) -> int:
    tasks: list[asyncio.Future[int]] = []

    async def shielded(value: int) -> None:
        await asyncio.shield(asyncio.ensure_future(tiny(value)))

    async def timed(value: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await tiny(value)

    async def mapped(value: int) -> None:
        await durable.map(tiny, range(value), limit=2)

    async def given_up(value: int) -> None:
        task = asyncio.ensure_future(tiny(value))
        await asyncio.sleep(0)
        task.cancel()

    calls: dict[str, Callable[[int], Awaitable[object]]] = {
        "handler": tiny, "shield": shielded, "timeout": timed, "map": mapped, "task": given_up,
    }  # fmt: skip

    @go.handler(on_end="abandon")
    async def _(value: int) -> None:
        tasks.append(asyncio.ensure_future(tiny(value)))
        await calls[how](value)

    await done.receive()
    return 1


@pytest.mark.parametrize("how", ["handler", "shield", "timeout", "map", "task"])
async def test_a_step_asked_for_and_given_up_in_one_turn_keeps_no_place(tmp_path, how):
    limits = Limits(max_running_activities=4)
    async with Engine(tmp_path / "app.db", limits=limits, durability="normal") as engine:
        for at in range(40):
            run = await engine.start(ends_at_once.options(id=f"r{at}"), how)
            await asyncio.gather(run.signal(go, 3), run.signal(done, None))
            await run.result()

        async with asyncio.timeout(5):
            assert await (await engine.start(hello)).result() == 2
        await at_rest(engine)


# -- threads ---------------------------------------------------------------------------------------

gate = threading.Event()
began: list[int] = []


@pytest.fixture(autouse=True)
def _closed():
    gate.clear()
    began.clear()
    yield
    gate.set()


@activity
def send(number: int) -> int:
    began.append(number)
    gate.wait()
    return number


@workflow
async def mails(count: int) -> int:
    return len(await asyncio.gather(*(send(number) for number in range(count))))


def two_threads(tmp_path, **options):
    limits = Limits(threads_max=2)
    return Engine(tmp_path / "app.db", limits=limits, durability="normal", grace=0, **options)


async def two_began():
    async with asyncio.timeout(5):
        while len(began) < 2:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("how", ["terminate", "cancel", "pause", "leave"])
async def test_no_plain_function_begins_once_its_run_is_given_up(tmp_path, how):
    async with two_threads(tmp_path) as engine:
        run = await engine.start(mails, 50)
        await two_began()
        if how != "leave":
            await getattr(run, how)("stop")
        if how == "pause":
            gate.set()
            async with asyncio.timeout(5):
                while await run.status() != "paused":
                    await asyncio.sleep(0.001)
        elif how != "leave":
            with pytest.raises(durable.WorkflowError):
                await run.result()
        gate.set()
        if how != "leave":
            await at_rest(engine)

    assert len(began) == 2


@activity(start_to_close=60, heartbeat=60, retry=Retry(max_attempts=1))
def limited(number: int) -> int:
    began.append(number)
    gate.wait()
    return number


@workflow
async def many_limited(count: int) -> int:
    found = await asyncio.gather(*(limited(n) for n in range(count)), return_exceptions=True)
    return sum(isinstance(one, TimeoutError) for one in found)


async def test_the_clocks_of_a_plain_function_begin_with_its_body(tmp_path):
    clock = ManualClock(jumps=False)
    async with two_threads(tmp_path, clock=clock) as engine:
        run = await engine.start(many_limited, 6)
        await two_began()
        clock.advance(59)
        gate.set()
        clock.advance(0.5)
        engine._running().timers.fire_due()

        assert await run.result() == 0


@activity(schedule_to_start=5, retry=Retry(max_attempts=1))
def must_begin(number: int) -> int:
    return number


@workflow
async def waits_for_a_thread() -> str:
    others = asyncio.gather(send(1), send(2))
    await asyncio.sleep(0)
    try:
        await must_begin(3)
    except TimeoutError as error:
        others.cancel()
        return str(error)
    return "it began"


async def test_schedule_to_start_covers_the_wait_for_a_thread(tmp_path):
    clock = ManualClock(jumps=False)
    async with two_threads(tmp_path, clock=clock) as engine:
        run = await engine.start(waits_for_a_thread)
        await two_began()
        clock.advance(6)
        engine._running().timers.fire_due()

        said = await run.result()

    assert said == (
        "must_begin could not begin within 5 s: all 2 threads are in use (Limits.threads_max)"
    )


@activity
async def large() -> list[int]:
    return list(range(100_000))


@workflow
async def makes_large() -> int:
    return len(await large())


async def test_a_large_result_is_encoded_though_all_threads_hang(tmp_path):
    async with two_threads(tmp_path) as engine:
        await engine.start(mails, 2)
        await two_began()

        async with asyncio.timeout(10):
            assert await (await engine.start(makes_large)).result() == 100_000


# -- transactions ----------------------------------------------------------------------------------


@transaction
def book(cursor: durable.Cursor, number: int) -> int:
    cursor.execute("INSERT INTO ledger VALUES (?, ?)", (durable.attempt().run_id, number))
    return number


@workflow
async def books(count: int) -> int:
    for number in range(count):
        await book(number)
    return count


@workflow
async def books_under_a_timeout(count: int) -> list[int]:
    made: list[int] = []
    for number in range(count):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                made.append(await book(number))
    return made


@workflow
async def books_in_a_handler(breaks: bool) -> int:
    @go.handler
    async def _(number: int) -> None:
        await book(number)

    await done.receive()
    if breaks:
        raise ValueError("a bug")
    return 1


@workflow
async def books_at_once(count: int) -> int:
    return sum(await asyncio.gather(*(book(number) for number in range(count))))


async def rows(engine) -> list[tuple[str, int]]:
    found = await engine.transaction(lambda tx: list(tx.execute("SELECT run, n FROM ledger")))
    return [(run.split("#")[0], number) for run, number in found]


@pytest.fixture
async def ledger(tmp_path):
    async with Engine(tmp_path / "app.db", durability="normal") as engine:
        await engine.transaction(lambda tx: list(tx.execute("CREATE TABLE ledger (run, n)")))
        yield engine


async def recorded(run) -> list[int]:
    history = await run.history()
    return [one.result for one in history if one.name == "book" and one.kind == "completed"]


async def test_the_rows_of_a_cancelled_run_are_those_it_recorded(ledger):
    for at in range(25):
        run = await ledger.start(books.options(id=f"r{at}"), 20)
        await asyncio.sleep(0.0002 * at)
        with contextlib.suppress(durable.RunCancelled, durable.RunClosed):
            await run.cancel("enough")
            await run.result()
        made = [number for name, number in await rows(ledger) if name == f"r{at}"]
        assert made == await recorded(run)
        if await run.status() == "cancelled":
            await (await run.retry()).result()

    found = await rows(ledger)
    assert len(found) == len(set(found)) == 25 * 20


async def test_a_timeout_around_a_transaction_wins_or_loses_as_a_whole(ledger):
    for at in range(20):
        run = await ledger.start(books_under_a_timeout.options(id=f"r{at}"), 20)
        made = await run.result()
        assert [number for name, number in await rows(ledger) if name == f"r{at}"] == made


async def test_a_transaction_of_a_run_that_failed_meanwhile_is_done_once_by_its_retry(ledger):
    for at in range(20):
        run = await ledger.start(books_in_a_handler.options(id=f"r{at}"), True)
        await asyncio.gather(run.signal(go, at), run.signal(done, None))
        with pytest.raises(durable.RunFailed):
            await run.result()
        made = [number for name, number in await rows(ledger) if name == f"r{at}"]
        assert made == await recorded(run)


async def test_transactions_of_one_run_side_by_side_are_one_event_each(ledger):
    run = await ledger.start(books_at_once.options(id="r"), 50)

    assert await run.result() == sum(range(50))
    assert sorted(number for _, number in await rows(ledger)) == list(range(50))
    assert [one.seq for one in await run.history()] == list(range(1, 51))


@transaction(start_to_close=1, retry=Retry(max_attempts=1))
def books_slowly(cursor: durable.Cursor, clock_at: float) -> None:
    cursor.execute("INSERT INTO ledger VALUES ('slow', 1)")
    manual.advance(clock_at)


manual = ManualClock(jumps=False)


@workflow
async def books_too_slowly(seconds: float) -> str:
    try:
        await books_slowly(seconds)
    except TimeoutError as error:
        return str(error)
    return "in time"


@pytest.mark.parametrize(("seconds", "made"), [(0.5, 1), (2.0, 0)])
async def test_a_transaction_that_takes_longer_than_start_to_close_is_rolled_back(
    tmp_path, seconds, made
):
    async with Engine(tmp_path / "app.db", clock=manual) as engine:
        await engine.transaction(lambda tx: list(tx.execute("CREATE TABLE ledger (run, n)")))

        said = await (await engine.start(books_too_slowly, seconds)).result()

        assert len(await rows(engine)) == made
        assert ("did not end within 1 s" in said) == (not made)


# -- one failure is one failure --------------------------------------------------------------------


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("there are no words for it")


RAISED: dict[str, Callable[[], BaseException]] = {
    "keyboard": KeyboardInterrupt, "exit": lambda: SystemExit(3), "generator": GeneratorExit,
    "unspeakable": Unspeakable, "group": lambda: BaseExceptionGroup("two", [KeyboardInterrupt()]),
    "cancelled": asyncio.CancelledError, "stop": lambda: StopAsyncIteration("over"),
}  # fmt: skip


@activity(retry=Retry(max_attempts=1))
async def raises(what: str) -> int:
    error = RAISED[what]()
    raise error


@activity(retry=Retry(max_attempts=1))
def raises_on_a_thread(what: str) -> int:
    error = RAISED[what]()
    raise error


@workflow
async def meets(what: str, on_thread: bool) -> str:
    try:
        await (raises_on_a_thread if on_thread else raises)(what)
    except BaseException as error:
        return type(error).__name__
    return "nothing"


@pytest.mark.parametrize("on_thread", [False, True])
@pytest.mark.parametrize("what", sorted(RAISED))
async def test_whatever_an_attempt_raises_is_the_failure_of_that_attempt(tmp_path, what, on_thread):
    async with Engine(tmp_path / "app.db", durability="normal") as engine:
        others = [await engine.start(hello) for _ in range(5)]
        run = await engine.start(meets, what, on_thread)
        async with asyncio.timeout(10):
            said = await run.result()
            assert [await one.result() for one in others] == [2] * 5

        assert said != "nothing"
        async with asyncio.timeout(5):
            assert await (await engine.start(hello)).result() == 2


def breaks(_error: BaseException) -> bool:
    raise ZeroDivisionError("a bug in the policy")


@activity(retry=Retry(retry_if=breaks))
async def has_a_bad_policy() -> None:
    raise OSError("the first failure")


@workflow
async def meets_a_bad_policy() -> None:
    await has_a_bad_policy()


async def test_a_policy_that_raises_fails_its_own_step_alone(tmp_path):
    async with Engine(tmp_path / "app.db", durability="normal") as engine:
        bad = await engine.start(meets_a_bad_policy)
        others = [await engine.start(hello) for _ in range(20)]

        assert [await one.result() for one in others] == [2] * 20
        with pytest.raises(durable.RunFailed, match="the first failure"):
            await bad.result()


@activity(start_to_close=2, retry=Retry(max_attempts=2, initial_interval=1))
async def fails_then_hangs() -> None:
    if durable.attempt().number == 1:
        raise ConnectionError("refused")
    assert durable.attempt().last_failure == "ConnectionError: refused"
    await asyncio.Event().wait()


@workflow
async def loses_nothing() -> list[str]:
    try:
        await fails_then_hangs()
    except TimeoutError as error:
        return [str(error), repr(error.__cause__)]
    return []


async def test_a_timeout_of_the_last_attempt_keeps_the_last_real_error(durable_harness):
    said, cause = await durable_harness.run(loses_nothing)

    assert "the attempt before it failed: ConnectionError: refused" in said
    assert cause == "ConnectionError('refused')"


# -- what an activity publishes --------------------------------------------------------------------


@activity
async def says(number: int) -> None:
    state.set(number)
    words.append(f"word {number}")


@activity
def says_on_a_thread(number: int) -> None:
    words.append(f"word {number}")


@activity
async def says_in_a_helper(number: int) -> None:
    words.append(f"word {number}")
    await asyncio.sleep(0)


@workflow
async def talks(how: str) -> int:
    for number in range(3):
        await {"async": says, "thread": says_on_a_thread, "turn": says_in_a_helper}[how](number)
    return 3


@pytest.mark.parametrize("how", ["async", "thread", "turn"])
async def test_what_is_published_just_before_the_end_is_kept(tmp_path, how):
    async with Engine(tmp_path / "app.db", durability="normal") as engine:
        runs = [await engine.start(talks, how) for _ in range(30)]
        for run in runs:
            await run.result()
            said = [item.value async for item in run.tail(words)]
            assert said == ["word 0", "word 1", "word 2"]
