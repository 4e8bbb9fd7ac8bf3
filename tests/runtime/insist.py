"""Asks again where the engine vanished meanwhile, as a caller from outside does."""

import asyncio

import durable

# Turns of the loop: some seconds, so that what hangs is a failure.
TURNS_MAX = 20_000


async def insist(harness, handle, act):
    """Do something with a run's handle until it has an end, opening the file again if it closed.

    Args:
        harness: Drives the run.
        handle: Of the run.
        act: Gets a handle of the engine open now; called again if that engine vanished.
    """
    for _ in range(TURNS_MAX):
        task = asyncio.ensure_future(act(await harness.again(handle)))
        while not task.done():
            await asyncio.sleep(0)
            if harness.engine._worker is None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                break
        else:
            if not _has_vanished(task):
                return task.result()
    raise AssertionError("the engine vanishes again and again")


def _has_vanished(task):
    error = task.exception()
    return isinstance(error, durable.UsageError) and (
        "not open" in str(error) or "was closed" in str(error)
    )


async def reach(harness, handle, holds):
    """Wait until something holds of a run's history: the kinds of its events, in order."""
    for _ in range(TURNS_MAX):
        run = await harness.again(handle)
        if holds([event.kind for event in await run.history()]):
            return
        await asyncio.sleep(0)
    raise AssertionError("the history never gets there")


def facts(events):
    """Return what must be the same in two runs that did the same."""
    return [(one.seq, one.kind, one.step, one.name, one.arguments, one.result) for one in events]
