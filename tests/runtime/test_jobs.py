"""Acts on many runs: jobs in the file, done in chunks, by whoever serves it, each run once."""

from __future__ import annotations

import asyncio

import pytest

import durable
from durable import Client, Engine, Retry, Signal, activity, workflow
from durable._store import jobs
from durable.errors import FilterError, RunFailed, RunNotFound, UsageError, WrongState

go = Signal("go", bool)
is_broken = [True]
calls: list[int] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    is_broken[0] = True
    calls.clear()


@activity(retry=Retry(max_attempts=1))
async def charge(number: int) -> int:
    if is_broken[0]:
        raise ConnectionError("refused by the bank")
    calls.append(number)
    return number


@activity
async def note(number: int) -> int:
    return number


@workflow
async def pays(number: int) -> int:
    await note(number)
    return await charge(number)


@workflow
async def cleans_up(number: int) -> int:
    try:
        return await charge(number)
    except ConnectionError:
        await note(number)
        raise


@workflow
async def waits() -> bool:
    return await go.receive()


@workflow
async def parent() -> bool:
    return await waits.options(id="child")()


async def fail_some(engine, count, function=pays, prefix="run"):
    for at in range(count):
        run = await engine.start(function.options(id=f"{prefix}-{at}"), at)
        with pytest.raises(RunFailed):
            await run.result()


async def start_waiting(client: Client, count: int) -> None:
    for at in range(count):
        await client.start(waits.options(id=f"w-{at}"))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "RUNS_PER_COMMIT", 3)


