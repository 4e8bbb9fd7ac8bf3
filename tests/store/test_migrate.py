"""Bringing files up to date: all or nothing, and once, whoever else tries."""

import apsw
import pytest

from durable._store import connection, migrate
from durable._store.connection import connect
from durable.errors import StoreError

MORE = """
CREATE TABLE later (x INTEGER NOT NULL) STRICT;
INSERT INTO later VALUES (1);
"""


@pytest.mark.slow
def test_of_many_processes_that_make_a_file_one_makes_its_tables(tmp_path, child):
    paths = [str(tmp_path / f"{n}.db") for n in range(10)]

    children = [child("open", *paths) for _ in range(4)]

    assert [one.end() and one.process.returncode for one in children] == [0] * 4
    for path in paths:
        made = connect(path)
        assert made.pragma("user_version") == connection.FILE_VERSION
        assert made.pragma("application_id") == connection.APPLICATION_ID
        assert made.pragma("integrity_check") == "ok"
        made.close()


def tables(path):
    made = connect(path)
    names = {row[0] for row in made.execute("SELECT name FROM sqlite_schema")}
    version = made.pragma("user_version")
    made.close()
    return names, version


def test_an_older_file_is_brought_up_to_date_once(path, monkeypatch):
    monkeypatch.setattr(connection, "FILE_VERSION", 2)
    monkeypatch.setattr(migrate, "MIGRATIONS", {**migrate.MIGRATIONS, 2: MORE})

    for _ in range(2):
        made = connect(path)
        migrate.migrate(made, path)
        assert made.execute("SELECT COUNT(*) FROM later").get == 1
        made.close()

    assert tables(path)[1] == 2


@pytest.mark.parametrize(
    "broken", ["CREATE TABLE durable_run (x)", "INSERT INTO later VALUES ('x')"]
)
def test_a_step_that_fails_leaves_the_file_as_it_was(path, monkeypatch, broken):
    before = tables(path)
    monkeypatch.setattr(migrate, "MIGRATIONS", {**migrate.MIGRATIONS, 2: MORE + broken})
    made = connect(path)

    with pytest.raises(StoreError):
        migrate.migrate(made, path)

    assert not made.in_transaction
    made.close()
    assert tables(path) == before


def test_a_file_that_is_up_to_date_is_not_written_to(path, child):
    # Another process holds the write lock: whoever only looks must not wait for it.
    other = child("lock", path)
    assert other.line() == "ready"
    made = connect(path)
    made.set_busy_handler(None)

    migrate.migrate(made, path)

    made.close()


def test_planted_tables_make_a_file_foreign(tmp_path):
    path = str(tmp_path / "app.db")
    planted = apsw.Connection(path)
    planted.execute("CREATE TABLE durable_worker (id)")
    planted.close()

    with pytest.raises(StoreError, match="another program"):
        connect(path, create=True)


def test_every_name_of_the_library_in_the_file_begins_with_its_prefix(path):
    from durable._store.cursor import OWN_PREFIX

    rows = connect(path).execute("SELECT name, tbl_name FROM sqlite_schema")

    names = {name for row in rows for name in row if not name.startswith("sqlite_")}
    assert {name for name in names if not name.startswith(OWN_PREFIX)} == set()
