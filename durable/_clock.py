"""Time and chance: the one door.

Law: no other module reads a clock, draws a random number or makes an id. That is what lets a test
move time by hand, and what keeps replays free of the host's clock.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import time
from typing import Protocol

__all__ = [
    "Clock",
    "Random",
    "SystemClock",
    "moment",
    "new_id",
    "new_salt",
    "since_epoch_us",
    "steady_s",
    "uniform",
]

Random = random.Random
uniform = random.uniform

# CLOCK_BOOTTIME goes on while the machine is suspended, CLOCK_MONOTONIC does not (Linux).
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def moment(at_us: int) -> dt.datetime:
    """Return microseconds since the epoch as a moment, UTC.

    Raises:
        OverflowError: It is before year 1, or after year 9999.
    """
    return _EPOCH + dt.timedelta(microseconds=at_us)


def since_epoch_us(at: dt.datetime) -> int:
    """Return a moment, which has a zone, as microseconds since the epoch."""
    return (at - _EPOCH) // dt.timedelta(microseconds=1)


def wall_s() -> float:
    """Return seconds since the epoch: for moments that others name, as in an HTTP header."""
    return time.time()


def steady_s() -> float:
    """Return seconds since some moment of this boot: to see how long something takes."""
    return time.monotonic()


class Clock(Protocol):
    """What the engine asks about time. All numbers are integer microseconds."""

    def wall_us(self) -> int:
        """Microseconds since the epoch, UTC; may jump."""
        ...

    def steady_us(self) -> int:
        """Microseconds since some fixed moment of this boot; never jumps, counts suspension."""
        ...

    def jump(self, due_us: int) -> bool:
        """The engine is idle until ``due_us``: a manual clock may go there and say True."""
        ...


class SystemClock:
    """The host's clocks."""

    def wall_us(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1000

    def steady_us(self) -> int:
        """See `Clock`."""
        return time.clock_gettime_ns(_STEADY) // 1000

    def jump(self, due_us: int) -> bool:
        """See `Clock`: real time cannot be moved."""
        del due_us
        return False


def new_id(now_us: int) -> str:
    """Return a run id of 17 characters: 10 of time in milliseconds, so that ids sort, 7 of chance.

    Crockford's base 32 in lower case: no letter is taken for a digit.
    """
    number = (now_us // 1000) << 35 | int.from_bytes(os.urandom(5), "big") & (1 << 35) - 1
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(80, -1, -5))


def new_salt() -> int:
    """Return 53 bits of chance: the salt of a run's hashes and random streams."""
    return int.from_bytes(os.urandom(7), "big") >> 3
