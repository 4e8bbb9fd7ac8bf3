"""The states of runs, steps and attempts: every transition is a row of a table.

Law 16: a run, a step and an attempt each have one state out of a named set, and there is no second
flag beside it. What happens is a `Fact`; a fact without a row for the state is our own error, and
raises `IllegalTransition`: the runtime blocks the one run with it.

* An **attempt** is one try: from the moment it waits for a place until all that it holds is given
  back. Its body may run on when nobody waits for it any more: the attempt is ORPHANED then, and
  keeps its place until the body ends.
* A **step** lives as long as the code waits for it, over any number of attempts.
* A **run** lives from its start to its end, in memory and in the file alike.

The drawings in ``docs/concepts.md`` are made of these tables (`Machine.drawing`).

Source: h11's ``_state.py``, whose tables are its documentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Generic, TypeVar

__all__ = [
    "ATTEMPT",
    "GOING",
    "RUN",
    "STEP",
    "AttemptState",
    "Fact",
    "IllegalTransition",
    "Machine",
    "RunState",
    "StepState",
]

S = TypeVar("S", bound=StrEnum)


class IllegalTransition(Exception):
    """A fact that no row of the table has for the state: an error of this library."""


class Fact(dict[S, S], Generic[S]):
    """Something that happens: what each state becomes of it.

    ``thing.state = BODY_BEGINS[thing.state]`` costs one look-up; a state without a row raises.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __missing__(self, state: S) -> S:
        raise IllegalTransition(
            f"{type(state).__name__} {state.value!r} has no row for {self.name!r}; this is an "
            "error of durable itself"
        )


