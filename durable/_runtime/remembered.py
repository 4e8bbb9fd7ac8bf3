"""What the file remembers of pending steps, checked against the code that asks for them now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from durable._core.mismatch import RememberedStep, check_pending

if TYPE_CHECKING:
    from durable._core.driver import Driver
    from durable._store.rows import StepRow

__all__ = ["check_remembered"]

# Of the states of a step's row: those that have touched the world, and how.
_TOUCHED = {
    "later": "waits for its token, which was handed out",
    "intent": "was begun at most once",
}


def check_remembered(driver: Driver, rows: Iterable[StepRow], redo_seq: int | None) -> None:
    """Refuse rows of pending steps that today's code would hand to another function.

    Args:
        driver: The code, at the end of its history.
        rows: What the file remembers.
        redo_seq: The event whose drain is done again: what had been asked for after it may not be.

    Raises:
        Blocked: One of them does not fit.
    """
    for row in rows:
        if driver.seq == redo_seq and row.step not in driver.loop.steps:
            continue
        remembered = RememberedStep(
            step_id=row.step,
            name=row.name,
            fingerprint=row.fingerprint,
            arguments=None if row.arguments is None else row.arguments.encode(),
            touched=_TOUCHED.get(row.state, ""),
        )
        check_pending(driver, remembered)
