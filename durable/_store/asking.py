"""SQL of people: one statement that reads, and nothing that could do more.

Law: what is asked cannot change anything. The connection is opened for reading alone, SQLite is
told to refuse to write, and an authorizer, called while the statement is compiled, refuses all but
reading. What tokens are keyed with is not read either.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import apsw
import attrs

from durable._clock import steady_s
from durable._store.connection import connect, explain
from durable.errors import FileCorrupt, UsageError

__all__ = ["TIMEOUT_S", "TableView", "ask"]

ROWS_MAX = 1_000_000
COLUMNS_MAX = 200
# Of one value: what a payload is limited to, unless somebody configured more.
VALUE_BYTES_MAX = 64 * 1024 * 1024
TIMEOUT_S = 30.0
"""So long a statement may take: a view that somebody planted in the file may have no end."""
# SQLite's steps between two chances for Ctrl-C: some milliseconds.
STEPS_PER_CHANCE = 100_000
_OPERATIONS = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE})
# These tell something whatever they are given; the others only while they are given nothing.
_PRAGMAS_WITH_ARGUMENT = frozenset({
    "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
    "foreign_key_list", "quick_check", "integrity_check",
})  # fmt: skip
_PRAGMAS = _PRAGMAS_WITH_ARGUMENT | {
    "application_id", "collation_list", "compile_options", "database_list", "encoding",
    "freelist_count", "function_list", "journal_mode", "page_count", "page_size", "schema_version",
    "user_version",
}  # fmt: skip

# The column that the file's secret is in, as SQLite names it whatever the statement calls it.
_SECRET = ("durable_meta", "value")

Value = str | int | float | bytes | None


@attrs.frozen(kw_only=True)
class TableView:
    """What a statement returned.

    Attributes:
        columns: Their names, as SQLite calls them; two may have the same.
        rows: As many values each.
        has_more: Whether rows were left out because of the limit.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[Value, ...]]
    has_more: bool


def ask(path: str, text: str, limit: int, timeout_s: float = TIMEOUT_S) -> TableView:
    """Run one statement that reads, the documented views among what it may read.

    Ctrl-C interrupts it, on the main thread.

    Raises:
        UsageError: It is none, more than one, wrong, does more than read, or takes too long.
        StoreError: The file cannot be read.
    """
    if not 1 <= limit <= ROWS_MAX:
        raise UsageError(f"limit is 1 to {ROWS_MAX:,}, not {limit}")
    if "\0" in text:
        raise UsageError("a statement holds no NUL character")
    until_s = steady_s() + timeout_s
    with contextlib.closing(connect(path, read_only=True)) as connection, _explained(path):
        refused = _only_reading(connection)
        # Python handles signals between its own instructions: this gives it some.
        connection.set_progress_handler(partial(_is_over, until_s), STEPS_PER_CHANCE)
        try:
            columns = _require_one(connection, text)
            return _fetched(connection, text, columns, limit)
        except (apsw.AuthError, apsw.SQLError, apsw.BindingsError) as error:
            if refused:
                raise UsageError(refused[0]) from None
            raise UsageError(f"SQLite does not understand it: {error}") from None
        except apsw.InterruptError:
            raise UsageError(
                f"it took longer than {timeout_s:g} s and was given up; a longer time can be given"
            ) from None


def _is_over(until_s: float) -> bool:
    return steady_s() > until_s


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise FileCorrupt(
            f"{path} holds text that is not UTF-8 ({error.object!r:.80}); read it with "
            "CAST(... AS BLOB)"
        ) from error
    except apsw.TooBigError as error:
        raise UsageError(f"a value is larger than {VALUE_BYTES_MAX:,} bytes") from error
    except apsw.Error as error:
        raise explain(error, path) from error


def _only_reading(connection: apsw.Connection) -> list[str]:
    """Let a connection do nothing but read; return where it is noted why not."""
    refused: list[str] = []

    def authorize(
        operation: int, one: str | None, other: str | None, _database: str | None, _by: str | None
    ) -> int:
        if operation == apsw.SQLITE_READ and (one, other) == _SECRET:
            refused.append(
                "durable_meta.value is not shown: what the tokens of promises are keyed with is in "
                "it; SELECT name FROM durable_meta"
            )
            return apsw.SQLITE_DENY
        if operation in _OPERATIONS:
            return apsw.SQLITE_OK
        if operation == apsw.SQLITE_FUNCTION and other != "load_extension":
            return apsw.SQLITE_OK
        if operation == apsw.SQLITE_PRAGMA and one in (
            _PRAGMAS_WITH_ARGUMENT if other else _PRAGMAS
        ):
            return apsw.SQLITE_OK
        name = str(apsw.mapping_authorizer_function[operation]).removeprefix("SQLITE_").lower()
        what = [part for part in (one, other) if part is not None]
        would = " ".join([name.replace("_", " "), *what])
        refused.append(f"only reading is allowed here, and this would {would}")
        return apsw.SQLITE_DENY

    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 1)
    connection.pragma("query_only", 1)
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)
    connection.limit(apsw.SQLITE_LIMIT_COLUMN, COLUMNS_MAX)
    connection.authorizer = authorize
    return refused


def _require_one(connection: apsw.Connection, text: str) -> tuple[str, ...]:
    """Compile a statement without running it, and return the names of its columns."""
    columns, rest = _compiled(connection, text)
    while columns is None and rest:
        columns, rest = _compiled(connection, rest)
    if columns is None:
        raise UsageError("there is no statement in it")
    while rest:
        try:
            more, rest = _compiled(connection, rest)
        except (apsw.SQLError, apsw.AuthError):
            more = ()
        if more is not None:
            raise UsageError("it is more than one statement; ask one after another")
    return columns


def _compiled(connection: apsw.Connection, text: str) -> tuple[tuple[str, ...] | None, str]:
    """Return the columns of the first statement, None if it is empty, and what follows it."""
    columns: tuple[str, ...] | None = None
    length = len(text)

    def trace(cursor: apsw.Cursor, sql: str, _: object) -> bool:
        nonlocal columns, length
        length = len(sql)
        if cursor.has_vdbe:
            columns = tuple(name for name, _ in cursor.get_description())
        return False  # Not to be run.

    connection.exec_trace = trace
    try:
        with contextlib.suppress(apsw.ExecTraceAbort):
            connection.execute(text)
    finally:
        connection.exec_trace = None
    return columns, text[length:]


def _fetched(
    connection: apsw.Connection, text: str, columns: tuple[str, ...], limit: int
) -> TableView:
    cursor = connection.cursor()
    try:
        rows = list(itertools.islice(cursor.execute(text), limit + 1))
    finally:
        cursor.close(True)
    return TableView(columns=columns, rows=rows[:limit], has_more=len(rows) > limit)
