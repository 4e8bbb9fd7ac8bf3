"""The states of steps and attempts under random sequences of all that can happen to them."""

import os

import pytest

from durable._core.machines import ATTEMPT, AttemptState
from durable._runtime.activities import Activities
from durable._runtime.attempt_timeouts import TimeLimits
from tests.runtime.give_ups import Play, Wrong

SEEDS = int(os.environ.get("DURABLE_GIVE_UPS", "12"))
FACTS = 120


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_what_is_held_is_given_back_and_nothing_begins_unwanted(tmp_path, seed):
    await Play(tmp_path / "app.db", seed).play(FACTS)


async def _is_found(tmp_path) -> bool:
    for seed in range(12):
        try:
            await Play(tmp_path / f"{seed}.db", seed).play(FACTS)
        except Wrong:
            return True
    return False


@pytest.mark.slow
async def test_a_place_that_is_not_given_back_is_found(tmp_path, monkeypatch):
    close = Activities._close

    def leaks(self, attempt, before):
        close(self, attempt, AttemptState.BEGUN if before is AttemptState.PLACED else before)

    monkeypatch.setattr(Activities, "_close", leaks)

    assert await _is_found(tmp_path)


@pytest.mark.slow
async def test_a_late_result_that_counts_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(ATTEMPT.facts["body ends"], AttemptState.ORPHANED, AttemptState.RETURNED)

    assert await _is_found(tmp_path)


@pytest.mark.slow
async def test_a_body_that_begins_after_the_end_is_found(tmp_path, monkeypatch):
    begins = Activities.body_begins

    def always(self, attempt):
        begins(self, attempt)
        return True

    monkeypatch.setattr(Activities, "body_begins", always)
    monkeypatch.setattr(Activities, "withdraw", lambda self, run, rows: None)

    assert await _is_found(tmp_path)


@pytest.mark.slow
async def test_a_timer_that_is_left_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(TimeLimits, "clear", lambda self, owner: None)

    assert await _is_found(tmp_path)
