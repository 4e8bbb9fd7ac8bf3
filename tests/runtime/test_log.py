"""The log and the lock file are taken away under an engine, or the file is opened without them."""

import asyncio
import contextlib
import logging
import resource
import shutil
import signal
import sqlite3
from pathlib import Path

import apsw
import pytest

import durable
from durable import Signal, activity, workflow
from durable._store.locks import lock_file
from durable._store.store import Store
from durable._store.wal import Synced
from tests.until import until

go = Signal("go", int)


@activity
async def echo(value: int) -> int:
    return value


@workflow
async def adds_up(a: int) -> int:
    return await echo(a) + 1


@workflow
async def hears() -> int:
    return await go.receive() + await go.receive()


@workflow
async def dozes() -> None:
    await durable.sleep(1e6)


def beside(path, end):
    return Path(f"{path}{end}")


async def make(path, count, name="a"):
    async with durable.Engine(path, functions=[adds_up]) as engine:
        for number in range(count):
            await (await engine.start(adds_up.options(id=f"{name}-{number}"), number)).result()


def ids(path):
    with durable.view(path) as runs:
        return {one.id for one in runs.list(limit=1_000)}


def take(path, how):
    log = beside(path, "-wal")
    if how == "deleted":
        log.unlink()
    elif how == "renamed":
        log.rename(f"{log}.away")
    elif how == "emptied":
        log.unlink()
        log.touch()
    else:
        beside(path, "-old").replace(log)


async def again(engine, worker):
    """Wait until an engine has opened its file again, as another worker."""
    await until(lambda: engine._worker.id != worker and engine._worker._is_open)


HOWS = ["deleted", "renamed", "emptied", "replaced by an older copy"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("noticed", ["in a commit", "while idle"])
async def test_a_log_that_is_taken_away_is_noticed_and_nothing_is_lost(
    tmp_path, how, noticed, caplog
):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[adds_up]) as engine:
        for number in range(20):
            await (await engine.start(adds_up.options(id=f"a-{number}"), number)).result()
            if number == 10:
                shutil.copy(beside(path, "-wal"), beside(path, "-old"))
        take(path, how)
        worker = engine._worker.id

        if noticed == "in a commit":
            with pytest.raises(durable.LogLost, match="nothing is lost"):
                await engine.start(adds_up.options(id="a-20"), 20)
        else:
            engine._worker._watch_others()
        await again(engine, worker)
        for number in range(20, 30):
            await (await engine.start(adds_up.options(id=f"a-{number}"), number)).result()

    assert caplog.text.count("was deleted or replaced while it was open") == 1
    assert "had been said to be durable" not in caplog.text
    assert ids(path) == {f"a-{number}" for number in range(30)}
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_what_only_a_lost_log_held_is_counted(tmp_path, caplog):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[adds_up]) as engine:
        for number in range(5):
            await (await engine.start(adds_up.options(id=f"a-{number}"), number)).result()
        log = beside(path, "-wal")
        begun = bytearray(log.read_bytes()[:32])
        begun[16:20] = (int.from_bytes(begun[16:20], "big") + 1).to_bytes(4, "big")
        log.unlink()
        worker = engine._worker.id
        log.write_bytes(begun)  # Of a log that somebody has begun since: ours cannot be saved.

        with pytest.raises(durable.LogLost, match="what only it held is lost"):
            await engine.start(adds_up.options(id="x"), 1)
        await again(engine, worker)

        assert (
            "5 runs lost events, or were lost whole, that had been said to be durable"
            in caplog.text
        )
        assert await engine.list() == []


