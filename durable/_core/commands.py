"""What workflow code asked for in one drain.

A command has no row. It is performed after the event that led to it is committed, and asked for
again by the replay after a crash; its step id makes asking twice harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import attrs

if TYPE_CHECKING:
    from durable._core.loop import Step, Timer

__all__ = ["ArmTimer", "Command", "DropStep", "DropTimer", "MarkPatch"]


@attrs.define
class DropStep:
    """The code no longer waits for the step: stop it, its end is of no interest."""

    step: Step


@attrs.define
class ArmTimer:
    """Report when the timer's ``due_us`` has come."""

    timer: Timer


@attrs.define
class DropTimer:
    """The timer is not needed any more."""

    timer: Timer


@attrs.define
class MarkPatch:
    """Record that the code went through ``patched(name)``."""

    name: str


Command = Union["Step", DropStep, ArmTimer, DropTimer, MarkPatch]
"""A `Step` by itself means: perform it and report its end as an event."""
