"""Cancelling and terminating: what the code sees, what still runs, and what becomes of the rest."""

import asyncio
import threading

import anyio
import pytest

import durable
from durable import Signal, Update, Value, activity, workflow
from durable.testing import ManualClock

number = Signal("number", int)
add = Update("add", int, int)
state = Value("state", str)
other = Value("other", str)
noted: list[str] = []


@activity
async def note(text: str) -> str:
    noted.append(text)
    return text


@activity
async def echo(value: int) -> int:
    return value


@activity
async def hang() -> None:
    await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _forget_notes():
    noted.clear()


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


async def until(harness, handle, count):
    """Wait until a run has so many events; return it."""
    while len(await (await harness.again(handle)).history()) < count:
        await asyncio.sleep(0)
    return await harness.again(handle)


async def appears(harness, handle, name):
    """Wait until a run of this name is in the file; return it."""
    while True:
        await harness.again(handle)
        try:
            found = await harness.engine.get(name)
        except durable.RunNotFound:
            await asyncio.sleep(0)
        else:
            return await harness.again(found)


async def end_of(harness, handle):
    """Drive a run to its end; return its status."""
    await asyncio.gather(harness.finish(handle), return_exceptions=True)
    return await (await harness.again(handle)).status()


@workflow
async def child() -> str:
    return f"got {await number.receive()}"


# -- what the code sees ----------------------------------------------------------------------------


@workflow
async def tells_why() -> None:
    before = durable.info().cancel_reason
    try:
        await durable.sleep("300d")
    except asyncio.CancelledError as error:
        state.set(f"{before} {durable.info().cancel_reason!r} {error}")
        raise


@pytest.mark.parametrize(
    ("reason", "told"), [("moved away", "None 'moved away' moved away"), ("", "None '' ")]
)
async def test_the_reason_is_told_inside_and_outside(durable_harness, reason, told):
    handle = await durable_harness.start(tells_why)
    await handle.cancel(reason)

    with pytest.raises(durable.RunCancelled, match=f"was cancelled.*{reason}"):
        await durable_harness.finish(handle)

    assert await (await durable_harness.again(handle)).read(state) == told


@workflow
async def waits_within(how: str) -> str:
    """Wait for a year within some construct; return how the code got out of it."""
    seen: list[str] = []

    async def waits(name: str) -> None:
        try:
            await durable.sleep("300d")
        except asyncio.CancelledError:
            seen.append(name)
            raise

    try:
        match how:
            case "gather":
                await asyncio.gather(waits("a"), waits("b"))
            case "settle":
                await durable.settle(waits("a"), waits("b"))
            case "map":
                await durable.map(waits, ["a", "b", "c"], limit=2)
                seen.append("c")
            case "task group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(waits("a"))
                    group.create_task(waits("b"))
            case "timeout":
                async with asyncio.timeout(400 * 86_400):
                    await asyncio.gather(waits("a"), waits("b"))
            case "wait_for":
                await asyncio.wait_for(asyncio.gather(waits("a"), waits("b")), 400 * 86_400)
            case "anyio group":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(waits, "a")
                    tasks.start_soon(waits, "b")
            case "fail_after":
                with anyio.fail_after(400 * 86_400):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(waits, "a")
                        tasks.start_soon(waits, "b")
            case "move_on_after":
                with anyio.move_on_after(400 * 86_400):
                    await asyncio.gather(waits("a"), waits("b"))
            case "lock":
                lock = asyncio.Lock()
                async with lock:
                    await asyncio.gather(waits("a"), waits("b"))
    except asyncio.CancelledError:
        now = (durable.now() - durable.info().started).total_seconds()
        return f"{sorted(seen)} in {now:g} s"
    return "went on"


CONSTRUCTS = (
    "gather", "settle", "map", "task group", "timeout", "wait_for", "anyio group", "fail_after",
    "move_on_after", "lock",
)  # fmt: skip


@pytest.mark.parametrize("how", CONSTRUCTS)
async def test_a_cancel_passes_through_at_once(durable_harness, how):
    handle = await durable_harness.start(waits_within, how)
    await handle.cancel()

    assert await durable_harness.finish(handle) == "['a', 'b'] in 0 s"


