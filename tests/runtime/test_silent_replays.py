"""A replay logs nothing, in whatever process and for whatever reason it is made."""

import asyncio
import logging

import pytest

import durable
from durable import Engine, Query, Signal, activity, workflow
from durable._runtime import logs

count = Query("count", int)
go = Signal("go", int)
said = logging.getLogger("app.flow")


@activity
async def tiny(value: int) -> int:
    return value


@workflow
async def talks() -> int:
    made = 0
    count.handler(lambda: made)
    said.warning("it began")
    made += await tiny(1)
    said.warning("it went on")
    return made + await go.receive()


@pytest.fixture
async def path(tmp_path):
    found = tmp_path / "app.db"
    async with Engine(found, functions=[talks], grace=0) as engine:
        run = await engine.start(talks.options(id="x"))
        while await run.query(count) == 0:
            await asyncio.sleep(0)
    return found


async def by_query(path):
    async with durable.Client(path) as client:
        client._resolve = lambda _: talks  # type: ignore[method-assign]
        assert await (await client.get("x")).query(count) == 1


async def by_stack(path):
    assert "receive" in Engine(path, functions=[talks]).stack("x")


async def by_check(path):
    assert list(Engine(path, functions=[talks]).check()) == [None]


async def by_a_checking_engine(path):
    async with Engine(path, functions=[talks], check="warn"):
        pass


async def by_debugging(path):
    with Engine(path, functions=[talks]).stopped("x", at="last"):
        pass


@pytest.mark.parametrize(
    "replay", [by_query, by_stack, by_check, by_a_checking_engine, by_debugging]
)
async def test_no_line_of_a_replay_is_told_again(path, caplog, replay):
    caplog.clear()

    await replay(path)

    assert [one.message for one in caplog.records if one.name == "app.flow"] == []
    said.warning("the host's own line")
    assert caplog.records[-1].message == "the host's own line"
    assert logs._engines == 0
