"""Opening the file: what is refused, and each setting with its reason.

Law: nothing in this process but SQLite and `file_guard` may open the database or its ``-shm``:
closing any descriptor of them drops SQLite's locks, and committed rows are lost (tried). So nothing
here looks at the bytes of an existing file; the checks ask SQLite. Each connection is counted by
the guard, and closed by it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import apsw

from durable._clock import uniform
from durable._store.file_guard import FileGuard, OpenLog, file_guard
from durable._store.ownership import create_private, find_database, user_name
from durable._store.queries import QUERIES
from durable.errors import (
    FileCorrupt,
    FileMoved,
    FileTooNew,
    NotADurableFile,
    SQLiteTooOld,
    StoreBusy,
    StoreError,
)

__all__ = [
    "APPLICATION_ID",
    "FILE_VERSION",
    "Connection",
    "connect",
    "explain",
    "explain_place",
    "fair_waiting",
    "find_version",
    "has_log",
    "has_no_room",
    "moved",
    "moved_probe",
    "real_path",
    "replaced",
    "too_new",
]

# "dura" in ASCII: `file` and `PRAGMA application_id` show whose file it is.
APPLICATION_ID = 0x64757261
# The newest file this library reads and writes; `migrate` has a script for each.
FILE_VERSION = 1
# 3.51.3 mended a race between a checkpoint and a write that damages the file (sqlite.org/wal.html).
SQLITE_VERSION_MIN = 3_051_003
# apsw keeps 100 prepared statements; we have about 100 in up to four sizes each.
STATEMENT_CACHE_ENTRIES = 400
BUSY_DEADLINE_S = 30.0
# A wait that a person notices. No commit of ours takes so long; those of others should not.
TELL_BUSY_S = 2.0
# The index of the log grows by 32 KiB at once, and what is asked of the disk needs some more.
ROOM_BYTES = 64 * 1024
# File systems of networks and clusters, whose locks or shared memory are not those of one host.
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "ceph", "glusterfs", "afs", "lustre",
    "beegfs", "gpfs", "orangefs", "pvfs2", "ocfs2", "gfs2",
    "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.glusterfs", "fuse.ceph",
    "fuse.ceph-fuse", "fuse.juicefs", "fuse.davfs", "fuse.lustre", "fuse.beegfs",
}  # fmt: skip
# Folders of a host, passed through to a virtual machine or a container: corrupted logs are reported
# of all of them.
_PASSED_THROUGH = {
    "9p", "virtiofs", "vboxsf", "drvfs", "grpcfuse", "fuse.grpcfuse", "osxfs", "fuse.osxfs",
    "fakeowner", "vmhgfs", "fuse.vmhgfs-fuse", "prl_fs",
}  # fmt: skip
ANY_FILE_SYSTEM = "DURABLE_ANY_FILE_SYSTEM"
"""The environment variable whose value "1" lets a file lie on any of them."""
_MOUNTS = Path("/proc/self/mountinfo")


def real_path(path: str | os.PathLike[str]) -> str:
    """Return the absolute path with links resolved.

    Raises:
        NotADurableFile: Empty, in memory, no regular file, or in no directory.
    """
    text = os.fspath(path)
    if not text or text == ":memory:" or text.startswith("file:"):
        raise NotADurableFile(
            f"{text!r} is no path of a file; durable needs a real one, for example app.db "
            "(tests use one in a temporary folder)"
        )
    if "\0" in text:
        raise NotADurableFile("a path cannot hold a NUL character")
    try:
        resolved = Path(text).resolve()
    except (OSError, RuntimeError):  # Up to Python 3.12; later ones return the link.
        resolved = Path(text)
    if resolved.is_symlink():
        raise NotADurableFile(f"{text} cannot be followed: its links lead round")
    if resolved.is_dir():
        raise NotADurableFile(
            f"{text} is a directory; name a file in it, for example {text}/app.db"
        )
    # Asked of the name: to open a pipe is to wait for its other end, a device may do anything.
    if resolved.exists() and not stat.S_ISREG(resolved.stat().st_mode):
        raise NotADurableFile(f"{text} is a pipe, a socket or a device; name a regular file")
    if not resolved.parent.is_dir():
        raise NotADurableFile(
            f"{text}: the folder {resolved.parent} does not exist; create it first"
        )
    return str(resolved)


class Connection(apsw.Connection):
    """A connection that the guard of its file knows."""

    guard: FileGuard | None = None
    log: OpenLog | None = None
    is_accepted: bool = False
    """Whether the file is known to be ours: until then its log is not written back."""

    def close(self, force: bool = False) -> None:
        """Close it; with the last one of all the log is copied into the file."""
        guard, self.guard = self.guard, None
        if guard is None:
            super().close(force)
            return
        copy = partial(_copy_log, self.filename) if self._may_copy_log() else _nothing
        guard.leave(partial(super().close, force), copy)
        log, self.log = self.log, None
        if log is not None:
            log.close()

    def leave_log(self) -> None:
        """Let closing leave the log beside the file, though nobody else has it open."""
        self.is_accepted = False

    def _may_copy_log(self) -> bool:
        """Say whether the file is ours, and file and log are those that others open by now."""
        if not self.is_accepted or (self.log is not None and self.log.is_lost()):
            return False
        with contextlib.suppress(apsw.Error):
            return not moved_probe(self)()
        return True


def _copy_log(path: str) -> None:
    """Copy the log into the file, and delete it: SQLite does so as its last connection closes."""
    try:
        last = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error:  # It cannot be written to: whoever opens it next may.
        return
    with contextlib.suppress(apsw.Error), contextlib.closing(last):
        for setting in _SETTINGS:
            setting(last)
        last.execute("SELECT COUNT(*) FROM sqlite_schema").fetchall()


def connect(
    path: str, *, create: bool = False, read_only: bool = False, adopt: bool = False
) -> Connection:
    """Open a connection with our settings; no row is written.

    What is refused is refused before anything is changed: neither the journal mode of the file nor
    the log beside it.

    Args:
        path: The file's real path.
        create: Make the file if it does not exist, and accept an empty one.
        read_only: Also files and folders that cannot be written to.
        adopt: Accept a file of another program, which is about to get our tables beside its own.

    Raises:
        StoreError: One of its subclasses says in one line what is wrong with the file.
    """
    _refuse_old_sqlite(apsw.SQLITE_VERSION_NUMBER)
    _refuse_network(path, _mounts())
    database = find_database(path)
    if database:
        raise NotADurableFile(f"{path} belongs to {database}; name that one")
    exists = Path(path).exists()
    if not exists and not create:
        raise NotADurableFile(
            f"{path} does not exist; an Engine, durable.run or Client(path, create=True) creates it"
        )
    if not exists:
        _create_private(path)
    try:
        if read_only:
            return _open_read_only(path)
        return _open_for_writing(path, create=create, adopt=adopt)
    except apsw.Error as error:
        raise explain(error, path) from error


def _open_for_writing(path: str, *, create: bool, adopt: bool) -> Connection:
    flags = apsw.SQLITE_OPEN_READWRITE
    connection = _open(path, flags, may_be_empty=create, may_be_foreign=adopt)
    try:
        if create and not connection.pragma("page_count"):
            # Only before the first page: pages of deleted runs can be given back to the disk.
            connection.pragma("auto_vacuum", 2)
        _use_wal(connection, path)
        # Read once more: a file that had no log until now has its log and index from here on.
        connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchall()
        if connection.guard is not None and connection.log is None:
            connection.log = connection.guard.settle()
    except BaseException:
        connection.close()
        raise
    return connection


def _open_read_only(path: str) -> Connection:
    try:
        return _open(path, apsw.SQLITE_OPEN_READONLY, may_be_empty=False)
    except (apsw.ReadOnlyError, apsw.CantOpenError) as error:
        # Where nothing can be written, a log that is not there cannot be made. It is not needed
        # either: everything is in the file.
        if has_log(path) and _may(path, os.R_OK) and not has_no_room(path):
            name = Path(path).name
            raise StoreError(
                f"{path} has newer commits in its log ({name}-wal), which cannot be read where "
                f"nothing can be written and {name}-shm is missing: copy {name} and {name}-wal "
                "together into a folder of your own, and look there"
            ) from error
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        return _open(f"file:{quote(path)}?immutable=1", flags, may_be_empty=False)


def _open(name: str, flags: int, *, may_be_empty: bool, may_be_foreign: bool = False) -> Connection:
    guard = None
    if not flags & apsw.SQLITE_OPEN_URI:  # What never changes needs no guard.
        guard = file_guard(name)
        guard.enter()
    try:
        connection = Connection(name, flags=flags, statementcachesize=STATEMENT_CACHE_ENTRIES)
    except BaseException:
        if guard is not None:
            guard.leave(_nothing, _nothing)
        raise
    connection.guard = guard
    try:
        # The guard decides when the log is copied. Where there is none, closing a file that is not
        # ours removes the empty one that reading made.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(has_log(connection.filename)))
        for setting in _SETTINGS:
            setting(connection)
        # One snapshot: between two looks another process may be making its tables, and a file
        # without our mark but with tables would seem to be somebody else's.
        with _at_one_moment(connection):
            if may_be_foreign:
                _refuse_adoption(connection, connection.filename)
            else:
                _refuse_foreign(connection, connection.filename, may_be_empty=may_be_empty)
        if guard is not None:
            connection.log = guard.settle()
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(guard is not None))
        connection.is_accepted = True
    except BaseException:
        connection.close()
        raise
    return connection


def _nothing() -> None:
    pass


def has_log(path: str) -> bool:
    """Say whether there is anything in a log beside a database."""
    try:
        return Path(path + "-wal").stat().st_size > 0
    except OSError:
        return False


def explain(error: apsw.Error, path: str) -> StoreError:
    """Translate SQLite's error into one line for the operator."""
    match error:
        case apsw.NotADBError():
            return NotADurableFile(
                f"{path} is not a SQLite file, or is encrypted, or of SQLite before 3.0; it was "
                "not changed"
            )
        case apsw.CorruptError():
            return FileCorrupt(f"{path} is damaged ({error}); restore a backup of it")
        case apsw.BusyError() | apsw.LockedError():
            return StoreBusy(f"{path} stayed locked for {BUSY_DEADLINE_S:.0f} s by other processes")
        case apsw.FullError():
            return _full(path)
        # What the log's index, or the name of a new file, has no room for is none of SQLite's.
        case apsw.IOError() | apsw.CantOpenError() if has_no_room(path):
            return _full(path)
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError():
            return StoreError(_why_not_opened(error, path))
        case _:
            return StoreError(f"{path}: {type(error).__name__}: {error}")