@workflow
async def cancels_a_part(how: str) -> str:
    """Its own limits end a part of it, and nothing else."""
    try:
        match how:
            case "timeout":
                async with asyncio.timeout(10):
                    await hang()
            case "fail_after":
                with anyio.fail_after(10):
                    await hang()
            case "move_on_after":
                with anyio.move_on_after(10):
                    await hang()
                return f"moved on, {await echo(1)}"
            case "wait_for":
                await asyncio.wait_for(hang(), 10)
    except TimeoutError:
        return f"timed out, {await echo(1)}"
    return "never"


@pytest.mark.parametrize("how", ["timeout", "fail_after", "move_on_after", "wait_for"])
async def test_a_part_that_is_cancelled_is_no_cancel_of_the_run(durable_harness, how):
    said = await durable_harness.run(cancels_a_part, how)

    assert said in {"timed out, 1", "moved on, 1"}


@workflow
async def shields() -> str:
    task = asyncio.ensure_future(durable.sleep(100))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        now = (durable.now() - durable.info().started).total_seconds()
        return f"ended after {now:g} s"
    return "never"


async def test_shield_protects_from_a_cancel(durable_harness):
    handle = await durable_harness.start(shields)
    await handle.cancel()

    assert await durable_harness.finish(handle) == "ended after 100 s"


# -- clean-up --------------------------------------------------------------------------------------


@workflow
async def cleans_up() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(cleans_up_as("a"))
        group.create_task(cleans_up_as("b"))


async def cleans_up_as(name: str) -> None:
    try:
        await durable.sleep("300d")
    finally:
        await note(f"{name}1")
        await durable.sleep(10)
        await note(f"{name}2")


async def test_each_task_cleans_up_by_steps_and_the_run_ends_cancelled(durable_harness):
    handle = await durable_harness.start(cleans_up)
    await handle.cancel("enough")

    with pytest.raises(durable.RunCancelled, match="enough"):
        await durable_harness.finish(handle)

    assert set(noted) == {"a1", "a2", "b1", "b2"}


@workflow
async def fails_to_clean_up() -> None:
    try:
        await durable.sleep("300d")
    finally:
        raise ValueError("of the clean-up")


async def test_an_exception_of_the_clean_up_is_a_failure(durable_harness):
    handle = await durable_harness.start(fails_to_clean_up)
    await handle.cancel()

    with pytest.raises(durable.RunFailed, match="of the clean-up"):
        await durable_harness.finish(handle)


@workflow
async def receives_to_clean_up() -> int:
    try:
        await durable.sleep("300d")
    except asyncio.CancelledError:
        return await number.receive() + await child_of_clean_up()
    return -1


@workflow
async def child_of_clean_up() -> int:
    return await echo(10)


async def test_clean_up_may_receive_and_run_a_child(durable_harness):
    handle = await durable_harness.start(receives_to_clean_up)
    await handle.cancel()
    run = await until(durable_harness, handle, 1)
    await run.signal(number, 1)

    assert await durable_harness.finish(handle) == 11


@workflow
async def is_cancelled_in_its_clean_up() -> None:
    try:
        await durable.sleep("300d")
    finally:
        try:
            await number.receive()
        finally:
            state.set(f"{durable.info().cancel_reason} {await note('last')}")


async def test_a_second_cancel_reaches_the_clean_up(durable_harness):
    harness = durable_harness
    handle = await harness.start(is_cancelled_in_its_clean_up)
    await handle.cancel("first")
    run = await until(harness, handle, 1)
    await run.cancel("second")

    with pytest.raises(durable.RunCancelled, match="second"):
        await harness.finish(handle)

    assert await (await harness.again(handle)).read(state) == "second last"


# -- handlers --------------------------------------------------------------------------------------


@workflow
async def has_handlers(how: str) -> None:
    @number.handler
    async def on_number(value: int) -> None:
        try:
            await hang()
        finally:
            state.set(f"signal {value} cancelled: {durable.info().cancel_reason}")

    @add.handler
    async def on_add(value: int) -> int:
        try:
            await hang()
        finally:
            other.set(f"update {value} cancelled")
        return value

    try:
        await hang()  # The clock has nothing to jump to.
    finally:
        if how == "steps":
            await echo(1)


