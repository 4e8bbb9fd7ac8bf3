"""The log beside the file: copied back while the writer works, and never left to grow."""

from pathlib import Path

import apsw
import pytest

from durable._store import wal as wal_module
from durable._store.locks import lock_file
from durable._store.writer import Change, Writer

PAGE = 4096


@pytest.fixture
def writer(path, monkeypatch):
    monkeypatch.setattr(wal_module, "CHECKPOINT_PAGES", 100)
    monkeypatch.setattr(wal_module, "RESTART_PAGES", 400)
    locks = lock_file(path)
    locks.open()
    made = Writer(path, "normal", print, print, locks)
    made.log._checkpoint_at = 100
    yield made
    made.close()
    locks.close()


def write(writer, first, last):
    """Commit large rows, 13 pages each; return the largest size the log had, in pages."""
    largest = 0
    log = Path(writer._path + "-wal")
    for n in range(first, last):
        writer.commit_now(Change(rows=[("insert_blob", (n, 1, 50_000, bytes(50_000)))]))
        largest = max(largest, log.stat().st_size // PAGE)
    return largest


def test_the_log_stays_small_under_constant_writing(writer):
    largest = write(writer, 0, 200)  # 2,600 pages.

    assert largest < 150
    assert writer.log.checkpoints >= 20


def test_what_the_log_held_is_in_the_file(writer):
    write(writer, 0, 50)

    assert Path(writer._path).stat().st_size > 40 * 50_000


def test_a_reader_holds_the_log_back_and_nothing_else(writer, path):
    reader = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM durable_run").fetchall()

    held = write(writer, 0, 60)  # 780 pages, of which the reader still needs what was there before.

    assert held >= 700
    assert writer.log.checkpoints > 0
    reader.execute("COMMIT")
    reader.close()
    write(writer, 60, 80)
    assert Path(path + "-wal").stat().st_size // PAGE < 150
    assert reader_sees(path) == 80


def reader_sees(path):
    reader = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    count = reader.execute("SELECT COUNT(*) FROM durable_blob").get
    reader.close()
    return count


def test_a_checkpoint_that_fails_is_said_and_harms_nothing(writer, caplog):
    class NoRoom:
        def __init__(self, connection):
            self._connection = connection

        def __getattr__(self, name):
            return getattr(self._connection, name)

        def wal_checkpoint(self, **_):
            raise apsw.FullError("no room in the file")

    writer.log._connection = NoRoom(writer._connection)

    write(writer, 0, 20)

    assert "cannot be copied into the file" in caplog.text
    assert reader_sees(writer._path) == 20
