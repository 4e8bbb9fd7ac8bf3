"""The single writer: what shares a commit, what fails alone, and what is waited for."""

import asyncio
import contextlib
import logging
import os
import re
import subprocess
import threading
from pathlib import Path

import apsw
import pytest

import durable
from durable import activity, workflow
from durable._store.connection import connect, real_path
from durable._store.locks import lock_file
from durable._store.queries import QUERIES
from durable._store.rows import NewRun
from durable._store.store import Store
from durable._store.writer import Change, Writer
from durable.errors import (
    CommitUnknown,
    FileMoved,
    ForkedEngine,
    OwnershipLost,
    RowRefused,
    StoreError,
    WrongState,
)
from tests.store.samples import event_row, run_row


class Desk:
    """A writer with its thread, and the changes it has answered."""

    def __init__(self, path, durability="normal"):
        self.answered = []
        self.moved = threading.Condition()
        self.foreign = 0
        self.locks = lock_file(real_path(path))
        self.locks.open()
        self.writer = Writer(real_path(path), durability, self._answer, self._note, self.locks)
        self.writer.start()

    def _answer(self, batch):
        with self.moved:
            self.answered += batch
            self.moved.notify_all()

    def _note(self):
        with self.moved:
            self.foreign += 1
            self.moved.notify_all()

    def submit(self, *changes):
        for change in changes:
            self.writer.submit(change)
        return changes[-1]

    def wait(self, count):
        with self.moved:
            assert self.moved.wait_for(lambda: len(self.answered) >= count, timeout=30)
        return self.answered

    @contextlib.contextmanager
    def held(self):
        """Hold the writer in the middle of a transaction."""
        begun, go_on = threading.Event(), threading.Event()

        def operation(transaction):
            begun.set()
            go_on.wait(30)

        self.submit(Change(operation=operation))
        assert begun.wait(30)
        yield
        go_on.set()


@pytest.fixture
def desk(path):
    made = Desk(path)
    yield made
    made.writer.close()


def events(path):
    looked = connect(path, read_only=True)
    rows = looked.execute("SELECT seq FROM durable_event WHERE run = 1 ORDER BY seq").fetchall()
    looked.close()
    return [seq for (seq,) in rows]


# -- groups ---------------------------------------------------------------------------------------


def test_what_gathers_during_a_commit_shares_the_next(desk, path):
    before = desk.writer.commits

    with desk.held():
        desk.submit(*(Change(event=event_row(seq)) for seq in range(1, 11)))
        assert events(path) == []
    desk.wait(11)

    assert desk.writer.commits == before + 2
    assert events(path) == list(range(1, 11))


def test_changes_are_answered_in_the_order_they_were_given(desk):
    changes = [Change(event=event_row(seq), context=seq) for seq in range(1, 301)]

    desk.submit(*changes)

    assert desk.wait(300) == changes
    assert all(change.error is None for change in changes)


def test_a_transaction_takes_a_limited_number_of_changes(desk, monkeypatch):
    monkeypatch.setattr("durable._store.writer.CHANGES_PER_COMMIT_MAX", 4)
    before = desk.writer.commits

    with desk.held():
        desk.submit(*(Change(event=event_row(seq)) for seq in range(1, 10)))
    desk.wait(10)

    assert desk.writer.commits == before + 1 + 3  # 4 and 4 and 1.


def test_of_two_states_for_one_run_in_a_transaction_the_later_counts(desk, path):
    with desk.held():
        for state, lost in (("parked", 1), ("ready", 2), ("parked", 3)):
            desk.submit(Change(rows=[("update_run", (1, state, None, None, None, lost, 0))]))
    desk.wait(4)

    looked = connect(path, read_only=True)
    assert looked.execute("SELECT state, lost FROM durable_run").get == ("parked", 3)
    looked.close()


def test_two_starts_of_one_id_in_a_transaction_make_one_run(desk):
    with desk.held():
        changes = [Change(start=run_row("same", salt)) for salt in (11, 12)]
        desk.submit(*changes)
    desk.wait(3)

    assert changes[0].value is not None
    assert changes[1].value is None


def test_what_is_queued_is_committed_before_closing(path):
    desk = Desk(path)

    desk.submit(*(Change(event=event_row(seq)) for seq in range(1, 101)))
    desk.writer.close()

    assert events(path) == list(range(1, 101))
    assert len(desk.answered) == 100


