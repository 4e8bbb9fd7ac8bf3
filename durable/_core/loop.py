"""The deterministic event loop: asyncio without a clock, a file or a thread.

Laws:

* Only this module knows asyncio's Task and Future classes.
* ``time()`` is the history's: seconds since the run's start. It moves only when an event arrives.
* Whatever CPython orders by memory address is ordered by creation here: tasks and futures hash by
  a salted creation number, so sets of them (``asyncio.wait``, anyio's cancel scopes) iterate the
  same in every process. The salt is the run's own: equal small hashes in 20,000 runs would pile up
  in asyncio's process-wide table of tasks.
* Whatever the collector may do at its own moment waits for the run's end.
* Cancellation passes through at once: a cancelled step is dropped, nothing shields it.
* Eviction asks for nothing and always ends: a refused call raises once per task, and is from then
  on something that never ends, for code that swallows every exception would spin otherwise.
* What cannot be replayed raises, and swallowing the error does not hide it.

Sources: asyncio's base_events.py and tasks.py of CPython 3.11 to 3.14; PEP 525 (hooks).
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import math
import sys
import threading
import weakref
from asyncio import events as asyncio_events
from asyncio import tasks as asyncio_tasks
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from durable._core import anyio_support
from durable._core.commands import ArmTimer, Command, DropStep, DropTimer
from durable._core.events import Kind
from durable._core.frames import frames_of_coroutine, innermost_of_user, owner_of
from durable._core.lineage import Lineage
from durable.errors import Blocked, NotDurable, ReadOnly

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Evicted", "HostAway", "Step", "Timer", "WorkflowLoop"]

# Compared at each step: a look-up of an enum's member costs as much as the comparison.
COMPLETED = int(Kind.COMPLETED)

logger = logging.getLogger("durable.workflow")

_HASH_MASK = (1 << 59) - 1
# Fibonacci hashing: 2**64 over the golden ratio spreads neighbouring numbers.
_HASH_FACTOR = 0x9E3779B97F4A7C15

_lineage: contextvars.ContextVar[Lineage] = contextvars.ContextVar("durable_lineage")
_ASK_THE_TASK = Lineage("?")
_WAIT_FOR_CODE = asyncio.wait_for.__code__
_AS_COMPLETED_FILE = asyncio.as_completed.__code__.co_filename
_collecting = False

# Failed tasks that nothing awaited: so many of a run are told of.
UNSEEN_FAILURES_MAX = 100
# 10,000 years, as of all durations: beyond it no moment can be shown.
SECONDS_MAX = 10_000 * 365 * 86_400
# Each wait in a nest of `finally` blocks ignores GeneratorExit once; deeper nests than this are
# left to a collection under our hooks.
CLOSE_TRIES = 10


def _note_collection(phase: str, _info: dict[str, int]) -> None:
    global _collecting
    _collecting = phase == "start"


gc.callbacks.append(_note_collection)


class Evicted(BaseException):
    """Raised at durable calls of a run that is being dropped from memory."""


class _Handle(asyncio.Handle):
    """A callback; made once or oftener per step, so its base's look at debug mode is left out."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: WorkflowLoop,
        context: contextvars.Context,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._repr = self._source_traceback = None


class _Future(asyncio.Future[Any]):
    """A future that hashes by creation."""

    __slots__ = ("number",)

    def __init__(self, loop: WorkflowLoop) -> None:
        self.number = loop.next_hash()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__


class Step(asyncio.Future[Any]):
    """A call the workflow waits for; it is itself the future that is awaited.

    Attributes:
        step_id: See `lineage`.
        name: The activity's stored name.
        fingerprint: 64 bits of the arguments as passed.
        arguments: The encoded arguments.
        spec: What the runtime needs to perform it; opaque here.
        decode: Turns the recorded result into the value the workflow gets.
        checked: Whether other arguments than the recorded ones block the run.
        kind: The kind of the event that ends it well; that of its failure is the next number.
    """

    __slots__ = (
        "arguments",
        "checked",
        "decode",
        "fingerprint",
        "kind",
        "name",
        "number",
        "spec",
        "step_id",
    )

    def __init__(
        self,
        loop: WorkflowLoop,
        step_id: str,
        name: str,
        fingerprint: int,
        arguments: bytes,
        spec: Any,
        decode: Callable[[bytes], Any],
        checked: bool,
        kind: int,
    ) -> None:
        loop.numbers += 1
        self.number = loop.numbers
        self.step_id = step_id
        self.name = name
        self.fingerprint = fingerprint
        self.arguments = arguments
        self.spec = spec
        self.decode = decode
        self.checked = checked
        self.kind = kind
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        loop: WorkflowLoop = self.get_loop()  # type: ignore[assignment]
        return loop.hash_of(self.number)

    __eq__ = object.__eq__

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the wait and drop the step: at once, whatever its attempt is doing."""
        if not super().cancel(msg):
            return False
        loop: WorkflowLoop = self.get_loop()  # type: ignore[assignment]
        loop.drop_step(self)
        return True


class Timer(asyncio.TimerHandle):
    """A durable timer; its times count from the run's start, ``due_us`` is rounded up."""

    __slots__ = ("armed_us", "due_us", "step_id")

    step_id: str
    armed_us: int
    due_us: int


