"""Places for reading alone: who looks sees everything or is told why not, and nothing changes."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.crash.damage.read_only import ACTS, LOGS
from tests.crash.power.processes import in_child


@pytest.fixture
def open_folder():
    """A folder that every user can reach, as those of tests are not."""
    folder = Path(tempfile.mkdtemp(prefix="durable-"))
    folder.chmod(0o755)
    yield folder
    for one in folder.rglob("*"):
        if one.is_dir():
            one.chmod(0o755)
    shutil.rmtree(folder)


def read_alone(died, folder, where, bug=""):
    done = in_child("read-alone", died, folder, where, bug, of="damage")
    assert done["acts"] == len(ACTS) * len(LOGS)
    return done["wrong"]


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.usefixtures("mountable")
def test_a_file_system_that_is_mounted_for_reading_is_looked_at_and_not_changed(died, open_folder):
    assert read_alone(died, open_folder, "mount") == []


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize("where", ["folder", "file"])
def test_what_may_not_be_written_to_is_looked_at_and_not_changed(died, open_folder, where):
    assert read_alone(died, open_folder, where) == []


@pytest.mark.crash
@pytest.mark.slow
def test_a_planted_bug_is_found(died, open_folder):
    assert read_alone(died, open_folder, "folder", "blind") != []
