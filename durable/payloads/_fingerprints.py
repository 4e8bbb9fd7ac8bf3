"""Numbers that stand for data: fingerprints of values, the same everywhere, and checksums."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from durable.payloads._json import NON_FINITE, as_builtins, encode_sorted
from durable.payloads._members import SCALARS, field_names, is_model, members_of
from durable.payloads._tokens import TOKEN_MARK, without_proofs

_TOKEN_MARK = TOKEN_MARK.encode()
_SORTABLE = (frozenset({str}), frozenset({int}), frozenset({bytes}))


def fingerprint(data: bytes) -> int:
    """Return a signed 64-bit number (an SQLite integer) that stands for the data.

    The proofs of tokens do not count: those of another file are others.
    """
    if _TOKEN_MARK in data:  # Here, and not in there: this is asked once for each step.
        data = without_proofs(data)
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


# -- canonical text --------------------------------------------------------------------------------


def encode_canonical(value: Any, encoded: bytes) -> bytes:
    """Encode so that equal values give equal bytes, whatever the hash seed and insertion order.

    msgspec sorts sets with ``<``, which is no order for frozensets or NaN and none at all for
    objects, and sorts no dict with keys other than text. It writes NaN as None. Which way a value
    goes depends on the value alone.
    """
    if not any(literal in encoded for literal in NON_FINITE) and not _is_hard_to_sort(value):
        return encode_sorted(value)
    return json.dumps(_canonical(value), separators=(",", ":")).encode()


def _is_hard_to_sort(value: Any) -> bool:
    # Layer by layer, not member by member: of a list of 200,000 dicts this takes half the time.
    layer = [value]
    while layer:
        below: list[Any] = []
        for kind in set(map(type, layer)) - SCALARS:
            same = [one for one in layer if type(one) is kind]
            members = _members_of_all(kind, same)
            if members is None:
                return True
            below += members
        layer = below
    return False


def _members_of_all(kind: type[Any], values: list[Any]) -> Iterable[Any] | None:
    """Return what values of one kind hold, but for scalars alone; None if they are hard to sort."""
    if kind is dict:
        if not set(map(type, chain.from_iterable(values))) <= {str}:
            return None
        if set(map(type, chain.from_iterable(map(dict.values, values)))) <= SCALARS:
            return ()
        return chain.from_iterable(map(dict.values, values))
    if kind is list or kind is tuple:
        if set(map(type, chain.from_iterable(values))) <= SCALARS:
            return ()
        return chain.from_iterable(values)
    if kind is set or kind is frozenset:
        sortable = (len(one) < 2 or frozenset(map(type, one)) in _SORTABLE for one in values)
        return () if all(sortable) else None
    if is_model(kind) or issubclass(kind, Mapping):
        return None
    return [member for one in values for _, member in members_of(one) or ()]


def _canonical(value: Any) -> Any:
    """Return plain data whose JSON text is the same for equal values."""
    if type(value) in SCALARS:
        return value
    if isinstance(value, Mapping):
        pairs = ((next(iter(as_builtins({key: None}))), _canonical(v)) for key, v in value.items())
        return sorted(([key, member] for key, member in pairs), key=_sorting_text)
    if isinstance(value, list | tuple):
        return [_canonical(member) for member in value]
    if isinstance(value, set | frozenset):
        return sorted(map(_canonical, value), key=_sorting_text)
    if is_model(type(value)):
        return _canonical(value.model_dump(by_alias=True))
    if field_names(type(value)) is not None:
        return [[step, _canonical(member)] for step, member in members_of(value) or ()]
    return as_builtins(value)


def _sorting_text(data: Any) -> str:
    return json.dumps(data)
