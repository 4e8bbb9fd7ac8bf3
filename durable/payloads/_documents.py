"""The library's own JSON: reasons, headers, plans, answers of the pages.

What users hand over stands within some of it (the output a step is to have, a signal for many
runs), so NaN and the infinities are written and read here as in payloads. Nobody outside this
package calls msgspec's JSON functions, which know neither; held by tests/house/test_layers.py.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import msgspec

from durable.payloads._json import (
    dump_non_finite,
    encode_json,
    encode_non_finite,
    has_non_finite,
    parse_non_finite,
)

T = TypeVar("T")


def encode_document(value: object) -> bytes:
    """Return plain data and `msgspec.Struct` objects as JSON text in UTF-8."""
    data = encode_json(value)
    if b"null" in data and value is not None and has_non_finite(value):
        return encode_non_finite(value)
    return data


def encode_for_browsers(value: object) -> bytes:
    """Return the value as JSON text that each JSON parser reads: NaN and infinities are null."""
    return encode_json(value)


@overload
def decode_document(data: bytes | str) -> Any: ...
@overload
def decode_document(data: bytes | str, type: type[T]) -> T: ...
@overload
def decode_document(data: bytes | str, type: Any) -> Any: ...
def decode_document(data: bytes | str, type: Any = Any) -> Any:
    """Return what a JSON text holds, by its type if one is given.

    Raises:
        msgspec.DecodeError: It is no JSON, nested too deep, or of another type
            (`msgspec.ValidationError`).
        UnicodeDecodeError: It is no UTF-8.
    """
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if (parsed := parse_non_finite(data)) is None:
            raise
        return msgspec.convert(_with_raws(parsed[0], type), type, str_keys=True)
    except RecursionError:
        raise _too_deep() from None


def document_decoder(type: Any) -> Callable[[bytes], Any]:
    """Return the fastest way to read many texts of one type; they have no NaN, no infinities.

    It raises as `decode_document` does.
    """
    decode = msgspec.json.Decoder(type).decode

    def decoded(data: bytes) -> Any:
        try:
            return decode(data)
        except RecursionError:
            raise _too_deep() from None

    return decoded


def _too_deep() -> msgspec.DecodeError:
    return msgspec.DecodeError("it is nested too deep")


def schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type."""
    return msgspec.json.schema(hint)


def schemas_of(
    hints: Sequence[Any], ref_template: str = "#/$defs/{name}"
) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
    """Return the JSON Schemas of some types, and the components that they share."""
    return msgspec.json.schema_components(hints, ref_template=ref_template)


def _with_raws(data: Any, hint: Any) -> Any:
    """Return parsed data with the text of each part that is to stay text.

    msgspec makes a Raw out of JSON text only, and not out of what Python's `json` has parsed.
    """
    if hint is msgspec.Raw:
        return msgspec.Raw(dump_non_finite(data))
    if not isinstance(data, dict):
        return data
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        kinds = {field.encode_name: field.type for field in msgspec.structs.fields(hint)}
        return {key: _with_raws(value, kinds.get(key)) for key, value in data.items()}
    if typing.get_origin(hint) is dict:
        return {key: _with_raws(value, typing.get_args(hint)[1]) for key, value in data.items()}
    members = [one for one in typing.get_args(hint) if one is not type(None)]
    return _with_raws(data, members[0]) if len(members) == 1 else data
