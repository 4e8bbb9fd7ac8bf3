"""An asyncio loop whose time is virtual and whose order is a function of a seed.

What may differ between two hosts differs between two seeds: how the callbacks of independent actors
interleave, how late a timer is called, when a commit is done, when a writer notices the commits of
others. What asyncio promises is kept: the callbacks of one actor run in the order they were
scheduled. An actor is an engine, a client or the body of one attempt; a life is a process: it
holds actors, and is killed, or stopped and continued, as a whole.

Each writer keeps its real thread, which is let go for one transaction at a time while the loop
waits: what is in a transaction, and when it is delivered, is the seed's too.
"""

import asyncio
import contextlib
import gc
import queue
import random
import threading
from collections import defaultdict, deque
from contextvars import Context, ContextVar, copy_context
from heapq import heappop
from types import SimpleNamespace

import anyio.to_thread
import attrs
import pytest

from durable import _clock
from durable._runtime import execution, worker
from durable._runtime.execution import Execution
from durable._runtime.timers import Timers
from durable._store.writer import Writer
from durable.client import _client

COMMIT_S_MAX = 0.004
# The idle writer looks each 10 ms for commits of others, and the host may be slow.
NOTICE_S_MAX = 0.02
LATE_S_MAX = 0.002
TURN_S = 0.000_02
# Of virtual time: a client looks this often while it waits, so that a seed costs less.
CLIENT_POLL_S = 0.05
# What a loop does in one life of a world; more is a loop that spins.
TURNS_MAX = 300_000


class Life:
    """A process: dead, stopped or running.

    Attributes:
        gates: Those of its writers that are open.
        tasks: What was begun in it.
    """

    def __init__(self, name):
        self.name = name
        self.is_dead = False
        self.is_frozen = False
        self.gates = []
        self.tasks = []
        self.held = deque()

    def context(self, name):
        """Return a context whose callbacks are those of a new actor of this life."""
        context = copy_context()
        context.run(ACTOR.set, Actor(self, name))
        return context


@attrs.frozen(eq=False)
class Actor:
    """Whose callbacks keep their order among each other."""

    life: Life
    name: str


OUTSIDE = Actor(Life("outside"), "outside")
ACTOR = ContextVar("actor", default=OUTSIDE)


class Gate:
    """The queue of one writer, whose thread is let go by the loop alone."""

    def __init__(self, loop, actor):
        self._loop = loop
        self.actor = actor
        self._items = deque()
        self._granted = deque()
        # Bare locks, each taken by who waits: a semaphore costs three times as much.
        self._go, self._idle = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._idle.acquire()
        self._is_known = self._is_closing = False
        self.commit_at = self.notice_at = None
        self.commits = 0

    # -- what the writer asks for ----------------------------------------------------------------

    def put(self, change):
        self._items.append(change)
        if change is None:  # It closes, and the loop's thread waits for that.
            self._is_closing = True
            self._loop.gate_closes(self)
            self._granted.extend(self._items)
            self._items.clear()
            self._go.release()
        elif self.commit_at is None:
            self.commit_at = self._loop.now + self._loop.chance.uniform(0, COMMIT_S_MAX)

    def get(self, timeout=None):
        if not self._is_known:  # A new thread has a context of its own.
            self._is_known = True
            ACTOR.set(self.actor)
        if not self._granted or not self._is_closing:
            self._idle.release()
            self._go.acquire()
        if not self._granted:
            raise queue.Empty
        return self._granted.popleft()

    def get_nowait(self):
        if not self._granted:
            raise queue.Empty
        return self._granted.popleft()

    def empty(self):
        return not self._items

    # -- what the loop does ----------------------------------------------------------------------

    @property
    def due_at(self):
        if self.actor.life.is_frozen:
            return None
        moments = [one for one in (self.commit_at, self.notice_at) if one is not None]
        return min(moments, default=None)

    def wait_idle(self):
        """Wait until the thread asks for what is next."""
        self._idle.acquire()

    def let_go(self):
        """Let the thread commit what is queued, or, if nothing is, look for others' commits."""
        self.commit_at = self.notice_at = None
        self._granted.extend(self._items)
        count = len(self._items)
        self._items.clear()
        self.commits += bool(count)
        self._go.release()
        self.wait_idle()
        return count

    def drop(self):
        """Forget what is queued: the process died before."""
        self._items.clear()
        self.commit_at = None


