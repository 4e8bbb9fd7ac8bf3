"""Killed again and again, runs that give work up leave the rows they recorded, and no other."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import durable
from tests.crash.given_up import done, gives_up, go

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
RUNS = 6


def begin(path: Path) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.given_up", str(path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"},
    )  # fmt: skip
    assert child.stdout is not None
    with child.stdout as said:
        assert said.readline() == "open\n"
    return child


def check(path: Path) -> tuple[int, int]:
    """See that the rows are those recorded; return how many there are, and how many attempts."""
    file = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows = file.execute("SELECT run, step FROM ledger ORDER BY 1, 2").fetchall()
    recorded = file.execute(
        "SELECT run.id || iif(run.ordinal > 1, '#' || run.ordinal, ''), event.step "
        "FROM durable_event AS event "
        "JOIN durable_run AS run ON run.pk = event.run WHERE event.name = 'book' "
        "AND event.kind = 1 "
        "ORDER BY 1, 2"
    ).fetchall()
    left = file.execute(
        "SELECT COUNT(*) FROM durable_step AS step "
        "JOIN durable_run AS run ON run.pk = step.run WHERE run.closed_us IS NOT NULL"
    ).get
    file.close()
    assert rows == recorded
    assert left == 0
    return len(rows), len(recorded)


async def play(path: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    child = begin(path)
    killed = rows = 0
    async with durable.Client(path) as client:
        for batch in range(10_000):
            runs = [await client.start(gives_up.options(id=f"{batch}-{n}"), 8) for n in range(RUNS)]
            for number, run in enumerate(runs):
                await run.signal(go, number)
            for _ in range(3):
                await asyncio.sleep(chance.uniform(0.0, 0.06))
                if chance.random() < 0.3:
                    why = (await runs[0].details()).why
                    assert await runs[0].status() != "blocked", why
                    with contextlib.suppress(durable.WrongState):  # It is paused already.
                        await runs[0].pause("random")
                    await asyncio.sleep(chance.uniform(0.0, 0.02))
                child.kill()
                child.wait()
                killed += 1
                rows, _ = check(path)
                child = begin(path)
                if await runs[0].status() == "paused" or chance.random() < 0.5:
                    with contextlib.suppress(durable.WrongState):
                        await runs[0].resume()
            for run in runs:
                await run.signal(done, None)
            with contextlib.suppress(durable.RunClosed):
                await runs[1].cancel("random")
            async with asyncio.timeout(60):
                for run in runs:
                    while (status := await run.status()) not in {"completed", "cancelled"}:
                        if status == "paused":
                            await run.resume()
                        assert status != "blocked", (await run.details()).why
                        await asyncio.sleep(0.01)
            if killed >= kills:
                break
    child.kill()
    child.wait()
    rows, _ = check(path)
    print(f"\n  {killed} kills; {rows} rows of transactions, each recorded")


async def test_rows_are_what_was_recorded_whenever_it_is_killed(tmp_path):
    await play(tmp_path / "app.db", kills=9, seed=1)


@pytest.mark.long
async def test_rows_are_what_was_recorded_in_a_hundred_kills(tmp_path):
    await play(tmp_path / "app.db", kills=int(os.environ.get("DURABLE_KILLS", "100")), seed=7)
