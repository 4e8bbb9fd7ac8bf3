"""What the whole file rests on, made again where it was lost or changed by hand.

One row changed by hand harms its own run; these few would keep everybody from the file. So they are
looked at when it is opened for writing, and made anew, loudly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import apsw
import attrs

from durable._store.connection import explain
from durable._store.queries import QUERIES
from durable._store.rows import WORKER_MAX, is_secret

__all__ = ["mend"]

logger = logging.getLogger("durable.store")

# A log is begun at each opening and some megabytes: no file comes near it.
LOGS_MAX = 2**62


def mend(connection: apsw.Connection, path: str) -> None:
    """Make what is missing or wrong of the file's own facts.

    Raises:
        StoreError: It cannot be written to.
    """
    try:
        for fact in _FACTS:
            if fact.is_wrong(connection.execute(QUERIES[fact.find].text, fact.values).fetchall()):
                logger.error("%s: %s", path, fact.meaning)
                connection.execute(QUERIES[fact.make].text, fact.values)
    except apsw.Error as error:
        raise explain(error, path) from error


Rows = list[tuple[object, ...]]


@attrs.frozen
class _Fact:
    """One of them: how it is found, whether that is wrong, how it is made anew, what that means."""

    find: str
    is_wrong: Callable[[Rows], bool]
    make: str
    values: dict[str, object]
    meaning: str


def _is_no_secret(rows: Rows) -> bool:
    return not is_secret(rows[0] if rows else None)


def _is_no_number(rows: Rows) -> bool:
    return not rows or not isinstance(rows[0][0], int)


def _is_no_count(rows: Rows) -> bool:
    value = rows[0][0] if rows else None
    return not isinstance(value, int) or not 0 <= value < LOGS_MAX


_ANSWERS_LOST = (
    "the secret that tokens are keyed with was missing or changed by hand; there is a new one, and "
    "the tokens that were handed out open nothing any more"
)
_FACTS = (
    _Fact("get_meta", _is_no_secret, "renew_secret", {"name": "secret"}, _ANSWERS_LOST),
    _Fact(
        "get_meta", _is_no_number, "make_generation", {"name": "generation"},
        "the number that tells it from its copies was missing or changed by hand; it has another",
    ),
    _Fact(
        "get_meta", _is_no_count, "make_logs", {"name": "logs"},
        "the count of its logs was missing or changed by hand; it begins again",
    ),
    _Fact(
        "list_impossible_workers", bool, "delete_impossible_workers", {"most": WORKER_MAX},
        "the number of a worker was changed by hand to one that none can have; its row was deleted",
    ),
    _Fact(
        "find_impossible_sequence", bool, "reset_worker_sequence", {"most": WORKER_MAX},
        "the numbers of workers were changed by hand; they go on from the newest",
    ),
)  # fmt: skip
