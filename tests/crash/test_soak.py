"""A service that goes on for a long time: what it uses does not grow with what it has done.

Runs start at a steady rate and are deleted by the retention once they have ended. The second half
of the time must look like the first: file and log, memory, descriptors and threads. Some seconds in
`make test`; `DURABLE_SOAK_S=1800 pytest -m long` is the long form, with 500 runs a second.
"""

import asyncio
import gc
import os
import resource
import threading
import time
from pathlib import Path
from statistics import median

import attrs
import pytest

import durable
from durable import Retention, Signal, activity, workflow
from durable._runtime import expiry
from tests.crash import invariants

SOAK_S = float(os.environ.get("DURABLE_SOAK_S", "1800"))
RUNS_PER_S = 500
AT_ONCE = 25
SAMPLES = 20
# Of its median in the first half, after a quarter of that to come to rest: chance, and no trend. A
# reader may hold the log up for a moment.
GROWTH_MAX = 1.25
# What a file and its log come to with little in them: free pages that are kept, a log of some MB.
DISK_BYTES_MIN = 24 * 1024 * 1024
go = Signal("go", str)


@activity
async def fetch(number: int) -> str:
    return "x" * (40_000 if number % 50 == 0 else 40)


@activity
def compute(text: str) -> int:
    return len(text)


@workflow
async def child(number: int) -> int:
    return number


@workflow
async def soaked(number: int) -> int:
    found = await compute(await fetch(number))
    if number % 10 == 0:
        await go.receive()
    if number % 25 == 0:
        found += await child(number)
    return found


@attrs.frozen
class Sample:
    """What a service uses at one moment."""

    disk: int
    memory: int
    descriptors: int
    threads: int


def size_of(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sample(path):
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(
        size_of(path) + size_of(path.with_name("app.db-wal")), pages * resource.getpagesize(),
        len([*Path("/proc/self/fd").iterdir()]), threading.active_count(),
    )  # fmt: skip


async def serve(path, seconds, *, keeps, leaks=None):
    """Start runs at a steady rate for so long; return samples, how many ran, and what was slow."""
    samples, number = [], 0
    retention = Retention(completed=keeps)
    async with durable.Engine(path, functions=[soaked], retention=retention) as engine:

        async def one(number):
            run = await engine.start(soaked.options(id=f"r{number}"), number)
            if number % 10 == 0:
                await run.signal(go, "now")
            await run.result()

        began = time.monotonic()
        due = [began + seconds * (k + 1) / SAMPLES for k in range(SAMPLES)]
        while due:
            turn = time.monotonic()
            await asyncio.gather(*(one(n) for n in range(number, number + AT_ONCE)))
            number += AT_ONCE
            if leaks is not None:
                leaks(number)
            if time.monotonic() > due[0]:
                due.pop(0)
                samples.append(sample(path))
            await asyncio.sleep(max(0.0, AT_ONCE / RUNS_PER_S - (time.monotonic() - turn)))
    return samples, number


def grown(samples):
    """Return what the second half had more of than the first, and how many times as much."""
    middle = len(samples) // 2
    found = {}
    for name in attrs.fields_dict(Sample):
        values = [getattr(one, name) for one in samples]
        before, after = median(values[middle // 4 : middle]), median(values[middle:])
        least = DISK_BYTES_MIN if name == "disk" else 1
        if after > GROWTH_MAX * max(before, least):
            found[name] = (before, after)
    return found


def hurry(monkeypatch):
    """Let seconds show what otherwise takes minutes: retention looks often."""
    monkeypatch.setattr(expiry, "LOOK_S", 0.1)


@pytest.mark.slow
async def test_what_a_service_uses_does_not_grow(tmp_path, monkeypatch):
    hurry(monkeypatch)

    samples, number = await serve(tmp_path / "app.db", 5.0, keeps="0.5s")

    assert grown(samples) == {}
    assert number > 200
    assert invariants.file_problems(tmp_path / "app.db") == []


@pytest.mark.slow
async def test_a_service_that_leaks_is_found(tmp_path, monkeypatch):
    hurry(monkeypatch)
    files = []

    def leak(_):
        files.append(os.open(os.devnull, os.O_RDONLY))

    samples, _ = await serve(tmp_path / "app.db", 4.0, keeps="30d", leaks=leak)
    for one in files:
        os.close(one)

    assert "descriptors" in grown(samples)


def test_a_file_and_memory_that_grow_are_found():
    samples = [Sample((30 + n) * 1024 * 1024, 1_000 + 100 * n, 1, 1) for n in range(SAMPLES)]

    assert set(grown(samples)) == {"disk", "memory"}


@pytest.mark.long
async def test_what_a_service_uses_does_not_grow_in_half_an_hour(tmp_path):
    samples, number = await serve(tmp_path / "app.db", SOAK_S, keeps="20s")

    print(f"{number:,} runs in {SOAK_S:g} s", *samples, sep="\n")
    assert grown(samples) == {}
    assert invariants.file_problems(tmp_path / "app.db") == []