@pytest.mark.parametrize("how", ["at once", "steps"])
async def test_handlers_are_cancelled_with_the_run(durable_harness, how):
    harness = durable_harness
    handle = await harness.start(has_handlers.options(id="x"), how)
    await handle.signal(number, 7)
    run = await until(harness, handle, 1)
    update = asyncio.ensure_future(run.update(add, 8, id="u"))
    await asyncio.sleep(0)
    run = await until(harness, handle, 2)
    await run.cancel("enough")

    with pytest.raises(durable.RunCancelled):
        await harness.finish(handle)

    run = await harness.again(handle)
    assert await run.read(state) == "signal 7 cancelled: enough"
    assert await run.read(other) == "update 8 cancelled"
    update.cancel()
    await asyncio.gather(update, return_exceptions=True)
    with pytest.raises((durable.UpdateAbandoned, durable.UpdateFailed)):
        await run.update_result(add, "u")


# -- a run that does not give in -------------------------------------------------------------------


@workflow
async def swallows(times: int) -> str:
    reasons = []
    for _ in range(times):
        try:
            await durable.sleep("300d")
        except asyncio.CancelledError:
            reasons.append(durable.info().cancel_reason)
    return f"swallowed {reasons}, {await echo(1)}"


async def test_a_run_that_swallows_its_cancels_goes_on(durable_harness):
    harness = durable_harness
    handle = await harness.start(swallows, 3)
    for index in range(3):
        await (await until(harness, handle, index)).cancel(f"r{index}")

    assert await harness.finish(handle) == "swallowed ['r0', 'r1', 'r2'], 1"


async def test_a_run_that_swallows_its_cancel_can_be_terminated(durable_harness):
    harness = durable_harness
    handle = await harness.start(swallows, 2)
    await handle.cancel()
    run = await until(harness, handle, 1)
    await run.terminate("at last")

    with pytest.raises(durable.RunTerminated, match="at last"):
        await harness.finish(handle)


@workflow
async def ends_by_itself() -> None:
    await echo(1)
    raise asyncio.CancelledError("by itself")


async def test_a_run_that_raises_cancelled_itself_has_failed(durable_harness):
    handle = await durable_harness.start(ends_by_itself)

    with pytest.raises(durable.RunFailed):
        await durable_harness.finish(handle)


@workflow
async def cancels_its_own_task() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel("mine")
    try:
        await durable.sleep(1)
    except asyncio.CancelledError:
        task.uncancel()
    return f"went on, {await echo(1)}"


async def test_a_task_may_cancel_itself_and_go_on(durable_harness):
    assert await durable_harness.run(cancels_its_own_task) == "went on, 1"


# -- states of the run -----------------------------------------------------------------------------


async def test_two_cancels_at_once_end_the_run_once(durable_harness):
    harness = durable_harness
    handle = await harness.start(tells_why)
    await handle.cancel("one")
    await asyncio.gather(
        (await harness.again(handle)).cancel("two"), return_exceptions=True
    )  # It may be over by then.

    assert await end_of(harness, handle) == "cancelled"


async def test_a_closed_run_is_neither_cancelled_nor_terminated(durable_harness):
    harness = durable_harness
    handle = await harness.start(child_of_clean_up)
    assert await harness.finish(handle) == 10
    run = await harness.again(handle)

    with pytest.raises(durable.RunClosed):
        await run.cancel()
    with pytest.raises(durable.RunClosed):
        await run.terminate()
    assert await run.result() == 10


@pytest.mark.parametrize("verb", ["cancel", "terminate"])
async def test_a_run_that_has_not_begun_is_stopped(durable_harness, verb):
    harness = durable_harness
    harness.clock.jumps = False
    handle = await harness.start(tells_why.options(start_delay="10d"))
    created = (await handle.details()).created
    await getattr(handle, verb)("not at all")
    harness.clock.jumps = True

    assert await end_of(harness, handle) == {"cancel": "cancelled"}.get(verb, "terminated")
    closed = (await (await harness.again(handle)).details()).closed
    assert closed is not None
    assert (closed - created).total_seconds() < 10


@pytest.mark.parametrize("verb", ["cancel", "terminate"])
async def test_a_run_that_no_worker_has_taken_is_stopped(tmp_path, verb):
    # Not by the harness: no engine is open when it is started and stopped.
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[]):
        pass
    async with durable.Client(path) as client:
        run = await client.start(tells_why.options(id="x"))
        await getattr(run, verb)("not at all")

    async with durable.Engine(path) as engine:
        run = await engine.get("x")
        (outcome,) = await asyncio.gather(run.result(), return_exceptions=True)

    stopped = durable.RunCancelled if verb == "cancel" else durable.RunTerminated
    assert isinstance(outcome, stopped)
    assert "not at all" in str(outcome)


