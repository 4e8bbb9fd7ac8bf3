"""The application whose runs talk: `fill` leaves some that wait, that published, with children.

The tests ask of them with a worker (`durable worker tests/cli/desk.py:make`) and without one.
"""

import asyncio
from pathlib import Path
from typing import Any

import durable
from durable import (
    Query,
    Retry,
    Signal,
    Stream,
    Update,
    Value,
    activity,
    complete_later,
    promise,
    workflow,
)

stop = Signal("stop", bool)
add = Update("add", int, int)
total = Query("total", int)
state = Value("state", str)
tokens = Stream("tokens", str)
EVIL = "\x1b[31mred\x1b[0m\u202e\n"


@activity
async def echo(number: int) -> int:
    return number


@activity
async def by_hand(name: str) -> str:
    return complete_later()


@activity(retry=Retry(initial_interval=0.001, max_attempts=2))
async def speak(words: list[str]) -> None:
    for word in words:
        tokens.append(f"{word} ")
    if durable.attempt().number == 1:
        raise ConnectionError("the line is dead")


@workflow
async def counts() -> int:
    """Takes updates, answers queries, until it is told to stop."""
    found = 0

    def is_positive(number: int) -> None:
        if number < 0:
            raise ValueError(f"{number} is negative")

    @add.handler(validator=is_positive)
    async def on_add(number: int) -> int:
        nonlocal found
        if number == 13:
            raise LookupError("13 is missing")
        found += await echo(number)
        state.set(f"at {found}")
        return found

    @total.handler
    def get_total(factor: int = 1) -> int:
        return found * factor

    await stop.receive()
    return found


@workflow
async def approves(order: str) -> str:
    durable.details(f"asks for {order}{EVIL}")
    durable.progress(30, 120)
    state.set("begun")
    asked = promise("approval", bool)
    return "approved" if await asked.wait("3d") else "refused"


@workflow
async def signs() -> str:
    return await by_hand("ada")


@workflow
async def speaks() -> str:
    tokens.append("so: ")
    await speak(["one", "two"])
    return "said"


@workflow
async def types() -> None:
    for number in range(3):
        tokens.append(str(number))
        await stop.receive()


@workflow(name="ship")
async def ships(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} cannot be shipped")
    return await echo(number)


@workflow(name="waits")
async def waits_for_stop() -> bool:
    return await stop.receive()


@workflow
async def leads() -> list[str]:
    child = await waits_for_stop.options(id="the-child").start()
    outcomes = await durable.settle(ships(1), ships(-1))
    await child.result()
    return [repr(one) for one in outcomes]


@workflow
async def asks_a_closed_run() -> str:
    try:
        await stop.send("spoken", True)
    except durable.RunClosed as error:
        return type(error).__name__
    return "sent"


FUNCTIONS = (
    counts, approves, signs, speaks, types, ships, waits_for_stop, leads, asks_a_closed_run
)  # fmt: skip


def make() -> durable.Engine:
    return durable.Engine("desk.db", functions=FUNCTIONS)


async def fill(path: Path) -> None:
    async with durable.Engine(path, functions=FUNCTIONS) as engine:
        waiting: list[durable.Run[Any]] = [
            await engine.start(approves.options(id="approval-1"), "order-1"),
            await engine.start(signs.options(id="signature-1")),
            await engine.start(leads.options(id="family-1")),
        ]
        counting = await engine.start(counts.options(id="count-1"))
        waiting.append(counting)
        await (await engine.start(speaks.options(id="spoken"))).result()
        await (await engine.start(asks_a_closed_run.options(id="asked"))).result()
        assert await counting.update(add, 4, id="u4") == 4
        for number in (-1, 13):
            try:
                await counting.update(add, number, id=f"u{number}")
            except durable.WorkflowError:
                continue
        await counting.signal(Signal("stop", str), f"no {EVIL}")  # a dead letter: it is no bool
        # What a run waits for is written down after a second.
        async with asyncio.timeout(20):
            while {await run.status() for run in waiting} != {"waiting"}:
                await asyncio.sleep(0.005)
