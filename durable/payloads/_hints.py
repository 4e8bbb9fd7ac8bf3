"""Type hints: how they are found on a function, and which of them can be read back."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from pathlib import PurePath
from typing import Any, ForwardRef, NoReturn, TypeVar

import msgspec
import msgspec.inspect

from durable.errors import DefinitionError
from durable.payloads._json import StandIn, decode_hook
from durable.payloads._members import is_model
from durable.payloads._unions import CannotTell, readable, stand_ins

T = TypeVar("T")

_UNTYPED_HINTS: tuple[Any, ...] = (Any, object, inspect.Parameter.empty, NoReturn, typing.Never)
_KEY_TYPES = (
    msgspec.inspect.AnyType,
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.StrType,
    msgspec.inspect.BytesType,
    msgspec.inspect.DateTimeType,
    msgspec.inspect.DateType,
    msgspec.inspect.TimeType,
    msgspec.inspect.TimeDeltaType,
    msgspec.inspect.UUIDType,
    msgspec.inspect.DecimalType,
    msgspec.inspect.EnumType,
    msgspec.inspect.LiteralType,
    msgspec.inspect.CustomType,
)
_PLAIN_TYPES = (
    msgspec.inspect.AnyType,
    msgspec.inspect.NoneType,
    msgspec.inspect.BoolType,
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.StrType,
    msgspec.inspect.ListType,
    msgspec.inspect.DictType,
    msgspec.inspect.UnionType,
    msgspec.inspect.Metadata,
)


# -- what a hint says about its values -------------------------------------------------------------


def hint_text(hint: Any) -> str:
    """Return the hint as people write it."""
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__qualname__
    return str(hint).replace("typing.", "")


def known_hint(hint: Any) -> Any:
    """Return the hint as msgspec takes it; what says nothing about the value becomes ``Any``."""
    if any(hint is untyped for untyped in _UNTYPED_HINTS):
        return Any
    if hint is typing.Self or isinstance(
        hint, str | ForwardRef | typing.ParamSpecArgs | typing.ParamSpecKwargs
    ):
        return Any
    return Any if _has_forward_reference(hint) else hint


def _has_forward_reference(hint: Any) -> bool:
    if isinstance(hint, TypeVar):
        return any(isinstance(one, ForwardRef) for one in (hint.__bound__, *hint.__constraints__))
    origin = typing.get_origin(hint)
    if origin is None or origin is typing.Literal:
        return False
    arguments = typing.get_args(hint)
    if origin is typing.Annotated:
        arguments = arguments[:1]
    is_generic = not isinstance(origin, types.UnionType)
    return any(
        isinstance(argument, ForwardRef)
        or (is_generic and isinstance(argument, str))
        or _has_forward_reference(argument)
        for argument in arguments
    )


def readable_hint(hint: Any, where: str) -> Any:
    """Return the hint with stand-ins for the types in it that msgspec does not take.

    Raises:
        DefinitionError: Of a union two members cannot be told apart.
    """
    try:
        msgspec.json.Decoder(hint, dec_hook=decode_hook)
        if _foreign_class(msgspec.inspect.type_info(hint), set()) is not object:
            return hint
    except Exception:  # noqa: BLE001, S110 - what is refused for another reason is refused below
        pass
    try:
        found = readable(hint, hint_text)
    except CannotTell as error:
        raise DefinitionError(f"{where}: in the type {hint_text(hint)} {error}") from error
    except Exception:  # noqa: BLE001 - as above: hints of the user's may raise anything
        return hint
    for one in stand_ins(found):  # What is in them msgspec sees no more.
        for inner in one.inner:
            decoder_of(inner, where)
    return found


def decoder_of(hint: Any, where: str) -> tuple[Callable[[bytes | str], Any], bool]:
    """Return the decoder of a hint, and whether it says nothing of some position and is else plain.

    Raises:
        DefinitionError: No value of that hint could be decoded.
    """
    try:
        decoder = msgspec.json.Decoder(hint, dec_hook=decode_hook)
        info = msgspec.inspect.type_info(hint)
        foreign = _foreign_class(info, set())
        kinds = set(_plain_kinds(info))
    except NameError as error:
        raise DefinitionError(
            f"{where}: the type {hint_text(hint)} has a field whose type is not known: {error}; "
            "define that type at module level, where it can be found by its name"
        ) from error
    except Exception as error:
        raise DefinitionError(
            f"{where}: values of type {hint_text(hint)} cannot be read back: {error}; use another "
            "type, a dataclass for what holds a union of classes, or Any for plain JSON"
        ) from error
    if (key := _unreadable_key(info, set())) is not None:
        raise DefinitionError(
            f"{where}: {hint_text(hint)} has {key} as keys of a dict, and keys are stored as text "
            "that could not be read back; use text, numbers, dates, UUIDs or enums, one kind of "
            "them, or a list of pairs"
        )
    if foreign is not None:
        raise DefinitionError(
            f"{where}: values of type {hint_text(hint)} cannot be stored: {foreign.__qualname__} "
            "is no plain data; use a dataclass, attrs class or msgspec.Struct, pass an id or path "
            "instead of a live object, or annotate it as Any if it is plain JSON"
        )
    return decoder.decode, msgspec.inspect.AnyType in kinds and types.NoneType not in kinds


def _inner_types(info: Any) -> Iterator[Any]:
    for name in ("key_type", "value_type", "item_type"):
        if isinstance(inner := getattr(info, name, None), msgspec.inspect.Type):
            yield inner
    for name in ("types", "item_types"):
        yield from getattr(info, name, ())
    for field in getattr(info, "fields", ()):
        yield field.type
    if isinstance(info, msgspec.inspect.Metadata):
        yield info.type


def _foreign_class(info: Any, seen: set[int]) -> type[Any] | None:
    """Return a class in the hint that neither msgspec nor our hooks can make."""
    if id(info) in seen:
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        cls: Any = info.cls
        known = isinstance(cls, type) and (issubclass(cls, PurePath | StandIn) or is_model(cls))
        return None if known else cls
    for inner in _inner_types(info):
        if (found := _foreign_class(inner, seen)) is not None:
            return found
    return None


def _unreadable_key(info: Any, seen: set[int]) -> str | None:
    """Return what is used as a key of a dict in the hint and could not be told from its text."""
    if id(info) in seen:
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.DictType):
        key = info.key_type
        while isinstance(key, msgspec.inspect.Metadata):
            key = key.type
        if not isinstance(key, _KEY_TYPES):
            return type(key).__name__.removesuffix("Type").lower()
    for inner in _inner_types(info):
        if (found := _unreadable_key(inner, seen)) is not None:
            return found
    return None


def _plain_kinds(info: Any) -> Iterator[type[Any]]:
    """Yield the kinds in a hint of plain JSON; ``NoneType`` stands for any that is not plain."""
    if not isinstance(info, _PLAIN_TYPES):
        yield types.NoneType
        return
    yield type(info)
    if isinstance(info, msgspec.inspect.DictType) and not isinstance(
        info.key_type, msgspec.inspect.AnyType | msgspec.inspect.StrType
    ):
        yield types.NoneType
    for inner in _inner_types(info):
        yield from _plain_kinds(inner)


# -- the hints of a function -----------------------------------------------------------------------


def namespaces_of(fn: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the globals and the closure variables in which the hints of a callable are written."""
    for _ in range(10):  # a partial of a method of a wrapped function...: each is one step
        inner = _unwrapped(fn)
        if inner is fn:
            break
        fn = inner
    if not isinstance(fn, types.FunctionType):
        return {}, {}
    closure: dict[str, Any] = {}
    for variable, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        try:
            closure[variable] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for parameter in getattr(fn, "__type_params__", ()):
        closure.setdefault(parameter.__name__, parameter)
    return fn.__globals__, closure


