"""Retention: what has ended long enough ago is deleted, beside everything else.

Each age that the retention names is a walk of its own along the times when runs ended. A walk goes
on where it has come to, so a look costs what has come of age since; once a day it begins anew, for
what could not go the first time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable._runtime.reopening import ENDS_THE_WRITER
from durable._store.expiry import Chunk, expire
from durable._store.writer import Change

if TYPE_CHECKING:
    from durable._runtime.worker import Worker
    from durable.policies import Retention

__all__ = ["Expiry"]

# How often a walk goes on once it has come to this moment, and how soon after a chunk.
LOOK_S, PAUSE_S = 30.0, 0.02
AGAIN_US = 24 * 3600 * 1_000_000
BEGIN = (-(1 << 62), 0)


class Expiry:
    """The retention of one engine."""

    def __init__(self, worker: Worker, retention: Retention) -> None:
        self._worker = worker
        self._retention = retention
        self._places = dict.fromkeys(retention.ages_us(), BEGIN)
        self._begun_us = worker.now_us()
        self._ages: list[int] = []
        self._opening = 0

    def open(self) -> None:
        """The file is open: go on looking."""
        self._opening += 1
        self._begin(self._opening)

    def _begin(self, opening: int) -> None:
        """Let each walk go on from where it has come to."""
        if opening != self._opening:
            return  # Of a file that was opened again since.
        now_us = self._worker.now_us()
        if now_us - self._begun_us > AGAIN_US:
            self._begun_us = now_us
            self._places = dict.fromkeys(self._places, BEGIN)
        self._ages = list(self._places)
        self._next(opening)

    def _next(self, opening: int) -> None:
        worker = self._worker
        if opening != self._opening or not worker.is_serving:
            return
        if not self._ages:
            worker.after(LOOK_S, lambda: self._begin(opening))
            return
        age_us = self._ages[-1]
        operation = expire(self._retention.age_us, age_us, self._places[age_us], worker.now_us())
        worker.submit(
            Change(done=lambda change: self._done(opening, age_us, change), operation=operation)
        )

    def _done(self, opening: int, age_us: int, change: Change) -> None:
        worker = self._worker
        if isinstance(change.error, ENDS_THE_WRITER):
            worker.commit_failed(change.error)
            return
        if opening != self._opening:
            return
        if change.error is not None:
            worker.log.error("retention: %s: %s", type(change.error).__name__, change.error)
            worker.after(LOOK_S, lambda: self._begin(opening))
            return
        chunk: Chunk = change.value
        self._places[age_us] = chunk.after
        if chunk.is_over:
            self._ages.pop()
        worker.after(PAUSE_S if chunk.deleted else 0, lambda: self._next(opening))
