"""How large a payload may be, where it is kept then, and how it becomes smaller."""

from __future__ import annotations

import zlib
from typing import Any

from durable.errors import PayloadError, PayloadTooLarge

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
# So much of a payload tells whether it shrinks: to nine tenths at least, or it is kept as it is.
SAMPLE_BYTES, WORTH_IT = 65_536, 0.9


def compress(data: bytes) -> bytes:
    """Return data compressed by zlib at its fastest level; or as they are, where that is little."""
    # Level 1: JSON shrinks to within some 15 % of level 6's size, at three times its speed. What
    # was compressed or encrypted before costs ten times as much, for nothing.
    level = 1
    if len(data) > SAMPLE_BYTES:
        sample = data[len(data) // 2 :][:SAMPLE_BYTES]
        if len(zlib.compress(sample, 1)) > WORTH_IT * len(sample):
            level = 0
    return zlib.compress(data, level)


def decompress(data: bytes, size_max: int) -> bytes:
    """Return what `compress` was given; never holds more than ``size_max`` bytes of it.

    Raises:
        PayloadTooLarge: It is larger than ``size_max``.
        PayloadError: The data are damaged.
    """
    # Both stand in a row of the file, where damage may have left anything.
    if not isinstance(size_max, int) or not 0 <= size_max <= PAYLOAD_BYTES_LIMIT:
        raise PayloadError(
            f"the compressed payload is damaged: it cannot have {size_max!r:.40} bytes"
        )
    if not isinstance(data, bytes):
        raise PayloadError("the compressed payload is damaged: it is none")
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


def check_size(payload: bytes, bytes_max: int, what: str) -> bytes:
    """Return the payload.

    Raises:
        PayloadTooLarge: It is over the limit.
    """
    if len(payload) > bytes_max:
        raise PayloadTooLarge(
            f"{what}: {len(payload):,} bytes are more than the limit of {bytes_max:,}; store the "
            "data elsewhere and pass its name, or raise Limits.payload_bytes_max"
        )
    return payload
