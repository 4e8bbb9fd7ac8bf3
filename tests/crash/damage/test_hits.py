"""What a bad disk makes of a file and its log: it is told where it can be, and nothing is wrong.

Bits are flipped, bytes scribbled over, pages zeroed, swapped, copied and garbled, files cut; then
the file is looked at, served and looked at again. A few hits in `make test`; `DURABLE_HITS=4000
pytest -m long` is the long form.
"""

import os
import subprocess
import sys

import pytest

from tests.crash.damage.hits import KINDS
from tests.crash.power.processes import ROOT, in_child

HITS = int(os.environ.get("DURABLE_HITS", "4000"))
SEED = int(os.environ.get("DURABLE_SEED", "1"))
SHORT_HITS = 4 * len(KINDS)
# A child ends in minutes.
PARTS = 10

SERVING = """
import durable
from tests.crash.damage.hits import FUNCTIONS

def engine():
    return durable.Engine("app.db", functions=FUNCTIONS, grace=0)
"""


@pytest.fixture(scope="session")
def known(tmp_path_factory):
    """A folder with a file whose runs' ends are known, and whose engine died."""
    folder = tmp_path_factory.mktemp("known")
    assert in_child("fill-known", folder, of="damage")["log"] > 0
    return folder


def strike(known, folder, count, seed, bug=""):
    return in_child("strike", known, folder, count, seed, bug, of="damage")


@pytest.mark.crash
@pytest.mark.slow
def test_whatever_a_disk_does_is_told_or_harmless(tmp_path, known):
    done = strike(known, tmp_path, SHORT_HITS, SEED)

    assert done["wrong"] == {}
    assert done["noticed"]["durable verify"] > SHORT_HITS // 2


@pytest.mark.crash
@pytest.mark.slow
def test_a_letter_of_a_recorded_text_is_no_result(tmp_path, known):
    done = strike(known, tmp_path, 4, "aimed")

    assert done["wrong"] == {}
    assert done["noticed"]["doctor before"] == done["noticed"]["durable verify"] == 4


@pytest.mark.crash
@pytest.mark.slow
def test_a_planted_bug_is_found(tmp_path, known):
    assert strike(known, tmp_path, 2, "aimed", "check-nothing")["wrong"] != {}


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_a_disk_does_thousands_of_times(tmp_path, known, part, capsys):
    done = strike(known, tmp_path, HITS // PARTS, SEED + part)

    with capsys.disabled():
        print(f"\n{done['noticed']}")
    assert done["wrong"] == {}


@pytest.mark.crash
@pytest.mark.slow
def test_a_worker_of_a_file_with_a_damaged_schema_ends_and_says_what_to_do(tmp_path, known):
    data = bytearray((known / "app.db").read_bytes())
    data[100:4096] = bytes(3996)
    (tmp_path / "app.db").write_bytes(data)
    (tmp_path / "app.db").chmod(0o600)
    (tmp_path / "serving.py").write_text(SERVING)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}
    command = [sys.executable, "-m", "durable", "worker", "serving.py:engine"]

    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "restore a backup" in done.stderr
    assert (tmp_path / "app.db").read_bytes() == data