class _Never(Coroutine[Any, Any, Any]):
    """The code of a task that never runs; unlike a coroutine, it need not be closed."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, Any]:
        while True:
            yield

    def send(self, _value: Any, /) -> Any:
        """Wait on."""

    def throw(self, *_error: Any) -> Any:
        """Wait on."""

    def close(self) -> None:
        """There is nothing to close."""


class WorkflowTask(asyncio.Task[Any]):
    """A task with a lineage, which hashes by creation."""

    lineage: Lineage
    number: int
    context: contextvars.Context
    """What its code runs in (`asyncio.Task.get_context` is of 3.12)."""

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        loop: WorkflowLoop,
        lineage: Lineage,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        self.number = loop.next_hash()  # The base class puts the task into a set.
        self.lineage = lineage
        if context is None:
            # Callbacks inherit it: what they ask for counts for whoever scheduled them.
            context = contextvars.copy_context()
            context.run(_lineage.set, lineage)
        elif lineage.path:
            # The program's own context, which several tasks may share.
            context.run(_lineage.set, _ASK_THE_TASK)
        self.context = context
        super().__init__(coro, loop=loop, name=name or lineage.path or "main", context=context)
        self._log_destroy_pending = False

    def __hash__(self) -> int:
        return self.number

    __eq__ = object.__eq__


class _Host(threading.local):
    """What this thread's host has given up for drains."""

    is_away = False
    draining: WorkflowLoop | None = None


_host = _Host()


class HostAway:
    """Swaps the host's loop, task and generator hooks away for any number of drains, and back.

    One swap for many drains: asking for the running loop costs a system call on CPython 3.11.
    Within it nothing may ask for the running loop but workflow code. Swaps do not nest: an inner
    one changes nothing, and puts back the outer one's loop.
    """

    __slots__ = ("_draining", "_hooks", "_host", "_task", "_was_away")

    def __enter__(self) -> None:
        self._was_away = _host.is_away
        self._draining = _host.draining
        if self._was_away:
            return
        self._host = asyncio_events._get_running_loop()
        self._hooks = sys.get_asyncgen_hooks()
        self._task = None if self._host is None else asyncio_tasks.current_task(self._host)
        if self._task is not None:
            assert self._host is not None
            asyncio_tasks._leave_task(self._host, self._task)
        sys.set_asyncgen_hooks(_generator_met, _generator_dropped)
        _host.is_away = True

    def __exit__(self, *_: object) -> None:
        _host.draining = self._draining
        if self._was_away:
            asyncio_events._set_running_loop(self._draining)
            return
        _host.is_away = False
        sys.set_asyncgen_hooks(*self._hooks)
        asyncio_events._set_running_loop(self._host)
        if self._task is not None:
            assert self._host is not None
            asyncio_tasks._enter_task(self._host, self._task)


def _generator_met(generator: AsyncGenerator[Any, Any]) -> None:
    if _host.draining is not None:
        _host.draining.generator_met(generator)


def _generator_dropped(generator: AsyncGenerator[Any, Any]) -> None:
    if _host.draining is not None:
        _host.draining.generator_dropped(generator)


