"""What people look at again and again: parts of large runs and large files, never the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable._core.events import Event
from durable._store.rows import AttemptRow

if TYPE_CHECKING:
    from durable._store.reader import Reader

__all__ = [
    "attempt_times",
    "attempts_by_step",
    "attempts_of_step",
    "last_seq",
    "message_events",
    "miscounted",
    "queues",
    "runs_of_workers",
    "step_events",
]


def step_events(reader: Reader, run: int, after: int, limit: int) -> list[Event]:
    """Return a page of a history; of payloads the beginnings, of failures the whole record."""
    return [
        _event(row) for row in reader.all("list_step_events", run=run, after=after, limit=limit)
    ]


def message_events(reader: Reader, run: int, limit: int) -> list[Event]:
    """Return signals, updates and answers that a run received, in order."""
    found = [_event(row) for row in reader.all("list_message_events", run=run, limit=limit)]
    return sorted(found, key=lambda one: one.seq)


def last_seq(reader: Reader, run: int) -> int:
    """Return the number of a run's last event, or 0."""
    return int(reader.all("get_last_seq", run=run)[0][0])


def attempts_by_step(reader: Reader, run: int) -> dict[str, tuple[int, int]]:
    """Return how many attempts of each step failed, and when the first began."""
    return {step: (count, at_us) for step, count, at_us in reader.all("count_attempts", run=run)}


def attempt_times(reader: Reader, run: int, limit: int) -> list[tuple[str, int, str, int, int]]:
    """Return (step, attempt, state, start, end) of failed attempts, step by step."""
    rows = reader.all("list_attempt_times", run=run, limit=limit)
    return [(step, number, state, start, end) for step, number, state, start, end in rows]


def attempts_of_step(reader: Reader, run: int, step: str, limit: int) -> list[AttemptRow]:
    """Return the newest failed attempts of one step, oldest first."""
    rows = reader.all("list_attempts_of_step", run=run, step=step, limit=limit)
    return [AttemptRow(*row) for row in reversed(rows)]


def runs_of_workers(reader: Reader) -> list[tuple[int, int]]:
    """Return how many runs each worker has in hand."""
    return [(worker, count) for worker, count in reader.all("count_runs_of_workers")]


def miscounted(reader: Reader) -> list[str]:
    """Return the workflows whose runs are not as many as the counts of the file say."""
    return sorted({workflow for workflow, _, _ in reader.all("list_miscounted")})


def queues(reader: Reader, limit: int) -> list[tuple[str, int, int]]:
    """Return (queue, runs that wait for a worker, runs that have one), by name."""
    rows = reader.all("list_queues", limit=limit)
    return [(name, queued, in_hand) for name, queued, in_hand in rows]


def _event(row: tuple[Any, ...]) -> Event:
    seq, kind, step, name, mark, arguments, result, at_us, took_us = row
    names = step.decode("utf-8", "replace"), name.decode("utf-8", "replace")
    return Event(seq, kind, *names, mark, arguments, result, at_us, took_us)
