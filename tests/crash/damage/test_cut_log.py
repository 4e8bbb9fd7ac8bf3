"""A log that was cut at any byte: what is left is a file as it was after a whole commit.

A log that lost its end has lost commits, which nothing can tell; never is there half of one. Beside
each frame and at a hundred places by chance in `make test`; `DURABLE_CUTS=20000 pytest -m long`, or
`all`, is the long form.
"""

import os

import pytest

from tests.crash.power.processes import in_child

CUTS = os.environ.get("DURABLE_CUTS", "20000")
SEED = int(os.environ.get("DURABLE_SEED", "1"))
# Of the log, in the long form: a child ends in minutes.
PARTS = 10


@pytest.mark.crash
@pytest.mark.slow
def test_a_log_that_was_cut_leaves_whole_commits(tmp_path, died):
    done = in_child("cut", died, tmp_path, "1/1", 100, 5, 3, SEED, of="damage")

    assert done["wrong"] == []
    assert done["contents"] > 10


@pytest.mark.crash
@pytest.mark.slow
def test_a_log_that_was_cut_after_it_was_copied_is_told(tmp_path, died):
    done = in_child("cut-copied", died, tmp_path, of="damage")

    assert done["wrong"] == []
    assert done["told"] != []


@pytest.mark.crash
@pytest.mark.slow
def test_a_planted_bug_is_found(tmp_path, died):
    assert in_child("cut-bug", died, tmp_path, of="damage")["wrong"] != []


@pytest.mark.long
@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_a_log_that_was_cut_at_thousands_of_places(tmp_path, died, part, capsys):
    places = CUTS if CUTS == "all" else int(CUTS) // PARTS

    done = in_child(
        "cut", died, tmp_path, f"{part}/{PARTS}", places, 20, 10, SEED + part, of="damage"
    )

    with capsys.disabled():
        print(f"\n{done['cuts']} cuts, {done['contents']} contents")
    assert done["wrong"] == []
