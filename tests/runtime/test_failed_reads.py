"""A read that fails is trouble, and no outcome: the file is opened again and every run goes on."""

import apsw
import pytest

import durable
from durable import Signal, activity, workflow
from durable._store.connection import explain
from durable._store.reader import Reader
from tests.until import until

go = Signal("go", int)


@activity
async def echo(value: int) -> int:
    return value


@workflow
async def naps(value: int) -> int:
    await durable.sleep(0.01)
    return await echo(value) + await go.receive()


@workflow
async def parent(value: int) -> int:
    return await naps.options(id="child")(value)


class FailingReads:
    """Lets reads of a statement fail, so many times."""

    def __init__(self, monkeypatch, name, times):
        self.left = times
        self.failed = 0
        real = Reader._rows

        def rows(reader, text, values, statement="a filter"):
            if statement == name and self.left:
                self.left -= 1
                self.failed += 1
                raise explain(apsw.IOError("disk I/O error"), reader._path)
            return real(reader, text, values, statement)

        monkeypatch.setattr(Reader, "_rows", rows)


READS = [
    "list_inbox_of_run", "get_run", "list_steps", "list_events", "list_claimable", "list_soonest",
    "list_inbox_of_worker", "get_last_request", "list_live_workers", "find_claimable", "find_due",
    "list_running_jobs",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("name", READS)
async def test_a_read_that_fails_blocks_no_run_and_uses_up_no_attempt(
    tmp_path, monkeypatch, name, times
):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[naps, parent]) as engine:
        await engine.start(parent.options(id="p"), 1)
        for number in range(3):
            await engine.start(naps.options(id=f"n-{number}"), number)

    async with (
        durable.Engine(path, functions=[naps, parent]) as engine,
        durable.Client(path) as client,
    ):
        failing = FailingReads(monkeypatch, name, times)

        async def is_sent():
            try:
                for run_id in ("n-0", "n-1", "n-2", "child"):
                    await (await client.get(run_id)).signal(go, 10, id="once")
            except durable.StoreError:
                return False
            return True

        await until(is_sent)

        async def ended():
            try:
                return [one.status for one in await engine.list("superseded:any")]
            except durable.StoreError:
                return []

        async def is_over():
            return await ended() == ["completed"] * 5

        await until(is_over)
        results = [await (await engine.get(f"n-{n}")).result() for n in range(3)]
        assert results == [10, 11, 12]
        assert await (await engine.get("p")).result() == 11
    assert failing.failed or name in {"list_running_jobs", "find_due"}  # Rarely looked for.


async def test_a_read_that_fails_once_is_read_again_at_once(tmp_path):
    path = str(tmp_path / "app.db")
    async with durable.Engine(path, functions=[naps]) as engine:
        await engine.start(naps.options(id="n"), 1)
    reader = Reader(path)

    class Failing:
        left = 2

        def __getattr__(self, name):
            return getattr(real, name)

        def execute(self, *asked):
            if Failing.left:
                Failing.left -= 1
                raise apsw.IOError("disk I/O error")
            return real.execute(*asked)

    real, reader._connection = reader._connection, Failing()

    assert reader.find_newest("n").id == "n"
    real.close()
