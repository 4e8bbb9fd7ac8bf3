"""What asyncio and anyio offer inside a workflow, driven warm, replayed, and restarted."""

import asyncio
import contextvars
import datetime as dt
import uuid

import anyio
import pytest

import durable
from durable import activity, workflow

NEVER = 3_600_000.0


class Sad(Exception):
    pass


@activity
async def echo(value: int) -> int:
    return value


@activity(retry=durable.Retry(max_attempts=1))
async def fail(text: str) -> int:
    raise Sad(text)


@activity
async def hang(seconds: float = NEVER) -> int:
    await asyncio.sleep(seconds)
    return -1


@activity
def in_thread(value: int) -> int:
    return value * 10


@workflow
async def sequence(count: int) -> list[int]:
    return [await echo(number) for number in range(count)]


@workflow
async def gathers(count: int) -> list[int]:
    return list(await asyncio.gather(*(echo(number) for number in range(count)), in_thread(7)))


@workflow
async def gather_outcomes() -> list[str]:
    found = await asyncio.gather(echo(1), fail("no"), echo(2), return_exceptions=True)
    return [repr(one) for one in found]


@workflow
async def waits(mode: str) -> list[list[int]]:
    tasks = [asyncio.create_task(echo(number)) for number in range(3)]
    tasks.append(asyncio.create_task(hang()))
    done, pending = await asyncio.wait(tasks, return_when=mode, timeout=5)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return [sorted(task.result() for task in done), [len(pending)]]


@workflow
async def times_out(how: str) -> str:
    try:
        match how:
            case "timeout":
                async with asyncio.timeout(3):
                    await hang()
            case "timeout_at":
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + 3):
                    await hang()
            case "wait_for":
                await asyncio.wait_for(hang(), 3)
            case "fail_after":
                with anyio.fail_after(3):
                    await hang()
            case "gather":
                async with asyncio.timeout(3):
                    await asyncio.gather(hang(), hang(), echo(1))
            case "move_on_after":
                with anyio.move_on_after(3) as scope:
                    await hang()
                assert scope.cancelled_caught
                raise TimeoutError
    except TimeoutError:
        return f"timed out at {asyncio.get_running_loop().time():.0f}"
    return "not timed out"


@workflow
async def groups(kind: str) -> list[str]:
    caught: list[str] = []
    try:
        if kind == "asyncio":
            async with asyncio.TaskGroup() as group:
                group.create_task(hang())
                group.create_task(fail("bad"))
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hang)
                tasks.start_soon(fail, "bad")
    except* Sad as error:
        caught += [str(one) for one in error.exceptions]
    return caught


@workflow
async def shields() -> int:
    task = asyncio.create_task(echo(5))
    try:
        async with asyncio.timeout(0.0000001):
            await asyncio.shield(task)
    except TimeoutError:
        pass
    return await task


@workflow
async def locks() -> list[int]:
    lock, semaphore, event = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event()
    condition, queue = asyncio.Condition(), asyncio.Queue[int](1)
    barrier, order = asyncio.Barrier(3), []

    async def one(number: int) -> None:
        async with lock:
            await echo(number)
        async with semaphore:
            await echo(number)
        await barrier.wait()
        await queue.put(number)
        event.set()

    async def take() -> None:
        await event.wait()
        for _ in range(3):
            order.append(await queue.get())
        async with condition:
            condition.notify_all()

    async def until() -> None:
        async with condition:
            await condition.wait_for(lambda: len(order) == 3)

    await asyncio.gather(*(one(number) for number in range(3)), take(), until())
    return sorted(order)


@workflow
async def completes(how: str) -> list[int]:
    if how == "tasks":
        tasks = [asyncio.create_task(echo(number)) for number in range(6)]
        return [await one for one in asyncio.as_completed(tasks)]
    return [await one for one in durable.as_completed([echo(number) for number in range(6)])]


@workflow
async def sleeps() -> list[float]:
    loop = asyncio.get_running_loop()
    at = []
    for delay in (0, -1, 0.5, 30 * 86_400):
        await asyncio.sleep(delay)
        at.append(round(loop.time(), 3))
    await anyio.sleep(2)
    await durable.sleep("1h30m")
    at.append(round(loop.time(), 3))
    return at


@workflow
async def calls_later() -> list[int]:
    loop = asyncio.get_running_loop()
    seen: list[int] = []
    done = asyncio.Event()
    loop.call_later(2, seen.append, 2)
    loop.call_at(loop.time() + 1, seen.append, 1)
    loop.call_soon(seen.append, 0)
    cancelled = loop.call_later(1.5, seen.append, 99)
    cancelled.cancel()
    loop.call_later(3, done.set)
    await done.wait()
    return seen


@workflow
async def streams() -> list[int]:
    sender, receiver = anyio.create_memory_object_stream[int](0)

    async def send() -> None:
        async with sender:
            for number in range(4):
                await sender.send(await echo(number))

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        async with receiver:
            return [item async for item in receiver]
    raise AssertionError