@workflow
async def sleeps_long() -> str:
    try:
        await durable.sleep("300d")
    finally:
        await note("cleaned up")
    return "woke"


@pytest.mark.parametrize(("verb", "notes"), [("cancel", ["cleaned up"]), ("terminate", [])])
@pytest.mark.parametrize("warm", [1, 1_000])
async def test_a_parked_run_is_stopped_warm_or_cold(tmp_path, verb, notes, warm):
    # Not by the harness: the run is parked while its clock stands still.
    limits = durable.Limits(warm_runs_max=warm)
    clock = ManualClock(jumps=False)
    async with durable.Engine(tmp_path / "app.db", clock=clock, limits=limits) as engine:
        run = await engine.start(sleeps_long)
        while await run.status() != "sleeping":
            clock.advance(0.5)
            engine._worker.timers.fire_due()  # type: ignore[union-attr]
            await asyncio.sleep(0)
        await getattr(run, verb)()
        (outcome,) = await asyncio.gather(run.result(), return_exceptions=True)

    assert isinstance(outcome, durable.RunCancelled | durable.RunTerminated)
    assert noted == notes


async def test_a_cancel_of_a_paused_run_waits_until_it_is_resumed(durable_harness):
    harness = durable_harness
    handle = await harness.start(sleeps_long)
    await handle.pause("lunch")
    while await (await harness.again(handle)).status() != "paused":
        await asyncio.sleep(0)
    await (await harness.again(handle)).cancel("enough")
    assert await (await harness.again(handle)).status() == "paused"
    await (await harness.again(handle)).resume()

    with pytest.raises(durable.RunCancelled, match="enough"):
        await harness.finish(handle)
    assert noted == ["cleaned up"]


async def test_a_paused_run_is_terminated_as_it_is(durable_harness):
    harness = durable_harness
    handle = await harness.start(sleeps_long)
    await handle.pause("lunch")
    while await (await harness.again(handle)).status() != "paused":
        await asyncio.sleep(0)
    await (await harness.again(handle)).terminate("enough")

    assert await end_of(harness, handle) == "terminated"
    assert noted == []


@workflow
async def gets_stuck() -> None:
    await asyncio.to_thread(print)


async def test_a_blocked_run_is_terminated_and_a_cancel_of_it_is_kept(durable_harness):
    harness = durable_harness
    handle = await harness.start(gets_stuck)
    with pytest.raises(durable.Blocked):
        await harness.finish(handle)
    run = await harness.again(handle)

    await run.cancel("enough")
    assert await run.status() == "blocked"
    await run.terminate("away with it")

    assert await run.status() == "terminated"


@workflow
async def fails_at_first() -> None:
    try:
        await always_fails()
    finally:
        await note("cleaned up")


@activity(retry=durable.Retry(initial_interval="1d", max_interval="1d"))
async def always_fails() -> None:
    await note("tried")
    raise ConnectionError("no")


async def test_a_run_that_waits_for_a_retry_is_cancelled_and_tries_no_more(tmp_path):
    # Not by the harness: its clock would jump to the retry.
    clock = ManualClock(jumps=False)
    async with durable.Engine(tmp_path / "app.db", clock=clock) as engine:
        run = await engine.start(fails_at_first)
        while not noted:
            await asyncio.sleep(0)
        await run.cancel()
        with pytest.raises(durable.RunCancelled):
            await run.result()

    assert noted == ["tried", "cleaned up"]


# -- terminating -----------------------------------------------------------------------------------


async def test_terminate_runs_no_clean_up(durable_harness):
    harness = durable_harness
    handle = await harness.start(cleans_up)
    await handle.terminate("away with it")

    with pytest.raises(durable.RunTerminated, match="away with it"):
        await harness.finish(handle)
    assert noted == []


@activity
def refund(amount: int) -> int:
    noted.append(f"refund {amount}")
    return amount


@workflow
async def would_refund(how: str) -> None:
    try:
        await number.receive()
    finally:
        if how == "activity":
            await refund(5)
        elif how == "step":
            await durable.step(refund.fn, 5, name="refund")
        elif how == "child":
            await refunds_as_a_child()
        else:
            await asyncio.gather(refund(5), refund(6))


