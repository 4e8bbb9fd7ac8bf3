"""The counts of runs are kept up by each writer, and always what a scan would say."""

from __future__ import annotations

import asyncio
import contextlib
import random

import apsw
import pytest

import durable
from durable import Client, Engine, Retry, Signal, activity, workflow
from durable.filters import STATUSES
from tests.crash.invariants import File, check_tally

go = Signal("tally-go", bool)


@activity(retry=Retry(initial_interval=0.005, max_attempts=3))
async def tallied_step(number: int) -> int:
    if number % 3 == 0:
        raise ValueError("every third")
    return number


@workflow
async def tallied(number: int) -> int:
    found = await tallied_step(number)
    if number % 2:
        await go.receive()
    return found


@workflow
async def tallied_parent(number: int) -> None:
    await tallied.options(id=f"child-{number}").start(number)
    if number < 3:
        durable.continue_as_new(number + 1)


FUNCTIONS = [tallied, tallied_parent]


def scanned(path, query=""):
    """Count the runs by walking over all of them."""
    found: dict[str, int] = {}
    with durable.view(path) as runs:
        before = None
        while page := runs.list(query, limit=1_000, before=before):
            for one in page:
                found[one.status] = found.get(one.status, 0) + 1
            before = page[-1].key
    return {status: found[status] for status in STATUSES if status in found}


def problems(path):
    return check_tally(File(path))


async def test_every_way_a_run_changes_is_counted(tmp_path):
    path = tmp_path / "app.db"
    chance = random.Random(7)
    async with Engine(path, functions=FUNCTIONS, grace=0.01) as engine:
        for number in range(12):
            await engine.start(tallied.options(id=f"run-{number}"), number)
        await (await engine.start(tallied_parent.options(id="parent"), 1)).wait()
        for turn in range(80):
            ids = [one.id for one in await engine.list(limit=1_000)]
            if not ids:
                break
            run = await engine.get(chance.choice(ids))
            verb = chance.choice(
                ["retry", "restart", "cancel", "terminate", "pause", "resume", "remove", "signal"]
            )
            with contextlib.suppress(durable.DurableError):
                if verb == "signal":
                    await run.signal(go, True)
                elif verb == "restart":
                    await run.restart("start")
                else:
                    await getattr(run, verb)()
            if turn % 10 == 0:
                await asyncio.sleep(0)
                assert problems(path) == []
    assert problems(path) == []
    with durable.view(path) as runs:
        assert runs.count() == scanned(path)
        for name in ("tallied", "tallied_parent", "nobody"):
            assert runs.count(f"workflow:{name}") == scanned(path, f"workflow:{name}")


async def test_jobs_and_holds_and_imports_are_counted(tmp_path):
    path, other, parcel = tmp_path / "app.db", tmp_path / "other.db", tmp_path / "runs.jsonl"
    async with Engine(path, functions=FUNCTIONS) as engine:
        await (await engine.pause_workflow("tallied")).wait()
        for number in range(5):
            await engine.start(tallied.options(id=f"run-{number}"), number)
        assert await engine.count() == {"paused": 5}
        await (await engine.resume_workflow("tallied")).wait()
        await (await engine.terminate_all("status:open")).wait()
        assert problems(path) == []
        await engine.export("workflow:tallied", parcel)
        await (await engine.remove_all("id:run-1")).wait()
    async with Client(other, create=True) as client:
        await client.import_(parcel)
        assert sum((await client.count()).values()) == 5

    assert problems(path) == problems(other) == []


async def test_when_the_newest_ordinal_goes_the_one_before_counts_again(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path, functions=FUNCTIONS) as engine:
        run = await engine.start(tallied.options(id="x"), 3)
        await run.wait()
        again = await run.restart("start")
        await again.terminate()
        await again.wait()
        assert await engine.count() == {"terminated": 1}

        await again.remove()

        assert await engine.count() == {"failed": 1}
    assert problems(path) == []


def test_triggers_of_a_file_are_never_run(tmp_path):
    path = tmp_path / "app.db"
    durable.run(path, tallied.options(id="a"), 2)
    made = apsw.Connection(str(path))
    made.execute(
        "CREATE TRIGGER evil AFTER INSERT ON durable_run BEGIN UPDATE "
        "durable_tally SET runs = 99; END"
    )
    made.close()

    durable.run(path, tallied.options(id="b"), 2)

    assert problems(path) == []


@pytest.mark.parametrize("text", ["", "workflow:tallied"])
def test_counting_reads_no_run_that_nobody_has_in_hand(tmp_path, text):
    path = tmp_path / "app.db"
    for number in range(4):
        durable.run(path, tallied.options(id=f"run-{number}"), 2)
    with durable.view(path) as runs:
        asked = list[str]()
        runs._reader._connection.trace_v2(
            apsw.SQLITE_TRACE_STMT, lambda event: asked.append(str(event["sql"]))
        )
        assert runs.count(text) == {"completed": 4}

    about_runs = [one for one in asked if "FROM durable_run" in one]
    assert all("INDEXED BY durable_run_owned" in one for one in about_runs)


def test_a_row_that_was_changed_by_hand_is_found_by_the_doctor(tmp_path):
    path = tmp_path / "app.db"
    durable.run(path, tallied.options(id="a"), 2)
    made = apsw.Connection(str(path))
    made.execute("UPDATE durable_tally SET runs = 7")
    made.close()

    with durable.view(path) as runs:
        (found,) = [one for one in runs.doctor() if one.name == "counts"]

    assert not found.is_well
    assert "runs of tallied" in found.text
