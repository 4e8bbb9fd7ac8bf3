"""Alerts: somebody is told of new and regressed issues; at least once, never in the way of runs.

What is to be told is a row, written with the failure itself, and goes once it was told. One worker
tells each: it puts its number on the row, and if it dies the next one does. A hook that fails is
called again, later and later.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from durable._runtime.threads import Threads
from durable._store.rows import AlertRow
from durable._store.writer import Change, Transaction
from durable.errors import StoreError

if TYPE_CHECKING:
    from durable._runtime.worker import Worker

__all__ = ["HOOK_TIMEOUT_S", "Alerts", "Hook"]

# How long a hook may take; then it is called again later.
HOOK_TIMEOUT_S = 30.0
# Plain functions that are called at the same time.
HOOK_THREADS = 4
# Between two calls of a hook that fails: twice as long each time, up to the longer one.
WAIT_US_MIN, WAIT_US_MAX = 1_000_000, 300_000_000


@attrs.frozen
class Hook:
    """Whom to tell.

    Attributes:
        describe: Returns what to tell; None: there is nothing any more.
        call: The user's function, async or plain.
    """

    describe: Callable[[AlertRow], Any]
    call: Callable[[Any], object]


class Alerts:
    """What one worker tells.

    Args:
        worker: The worker.
        hook: Whom to tell; None: nobody here.
    """

    def __init__(self, worker: Worker, hook: Hook | None) -> None:
        self._worker = worker
        self._hook = hook
        # Of their own, so that a hook that hangs takes no place from activities; and daemons, which
        # do not keep the process from stopping.
        self._threads = Threads(HOOK_THREADS)
        self._mine: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_claiming = False

    def look(self) -> None:
        """Take what nobody tells yet."""
        worker = self._worker
        if self._hook is None or self._is_claiming or not worker.is_serving:
            return
        try:
            found = worker.store.reader.alerts()
        except StoreError as error:
            worker.log.warning("alerts cannot be read: %s", error)
            return
        free = [one for one in found if one.id not in self._mine and not self._is_told(one)]
        if free:
            self._is_claiming = True
            worker.submit(Change(done=self._claimed, operation=self._claiming(free)))

    def close(self) -> None:
        """Leave what is not told yet to the next worker."""
        for task in self._tasks:
            task.cancel()
        self._threads.close()

    def _is_told(self, row: AlertRow) -> bool:
        """Say whether a worker that lives, and is another, has it."""
        worker = self._worker
        owner = row.worker_id
        return owner is not None and owner != worker.id and worker.store.locks.is_held(owner)

    def _claiming(self, rows: list[AlertRow]) -> Callable[[Transaction], list[AlertRow]]:
        me = self._worker.id

        def operation(transaction: Transaction) -> list[AlertRow]:
            return [
                row
                for row in rows
                if transaction.one("claim_alert", id=row.id, worker=me, before=row.worker_id)
            ]

        return operation

    def _claimed(self, change: Change) -> None:
        self._is_claiming = False
        if change.error is not None:
            self._worker.commit_failed(change.error)
            return
        for row in change.value:
            self._mine.add(row.id)
            self._begin(row, WAIT_US_MIN)

    def _begin(self, row: AlertRow, wait_us: int) -> None:
        if not self._worker.is_serving:
            return
        task = asyncio.get_running_loop().create_task(self._try(row, wait_us))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, row: AlertRow, wait_us: int) -> None:
        worker, hook = self._worker, self._hook
        assert hook is not None
        try:
            async with asyncio.timeout(HOOK_TIMEOUT_S):
                what = hook.describe(row)
                if what is not None:
                    await self._call(hook.call, what)
        except Exception as error:  # noqa: BLE001  whatever a hook raises, it is called again
            worker.log.warning(
                "on_issue failed for issue %s (%s: %s); it is called again in %d s",
                row.fingerprint, type(error).__name__, error, wait_us // 1_000_000,
            )  # fmt: skip
            later_us = worker.now_us() + wait_us
            worker.timers.at(later_us, lambda: self._begin(row, min(2 * wait_us, WAIT_US_MAX)))
            return
        worker.submit(Change(done=self._told, operation=_deleting(row.id)))

    async def _call(self, call: Callable[[Any], object], what: object) -> None:
        if inspect.iscoroutinefunction(call):
            await call(what)
            return
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[object] = loop.create_future()

        def settle(value: object, error: BaseException | None) -> None:
            if outcome.done():  # Nobody waits for it any more.
                return
            if error is None:
                outcome.set_result(value)
            else:
                outcome.set_exception(error)

        def job() -> None:
            value, failure = None, None
            try:
                value = call(what)
            except Exception as error:  # noqa: BLE001  it is raised where it is awaited
                failure = error
            self._worker.call_from_thread(settle, value, failure)

        self._threads.run(job)
        value = await outcome
        if inspect.isawaitable(value):
            await value

    def _told(self, change: Change) -> None:
        if change.error is not None:
            self._worker.commit_failed(change.error)


def _deleting(alert: int) -> Callable[[Transaction], Any]:
    return lambda transaction: transaction.all("delete_alert", id=alert)
