"""Processes killed while others talk to their runs: nothing said is lost, or heard twice.

Short in `make test`; `DURABLE_TALK_KILLS=100 pytest -m crash` is the long form.
"""

import asyncio
import collections
import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import durable
from durable._core.events import Kind
from tests.crash import invariants, talker

pytestmark = [pytest.mark.crash, pytest.mark.slow]

KILLS = int(os.environ.get("DURABLE_TALK_KILLS", "6"))
SEED = int(os.environ.get("DURABLE_SEED", "1"))
COUNT = 10 + 2 * KILLS


class Victim:
    """The process that serves the file; it is begun again after each kill."""

    def __init__(self, path):
        self.path = path
        self.process = None

    def begin(self):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(talker.__file__)), str(self.path)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def end(self, how):
        self.process.send_signal(how)
        self.process.communicate()


async def kill_again_and_again(victim, chance, done):
    """Kill the process at random moments until enough deaths, then let it serve to the end."""
    kills = 0
    while not done.is_set() and kills < KILLS:
        victim.begin()
        await asyncio.to_thread(victim.process.stdout.readline)
        await asyncio.sleep(chance.uniform(0, 0.4))
        victim.end(signal.SIGKILL)
        kills += 1
        assert invariants.file_problems(victim.path) == []
    victim.begin()
    return kills


async def send_all(client, runs, chance):
    """Send each run its signals in order, each with an id, some of them twice."""
    for n in range(COUNT):
        for run in runs:
            for _ in range(1 + (chance.random() < 0.2)):
                await run.signal(talker.number, n, id=f"n{n}")
        await asyncio.sleep(chance.uniform(0, 0.05))


async def update_all(run, chance):
    """Send updates one after another, giving up on some answers and asking again by id."""
    answers = []
    for n in range(COUNT):
        while True:
            try:
                async with asyncio.timeout(chance.uniform(0.05, 1)):
                    answers.append(await run.update(talker.add, n, id=f"u{n}"))
            except TimeoutError:
                continue
            break
    return answers


async def start_parents(start, chance):
    """Start families all along, so that deaths find them at every age."""
    started = []
    for n in range(COUNT // 2):
        started.append(await start(talker.parent, f"parent-{n}", 12))
        await asyncio.sleep(chance.uniform(0, 0.2))
    return started


async def answer_all(runs):
    for n, run in enumerate(runs):
        async for item in run.tail(talker.tokens):
            await run._client.resolve(item.value, f"answer {n}")
            break


async def follow(run):
    """Tail a stream over all deaths of its writer."""
    return [item async for item in run.tail(talker.lines)]


async def test_nothing_said_is_lost_or_heard_twice(tmp_path, capsys):
    path, chance = tmp_path / "app.db", random.Random(SEED)
    async with durable.Engine(path) as engine:
        await engine.transaction(lambda tx: tx.execute("CREATE TABLE ledger (who TEXT, n INT)"))
    victim, done = Victim(path), asyncio.Event()
    try:
        async with durable.Client(path) as client, asyncio.timeout(60 + 3 * KILLS):

            async def start(work, run_id, *args):
                return await client.start(work.options(id=run_id), *args)

            receives = await start(talker.receives, "receives", COUNT)
            handles = await start(talker.handles, "handles", COUNT)
            goes_on = await start(talker.goes_on, "goes-on", COUNT, [])
            adds = await start(talker.adds_up, "adds")
            says = await start(talker.says, "says", COUNT)
            asks = [await start(talker.asks, f"asks-{n}", "a") for n in range(10)]
            killing = asyncio.ensure_future(kill_again_and_again(victim, chance, done))
            tailing = asyncio.ensure_future(follow(says))
            _, answers, _, parents = await asyncio.gather(
                send_all(client, [receives, handles, goes_on], chance),
                update_all(adds, chance),
                answer_all(asks),
                start_parents(start, chance),
            )
            kills = await killing
            await adds.signal(talker.stop, True)
            wanted = list(range(COUNT))
            sums = [sum(wanted[: n + 1]) for n in wanted]

            assert await receives.result() == wanted
            assert sorted(await handles.result()) == wanted
            assert await goes_on.result() == wanted
            assert answers == sums
            assert await adds.result() == sums[-1]
            for one in parents:
                assert await one.result() == [-1 if n % 4 == 3 else n for n in range(12)]
            for n, one in enumerate(asks):
                assert await one.result() == f"answer {n}"
            assert await says.result() == COUNT
            seen = await tailing
    finally:
        if victim.process is not None and victim.process.poll() is None:
            victim.end(signal.SIGTERM)

    check_stream(seen)
    booked = check_ledger(path)
    assert booked["receives"] == booked["handles"] == booked["adds"] == wanted
    assert booked["child"] == sorted([n for n in range(12) if n % 4 != 3] * (COUNT // 2))
    assert invariants.check_file(path) == []
    with capsys.disabled():
        print(
            f"\n  {kills} kills; {3 * COUNT} signals, {COUNT} updates, {COUNT // 2 * 12} children, "
            f"{len(seen)} items and {sum(map(len, booked.values()))} ledger rows, each once"
        )


def check_stream(seen):
    """The workflow's items came once; an attempt's in order; each step's last attempt is whole."""
    assert [item.position for item in seen] == list(range(len(seen)))
    assert [item.value for item in seen if not item.attempt] == [f"w{n}" for n in range(COUNT)]
    by_step = collections.defaultdict(list)
    for item in seen:
        if item.attempt:
            by_step[item.step].append(item.value)
    assert len(by_step) == COUNT
    for values in by_step.values():
        # An attempt that a kill cut off is made again under its number: its items come again.
        assert values[-5:] == [f"a{n}" for n in range(5)]
        assert all(
            later == "a0" or int(later[1:]) == int(earlier[1:]) + 1
            for earlier, later in itertools.pairwise(values)
        )


def check_ledger(path):
    """Return the ledger's numbers by workflow; they are the recorded transactions', no more."""
    connection = apsw.Connection(str(path))
    rows = collections.defaultdict(list)
    for who, n in connection.execute("SELECT who, n FROM ledger ORDER BY n"):
        rows[who].append(n)
    recorded = connection.execute(
        "SELECT COUNT(*) FROM durable_event WHERE name = 'book' AND kind = ?",
        (int(Kind.COMPLETED),),
    ).get
    connection.close()
    assert recorded == sum(map(len, rows.values()))
    return rows
