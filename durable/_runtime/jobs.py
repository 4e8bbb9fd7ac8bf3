"""Acts on many runs, done by a worker: a chunk a commit, one after the other, runs in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from durable._runtime.reopening import ENDS_THE_WRITER
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
            done = partial(self._advanced, running[0])
            worker.submit(Change(done=done, operation=self._operation(running[0])))

    def _operation(self, job: int) -> Callable[[Transaction], Advanced]:
        worker = self._worker
        return jobs.advance(job, worker.now_us(), worker.store.locks.is_held)

    def _advanced(self, job: int, change: Change) -> None:
        self._is_busy = False
        worker = self._worker
        if isinstance(change.error, ENDS_THE_WRITER):
            worker.commit_failed(change.error)
            return
        if change.error is not None:
            self._give_up(job, change.error)
            return
        advanced: Advanced = change.value
        for pk in advanced.closed:
            worker.notify(pk, "terminated")
        worker.look_soon()
        worker.call_soon(self.look)

    def _give_up(self, job: int, error: BaseException) -> None:
        """Stop a job whose row cannot be understood: no other may wait for it for ever."""
        worker = self._worker
        worker.log.error("job %d is stopped: %s: %s", job, type(error).__name__, error)
        operation = jobs.give_up(job, f"{type(error).__name__}: {error}", worker.now_us())
        worker.submit(Change(done=self._given_up, operation=operation))

    def _given_up(self, change: Change) -> None:
        if isinstance(change.error, ENDS_THE_WRITER):
            self._worker.commit_failed(change.error)
        elif change.error is None:
            self._worker.call_soon(self.look)
