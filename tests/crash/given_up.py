"""The victim of the kills of given-up work: handlers, shields, timeouts, transactions and threads.

Each run asks for all of them and gives most of them up; it can be killed at any moment.
"""

import asyncio
import contextlib
import sys

import durable

go = durable.Signal("go", int)
done = durable.Signal[None]("done")

LEDGER = "CREATE TABLE IF NOT EXISTS ledger (run TEXT, step TEXT)"


@durable.activity
async def tiny(value: int) -> int:
    await asyncio.sleep(0.001 * (value % 3))
    return value


@durable.activity
def on_a_thread(value: int) -> int:
    return value


@durable.transaction
def book(cursor: durable.Cursor, value: int) -> int:
    about = durable.attempt()
    cursor.execute("INSERT INTO ledger VALUES (?, ?)", (about.run_id, about.step_id))
    return value


@durable.workflow
async def gives_up(count: int) -> int:
    made = 0

    @go.handler
    async def _(value: int) -> None:
        nonlocal made
        await book(value)
        made += 1

    async def one(value: int) -> None:
        nonlocal made
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.002 * (value % 4)):
                await asyncio.gather(book(value), on_a_thread(value), tiny(value))
        task = asyncio.ensure_future(asyncio.shield(asyncio.ensure_future(book(value))))
        await tiny(value)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for value in range(count):
        await one(value)
    await done.receive()
    return made


async def main(path: str) -> None:
    limits = durable.Limits(max_running_activities=8, threads_max=2)
    async with durable.Engine(path, limits=limits, grace=0) as engine:
        await engine.transaction(lambda tx: list(tx.execute(LEDGER)))
        print("open", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
