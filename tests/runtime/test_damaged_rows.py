"""One damaged row reaches no other run, no listing, and not the engine."""

import sqlite3

import pytest

import durable
from durable import Client, Engine, activity, workflow
from durable.testing import Harness
from tests.until import until


@activity
async def echo(value: int) -> int:
    return value


@workflow
async def adds_up(a: int) -> int:
    return await echo(a) + 1


@workflow
async def dozes() -> None:
    await durable.sleep(1e6)


def change(path, text, *values):
    made = sqlite3.connect(path)
    made.execute(text, values)
    made.commit()
    made.close()


@pytest.fixture
async def path(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path, functions=[adds_up, dozes]) as engine:
        for number in range(3):
            await (await engine.start(adds_up.options(id=f"a-{number}"), number)).result()
        for number in range(3):
            await engine.start(dozes.options(id=f"d-{number}"))
    return path


@pytest.mark.parametrize(
    ("column", "value"),
    [("details", ""), ("details", "[" * 3_000), ("verb", "edit"), ("query", "((("), ("upto", -5)],
)
async def test_a_job_that_cannot_be_read_stops_alone(path, column, value, caplog):
    async with Client(path) as client:
        await client.pause_all("status:open")
        job = await client.retry_all("status:paused")
    change(path, f"UPDATE durable_job SET {column} = ?", value)

    async with Engine(path, functions=[adds_up, dozes]) as engine:
        found = await engine.job(job.id)

        async def is_over():
            return (await found.status()).state != "running"

        await until(is_over)
        assert await (await engine.start(adds_up, 5)).result() == 6
        assert "opens the file again" not in caplog.text


HOSTILE = [
    ("worker_id", -1), ("worker_id", 1 << 62), ("worker_id", (1 << 63) - 1), ("waits", "[" * 3_000),
    ("waits", '{"kind":' * 3_000), ("waits", "\x00"), ("labels", "[" * 3_000),
    ("headers", "[" * 3_000),
    ("error", "\x1b[2J"), ("salt", 0), ("priority", 1 << 62), ("wake_at_us", -1),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value"), HOSTILE)
async def test_a_hostile_column_of_one_run_harms_no_other(path, column, value, caplog):
    change(path, f"UPDATE durable_run SET {column} = ? WHERE id = 'd-1'", value)

    with durable.view(path) as runs:
        assert len(runs.list()) == 6
        assert sum(runs.count().values()) == 6
        runs.stats()
        runs.get("d-0")
        runs.get("d-1")
        runs.doctor()
        runs.workers()
    async with Harness(path) as harness:
        assert await harness.run(adds_up.options(id="new"), 5) == 6
        assert len(await harness.engine.list()) == 7
        run = await harness.engine.get("d-2")
        await run.cancel()
        with pytest.raises(durable.RunCancelled):
            await run.result()
    assert "opens the file again" not in caplog.text
