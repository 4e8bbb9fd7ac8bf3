"""Doing one thing for many items: bounded, in order, with a budget for failures."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
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
        UsageError: An argument is none of these; nothing was begun.
        TooManyFailures: More than ``tolerate`` failed; the rest was cancelled.
    """
    if not callable(fn):
        raise UsageError(f"map calls a function for each item; {fn!r} is none")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise UsageError(f"limit is a whole number of 1 or more, not {limit!r}")
    todo = list(items)
    mapping: _Mapping[T, R] = _Mapping(
        fn, todo, None if tolerate is None else _budget(tolerate, todo)
    )
    outcomes = await mapping.run(limit)
    return [one.unwrap() for one in outcomes] if tolerate is None else outcomes


class _Mapping(Generic[T, R]):
    """One call of `map`: tasks that take one item after another."""

    def __init__(
        self, fn: Callable[[T], Awaitable[R]], items: Sequence[T], failures_max: int | None
    ) -> None:
        self._fn = fn
        self._items = items
        self._failures_max = failures_max
        self._failures = 0
        self._is_over = False
        self._outcomes: list[Outcome[R] | None] = [None] * len(items)
        self._runner = context.workflow.get()
        self._call = "" if self._runner is None else self._runner.begin_items()

    async def run(self, limit: int) -> list[Outcome[R]]:
        waiting = iter(range(len(self._items)))
        count = min(limit, len(self._items))
        tasks = [asyncio.ensure_future(self._work(waiting)) for _ in range(count)]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        return [one for one in self._outcomes if one is not None]

    async def _work(self, waiting: Iterator[int]) -> None:
        task = asyncio.current_task()
        assert task is not None
        for index in waiting:
            # An item that swallows its cancellation ends like any other: no item follows it.
            if self._is_over or task.cancelling():
                return
            if self._runner is not None:
                self._runner.enter_item(self._call, index)
            try:
                self._outcomes[index] = Outcome(await self._fn(self._items[index]))
            except Exception as error:
                if self._failures_max is None:
                    self._is_over = True
                    raise
                self._outcomes[index] = Outcome(None, error)
                self._note_failure(error, self._failures_max)

    def _note_failure(self, error: Exception, failures_max: int) -> None:
        self._failures += 1
        if self._failures > failures_max:
            self._is_over = True
            raise TooManyFailures(
                f"{self._failures} of {len(self._items)} items failed, more than the "
                f"{failures_max} that are tolerated; the last: {type(error).__name__}: {error}"
            ) from error


def _budget(tolerate: float, items: Sequence[object]) -> int:
    if isinstance(tolerate, bool) or not isinstance(tolerate, int | float) or tolerate < 0:
        raise UsageError(f"tolerate is a number of items or a share of them, not {tolerate!r}")
    if isinstance(tolerate, int):
        return tolerate
    if not tolerate <= 1:  # That is, nan too.
        raise UsageError(f"a share is 0.0 to 1.0, not {tolerate}; a number of items is an int")
    count = int(tolerate * len(items))
    # 0.29 * 100 is a little less than 29, but 29 of 100 are no more than 0.29.
    return count + (count < len(items) and (count + 1) / len(items) <= tolerate)


async def settle(*awaitables: Awaitable[Any]) -> list[Outcome[Any]]:
    """Wait for all of them, and return how each ended; it never raises for one of them.

    Cancelling it cancels them.

    Args:
        *awaitables: Coroutines, tasks or futures.

    Raises:
        UsageError: One of them cannot be awaited; none was begun.
    """
    for one in awaitables:
        if not inspect.isawaitable(one):
            raise UsageError(f"settle waits for awaitables; {one!r} is none")
    found: list[Any] = await asyncio.gather(*awaitables, return_exceptions=True)
    return [Outcome(None, one) if isinstance(one, BaseException) else Outcome(one) for one in found]
