"""Backups: a consistent copy of a file that others go on writing to, checked before it counts.

Law: a backup is in its place whole and checked, or not at all. It is made beside its place under
another name, in steps that keep nobody from writing, and moved there at the end.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from durable._clock import new_salt
from durable._store.connection import connect, explain, real_path
from durable._store.ownership import create_private, refuse_target
from durable._store.queries import QUERIES
from durable.errors import FileCorrupt, StoreError, UsageError

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["back_up", "back_up_into", "move_into_place"]

# 2 MiB: a step is short enough for Ctrl-C, and long enough to be fast.
PAGES_PER_STEP = 512
_NOT_WRITTEN = {
    apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_TRUNCATE,
    apsw.SQLITE_IOERR_DIR_FSYNC,
}  # fmt: skip
# Of what the check found, so much is told.
FINDINGS_MAX = 3


def back_up(path: str, dest: str | os.PathLike[str], *, overwrite: bool = False) -> str:
    """Copy a file as it is now, check the copy, and move it into its place.

    Args:
        path: The real path of the file.
        dest: Where the copy goes; readable by its owner only.
        overwrite: Whether a file that is there is replaced.

    Returns:
        The absolute path of the copy.

    Raises:
        UsageError: There is a file already, or it is the file itself, or one that is in use.
        StoreError: The file cannot be read, or the copy not written.
    """
    target = Path(real_path(dest))
    refuse_target(path, str(target), overwrite=overwrite)
    partial = target.with_name(f".{target.name}.{new_salt():x}.partial")
    try:
        _copy(path, str(partial))
        _check(path, str(partial))
        move_into_place(partial, target, overwrite=overwrite)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        for each in (partial, *(Path(f"{partial}{end}") for end in ("-wal", "-shm", "-journal"))):
            each.unlink(missing_ok=True)
    return str(target)


def back_up_into(path: str, folder: str | os.PathLike[str], keep: int, now: dt.datetime) -> str:
    """Make a backup named by the time in a folder, and delete the oldest of its like there.

    Args:
        path: The real path of the file, say ``app.db``.
        folder: The copy is ``app-20261122T175304.193708Z.db`` in it.
        keep: So many are left, this one among them.
        now: The time, UTC.

    Returns:
        The absolute path of the copy.

    Raises:
        UsageError: There is no such folder, or ``keep`` is less than 1.
        StoreError: As of `back_up`; then nothing is deleted.
    """
    if not isinstance(keep, int) or keep < 1:
        raise UsageError(f"keep is the number of backups that stay, 1 or more, not {keep!r}")
    place, source = Path(folder), Path(path)
    if not place.is_dir():
        raise UsageError(f"{place} is no folder; with keep, backups go into one that exists")
    name = f"{source.stem}-{now:%Y%m%dT%H%M%S}.{now.microsecond:06}Z{source.suffix}"
    made = back_up(path, place / name)
    like = re.compile(
        rf"{re.escape(source.stem)}-\d{{8}}T\d{{6}}\.\d{{6}}Z{re.escape(source.suffix)}"
    )
    found = sorted(one.name for one in place.iterdir() if like.fullmatch(one.name))
    for old in found[:-keep]:
        (place / old).unlink(missing_ok=True)
    return made


def _copy(path: str, partial: str) -> None:
    os.close(create_private(partial))
    with contextlib.ExitStack() as stack:
        source = connect(path, read_only=True)
        stack.callback(source.close)
        target = apsw.Connection(partial, flags=apsw.SQLITE_OPEN_READWRITE)
        stack.callback(target.close)
        try:
            # Nobody reads it before it is checked; it is synced once, at the end.
            target.pragma("synchronous", 0)
            # In one snapshot: without it each commit of others would make the copy begin again.
            source.execute("BEGIN; SELECT COUNT(*) FROM sqlite_schema").fetchall()
            with target.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step(PAGES_PER_STEP)
            source.execute("ROLLBACK")
            # It is another file: whoever has the original open does not go on in it.
            target.execute(QUERIES["make_generation"].text, {"name": "generation"})
            # One file that needs no other: whoever opens it for writing makes it a log again.
            target.pragma("journal_mode", "delete")
        except apsw.Error as error:
            if (
                isinstance(error, apsw.FullError)
                or getattr(error, "extendedresult", 0) in _NOT_WRITTEN
            ):
                raise StoreError(
                    f"the backup cannot be written to {Path(partial).parent}: is there room for it?"
                ) from error
            raise explain(error, path) from error


def _check(path: str, partial: str) -> None:
    checked = connect(partial, read_only=True)
    try:
        found = checked.execute("PRAGMA quick_check").fetchall()
    except apsw.Error as error:
        found = [(str(error),)]
    finally:
        checked.close()
    if found != [("ok",)]:
        told = "; ".join(str(one) for (one,) in found[:FINDINGS_MAX])
        raise FileCorrupt(f"{path} is damaged, so its copy was not kept: {told}")


def move_into_place(partial: Path, target: Path, *, overwrite: bool) -> None:
    """Let a file that was written under another name appear in its place, synced.

    Raises:
        UsageError: Somebody else made one there meanwhile, and it is not to be replaced.
        OSError: It cannot be moved.
    """
    _sync(partial)
    if overwrite:
        partial.replace(target)
    else:
        try:
            target.hardlink_to(partial)  # Unlike a rename it never replaces what came meanwhile.
        except FileExistsError:
            raise UsageError(f"{target} was made by somebody else meanwhile") from None
        except OSError:  # A file system without hard links.
            partial.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
