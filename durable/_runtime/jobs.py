"""Acts on many runs, done by a worker: a chunk a commit, one after the other, runs in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from durable._store import jobs
from durable._store.jobs import Advanced
from durable._store.writer import Change, Transaction
from durable.errors import StoreError

if TYPE_CHECKING:
    from durable._runtime.worker import Worker

__all__ = ["Jobs"]


class Jobs:
    """The jobs of a file, as one worker does them."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._is_busy = False

    def look(self) -> None:
        """Do what is left of the oldest job, if there is any."""
        worker = self._worker
        if self._is_busy or not worker.is_serving or worker.only is not None:
            return
        try:
            running = worker.store.reader.running_jobs()
        except StoreError as error:
            worker.log.warning("jobs cannot be read: %s", error)
            return
        if running:
            self._is_busy = True
            worker.submit(Change(done=self._advanced, operation=self._operation(running[0])))

    def _operation(self, job: int) -> Callable[[Transaction], Advanced]:
        worker = self._worker
        return jobs.advance(job, worker.now_us(), worker.store.locks.is_held)

    def _advanced(self, change: Change) -> None:
        self._is_busy = False
        worker = self._worker
        if change.error is not None:
            worker.commit_failed(change.error)
            return
        advanced: Advanced = change.value
        for pk in advanced.closed:
            worker.notify(pk, "terminated")
        worker.look_soon()
        worker.call_soon(self.look)
