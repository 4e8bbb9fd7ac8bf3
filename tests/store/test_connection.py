"""What is refused, in one line and without a trace; and what every file of ours is like."""

import hashlib
import os
import shutil
import socket
import sqlite3
import stat
import tempfile
from pathlib import Path

import apsw
import pytest

import durable
from durable._store import connection
from durable._store.connection import connect, real_path
from durable._store.migrate import migrate
from durable.errors import (
    FileCorrupt,
    FileTooNew,
    NotADurableFile,
    SQLiteTooOld,
    StoreError,
)


def foreign(path):
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE theirs (x)")
    made.close()


def foreign_with_log(path):
    """A file of another program that died: its newest rows are in its log alone."""
    there = path.with_suffix(".there")
    made = sqlite3.connect(there)
    made.execute("PRAGMA journal_mode=wal")
    made.execute("CREATE TABLE theirs (x)")
    made.commit()
    shutil.copy(there, path)
    shutil.copy(f"{there}-wal", f"{path}-wal")
    made.close()
    there.unlink()


def application(path):
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA application_id = 1196444487")
    made.close()


def newer(path):
    durable_file(path)
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA user_version = 99")
    made.close()


def durable_file(path):
    made = connect(str(path), create=True)
    migrate(made, str(path))
    made.close()


def bad_header(path):
    durable_file(path)
    path.write_bytes(b"SQLite format 9" + path.read_bytes()[15:])


def cut_short(path):
    durable_file(path)
    path.write_bytes(path.read_bytes()[:5000])


def zeroed_schema(path):
    durable_file(path)
    data = bytearray(path.read_bytes())
    data[100:4096] = bytes(3996)
    path.write_bytes(data)


REFUSED = [
    (foreign, NotADurableFile, "another program"),
    (foreign_with_log, NotADurableFile, "another program"),
    (application, NotADurableFile, "another program"),
    (newer, FileTooNew, "newer durable"),
    (bad_header, NotADurableFile, "not a SQLite file"),
    (cut_short, FileCorrupt, "damaged"),
    (zeroed_schema, FileCorrupt, "damaged"),
    (
        lambda path: path.write_text("just some text, longer than a header " * 99),
        NotADurableFile,
        "not a",
    ),
    (lambda path: path.write_bytes(bytes(8192)), NotADurableFile, "not a SQLite file"),
]
EMPTY = [(lambda path: path.touch(), NotADurableFile, "is empty")]

OPENINGS = {
    "engine": lambda path: connect(str(path), create=True),
    "client": lambda path: connect(str(path)),
    "view": lambda path: connect(str(path), read_only=True),
}


def contents(folder):
    """What lies in a folder, without what SQLite makes for whoever reads: empty, or only shared."""
    return {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest()
        for one in folder.iterdir()
        if not one.name.endswith("-shm") and (one.suffix == ".db" or one.stat().st_size)
    }


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize(("make", "error", "says"), REFUSED)
def test_a_refused_file_stays_as_it_is(tmp_path, make, error, says, opening):
    path = tmp_path / "app.db"
    make(path)
    before = contents(tmp_path)

    with pytest.raises(error, match=says) as caught:
        OPENINGS[opening](path)

    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("opening", ["client", "view"])
def test_an_empty_file_is_made_ours_by_an_engine_alone(tmp_path, opening, make_store):
    path = tmp_path / "app.db"
    path.touch()

    with pytest.raises(NotADurableFile, match="is empty"):
        OPENINGS[opening](path)
    with pytest.raises(NotADurableFile, match="is empty"):
        make_store(path, create=False)

    assert contents(tmp_path) == {"app.db": hashlib.sha256(b"").hexdigest()}
    assert make_store(path).reader.count_open() == 0


@pytest.mark.parametrize("opening", ["client", "view"])
def test_a_file_that_is_not_there_is_not_made_by_looking(tmp_path, opening):
    with pytest.raises(NotADurableFile, match="does not exist"):
        OPENINGS[opening](tmp_path / "app.db")

    assert list(tmp_path.iterdir()) == []


# -- paths ----------------------------------------------------------------------------------------


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, make_socket])
def test_what_is_no_regular_file_is_refused_without_being_opened(tmp_path, make):
    path = tmp_path / "app.db"
    make(path)

    with pytest.raises(NotADurableFile, match="a pipe, a socket or a device"):
        real_path(path)  # Opening the pipe would wait for ever.


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "no path of a file"),
        (":memory:", "no path of a file"),
        ("file:app.db?mode=memory", "no path of a file"),
        ("app\0.db", "NUL"),
        ("/dev/null", "a device"),
        ("/tmp", "is a directory"),
        ("/nowhere/at/all/app.db", "does not exist"),
    ],
)
def test_what_is_no_path_of_a_file_is_refused(path, says):
    with pytest.raises(NotADurableFile, match=says):
        real_path(path)


def test_links_that_lead_round_are_refused_in_one_line(tmp_path):
    (tmp_path / "one.db").symlink_to(tmp_path / "two.db")
    (tmp_path / "two.db").symlink_to(tmp_path / "one.db")

    with pytest.raises(NotADurableFile, match="its links lead round"):
        real_path(tmp_path / "one.db")


def test_links_lead_to_one_path(tmp_path):
    (tmp_path / "link.db").symlink_to(tmp_path / "app.db")

    assert real_path(tmp_path / "link.db") == real_path(tmp_path / "app.db")


# -- surroundings ---------------------------------------------------------------------------------

