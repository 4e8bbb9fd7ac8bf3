"""Marks and counters that somebody changed by hand: one clear line, and nothing goes round."""

import apsw
import pytest

import durable
from durable import Client, Engine, FileCorrupt, Signal, StoreError, workflow

LAST = 2**63 - 1
go = Signal("go", int)


@workflow
async def hears() -> int:
    return await go.receive()


@workflow
async def answers() -> int:
    return 42


FUNCTIONS = [hears, answers]


@pytest.fixture
async def path(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path, functions=FUNCTIONS) as engine:
        await engine.start(hears.options(id="x"))
    return path


def change(path, *texts):
    made = apsw.Connection(str(path))
    for text in texts:
        made.execute(text)
    made.close()


def use_up(path, table):
    change(
        path,
        f"DELETE FROM sqlite_sequence WHERE name = '{table}'",
        f"INSERT INTO sqlite_sequence VALUES ('{table}', {LAST})",
    )


@pytest.mark.parametrize("version", [0, -5, -(2**31)])
async def test_our_mark_with_a_version_that_there_is_none_of(path, version):
    change(path, f"PRAGMA user_version = {version}")
    before = path.read_bytes()

    for opening in (Engine(path), Client(path), Client(path, create=True)):
        with pytest.raises(FileCorrupt, match=f"is of version {version}, which there is none of"):
            async with opening:
                pass
    with pytest.raises(FileCorrupt), durable.view(path):
        pass
    with pytest.raises(FileCorrupt):
        durable.adopt(path)

    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "value", ["0", "-1", "'x'", "NULL + 1.5", "x'00'", "1.0", "CAST(x'ff' AS TEXT)"]
)
async def test_an_adopted_file_with_such_a_version(tmp_path, value):
    path = tmp_path / "mine.db"
    change(path, "CREATE TABLE mine (a)")
    durable.adopt(path)
    change(path, f"UPDATE durable_meta SET value = ifnull({value}, -7) WHERE name = 'version'")

    with pytest.raises(FileCorrupt, match="which there is none of"):
        async with Engine(path):
            pass


def number_last(path):
    """Give the last number to a row, and let the counter be."""
    change(
        path,
        f"INSERT INTO durable_inbox VALUES ({LAST}, 999, 'signal', 'go', '', '1', 1)",
        "UPDATE sqlite_sequence SET seq = 5 WHERE name = 'durable_inbox'",
    )


def count_to_the_last(path):
    use_up(path, "durable_inbox")


@pytest.mark.parametrize("how", [number_last, count_to_the_last])
async def test_an_inbox_without_numbers_is_told_and_holds_up_nobody(path, how, caplog):
    how(path)

    async with Engine(path, functions=FUNCTIONS) as engine:
        run = await engine.get("x")
        with pytest.raises(StoreError, match="durable_inbox has no more numbers for rows"):
            await run.signal(go, 1)
        assert await (await engine.start(answers)).result() == 42
    assert "is full" not in caplog.text


@pytest.mark.parametrize("table", ["durable_audit", "durable_job"])
async def test_so_is_every_other_table_that_counts(path, table):
    use_up(path, table)

    with pytest.raises(StoreError, match=f"{table} has no more numbers for rows"):
        async with Engine(path, functions=FUNCTIONS) as engine:
            await (await engine.get("x")).pause()
            await engine.pause_all("status:open")
