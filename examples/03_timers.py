"""Time in a workflow is durable time: sleeps and timeouts outlive the process.

Seconds here, so that the example ends soon; ``durable.sleep("30d")`` costs no more than a row.
Usage: ``python 03_timers.py [FILE]``. Kill it half-way and start it again: what is left of a sleep
is all that is waited for.
"""

import asyncio
import sys

import durable
from durable import activity, workflow


@activity
async def look_up(word: str, seconds: float) -> str:
    await asyncio.sleep(seconds)  # in an activity this is ordinary waiting, as for a slow service
    return f"the meaning of {word}"


@workflow
async def reminders() -> list[str]:
    story: list[str] = []
    started = durable.now()  # the run's clock: the same on replay

    def tell(what: str) -> None:
        seconds = (durable.now() - started).total_seconds()
        story.append(f"{seconds:.1f} s  {what}")

    await durable.sleep("300ms")
    tell("slept")

    try:
        async with asyncio.timeout(0.3):
            await look_up("patience", 30)
    except TimeoutError:
        tell("did not wait half a minute for an answer")

    async with asyncio.timeout(1):
        tell(f"in time: {await look_up('haste', 0.1)}")

    meaning, _ = await asyncio.gather(look_up("rhythm", 0.1), durable.sleep("500ms"))
    tell(f"at least half a second for {meaning}")
    return story


if __name__ == "__main__":
    db = sys.argv[1] if len(sys.argv) > 1 else "timers.db"
    for line in durable.run(db, reminders.options(id="reminders")):
        print(line)
