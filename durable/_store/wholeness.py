"""Is this the whole file: the database, its log, and not an older copy of them.

A database without its log is older than what was said to be durable, and nothing in it is damaged.
So what was promised is counted beside it: the lock file knows of which database it is and how many
logs of it were begun, and the database knows that too, as of its newest commit.

A log that cannot be read at some place ends there for SQLite, as one that a power cut has torn. But
of a torn one only the last transaction lacks something; whole ones behind it were said to be
durable.

Source: sqlite.org/walformat.html; sqlite.org/fileformat2.html, "The Write-Ahead Log".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from durable._store.connection import has_log
from durable._store.file_guard import identity
from durable._store.locks import LockFile, Record
from durable._store.reader import Reader
from durable._store.wal import FRAME_HEADER_BYTES, HEADER_BYTES
from durable.errors import FileMoved

__all__ = ["MISSING", "find_missing", "refuse_other_log"]

# Of the index's header: whether it is filled, the size of a page, how many frames are valid, salts.
_INDEX = struct.Struct("=12x?xHI12x8s")
# Of a frame's: how many pages the file has after the commit that it ends, or 0; salts.
_FRAME = struct.Struct(">4xI8s")

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
    if had_log and (frame := _find_hole(reader)):
        return (
            f"{reader.path} lacks its newest commits: {Path(reader.path).name}-wal cannot be read "
            f"at frame {frame}, and has whole commits behind it that nothing can reach. Its disk "
            'has damaged it; or the power failed, with durability="normal"'
        )
    is_in_use = any(not is_held(one.id) for one in reader.live_workers())
    if record is None and is_in_use and not had_log:
        return (
            f"{reader.path} may lack commits: it was copied while it was in use, without its log "
            f"({Path(reader.path).name}-wal); use `durable backup`"
        )
    return ""


def _find_hole(reader: Reader) -> int:
    """Return the frame of the log that cannot be read though commits stand behind it, or 0.

    What an engine that lives writes meanwhile is no hole: then nothing is said.
    """
    before = reader.log_index()
    if len(before) < _INDEX.size:
        return 0
    is_filled, page, frames, salts = _INDEX.unpack_from(before)
    page_bytes = (page & 0xFE00) + ((page & 1) << 16)
    if not is_filled or not page_bytes:
        return 0
    has_commit = has_later = False
    try:
        with Path(f"{reader.path}-wal").open("rb") as log:
            step = FRAME_HEADER_BYTES + page_bytes
            for at in range(HEADER_BYTES + frames * step, log.seek(0, 2), step):
                log.seek(at)
                head = log.read(_FRAME.size)
                if len(head) < _FRAME.size:
                    break
                pages, own = _FRAME.unpack(head)
                if own == salts:
                    has_later = has_later or has_commit
                    has_commit = has_commit or pages > 0
    except OSError:
        return 0
    return frames + 1 if has_later and reader.log_index() == before else 0
