"""What the file remembers of pending steps, how runs begin, and which of them are claimed first."""

import asyncio
import contextlib

import pytest

import durable
from durable import Client, Engine, Limits, Retry, Signal, Update, activity, workflow
from durable.testing import ManualClock

go = Signal("go", int)
ask = Update("ask", int, int)
is_new = [False]
tokens: list[str] = []
made: list[str] = []


@pytest.fixture(autouse=True)
def _old_code():
    is_new[0] = False
    tokens.clear()
    made.clear()


@activity
async def ask_boss(order: str) -> str:
    tokens.append(durable.complete_later())
    return ""


@activity(at_most_once=True)
async def send_letter(to: str) -> str:
    made.append(f"letter to {to}")
    await asyncio.Event().wait()
    return "letter"


@activity(retry=Retry(initial_interval=3_600))
async def flaky(to: str) -> str:
    made.append(f"flaky {to}")
    if to == "bob":
        raise OSError("not now")
    return to


@activity
async def charge(card: str) -> str:
    made.append(f"charged {card}")
    return "receipt"


OLD: dict[str, durable.Activity[[str], str]] = {
    "later": ask_boss, "intent": send_letter, "retrying": flaky,
}  # fmt: skip


@workflow
async def order(kind: str, then: str) -> str:
    if not is_new[0] or then == "the same":
        return await OLD[kind]("bob")
    if then == "other arguments":
        return await OLD[kind]("ada")
    if then == "nothing":
        await durable.sleep(60)
        return "nothing"
    return await charge("4242")


async def pending(path, kind, then, clock):
    """Let a run come to where it waits, and its engine go."""
    async with Engine(path, functions=[order], grace=0, clock=clock) as engine:
        run = await engine.start(order.options(id="o"), kind, then)
        async with asyncio.timeout(10):
            while not engine._reader.steps(run._pk):
                await asyncio.sleep(0)
            while kind != "later" and not made:
                await asyncio.sleep(0)
    is_new[0] = True
    made.clear()


@pytest.mark.parametrize("kind", sorted(OLD))
async def test_a_pending_step_is_never_handed_to_another_function(tmp_path, kind):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    await pending(path, kind, "another", clock)

    async with Engine(path, functions=[order], grace=0, clock=clock) as engine:
        run = await engine.get("o")
        async with asyncio.timeout(10):
            while await run.status() != "blocked":
                await asyncio.sleep(0)
        if kind == "later":
            await engine.resolve(tokens[0], "the boss says no")
        why = (await run.details()).why
        (found,) = engine.check()

    assert "step 1 is pending as" in why
    assert "the code now calls charge" in why
    assert found is not None
    assert "charge" in found.message
    assert made == []


@pytest.mark.parametrize("kind", ["later", "intent"])
async def test_one_that_has_touched_the_world_blocks_with_other_arguments_too(tmp_path, kind):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    await pending(path, kind, "other arguments", clock)

    async with Engine(path, functions=[order], grace=0, clock=clock) as engine:
        run = await engine.get("o")
        async with asyncio.timeout(10):
            while await run.status() != "blocked":
                await asyncio.sleep(0)
        why = (await run.details()).why
        await run.accept("1")
        if kind == "later":
            await engine.resolve(tokens[0], "yes")
            assert await run.result() == "yes"
        else:
            with pytest.raises(durable.RunFailed, match="begun at most once"):
                await run.result()

    assert '"bob" in the history, "ada" in the code' in why
    assert made == []


async def test_one_that_only_retries_runs_with_the_arguments_of_today(tmp_path):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    await pending(path, "retrying", "other arguments", clock)

    async with Engine(path, functions=[order], grace=0, clock=clock) as engine:
        run = await engine.get("o")
        clock.advance(7_200)
        engine._running().timers.fire_due()
        assert await run.result() == "ada"


@pytest.mark.parametrize("kind", ["later", "intent"])
async def test_one_that_the_code_asks_for_no_more_blocks(tmp_path, kind):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    await pending(path, kind, "nothing", clock)

    async with Engine(path, functions=[order], grace=0, clock=clock) as engine:
        run = await engine.get("o")
        async with asyncio.timeout(10):
            while await run.status() != "blocked":
                await asyncio.sleep(0)

        assert "but the code does not ask for it" in (await run.details()).why


# -- beginnings ------------------------------------------------------------------------------------


@workflow
async def begins() -> float:
    ask.handler(lambda value: value)
    return durable.now().timestamp()


async def nothing(_engine, _run):
    pass


