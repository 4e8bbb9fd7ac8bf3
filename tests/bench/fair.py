"""How fairly processes share one file: commits of each in a tight loop, and a signal beside them.

Prints, for 2 and for 4 processes that do nothing but commit, how many commits each made, the
largest against the smallest, and how long a `signal()` from one more process took.

    python tests/bench/fair.py [SECONDS]
"""

import asyncio
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import durable
from durable._store.store import Store
from durable._store.writer import Change

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
item = durable.Signal("item", int)


@durable.workflow
async def listens() -> None:
    while True:
        await item.receive()


def commit(path, begin, end_s, counts, number):
    """Commit again and again; note how often."""
    store = Store(path, durability="full", deliver=lambda _: None, on_foreign_commit=lambda: None)
    row = (None, "bench", "bench", "", "{}", 0)
    begin.wait()
    until, count = time.monotonic() + end_s, 0
    while time.monotonic() < until:
        store.writer.commit_now(Change(operation=lambda tx: tx.rows("insert_audit", [row])))
        count += 1
    counts[number] = count
    store.close()


async def signal(path, begin, end_s):
    """Send signals one after another; return how long each took, in seconds."""
    took = []
    async with durable.Client(path) as client:
        run = await client.start(listens.options(id="listens"))
        await asyncio.to_thread(begin.wait)
        until = time.monotonic() + end_s
        while time.monotonic() < until:
            before = time.monotonic()
            await run.signal(item, 1)
            took.append(time.monotonic() - before)
            await asyncio.sleep(0.005)
    return sorted(took)


def measure(folder, processes):
    path = str(folder / f"{processes}.db")

    async def make():
        async with durable.Client(path, create=True):
            pass

    asyncio.run(make())
    context = multiprocessing.get_context("spawn")
    begin, counts = context.Barrier(processes + 1), context.Array("q", processes)
    writers = [
        context.Process(target=commit, args=(path, begin, SECONDS, counts, number))
        for number in range(processes)
    ]
    for one in writers:
        one.start()
    took = asyncio.run(signal(path, begin, SECONDS))
    for one in writers:
        one.join()
    made = sorted(counts)
    at = {share: took[min(len(took) - 1, int(len(took) * share))] for share in (0.5, 0.99, 0.999)}
    print(
        f"{processes} processes: commits {made}, largest / smallest {made[-1] / made[0]:.2f}; "
        f"{len(took)} signals: p50 {at[0.5] * 1e3:.1f} ms, p99 {at[0.99] * 1e3:.1f} ms, "
        f"p99.9 {at[0.999] * 1e3:.1f} ms, longest {took[-1] * 1e3:.1f} ms"
    )


def main():
    with tempfile.TemporaryDirectory() as folder:
        for processes in (2, 4):
            measure(Path(folder), processes)


if __name__ == "__main__":
    main()
