"""`durable doctor` and `durable verify`: what is wrong is named, and nothing raises."""

import json
import sqlite3
from pathlib import Path

import pytest

import durable
from tests.cli.conftest import Command


def doctor(durable_: Command, path: Path) -> dict[str, tuple[bool, str]]:
    done = durable_("-d", path, "doctor", "--json")
    assert done.err == ""
    found = {one["name"]: (one["is_well"], one["text"]) for one in json.loads(done.out)}
    assert done.code == (0 if all(well for well, _ in found.values()) else 1)
    return found


def change(path: Path, text: str) -> None:
    with sqlite3.connect(path) as made:
        made.execute(text)
    made.close()


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("UPDATE durable_run SET worker_id = 77 WHERE id = 'nap'", "rows",
         "nap#1 is in the hands of worker 77, which is none"),
        (("DELETE FROM durable_event WHERE seq = 1 AND run IN (SELECT run FROM durable_event "
         "GROUP BY run HAVING COUNT(*) > 1 LIMIT 1)"), "rows", "lacks events"),
        ("UPDATE durable_run SET waits = '{' WHERE id = 'nap'", "rows", "nap#1 holds no JSON"),
        ("UPDATE durable_run SET parent_pk = pk WHERE id = 'nap'", "rows",
         "nap#1 is a child of itself"),
        ("UPDATE durable_run SET created_us = 1 << 60 WHERE id = 'nap'", "rows",
         "nap#1 was made, begun or closed in the future"),
        ("UPDATE durable_run SET arguments = replace(arguments, '1', '2')", "payloads",
         "the arguments of"),
        ("UPDATE durable_run SET result = '77' WHERE state = 'completed'", "payloads",
         "the result of"),
        ("UPDATE durable_event SET result = result || ' '", "payloads",
         "event 1 does not match its checksum"),
        ("INSERT INTO durable_value SELECT pk, 'v', '77', 1, 1 FROM durable_run", "payloads",
         "the value v of "),
        ("INSERT INTO durable_item SELECT pk, 's', 0, '', 0, 0, 0, '77', 1, 1 FROM durable_run",
         "payloads", "item 0 of the stream s of "),
        ("INSERT INTO durable_blob VALUES (7, 0, 1, x'00')", "payloads", "large payload 7: "),
        ("UPDATE durable_tally SET runs = runs + 1", "counts", "not as counted: runs of"),
        ("INSERT INTO durable_blob VALUES (7, 1, 1, x'00')", "counts",
         "large payloads not as counted: 7"),
    ],
)  # fmt: skip
def test_what_was_changed_by_hand_is_named(
    durable_: Command, shop_file: Path, text: str, name: str, says: str
) -> None:
    assert doctor(durable_, shop_file)[name][0]

    change(shop_file, text)

    is_well, told = doctor(durable_, shop_file)[name]
    assert not is_well
    assert says in told
    verified = durable_("verify", shop_file)
    assert verified.code == 1
    assert says in verified.out
    assert len(durable_("-d", shop_file, "ls").out.splitlines()) > 5


def test_two_runs_in_a_circle_are_named(durable_: Command, shop_file: Path) -> None:
    change(
        shop_file,
        "UPDATE durable_run SET parent_pk = CASE id WHEN 'nap' THEN (SELECT pk FROM durable_run "
        "WHERE id = 'order-7') ELSE (SELECT pk FROM durable_run WHERE id = 'nap') END "
        "WHERE id IN ('nap', 'order-7')",
    )

    assert "is a child of itself" in doctor(durable_, shop_file)["rows"][1]


def page_of(path: Path, table: str) -> int:
    made = sqlite3.connect(path)
    page: int = made.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)
    ).fetchone()[0]
    made.close()
    return page


@pytest.mark.parametrize(
    "table", ["durable_run", "durable_event", "durable_worker", "sqlite_schema"]
)
def test_a_damaged_file_is_looked_at_as_far_as_it_goes(
    durable_: Command, shop_file: Path, table: str
) -> None:
    page = 1 if table == "sqlite_schema" else page_of(shop_file, table)
    with shop_file.open("r+b") as file:
        file.seek((page - 1) * 4096 + (100 if page == 1 else 0))
        file.write(bytes(3_000))
    before = shop_file.read_bytes()

    done = durable_("-d", shop_file, "doctor")

    assert done.code == 1
    assert "WRONG\tintegrity" in done.out
    assert "Traceback" not in done.out + done.err
    assert shop_file.read_bytes() == before


def test_swapped_pages_are_found(durable_: Command, shop_file: Path) -> None:
    with sqlite3.connect(shop_file) as made:
        made.execute("CREATE TABLE mine (n INTEGER PRIMARY KEY, x)")
        made.executemany("INSERT INTO mine VALUES (?, ?)", [(n, "x" * 900) for n in range(40)])
    made.close()
    made = sqlite3.connect(shop_file)
    made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    made.close()
    data = bytearray(shop_file.read_bytes())
    pages = [
        at
        for at in range(0, len(data), 4096)
        if data[at] == 13 and data[at : at + 4096].count(b"x") > 3_000
    ]
    one, two = pages[:2]
    data[one : one + 4096], data[two : two + 4096] = data[two : two + 4096], data[one : one + 4096]
    shop_file.write_bytes(data)

    is_well, told = doctor(durable_, shop_file)["integrity"]

    assert not is_well
    assert "go back to a backup" in told


def test_a_whole_file_is_well_and_verify_says_nothing(durable_: Command, shop_file: Path) -> None:
    done = durable_("verify", shop_file)

    assert (done.code, done.out, done.err) == (0, "", "")


def test_who_has_no_worker_is_free_again_when_an_engine_opens(shop_file: Path) -> None:
    change(shop_file, "UPDATE durable_run SET worker_id = 77 WHERE id = 'nap'")

    async def serve() -> None:
        async with durable.Engine(shop_file, functions=[]):
            pass

    import asyncio

    asyncio.run(serve())

    with durable.view(shop_file) as runs:
        assert all(one.is_well for one in runs.doctor() if one.name == "rows")
