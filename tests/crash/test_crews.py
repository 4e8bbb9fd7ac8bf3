"""Several processes on one file: killed, stopped, terminated and replaced at random.

Afterwards every run has ended right, no step had two bodies at once, and an attempt was repeated
only where its process had died. Short in `make test`; `DURABLE_CREW_ACTS=1000`,
`DURABLE_ROLLS=200`, `DURABLE_NEW_FILES=200` and `DURABLE_STOP_S=60` are the long form.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import apsw
import pytest

import durable
from durable._store.locks import lock_file
from tests.crash import invariants, victim
from tests.crash.invariants import Kill

pytestmark = [pytest.mark.crash, pytest.mark.slow]

HERE = Path(__file__).parent
ACTS = int(os.environ.get("DURABLE_CREW_ACTS", "6"))
ROLLS = int(os.environ.get("DURABLE_ROLLS", "2"))
NEW_FILES = int(os.environ.get("DURABLE_NEW_FILES", "5"))
STOP_S = float(os.environ.get("DURABLE_STOP_S", "1"))
SEED = int(os.environ.get("DURABLE_SEED", "1"))
# Acts of one test: one that takes minutes is taken for one that hangs.
PER_TEST = 40
WAIT_S_MAX = 60
# More than these are not open at once.
OPEN_MAX = 12


class Crew:
    """One file, one log, and the workers that serve it.

    Attributes:
        deaths: By pid, how long the log was when the process was killed, or had ended.
        acts: What was done to them.
    """

    def __init__(self, folder, seed):
        self.path, self.log = folder / "app.db", folder / "log"
        self.chance = random.Random(seed)
        self.workers = []
        self.deaths = {}
        self.kills = []
        self.acts = Counter()
        self.lives = self.retried = 0

    def begin(self):
        """Start one more worker; it may not be there yet."""
        command = [sys.executable, str(HERE / "victim.py"), "crew", str(self.path), str(self.log)]
        worker = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        worker.stdout.readline()
        self.workers.append(worker)
        return worker

    def end(self, worker, how):
        """End a worker by a signal; note what was recorded when it was surely dead."""
        self.workers.remove(worker)
        before = self.log_lines()
        worker.send_signal(how)
        worker.wait(WAIT_S_MAX)
        worker.stdout.close()
        # Others take over what a killed one had as soon as the kernel knows, and before we do; one
        # that leaves in order has nothing left when it ends.
        self.deaths[worker.pid] = before if how == signal.SIGKILL else self.log_lines()
        seen = invariants.snapshot(self.path)
        assert invariants.file_problems(self.path) == []
        self.kills.append(Kill(self.log_lines(), seen))
        self.acts[how.name] += 1

    def stop(self, worker, seconds):
        worker.send_signal(signal.SIGSTOP)
        time.sleep(seconds)  # A process that does nothing for a while.
        worker.send_signal(signal.SIGCONT)
        self.acts["SIGSTOP"] += 1

    def stop_between_commits(self, worker):
        """Stop a worker that does not write just then: in a commit it would hold up everybody."""
        locks = lock_file(os.path.realpath(self.path))
        locks.open()
        try:
            for _ in range(1_000):
                worker.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, worker.pid, os.WSTOPPED)
                if locks.take_turn():
                    locks.end_turn()
                    break
                worker.send_signal(signal.SIGCONT)
        finally:
            locks.close()
        self.acts["SIGSTOP"] += 1

    def log_lines(self):
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0

    def wait_for_lines(self, count):
        """Wait for so many more lines, or until nothing is open."""
        deadline, before = time.monotonic() + WAIT_S_MAX, self.log_lines()
        while self.log_lines() < before + count and self.count_open():
            assert time.monotonic() < deadline, "the workers make no progress"
            time.sleep(0.005)

    def count_open(self):
        # A process of ours that is no worker: this file is opened by SQLite of the library alone.
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5_000)
        count = connection.execute(
            "SELECT COUNT(*) FROM durable_run WHERE closed_us IS NULL AND state <> 'blocked'"
        ).get
        connection.close()
        return count

    async def add_life(self):
        """Start the runs of one more life, and cancel the one that is to be cancelled."""
        async with durable.Client(self.path, create=True) as client:
            for run_id, work, args, _, _ in victim.plan(self.lives):
                await client.start(work.options(id=run_id), *args)
        self.lives += 1

    async def finish(self):
        """Cancel what ends no other way, and wait until all runs have ended."""
        deadline = time.monotonic() + WAIT_S_MAX
        async with durable.Client(self.path) as client:
            for life in range(self.lives):
                with contextlib.suppress(durable.RunClosed):
                    await (await client.get(f"{life}-cancelled")).cancel("enough")
            while await client.list("status:open"):
                assert time.monotonic() < deadline, await client.list("status:open")
                for one in await client.list("status:blocked"):
                    assert "the worker died" in one.why, one
                    self.retried += 1
                    await (await client.get(one.id)).retry()
                await asyncio.sleep(0.05)

    def prove(self):
        """Let all end in order; return what was done, for people."""
        asyncio.run(self.finish())
        for worker in list(self.workers):
            self.end(worker, signal.SIGTERM)
            assert worker.returncode in {0, 143}
        expected = {
            run_id: (state, result)
            for life in range(self.lives)
            for run_id, _, _, state, result in victim.plan(life)
        }
        end, lines = invariants.snapshot(self.path), invariants.read_log(self.log)
        assert invariants.file_problems(self.path) == []
        assert invariants.check_crew(self.deaths, self.kills, end, lines, expected) == []
        done = ", ".join(f"{n} {kind}" for kind, n in sorted(self.acts.items()))
        return (
            f"\n  {done}; {len(end.runs)} runs, {len(end.steps)} steps, "
            f"{invariants.count_repeats(lines)} attempts made again, {self.retried} runs retried"
        )


@pytest.fixture
def crew(tmp_path):
    made = []

    def make(seed):
        made.append(Crew(tmp_path, seed))
        asyncio.run(made[-1].add_life())
        return made[-1]

    yield make
    for one in made:
        for worker in one.workers:
            worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()
            worker.stdout.close()


CREWS = [
    (size, first, min(PER_TEST, ACTS // 3 - first))
    for size in (1, 2, 4)
    for first in range(0, ACTS // 3, PER_TEST)
]


@pytest.mark.parametrize(("size", "first", "acts"), CREWS)
def test_workers_killed_stopped_and_terminated_end_every_run_right(capsys, crew, size, first, acts):
    crew = crew(SEED + first)
    for _ in range(size):
        crew.begin()

    for _ in range(acts):
        if crew.count_open() < OPEN_MAX:
            asyncio.run(crew.add_life())
        crew.wait_for_lines(crew.chance.randrange(1, 120))
        worker = crew.chance.choice(crew.workers)
        how = crew.chance.choice(["kill", "kill", "stop", "terminate"])
        if how == "stop":
            crew.stop(worker, crew.chance.uniform(0, 0.5))
            continue
        crew.end(worker, signal.SIGKILL if how == "kill" else signal.SIGTERM)
        crew.begin()

    said = crew.prove()
    with capsys.disabled():
        print(said)


@pytest.mark.parametrize("first", range(0, ROLLS, PER_TEST))
def test_workers_replaced_one_by_one_under_load_leave_no_run_alone(capsys, crew, first):
    crew = crew(SEED + first)
    crew.begin()

    for _ in range(min(PER_TEST, ROLLS - first)):
        if crew.count_open() < OPEN_MAX:
            asyncio.run(crew.add_life())
        crew.wait_for_lines(crew.chance.randrange(10, 60))
        old = crew.workers[0]
        crew.begin()
        crew.end(old, signal.SIGTERM)
        assert old.returncode in {0, 143}

    said = crew.prove()
    with capsys.disabled():
        print(said)


def test_a_stopped_worker_keeps_its_runs_while_others_begin(capsys, crew):
    crew = crew(SEED)
    stopped = crew.begin()
    crew.begin()
    crew.wait_for_lines(30)

    crew.stop_between_commits(stopped)
    crew.begin()
    asyncio.run(crew.add_life())
    time.sleep(STOP_S)  # Meanwhile nobody may take its runs.
    stopped.send_signal(signal.SIGCONT)

    said = crew.prove()
    with capsys.disabled():
        print(said)


OPENER = """
import asyncio, sys, durable

