"""The application whose runs the tests look at: `fill` leaves one run of most statuses."""

import asyncio
from pathlib import Path

import durable
from durable import Retry, activity, workflow

EVIL = "refused by \x1b[31mbank\x1b[0m \u202egpj.exe\nline two\r\x07"


@activity
async def reserve(order: int, items: list[str]) -> dict[str, int]:
    return dict.fromkeys(items, order)


@activity(retry=Retry(max_attempts=2, initial_interval=0.001))
async def charge(order: int) -> str:
    if Path("card-works").exists():
        return f"receipt {order}"
    raise ConnectionError(EVIL)


@activity
async def release(order: int) -> None:
    pass


@activity(retry=Retry(initial_interval=7200, max_interval=7200))
async def encode(name: str) -> str:
    if Path("card-works").exists():
        return name
    raise MemoryError("CUDA out of memory")


@workflow
async def fulfil(order: int) -> str:
    await reserve(order, ["tea", "milk"])
    return await charge(order)


@workflow
async def careful(order: int) -> str:
    try:
        return await charge(order)
    except ConnectionError:
        await release(order)
        raise


@workflow
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow
async def nap() -> str:
    await durable.sleep("30d")
    return "rested"


@workflow
async def video(name: str) -> str:
    return await encode(name)


engine = durable.Engine("shop.db")
number = 7


def make() -> durable.Engine:
    return durable.Engine("made.db")


def needs_a_name(name: str) -> durable.Engine:
    return durable.Engine(name)


async def promise() -> durable.Engine:
    return durable.Engine("promised.db")


FUNCTIONS = (fulfil, careful, greet, nap, video)


async def fill(path: Path) -> None:
    async with durable.Engine(path, functions=FUNCTIONS) as opened:
        runs = [
            await opened.start(greet.options(id="hello-1"), "世界"),
            await opened.start(greet.options(id="hello-2"), "x" * 500),
            await opened.start(fulfil.options(id="order-8812"), 8812),
            await opened.start(careful.options(id="order-7"), 7),
            await opened.start(nap.options(id="cancelled-nap")),
            await opened.start(nap.options(id="terminated-nap")),
        ]
        nap_run = await opened.start(nap.options(id="nap"))
        video_run = await opened.start(video.options(id="video-1"), "a.mp4")
        await runs[-2].cancel("no longer needed")
        await runs[-1].terminate("wrong \u202ecustomer")
        for run in runs:
            try:
                await run.result()
            except durable.DurableError:
                continue
        while await video_run.status() != "retrying" or await nap_run.status() != "sleeping":
            await asyncio.sleep(0.005)
