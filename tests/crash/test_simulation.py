"""Deterministic simulation: engines, clients and runs on one loop, with virtual time, by a seed.

Engines are killed between any two commits, stopped and continued, and leave; the order of the
host's loop, the moments of commits and the lateness of timers are the seed's. Short in `make test`;
`DURABLE_WORLDS=20000 pytest -m crash` is the long form, and `DURABLE_SEED` where it begins.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from durable._runtime.activities import Activities
from durable._runtime.timers import Timers
from durable._runtime.worker import Worker
from durable._store.locks import LockFile
from durable._store.writer import Transaction
from tests.crash import sim_world
from tests.crash.sim_loop import SimLoop

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
WORLDS = int(os.environ.get("DURABLE_WORLDS", "50"))
SEED = int(os.environ.get("DURABLE_SEED", "1"))
# A test that takes minutes is taken for one that hangs.
PER_TEST = 50
# In so many worlds a planted bug is found.
PLANTED_MAX = 60


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("first", range(SEED, SEED + WORLDS, PER_TEST))
def test_every_run_ends_right_whoever_dies(tmp_path, capsys, first):
    seeds = range(first, min(first + PER_TEST, SEED + WORLDS))

    found, tried = sim_world.play_all(tmp_path, seeds)

    assert found == {}
    assert tried["killed"] > len(seeds) / 2
    with capsys.disabled():
        print(f"\n  {len(seeds)} worlds: {', '.join(f'{n:,} {kind}' for kind, n in tried.items())}")


# -- the same seed is the same world --------------------------------------------------------------


def test_the_same_seed_is_the_same_world_in_another_process_too(tmp_path):
    seeds = range(4)
    program = (
        "import sys, pathlib, logging; logging.disable(logging.CRITICAL)\n"
        "from tests.crash import sim_world\n"
        f"for seed in range({len(seeds)}):\n"
        "    print(sim_world.play(pathlib.Path(sys.argv[1]), seed).digest)\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    (tmp_path / "other").mkdir()

    here = [sim_world.play(tmp_path, seed).digest for seed in seeds]
    again = [sim_world.play(tmp_path, seed).digest for seed in seeds]
    there = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "other"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip

    assert here == again == there
    assert len(set(here)) == len(seeds)


def test_a_loop_on_which_nothing_can_happen_says_so():
    loop = SimLoop(1)
    try:
        with pytest.raises(AssertionError, match="deadlock"):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()


# -- it must be able to fail ----------------------------------------------------------------------


def take_over_the_living(patch):
    """Each worker seems dead to the others, and does not hear of it when they take its runs."""
    one = Transaction.one

    def unfenced(self, name, /, **values):
        return ("live",) if name == "get_worker_state" else one(self, name, **values)

    patch.setattr(LockFile, "is_held", lambda self, worker: False)
    patch.setattr(Transaction, "one", unfenced)


def fire_early(patch):
    """Timers fire half a second too soon."""
    at = Timers.at
    patch.setattr(Timers, "at", lambda self, due_us, *rest: at(self, due_us - 500_000, *rest))


def hear_nothing(patch):
    """A worker does not hear of what others commit."""
    patch.setattr(Worker, "_others_committed", lambda self: None)


def begin_before_the_intent(patch):
    """What is to be called at most once is called before that is in the file."""
    remember = Activities.remember

    def remember_later(self, pending, state, rows, then=None):
        if then is not None:
            then()
        else:
            remember(self, pending, state, rows)

    patch.setattr(Activities, "remember", remember_later)


def park_while_leaving(patch):
    """A run whose step was stopped is parked, as one that waits for nothing."""
    patch.setattr(Worker, "is_serving", property(lambda self: True))


# Each with what is said of it, and a seed near the first world in which it is seen.
PLANTED = [
    (take_over_the_living, "at once", 0),
    (fire_early, "before any clock", 0),
    (hear_nothing, "stuck", 0),
    (begin_before_the_intent, "at most once", 45),
    (park_while_leaving, "stuck", 12),
]


@pytest.mark.parametrize(("plant", "said", "first"), PLANTED)
def test_a_planted_bug_is_found(tmp_path, monkeypatch, plant, said, first):
    plant(monkeypatch)

    for seed in range(first, first + PLANTED_MAX):
        problems = sim_world.play(tmp_path, seed).problems
        if any(re.search(said, one) for one in problems):
            return
    pytest.fail(f"{plant.__name__} is not found in {PLANTED_MAX} worlds")
