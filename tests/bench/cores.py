"""CPU-bound activities: on threads, which share one interpreter, and in processes."""

import asyncio
import time

import durable
from durable import activity, workflow

# Some seconds of pure Python: far more than a message to a process and back.
ROUNDS = 30_000_000
CALLS = 300


def compute(rounds):
    total = 0
    for number in range(rounds):
        total += number & 7
    return total


@activity
def on_a_thread(rounds: int) -> int:
    return compute(rounds)


@activity(isolation="process")
def in_a_process(rounds: int) -> int:
    return compute(rounds)


@workflow
async def two(kind: str, rounds: int) -> None:
    called = {"thread": on_a_thread, "process": in_a_process}[kind]
    await asyncio.gather(called(rounds), called(rounds))


@workflow
async def one_by_one(kind: str, calls: int) -> None:
    called = {"thread": on_a_thread, "process": in_a_process}[kind]
    for _ in range(calls):
        await called(1)


async def took(engine, workflow, kind, number):
    started = time.perf_counter()
    await (await engine.start(workflow, kind, number)).result()
    return time.perf_counter() - started


async def measure(path, repeats):
    """Return seconds by kind, for two long activities at once and for many short ones."""
    found = {}
    limits = durable.Limits(processes_max=2)
    async with durable.Engine(path, limits=limits, durability="normal") as engine:
        await took(engine, two, "process", 1)  # The processes are started.
        for _ in range(repeats):
            for kind in ("thread", "process"):
                found.setdefault((two, kind), []).append(await took(engine, two, kind, ROUNDS))
                found.setdefault((one_by_one, kind), []).append(
                    await took(engine, one_by_one, kind, CALLS)
                )
    # The best of each: whatever else uses the second core takes it from the processes alone.
    return {key: min(values) for key, values in found.items()}


def threads_against_processes(repeats, folder):
    """Return how much faster two CPU-bound activities end in two processes than on two threads."""
    with folder() as where:
        found = asyncio.run(measure(where / "app.db", repeats))
    ratio = found[two, "thread"] / found[two, "process"]
    threads, processes = found[one_by_one, "thread"], found[one_by_one, "process"]
    return {
        "two_on_threads_s": round(found[two, "thread"], 2),
        "two_in_processes_s": round(found[two, "process"], 2),
        "times_as_fast": round(ratio, 2),
        "short_call_on_a_thread_ms": round(1e3 * threads / CALLS, 3),
        "short_call_in_a_process_ms": round(1e3 * processes / CALLS, 3),
        "target": "times_as_fast >= 1.6",
        "ok": ratio >= 1.6,
    }
