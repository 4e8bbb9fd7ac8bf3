"""Random lives of steps: asked, begun, given up, timed out, paused, lost; and what always holds.

One seed plays one sequence of facts over a few runs on a real engine and file. The bodies of its
activities do nothing but wait until the sequence lets them go, so that at each moment it is known
which of them run. After each fact the engine comes to rest, and then

* its places in use are the bodies that run, and its threads in use are those of plain functions;
* no body has begun that was not wanted: of a step given up, of a run closed or paused;
* nothing waits that could go on;
* no step has two ends, and the rows of transactions are the transactions that are recorded.

At the end everything is let go, and nothing is held any more: no place, no thread, no timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from pathlib import Path
from typing import Any

import durable
from durable._core.machines import AttemptState, RunState
from durable.testing import ManualClock

# What is to hold may take the turns of a loop and a commit; if it does not by then, it never will.
REST_S = 3.0
PLACES, THREADS = 5, 2
KINDS = ("async", "plain", "limited", "beating", "once", "row", "nested")

asked = durable.Signal("asked", list[str])
dropped = durable.Signal("dropped", str)
done = durable.Signal[None]("done")


class Wrong(AssertionError):
    """Something does not hold."""


class Body:
    """One call of an activity's function."""

    def __init__(self, key: str, kind: str, run: str) -> None:
        self.key, self.kind, self.run = key, kind, run
        self.raises: str | None = None
        self.gate = threading.Event()
        self.future: asyncio.Future[None] | None = None
        self.attempt: Any = None

    def let_go(self, raises: str | None) -> None:
        self.raises = raises
        self.gate.set()
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


class Stage:
    """What is going on, as the bodies see it; they find it here, by the module."""

    def __init__(self) -> None:
        self.bodies: list[Body] = []
        self.unwanted: set[str] = set()
        """Steps that were given up, and runs that are closed or paused."""
        self.wrong: list[str] = []
        self.lock = threading.Lock()

    def enter(self, kind: str, key: str) -> Body:
        run = durable.attempt().run_id
        body = Body(key, kind, run)
        with self.lock:
            if key in self.unwanted or run in self.unwanted:
                self.wrong.append(f"the body of {key} ({kind}) began, and nobody wants it")
            self.bodies.append(body)
        return body

    def leave(self, body: Body) -> None:
        with self.lock:
            self.bodies.remove(body)
        if body.raises is not None:
            raise OSError(body.raises)


stage = Stage()


async def _wait(kind: str, key: str) -> str:
    body = stage.enter(kind, key)
    body.future = asyncio.get_running_loop().create_future()
    if body.gate.is_set():
        body.future.set_result(None)
    try:
        await body.future
    except BaseException:
        stage.leave(body)
        raise
    stage.leave(body)
    return key


RETRY = durable.Retry(initial_interval=5, backoff=1, max_attempts=3, jitter=0)


@durable.activity(retry=RETRY, name="async")
async def wait_async(key: str) -> str:
    return await _wait("async", key)


@durable.activity(retry=RETRY, name="plain")
def wait_plain(key: str) -> str:
    body = stage.enter("plain", key)
    body.gate.wait()
    stage.leave(body)
    return key


@durable.activity(retry=RETRY, start_to_close=7, schedule_to_close=30, name="limited")
def wait_limited(key: str) -> str:
    body = stage.enter("limited", key)
    body.gate.wait()
    stage.leave(body)
    return key


@durable.activity(retry=RETRY, heartbeat=3, schedule_to_start=11, name="beating")
async def wait_beating(key: str) -> str:
    durable.heartbeat({"key": key})
    return await _wait("beating", key)


@durable.activity(at_most_once=True, name="once")
async def wait_once(key: str) -> str:
    return await _wait("once", key)


@durable.transaction(name="row")
def insert_row(cursor: durable.Cursor, key: str) -> str:
    cursor.execute("INSERT INTO made VALUES (?)", (key,))
    return key


ACTIVITIES = {
    "async": wait_async, "plain": wait_plain, "limited": wait_limited, "beating": wait_beating,
    "once": wait_once, "row": insert_row,
}  # fmt: skip


@durable.workflow(name="random_steps")
async def random_steps() -> list[str]:
    tasks: dict[str, asyncio.Task[Any]] = {}
    made: list[str] = []

    async def one(kind: str, key: str) -> None:
        try:
            if kind == "nested":
                async with asyncio.timeout(9):
                    await asyncio.shield(asyncio.create_task(one("async", key)))
                return
            made.append(await ACTIVITIES[kind](key))
        except (OSError, TimeoutError, durable.OutcomeUnknown):
            pass

    @asked.handler
    def _(names: list[str]) -> None:
        for name in names:
            kind = name.split("-")[0]
            tasks[name] = asyncio.create_task(one(kind, name))

    @dropped.handler
    def _(name: str) -> None:
        if name in tasks:
            tasks[name].cancel()

    await done.receive()
    return made


