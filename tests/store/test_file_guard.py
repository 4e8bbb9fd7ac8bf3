"""Other SQLite libraries, and plain reads, in the process of an engine: nothing is lost."""

import fcntl
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from durable._store.connection import connect
from durable._store.file_guard import flock, has_ofd_locks, kind_of

pytestmark = pytest.mark.skipif(
    not has_ofd_locks(), reason="this platform has no open file description locks"
)


def log_of(path):
    return Path(f"{path}-wal")


def counts(path):
    """Ask in another process how many rows there are."""
    code = (
        "import sqlite3, sys; made = sqlite3.connect(sys.argv[1]); "
        "print(made.execute('SELECT COUNT(*) FROM mine').fetchone()[0]); made.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def look_by_the_stdlib(path):
    made = sqlite3.connect(path)
    made.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    made.close()


def read_plainly(path):
    Path(path).read_bytes()


def read_the_index_plainly(path):
    Path(f"{path}-shm").read_bytes()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "app.db")


@pytest.mark.parametrize(("end", "byte"), [("", 0x40000002), ("-shm", 128)])
def test_sqlites_own_bytes_are_locked_for_other_libraries_of_this_process_too(path, end, byte):
    ours = connect(path, create=True)
    with Path(f"{path}{end}").open("r+b") as file:

        def is_locked():  # As another SQLite asks, which does not see the locks of this process.
            answer = fcntl.fcntl(file, fcntl.F_GETLK, flock(fcntl.F_WRLCK, byte, 1))
            return kind_of(answer) != fcntl.F_UNLCK

        assert is_locked()
        ours.close()
        assert not is_locked()


@pytest.mark.parametrize("beside", [look_by_the_stdlib, read_the_index_plainly])
def test_a_foreign_close_that_drops_sqlites_locks_is_known(path, beside):
    ours = connect(path, create=True)
    before = ours.guard.losses()
    assert ours.guard.losses() == before

    beside(path)

    assert ours.guard.losses() == before + 1
    assert ours.guard.losses() == before + 1  # It holds its own again.
    ours.close()


@pytest.mark.parametrize("beside", [look_by_the_stdlib, read_plainly, read_the_index_plainly])
def test_what_others_of_this_process_do_takes_nothing_away(path, beside):
    ours = connect(path, create=True)
    ours.execute("CREATE TABLE mine (n)")
    identity = log_of(path).stat().st_ino

    for number in range(20):
        ours.execute("INSERT INTO mine VALUES (?)", (number,))
        beside(path)
        assert log_of(path).stat().st_ino == identity
        assert not ours.log.is_lost()
    assert counts(path) == 20
    ours.close()

    assert counts(path) == 20
    assert not log_of(path).exists()
