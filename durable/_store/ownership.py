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

from durable.errors import StoreError, UsageError

__all__ = [
    "BESIDE",
    "SHARED_VARIABLE",
    "create_private",
    "find_database",
    "lock_mode",
    "refuse_place",
    "refuse_shared",
    "refuse_target",
    "user_name",
]

logger = logging.getLogger("durable.store")

BESIDE = ("-wal", "-shm", "-lock", "-journal")
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


def find_database(path: str) -> str:
    """Return the database that a file of this name is beside, ``app.db`` of ``app.db-lock``.

    Empty if there is none.
    """
    for end in BESIDE:
        database = path.removesuffix(end)
        if database != path and os.path.isfile(database):  # noqa: PTH113  a real path
            return database
    return ""


def refuse_target(source: str, target: str, *, overwrite: bool) -> None:
    """Refuse to write a copy or an export where a database lies, or what is beside one.

    To write over the log or the lock file of a database ruins it, whoever asks for it.

    Args:
        source: The real path of the database that is copied.
        target: The real path of what is to be written.
        overwrite: Whether a file that is there is replaced.

    Raises:
        UsageError: It says why not.
    """
    for name in (source, *(source + end for end in BESIDE)):
        if target == name or _is_same(target, name):
            which = "" if name == source else f" ({name})"
            raise UsageError(
                f"{target} is the file itself, or one that belongs to it{which}; name another place"
            )
    refuse_place(target)
    if os.path.lexists(target) and not overwrite:
        raise UsageError(f"{target} exists already; name another file, or let it be overwritten")
    # A log without its file would be played into the new one, and ruin it.
    if os.path.lexists(f"{target}-wal"):
        raise UsageError(
            f"{target} is open in a process, or was; name another file, or delete it and its -wal "
            "and -shm once no process has it"
        )


def refuse_place(target: str) -> None:
    """Refuse a name that belongs to a database, that of its log for example.

    Raises:
        UsageError: It says whose.
    """
    database = find_database(target)
    if database:
        raise UsageError(
            f"{target} is a name that belongs to {database}, which would be ruined; name another "
            "place"
        )


def _is_same(one: str, other: str) -> bool:
    """Say whether two names lead to one file: a link, another spelling, a folder mounted twice."""
    try:
        return os.path.samefile(one, other)  # noqa: PTH121  real paths
    except OSError:
        pass
    try:  # One that is not there yet is told by its folder.
        folders = os.path.samefile(os.path.dirname(one), os.path.dirname(other))  # noqa: PTH120, PTH121
    except OSError:
        return False
    return folders and os.path.basename(one) == os.path.basename(other)  # noqa: PTH119


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
    owner = f"{name} belongs to {user_name(found.st_uid)}, and this process runs as {user_name(me)}"
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


def user_name(uid: int) -> str:
    """Return how a user is called, for people."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:  # Containers have users of no name.
        return f"user {uid}"