def _why_not_opened(error: apsw.Error, path: str) -> str:
    """Say what keeps this process from a file, and what to do."""
    folder, me = Path(path).parent, user_name(os.geteuid())
    look = "`durable ls` and durable.view look at it as it is"
    if not _may(path, os.R_OK) and Path(path).exists():
        return f"{path} may not be read by {me}: check its permissions"
    if _is_read_only(folder):
        return (
            f"{path} lies on a file system that is mounted for reading only, and nothing was "
            f"changed; mount it for writing, or name a copy of the file elsewhere. {look}"
        )
    if not _may(path, os.W_OK):
        return (
            f"{path} may not be written to by {me}, and nothing was changed: check its permissions"
            f". {look}"
        )
    if not _may(folder, os.W_OK):
        return (
            f"{path} needs its log beside it, and {me} may make no files in {folder}; nothing was "
            f"changed: check the permissions of the folder. {look}"
        )
    return f"{path} cannot be opened ({error}); check its permissions"


def _may(path: str | Path, what: int) -> bool:
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def _is_read_only(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    return False


def has_no_room(path: str) -> bool:
    """Say whether the disk of a file has no room for as little as SQLite takes at once."""
    try:
        disk = os.statvfs(Path(path).parent)
    except OSError:
        return False
    no_files = disk.f_files > 0 and disk.f_favail == 0  # Some file systems count none.
    return no_files or disk.f_bavail * disk.f_frsize < ROOM_BYTES


def explain_place(error: OSError, path: str, what: str) -> StoreError:
    """Translate what the system says of a file that is to be made, or opened, beside SQLite.

    Args:
        error: What it raised.
        path: The file.
        what: Which verb failed, as in "cannot be created".
    """
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _full(path)
    reason = errno.errorcode.get(error.errno or 0, "")
    return StoreError(f"{path} cannot be {what}: {error.strerror} ({reason})")


def _full(path: str) -> StoreError:
    return StoreError(f"{path}: the disk is full; nothing is lost, make room")


def moved_probe(connection: apsw.Connection) -> Callable[[], bool]:
    """Return a function that says whether the path leads to another file by now, or to none.

    An open connection goes on with the file it has, whatever became of its name: what it commits is
    in no file that anybody will open again. Asking costs a microsecond, as much as a stat.

    Source: sqlite.org/c3ref/c_fcntl_begin_atomic_write.html, SQLITE_FCNTL_HAS_MOVED.
    """
    answer = array("i", [0])  # SQLite writes its answer, a C int, to this address.
    address, _ = answer.buffer_info()

    def has_moved() -> bool:
        connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, address)
        return answer[0] != 0

    return has_moved