def _asked_by_wait_for() -> bool:
    """Say whether `asyncio.wait_for` makes this task for itself, as it does before 3.12 only."""
    frame = sys._getframe(3)
    for _ in range(4):
        if frame is None:
            return False
        if frame.f_code is _WAIT_FOR_CODE:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _asked_by_as_completed() -> bool:
    """Say whether `asyncio.as_completed` wraps bare coroutines, out of a set ordered by address."""
    frame = sys._getframe(2)
    for _ in range(6):
        if frame is None:
            return False
        code = frame.f_code
        if code.co_filename == _AS_COMPLETED_FILE and (
            code is asyncio.as_completed.__code__ or "_AsCompletedIterator" in code.co_qualname
        ):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class WorkflowLoop(asyncio.AbstractEventLoop):
    """The loop of one run."""

    def __init__(self, salt: int, budget: int) -> None:
        self._salt = salt
        self.numbers = 0
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: list[WorkflowTask] = []
        self._tasks_swept_at = 64
        self._unseen: list[WorkflowTask] = []
        self._evicting = self._reading = False
        self._has_refused = False
        self.read_only_broken = False
        self.conditions: list[tuple[Callable[[], object], asyncio.Future[None]]] = []
        self._late_generators: list[AsyncGenerator[Any, Any]] = []
        self._generators: list[weakref.ref[AsyncGenerator[Any, Any]]] = []
        self._root = Lineage("")
        self._budget = budget
        self.budget_left = budget
        self.stalled_drains = 0
        self.steps: dict[str, Step] = {}
        self.timers: dict[str, Timer] = {}
        self.dropped: set[str] = set()
        self.commands: list[Command] = []
        self.violation: NotDurable | Blocked | None = None
        self.silent = False
        anyio_support.install(WorkflowLoop)  # type: ignore[type-abstract]

    # -- what durable calls ask of the loop ------------------------------------------------------

    def lineage(self) -> Lineage:
        """Return the lineage of the running task, else of whoever scheduled this callback."""
        lineage = _lineage.get(self._root)
        if lineage is _ASK_THE_TASK:
            task: Any = asyncio_tasks.current_task(self)
            return self._root if task is None else task.lineage
        return lineage

    def ask(
        self,
        name: str,
        fingerprint: int,
        arguments: bytes,
        spec: Any,
        decode: Callable[[bytes], Any],
        checked: bool,
        kind: int = COMPLETED,
        step_id: str = "",
    ) -> Step:
        """Ask for a step; the returned future ends with its result."""
        if self._evicting or self._reading:
            self._bar(name)
            return Step(self, "", name, fingerprint, arguments, spec, decode, checked, kind)
        step_id = step_id or self.lineage().next_call()
        step = Step(self, step_id, name, fingerprint, arguments, spec, decode, checked, kind)
        self.steps[step_id] = step
        self.commands.append(step)
        self.budget_left = self._budget
        return step

    def record(self, command: Command, what: str) -> None:
        """Let a row go out with the commit of this drain."""
        if self._evicting or self._reading:
            self._bar(what)
            return
        self.commands.append(command)

    def refuse_reader(self, what: str) -> None:
        """Raise if the code may only look now.

        Raises:
            ReadOnly: A query, a validator or a predicate asks for what changes the run.
        """
        if self._reading:
            self._bar(what)

    def _bar(self, what: str) -> None:
        """Refuse a call by raising. Code that is evicted is told once per task.

        From the second time on the caller hands out what never ends, or does nothing at all: code
        that swallows everything and asks again comes to rest there, inside ``coro.close()``.
        """
        if self._evicting:
            if self._has_refused:
                return
            self._has_refused = True
            raise Evicted
        error = ReadOnly(
            f"{what}: a query, the validator of an update and the predicate of wait_until may only "
            "look; nothing was changed"
        )
        self.read_only_broken = True
        raise error

    @contextlib.contextmanager
    def reading(self) -> Generator[None]:
        """Within it the run's code may only look; the host is away meanwhile.

        ``read_only_broken`` tells afterwards whether it tried more.
        """
        self.read_only_broken = False
        numbers = self.numbers
        with HostAway():
            asyncio_events._set_running_loop(self)
            _host.draining = self
            self._reading = True
            try:
                yield
            finally:
                self._reading = False
                self.numbers = numbers  # What is made after it hashes as without it.

    @staticmethod
    def enter_lineage(path: str) -> None:
        """Let what the running task asks for from here on count under another path."""
        _lineage.set(Lineage(path))

    def make_task(
        self, coro: Coroutine[Any, Any, Any], path: str, context: contextvars.Context
    ) -> asyncio.Task[Any]:
        """Make the task of a handler, whose path is not its maker's."""
        if self._evicting:
            coro.close()
            return self._make_idle_task()
        return self._make_task(coro, Lineage(path), None, context)

    def drop_step(self, step: Step) -> None:
        """Forget a cancelled step."""
        if self.steps.pop(step.step_id, None) is not None and not self._evicting:
            self.dropped.add(step.step_id)
            self.commands.append(DropStep(step))
            self.budget_left = self._budget

    def next_hash(self) -> int:
        """Return the hash of the next object made in this loop."""
        self.numbers += 1
        return self.hash_of(self.numbers)

    def hash_of(self, number: int) -> int:
        """Return the hash of the object made as the run's ``number``-th."""
        return ((self._salt + number) * _HASH_FACTOR) & _HASH_MASK

    # -- what asyncio asks of a loop -------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Ignored: debug mode would read the host's clock."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(self)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_eager: Any,
    ) -> asyncio.Task[Any]:
        if self._evicting or self._reading:
            coro.close()
            self._bar("a new task")
            return self._make_idle_task()
        parent = self.lineage()
        if sys.version_info < (3, 12) and _asked_by_wait_for():
            lineage = parent
        elif _asked_by_as_completed():
            coro.close()
            self.refuse(
                "asyncio.as_completed over coroutines takes them in the order of their memory "
                "addresses; pass tasks, or use durable.as_completed"
            )
        else:
            lineage = parent.child()
        return self._make_task(coro, lineage, name, context)  # type: ignore[arg-type]

    def _make_task(
        self,
        coro: Coroutine[Any, Any, Any],
        lineage: Lineage,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> WorkflowTask:
        task = WorkflowTask(coro, self, lineage, name, context)
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_swept_at:
            self._keep_unseen_failures()
            self._tasks = [task for task in self._tasks if not task.done()]
            self._tasks_swept_at = 2 * len(self._tasks) + 64
        return task

    def _make_idle_task(self) -> WorkflowTask:
        """Make a task that never runs."""
        return WorkflowTask(_Never(), self, self._root, None, None)

    def get_task_factory(self) -> None:
        return None

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        if self._reading:
            self._bar("waking a task")
        handle = _Handle(callback, args, self, context or contextvars.copy_context())
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        if self._evicting or self._reading:
            self._bar("a timer")
        if not math.isfinite(when) or when > SECONDS_MAX:
            raise ValueError(
                f"a timer is due in 10,000 years at most, not in {when - self._now:g} s; "
                "to wait for ever, wait for a message, or for an asyncio.Event"
            )
        timer = Timer(when, callback, args, self, context)
        if when <= self._now or self._evicting:
            # Due when asked for: it runs in this drain and needs no row. Evicted: it never runs.
            timer.step_id, timer.armed_us, timer.due_us = "", 0, 0
            self._ready.append(timer)
            return timer
        timer.step_id = self.lineage().next_timer()
        timer.armed_us, timer.due_us = self.now_us(), math.ceil(when * 1e6)
        self.timers[timer.step_id] = timer
        self.commands.append(ArmTimer(timer))
        self.budget_left = self._budget
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        timer: Timer = handle  # type: ignore[assignment]
        self.refuse_reader("cancelling a timer")
        if self.timers.pop(timer.step_id, None) is not None and not self._evicting:
            self.dropped.add(timer.step_id)
            self.commands.append(DropTimer(timer))
            self.budget_left = self._budget

    def get_exception_handler(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what asyncio complains of: not on replay, not while the run is dropped.

        That an exception was never retrieved asyncio says from a finalizer, at the collector's
        moment and in the middle of whatever runs then: here it is `unseen_failures` that tells.
        """
        if self._evicting or self.silent or "future" in context or "task" in context:
            return
        logger.warning("%s", context.get("message"), exc_info=context.get("exception"))

    default_exception_handler = call_exception_handler

    # -- driving ---------------------------------------------------------------------------------

    def start(
        self, make: Callable[[], Coroutine[Any, Any, Any]], context: contextvars.Context
    ) -> WorkflowTask:
        """Make the main task. ``context`` is fresh: nothing of the host's leaks in."""
        context.run(_lineage.set, self._root)
        return self._make_task(context.run(make), self._root, "main", context)

    def advance_clock(self, at_us: int) -> None:
        """Move the clock to an event's time; it never goes back."""
        now = at_us / 1e6
        if now > self._now:
            self._now = now

    def now_us(self) -> int:
        """Return the loop's time in microseconds since the run's start."""
        return round(self._now * 1e6)

    def fire(self, timer: Timer) -> None:
        """Let a due timer run in the next drain, not before its own due time."""
        self._now = max(self._now, timer.when())
        self._ready.append(timer)

    def drain(self) -> None:
        """Run callbacks until none is ready, as if the host's loop, task and hooks were not there.

        The budget counts callbacks without a new command. A correct program can exceed it while it
        waits for something (a TaskGroup with clean-up inside a cancelled anyio scope turns until
        the clean-up ends): the rest then runs with the next event, live and on replay alike.

        Raises:
            Blocked: The budget is used up and the run waits for nothing.
        """
        if _host.is_away:
            asyncio_events._set_running_loop(self)
            _host.draining = self
            self._run_ready()
        else:
            with HostAway():
                self.drain()

    def _run_ready(self) -> None:
        ready = self._ready
        self.budget_left = self._budget
        while True:
            while ready:
                if self.budget_left == 0:
                    self._over_budget()
                    return
                self.budget_left -= 1
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
            if not self.conditions or not self._look_at_conditions():
                break
        self.stalled_drains = 0

    async def wait_until(self, predicate: Callable[[], object]) -> None:
        """Wait until a predicate holds: looked at whenever no callback is ready, in order."""
        if self._evicting or self._reading:
            self._bar("wait_until")
            await self.create_future()
        self._reading = True
        try:
            holds = predicate()
        finally:
            self._reading = False
        if holds:
            return
        future = self.create_future()
        # Later looks are nobody's callback: they see what the waiter saw.
        one = (partial(contextvars.copy_context().run, predicate), future)
        self.conditions.append(one)
        try:
            await future
        finally:
            if one in self.conditions:
                self.conditions.remove(one)

    def _look_at_conditions(self) -> bool:
        """Look at each predicate once; True if one holds, so that its task runs on."""
        woken: list[tuple[asyncio.Future[None], BaseException | None]] = []
        self._reading = True
        try:
            for predicate, future in self.conditions:
                if future.done():
                    continue
                try:
                    if predicate():
                        woken.append((future, None))
                except StopIteration as error:  # No future can hold one (PEP 479).
                    woken.append((future, RuntimeError(f"the predicate raised {error!r}")))
                except BaseException as error:  # noqa: BLE001  whoever waits for it gets it
                    woken.append((future, error))
        finally:
            self._reading = False
        for future, failure in woken:
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
        return bool(woken)

    def _over_budget(self) -> None:
        self.stalled_drains += 1
        if not self.steps and not self.timers:
            raise Blocked(
                f"the workflow ran {self._budget:,} callbacks without asking for anything durable "
                f"and waits for nothing: an endless loop\n{self.stack()}",
                "endless",
            )

    def _keep_unseen_failures(self) -> None:
        for task in self._tasks:
            if len(self._unseen) >= UNSEEN_FAILURES_MAX:
                return
            if task.done() and task._log_traceback and not task.cancelled():
                self._unseen.append(task)

    def unseen_failures(self) -> list[tuple[str, BaseException]]:
        """Return the tasks that failed and that nothing has awaited, with what they raised.

        At most `UNSEEN_FAILURES_MAX` of them; each is returned once.
        """
        self._keep_unseen_failures()
        found: list[tuple[str, BaseException]] = []
        for task in self._unseen:
            if task._log_traceback:
                error = task.exception()
                assert error is not None
                found.append((task.get_name(), error))
        self._unseen.clear()
        return found

    def frames(self) -> dict[str, Sequence[FrameType]]:
        """Return the suspended frames of each unfinished task by its name, outermost first."""
        return {
            task.get_name(): list(frames_of_coroutine(task.get_coro()))
            for task in self._tasks
            if not task.done()
        }

    def stack(self) -> str:
        """Return where each unfinished task waits, newest last."""
        lines: list[str] = []
        for name, frames in self.frames().items():
            lines.append(f"task {name}:")
            lines += [
                f"  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
                for frame in frames
            ]
        return "\n".join(lines)

    def where(self, future: asyncio.Future[Any] | None = None) -> str:
        """Return where the user's code waits for a future, as ``file:line``, or an empty text.

        Args:
            future: A step or a timer; without one, whatever the main task waits for.
        """
        for task in self._tasks:
            if task.done():
                continue
            if future is None or getattr(task, "_fut_waiter", None) is future:
                return innermost_of_user(task.get_coro())
        return ""

    # -- generators ------------------------------------------------------------------------------

    def generator_met(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Remember a generator that is iterated for the first time."""
        met = self._generators
        met.append(weakref.ref(generator))
        if len(met) > 64 and not len(met) & 63:
            self._generators = [one for one in met if one() is not None]

    def generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close a generator in the drain that dropped it, or keep it for the run's end."""
        if self._evicting:
            return
        if _collecting:
            # The collector's moment differs from process to process: wait for the run's end.
            self._late_generators.append(generator)
        else:
            self._make_task(_close(generator), self.lineage().closer())

    # -- eviction --------------------------------------------------------------------------------

    def evict(self) -> None:
        """Drop all of the run's coroutines; afterwards the loop is empty.

        User ``finally`` blocks do run (closing a coroutine is the only way CPython has), but
        durable calls, timers and tasks in them are refused. Each coroutine is closed as its own
        current task, for anyio looks at that, newest first. Leaving one to the collector would let
        it wake up later, inside the drain of another run.
        """
        self._evicting = self.silent = True
        self._ready.clear()
        with HostAway():
            asyncio_events._set_running_loop(self)
            _host.draining = self
            self._close_everything()

    def _close_everything(self) -> None:
        unraisable, sys.unraisablehook = sys.unraisablehook, _ignore_unraisable
        try:
            unfinished = [task for task in reversed(self._tasks) if not task.done()]
            if not (unfinished or self._generators or self._late_generators):
                self._drop_everything(left_over=False)  # The run has ended: nearly every one.
                return
            closed = [self._close_task(task) for task in unfinished]
            unfinished.clear()
            # What is closed from here on has no task of its own any more; code that looks for the
            # current one, as `asyncio.timeout` does, would fail and might try for ever.
            with self._current(self._make_idle_task()):
                self._drop_everything(left_over=bool(self._late_generators) or not all(closed))
        finally:
            sys.unraisablehook = unraisable

    def _drop_everything(self, *, left_over: bool) -> None:
        self._tasks.clear()
        self._close_generators()
        self.steps.clear()
        self.timers.clear()
        self.conditions.clear()
        self.commands.clear()
        self._ready.clear()
        self._late_generators.clear()
        if left_over:  # Whatever still has code to run does so now, not in another run's drain.
            gc.collect()

    @contextlib.contextmanager
    def _current(self, task: WorkflowTask) -> Generator[None]:
        """Let a task be the current one."""
        asyncio_tasks._enter_task(self, task)
        try:
            yield
        finally:
            asyncio_tasks._leave_task(self, task)

    def _close_task(self, task: WorkflowTask) -> bool:
        coro: Any = task.get_coro()
        self._has_refused = False
        with self._current(task):
            for _ in range(CLOSE_TRIES):
                try:
                    # In its own context: elsewhere a durable call in it would be a plain one.
                    task.context.run(coro.close)
                except RuntimeError:
                    continue
                except BaseException:  # noqa: BLE001  user clean-up may raise anything here
                    return True
                else:
                    return True
        return False

    def _close_generators(self) -> None:
        """Close what unfinished generators wait for: closing their caller does not reach it.

        ``async_generator_asend.close()`` leaves the generator as it is (CPython before 3.13).
        """
        for reference in self._generators:
            generator: Any = reference()
            waiting = None if generator is None else generator.ag_await
            if waiting is not None and hasattr(waiting, "close"):
                with contextlib.suppress(BaseException):
                    waiting.close()
        self._generators.clear()

    # -- what is refused -------------------------------------------------------------------------

    def refuse(self, what: str) -> NoReturn:
        """Raise `NotDurable`, and remember it in case the workflow swallows it."""
        error = NotDurable(what)
        if self.violation is None:
            self.violation = error
        raise error


async def _close(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


def _ignore_unraisable(_unraisable: Any) -> None:
    """Say nothing of errors in closing coroutines."""


def _called_by_user(frame: FrameType | None, name: str) -> tuple[str, str]:
    """Return what the user's code has called that led here, and where, as `` (file:line)``."""
    called = name
    while frame is not None:
        path = frame.f_code.co_filename
        owner = owner_of(path)
        if owner == "user":
            return called, f" ({path}:{frame.f_lineno})"
        if owner != "durable":
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            called = f"{package}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return called, ""


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(self: WorkflowLoop, *_args: Any, **_kwargs: Any) -> NoReturn:
        called, place = _called_by_user(sys._getframe(1), name)
        self.refuse(
            f"{called}() was called inside a workflow{place}, where nothing of the outside can be "
            "replayed; move it into an activity"
        )

    refuse.__name__ = name
    refuse.__doc__ = "Refused: it cannot be replayed."
    return refuse


_ALLOWED = set(vars(WorkflowLoop))
for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in _ALLOWED:
        setattr(WorkflowLoop, _name, _refusal(_name))
