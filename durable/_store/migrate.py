"""Bringing a file up to date: forward only, each step in one transaction with its version."""

from __future__ import annotations

from importlib import resources

import apsw

from durable._store.connection import APPLICATION_ID, FILE_VERSION, explain

__all__ = ["MIGRATIONS", "migrate"]


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

    Raises:
        StoreError: The file was not changed by the step that failed.
    """
    try:
        for number, script in sorted(MIGRATIONS.items()):
            if connection.pragma("user_version") < number:
                _apply(connection, number, script)
    except apsw.Error as error:
        raise explain(error, path) from error


def _apply(connection: apsw.Connection, number: int, script: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.pragma("user_version") < number:
            connection.execute(script)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", number)
    except BaseException:
        if connection.in_transaction:  # A full disk has rolled back already.
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
