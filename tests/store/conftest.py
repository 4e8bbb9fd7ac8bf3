"""Other processes, and files with tables."""

import subprocess
import sys
from pathlib import Path

import pytest

from durable._store.connection import real_path
from durable._store.store import Store
from durable._store.writer import Change
from tests.store.samples import run_row

CHILD = Path(__file__).parent / "child.py"


class Child:
    """Another process that does what `child.py` says."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self):
        return self.process.stdout.readline().strip()

    def end(self):
        """Close its input; return what else it says."""
        output, _ = self.process.communicate(timeout=30)
        return output.strip()

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child():
    """Begin other processes; none outlives the test."""
    begun = []

    def begin(*arguments):
        begun.append(Child(*arguments))
        return begun[-1]

    yield begin
    for one in begun:
        one.kill()


def ignore(*_):
    pass


@pytest.fixture
def make_store():
    """Open stores; each is closed in the end."""
    made = []

    def make(path, **options):
        options = {"durability": "normal", "deliver": ignore, "on_foreign_commit": ignore} | options
        made.append(Store(path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def path(tmp_path, make_store):
    """A file with its tables and one open run, of key 1; nobody has it open."""
    store = make_store(tmp_path / "app.db")
    store.writer.commit_now(Change(start=run_row("first")))
    store.close()
    return real_path(tmp_path / "app.db")
