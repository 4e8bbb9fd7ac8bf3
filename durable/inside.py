"""What running code may call: inside workflows, and inside activities.

Everything here looks for whoever runs the code (see ``_core.context``) and says so where there is
nobody.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, cast, overload

from durable._core import context
from durable.definitions import Activity
from durable.definitions import activity as make_activity
from durable.errors import DefinitionError, NotInActivity, NotInWorkflow, UsageError
from durable.policies import Duration, Isolation, duration_us

if TYPE_CHECKING:
    import datetime as dt
    import uuid
    from collections.abc import Coroutine

    from durable._clock import Random
    from durable._core.context import (
        AttemptInfo,
        AttemptRunner,
        WorkflowInfo,
        WorkflowRunner,
    )

__all__ = [
    "as_completed",
    "attempt",
    "complete_later",
    "continue_as_new",
    "details",
    "heartbeat",
    "info",
    "is_cancelled",
    "now",
    "patched",
    "progress",
    "random",
    "resource",
    "sleep",
    "step",
    "uuid4",
    "wait_until",
]

P = ParamSpec("P")
R = TypeVar("R")


def _workflow(call: str) -> WorkflowRunner:
    runner = context.workflow.get()
    if runner is None:
        raise NotInWorkflow(
            f"durable.{call}() was called where no workflow runs; call it inside a @workflow that "
            "an engine drives"
        )
    return runner


def _attempt(call: str) -> AttemptRunner:
    runner = context.attempt.get()
    if runner is None:
        raise NotInActivity(
            f"durable.{call}() was called where no activity runs; call it inside an @activity that "
            "an engine performs"
        )
    return runner


# -- inside a workflow --------------------------------------------------------------------------


def now() -> dt.datetime:
    """Return the run's time, UTC: that of the last event, the same on replay.

    Raises:
        NotInWorkflow: No workflow runs here.
    """
    return _workflow("now").now()


def random() -> Random:
    """Return this task's stream of chance, seeded by the run: the same numbers on replay.

    Raises:
        NotInWorkflow: No workflow runs here.
    """
    return _workflow("random").random()


def uuid4() -> uuid.UUID:
    """Return a new UUID out of this task's stream: the same one on replay.

    Raises:
        NotInWorkflow: No workflow runs here.
    """
    return _workflow("uuid4").uuid4()


def info() -> WorkflowInfo:
    """Return what is known about the run.

    Raises:
        NotInWorkflow: No workflow runs here.
    """
    return _workflow("info").info()


async def sleep(duration: Duration) -> None:
    """Wait durably: the timer survives the process, and the run costs a row meanwhile.

    Args:
        duration: Seconds, a timedelta, or text such as ``"30d"``; 0 gives other tasks a turn.

    Raises:
        NotInWorkflow: No workflow runs here.
    """
    _workflow("sleep")
    await asyncio.sleep(duration_us(duration, "sleep") / 1e6)


def patched(name: str) -> bool:
    """Say whether this run takes the new branch, decided once per run and name.

    Runs that passed this place before the branch existed get False for ever, all others True::

        if durable.patched("charge-v2"):
            await charge_v2(order)
        else:
            await charge(order)

    Args:
        name: Of this change, unique in the workflow; 1 to 200 characters.

    Raises:
        NotInWorkflow: No workflow runs here.
    """
    return _workflow("patched").patched(name)


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this ordinal here; the run goes on from the start, with these arguments and no history.

    Raises:
        NotInWorkflow: No workflow runs here.
        PayloadError: The arguments cannot be stored.
    """
    _workflow("continue_as_new").continue_as_new(args, kwargs)


async def wait_until(predicate: Callable[[], object], timeout: Duration | None = None) -> None:
    """Wait until a predicate over the workflow's own state holds.

    It is looked at whenever the run has nothing else to do, after each event, in the order in which
    the waits began; never by queries. It may only look.

    Args:
        predicate: A plain function without arguments.
        timeout: How long to wait at most; a durable timer.

    Raises:
        TimeoutError: It did not hold in time.
        UsageError: The predicate is async.
        NotInWorkflow: No workflow runs here.
    """
    runner = _workflow("wait_until")
    if inspect.iscoroutinefunction(predicate):
        raise UsageError(
            f"the predicate of wait_until is a plain function; {predicate.__qualname__} is async"
        )
    if timeout is None:
        await runner.wait_until(predicate)
        return
    async with asyncio.timeout(duration_us(timeout, "timeout") / 1e6):
        await runner.wait_until(predicate)