def test_an_operation_that_belongs_to_rows_comes_before_those_that_come_alone(desk):
    order = []
    with desk.held():
        desk.submit(
            Change(operation=lambda _: order.append("alone")),
            Change(rows=[("delete_step", (1, "1"))], operation=lambda _: order.append("with rows")),
            Change(operation=lambda _: order.append("alone, later")),
        )
    desk.wait(4)

    assert order == ["with rows", "alone", "alone, later"]


# -- what fails alone -----------------------------------------------------------------------------

WRONG = [
    Change(event=event_row(1)),  # It exists.
    Change(event=(1, 2, 99, "", "", 1, "", "", 0, 0, 0)),  # No kind.
    Change(event=event_row(2, result="\udc80")),  # No text.
    Change(event=(1, 2, 1, "", "", 1 << 63, "", "", 0, 0, 0)),  # No number of SQLite.
    Change(event=(1, 2, 1, "", "", 1, "", object(), 0, 0, 0)),  # Nothing SQLite can hold.
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_change_the_file_refuses_fails_alone(desk, path, wrong):
    desk.submit(Change(event=event_row(1)))
    desk.wait(1)
    other = Change(
        rows=[("upsert_step", (9, "1", "other", "intent", 1, 1, None, None, 0, "[]", None, None))]
    )

    with desk.held():
        desk.submit(wrong, other, Change(event=event_row(1, run=2)))
    desk.wait(4)

    assert isinstance(wrong.error, RowRefused)
    assert [change.error for change in desk.answered if change is not wrong] == [None] * 4
    assert events(path) == [1]


def test_no_later_event_follows_one_that_was_refused(desk, path):
    with desk.held():
        changes = [
            Change(event=event_row(1)),
            Change(event=event_row(2, result="\udc80")),
            Change(event=event_row(3)),
            Change(event=event_row(1, run=2)),
        ]
        desk.submit(*changes)
    late = desk.submit(Change(event=event_row(4)))
    desk.wait(6)

    assert [change.error is None for change in changes] == [True, False, False, True]
    assert late.error is not None
    assert events(path) == [1]


def test_no_event_of_any_change_follows_one_that_was_refused_until_its_owner_is_ready(desk, path):
    with desk.held():
        wrong = Change(event=event_row(1, result="\udc80"))
        desk.submit(wrong, Change(rows=[("insert_event", event_row(2))]))
    desk.wait(3)
    assert [type(change.error) for change in desk.answered[1:]] == [RowRefused] * 2
    assert "event 1 was refused" in str(wrong.error)

    desk.writer.take_again(1)
    desk.submit(Change(rows=[("insert_event", event_row(1))]))
    desk.wait(4)

    assert events(path) == [1]


@pytest.mark.parametrize("error", [WrongState("no"), ValueError("bug"), AssertionError("a bug")])
def test_an_operation_that_raises_is_rolled_back_alone(desk, path, error):
    def operation(transaction):
        transaction.rows("insert_event", [event_row(9)])
        raise error

    with desk.held():
        wrong = Change(operation=operation)
        desk.submit(Change(event=event_row(1)), wrong, Change(event=event_row(2)))
    desk.wait(4)

    assert wrong.error is error
    assert events(path) == [1, 2]


def test_an_operation_whose_rows_are_refused_fails_alone(desk, path):
    def operation(transaction):
        transaction.rows("insert_event", [event_row(1), event_row(1)])

    with desk.held():
        wrong = Change(operation=operation)
        desk.submit(Change(event=event_row(1)), wrong, Change(event=event_row(2)))
    desk.wait(4)

    assert isinstance(wrong.error, StoreError)
    assert events(path) == [1, 2]


# -- the fence ------------------------------------------------------------------------------------


def test_a_worker_that_was_declared_dead_writes_nothing(path, make_store):
    store, other = make_store(path), make_store(path)
    worker = store.open_worker("[]", 1)
    store.writer.commit_now(Change(event=event_row(1)))

    def declare_dead(transaction):
        transaction.one("end_worker", id=worker, state="dead", now_us=2)

    other.writer.commit_now(Change(operation=declare_dead))

    for _ in range(2):
        with pytest.raises(OwnershipLost, match="declared dead"):
            store.writer.commit_now(Change(event=event_row(2)))
    assert events(path) == [1]


def test_a_living_worker_is_not_taken_over(path, make_store):
    store, other = make_store(path), make_store(path)
    worker = store.open_worker("[]", 1)

    assert other.writer.commit_now(Change(operation=other.take_over(worker, 2))) is False
    assert other.dead_workers() == []

    store.locks.release(worker)  # As the kernel does when the process dies.
    assert [row.id for row in other.dead_workers()] == [worker]
    assert other.writer.commit_now(Change(operation=other.take_over(worker, 2))) is True
    assert other.writer.commit_now(Change(operation=other.take_over(worker, 2))) is False


def test_a_worker_whose_row_was_not_committed_holds_no_byte(path, make_store):
    store = make_store(path)
    store.writer._connection = Failing(store.writer._connection, apsw.IOError, happened=False)

    with pytest.raises(CommitUnknown):
        store.open_worker("[]", 1)

    assert store.locks._held == set()


# -- a file that is not there any more -----------------------------------------------------------


@pytest.mark.parametrize("worker", [False, True])
def test_nothing_is_committed_to_a_file_that_was_moved(path, make_store, worker):
    store, away = make_store(path), Path(path).with_name("away")
    if worker:
        store.open_worker("[]", 1)
    store.writer.commit_now(Change(event=event_row(1)))
    Path(path).rename(away)

    with pytest.raises(FileMoved, match=path):
        store.writer.commit_now(Change(event=event_row(2)))
    away.rename(path)

    # A worker's later events must not follow those that failed.
    with pytest.raises(FileMoved) if worker else contextlib.nullcontext():
        store.writer.commit_now(Change(event=event_row(3)))
    assert events(path) == ([1] if worker else [1, 3])


# -- what is waited for ---------------------------------------------------------------------------


def test_a_file_that_another_process_writes_to_is_waited_for(desk, path, child):
    other = child("lock", path)
    assert other.line() == "ready"

    change = desk.submit(Change(event=event_row(1)))
    with desk.moved:  # Not one answer, as long as the other process holds the lock.
        assert not desk.moved.wait_for(lambda: desk.answered, timeout=0.3)
    other.process.stdin.write("go on\n")
    other.process.stdin.flush()

    assert other.line() == "done"
    assert desk.wait(1) == [change]
    assert change.error is None
    assert events(path) == [1]


def test_the_commits_of_others_are_noticed(desk, path, make_store):
    with desk.moved:
        assert desk.moved.wait_for(lambda: desk.foreign == 1, timeout=30)  # The first look.
    desk.submit(Change(event=event_row(1)))
    desk.wait(1)
    assert desk.foreign == 1

    make_store(path).writer.commit_now(Change(event=event_row(2)))

    with desk.moved:
        assert desk.moved.wait_for(lambda: desk.foreign == 2, timeout=30)


@pytest.mark.slow
def test_two_processes_that_write_share_the_file_evenly(path, child):
    children = [child("write", path) for _ in range(2)]
    assert [one.line() for one in children] == ["ready", "ready"]

    with pytest.raises(subprocess.TimeoutExpired):  # Both at work, for long enough to compare.
        children[0].process.wait(timeout=1.0)

    for one in children:
        one.process.stdin.close()
    commits = sorted(int(one.process.stdout.read()) for one in children)
    for one in children:
        one.process.wait()
        one.process.stdin = None
    # SQLite's own busy_timeout gives one of them next to nothing; a loaded machine is never even.
    assert commits[0] * 16 > commits[1]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: a full disk; mounting a small one needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def blob(n, size=100_000):
    return Change(rows=[("insert_blob", (n, 1, size, bytes(size)))], context=n)


def fill(folder):
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


def watch_for(text):
    """Return a handler of the log, and what it sets once the text was logged."""
    found = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record):
            if text in record.getMessage():
                found.set()

    return Watch(), found