@workflow
async def cleans_up() -> list[int]:
    seen = []

    async def child(number: int) -> None:
        try:
            await hang()
        finally:
            with anyio.CancelScope(shield=True):
                seen.append(await echo(number))

    with anyio.move_on_after(1):
        await asyncio.gather(child(1), child(2))
    with anyio.move_on_after(1):
        async with asyncio.TaskGroup() as group:
            group.create_task(child(3))
    with anyio.move_on_after(1):
        await child(4)
    with anyio.move_on_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child, 5)
    return seen


@workflow
async def generates() -> list[int]:
    closed = []

    async def numbers():  # type: ignore[no-untyped-def]
        try:
            for number in range(9):
                yield await echo(number)
        finally:
            closed.append(await echo(100))

    async for number in numbers():
        if number == 2:
            break
    await echo(3)
    await asyncio.sleep(1)
    return closed


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@workflow
async def context() -> list[str]:
    seen = [variable.get()]
    variable.set("main")

    async def child() -> None:
        seen.append(variable.get())
        variable.set("child")
        await echo(1)
        seen.append(variable.get())

    await asyncio.gather(child(), child())
    seen.append(variable.get())
    return seen


@workflow
async def chances() -> list[str]:
    async def one() -> list[str]:
        first = durable.random().random()
        await echo(1)
        return [f"{first}", f"{durable.random().random()}", str(durable.uuid4())]

    mine = [str(durable.uuid4())]
    for part in await asyncio.gather(one(), one()):
        mine += part
    moments = [durable.now()]
    await asyncio.sleep(5)
    moments.append(durable.now())
    assert moments[1] - moments[0] >= dt.timedelta(seconds=5)
    assert uuid.UUID(mine[0]).version == 4
    return mine


@workflow
async def counts_down(number: int) -> str:
    await echo(number)
    if number == 0:
        return f"ordinal {durable.info().ordinal}"
    return durable.continue_as_new(number - 1)


@workflow
async def steps() -> list[int]:
    def double(number: int) -> int:
        return 2 * number

    async def triple(number: int) -> int:
        return 3 * number

    return [
        await durable.step(double, 2),
        await durable.step(triple, 2),
        await durable.step(lambda: 7, name="seven"),
        await durable.step(abs, -4),
    ]


@workflow
async def patches() -> list[bool]:
    found = [durable.patched("one")]
    await echo(1)
    found.append(durable.patched("one"))
    found.append(durable.patched("two"))
    await echo(2)
    return found


