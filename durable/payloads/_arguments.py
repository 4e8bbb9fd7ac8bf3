"""The codec of a function: its arguments as passed, by its signature, and its result."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import msgspec

from durable.errors import PayloadError
from durable.payloads._codec import Codec, codec_for
from durable.payloads._documents import encode_document
from durable.payloads._fingerprints import encode_canonical, fingerprint
from durable.payloads._hints import awaited, namespaces_of, resolve, typed_dict_fields
from durable.payloads._json import (
    decode_call,
    decode_hook,
    decode_raw_array,
    encode_json,
    encode_non_finite,
    has_non_finite,
    parse_non_finite,
)
from durable.payloads._members import SCALARS
from durable.payloads._parts import PART_BYTES

# Calls of more positional arguments are decoded one by one; a decoder for each would never pay off.
ARITIES_CACHED_MAX = 32


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
    _compares: bool = attrs.field(init=False)
    _arity: int = 0
    _decoders: dict[int, Callable[[bytes | str], Any]] = attrs.field(factory=dict)

    @decode_result.default
    def _bind_decode_result(self) -> Callable[[bytes | str], Any]:
        return self.result.decode

    @_compares.default
    def _find_compares(self) -> bool:
        others = [one for one in (self._variadic, self._keywords) if one is not None]
        return any(one.compares for one in (*self._positional, *self._by_name.values(), *others))

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
            data = encode_json(args)
            if b"null" in data and has_non_finite(args):
                data = encode_non_finite(args)
        except Exception as error:
            raise self._refusal(args, kwargs, error) from error
        for index in self._untyped:
            if index >= count:
                break
            if type(args[index]) not in SCALARS:
                self._positional[index]._check(args[index])
        if count > len(self._positional):
            self._check_variadic(args)
        if self._compares:
            self._compare(args, kwargs)
        return data

    def decode(self, data: bytes | str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the keyword arguments, by the hints of their parameters.

        Raises:
            PayloadError: They do not fit the function, or are no arguments at all.
        """
        if data[:1] in {b"[", "["}:
            return self._decode_array(data), {}
        try:
            call = decode_call(data)
        except Exception as error:
            if type(error) is not msgspec.DecodeError or (parsed := parse_non_finite(data)) is None:
                raise self._misfit(str(error)) from error
            return self._convert_call(parsed[0])
        args = self._decode_array(bytes(call.args), is_complete=False)
        kwargs = {
            key: self._codec_by_name(key).decode(bytes(raw)) for key, raw in call.kwargs.items()
        }
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
            if type(value) not in SCALARS:
                break
        else:
            if not kwargs or set(map(type, kwargs.values())) <= SCALARS:
                return fingerprint(encoded)
        whole: Any = {"args": args, "kwargs": dict(kwargs)} if kwargs else args
        try:
            return fingerprint(encode_canonical(whole, encoded))
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
            data = encode_json(whole)
            if b"null" in data and has_non_finite(whole):
                data = encode_non_finite(whole)
        except Exception as error:
            raise self._refusal(args, kwargs, error) from error
        for codec, value in self._each(args, kwargs):
            if codec.untyped:
                codec._check(value)
        if self._compares:
            self._compare(args, kwargs)
        return data

    def _compare(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        for codec, value in self._each(args, kwargs):
            if codec.compares:
                codec.compare(value, encode_document(value))

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
                if type(value) not in SCALARS:
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
        if decoder is not None and len(data) <= PART_BYTES:
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
            raws = decode_raw_array(data)
        except Exception as error:
            if type(error) is not msgspec.DecodeError or (parsed := parse_non_finite(data)) is None:
                raise self._misfit(str(error)) from error
            args = self._convert_array(parsed[0])
        else:
            args = tuple(self._codec_at(i).decode(bytes(raw)) for i, raw in enumerate(raws))
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
            self._decoders[count] = msgspec.json.Decoder(whole, dec_hook=decode_hook).decode
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
                encode_json(value)
            except Exception as refused:  # noqa: BLE001 - whatever it is, it is this argument's
                return codec._refusal(value, refused)
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        return PayloadError(f"arguments of {self.name}: $: {reason}")


def _signature_of(fn: Callable[..., Any], *, has_cursor: bool) -> inspect.Signature | None:
    try:
        signature = inspect.signature(fn)
    except ValueError:  # some C functions have none; they take what they take
        return None
    if not has_cursor:
        return signature
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def arguments_codec(
    fn: Callable[..., Any], name: str, *, strict: bool = False, has_cursor: bool = False
) -> ArgumentsCodec:
    """Return the codec of a function's arguments and result, by its signature and type hints.

    Hints that do not resolve count as untyped, each for itself.

    Args:
        fn: Any callable; of an ``async def`` the result is what awaiting it gives.
        name: Its name, for messages.
        strict: Refuse what would come back as another type, instead of warning once.
        has_cursor: Its first parameter is none of the caller's.

    Raises:
        DefinitionError: A parameter or the result has a type that cannot be stored.
    """
    signature = _signature_of(fn, has_cursor=has_cursor)
    if signature is None:
        untyped = codec_for(Any, f"arguments of {name}", strict=strict)
        result = codec_for(Any, f"result of {name}", strict=strict)
        return ArgumentsCodec(name, result, None, (), {}, untyped, untyped, 0, sys.maxsize, ())
    namespace = namespaces_of(fn)
    positional: list[Codec] = []
    by_name: dict[str, Codec] = {}
    variadic = keywords = None
    required = 0
    for parameter in signature.parameters.values():
        hint = resolve(parameter.annotation, *namespace)
        if parameter.kind is parameter.VAR_KEYWORD and typing.get_origin(hint) is typing.Unpack:
            fields = typed_dict_fields(typing.get_args(hint)[0])
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
    return_hint = awaited(resolve(signature.return_annotation, *namespace))
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
