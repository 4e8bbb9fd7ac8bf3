"""The longest stop of the host's loop while a large value passes from one step to the next.

Measured by the CPU time of the loop's thread between two turns, so that other threads and programs
do not count. The floor is what cannot be elsewhere: encoding the arguments as they are at the call.
"""

import asyncio
import time

import msgspec

import durable
from durable import activity, workflow

SIZES = (10_000_000, 50_000_000)
Rows = list[dict[str, int | str]]


@activity
async def make_text(size: int) -> str:
    return "x" * size


@activity
async def take_text(text: str) -> int:
    return len(text)


@activity
async def make_rows(size: int) -> Rows:
    return [{"id": n, "name": f"name {n} and some more text"} for n in range(size // 50)]


@activity
async def take_rows(rows: Rows) -> int:
    return len(rows)


@workflow
async def passes_text(size: int) -> int:
    return await take_text(await make_text(size))


@workflow
async def passes_rows(size: int) -> int:
    return await take_rows(await make_rows(size))


def floor(value):
    """Return the milliseconds of encoding a value once."""
    began = time.thread_time()
    msgspec.json.encode([value])
    return 1e3 * (time.thread_time() - began)


async def longest_stop(path, passes, size):
    """Return the longest stop in milliseconds of the loop's own time."""
    longest, last = 0.0, time.thread_time()

    async def turn():
        nonlocal longest, last
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    async with durable.Engine(path, functions=[passes_text, passes_rows]) as engine:
        await (await engine.start(passes, 100)).result()
        last = time.thread_time()
        turning = asyncio.ensure_future(turn())
        await (await engine.start(passes, size)).result()
        turning.cancel()
    return 1e3 * longest


def stops(folder):
    """Return the longest stops by size and kind, and how many times the floor they are."""
    found, worst = {}, 0.0
    for size in SIZES:
        for name, passes, make in (
            ("text", passes_text, lambda size: "x" * size),
            ("rows", passes_rows, lambda size: asyncio.run(make_rows.fn(size))),
        ):
            with folder() as where:
                stop = asyncio.run(longest_stop(where / "large.db", passes, size))
            times = stop / floor(make(size))
            worst = max(worst, times)
            found[f"{size // 1_000_000}_mb_of_{name}_ms"] = round(stop, 1)
            found[f"{size // 1_000_000}_mb_of_{name}_times_floor"] = round(times, 2)
    return {**found, "target": "times_floor <= 3", "ok": worst <= 3}
