"""Slow steps: whatever waits for a place or runs for longer than a second has a row in the file.

So lists, pages and other processes see it: since when, its arguments, its heartbeat. Most steps are
faster and cost nothing: what is in hand is looked through once in a while, for as long as anything
is. (A queue of all attempts by age would keep each of them for a second: the collector then takes a
sixth of the time of every step.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable._core.machines import GOING, AttemptState, RunState
from durable._runtime.waits import waits_for_places

if TYPE_CHECKING:
    from durable._runtime.activities import Activities
    from durable._runtime.attempts import Attempt
    from durable._runtime.runs import LiveRun
    from durable._runtime.worker import Worker

__all__ = ["SlowSteps"]

# Everything slow is visible, everything fast is cheap: this is where one becomes the other.
SLOW_US = 1_000_000
# What waits for a place is looked at twice within its first second, and shown by the end of it.
QUEUED_US = 500_000
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
        looked_at = written = 0
        now_us = self._worker.now_us()
        for run in self._worker.live.values():
            in_hand = [
                one.attempt
                for one in run.pending.values()
                if one.attempt is not None and one.attempt.state in _SHOWN
            ]
            if in_hand:
                written += self._show(run, in_hand, now_us)
            looked_at += len(in_hand)
            if looked_at >= STEPS_PER_LOOK or written >= ROWS_PER_LOOK:
                break
        self._worker.claims.give_back()
        places = self._activities.places
        if places.running or places.waiting:
            self.watch()

    def _show(self, run: LiveRun, in_hand: list[Attempt], now_us: int) -> int:
        """Write down what is slow of one run, and whether all of it waits; return how many rows."""
        written = 0
        for attempt in in_hand:
            waits = attempt.state is AttemptState.WAITING
            slow_us = QUEUED_US if waits else SLOW_US
            if attempt.since_us <= now_us - slow_us and attempt.shown is not attempt.state:
                self._activities.write_down(attempt.pending, _SHOWN[attempt.state])
                attempt.shown = attempt.state
                written += 1
        if not any(one.shown is one.state for one in in_hand):
            return written
        if run.state in GOING and not run.alone and waits_for_places(run):
            if run.shown != "queued":
                run.show_queued()
                written += 1
        elif run.state is RunState.IDLE:  # Its row says that it waits for its retry.
            run.show_ready()
            written += 1
        return written


_SHOWN = {AttemptState.WAITING: "queued", AttemptState.BEGUN: "running"}
