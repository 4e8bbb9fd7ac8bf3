"""The suite notices when a guard is taken away: each is removed alone, and some test must fail.

The package is copied, one line of it is changed, and the tests that hold that line run against the
copy. A mutant that lives is a guard that nothing tests.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
WRITER, WAL, LOCKS = "_store/writer.py", "_store/wal.py", "_store/locks.py"
GUARD, STORE, REOPENING = "_store/file_guard.py", "_store/store.py", "_runtime/reopening.py"


@attrs.frozen
class Mutant:
    """One line that is changed, and the tests that hold it."""

    name: str
    file: str
    line: str
    becomes: str
    tests: str


MUTANTS = [
    Mutant("the fence", WRITER, 'if row is None or row[0] != "live":', "if False:", "store"),
    Mutant(
        "the version in the fence",
        WRITER,
        "if version > FILE_VERSION:",
        "if False:",
        "runtime/test_log.py",
    ),
    Mutant("BEGIN IMMEDIATE", WRITER, 'execute("BEGIN IMMEDIATE")', 'execute("BEGIN")', "store"),
    Mutant(
        "full syncs",
        WRITER,
        '= 2 if durability == "full" else 1',
        "= 1",
        "crash/power/test_power_cuts.py",
    ),
    Mutant(
        "the sync of intents",
        WRITER,
        'return 2 if any(row[0] == "insert_once"',
        'return 1 if any(row[0] == "insert_once"',
        "runtime/test_log.py",
    ),
    Mutant(
        "the look for the file",
        WRITER,
        "if self._has_moved():\n            raise",
        "if False:\n            raise",
        "runtime/test_moved.py",
    ),
    Mutant(
        "the look for the log",
        WRITER,
        "if self.log.is_lost():\n            raise",
        "if False:\n            raise",
        "runtime/test_log.py",
    ),
    Mutant(
        "the byte of who writes",
        LOCKS,
        "fcntl.fcntl(self._fd, SET_LOCK, _TAKE)",
        "pass",
        "store/test_locks.py",
    ),
    Mutant(
        "the byte of a worker",
        LOCKS,
        "if not set_lock(self._fd, fcntl.F_WRLCK, worker, 1):\n                return False",
        "if False:\n                return False",
        "store/test_locks.py",
    ),
    Mutant(
        "the lock of the file",
        GUARD,
        "while not _set(self._file, fcntl.F_RDLCK, *_SHARED):",
        "while False:",
        "store/test_file_guard.py beside",
    ),
    Mutant(
        "the lock of the index",
        GUARD,
        "_set(self._shm, fcntl.F_RDLCK, *_SOMEBODY_IS_HERE)",
        "pass",
        "store/test_file_guard.py beside",
    ),
    Mutant("the canary", GUARD, "self._losses += 1", "pass", "store/test_file_guard.py"),
    Mutant("company at the end", GUARD, "if not self._has_company():", "if True:", "beside"),
    Mutant(
        "the copy of the log at the end", GUARD, "copy_log()\n", "pass\n", "runtime/test_log.py"
    ),
    Mutant(
        "the log written once more",
        WAL,
        "self._write_again(synced)",
        "pass",
        "crash/power/test_io_faults.py",
    ),
    Mutant(
        "the log emptied first", STORE, "if after is not None:", "if False:", "runtime/test_log.py"
    ),
    Mutant(
        "a failed checkpoint",
        WAL,
        "except apsw.IOError as error:\n            return",
        "except ZeroDivisionError as error:\n            return",
        "runtime/test_log.py",
    ),
    Mutant(
        "another file",
        REOPENING,
        "if self._is_other_file():\n            raise",
        "if False:\n            raise",
        "runtime/test_moved.py",
    ),
    Mutant(
        "a new lock file",
        STORE,
        "if self.locks.is_new:\n            return []",
        "if False:\n            return []",
        "store/test_locks.py",
    ),
    Mutant(
        "the count of logs",
        "_store/wholeness.py",
        "and record.logs > logs:",
        "and False:",
        "runtime/test_log.py",
    ),
    Mutant(
        "the log of another file",
        "_store/wholeness.py",
        "and log == record.log and file != record.file:",
        "and False:",
        "runtime/test_log.py",
    ),
]


@pytest.fixture
def copy(tmp_path):
    """Copy the package and its tests."""
    for name in ("durable", "cli", "tests", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run_tests(copy, tests):
    """Run some tests of the copy; return pytest's exit code and the end of what it says."""
    chosen = [f"tests/{one}" for one in tests.split()]
    quick = ["-q", "-x", "-p", "no:cacheprovider", "-m", "not long and not browser"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *quick, *chosen],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{copy / 'cli'}"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout[-2_000:]


@pytest.mark.long
@pytest.mark.crash
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_guard_that_is_taken_away_is_missed(copy, mutant):
    file = copy / "durable" / mutant.file
    text = file.read_text()
    assert text.count(mutant.line) == 1
    file.write_text(text.replace(mutant.line, mutant.becomes))

    code, said = run_tests(copy, mutant.tests)

    assert code == 1, (
        f"{mutant.name} can be taken away, and no test of {mutant.tests} fails: {said}"
    )


def test_every_line_that_is_changed_is_there_once():
    for mutant in MUTANTS:
        text = (ROOT / "durable" / mutant.file).read_text()
        assert text.count(mutant.line) == 1, mutant.name
