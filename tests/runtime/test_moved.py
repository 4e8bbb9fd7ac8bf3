"""The file is moved, deleted or replaced under a running engine: it stops, and makes no other."""

import asyncio
import logging
import shutil

import pytest

import durable
from durable import activity, workflow
from durable.testing import Harness


@activity
async def echo(value: int) -> int:
    return value


@workflow
async def adds_up(a: int) -> int:
    return await echo(a) + 1


@workflow
async def dozes(seconds: float) -> str:
    await durable.sleep(seconds)
    return "awake"


async def move(path, how):
    """Take the file away; what belongs to it, the log too, stays with it."""
    async with durable.Engine(path.with_name("other.db")) as engine:
        await (await engine.start(adds_up.options(id="of-another"), 1)).result()
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if how == "deleted":
            file.unlink()
        else:
            file.rename(path.with_name("away" + suffix))
    if how == "replaced":
        path.with_name("other.db").rename(path)


def move_back(path):
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.with_name("away" + suffix).rename(path.with_name(path.name + suffix))


async def tries_again(worker):
    """Wait until the engine has tried to open the file again, and failed."""
    tries = []
    opened = worker.open

    def count():
        tries.append(1)
        opened()

    worker.open = count
    while len(tries) < 2:
        await asyncio.sleep(0.001)
    del worker.open


@pytest.mark.slow
@pytest.mark.parametrize("noticed", ["in a commit", "while idle"])
@pytest.mark.parametrize("how", ["deleted", "renamed"])
async def test_an_engine_stops_with_its_file_and_makes_no_other(tmp_path, how, noticed, caplog):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        harness.clock.jumps = False
        await harness.run(adds_up.options(id="before"), 1)
        sleeper = await harness.start(dozes.options(id="s"), 1e6)
        waiting = asyncio.create_task(sleeper.result())
        await asyncio.sleep(0)
        await move(path, how)
        worker = harness.engine._worker

        with caplog.at_level(logging.ERROR):
            if noticed == "while idle":
                worker._watch_others()
            else:
                with pytest.raises(durable.FileMoved, match=str(path)):
                    await harness.start(adds_up.options(id="after"), 1)
            with pytest.raises(durable.FileMoved, match=str(path)):
                await waiting
            await tries_again(worker)

        for ask in (
            lambda: harness.start(adds_up.options(id="after"), 1),
            harness.engine.list,
            lambda: harness.engine.get("before"),
            sleeper.result,
            sleeper.cancel,
        ):
            with pytest.raises(durable.FileMoved, match=str(path)):
                await ask()
        assert caplog.text.count("was moved, deleted or replaced") == 1
        assert not path.exists()


@pytest.mark.slow
async def test_an_engine_goes_on_when_its_file_is_put_back(tmp_path):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        await move(path, "renamed")
        with pytest.raises(durable.FileMoved):
            await harness.start(adds_up.options(id="x"), 1)
        worker = harness.engine._worker
        await tries_again(worker)

        move_back(path)
        while not worker._is_open:
            await asyncio.sleep(0.001)

        assert await harness.run(adds_up.options(id="x"), 1) == 2


@pytest.mark.slow
@pytest.mark.parametrize("noticed", ["in a commit", "while idle"])
@pytest.mark.parametrize("by", ["another", "a backup", "a copy"])
async def test_an_engine_whose_file_is_replaced_stops_for_good(tmp_path, by, noticed, caplog):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        harness.clock.jumps = False
        await harness.run(adds_up.options(id="before"), 1)
        sleeper = await harness.start(dozes.options(id="s"), 1e6)
        other = tmp_path / "other.db"
        if by == "another":
            async with durable.Engine(other) as engine:
                await (await engine.start(adds_up.options(id="of-another"), 1)).result()
        elif by == "a backup":
            await harness.engine.backup(other)
        else:
            shutil.copy(path, other)
        await harness.run(adds_up.options(id="since"), 1)
        worker = harness.engine._worker
        other.rename(path)
        content = path.read_bytes()

        if noticed == "while idle":
            worker._watch_others()
        else:
            with pytest.raises(durable.FileMoved, match=str(path)):
                await harness.start(adds_up.options(id="after"), 1)
        with pytest.raises(durable.FileMoved, match="was replaced by another file"):
            await asyncio.wait_for(worker.reopening.failed, 20)

        for ask in (harness.engine.list, sleeper.result, sleeper.cancel):
            with pytest.raises(durable.FileMoved, match="was replaced by another file"):
                await ask()
        assert caplog.text.count("the engine has stopped") == 1
    assert path.read_bytes() == content


@pytest.mark.slow
async def test_an_engine_that_begins_again_does_not_go_on_in_a_copy(tmp_path):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        await harness.run(adds_up.options(id="x"), 1)
        worker = harness.engine._worker
        shutil.copy(path, tmp_path / "copy.db")
        content = path.read_bytes()

        worker.commit_failed(durable.CommitUnknown("an error of the disk"))
        (tmp_path / "copy.db").rename(path)
        path.with_name("app.db-wal").unlink()

        with pytest.raises(durable.FileMoved, match="was replaced by another file"):
            await asyncio.wait_for(worker.reopening.failed, 20)
        assert path.read_bytes() == content


@pytest.mark.slow
async def test_an_engine_that_begins_again_for_another_reason_makes_no_new_file(tmp_path):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        await harness.run(adds_up.options(id="x"), 1)
        worker = harness.engine._worker

        worker.commit_failed(durable.CommitUnknown("an error of the disk"))
        await move(path, "deleted")
        await tries_again(worker)

        assert not path.exists()
        with pytest.raises(durable.FileMoved, match=str(path)):
            await harness.engine.get("x")


async def test_beginning_again_is_no_death_of_the_worker(tmp_path):
    async with Harness(tmp_path / "app.db") as harness:
        harness.clock.jumps = False
        run = await harness.start(dozes, 1e6)
        worker = harness.engine._worker
        for _ in range(4):
            worker.commit_failed(durable.CommitUnknown("an error of the disk"))
            while worker.reopening.is_under_way:
                await asyncio.sleep(0)

        assert (await run.details()).lost == 0


async def test_a_client_says_that_its_file_was_moved(tmp_path):
    path = tmp_path / "app.db"
    async with Harness(path) as harness:
        await harness.run(adds_up.options(id="x"), 1)
    async with durable.Client(path) as client:
        run = await client.get("x")
        path.rename(tmp_path / "away")

        for ask in (client.list, run.details, run.result, run.retry):
            with pytest.raises(durable.FileMoved, match=str(path)):
                await ask()

        (tmp_path / "away").rename(path)
        assert await run.result() == 2
        with pytest.raises(durable.WrongState):
            await run.retry()
