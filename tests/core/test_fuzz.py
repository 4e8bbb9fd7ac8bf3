"""The core's first test: random programs replay identically elsewhere. Long form: `make crash`."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzz
from programs import build, play, teardown

SEEDS = range(300)


@pytest.mark.slow
def test_random_programs_replay_identically_in_other_processes():
    problems, statuses, events = fuzz.campaign(SEEDS)

    assert not problems, "\n".join(problems)
    assert events > 2_000
    assert statuses["Completed"] > 250


def other_pythons():
    """Other supported interpreters on this machine that have what the core needs."""
    found = []
    named = os.environ.get("DURABLE_OTHER_PYTHONS", "").split(os.pathsep)
    names = [name for name in named if name] or ["python3.12", "python3.13", "python3.14"]
    for name in names:
        python = shutil.which(name)
        if python is None or name.endswith("{}.{}".format(*sys.version_info)):
            continue
        wanted = "import apsw, anyio, attrs, msgspec"
        if subprocess.run([python, "-c", wanted], capture_output=True, check=False).returncode == 0:
            found.append(python)
    return found


@pytest.mark.slow
def test_histories_of_this_python_replay_on_others():
    pythons = other_pythons()
    if not pythons:
        pytest.skip("NOT CHECKED: no other Python with durable's dependencies is on this machine")
    problems, _, _ = fuzz.campaign(range(100), pythons, fuzz.DISTURBANCES[:1])

    assert not problems, "\n".join(problems)


def test_the_fuzz_finds_a_loop_that_orders_by_address(monkeypatch):
    """A check of the check: without creation-order hashes the campaign must fail."""
    from durable._core import loop

    monkeypatch.setattr(loop.WorkflowTask, "__hash__", object.__hash__)
    monkeypatch.setattr(loop.Step, "__hash__", object.__hash__)
    recorded, _, _ = fuzz.record(range(60))
    monkeypatch.undo()

    assert any(play(p, s, h, disturbance=101).result != r for s, p, h, r in recorded)


def test_a_fresh_salt_changes_nothing_but_the_order_of_sets():
    program = build(random.Random(5), 3)

    one = play(program, 5)
    history = list(one.history)
    same = play(program, 5, history)

    assert same.result == one.result
    assert not teardown(one)
    assert not teardown(same)


def test_a_failing_seed_is_shrunk_to_a_smaller_program():
    program = build(random.Random(3), 4)

    small = fuzz.shrink(program, 3, lambda candidate, _: "gather" in str(candidate))

    assert "gather" in str(small)
    assert len(str(small)) < len(str(program))
