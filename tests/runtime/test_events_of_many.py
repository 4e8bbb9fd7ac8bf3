"""The events of all runs that a filter means, as they are committed."""

import asyncio
from collections import defaultdict

import pytest

import durable
from durable import Signal, activity, workflow

go = Signal("go", int)


@activity
async def counted(number: int) -> int:
    return number + 1


@workflow
async def followed_one(number: int) -> int:
    for _ in range(3):
        number = await counted(number)
    return number


@workflow
async def followed_on(left: int) -> int:
    await counted(left)
    if left:
        durable.continue_as_new(left - 1)
    return left


@workflow
async def followed_waits() -> int:
    for number in range(5):
        await counted(number)
    told = await go.receive()
    return await counted(told)


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db") as opened:
        yield opened


class Follower:
    """Collects what `Client.events` yields, by run."""

    def __init__(self, client, query):
        self.seen = defaultdict(list)
        self._events = client.events(query)
        self._task = asyncio.ensure_future(self._follow())

    async def _follow(self):
        async for event in self._events:
            self.seen[event.run].append(event)

    async def __aenter__(self):
        await asyncio.sleep(0)  # It has looked once, and waits.
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait([self._task])

    async def until(self, *runs):
        """Wait until all that these runs have recorded was told."""
        async with asyncio.timeout(10):
            for run in runs:
                last = (await run.history())[-1].seq
                while not self.seen[run.name] or self.seen[run.name][-1].seq < last:
                    await asyncio.sleep(0)


@pytest.mark.parametrize("is_other_process", [False, True])
async def test_each_event_of_each_run_is_told_once_and_in_order(engine, is_other_process):
    client = durable.Client(engine.path) if is_other_process else engine
    if is_other_process:
        await client.__aenter__()
    before = await engine.start(followed_one, 7)
    await before.result()
    async with Follower(client, "workflow:followed_*") as follower:
        ones = [await engine.start(followed_one, number) for number in range(20)]
        chain = await engine.start(followed_on.options(id="chain"), 5)
        await asyncio.gather(*(run.result() for run in (*ones, chain)))
        ordinals = [await engine.get(f"chain#{number}") for number in range(1, 7)]

        await follower.until(*ones, *ordinals)

        for run in (*ones, *ordinals):
            told = [(one.seq, one.kind, one.step) for one in follower.seen[run.name]]
            assert [seq for seq, _, _ in told] == [one.seq for one in await run.history()]
        assert before.name not in follower.seen
    if is_other_process:
        await client.__aexit__(None, None, None)


async def test_a_run_of_before_is_followed_from_now_on(engine):
    run = await engine.start(followed_waits)
    other = await engine.start(followed_waits)
    for one in (run, other):
        while len(await one.history()) < 5:
            await asyncio.sleep(0)
    async with Follower(engine, f"id:{run.id}") as follower:
        for one in (run, other):
            await one.signal(go, 1)
            await one.result()

        await follower.until(run)

        assert [one.seq for one in follower.seen[run.name]] == [6, 7]
        assert set(follower.seen) == {run.name}


async def test_a_filter_that_is_none_is_refused_at_once(engine):
    with pytest.raises(durable.FilterError, match="there is no field"):
        await anext(engine.events("stauts:open"))


async def test_a_plain_function_follows_too(engine):
    run = await engine.start(followed_waits)
    while len(await run.history()) < 5:
        await asyncio.sleep(0)

    def follow(ready):
        with durable.Client(engine.path).blocking() as client:
            events = client.events("workflow:followed_waits")
            ready()
            return next(events)

    loop, signalled = asyncio.get_running_loop(), asyncio.Event()
    following = asyncio.ensure_future(
        asyncio.to_thread(follow, lambda: loop.call_soon_threadsafe(signalled.set))
    )
    await signalled.wait()
    while not following.done():  # It may begin to follow a moment after it was ready.
        await run.signal(go, 1)
        await asyncio.sleep(0.02)
        if await run.status() == "completed":
            run = await engine.start(followed_waits)

    assert (await following).kind in {"activity", "signal"}
