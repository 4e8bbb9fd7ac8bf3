"""The name of a run: an id, which means its newest run, or ``id#n``, exactly one ordinal of it.

An id has no ``#`` (`durable.names.is_run_id`), so a text with one that is no ``id#n`` names no run.
Of an ordinal there is one way to write it: ASCII digits, no zero in front.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["ORDINAL_DIGITS_MAX", "RunName", "run_name"]

# A run that is restarted each second comes to a billion after thirty years.
ORDINAL_DIGITS_MAX = 9
_NAMED = re.compile(rf"(.+)#([1-9][0-9]{{0,{ORDINAL_DIGITS_MAX - 1}}})", re.ASCII | re.DOTALL)


class RunName(NamedTuple):
    """What names a run.

    Attributes:
        id: The id; of a text that names no run the text itself, which is nobody's id.
        ordinal: Which of the id's runs, from 1; None for the newest.
    """

    id: str
    ordinal: int | None = None

    @classmethod
    def parse(cls, text: str) -> RunName:
        """Return what a text names; any text names something, though perhaps no run."""
        found = _NAMED.fullmatch(text)
        return cls(text) if found is None else cls(found[1], int(found[2]))

    def __str__(self) -> str:
        return self.id if self.ordinal is None else f"{self.id}#{self.ordinal}"


def run_name(id: str, ordinal: int) -> str:
    """Return how people write one ordinal of an id: the number stands from the second on."""
    return id if ordinal == 1 else f"{id}#{ordinal}"