def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(small_disk):
    path = small_disk / "app.db"
    Store(path, durability="full", deliver=print, on_foreign_commit=print).close()
    desk = Desk(path, "full")
    watch, full = watch_for("the disk is full; nothing is lost")
    logging.getLogger("durable.store").addHandler(watch)
    try:
        desk.submit(blob(1))
        desk.wait(1)
        ballast = fill(small_disk)

        desk.submit(*(blob(n) for n in range(2, 7)))
        assert full.wait(30)
        assert len(desk.answered) == 1
        ballast.unlink()

        assert [change.error for change in desk.wait(6)] == [None] * 6
    finally:
        logging.getLogger("durable.store").removeHandler(watch)
        desk.writer.close()
    looked = connect(str(path), read_only=True)
    assert [n for (n,) in looked.execute("SELECT id FROM durable_blob ORDER BY id")] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    assert looked.pragma("integrity_check") == "ok"
    looked.close()


def test_a_full_disk_does_not_keep_a_process_from_stopping(small_disk):
    path = small_disk / "app.db"
    Store(path, durability="full", deliver=print, on_foreign_commit=print).close()
    desk = Desk(path, "full")
    desk.submit(blob(1))
    desk.wait(1)
    fill(small_disk)

    change = desk.submit(blob(2, 500_000))
    desk.writer.close()

    assert isinstance(change.error, StoreError)
    assert "the disk is full" in str(change.error)


