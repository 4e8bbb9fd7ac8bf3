"""A world in a simulated loop: engines that die, clients that ask, runs that do random things.

What becomes of it is a function of its seed. `play` returns what is wrong with it.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import apsw

import durable
from tests.crash import invariants
from tests.crash.sim_loop import Life, simulated
from tests.crash.sim_programs import (
    FUNCTIONS,
    LEDGER,
    Plans,
    add,
    counts,
    fits,
    goes_on,
    number,
    plays,
)

ENGINES_MAX = 3
RUNS_MAX = 6
# Virtual seconds: by then everything has ended, whatever was killed.
END_S = 300.0
ASK_S = 5.0


class Lifespan:
    def __init__(self, life):
        self._life = life

    async def __aenter__(self):
        return {"life": self._life}

    async def __aexit__(self, *error):
        pass


class World:
    """One file, and those who work on it.

    Attributes:
        problems: What was seen that must not happen.
        counts: What was tried, by kind.
    """

    def __init__(self, loop, path, seed):
        self.loop = loop
        self.path = path
        self.clock = loop.clock
        self.chance = random.Random(seed)
        self.plans = Plans(self.chance)
        self.problems = []
        self.counts = Counter()
        self.slots = {}
        self.lives = []
        self.expected = {}
        self.bodies = {}
        """By idempotency key: the life in which its body runs, and how many began."""
        self.begun = Counter()
        self._file = None
        self._is_over = asyncio.Event()
        self._deaths = {}

    # -- bodies ----------------------------------------------------------------------------------

    def body_begins(self, life, attempt):
        key = attempt.idempotency_key
        self.loop.note("begins", life.name, attempt.activity, key, attempt.number)
        self.counts["bodies"] += 1
        self.begun[key] += 1
        other = self.bodies.get(key)
        if other is not None and not other.is_dead:
            self.problems.append(f"{key} runs in {other.name} and in {life.name} at once")
        if attempt.activity == "once" and self.begun[key] > 1:
            self.problems.append(f"{key} was to be called at most once, and was {self.begun[key]}x")
        run, _, step = key.rpartition("/")
        if self._recorded(int(run.rpartition("/")[2], 16), step):
            self.problems.append(f"{key} is recorded, and begins again")
        self.bodies[key] = life

    def body_ends(self, life, attempt, kind):
        if not life.is_dead:
            self.loop.note("ends", life.name, attempt.idempotency_key, kind and kind.__name__)
            self.bodies.pop(attempt.idempotency_key, None)

    def _recorded(self, salt, step):
        text = """SELECT COUNT(*) FROM durable_event AS event JOIN durable_run AS run
                      ON run.pk = event.run WHERE run.salt = ? AND event.step = ?
                     AND event.kind IN (1, 2)"""
        return self.file.execute(text, (salt, step)).get

    @property
    def file(self):
        if self._file is None:
            self._file = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READONLY)
        return self._file

    # -- lives -----------------------------------------------------------------------------------

    async def keep_slot(self, slot, faults):
        """Keep an engine open; it dies, leaves or is stopped as planned, and another comes."""
        loop, chance = self.loop, self.chance
        number_ = 0
        while True:
            number_ += 1
            life = Life(f"engine-{slot}.{number_}")
            life.world = self
            life.main = life.context("engine")
            life.ended = asyncio.Event()
            life.engine = durable.Engine(
                self.path,
                functions=FUNCTIONS,
                clock=self.clock,
                durability="normal",
                grace=chance.choice([0, 0.1]),
                keep_logs=None,
                lifespan=lambda life=life: Lifespan(life),
                limits=durable.Limits(
                    max_running_activities=chance.choice([1, 4, 100]),
                    warm_runs_max=chance.choice([1, 2, 3, 1_000]),
                ),
            )
            await loop.create_task(life.engine.__aenter__(), context=life.main)
            loop.note("enters", life.name)
            self.slots[slot] = life
            self.lives.append(life)
            await self._meet(life, faults.pop(0) if faults else ("none",))
            self.slots.pop(slot, None)
            if not life.is_dead:
                await self._leave(life)
            await self._pass(chance.choice([0, 0.1, 1, 5]))
            if self._is_over.is_set():
                return

    async def _meet(self, life, fault):
        """Let an engine serve until its fate, or the world's end."""
        match fault:
            case ["none"]:
                await self._is_over.wait()
            case ["commits", count]:
                self._deaths[life] = count
                dying = asyncio.ensure_future(life.ended.wait())
                over = asyncio.ensure_future(self._is_over.wait())
                await asyncio.wait([dying, over], return_when=asyncio.FIRST_COMPLETED)
                dying.cancel()
                over.cancel()
                self._deaths.pop(life, None)
            case ["freeze", after, seconds]:
                await self._pass(after)
                self.counts["stopped"] += 1
                self.loop.note("freezes", life.name)
                self.loop.freeze(life)
                await self._pass(seconds)
                self.loop.note("thaws", life.name)
                self.loop.thaw(life)
                await self._pass(1)
            case ["kill", after]:
                await self._pass(after)
                self.kill(life)
            case ["leave", after]:
                await self._pass(after)

    async def _pass(self, seconds):
        """Let time pass, at most until the world's end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_over.wait()

    async def _leave(self, life):
        self.counts["left"] += 1
        self.loop.note("leaves", life.name)
        await self.loop.create_task(life.engine.__aexit__(None, None, None), context=life.main)

    def kill(self, life):
        self.counts["killed"] += 1
        self.loop.note("dies", life.name)
        self.loop.kill(life)
        # What the kernel does: its descriptors are closed, its locks are free.
        worker, life.engine._worker = life.engine._worker, None
        worker.crash()
        life.ended.set()
        self.problems += invariants.check_file(self.path)

    def committed(self, gate):
        self.counts["commits"] += 1
        life = gate.actor.life
        if life in self._deaths and gate.commits >= self._deaths[life]:
            del self._deaths[life]
            self.kill(life)

    # -- asking ----------------------------------------------------------------------------------

    async def ask(self, act):
        """Ask for something, of an engine or of the client, until it is answered.

        All that is asked for has an id: asking again is safe.
        """
        while True:
            lives = [one for one in (*self.slots.values(), self.client) if not one.is_dead]
            life = self.chance.choice(lives)
            task = self.loop.create_task(act(life.engine), context=life.main)
            await asyncio.wait([task], timeout=ASK_S)
            if not task.done():
                task.cancel()
                self.counts["asked again"] += 1
                continue
            error = task.exception()
            if error is None:
                return task.result()
            if type(error) is not durable.UsageError and not isinstance(error, durable.StoreError):
                raise error
            self.counts["asked again"] += 1
            await asyncio.sleep(0.05)

    async def _start(self, run_id, work_, *args):
        await asyncio.sleep(self.chance.uniform(0, 6))
        await self.ask(lambda client: client.start(work_.options(id=run_id), *args))

    async def _tell(self, run_id, verb, *args, **options):
        async def act(client):
            run = await client.get(run_id)
            return await getattr(run, verb)(*args, **options)

        with contextlib.suppress(durable.RunClosed, durable.WrongState):
            return await self.ask(act)

    async def _closed(self, run_id):
        text = "SELECT state, result FROM durable_run WHERE id = ? ORDER BY ordinal DESC LIMIT 1"
        while True:
            rows = self.file.execute(text, (run_id,)).fetchall()
            if rows and rows[0][0] in ("completed", "failed", "cancelled", "blocked"):
                return rows[0][0], json.loads(rows[0][1] or "null")
            await asyncio.sleep(0.5)

    def _ended(self, run_id, end, is_right, wanted):
        if not is_right:
            self.problems.append(f"{run_id} ended {end}, and not {wanted}")

    async def one_that_plays(self, run_id):
        chance = self.chance
        ops, receives = self.plans.ops(1, 5), chance.choice([0, 0, 3])
        for _ in range(receives):
            ops.insert(chance.randint(0, len(ops)), ["receive"])
        is_cancelled, is_paused = chance.random() < 0.2, chance.random() < 0.2
        await self._start(run_id, plays, ops)
        for n in range(receives):
            await asyncio.sleep(chance.uniform(0, 3))
            for _ in range(chance.choice([1, 1, 2])):
                await self._tell(run_id, "signal", number, n, id=f"n{n}")
        if is_paused:
            await asyncio.sleep(chance.uniform(0, 3))
            await self._tell(run_id, "pause")
            await asyncio.sleep(chance.uniform(0, 10))
            await self._tell(run_id, "resume")
        if is_cancelled:
            await asyncio.sleep(chance.uniform(0, 6))
            await self._tell(run_id, "cancel", "enough")
        end = await self._closed(run_id)
        if is_cancelled and end[0] == "cancelled":
            return
        is_right = end[0] == "completed" and fits(["all", *ops], end[1])
        self._ended(run_id, end, is_right, ops)
        if is_right:
            found = [value for op, value in zip(ops, end[1], strict=True) if op == ["receive"]]
            self._ended(run_id, found, found == list(range(receives)), "the signals in order")

    async def one_that_counts(self, run_id):
        count = self.chance.randint(1, 4)
        await self._start(run_id, counts, count)
        for n in range(count):
            await asyncio.sleep(self.chance.uniform(0, 2))
            answer = await self._tell(run_id, "update", add, n, id=f"u{n}")
            self._ended(run_id, answer, answer in (2 * n, None), 2 * n)
        end = await self._closed(run_id)
        self._ended(run_id, end, end == ("completed", count), count)

    async def one_that_goes_on(self, run_id):
        count = self.chance.randint(1, 4)
        await self._start(run_id, goes_on, count, [])
        for n in range(count):
            await self._tell(run_id, "signal", number, n, id=f"n{n}")
            await asyncio.sleep(self.chance.uniform(0, 2))
        end = await self._closed(run_id)
        self._ended(run_id, end, end == ("completed", list(range(count))), list(range(count)))

    # -- from the beginning to the end -----------------------------------------------------------

    def _faults(self):
        chance = self.chance
        found = []
        for _ in range(chance.choice([0, 1, 1, 2, 3])):
            match chance.choice(["kill", "kill", "commits", "commits", "leave", "freeze"]):
                case "commits":
                    found.append(("commits", chance.randint(1, 12)))
                case "freeze":
                    found.append(("freeze", chance.uniform(0, 5), chance.uniform(0.1, 8)))
                case kind:
                    found.append((kind, chance.uniform(0, 5)))
        return found

    def abandon(self):
        """Let everybody vanish, after something that must not happen."""
        for life in [*self.lives, self.client]:
            if not life.is_dead:
                self.loop.kill(life)
            worker = getattr(life.engine, "_worker", None)
            if worker is not None:
                worker.crash()
        self.client.engine._file.close()

    async def play(self):
        loop, chance = self.loop, self.chance
        loop.on_commit = self.committed
        self.client = Life("client")
        self.client.main = self.client.context("client")
        self.client.engine = durable.Client(self.path)
        self.client.engine._clock = self.clock
        await loop.create_task(self.client.engine.__aenter__(), context=self.client.main)
        keeping = [
            asyncio.ensure_future(self.keep_slot(slot, self._faults()))
            for slot in range(chance.randint(1, ENGINES_MAX))
        ]
        kinds = [self.one_that_plays] * 3 + [self.one_that_counts, self.one_that_goes_on]
        runs = [
            asyncio.ensure_future(chance.choice(kinds)(f"run-{n}"))
            for n in range(chance.randint(2, RUNS_MAX))
        ]
        self.counts["runs"] += len(runs)
        try:
            async with asyncio.timeout(END_S):
                await asyncio.gather(*runs)
                await self._children_closed()
        except TimeoutError:
            left = "SELECT id, state, waits FROM durable_run WHERE closed_us IS NULL"
            self.problems.append(f"stuck: {self.file.execute(left).fetchall()}")
        self._is_over.set()
        await asyncio.gather(*keeping)
        await loop.create_task(
            self.client.engine.__aexit__(None, None, None), context=self.client.main
        )

    async def _children_closed(self):
        while self.file.execute("SELECT COUNT(*) FROM durable_run WHERE closed_us IS NULL").get:
            await asyncio.sleep(0.5)

    def check(self):
        """Look at the file that everybody has left."""
        self.problems += invariants.check_file(self.path)
        self.problems += self._check_ledger()
        self.problems += [*self.loop.timers.early, *self.loop.timers.twice]
        self.counts["timers"] += self.loop.timers.fired
        rows = "SELECT run, seq, kind, step, name, at_us, took_us FROM durable_event ORDER BY 1, 2"
        self.loop.trace.extend(self.file.execute(rows).fetchall())
        self.file.close()

    def _check_ledger(self):
        booked = Counter(self.file.execute("SELECT run, step, label FROM ledger"))
        text = """SELECT run.id, event.step FROM durable_event AS event
                    JOIN durable_run AS run ON run.pk = event.run
                   WHERE event.name = 'book' AND event.kind = 1"""
        recorded = Counter(self.file.execute(text))
        found = Counter((run, step) for run, step, _ in booked.elements())
        return [] if found == recorded else [f"booked {found}, and recorded {recorded}"]


def template(folder):
    """Make a file with our tables and the ledger; each world begins with a copy."""
    path = folder / "template.db"
    if not path.exists():
        asyncio.run(_make(path))
    return path


async def _make(path):
    async with durable.Engine(path, functions=[], durability="normal") as engine:
        await engine.transaction(lambda tx: list(tx.execute(LEDGER)))


def play(folder, seed):
    """Play one world; return it."""
    path = os.fspath(folder / "app.db")
    for kind in ("", "-lock", "-wal", "-shm"):
        Path(path + kind).unlink(missing_ok=True)
    shutil.copy(template(folder), path)
    # A lock file that this process has made is new for some seconds of real time.
    Path(path + "-lock").touch(0o600)
    with simulated(seed) as loop:
        world = World(loop, path, seed)
        try:
            loop.run_until_complete(world.play())
        except Exception as error:
            world.problems.append(f"{type(error).__name__}: {error}")
            world.abandon()
        world.check()
        world.counts["turns"] = loop.turns
        world.counts["virtual seconds"] = round(loop.now)
        world.digest = hashlib.sha1(repr(loop.trace).encode()).hexdigest()
    return world


def play_all(folder, seeds):
    """Play worlds; return what is wrong, by seed, and what was tried."""
    found, tried = {}, Counter()
    for seed in seeds:
        world = play(folder, seed)
        tried.update(world.counts)
        if world.problems:
            found[seed] = world.problems
    return found, tried
