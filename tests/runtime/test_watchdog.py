"""Slow workflow code is said once, with its stack; runs nobody here can run harm nobody."""

import asyncio
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import pytest

import durable
from durable import activity, workflow
from durable._runtime import watchdog
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


PYTHONS = json.__file__
INSTALLED = "/srv/.venv/lib/python3.12/site-packages/orm/session.py"


def define(source: str, file: str, **names: Any) -> Callable[[], Any]:
    """Return the function `one` of a source, as if it stood in that file."""
    exec(compile(source, file, "exec"), names)
    return cast("Callable[[], Any]", names["one"])


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("/srv/app/orders.py", "/srv/app/orders.py"),
        (INSTALLED, INSTALLED),
        (watchdog.__file__, watchdog.__file__),
        (PYTHONS, None),
    ],
    ids=["user", "installed", "durable", "python"],
)
def test_what_holds_the_loop_is_never_who_started_the_loop(file: str, named: str | None) -> None:
    found: list[FrameType | None] = []
    look = define(
        "def one(): found.append(holder(frame()))",
        PYTHONS,
        found=found,
        frame=sys._getframe,
        holder=watchdog._holder_of,
    )
    holds = define("def one(): look()", file, look=look)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(holds)
        await asyncio.sleep(0)

    asyncio.run(main())

    assert [frame and frame.f_code.co_filename for frame in found] == [named]
