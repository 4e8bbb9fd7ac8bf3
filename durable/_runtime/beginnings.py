"""Beginnings: that the code of a run has begun is recorded, although nothing of it is an event yet.

Law 19: the first drain, done again by other code, is a replay: ``patched`` is False in it. A run's
first event says so by itself. Where none comes for a moment, a row does: runs that begin together
share one commit, and a run that is faster than that costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable._store.writer import Change

if TYPE_CHECKING:
    from durable._runtime.runs import LiveRun, Rows
    from durable._runtime.worker import Worker

__all__ = ["Beginnings"]

# A process that is killed within this time of a run's first drain leaves a run that begins anew.
NOTE_AFTER_S = 0.05


class Beginnings:
    """The runs of one worker that have begun a moment ago."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._begun: list[LiveRun] = []

    def note(self, run: LiveRun) -> None:
        """Write down in a moment that a run has begun, if no event of it says so by then."""
        self._begun.append(run)
        if len(self._begun) == 1:
            self._worker.after(NOTE_AFTER_S, self._write)

    def _write(self) -> None:
        if rows := self.rows():
            self._worker.submit(Change(rows))

    def rows(self) -> Rows:
        """Return the rows that say so, and forget the runs."""
        begun, self._begun = self._begun, []
        return [("note_begun", (run.row.pk,)) for run in begun if not run.driver.seq]
