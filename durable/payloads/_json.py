"""Values as JSON text: msgspec, with what it does not know and the numbers that JSON lacks.

msgspec writes NaN and the infinities as ``null``. Where a text has ``null``, the value is scanned
for them and written again by Python's `json`, whose literals msgspec does not read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any

import msgspec

from durable.payloads._members import SCALARS, is_model, members_of

NON_FINITE = (b"NaN", b"Infinity")


# -- the hooks: what msgspec does not know ---------------------------------------------------------


def _encode_hook(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if is_model(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    raise NotImplementedError


class _Whatever(type):
    """msgspec asks whether what a hook made is of the class that stands in the hint."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class StandIn(metaclass=_Whatever):
    """Stands in a hint for a type that msgspec does not take.

    Attributes:
        read: Makes a value of parsed JSON.
        inner: The hints by which the parts of the value are read.
        compares: A value may look like one of another of its types, so what is written is read
            again and compared.
    """

    read: Callable[[Any], Any]
    inner: list[Any]
    compares: bool


def stand_in(
    name: str, read: Callable[[Any], Any], inner: list[Any], *, compares: bool = False
) -> Any:
    """Make what stands for a type; messages show it by the name. See `StandIn`."""
    body = {"read": staticmethod(read), "inner": inner, "compares": compares}
    made = _Whatever(name, (StandIn,), body)
    made.__module__ = "builtins"
    return made


def decode_hook(cls: type[Any], data: Any) -> Any:
    """Make what msgspec does not: paths, pydantic models, and what has a stand-in."""
    if issubclass(cls, StandIn):
        return cls.read(data)
    if issubclass(cls, PurePath):
        if not isinstance(data, str):
            raise TypeError(f"Expected a path as `str`, got `{type(data).__name__}`")
        return cls(data)
    if is_model(cls):
        return cls.model_validate(data)
    raise NotImplementedError


encode_json = msgspec.json.Encoder(enc_hook=_encode_hook).encode
encode_sorted = msgspec.json.Encoder(enc_hook=_encode_hook, order="deterministic").encode
decode_raw_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Call(msgspec.Struct):
    """Arguments with keywords, as stored; their values are decoded by the parameters' hints."""

    args: msgspec.Raw
    kwargs: dict[str, msgspec.Raw]


decode_call = msgspec.json.Decoder(Call).decode


def as_builtins(value: Any) -> Any:
    """Return the value as the plain data that its JSON text would hold."""
    return msgspec.to_builtins(value, enc_hook=_encode_hook, str_keys=True)


# -- NaN and the infinities ------------------------------------------------------------------------


def has_non_finite(value: Any) -> bool:
    """Return whether NaN or an infinity is anywhere in the value."""
    kind = type(value)
    if kind is float:
        return not math.isfinite(value)
    if kind in SCALARS:
        return False
    if kind is dict:
        members: Iterable[Any] = value.values()
    elif kind is list or kind is tuple:
        members = value
    elif (children := members_of(value)) is None:
        # A float subclass is no float to us; msgspec and json would write it all the same.
        return isinstance(value, float) and not math.isfinite(value)
    else:
        return any(has_non_finite(member) for _, member in children)
    kinds = set(map(type, members))
    if kinds <= SCALARS:
        return float in kinds and not all(
            math.isfinite(member) for member in members if type(member) is float
        )
    return any(has_non_finite(member) for member in members)


def encode_non_finite(value: Any) -> bytes:
    """Return the JSON text of a value that has NaN or infinities."""
    # msgspec.to_builtins keeps NaN as it is (only msgspec's JSON encoder writes null).
    return dump_non_finite(as_builtins(value))


def dump_non_finite(data: Any) -> bytes:
    """Return the JSON text of plain data that may have NaN or infinities."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def parse_non_finite(data: bytes | str) -> tuple[Any] | None:
    """Return the data of a text with NaN or infinities, which msgspec does not read."""
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else data
    if not any(literal in raw for literal in NON_FINITE):
        return None
    try:
        return (json.loads(data),)
    except (ValueError, RecursionError):
        return None
