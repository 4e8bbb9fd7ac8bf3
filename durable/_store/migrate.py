"""Bringing a file up to date: forward only, each step in one transaction with its version."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import apsw

from durable._store.connection import (
    APPLICATION_ID,
    FILE_VERSION,
    connect,
    explain,
    find_version,
)
from durable._store.ownership import refuse_shared

__all__ = ["MIGRATIONS", "adopt", "migrate"]


def _load() -> dict[int, str]:
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {
        int(f.name[:4]): f.read_text(encoding="utf-8") for f in files if f.name.endswith(".sql")
    }


MIGRATIONS = _load()
assert max(MIGRATIONS) == FILE_VERSION, "FILE_VERSION is the number of the newest script"


def migrate(connection: apsw.Connection, path: str) -> None:
    """Apply what is missing. Any number of processes may try at once: one does it.

    The marks of a file that another program made stay as they are; it gets a row with our version.

    Raises:
        StoreError: The file was not changed by the step that failed.
    """
    try:
        for number, script in sorted(MIGRATIONS.items()):
            if (find_version(connection) or 0) < number:
                _apply(connection, number, script)
    except apsw.Error as error:
        raise explain(error, path) from error


def _apply(connection: apsw.Connection, number: int, script: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if (find_version(connection) or 0) < number:
            is_adopted = _is_adopted(connection)
            connection.execute(script)
            if is_adopted:
                connection.execute(
                    "INSERT OR REPLACE INTO durable_meta VALUES ('version', ?)", (number,)
                )
            else:
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", number)
    except BaseException:
        if connection.in_transaction:  # A full disk has rolled back already.
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _is_adopted(connection: apsw.Connection) -> bool:
    """Say whether a file is another program's, before it gets our tables or after."""
    owner = connection.pragma("application_id")
    objects = connection.execute("SELECT COUNT(*) FROM sqlite_schema").get
    return bool(owner not in {0, APPLICATION_ID} or (owner == 0 and objects))


def adopt(path: str, *, may_be_missing: bool = False, allow_shared: bool = False) -> None:
    """Put our tables into a SQLite file of another program, beside its own.

    Args:
        path: The file's real path. It gets a write-ahead log if it has none; nothing else of it
            changes.
        may_be_missing: Whether nothing is done where there is no file.
        allow_shared: Whether others may own it, or write to it.

    Raises:
        NotADurableFile: There is none, or it cannot be; the reason is said, and nothing changed.
        StoreError: It is shared with others, or cannot be written to.
    """
    if may_be_missing and not Path(path).exists():
        return
    refuse_shared(path, allow_shared=allow_shared)
    connection = connect(path, adopt=True)
    try:
        migrate(connection, path)
    finally:
        connection.close()
