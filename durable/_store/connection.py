"""Opening the file: what is refused, and each setting with its reason.

Law: nothing in this process but SQLite may open the database, its ``-wal`` or its ``-shm``: closing
any descriptor of them drops SQLite's locks, and committed rows are lost (tried). So nothing here
looks at the bytes of an existing file; the checks ask SQLite.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import apsw

from durable._clock import uniform
from durable.errors import (
    FileCorrupt,
    NotADurableFile,
    SQLiteTooOld,
    StoreBusy,
    StoreError,
)

__all__ = ["APPLICATION_ID", "connect", "explain", "real_path"]

# "dura" in ASCII: `file` and `PRAGMA application_id` show whose file it is.
APPLICATION_ID = 0x64757261
# 3.51.3 mended a race between a checkpoint and a write that damages the file (sqlite.org/wal.html).
SQLITE_VERSION_MIN = 3_051_003
# apsw keeps 100 prepared statements; we have about 100 in up to four sizes each.
STATEMENT_CACHE_ENTRIES = 400
BUSY_DEADLINE_S = 30.0
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "vboxsf", "drvfs", "ceph", "glusterfs"}


def real_path(path: str | os.PathLike[str]) -> str:
    """Return the absolute path with links resolved.

    Raises:
        NotADurableFile: Empty, in memory, a directory, or in no directory.
    """
    text = os.fspath(path)
    if not text or text == ":memory:" or text.startswith("file:"):
        raise NotADurableFile(
            f"{text!r} is no path of a file; durable needs a real one, for example app.db "
            "(tests use one in a temporary folder)"
        )
    if "\0" in text:
        raise NotADurableFile("a path cannot hold a NUL character")
    resolved = Path(text).resolve()
    if resolved.is_dir():
        raise NotADurableFile(
            f"{text} is a directory; name a file in it, for example {text}/app.db"
        )
    if not resolved.parent.is_dir():
        raise NotADurableFile(
            f"{text}: the folder {resolved.parent} does not exist; create it first"
        )
    return str(resolved)


def connect(path: str, *, create: bool = False, read_only: bool = False) -> apsw.Connection:
    """Open a connection with our settings; no row is written.

    Raises:
        StoreError: One of its subclasses says in one line what is wrong with the file.
    """
    _refuse_old_sqlite()
    _refuse_network(path)
    exists = Path(path).exists()
    if not exists and not create:
        raise NotADurableFile(f"{path} does not exist; an Engine or durable.run creates it")
    if not exists:
        _create_private(path)
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    try:
        connection = apsw.Connection(path, flags=flags, statementcachesize=STATEMENT_CACHE_ENTRIES)
    except apsw.Error as error:
        raise explain(error, path) from error
    try:
        for setting in _SETTINGS:
            setting(connection)
        if not read_only:
            _use_wal(connection, path)
        _refuse_foreign(connection, path)
    except apsw.Error as error:
        connection.close()
        raise explain(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


def explain(error: apsw.Error, path: str) -> StoreError:
    """Translate SQLite's error into one line for the operator."""
    match error:
        case apsw.NotADBError():
            return NotADurableFile(f"{path} is not a SQLite file; it was not changed")
        case apsw.CorruptError():
            return FileCorrupt(f"{path} is damaged ({error}); restore a backup of it")
        case apsw.BusyError() | apsw.LockedError():
            return StoreBusy(f"{path} stayed locked for {BUSY_DEADLINE_S:.0f} s by other processes")
        case apsw.FullError():
            return StoreError(f"{path}: the disk is full; nothing is lost, make room")
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError():
            return StoreError(f"{path} cannot be opened ({error}); check its permissions")
        case _:
            return StoreError(f"{path}: {type(error).__name__}: {error}")


# -- what is refused ----------------------------------------------------------------------------


def _refuse_old_sqlite() -> None:
    if apsw.SQLITE_VERSION_NUMBER < SQLITE_VERSION_MIN:
        raise SQLiteTooOld(
            f"this apsw holds SQLite {apsw.sqlite_lib_version()}, which can damage the file when "
            "two processes write; install apsw 3.51.3 or newer"
        )


def _refuse_network(path: str) -> None:
    kind = _file_system(str(Path(path).parent))
    if kind in _NETWORK:
        raise NotADurableFile(
            f"{path} lies on a network file system ({kind}), where SQLite's write-ahead log does "
            "not work; put it on a local disk"
        )


def _file_system(folder: str) -> str:
    """Return the type of the file system a folder is on, or "" where the kernel does not tell."""
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split(" ")
        mount = fields[4].replace("\\040", " ")
        inside = folder == mount or folder.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[fields.index("-") + 1]
    return kind


def _refuse_foreign(connection: apsw.Connection, path: str) -> None:
    owner = connection.pragma("application_id")
    if owner == APPLICATION_ID:
        return
    objects = connection.execute("SELECT COUNT(*) FROM sqlite_schema").get
    if owner != 0 or objects:
        raise NotADurableFile(
            f"{path} is a SQLite file of another program (application_id {owner:#x}, "
            f"{objects} tables and indexes); it was not changed. Name another file"
        )


def _create_private(path: str) -> None:
    """Make the empty file 0600; SQLite gives -wal and -shm the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return  # Another process was faster: it is its file as much as ours.
    except OSError as error:
        reason = errno.errorcode.get(error.errno or 0, "")
        raise StoreError(f"{path} cannot be created: {error.strerror} ({reason})") from error


# -- settings, each with its why ----------------------------------------------------------------


def _fair_waiting(connection: apsw.Connection) -> None:
    # SQLite's own busy_timeout starves one of two writers (16,371 transactions against 1). Short
    # waits of random length share the lock evenly at the same throughput.
    started = 0.0

    def wait(tries: int) -> bool:
        nonlocal started
        now = time.perf_counter()
        if tries == 0:
            started = now
        if now - started > BUSY_DEADLINE_S:
            return False
        time.sleep(uniform(0.0001, 0.0006) if tries < 50 else uniform(0.0002, 0.002))
        return True

    connection.set_busy_handler(wait)


def _trust_nothing_in_the_file(connection: apsw.Connection) -> None:
    # A trigger or view planted in the file would otherwise run with our statements.
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)


def _strict_sql(connection: apsw.Connection) -> None:
    # "text" in double quotes means a column, never silently a string.
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)


def _own_checkpoints(connection: apsw.Connection) -> None:
    # The writer checkpoints between transactions; inside a commit it would delay its answer.
    connection.wal_autocheckpoint(0)


def _memory(connection: apsw.Connection) -> None:
    connection.pragma("temp_store", 2)  # MEMORY: no temporary files beside the database
    connection.pragma("mmap_size", 0)  # with mmap an I/O error is a SIGBUS
    connection.pragma("cell_size_check", 1)  # damaged pages are found when read


_SETTINGS = (_fair_waiting, _trust_nothing_in_the_file, _strict_sql, _own_checkpoints, _memory)


def _use_wal(connection: apsw.Connection, path: str) -> None:
    # The change to WAL ignores the busy handler: of four processes creating a file, one in sixty
    # failed at once.
    for _ in range(2_000):
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            time.sleep(uniform(0.001, 0.01))
            continue
        if mode != "wal":
            raise NotADurableFile(
                f"{path}: this file system cannot hold a write-ahead log ({mode})"
            )
        # A checkpointed log is cut back to this size.
        connection.pragma("journal_size_limit", 16 * 1024 * 1024)
        return
    raise StoreBusy(f"{path}: other processes keep the file locked while it is being created")
