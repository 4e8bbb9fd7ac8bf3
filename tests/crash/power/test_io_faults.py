"""Calls to the file system that fail: everything ends as it should once they work again.

An engine and a client live through a plan, and of all the calls below SQLite one fails, once or
for a while. One call of each kind in `make test`; `DURABLE_FAULTS=40 pytest -m long` is the long
form.
"""

import os
import pickle

import pytest

from tests.crash.power.judge import Judge
from tests.crash.power.processes import in_child
from tests.crash.power.recorder import Event

FAULTS = int(os.environ.get("DURABLE_FAULTS", "40"))
SEED = int(os.environ.get("DURABLE_SEED", "1"))
CHANGES = "write,sync,truncate,delete,open"
# Written only while the file is made.
JOURNAL = "app.db-journal"
FINE: tuple[object, ...] = ({}, {}, {})
# Syncs of the log that fail, in lives of about forty.
SYNCS = (12, 20)
IMAGES_OF_LIFE = 150


def endure(folder, kinds, each, names=""):
    """Let calls fail; return what broke a law, what was raised raw, and who was blocked."""
    done = in_child("endure", folder, 1, kinds, each, names)
    assert done["total"]["faults"] > 0
    return done["wrong"], done["raw"], done["blocked"]


@pytest.mark.crash
@pytest.mark.slow
def test_a_change_of_the_file_that_fails_is_made_in_the_end(tmp_path):
    assert endure(tmp_path, CHANGES, 1, f"-{JOURNAL}") == FINE


@pytest.mark.crash
@pytest.mark.slow
def test_a_read_that_fails_is_made_again(tmp_path):
    assert endure(tmp_path, "statement", 1) == FINE


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["write", "sync"])
def test_a_client_whose_commit_failed_sends_the_next_time(tmp_path, kind):
    assert in_child("talk", tmp_path, kind) == {"said": ["failed", "sent"]}


# -- a power cut after a failed sync -------------------------------------------------------------


def violations_after(folder, number, *, forgets):
    """Let a sync of the log fail; return what power cuts during that life do wrong."""
    file = folder / f"record-{number}"
    assert in_child("forget", file, number) == {"failed": 1, "wrong": []}
    events = [Event(*event) for event in pickle.loads(file.read_bytes())]
    judged = Judge(events, "full", folder / "image", SEED, forgets=forgets)
    judged.judge(IMAGES_OF_LIFE, until_found=True)
    return judged.violations


@pytest.mark.crash
@pytest.mark.slow
def test_a_power_cut_after_a_failed_sync_loses_nothing_acknowledged(tmp_path):
    found = [violations_after(tmp_path, number, forgets=False) for number in SYNCS]

    assert found == [[] for _ in SYNCS]


@pytest.mark.crash
@pytest.mark.slow
def test_a_failed_sync_is_not_trusted_where_the_kernel_gives_pages_up(tmp_path):
    found = [violations_after(tmp_path, number, forgets=True) for number in SYNCS]

    assert found == [[] for _ in SYNCS]


# -- the campaign finds what is wrong, and its long form -----------------------------------------


@pytest.mark.crash
@pytest.mark.slow
def test_a_planted_bug_is_found(tmp_path):
    done = in_child("endure-bug", tmp_path)

    assert done["wrong"] != {}


@pytest.mark.long
@pytest.mark.parametrize("kind", CHANGES.split(","))
def test_many_changes_of_the_file_that_fail(tmp_path, kind, capsys):
    done = in_child("endure", tmp_path, 1, kind, FAULTS)

    with capsys.disabled():
        print(f"\n{kind}: {done['total']}")
    assert (done["wrong"], done["raw"], done["blocked"]) == FINE


@pytest.mark.long
def test_many_reads_that_fail(tmp_path):
    assert endure(tmp_path, "statement", FAULTS) == FINE
