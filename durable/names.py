"""What may be a name, an id or a label: of what is declared, started or imported.

Names are shown on terminals and pages, typed into shells and put into addresses: they are printable
and short.
"""

from __future__ import annotations

import math
import re

__all__ = [
    "ATTRIBUTE_CHARACTERS_MAX",
    "LABELS_MAX",
    "LABEL_CHARACTERS_MAX",
    "NAME_CHARACTERS_MAX",
    "is_attribute_name",
    "is_attribute_value",
    "is_name",
    "is_priority",
    "is_run_id",
    "is_tag",
]

NAME_CHARACTERS_MAX = 200
"""Of functions, queues and messages, and of ids of runs."""
# Tags of a run, and its attributes; one of them.
LABELS_MAX = 20
LABEL_CHARACTERS_MAX = 100
ATTRIBUTE_CHARACTERS_MAX = 1_000
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")


def is_name(given: object) -> bool:
    """Say whether a function, a queue or a message may be called so."""
    return isinstance(given, str) and 1 <= len(given) <= NAME_CHARACTERS_MAX and given.isprintable()


def is_run_id(given: object) -> bool:
    """Say whether it may be the id of a run: a name without the mark of ordinals."""
    # No browser has an address for one or two dots.
    return is_name(given) and "#" not in str(given) and given not in {".", ".."}


def is_tag(given: object) -> bool:
    """Say whether it may be a tag of a run."""
    return is_name(given) and len(str(given)) <= LABEL_CHARACTERS_MAX


def is_attribute_name(given: object) -> bool:
    """Say whether an attribute of a run may be called so."""
    return isinstance(given, str) and _ATTRIBUTE.fullmatch(given) is not None


def is_attribute_value(given: object) -> bool:
    """Say whether it may be an attribute of a run: short text, 64 bits, finite, true or false."""
    if isinstance(given, str):
        return len(given) <= ATTRIBUTE_CHARACTERS_MAX
    if isinstance(given, int):
        return -(2**63) <= given < 2**63
    return isinstance(given, float) and math.isfinite(given)


def is_priority(given: object) -> bool:
    """Say whether it may be the priority of a run: a whole number of 32 bits."""
    return isinstance(given, int) and abs(given) <= 2**31
