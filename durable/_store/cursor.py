"""The user's cursor: their own tables, inside our transaction, and nothing else.

The writer's connection has one authorizer, on while the user's code runs. SQLite asks it when a
statement is prepared, so the user's statements never come out of the cache of prepared ones, where
ours are.

Source: sqlite.org/c3ref/set_authorizer.html (compile-time authorization).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apsw

from durable.errors import UsageError

__all__ = ["OWN_TABLES", "Cursor", "Guard", "UserError"]

OWN_TABLES = frozenset(
    {
        "answer", "attempt", "blob", "event", "inbox", "item", "letter", "run", "step", "value",
        "v_events", "v_runs", "v_steps", "worker",
    }
)  # fmt: skip
"""The tables and views of the file that are the library's."""

_ON_TABLES = {
    apsw.SQLITE_READ, apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE,
    apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_DROP_TABLE, apsw.SQLITE_CREATE_VIEW,
    apsw.SQLITE_DROP_VIEW, apsw.SQLITE_CREATE_TEMP_TABLE, apsw.SQLITE_DROP_TEMP_TABLE,
}  # fmt: skip
_ON_PARTS = {
    apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_DROP_INDEX, apsw.SQLITE_CREATE_TRIGGER,
    apsw.SQLITE_DROP_TRIGGER, apsw.SQLITE_ALTER_TABLE,
}  # fmt: skip
_WRITES = {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE}
# SQLite's own, where the numbers of workers and requests are counted.
_COUNTERS = {"sqlite_sequence", "sqlite_stat1"}
_HARMLESS = {apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE, apsw.SQLITE_REINDEX}
_REFUSED_FUNCTIONS = {"load_extension"}


class UserError(Exception):
    """The user's code raised; its ``__cause__`` is what."""


class Guard:
    """The authorizer: lets everything pass but, while ``on``, what is not the user's."""

    on = False

    def __call__(
        self, action: int, one: str | None, two: str | None, _db: str | None, _by: str | None
    ) -> int:
        if not self.on or action in _HARMLESS:
            return apsw.SQLITE_OK
        if action in _WRITES and one in _COUNTERS:
            return apsw.SQLITE_DENY
        if action in _ON_TABLES:
            return self._judge(one)
        if action in _ON_PARTS:
            return self._judge(two)
        if action == apsw.SQLITE_FUNCTION and two not in _REFUSED_FUNCTIONS:
            return apsw.SQLITE_OK
        return apsw.SQLITE_DENY

    @staticmethod
    def _judge(table: str | None) -> int:
        return apsw.SQLITE_DENY if (table or "").lower() in OWN_TABLES else apsw.SQLITE_OK


class Cursor:
    """Your own tables, inside the transaction that records the step.

    It may read and write any table of the file but the library's, and make tables and indexes.
    COMMIT, ROLLBACK, SAVEPOINT, ATTACH, PRAGMA and VACUUM are refused: the transaction is the
    library's. It is closed when the function returns.
    """

    def __init__(self, connection: apsw.Connection, what: str) -> None:
        self._connection = connection
        self._cursor: apsw.Cursor | None = connection.cursor()
        self._what = what

    def execute(self, sql: str, bindings: Sequence[Any] | Mapping[str, Any] = ()) -> Cursor:
        """Run statements; iterate over the cursor, or use `fetchone` and `fetchall`, for rows.

        Args:
            sql: One or more statements, with ``?`` or ``:name`` for values.
            bindings: The values.

        Raises:
            apsw.Error: SQLite's own errors: a constraint, a missing table, what is refused here.
        """
        self._open().execute(sql, bindings, can_cache=False)
        return self

    def executemany(self, sql: str, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> Cursor:
        """Run a statement once for each row of values."""
        self._open().executemany(sql, rows, can_cache=False)
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None."""
        row: tuple[Any, ...] | None = self._open().fetchone()
        return row

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        rows: list[tuple[Any, ...]] = self._open().fetchall()
        return rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows."""
        yield from self._open()

    @property
    def changes(self) -> int:
        """Rows that the last INSERT, UPDATE or DELETE changed."""
        self._open()
        return self._connection.changes()

    @property
    def last_insert_rowid(self) -> int:
        """The key of the newest row inserted."""
        self._open()
        return self._connection.last_insert_rowid()

    def close(self) -> None:
        """Close it: the transaction goes on without it."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close(force=True)

    def _open(self) -> apsw.Cursor:
        if self._cursor is None:
            raise UsageError(f"the cursor of {self._what} is closed; its function has returned")
        return self._cursor