def _unwrapped(fn: Any) -> Any:
    if isinstance(fn, functools.partial):
        return fn.func
    if isinstance(fn, types.MethodType):
        return fn.__func__
    if callable(wrapped := getattr(fn, "__wrapped__", None)):
        return wrapped
    if isinstance(fn, type):
        return fn.__init__  # type: ignore[misc]
    return fn if isinstance(fn, types.FunctionType) else type(fn).__call__


def resolve(annotation: Any, globals_: dict[str, Any], locals_: dict[str, Any]) -> Any:
    """Return the hint that an annotation stands for, ``Any`` if it is not known."""
    if annotation is inspect.Parameter.empty:
        return Any

    try:
        return typing.get_type_hints(
            _probe({"it": annotation}), globals_, locals_, include_extras=True
        )["it"]
    except Exception:  # noqa: BLE001 - the text of a hint may raise anything when evaluated
        # What is unknown is untyped; but a hint that was no text is kept for its clear refusal.
        return Any if isinstance(annotation, str) else annotation


def of_known_names(make: Callable[[], T], hints: Iterable[Any]) -> T | None:
    """Return what is made of hints, None if one of their classes names what is defined later.

    Raises:
        DefinitionError: As `make` raises it for any other reason.
    """
    try:
        return make()
    except DefinitionError:
        seen: set[int] = set()
        if any(_names_what_is_missing(hint, seen) for hint in hints):
            return None
        raise


def _names_what_is_missing(hint: Any, seen: set[int]) -> bool:
    """Say whether a hint has a class in it, a field of which has a type that is not known."""
    if id(hint) in seen:
        return False
    seen.add(id(hint))
    if isinstance(hint, str | ForwardRef):
        return True
    inner = list(typing.get_args(hint))
    cls = typing.get_origin(hint) or hint
    if isinstance(cls, type) and cls.__module__ != "builtins":
        try:
            inner += typing.get_type_hints(cls, include_extras=True).values()
        except Exception:  # noqa: BLE001 - as in resolve
            return True
    return any(_names_what_is_missing(one, seen) for one in inner)


def hints_of(fn: Callable[..., Any]) -> list[Any] | None:
    """Return the hints of a callable, None if one of them names what is defined later."""
    try:
        globals_, closure = namespaces_of(fn)
        probe = _probe(fn.__annotations__)
        hints = typing.get_type_hints(probe, globals_, closure, include_extras=True)
    except Exception:  # noqa: BLE001 - as in resolve
        return None
    return list(hints.values())


def _probe(annotations: dict[str, Any]) -> Callable[[], None]:
    def probe() -> None: ...

    probe.__annotations__ = annotations
    return probe


def typed_dict_fields(cls: Any) -> dict[str, Any]:
    """Return the hints of a TypedDict's keys, none if they do not resolve."""
    try:
        hints = typing.get_type_hints(cls)
    except Exception:  # noqa: BLE001 - as in resolve
        return {}
    return dict(hints)


def awaited(hint: Any) -> Any:
    """Return T of ``Awaitable[T]`` and ``Coroutine[Any, Any, T]``, else the hint itself."""
    origin = typing.get_origin(hint)
    if origin in {Awaitable, Coroutine}:
        return typing.get_args(hint)[-1]
    return hint
