"""Doing one thing for many items: bounded, in order, with a budget for failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar, overload

import attrs

from durable._core import context
from durable.errors import TooManyFailures, UsageError

__all__ = ["Outcome", "map", "settle"]

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

# Items in the works at once where nothing else is said.
LIMIT_DEFAULT = 100


@attrs.frozen
class Outcome(Generic[R_co]):
    """How one item ended.

    Attributes:
        value: What came out, if it went well; else None.
        error: What was raised, or None.
    """

    value: R_co | None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether it went well."""
        return self.error is None

    def unwrap(self) -> R_co:
        """Return the value.

        Raises:
            BaseException: The error, if that is what came out.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


@overload
async def map(
    fn: Callable[[T], Awaitable[R]], items: Iterable[T], *, limit: int = LIMIT_DEFAULT
) -> list[R]: ...
@overload
async def map(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    limit: int = LIMIT_DEFAULT,
    tolerate: float,
) -> list[Outcome[R]]: ...
async def map(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    limit: int = LIMIT_DEFAULT,
    tolerate: float | None = None,
) -> list[R] | list[Outcome[R]]:
    """Call an activity, a workflow or any async function for each item, a few at a time.

    There are ``limit`` tasks, however many items. Each item's steps are named after its index, so
    that which of them ends first changes nothing on replay.

    Args:
        fn: Called with one item.
        items: The items; read once, at the beginning.
        limit: How many are in the works at once, 1 or more.
        tolerate: None: the first failure cancels the rest and is raised. A whole number of items,
            or a share of them from 0.0 to 1.0: so many may fail, and outcomes are returned.

    Returns:
        The results, or with ``tolerate`` the outcomes, in the order of the items.

    Raises:
        TooManyFailures: More than ``tolerate`` failed; the rest was cancelled.
    """
    if not isinstance(limit, int) or limit < 1:
        raise UsageError(f"limit is a whole number of 1 or more, not {limit!r}")
    todo: Sequence[T] = list(items)
    failures_max = _budget(tolerate, len(todo))
    runner = context.workflow.get()
    call = None if runner is None else runner.begin_items()
    outcomes: list[Outcome[R] | None] = [None] * len(todo)
    failures = 0
    waiting = iter(range(len(todo)))

    async def work() -> None:
        nonlocal failures
        for index in waiting:
            if runner is not None and call is not None:
                runner.enter_item(call, index)
            try:
                outcomes[index] = Outcome(await fn(todo[index]))
            except Exception as error:
                if tolerate is None:
                    raise
                outcomes[index] = Outcome(None, error)
                failures += 1
                if failures > failures_max:
                    raise TooManyFailures(
                        f"{failures} of {len(todo)} items failed, more than the {failures_max} that "
                        f"are tolerated; the last: {type(error).__name__}: {error}"
                    ) from error

    tasks = [asyncio.ensure_future(work()) for _ in range(min(limit, len(todo)))]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    found = [one for one in outcomes if one is not None]
    assert len(found) == len(todo)
    if tolerate is None:
        return [one.unwrap() for one in found]
    return found


def _budget(tolerate: float | None, count: int) -> int:
    if tolerate is None:
        return 0
    if isinstance(tolerate, bool) or not isinstance(tolerate, int | float) or tolerate < 0:
        raise UsageError(f"tolerate is a number of items or a share of them, not {tolerate!r}")
    if isinstance(tolerate, int):
        return tolerate
    if tolerate > 1:
        raise UsageError(f"a share is 0.0 to 1.0, not {tolerate}; a number of items is an int")
    return int(tolerate * count)


async def settle(*awaitables: Awaitable[Any]) -> list[Outcome[Any]]:
    """Wait for all of them, and return how each ended; it never raises for one of them.

    Cancelling it cancels them.

    Args:
        *awaitables: Coroutines, tasks or futures.
    """
    found: list[Any] = await asyncio.gather(*awaitables, return_exceptions=True)
    return [Outcome(None, one) if isinstance(one, BaseException) else Outcome(one) for one in found]
