"""What a person does to single runs: skip, accept, pause, resume, remove; and its audit."""

import asyncio
import contextlib

import apsw
import pytest

import durable
from durable import Signal, Stream, Value, activity, workflow
from durable.testing import ManualClock

go = Signal("go", int)
big = Value("big", str)
log = Stream("log", str)
calls: list[str] = []
gates = [asyncio.Event()]


@pytest.fixture(autouse=True)
def _forget():
    calls.clear()
    gates[0] = asyncio.Event()  # An event belongs to the loop that first waited for it.


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock(jumps=False)) as opened:
        yield opened


async def ask(harness, handle, verb):
    """Ask a run for something; the engine may vanish once that is in the file."""
    with contextlib.suppress(durable.UsageError):
        await verb(await harness.again(handle))


# -- skip and fail ---------------------------------------------------------------------------------


@activity(retry=durable.Retry(initial_interval=1_000, max_interval=1_000, jitter=0))
async def flaky(name: str) -> int:
    calls.append(name)
    raise ConnectionError("down")


@workflow
async def needs_flaky() -> str:
    try:
        return f"got {await flaky('x')}"
    except durable.ActivityError as error:
        return f"failed: {error}"


@pytest.mark.parametrize(("verb", "said"), [("skip", "got 7"), ("fail", "failed: given up")])
async def test_a_pending_step_ends_as_a_person_says(durable_harness, verb, said):
    harness = durable_harness
    harness.clock.jumps = False
    run = await harness.start(needs_flaky.options(id="x"))
    while not calls:
        await asyncio.sleep(0)

    await ask(
        harness,
        run,
        lambda one: one.skip("1", 7) if verb == "skip" else one.fail("1", "given up"),
    )

    assert await harness.finish(run) == said
    details = await (await harness.again(run)).details()
    assert [one.verb for one in details.audit] == [verb]


@activity
async def pays(name: str) -> int:
    calls.append(name)
    await gates[0].wait()
    return 1


@activity(at_most_once=True)
async def pays_once(name: str) -> int:
    calls.append(name)
    await gates[0].wait()
    return 1


@workflow
async def bill(once: bool) -> int:
    return await (pays_once("once") if once else pays("often"))


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("verb", ["skip", "cancel", "wrong"])
async def test_what_is_said_while_no_worker_is_there_comes_before_its_steps(tmp_path, once, verb):
    path = tmp_path / "app.db"
    async with durable.Engine(path, grace=0) as engine:
        await engine.start(bill.options(id="b"), once)
        while not calls:
            await asyncio.sleep(0)
    async with durable.Client(path) as client:
        run = await client.get("b")
        if verb == "cancel":
            await run.cancel("enough")
        else:
            await run.skip("1", output=7 if verb == "skip" else "no number")

    gates[0].set()
    async with durable.Engine(path) as engine:
        run = await engine.get("b")
        ended = await run.wait()

    match verb, once:
        case "skip", _:
            assert (result_of(path), len(calls)) == ("7", 1)
        case "cancel", _:
            assert (ended.status, len(calls)) == ("cancelled", 1)
        case _, True:  # Whether it was done is not known, and the output was of no use.
            assert (ended.status, len(calls)) == ("failed", 1)
        case _:
            assert (result_of(path), len(calls)) == ("1", 2)


def result_of(path):
    with durable.view(path) as runs:
        return runs.get("b").result


@activity(retry=durable.Retry(max_attempts=1, on_exhausted="pause"))
def pays_and_fails(name: str) -> int:
    calls.append(name)
    raise TimeoutError("after the money went")


@workflow
async def careful() -> int:
    return await pays_and_fails("money")


async def test_a_step_that_paused_its_run_is_skipped_without_being_done_again(engine):
    run = await engine.start(careful.options(id="c"))
    while await run.status() != "paused":
        await asyncio.sleep(0)

    await run.skip("1", output=5)

    assert await run.result() == 5
    assert calls == ["money"]


async def test_what_a_person_has_paused_is_not_resumed_by_a_skip(engine):
    run = await engine.start(needs_flaky.options(id="x"))
    while not calls:
        await asyncio.sleep(0)
    await run.pause(reason="the bank is closed")
    while await run.status() != "paused":
        await asyncio.sleep(0)

    await run.skip("1", 7)
    for _ in range(50):
        await asyncio.sleep(0)
    paused = await run.status()
    await run.resume()

    assert (paused, await run.result()) == ("paused", "got 7")