async def open_once(path):
    async with durable.Engine(path, functions=[]):
        pass

for line in sys.stdin:
    try:
        asyncio.run(open_once(line.strip()))
    except BaseException as error:
        print(repr(error), flush=True)
    else:
        print("opened", flush=True)
"""


def test_a_new_file_that_four_processes_open_at_once_is_one_file(tmp_path):
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    said, schemas, workers = [], set(), set()

    for number in range(NEW_FILES):
        path = tmp_path / f"{number}.db"
        for one in openers:
            one.stdin.write(f"{path}\n")
        for one in openers:
            one.stdin.flush()
        said += [one.stdout.readline().strip() for one in openers]
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        schemas.add(tuple(connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY 1")))
        workers.add(connection.execute("SELECT COUNT(*) FROM durable_worker").get)
        connection.close()
    for one in openers:
        one.communicate()

    assert Counter(said) == {"opened": 4 * NEW_FILES}
    assert len(schemas) == 1
    assert workers == {4}


# -- the checker must be able to fail -------------------------------------------------------------


def line(pid, phase, number=1):
    return {"key": "run/1/1", "name": "quick", "number": number, "pid": pid, "phase": phase}


def test_two_bodies_at_once_and_a_repeat_for_no_reason_are_found():
    begun, ended = line(1, "start"), line(1, "end")
    elsewhere = line(2, "start")

    assert invariants.check_overlaps({}, [begun, ended]) == []
    assert invariants.check_overlaps({1: 1}, [begun, elsewhere]) == []
    assert "while 1 performs it" in invariants.check_overlaps({1: 2}, [begun, elsewhere])[0]
    assert "which lives, is repeated" in invariants.check_overlaps({}, [begun, ended, elsewhere])[0]
    assert "performs it already" in invariants.check_overlaps({}, [begun, line(1, "start", 2)])[0]
