"""The interpreter's switch interval is shorter while an engine is open, and only then."""

import sys
from pathlib import Path

import pytest

import durable
from durable.errors import UsageError


@pytest.fixture(autouse=True)
def _python_default() -> object:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


async def test_an_open_engine_shortens_it_and_the_last_to_leave_sets_it_back(
    tmp_path: Path,
) -> None:
    async with durable.Engine(tmp_path / "a.db"):
        async with durable.Engine(tmp_path / "b.db", limits=durable.Limits(switch_interval_us=100)):
            inner = sys.getswitchinterval()
        outer = sys.getswitchinterval()
    after = sys.getswitchinterval()

    assert (inner, outer, after) == pytest.approx((0.0001, 0.00025, 0.005))


async def test_a_shorter_one_of_the_host_is_left_alone(tmp_path: Path) -> None:
    sys.setswitchinterval(0.0002)
    before = sys.getswitchinterval()

    async with durable.Engine(tmp_path / "a.db"):
        inside = sys.getswitchinterval()

    assert inside == sys.getswitchinterval() == before


async def test_what_the_host_sets_meanwhile_stays(tmp_path: Path) -> None:
    async with durable.Engine(tmp_path / "a.db"):
        sys.setswitchinterval(0.02)

    assert sys.getswitchinterval() == pytest.approx(0.02)


async def test_it_can_be_left_alone(tmp_path: Path) -> None:
    limits = durable.Limits(switch_interval_us=5_000)

    async with durable.Engine(tmp_path / "a.db", limits=limits):
        inside = sys.getswitchinterval()

    assert inside == pytest.approx(0.005)


def test_it_has_a_lower_edge() -> None:
    durable.Limits(switch_interval_us=1)

    with pytest.raises(UsageError, match="switch_interval_us"):
        durable.Limits(switch_interval_us=0)