@workflow
async def refunds_as_a_child() -> None:
    await refund(5)


@pytest.mark.parametrize("how", ["activity", "step", "child", "tasks"])
async def test_dropping_a_run_from_memory_performs_nothing_of_its_clean_up(durable_harness, how):
    harness = durable_harness
    handle = await harness.start(would_refund, how)
    await harness.restart()
    await harness.engine.__aexit__(None, None, None)
    await (await harness.again(handle)).terminate()

    assert await end_of(harness, handle) == "terminated"
    assert noted == []


# -- activities ------------------------------------------------------------------------------------

freed = threading.Event()


@activity
async def sees_its_cancel() -> None:
    await note("began")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await note(f"cancelled {durable.is_cancelled()}")
        raise


@activity
def asks_in_a_thread() -> None:
    noted.append("began")
    while not durable.is_cancelled():
        freed.wait(0.001)
    noted.append("cancelled True")


@workflow
async def has_an_activity(how: str) -> None:
    await (sees_its_cancel() if how == "async" else asks_in_a_thread())


# Not by the harness: an attempt that a death ends is not cancelled but gone.
@pytest.mark.parametrize("how", ["async", "thread"])
@pytest.mark.parametrize("verb", ["cancel", "terminate"])
async def test_an_activity_sees_that_nobody_waits_for_it(engine, how, verb):
    run = await engine.start(has_an_activity, how)
    async with asyncio.timeout(10):
        while not noted:
            await asyncio.sleep(0)
        await getattr(run, verb)()
        await asyncio.gather(run.result(), return_exceptions=True)
        while len(noted) < 2:
            await asyncio.sleep(0)

    assert noted == ["began", "cancelled True"]
    assert [event.kind for event in await run.history()] in ([], ["cancel_requested"])


# -- children --------------------------------------------------------------------------------------


@workflow
async def has_a_child(how: str, on_cancel: str) -> str:
    options = child.options(id="child", on_cancel=on_cancel)  # type: ignore[arg-type]
    try:
        if how == "awaited":
            return await options()
        if how == "gathered":
            return str(await asyncio.gather(options(), durable.sleep("300d")))
        handle = await options.start()
        return await handle.result()
    finally:
        now = (durable.now() - durable.info().started).total_seconds()
        state.set(f"after {now:g} s")


@pytest.mark.parametrize(
    ("how", "on_cancel", "end"),
    [("awaited", "cancel", "cancelled"), ("awaited", "abandon", "completed"),
     ("gathered", "cancel", "cancelled"), ("gathered", "abandon", "completed"),
     ("handle", "cancel", "completed"), ("handle", "abandon", "completed")],
)  # fmt: skip
async def test_a_cancelled_parent_asks_the_child_it_awaits_and_waits_for_nothing(
    durable_harness, how, on_cancel, end
):
    harness = durable_harness
    harness.started.append(child)
    handle = await harness.start(has_a_child, how, on_cancel)
    left = await appears(harness, handle, "child")
    await (await harness.again(handle)).cancel("enough")

    assert await end_of(harness, handle) == "cancelled"
    if end == "completed":
        await (await harness.again(left)).signal(number, 1)
    assert await end_of(harness, left) == end
    assert await (await harness.again(handle)).read(state) == "after 0 s"


async def test_a_child_asked_to_stop_is_told_who_no_longer_waits(durable_harness):
    harness = durable_harness
    harness.started.append(child)
    handle = await harness.start(has_a_child.options(id="p"), "awaited", "cancel")
    left = await appears(harness, handle, "child")
    await (await harness.again(handle)).cancel("enough")

    await end_of(harness, handle)

    with pytest.raises(durable.RunCancelled, match="run p no longer waits for it"):
        await harness.finish(left)


@workflow
async def leaves_one(what: str, how: str) -> None:
    options = cleans_up_when_left.options(id="left")
    if what != "default":
        options = options.options(on_parent_close=what)  # type: ignore[arg-type]
    await options.start()
    await echo(1)
    await number.receive()
    if how == "failed":
        raise ValueError("on purpose")


