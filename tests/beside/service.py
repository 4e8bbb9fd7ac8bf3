"""A service: an engine that works, and beside it in the same process what `ways` does.

``service.py FILE NAME WAY RUNS`` does it, and says for each run once it has its result.
"""

import asyncio
import sys

import durable
from durable import activity, workflow
from tests.beside import ways

STEPS = 8


@activity
async def put(number: int) -> int:
    return number


@workflow
async def puts(number: int) -> int:
    return sum([await put(number + step) for step in range(STEPS)])


async def serve(path, name, way, runs):
    async with durable.Engine(path, functions=[puts]) as engine:
        for number in range(runs):
            run = await engine.start(puts.options(id=f"{name}-{number}"), number)
            ways.ALL[way](path)
            assert await run.result() == STEPS * number + 28
            print(f"{name}-{number}", flush=True)


if __name__ == "__main__":
    ways.prepare(sys.argv[3])
    asyncio.run(serve(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