class Play:
    """One sequence."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.rng = path, random.Random(seed)
        self.clock = ManualClock(jumps=False)
        self.told: list[str] = []
        self.keys = 0
        self.open: dict[str, set[str]] = {}
        """By run: the steps that were asked for and not given up."""
        self.paused: set[str] = set()
        self.orphans_of: list[Any] = []

    def engine(self) -> durable.Engine:
        return durable.Engine(
            self.path, functions=[random_steps], grace=0, durability="normal", clock=self.clock,
            limits=durable.Limits(max_running_activities=PLACES, threads_max=THREADS),
            keep_logs=None,
        )  # fmt: skip

    async def play(self, facts: int) -> None:
        global stage
        stage = Stage()
        self.now = self.engine()
        await self.now.__aenter__()
        await self.now.transaction(lambda tx: list(tx.execute("CREATE TABLE made (key TEXT)")))
        try:
            for at in range(3):
                await self.now.start(random_steps.options(id=f"run{at}"))
                self.open[f"run{at}"] = set()
            for _ in range(facts):
                fact = self.rng.choices(
                    [self.ask, self.drop, self.let_go, self.ask_and_drop, self.pass_time,
                     self.pause, self.resume, self.end, self.stop, self.die, self.beat],
                    [30, 14, 30, 6, 12, 4, 6, 2, 2, 2, 6],
                )[0]  # fmt: skip
                await fact()
                await self.rest()
            await self.finish()
        except durable.DurableError as error:  # A run is blocked or closed that should be open.
            raise Wrong(f"{error!r}; after:\n  " + "\n  ".join(self.told[-12:])) from error
        finally:
            for body in list(stage.bodies):
                body.let_go(None)
            await self.now.__aexit__(None, None, None)

    # -- facts -----------------------------------------------------------------------------------

    def _run(self) -> str | None:
        return self.rng.choice(sorted(self.open)) if self.open else None

    def _say(self, text: str) -> None:
        self.told.append(text)

    async def ask(self) -> None:
        run = self._run()
        if run is None:
            return
        names = []
        for _ in range(self.rng.randint(1, 3)):
            self.keys += 1
            names.append(f"{self.rng.choice(KINDS)}-{self.keys}")
        self._say(f"ask {run} {names}")
        self.open[run].update(names)
        await (await self.now.get(run)).signal(asked, names)

    async def drop(self) -> None:
        run = self._run()
        if run is None or not self.open[run] or run in self.paused:
            return
        name = self.rng.choice(sorted(self.open[run]))
        self._say(f"drop {run} {name}")
        self.open[run].discard(name)
        await (await self.now.get(run)).signal(dropped, name)
        await self.idle()
        if not name.startswith("nested"):  # What is shielded goes on.
            stage.unwanted.add(name)

    async def ask_and_drop(self) -> None:
        """Asked for and given up before anything can begin."""
        run = self._run()
        if run is None:
            return
        self.keys += 1
        name = f"{self.rng.choice(KINDS)}-{self.keys}"
        self._say(f"ask and drop {run} {name}")
        handle = await self.now.get(run)
        await asyncio.gather(handle.signal(asked, [name]), handle.signal(dropped, name))

    async def let_go(self) -> None:
        if stage.bodies:
            body = self.rng.choice(stage.bodies)
            raises = "not yet" if self.rng.random() < 0.3 else None
            self._say(f"let go {body.key} {raises}")
            body.let_go(raises)

    async def pass_time(self) -> None:
        seconds = self.rng.choice([1, 3, 5, 8, 12])
        self._say(f"{seconds} s")
        self.clock.advance(seconds)
        self.now._running().timers.fire_due()

    async def beat(self) -> None:
        self._say("a turn")
        await asyncio.sleep(0)

    async def pause(self) -> None:
        run = self._run()
        if run is None or run in self.paused:
            return
        self._say(f"pause {run}")
        with contextlib.suppress(durable.WrongState):  # It is still: a resume of it was refused.
            await (await self.now.get(run)).pause()
        self.paused.add(run)
        await self.idle()
        stage.unwanted.add(run)

    async def resume(self) -> None:
        if not self.paused:
            return
        run = self.rng.choice(sorted(self.paused))
        self._say(f"resume {run}")
        stage.unwanted.discard(run)
        self.paused.discard(run)
        try:
            await (await self.now.get(run)).resume()
        except durable.WrongState as error:
            self._say(f"  {run}: {error}")

    async def end(self) -> None:
        run = self._run()
        if run is None or len(self.open) == 1:
            return
        how = self.rng.choice(["terminate", "cancel", "done"])
        if run in self.paused and how != "terminate":
            return
        self._say(f"{how} {run}")
        handle = await self.now.get(run)
        if how == "done":
            await handle.signal(done, None)
        else:
            await getattr(handle, how)("random")
        del self.open[run]
        self.paused.discard(run)
        await self.idle()
        if how != "cancel":  # The clean-up of cancelled code may begin something.
            stage.unwanted.add(run)

    async def stop(self) -> None:
        self._say("stop")
        old = self.now._running()
        await self.now.__aexit__(None, None, None)
        await self._again(old)

    async def die(self) -> None:
        self._say("die")
        old = self.now._running()
        self.now._worker = None
        old.crash()
        await self.now.__aexit__(None, None, None)
        await self._again(old)

    async def _again(self, old: Any) -> None:
        self.orphans_of.append(old)
        for body in list(
            stage.bodies
        ):  # Of a worker that is no more: what they say comes too late.
            body.let_go("late")
        await self.until(lambda: not stage.bodies or "bodies of the engine before go on")
        self.now = self.engine()
        await self.now.__aenter__()

    # -- what must hold --------------------------------------------------------------------------

    async def idle(self) -> None:
        """Wait until the engine has done all that it can do."""
        still = 0
        while still < 3:
            worker = self.now._running()
            busy = (
                worker._in_flight or worker.activities.is_unsettled or worker._loading
                or worker._claiming or any(
                    one.attempt is not None and one.attempt.state is AttemptState.PLACED
                    for run in worker.live.values() for one in run.pending.values()
                )
            )  # fmt: skip
            still = 0 if busy else still + 1
            await asyncio.sleep(0.0002 if busy else 0)

    async def until(self, holds: Any) -> None:
        """Wait until something holds that is about to."""
        deadline = time.monotonic() + REST_S
        while (what := holds()) is not True:
            if time.monotonic() > deadline:
                raise Wrong(f"{what}; after:\n  " + "\n  ".join(self.told[-12:]))
            await asyncio.sleep(0.0005)

    async def rest(self) -> None:
        await self.idle()
        await self.until(self._is_right)
        if stage.wrong:
            raise Wrong(f"{stage.wrong}; after:\n  " + "\n  ".join(self.told[-12:]))

    def _is_right(self) -> bool | str:
        activities = self.now._running().activities
        places = activities.places
        bodies = list(stage.bodies)
        on_threads = sum(body.kind in {"plain", "limited"} for body in bodies)
        if places.running != len(bodies):
            return f"{places.running} places are in use, and {len(bodies)} bodies run"
        if places.threads.in_use != on_threads:
            return f"{places.threads.in_use} threads are in use, and {on_threads} bodies are on one"
        # A run that lost its worker three times is served alone: others wait beside free places.
        is_alone = activities._quarantine.run is not None
        if places.running < PLACES and len(places._line) and not is_alone:
            return f"{len(places._line)} wait for a place, and {PLACES - places.running} are free"
        if places.free_threads > 0 and len(places.threads.line):
            return "a plain function waits for a thread, and one is free"
        for run in self.now._running().live.values():
            for one in run.pending.values():
                if one.attempt is not None and one.attempt.state is AttemptState.CLOSED:
                    return f"step {one.step_id} holds an attempt that is closed"
            if run.state is RunState.PAUSING and not any(
                one.has_begun for one in run.pending.values()
            ):
                return f"{run.row.name} is pausing, and nothing of it runs"
        return True

    async def finish(self) -> None:
        """Let everything go: nothing is held any more."""
        for run in sorted(self.paused):
            stage.unwanted.discard(run)
            self._say(f"resume {run}")
            await (await self.now.get(run)).resume()
        self.paused.clear()
        self._say("the end")
        for run in sorted(self.open):
            await (await self.now.get(run)).signal(done, None)
        await self.until(self._all_let_go)
        await self.idle()
        worker = self.now._running()
        await self.until(lambda: not worker.timers.alive or "a timer")
        await self.until(lambda: not worker.activities._execution._turns or "a turn is held")
        for run in self.open:
            status = await (await self.now.get(run)).status()
            if status != "completed":
                raise Wrong(f"{run} is {status}")
        self._check_file()
        if stage.wrong:
            raise Wrong(f"{stage.wrong}; after:\n  " + "\n  ".join(self.told[-12:]))

    def _all_let_go(self) -> bool | str:
        for body in list(stage.bodies):
            body.let_go(None)
        worker = self.now._running()
        if worker.activities.places.running or worker.live:
            return f"{worker.activities.places.running} places are held, {len(worker.live)} runs"
        return True

    def _check_file(self) -> None:
        import apsw

        file = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        rows = [key for (key,) in file.execute("SELECT key FROM made ORDER BY key")]
        recorded = [
            key
            for (key,) in file.execute(
                "SELECT arguments ->> 0 FROM durable_event WHERE name = 'row' "
                "AND kind = 1 ORDER BY 1"
            )
        ]
        ends = file.execute(
            "SELECT run, step, COUNT(*) FROM durable_event "
            "WHERE kind IN (1, 2) GROUP BY 1, 2 HAVING "
            "COUNT(*) > 1"
        ).fetchall()
        left = file.execute(
            "SELECT run.id, step.step FROM durable_step AS step "
            "JOIN durable_run AS run ON run.pk = step.run WHERE closed_us"
        ).fetchall()
        file.close()
        if rows != sorted(recorded):
            raise Wrong(f"rows of transactions: {rows}; recorded: {recorded}")
        if ends or left:
            raise Wrong(f"two ends: {ends}; pending steps of closed runs: {left}")