def moved(path: str) -> FileMoved:
    """Return the error of a file that is not where it was."""
    return FileMoved(
        f"{path} was moved, deleted or replaced while it was open; nothing more is written. Put it "
        "back, or stop the process"
    )


def replaced(path: str) -> FileMoved:
    """Return the error of a path that leads to another file by now."""
    return FileMoved(
        f"{path} was replaced by another file while it was open, and this process does not go on "
        "in that one; nothing was written to it. Start again to use it"
    )


def too_new(path: str, version: int) -> FileTooNew:
    """Return the error of a file whose version this library does not know."""
    return FileTooNew(
        f"{path} was written by a newer durable (file version {version}, this one knows "
        f"{FILE_VERSION}); it was not changed. Upgrade durable"
    )


# -- what is refused ----------------------------------------------------------------------------


def _refuse_old_sqlite(version: int) -> None:
    if version < SQLITE_VERSION_MIN:
        shown = f"{version // 1_000_000}.{version // 1_000 % 1_000}.{version % 1_000}"
        raise SQLiteTooOld(
            f"this apsw holds SQLite {shown}, which can damage the file when two processes write; "
            "install apsw 3.51.3 or newer"
        )


def _mounts() -> list[str]:
    """Return what the kernel tells about mounted file systems; nothing where it does not."""
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _refuse_network(path: str, mounts: Iterable[str]) -> None:
    kind = _file_system(str(Path(path).parent), mounts)
    if kind not in _NETWORK | _PASSED_THROUGH or os.environ.get(ANY_FILE_SYSTEM) == "1":
        return
    where = (
        f"a network file system ({kind})"
        if kind in _NETWORK
        else f"a folder of another machine or host, passed through ({kind})"
    )
    raise NotADurableFile(
        f"{path} lies on {where}, where SQLite's write-ahead log does not work; put it on a local "
        f"disk, in a container on a volume. {ANY_FILE_SYSTEM}=1 in the environment opens it all "
        "the same, at your own risk"
    )