def progress(done: float, total: float | None = None) -> None:
    """Publish how far a workflow or activity is: the value ``progress``, shown by ``durable show``.

    Raises:
        NotInWorkflow: Neither a workflow nor an activity runs here.
    """
    from durable.messages import Value

    Value("progress", dict[str, float | None]).set({"done": done, "total": total})


def details(text: str) -> None:
    """Publish what the run is doing, in words: the value ``details``, shown by ``durable show``.

    Raises:
        NotInWorkflow: Neither a workflow nor an activity runs here.
    """
    from durable.messages import Value

    Value("details", str).set(text)


@overload
def step(
    fn: Callable[..., Coroutine[Any, Any, R]],
    *args: Any,
    name: str | None = None,
    isolation: Isolation | None = None,
    **kwargs: Any,
) -> Awaitable[R]: ...
@overload
def step(
    fn: Callable[..., R],
    *args: Any,
    name: str | None = None,
    isolation: Isolation | None = None,
    **kwargs: Any,
) -> Awaitable[R]: ...
def step(
    fn: Any,
    *args: Any,
    name: str | None = None,
    isolation: Isolation | None = None,
    **kwargs: Any,
) -> Any:
    """Run any plain callable as an activity with the default policy.

    Args:
        fn: A function; a lambda needs ``name=``.
        *args: Passed on, and stored.
        name: The stored name; the function's own by default.
        isolation: ``"process"`` runs it in a process: see `Activity.options`.
        **kwargs: Passed on, and stored.

    Raises:
        NotInWorkflow: No workflow runs here.
        DefinitionError: The callable cannot be an activity.
    """
    _workflow("step")
    made: Activity[..., Any] = (
        cast("Activity[..., Any]", fn)
        if isinstance(fn, Activity)
        else make_activity(name=name)(_as_function(fn))
    )
    if isolation is not None:
        if not isinstance(fn, Activity) and not hasattr(fn, "__code__"):
            raise DefinitionError(
                f"{fn!r} is no function of a module, by which a process could find it; with "
                'isolation="process", pass a function that calls it'
            )
        made = made.options(isolation=isolation)
    return made(*args, **kwargs)


def _as_function(target: Any) -> Callable[..., Any]:
    """Return a plain function for any callable: builtins and objects have no code to look at."""
    if hasattr(target, "__code__"):
        function: Callable[..., Any] = target
        return function

    def call(*args: Any, **kwargs: Any) -> Any:
        return target(*args, **kwargs)

    call.__name__ = call.__qualname__ = str(getattr(target, "__name__", type(target).__name__))
    return call


def as_completed(
    awaitables: Iterable[Awaitable[R]], *, timeout: float | None = None
) -> Iterator[Coroutine[Any, Any, R]]:
    """Yield awaitables in the order they end, as `asyncio.as_completed` does for tasks.

    asyncio's own puts bare coroutines into a set, in the order of their memory addresses; this one
    makes their tasks in the order given.

    Args:
        awaitables: Coroutines, tasks or futures.
        timeout: Seconds until the remaining ones raise `TimeoutError`.
    """
    tasks = [asyncio.ensure_future(one) for one in awaitables]
    return iter(asyncio.as_completed(tasks, timeout=timeout))  # type: ignore[arg-type]


# -- inside an activity -------------------------------------------------------------------------


def attempt() -> AttemptInfo:
    """Return what is known about the running attempt.

    Raises:
        NotInActivity: No activity runs here.
    """
    return _attempt("attempt").info()


def heartbeat(details: Any = None) -> None:
    """Give a sign of life.

    Args:
        details: Plain data; the next attempt finds it in ``attempt().details`` if this one fails
            or its process dies.

    Raises:
        NotInActivity: No activity runs here.
        PayloadError: The details cannot be stored.
    """
    _attempt("heartbeat").heartbeat(details)


def is_cancelled() -> bool:
    """Say whether nobody waits for this attempt any more; a plain function should return then.

    Raises:
        NotInActivity: No activity runs here.
    """
    return _attempt("is_cancelled").is_cancelled()


def complete_later() -> str:
    """Let this step be completed from outside; return the token for ``client.resolve``.

    What the activity returns after this does not count: the step ends with the answer, or by its
    time limits. If the activity raises, it is tried again as ever, under the same token.

    Raises:
        NotInActivity: No activity runs here.
    """
    return _attempt("complete_later").complete_later()


def resource(name: str) -> Any:
    """Return what ``Engine(lifespan=)`` opened under this name.

    Raises:
        NotInActivity: No activity runs here.
        KeyError: The lifespan opened nothing of that name.
    """
    return _attempt("resource").resource(name)
