"""A disk that is full, at each step of 4 KiB: everything ends as it should once there is room.

An engine and a client live through a plan on a file system in memory that has so much room and no
more, until a moment after somebody said so. A few sizes in `make test`; `DURABLE_ROOMS=400 pytest
-m long` is the long form.
"""

import os
import shutil

import pytest

from tests.crash.power.processes import in_child

ROOMS = int(os.environ.get("DURABLE_ROOMS", "400"))
# So many pages are more than every life needs.
PAGES_MAX = 400
# Making the file, its log and its tables takes about so many; the log begins again after 60.
PAGES_OF_CREATION = 85


def fill(folder, way, first, last, step, bug=""):
    """Live on disks with more and more room; return what was tried, and what was wrong."""
    done = in_child("fill", folder, way, first, last, step, bug, of="damage")
    assert done["total"]["full"] > 0
    return done


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.usefixtures("mountable")
@pytest.mark.parametrize(("first", "step"), [(9, 31), (PAGES_OF_CREATION, 37)])
def test_a_full_disk_stops_nothing_for_good(tmp_path, first, step):
    assert fill(tmp_path, "real", first, first + 2 * step, step)["wrong"] == {}


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.usefixtures("mountable")
def test_a_file_left_by_a_crash_is_opened_once_there_is_room(tmp_path, died):
    leave(died, tmp_path)

    assert fill(tmp_path, "real", 3, PAGES_MAX, 9)["wrong"] == {}


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.usefixtures("mountable")
def test_a_disk_that_takes_no_more_files_is_full(tmp_path):
    assert fill(tmp_path, "files", 1, 3, 1)["wrong"] == {}


@pytest.mark.crash
@pytest.mark.slow
def test_what_has_no_room_is_written_later_where_nothing_can_be_mounted(tmp_path):
    assert fill(tmp_path, "played", 40, 140, 100)["wrong"] == {}


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.usefixtures("mountable")
def test_who_looks_is_told_that_the_disk_is_full(tmp_path, died):
    leave(died, tmp_path)

    said = in_child("look-at-full", tmp_path, of="damage")

    assert said["opening"].endswith("place/app.db: the disk is full; nothing is lost, make room")
    assert said["doctor"].startswith("the disk is full")
    assert int(said["runs"]) > 10


def leave(died, folder):
    """Let a file whose engine died be on each disk; its index is made again by who opens it."""
    shutil.copytree(died, folder / "base", ignore=shutil.ignore_patterns("*-shm"))


# -- the campaign finds what is wrong, and its long form -----------------------------------------


@pytest.mark.crash
@pytest.mark.slow
def test_a_planted_bug_is_found(tmp_path):
    assert fill(tmp_path, "played", 150, 150, 1, "refuse")["wrong"] != {}


@pytest.mark.long
def test_another_planted_bug_is_found(tmp_path):
    assert fill(tmp_path, "played", 150, 150, 1, "forget")["wrong"] != {}


@pytest.mark.long
@pytest.mark.usefixtures("mountable")
@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_at_every_step(tmp_path, died, is_new, capsys):
    if not is_new:
        leave(died, tmp_path)

    done = fill(tmp_path, "real", 1, PAGES_MAX, max(1, PAGES_MAX // ROOMS))

    with capsys.disabled():
        print(f"\n{done['total']}")
    assert done["wrong"] == {}
