"""Measures what runs say to each other and to the outside; see `bench.py`."""

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import apsw
import floor

import durable
from durable import Signal, Stream, Update, Value, activity, transaction, workflow

ping = Signal("ping", int)
pong = Value("pong", int)
add = Update("add", int, int)
stop = Signal("stop", bool)
tokens = Stream("tokens", float)


@workflow
async def echoes(count: int) -> int:
    for _ in range(count):
        pong.set(await ping.receive())
    return count


@workflow
async def adds() -> int:
    total = 0

    @add.handler
    async def on_add(value: int) -> int:
        nonlocal total
        total += value
        return total

    await stop.receive()
    return total


@activity
async def tiny(number: int) -> int:
    return number + 1


@workflow
async def one_step(number: int) -> int:
    return await tiny(number)


@workflow
async def fans_out(count: int) -> int:
    return sum(await asyncio.gather(*(one_step(number) for number in range(count))))


@activity
async def speaks(count: int, pause_s: float) -> None:
    for _ in range(count):
        tokens.append(time.time())
        if pause_s:
            await asyncio.sleep(pause_s)


@workflow
async def talks(count: int, pause_s: float) -> None:
    await speaks(count, pause_s)


@transaction
def take(cursor: durable.Cursor, number: int) -> int:
    cursor.execute("INSERT INTO stock VALUES (?)", (number,))
    return number


@workflow
async def sells(count: int) -> int:
    for number in range(count):
        await take(number)
    return count


def median(values):
    return statistics.median(values)


def idle_workflow(number):
    async def idle() -> None:
        await asyncio.sleep(1e6)

    idle.__name__ = idle.__qualname__ = f"idle_{number}"
    return workflow(idle)


async def round_trips(path, runs, each, functions=None):
    """Return seconds for signals that each run answers by a value somebody watches for."""
    async with durable.Engine(path, functions=functions) as engine:
        handles = [await engine.start(echoes, each) for _ in range(runs)]

        async def play(handle):
            watching = handle.watch(pong)
            for number in range(each):
                await handle.signal(ping, number)
                while await anext(watching) != number:
                    pass

        gc.collect()
        started = time.perf_counter()
        await asyncio.gather(*(play(handle) for handle in handles))
        return time.perf_counter() - started


def with_many_known(repeats, folder, count=500, each=300):
    """Return signals there and back, one after the other, with few and many workflows known."""
    few = [echoes, adds, talks, sells]
    many = few + [idle_workflow(number) for number in range(count)]
    took = {4: [], 4 + count: []}
    for _ in range(repeats):
        for functions in (few, many):
            with folder() as where:
                trips = round_trips(where / "app.db", 1, each, functions)
                took[len(functions)].append(asyncio.run(trips))
    rates = {known: each / median(found) for known, found in took.items()}
    ratio = rates[4] / rates[4 + count]
    return {
        "round_trips_per_s_4_known": round(rates[4]),
        f"round_trips_per_s_{4 + count}_known": round(rates[4 + count]),
        "times_as_slow": round(ratio, 2),
        "target": "times_as_slow <= 1.1",
        "ok": ratio <= 1.1,
    }


async def updates(path, runs, each):
    async with durable.Engine(path) as engine:
        handles = [await engine.start(adds) for _ in range(runs)]

        async def play(handle):
            for number in range(each):
                await handle.update(add, number)

        gc.collect()
        started = time.perf_counter()
        await asyncio.gather(*(play(handle) for handle in handles))
        return time.perf_counter() - started


def signals_and_updates(run, repeats, folder):
    alone, many = [], []
    for _ in range(repeats):
        with folder() as where:
            alone.append(200 / asyncio.run(run(where / "one.db", 1, 200)))
            many.append(2_000 / asyncio.run(run(where / "many.db", 100, 20)))
    return {"per_s_one_run": round(median(alone)), "per_s_100_runs": round(median(many))}


async def children(path, count):
    async with durable.Engine(path) as engine:
        gc.collect()
        started = time.perf_counter()
        await (await engine.start(fans_out, count)).result()
        return time.perf_counter() - started


async def independent(path, count):
    async with durable.Engine(path) as engine:
        gc.collect()
        started = time.perf_counter()
        handles = await asyncio.gather(*(engine.start(one_step, n) for n in range(count)))
        await asyncio.gather(*(handle.result() for handle in handles))
        return time.perf_counter() - started


def fan_out(repeats, folder, count=500):
    ours, theirs = [], []
    for _ in range(repeats):
        with folder() as where:
            theirs.append(asyncio.run(independent(where / "a.db", count)))
            ours.append(asyncio.run(children(where / "b.db", count)))
    return {
        "ms_500_children": round(1e3 * median(ours)),
        "ms_500_runs": round(1e3 * median(theirs)),
        "times_independent": round(median(ours) / median(theirs), 2),
        "target": "times_independent <= 1.5",
        "ok": median(ours) / median(theirs) <= 1.5,
    }


async def written(path, count):
    async with durable.Engine(path) as engine:
        started = time.perf_counter()
        run = await engine.start(talks, count, 0.0)
        seen = 0
        async for _ in run.tail(tokens):
            seen += 1
        assert seen == count
        return time.perf_counter() - started


async def delays(path, count):
    """Return how late another process sees each item, in seconds."""
    async with durable.Engine(path) as engine:
        run = await engine.start(talks, count, 0.01)
        child = await asyncio.create_subprocess_exec(
            sys.executable, __file__, str(path), run.id, stdout=subprocess.PIPE
        )
        output, _ = await child.communicate()
        await run.result()
    # What was appended before the other process had started is late by its start.
    return sorted(json.loads(output)[count // 2 :])


async def follow(path, run_id):
    found = []
    async with durable.Client(path) as client:
        run = await client.get(run_id)
        async for item in run.tail(tokens):
            found.append(time.time() - item.value)
    print(json.dumps(found))


def streams(repeats, folder):
    rates, late = [], []
    for _ in range(repeats):
        with folder() as where:
            rates.append(20_000 / asyncio.run(written(where / "a.db", 20_000)))
            late += asyncio.run(delays(where / "b.db", 300))
    late.sort()
    return {
        "items_per_s_written_and_tailed": round(median(rates)),
        "delay_ms_p50_other_process": round(1e3 * late[len(late) // 2], 1),
        "delay_ms_p99_other_process": round(1e3 * late[len(late) * 99 // 100], 1),
        "target": "delay p99 < 50 ms",
        "ok": late[len(late) * 99 // 100] < 0.05,
    }


async def transactions(path, runs, each):
    async with durable.Engine(path) as engine:
        await engine.transaction(lambda tx: tx.execute("CREATE TABLE stock (n INTEGER)") and None)
        gc.collect()
        started = time.perf_counter()
        handles = await asyncio.gather(*(engine.start(sells, each) for _ in range(runs)))
        await asyncio.gather(*(handle.result() for handle in handles))
        took = time.perf_counter() - started
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT COUNT(*) FROM stock").get == runs * each
    connection.close()
    return took


def transactions_against_floor(repeats, folder, runs=200, each=10):
    ours, theirs = [], []
    for _ in range(repeats):
        with folder() as where:
            theirs.append(asyncio.run(floor.many_transactions(where / "floor.db", runs, each)))
            ours.append(asyncio.run(transactions(where / "app.db", runs, each)))
    return {
        "per_s": round(runs * each / median(ours)),
        "floor_per_s": round(runs * each / median(theirs)),
        "of_floor": round(median(theirs) / median(ours), 3),
    }


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent)]
    asyncio.run(follow(sys.argv[1], sys.argv[2]))
