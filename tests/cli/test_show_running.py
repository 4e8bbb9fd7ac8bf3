"""``durable show`` of steps that run: since when, their arguments and their heartbeat."""

import asyncio
import json
import re
from pathlib import Path

import durable
from durable import Engine, activity, workflow
from durable.testing import ManualClock
from tests.cli.conftest import Command


@activity
async def slow_upload(name: str) -> str:
    durable.heartbeat({"done": 25})
    await asyncio.Event().wait()
    return name


@workflow
async def uploads(name: str) -> str:
    return await slow_upload(name)


def test_a_step_that_runs_shows_since_when_with_arguments_and_heartbeat(
    durable_: Command, tmp_path: Path
) -> None:
    path = tmp_path / "app.db"

    async def main() -> list[str]:
        clock = ManualClock(jumps=False)
        async with Engine(path, clock=clock, grace=0) as engine:
            run = await engine.start(uploads.options(id="one"), "a")
            clock.advance(18)
            async with asyncio.timeout(10):
                while "attempt 1" not in (await run.details()).why:
                    await asyncio.sleep(0.01)
            asked = (["one"], ["one", "--step", "1"], ["one", "--step", "1", "--json"])
            shown = [
                await asyncio.to_thread(durable_, "-d", path, "show", *words) for words in asked
            ]
            return [one.out for one in shown]

    listed, step, as_json = asyncio.run(main())

    assert re.search(
        r'^1 +slow_upload +running +1 +for \S.*, heartbeat \{"done":25\}$', listed, re.MULTILINE
    )
    assert re.search(r'^arguments +\["a"\]\nheartbeat +\{"done":25\}$', step, re.MULTILINE)
    assert json.loads(as_json)[0]["details"] == {"done": 25}
