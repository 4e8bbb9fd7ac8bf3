"""Power cuts: whatever a disk may hold after one, the file opens and nothing said is lost.

Three lives of an engine, with a client beside it, are recorded below SQLite; then the disk is
rebuilt as it may be after a cut at any moment, and judged. Some hundred images in `make test`;
`DURABLE_IMAGES=20000 DURABLE_SEED=7 pytest -m long` is the long form.
"""

import os
import pickle

import pytest

from tests.crash.power.judge import Judge
from tests.crash.power.processes import in_child
from tests.crash.power.recorder import Event

IMAGES = int(os.environ.get("DURABLE_IMAGES", "20000"))
SEED = int(os.environ.get("DURABLE_SEED", "1"))
SHORT_IMAGES, SHORT_SAMPLES = 300, 5
LONG_SAMPLES = 200
# Records over which the images are spread, for each is another; and a test ends in minutes.
PARTS = 4
# Lives of more runs: one sync in 25 is left out, and some of those belong to no commit.
SIZE_OF_LONG, SIZE_OF_BUG = 4, 2


def record(folder, durability, size=1, bug=""):
    """Record some lives, all of whose runs end as they should where no bug is planted."""
    file = folder / f"record-{durability}"
    done = in_child("record", file, durability, size, bug)
    assert bug or done == {"wrong": {}}
    return [Event(*event) for event in pickle.loads(file.read_bytes())]


def judge(folder, durability, size=1, bug="", seed=SEED):
    return Judge(record(folder, durability, size, bug), durability, folder / "image", seed)


def resume(judged, folder, durability, size, samples):
    """Resume some images; return what was wrong with each."""
    judged.keep_samples(samples, folder / "samples")
    done = in_child("resume", folder / "samples", durability, size)
    assert done["resumed"] == samples
    return done["wrong"]


@pytest.mark.crash
@pytest.mark.slow
def test_with_full_durability_a_power_cut_loses_nothing_acknowledged(tmp_path):
    judged = judge(tmp_path, "full")

    judged.judge(SHORT_IMAGES)

    assert judged.violations == []
    assert judged.counts["images"] > SHORT_IMAGES
    assert resume(judged, tmp_path, "full", 1, SHORT_SAMPLES) == {}


@pytest.mark.crash
@pytest.mark.slow
def test_with_normal_durability_a_power_cut_takes_the_last_commits_only(tmp_path):
    judged = judge(tmp_path, "normal")

    judged.judge(SHORT_IMAGES)

    assert judged.violations == []
    assert judged.counts["facts missing"] > 0
    assert resume(judged, tmp_path, "normal", 1, SHORT_SAMPLES) == {}


@pytest.mark.crash
@pytest.mark.slow
def test_with_normal_durability_a_call_is_still_made_at_most_once(tmp_path):
    judged = judge(tmp_path, "normal")

    judged.judge(SHORT_IMAGES)

    assert judged.counts["calls forgotten"] == 0


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_thousands_of_power_cuts(tmp_path, durability, part, capsys):
    judged = judge(tmp_path, durability, SIZE_OF_LONG, seed=SEED + part)

    judged.judge(IMAGES // PARTS)

    with capsys.disabled():
        print(f"\n{durability}: {judged.commits} commits, {dict(judged.counts)}")
    assert judged.violations == []
    assert resume(judged, tmp_path, durability, SIZE_OF_LONG, LONG_SAMPLES // PARTS) == {}


# -- the campaign finds what is wrong ------------------------------------------------------------


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize(
    "bug", ["skip-syncs", "open-as-normal", "acknowledge-early", "split-changes"]
)
def test_a_planted_bug_is_found(tmp_path, bug):
    judged = judge(tmp_path, "full", SIZE_OF_BUG, bug)

    judged.judge(SHORT_IMAGES, until_found=True)

    assert judged.violations != []