async def test_all_runs_of_a_filter_are_retried_from_where_they_failed(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        await fail_some(engine, 8)
        await fail_some(engine, 1, cleans_up, "other")
        is_broken[0] = False

        seen: list[int] = []
        job = await engine.retry_all("workflow:pays", reason="the bank is back")
        ended = await job.wait(lambda one: seen.append(one.done))

        assert (ended.state, ended.total, ended.done, ended.refused) == ("done", 8, 8, 0)
        assert ended.why == "the bank is back"
        assert seen == sorted(seen)
        for at in range(8):
            assert await (await engine.get(f"run-{at}")).result() == at
        assert sorted(calls) == list(range(8))
        assert await engine.count("superseded:any workflow:pays") == {"completed": 8, "failed": 8}
        audit = (await (await engine.get("run-3")).details()).audit
        assert [(one.verb, one.why) for one in audit] == [("retry", "the bank is back")]
        assert f'"job":{job.id}' in audit[0].details


async def test_what_one_run_refuses_harms_no_other_and_is_kept(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        await fail_some(engine, 4)
        await fail_some(engine, 4, cleans_up, "tidy")
        is_broken[0] = False

        ended = await (await engine.retry_all("status:failed")).wait()

        assert (ended.done, ended.refused) == (4, 4)
        assert sorted(ended.refusals) == [f"tidy-{at}" for at in range(4)]
        assert "completed after the step that failed" in ended.refusals["tidy-0"]
        again = await (await engine.retry_all("status:failed", anyway=True)).wait()
        assert (again.done, again.refused) == (4, 0)


async def test_an_engine_does_it_though_nobody_waits(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        await fail_some(engine, 7)
        is_broken[0] = False

        job = await engine.retry_all("status:failed")

        while (await job.status()).state == "running":
            await asyncio.sleep(0)
        assert (await job.status()).done == 7


async def test_an_engine_that_opens_the_file_does_what_is_left(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path) as engine:
        await fail_some(engine, 8)
    is_broken[0] = False
    async with Client(path) as client:
        job = await client.retry_all("status:failed")
        await client._commit(jobs.advance(job.id, 1, client._store.locks.is_held))
        assert (await job.status()).done == 3

    async with Engine(path) as engine:
        found = await engine.job(job.id)
        while (await found.status()).state == "running":
            await asyncio.sleep(0)
        for at in range(8):
            assert await (await engine.get(f"run-{at}")).result() == at

        assert (await found.status()).done == 8
        assert await engine.count("superseded:any") == {"completed": 8, "failed": 8}


async def test_without_an_engine_whoever_waits_does_it(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path, functions=[]):
        pass
    async with Client(path) as client:
        await start_waiting(client, 7)

        ended = await (await client.terminate_all("workflow:waits")).wait()

        assert (ended.total, ended.done) == (7, 7)
        assert await client.count() == {"terminated": 7}


async def test_two_who_wait_do_each_run_once(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path) as engine:
        await fail_some(engine, 9)
    async with Client(path) as one, Client(path) as other:
        job = await one.retry_all("status:failed")
        await asyncio.gather(job.wait(), (await other.job(job.id)).wait())

        assert (await job.status()).done == 9
        assert await one.count("superseded:any") == {"queued": 9, "failed": 9}


async def test_runs_stored_later_and_runs_mended_meanwhile_are_left_alone(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path) as engine:
        await fail_some(engine, 4)
        async with Client(path) as client:
            pass
    async with Client(path) as client:
        job = await client.retry_all("status:failed")
        await (await client.get("run-3")).retry()  # Somebody was faster.
        await start_waiting(client, 1)

        ended = await job.wait()

        assert (ended.total, ended.done, ended.refused) == (4, 3, 0)
        assert await client.count() == {"queued": 5}


async def test_times_count_from_when_it_was_asked_for(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        await fail_some(engine, 2)
        view = await (await engine.retry_all("status:failed finished:>1h")).wait()

        assert (view.total, view.done) == (0, 0)


async def test_one_that_is_stopped_leaves_the_rest(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path, functions=[]):
        pass
    async with Client(path) as client:
        await start_waiting(client, 7)
        job = await client.cancel_all("status:open")
        await client._commit(jobs.advance(job.id, 1, client._store.locks.is_held))

        await job.stop("enough")

        ended = await job.wait()
        assert (ended.state, ended.done) == ("stopped", 3)
        with pytest.raises(WrongState, match="has ended"):
            await job.stop()
        assert [one.id for one in await client.jobs()] == [job.id]


async def test_open_runs_are_paused_and_resumed_and_cancelled(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        await start_waiting(engine, 5)
        assert (await (await engine.pause_all("workflow:waits")).wait()).done == 5
        while await engine.count() != {"paused": 5}:
            await asyncio.sleep(0)
        assert (await (await engine.pause_all("workflow:waits")).wait()).total == 0

        assert (await (await engine.resume_all("workflow:waits")).wait()).done == 5
        await (await (await engine.get("w-0")).signal(go, True) or await engine.get("w-0")).result()
        ended = await (await engine.cancel_all("workflow:waits", reason="closing")).wait()

        assert ended.done == 4
        for at in range(1, 5):
            with pytest.raises(durable.RunCancelled, match="closing"):
                await (await engine.get(f"w-{at}")).result()


async def test_who_waits_for_a_run_that_is_terminated_with_many_is_told(tmp_path):
    async with Engine(tmp_path / "app.db", functions=[]) as engine:
        async with Client(tmp_path / "app.db") as client:
            await start_waiting(client, 5)
        waiting = [asyncio.create_task((await engine.get(f"w-{at}")).result()) for at in range(5)]
        await asyncio.sleep(0)

        await engine.terminate_all("status:open")

        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(one) for one in ends} == {durable.RunTerminated}


async def test_many_are_restarted_from_one_place_with_other_input(tmp_path):
    is_broken[0] = False
    async with Engine(tmp_path / "app.db") as engine:
        for at in range(5):
            await (await engine.start(pays.options(id=f"run-{at}"), at)).result()

        ended = await (
            await engine.restart_all("workflow:pays", "charge", outputs={"1": 70}, reason="again")
        ).wait()

        assert (ended.done, ended.refused) == (5, 0)
        for at in range(5):
            assert await (await engine.get(f"run-{at}")).result() == at
        assert len(calls) == 10


async def test_many_are_deleted_with_their_children(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        run = await engine.start(parent.options(id="p"))
        while not await engine.count("workflow:waits status:waiting,running"):
            await asyncio.sleep(0)
        await (await engine.get("child")).signal(go, True)
        await run.result()

        ended = await (await engine.remove_all("workflow:parent", children=True)).wait()

        assert ended.done == 1
        assert await engine.count() == {}


@pytest.mark.parametrize("query", ["", "  "])
async def test_an_empty_filter_is_refused(tmp_path, query):
    async with Engine(tmp_path / "app.db") as engine:
        with pytest.raises(FilterError, match="means every run"):
            await engine.terminate_all(query)
        assert await engine.jobs() == []


async def test_wrong_use_is_refused_before_anything_is_stored(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        with pytest.raises(FilterError, match="did you mean status"):
            await engine.retry_all("stauts:failed")
        with pytest.raises(UsageError, match="list of step ids"):
            await engine.retry_all("status:failed", again="12")
        with pytest.raises(UsageError, match="messages are"):
            await engine.restart_all("status:failed", messages="both")  # type: ignore[arg-type]
        with pytest.raises(RunNotFound, match="no job 7"):
            await engine.job(7)
        assert await engine.jobs() == []


async def test_a_plain_function_waits_for_the_end(tmp_path):
    async with Engine(tmp_path / "app.db", functions=[]):
        pass

    def use() -> tuple[int, str]:
        with Client(tmp_path / "app.db").blocking() as client:
            for at in range(4):
                client.start(waits.options(id=f"w-{at}"))
            ended = client.terminate_all("status:open", reason="done")
            return ended.done, client.jobs()[0].state

    assert await asyncio.to_thread(use) == (4, "done")


# -- the other verbs -------------------------------------------------------------------------------


async def test_many_get_a_signal_each_once(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        await start_waiting(engine, 5)

        job = await engine.signal_all("workflow:waits", go, True)
        await asyncio.gather(job.wait(), job.wait())

        for at in range(5):
            assert await (await engine.get(f"w-{at}")).result()
        with pytest.raises(durable.PayloadError):
            await engine.signal_all("workflow:waits", go, "no bool")  # type: ignore[arg-type]


async def test_large_signals_are_stored_for_each(tmp_path):
    text = Signal("text", str)

    @workflow
    async def takes() -> int:
        return len(await text.receive())

    async with Engine(tmp_path / "app.db", functions=[takes]) as engine:
        for at in range(4):
            await engine.start(takes.options(id=f"t-{at}"))
        await (await engine.signal_all("workflow:takes", text, "x" * 100_000)).wait()
        for at in range(4):
            assert await (await engine.get(f"t-{at}")).result() == 100_000


@activity(retry=Retry(initial_interval=3_600))
async def never(number: int) -> int:
    raise ConnectionError("down")


@workflow
async def stuck(number: int) -> int:
    return await never(number)


async def test_many_pending_steps_end_by_hand_or_get_another_policy(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        for at in range(6):
            await engine.start(stuck.options(id=f"s-{at}"), at)
        while len([one for at in range(6) for one in engine._reader.steps(at + 1)]) < 6:
            await asyncio.sleep(0)

        await (await engine.skip_all("id:s-0,s-1", "1", 70, reason="by hand")).wait()
        await (await engine.fail_all("id:s-2", "1", "given up")).wait()
        await (
            await engine.edit_all("id:s-3,s-4", "1", max_attempts=1, initial_interval=0.001)
        ).wait()
        refused = await (await engine.skip_all("superseded:any id:s-0", "1", 1)).wait()

        assert [await (await engine.get(f"s-{at}")).result() for at in (0, 1)] == [70, 70]
        for at, why in ((2, "given up"), (3, "down"), (4, "down")):
            with pytest.raises(RunFailed, match=why):
                await (await engine.get(f"s-{at}")).result()
        assert refused.total == 0
        with pytest.raises(UsageError, match="say what of the step's policy"):
            await engine.edit_all("status:open", "1")
        with pytest.raises(UsageError, match="named by its id"):
            await engine.skip_all("status:open", "", 1)


async def test_many_blocked_runs_take_a_recorded_end(tmp_path):
    path = tmp_path / "app.db"

    def code(more: int):
        @workflow(name="adds")
        async def adds(number: int) -> int:
            first = await note(number + more)
            await go.receive()
            return first

        return adds

    before, after = code(0), code(1)
    async with Engine(path, functions=[before]) as engine:
        for at in range(4):
            run = await engine.start(before.options(id=f"a-{at}"), at)
            while not await run.history():
                await asyncio.sleep(0)
    async with Engine(path, functions=[after]) as engine:
        await (await engine.signal_all("workflow:adds", go, True)).wait()
        async with asyncio.timeout(10):
            while await engine.count() != {"blocked": 4}:
                await asyncio.sleep(0)

        ended = await (await engine.accept_all("workflow:adds", "1")).wait()

        assert ended.done == 4
        assert [await (await engine.get(f"a-{at}")).result() for at in range(4)] == [0, 1, 2, 3]
