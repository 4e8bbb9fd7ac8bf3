"""A run's code, stopped at a place of its history, for a person to look into.

Nothing is performed and nothing is written: whatever the code asks for is answered by the history,
or not at all. The clock stands at the last event.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import attrs

from durable._core.driver import Failed
from durable._runtime.replay import driven, go
from durable._store.restarts import WHOLE_HISTORY, Plan, find_place
from durable.errors import Blocked

if TYPE_CHECKING:
    from durable._store.reader import Reader
    from durable._store.rows import RunRow
    from durable.definitions import Workflow

__all__ = ["Stopped", "stopped"]


@attrs.frozen(kw_only=True)
class Stopped:
    """A run's code, stopped.

    Attributes:
        run: As people write it.
        event: The last event that was delivered; 0: none, the code is at its first wait.
        tasks: The suspended frames of each unfinished task, by its name, outermost first; they are
            of no use any more once the context manager is left.
        error: What the code raised, with its traceback, if it failed by then.
        blocked: Why the code does not go on, if it does not fit the history.
    """

    run: str
    event: int
    tasks: Mapping[str, Sequence[FrameType]]
    error: BaseException | None
    blocked: Blocked | None


@contextlib.contextmanager
def stopped(
    reader: Reader, row: RunRow, workflow: Workflow[Any, Any], at: str | None
) -> Generator[Stopped]:
    """Replay a run up to a place, and keep it there.

    Args:
        reader: Of the file.
        row: The run.
        workflow: Today's code.
        at: Before this: a step's end, by its id or its name, or ``event:17``, or ``failed``, or
            ``last``; None: after the whole history.

    Raises:
        WrongState: There is no such place.
        PayloadError: The history is damaged, or does not decode.
    """
    until = None if at is None else find_place(reader, row, Plan(place=at))[0] - 1
    if until == WHOLE_HISTORY - 1:
        until = None
    with driven(reader, row, workflow) as driver:
        blocked: Blocked | None = None
        try:
            go(driver, reader, row, until)
        except Blocked as error:
            blocked = error
        outcome = driver.outcome
        yield Stopped(
            run=row.name,
            event=driver.seq,
            tasks=driver.loop.frames(),
            error=outcome.error if isinstance(outcome, Failed) else None,
            blocked=blocked,
        )
