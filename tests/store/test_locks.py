"""Who lives: the kernel's word, by one locked byte for each worker."""

import os
import signal
from pathlib import Path

import pytest

from durable._store.connection import real_path
from durable._store.locks import LockFile, lock_file
from durable._store.store import Store


@pytest.fixture
def locks(tmp_path):
    made = lock_file(str(tmp_path / "app.db"))
    made.open()
    yield made
    made.release(5)
    made.close()


def test_a_byte_is_held_once(locks):
    assert not locks.is_held(5)

    assert locks.hold(5)

    assert locks.is_held(5)
    assert not locks.hold(5)
    assert not locks.is_held(6)
    locks.release(5)
    assert not locks.is_held(5)


def test_a_byte_of_another_process_is_held_until_it_dies(locks, tmp_path, child):
    other = child("hold", tmp_path / "app.db", 5)
    assert other.line() == "held True"

    assert locks.is_held(5)
    assert not locks.hold(5)
    other.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, other.process.pid, os.WSTOPPED)
    assert locks.is_held(5)
    other.kill()
    assert not locks.is_held(5)
    assert locks.hold(5)


def test_another_process_sees_our_byte(locks, tmp_path, child):
    locks.hold(5)

    assert child("ask", tmp_path / "app.db", 5).line() == "True"
    assert child("ask", tmp_path / "app.db", 6).line() == "False"


def test_a_forked_child_does_not_inherit_a_byte(locks, tmp_path, child):
    parent = child("hold-and-fork", tmp_path / "app.db", 5)
    lines = {parent.line(), parent.line()}
    assert lines == {"held True", "child True"}

    parent.process.kill()
    parent.process.wait()

    assert not locks.is_held(5)  # Though the forked child lives on.
    parent.end()


def test_a_byte_stays_held_while_others_open_and_close_the_file(locks, tmp_path, child):
    locks.hold(5)

    for _ in range(3):
        locks.open()
        locks.close()

    assert child("ask", tmp_path / "app.db", 5).line() == "True"


def test_the_file_stays_open_as_long_as_a_byte_is_held(tmp_path, child):
    locks = lock_file(str(tmp_path / "app.db"))
    locks.open()
    locks.hold(5)

    locks.close()

    assert child("ask", tmp_path / "app.db", 5).line() == "True"
    locks.release(5)
    assert locks._fd == -1
    assert child("ask", tmp_path / "app.db", 5).line() == "False"


def test_one_path_has_one_lock_file_whatever_it_is_called(tmp_path):
    (tmp_path / "app.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "app.db")

    one, other = (lock_file(real_path(tmp_path / name)) for name in ("app.db", "link.db"))

    assert one is other


def descriptors():
    folder = Path("/dev/fd")
    return len(list(folder.iterdir()))


def test_no_descriptor_is_left_behind(tmp_path):
    before = descriptors()

    for n in range(50):
        locks = LockFile(str(tmp_path / f"{n}-lock"))
        locks.open()
        locks.hold(n)
        locks.release(n)
        locks.close()

    assert descriptors() == before


def test_one_process_at_a_time_has_the_byte_of_who_writes(tmp_path, child):
    path = str(tmp_path / "app.db")
    locks = lock_file(path)
    locks.open()
    assert locks.take_turn()
    assert not locks.take_turn()

    other = child("turn", path)
    assert other.line() == "False"
    locks.end_turn()
    assert other.end() == "True"
    assert locks.take_turn()
    locks.end_turn()
    locks.close()


def test_whose_lock_file_was_deleted_is_not_taken_for_dead_by_who_makes_another(tmp_path, child):
    path = str(tmp_path / "app.db")
    store = Store(path, durability="normal", deliver=print, on_foreign_commit=print)
    worker = store.open_worker("[]", 1)
    Path(f"{path}-lock").unlink()

    other = child("dead", path)

    assert other.line() == "[]"
    assert store.locks.is_gone()
    store.locks.make_again()
    assert other.end() == "[]"
    assert store.locks.is_held(worker)
    store.close()
