"""Two things anyio does that a deterministic loop cannot see from inside.

anyio's asyncio backend is imported when the first run is made, not before: a scope made earlier
than this is taught would be ordered by address.

* ``CancelScope`` keeps its children in a set, ordered by address: a scope made in a workflow hashes
  by creation instead. End condition: anyio keeps them in order.
* ``anyio.to_thread.run_sync`` starts a thread before it touches the loop, and would hang: it is
  refused at once in a workflow.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

__all__ = ["install"]

_installed = False


def install(loop_class: type[asyncio.AbstractEventLoop]) -> None:
    """Teach anyio's asyncio backend about workflow loops, once."""
    global _installed
    if _installed:
        return
    _installed = True
    from anyio._backends import _asyncio as backend

    _order_scopes(backend.CancelScope, loop_class)
    _refuse_threads(backend.AsyncIOBackend, loop_class)


def _order_scopes(scope_class: Any, loop_class: type) -> None:
    # Scopes have slots, so the number lives beside them, by address, for as long as they do.
    numbers: dict[int, tuple[weakref.ref[Any], int]] = {}

    def scope_hash(self: Any) -> int:
        address = id(self)
        known = numbers.get(address)
        if known is not None:
            return known[1]
        loop: Any = asyncio._get_running_loop()
        if not isinstance(loop, loop_class):
            return object.__hash__(self)
        number: int = loop.next_hash()  # type: ignore[attr-defined]
        numbers[address] = weakref.ref(self, lambda _: numbers.pop(address)), number
        return number

    scope_class.__hash__ = scope_hash


def _refuse_threads(backend_class: Any, loop_class: type) -> None:
    original = backend_class.run_sync_in_worker_thread.__func__

    async def run_sync_in_worker_thread(cls: Any, *args: Any, **kwargs: Any) -> Any:
        loop: Any = asyncio._get_running_loop()
        if isinstance(loop, loop_class):
            loop.refuse(  # type: ignore[attr-defined]
                "anyio.to_thread.run_sync() was called inside a workflow, where nothing of the "
                "outside can be replayed; move it into an activity"
            )
        return await original(cls, *args, **kwargs)

    backend_class.run_sync_in_worker_thread = classmethod(run_sync_in_worker_thread)
