"""Slow workflow code is said once, with its stack; runs nobody here can run harm nobody."""

import asyncio
import logging
import sys
import threading
import time

import pytest

import durable
from durable import activity, workflow
from durable._runtime.watchdog import _is_debugged
from durable.testing import Harness, ManualClock


@activity
async def echo(value: int) -> int:
    return value


@workflow
async def computes_for_long(seconds: float) -> int:
    value = await echo(1)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value += 1
    return 1


@pytest.mark.slow
async def test_a_drain_of_more_than_a_second_is_logged_with_its_stack(tmp_path, caplog):
    async with Harness(tmp_path / "app.db") as harness:
        with caplog.at_level(logging.WARNING, "durable.watchdog"):
            await harness.run(computes_for_long.options(id="slow"), 1.9)

    (record,) = [one for one in caplog.records if one.name == "durable.watchdog"]
    assert "run slow has not come to rest" in record.message
    assert "in computes_for_long" in record.message


def test_a_debugged_thread_is_recognised():
    import bdb

    class Debugger(bdb.Bdb):
        pass

    frame = sys._getframe()
    previous = frame.f_trace
    frame.f_trace = Debugger().trace_dispatch
    try:
        assert _is_debugged(frame)
    finally:
        frame.f_trace = previous
    assert not _is_debugged(None)


async def test_overdue_runs_that_nobody_here_can_run_stand_in_nobodys_way(tmp_path):
    @workflow
    async def unknown(number: int) -> int:
        return number

    @workflow
    async def known(number: int) -> int:
        return number

    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    async with durable.Engine(path, functions=[unknown, known], clock=clock) as engine:
        await asyncio.gather(
            *(engine.start(unknown.options(start_delay=1), number) for number in range(300))
        )
        run = await engine.start(known.options(id="k", start_delay=2), 7)
    clock.advance(10)

    async with durable.Engine(path, functions=[known], clock=clock) as engine:
        assert await (await engine.get(run.id)).result() == 7
        assert await engine.count("status:sleeping") == {"sleeping": 300}


@activity
async def blocks_the_loop() -> int:
    threading.Event().wait(2.9)  # The mistake: a plain wait in an async function.
    return 1


@workflow
async def asks_for_it() -> int:
    return await blocks_the_loop() + await blocks_the_loop()


@pytest.mark.slow
async def test_an_activity_that_holds_the_loop_is_named_once_with_its_line(tmp_path, caplog):
    async with durable.Engine(tmp_path / "app.db") as engine:
        assert await (await engine.start(asks_for_it)).result() == 2

    told = [one.getMessage() for one in caplog.records if one.name == "durable.watchdog"]
    assert len(told) == 1
    assert told[0].startswith("blocks_the_loop (")
    assert "test_watchdog.py:" in told[0]