class SimLoop(asyncio.SelectorEventLoop):
    """The loop.

    Attributes:
        now: Virtual seconds.
        chance: The seed's.
        turns: How often it turned.
        on_commit: Called with a gate right after each of its transactions, before it is heard of.
        clock: The host's, for engines and clients.
        timers: Sees each timer of each engine.
    """

    def __init__(self, seed):
        self.now = 0.0
        self.chance = random.Random(seed)
        self.turns = 0
        self.gates = []
        self.trace = []
        self._dead = []
        self.clock = SimClock(self)
        self.timers = None
        self.on_commit = lambda gate: None
        super().__init__()
        self.set_task_factory(self._make_task)

    def time(self):
        return self.now

    def _write_to_self(self):
        pass  # It never sleeps.

    @staticmethod
    def _make_task(loop, coroutine, **options):
        task = asyncio.Task(coroutine, loop=loop, **options)
        context = options.get("context")
        actor = ACTOR.get() if context is None else context.get(ACTOR, OUTSIDE)
        if actor is not OUTSIDE:
            actor.life.tasks.append(task)
        return task

    def note(self, *what):
        """Add a line to what happened."""
        self.trace.append((round(self.now, 6), *what))

    # -- one turn --------------------------------------------------------------------------------

    def call_at(self, when, callback, *args, context=None):
        late_s = self.chance.uniform(0, LATE_S_MAX)
        return super().call_at(when + late_s, callback, *args, context=context)

    def _run_once(self):
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise AssertionError(f"the loop spins: {self.turns} turns in {self.now:.1f} s")
        self.now += TURN_S
        self._let_writers_go()
        self._wake_due()
        if not self._ready:
            self._move_time()
            self._let_writers_go()
            self._wake_due()
        for handle in self._choose():
            if not handle._cancelled and not _actor_of(handle).life.is_dead:
                handle._run()

    def _wake_due(self):
        scheduled = self._scheduled
        while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= self.now):
            handle = heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)

    def _move_time(self):
        moments = [gate.due_at for gate in self.gates if gate.due_at is not None]
        if self._scheduled:
            moments.append(self._scheduled[0]._when)
        if not moments and not self._stopping:
            raise AssertionError("deadlock: nothing is ready, and no timer is set")
        self.now = max(self.now, min(moments, default=self.now))

    def _choose(self):
        """Return what runs in this turn: the actors' callbacks, interleaved; some actors wait."""
        ready, self._ready = self._ready, deque()
        by_actor = defaultdict(deque)
        for handle in ready:
            actor = _actor_of(handle)
            if actor.life.is_frozen:
                actor.life.held.append(handle)
            else:
                by_actor[actor].append(handle)
        chance = self.chance
        if len(by_actor) > 1 and chance.random() < 0.3:
            left_out = chance.choice(list(by_actor))
            self._ready.extend(by_actor.pop(left_out))
        lines = list(by_actor.values())
        chosen = []
        while lines:
            at = chance.randrange(len(lines)) if len(lines) > 1 else 0
            chosen.append(lines[at].popleft())
            if not lines[at]:
                lines[at] = lines[-1]
                lines.pop()
        return chosen

    # -- writers ---------------------------------------------------------------------------------

    def _let_writers_go(self):
        while True:
            due = [one for one in self.gates if one.due_at is not None and one.due_at <= self.now]
            if not due:
                return
            gate = min(due, key=lambda one: one.due_at)
            if count := gate.let_go():
                self.note("commit", gate.actor.name, count)
                self.tell_others(gate)
                self.on_commit(gate)

    def tell_others(self, gate):
        for other in self.gates:
            if other is not gate and other.notice_at is None:
                other.notice_at = self.now + self.chance.uniform(0, NOTICE_S_MAX)

    def gate_opens(self, gate):
        gate.wait_idle()
        self.gates.append(gate)
        gate.actor.life.gates.append(gate)
        gate.notice_at = self.now + self.chance.uniform(0, NOTICE_S_MAX)

    def gate_closes(self, gate):
        self.gates.remove(gate)
        gate.actor.life.gates.remove(gate)
        self.tell_others(gate)

    # -- lives -----------------------------------------------------------------------------------

    def kill(self, life):
        """Let nothing of a life run any more; what its writers had not begun is not written."""
        life.is_dead = True
        life.is_frozen = False
        life.held.clear()
        for gate in life.gates:
            gate.drop()
        self._dead.append(life)

    def bury(self):
        """End what was under way in lives that were killed, now that the loop stands still."""
        for life in self._dead:
            for task in life.tasks:
                task._log_destroy_pending = False
                with contextlib.suppress(RuntimeError):  # It waited while it was closed.
                    task.get_coro().close()

    def freeze(self, life):
        """Stop a life, as SIGSTOP does."""
        life.is_frozen = True

    def thaw(self, life):
        """Let a stopped life go on."""
        life.is_frozen = False
        self._ready.extend(life.held)
        life.held.clear()


