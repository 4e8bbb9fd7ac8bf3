"""The process that is killed while others talk to its runs: it only serves the file.

talker.py DB
"""

import asyncio
import sys

import durable
from durable import Signal, Stream, Update, activity, transaction, workflow

number = Signal("number", int)
stop = Signal("stop", bool)
add = Update("add", int, int)
lines = Stream("lines", str)
FLAKY = durable.Retry(initial_interval=0.02, max_interval=0.05)


@transaction(retry=FLAKY)
def book(cursor: durable.Cursor, who: str, n: int) -> int:
    """Add a row to the ledger; every third first try fails, and must leave nothing behind."""
    cursor.execute("INSERT INTO ledger (who, n) VALUES (?, ?)", (who, n))
    attempt = durable.attempt()
    if attempt.number == 1 and n % 3 == 2:
        raise ConnectionError("the first attempt fails")
    return n


@activity(retry=FLAKY)
async def speak(count: int) -> int:
    for n in range(count):
        lines.append(f"a{n}")
        await asyncio.sleep(0.002)
    return count


@workflow
async def receives(count: int) -> list[int]:
    found = []
    for _ in range(count):
        value = await number.receive()
        found.append(await book("receives", value))
    return found


@workflow
async def handles(count: int) -> list[int]:
    found: list[int] = []

    @number.handler
    async def on_number(value: int) -> None:
        found.append(await book("handles", value))

    await durable.wait_until(lambda: len(found) == count)
    return found


@workflow
async def goes_on(left: int, found: list[int]) -> list[int]:
    """Continues as new after every third signal."""
    for _ in range(min(left, 3)):
        found = [*found, await number.receive()]
        left -= 1
    if left:
        durable.continue_as_new(left, found)
    return found


@workflow
async def adds_up() -> int:
    total = 0

    @add.handler
    async def on_add(value: int) -> int:
        nonlocal total
        total += await book("adds", value)
        return total

    await stop.receive()
    return total


@workflow
async def child(n: int) -> int:
    await durable.sleep(0.01 * (n % 5))
    if n % 4 == 3:
        raise ValueError(f"child {n}")
    return await book("child", n)


@workflow
async def parent(count: int) -> list[int]:
    found = await asyncio.gather(*(child(n) for n in range(count)), return_exceptions=True)
    return [one if isinstance(one, int) else -1 for one in found]


@workflow
async def says(count: int) -> int:
    for n in range(count):
        lines.append(f"w{n}")
        await speak(5)
    return count


@workflow
async def asks(name: str) -> str:
    answer = durable.promise(name, str)
    tokens.append(answer.token)
    return await answer


tokens = Stream("tokens", str)


async def serve(path: str) -> None:
    async with durable.Engine(path, grace=0.2):
        print("serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
