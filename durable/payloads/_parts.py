"""Large texts are decoded part by part.

msgspec holds the interpreter's lock from the first byte of a text to its last: a list of 200,000
dicts (10 MB) stops all threads for 70 ms, whichever thread decodes it. Part by part the lock is
free between two members. Finding where the members begin and end takes a fifth of the whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, get_args, get_origin

import msgspec

from durable.payloads._json import decode_hook

# Below, decoding takes less than a millisecond. Also what one part may have.
PART_BYTES = 64 * 1024
# Containers in containers of which no member is small; deeper ones are decoded whole.
PARTS_DEPTH_MAX = 8
_HINTS_CACHED_MAX = 4_096

_list_of = msgspec.json.Decoder(list[msgspec.Raw]).decode
_dict_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def has_parts(hint: Any) -> bool:
    """Say whether values of a hint are decoded part by part, and not in one piece."""
    return _members(hint)[0] is not None


def decode_by_parts(hint: Any, data: bytes | str | msgspec.Raw, depth: int = 0) -> Any:
    """Return what a decoder of the hint makes of the text.

    Any exception means that the text has to be decoded whole: that tells what is wrong with it, and
    where.
    """
    container, member = _members(hint)
    if container is None or depth == PARTS_DEPTH_MAX:
        return _decoder(hint)(data)
    start = bytes(memoryview(data)[:1]) if not isinstance(data, str) else data[:1].encode()
    decode, deeper = _decoder(member), depth + 1
    if start == b"[" and container is not dict:
        parts = _list_of(data)
        if not _are_large(parts):
            return [decode(part) for part in parts]
        return [_part(decode, member, part, deeper) for part in parts]
    if start == b"{" and container is not list:
        named = _dict_of(data)
        if not _are_large(named.values()):
            return {name: decode(part) for name, part in named.items()}
        return {name: _part(decode, member, part, deeper) for name, part in named.items()}
    return _decoder(hint)(data)


def _are_large(parts: Any) -> bool:
    return any(memoryview(part).nbytes > PART_BYTES for part in parts)


def _part(decode: Callable[[Any], Any], hint: Any, part: msgspec.Raw, depth: int) -> Any:
    if memoryview(part).nbytes > PART_BYTES:
        return decode_by_parts(hint, part, depth)
    return decode(part)


@functools.lru_cache(maxsize=_HINTS_CACHED_MAX)
def _members(hint: Any) -> tuple[Any, Any]:
    """Return which container a value of the hint is (`Any` for either), and its members' hint."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return Any, Any
    if hint in {list, dict}:
        return hint, Any
    if origin is list and len(args) == 1:
        return list, args[0]
    if origin is dict and args[:1] == (str,):
        return dict, args[1]
    return None, None


@functools.lru_cache(maxsize=_HINTS_CACHED_MAX)
def _decoder(hint: Any) -> Callable[[Any], Any]:
    decode: Callable[[Any], Any] = msgspec.json.Decoder(hint, dec_hook=decode_hook).decode
    return decode
