"""Waiting for what others do: the one loop of all tests."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["until"]

# Far beyond what any of it takes: a test that comes here fails.
SECONDS_MAX = 20.0


async def until(condition: Callable[[], Any]) -> Any:
    """Ask again and again until the answer, or what it comes to when awaited, holds; return it."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)
