"""Opening, closing and taking over a file of a million parked runs, against an empty one."""

import asyncio
import multiprocessing
import signal
import sys
import tempfile
import time
from pathlib import Path

import apsw

import durable
from durable._store.store import Store

COUNT = 1_000_000
WARM = 1_000
MONTH_US = 30 * 86_400 * 1_000_000
REPEATS = 3
_INSERT = """
INSERT INTO durable_run (id, ordinal, workflow, state, queue, priority, salt, arguments,
 fingerprint, checksum, cause, code, created_us, started_us, clock_us, wake_at_us, waits)
VALUES (?, 1, 'sleeps', 'parked', 'default', 0, ?, '[]', 0, 0, 'started', 'c0de', ?, ?, ?, ?,
 '{"kind":"sleeping"}')
"""


@durable.workflow
async def sleeps() -> None:
    await durable.sleep("30d")


@durable.workflow
async def answers() -> int:
    return 1


def make(path, count):
    """Make a file of so many runs that sleep for a month."""
    nothing = lambda *_: None
    Store(path, durability="normal", deliver=nothing, on_foreign_commit=nothing).close()
    now_us = time.time_ns() // 1_000
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = OFF; BEGIN")
    connection.executemany(
        _INSERT,
        ((f"p{n}", n, now_us, now_us, now_us, now_us + MONTH_US + n) for n in range(count)),
    )
    connection.execute(
        "INSERT OR REPLACE INTO durable_tally VALUES ('sleeps', 'parked', 'sleeping', ?)", (count,)
    )
    connection.execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def open_and_close(path):
    """Return how long opening takes, a run of one in it, and closing; in milliseconds."""
    began = time.perf_counter()
    engine = durable.Engine(path, functions=[sleeps, answers])
    await engine.__aenter__()
    opened = time.perf_counter()
    await (await engine.start(answers)).result()
    answered = time.perf_counter()
    await engine.__aexit__(None, None, None)
    closed = time.perf_counter()
    return 1e3 * (opened - began), 1e3 * (answered - opened), 1e3 * (closed - answered)


def own(path, pipe):
    """Own some runs, in a process of its own, until it is killed."""

    async def main():
        async with durable.Engine(path, functions=[sleeps, answers]) as engine:
            await asyncio.gather(*(engine.start(sleeps) for _ in range(WARM)))
            pipe.send("owned")
            await asyncio.Event().wait()

    asyncio.run(main())


async def take_over(path):
    """Return the milliseconds from a kill until another engine has each run of the dead one."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=own, args=(str(path), there))
    process.start()
    async with durable.Engine(path, functions=[sleeps, answers]) as engine:
        await asyncio.to_thread(here.recv)
        dead = max(one.id for one in engine._viewer.workers() if one.is_alive)
        process.kill()
        await asyncio.to_thread(process.join)
        began = time.perf_counter()
        looking = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        owned = "SELECT COUNT(*) FROM durable_run WHERE worker_id = ?"
        while looking.execute(owned, (dead,)).get:
            await asyncio.sleep(0.005)
        return 1e3 * (time.perf_counter() - began)


def measure(count):
    """Return the medians for a file of so many parked runs."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "app.db"
        make(path, count)
        found = [asyncio.run(open_and_close(path)) for _ in range(REPEATS)]
        medians = [sorted(one)[REPEATS // 2] for one in zip(*found, strict=True)]
        names = ("open_ms", "start_to_result_ms", "close_ms")
        took = dict(zip(names, (round(one, 1) for one in medians), strict=True))
        return {**took, "takeover_ms": round(asyncio.run(take_over(path)), 1)}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for size in (0, int(sys.argv[1]) if len(sys.argv) > 1 else COUNT):
        print(size, measure(size))