@pytest.mark.parametrize(
    ("work", "args", "expected"),
    [
        (sequence, (5,), [0, 1, 2, 3, 4]),
        (gathers, (4,), [0, 1, 2, 3, 70]),
        (gather_outcomes, (), ["1", "Sad('no')", "2"]),
        (waits, (asyncio.ALL_COMPLETED,), [[0, 1, 2], [1]]),
        (waits, (asyncio.FIRST_EXCEPTION,), [[0, 1, 2], [1]]),
        (times_out, ("timeout",), "timed out at 3"),
        (times_out, ("timeout_at",), "timed out at 3"),
        (times_out, ("wait_for",), "timed out at 3"),
        (times_out, ("fail_after",), "timed out at 3"),
        (times_out, ("gather",), "timed out at 3"),
        (times_out, ("move_on_after",), "timed out at 3"),
        (groups, ("asyncio",), ["bad"]),
        (groups, ("anyio",), ["bad"]),
        (shields, (), 5),
        (locks, (), [0, 1, 2]),
        (sleeps, (), [0.0, 0.0, 0.5, 2_592_000.5, 2_597_402.5]),
        (calls_later, (), [0, 1, 2]),
        (streams, (), [0, 1, 2, 3]),
        (cleans_up, (), [3, 4, 5]),  # as on asyncio's own loop
        (generates, (), [100]),
        (context, (), ["unset", "main", "main", "child", "child", "main"]),
        (counts_down, (3,), "ordinal 4"),
        (steps, (), [4, 6, 7, 4]),
        (patches, (), [True, True, True]),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else str(value)[:20],
)
async def test_asyncio_and_anyio_work_in_a_workflow(durable_harness, work, args, expected):
    variable.set("of the host")

    result = await durable_harness.run(work, *args)

    assert result == expected


@pytest.mark.parametrize("how", ["tasks", "coroutines"])
async def test_as_completed_yields_every_result_once(durable_harness, how):
    result = await durable_harness.run(completes, how)

    assert sorted(result) == list(range(6))


async def test_wait_for_the_first_gives_at_least_one(durable_harness):
    done, pending = await durable_harness.run(waits, asyncio.FIRST_COMPLETED)

    assert len(done) + pending[0] == 4
    assert done


async def test_time_chance_and_ids_are_the_same_on_replay(durable_harness):
    run = await durable_harness.start(chances.options(id="chances"))
    result = await durable_harness.finish(run)

    assert len(set(result)) == 7
    again = await (await durable_harness.restart()).get("chances")
    assert await again.result() == result


async def test_the_history_has_one_event_for_each_step_and_fired_timer(durable_harness):
    run = await durable_harness.start(times_out.options(id="x"), "timeout")
    await durable_harness.finish(run)

    engine = await durable_harness.restart()
    history = await (await engine.get("x")).history()
    assert [(event.seq, event.kind, event.step) for event in history] == [(1, "fired", "!t1")]


@workflow
async def catches() -> list[str]:
    seen = []
    for text in ("a", "b"):
        try:
            await fail(text)
        except Sad as error:
            seen.append(f"{type(error).__name__} {error}")
    return seen


async def test_an_exception_keeps_its_class_and_text(durable_harness):
    assert await durable_harness.run(catches) == ["Sad a", "Sad b"]


@workflow
async def raises() -> int:
    try:
        return await fail("deep")
    except Sad as error:
        raise ValueError("outer") from error


async def test_a_failed_run_raises_with_the_rebuilt_chain(durable_harness):
    with pytest.raises(durable.RunFailed, match="ValueError: outer") as caught:
        await durable_harness.run(raises)

    assert isinstance(caught.value.__cause__, ValueError)
    assert isinstance(caught.value.__cause__.__cause__, Sad)
    assert "in fail" in str(caught.value.__cause__.durable_traceback)


# -- cancellation -------------------------------------------------------------------------------


@workflow
async def cancellable(catch: bool) -> str:
    try:
        await hang()
    except asyncio.CancelledError as error:
        await echo(1)
        if not catch:
            raise
        return f"caught {error.args}"
    return "not cancelled"


async def cancel_once_it_waits(harness, run):
    await run.cancel("enough")


async def test_a_cancelled_run_may_clean_up_with_activities(durable_harness):
    run = await durable_harness.start(cancellable.options(id="c"), False)
    await run.cancel("enough")

    with pytest.raises(durable.RunCancelled, match="enough"):
        await durable_harness.finish(run)
    engine = await durable_harness.restart()
    history = await (await engine.get("c")).history()
    assert [event.kind for event in history] == ["cancel_requested", "completed"]


async def test_a_cancellation_can_be_caught(durable_harness):
    run = await durable_harness.start(cancellable.options(id="c"), True)
    await run.cancel("enough")

    assert await durable_harness.finish(run) == "caught ('enough',)"


@workflow
async def stubborn() -> int:
    for _ in range(2):
        try:
            await hang()
        except asyncio.CancelledError:
            await echo(1)
    return 2


async def test_a_swallowed_cancellation_can_be_asked_again(durable_harness):
    run = await durable_harness.start(stubborn)
    await run.cancel()
    while (await (run := await durable_harness.again(run)).details()).events < 2:
        await asyncio.sleep(0.001)
    await run.cancel()

    assert await durable_harness.finish(run) == 2


async def test_a_terminated_run_runs_no_code(durable_harness):
    run = await durable_harness.start(cancellable, True)
    await run.terminate("away with it")

    with pytest.raises(durable.RunTerminated, match="away with it"):
        await durable_harness.finish(run)
    with pytest.raises(durable.RunClosed):
        await run.cancel()


async def test_cancelling_a_waiter_never_cancels_the_run(durable_harness):
    run = await durable_harness.start(times_out.options(id="w"), "timeout")
    waiter = asyncio.create_task(run.result())
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter

    assert await durable_harness.finish(run) == "timed out at 3"


# -- swaps --------------------------------------------------------------------------------------


@activity
async def fetch(url: str) -> str:
    await asyncio.sleep(0.001 * (7 - int(url)))  # later ones end first
    return f"<{url}>"


@activity
async def tag(url: str, text: str) -> str:
    return f"{url}:{text}"


@workflow
async def fetches(count: int) -> list[str]:
    async def branch(url: str) -> str:
        return await tag(url, await fetch(url))

    return await asyncio.gather(*(branch(str(number)) for number in range(count)))


async def test_branches_never_swap_results_whatever_event_the_process_dies_after(durable_harness):
    result = await durable_harness.run(fetches, 7)

    assert result == [f"{n}:<{n}>" for n in range(7)]


@workflow
async def leaves_one_behind() -> int:
    left = asyncio.create_task(echo(2))
    value = await echo(1)
    assert left is not None
    return value


async def test_nothing_is_recorded_after_the_end_was_decided(durable_harness, caplog):
    run = await durable_harness.start(leaves_one_behind.options(id="x"))

    assert await durable_harness.finish(run) == 1
    engine = await durable_harness.restart()
    closed = await engine.get("x")
    # Where the process dies in between, the forgotten step may be recorded first.
    assert [event.step for event in await closed.history()] in (["1"], ["1.1", "1"])
    assert await closed.status() == "completed"
    assert "blocked" not in caplog.text
