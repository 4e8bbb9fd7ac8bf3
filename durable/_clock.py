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
    "CheckedClock",
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
# A zone that was set wrong, or an hour of summer time, is less, and is believed at once.
FAR_US = 86_400_000_000
# What corrects a wrong clock stays; what a bad answer of a time server sets is mended within this.
FAR_JUMP_LASTS_US = 10_000_000
# By so much the wall clock may have been set unseen, when a far jump is doubted.
CHECKED_EVERY_US = 10_000
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


class CheckedClock:
    """Another clock, whose wall time is believed after a far jump only once that has lasted.

    Law: when the wall clock has jumped by more than a day against the steady clock, forward or
    back, the steady clock wins until the wall clock has shown so for ten seconds. One second in
    another year is nowhere recorded, and ends nothing; years that last count.

    Args:
        host: The other clock.

    Attributes:
        host: The other clock.
    """

    def __init__(self, host: Clock) -> None:
        self.host = host
        self._ahead_us = host.wall_us() - host.steady_us()
        """Of the steady clock, as was last believed."""
        self._far_since_us: int | None = None
        self._low_us = self._high_us = 0

    def wall_us(self) -> int:
        """See `Clock`."""
        wall_us = self.host.wall_us()
        # Asked several times a step, and the steady clock is the slow one.
        if self._low_us <= wall_us < self._high_us:
            return wall_us
        return self._check(wall_us)

    def _check(self, wall_us: int) -> int:
        steady_us = self.host.steady_us()
        believed_us = steady_us + self._ahead_us
        if abs(wall_us - believed_us) > FAR_US:
            since_us = self._far_since_us
            if since_us is None:
                since_us = self._far_since_us = steady_us
            if steady_us - since_us < FAR_JUMP_LASTS_US:
                self._low_us = self._high_us = 0
                return believed_us
        self._far_since_us = None
        self._ahead_us = wall_us - steady_us
        self._low_us, self._high_us = wall_us, wall_us + CHECKED_EVERY_US
        return wall_us

    def steady_us(self) -> int:
        """See `Clock`; what the wall clock shows next is checked."""
        self._low_us = self._high_us = 0
        return self.host.steady_us()

    def jump(self, due_us: int) -> bool:
        """See `Clock`."""
        return self.host.jump(due_us)


def new_id(now_us: int) -> str:
    """Return a run id of 17 characters: 10 of time in milliseconds, so that ids sort, 7 of chance.

    Crockford's base 32 in lower case: no letter is taken for a digit.
    """
    number = (now_us // 1000) << 35 | int.from_bytes(os.urandom(5), "big") & (1 << 35) - 1
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(80, -1, -5))


def new_salt() -> int:
    """Return 53 bits of chance: the salt of a run's hashes and random streams."""
    return int.from_bytes(os.urandom(7), "big") >> 3
