"""What the campaigns of damage share."""

import pytest

from tests.crash.power.processes import in_child


@pytest.fixture(scope="session")
def mountable():
    """Skip where no process may mount what nobody else sees."""
    why_not = in_child("mounts", of="damage")["why_not"]
    if why_not:
        pytest.skip(f"NOT TRIED, for nothing can be mounted here: {why_not}")


@pytest.fixture(scope="session")
def died(tmp_path_factory):
    """A folder with a file whose engine died, and its log."""
    folder = tmp_path_factory.mktemp("died")
    assert in_child("die", folder, 1, of="damage")["log"] > 0
    return folder