async def test_a_client_goes_on_when_the_log_was_taken_away(tmp_path):
    path = tmp_path / "app.db"
    await make(path, 1)
    async with durable.Client(path) as client:
        await client.start(hears.options(id="h"))
        beside(path, "-wal").unlink()

        run = await client.get("h")
        await run.signal(go, 1)

    assert ids(path) == {"a-0", "h"}


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_lock_file_that_is_gone_is_made_again_and_the_worker_keeps_its_runs(
    tmp_path, how, caplog
):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[dozes]) as engine:
        await engine.start(dozes.options(id="d"))
        lock = beside(path, "-lock")
        lock.unlink()
        if how == "replaced":
            lock.write_bytes(b"of somebody else")

        async with durable.Engine(path, functions=[adds_up]) as other:  # Before anybody noticed.
            assert other._worker.store.dead_workers() == [] or how == "replaced"
        engine._worker._watch_others()

        assert lock_file(str(path)).is_held(engine._worker.id)
        assert not lock_file(str(path)).is_gone()
        assert "it was made again" in caplog.text
        assert (await engine.get("d"))._pk in engine._worker.live


async def test_a_lock_file_that_cannot_be_made_again_stops_the_worker(tmp_path, caplog):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[dozes]) as engine:
        lock = beside(path, "-lock")
        lock.unlink()
        lock.mkdir()

        engine._worker._watch_others()
        await until(lambda: "trying again" in caplog.text)

        with pytest.raises(durable.StoreError, match="is being opened again"):
            await engine.start(dozes)
        lock.rmdir()
        await until(lambda: engine._worker._is_open)
        await engine.start(dozes)


# -- one whole file ------------------------------------------------------------------------------


def files(path):
    return sorted(one.name for one in path.parent.iterdir())


async def test_whoever_leaves_last_leaves_one_whole_file(tmp_path):
    path = tmp_path / "app.db"
    await make(path, 3)
    assert files(path) == ["app.db", "app.db-lock"]

    async with durable.Client(path) as client:
        await client.start(hears.options(id="h"))
        async with durable.Engine(path, functions=[adds_up]):
            pass
        assert "app.db-wal" in files(path)
    assert files(path) == ["app.db", "app.db-lock"]

    async with durable.Client(path) as client:
        looks = durable.view(path)
        with looks:
            await (await client.get("h")).signal(go, 1)
            await client.__aexit__(None, None, None)
            assert "app.db-wal" in files(path)
    assert files(path) == ["app.db", "app.db-lock"]
    copied = tmp_path / "copies" / "app.db"
    copied.parent.mkdir()
    shutil.copy(path, copied)
    assert ids(copied) == {"a-0", "a-1", "a-2", "h"}


def test_a_script_leaves_one_whole_file(tmp_path):
    path = tmp_path / "app.db"

    assert durable.run(path, adds_up.options(id="x"), 1) == 2

    assert files(path) == ["app.db", "app.db-lock"]


def crashed(path, to):
    """Copy a file that is in use as it would be after a crash."""
    to.mkdir()
    for end in ("", "-wal", "-lock"):
        shutil.copy(f"{path}{end}", to / f"app.db{end}")
    return to / "app.db"


async def test_a_copy_without_its_log_is_told(tmp_path, caplog):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[adds_up]) as engine:
        await (await engine.start(adds_up.options(id="a"), 1)).result()
        (tmp_path / "copy").mkdir()
        copied = tmp_path / "copy" / "app.db"
        shutil.copy(path, copied)
        whole = crashed(path, tmp_path / "crashed")

    with durable.view(copied) as runs:
        told = runs.missing
        assert "was copied while it was in use, without its log (app.db-wal)" in told
    with durable.view(whole) as runs:
        assert runs.missing == ""
    with caplog.at_level(logging.ERROR):
        await make(copied, 1)
    assert "without its log" in caplog.text
    with durable.view(copied) as runs:
        assert runs.missing == ""
        assert [told in one.text for one in runs.doctor() if one.name == "commits"] == [True]


def flip(log, at):
    """Change one bit of a log: for SQLite it ends where it is not valid any more."""
    data = bytearray(log.read_bytes())
    data[at] ^= 1
    log.write_bytes(data)


