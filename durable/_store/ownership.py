"""Whose the file is: who owns it, or may write to it, reads and changes every run in it.

Law: what is opened for writing is ours alone, and so is what lies beside it, unless the operator
says otherwise: in a folder that others may write to, somebody may have made the file before us, or
its log, its index or its lock file. What we make is for its owner alone, whatever the umask says.
"""

from __future__ import annotations

import logging
import os
import pwd
import stat

from durable.errors import StoreError

__all__ = ["BESIDE", "SHARED_VARIABLE", "create_private", "lock_mode", "refuse_shared"]

logger = logging.getLogger("durable.store")

BESIDE = ("-wal", "-shm", "-lock")
"""What is beside a database is called like it, with one of these ends."""
SHARED_VARIABLE = "DURABLE_ALLOW_SHARED"
_PRIVATE = 0o600
_WRITABLE_BY_GROUP, _WRITABLE_BY_ALL = stat.S_IWGRP, stat.S_IWOTH


def create_private(path: str | os.PathLike[str], flags: int = os.O_WRONLY) -> int:
    """Make a file that its owner alone reads and writes; return its descriptor.

    Raises:
        FileExistsError: There is one already.
        OSError: It cannot be made.
    """
    made = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _PRIVATE)
    # The umask may have taken our own rights away; it has added nothing.
    os.fchmod(made, _PRIVATE)
    return made


def lock_mode(database: str) -> tuple[int, int, int]:
    """Return mode, owner and group of the lock file beside a database.

    It is private, but where others are let write to the database they need it too; and root makes
    it for the database's owner, as SQLite makes the log.
    """
    try:
        found = os.stat(database)  # noqa: PTH116  a real path
    except OSError:
        return _PRIVATE, -1, -1
    mode = _PRIVATE
    mode |= 0o060 if found.st_mode & _WRITABLE_BY_GROUP else 0
    mode |= 0o006 if found.st_mode & _WRITABLE_BY_ALL else 0
    return (mode, found.st_uid, found.st_gid) if os.geteuid() == 0 else (mode, -1, -1)


def refuse_shared(path: str, *, allow_shared: bool) -> None:
    """Refuse a database that others own or may write to, or that has such a file beside it.

    Nothing is opened. Root may take what is another user's, if nobody else may write to it, and is
    told.

    Args:
        path: The database's real path; it need not exist.
        allow_shared: Whether that is meant.

    Raises:
        StoreError: It says which file, why, and what to do.
    """
    if allow_shared or os.environ.get(SHARED_VARIABLE, "") not in {"", "0"}:
        return
    for name in (path, *(path + end for end in BESIDE)):
        try:
            found = os.lstat(name)
        except OSError:  # There is none; or opening it says what is wrong.
            continue
        if stat.S_ISREG(found.st_mode):
            _refuse_file(name, found)


def _refuse_file(name: str, found: os.stat_result) -> None:
    me = os.geteuid()
    mode = found.st_mode
    if mode & (_WRITABLE_BY_GROUP | _WRITABLE_BY_ALL):
        others = "everybody" if mode & _WRITABLE_BY_ALL else f"its group ({found.st_gid})"
        raise StoreError(
            f"{name} may be written to by {others} (mode {stat.S_IMODE(mode):04o}), who could then "
            f"read and change every run; it was not changed. {_way_out('chmod go-w', name)}"
        )
    if found.st_uid == me:
        return
    owner = f"{name} belongs to {_user(found.st_uid)}, and this process runs as {_user(me)}"
    if me != 0:
        raise StoreError(
            f"{owner}; its owner reads and changes every run, so it was not changed. "
            f"{_way_out(f'chown {me}', name)}"
        )
    logger.warning("%s; its owner reads and changes every run", owner)


def _way_out(command: str, name: str) -> str:
    return (
        f"If that should not be: {command} {name}. If it is meant, as in a container with a group "
        f"of its own: Engine(path, allow_shared=True), Client(path, allow_shared=True), or "
        f"{SHARED_VARIABLE}=1 in the environment"
    )


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:  # Containers have users of no name.
        return f"user {uid}"