def _actor_of(handle):
    return handle._context.get(ACTOR, OUTSIDE)


class SimClock:
    """The clocks of the host that a loop simulates.

    The wall clock can be set; while the host is suspended it goes on, as the boot clock does, and
    the loop's own clock stands still.
    """

    def __init__(self, loop, epoch_us=1_767_225_600_000_000):
        self._loop = loop
        self._epoch_us = epoch_us
        self._set_s = self._slept_s = 0.0

    def wall_us(self):
        return self._epoch_us + round((self._loop.now + self._slept_s + self._set_s) * 1e6)

    def steady_us(self):
        return round((self._loop.now + self._slept_s) * 1e6)

    def jump(self, due_us):
        return False

    def step(self, seconds):
        """Set the wall clock forward, or back."""
        self._set_s += seconds

    def suspend(self, seconds):
        """Let the host have slept."""
        self._slept_s += seconds


class NoWatchdog:
    """In place of the thread that looks at real time."""

    def __init__(self, *_):
        self.draining = None
        self.drains = 0

    def close(self):
        pass


class TimerWatch:
    """Sees each timer that is armed and fired, and what the host's clocks showed then.

    Law 10: a timer fires as soon as the wall clock shows it due or, within the life of the process
    that armed it, the boot clock does; so never before, and once.

    Attributes:
        early: Those that fired before, where nobody set a clock.
        twice: Those that fired again.
        fired: How many did.
    """

    def __init__(self, patch, clock):
        self._clock = clock
        self.early = []
        self.twice = []
        self.fired = 0
        at = Timers.at

        def watched(timers, due_us, callback, *args, **options):
            steady_due_us = clock.steady_us() + due_us - clock.wall_us()
            fired = []

            def fire():
                fired.append(True)
                self._fired(due_us, steady_due_us, len(fired))
                callback()

            return at(timers, due_us, fire, *args, **options)

        patch.setattr(Timers, "at", watched)

    def _fired(self, due_us, steady_due_us, times):
        self.fired += 1
        late_us = max(self._clock.wall_us() - due_us, self._clock.steady_us() - steady_due_us)
        if late_us < 0:
            self.early.append(f"a timer fired {-late_us} us before any clock showed it due")
        if times > 1:
            self.twice.append("a timer fired twice")


@contextlib.contextmanager
def without_collector():
    """Keep the collector from deciding when what is dropped is closed."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def simulated(seed):
    """Give a loop on which engines and clients may be opened, and what happens is the seed's."""
    loop = SimLoop(seed)
    chance = random.Random(seed + 1)
    random.seed(seed + 2)  # Of the jitter of retries.
    start, begin_task = Writer.start, Execution.begin_task

    def start_gated(writer):
        gate = Gate(loop, ACTOR.get())
        writer._changes = gate
        start(writer)
        loop.gate_opens(gate)

    def begin_noted(execution_, attempt):
        begin_task(execution_, attempt)
        ACTOR.get().life.tasks.append(attempt.task)

    def context_of_body():
        fresh = Context()
        fresh.run(ACTOR.set, Actor(ACTOR.get().life, "body"))
        return fresh

    async def run_here(work, *args, **options):
        """Do what a client does on a thread: a commit of its own, or a look."""
        await asyncio.sleep(loop.chance.uniform(0, COMMIT_S_MAX))
        value = work(*args)
        loop.tell_others(None)
        return value

    with pytest.MonkeyPatch.context() as patch, without_collector():
        patch.setattr(anyio.to_thread, "run_sync", run_here)
        patch.setattr(Writer, "start", start_gated)
        patch.setattr(Execution, "begin_task", begin_noted)
        patch.setattr(execution, "Context", context_of_body)
        patch.setattr(worker, "Watchdog", NoWatchdog)
        patch.setattr(_clock, "os", SimpleNamespace(urandom=chance.randbytes))
        patch.setattr(_client, "POLL_S", CLIENT_POLL_S)
        loop.timers = TimerWatch(patch, loop.clock)
        asyncio.set_event_loop(loop)
        try:
            yield loop
        finally:
            loop.bury()
            asyncio.set_event_loop(None)
            loop.close()
