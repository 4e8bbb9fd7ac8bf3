"""A file that others own, or may write to, is opened for writing only where that is meant."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import apsw
import pytest

import durable
from durable import Client, Engine, StoreError, workflow
from durable._store import ownership
from tests.store.test_connection import as_nobody, contents

NOBODY = 65534
ENDS = ("", "-wal", "-shm", "-lock")


@workflow
async def answers() -> int:
    return 42


async def run_one(path, **options):
    async with Engine(path, functions=[answers], **options) as engine:
        return await (await engine.start(answers)).result()


async def ask(path, **options):
    async with Client(path, create=True, **options) as client:
        return await client.list()


def place(folder, end, mode, kind):
    """Make what somebody left there: an empty file before ours, or ours with other rights."""
    path = folder / "app.db"
    if kind == "before":
        Path(f"{path}{end}").touch()
    else:
        durable.run(path, answers)
        Path(f"{path}{end}").touch()
    Path(f"{path}{end}").chmod(mode)
    return path


def state(folder):
    return contents(folder), {one.name: one.stat().st_mode for one in folder.iterdir()}


CASES = [
    (end, mode, kind)
    for end in ENDS
    for mode in (0o666, 0o620, 0o602)
    for kind in ("before", "later")
]


@pytest.mark.parametrize(("end", "mode", "kind"), CASES)
async def test_what_others_may_write_to_is_refused_and_unchanged(tmp_path, end, mode, kind):
    path = await _placed(tmp_path, end, mode, kind)
    before = state(tmp_path)

    for way in (run_one, ask):
        with pytest.raises(StoreError) as caught:
            await way(path)
        for said in (f"app.db{end} may be written to by", "chmod go-w", "allow_shared=True"):
            assert said in str(caught.value)
        assert ownership.SHARED_VARIABLE in str(caught.value)
    assert state(tmp_path) == before


async def _placed(folder, end, mode, kind):
    from anyio import to_thread

    return await to_thread.run_sync(place, folder, end, mode, kind)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o644, 0o640])
async def test_what_others_may_only_read_is_opened(tmp_path, mode):
    path = await _placed(tmp_path, "-lock", mode, "later")
    path.chmod(mode | 0o200)

    assert len(await ask(path)) == 1


@pytest.mark.parametrize("way", [run_one, ask])
async def test_where_it_is_meant_it_is_opened(tmp_path, way, monkeypatch):
    path = await _placed(tmp_path, "", 0o660, "later")

    assert await way(path, allow_shared=True)
    monkeypatch.setenv(ownership.SHARED_VARIABLE, "1")
    assert await way(path)
    monkeypatch.setenv(ownership.SHARED_VARIABLE, "0")
    with pytest.raises(StoreError):
        await way(path)


def test_a_script_and_an_adoption_are_refused_too(tmp_path, monkeypatch):
    path = place(tmp_path, "", 0o666, "later")
    mine = tmp_path / "mine.db"
    with apsw.Connection(str(mine)) as made:
        made.execute("CREATE TABLE mine (a)")
    made.close()
    mine.chmod(0o660)
    before = mine.read_bytes()

    with pytest.raises(StoreError, match="may be written to by everybody"):
        durable.run(path, answers)
    with pytest.raises(StoreError, match="may be written to by its group"):
        durable.adopt(mine)
    assert mine.read_bytes() == before
    monkeypatch.setenv(ownership.SHARED_VARIABLE, "1")
    assert durable.run(path, answers) == 42
    durable.adopt(mine)


async def test_an_engine_that_adopts_is_told_so_too(tmp_path):
    path = tmp_path / "mine.db"
    with apsw.Connection(str(path)) as made:
        made.execute("CREATE TABLE mine (a)")
    made.close()
    path.chmod(0o660)

    with pytest.raises(StoreError, match="its group"):
        await run_one(path, adopt=True)
    assert await run_one(path, adopt=True, allow_shared=True) == 42


def test_reading_stays_allowed(tmp_path):
    path = place(tmp_path, "", 0o666, "later")

    with durable.view(path) as runs:
        assert len(runs.list()) == 1


async def test_a_lock_file_lets_in_whom_the_database_lets_in(tmp_path):
    path = await _placed(tmp_path, "", 0o660, "before")

    assert await run_one(path, allow_shared=True) == 42

    assert stat.S_IMODE(Path(f"{path}-lock").stat().st_mode) == 0o660


@pytest.fixture
def open_folder():
    """A folder that everybody may write to."""
    folder = Path(tempfile.mkdtemp(prefix="durable-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif("os.geteuid() != 0", reason="NOT CHECKED: only root makes files of others")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("end", ENDS)
def test_what_another_user_made_is_refused(open_folder, end):
    path = open_folder / "app.db"
    Path(f"{path}{end}").touch(0o600)

    def opens():
        durable.run(path, answers)

    said = as_nobody(opens)

    assert f"app.db{end} belongs to" in said
    assert "chown 65534" in said
    assert [one.name for one in open_folder.iterdir()] == [f"app.db{end}"]


@pytest.mark.skipif("os.geteuid() != 0", reason="NOT CHECKED: only root makes files of others")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_root_is_warned_and_leaves_the_owner_its_file(open_folder, caplog):
    path = open_folder / "app.db"
    assert as_nobody(lambda: durable.run(path, answers)) == "fine"
    Path(f"{path}-lock").unlink()

    assert durable.run(path, answers) == 42

    assert "belongs to" in caplog.text
    assert {one.stat().st_uid for one in open_folder.iterdir()} == {NOBODY}
    assert as_nobody(lambda: durable.run(path, answers)) == "fine"


@pytest.mark.parametrize("mask", [0o000, 0o200, 0o777])
def test_copies_are_for_their_owner_alone_whatever_the_umask(tmp_path, mask, monkeypatch):
    path = tmp_path / "app.db"
    durable.run(path, answers)
    made = []
    real = os.fchmod

    def noted(descriptor, mode):
        real(descriptor, mode)
        made.append(stat.S_IMODE(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fchmod", noted)
    before = os.umask(mask)
    try:
        with durable.view(path) as runs:
            runs.backup(tmp_path / "copy.db")
            for name in ("x.jsonl", "x.jsonl.gz"):
                runs.export("status:closed", tmp_path / name)
    finally:
        os.umask(before)

    assert made == [0o600] * 3
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"copy.db", "x.jsonl", "x.jsonl.gz"} <= set(modes)