@pytest.mark.parametrize("verb", ["skip", "edit"])
async def test_a_step_is_named_by_its_id_or_by_the_name_of_the_one_that_is_pending(engine, verb):
    run = await engine.start(needs_flaky.options(id="x"))
    while await run.status() != "retrying":
        engine._clock.host.advance(1)
        engine._worker.timers.fire_due()
        await asyncio.sleep(0.001)

    for unknown in ("nosuch", "!t1", "signal:go#1"):
        with pytest.raises(durable.WrongState, match=r"neither the id of a step.*1 \(flaky\)"):
            await (run.skip(unknown, 7) if verb == "skip" else run.edit(unknown, max_attempts=2))
    if verb == "skip":
        await run.skip("flaky", 7)
    else:
        await run.edit("flaky", max_attempts=1, initial_interval=0.001)
        engine._clock.host.advance(1)
        engine._worker.timers.fire_due()

    assert (await run.wait()).status == ("completed" if verb == "skip" else "failed")


@pytest.mark.parametrize("verb", ["edit", "skip"])
async def test_a_run_that_was_asked_something_is_shown_as_waiting_again(engine, verb):
    async def pass_a_second():
        for _ in range(3):
            engine._clock.host.advance(1)
            engine._worker.timers.fire_due()
            await asyncio.sleep(0.01)

    run = await engine.start(needs_flaky.options(id="x"))
    while not calls:
        await asyncio.sleep(0)
    await pass_a_second()
    before = await run.status()

    await (run.edit("1", backoff=3) if verb == "edit" else run.skip("1", "no number"))
    await asyncio.sleep(0.05)
    await pass_a_second()

    assert (before, await run.status()) == ("retrying", "retrying")


async def test_an_output_of_the_wrong_type_is_a_dead_letter_and_the_step_stays_pending(engine):
    run = await engine.start(needs_flaky)
    while not calls:
        await asyncio.sleep(0)

    await run.skip("1", "seven")
    while not (letters := (await run.details()).dead_letters):
        await asyncio.sleep(0)
    await run.skip("1", 7)

    assert await run.result() == "got 7"
    assert "int" in letters[0].why


async def test_a_step_that_has_ended_or_never_was_is_not_skipped(engine):
    run = await engine.start(waits_twice)
    await run.signal(go, 1)
    while len(await run.history()) < 2:
        await asyncio.sleep(0)

    with pytest.raises(durable.WrongState, match=r"step 1 of run .* has ended"):
        await run.skip("1", 7)
    await run.skip("99", 7)
    while not (letters := (await run.details()).dead_letters):
        await asyncio.sleep(0)
    await run.signal(go, 1)
    await run.result()

    assert letters[0].why == "step 99 is not pending"
    with pytest.raises(durable.RunClosed):
        await run.skip("1", 7)


@activity
async def note(name: str) -> str:
    calls.append(name)
    return name


@workflow
async def waits_twice() -> str:
    first = await go.receive()
    await note("between")
    return str(first + await go.receive())


@workflow
async def asks_child() -> int:
    promise = durable.promise("ok", int)
    return await promise + await waits_for_child()


@workflow
async def waits_for_child() -> int:
    return await go.receive()


async def test_a_promise_and_a_child_are_steps_that_may_be_skipped(durable_harness):
    harness = durable_harness
    run = await harness.start(asks_child.options(id="x"))
    await ask(harness, run, lambda one: one.skip("1", 5))
    while len(await (await harness.again(run)).children()) < 1:
        await asyncio.sleep(0)
    await ask(harness, run, lambda one: one.skip("2", 6))

    assert await harness.finish(run) == 11


# -- accept ----------------------------------------------------------------------------------------


@workflow(name="edited")
async def before() -> str:
    return await note("a") + str(await go.receive())


@workflow(name="edited")
async def after() -> str:
    return await note("b") + str(await go.receive())


async def test_an_accepted_result_is_taken_with_other_arguments(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[before]) as engine:
        run = await engine.start(before.options(id="x"))
        while not await run.history():
            await asyncio.sleep(0)
        with pytest.raises(durable.WrongState, match="not blocked"):
            await run.accept("1")
    async with durable.Engine(path, functions=[after]) as engine:
        run = await engine.get("x")
        while await run.status() != "blocked":
            await asyncio.sleep(0)
        with pytest.raises(durable.WrongState, match="no end of a step 9"):
            await run.accept("9")

        await run.accept("1", reason="the same thing")
        await run.signal(go, 1)

        assert await run.result() == "a1"
        assert calls == ["a"]
        assert await (await run.restart("last")).result() == "b1"


# -- pause and resume ------------------------------------------------------------------------------


@activity
async def slow() -> str:
    calls.append("slow")
    await gates[0].wait()
    return "slow"


@workflow
async def two_steps() -> str:
    return await slow() + await note("next")


async def test_a_paused_run_finishes_what_runs_and_begins_nothing(engine):
    run = await engine.start(two_steps)
    while not calls:
        await asyncio.sleep(0)

    await run.pause("lunch")
    for _ in range(20):
        await asyncio.sleep(0)
    assert await run.status() == "running"
    gates[0].set()
    while await run.status() != "paused":
        await asyncio.sleep(0)
    details = await run.details()

    assert [one.step for one in await run.history()] == ["1"]
    assert calls == ["slow"]
    assert details.why.endswith(": lunch")
    await run.resume("back")
    assert await run.result() == "slownext"
    assert [(one.verb, one.why) for one in (await run.details()).audit] == [
        ("pause", "lunch"),
        ("resume", "back"),
    ]