MOUNTS = [
    "22 1 254:0 / / rw,relatime - ext4 /dev/root rw",
    "garbage",
    "23 22 0:30 / /mnt/nas rw - nfs4 host:/export rw",
    "24 23 0:31 / /mnt/nas/local rw shared:1 - ext4 /dev/sdb rw",
    r"25 22 0:32 / /mnt/the\040share rw - cifs //host/share rw",
    "26 22 0:33 / /mnt/ssh rw - fuse.sshfs me@host: rw",
]


@pytest.mark.parametrize("folder", ["/mnt/nas", "/mnt/nas/deep", "/mnt/the share", "/mnt/ssh/x"])
def test_a_network_file_system_is_refused(folder):
    with pytest.raises(NotADurableFile, match="network file system"):
        connection._refuse_network(f"{folder}/app.db", MOUNTS)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        *(
            (one, "network file system")
            for one in ("nfs4", "cifs", "lustre", "beegfs", "fuse.sshfs")
        ),
        *(
            (one, "passed through")
            for one in ("9p", "virtiofs", "fuse.grpcfuse", "osxfs", "fakeowner", "fuse.vmhgfs-fuse")
        ),
    ],
)
def test_what_is_no_local_disk_is_refused_by_name_but_for_who_wants_it(kind, says, monkeypatch):
    mounts = ["30 1 0:1 / / rw - ext4 /dev/a rw", f"31 30 0:2 / /data rw - {kind} src rw"]

    with pytest.raises(NotADurableFile, match=says) as refused:
        connection._refuse_network("/data/app.db", mounts)
    assert f"({kind})" in str(refused.value)
    monkeypatch.setenv("DURABLE_ANY_FILE_SYSTEM", "1")
    connection._refuse_network("/data/app.db", mounts)


def test_a_power_cut_is_waited_for_on_macos_too(path):
    made = connection.connect(path, create=True)

    assert made.pragma("fullfsync") == 1
    assert made.pragma("checkpoint_fullfsync") == 1


@pytest.mark.parametrize("folder", ["/", "/home", "/mnt/nas/local", "/mnt/nasty", "/mnt"])
def test_a_local_file_system_is_not_refused(folder):
    connection._refuse_network(f"{folder}/app.db", MOUNTS)
    connection._refuse_network(f"{folder}/app.db", [])


def test_a_sqlite_that_damages_files_is_refused():
    with pytest.raises(SQLiteTooOld, match=r"SQLite 3\.51\.2"):
        connection._refuse_old_sqlite(3_051_002)

    connection._refuse_old_sqlite(3_051_003)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o200, 0o777])
def test_all_files_are_for_their_owner_alone(tmp_path, make_store, mask):
    before = os.umask(mask)
    try:
        store = make_store(tmp_path / "app.db")
        store.open_worker("[]", 1)
    finally:
        os.umask(before)

    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}

    assert modes == dict.fromkeys(["app.db", "app.db-wal", "app.db-shm", "app.db-lock"], 0o600)


@pytest.fixture
def readable():
    """A folder with a file that others may read, and nobody but its owner may write to."""
    folder = Path(tempfile.mkdtemp(prefix="durable-"))
    durable_file(folder / "app.db")
    (folder / "app.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(work):
    """Run as a user without rights, in a process of its own; return what went wrong."""
    came, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            work()
            said = b"fine"
        except BaseException as error:
            said = repr(error).encode()
        os.write(go, said)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(go)
    with os.fdopen(came) as answer:
        return answer.read()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_view_reads_what_it_may_not_write(readable):
    before = contents(readable)

    def look():
        with durable.view(readable / "app.db") as runs:
            assert runs.list() == []

    assert as_nobody(look) == "fine"
    assert contents(readable) == before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_an_engine_says_that_it_may_not_write(readable):
    said = as_nobody(lambda: connect(str(readable / "app.db"), create=True))

    assert "StoreError" in said
    assert "check its permissions" in said


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_file_that_may_not_be_read_gets_one_line(readable):
    (readable / "app.db").chmod(0o000)

    said = as_nobody(lambda: connect(str(readable / "app.db"), read_only=True))

    assert "StoreError" in said
    assert "check its permissions" in said


# -- what is in a file does not run ---------------------------------------------------------------


def test_a_planted_trigger_does_not_run(path, make_store):
    planted = apsw.Connection(path)
    planted.execute(
        "CREATE TRIGGER evil AFTER INSERT ON durable_inbox BEGIN UPDATE "
        "durable_run SET id = 'owned'; END"
    )
    planted.close()
    store = make_store(path)

    store.writer._transaction.one(
        "insert_inbox", run=1, kind="cancel", name="", key="", payload='""', at_us=1
    )

    first = store.reader.find_run(1)
    assert first is not None
    assert first.id == "first"


def test_views_are_for_people_alone(path):
    made = connect(path)

    with pytest.raises(apsw.SQLError, match="view"):
        made.execute("SELECT * FROM durable_runs")
    made.close()


def test_text_in_double_quotes_is_a_column(path):
    made = connect(path)

    with pytest.raises(apsw.SQLError, match="no such column"):
        made.execute('SELECT "nothing" FROM durable_run')
    made.close()


def test_a_lock_file_that_is_a_link_is_refused(path, make_store, tmp_path):
    Path(path + "-lock").unlink()
    Path(path + "-lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="lock cannot be opened"):
        make_store(path)

    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_file_that_is_a_pipe_is_refused(path, make_store):
    Path(path + "-lock").unlink()
    os.mkfifo(path + "-lock")

    with pytest.raises(StoreError, match="lock cannot be opened"):
        make_store(path)