async def by_pause(_engine, run):
    await run.pause()
    await run.resume()


async def by_hold(engine, _run):
    await (await engine.pause_workflow("begins")).wait()
    await (await engine.resume_workflow("begins")).wait()


async def by_signal(_engine, run):
    await run.signal(go, 1)


async def by_update(_engine, run):
    waiting = asyncio.ensure_future(run.update(ask, 1, id="u"))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def by_query(_engine, run):
    with contextlib.suppress(durable.QueryFailed):
        await run.query(durable.Query("none", int))


async def by_retry(_engine, run):
    with contextlib.suppress(durable.WrongState):
        await run.retry()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    "sooner", [nothing, by_pause, by_hold, by_signal, by_update, by_query, by_retry]
)
async def test_nothing_begins_a_delayed_run_sooner(tmp_path, sooner, restarts):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    at = clock.wall_us() / 1e6
    async with Engine(path, functions=[begins], clock=clock) as engine:
        run = await engine.start(begins.options(id="x", start_delay=100))
        await sooner(engine, run)
        if not restarts:
            assert await run.status() == "sleeping"
            clock.advance(100)
            engine._running().timers.fire_due()
            assert await run.result() - at >= 100
            return
    async with Engine(path, functions=[begins], clock=clock) as engine:
        run = await engine.get("x")
        await asyncio.sleep(0.02)
        assert await run.status() == "sleeping"
        clock.advance(100)
        engine._running().timers.fire_due()
        assert await run.result() - at >= 100


async def test_a_cancel_ends_a_run_that_has_not_begun(tmp_path):
    async with Engine(tmp_path / "app.db", functions=[begins]) as engine:
        run = await engine.start(begins.options(id="x", start_delay=100))
        await run.cancel("no need")

        with pytest.raises(durable.RunCancelled, match="no need"):
            await run.result()


@workflow
async def reminds() -> str:
    if is_new[0] and durable.patched("wait-longer"):
        await durable.sleep(9_999)
        return "new"
    await durable.sleep(100)
    return "old"


@workflow
async def reminds_under_way() -> str:
    if is_new[0] and durable.patched("other-step"):
        return "new"
    return await ask_boss("x")


@pytest.mark.parametrize("flow", [reminds, reminds_under_way])
async def test_patched_is_false_in_a_run_that_has_begun_without_any_event(tmp_path, flow):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    async with Engine(path, functions=[flow], clock=clock, grace=0) as engine:
        run = await engine.start(flow.options(id="x"))
        await asyncio.sleep(0.02)
        assert (await run.details()).events == 0
    is_new[0] = True

    async with Engine(path, functions=[flow], clock=clock) as engine:
        run = await engine.get("x")
        await asyncio.sleep(0.02)
        if flow is reminds:
            clock.advance(101)
            engine._running().timers.fire_due()
        else:
            await engine.resolve(tokens[-1], "old")
        assert await run.result() == "old"


# -- claims ----------------------------------------------------------------------------------------


@activity
def mark(name: str) -> None:
    made.append(name)


@workflow
async def aaa() -> None:
    await mark("a")


@workflow
async def zzz() -> None:
    await mark("urgent")


async def backlog(path, count):
    async with Client(path, create=True) as client:
        runs = [await client.start(aaa.options(priority=5)) for _ in range(count)]
        runs.append(await client.start(zzz.options(priority=-100)))
    return [run.id for run in runs]


async def test_the_most_urgent_run_is_first_over_all_workflows(tmp_path):
    ids = await backlog(tmp_path / "app.db", 60)
    limits = Limits(max_running_activities=1, threads_max=1)

    async with Engine(tmp_path / "app.db", functions=[aaa, zzz], limits=limits) as engine:
        for one in ids:
            await (await engine.get(one)).result()

    assert made[0] == "urgent"
    assert len(made) == 61


@activity
async def hangs() -> None:
    await asyncio.Event().wait()


@workflow
async def takes_a_place() -> None:
    await hangs()


async def test_a_worker_claims_little_more_than_it_has_places_for(tmp_path):
    path = tmp_path / "app.db"
    async with Client(path, create=True) as client:
        for _ in range(40):
            await client.start(takes_a_place)
    limits = Limits(max_running_activities=4, threads_max=2)

    async with Engine(path, functions=[takes_a_place], limits=limits, grace=0) as engine:
        async with asyncio.timeout(10):
            while engine._running().activities.running < 4:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
        taken = len(engine._running().live)

    assert 4 <= taken <= 8
