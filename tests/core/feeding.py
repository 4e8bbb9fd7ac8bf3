"""A driver without a file, a clock or a thread: events are fed by hand, commands come back as text.

The code under test asks for steps with `act`. `Fed` writes down each event it delivers, so that the
same history can be replayed on the same code, or on another.
"""

import contextvars

import msgspec

from durable._core.commands import (
    AnswerUpdate,
    AppendItem,
    ArmTimer,
    BuryLetter,
    DropStep,
    DropTimer,
    MarkPatch,
    SetValue,
)
from durable._core.driver import Driver
from durable._core.events import Event, Kind
from durable._core.failures import record_exception
from durable._core.loop import COMPLETED, Step
from durable._core.mailbox import Listener
from durable.errors import PayloadError

SALT = 7
SECOND_US = 1_000_000
current: contextvars.ContextVar[Driver] = contextvars.ContextVar("driver")


# -- what the code under test calls ----------------------------------------------------------------


def act(name, *args, checked=True, kind=COMPLETED):
    """Ask for a step; the future that ends with it."""
    arguments = msgspec.json.encode(args)
    mark = int.from_bytes(arguments[-8:])
    return loop().ask(name, mark, arguments, None, msgspec.json.decode, checked, kind)


def driver():
    return current.get()


def loop():
    return current.get().loop


def mailbox():
    return current.get().mailbox


def decode_int(payload):
    """Decode a message; one that is no number does not decode."""
    value = msgspec.json.decode(payload)
    if not isinstance(value, int):
        raise PayloadError(f"{value!r} is no number")
    return value


def listener(fn, validator=None):
    return Listener(fn, decode_int, msgspec.json.encode, validator)


# -- what the test does ----------------------------------------------------------------------------


def shown(command):
    match command:
        case Step():
            return f"run {command.step_id} {command.name}"
        case DropStep(step):
            return f"drop {step.step_id}"
        case ArmTimer(timer):
            return f"arm {timer.step_id} {timer.due_us}"
        case DropTimer(timer):
            return f"disarm {timer.step_id}"
        case MarkPatch(name):
            return f"patch {name}"
        case SetValue(name, payload):
            return f"set {name} {payload.decode()}"
        case AppendItem(stream, step, payload):
            return f"append {stream} {step} {payload.decode()}"
        case BuryLetter(seq, name, _):
            return f"bury {seq} {name}"
        case AnswerUpdate(update, name, succeeded, payload):
            return f"answer {update} {name} {payload.decode() if succeeded else 'failed'}"
    raise AssertionError(command)


class Fed:
    """One run of `code`, an async function without arguments, and its history so far."""

    def __init__(self, code, *, salt=SALT, budget=200, stalled_drains_max=3):
        self.context = contextvars.Context()
        self.driver = Driver(code, self.context, salt, budget, stalled_drains_max)
        self.context.run(current.set, self.driver)
        self.loop = self.driver.loop
        self.history = []

    @property
    def outcome(self):
        return self.driver.outcome

    @property
    def waits(self):
        """The ids of what the code waits for."""
        return sorted([*self.loop.steps, *self.loop.timers])

    def start(self):
        return [shown(command) for command in self.driver.start()]

    def deliver(self, kind, step="", name="", *, arguments=b"", result=b"", mark=0, at_us=None):
        at_us = self.driver.at_us if at_us is None else at_us
        event = Event(
            self.driver.seq + 1, kind, step, name, mark, arguments, result, at_us, 0
        )  # fmt: skip
        self.history.append(event)
        return [shown(command) for command in self.driver.deliver(event)]

    def complete(self, step_id, value=None, *, at_us=None, kind=Kind.COMPLETED):
        return self._end(step_id, kind, msgspec.json.encode(value), at_us)

    def fail(self, step_id, error, *, at_us=None, kind=Kind.FAILED):
        return self._end(step_id, kind, msgspec.json.encode(record_exception(error)), at_us)

    def _end(self, step_id, kind, result, at_us):
        step = self.loop.steps[step_id]
        return self.deliver(
            kind, step_id, step.name,
            arguments=step.arguments, result=result, mark=step.fingerprint, at_us=at_us,
        )  # fmt: skip

    def fire(self, timer_id, *, at_us=None):
        """Fire a timer: when it is due, if nothing else is said."""
        due_us = self.loop.timers[timer_id].due_us
        return self.deliver(Kind.FIRED, timer_id, at_us=due_us if at_us is None else at_us)

    def signal(self, name, value, *, id=""):
        return self.deliver(Kind.RECEIVED, id, name, result=msgspec.json.encode(value))

    def update(self, id, name, value):
        return self.deliver(Kind.UPDATE_ACCEPTED, id, name, arguments=msgspec.json.encode(value))

    def cancel(self, reason=""):
        return self.deliver(Kind.CANCEL_REQUESTED, result=msgspec.json.encode(reason))

    def evict(self):
        """Drop the code; return what it asked for meanwhile."""
        self.loop.commands.clear()
        self.driver.evict()
        return [shown(command) for command in self.loop.commands]


def started(code, **options):
    """A run whose code has gone to its first wait."""
    fed = Fed(code, **options)
    fed.start()
    return fed


def replayed(code, history, **options):
    """A run to which a history was delivered again, from the start."""
    fed = Fed(code, **options)
    fed.driver.know_patches(event.name for event in history if event.kind == Kind.PATCHED)
    fed.driver.replay(history)
    fed.history = list(history)
    return fed