async def test_a_run_may_be_resumed_before_it_is_paused(engine):
    run = await engine.start(two_steps)
    while not calls:
        await asyncio.sleep(0)
    await run.pause()
    await asyncio.sleep(0.01)

    await run.resume()
    gates[0].set()

    assert await run.result() == "slownext"
    with pytest.raises(durable.RunClosed):
        await run.pause()
    with pytest.raises(durable.RunClosed):
        await run.resume()


@workflow
async def receives_or_sleeps() -> str:
    try:
        return f"got {await go.receive(timeout=60)}"
    except TimeoutError:
        return "late"


async def test_what_is_said_to_a_paused_run_is_kept_and_its_timers_wait(engine):
    clock = engine._clock.host
    runs = [await engine.start(receives_or_sleeps.options(id=name)) for name in ("a", "b")]
    for run in runs:
        await run.pause()
        while await run.status() != "paused":
            await asyncio.sleep(0)
    with pytest.raises(durable.WrongState, match="paused already"):
        await runs[0].pause()

    await runs[0].signal(go, 1)
    clock.advance(100)
    for _ in range(20):
        await asyncio.sleep(0)
    assert [await one.status() for one in runs] == ["paused", "paused"]
    for run in runs:
        await run.resume()

    assert [await one.result() for one in runs] == ["got 1", "late"]


async def test_a_resumed_run_keeps_its_back_off(engine):
    run = await engine.start(needs_flaky)
    while not calls:
        await asyncio.sleep(0)
    while not (steps := (await run.details()).steps) or steps[0].next_try is None:
        await asyncio.sleep(0)
    due = steps[0].next_try
    await run.pause()
    while await run.status() != "paused":
        await asyncio.sleep(0)

    await run.resume()
    for _ in range(50):
        await asyncio.sleep(0)

    assert calls == ["x"]
    assert (await run.details()).steps[0].next_try == due
    await run.terminate()


async def test_a_paused_run_may_be_ended(engine):
    for verb, error in (("cancel", durable.RunCancelled), ("terminate", durable.RunTerminated)):
        run = await engine.start(receives_or_sleeps.options(id=verb))
        await run.pause()
        while await run.status() != "paused":
            await asyncio.sleep(0)

        await getattr(run, verb)("enough")
        if verb == "cancel":
            await run.resume()

        with pytest.raises(error):
            await run.result()


async def test_a_run_nobody_serves_is_paused_at_once(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[]):
        pass
    async with durable.Client(path) as client:
        run = await client.start(two_steps.options(id="x"))
        await run.pause("not yet")
        assert await run.status() == "paused"
        with pytest.raises(durable.WrongState):
            await run.pause()
    gates[0].set()
    async with durable.Engine(path, functions=[two_steps]) as engine:
        run = await engine.get("x")
        for _ in range(20):
            await asyncio.sleep(0)
        assert await run.status() == "paused"
        await run.resume()
        assert await run.result() == "slownext"
        with pytest.raises(durable.RunClosed):
            await run.resume()


async def test_a_run_that_waits_is_not_resumed(engine):
    run = await engine.start(waits_twice)

    with pytest.raises(durable.WrongState, match="not paused"):
        await run.resume()
    await run.terminate()


# -- remove ----------------------------------------------------------------------------------------


@workflow
async def has_everything(text: str) -> str:
    big.set(text)
    log.append(text)
    await note(text)
    await waits_for_child()
    return text


def rows_of(path):
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        if not name.startswith("sqlite_")
    ]
    return {
        name.removeprefix("durable_"): connection.execute(f"SELECT COUNT(*) FROM {name}").get
        for name in tables
    }


async def test_a_removed_run_leaves_nothing_but_its_audit_and_the_source_of_its_code(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path, clock=ManualClock()) as engine:
        empty = rows_of(path)
        run = await engine.start(has_everything.options(id="x"), "y" * 50_000)
        while not await run.children():
            await asyncio.sleep(0)
        with pytest.raises(durable.WrongState, match="end it first"):
            await run.remove()
        (child,) = await run.children()
        await child.signal(go, 1)
        await run.result()
        again = await run.restart("last")
        await again.result()

        assert await run.remove() == 1
        with pytest.raises(durable.RunNotFound):
            await run.status()
        assert await again.remove(children=True, reason="old") == 2

        assert await engine.list() == []
    # Counts of none are rows too.
    found = rows_of(path)
    left = {name: count for name, count in found.items() if count != empty[name]}
    assert left == {"audit": 4, "source": 2, "tally": left["tally"]}
