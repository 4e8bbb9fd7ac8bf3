"""Quarantine: a run that lost its worker again and again is served alone.

The next death then has one suspect: the attempts of such a run begin when those of all other runs
have ended and its row says so, and no other begins until the row says otherwise.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from durable._core.machines import AttemptState
from durable._store.rows import LOST_ALONE
from durable._store.writer import Change

if TYPE_CHECKING:
    from durable._runtime.activities import Activities
    from durable._runtime.attempts import Attempt
    from durable._runtime.runs import LiveRun, Rows
    from durable._runtime.worker import Worker

__all__ = ["Quarantine"]


class Quarantine:
    """Which run of one worker is served alone, if any.

    Attributes:
        run: It, or the one that is about to be: meanwhile no attempt of another run begins.
    """

    def __init__(self, worker: Worker, activities: Activities) -> None:
        self._worker = worker
        self._activities = activities
        self._suspects: dict[LiveRun, deque[Attempt]] = {}
        """Attempts of runs that are served alone, until it is their turn."""
        self.run: LiveRun | None = None
        self._is_marked = False

    @property
    def is_busy(self) -> bool:
        """Whether a run is served alone, or waits to be."""
        return bool(self._suspects) or self.run is not None

    def add(self, attempt: Attempt) -> None:
        """Let an attempt wait until its run is served alone."""
        self._suspects.setdefault(attempt.run, deque()).append(attempt)
        self.look()

    def look_soon(self) -> None:
        """See in this turn of the loop whether the run served alone still is, and who is next."""
        if self.is_busy:
            self._activities.fill_soon()

    def look(self) -> None:
        """Choose who is served alone, and begin its attempts once the file says so."""
        if not self.is_busy:
            return
        run = self.run
        if run is None or run.gone or not run.alone:
            run = self.run = self._next_suspect()
            self._is_marked = False
        if run is None or self._activities.is_stopping:
            return
        if not run.alone:
            if not self._others_run(run):
                self._mark(run)
        elif self._is_marked:
            self._begin(run)

    def _begin(self, run: LiveRun) -> None:
        """Let the attempts of the run that is served alone have the places there are."""
        attempts = self._suspects.pop(run, deque())
        places = self._activities.places
        while attempts and places.running < places.limit:
            if not places.has_free(attempts[0]):
                break
            attempt = attempts.popleft()
            if attempt.state is AttemptState.WAITING:
                self._activities.place(attempt, self._worker.now_us())
        if attempts:
            self._suspects[run] = attempts

    def _next_suspect(self) -> LiveRun | None:
        while self._suspects:
            run, attempts = next(iter(self._suspects.items()))
            wanted = [one for one in attempts if one.state is AttemptState.WAITING]
            if wanted and run.lost >= LOST_ALONE:
                return run
            del self._suspects[run]
            for attempt in wanted:  # An event of it was recorded: it kills no worker.
                self._activities.places.wait(attempt)
        return None

    def _others_run(self, run: LiveRun) -> bool:
        return any(
            one.attempt is not None and one.attempt.state in _AT_WORK
            for other in self._worker.live.values()
            if other is not run
            for one in other.pending.values()
        )

    def _mark(self, run: LiveRun) -> None:
        run.alone = True
        run.uncommitted += 1

        def done(change: Change) -> None:
            if change.error is not None:
                run.not_committed(change.error)
                return
            run.uncommitted -= 1
            if self.run is run:
                self._is_marked = True
                self._activities.fill_soon()

        self._worker.submit(Change([run.alone_row(alone=True)], done))

    def released_by(self, run: LiveRun) -> Rows:
        """Return the row that says that a run only waits now: whoever dies, it is not by it."""
        if not run.alone or any(one.has_begun for one in run.pending.values()):
            return []
        self._is_marked = False
        return [run.alone_row(alone=False)]

    def release(self, run: LiveRun) -> None:
        """The file says so."""
        run.alone = False
        self.look_soon()


_AT_WORK = frozenset({AttemptState.PLACED, AttemptState.BEGUN})
