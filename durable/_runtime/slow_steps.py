"""Slow steps: whatever waits for a place or runs for longer than a second has a row in the file.

So lists, pages and other processes see it: since when, its arguments, its heartbeat. Most steps are
faster and cost nothing: what is in hand is looked through once in a while, for as long as anything
is. (A queue of all attempts by age would keep each of them for a second: the collector then takes a
sixth of the time of every step.)
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from durable._core.machines import AttemptState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable._runtime.activities import Activities
    from durable._runtime.attempts import Attempt
    from durable._runtime.worker import Worker

__all__ = ["SlowSteps"]

# Everything slow is visible, everything fast is cheap: this is where one becomes the other.
SLOW_US = 1_000_000
LOOK_S = 0.5
# Of what is in hand at most so many are looked at, so that a look takes milliseconds.
STEPS_PER_LOOK = 20_000
# Rows written at once: a backlog of a million does not become one transaction.
ROWS_PER_LOOK = 1_000


class SlowSteps:
    """Writes down the slow steps of one worker.

    Attributes:
        will_look: Whether a look is coming.
    """

    def __init__(self, worker: Worker, activities: Activities) -> None:
        self._worker = worker
        self._activities = activities
        self.will_look = False

    def watch(self) -> None:
        """Look in a while, and for as long as anything waits or runs."""
        if not self.will_look:
            self.will_look = True
            self._worker.after(LOOK_S, self._look)

    def _look(self) -> None:
        self.will_look = False
        until_us = self._worker.now_us() - SLOW_US
        written = 0
        for attempt in islice(self._in_hand(), STEPS_PER_LOOK):
            if attempt.since_us > until_us or attempt.shown is attempt.state:
                continue
            self._activities.write_down(attempt.pending, _SHOWN[attempt.state])
            attempt.shown = attempt.state
            written += 1
            if written == ROWS_PER_LOOK:
                break
        places = self._activities.places
        if places.running or places.waiting:
            self.watch()

    def _in_hand(self) -> Iterator[Attempt]:
        for run in self._worker.live.values():
            for pending in run.pending.values():
                attempt = pending.attempt
                if attempt is not None and attempt.state in _SHOWN:
                    yield attempt


_SHOWN = {AttemptState.WAITING: "queued", AttemptState.BEGUN: "running"}
