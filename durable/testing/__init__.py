"""For tests of workflows: a manual clock, and an engine that replays or restarts at every event.

::

    async def test_it(tmp_path):
        async with durable.testing.harness(tmp_path / "app.db", mode="restart") as engine:
            assert await engine.run(publish, ["a"]) == 1
"""

from durable.testing.clock import ManualClock as ManualClock
from durable.testing.harness import MODES as MODES
from durable.testing.harness import Harness as Harness

__all__ = ["MODES", "Harness", "ManualClock"]