# Of the log's bytes: in the middle; and in the last page, whose commit a power cut may have torn.
@pytest.mark.parametrize(("place", "is_told"), [(0.5, True), (-100, False)])
async def test_a_log_that_cannot_be_read_is_told_unless_its_last_commit_alone_is_gone(
    tmp_path, caplog, place, is_told
):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[adds_up]) as engine:
        for number in range(10):
            await (await engine.start(adds_up.options(id=f"a-{number}"), 1)).result()
        left = crashed(path, tmp_path / "crashed")
    log = beside(left, "-wal")
    flip(log, int(log.stat().st_size * place) if place > 0 else place)

    with durable.view(left) as runs:
        told, known = runs.missing, len(runs.list())
    await make(left, 1, "new")

    assert ("has whole commits behind it that nothing can reach" in told) == is_told
    assert (told != "" and told in caplog.text) == is_told
    assert (known < 10) == is_told
    with durable.view(left) as runs:
        (commits,) = (one for one in runs.doctor() if one.name == "commits")
    assert commits.is_well != is_told


async def test_a_log_that_was_deleted_after_a_crash_is_told(tmp_path, caplog):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[adds_up]) as engine:
        await (await engine.start(adds_up.options(id="a"), 1)).result()
        left = crashed(path, tmp_path / "crashed")
    beside(left, "-wal").unlink()

    with durable.view(left) as runs:
        assert "lacks its newest commits" in runs.missing
    await make(left, 1)

    assert "lacks its newest commits" in caplog.text


async def test_a_file_that_another_program_has_copied_the_log_into_lacks_nothing(tmp_path, caplog):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[adds_up]) as engine:
        await (await engine.start(adds_up.options(id="a"), 1)).result()
        left = crashed(path, tmp_path / "crashed")
    other = sqlite3.connect(left)
    other.execute("SELECT COUNT(*) FROM durable_runs").fetchone()
    other.close()
    assert not beside(left, "-wal").exists()

    await make(left, 1, "b")

    assert caplog.text == ""
    assert ids(left) == {"a", "b-0"}


async def test_a_file_beside_the_log_of_another_is_not_opened(tmp_path):
    path = tmp_path / "app.db"
    await make(path, 2)
    backup = tmp_path / "backup.db"
    async with durable.Client(path) as client:
        await client.backup(backup)
    async with durable.Engine(path, functions=[adds_up]) as engine:
        await (await engine.start(adds_up.options(id="since"), 1)).result()
        left = crashed(path, tmp_path / "crashed")
    # The record is that of the place where it was written.
    locks = lock_file(str(left))
    locks.open()
    found = locks.find_record()
    at = [(one.stat().st_dev, one.stat().st_ino) for one in (left, beside(left, "-wal"))]
    locks.write_record(type(found)(found.generation, found.logs, *at))
    locks.close()
    backup.replace(left)
    before = left.read_bytes()

    with pytest.raises(
        durable.FileMoved, match="is the log of the file before; nothing was opened"
    ):
        await make(left, 1)
    with pytest.raises(durable.FileMoved, match=r"delete app\.db-wal and app\.db-shm"):
        durable.view(left)

    assert left.read_bytes() == before
    beside(left, "-wal").unlink()
    await make(left, 1, "b")
    assert ids(left) == {"a-0", "a-1", "b-0"}


# -- what ends a writer --------------------------------------------------------------------------


