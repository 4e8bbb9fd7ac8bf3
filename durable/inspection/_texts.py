"""What is stored, as people read it; damaged times and texts are shown as such, never raised."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

import msgspec

from durable import _clock
from durable._core.summaries import summary
from durable.errors import UsageError
from durable.payloads import decode_document

PREVIEW_BYTES_MAX = 64 * 1024
_TIME_MIN = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
_TIME_MAX = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)


def check_limit(limit: int, most: int) -> None:
    """Refuse a page of no size, or of too large a one.

    Raises:
        UsageError: It is neither.
    """
    if not 1 <= limit <= most:
        raise UsageError(f"limit is 1 to {most}, not {limit}")


def moment(at_us: int | None) -> dt.datetime | None:
    """Return a stored time that may be missing."""
    return None if at_us is None else time_of(at_us)


def time_of(at_us: int) -> dt.datetime:
    """Return a stored time, UTC."""
    try:
        return _clock.moment(at_us)
    except OverflowError:  # A damaged number is shown as the end, or the beginning, of all time.
        return _TIME_MAX if at_us > 0 else _TIME_MIN


def duration(seconds: float) -> str:
    """Return a duration for people: ``412ms``, ``3.1s``, ``2m 05s``, ``3h 07m``, ``29d 23h``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3_600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3_600}h {whole % 3_600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3_600:02d}h"


def cut(payload: bytes) -> str:
    """Return the text of a payload, at most its first 64 KiB."""
    if len(payload) <= PREVIEW_BYTES_MAX:
        return payload.decode("utf-8", "replace")
    head = payload[:PREVIEW_BYTES_MAX].decode("utf-8", "replace")
    return f"{head}... ({len(payload):,} bytes)"


def decoded_record(text: str) -> dict[str, Any]:
    """Return the object in a JSON text, empty if it has none."""
    try:
        found = decode_document(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def decoded_list(text: str) -> list[str]:
    """Return the texts in a JSON array, none if it is no such array."""
    try:
        return decode_document(text, type=list[str])
    except msgspec.DecodeError:
        return []


def summary_of_payload(payload: bytes) -> str:
    """Return the one line of a stored exception."""
    return summary(decoded_record(payload.decode("utf-8", "replace")))


def decoded_text(text: str) -> str:
    """Return the text in a JSON string; what is none is returned as it is."""
    try:
        return decode_document(text, type=str)
    except msgspec.DecodeError:
        return text


def level_of(level: int | str) -> int:
    """Return the number of a level of the standard library's logging.

    Raises:
        UsageError: There is no such level.
    """
    if isinstance(level, int):
        return level
    if level.isdecimal():
        return int(level[:9])
    found = logging.getLevelNamesMapping().get(level.upper())
    if found is None:
        raise UsageError(f"there is no level {level!r:.60}; say DEBUG, INFO, WARNING or ERROR")
    return found
