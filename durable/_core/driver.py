"""The driver: one run's code, advanced event by event.

Law 1: one event, one drain. Exactly one event is delivered, then the ready queue runs dry, live and
on replay alike; the order on replay is the order of the rows.

Law 5: replays are checked. A recorded end is only handed to a step that still is the same: same id,
same name, same arguments. Anything else raises `Blocked`, and nothing of the drain is performed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextvars import Context
from itertools import chain
from typing import Any

import attrs
import msgspec

from durable._core.commands import Command, MarkPatch
from durable._core.events import BEFORE_BEGIN, STEP_ENDS, SUCCESSES, Event, Kind
from durable._core.failures import rebuild_exception
from durable._core.loop import Step, WorkflowLoop
from durable._core.mailbox import Mailbox
from durable._core.mismatch import (
    difference,
    first_difference,
    in_brackets,
    parameters_of,
    shown,
)
from durable.errors import Blocked, PayloadError, RunTimedOut

__all__ = [
    "EARLY",
    "UNDECODED",
    "Cancelled",
    "Completed",
    "ContinueAsNew",
    "Continued",
    "Driver",
    "Failed",
    "Outcome",
]


EARLY = ""
"""The name of the event of an answer that came before the code asked for the promise."""
UNDECODED: Any = object()
"""In place of a value: the driver is to decode it."""

_ANSWERS = {int(Kind.RESOLVED), int(Kind.REJECTED)}
_FIRED, _CANCEL_REQUESTED = int(Kind.FIRED), int(Kind.CANCEL_REQUESTED)
_PATCHED, _RECEIVED = int(Kind.PATCHED), int(Kind.RECEIVED)
_UPDATE_ACCEPTED, _TIMED_OUT = int(Kind.UPDATE_ACCEPTED), int(Kind.TIMED_OUT)
_WORDS = {
    int(Kind.COMPLETED): "the activity",
    int(Kind.CHILD_COMPLETED): "the child workflow",
    int(Kind.ACTED): "the call",
    int(Kind.RESOLVED): "the promise",
}


class ContinueAsNew(BaseException):
    """Raised by ``continue_as_new``: the run ends here and goes on as its next ordinal."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = args, kwargs


@attrs.frozen
class Completed:
    """The workflow returned ``value``."""

    value: Any


@attrs.frozen
class Failed:
    """The workflow raised; ``origin`` is the seq of the event that produced the exception, or 0."""

    error: BaseException
    origin: int


@attrs.frozen
class Cancelled:
    """The workflow let the cancellation through; ``origin`` is the seq of the request."""

    reason: str
    origin: int


