"""A manual clock jumps only when nothing else can happen."""

import asyncio

import durable
from durable import activity, workflow


@activity(retry=durable.Retry(max_attempts=1))
async def fails_at_once() -> None:
    raise ValueError


@workflow
async def naps_beside_a_failure() -> list[str]:
    said: list[str] = []

    async def nap() -> None:
        await asyncio.sleep(1000)
        said.append("nap")

    async def act() -> None:
        try:
            await fails_at_once()
        except ValueError:
            said.append("failure")

    await asyncio.gather(nap(), act())
    return said


async def test_an_attempt_that_has_ended_is_recorded_before_the_clock_jumps(durable_harness):
    assert await durable_harness.run(naps_beside_a_failure) == ["failure", "nap"]