def _file_system(folder: str, mounts: Iterable[str]) -> str:
    """Return the type of the file system a folder is on, or "" where the kernel does not tell.

    Source: proc_pid_mountinfo(5): the mount point is the fifth field, with blanks as octal numbers;
    the type is the first field after a lone hyphen.
    """
    best, kind = "", ""
    for line in mounts:
        before, mark, after = line.partition(" - ")
        fields = before.split(" ")
        if not mark or len(fields) < 5:
            continue
        mount = fields[4]
        for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            mount = mount.replace(octal, character)
        inside = folder == mount or folder.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, after.split(" ")[0]
    return kind


@contextlib.contextmanager
def _at_one_moment(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def find_version(connection: apsw.Connection) -> int | None:
    """Return the version of our tables in a file; None if it has none.

    In a file of our own it is where `file` and every tool look for it. A file that was adopted has
    its program's numbers there, so it has a row of ours.

    Raises:
        FileCorrupt: It has our mark, and a version that none has.
    """
    if connection.pragma("application_id") == APPLICATION_ID:
        return _checked_version(connection.pragma("user_version"), connection.filename)
    if not connection.execute("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'durable_meta'").get:
        return None
    adopted = connection.execute(QUERIES["get_adopted_version"].text).get
    return None if adopted is None else _checked_version(adopted, connection.filename)


def _checked_version(version: object, path: str) -> int:
    if isinstance(version, int) and version >= 1:
        return version
    raise FileCorrupt(
        f"{path} has durable's mark, but says that it is of version {version!r:.40}, which there "
        "is none of: it was changed by another program. Nothing was opened; restore a backup of it"
    )


def _refuse_foreign(connection: apsw.Connection, path: str, *, may_be_empty: bool) -> None:
    version = find_version(connection)
    # Asked of every file: a damaged schema is found here.
    objects = connection.execute("SELECT COUNT(*) FROM sqlite_schema").get
    owner = connection.pragma("application_id")
    if version is None:
        if owner != 0 or objects:
            raise NotADurableFile(
                f"{path} is a SQLite file of another program (application_id {owner:#x}, "
                f"{objects} tables and indexes); it was not changed. Name another file; or, if it "
                "is your own, let durable put its tables beside yours: `durable adopt`, or "
                "Engine(path, adopt=True)"
            )
        if not may_be_empty:
            raise NotADurableFile(f"{path} is empty; an Engine or durable.run makes its tables")
    elif version > FILE_VERSION:
        raise too_new(path, version)


def _refuse_adoption(connection: apsw.Connection, path: str) -> None:
    version = find_version(connection)
    if version is not None and version > FILE_VERSION:
        raise too_new(path, version)
    if version is not None:
        return
    encoding = connection.pragma("encoding")
    if encoding != "UTF-8":
        raise NotADurableFile(
            f"{path} cannot be adopted: its texts are {encoding}, and durable writes UTF-8; it was "
            "not changed"
        )
    taken = connection.execute(
        "SELECT MIN(name) FROM sqlite_schema WHERE name LIKE 'durable!_%' ESCAPE '!'"
    ).get
    if taken is not None:
        raise NotADurableFile(
            f"{path} cannot be adopted: it has a table or index {taken!r}, and names that begin "
            "with durable_ are the library's; it was not changed. Rename it"
        )


def _create_private(path: str) -> None:
    """Make the empty file 0600; SQLite gives -wal and -shm the same mode."""
    try:
        os.close(create_private(path))
    except FileExistsError:
        return  # Another process was faster: it is its file as much as ours.
    except OSError as error:
        raise explain_place(error, path, "created") from error


# -- settings, each with its why ----------------------------------------------------------------


def fair_waiting(
    deadline_s: float | Callable[[], float], tell: Callable[[float], None] | None = None
) -> Callable[[int], bool]:
    """Return a busy handler that waits at most so long.

    SQLite's own ``busy_timeout`` starves one of two writers (16,371 transactions against 1). Short
    waits of random length share the lock evenly at the same throughput.

    Args:
        deadline_s: How long, in seconds; or says so, and may say less while somebody waits.
        tell: Called each `TELL_BUSY_S` of a wait, with the seconds waited.
    """
    started, told = 0.0, 0.0
    patience_s = deadline_s if callable(deadline_s) else lambda: deadline_s

    def wait(tries: int) -> bool:
        nonlocal started, told
        now = time.perf_counter()
        if tries == 0:
            started = told = now
        if now - started > patience_s():
            return False
        if tell is not None and now - told > TELL_BUSY_S:
            told = now
            tell(now - started)
        time.sleep(uniform(0.0001, 0.0006) if tries < 50 else uniform(0.0002, 0.002))
        return True

    return wait


def _wait_fairly(connection: apsw.Connection) -> None:
    connection.set_busy_handler(fair_waiting(BUSY_DEADLINE_S))


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


def _sync_to_the_platter(connection: apsw.Connection) -> None:
    # On macOS a plain fsync leaves all in the drive's cache; elsewhere this does nothing.
    connection.pragma("fullfsync", 1)
    connection.pragma("checkpoint_fullfsync", 1)


_SETTINGS = (
    _sync_to_the_platter,
    _wait_fairly,
    _trust_nothing_in_the_file,
    _strict_sql,
    _own_checkpoints,
    _memory,
)


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
