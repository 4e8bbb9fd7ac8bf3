"""The cyclic collector runs less often while an engine is open, and only then."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

import durable
from durable._runtime.collecting import COLLECT_AFTER


@pytest.fixture(autouse=True)
def _python_default() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


async def test_an_open_engine_raises_its_threshold_and_the_last_to_leave_sets_it_back(
    tmp_path: Path,
) -> None:
    async with durable.Engine(tmp_path / "a.db"):
        async with durable.Engine(tmp_path / "b.db"):
            inner = gc.get_threshold()
        outer = gc.get_threshold()

    assert inner == outer == (COLLECT_AFTER, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("first", [0, COLLECT_AFTER, COLLECT_AFTER + 1])
async def test_a_host_that_collects_as_rarely_or_never_is_left_alone(
    tmp_path: Path, first: int
) -> None:
    gc.set_threshold(first, 5, 5)

    async with durable.Engine(tmp_path / "a.db"):
        inside = gc.get_threshold()

    assert inside == gc.get_threshold() == (first, 5, 5)


async def test_what_the_host_sets_meanwhile_stays(tmp_path: Path) -> None:
    async with durable.Engine(tmp_path / "a.db"):
        gc.set_threshold(1_000, 10, 10)

    assert gc.get_threshold() == (1_000, 10, 10)