async def test_a_client_opens_the_file_again_after_a_failed_commit(tmp_path):
    path = tmp_path / "app.db"
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with durable.Engine(path, functions=[hears]) as engine:
        await engine.start(hears.options(id="h"))
    async with durable.Client(path) as client:
        run = await client.get("h")
        await run.signal(go, 1, id="one")
        size = beside(path, "-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            with pytest.raises(durable.StoreError):
                await run.signal(go, 2, id="two")
        finally:
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            signal.signal(signal.SIGXFSZ, before)

        await run.signal(go, 2, id="two")

    async with durable.Engine(path, functions=[hears]) as engine:
        assert await (await engine.get("h")).result() == 3


def test_a_file_that_is_opened_after_a_failed_commit_has_an_empty_log_first(tmp_path):
    path = str(tmp_path / "app.db")

    def store(**how):
        return Store(path, durability="full", deliver=print, on_foreign_commit=print, **how)

    first = store()
    first.open_worker("[]", 1)
    assert beside(path, "-wal").stat().st_size > 0

    second = store(after=Synced())

    assert beside(path, "-wal").stat().st_size == 0
    second.close()
    first.close()


@pytest.mark.parametrize("damage", ["newer", "damaged"])
async def test_what_no_waiting_can_mend_ends_the_engine(tmp_path, damage, caplog):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[adds_up]) as engine:
        other = apsw.Connection(str(path))
        if damage == "newer":
            other.pragma("user_version", 99)
            kind, says = durable.FileTooNew, "written by a newer durable"
        else:
            other.pragma("writable_schema", True)
            other.execute("UPDATE sqlite_schema SET sql = 'CREATE TABLE ' WHERE type = 'table'")
            kind, says = durable.FileCorrupt, "is damaged"
            engine._worker.commit_failed(durable.CommitUnknown("an error of the disk"))

        if damage == "newer":
            with pytest.raises(kind, match=says):
                await engine.start(adds_up, 1)
        with pytest.raises(kind, match=says):
            await engine._worker.reopening.failed
        with pytest.raises(kind, match=says):
            await engine.list()
        other.close()
    assert caplog.text.count("the engine has stopped") == 1


def zero_index(path, name):
    """Let a disk lose the pages of an index."""
    with contextlib.closing(apsw.Connection(str(path))) as other:
        (root,) = other.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)
        ).fetchone()
    data = bytearray(path.read_bytes())
    data[(root - 1) * 4096 : root * 4096] = bytes(4096)
    path.write_bytes(data)


async def test_a_damaged_page_that_no_run_can_be_claimed_by_ends_the_engine(tmp_path, caplog):
    path = tmp_path / "app.db"
    async with durable.Client(path, create=True) as client:
        await client.start(adds_up.options(id="a"), 1)
    zero_index(path, "durable_run_started")

    async with durable.Engine(path, functions=[adds_up]) as engine:
        with pytest.raises(durable.FileCorrupt, match="restore a backup"):
            async with asyncio.timeout(10):
                await engine._worker.reopening.failed

    assert caplog.text.count("opens the file again") == 1


async def test_a_client_refuses_a_file_that_has_become_newer(tmp_path):
    path = tmp_path / "app.db"
    await make(path, 1)
    async with durable.Client(path) as client:
        other = apsw.Connection(str(path))
        other.pragma("user_version", 99)
        other.close()

        with pytest.raises(durable.FileTooNew):
            await client.start(hears.options(id="h"))


async def test_at_most_once_is_synced_whatever_the_durability(tmp_path):
    calls = []

    @activity(at_most_once=True)
    async def pay() -> int:
        calls.append(levels[-1])
        return 1

    @workflow
    async def pays() -> int:
        return await pay()

    levels = []
    async with durable.Engine(tmp_path / "app.db", functions=[pays], durability="normal") as engine:
        level = engine._worker.store.writer._level

        def noting(batch):
            levels.append(level(batch))
            return levels[-1]

        engine._worker.store.writer._level = noting
        await (await engine.start(pays)).result()

    assert calls == [2]
    assert levels.count(2) == 1


async def test_the_failure_of_a_checkpoint_is_no_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("durable._store.wal.CHECKPOINT_PAGES", 1)
    async with durable.Engine(tmp_path / "app.db", functions=[adds_up]) as engine:
        log, worker = engine._worker.store.writer.log, engine._worker.id

        class Failing:
            def __getattr__(self, name):
                return getattr(real, name)

            def wal_checkpoint(self, **_):
                raise apsw.IOError("the sync failed")

        real, log._connection = log._connection, Failing()
        log._checkpoint_at = 0
        await (await engine.start(adds_up.options(id="a"), 1)).result()
        await until(lambda: "the log could not be copied into the file" in caplog.text)
        await again(engine, worker)

        assert await (await engine.start(adds_up.options(id="b"), 1)).result() == 2
    assert ids(tmp_path / "app.db") == {"a", "b"}
