"""Is this the whole file: the database, its log, and not an older copy of them.

A database without its log is older than what was said to be durable, and nothing in it is damaged.
So what was promised is counted beside it: the lock file knows of which database it is and how many
logs of it were begun, and the database knows that too, as of its newest commit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from durable._store.connection import has_log
from durable._store.file_guard import identity
from durable._store.locks import LockFile, Record
from durable._store.reader import Reader
from durable.errors import FileMoved

__all__ = ["MISSING", "find_missing", "refuse_other_log"]

MISSING = "commits missing"
"""The verb of the audit's row that says so."""


def refuse_other_log(path: str, locks: LockFile) -> None:
    """Refuse a database whose log is that of another one, which was there before it.

    Raises:
        FileMoved: Opened together they would be neither the one nor the other.
    """
    record = locks.find_record()
    if record is None or not has_log(path):
        return
    file, log = identity(path), identity(path + "-wal")
    if file is not None and log == record.log and file != record.file:
        name = Path(path).name
        raise FileMoved(
            f"{path} was replaced, and {name}-wal beside it is the log of the file before; nothing "
            f"was opened. Put that file back; or, to go on with this one, stop every process that "
            f"has it and delete {name}-wal and {name}-shm"
        )


def find_missing(
    reader: Reader,
    record: Record | None,
    is_held: Callable[[int], bool],
    *,
    had_log: bool,
) -> str:
    """Return what a file seems to lack, for people; empty if nothing.

    Args:
        reader: Of the file.
        record: What the lock file said of it.
        is_held: Says whether a worker lives.
        had_log: Whether there was anything in the log when the file was opened.
    """
    generation, logs = reader.meta("generation"), reader.meta("logs")
    if record is not None and record.generation == generation and record.logs > logs:
        return (
            f"{reader.path} lacks its newest commits: the log that held them is gone, or this is "
            "an older copy of it"
        )
    is_in_use = any(not is_held(one.id) for one in reader.live_workers())
    if record is None and is_in_use and not had_log:
        return (
            f"{reader.path} may lack commits: it was copied while it was in use, without its log "
            f"({Path(reader.path).name}-wal); use `durable backup`"
        )
    return ""
