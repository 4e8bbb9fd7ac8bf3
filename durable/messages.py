"""Messages: what runs and the outside say to each other, declared once at module level.

::

    approval = durable.Signal("approval", bool)

    @durable.workflow
    async def publish(text: str) -> str:
        return "published" if await approval.receive(timeout="3d") else "dropped"

    # elsewhere, perhaps in another process:
    await run.signal(approval, True)

A message's name is what the file knows; its type is how each side encodes and decodes it. Where the
type is no class, write it in brackets: ``Signal[int | None]("level")``.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Self, TypeVar, overload
from weakref import WeakSet

import attrs

from durable._core import context
from durable._core.mailbox import Listener
from durable.errors import NotInWorkflow, UsageError
from durable.names import NAME_CHARACTERS_MAX, is_name
from durable.policies import Duration, duration_us

if TYPE_CHECKING:
    from durable._core.context import WorkflowRunner
    from durable._core.mailbox import Mailbox
    from durable.children import ChildRun
    from durable.payloads import Codec

__all__ = ["Promise", "Query", "Signal", "Stream", "Update", "Value", "promise"]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_UNTYPED: Any = object()


def _runner(what: str) -> WorkflowRunner:
    runner = context.workflow.get()
    if runner is None:
        raise NotInWorkflow(
            f"{what} was called where no workflow runs; call it inside a @workflow that an engine "
            "drives"
        )
    return runner


# Whoever asks people for messages shows what is declared; what nobody holds any more is not.
_declared: WeakSet[_Message] = WeakSet()


# What was promised in this process, by name: of so many names the newest are known.
PROMISES_KNOWN_MAX = 1_000
_promised: OrderedDict[str, Any] = OrderedDict()


def promised(name: str) -> Any:
    """Return the type of a promise that this process has made or replayed, else None."""
    return _promised.get(name)


def declared() -> Sequence[_Message]:
    """Return the messages of this process by kind and name; of several of one name the last."""
    by_name = {(one._kind, one.name): one for one in [*_declared]}
    return [by_name[key] for key in sorted(by_name)]


MESSAGE_ID_CHARACTERS_MAX = 200


class _Message:
    """A name with types; the types in brackets are known only after ``__init__``."""

    _kind = "message"

    def __init__(self, name: str, *types: Any) -> None:
        if not is_name(name):
            raise UsageError(
                f"the name of a {self._kind} has 1 to {NAME_CHARACTERS_MAX} printable characters, "
                f"not {name!r:.80}"
            )
        self.name = name
        self._types = types
        self._codecs: dict[int, Codec] = {}
        if any(hint is not _UNTYPED for hint in types):
            self._check_types()
        _declared.add(self)

    def _check_types(self) -> None:
        """Refuse a type that cannot be stored where it is written, unless it names later ones."""
        from durable.payloads import of_known_names

        for index, hint in enumerate(self._types):
            if hint is not _UNTYPED:
                of_known_names(partial(self._codec, index), [hint])

    def _hint(self, index: int = 0) -> Any:
        hint = self._types[index]
        if hint is _UNTYPED:
            alias = getattr(self, "__orig_class__", None)
            hint = Any if alias is None else alias.__args__[index]
            if isinstance(hint, TypeVar):
                hint = Any
        return hint

    def _codec(self, index: int = 0) -> Codec:
        found = self._codecs.get(index)
        if found is None:
            from durable.payloads import codec_for

            hint = self._hint(index)
            found = self._codecs[index] = codec_for(hint, f"{self._kind} {self.name}")
        return found

    def _encode(self, value: Any, index: int = 0) -> bytes:
        codec = self._codec(index)
        payload = codec.encode(value)
        codec.decode(payload)  # What does not fit the type is refused here, before it is sent.
        return payload

    def __repr__(self) -> str:
        return f"<{self._kind} {self.name}>"


class _SentOnce(_Message):
    """A message that may be sent under an id of its own."""

    message_id = ""
    """What it is sent under; empty: each time it is sent it is another message."""

    def options(self, *, id: str) -> Self:
        """Return the same message, to be sent once under an id: for clicks that come twice.

        A second one of this id is not delivered; an update's answer is given again, later and after
        the run's end too. ``client.update_with_start(add.options(id=click), ...)``.

        Args:
            id: At most 200 printable characters; one run hears each id once.

        Raises:
            UsageError: It is none.
        """
        found = copy.copy(self)
        found.message_id = message_id(id)
        return found


def require(given: object, kind: type[Any]) -> None:
    """Refuse what is no declared message of the kind that a verb takes.

    Raises:
        UsageError: It is something else, perhaps its name.
    """
    if not isinstance(given, kind):
        name = kind.__name__
        raise UsageError(
            f"this takes a durable.{name}, declared once at module level as in "
            f'`name = durable.{name}("name", ...)`, not {given!r:.80}'
        )


def message_id(given: object) -> str:
    """Return the id of a message; empty for one that has none.

    Raises:
        UsageError: It is too long, or not printable.
    """
    if (
        not isinstance(given, str)
        or len(given) > MESSAGE_ID_CHARACTERS_MAX
        or not (given.isprintable() or not given)
    ):
        raise UsageError(
            f"the id of a message is at most {MESSAGE_ID_CHARACTERS_MAX} printable characters, not "
            f"{given!r:.80}"
        )
    return given


class Signal(_SentOnce, Generic[T]):
    """A message into a run, without an answer: kept until the run receives it, once, in order.

    Args:
        name: What the file knows, 1 to 200 printable characters.
        type: What it carries; plain JSON if left out.

    Source: the semantics are Temporal's signals; undecodable ones become dead letters instead of
    being dropped.
    """

    _kind = "signal"

    def __init__(self, name: str, type: type[T] = _UNTYPED) -> None:
        super().__init__(name, type)

    async def receive(self, timeout: Duration | None = None) -> T:
        """Wait for the next one.

        One that does not decode is skipped and kept as a dead letter. Cancelled, it has taken none.

        Args:
            timeout: How long to wait at most; a durable timer.

        Raises:
            TimeoutError: None came in time.
            NotInWorkflow: No workflow runs here.
        """
        mailbox = self._mailbox("receive")
        decode = self._codec().decode
        if timeout is None:
            found: T = await mailbox.receive(self.name, decode)
        else:
            async with asyncio.timeout(duration_us(timeout, "timeout") / 1e6):
                found = await mailbox.receive(self.name, decode)
        return found

    def receive_nowait(self) -> T:
        """Return the next one, if it is here.

        Raises:
            asyncio.QueueEmpty: None is.
        """
        found = self._mailbox("receive_nowait").receive_nowait(self.name, self._codec().decode)
        if found is None:
            raise asyncio.QueueEmpty(f"no signal {self.name} is here")
        value: T = found[0]
        return value

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield each as it comes, for ever."""
        while True:
            yield await self.receive()

    @overload
    def handler(self, fn: Callable[[T], Any], /) -> Callable[[T], Any]: ...
    @overload
    def handler(
        self, *, on_end: Literal["wait", "abandon"]
    ) -> Callable[[Callable[[T], Any]], Callable[[T], Any]]: ...
    def handler(self, *fns: Any, on_end: Literal["wait", "abandon"] = "wait") -> Any:
        """Let a function of this workflow handle each one, those that wait included.

        Each call is a task of its own; a plain function may be given too. What it raises ends the
        run. Use it as a decorator inside the workflow. From the moment the main function has ended
        none begins any more: signals that come then are dead letters, or move along with
        ``continue_as_new``.

        Args:
            *fns: The function.
            on_end: ``"wait"``: the run ends, or goes on as new, once each call that has begun has
                ended; a run that fails or is cancelled cancels them, and waits for their clean-up.
                ``"abandon"``: the run's end does not wait for them.

        Raises:
            UsageError: ``on_end`` is neither.
        """
        if on_end not in {"wait", "abandon"}:
            raise UsageError(f'on_end is "wait" or "abandon", not {on_end!r}')
        mailbox = self._mailbox("handler")

        def register(fn: Any) -> Any:
            decode = self._codec().decode
            listener = Listener(fn, decode, is_abandoned=on_end == "abandon")
            mailbox.on_signal(self.name, listener)
            return fn

        return register(*fns) if fns else register

    @staticmethod
    def any_handler(fn: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
        """Let a function handle the signals of all names that nothing else waits for.

        It gets the name and the plain JSON data; names it has taken stay taken.
        """
        from durable.payloads import codec_for

        mailbox = _runner("Signal.any_handler()").mailbox
        mailbox.on_signal(None, Listener(fn, codec_for(Any, "signal of any name").decode))
        return fn

    async def send(self, target: str | ChildRun[Any], value: T, *, id: str = "") -> None:
        """Send it from this workflow to another run: once, whatever crashes.

        Args:
            target: The other run's id (its newest ordinal), or the handle of a child.
            value: What it carries.
            id: Of the message; a second one of this id is not delivered. By default this call's.

        Raises:
            RunNotFound: There is no such run.
            RunClosed: It has ended.
        """
        name = target if isinstance(target, str) else target.name
        runner = _runner(f"signal {self.name}.send()")
        await runner.act("signal", name, self.name, self._encode(value), id)

    def _mailbox(self, what: str) -> Mailbox:
        return _runner(f"signal {self.name}.{what}()").mailbox


class Update(_SentOnce, Generic[T, R]):
    """A message into a run with an answer: ``answer = await run.update(update, value)``.

    Args:
        name: What the file knows.
        type: What it carries.
        result: What the answer is.
    """

    _kind = "update"

    def __init__(self, name: str, type: type[T] = _UNTYPED, result: type[R] = _UNTYPED) -> None:
        super().__init__(name, type, result)

    @overload
    def handler(self, fn: Callable[[T], R | Coroutine[Any, Any, R]], /) -> Callable[[T], Any]: ...
    @overload
    def handler(
        self, *, validator: Callable[[T], object]
    ) -> Callable[[Callable[[T], R | Coroutine[Any, Any, R]]], Callable[[T], Any]]: ...
    def handler(self, *fns: Any, validator: Callable[[T], object] | None = None) -> Any:
        """Let a function of this workflow answer updates from here on.

        Args:
            *fns: The function, sync or async; each call is a task of its own, and what it raises
                fails only the update.
            validator: A plain function that may only look; what it raises refuses the update, of
                which then nothing is recorded.
        """
        mailbox = _runner(f"update {self.name}.handler()").mailbox
        if inspect.iscoroutinefunction(validator):
            raise UsageError(
                f"an update's validator is a plain function; {validator.__qualname__} is async"
            )
        request, answer = self._codec(0), self._codec(1)

        def encode(value: Any) -> bytes:
            payload = answer.encode(value)
            answer.decode(payload)
            return payload

        def register(fn: Any) -> Any:
            mailbox.on_update(self.name, Listener(fn, request.decode, encode, validator))
            return fn

        return register(*fns) if fns else register


class Query(_Message, Generic[R]):
    """A question to a run, answered by a function that may only look.

    Args:
        name: What the file knows.
        result: What the answer is.
    """

    _kind = "query"

    def __init__(self, name: str, result: type[R] = _UNTYPED) -> None:
        super().__init__(name, result)

    def handler(self, fn: Callable[P, R]) -> Callable[P, R]:
        """Let a plain function of this workflow answer: a closure over what it is to show.

        What would change the run (a step, a timer, a task, a value) raises `ReadOnly` in it.
        """
        if inspect.iscoroutinefunction(fn):
            raise UsageError(f"a query's function is a plain one; {fn.__qualname__} is async")
        from durable.payloads import arguments_codec

        mailbox = _runner(f"query {self.name}.handler()").mailbox
        decode = arguments_codec(fn, f"query {self.name}").decode
        mailbox.on_query(self.name, Listener(fn, decode, self._encode))
        return fn


class Value(_Message, Generic[T]):
    """State a run publishes: its newest value is in the file, whether or not a worker lives.

    Args:
        name: What the file knows.
        type: What it holds.
    """

    _kind = "value"

    def __init__(self, name: str, type: type[T] = _UNTYPED) -> None:
        super().__init__(name, type)

    def set(self, value: T) -> None:
        """Publish a value, inside a workflow or an activity.

        A workflow's is in the file with its next checkpoint, an activity's shortly after.

        Raises:
            NotInWorkflow: Neither a workflow nor an activity runs here.
            PayloadError: The value cannot be stored.
        """
        _writer(f"value {self.name}.set()").set_value(self.name, self._encode(value))


class Stream(_Message, Generic[T]):
    """A log that a run and its activities append to, and anybody follows: tokens, progress lines.

    What a workflow appends is part of its checkpoint: once, whatever crashes. What an activity
    appends is written as it comes; if its attempt is repeated, so are its items, and each item
    tells its attempt and its index in it. A worker that was declared dead cannot append.

    Args:
        name: What the file knows.
        type: What its items are.
    """

    _kind = "stream"

    def __init__(self, name: str, type: type[T] = _UNTYPED) -> None:
        super().__init__(name, type)

    def append(self, item: T) -> None:
        """Append an item, inside a workflow or an activity.

        Raises:
            NotInWorkflow: Neither a workflow nor an activity runs here.
            PayloadError: The item cannot be stored.
        """
        _writer(f"stream {self.name}.append()").append(self.name, self._encode(item))


def _writer(what: str) -> Any:
    found = context.workflow.get() or context.attempt.get()
    if found is None:
        raise NotInWorkflow(f"{what} was called where neither a workflow nor an activity runs")
    return found


@attrs.define(eq=False)
class Promise(Generic[T]):
    """What somebody outside will answer: await it, and hand its token out.

    Attributes:
        name: What it is called in the history.
        token: What the answer is addressed to: ``client.resolve(token, value)``, or
            ``durable answer TOKEN JSON``. Whoever has it may answer, once.
    """

    name: str
    token: str
    _step: Any

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the answer.

        Raises:
            PromiseRejected: Somebody rejected it.
        """
        found: T = yield from asyncio.shield(self._step).__await__()
        return found

    async def wait(self, timeout: Duration | None = None) -> T:
        """Wait for the answer; after a timeout it may still come, and be waited for again.

        Raises:
            TimeoutError: It did not come in time.
            PromiseRejected: Somebody rejected it.
        """
        if timeout is None:
            return await self
        async with asyncio.timeout(duration_us(timeout, "timeout") / 1e6):
            return await self


@overload
def promise(name: str, type: type[T]) -> Promise[T]: ...
@overload
def promise(name: str) -> Promise[Any]: ...
def promise(name: str, type: Any = Any) -> Promise[Any]:
    """Make a promise inside a workflow: for webhooks, forms and other people's decisions.

    Args:
        name: What it is called in the history, 1 to 200 printable characters.
        type: What the answer is.

    Raises:
        NotInWorkflow: No workflow runs here.
    """
    declared = Value[Any](name, type)
    _promised[name] = declared._hint()
    if len(_promised) > PROMISES_KNOWN_MAX:
        _promised.popitem(last=False)
    token, step = _runner("durable.promise()").promise(name, declared._codec().decode)
    return Promise(name, token, step)