@workflow
async def cleans_up_when_left() -> str:
    try:
        await number.receive()
    except asyncio.CancelledError:
        await note(f"left: {durable.info().cancel_reason}")
        raise
    return "went on"


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled", "terminated"])
@pytest.mark.parametrize("what", ["default", "abandon", "cancel", "terminate"])
async def test_each_end_of_a_parent_does_to_its_child_what_it_was_told(durable_harness, what, how):
    harness = durable_harness
    harness.started.append(cleans_up_when_left)
    handle = await harness.start(leaves_one, what, how)
    run = await until(harness, handle, 2)
    match how:
        case "cancelled":
            await run.cancel()
        case "terminated":
            await run.terminate()
        case _:
            await run.signal(number, 1)

    assert await end_of(harness, handle) == how

    left = await appears(harness, handle, "left")
    if what in {"default", "abandon"}:
        await left.signal(number, 1)
    ends = {"cancel": "cancelled", "terminate": "terminated"}
    assert await end_of(harness, left) == ends.get(what, "completed")
    assert noted == (["left: its parent run has ended"] if what == "cancel" else [])


@workflow
async def leads_three(depth: int) -> str:
    """Each of them waits for the next, the last one for a signal."""
    if depth == 0:
        return await cleans_up_when_left.options(id="last")()
    return await leads_three.options(id=f"at {depth}", on_parent_close="cancel")(depth - 1)


async def test_a_cancel_goes_down_the_whole_family(durable_harness):
    harness = durable_harness
    harness.started.append(cleans_up_when_left)
    handle = await harness.start(leads_three.options(id="top"), 2)
    last = await appears(harness, handle, "last")
    await (await harness.again(handle)).cancel("enough")

    assert await end_of(harness, handle) == "cancelled"
    for name in ("at 2", "at 1"):
        assert await end_of(harness, await appears(harness, handle, name)) == "cancelled"
    assert await end_of(harness, last) == "cancelled"
    assert len(noted) == 1


@pytest.mark.parametrize("what", ["cancel", "terminate"])
async def test_a_terminated_parent_takes_a_whole_family_along(durable_harness, what):
    harness = durable_harness
    harness.started.append(leads_by_handles)
    handle = await harness.start(leads_by_handles.options(id="n2"), 2, what)
    last = await appears(harness, handle, "n0")
    await (await harness.again(handle)).terminate()

    ends = [await end_of(harness, await appears(harness, handle, name)) for name in ("n2", "n1")]

    expected = "cancelled" if what == "cancel" else "terminated"
    assert [*ends, await end_of(harness, last)] == ["terminated", expected, expected]


@workflow
async def leads_by_handles(depth: int, what: str) -> None:
    if depth:
        options = leads_by_handles.options(id=f"n{depth - 1}", on_parent_close=what)  # type: ignore[arg-type]
        await options.start(depth - 1, what)
    await number.receive()


@workflow
async def cancels_by_handle(reason: str) -> str:
    handle = await cleans_up_when_left.options(id="left").start()
    await handle.cancel(reason)
    try:
        await handle.result()
    except durable.RunCancelled as error:
        try:
            await handle.cancel("again")
        except durable.RunClosed:
            return f"{error.args[-1]}, closed"
    return "never"


async def test_a_child_is_cancelled_by_its_handle_with_a_reason(durable_harness):
    assert await durable_harness.run(cancels_by_handle, "not needed") == "not needed, closed"
    assert noted == ["left: not needed"]


@workflow
async def cancels_before_it_starts() -> str:
    task = asyncio.ensure_future(child.options(id="never")())
    await asyncio.sleep(0)
    task.cancel()
    (outcome,) = await durable.settle(task)
    return f"{type(outcome.error).__name__} {await echo(1)}"


async def test_a_child_asked_for_and_given_up_in_one_drain_never_starts(durable_harness):
    assert await durable_harness.run(cancels_before_it_starts) == "CancelledError 1"
    with pytest.raises(durable.RunNotFound):
        await durable_harness.engine.get("never")


@pytest.mark.parametrize(
    ("name", "value"),
    [("on_cancel", "terminate"), ("on_cancel", ""), ("on_parent_close", "kill"),
     ("on_parent_close", None), ("on_cancel", 1)],
)  # fmt: skip
def test_a_bad_option_is_refused_where_it_is_written(name, value):
    with pytest.raises(durable.UsageError, match=name):
        child.options(**{name: value})
