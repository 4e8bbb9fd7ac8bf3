"""A workflow or a queue paused as a whole: what is there, and what is started of it later."""

from __future__ import annotations

import asyncio

import pytest

import durable
from durable import Client, Engine, Retry, Signal, activity, workflow
from durable.errors import RunFailed, UsageError, WrongState

go = Signal("go", bool)
is_broken = [True]


@activity(retry=Retry(max_attempts=1))
async def charge(number: int) -> int:
    if is_broken[0]:
        raise ConnectionError("refused")
    return number


@workflow
async def pays(number: int) -> int:
    return await charge(number)


@workflow
async def waits() -> bool:
    return await go.receive()


@workflow
async def counts(left: int) -> int:
    await go.receive()
    if left:
        durable.continue_as_new(left - 1)
    return left


@workflow
async def parent() -> bool:
    return await waits.options(id="child")()


@workflow
async def other() -> int:
    return 1


@pytest.fixture(autouse=True)
def _fresh() -> None:
    is_broken[0] = True


async def until(client: Client, query: str, found: dict[str, int]) -> None:
    async with asyncio.timeout(10):
        while await client.count(query) != found:
            await asyncio.sleep(0)


async def test_open_runs_and_later_ones_wait_until_it_goes_on(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        for at in range(3):
            await engine.start(waits.options(id=f"before-{at}"))

        await (await engine.pause_workflow("waits", reason="the bank is down")).wait()
        late = await engine.start(waits.options(id="late"))
        delayed = await engine.start(waits.options(id="delayed", start_delay=3_600))
        begins = (await delayed.details()).wakes
        assert await (await engine.start(other)).result() == 1
        await until(engine, "workflow:waits", {"paused": 5})
        (hold,) = await engine.holds()
        details = await late.details()

        assert (hold.kind, hold.name, hold.why) == ("workflow", "waits", "the bank is down")
        assert details.why.startswith("workflow waits is paused by ")
        assert details.why.endswith(": the bank is down")
        await late.signal(go, True)
        await asyncio.sleep(0)
        assert await late.status() == "paused"

        await (await engine.resume_workflow("waits")).wait()
        assert await late.result()
        for run_id in ("before-0", "before-1", "before-2"):
            await (await engine.get(run_id)).signal(go, True)
            assert await (await engine.get(run_id)).result()
        await delayed.signal(go, True)
        assert (await delayed.details()).wakes == begins
        assert await engine.holds() == []
        del delayed


async def test_a_client_starts_into_it_and_an_engine_that_opens_keeps_to_it(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path, functions=[]):
        pass
    async with Client(path) as client:
        await client.start(waits.options(id="before"))
        await (await client.pause_workflow("waits")).wait()
        await client.start(waits.options(id="after"))
        assert await client.count() == {"paused": 2}

    async with Engine(path) as engine:
        assert await (await engine.start(other)).result() == 1
        assert await engine.count("workflow:waits") == {"paused": 2}
        await (await engine.resume_workflow("waits")).wait()
        for name in ("before", "after"):
            await (await engine.get(name)).signal(go, True)
            assert await (await engine.get(name)).result()


async def test_children_continued_runs_and_retries_are_paused_too(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        failed = await engine.start(pays.options(id="f"), 1)
        with pytest.raises(RunFailed):
            await failed.result()
        going_on = await engine.start(counts.options(id="c"), 1)
        is_broken[0] = False
        for name in ("pays", "waits", "counts"):
            await (await engine.pause_workflow(name)).wait()
        await (await engine.get("c")).resume()  # A person may; what it becomes is paused again.
        await until(engine, "workflow:counts", {"paused": 1})

        again = await failed.retry()
        above = await engine.start(parent.options(id="p"))
        await until(engine, "workflow:waits", {"paused": 1})
        assert await again.status() == "paused"

        await (await engine.resume_workflow("counts")).wait()
        await going_on.signal(go, True)
        await until(engine, "workflow:counts status:waiting,running ordinal:2", {"running": 1})
        await (await engine.pause_workflow("counts")).wait()
        await until(engine, "workflow:counts", {"paused": 1})
        for name in ("pays", "waits", "counts"):
            await (await engine.resume_workflow(name)).wait()
        await (await engine.get("c")).signal(go, True)
        assert await (await engine.get("c")).result() == 0
        assert await again.result() == 1
        await (await engine.get("child")).signal(go, True)
        assert await above.result()


async def test_a_queue_is_paused_and_its_name_may_be_anything(tmp_path):
    name = 'gpu "1" \\ *'
    async with Engine(tmp_path / "app.db") as engine:
        await engine.start(waits.options(id="in", queue=name))
        await engine.start(waits.options(id="out", queue="cpu"))

        ended = await (await engine.pause_queue(name)).wait()
        late = await engine.start(other.options(id="late", queue=name))
        await until(engine, "status:paused", {"paused": 2})

        assert ended.done == 1
        assert await (await engine.get("out")).status() != "paused"
        await (await engine.resume_queue(name)).wait()
        assert await late.result() == 1


async def test_what_is_paused_twice_or_by_itself_stays_so(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        for run_id in ("own", "both"):
            await engine.start(waits.options(id=run_id, queue="gpu"))
        await (await engine.get("own")).pause("by hand")
        await until(engine, "status:paused", {"paused": 1})
        await (await engine.pause_workflow("waits")).wait()
        await (await engine.pause_queue("gpu")).wait()
        await until(engine, "status:paused", {"paused": 2})

        await (await engine.resume_workflow("waits")).wait()
        both = await (await engine.get("both")).details()
        assert both.status == "paused"
        assert both.why.startswith("queue gpu is paused")
        await (await engine.resume_queue("gpu")).wait()
        await (await engine.get("both")).signal(go, True)
        assert await (await engine.get("both")).result()
        assert (await (await engine.get("own")).details()).why.endswith("by hand")


async def test_wrong_use_is_refused(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        with pytest.raises(WrongState, match="the workflow waits is not paused"):
            await engine.resume_workflow("waits")
        for name in ("", "x" * 201, 3):
            with pytest.raises(UsageError, match="a name has 1 to"):
                await engine.pause_queue(name)  # type: ignore[arg-type]
        assert (await engine.holds(), await engine.jobs()) == ([], [])
        await engine.pause_workflow("waits", reason="one")
        await engine.pause_workflow("waits", reason="two")
        assert [one.why for one in await engine.holds()] == ["two"]
