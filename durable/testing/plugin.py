"""The pytest plugin: loaded in every test run of whoever installs durable, so it imports little."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from durable.testing import Harness

__all__ = ["durable_harness"]


@pytest.fixture(params=["warm", "replay", "restart"])
def durable_mode(request: pytest.FixtureRequest) -> str:
    """How workflows are driven: each test that asks for it runs three times."""
    mode: str = request.param
    return mode


@pytest.fixture
async def durable_harness(tmp_path: Path, durable_mode: str) -> AsyncIterator[Harness]:
    """Give a file, a jumping clock and an engine, driven in each of the three modes."""
    from durable.testing import Harness

    async with Harness(tmp_path / "app.db", durable_mode) as harness:  # type: ignore[arg-type]
        yield harness
