"""Measures durable against the bare floor, side by side in one run, and prints medians.

    python tests/bench/bench.py            # everything: a table, then one JSON document
    python tests/bench/bench.py a d        # some of it
    python tests/bench/bench.py --json     # the JSON document alone

Ratios count, not seconds: every number has its floor measured in the same minutes.
"""

import asyncio
import contextlib
import gc
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

import apsw  # noqa: E402
import cores  # noqa: E402
import floor  # noqa: E402
import large  # noqa: E402
import million  # noqa: E402
import pages  # noqa: E402
import parked  # noqa: E402
import talk  # noqa: E402

import durable  # noqa: E402
from durable import activity, workflow  # noqa: E402

REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))


@activity
async def tiny(number: int) -> int:
    return number + 1


@workflow
async def chain(steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await tiny(value)
    return value


@workflow
async def sleeper(seconds: float) -> int:
    await durable.sleep(seconds)
    return 1


@activity
async def slowish(number: int) -> int:
    await asyncio.sleep(0.05)
    return number


@workflow
async def in_flight(steps: int) -> int:
    for number in range(steps):
        await slowish(number)
    return steps


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        yield Path(name)


@contextlib.contextmanager
def busy_thread(on):
    stop = False

    def spin():
        number = 0
        while not stop:
            number += 1

    thread = threading.Thread(target=spin, daemon=True)
    if on:
        thread.start()
    try:
        yield
    finally:
        stop = True
        if on:
            thread.join()


def median(values):
    return statistics.median(values)


async def run_many(path, runs, steps, durability="full"):
    async with durable.Engine(path, durability=durability) as engine:
        gc.collect()
        started = time.perf_counter()
        handles = await asyncio.gather(*(engine.start(chain, steps) for _ in range(runs)))
        await asyncio.gather(*(handle.result() for handle in handles))
        return time.perf_counter() - started


def bench_a(runs=1_000, steps=20):
    """1,000 runs x 20 tiny async steps, full durability, against the floor, alternating."""
    ours, theirs, without_tasks = [], [], []
    for _ in range(REPEATS):
        with folder() as where:
            theirs.append(asyncio.run(floor.many_runs(where / "floor.db", runs, steps)))
            calls = floor.many_runs(where / "calls.db", runs, steps, tasks=False)
            without_tasks.append(asyncio.run(calls))
            ours.append(asyncio.run(run_many(where / "app.db", runs, steps)))
    count = runs * steps
    return {
        "steps_per_s": round(count / median(ours)),
        "floor_steps_per_s": round(count / median(theirs)),
        "of_floor": round(median(theirs) / median(ours), 3),
        "of_floor_without_tasks": round(median(without_tasks) / median(ours), 3),
        "target": "of_floor >= 0.28",
        "ok": median(theirs) / median(ours) >= 0.28,
    }


async def one_run(path, steps, durability, *, script):
    async with durable.Engine(path, durability=durability) as engine:
        engine._running().owns_loop = script  # what durable.run and `durable worker` set
        await (await engine.start(chain, 10)).result()
        started = time.perf_counter()
        await (await engine.start(chain, steps)).result()
        return time.perf_counter() - started


def bench_b(steps=500):
    """One run of 500 sequential steps, as durable.run drives it, against 500 fsynced commits."""
    ours, embedded, theirs, normal = [], [], [], []
    for _ in range(REPEATS):
        with folder() as where:
            theirs.append(floor.sequential_commits(where / "floor.db", steps))
            ours.append(asyncio.run(one_run(where / "a.db", steps, "full", script=True)))
            embedded.append(asyncio.run(one_run(where / "b.db", steps, "full", script=False)))
            normal.append(asyncio.run(one_run(where / "n.db", 2_000, "normal", script=True)))
    return {
        "ms_per_step": round(1e3 * median(ours) / steps, 3),
        "ms_per_fsynced_commit": round(1e3 * median(theirs) / steps, 3),
        "times_floor": round(median(ours) / median(theirs), 2),
        "times_floor_embedded": round(median(embedded) / median(theirs), 2),
        "normal_steps_per_s": round(2_000 / median(normal)),
        "target": "times_floor <= 1.5, normal_steps_per_s >= 5000",
        "ok": median(ours) / median(theirs) <= 1.5 and 2_000 / median(normal) >= 5_000,
    }


def bench_c(runs=2_000):
    """2,000 one-step runs started and awaited."""
    took = []
    for _ in range(REPEATS):
        with folder() as where:
            took.append(asyncio.run(run_many(where / "app.db", runs, 1)))
    return {"runs_per_s": round(runs / median(took))}


async def latencies(path, count, durability="full"):
    found = []
    async with durable.Engine(path, durability=durability) as engine:
        for number in range(count + 20):
            started = time.perf_counter()
            await (await engine.start(chain, 1)).result()
            if number >= 20:
                found.append(time.perf_counter() - started)
            await asyncio.sleep(0.001)
    return sorted(found)


def bench_d(count=300):
    """Start to result of a one-step run, idle: p50 and p99 against two fsyncs."""
    with folder() as where:
        fsync = floor.sequential_commits(where / "floor.db", 300) / 300
        found = asyncio.run(latencies(where / "app.db", count))
    p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
    return {
        "p50_ms": round(1e3 * p50, 3),
        "p99_ms": round(1e3 * p99, 3),
        "fsynced_commit_ms": round(1e3 * fsync, 3),
        "target": "p50 <= 2 fsyncs + 1 ms",
        "ok": p50 <= 2 * fsync + 0.001,
    }


async def record_for_replay(path, steps):
    async with durable.Engine(path, durability="normal") as engine:
        run = await engine.start(never_ends.options(id="replayed"), steps)
        while (await run.details()).events < steps:
            await asyncio.sleep(0.01)
        engine._worker.crash()
        engine._worker = None


@workflow
async def never_ends(steps: int) -> int:
    for number in range(steps):
        await tiny(number)
    await asyncio.sleep(1e6)
    return steps


async def time_replay(path):
    async with durable.Engine(path, functions=[]) as engine:
        worker = engine._worker
        engine._given = {"never_ends": [never_ends]}
        from durable._runtime.runs import LiveRun

        row = worker.store.reader.find_newest("replayed")
        run = LiveRun(worker, row, never_ends)
        gc.collect()
        started = time.perf_counter()
        assert run.replay()
        took = time.perf_counter() - started
        run.release()
        return took


def bench_e(steps=20_000):
    """Replay: sequential events a second, rows read from the file included."""
    took = []
    with folder() as where:
        asyncio.run(record_for_replay(where / "app.db", steps))
        for _ in range(REPEATS):
            took.append(asyncio.run(time_replay(where / "app.db")))
    rate = steps / median(took)
    return {"events_per_s": round(rate), "target": ">= 80000", "ok": rate >= 80_000}


def rss_mb():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def file_bytes(path):
    connection = apsw.Connection(str(path))
    # A checkpoint on a connection that has read nothing does nothing.
    connection.execute("SELECT COUNT(*) FROM durable_run").fetchall()
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    return path.stat().st_size


async def sleepers(path, count, seconds):
    async with durable.Engine(path) as engine:
        await (await engine.start(chain, 1)).result()
        gc.collect()
        before = rss_mb()
        due = []

        async def one():
            handle = await engine.start(sleeper, seconds)
            due.append(time.time() + seconds)
            return handle

        handles = []
        for _ in range(count // 500):
            handles += await asyncio.gather(*(one() for _ in range(500)))
        while len(engine._worker.live) > engine._worker.limits.warm_runs_max + 500:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)
        gc.collect()
        parked = rss_mb() - before
        live = len(engine._worker.live)
        lates = []
        for handle in handles:
            await handle.result()
        for handle in handles:
            row = engine._get_row(handle._pk)
            lates.append(row.closed_us / 1e6 - (row.started_us / 1e6 + seconds))
        lates.sort()
        return parked, live, lates


def bench_f(count=10_000):
    """Bytes of file a small step; memory of 10,000 sleeping runs; how late they wake."""
    with folder() as where:
        asyncio.run(run_many(where / "small.db", 1_000, 20))
        empty = asyncio.run(run_many(where / "empty.db", 1, 1)) and file_bytes(where / "empty.db")
        per_step = (file_bytes(where / "small.db") - empty) / 20_000
        asyncio.run(run_many(where / "one.db", 1, 20_000, "normal"))
        per_step_one = (file_bytes(where / "one.db") - empty) / 20_000
        script = (
            "import sys, json, asyncio; sys.path[:0] = sys.argv[1:3]; import bench; from pathlib "
            "import Path; p, live, lates = asyncio.run(bench.sleepers(Path(sys.argv[3]), "
            f"{count}, 20.0)); print(json.dumps([p, live, lates[len(lates)//2], lates[-1]]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(Path(__file__).parent),
             str(Path(__file__).parents[2]), str(where / "sleepers.db")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        parked, live, late_p50, late_max = json.loads(done.stdout.splitlines()[-1])
    return {
        "bytes_per_step_1000_runs_x_20": round(per_step, 1),
        "bytes_per_step_one_run": round(per_step_one, 1),
        "mb_of_10000_sleepers": round(parked, 1),
        "in_memory": live,
        "late_p50_ms": round(1e3 * late_p50, 1),
        "late_max_ms": round(1e3 * late_max, 1),
        "target": "bytes per step <= 100, MB <= 100",
        "ok": per_step <= 100 and parked <= 100,
    }


async def serve_in_flight(path, runs):
    async with durable.Engine(path) as engine:
        await asyncio.gather(
            *(engine.start(in_flight.options(id=f"r{n}"), 1_000) for n in range(runs))
        )
        print("going", flush=True)
        await asyncio.sleep(600)


async def recover(path, runs):
    started = time.perf_counter()
    async with durable.Engine(path) as engine:
        reader = engine._worker.store.reader
        pks = [reader.find_newest(f"r{n}").pk for n in range(runs)]
        connection = apsw.Connection(str(path))
        query = "SELECT COUNT(*) FROM durable_event WHERE run = ?"
        before = {pk: connection.execute(query, (pk,)).get for pk in pks}
        waiting = set(pks)
        while waiting:
            await asyncio.sleep(0.01)
            waiting -= {p for p in waiting if connection.execute(query, (p,)).get > before[p]}
        took = time.perf_counter() - started
        connection.close()
        engine._grace_s = 0
    return took


def bench_g(runs=500):
    """kill -9 with 500 runs in flight: until every one has recorded a new step."""
    took = []
    for _ in range(REPEATS):
        with folder() as where:
            path = where / "app.db"
            script = (
                "import sys, asyncio; sys.path[:0] = sys.argv[1:3]; import bench; "
                f"asyncio.run(bench.serve_in_flight(sys.argv[3], {runs}))"
            )
            child = subprocess.Popen(
                [sys.executable, "-c", script, str(Path(__file__).parent),
                 str(Path(__file__).parents[2]), str(path)],
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            child.stdout.readline()
            time.sleep(1.0)
            child.send_signal(signal.SIGKILL)
            child.wait()
            took.append(asyncio.run(recover(path, runs)))
    return {
        "all_going_again_s": round(median(took), 2),
        "target": "<= 2 s",
        "ok": median(took) <= 2,
    }


def bench_h():
    """(a) and (d) beside one thread of pure-Python work: at least a tenth of the idle speed."""
    with folder() as where:
        idle = 20_000 / asyncio.run(run_many(where / "idle.db", 1_000, 20))
        calm = asyncio.run(latencies(where / "calm.db", 50))
        with busy_thread(on=True):
            busy = 20_000 / asyncio.run(run_many(where / "busy.db", 1_000, 20))
            beside = asyncio.run(latencies(where / "beside.db", 50))
    return {
        "steps_per_s_idle": round(idle),
        "steps_per_s_beside_busy_thread": round(busy),
        "of_idle": round(busy / idle, 3),
        "p50_ms_idle": round(1e3 * calm[25], 3),
        "p50_ms_beside_busy_thread": round(1e3 * beside[25], 1),
        "p50_of_idle": round(calm[25] / beside[25], 3),
        "target": "of_idle >= 0.1 and p50_of_idle >= 0.1",
        "ok": busy / idle >= 0.1 and calm[25] / beside[25] >= 0.1,
    }


def bench_i():
    """Signals from outside to a run and back: sent, received, answered by a watched value."""
    return talk.signals_and_updates(talk.round_trips, REPEATS, folder)


def bench_j():
    """Updates, sent and answered."""
    return talk.signals_and_updates(talk.updates, REPEATS, folder)


def bench_k():
    """A run with 500 children of one step, against 500 independent runs."""
    return talk.fan_out(REPEATS, folder)


def bench_l():
    """Items of a stream: written by an activity and tailed; their delay in another process."""
    return talk.streams(REPEATS, folder)


def bench_m():
    """Transactions on a table of the user's, against the bare floor that does the same."""
    return talk.transactions_against_floor(REPEATS, folder)


def bench_n(count=million.COUNT):
    """Pages of 100 runs out of a million, by filters: with an index, and without one."""
    with folder() as where:
        million.make(where / "million.db", count)
        indexed = million.ask(where / "million.db", million.INDEXED + million.SORTED)
        walking = million.ask(where / "million.db", million.WALKING + million.SORTED_WALKING)
        counted = million.counts(where / "million.db")
    return {
        "runs": count,
        "page_ms_indexed": indexed,
        "page_ms_walking": walking,
        "count_by_status_ms": counted,
        "slowest_indexed_ms": max(indexed.values()),
        "target": "slowest_indexed_ms <= 50",
        "ok": max(indexed.values()) <= 50,
    }


def bench_o(count=million.COUNT):
    """The pages over a million runs: answers over HTTP, in ms."""
    with folder() as where:
        million.make(where / "million.db", count)
        found = pages.lists(where / "million.db")
    is_ok = found["page_ms"] <= 50 and found["counts_ms"] <= 50 and found["unchanged_304_ms"] <= 2
    target = "page_ms and counts_ms <= 50, unchanged_304_ms <= 2"
    return {"runs": count, **found, "target": target, "ok": is_ok}


def bench_p(steps=20_000):
    """The page of a run of 20,000 steps, and a commit elsewhere seen, in a real browser."""
    with folder() as where:
        found = pages.large_run(where / "large.db", steps)
    with folder() as where:
        found |= pages.commit_to_pixels(where / "pixels.db")
    is_ok = (
        found["first_useful_screen_ms"] <= 1_000
        and found["click_on_a_step_ms"] <= 100
        and found["commit_to_pixels_ms"] <= 1_500
    )
    target = "first_useful_screen_ms <= 1000, click_on_a_step_ms <= 100, commit_to_pixels <= 1500"
    return {**found, "target": target, "ok": is_ok}


def bench_q(pairs=40):
    """An engine with 300 runs in flight, asked every second as a page asks, against not asked."""
    found = pages.polling_cost(folder, pairs)
    is_ok = found["asked_of_not_asked"] >= 0.98
    return {**found, "target": "asked_of_not_asked >= 0.98", "ok": is_ok}


async def grow(path, count):
    """Make a file that an engine closed, and another program analysed, while it had one run."""
    async with durable.Engine(path) as engine:
        await (await engine.start(chain, 1)).result()
    connection = apsw.Connection(str(path))
    connection.execute("ANALYZE")
    connection.close()
    million.make(path, count)


def bench_r(count=million.COUNT, each=200):
    """Start to result of a one-step run in a file of a million runs against an empty one."""
    with folder() as where:
        asyncio.run(grow(where / "full.db", count))
        empty, full = [], []
        for number in range(REPEATS):  # Without fsyncs: as many of them, and they hide the rest.
            empty += asyncio.run(latencies(where / f"empty-{number}.db", each, "normal"))
            full += asyncio.run(latencies(where / "full.db", each, "normal"))
    ratio = median(full) / median(empty)
    return {
        "runs": count,
        "p50_ms_in_an_empty_file": round(1e3 * median(empty), 3),
        "p50_ms_in_a_full_file": round(1e3 * median(full), 3),
        "times_as_slow": round(ratio, 2),
        "target": "times_as_slow <= 1.2",
        "ok": ratio <= 1.2,
    }


def bench_s():
    """Signals there and back with 500 more workflows known, against 4."""
    return talk.with_many_known(REPEATS, folder)


def bench_t():
    """Two CPU-bound activities at once on two cores: in processes, against threads."""
    return cores.threads_against_processes(REPEATS, folder)


def bench_u(count=parked.COUNT):
    """Opening, one run, closing and taking over with a million parked runs, against none."""
    empty, full = parked.measure(0), parked.measure(count)
    times = {name: round(full[name] / empty[name], 2) for name in full}
    return {
        **{f"{name[:-3]}_times": one for name, one in times.items()},
        **full,
        "target": "each at most 1.5 times, and 1 s",
        "ok": max(times.values()) <= 1.5 and max(full.values()) <= 1_000,
    }


def bench_v():
    """The loop's longest stop while 10 and 50 MB pass from step to step, against encoding them."""
    return large.stops(folder)


BENCHES = {
    "a": bench_a, "b": bench_b, "c": bench_c, "d": bench_d, "e": bench_e, "f": bench_f,
    "g": bench_g, "h": bench_h, "i": bench_i, "j": bench_j, "k": bench_k, "l": bench_l,
    "m": bench_m, "n": bench_n, "o": bench_o, "p": bench_p, "q": bench_q, "r": bench_r,
    "s": bench_s, "t": bench_t, "u": bench_u, "v": bench_v,
}  # fmt: skip


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    quiet = "--json" in sys.argv
    results = {}
    for letter in words or BENCHES:
        bench = BENCHES[letter]
        results[letter] = {"what": bench.__doc__, **bench()}
        if not quiet:
            print(f"({letter}) {bench.__doc__}")
            for key, value in results[letter].items():
                if key != "what":
                    print(f"      {key:34} {value}")
            sys.stdout.flush()
    print(
        json.dumps(
            {
                "python": platform.python_version(),
                "sqlite": apsw.sqlite_lib_version(),
                "cpus": os.cpu_count(),
                "repeats": REPEATS,
                "results": results,
            },
            indent=None if not quiet else 1,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
