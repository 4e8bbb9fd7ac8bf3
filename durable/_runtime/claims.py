"""Claims: which free runs a worker takes, and how many at once.

Law: the most urgent first, over all workflows; and no more than the worker has places for, and a
little ahead, so that a backlog spreads over the workers that are there. A run whose message waits
to be read is taken all the same: it may need no place. What a worker has all the same (it started
the runs itself), and what has not begun, it gives back where another worker could take it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from durable._store.writer import Change
from durable.payloads import decode_document

if TYPE_CHECKING:
    from durable._runtime.runs import LiveRun
    from durable._runtime.worker import Worker

__all__ = ["Claims"]

CLAIM_PER_ROUND = 200
# How many of the parked runs that come due first are looked at for one of a known workflow, before
# the first of each workflow is.
SOONEST_MAX = 8
# Runs given back at once, twice a second.
GIVE_BACK_PER_ROUND = 500


class Claims:
    """Chooses what one worker claims."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._at_once = 0
        self.next_wake_us: int | None = None
        """When the next free parked run came due, as of the last choice."""

    @property
    def _ahead(self) -> int:
        """How many steps may wait for a place before no more runs are taken."""
        limits = self._worker.limits
        return max(1, min(limits.max_running_activities, limits.threads_max) // 4)

    @property
    def has_room(self) -> bool:
        """Whether a run more would find a place soon."""
        return self._worker.activities.places.waiting < self._ahead

    def _room(self) -> int:
        """Return how many to take now: what they ask for is only known once they are there.

        At first as many as threads are free. While nothing waits for a place after that, twice as
        many each time.
        """
        places = self._worker.activities.places
        if not self.has_room:
            self._at_once = 0
            return 0
        first = max(places.free_threads, 0) + self._ahead - places.waiting
        self._at_once = min(max(first, 2 * self._at_once), CLAIM_PER_ROUND)
        return min(self._at_once, places.limit - places.running + self._ahead)

    def choose(self, names: AbstractSet[str]) -> list[int]:
        """Return the keys of free runs to be taken, most urgent first; of some workflows.

        What it reads grows neither with the workflows that are known nor with what waits: it goes
        from one workflow that has something to take to the next.
        """
        worker = self._worker
        reader, now_us = worker.store.reader, worker.now_us()
        room = self._room()
        self.next_wake_us = self._next_wake(names)
        if room < 1:
            worker.activities.places.backlog = True
            return reader.find_asked(names, CLAIM_PER_ROUND)
        first = [(priority, pk, name) for name, priority, pk in reader.claimable() if name in names]
        ready = _merged(first, reader.find_claimable, room)
        worker.activities.places.backlog = len(ready) == room
        if self.next_wake_us is None or self.next_wake_us > now_us:
            return ready
        first = [
            (due_us, 0, name)
            for name, due_us in reader.wakes()
            if name in names and due_us <= now_us
        ]

        def find_due(name: str, limit: int) -> list[tuple[int, int]]:
            return reader.find_due(name, now_us, limit)

        return ready + _merged(first, find_due, CLAIM_PER_ROUND)

    def _next_wake(self, names: AbstractSet[str]) -> int | None:
        """Return when the next free parked run of some workflows comes due."""
        reader = self._worker.store.reader
        soonest = reader.soonest(SOONEST_MAX)
        found = next((due_us for due_us, name, _ in soonest if name in names), None)
        if found is not None or len(soonest) < SOONEST_MAX:
            return found
        return min((due_us for name, due_us in reader.wakes() if name in names), default=None)

    def give_back(self) -> None:
        """Let other workers have runs that wait for places here and have not begun.

        The least urgent go, the newest of them first; as many stay as would be claimed ahead.
        """
        worker = self._worker
        places = worker.activities.places
        excess = places.waiting - self._ahead
        if excess <= 0 or worker.only is not None:
            return
        others = self._known_by_others()
        if not others:
            return
        free = heapq.nlargest(
            GIVE_BACK_PER_ROUND,
            (run for run in worker.live.values() if run.workflow.name in others and _is_fresh(run)),
            key=lambda run: (run.row.priority, run.row.pk),
        )
        for run in free:
            excess -= len(run.pending)
            if excess < 0:
                break
            places.backlog = True
            worker.submit(Change([run.free_row()]))
            worker.forget(run)

    def _known_by_others(self) -> set[str]:
        """Return the workflows that other living workers know."""
        worker, store = self._worker, self._worker.store
        return {
            name
            for one in store.reader.live_workers()
            if one.id != worker.id and store.locks.is_held(one.id)
            for name in decode_document(one.workflows, list[str])
        }


def _merged(
    first: Iterable[tuple[int, int, str]],
    find: Callable[[str, int], list[tuple[int, int]]],
    limit: int,
) -> list[int]:
    """Return the keys of the first runs over all workflows, in order.

    Args:
        first: The place and the key of the first run of each workflow, or less than its key.
        find: Finds places and keys of a workflow's first runs, in order, up to a number.
        limit: At most so many.
    """
    found: list[tuple[int, int]] = []
    for place, pk, name in sorted(first):
        if len(found) == limit and (place, pk) > found[-1]:
            break  # Those of this workflow, and of all that come after it, are less urgent.
        found = sorted([*found, *find(name, limit)])[:limit]
    return [pk for _, pk in found]


def _is_fresh(run: LiveRun) -> bool:
    """Say whether nothing of a run has begun: all that its code asked for waits for places."""
    return (
        run.shown == "queued"
        and not run.driver.seq
        and not run.uncommitted
        and not run.lost
        and not run.timers
        and len(run.pending) == len(run.driver.loop.steps)
    )
