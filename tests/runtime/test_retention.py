"""Retention: what has ended long enough ago goes, with all it had, and nothing that is needed."""

import random
import sqlite3

import pytest

import durable
from durable import Retention, Signal, activity, workflow
from durable.testing import Harness
from tests.until import until

go = Signal("go", int)
DAY = 86_400


@activity
async def echo(value: str) -> str:
    return value


@workflow
async def works(text: str) -> str:
    return await echo(text)


@workflow
async def reports(text: str) -> str:
    return await echo(text)


@workflow
async def fails() -> None:
    raise ValueError("no")


@workflow
async def waits() -> int:
    return await go.receive()


@workflow
async def parent() -> int:
    await works.options(id="child")("x")
    return await go.receive()


async def ids(harness):
    return {one.id for one in await harness.engine.list("superseded:any", limit=1_000)}


def rows(path):
    made = sqlite3.connect(path)
    names = [
        name
        for (name,) in made.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        if name.startswith("durable_")
    ]
    found = {name: made.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in names}
    made.close()
    return found


async def pass_days(harness, days):
    """Let days go by, and the retention look."""
    harness.clock.jumps = False
    harness.clock.advance(days * DAY)
    harness.engine._worker._expiry.open()


def harness_of(path, **how):
    return Harness(path, retention=Retention(**how))


async def run_some(harness):
    await harness.run(works.options(id="done"), "x" * 50_000)
    await harness.run(reports.options(id="report"), "x")
    await harness.run(works.options(id="tagged", tags=["keep"]), "x")
    failed = await harness.start(fails.options(id="failed"))
    with pytest.raises(durable.RunFailed):
        await failed.result()
    await harness.start(waits.options(id="open"))


@pytest.mark.parametrize(
    ("how", "days", "gone"),
    [
        ({"completed": "30d"}, 29, set()),
        ({"completed": "30d"}, 31, {"done", "report", "tagged"}),
        ({"failed": "1d"}, 2, {"failed"}),
        ({"workflows": {"rep*": "7d"}}, 8, {"report"}),
        ({"completed": "1d", "workflows": {"reports": None}}, 2, {"done", "tagged"}),
        ({"completed": "1d", "tags": {"keep": None}}, 2, {"done", "report"}),
        ({"tags": {"keep": "1h"}, "completed": "60d"}, 1, {"tagged"}),
        ({}, 4_000, set()),
    ],
)
async def test_what_has_ended_long_enough_ago_goes(tmp_path, how, days, gone):
    async with harness_of(tmp_path / "app.db", **how) as harness:
        await run_some(harness)
        before = await ids(harness)

        await pass_days(harness, days)

        async def are_gone():
            return before - await ids(harness) == gone

        await until(are_gone)
        assert await harness.engine.count("superseded:any")


async def test_what_goes_leaves_nothing_behind(tmp_path):
    path = tmp_path / "app.db"
    async with harness_of(path, completed=0, failed=0) as harness:
        harness.clock.jumps = False
        empty = rows(path)
    async with harness_of(path, completed="1d", failed="1d") as harness:
        await run_some(harness)
        open_run = await harness.engine.get("open")
        await open_run.terminate()
        await open_run.remove()

        await pass_days(harness, 2)

        async def is_empty():
            return await ids(harness) == set()

        await until(is_empty)
    left = rows(path)
    for name in ("audit", "issue", "issue_count", "source", "tally", "worker", "alert"):
        left.pop(f"durable_{name}"), empty.pop(f"durable_{name}")
    assert left == empty
    with durable.view(path) as runs:
        assert all(one.is_well for one in runs.doctor())


async def test_what_an_open_run_needs_stays(tmp_path):
    async with harness_of(tmp_path / "app.db", completed="1d", terminated="1d") as harness:
        run = await harness.start(parent.options(id="parent"))
        await until_ended(harness, "child")

        await pass_days(harness, 3)
        await pass_days(harness, 3)
        assert await ids(harness) == {"parent", "child"}

        await run.signal(go, 1)
        await run.result()
        harness.engine._worker._expiry._begun_us = 0  # As a day later.
        await pass_days(harness, 3)

        async def are_gone():
            return await ids(harness) == set()

        await until(are_gone)


async def until_ended(harness, run_id):
    async def is_over():
        try:
            return await (await harness.engine.get(run_id)).status() == "completed"
        except durable.RunNotFound:
            return False

    await until(is_over)


async def test_the_file_shrinks(tmp_path):
    path = tmp_path / "app.db"
    chance = random.Random(1)
    async with harness_of(path, completed="1d") as harness:
        for number in range(30):
            text = chance.randbytes(200_000).hex()
            await harness.run(works.options(id=f"r-{number}"), text)
        writer = harness.engine._worker.store.writer
        writer.log.copy_some()
        large = path.stat().st_size

        await pass_days(harness, 2)

        async def are_gone():
            return await ids(harness) == set() and not writer._transaction.has_freed

        await until(are_gone)
    assert large > 10_000_000
    assert path.stat().st_size < 6_000_000


def test_a_retention_that_is_none_is_refused():
    with pytest.raises(durable.UsageError, match="retention of completed"):
        Retention(completed="30 moons")
    with pytest.raises(durable.UsageError, match=r"durable\.Retention"):
        durable.Engine("app.db", retention="30d")