@attrs.frozen
class Continued:
    """The workflow goes on as a new ordinal with these arguments."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Outcome = Completed | Failed | Cancelled | Continued
_GOOD_ENDS = (Completed, Continued)


class Driver:
    """One run's code and where it stands.

    Args:
        make: Makes the workflow's coroutine; called in the run's context.
        context: A fresh context for the run.
        salt: The run's salt, stored with it.
        budget: Callbacks of one drain without a new command.
        stalled_drains_max: Drains in a row that may hit the budget.
    """

    def __init__(
        self,
        make: Callable[[], Coroutine[Any, Any, Any]],
        context: Context,
        salt: int,
        budget: int = 2_000,
        stalled_drains_max: int = 1_000,
    ) -> None:
        self._make = make
        self._context = context
        self._stalled_drains_max = stalled_drains_max
        # What it leaves abstract is set below its class: every call that cannot be replayed.
        self.loop = WorkflowLoop(salt, budget)  # type: ignore[abstract]
        self.mailbox = Mailbox(self.loop, context)
        self.main: asyncio.Task[Any] | None = None
        self.outcome: Outcome | None = None
        self.ending: Outcome | None = None
        """How the run will end, once the handlers that have begun have ended."""
        self.seq = 0
        self.at_us = 0
        self.replaying = False
        self.cancel_seq = 0
        self.cancel_reason: str | None = None
        self.timed_out_seq = 0
        self._patches: dict[str, bool] = {}
        self._early: dict[str, Event] = {}
        self._accepted: set[str] = set()
        self._is_noted = False

    # -- what the runtime calls ------------------------------------------------------------------

    def start(self) -> list[Command]:
        """Run the code up to its first wait."""
        self.main = self.loop.start(self._make, self._context)
        # In its turn among the ends of handlers: whichever came first in a drain wins.
        self.main.add_done_callback(self.mailbox.main_ended, context=self._context)
        return self._drain()

    def arrive(self, event: Event) -> None:
        """Take in a signal that was there before the code began; `start` comes after it."""
        assert self.main is None
        assert event.seq == self.seq + 1, f"event {event.seq} after {self.seq}"
        self.seq, self.at_us = event.seq, event.at_us
        self.mailbox.arrive(event)

    def deliver(self, event: Event, value: Any = UNDECODED) -> list[Command]:
        """Hand over one event and return what the code asks for in answer.

        Args:
            event: The next one of the history.
            value: What ``event.result`` decodes to, where the caller has done that already.

        Raises:
            Blocked: Code and event do not fit, or the code did what cannot be replayed. The driver
                is of no further use: evict it.
        """
        assert event.seq == self.seq + 1, f"event {event.seq} after {self.seq}"
        self.seq = event.seq
        self.at_us = event.at_us
        kind = event.kind
        if kind == _PATCHED:
            return []  # It was taken into account before the replay began.
        loop = self.loop
        if self.outcome is not None:
            raise Blocked(
                f"the code ends the run before {_of(event)} (event {event.seq}), which its history "
                "has; restore the code that asked for it, or guard the new code with "
                "durable.patched(...)",
                difference=difference(*_at(event), _of(event), "the end of the run", ""),
            )
        loop.advance_clock(event.at_us)
        # The numbers are compared as such: a look-up of an enum's member costs as much as a match.
        if kind in STEP_ENDS:
            step = loop.steps.get(event.step)
            if step is None:
                self._unasked(event)
            else:
                self._end_step(step, event, value)
        elif kind == _FIRED:
            timer = loop.timers.pop(event.step, None)
            if timer is None:
                self._unasked(event)
            else:
                loop.fire(timer)
        else:
            self._deliver_message(event)
        return self._drain()

    def _deliver_message(self, event: Event) -> None:
        kind = event.kind
        if kind == _RECEIVED:
            self.mailbox.arrive(event)
        elif kind == _UPDATE_ACCEPTED:
            self.mailbox.accept(event)
        elif kind == _CANCEL_REQUESTED:
            self.cancel_seq = event.seq
            self.cancel_reason = msgspec.json.decode(event.result, type=str)
            self._cancel(self.cancel_reason or None)
        elif kind == _TIMED_OUT:
            self.timed_out_seq = event.seq
            self._cancel("the run's run_timeout is over")
        else:
            raise Blocked(
                f"event {event.seq} is of kind {kind}, which this version does not know; install "
                "the version of durable that wrote it, or a newer one"
            )

    def _cancel(self, message: str | None) -> None:
        assert self.main is not None
        if isinstance(self.ending, _GOOD_ENDS):  # It only waited for its handlers.
            self.ending = self._stopped()
        self.loop.call_soon(self.main.cancel, message)
        self.mailbox.cancel_handlers(message)

    def replay(self, events: Iterable[Event], redo_seq: int | None = None) -> list[Command]:
        """Start, and deliver recorded events; their commands were performed long ago.

        Afterwards ``loop.steps`` and ``loop.timers`` hold what the code waits for now.

        Args:
            events: The history.
            redo_seq: The event whose drain was never done for this run, if it has one: should it
                be the last, its drain is done now, like that of a new event.

        Returns:
            What the code asked for in that drain, else nothing.
        """
        commands: list[Command] = []
        self.replaying = self.loop.silent = True
        events = iter(events)
        try:
            first = next(events, None)
            while first is not None and first.kind == _RECEIVED and first.took_us == BEFORE_BEGIN:
                self.arrive(first)
                first = next(events, None)
            if self.seq and self.seq == redo_seq:
                self.replaying = self.loop.silent = False
                return self.start()
            self.start()
            for event, is_last in _with_last(() if first is None else chain([first], events)):
                if is_last and event.seq == redo_seq:
                    self.replaying = self.loop.silent = False
                    commands = self.deliver(event)
                else:
                    self.deliver(event)
        finally:
            self.replaying = self.loop.silent = False
        return commands

    def know_patches(self, names: Iterable[str]) -> None:
        """Tell, before a replay, which patches the history has."""
        self._patches.update(dict.fromkeys(names, True))

    def accept(self, steps: Iterable[str]) -> None:
        """Tell, before a replay, whose recorded ends a person lets pass with other arguments."""
        self._accepted.update(steps)

    def has_accepted(self, step: str) -> bool:
        """Say whether a person lets other arguments pass at a step."""
        return step in self._accepted

    def evict(self) -> None:
        """Drop the code from memory; nothing is asked for any more."""
        self.main = None
        self.mailbox.forget_code()
        # A copy: each task is closed in its own context, and the main one's is this one.
        self._context.copy().run(self.loop.evict)

    @property
    def waits_for_nothing(self) -> bool:
        """Whether nothing but a cancel can wake the code: no step, no timer and no message."""
        loop = self.loop
        is_at_rest = self.outcome is None and not loop.stalled_drains
        return is_at_rest and not (loop.steps or loop.timers or self.mailbox.can_wake)

    def note_that_it_waits_for_nothing(self) -> bool:
        """Say whether this is the first time it is noted."""
        is_first, self._is_noted = not self._is_noted, True
        return is_first

    # -- what running code asks ------------------------------------------------------------------

    def patched(self, name: str) -> bool:
        """Say whether the run goes through the new branch: decided once per run and name."""
        decided = self._patches.get(name)
        if decided is None:
            self.loop.refuse_reader(f"durable.patched({name!r})")
            decided = self._patches[name] = not self.replaying
            if decided:
                self.loop.commands.append(MarkPatch(name))
        return decided

    # -- inside ----------------------------------------------------------------------------------

    def _drain(self) -> list[Command]:
        self._run()
        main, mailbox = self.main, self.mailbox
        assert main is not None
        if main.done() or mailbox.failure is not None:
            while self._look_at_ends(main):
                self._run()
        loop = self.loop
        commands = loop.commands
        loop.commands = []
        return commands

    def _look_at_ends(self, main: asyncio.Task[Any]) -> bool:
        """Decide how the run ends, and whether it has; True if its code has to run on for that.

        Law 17: a run ends when its main function and the handlers that had begun have ended. One
        that fails or is cancelled cancels them, and their clean-up is waited for.
        """
        before, mailbox = self.ending, self.mailbox
        if mailbox.failure is not None and (before is None or isinstance(before, _GOOD_ENDS)):
            is_first = not main.done() or mailbox.failed_first
            if is_first or isinstance(self._outcome(main), _GOOD_ENDS):
                self.ending = _raised(mailbox.failure)
        if self.ending is None and main.done():
            self.ending = self._outcome(main)
        if self.ending is not before and type(self.ending) is not type(before):
            mailbox.is_closed = True
            is_good = isinstance(self.ending, _GOOD_ENDS)
            stops = not is_good and mailbox.cancel_others("the run fails")
            if not main.done():
                self.loop.call_soon(main.cancel, "a handler has ended the run")
                stops = True
            if stops:
                return True
        if main.done() and not mailbox.open_handlers:
            self.outcome = self.ending
        return False

    @property
    def is_closing(self) -> bool:
        """Whether how the run ends is decided, and handlers, or clean-up, are waited for."""
        return self.ending is not None and self.outcome is None

    def _run(self) -> None:
        loop = self.loop
        loop.drain()
        if isinstance(loop.violation, Blocked):
            raise loop.violation
        if loop.violation is not None:
            raise Blocked(str(loop.violation), "not-durable") from loop.violation
        if loop.stalled_drains > self._stalled_drains_max:
            raise Blocked(
                f"{loop.stalled_drains:,} events in a row left callbacks behind that never came to "
                f"rest\n{loop.stack()}",
                "endless",
            )

    def _end_step(self, step: Step, event: Event, value: Any) -> None:
        if step.name != (event.name or step.name) or step.kind != STEP_ENDS[event.kind]:
            was, now = event.name, step.name
            if was == now:
                was = f"{_WORDS[STEP_ENDS[event.kind]]} {was}"
                now = f"{_WORDS[step.kind]} {now}"
            where = self.loop.where(step)
            raise Blocked(
                f"step {event.step} in the history is {was}, but the code now calls {now}"
                f"{in_brackets(where)}; restore the call, or guard the new one with "
                "durable.patched(...)",
                difference=difference(*_at(event), was, now, where),
            )
        if (
            step.checked
            and step.fingerprint != event.fingerprint
            and event.step not in self._accepted
        ):
            where = self.loop.where(step)
            was, now = shown(event.arguments), shown(step.arguments)
            told = first_difference(event.arguments, step.arguments, parameters_of(step))
            raise Blocked(
                f"step {event.step} ({event.name}) was recorded with other arguments: {told}"
                f"{in_brackets(where)}; restore them, guard the new call with "
                "durable.patched(...), take the result as it is (durable accept), or declare "
                '.options(arguments="unchecked")',
                difference=difference(
                    *_at(event), f"{event.name}{was}", f"{step.name}{now}", where
                ),
            )
        del self.loop.steps[event.step]
        if event.kind in SUCCESSES:
            if value is UNDECODED:
                try:
                    value = step.decode(event.result)
                except PayloadError as error:
                    raise Blocked(
                        f"the recorded result of step {event.step} ({event.name}) does not decode: "
                        f"{error}; restore the annotation it was recorded under",
                        "payload",
                        difference(
                            *_at(event),
                            f"{event.name} -> {shown(event.result)}",
                            str(error),
                            self.loop.where(step),
                        ),
                    ) from error
            step.set_result(value)
            return
        failure = rebuild_exception(msgspec.json.decode(event.result))
        if isinstance(failure, StopIteration):  # No future can hold one (PEP 479).
            failure = RuntimeError(f"the activity raised {failure!r}")
        failure._durable_seq = event.seq  # type: ignore[attr-defined]
        if event.kind == Kind.CHILD_FAILED:
            failure.add_note(f"in the child run of step {event.step} ({event.name})")
        step.set_exception(failure)

    def promise(self, step: Step) -> None:
        """Answer a promise that was just asked for, if its answer came before."""
        event = self._early.pop(step.step_id, None)
        if event is None:
            return
        try:
            self._end_step(step, event, UNDECODED)
        except Blocked as refusal:
            self.loop.violation = refusal

    def _unasked(self, event: Event) -> None:
        if event.kind in _ANSWERS and event.name == EARLY:
            self._early[event.step] = event
            return
        if event.step in self.loop.dropped:
            return  # Asked for and abandoned: its late end is of no interest.
        where = self.loop.where()
        raise Blocked(
            f"{_of(event)} (event {event.seq}) is in the history, but the code did not ask for it"
            f"{f', and waits at {where}' if where else ''}; restore the call, or guard the new "
            "code with durable.patched(...)",
            difference=difference(*_at(event), _of(event), "nothing there", where),
        )

    def _stopped(self) -> Outcome | None:
        """Return how the run ends because it was asked to, or its time is over."""
        if self.timed_out_seq:
            error = RunTimedOut("the run did not end within its run_timeout")
            return Failed(error, self.timed_out_seq)
        return Cancelled(self.cancel_reason or "", self.cancel_seq) if self.cancel_seq else None

    def _outcome(self, main: asyncio.Task[Any]) -> Outcome:
        if main.cancelled():
            stopped = self._stopped()
            if stopped is not None:
                return stopped
            return Failed(asyncio.CancelledError("the workflow cancelled itself"), 0)
        error = main.exception()
        if error is None:
            return Completed(main.result())
        return _raised(error)


def _with_last(events: Iterable[Event]) -> Iterator[tuple[Event, bool]]:
    """Yield each event with whether it is the last."""
    before: Event | None = None
    for event in events:
        if before is not None:
            yield before, False
        before = event
    if before is not None:
        yield before, True


def _raised(error: BaseException) -> Outcome:
    """Return what an exception out of the workflow, or out of a signal's handler, makes of it."""
    if isinstance(error, ContinueAsNew):
        return Continued(*error.arguments)
    return Failed(error, _origin(error))


def _origin(error: BaseException) -> int:
    """Find the event that produced the exception: the earliest leaf's, through its causes."""
    found: list[int] = []
    seen: set[int] = set()
    unseen: list[BaseException] = [error]
    while unseen:
        current = unseen.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        seq = getattr(current, "_durable_seq", None)
        before = current.__cause__ or current.__context__
        if seq is not None:
            found.append(seq)
        elif isinstance(current, BaseExceptionGroup):
            unseen.extend(current.exceptions)
        elif before is not None:
            unseen.append(before)
    return min(found, default=0)


def _at(event: Event) -> tuple[str, int, int]:
    return event.step, event.seq, event.at_us


def _of(event: Event) -> str:
    if event.kind == Kind.FIRED:
        return f"timer {event.step}"
    return f"step {event.step} ({event.name})" if event.step else f"event {event.seq}"
