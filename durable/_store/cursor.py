"""The user's cursor: their own tables, inside our transaction, and nothing else.

The writer's connection has one authorizer, on while the user's code runs. SQLite asks it when a
statement is prepared, so the user's statements never come out of the cache of prepared ones, where
ours are.

Source: sqlite.org/c3ref/set_authorizer.html (compile-time authorization).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apsw

from durable.errors import UsageError

__all__ = ["OWN_PREFIX", "Cursor", "Guard", "UserError"]

OWN_PREFIX = "durable_"
"""What the names of the library's tables, indexes and views begin with, and of nobody else's."""

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
_COUNTERS = {"sqlite_sequence", "sqlite_stat1", "sqlite_stat4"}
_FORGET = {apsw.SQLITE_DROP_TABLE, apsw.SQLITE_DROP_INDEX, apsw.SQLITE_ALTER_TABLE}
_HARMLESS = {apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE, apsw.SQLITE_REINDEX}
_REFUSED_FUNCTIONS = {"load_extension"}


class UserError(Exception):
    """The user's code raised; its ``__cause__`` is what."""


class Guard:
    """The authorizer: lets everything pass but, while ``on``, what is not the user's."""

    on: bool = False
    is_dropping: bool = False
    """Whether the statement that is being prepared drops or renames something of the user's."""

    def begin(self, _cursor: object, _sql: str, _bindings: object) -> bool:
        """Note that a statement is prepared, and begins: the next one is judged for itself."""
        self.is_dropping = False
        return True

    def __call__(
        self, action: int, one: str | None, two: str | None, _db: str | None, _by: str | None
    ) -> int:
        if not self.on or action in _HARMLESS:
            return apsw.SQLITE_OK
        if action in _WRITES and one in _COUNTERS:  # SQLite itself forgets what is dropped.
            return apsw.SQLITE_OK if self.is_dropping else apsw.SQLITE_DENY
        if action in _ON_TABLES or action in _ON_PARTS:
            judged = self._judge(one) if action in _ON_TABLES else self._judge(one, two)
            if action in _FORGET and judged == apsw.SQLITE_OK:
                self.is_dropping = True
            return judged
        if action == apsw.SQLITE_FUNCTION and two not in _REFUSED_FUNCTIONS:
            return apsw.SQLITE_OK
        return apsw.SQLITE_DENY

    @staticmethod
    def _judge(*names: str | None) -> int:
        is_ours = any((name or "").lower().startswith(OWN_PREFIX) for name in names)
        return apsw.SQLITE_DENY if is_ours else apsw.SQLITE_OK


class Cursor:
    """Your own tables, inside the transaction that records the step.

    It may read and write any table of the file but the library's, and make tables and indexes.
    COMMIT, ROLLBACK, SAVEPOINT, ATTACH, PRAGMA and VACUUM are refused: the transaction is the
    library's. It is closed when the function returns.
    """

    def __init__(self, connection: apsw.Connection, what: str, guard: Guard) -> None:
        self._connection = connection
        self._cursor: apsw.Cursor | None = connection.cursor()
        self._cursor.exec_trace = guard.begin
        self._what = what
        self._failure: apsw.Error | None = None

    def has_raised(self, error: BaseException) -> bool:
        """Say whether an error came out of this cursor, and not out of another file."""
        return error is self._failure

    def execute(self, sql: str, bindings: Sequence[Any] | Mapping[str, Any] = ()) -> Cursor:
        """Run statements; iterate over the cursor, or use `fetchone` and `fetchall`, for rows.

        Args:
            sql: One or more statements, with ``?`` or ``:name`` for values.
            bindings: The values.

        Raises:
            apsw.Error: SQLite's own errors: a constraint, a missing table, what is refused here.
        """
        with self._noting() as cursor:
            cursor.execute(sql, bindings, can_cache=False)
        return self

    def executemany(self, sql: str, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> Cursor:
        """Run a statement once for each row of values."""
        with self._noting() as cursor:
            cursor.executemany(sql, rows, can_cache=False)
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None."""
        with self._noting() as cursor:
            row: tuple[Any, ...] | None = cursor.fetchone()
        return row

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        with self._noting() as cursor:
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows."""
        with self._noting() as cursor:
            yield from cursor

    @property
    def changes(self) -> int:
        """Rows that the last INSERT, UPDATE or DELETE changed."""
        self.require_open()
        return self._connection.changes()

    @property
    def last_insert_rowid(self) -> int:
        """The key of the newest row inserted."""
        self.require_open()
        return self._connection.last_insert_rowid()

    def close(self) -> None:
        """Close it: the transaction goes on without it."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close(force=True)

    def require_open(self) -> apsw.Cursor:
        """Return SQLite's cursor.

        Raises:
            UsageError: The function it was made for has returned.
        """
        if self._cursor is None:
            raise UsageError(f"the cursor of {self._what} is closed; its function has returned")
        return self._cursor

    @contextlib.contextmanager
    def _noting(self) -> Iterator[apsw.Cursor]:
        cursor = self.require_open()
        try:
            yield cursor
        except apsw.Error as error:
            self._failure = error
            raise
