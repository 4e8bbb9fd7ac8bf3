"""Payloads: arguments, results and messages as JSON text, by their type hints.

Laws of this module:

- What `Codec.encode` accepts, `Codec.decode` gives back equal, or one of the two raises
  `PayloadError`. Nothing else is raised for a value, however odd it is. The exception is said
  aloud: an untyped tuple, set, ``bytes`` or non-text key comes back as plain JSON, with a warning.
- A value is not compared with its hint when it is encoded. The library decodes at once whatever it
  encoded, so a mismatch shows at the call that made it, as a `PayloadError` from `decode`.
- NaN and the infinities survive. msgspec writes them as ``null``, so where ``null`` occurs in the
  text the value is scanned, and stored with the literals of Python's `json` if it has any.
- A fingerprint depends on the value alone: never on the hash seed or on insertion order.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import sys
import types
import typing
import warnings
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, ForwardRef, NoReturn

import attrs
import msgspec
import msgspec.inspect

from durable.errors import DefinitionError, PayloadError, PayloadTooLarge

__all__ = [
    "INLINE_BYTES_MAX",
    "PAYLOAD_BYTES_LIMIT",
    "PAYLOAD_BYTES_MAX",
    "ArgumentsCodec",
    "Codec",
    "DurablePayloadWarning",
    "arguments_codec",
    "checksum",
    "codec_for",
    "compress",
    "decompress",
    "fingerprint",
    "seems_large",
]

# Larger payloads leave their row for a compressed blob, and the loop's thread for another one:
# about 0.1 ms of encoding and hashing, the most that one step may take from all other runs.
INLINE_BYTES_MAX = 32 * 1024
# The default limit. A payload is held several times while it is stored (value, text, compressed).
PAYLOAD_BYTES_MAX = 64 * 1024 * 1024
# SQLite's default SQLITE_MAX_LENGTH bounds a whole row; 1 MiB is left for the row's other columns.
# Source: sqlite.org/limits.html, item 1.
PAYLOAD_BYTES_LIMIT = 1_000_000_000 - 1024 * 1024
# A container of more members may take longer than INLINE_BYTES_MAX of text to encode.
LARGE_MEMBERS = 1_000
# A program has some hundred hints; the limit only matters where classes are made in a loop.
CODECS_CACHED_MAX = 4_096
# Calls of more positional arguments are decoded one by one; a decoder for each would never pay off.
ARITIES_CACHED_MAX = 32
# Only bounds error messages: what nests deeper is named by its beginning.
DEPTH_SHOWN_MAX = 100
SHOWN_CHARACTERS_MAX = 120

_SCALARS = frozenset({str, int, float, bool, types.NoneType})
_SORTABLE = (frozenset({str}), frozenset({int}), frozenset({bytes}))
_NON_FINITE = (b"NaN", b"Infinity")


class DurablePayloadWarning(UserWarning):
    """An untyped value comes back as another type; the message names the annotation to add."""


# -- the hooks: what msgspec does not know ---------------------------------------------------------


def _pydantic_model() -> type[Any] | None:
    # Asked of sys.modules: whoever has a model has imported pydantic, and nobody else pays for it.
    model = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return model if isinstance(model, type) else None


def _is_model(cls: type[Any]) -> bool:
    model = _pydantic_model()
    return model is not None and issubclass(cls, model)


def _enc_hook(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if _is_model(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    raise NotImplementedError


def _dec_hook(cls: type[Any], data: Any) -> Any:
    if issubclass(cls, PurePath):
        if not isinstance(data, str):
            raise TypeError(f"Expected a path as `str`, got `{type(data).__name__}`")
        return cls(data)
    if _is_model(cls):
        return cls.model_validate(data)
    raise NotImplementedError


_encode = msgspec.json.Encoder(enc_hook=_enc_hook).encode
_encode_sorted = msgspec.json.Encoder(enc_hook=_enc_hook, order="deterministic").encode
_decode_raw_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Call(msgspec.Struct):
    args: msgspec.Raw
    kwargs: dict[str, msgspec.Raw]


_decode_call = msgspec.json.Decoder(_Call).decode


def _builtins(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=_enc_hook, str_keys=True)


# -- walks over a value ----------------------------------------------------------------------------


def _field_names(cls: type[Any]) -> tuple[str, ...] | None:
    """Return the names of the fields of an attrs, dataclass or Struct class, else None."""
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_fields__
    if (attributes := getattr(cls, "__attrs_attrs__", None)) is not None:
        return tuple(attribute.name for attribute in attributes)
    if (fields := getattr(cls, "__dataclass_fields__", None)) is not None:
        return tuple(fields)
    return None


def _step(key: object) -> str:
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f"[{_shown(key)}]"
    return f"[{_shown(key)}]"


def _children(value: Any) -> Iterator[tuple[str, Any]] | None:
    """Yield what a value holds, as (step of the path, member); None if it holds nothing."""
    if isinstance(value, Mapping):
        return ((_step(key), member) for key, member in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((f"[{index}]", member) for index, member in enumerate(value))
    if (names := _field_names(type(value))) is not None:
        return ((f".{name}", getattr(value, name)) for name in names if hasattr(value, name))
    if _is_model(type(value)):
        return iter([("", value.model_dump(by_alias=True))])
    return None


def _has_non_finite(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return not math.isfinite(value)
    if kind in _SCALARS:
        return False
    if kind is dict:
        members: Iterable[Any] = value.values()
    elif kind is list or kind is tuple:
        members = value
    elif (children := _children(value)) is None:
        # A float subclass is no float to us; msgspec and json would write it all the same.
        return isinstance(value, float) and not math.isfinite(value)
    else:
        return any(_has_non_finite(member) for _, member in children)
    kinds = set(map(type, members))
    if kinds <= _SCALARS:
        return float in kinds and not all(
            math.isfinite(member) for member in members if type(member) is float
        )
    return any(_has_non_finite(member) for member in members)


def _changes(value: Any, path: str) -> str | None:
    """Return the path and kind of the first member that plain JSON would change."""
    kind = type(value)
    if kind in _SCALARS:
        return None
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return f"{path} has the key {_shown(key)}, which comes back as text"
        members = value.values()
        steps: Iterable[Any] = value
    elif kind is list:
        members = value
        steps = range(len(value))
    else:
        return f"{path} is a {kind.__qualname__}, which comes back as {_becomes(value)}"
    if set(map(type, members)) <= _SCALARS:
        return None
    for step, member in zip(steps, members, strict=True):
        if type(member) not in _SCALARS:
            found = _changes(member, path + _step(step))
            if found is not None:
                return found
    return None


def _becomes(value: Any) -> str:
    try:
        name = type(_builtins(value)).__name__
    except Exception:  # noqa: BLE001 - a message about a value that is refused anyway
        return "something else"
    return {"dict": "a dict", "list": "a list", "tuple": "a list", "str": "text"}.get(
        name, f"{name}"
    )


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a repr of the user's may raise anything
        text = f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"
    if len(text) > SHOWN_CHARACTERS_MAX:
        text = text[: SHOWN_CHARACTERS_MAX - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode()


def _refused(value: Any, path: str, above: tuple[int, ...]) -> str | None:
    """Return why the first member that cannot be encoded cannot, with its path."""
    if id(value) in above:
        return f"{path}: {type(value).__qualname__} contains itself"
    if len(above) >= DEPTH_SHOWN_MAX:
        return f"{path}: nested too deep"
    children = _children(value)
    if children is None:
        return _refused_leaf(value, path)
    if isinstance(value, Mapping):
        for key in value:
            try:
                _encode({key: None})
            except Exception:  # noqa: BLE001 - whatever the reason, this key is the culprit
                return (
                    f"{path}: the key {_shown(key)} cannot be stored; "
                    "keys are text, numbers, dates, UUIDs or enums"
                )
    for step, member in children:
        if (found := _refused(member, path + step, (*above, id(value)))) is not None:
            return found
    # All members pass, the whole does not: a class of its own kind, as a Mapping that is no dict.
    return _refused_leaf(value, path) if type(value) not in {dict, list, tuple, set} else None


def _refused_leaf(value: Any, path: str) -> str | None:
    try:
        _encode(value)
    except UnicodeEncodeError:
        return f"{path}: {_shown(value)} has a lone surrogate, which UTF-8 cannot hold; encode it"
    except (ValueError, OverflowError) as error:
        return f"{path}: {_shown_safely(value)} cannot be stored: {error}"
    except Exception:  # noqa: BLE001 - hooks and properties of the user's may raise anything
        return (
            f"{path}: {_shown(value)} cannot be stored; "
            "return plain data or add a type msgspec knows"
        )
    return None


def _shown_safely(value: Any) -> str:
    # repr of a huge int raises ValueError itself.
    if isinstance(value, int):
        return f"an int of {value.bit_length()} bits"
    return _shown(value)


# -- one type --------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Codec:
    """Encodes and decodes the values of one type hint. Made by `codec_for`; safe in any thread.

    Attributes:
        hint: The hint; ``Any`` for untyped.
        where: What the values are, for messages: ``"result of fetch"``.
        strict: Refuse what would come back changed, instead of warning.
        untyped: The hint says nothing about some position, and nothing but plain JSON elsewhere.
    """

    hint: Any
    where: str
    strict: bool
    untyped: bool
    _decode: Callable[[bytes | str], Any]
    _has_warned: bool = False

    def encode(self, value: Any) -> bytes:
        """Return the value as JSON text in UTF-8.

        The value is not checked against the hint: a mismatch shows when the text is decoded.

        Raises:
            PayloadError: It cannot be stored; the message has the path of the culprit.
        """
        try:
            data = _encode(value)
            if b"null" in data and value is not None and _has_non_finite(value):
                data = _encode_non_finite(value)
        except Exception as error:
            raise self._refusal(value, error) from error
        if self.untyped and type(value) not in _SCALARS:
            self._check(value)
        return data

    def decode(self, data: bytes | str) -> Any:
        """Return the value of a text that `encode` made.

        Raises:
            PayloadError: The text is no JSON, or does not fit the hint.
        """
        try:
            return self._decode(data)
        except Exception as error:
            if type(error) is msgspec.DecodeError and (value := _loads(data)) is not None:
                return self.convert(value[0])
            raise self._misfit(error) from error

    def convert(self, data: Any) -> Any:
        """Return the value of JSON data that are parsed already.

        Raises:
            PayloadError: They do not fit the hint.
        """
        try:
            return msgspec.convert(data, self.hint, dec_hook=_dec_hook, str_keys=True)
        except Exception as error:
            raise self._misfit(error) from error

    def changes(self, value: Any) -> str | None:
        """Return the path and kind of the first member that would come back as another type."""
        if not self.untyped or type(value) in _SCALARS:
            return None
        return _changes(value, "$")

    def _check(self, value: Any) -> None:
        if self._has_warned or (found := _changes(value, "$")) is None:
            return
        advice = "annotate it (as in `tuple[int, str]`, `set[str]` or a dataclass) to keep its type"
        message = f"{self.where} is not fully typed: {found}; {advice}"
        if self.strict:
            raise PayloadError(message)
        self._has_warned = True
        warnings.warn(message, DurablePayloadWarning, stacklevel=3)

    def _refusal(self, value: Any, error: Exception) -> PayloadError:
        try:
            found = _refused(value, "$", ())
        except Exception as other:  # noqa: BLE001 - properties and reprs of the user's may raise
            found = f"$: {type(other).__name__} while looking for what cannot be stored"
        if found is None:
            if isinstance(error, RecursionError):
                found = "$: nested too deep"
            else:
                found = f"$: {type(value).__qualname__} cannot be stored: {error}"
        return PayloadError(f"{self.where}: {found}")

    def _misfit(self, error: Exception) -> PayloadError:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        if self.hint is Any:
            return PayloadError(f"{self.where}: the stored text is damaged: {reason}")
        return PayloadError(
            f"{self.where}: the value does not fit the type {_hint_text(self.hint)}: {reason}"
        )


def _encode_non_finite(value: Any) -> bytes:
    # msgspec.to_builtins keeps NaN as it is (only msgspec's JSON encoder writes null).
    text = json.dumps(_builtins(value), ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def _loads(data: bytes | str) -> tuple[Any] | None:
    """Return the data of a text with NaN or infinities, which msgspec does not read."""
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else data
    if not any(literal in raw for literal in _NON_FINITE):
        return None
    try:
        return (json.loads(data),)
    except (ValueError, RecursionError):
        return None


def _hint_text(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__qualname__
    return str(hint).replace("typing.", "")


def codec_for(hint: object, where: str, *, strict: bool = False) -> Codec:
    """Return the codec of a type hint, made once.

    Args:
        hint: A type hint; ``Any``, ``object``, a missing hint (`inspect.Parameter.empty`) and a
            forward reference that nobody resolved mean untyped plain JSON.
        where: What the values are, for messages: ``"result of fetch"``.
        strict: Refuse what would come back as another type, instead of warning once.

    Raises:
        DefinitionError: No value of that hint could be decoded; the message says what to do.
    """
    try:
        hash(hint)
    except TypeError:
        return _make_codec(hint, where, strict)
    return _cached_codec(hint, where, strict)


def _make_codec(hint: Any, where: str, strict: bool) -> Codec:
    known = _known_hint(hint)
    decode, untyped = _decoder_of(known, where)
    return Codec(known, where, strict, untyped, decode)


_cached_codec = functools.lru_cache(maxsize=CODECS_CACHED_MAX)(_make_codec)
_UNTYPED_HINTS: tuple[Any, ...] = (Any, object, inspect.Parameter.empty, NoReturn, typing.Never)


def _known_hint(hint: Any) -> Any:
    """Return the hint as msgspec takes it; what says nothing about the value becomes ``Any``."""
    if any(hint is untyped for untyped in _UNTYPED_HINTS):
        return Any
    if hint is typing.Self or isinstance(
        hint, str | ForwardRef | typing.ParamSpecArgs | typing.ParamSpecKwargs
    ):
        return Any
    return Any if _has_forward_reference(hint) else hint


def _has_forward_reference(hint: Any) -> bool:
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


def _decoder_of(hint: Any, where: str) -> tuple[Callable[[bytes | str], Any], bool]:
    try:
        decoder = msgspec.json.Decoder(hint, dec_hook=_dec_hook)
        info = msgspec.inspect.type_info(hint)
        foreign = _foreign_class(info, set())
        kinds = set(_plain_kinds(info))
    except NameError as error:
        raise DefinitionError(
            f"{where}: the type {_hint_text(hint)} has a field whose type is not known: {error}; "
            "define that type at module level, where it can be found by its name"
        ) from error
    except Exception as error:
        raise DefinitionError(
            f"{where}: values of type {_hint_text(hint)} cannot be read back: {error}; use another "
            "type, tagged msgspec.Struct classes for unions of classes, or Any for plain JSON"
        ) from error
    if (key := _unreadable_key(info, set())) is not None:
        raise DefinitionError(
            f"{where}: {_hint_text(hint)} has {key} as keys of a dict, and keys are stored as text "
            "that could not be read back; use text, numbers, dates, UUIDs or enums, one kind of "
            "them, or a list of pairs"
        )
    if foreign is not None:
        raise DefinitionError(
            f"{where}: values of type {_hint_text(hint)} cannot be stored: {foreign.__qualname__} "
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
        known = isinstance(cls, type) and (issubclass(cls, PurePath) or _is_model(cls))
        return None if known else cls
    for inner in _inner_types(info):
        if (found := _foreign_class(inner, seen)) is not None:
            return found
    return None


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


# -- the arguments of one function -----------------------------------------------------------------


@attrs.define(eq=False)
class ArgumentsCodec:
    """Encodes and decodes the arguments of one function, as passed. Made by `arguments_codec`.

    Attributes:
        name: The function's name, for messages.
        result: The codec of what it returns.
    """

    name: str
    result: Codec
    _signature: inspect.Signature | None
    _positional: tuple[Codec, ...]
    _by_name: dict[str, Codec]
    _variadic: Codec | None
    _keywords: Codec | None
    _plain_count_min: int
    _plain_count_max: int
    _untyped: tuple[int, ...]
    decode_result: Callable[[bytes | str], Any] = attrs.field(init=False)
    """``result.decode``, bound once: it is asked for at every step."""
    _arity: int = 0
    _decoders: dict[int, Callable[[bytes | str], Any]] = attrs.field(factory=dict)

    @decode_result.default
    def _bind_decode_result(self) -> Callable[[bytes | str], Any]:
        return self.result.decode

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Return the arguments as JSON: an array, or an object with sorted ``kwargs`` if any.

        Defaults are not filled in, so a new parameter with a default changes nothing.

        Raises:
            TypeError: The function cannot be called so.
            PayloadError: An argument cannot be stored; the message has its name and path.
        """
        count = len(args)
        if kwargs or not self._plain_count_min <= count <= self._plain_count_max:
            return self._encode_call(args, kwargs)
        try:
            data = _encode(args)
            if b"null" in data and _has_non_finite(args):
                data = _encode_non_finite(args)
        except Exception as error:
            raise self._refusal(args, kwargs, error) from error
        for index in self._untyped:
            if index >= count:
                break
            if type(args[index]) not in _SCALARS:
                self._positional[index]._check(args[index])
        if count > len(self._positional):
            self._check_variadic(args)
        return data

    def decode(self, data: bytes | str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the keyword arguments, by the hints of their parameters.

        Raises:
            PayloadError: They do not fit the function, or are no arguments at all.
        """
        if data[:1] in {b"[", "["}:
            return self._decode_array(data), {}
        try:
            call = _decode_call(data)
        except Exception as error:
            if type(error) is not msgspec.DecodeError or (parsed := _loads(data)) is None:
                raise self._misfit(str(error)) from error
            return self._convert_call(parsed[0])
        args = self._decode_array(bytes(call.args), is_complete=False)
        kwargs = {key: self._codec_by_name(key).decode(raw) for key, raw in call.kwargs.items()}
        self._check_fit(args, kwargs)
        return args, kwargs

    def fingerprint(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], encoded: bytes) -> int:
        """Return the fingerprint of the arguments: the same in each process for equal arguments.

        Args:
            args: The positional arguments.
            kwargs: The keyword arguments.
            encoded: What `encode` made of them.

        Raises:
            PayloadError: They changed since they were encoded, and cannot be stored any more.
        """
        for value in args:
            if type(value) not in _SCALARS:
                break
        else:
            if not kwargs or set(map(type, kwargs.values())) <= _SCALARS:
                return fingerprint(encoded)
        whole: Any = {"args": args, "kwargs": dict(kwargs)} if kwargs else args
        try:
            return fingerprint(_encode_canonical(whole, encoded))
        except Exception as error:
            raise self._refusal(args, kwargs, error) from error

    def _encode_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        if self._signature is not None:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self.name}(): {error}") from None
        whole: Any = args
        if kwargs:
            whole = {"args": args, "kwargs": {key: kwargs[key] for key in sorted(kwargs)}}
        try:
            data = _encode(whole)
            if b"null" in data and _has_non_finite(whole):
                data = _encode_non_finite(whole)
        except Exception as error:
            raise self._refusal(args, kwargs, error) from error
        for codec, value in self._each(args, kwargs):
            if codec.untyped:
                codec._check(value)
        return data

    def _each(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[tuple[Codec, Any]]:
        for index, value in enumerate(args):
            yield self._codec_at(index), value
        for key, value in kwargs.items():
            yield self._codec_by_name(key), value

    def _check_variadic(self, args: tuple[Any, ...]) -> None:
        if self._variadic is not None and self._variadic.untyped:
            for value in args[len(self._positional) :]:
                if type(value) not in _SCALARS:
                    self._variadic._check(value)

    def _codec_at(self, index: int) -> Codec:
        if index < len(self._positional):
            return self._positional[index]
        if self._variadic is None:
            raise self._misfit(f"it takes {len(self._positional)} positional arguments")
        return self._variadic

    def _codec_by_name(self, key: str) -> Codec:
        codec = self._by_name.get(key, self._keywords)
        if codec is None:
            raise self._misfit(f"it has no parameter {key!r}")
        return codec

    def _decode_array(self, data: bytes | str, *, is_complete: bool = True) -> tuple[Any, ...]:
        decoder = self._decoders.get(self._arity)
        if decoder is not None:
            try:
                args: tuple[Any, ...] = decoder(data)
            except Exception:  # noqa: BLE001, S110 - another count, NaN or a misfit: the slow way tells
                pass
            else:
                if not is_complete or self._plain_count_min <= len(args) <= self._plain_count_max:
                    return args
        return self._decode_array_slowly(data, is_complete=is_complete)

    def _decode_array_slowly(self, data: bytes | str, *, is_complete: bool) -> tuple[Any, ...]:
        """Decode by the count of arguments, and remember that count for the next call."""
        try:
            raws = _decode_raw_array(data)
        except Exception as error:
            if type(error) is not msgspec.DecodeError or (parsed := _loads(data)) is None:
                raise self._misfit(str(error)) from error
            args = self._convert_array(parsed[0])
        else:
            args = tuple(self._codec_at(i).decode(raw) for i, raw in enumerate(raws))
            self._remember(len(args))
        if is_complete:
            self._check_fit(args, {})
        return args

    def _remember(self, count: int) -> None:
        if count > ARITIES_CACHED_MAX:
            return
        if count not in self._decoders:
            hints = tuple(self._codec_at(index).hint for index in range(count))
            whole = tuple[hints] if hints else tuple[()]  # type: ignore[valid-type]
            self._decoders[count] = msgspec.json.Decoder(whole, dec_hook=_dec_hook).decode
        self._arity = count

    def _convert_array(self, data: Any) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise self._misfit("they are no array")
        return tuple(self._codec_at(index).convert(value) for index, value in enumerate(data))

    def _convert_call(self, data: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        match data:
            case {"args": list(values), "kwargs": dict(named)}:
                args = self._convert_array(values)
                kwargs = {key: self._codec_by_name(key).convert(v) for key, v in named.items()}
                self._check_fit(args, kwargs)
                return args, kwargs
            case _:
                raise self._misfit('they are no array, and no object of "args" and "kwargs"')

    def _check_fit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._signature is not None:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise self._misfit(str(error)) from error

    def _misfit(self, reason: str) -> PayloadError:
        return PayloadError(
            f"arguments of {self.name}: what is stored does not fit the function: {reason}"
        )

    def _refusal(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
    ) -> PayloadError:
        for codec, value in self._each(args, kwargs):
            try:
                _encode(value)
            except Exception as refused:  # noqa: BLE001 - whatever it is, it is this argument's
                return codec._refusal(value, refused)
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        return PayloadError(f"arguments of {self.name}: $: {reason}")


def arguments_codec(fn: Callable[..., Any], name: str, *, strict: bool = False) -> ArgumentsCodec:
    """Return the codec of a function's arguments and result, by its signature and type hints.

    Hints that do not resolve count as untyped, each for itself.

    Args:
        fn: Any callable; of an ``async def`` the result is what awaiting it gives.
        name: Its name, for messages.
        strict: Refuse what would come back as another type, instead of warning once.

    Raises:
        DefinitionError: A parameter or the result has a type that cannot be stored.
    """
    try:
        signature = inspect.signature(fn)
    except ValueError:  # some C functions have none; they take what they take
        untyped = codec_for(Any, f"arguments of {name}", strict=strict)
        result = codec_for(Any, f"result of {name}", strict=strict)
        return ArgumentsCodec(name, result, None, (), {}, untyped, untyped, 0, sys.maxsize, ())
    namespace = _namespaces(fn)
    positional: list[Codec] = []
    by_name: dict[str, Codec] = {}
    variadic = keywords = None
    required = 0
    for parameter in signature.parameters.values():
        hint = _resolve(parameter.annotation, *namespace)
        if parameter.kind is parameter.VAR_KEYWORD and typing.get_origin(hint) is typing.Unpack:
            fields = _typed_dict_fields(typing.get_args(hint)[0])
            for key, inner in fields.items():
                where = f"argument {key} of {name}"
                by_name[key] = codec_for(inner, where, strict=strict)
            hint = Any
        elif parameter.kind is parameter.VAR_POSITIONAL and typing.get_origin(hint) is not None:
            hint = Any if typing.get_origin(hint) is typing.Unpack else hint
        codec = codec_for(hint, f"argument {parameter.name} of {name}", strict=strict)
        is_required = parameter.default is parameter.empty
        match parameter.kind:
            case inspect.Parameter.VAR_POSITIONAL:
                variadic = codec
            case inspect.Parameter.VAR_KEYWORD:
                keywords = codec
            case inspect.Parameter.KEYWORD_ONLY:
                by_name[parameter.name] = codec
                # Without keywords the call is wrong: no count is right, `bind` says why.
                required = sys.maxsize if is_required else required
            case kind:
                positional.append(codec)
                required += is_required and required < sys.maxsize
                if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
                    by_name[parameter.name] = codec
    return_hint = _awaited(_resolve(signature.return_annotation, *namespace))
    arguments = ArgumentsCodec(
        name,
        codec_for(return_hint, f"result of {name}", strict=strict),
        signature,
        tuple(positional),
        by_name,
        variadic,
        keywords,
        required,
        sys.maxsize if variadic is not None else len(positional),
        tuple(index for index, each in enumerate(positional) if each.untyped),
    )
    arguments._remember(len(positional))
    return arguments


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


def _namespaces(fn: Any) -> tuple[dict[str, Any], dict[str, Any]]:
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


def _resolve(annotation: Any, globals_: dict[str, Any], locals_: dict[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any

    def probe() -> None: ...

    probe.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(probe, globals_, locals_, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - the text of a hint may raise anything when evaluated
        # What is unknown is untyped; but a hint that was no text is kept for its clear refusal.
        return Any if isinstance(annotation, str) else annotation


def _typed_dict_fields(cls: Any) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(cls)
    except Exception:  # noqa: BLE001 - as in _resolve
        return {}
    return dict(hints)


def _awaited(hint: Any) -> Any:
    """Return T of ``Awaitable[T]`` and ``Coroutine[Any, Any, T]``, else the hint itself."""
    origin = typing.get_origin(hint)
    if origin in {Awaitable, Coroutine}:
        return typing.get_args(hint)[-1]
    return hint


# -- fingerprints and checksums --------------------------------------------------------------------


def fingerprint(data: bytes) -> int:
    """Return a signed 64-bit number (an SQLite integer) that stands for the data."""
    digest = hashlib.blake2b(data, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def checksum(*parts: bytes) -> int:
    """Return the CRC-32 of the parts, one after the other, as a signed 32-bit number."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc - 0x1_0000_0000 if crc >= 0x8000_0000 else crc


def checksum_of_two(first: bytes, second: bytes) -> int:
    """Return ``checksum(first, second)``; once per recorded step, so without its loop."""
    crc = zlib.crc32(second, zlib.crc32(first))
    return crc - 0x1_0000_0000 if crc >= 0x8000_0000 else crc


def _encode_canonical(value: Any, encoded: bytes) -> bytes:
    """Encode so that equal values give equal bytes, whatever the hash seed and insertion order.

    msgspec sorts sets with ``<``, which is no order for frozensets or NaN and none at all for
    objects, and sorts no dict with keys other than text. It writes NaN as None. Which way a value
    goes depends on the value alone.
    """
    if not any(literal in encoded for literal in _NON_FINITE) and not _is_hard_to_sort(value):
        return _encode_sorted(value)
    return json.dumps(_canonical(value), separators=(",", ":")).encode()


def _is_hard_to_sort(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return False
    if kind is dict:
        if not set(map(type, value)) <= {str}:
            return True
        members: Iterable[Any] = value.values()
    elif kind is list or kind is tuple:
        members = value
    elif kind is set or kind is frozenset:
        return len(value) > 1 and frozenset(map(type, value)) not in _SORTABLE
    elif _is_model(kind) or isinstance(value, Mapping):
        return True
    elif (children := _children(value)) is None:
        return False
    else:
        return any(_is_hard_to_sort(member) for _, member in children)
    if set(map(type, members)) <= _SCALARS:
        return False
    return any(_is_hard_to_sort(member) for member in members)


def _canonical(value: Any) -> Any:
    """Return plain data whose JSON text is the same for equal values."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Mapping):
        pairs = ((next(iter(_builtins({key: None}))), _canonical(v)) for key, v in value.items())
        return sorted(([key, member] for key, member in pairs), key=_sorting_text)
    if isinstance(value, list | tuple):
        return [_canonical(member) for member in value]
    if isinstance(value, set | frozenset):
        return sorted(map(_canonical, value), key=_sorting_text)
    if _is_model(type(value)):
        return _canonical(value.model_dump(by_alias=True))
    if _field_names(type(value)) is not None:
        return [[step, _canonical(member)] for step, member in _children(value) or ()]
    return _builtins(value)


def _sorting_text(data: Any) -> str:
    return json.dumps(data)


# -- sizes -----------------------------------------------------------------------------------------


def compress(data: bytes) -> bytes:
    """Return the data compressed, by zlib at its fastest level."""
    # Level 1: JSON shrinks to within some 15 % of level 6's size, at three times its speed.
    return zlib.compress(data, 1)


def decompress(data: bytes, size_max: int) -> bytes:
    """Return what `compress` was given; never holds more than ``size_max`` bytes of it.

    Raises:
        PayloadTooLarge: It is larger than ``size_max``.
        PayloadError: The data are damaged.
    """
    machine = zlib.decompressobj()
    try:
        # One byte over the limit tells "too large" from "exactly as large".
        plain = machine.decompress(data, size_max + 1)
    except zlib.error as error:
        raise PayloadError(f"the compressed payload is damaged: {error}") from error
    if len(plain) > size_max:
        raise PayloadTooLarge(f"the compressed payload holds more than {size_max} bytes")
    if not machine.eof or machine.unused_data:
        raise PayloadError("the compressed payload is damaged: its end is not where it should be")
    return plain


def seems_large(value: Any) -> bool:
    """Guess, quickly, whether encoding the value would hold up the loop's thread."""
    if _is_long(value):
        return True
    if isinstance(value, dict):
        return any(map(_is_long, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_is_long, value))
    return False


def _is_long(value: Any) -> bool:
    if isinstance(value, str | bytes | bytearray | memoryview):
        return len(value) > INLINE_BYTES_MAX
    if isinstance(value, dict | list | tuple | set | frozenset):
        return len(value) > LARGE_MEMBERS
    return False
