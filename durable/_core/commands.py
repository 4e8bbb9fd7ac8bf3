"""What workflow code asked for in one drain.

A command has no row. It is performed after the event that led to it is committed, and asked for
again by the replay after a crash; its step id makes asking twice harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import attrs

if TYPE_CHECKING:
    from durable._core.loop import Step, Timer

__all__ = [
    "AnswerUpdate",
    "AppendItem",
    "ArmTimer",
    "BuryLetter",
    "Command",
    "DropStep",
    "DropTimer",
    "MarkPatch",
    "Recording",
    "SetValue",
]


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


@attrs.define
class SetValue:
    """Publish a value."""

    name: str
    payload: bytes


@attrs.define
class AppendItem:
    """Append to a stream; ``step`` names the call that did."""

    stream: str
    step: str
    payload: bytes


@attrs.define
class BuryLetter:
    """Keep a signal that does not decode as a dead letter; ``seq`` is its event."""

    seq: int
    name: str
    why: str


@attrs.define
class AnswerUpdate:
    """Tell who sent the update how it ended: its encoded result, or the record of its error."""

    update: str
    name: str
    succeeded: bool
    payload: bytes


Recording = MarkPatch | SetValue | AppendItem | BuryLetter | AnswerUpdate
"""Commands that are rows of the very commit of the event that led to them."""

Command = Union["Step", DropStep, ArmTimer, DropTimer, Recording]
"""A `Step` by itself means: perform it and report its end as an event."""
