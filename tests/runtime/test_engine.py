"""Ids, names, ownership, parking, stopping: what an engine does around the runs."""

import asyncio
import datetime as dt
import gc
import logging
import multiprocessing
import os
import stat
import threading

import apsw
import pytest

import durable
from durable import Retry, activity, workflow
from durable._store import requests
from durable._store.rows import NewRun
from durable._store.store import Store
from durable._store.writer import Change
from durable.testing import Harness, ManualClock
from tests.until import until


@activity
async def echo(value: int) -> int:
    return value


@workflow
async def adds(a: int, b: int = 1) -> int:
    return await echo(a) + b


@workflow
async def subtracts(a: int, b: int = 1) -> int:
    return a - b


fails_now = [True]


@activity(retry=Retry(max_attempts=1))
async def fails_first() -> int:
    if fails_now[0]:
        raise ValueError("not yet")
    return 1


@workflow
async def fragile() -> int:
    first = await echo(10)
    return first + await fails_first()


@workflow
async def sleeps(seconds: float) -> str:
    await durable.sleep(seconds)
    return "awake"


@pytest.fixture(autouse=True)
def failing():
    fails_now[0] = True


# -- starting with an id that exists ------------------------------------------------------------


async def test_the_same_id_and_arguments_mean_the_same_run(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        one, two = await asyncio.gather(
            harness.start(adds.options(id="x"), 1), harness.start(adds.options(id="x"), 1)
        )
        assert one._pk == two._pk
        assert await one.result() == 2
        again = await harness.start(adds.options(id="x"), 1)
        assert again._pk == one._pk
        assert await again.result() == 2


@pytest.mark.parametrize("closed", [False, True])
async def test_the_same_id_with_something_else_is_a_conflict(tmp_path, closed):
    async with Harness(tmp_path / "app.db") as harness:
        work = adds if closed else sleeps
        args = (1,) if closed else (1e6,)
        harness.clock.jumps = False
        run = await harness.start(work.options(id="x"), *args)
        if closed:
            await run.result()

        with pytest.raises(durable.IdConflict, match="other arguments"):
            await harness.start(work.options(id="x"), 2)
        with pytest.raises(durable.IdConflict, match="workflow"):
            await harness.start(subtracts.options(id="x"), 1)


async def test_a_new_default_is_no_other_argument(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        await (await harness.start(adds.options(id="x"), 1)).result()

        with pytest.raises(durable.IdConflict):
            await harness.start(adds.options(id="x"), 1, b=1)


@pytest.mark.parametrize(
    ("on_closed", "ordinal", "cause"),
    [
        (None, 1, "started"),
        ("return", 1, "started"),
        ("retry", 2, "retried"),
        ("restart", 2, "restarted"),
    ],
)
async def test_on_closed_decides_about_failed_runs(tmp_path, on_closed, ordinal, cause):
    async with Harness(tmp_path / "app.db") as harness:
        with pytest.raises(durable.RunFailed):
            await harness.run(fragile.options(id="x"))
        fails_now[0] = False
        options = {} if on_closed is None else {"on_closed": on_closed}

        run = await harness.start(fragile.options(id="x", **options))

        assert run.ordinal == ordinal
        assert (await run.details()).cause == cause
        if ordinal == 2:
            assert await harness.finish(run) == 11
            kept = [event.name for event in await run.history()]
            assert kept == ["echo", "fails_first"]


async def test_on_closed_error_refuses_a_closed_run(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        await harness.run(adds.options(id="x"), 1)

        with pytest.raises(durable.IdConflict, match="completed already"):
            await harness.start(adds.options(id="x", on_closed="error"), 1)


def test_run_goes_on_after_a_failure_with_the_bug_fixed(tmp_path):
    path = tmp_path / "app.db"
    with pytest.raises(durable.RunFailed):
        durable.run(path, fragile.options(id="x"))
    fails_now[0] = False

    assert durable.run(path, fragile.options(id="x")) == 11
    assert durable.run(path, fragile.options(id="x")) == 11
    with durable.view(path) as runs:
        assert [one.id for one in runs.list("superseded:any")] == ["x#2", "x"]


# -- retry --------------------------------------------------------------------------------------


@workflow
async def compensates() -> int:
    await echo(1)
    try:
        return await fails_first()
    except ValueError:
        await echo(2)  # a refund
        raise


async def test_retry_refuses_when_a_compensation_completed_after_the_failure(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        run = await harness.start(compensates.options(id="x"))
        with pytest.raises(durable.RunFailed):
            await run.result()
        fails_now[0] = False

        with pytest.raises(durable.WrongState, match=r"step 3 \(echo\) completed after"):
            await run.retry()
        again = await run.retry(anyway=True)

        assert await harness.finish(again) == 1
        assert [event.step for event in await again.history()] == ["1", "2"]
        with pytest.raises(durable.WrongState, match="goes on as x#2 already, the newest"):
            await run.retry()


async def test_a_closed_run_never_changes(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        run = await harness.start(fragile.options(id="x"))
        with pytest.raises(durable.RunFailed):
            await run.result()
        before = await run.history()
        fails_now[0] = False
        await harness.finish(await run.retry())

        old = await harness.engine.get("x#1")
        assert await old.history() == before
        assert await old.status() == "failed"
        assert (await harness.engine.get("x")).ordinal == 2


async def test_a_completed_run_cannot_be_retried(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        run = await harness.start(adds, 1)
        await run.result()
        with pytest.raises(durable.WrongState, match="nothing to retry"):
            await run.retry()


@activity
async def hangs() -> None:
    await asyncio.Event().wait()


@workflow
async def hangs_once() -> None:
    await hangs()


@pytest.mark.parametrize("status", ["running", "sleeping", "delayed"])
async def test_a_run_of_which_nothing_failed_cannot_be_retried(tmp_path, status):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        harness.clock.jumps = False
        if status == "running":
            run = await harness.start(hangs_once.options(id="x"))
        else:
            delay = 1e6 if status == "delayed" else 0
            run = await harness.start(sleeps.options(id="x", start_delay=delay), 1e6)
        shown = "sleeping" if status == "delayed" else "(running|sleeping)"
        with pytest.raises(durable.WrongState, match=f"x is {shown}, and no step of it waits"):
            await run.retry()
    async with durable.Client(path) as client:
        run = await client.get("x")
        assert client._reader.inbox_of_run(run._pk) == []


async def test_a_run_that_no_worker_has_begun_cannot_be_retried(tmp_path):
    async with durable.Client(tmp_path / "app.db", create=True) as client:
        run = await client.start(sleeps.options(id="x"), 1e6)

        with pytest.raises(durable.WrongState, match="x is queued, and no step of it waits"):
            await run.retry()
        assert client._reader.inbox_of_run(run._pk) == []


@activity(retry=Retry(initial_interval="1h", jitter=0))
async def fails_hourly() -> int:
    return await fails_first.fn()


@workflow
async def patient() -> int:
    return await fails_hourly()


async def test_a_run_that_has_only_begun_to_wait_for_a_retry_can_be_retried(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        harness.clock.jumps = False
        run = await harness.start(patient)

        async def is_retrying():
            return await run.status() == "retrying"

        await until(is_retrying)
        assert harness.engine._get_row(run._pk).state == "ready"  # It is not parked yet.
        fails_now[0] = False

        await run.retry()

        assert await harness.finish(run) == 1


async def test_a_retried_run_starts_when_it_is_retried_and_keeps_its_clock(tmp_path):
    @workflow
    async def dated() -> list[str]:
        before = durable.now().isoformat()
        await echo.options(name="noted")(0)
        await durable.sleep(10)
        await fails_first()
        return [before, durable.now().isoformat()]

    async with Harness(tmp_path / "app.db") as harness:
        run = await harness.start(dated.options(id="x"))
        with pytest.raises(durable.RunFailed):
            await harness.finish(run)
        first, recorded = await run.details(), await run.history()
        harness.clock.advance(3_600)
        fails_now[0] = False

        again = await run.retry()
        before, _ = await harness.finish(again)

        second = await again.details()
        assert before == first.started.isoformat()
        assert second.created == second.started == first.closed + dt.timedelta(hours=1)
        assert second.closed == second.started
        assert (await again.history())[:2] == recorded[:2]
        assert [step.ended < second.started for step in second.steps] == [True, True, False]


async def test_the_idempotency_key_survives_a_retry(tmp_path):
    keys = []

    @activity(retry=Retry(max_attempts=1))
    async def keyed() -> int:
        keys.append(durable.attempt().idempotency_key)
        if len(keys) == 1:
            raise ValueError
        return 1

    @workflow
    async def one() -> int:
        return await keyed()

    async with Harness(tmp_path / "app.db") as harness:
        run = await harness.start(one.options(id="x"))
        with pytest.raises(durable.RunFailed):
            await run.result()
        await harness.finish(await run.retry())

    assert len(keys) == 2
    assert len(set(keys)) == 1


# -- names --------------------------------------------------------------------------------------


def make_twin(value):
    @workflow(name="twin")
    async def one() -> int:
        return value

    return one


async def test_two_functions_of_one_name_block_the_run_and_say_where(tmp_path):
    one, two = make_twin(1), make_twin(2)
    async with Harness(tmp_path / "app.db", functions=[one]) as harness:
        harness.engine._given["twin"].append(two)  # As two modules may define them.
        await harness.engine._commit(
            lambda t: t.insert_run(
                NewRun(
                    id="t", ordinal=1, workflow="twin", salt=1, arguments="[]", fingerprint=0,
                    checksum=0, cause="started", code=None, created_us=1,
                )
            )
        )  # fmt: skip
        handle = await harness.engine.get("t")
        with pytest.raises(durable.Blocked, match="two workflows are called 'twin'"):
            await harness.finish(handle)


async def test_an_alias_finds_the_runs_of_the_old_name(tmp_path):
    @workflow(name="new", aliases=["old"])
    async def renamed() -> int:
        return await echo(3)

    @workflow(name="old")
    async def original() -> int:
        return await echo(3)

    harness = Harness(tmp_path / "app.db", functions=[original])
    async with harness:
        run = await harness.start(original.options(id="x", start_delay=10))
    harness = Harness(tmp_path / "app.db", functions=[renamed])
    async with harness:
        assert await harness.finish(await harness.engine.get("x")) == 3
        assert run.workflow == "old"


async def test_a_run_of_an_unknown_workflow_waits_and_says_so(tmp_path):
    @workflow
    async def forgotten() -> int:
        return 1

    async with Harness(tmp_path / "app.db") as harness:
        harness.clock.jumps = False
        await harness.start(forgotten.options(id="x", start_delay=0.001))
    async with Harness(tmp_path / "app.db", functions=[adds]) as harness:
        run = await harness.engine.get("x")
        harness.clock.advance(10)
        assert await run.status() == "sleeping"
        assert await harness.run(adds, 1) == 2


# -- blocked ------------------------------------------------------------------------------------


def versions():
    @workflow(name="changing")
    async def old(argument: int) -> int:
        value = await echo(argument)
        await durable.sleep(10)
        return value + await echo(2)

    @workflow(name="changing")
    async def other_arguments(argument: int) -> int:
        value = await echo(argument + 1)
        await durable.sleep(10)
        return value

    @workflow(name="changing")
    async def other_name(argument: int) -> int:
        value = await durable.step(lambda: 1, name="renamed")
        await durable.sleep(10)
        return value

    @workflow(name="changing")
    async def asks_no_more(argument: int) -> int:
        return 0

    @workflow(name="changing")
    async def unchecked(argument: int) -> int:
        value = await echo.options(arguments="unchecked")(argument + 1)
        await durable.sleep(10)
        return value

    @workflow(name="changing")
    async def patched(argument: int) -> int:
        value = await echo(argument)
        if durable.patched("more"):
            await echo(50)
        await durable.sleep(10)
        return value + (100 if durable.patched("later") else 0)

    return old, other_arguments, other_name, asks_no_more, unchecked, patched


async def half_way(path, work):
    clock = ManualClock(jumps=False)
    harness = Harness(path, functions=[work], clock=clock)
    async with harness:
        run = await harness.start(work.options(id="x"), 1)
        while (await run.details()).events < 1:
            await asyncio.sleep(0.001)
    clock.jumps = True
    return clock


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            1,
            r"step 1 \(echo\) was recorded with other arguments: argument \w+: 1 in the history",
        ),
        (2, "step 1 in the history is echo, but the code now calls renamed"),
        (3, r"the code ends the run before step 1 \(echo\)"),
    ],
)
async def test_code_that_does_not_fit_blocks_and_code_that_fits_goes_on(tmp_path, index, message):
    path, all_versions = tmp_path / "app.db", versions()
    clock = await half_way(path, all_versions[0])

    async with Harness(path, functions=[all_versions[index]], clock=clock) as harness:
        with pytest.raises(durable.Blocked, match=message):
            await harness.finish(await harness.engine.get("x"))
        run = await harness.engine.get("x")
        assert await run.status() == "blocked"
        assert (await run.details()).events == 1

    async with Harness(path, functions=[all_versions[0]], clock=clock) as harness:
        assert await harness.finish(await harness.engine.get("x")) == 3


async def test_unchecked_arguments_let_a_replay_pass(tmp_path):
    path, all_versions = tmp_path / "app.db", versions()
    clock = await half_way(path, all_versions[0])

    async with Harness(path, functions=[all_versions[4]], clock=clock) as harness:
        assert await harness.finish(await harness.engine.get("x")) == 1


async def test_a_run_in_flight_keeps_out_of_a_patch_and_a_new_one_goes_through(tmp_path):
    path, all_versions = tmp_path / "app.db", versions()
    clock = await half_way(path, all_versions[0])

    async with Harness(path, "restart", functions=[all_versions[5]], clock=clock) as harness:
        harness.started.append(all_versions[5])
        old = await harness.finish(await harness.engine.get("x"))
    async with Harness(path, "restart", functions=[all_versions[5]], clock=clock) as harness:
        new = await harness.run(all_versions[5].options(id="y"), 1)

    # The first branch lies before the point the old run had reached, the second behind it.
    assert old == 101
    assert new == 101
    async with Harness(path, functions=[all_versions[5]], clock=clock) as harness:
        names = [e.name for e in await (await harness.engine.get("x")).history()]
        assert names == ["echo", "", "later"]
        names = [e.name for e in await (await harness.engine.get("y")).history()]
        assert names == ["echo", "more", "echo", "", "later"]


left_over: list[object] = []


def two_calls():
    left_over.extend([echo(1), echo(2)])
    return list(left_over)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: asyncio.to_thread(print), "asyncio.to_thread"),
        (lambda: asyncio.open_connection("127.0.0.1", 1), "asyncio.open_connection"),
        (lambda: asyncio.create_subprocess_exec("true"), "asyncio.create_subprocess_exec"),
        (lambda: asyncio.get_running_loop().call_soon_threadsafe(print), "call_soon_threadsafe"),
        (lambda: asyncio.get_running_loop().add_signal_handler(1, print), "add_signal_handler"),
        (lambda: __import__("anyio").to_thread.run_sync(print), "anyio.to_thread.run_sync"),
        (lambda: next(asyncio.as_completed(two_calls())), "as_completed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_what_cannot_be_durable_is_refused_even_if_swallowed(tmp_path, call, named, swallow):
    @workflow
    async def touches_the_outside() -> int:
        try:
            found = call()
            if found is not None:
                await found
        except durable.NotDurable:
            if not swallow:
                raise
        return 1

    async with Harness(tmp_path / "app.db") as harness:
        with pytest.raises(durable.Blocked, match=named):
            await harness.run(touches_the_outside)
    while left_over:  # as_completed leaves coroutines behind that were never awaited.
        left_over.pop().close()


async def test_code_that_can_never_go_on_is_blocked_with_its_stack(tmp_path):
    @workflow
    async def stuck() -> None:
        while True:
            await asyncio.sleep(0)

    async with Harness(tmp_path / "app.db") as harness:
        with pytest.raises(durable.Blocked, match=r"test_engine\.py") as caught:
            await harness.run(stuck)

    assert caught.value.kind == "endless"


# -- outside a workflow -------------------------------------------------------------------------


async def test_a_workflow_of_activities_is_testable_without_an_engine():
    assert await adds(1) == 2
    assert await echo(3) == 3
    assert await echo.fn(3) == 3


@pytest.mark.parametrize(
    "call",
    [
        durable.now, durable.random, durable.uuid4, durable.info,
        lambda: durable.patched("x"), durable.continue_as_new, lambda: durable.step(print),
        lambda: durable.sleep(1).send(None),
    ],
)  # fmt: skip
def test_durable_calls_outside_a_workflow_say_so(call):
    with pytest.raises(durable.NotInWorkflow, match="where no workflow runs"):
        call()


@pytest.mark.parametrize(
    "call",
    [durable.attempt, durable.heartbeat, durable.is_cancelled, lambda: durable.resource("x")],
)
def test_activity_calls_outside_an_activity_say_so(call):
    with pytest.raises(durable.NotInActivity):
        call()


class Holder:
    async def method(self) -> None: ...


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: activity(Holder.method), "is a method"),
        (lambda: workflow(Holder.method), "is a method"),
        (lambda: workflow(lambda: 1), "plain function"),  # type: ignore[arg-type, return-value]
        (lambda: activity(lambda: 1), "a lambda has no name"),
        (lambda: activity(print), "not on"),
        (lambda: activity(echo), "decorated already"),
        (
            lambda: activity(at_most_once=True, retry=Retry(max_attempts=3))(lambda: 1),
            "one attempt|lambda",
        ),
        (lambda: echo.options(start_to_close=-1), "longer than 0"),
        (lambda: echo.options(start_to_close="soon"), "no duration"),
        (lambda: echo.options(arguments="maybe"), "arguments="),  # type: ignore[arg-type]
        (lambda: adds.options(id="a#b"), "cannot be the id"),
        (lambda: adds.options(id=""), "cannot be the id"),
        (lambda: adds.options(id="."), "cannot be the id"),
        (lambda: adds.options(id=".."), "cannot be the id"),
        (lambda: adds.options(id="x" * 201), "cannot be the id"),
        (lambda: adds.options(priority="high"), "priority"),  # type: ignore[arg-type]
        (lambda: adds.options(headers={"a": 1}), "headers"),  # type: ignore[dict-item]
        (lambda: adds.options(on_closed="what"), "on_closed"),  # type: ignore[arg-type]
        (lambda: Retry(backoff=0.5), "backoff"),
        (lambda: Retry(max_attempts=0), "max_attempts"),
        (lambda: Retry(jitter=2), "jitter"),
        (lambda: Retry(initial_interval=-1), "initial_interval"),
        (lambda: Retry(give_up_on=["ValueError"]), "no exception class"),  # type: ignore[list-item]
        (lambda: durable.Limits(threads_max=0), "threads_max"),
        (lambda: durable.Limits(payload_bytes_max=1_000_000_000), "953 MiB"),
    ],
)
def test_wrong_definitions_are_refused_with_the_reason(make, message):
    with pytest.raises(durable.UsageError, match=message):
        make()


async def test_bad_arguments_are_refused_at_the_call_before_anything_is_stored(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        with pytest.raises(TypeError):
            await harness.start(adds)
        with pytest.raises(durable.PayloadError):
            await harness.start(adds, threading.Lock())
        with pytest.raises(durable.PayloadError):
            await harness.start(adds, "one")
        with pytest.raises(durable.UsageError):
            await harness.start(echo, 1)
        assert await harness.engine.count() == {}


# -- parking ------------------------------------------------------------------------------------


async def test_a_sleeping_run_is_a_row_and_wakes_after_a_restart(tmp_path):
    limits = durable.Limits(warm_runs_max=1)
    async with Harness(tmp_path / "app.db", limits=limits) as harness:
        harness.clock.jumps = False
        run = await harness.start(sleeps.options(id="s"), 30 * 86_400)
        while harness.engine._worker.live:
            harness.clock.advance(1)
            harness.engine._worker.timers.fire_due()
            await asyncio.sleep(0.001)

        async def is_parked():  # It leaves memory before that is in the file.
            return await run.status() == "sleeping"

        await until(is_parked)
        assert "timer !t1 in 29d" in (await run.details()).why

        await harness.restart()
        harness.clock.jumps = True
        harness.engine._worker.look_idle()

        assert await harness.finish(run) == "awake"


async def test_runs_that_leave_memory_while_they_wait_need_no_collection(tmp_path):
    whole = []

    def note(phase, info):
        if phase == "start" and info["generation"] == 2:
            whole.append(phase)

    limits = durable.Limits(warm_runs_max=1)
    async with Harness(tmp_path / "app.db", limits=limits) as harness:
        harness.clock.jumps = False
        runs = [await harness.start(sleeps, 30 * 86_400) for _ in range(5)]
        gc.disable()
        gc.callbacks.append(note)
        try:
            while {await run.status() for run in runs} != {"sleeping"}:
                harness.clock.advance(1)
                harness.engine._worker.timers.fire_due()
                await asyncio.sleep(0.001)
        finally:
            gc.callbacks.remove(note)
            gc.enable()

    assert whole == []


async def test_overdue_timers_fire_at_start_in_due_order(tmp_path):
    order = []

    @activity
    async def woke(number: int) -> None:
        order.append(number)

    @workflow
    async def naps(number: int) -> None:
        await durable.sleep(100 + number)
        await woke(number)

    clock = ManualClock(jumps=False)
    limits = durable.Limits(warm_runs_max=1)
    async with Harness(
        tmp_path / "app.db", functions=[naps], clock=clock, limits=limits
    ) as harness:
        for number in (3, 1, 2, 0):
            await harness.start(naps, number)
        while await harness.engine.count("status:sleeping") != {"sleeping": 4}:
            clock.advance(1)
            harness.engine._worker.timers.fire_due()
            await asyncio.sleep(0.001)
    clock.advance(1_000)
    async with Harness(
        tmp_path / "app.db", functions=[naps], clock=clock, limits=limits
    ) as harness:
        while await harness.engine.count("status:completed") != {"completed": 4}:
            await asyncio.sleep(0.001)

    assert order == [0, 1, 2, 3]


async def test_a_step_back_of_the_wall_clock_delays_no_timer(tmp_path):
    clock = ManualClock(jumps=False)
    async with Harness(tmp_path / "app.db", clock=clock) as harness:
        run = await harness.start(sleeps, 10)
        await asyncio.sleep(0.01)
        clock.step_wall(-7_200)
        clock.advance(10)
        harness.engine._worker.timers.fire_due()

        assert await harness.finish(run) == "awake"


async def test_start_delay_holds_the_run_back(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        harness.clock.jumps = False
        run = await harness.start(adds.options(start_delay="1h"), 1)
        assert await run.status() == "sleeping"
        assert (await run.details()).started is None

        harness.clock.jumps = True
        harness.engine._worker.look_idle()

        assert await harness.finish(run) == 2


# -- owners -------------------------------------------------------------------------------------


async def test_two_engines_share_a_file_and_each_run_has_one_runner(tmp_path):
    ran = []

    @activity
    async def once(number: int) -> None:
        ran.append(number)

    @workflow
    async def many(number: int) -> int:
        await once(number)
        return number

    path = tmp_path / "app.db"
    async with (
        durable.Engine(path, functions=[many]) as one,
        durable.Engine(path, functions=[many]) as two,
    ):
        handles = [await (one if n % 2 else two).start(many, n) for n in range(20)]
        assert [await handle.result() for handle in handles] == list(range(20))

    assert sorted(ran) == list(range(20))


async def test_a_worker_declared_dead_writes_nothing_and_begins_again(tmp_path, caplog):
    async with Harness(tmp_path / "app.db") as harness:
        await harness.run(adds, 1)
        worker = harness.engine._worker
        first = worker.id
        other = apsw.Connection(str(tmp_path / "app.db"))
        other.execute("UPDATE durable_worker AS worker SET state = 'dead' WHERE id = ?", (first,))
        other.close()

        with caplog.at_level(logging.ERROR), pytest.raises(durable.OwnershipLost):
            await harness.start(adds.options(id="y"), 5)
        while harness.engine._worker.id == first:
            await asyncio.sleep(0.001)

        assert await harness.run(adds.options(id="y"), 5) == 6
        assert "declared dead" in caplog.text


def _forked(engine, pipe):
    try:
        engine._running()
    except durable.ForkedEngine as error:
        pipe.send(str(error))
    else:
        pipe.send("nothing said")
    os._exit(0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_an_open_engine_refuses_to_work_in_a_forked_child(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(
            target=_forked, args=(harness.engine, there)
        )
        child.start()
        while not here.poll():
            await asyncio.sleep(0.001)
        assert "open a new one in the child" in here.recv()
        child.join()


async def test_a_client_sees_runs_and_asks_without_executing(tmp_path):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        harness.clock.jumps = False
        await harness.start(sleeps.options(id="s"), 1e6)
        await harness.run(adds.options(id="a"), 1)

    async with durable.Client(path) as client:
        assert {run.id: run.status for run in await client.list()} == {
            "a": "completed",
            "s": "sleeping",
        }
        assert await client.count("status:completed") == {"completed": 1}
        assert [run.id for run in await client.list("workflow:adds")] == ["a"]
        assert await (await client.get("a")).result() == 2
        with pytest.raises(durable.RunNotFound):
            await client.get("nobody")
        run = await client.get("s")
        await run.terminate("not needed")
        with pytest.raises(durable.RunTerminated):
            await run.result()


async def test_a_client_of_another_process_can_cancel_a_live_run(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path) as engine, durable.Client(path) as client:
        run = await engine.start(sleeps.options(id="s"), 1e6)
        await (await client.get("s")).cancel("from afar")

        with pytest.raises(durable.RunCancelled, match="from afar"):
            await run.result()


# -- stopping -----------------------------------------------------------------------------------


async def test_leaving_gives_activities_their_grace_time(tmp_path):
    started = asyncio.Event()

    @activity
    async def short() -> int:
        started.set()
        await asyncio.sleep(0.05)
        return 7

    @workflow
    async def one() -> int:
        value = await short()
        await durable.sleep(1e6)
        return value

    path = tmp_path / "app.db"
    async with durable.Engine(path, grace=5) as engine:
        run = await engine.start(one.options(id="x"))
        await started.wait()
    async with durable.Client(path) as client:
        history = await (await client.get(run.id)).history()

    assert [event.result for event in history] == [7]


async def test_what_the_grace_time_cuts_off_uses_up_no_attempt(tmp_path):
    numbers, started = [], asyncio.Event()

    @activity(retry=Retry(max_attempts=1))
    async def long() -> int:
        numbers.append(durable.attempt().number)
        started.set()
        await asyncio.sleep(1e6 if len(numbers) == 1 else 0)
        return 7

    @workflow
    async def one() -> int:
        return await long()

    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[one], grace=0) as engine:
        await engine.start(one.options(id="x"))
        await started.wait()
    async with durable.Engine(path, functions=[one]) as engine:
        assert await (await engine.get("x")).result() == 7

    assert numbers == [1, 1]


# -- logs, poison, modes ------------------------------------------------------------------------

log = logging.getLogger("app")


@workflow
async def talks() -> int:
    log.info("one")
    await echo(1)
    log.info("two")
    await echo(2)
    log.info("three")
    return 3


async def test_replayed_drains_are_silent_and_records_name_their_run(durable_harness, caplog):
    with caplog.at_level(logging.INFO, "app"):
        await durable_harness.run(talks.options(id="t"))

    records = [record for record in caplog.records if record.name == "app"]
    wanted = ["one", "two", "three"]
    if durable_harness.mode == "restart":
        # After a restart the drain behind the last event is made again, and so are its records.
        assert list(dict.fromkeys(record.message for record in records)) == wanted
    else:
        assert [record.message for record in records] == wanted
    assert {record.durable_run for record in records} == {"t"}


async def test_a_run_that_kills_its_worker_again_and_again_is_blocked_with_the_step(tmp_path):
    started = []

    @activity
    async def deadly() -> int:
        started.append(1)
        await asyncio.sleep(1e6)
        return 1

    @workflow
    async def doomed() -> int:
        return await deadly()

    @workflow
    async def innocent() -> int:
        return await echo(1)

    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    harness = Harness(path, functions=[doomed, innocent], clock=clock)
    async with harness:
        run = await harness.start(doomed.options(id="d"))
        for death in range(1, 6):
            while len(started) < death:
                await asyncio.sleep(0.001)
            await harness.restart()
        with pytest.raises(durable.Blocked, match=r"died 5 times in a row while step 1 \(deadly\)"):
            await harness.finish(run)
        assert await harness.run(innocent) == 1
        assert len(started) == 5

        await harness.restart()
        assert await (await harness.engine.get("d")).status() == "blocked"


class Deaths:
    """Runs with gates, in a file whose engine vanishes again and again."""

    def __init__(self, path):
        self.begun = []
        self.gates = {}
        self.fails = set()

        @activity(retry=Retry(initial_interval=0.5, backoff=1, jitter=0))
        async def passes(name: str) -> str:
            self.begun.append(name)
            if name in self.fails:
                raise ValueError("later")
            await self.gates.setdefault(name, asyncio.Event()).wait()
            return name

        @workflow
        async def gated(name: str) -> str:
            return await passes(name)

        self.gated = gated
        self.harness = Harness(path, functions=[gated], clock=ManualClock(jumps=False))

    async def start(self, name):
        return await self.harness.start(self.gated.options(id=name), name)

    def let_pass(self, name):
        self.gates.setdefault(name, asyncio.Event()).set()

    async def begins(self, *names):
        """Wait until an attempt of each has begun since the last death, in this order."""
        while len(self.begun) < len(names):
            await asyncio.sleep(0.001)
        await self.settle()
        assert self.begun == list(names)

    async def settle(self):
        """Let everything happen that can: what was asked before this commit is in the file."""
        for _ in range(3):
            await self.harness.engine._running().commit(lambda transaction: None)
            await asyncio.sleep(0)

    async def die(self):
        self.begun.clear()
        await self.harness.restart()

    async def lost(self, name):
        return (await (await self.harness.engine.get(name)).details()).lost


async def test_a_run_that_only_waits_is_not_suspected_of_killing_its_worker(tmp_path):
    deaths = Deaths(tmp_path / "app.db")
    deaths.fails.add("waits")
    async with deaths.harness as harness:
        run = await deaths.start("waits")
        while not (await run.details()).steps:
            await asyncio.sleep(0.001)
        for _ in range(8):
            await deaths.settle()
            assert (await (await harness.engine.get("waits")).details()).status == "retrying"
            await deaths.die()

        assert await deaths.lost("waits") == 3
        assert deaths.begun == []
        deaths.fails.clear()
        deaths.let_pass("waits")
        harness.clock.jumps = True
        harness.engine._worker.look_idle()
        assert await harness.finish(run) == "waits"


async def test_after_three_deaths_one_run_alone_is_suspected(tmp_path):
    deaths = Deaths(tmp_path / "app.db")
    async with deaths.harness as harness:
        doomed, innocent = [await deaths.start(name) for name in ("doomed", "innocent")]
        for _ in range(3):
            await deaths.begins("doomed", "innocent")
            await deaths.die()
        for _ in range(2):
            await deaths.begins("doomed")
            await deaths.die()

        with pytest.raises(durable.Blocked, match=r"died 5 times in a row while step 1 \(passes\)"):
            await harness.finish(doomed)
        await deaths.begins("innocent")
        assert await deaths.lost("innocent") == 3
        deaths.let_pass("innocent")
        assert await harness.finish(innocent) == "innocent"
        assert await (await deaths.start("new")).status() == "running"


async def test_a_suspected_run_begins_when_others_have_ended_and_they_wait_for_it(tmp_path):
    deaths = Deaths(tmp_path / "app.db")
    async with deaths.harness as harness:
        await deaths.start("suspected")
        for _ in range(3):
            await deaths.begins("suspected")
            await deaths.die()
        await deaths.begins("suspected")
        other = await deaths.start("other")
        await deaths.begins("suspected")
        deaths.fails.add("other")
        deaths.let_pass("suspected")
        await deaths.begins("suspected", "other")

        assert await deaths.lost("suspected") == 3
        deaths.fails.clear()
        harness.clock.jumps = True
        harness.engine._worker.look_idle()
        deaths.let_pass("other")
        assert await harness.finish(other) == "other"


async def test_a_suspected_run_waits_for_those_that_run_already(tmp_path):
    deaths = Deaths(tmp_path / "app.db")
    async with deaths.harness as harness:
        await deaths.start("suspected")
        for _ in range(3):
            await deaths.begins("suspected")
            await deaths.die()
        await deaths.begins("suspected")
        await deaths.die()
        assert await deaths.lost("suspected") == 4
        deaths.fails.add("suspected")
        await deaths.begins("suspected")

        # It waits for its retry now: not alone, and not suspected.
        other = await deaths.start("other")
        await deaths.begins("suspected", "other")
        deaths.fails.clear()
        harness.clock.advance(1)
        harness.engine._worker.timers.fire_due()
        await deaths.begins("suspected", "other")
        third = await deaths.start("third")
        await deaths.begins("suspected", "other")

        deaths.let_pass("other")
        await harness.finish(other)
        await deaths.begins("suspected", "other", "suspected")
        deaths.let_pass("suspected")
        await deaths.begins("suspected", "other", "suspected", "third")
        deaths.let_pass("third")
        assert await harness.finish(third) == "third"


async def test_a_suspected_run_that_waits_for_its_retry_is_suspected_no_more(tmp_path):
    deaths = Deaths(tmp_path / "app.db")
    async with deaths.harness:
        await deaths.start("suspected")
        for _ in range(3):
            await deaths.begins("suspected")
            await deaths.die()
        deaths.fails.add("suspected")
        await deaths.begins("suspected")
        for _ in range(5):
            await deaths.settle()
            await deaths.die()

        assert await deaths.lost("suspected") == 3


def test_a_new_file_is_readable_by_its_owner_only(tmp_path):
    old = os.umask(0)
    try:
        durable.run(tmp_path / "app.db", adds, 1)
    finally:
        os.umask(old)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}


async def test_opening_a_file_with_a_client_starts_no_work(tmp_path):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        harness.clock.jumps = False
        await harness.start(sleeps.options(id="s", start_delay=1), 1)

    async with durable.Client(path) as client:
        await asyncio.sleep(0)
        assert (await (await client.get("s")).details()).started is None


async def test_a_run_of_continue_as_new_is_followed_by_its_result(durable_harness):
    run = await durable_harness.start(chains.options(id="c"), 3)

    assert await durable_harness.finish(run) == 0
    engine = await durable_harness.restart()
    assert [one.id for one in await engine.list("superseded:any")] == ["c#4", "c#3", "c#2", "c"]
    assert (await engine.get("c")).ordinal == 4
    assert await (await engine.get("c#1")).result() == 0


@workflow
async def chains(number: int) -> int:
    await echo(number)
    if number:
        durable.continue_as_new(number - 1)
    return number


@pytest.mark.parametrize("shape", ["steps", "end", "retry", "misfit"])
async def test_an_event_the_file_refuses_blocks_its_run_alone(tmp_path, shape, caplog):
    gates = {name: asyncio.Event() for name in ("refused", "other")}
    begun, mended, count = asyncio.Event(), [], 3 if shape == "steps" else 1

    @activity(retry=Retry(max_attempts=2, jitter=0))
    async def waits(name: str, number: int) -> int:
        begun.set()
        await gates[name].wait()
        if shape == "retry" and name == "refused" and durable.attempt().number == 1:
            raise ValueError("try again")
        return number

    @workflow
    async def several(name: str) -> int:
        found = await asyncio.gather(*(waits(name, number) for number in range(count)))
        if shape == "misfit" and name == "refused" and not mended:
            asyncio.get_running_loop().call_soon_threadsafe(print)
        return len(found)

    path = tmp_path / "app.db"
    async with Harness(path, functions=[several]) as harness:
        run = await harness.start(several.options(id="refused"), "refused")
        other = await harness.start(several.options(id="other"), "other")
        await begun.wait()
        worker = harness.engine._worker.id
        intruder = apsw.Connection(str(path))
        if shape == "retry":
            intruder.execute("CREATE UNIQUE INDEX one_name ON durable_attempt (name)")
            intruder.execute(
                "INSERT INTO durable_attempt VALUES (99, '1', 1, 'waits', 'failed', 1, 1, '')"
            )
        else:
            intruder.execute(
                "INSERT INTO durable_event VALUES (1, 1, 1, '1', 'waits', 1, '', '', 0, 0, 0)"
            )
        gates["refused"].set()

        with pytest.raises(durable.Blocked, match="was refused") as caught:
            await harness.finish(run)
        gates["other"].set()
        assert await harness.finish(other) == count

        assert caught.value.kind == "refused"
        assert "opens the file again" not in caplog.text
        assert harness.engine._worker.id == worker
        intruder.execute("DELETE FROM durable_attempt")
        intruder.execute("DELETE FROM durable_event AS event WHERE run = 1")
        intruder.close()
        mended.append(True)

        assert await harness.finish(await run.retry()) == count
        assert [event.seq for event in await run.history()] == list(range(1, count + 1))


async def test_changed_arguments_and_results_are_noticed(tmp_path):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        await harness.run(adds.options(id="done"), 1)
        harness.clock.jumps = False
        await harness.start(adds.options(id="later", start_delay=1), 1)
    other = apsw.Connection(str(path))
    other.execute("UPDATE durable_run SET arguments = '[2]' WHERE id = 'later'")
    other.execute("UPDATE durable_run SET result = '3' WHERE id = 'done'")
    other.close()

    async with Harness(path) as harness:
        with pytest.raises(durable.PayloadError, match="checksum"):
            await (await harness.engine.get("done")).result()
        with pytest.raises(durable.Blocked, match="checksum"):
            await harness.finish(await harness.engine.get("later"))


async def test_a_request_between_a_run_s_commit_and_its_begin_is_not_missed(tmp_path):
    @workflow(name="sleeper")
    async def sleeper() -> None:
        await durable.sleep(3600)

    async with durable.Engine(tmp_path / "app.db") as engine:
        worker = engine._running()
        starting = asyncio.ensure_future(engine.start(sleeper.options(id="x")))
        await asyncio.sleep(0)
        while (row := engine._reader.find_newest("x")) is None:
            pass  # The writer's thread commits; the loop has not heard of it yet.
        other = Store(
            str(tmp_path / "app.db"), durability="normal", deliver=print, on_foreign_commit=print
        )
        other.writer.commit_now(Change(operation=requests.cancel(row.pk, "enough", 1)))
        other.close()
        assert row.pk not in worker.live
        worker.inbox.look()

        run = await starting
        with pytest.raises(durable.RunCancelled, match="enough"):
            await run.result()