# -- commits that fail ----------------------------------------------------------------------------


class Failing:
    """A connection whose next COMMIT fails, after it happened or instead of it."""

    def __init__(self, connection, error, *, happened, after=0):
        self._connection = connection
        self._error = error
        self._happened = happened
        self._after = after

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, text, *values):
        if text != "COMMIT":
            return self._connection.execute(text, *values)
        self._after -= 1
        if self._after >= 0:
            return self._connection.execute(text)
        if self._happened:
            self._connection.execute(text)
        raise self._error("injected")


@pytest.mark.parametrize("happened", [False, True])
def test_a_commit_that_fails_is_unknown_and_ends_the_writer(desk, path, happened):
    desk.writer._connection = Failing(desk.writer._connection, apsw.IOError, happened=happened)

    with_it = desk.submit(Change(event=event_row(1)))
    desk.wait(1)
    after = desk.submit(Change(event=event_row(2)))
    desk.wait(2)

    assert isinstance(with_it.error, CommitUnknown)
    assert isinstance(after.error, CommitUnknown)
    desk.writer.close()
    assert events(path) == ([1] if happened else [])


@activity
async def add_one(number: int) -> int:
    return number + 1


@workflow
async def adds_many(count: int) -> int:
    number = 0
    for _ in range(count):
        number = await add_one(number)
    return number


@pytest.mark.parametrize("happened", [False, True])
@pytest.mark.parametrize("after", [0, 1, 4, 9])
async def test_an_engine_reads_again_after_a_commit_that_failed(tmp_path, happened, after):
    async with durable.Engine(tmp_path / "app.db", durability="normal") as engine:
        run = await engine.start(adds_many, 10)
        writer = engine._store.writer
        with writer._guard:
            writer._connection = Failing(
                writer._connection, apsw.IOError, happened=happened, after=after
            )

        async with asyncio.timeout(30):
            assert await run.result() == 10

        assert [event.seq for event in await run.history()] == list(range(1, 11))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_store_is_not_for_a_forked_child(path, make_store):
    store = make_store(path)
    came, go = os.pipe()

    if (child := os.fork()) == 0:
        for use in (store.reader.count_open, lambda: store.writer.commit_now(Change())):
            try:
                use()
            except ForkedEngine:
                os.write(go, b"refused ")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(go)

    with os.fdopen(came) as said:
        assert said.read() == "refused refused "


def test_a_store_that_cannot_be_opened_leaves_nothing_open(path, monkeypatch):
    before = len(list(Path("/dev/fd").iterdir()))

    def broken(_):
        raise StoreError("no reader today")

    monkeypatch.setattr("durable._store.store.Reader", broken)
    for _ in range(3):
        with pytest.raises(StoreError, match="no reader"):
            Store(path, durability="normal", deliver=print, on_foreign_commit=print)

    assert len(list(Path("/dev/fd").iterdir())) == before


def test_nobody_else_writes_between_what_a_transaction_reads_and_writes(path, make_store):
    store = make_store(path)
    other = apsw.Connection(str(path))

    def operation(transaction):
        transaction.all("get_last_key")
        with pytest.raises(apsw.BusyError):
            other.execute("CREATE TABLE theirs (n)")
        return transaction.all("count_log")

    store.writer.commit_now(Change(operation=operation))

    other.execute("CREATE TABLE theirs (n)")
    other.close()


def test_a_new_run_has_the_columns_of_the_statement_in_its_order() -> None:
    listed = re.search(r"INTO durable_run \((.*?)\)", QUERIES["insert_run"].text, re.DOTALL)
    assert listed is not None

    assert tuple(listed[1].replace(",", " ").split()) == NewRun.__struct_fields__


def test_a_new_run_becomes_the_row_that_is_read(path, make_store):
    store = make_store(path)
    run = run_row("second", salt=8)
    change = Change(start=run)
    store.writer.commit_now(change)

    assert store.reader.find_run(change.value) == run.row(change.value)
