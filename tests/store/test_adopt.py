"""The application's own file: our tables beside its own, and each is left alone by the other."""

import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

import durable
from durable import activity, transaction, workflow


@activity
async def echo(value: int) -> int:
    return value


@transaction
def keeps(cursor: durable.Cursor, value: int) -> int:
    cursor.execute("INSERT INTO run (n) VALUES (?)", (value,))
    return len(cursor.execute("SELECT n FROM run").fetchall())


@workflow
async def adds_up(a: int) -> int:
    return await echo(a) + await keeps(a)


OWN = ["run", "event", "value", "step", "orders"]


def application(path, *, journal="delete", page=4096, encoding="UTF-8", owner=0):
    """Make an application's file, with tables called as ours once were."""
    made = sqlite3.connect(path, isolation_level=None)
    made.execute(f"PRAGMA encoding = '{encoding}'")
    made.execute(f"PRAGMA page_size = {page}")
    made.execute(f"PRAGMA journal_mode = {journal}")
    made.execute(f"PRAGMA application_id = {owner}")
    made.execute("PRAGMA user_version = 42")
    for name in OWN:
        made.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, n)")
        made.execute(f"INSERT INTO {name} (n) VALUES (7)")
    made.execute("CREATE TRIGGER noted AFTER INSERT ON run BEGIN UPDATE event SET n = n + 1; END")
    made.close()
    return str(path)


def own(path):
    made = sqlite3.connect(path)
    found = {name: made.execute(f"SELECT n FROM {name} ORDER BY id").fetchall() for name in OWN}
    marks = [
        made.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
    ]
    made.close()
    return found, marks


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("page", [512, 4096, 65536])
async def test_a_file_of_an_application_gets_our_tables_beside_its_own(tmp_path, journal, page):
    path = application(tmp_path / "shop.db", journal=journal, page=page, owner=0x1234)

    async with durable.Engine(path, functions=[adds_up], adopt=True) as engine:
        assert await (await engine.start(adds_up.options(id="a"), 1)).result() == 3

    found, marks = own(path)
    assert found == {**{name: [(7,)] for name in OWN}, "run": [(7,), (1,)], "event": [(8,)]}
    assert marks == [42, 0x1234]
    async with durable.Engine(path, functions=[adds_up]) as engine:  # Once is enough.
        assert await (await engine.start(adds_up.options(id="b"), 1)).result() == 4
    with durable.view(path) as runs:
        assert {one.id for one in runs.list()} == {"a", "b"}
        assert all(one.is_well for one in runs.doctor())
    async with durable.Client(path) as client:
        copy = await client.backup(tmp_path / "copy.db")
    assert own(copy)[1] == marks
    with durable.view(copy) as runs:
        assert len(runs.list()) == 2


def test_a_script_runs_in_an_adopted_file(tmp_path):
    path = application(tmp_path / "shop.db")

    durable.adopt(path)
    durable.adopt(path)

    assert durable.run(path, adds_up.options(id="a"), 1) == 3


async def test_nothing_is_adopted_unasked(tmp_path):
    path = application(tmp_path / "shop.db")
    before = Path(path).read_bytes()

    for opened in (durable.Engine(path), durable.Client(path), durable.Client(path, create=True)):
        with pytest.raises(durable.NotADurableFile, match=r"Engine\(path, adopt=True\)"):
            await opened.__aenter__()

    assert Path(path).read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["shop.db"]


def refuse_utf16(path):
    application(path, encoding="UTF-16le")


def refuse_taken(path):
    application(path)
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE Durable_Run (n)")
    made.close()


def refuse_encrypted(path):
    path.write_bytes(bytes(range(256)) * 64)


def refuse_old(path):
    path.write_bytes(b"** This file contains an SQLite 2.1 database **" + bytes(4_000))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (refuse_utf16, "its texts are UTF-16le"),
        (refuse_taken, "it has a table or index 'Durable_Run'"),
        (refuse_encrypted, "is not a SQLite file, or is encrypted"),
        (refuse_old, "or of SQLite before 3.0"),
    ],
)
def test_what_cannot_be_adopted_is_refused_with_the_reason_and_unchanged(tmp_path, make, says):
    path = tmp_path / "shop.db"
    make(path)
    before = path.read_bytes()

    with pytest.raises(durable.NotADurableFile, match=says):
        durable.adopt(path)

    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["shop.db"]


def test_a_missing_file_is_not_adopted(tmp_path):
    with pytest.raises(durable.NotADurableFile, match="does not exist"):
        durable.adopt(tmp_path / "none.db")


@pytest.mark.skipif("os.geteuid() == 0", reason="root may write everything")
def test_a_file_that_cannot_be_written_to_is_refused(tmp_path):
    path = Path(application(tmp_path / "shop.db"))
    path.chmod(stat.S_IRUSR)

    with pytest.raises(durable.StoreError):
        durable.adopt(path)


async def test_a_newer_version_in_an_adopted_file_stops_us(tmp_path):
    path = application(tmp_path / "shop.db")
    async with durable.Engine(path, functions=[adds_up], adopt=True) as engine:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("PRAGMA user_version = 43")  # The application's own: no concern of ours.
        assert await (await engine.start(adds_up.options(id="a"), 1)).result() == 3
        other.execute("UPDATE durable_meta SET value = 99 WHERE name = 'version'")
        other.close()

        with pytest.raises(durable.FileTooNew):
            await engine.start(adds_up, 1)
    with pytest.raises(durable.FileTooNew):
        durable.view(path)


async def test_the_application_goes_on_beside_us(tmp_path):
    path = application(tmp_path / "shop.db")
    app = sqlite3.connect(path, isolation_level=None, timeout=30)
    async with durable.Engine(path, functions=[adds_up], adopt=True) as engine:
        for number in range(5):
            run = await engine.start(adds_up, number)
            await run.result()
            assert app.execute("SELECT MAX(n) FROM run").fetchone()[0] >= number
    app.execute("INSERT INTO orders (n) VALUES (8)")
    app.close()
    shutil.copy(path, tmp_path / "copy.db")

    assert own(tmp_path / "copy.db")[0]["orders"] == [(7,), (8,)]
