"""Random workflow programs as nested tuples, their interpreter, and a host that feeds them events.

A program uses what asyncio and anyio offer without I/O. `play` runs one against a seeded scheduler
(live) or against a recorded history (replay) and returns everything the code asked for, in order.
Two plays of one program that see the same events must return the same.
"""

import asyncio
import contextvars
import gc
import random
import sys

import anyio
import attrs
import msgspec

from durable._core.commands import ArmTimer, DropStep, DropTimer, MarkPatch
from durable._core.driver import Driver
from durable._core.events import Event, Kind
from durable._core.failures import record_exception
from durable._core.loop import Evicted, Step
from durable.errors import Blocked

CAP = 400  # events of one program
current = contextvars.ContextVar("driver")


class Boom(Exception):
    pass


BOOM = msgspec.json.encode(record_exception(Boom("x")))

LEAVES = ["act"] * 3 + ["sleep"]
BRANCHES = [
    *("seq", "seq", "gather", "gather", "gather_outcomes", "wait_first", "wait_all", "wait_error"),
    *("as_completed", "task_group", "task_group_fails", "timeout", "wait_for", "anyio_group"),
    *("anyio_group_fails", "move_on", "fail_after", "generator", "generator_cycle", "shield"),
    *("lock", "semaphore", "event", "condition", "barrier", "queue", "stream", "clean_up"),
    *("anyio_clean_up", "call_later", "patched"),
]


def build(chance, depth):
    kind = chance.choice(LEAVES * 2 + BRANCHES)
    if depth == 0 or kind == "act":
        return ("act", chance.choice("abc"), chance.random() < 0.15)
    if kind == "sleep":
        return ("sleep", chance.choice([0, -1, 0.001, 0.5, 1, 3600.1]))
    children = tuple(build(chance, depth - 1) for _ in range(chance.randint(2, 4)))
    return (kind, children, chance.choice([0.0003, 0.7, 2.3, 50.1]))


def act(name, *args):
    loop = current.get().loop
    arguments = msgspec.json.encode(args)
    return loop.ask(name, hash_of(arguments), arguments, None, msgspec.json.decode, True)


def hash_of(data):
    return int.from_bytes(data[:7].ljust(7), "big")


async def run(program, log):
    try:
        return await _run(program, log)
    except (TimeoutError, Boom, BaseExceptionGroup) as error:
        log.append((program[0], type(error).__name__))
        return "handled"


async def _act(program, log):
    try:
        value = await act(program[1], "x")
    except Boom:
        if program[2]:
            raise
        log.append(("caught", program[1]))
        return "caught"
    log.append((program[1], value, round(asyncio.get_running_loop().time(), 6)))
    return value


