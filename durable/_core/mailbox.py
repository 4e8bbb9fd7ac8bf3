"""The mailbox: what others say to a run, and which of its code listens.

Laws:

* A signal is kept until somebody receives it, in the order of its events; who receives it depends
  on nothing but the history.
* Each handler runs as a task of its own, under the path ``signal:NAME#k`` or ``update:ID``, so that
  messages rename no step of the rest.
* A message that does not decode blocks nothing: a signal becomes a dead letter, an update fails.
* Queries, validators and predicates only look (see `WorkflowLoop.reading`).
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from durable._core.commands import AnswerUpdate, BuryLetter
from durable._core.failures import failure_json
from durable.errors import Blocked, PayloadError, QueryFailed, UpdateRefused

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from durable._core.events import Event
    from durable._core.loop import WorkflowLoop

__all__ = ["Letter", "Listener", "Mailbox"]

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]


@attrs.define
class Letter:
    """A signal that came in; ``number`` counts those of its name, from 1."""

    seq: int
    name: str
    number: int
    payload: bytes
    id: str


@attrs.define
class Listener:
    """A function of the workflow's that listens, and the types of what it hears and says."""

    fn: Callable[..., Any]
    decode: Decode
    encode: Encode | None = None
    validator: Callable[..., Any] | None = None
    is_abandoned: bool = False
    """Whether the run's end does not wait for it."""


