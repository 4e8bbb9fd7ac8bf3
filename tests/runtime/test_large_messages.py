"""Messages over 32 KiB: each blob is kept as long as a row uses it, and no longer."""

import asyncio

import durable
from durable import Signal, Update, activity, workflow
from tests.crash import invariants

text = Signal("text", str)
measure = Update("measure", str, str)
LARGE = "x" * 100_000
broken = True


class Sad(Exception):
    pass


@activity(retry=durable.Retry(max_attempts=1))
async def works_once_mended() -> int:
    if broken:
        raise Sad("broken")
    return 1


@workflow
async def takes_text() -> int:
    first = await text.receive()
    await works_once_mended()
    second = await text.receive()
    return len(first) + len(second)


@workflow(on_failure="pause")
async def takes_and_answers() -> int:
    @measure.handler
    async def on_measure(value: str) -> str:
        await durable.sleep(3600)
        return value + "!"

    found = 0
    while found < 2:
        await works_once_mended()
        found += len(await text.receive()) > 0
    return found


def send_two(tx: durable.EngineTransaction, run_id: str) -> None:
    """Send both in one commit, for the run fails as soon as it has received one."""
    tx.signal(run_id, text, LARGE)
    tx.signal(run_id, text, LARGE + "y")


async def test_a_large_signal_outlives_the_retry_of_the_run_that_received_it(tmp_path):
    global broken
    broken = True
    path = tmp_path / "app.db"
    async with durable.Engine(path) as engine:
        run = await engine.start(takes_text.options(id="x"))
        await engine.transaction(send_two, "x")
        await asyncio.wait([asyncio.ensure_future(run.result())])
        broken = False
        again = await run.retry()
        assert await again.result() == 200_001
        assert (await run.history())[0].kind == "received"
        assert len((await again.history())[0].result) == 100_000

    assert invariants.check_file(path) == []


async def test_what_a_paused_run_heard_since_its_failure_is_heard_again(tmp_path):
    global broken
    broken = True
    path = tmp_path / "app.db"
    async with durable.Engine(path) as engine:
        run = await engine.start(takes_and_answers.options(id="x"))
        while await run.status() != "paused":
            await asyncio.sleep(0)
        await run.signal(text, LARGE)
        await run.signal(text, LARGE)
        broken = False
        await run.retry()
        assert await run.result() == 2

    assert invariants.check_file(path) == []