async def _run(program, log):
    kind = program[0]
    if kind == "act":
        return await _act(program, log)
    if kind == "sleep":
        await asyncio.sleep(program[1])
        return "slept"
    children, delay = program[1], program[2]

    def go(child):
        return run(child, log)

    match kind:
        case "seq":
            return [await go(child) for child in children]
        case "gather":
            return await asyncio.gather(*map(go, children))
        case "gather_outcomes":
            return [
                str(x) for x in await asyncio.gather(*map(go, children), return_exceptions=True)
            ]
        case "wait_first" | "wait_all" | "wait_error":
            mode = {
                "wait_first": asyncio.FIRST_COMPLETED,
                "wait_all": asyncio.ALL_COMPLETED,
                "wait_error": asyncio.FIRST_EXCEPTION,
            }[kind]
            tasks = [asyncio.create_task(go(child)) for child in children]
            done, pending = await asyncio.wait(tasks, return_when=mode, timeout=delay)
            for task in pending:
                task.cancel()
            out = [await act("after", task.exception() is None) for task in done]
            await asyncio.gather(*pending, return_exceptions=True)
            return out
        case "as_completed":
            out = []
            for task in asyncio.as_completed(
                [asyncio.create_task(go(child)) for child in children]
            ):
                out.append(await task)
                await act("each")
            return out
        case "task_group" | "task_group_fails":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(go(child)) for child in children]
                if kind == "task_group_fails":
                    await act("bad")
                    raise Boom
            return [task.result() for task in tasks]
        case "timeout":
            async with asyncio.timeout(delay):
                return await go(children[0])
        case "wait_for":
            return await asyncio.wait_for(go(children[0]), delay)
        case "anyio_group" | "anyio_group_fails":
            async with anyio.create_task_group() as group:
                for child in children:
                    group.start_soon(go, child)
                if kind == "anyio_group_fails":
                    await act("bad")
                    raise Boom
            return kind
        case "move_on":
            with anyio.move_on_after(delay) as scope:
                await go(children[0])
            return scope.cancelled_caught
        case "fail_after":
            with anyio.fail_after(delay):
                return await asyncio.gather(*map(go, children))
        case "generator" | "generator_cycle":
            return await _generator(kind, children, log)
        case "shield":
            task = asyncio.create_task(go(children[0]))
            try:
                async with asyncio.timeout(delay):
                    return await asyncio.shield(task)
            finally:
                await asyncio.gather(task, return_exceptions=True)
        case "lock" | "semaphore":
            lock = asyncio.Lock() if kind == "lock" else asyncio.Semaphore(2)

            async def locked(child):
                async with lock:
                    return await go(child)

            return await asyncio.gather(*map(locked, children), return_exceptions=True) and kind
        case "event" | "condition" | "barrier":
            return await _meeting(kind, children, log)
        case "queue" | "stream":
            return await _pipe(kind, children, delay, log)
        case "clean_up":
            try:
                return await asyncio.gather(*map(go, children))
            finally:
                with anyio.CancelScope(shield=True):
                    await act("clean-up")
        case "anyio_clean_up":

            async def child_with_clean_up(child):
                try:
                    await go(child)
                finally:
                    await act("clean-up")

            with anyio.move_on_after(delay):
                async with asyncio.TaskGroup() as group:
                    for child in children:
                        group.create_task(child_with_clean_up(child))
            return kind
        case "call_later":
            fired = asyncio.Event()
            asyncio.get_running_loop().call_later(delay, fired.set)
            value = await go(children[0])
            await fired.wait()
            return value
        case "patched":
            if current.get().patched(f"p{len(children)}"):
                await act("new")
            return await go(children[0])
    raise AssertionError(kind)


async def _generator(kind, children, log):
    async def generate():
        # A frame that holds itself is found by the collector only.
        cycle = [sys._getframe()] if kind == "generator_cycle" else None
        try:
            for child in children:
                yield await run(child, log)
        finally:
            await act("generator-clean-up")
        del cycle

    if kind == "generator_cycle":
        iterator = generate()
        box = [iterator]
        box.append(box)
        value = await iterator.__anext__()
        del iterator
        return value
    async for value in generate():
        return value
    return None


async def _meeting(kind, children, log):
    event, condition, barrier = asyncio.Event(), asyncio.Condition(), asyncio.Barrier(len(children))
    arrived = []

    async def one(child):
        value = await run(child, log)
        arrived.append(value)
        if kind == "event":
            event.set()
            await event.wait()
        elif kind == "condition":
            async with condition:
                condition.notify_all()
                await condition.wait_for(lambda: len(arrived) == len(children))
        else:
            await barrier.wait()
        return value

    return await asyncio.gather(*map(one, children))


async def _pipe(kind, children, delay, log):
    out = []
    if kind == "queue":
        queue = asyncio.Queue(1)
        put, get = queue.put, queue.get
    else:
        sender, receiver = anyio.create_memory_object_stream(1)
        put, get = sender.send, receiver.receive

    async def produce():
        for child in children:
            await put(await run(child, log))

    task = asyncio.create_task(produce())
    try:
        for _ in children:
            async with asyncio.timeout(delay):
                out.append(await get())
    finally:
        task.cancel()
        if kind == "stream":
            sender.close()
            receiver.close()
    return out


