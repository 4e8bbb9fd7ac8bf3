"""Bringing a file up to date: forward only, each step in one transaction with its version."""

from __future__ import annotations

from importlib import resources

import apsw

from durable._store.connection import APPLICATION_ID
from durable.errors import FileTooNew, NotADurableFile

__all__ = ["MIGRATIONS", "check_version", "migrate"]


def _load() -> dict[int, str]:
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {
        int(f.name[:4]): f.read_text(encoding="utf-8") for f in files if f.name.endswith(".sql")
    }


MIGRATIONS = _load()
VERSION = max(MIGRATIONS)


def check_version(connection: apsw.Connection, path: str) -> int:
    """Return the file's version.

    Raises:
        FileTooNew: A newer library wrote it; it was not changed.
    """
    version: int = connection.pragma("user_version")
    if version > VERSION:
        raise FileTooNew(
            f"{path} was written by a newer durable (file version {version}, this one knows "
            f"{VERSION}); it was not changed. Upgrade durable"
        )
    return version


def require_current(connection: apsw.Connection, path: str) -> None:
    """Refuse a file without our tables, for those who only look.

    Raises:
        NotADurableFile: The file is empty.
        FileTooNew: A newer library wrote it.
    """
    if check_version(connection, path) == 0:
        raise NotADurableFile(f"{path} is empty; an Engine or durable.run makes its tables")


def migrate(connection: apsw.Connection, path: str) -> None:
    """Apply what is missing. Any number of processes may try at once: one does it."""
    if check_version(connection, path) == VERSION:
        return
    for number, script in sorted(MIGRATIONS.items()):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if check_version(connection, path) < number:
                connection.execute(script)
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", number)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