class Machine(Generic[S]):
    """One table: rows of (states, fact, state).

    Attributes:
        name: Of what: a run, a step, an attempt.
        first: The state it begins in.
        rows: Every transition, in the order of the table.
        facts: What can happen, by name.
    """

    def __init__(self, name: str, first: S, rows: Sequence[tuple[Sequence[S], str, S]]) -> None:
        self.name = name
        self.first = first
        self.rows = [(before, fact, after) for befores, fact, after in rows for before in befores]
        self.facts: dict[str, Fact[S]] = {}
        for before, fact, after in self.rows:
            transitions = self.facts.setdefault(fact, Fact(fact))
            assert before not in transitions, f"{name}: two rows for {before} and {fact!r}"
            transitions[before] = after

    def drawing(self) -> str:
        """Return the table as a mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.first.value}"]
        lines += [
            f"    {before.value} --> {after.value}: {fact}" for before, fact, after in self.rows
        ]
        with_way_out = {before for before, _, after in self.rows if before is not after}
        ends = [state for state in type(self.first) if state not in with_way_out]
        lines += [f"    {state.value} --> [*]" for state in ends]
        return "\n".join(lines)


# -- an attempt ------------------------------------------------------------------------------------


class AttemptState(StrEnum):
    """What one try at a step is doing."""

    WAITING = "waiting"
    """For a place; a plain function for a thread too."""
    PLACED = "placed"
    """It has a place; its body has not begun."""
    BEGUN = "begun"
    """Its body runs."""
    RETURNED = "returned"
    """Its body has ended; what that means is settled in this turn of the loop."""
    ORPHANED = "orphaned"
    """It was given up while its body runs: the body keeps its place until it ends."""
    CLOSED = "closed"
    """It holds nothing any more."""


ATTEMPT = Machine(
    "attempt",
    AttemptState.WAITING,
    [
        ([AttemptState.WAITING], "place free", AttemptState.PLACED),
        ([AttemptState.PLACED], "body begins", AttemptState.BEGUN),
        # The writer does a transaction again that it had to roll back with others.
        ([AttemptState.BEGUN], "body begins again", AttemptState.BEGUN),
        ([AttemptState.BEGUN], "body ends", AttemptState.RETURNED),
        ([AttemptState.ORPHANED], "body ends", AttemptState.CLOSED),
        ([AttemptState.RETURNED], "settled", AttemptState.CLOSED),
        (
            [AttemptState.WAITING, AttemptState.PLACED, AttemptState.RETURNED],
            "given up",
            AttemptState.CLOSED,
        ),
        ([AttemptState.BEGUN], "given up", AttemptState.ORPHANED),
        ([AttemptState.ORPHANED], "given up", AttemptState.ORPHANED),
        ([AttemptState.CLOSED], "given up", AttemptState.CLOSED),
    ],
)

# -- a step ----------------------------------------------------------------------------------------


class StepState(StrEnum):
    """What a step that the code waits for is doing."""

    ASKED = "asked"
    """The code asked for it, and what the file remembers of it is being read or written."""
    ATTEMPTING = "attempting"
    """An attempt waits or runs."""
    RETRYING = "retrying"
    """Its last attempt failed; the next one has its time."""
    AWAITING = "awaiting"
    """Its code has returned, and somebody outside is to complete it by its token."""
    HELD = "held"
    """Its run is about to be paused: no attempt begins."""
    ENDED = "ended"
    """Its end is an event, or nobody waits for it any more."""


_OPEN_STEP = [
    StepState.ASKED,
    StepState.ATTEMPTING,
    StepState.RETRYING,
    StepState.AWAITING,
    StepState.HELD,
]

STEP = Machine(
    "step",
    StepState.ASKED,
    [
        (
            [StepState.ASKED, StepState.RETRYING, StepState.HELD],
            "attempt wanted",
            StepState.ATTEMPTING,
        ),
        (
            [StepState.ASKED, StepState.ATTEMPTING, StepState.AWAITING, StepState.HELD],
            "waits for its retry",
            StepState.RETRYING,
        ),
        ([StepState.ASKED, StepState.ATTEMPTING], "waits for its token", StepState.AWAITING),
        (
            [StepState.ASKED, StepState.ATTEMPTING, StepState.RETRYING],
            "run pauses",
            StepState.HELD,
        ),
        (_OPEN_STEP, "ends", StepState.ENDED),
        ([*_OPEN_STEP, StepState.ENDED], "given up", StepState.ENDED),
    ],
)

# -- a run -----------------------------------------------------------------------------------------


class RunState(StrEnum):
    """What a run is doing; the last seven are not in memory."""

    DRIVEN = "driven"
    """Its code is in memory, and something of it is in hand."""
    IDLE = "idle"
    """In memory, written down as waiting."""
    PAUSING = "pausing"
    """Nothing of it begins any more; its running attempts end first."""
    CLOSING = "closing"
    """Its main function has ended; handlers that had begun have not."""
    ENDING = "ending"
    """Its end is decided, and on its way into the file."""
    DELAYED = "delayed"
    """It has not begun: its time has not come."""
    QUEUED = "queued"
    """It may go on, and no worker has it."""
    PARKED = "parked"
    """It waits: a row alone."""
    PAUSED = "paused"
    """A person or a policy has stopped it."""
    BLOCKED = "blocked"
    """Its code and its history do not fit."""
    LOST = "lost"
    """Its worker has died."""
    CLOSED = "closed"
    """It has ended."""


_IN_MEMORY = [
    RunState.DRIVEN,
    RunState.IDLE,
    RunState.PAUSING,
    RunState.CLOSING,
    RunState.ENDING,
]
GOING = (RunState.DRIVEN, RunState.IDLE, RunState.CLOSING)
"""In memory, and neither stopped nor about to end."""

RUN = Machine(
    "run",
    RunState.QUEUED,
    [
        ([RunState.QUEUED], "started with a delay", RunState.DELAYED),
        ([RunState.DELAYED], "time has come", RunState.QUEUED),
        ([RunState.QUEUED, RunState.LOST], "claimed", RunState.DRIVEN),
        ([RunState.DRIVEN, RunState.IDLE, RunState.CLOSING], "waits", RunState.IDLE),
        ([RunState.IDLE], "goes on", RunState.DRIVEN),
        ([RunState.DRIVEN, RunState.IDLE], "main function ends", RunState.CLOSING),
        ([RunState.CLOSING], "main function ends", RunState.CLOSING),
        ([RunState.PAUSING], "main function ends", RunState.PAUSING),
        (GOING, "pause asked", RunState.PAUSING),
        ([RunState.PAUSING], "pause asked", RunState.PAUSING),
        ([RunState.PAUSING], "resumed", RunState.DRIVEN),
        ([*GOING, RunState.PAUSING], "end decided", RunState.ENDING),
        (_IN_MEMORY, "paused", RunState.PAUSED),
        (_IN_MEMORY, "blocked", RunState.BLOCKED),
        (_IN_MEMORY, "closed", RunState.CLOSED),
        # In order, or as when the process dies: what is in the file counts.
        (_IN_MEMORY, "leaves memory", RunState.PARKED),
        ([RunState.QUEUED, RunState.DELAYED, RunState.PARKED], "held", RunState.PAUSED),
        ([RunState.PARKED], "woken", RunState.QUEUED),
        ([RunState.PAUSED, RunState.BLOCKED], "tried again", RunState.QUEUED),
        ([RunState.PAUSED], "resumed before its time", RunState.DELAYED),
        (_IN_MEMORY, "worker dies", RunState.LOST),
        (
            [
                RunState.DELAYED,
                RunState.QUEUED,
                RunState.PARKED,
                RunState.PAUSED,
                RunState.BLOCKED,
                RunState.LOST,
            ],
            "ended from outside",
            RunState.CLOSED,
        ),
    ],
)