class Mailbox:
    """One run's messages and handlers."""

    def __init__(self, loop: WorkflowLoop, context: Context) -> None:
        self._loop = loop
        self._context = context
        self._letters: dict[str, deque[Letter]] = {}
        self._counts: dict[str, int] = {}
        self._getters: dict[str, deque[asyncio.Future[None]]] = {}
        self._handlers: dict[str, Listener] = {}
        self._catch_all: Listener | None = None
        self._updates: dict[str, Listener] = {}
        self._queries: dict[str, Listener] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._abandoned: list[asyncio.Task[Any]] = []
        """Of handlers that the run's end does not wait for."""
        self.open_updates: dict[str, str] = {}
        """Accepted updates that have no answer yet: id to name."""
        self.failure: BaseException | None = None
        """What the first signal's handler raised that raised anything: it ends the run."""
        self.failed_first = False
        """Whether it was raised before the main function ended."""
        self._has_main_ended = False
        self.is_closed = False
        """The run ends: no handler begins any more."""

    # -- what the workflow's code asks -----------------------------------------------------------

    async def receive(self, name: str, decode: Decode) -> Any:
        """Return the next signal of a name, as soon as there is one."""
        getters = self._getters.setdefault(name, deque())
        while True:
            while not self._letters.get(name):
                getter = self._loop.create_future()
                getters.append(getter)
                try:
                    await getter
                except BaseException:
                    getter.cancel()
                    if getter in getters:
                        getters.remove(getter)
                    elif self._letters.get(name):  # It was woken, and will not take the letter.
                        self._wake(name)
                    raise
            found = self._take(name, decode)
            if found is not None:
                return found[0]

    def receive_nowait(self, name: str, decode: Decode) -> tuple[Any] | None:
        """Return the next signal of a name in a tuple, or None if none is here."""
        self._loop.refuse_reader(f"receiving signal {name}")
        self._getters.setdefault(name, deque())
        while self._letters.get(name):
            found = self._take(name, decode)
            if found is not None:
                return found
        return None

    def _take(self, name: str, decode: Decode) -> tuple[Any] | None:
        letters = self._letters[name]
        letter = letters[0]
        try:
            value = decode(letter.payload)
        except PayloadError as error:
            self._loop.record(BuryLetter(letter.seq, name, str(error)), "receive")
            letters.popleft()
            return None
        letters.popleft()
        return (value,)

    def on_signal(self, name: str | None, listener: Listener) -> None:
        """Handle each signal of a name, those that wait included; None handles all other names."""
        self._loop.refuse_reader("a new handler of signals")
        if self.is_closed:  # No handler begins any more: what waits becomes dead letters.
            return
        if name is None:
            self._catch_all = listener
            waiting = sorted(
                (one for letters in self._letters.values() for one in letters),
                key=lambda letter: letter.seq,
            )
            self._letters.clear()
        else:
            self._handlers[name] = listener
            waiting = list(self._letters.pop(name, ()))
        for letter in waiting:
            self._handle(letter, listener, catches_all=name is None)

    def on_update(self, name: str, listener: Listener) -> None:
        """Handle updates of a name from now on."""
        self._loop.refuse_reader("a new handler of updates")
        self._updates[name] = listener

    def on_query(self, name: str, listener: Listener) -> None:
        """Answer queries of a name from now on."""
        self._loop.refuse_reader("a new handler of queries")
        self._queries[name] = listener

    # -- what the driver asks --------------------------------------------------------------------

    @property
    def can_wake(self) -> bool:
        """Whether a message could make the run go on."""
        return bool(
            self._handlers
            or self._updates
            or self._catch_all
            or any(any(not one.done() for one in getters) for getters in self._getters.values())
        )

    @property
    def awaited(self) -> list[str]:
        """The names of the signals the code waits for, in the order in which it asked."""
        return [
            name
            for name, getters in self._getters.items()
            if any(not one.done() for one in getters)
        ]

    @property
    def heard(self) -> list[str]:
        """What its handlers take, for people: ``signal NAME``, ``update NAME``."""
        found = [f"signal {name}" for name in self._handlers]
        found += [f"update {name}" for name in self._updates]
        return [*found, "any other signal"] if self._catch_all else found

    @property
    def known(self) -> set[str] | None:
        """The names of the signals that its code has asked for; None if it takes any."""
        return None if self._catch_all is not None else {*self._getters, *self._handlers}

    def unreceived(self) -> list[Letter]:
        """Return the signals nobody has received, in order."""
        letters = [one for letters in self._letters.values() for one in letters]
        return sorted(letters, key=lambda letter: letter.seq)

    def arrive(self, event: Event) -> None:
        """Take a signal in."""
        name = event.name
        number = self._counts[name] = self._counts.get(name, 0) + 1
        letter = Letter(event.seq, name, number, event.result, event.step)
        listener = None if self.is_closed else self._handlers.get(name)
        if listener is not None:
            self._handle(letter, listener, catches_all=False)
        elif self._catch_all is not None and not self.is_closed and not self._getters.get(name):
            self._handle(letter, self._catch_all, catches_all=True)
        else:
            self._letters.setdefault(name, deque()).append(letter)
            self._wake(name)

    def _wake(self, name: str) -> None:
        getters = self._getters.get(name)
        while getters:
            getter = getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _handle(self, letter: Letter, listener: Listener, *, catches_all: bool) -> None:
        try:
            value = listener.decode(letter.payload)
        except PayloadError as error:
            self._loop.record(BuryLetter(letter.seq, letter.name, str(error)), "handler")
            return
        args = (letter.name, value) if catches_all else (value,)
        path = f"signal:{letter.name}#{letter.number}"
        task = self._begin(listener.fn, args, path, is_abandoned=listener.is_abandoned)
        task.add_done_callback(self._handled, context=self._context)

    def _begin(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        path: str,
        *,
        is_abandoned: bool = False,
    ) -> asyncio.Task[Any]:
        task = self._loop.make_task(_call(fn, args), path, self._context.copy())
        self._tasks = [one for one in self._tasks if not one.done()]
        self._abandoned = [one for one in self._abandoned if not one.done()]
        (self._abandoned if is_abandoned else self._tasks).append(task)
        return task

    def _handled(self, task: asyncio.Task[Any]) -> None:
        if self.failure is None and not task.cancelled():
            self.failure = task.exception()
            self.failed_first = not self._has_main_ended

    def main_ended(self, _main: asyncio.Task[Any]) -> None:
        """Take note that the main function has ended: no handler begins any more."""
        self._has_main_ended = self.is_closed = True

    @property
    def open_handlers(self) -> list[str]:
        """The paths of the handlers that have begun and not ended, and that the end waits for."""
        return [one.get_name() for one in self._tasks if not one.done()]

    def cancel_handlers(self, message: str | None) -> None:
        """Cancel what handlers do: the run was asked to stop, or fails."""
        for task in (*self._tasks, *self._abandoned):
            task.cancel(message)

    def cancel_others(self, message: str) -> bool:
        """Cancel the handlers that were not told to stop yet; False if there are none."""
        others = [one for one in self._tasks if not one.done() and not one.cancelling()]
        for task in others:
            task.cancel(message)
        return bool(others)

    def forget_code(self) -> None:
        """Let go of the code that listens: it is about to be dropped from memory."""
        self._tasks.clear()
        self._abandoned.clear()
        self._getters.clear()

    # -- updates ---------------------------------------------------------------------------------

    def validate(self, name: str, payload: bytes) -> None:
        """See whether an update would be accepted; to be called while the loop is `reading`.

        Raises:
            UpdateRefused: There is no handler, it does not decode, or its validator raised.
        """
        listener = self._updates.get(name)
        if self.is_closed:
            raise UpdateRefused(
                f"the run ends: its main function has ended, and update {name} came late"
            )
        if listener is None:
            known = ", ".join(sorted(self._updates)) or "none"
            raise UpdateRefused(f"the run takes no update {name!r} now; it takes: {known}")
        try:
            value = listener.decode(payload)
        except PayloadError as error:
            raise UpdateRefused(str(error)) from error
        if listener.validator is not None:
            try:
                self._context.copy().run(listener.validator, value)
            except BaseException as error:
                raise UpdateRefused(str(error) or type(error).__name__) from error
            if self._loop.read_only_broken:
                raise UpdateRefused(
                    f"the validator of update {name} tried to change the run; it may only look"
                )

    def accept(self, event: Event) -> None:
        """Run the handler of an accepted update."""
        update, name = event.step, event.name
        listener = self._updates.get(name)
        if listener is None or listener.encode is None:
            raise Blocked(
                f"update {update} ({name}, event {event.seq}) is in the history, but the code has "
                "no handler for it at that point; restore it, or guard the new code with "
                "durable.patched(...)"
            )
        encode = listener.encode
        self.open_updates[update] = name

        def handled(task: asyncio.Task[Any]) -> None:
            del self.open_updates[update]
            try:
                payload, succeeded = encode(task.result()), True
            except BaseException as error:  # noqa: BLE001  whatever it is, the asker gets it
                payload, succeeded = failure_json(error), False
            self._loop.record(AnswerUpdate(update, name, succeeded, payload), "update")

        task = self._begin(listener.fn, (listener.decode(event.arguments),), f"update:{update}")
        task.add_done_callback(handled, context=self._context)

    # -- queries ---------------------------------------------------------------------------------

    def query(self, name: str, payload: bytes) -> bytes:
        """Answer a query; to be called while the loop is `reading`.

        Raises:
            QueryFailed: There is no such query, or it raised.
        """
        listener = self._queries.get(name)
        if listener is None or listener.encode is None:
            known = ", ".join(sorted(self._queries)) or "none"
            raise QueryFailed(f"the run answers no query {name!r}; it answers: {known}")
        args, kwargs = listener.decode(payload)
        try:
            answer = self._context.copy().run(listener.fn, *args, **kwargs)
        except BaseException as error:
            raise QueryFailed(f"query {name} raised {type(error).__name__}: {error}") from error
        return listener.encode(answer)


async def _call(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call a handler, and wait for what it returns if that can be awaited.

    What kind of function it is does not tell: a lambda around an async function, or an object with
    an async ``__call__``, is none.
    """
    found = fn(*args)
    return await found if inspect.isawaitable(found) else found
