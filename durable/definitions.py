"""Workflows and activities: the decorators, their options, the registry.

The stored name of a function is its ``__name__`` (or ``name=``), never its module: ``python
app.py`` and ``durable worker app:engine`` mean the same function. Nothing is imported because a row
names it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)
from weakref import WeakKeyDictionary

import attrs

from durable import _isolation
from durable._core import context
from durable.errors import DefinitionError, NotInWorkflow, UsageError
from durable.names import (
    ATTRIBUTE_CHARACTERS_MAX,
    LABEL_CHARACTERS_MAX,
    LABELS_MAX,
    NAME_CHARACTERS_MAX,
    is_attribute_name,
    is_attribute_value,
    is_name,
    is_priority,
    is_run_id,
    is_tag,
)
from durable.policies import ActivityPolicy, Duration, Isolation, Retry, duration_us

if TYPE_CHECKING:
    from durable._store.cursor import Cursor
    from durable.children import ChildRun
    from durable.payloads import ArgumentsCodec

__all__ = ["Activity", "Workflow", "activity", "candidates", "transaction", "workflow"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Attribute = str | int | float | bool
"""What an attribute of a run can be."""

# Every workflow of this process that is defined at module level, by stored name and alias.
_registry: dict[str, list[Workflow[Any, Any]]] = {}

# Reading a function's source costs a quarter of a millisecond: once per function, not per start.
_fingerprints: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()


class _Unset:
    def __repr__(self) -> str:
        return "unset"


UNSET: Any = _Unset()


def _codec(fn: Callable[..., Any], name: str, *, has_cursor: bool = False) -> ArgumentsCodec:
    from durable.payloads import arguments_codec

    return arguments_codec(fn, name, has_cursor=has_cursor)


def _codec_by_now(
    fn: Callable[..., Any], name: str, *, has_cursor: bool = False
) -> ArgumentsCodec | None:
    """Return the codec of a function that is being defined, None if it names types of later.

    So a type that cannot be stored is refused where it is written.
    """
    from durable.payloads import hints_of, of_known_names

    hints = hints_of(fn)
    if hints is None:
        return None
    return of_known_names(partial(_codec, fn, name, has_cursor=has_cursor), hints)


def _check_function(fn: Any, what: str) -> None:
    if isinstance(fn, Activity | Workflow):
        raise DefinitionError(f"{fn!r} is decorated already; decorate the plain function")
    if not callable(fn) or not hasattr(fn, "__code__"):
        raise DefinitionError(f"@{what} goes on a function, not on {fn!r}")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise DefinitionError(
            f"{fn.__qualname__} is a generator; a {what} returns its result once. Collect the "
            "items in a list"
        )
    scope = fn.__qualname__.rpartition(".")[0]
    if scope and not scope.endswith("<locals>"):
        raise DefinitionError(
            f"{fn.__qualname__} is a method: the object it belongs to cannot be stored, so a later "
            f"process could not call it. Make it a function and pass what it needs, or use "
            "durable.resource(...)"
        )


def _check_name(name: str, what: str) -> None:
    if not is_name(name):
        raise DefinitionError(
            f"the name of a {what} has 1 to {NAME_CHARACTERS_MAX} printable characters, not "
            f"{name!r}"
        )
    if name == "<lambda>":
        raise DefinitionError(f"a lambda has no name to store; give it one: {what}(..., name=...)")


class Activity(Generic[P, R]):
    """A function that may touch the outside; made by `activity`.

    Inside a workflow a call is a step: performed by the engine, tried again by its policy, recorded
    once it ends. Elsewhere it just runs the function.

    Attributes:
        fn: The undecorated function.
        name: The stored name.
        policy: Its retry policy and timeouts.
        fallback: Called with the same arguments once this one has failed for good.
        is_async: Whether it is a coroutine function; those run on the engine's loop, plain ones
            in a thread, unless they are isolated.
    """

    __slots__ = ("__dict__", "_codec", "fallback", "fn", "is_async", "name", "policy")

    fn: Callable[P, Any]
    name: str
    policy: ActivityPolicy
    fallback: Activity[P, R] | None
    is_async: bool
    in_transaction = False
    """Whether it runs inside the transaction that records its result: see `transaction`."""
    __name__: str

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None,
        policy: ActivityPolicy,
        fallback: Activity[P, R] | None,
    ) -> None:
        self.fn = fn
        self.name = fn.__name__ if name is None else name
        self.policy = policy
        self.fallback = fallback
        self.is_async = inspect.iscoroutinefunction(fn)
        self._codec: ArgumentsCodec | None = None
        self.__doc__ = fn.__doc__
        self.__name__ = fn.__name__
        self.__qualname__ = fn.__qualname__
        self.__module__ = fn.__module__
        self.__wrapped__ = fn
        _check_name(self.name, "activity")

    @property
    def codec(self) -> ArgumentsCodec:
        """The codec of its arguments and result, built from its annotations: now at the latest."""
        if self._codec is None:
            self._codec = _codec(self.fn, self.name)
        return self._codec

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Return the coroutine of one call; it does nothing, and takes no number, until awaited."""
        if self.fallback is None:
            return self._call(args, kwargs)
        return self._call_or_fall_back(args, kwargs)

    async def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        runner = context.workflow.get()
        if runner is not None:
            return await runner.step(self, args, kwargs)  # type: ignore[no-any-return]
        result = self.fn(*args, **kwargs)
        if self.is_async:
            result = await result
        return result  # type: ignore[no-any-return]

    async def _call_or_fall_back(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        assert self.fallback is not None
        try:
            return await self._call(args, kwargs)
        except Exception:  # noqa: BLE001  whatever ended it for good
            return await self.fallback(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Activity[P, R]:
        """Refuse to become a method; a class may hold an activity, an instance cannot bind it."""
        return self

    def options(
        self,
        *,
        name: str = UNSET,
        retry: Retry = UNSET,
        start_to_close: Duration | None = UNSET,
        schedule_to_close: Duration | None = UNSET,
        schedule_to_start: Duration | None = UNSET,
        heartbeat: Duration | None = UNSET,
        at_most_once: bool = UNSET,
        fallback: Activity[P, R] | None = UNSET,
        arguments: Literal["checked", "unchecked"] = UNSET,
        isolation: Isolation | None = UNSET,
        memory_limit: int | str | None = UNSET,
    ) -> Activity[P, R]:
        """Return the same activity with other settings; what is left out stays as it is.

        Args:
            name: Another stored name.
            retry: See `Retry`.
            start_to_close: The limit of one attempt.
            schedule_to_close: The limit of all attempts together, waits included.
            schedule_to_start: The limit of the wait for a free place.
            heartbeat: The longest silence between two heartbeats of an attempt.
            at_most_once: Record the intent first, and never call twice: see `OutcomeUnknown`.
            fallback: An activity to call instead once this one failed for good.
            arguments: ``"unchecked"`` lets a replay pass when the arguments differ from the
                recorded ones.
            isolation: ``"process"`` runs it in a process of the engine's pool: on a processor of
                its own, ended for certain by a timeout or a cancel, and a crash of it is a failed
                attempt. The process imports the function by its module and name.
            memory_limit: What its process may have, in bytes or as ``"2GiB"``: beyond it Python
                raises `MemoryError`. Linux only.

        Raises:
            UsageError: A value is wrong.
            DefinitionError: They contradict each other, or the function cannot be isolated.
        """
        changes: dict[str, Any] = {
            field: None if value is None else duration_us(value, field[:-3])
            for field, value in (
                ("start_to_close_us", start_to_close),
                ("schedule_to_close_us", schedule_to_close),
                ("schedule_to_start_us", schedule_to_start),
                ("heartbeat_us", heartbeat),
            )
            if value is not UNSET
        }
        for field, value in changes.items():
            if value == 0:
                raise UsageError(f"{field[:-3]} must be longer than 0; use None for no limit")
        checked: tuple[tuple[str, Any, Callable[[Any], object]], ...] = (
            ("retry", retry, _checked_retry),
            ("at_most_once", at_most_once, bool),
            ("arguments_checked", arguments, _is_checked),
            ("isolation", isolation, self._checked_isolation),
            ("memory_bytes_max", memory_limit, _memory_bytes),
        )
        changes |= {field: check(value) for field, value, check in checked if value is not UNSET}
        made: Activity[P, R] = type(self)(
            self.fn,
            name=self.name if name is UNSET else name,
            policy=attrs.evolve(self.policy, **changes),
            fallback=self.fallback if fallback is UNSET else fallback,
        )
        if made.name == self.name:
            made._codec = self._codec
        return made

    def _checked_isolation(self, isolation: Any) -> Isolation | None:
        if isolation is None:
            return None
        if isolation != "process":
            raise UsageError(f'isolation is "process" or None, not {isolation!r}')
        if self.in_transaction:
            raise DefinitionError(
                f"{self.name} is a transaction: it runs in the very transaction that records it, "
                "and so in the engine's process. Compute in an activity, and pass the result"
            )
        _isolation.check_findable(self.fn)
        return "process"

    def __repr__(self) -> str:
        return f"<activity {self.name}>"


def _checked_retry(retry: object) -> Retry:
    if not isinstance(retry, Retry):
        raise UsageError(f"retry= takes a durable.Retry, not {retry!r}")
    return retry


def _is_checked(arguments: object) -> bool:
    if arguments not in {"checked", "unchecked"}:
        raise UsageError(f'arguments= is "checked" or "unchecked", not {arguments!r}')
    return arguments == "checked"


def _memory_bytes(value: Any) -> int | None:
    return None if value is None else _isolation.memory_bytes(value)


class TransactionStep(Activity[P, R]):
    """A plain function that runs inside the transaction that records its result.

    Made by `transaction`; in everything else an activity.
    """

    in_transaction = True

    @property
    def codec(self) -> ArgumentsCodec:
        """The codec of its arguments, the cursor left out, and of its result."""
        if self._codec is None:
            self._codec = _codec(self.fn, self.name, has_cursor=True)
        return self._codec

    async def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        runner = context.workflow.get()
        if runner is None:
            raise NotInWorkflow(
                f"{self.name} is a transaction: it needs an engine's file. Call it inside a "
                f"workflow, or use engine.transaction({self.name}.fn, ...)"
            )
        return await runner.step(self, args, kwargs)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<transaction {self.name}>"


OnClosed = Literal["return", "retry", "restart", "error"]
"""What a start does with an id whose newest run is closed."""

OnParentClose = Literal["abandon", "cancel", "terminate"]
"""What happens to a child that is open when its parent ends."""

OnCancel = Literal["cancel", "abandon"]
"""What happens to a child when the task that awaits it is cancelled."""

ON_PARENT_CLOSE: tuple[OnParentClose, ...] = ("abandon", "cancel", "terminate")
ON_CLOSED: tuple[OnClosed, ...] = ("return", "retry", "restart", "error")


@attrs.frozen(kw_only=True)
class StartOptions:
    """Settings of one start."""

    id: str | None = None
    start_delay_us: int = 0
    queue: str = "default"
    priority: int = 0
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    on_closed: OnClosed | None = None
    run_timeout_us: int | None = None
    on_parent_close: OnParentClose = "abandon"
    on_cancel: OnCancel = "cancel"
    tags: Sequence[str] = ()
    attributes: Mapping[str, Attribute] = attrs.field(factory=dict[str, Attribute])

    @property
    def labels(self) -> str | None:
        """Tags and attributes as they are stored."""
        if not self.tags and not self.attributes:
            return None
        pairs = [("tag", tag) for tag in self.tags]
        named = [(f"attr.{name}", value) for name, value in self.attributes.items()]
        from durable.payloads import encode_document

        return encode_document([*pairs, *named]).decode()


class Workflow(Generic[P, R]):
    """A deterministic async function that the engine runs durably; made by `workflow`.

    Attributes:
        fn: The undecorated function.
        name: The stored name.
        aliases: Older stored names that mean this function too.
        on_failure: ``"fail"`` closes a run whose code raises, ``"pause"`` keeps it open.
        start_options: Settings of the next start.
    """

    __slots__ = ("__dict__", "_codec", "aliases", "fn", "name", "on_failure", "start_options")

    fn: Callable[P, Any]
    name: str
    aliases: tuple[str, ...]
    start_options: StartOptions
    __name__: str

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None,
        aliases: Sequence[str],
        on_failure: Literal["fail", "pause"],
        start_options: StartOptions,
    ) -> None:
        if on_failure not in {"fail", "pause"}:
            raise DefinitionError(f'on_failure is "fail" or "pause", not {on_failure!r}')
        if isinstance(aliases, str):
            raise DefinitionError(f"aliases takes a list of names, not the text {aliases!r}")
        self.fn = fn
        self.name = fn.__name__ if name is None else name
        self.aliases = tuple(aliases)
        self.on_failure: Literal["fail", "pause"] = on_failure
        self.start_options = start_options
        self._codec: ArgumentsCodec | None = None
        self.__doc__ = fn.__doc__
        self.__name__ = fn.__name__
        self.__qualname__ = fn.__qualname__
        self.__module__ = fn.__module__
        self.__wrapped__ = fn
        for each in (self.name, *self.aliases):
            _check_name(each, "workflow")

    @property
    def codec(self) -> ArgumentsCodec:
        """The codec of its arguments and result, built from its annotations: now at the latest."""
        if self._codec is None:
            self._codec = _codec(self.fn, self.name)
        return self._codec

    @property
    def is_local(self) -> bool:
        """Whether it was defined inside another function: only its own engine knows it."""
        return "<locals>" in self.fn.__qualname__

    @property
    def place(self) -> str:
        """Where it is defined, as ``file:line``."""
        code = self.fn.__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of its source, or of its byte code where there is no source."""
        found = _fingerprints.get(self.fn)
        if found is None:
            try:
                text = inspect.getsource(self.fn).encode()
            except (OSError, TypeError):
                text = self.fn.__code__.co_code
            found = _fingerprints[self.fn] = hashlib.blake2b(text, digest_size=8).hexdigest()
        return found

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Return the coroutine of the plain function: to test it without an engine."""
        return self._call(args, kwargs)

    async def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        runner = context.workflow.get()
        if runner is not None:
            return await runner.child(self, args, kwargs)  # type: ignore[no-any-return]
        return await self.fn(*args, **kwargs)  # type: ignore[no-any-return]

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> ChildRun[R]:
        """Start a child run inside a workflow, and return a handle at once.

        On return the child is in the file. It lives on whatever its parent does, unless
        ``on_parent_close`` says otherwise; its failure is an exception where the handle's result is
        awaited and nowhere else. From outside a workflow, use `Engine.start`.

        Raises:
            NotInWorkflow: No workflow runs here.
            IdConflict: The id is taken.
            PayloadError: An argument cannot be stored.
        """
        from durable.children import ChildRun

        runner = context.workflow.get()
        if runner is None:
            raise NotInWorkflow(
                f"{self.name}.start() was called where no workflow runs; use engine.start(...)"
            )
        run_id, ordinal, end = await runner.start_child(self, args, kwargs)
        return ChildRun(run_id, ordinal, end)

    def options(
        self,
        *,
        id: str = UNSET,
        start_delay: Duration = UNSET,
        queue: str = UNSET,
        priority: int = UNSET,
        headers: Mapping[str, str] = UNSET,
        on_closed: OnClosed = UNSET,
        run_timeout: Duration | None = UNSET,
        on_parent_close: OnParentClose = UNSET,
        on_cancel: OnCancel = UNSET,
        tags: Sequence[str] = UNSET,
        attributes: Mapping[str, Attribute] = UNSET,
    ) -> Workflow[P, R]:
        """Return the same workflow with other settings for its next start.

        Args:
            id: The run's id, 1 to 200 printable characters without ``#``; the same id means the
                same run. Left out, each start makes a new one.
            start_delay: How long the run waits before it begins.
            queue: The task queue.
            priority: Lower numbers are taken first among runs that wait for a worker.
            headers: Text passed along to the run and its activities, for tracing.
            on_closed: If the id's newest run is closed: ``"return"`` it; ``"retry"`` one that did
                not complete, from the step that failed; ``"restart"`` from the start, as a new
                ordinal; ``"error"``. `Engine.start` returns it by default, `durable.run` retries.
            run_timeout: How long the run may take, from its begin: then its code is cancelled and
                it fails as `RunTimedOut`, at the latest a minute later. Children inherit what is
                left.
            on_parent_close: What happens to a child that is open when its parent ends:
                ``"abandon"`` (it lives on), ``"cancel"`` or ``"terminate"``.
            on_cancel: What happens to a child when the task that awaits it is cancelled:
                ``"cancel"`` asks it to stop and does not wait, ``"abandon"`` leaves it alone.
            tags: Words by which the run is found again (``tag:urgent``): at most 20, of 1 to 100
                printable characters. They stay as they are, in later ordinals too.
            attributes: Values by which the run is found (``attr.region:eu``, ``attr.total:>100``):
                at most 20; text of at most 1,000 characters, whole numbers of 64 bits, finite
                floats, true or false. Names are letters, digits, ``_`` and ``-``.
        """
        given = {
            "id": id,
            "start_delay": start_delay,
            "queue": queue,
            "priority": priority,
            "headers": headers,
            "on_closed": on_closed,
            "run_timeout": run_timeout,
            "on_parent_close": on_parent_close,
            "on_cancel": on_cancel,
            "tags": tags,
            "attributes": attributes,
        }
        changes: dict[str, Any] = {}
        for name, value in given.items():
            if value is not UNSET:
                field, check = _START_OPTIONS[name]
                changes[field] = check(value)
        made: Workflow[P, R] = Workflow(
            self.fn,
            name=self.name,
            aliases=self.aliases,
            on_failure=self.on_failure,
            start_options=attrs.evolve(self.start_options, **changes),
        )
        made._codec = self._codec
        return made

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"


def _limit(value: Duration | None, what: str) -> int | None:
    if value is None:
        return None
    found = duration_us(value, what)
    if found == 0:
        raise UsageError(f"{what} must be longer than 0; use None for no limit")
    return found


def _delay(value: Duration) -> int:
    return duration_us(value, "start_delay")


def _queue(value: str) -> str:
    _check_name(value, "queue")
    return value


def _priority(value: object) -> int:
    if not isinstance(value, int) or not is_priority(value):
        raise UsageError(f"priority is a whole number of at most 32 bits, not {value!r}")
    return value


def _one_of(what: str, known: Sequence[str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise UsageError(f"{what} is one of {', '.join(known)}, not {value!r}")
        return value

    return check


def check_run_id(run_id: object) -> str:
    """Return the id if it can be one.

    Raises:
        UsageError: It is no text of 1 to 200 printable characters, holds ``#``, or is a dot or two.
    """
    if not isinstance(run_id, str) or not is_run_id(run_id):
        raise UsageError(
            f"{run_id!r} cannot be the id of a run: an id has 1 to {NAME_CHARACTERS_MAX} printable "
            "characters and no '#', which separates the ordinal; '.' and '..' are places"
        )
    return run_id


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for key, value in headers.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError(f"headers are text by text, not {key!r}: {value!r}")
    return dict(headers)


def _checked_tags(tags: Sequence[str]) -> Sequence[str]:
    if isinstance(tags, str) or not isinstance(tags, Sequence) or len(tags) > LABELS_MAX:
        raise UsageError(f"tags are a list of at most {LABELS_MAX} words, not {tags!r:.80}")
    for tag in tags:
        if not is_tag(tag):
            raise UsageError(
                f"a tag is a text of 1 to {LABEL_CHARACTERS_MAX} printable characters, not "
                f"{tag!r:.200}"
            )
    return tuple(dict.fromkeys(tags))


def _checked_attributes(attributes: Mapping[str, Attribute]) -> Mapping[str, Attribute]:
    if not isinstance(attributes, Mapping) or len(attributes) > LABELS_MAX:
        raise UsageError(
            f"attributes are a mapping of at most {LABELS_MAX} names, not {attributes!r:.80}"
        )
    for name, value in attributes.items():
        if not is_attribute_name(name):
            raise UsageError(
                f"the name of an attribute is 1 to {LABEL_CHARACTERS_MAX} letters, digits, _ and "
                f"-, and begins with a letter or _, not {name!r:.200}"
            )
        if not is_attribute_value(value):
            raise UsageError(
                f"attribute {name} is a text of at most {ATTRIBUTE_CHARACTERS_MAX:,} characters, a "
                f"whole number of 64 bits, a finite float, True or False, not {value!r:.200}"
            )
    return dict(attributes)


# By the keyword of `Workflow.options`: the field of `StartOptions`, and what checks the value.
_START_OPTIONS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "id": ("id", check_run_id),
    "start_delay": ("start_delay_us", _delay),
    "queue": ("queue", _queue),
    "priority": ("priority", _priority),
    "headers": ("headers", _checked_headers),
    "on_closed": ("on_closed", _one_of("on_closed", ON_CLOSED)),
    "run_timeout": ("run_timeout_us", lambda value: _limit(value, "run_timeout")),
    "on_parent_close": ("on_parent_close", _one_of("on_parent_close", ON_PARENT_CLOSE)),
    "on_cancel": ("on_cancel", _one_of("on_cancel", ("cancel", "abandon"))),
    "tags": ("tags", _checked_tags),
    "attributes": ("attributes", _checked_attributes),
}


class _ActivityDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Activity[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Activity[P, R]: ...


class _TransactionDecorator(Protocol):
    def __call__(self, fn: Callable[Concatenate[Cursor, P], R], /) -> Activity[P, R]: ...


class _WorkflowDecorator(Protocol):
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...


@overload
def activity(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Activity[P, R]: ...
@overload
def activity(fn: Callable[P, R], /) -> Activity[P, R]: ...
@overload
def activity(
    *,
    name: str | None = None,
    retry: Retry = ...,
    start_to_close: Duration | None = None,
    schedule_to_close: Duration | None = None,
    schedule_to_start: Duration | None = None,
    heartbeat: Duration | None = None,
    at_most_once: bool = False,
    fallback: Activity[..., Any] | None = None,
    arguments: Literal["checked", "unchecked"] = "checked",
    isolation: Isolation | None = None,
    memory_limit: int | str | None = None,
) -> _ActivityDecorator: ...
def activity(fn: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a function an activity: the place for I/O, chance, time and heavy computing.

    An ``async def`` runs on the engine's loop, a plain function in a thread; either of them in a
    process of its own with ``isolation="process"``. All may run more than once when a process dies
    before their end is recorded: see ``durable.attempt()`` for the key by which an outside service
    can recognise a repeated call.

    Args:
        fn: The function, when used without parentheses.
        name: The stored name; the function's own by default.
        **options: See `Activity.options`.

    Raises:
        DefinitionError: The function cannot be an activity; the message says why.
    """

    def decorate(fn: Callable[..., Any]) -> Activity[..., Any]:
        _check_function(fn, "activity")
        made: Activity[..., Any] = Activity(fn, name=name, policy=ActivityPolicy(), fallback=None)
        made._codec = _codec_by_now(fn, made.name)
        return made.options(**options) if options else made

    return decorate if fn is None else decorate(fn)


@overload
def transaction(fn: Callable[Concatenate[Cursor, P], R], /) -> Activity[P, R]: ...
@overload
def transaction(
    *,
    name: str | None = None,
    retry: Retry = ...,
    start_to_close: Duration | None = None,
    schedule_to_close: Duration | None = None,
    fallback: Activity[..., Any] | None = None,
    arguments: Literal["checked", "unchecked"] = "checked",
) -> _TransactionDecorator: ...
def transaction(fn: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a plain function a step that changes your own tables exactly once.

    It gets a `Cursor` on the engine's file, inside the very transaction that records its result:
    either both are in the file, or neither. What it raises rolls back its own part alone, and is
    retried by its policy. Keep it short: nobody else writes meanwhile. A timeout or a cancel comes
    before it or after it, never in between; one that takes longer than its ``start_to_close`` is
    rolled back. Transactions of one run are done one after the other.

    Args:
        fn: The function, when used without parentheses; its first parameter is the cursor.
        name: The stored name; the function's own by default.
        **options: See `Activity.options`.

    Raises:
        DefinitionError: The function cannot be a transaction; the message says why.
    """

    def decorate(fn: Callable[..., Any]) -> Activity[..., Any]:
        _check_function(fn, "transaction")
        if inspect.iscoroutinefunction(fn):
            raise DefinitionError(
                f"{fn.__qualname__} is async; a transaction holds the file's only writer, so it is "
                "a plain function. Do the waiting in an activity, and pass the result"
            )
        if not inspect.signature(fn).parameters:
            raise DefinitionError(
                f"{fn.__qualname__} takes no parameter; the first one of a transaction is its "
                "cursor"
            )
        made = TransactionStep[..., Any](fn, name=name, policy=ActivityPolicy(), fallback=None)
        made._codec = _codec_by_now(fn, made.name, has_cursor=True)
        return made.options(**options) if options else made

    return decorate if fn is None else decorate(fn)


@overload
def workflow(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    aliases: Sequence[str] = (),
    on_failure: Literal["fail", "pause"] = "fail",
    run_timeout: Duration | None = None,
) -> _WorkflowDecorator: ...
def workflow(
    fn: Any = None,
    /,
    *,
    name: str | None = None,
    aliases: Sequence[str] = (),
    on_failure: Literal["fail", "pause"] = "fail",
    run_timeout: Duration | None = None,
) -> Any:
    """Make an async function a workflow: it runs durably, and survives the process.

    Its code is run again from the start after a crash, with recorded results: it may compute, use
    asyncio and anyio, and call activities, but not touch the outside itself.

    Args:
        fn: The function, when used without parentheses.
        name: The stored name; the function's own by default.
        aliases: Older stored names, so that renamed workflows find their runs.
        on_failure: ``"pause"`` keeps a run open whose code raises, until somebody retries it.
        run_timeout: See `Workflow.options`.

    Raises:
        DefinitionError: The function cannot be a workflow; the message says why.
    """

    def decorate(fn: Callable[..., Any]) -> Workflow[..., Any]:
        _check_function(fn, "workflow")
        if not inspect.iscoroutinefunction(fn):
            raise DefinitionError(f"{fn.__qualname__} is a plain function; a workflow is async def")
        made_options = StartOptions(run_timeout_us=_limit(run_timeout, "run_timeout"))
        made: Workflow[..., Any] = Workflow(
            fn, name=name, aliases=aliases, on_failure=on_failure, start_options=made_options
        )
        made._codec = _codec_by_now(fn, made.name)
        if not made.is_local:
            register(made, _registry)
        return made

    return decorate if fn is None else decorate(fn)


def register(made: Workflow[Any, Any], registry: dict[str, list[Workflow[Any, Any]]]) -> None:
    """Add a workflow under its names; a new definition of the same function replaces the old."""
    for name in (made.name, *made.aliases):
        known = registry.setdefault(name, [])
        known[:] = [one for one in known if not _same_function(one, made)] + [made]


def _same_function(one: Workflow[Any, Any], other: Workflow[Any, Any]) -> bool:
    a, b = one.fn, other.fn
    return a is b or (
        (a.__module__, a.__qualname__) == (b.__module__, b.__qualname__)
        and a.__code__.co_filename == b.__code__.co_filename
        and not one.is_local
    )


def candidates() -> Mapping[str, Sequence[Workflow[Any, Any]]]:
    """Return every module-level workflow of this process by stored name."""
    return _registry
