"""Spans of time as people and servers write them: pure parsing, whose errors are `ValueError`.

What is public raises `durable.errors.UsageError` instead: `durable.policies.duration_us`, and
`durable.RetryAfter`, which is an error itself and so stands below the policies.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime

from durable._clock import wall_s

__all__ = ["RETRY_AFTER_S_MAX", "Duration", "is_negative", "microseconds_of", "retry_after_s"]

Duration = float | timedelta | str
"""Seconds, a `timedelta`, or text such as ``"30s"``, ``"1h30m"``, ``"2d"``, ``"500ms"``."""

# 10,000 years: beyond it datetime cannot show the moment any more.
DURATION_US_MAX = 10_000 * 365 * 86_400 * 1_000_000
_UNIT_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)")


def microseconds_of(value: Duration, what: str) -> int:
    """Return the duration in whole microseconds, rounded up; negative durations count as 0.

    Raises:
        ValueError: It is no duration, not finite, or longer than 10,000 years.
    """
    if isinstance(value, timedelta):
        microseconds = value // timedelta(microseconds=1)
    elif isinstance(value, str):
        text = value.replace(" ", "")
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(
                f"{what}: {value!r} is no duration; write seconds, a timedelta or text such as "
                '"30s", "1h30m" or "2d"'
            )
        whole = sum(float(number) * _UNIT_US[unit] for number, unit in parts)
        microseconds = math.ceil(min(whole, DURATION_US_MAX + 1))
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what}: {value!r} is no duration; write seconds, a timedelta or text")  # noqa: TRY004  one kind for all
    elif isinstance(value, int) and abs(value) > DURATION_US_MAX:  # No float may hold it.
        microseconds = DURATION_US_MAX + 1 if value > 0 else 0
    elif not math.isfinite(value):
        raise ValueError(f"{what}: {value!r} is not finite; leave it out for no limit")
    else:
        microseconds = math.ceil(value * 1_000_000)
    if microseconds > DURATION_US_MAX:
        raise ValueError(f"{what}: {shortened(value)} is longer than 10,000 years")
    return max(0, microseconds)


def is_negative(value: Duration) -> bool:
    """Return whether a duration is less than 0, which `microseconds_of` takes as 0."""
    if isinstance(value, timedelta):
        return value < timedelta()
    return isinstance(value, int | float) and value < 0


def shortened(value: object) -> str:
    """Return a value as a message shows it: repr of a huge int raises, and text may be long."""
    if isinstance(value, int) and abs(value) > DURATION_US_MAX:
        return f"an int of {value.bit_length()} bits"
    return f"{value!r:.80}"


RETRY_AFTER_S_MAX = 100 * 365 * 86_400
"""A hundred years: a longer wait is a mistake, and the moment could not be shown."""


def retry_after_s(value: Duration) -> float:
    """Return how long a `RetryAfter` waits, in seconds.

    Raises:
        ValueError: It is neither a duration of 0 to 100 years nor what ``Retry-After`` may hold.
    """
    wait_s = _said_by_server(value) if isinstance(value, str) else None
    if wait_s is None:
        if is_negative(value):
            raise ValueError(f"RetryAfter: {shortened(value)} is less than 0")
        try:
            wait_s = microseconds_of(value, "RetryAfter") / 1e6
            if isinstance(value, float):  # As it is, so that what was kept is kept again.
                wait_s = value
        except ValueError as error:
            raise ValueError(
                f"RetryAfter: {shortened(value)} is no wait; pass seconds, a timedelta, text such "
                'as "30s", or the text of a Retry-After header (a number or an HTTP date)'
            ) from error
    if wait_s > RETRY_AFTER_S_MAX:
        raise ValueError(f"RetryAfter: {shortened(value)} is longer than 100 years")
    return wait_s


def _said_by_server(text: str) -> float | None:
    """Return the wait of a ``Retry-After`` header; None if the text is none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if at.tzinfo is None:  # "-0000" means that the zone is not known; a server means UTC.
        at = at.replace(tzinfo=UTC)
    return max(0.0, at.timestamp() - wall_s())