@attrs.define
class Play:
    status: str
    trace: list
    history: list
    log: list
    driver: Driver

    @property
    def result(self):
        outcome = self.driver.outcome
        return [list(self.trace), list(self.log), repr(outcome)]


def shown(command):
    match command:
        case Step():
            return f"run {command.step_id} {command.name} {command.arguments.decode()}"
        case DropStep(step):
            return f"drop {step.step_id}"
        case ArmTimer(timer):
            return f"arm {timer.step_id} {timer.due_us}"
        case DropTimer(timer):
            return f"disarm {timer.step_id}"
        case MarkPatch(name):
            return f"patch {name}"
    raise AssertionError(command)


class Host:
    """Makes the events of a live play: a seeded schedule, due timers first where they are due."""

    def __init__(self, seed):
        self.chance = random.Random(seed * 31 + 1)
        self.now = 0

    def next(self, driver):
        steps = sorted(driver.loop.steps)
        timers = sorted(
            driver.loop.timers.values(), key=lambda timer: (timer.due_us, timer.step_id)
        )
        if not steps and not timers:
            return None
        seq = driver.seq + 1
        if steps and (not timers or self.chance.random() < 0.7):
            step = driver.loop.steps[self.chance.choice(steps)]
            self.now += self.chance.choice([1, 7, 333_333])
            if timers:
                self.now = min(self.now, timers[0].due_us)
            self.now = max(self.now, driver.at_us)
            failed = self.chance.random() < 0.1
            result = BOOM if failed else msgspec.json.encode(self.chance.randrange(99))
            kind = Kind.FAILED if failed else Kind.COMPLETED
            return Event(
                seq, kind, step.step_id, step.name, step.fingerprint, step.arguments, result,
                self.now, 0,
            )  # fmt: skip
        if self.chance.random() < 0.02:
            self.now = max(self.now, driver.at_us)
            return Event(seq, Kind.CANCEL_REQUESTED, "", "", 0, b"", b'"stop"', self.now, 0)
        self.now = max(self.now, timers[0].due_us)
        return Event(seq, Kind.FIRED, timers[0].step_id, "", 0, b"", b"", self.now, 0)


def play(program, seed, history=None, evict_after=None, disturbance=0, salt=None):
    """Run one program; with a history, replay it; with `evict_after`, drop it after that event."""
    log, trace = [], []
    junk = [bytearray(i * 37 % 911) for i in range(disturbance)]
    context = contextvars.Context()
    driver = Driver(lambda: run(program, log), context, seed if salt is None else salt, budget=300)
    context.run(current.set, driver)
    host, out, rows = Host(seed), [], iter(history or ())
    if history is not None:
        driver.know_patches(e.name for e in history if e.kind == Kind.PATCHED)
        driver.replaying = True

    def note(commands):
        for command in commands:
            if isinstance(command, MarkPatch):
                event = Event(driver.seq + 1, Kind.PATCHED, "", command.name, 0, b"", b"", 0, 0)
                driver.deliver(event)
                out.append(event)
            else:
                trace.append(shown(command))

    status = "done"
    try:
        note(driver.start())
        while driver.outcome is None:
            if history is None:
                event = host.next(driver) if len(out) < CAP else None
            else:
                event = next(rows, None)
            if event is None:
                status = "stopped"
                break
            out.append(event)
            note(driver.deliver(event))
            if evict_after is not None and len(out) >= evict_after:
                status = "evicted"
                break
            if disturbance and len(out) % 3 == 0:
                junk.append(bytearray(len(out)))
                if disturbance % 2:
                    gc.collect()
    except Blocked as error:
        status = f"blocked: {error.kind}"
        trace.append(str(error).splitlines()[0])
    return Play(status, trace, out, log, driver)


def teardown(played):
    """Evict and return the commands asked for meanwhile: there must be none."""
    loop = played.driver.loop
    loop.commands.clear()
    try:
        played.driver.evict()
    except Evicted:
        return ["eviction let Evicted escape"]
    return [shown(command) for command in loop.commands]
