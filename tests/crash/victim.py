"""The process that is killed: runs of every kind, and a log of what really happened.

The log is the outside: each attempt appends a line when it begins and one when it ends, with one
``os.write`` each, so that what the file says can be compared with what was done.

    victim.py engine DB LOG LIVES      start the runs of so many lives, wait for all, end
    victim.py run DB LOG LIVES         the same by `durable.run`, one run after another
    victim.py crew DB LOG              serve what others start, until SIGTERM
    victim.py commits DB LOG FIRST LAST    die around the n-th commit, and go on, for each n
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
import zlib

import durable
from durable import Retry, activity, workflow
from durable._store.writer import Writer
from durable.engine import run_until_stopped

LOG = ""
PATIENT = Retry(initial_interval=0.02, max_interval=0.05)


def number_of(*parts):
    """The same number for the same parts, in every process."""
    return zlib.crc32("/".join(map(str, parts)).encode())


def hash_of(value):
    return zlib.crc32(json.dumps(value).encode())


def append(line):
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


class logged:
    """Logs the beginning and the end of the running attempt."""

    def __enter__(self):
        attempt = durable.attempt()
        self.line = {
            "key": attempt.idempotency_key, "name": attempt.activity, "number": attempt.number,
            "pid": os.getpid(),
        }  # fmt: skip
        append({**self.line, "phase": "start"})
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            append({**self.line, "phase": "failed", "why": kind.__name__})

    def end(self, value):
        append({**self.line, "phase": "end", "hash": hash_of(value)})
        return value


def fails(step_id, number):
    """Whether this attempt fails: two in five do, and the sixth never does."""
    return number < 6 and number_of("luck", step_id, number) % 5 < 2


# -- activities ---------------------------------------------------------------------------------


@activity
async def fetch(url: str) -> str:
    with logged() as log:
        await asyncio.sleep(number_of(url) % 40 / 1000)
        return log.end(f"text of {url}")


@activity
async def tag(url: str, text: str) -> list[str]:
    with logged() as log:
        return log.end([url, text, f"tag of {url}"])


@activity(retry=PATIENT)
async def flaky(n: int) -> int:
    with logged() as log:
        attempt = durable.attempt()
        await asyncio.sleep(0.002)
        if fails(attempt.step_id, attempt.number):
            raise ConnectionError(f"attempt {attempt.number} of {n} fails")
        return log.end(n)


@activity
async def slow() -> str:
    with logged() as log:
        await asyncio.sleep(60)
        return log.end("nobody waits so long")


@activity
def in_thread(n: int) -> int:
    with logged() as log:
        time.sleep(0.005)
        return log.end(n * n)


@activity
async def big(n: int) -> str:
    with logged() as log:
        return log.end(random.Random(n).randbytes(50_000).hex())


@activity
async def weigh(text: str) -> int:
    with logged() as log:
        return log.end(zlib.crc32(text.encode()))


@activity
async def quick(n: int) -> int:
    with logged() as log:
        return log.end(n)


# -- workflows ----------------------------------------------------------------------------------


@workflow
async def branches(name: str, count: int) -> list[list[str]]:
    async def branch(url: str) -> list[str]:
        return await tag(url, await fetch(url))

    return await asyncio.gather(*(branch(f"{name}/{n}") for n in range(count)))


@workflow
async def retries(count: int) -> int:
    return sum([await flaky(n) for n in range(count)])


@workflow
async def sleeps(count: int) -> list[int]:
    woken = []
    for n in range(count):
        await durable.sleep(0.05 + n % 10 * 0.05)
        woken.append(await quick(n))
    return woken


@workflow
async def hurries(count: int) -> int:
    late = 0
    for _ in range(count):
        try:
            async with asyncio.timeout(0.05):
                await slow()
        except TimeoutError:
            late += await quick(1)
    return late


@workflow
async def counts_down(left: int, total: int) -> int:
    total += await quick(left)
    if left:
        durable.continue_as_new(left - 1, total)
    return total


@workflow
async def in_threads(count: int) -> int:
    return sum(await asyncio.gather(*(in_thread(n) for n in range(count))))


@workflow
async def heavy(count: int) -> list[int]:
    return [await weigh(await big(n)) for n in range(count)]


@workflow
async def leaves(count: int) -> int:
    """Ends while others of its tasks end too: what comes later must not reach the history."""
    tasks = [asyncio.create_task(quick(n)) for n in range(count)]
    tasks += [asyncio.create_task(flaky(n)) for n in range(count)]
    done, _ = await asyncio.wait(tasks[:count], return_when=asyncio.FIRST_COMPLETED)
    return len(done) and count


@workflow
async def cancelled() -> None:
    try:
        n = 0
        while True:
            await quick(n)
            await durable.sleep(0.1)
            n += 1
    finally:
        await quick(-1)  # A clean-up: recorded, though the run ends cancelled.


@workflow
async def tour(count: int) -> list[int]:
    """A bit of everything, one after another: many commits, each a moment to die."""

    async def branch(url: str) -> list[str]:
        return await tag(url, await fetch(url))

    found = [await flaky(n) for n in range(count)]
    found += [await in_thread(2), await weigh(await big(1))]
    await durable.sleep(0.02)
    try:
        async with asyncio.timeout(0.02):
            await slow()
    except TimeoutError:
        found.append(await quick(7))
    found += [len(one) for one in await asyncio.gather(*(branch(url) for url in "ab"))]
    for n in range(5):
        found.append(await quick(n))
    return found


# What `tour(4)` returns.
TOUR = [0, 1, 2, 3, 4, zlib.crc32(random.Random(1).randbytes(50_000).hex().encode()), 7, 3, 3]
TOUR += [0, 1, 2, 3, 4]


def plan(life):
    """Return (id, workflow, arguments, state, result) of the runs a life adds."""
    size = 6 + number_of("size", life) % 6

    def tags(name):
        urls = [f"{name}/{n}" for n in range(4 * size)]
        return [[url, f"text of {url}", f"tag of {url}"] for url in urls]

    weights = [zlib.crc32(random.Random(n).randbytes(50_000).hex().encode()) for n in range(size)]
    return [
        (f"{life}-branches", branches, (f"u{life}", 4 * size), "completed", tags(f"u{life}")),
        (f"{life}-retries", retries, (2 * size,), "completed", sum(range(2 * size))),
        (f"{life}-sleeps", sleeps, (5,), "completed", list(range(5))),
        (f"{life}-hurries", hurries, (size,), "completed", size),
        (f"{life}-counts", counts_down, (size, 0), "completed", sum(range(size + 1))),
        (f"{life}-threads", in_threads, (size,), "completed", sum(n * n for n in range(size))),
        (f"{life}-heavy", heavy, (size,), "completed", weights),
        (f"{life}-leaves", leaves, (4,), "completed", 4),
        (f"{life}-cancelled", cancelled, (), "cancelled", "enough"),
    ]


async def serve(path, lives):
    async with durable.Engine(path, grace=0.2) as engine:
        runs = [
            await engine.start(work.options(id=run_id), *args)
            for life in range(lives)
            for run_id, work, args, _, _ in plan(life)
        ]
        for run in runs:
            with contextlib.suppress(durable.RunCancelled):
                await run.result()


def serve_others(path):
    engine = durable.Engine(path, grace=0.2)
    print("begins", flush=True)
    run_until_stopped(engine)


def run_all(path, lives):
    for life in range(lives):
        for run_id, work, args, state, _ in plan(life):
            if state == "completed":
                durable.run(path, work.options(id=run_id), *args)


# -- dying around a commit ------------------------------------------------------------------------


class Dying:
    """A connection whose process dies right before, or right after, the n-th commit."""

    def __init__(self, connection, left, when):
        self._connection = connection
        self._left = left
        self._when = when

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, text, values=None):
        self._left -= text == "COMMIT"
        dies = text == "COMMIT" and self._left == 0
        if dies and self._when == "before":
            os._exit(9)
        answer = self._connection.execute(text, values)
        if dies:
            os._exit(9)
        return answer


def die_at_commit(n, when):
    """Let this process die around the n-th commit of its writers."""
    make = Writer.__init__

    def init(self, *args):
        make(self, *args)
        self._connection = Dying(self._connection, n, when)

    Writer.__init__ = init


def in_child(work):
    """Run in a forked child; return its exit status."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def commits(path, first, last):
    """For each n and both sides of the n-th commit: die there, go on, and say how it ended."""
    for n in range(first, last + 1):
        for when in ("before", "after"):

            def tour_once(n=n, when=when, file=f"{path}-{n}-{when}", dies=True):
                if dies:
                    die_at_commit(n, when)
                durable.run(file, tour.options(id="tour"), 4)

            died = in_child(tour_once)
            ended = in_child(lambda tour_once=tour_once: tour_once(dies=False))
            print(json.dumps({"n": n, "when": when, "died": died, "ended": ended}), flush=True)


if __name__ == "__main__":
    mode, LOG = sys.argv[1], sys.argv[3]
    match mode:
        case "engine":
            asyncio.run(serve(sys.argv[2], int(sys.argv[4])))
        case "crew":
            serve_others(sys.argv[2])
        case "run":
            run_all(sys.argv[2], int(sys.argv[4]))
        case "commits":
            commits(sys.argv[2], int(sys.argv[4]), int(sys.argv[5]))
