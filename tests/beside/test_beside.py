"""Whatever a service does with its file beside the engine: nothing is lost, nothing doubled."""

import asyncio
import importlib.util
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import durable
from durable._store.file_guard import has_ofd_locks
from tests.beside import ways
from tests.beside.service import STEPS, puts
from tests.crash.invariants import file_problems

pytestmark = pytest.mark.skipif(
    not has_ofd_locks(), reason="this platform has no open file description locks"
)
ROOT = Path(__file__).parents[2]
RUNS = 25


def needs(way):
    """Mark a way that needs a library which is not here."""
    name = way.__name__
    is_there = way not in ways.BY_OTHERS or importlib.util.find_spec(name) is not None
    reason = f"{name} is not installed: make beside"
    return pytest.param(name, marks=[] if is_there else [pytest.mark.skip(reason=reason)])


WAYS = [needs(way) for way in (*ways.PLAIN, *ways.BY_OTHERS)]


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return str(folder / "app.db")


def begin(path, name, way, runs=RUNS):
    """Begin a service in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.beside.service", path, name, way, str(runs)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(service):
    """Wait for a service; return the runs that it said are done."""
    out, err = service.communicate(timeout=60)
    assert (service.returncode, err) == (0, "")
    return out.split()


def assert_whole(path, names):
    """Everything that was said to be done is in the file, once; and the file is one and whole."""
    left = {one.name for one in Path(path).parent.iterdir() if not one.name.endswith(".copied")}
    assert left == {"app.db", "app.db-lock"}
    made = sqlite3.connect(path)
    done = {
        f"{name}": steps
        for name, steps in made.execute(
            "SELECT run.id, (SELECT COUNT(*) FROM durable_event AS event WHERE event.run = run.pk) "
            "FROM durable_run AS run WHERE state = 'completed'"
        )
    }
    assert made.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    made.close()
    assert done == dict.fromkeys(names, STEPS)
    assert file_problems(path) == []


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost_beside_it_in_one_process(path, way):
    names = ended(begin(path, "a", way))

    assert len(names) == RUNS
    assert_whole(path, names)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost_beside_it_with_a_second_process(path, way):
    services = [begin(path, "a", way), begin(path, "b", "nothing")]

    names = [name for one in services for name in ended(one)]

    assert len(names) == 2 * RUNS
    assert_whole(path, names)


@pytest.mark.slow
def test_nothing_is_lost_while_outsiders_come_and_go(path):
    service = begin(path, "a", "nothing", 4 * RUNS)
    code = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT 1').fetchone())"

    looks = 0
    while service.poll() is None:
        if Path(path).exists():
            subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True)
            looks += 1
    names = ended(service)

    assert looks > 3
    assert_whole(path, names)


async def test_a_connection_opened_before_the_engine_and_closed_within_takes_nothing(path):
    async with durable.Engine(path, functions=[puts]):
        pass
    before = sqlite3.connect(path)
    before.execute(ways.LOOK).fetchone()

    async with durable.Engine(path, functions=[puts]) as engine:
        for number in range(3):
            await (await engine.start(puts.options(id=f"a-{number}"), number)).result()
        before.close()
        for number in range(3, 6):
            await (await engine.start(puts.options(id=f"a-{number}"), number)).result()

    assert_whole(path, [f"a-{number}" for number in range(6)])


async def test_the_engine_takes_nothing_from_a_connection_that_stays(path):
    async with durable.Engine(path, functions=[puts]) as engine:
        await (await engine.start(puts.options(id="a-0"), 0)).result()
        stays = sqlite3.connect(path, isolation_level=None)
        stays.execute("CREATE TABLE mine (n)")

    stays.execute("INSERT INTO mine VALUES (1)")
    with durable.view(path) as runs:
        assert len(runs.list()) == 1
    assert Path(f"{path}-wal").exists()
    stays.execute("INSERT INTO mine VALUES (2)")
    stays.close()

    after = sqlite3.connect(path)
    assert after.execute("SELECT n FROM mine").fetchall() == [(1,), (2,)]
    after.close()


@pytest.mark.slow
async def test_a_reader_held_open_over_load_costs_nobody_anything(path, monkeypatch):
    monkeypatch.setattr("durable._store.wal.CHECKPOINT_PAGES", 100)
    async with durable.Engine(path, functions=[puts]) as engine:
        await (await engine.start(puts.options(id="a-0"), 0)).result()
        held = sqlite3.connect(path, isolation_level=None)
        held.execute("BEGIN")
        held.execute(ways.LOOK).fetchone()
        many = [await engine.start(puts.options(id=f"a-{n}"), n) for n in range(1, 100)]
        await asyncio.gather(*(run.result() for run in many))
        held.close()
        await (await engine.start(puts.options(id="a-100"), 100)).result()

    assert_whole(path, [f"a-{number}" for number in range(101)])
