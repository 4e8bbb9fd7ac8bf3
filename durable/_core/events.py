"""What happened to a run: recorded facts, one a row of its history.

Events are recorded, commands are not. An event carries all that a replay needs to hand it to the
workflow again, and all that a replay needs to see that the code still asks for it.
"""

from __future__ import annotations

import enum

import msgspec

__all__ = ["BEFORE_BEGIN", "FAILURES", "STEP_ENDS", "SUCCESSES", "Event", "Kind"]

BEFORE_BEGIN = 1
"""``took_us`` of a signal that was there before the run's code began: its first drain sees it."""


class Kind(enum.IntEnum):
    """The kinds of events. The numbers are in files: never change or reuse one."""

    COMPLETED = 1
    """A step returned; ``result`` is its encoded value."""
    FAILED = 2
    """A step raised for good; ``result`` is the record of its exception."""
    FIRED = 3
    """A timer came due."""
    CANCEL_REQUESTED = 4
    """Somebody asked the run to stop; ``result`` is the reason, as JSON text."""
    PATCHED = 5
    """The code went through ``patched(name)`` for the first time; nothing is delivered."""
    RECEIVED = 6
    """A signal came in; ``step`` is its id, or empty, ``result`` its payload."""
    UPDATE_ACCEPTED = 7
    """An update passed its validator; ``step`` is its id, ``arguments`` its payload."""
    CHILD_COMPLETED = 8
    """A child run returned; ``result`` is its encoded value."""
    CHILD_FAILED = 9
    """A child run could not be started, or ended without a value; ``result`` says how."""
    ACTED = 10
    """The run did something to another run: started, signalled or cancelled it."""
    REFUSED = 11
    """What the run asked of another was refused; ``result`` is the record of the error."""
    RESOLVED = 12
    """A promise was kept from outside; ``result`` is the encoded value."""
    REJECTED = 13
    """A promise was rejected from outside; ``result`` is the record of the error."""
    TIMED_OUT = 14
    """The run's ``run_timeout`` is over."""

    @property
    def failure(self) -> Kind:
        """The kind of the event that ends in failure what this one ends well."""
        return _FAILURE_OF[self]


# The kinds of the events that end a step well, each with the one that ends it in failure.
_FAILURE_OF = {
    Kind.COMPLETED: Kind.FAILED,
    Kind.CHILD_COMPLETED: Kind.CHILD_FAILED,
    Kind.ACTED: Kind.REFUSED,
    Kind.RESOLVED: Kind.REJECTED,
}
# By number, for the hot path and for numbers that a damaged file may hold.
SUCCESSES = frozenset(map(int, _FAILURE_OF))
"""The kinds of the events that end a step well."""
FAILURES = frozenset(map(int, _FAILURE_OF.values()))
"""The kinds of those that end one in failure: their ``result`` is the record of an exception."""
STEP_ENDS = {one: one for one in SUCCESSES} | {
    int(bad): int(good) for good, bad in _FAILURE_OF.items()
}
"""The kind of a step, by the kinds of the events that end it: their arguments are compared."""


class Event(msgspec.Struct, gc=False):
    """One recorded fact; nobody writes to it once made.

    Made once per step, of numbers and bytes alone: a struct the collector need not look at is made
    three times as fast as a class of attrs, and a thousand of them cost no collection.

    Attributes:
        seq: Its place in the run's history, from 1, without gaps.
        kind: What happened.
        step: The step or timer id; empty for events of the run itself.
        name: The activity's or patch's name, else empty.
        fingerprint: 64 bits of the step's arguments as passed.
        arguments: The step's encoded arguments.
        result: The encoded result, failure record or reason.
        at_us: When, in microseconds since the run's start; never less than the event before.
        took_us: Microseconds from the first attempt's start to the end; of a timer, of its wait;
            of a signal `BEFORE_BEGIN` or 0.
    """

    seq: int
    kind: int
    step: str
    name: str
    fingerprint: int
    arguments: bytes
    result: bytes
    at_us: int
    took_us: int
