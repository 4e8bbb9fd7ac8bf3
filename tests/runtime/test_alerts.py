"""Alerts: each new or regressed issue is told at least once, durably, and never in a run's way."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

import durable
from durable import Engine, IssueAlert, Retry, activity, workflow
from durable._runtime import alerts
from durable.errors import RunFailed
from durable.testing import ManualClock
from tests.until import until


@activity(retry=Retry(max_attempts=1))
async def charge(what: str) -> int:
    if what == "bank":
        raise ConnectionError("refused")
    if what == "stock":
        raise LookupError("none left")
    return 1


@workflow
async def pays(what: str) -> int:
    return await charge(what)


async def failed(engine: Engine, what: str) -> None:
    with pytest.raises(RunFailed):
        await (await engine.start(pays, what)).result()


def pending(engine: Engine) -> list[str]:
    return [one.what for one in engine._reader.alerts()]


async def test_a_new_issue_is_told_once_and_again_when_it_comes_back(tmp_path):
    told: list[IssueAlert] = []

    async def tell(alert: IssueAlert) -> None:
        told.append(alert)

    async with Engine(tmp_path / "app.db", on_issue=tell) as engine:
        await failed(engine, "bank")
        await until(lambda: told)
        await failed(engine, "bank")
        await failed(engine, "stock")
        await until(lambda: len(told) == 2)
        (bank,) = [one.issue for one in told if "ConnectionError" in one.issue.title]
        await engine.set_issue(bank.id, "resolved")
        await failed(engine, "bank")
        await until(lambda: len(told) == 3)
        await until(lambda: not pending(engine))

    assert [one.what for one in told] == ["new", "new", "regressed"]
    assert [one.issue.title for one in told][0::2] == ["ConnectionError: refused"] * 2
    assert (told[2].issue.state, told[2].issue.seen) == ("open", 3)
    assert told[0].run


async def test_a_muted_issue_is_silent(tmp_path):
    told: list[IssueAlert] = []
    async with Engine(tmp_path / "app.db", on_issue=told.append) as engine:
        await failed(engine, "bank")
        await until(lambda: told)
        await engine.set_issue(told[0].issue.id, "muted")
        await failed(engine, "bank")
        assert (pending(engine), len(told)) == ([], 1)


async def test_runs_that_are_blocked_are_told_as_such(tmp_path):
    told: list[IssueAlert] = []

    def code(name: str):
        @workflow(name="edited")
        async def edited() -> int:
            await durable.step(charge.fn, "ok", name=name)
            await durable.sleep(3_600)
            return 1

        return edited

    before = code("one")
    async with Engine(tmp_path / "app.db", functions=[before], grace=0) as engine:
        run = await engine.start(before.options(id="x"))
        while not await run.history():
            await asyncio.sleep(0)
    async with Engine(tmp_path / "app.db", functions=[code("other")], on_issue=told.append):
        await until(lambda: told)

    assert [(one.what, one.run, one.issue.kind) for one in told] == [("blocked", "x", "blocked")]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_hook_that_fails_is_called_again_later_and_later(tmp_path, caplog, is_async):
    called: list[int] = []
    clock = ManualClock(jumps=False)

    def tell(alert: IssueAlert) -> None:
        called.append(clock.wall_us())
        if len(called) < 4:
            raise OSError("the chat is down")

    async def tell_later(alert: IssueAlert) -> None:
        tell(alert)

    def of_hook() -> list[logging.LogRecord]:
        return [one for one in caplog.records if "it is called again" in one.message]

    hook = tell_later if is_async else tell
    with caplog.at_level(logging.WARNING, "durable.engine"):
        async with Engine(tmp_path / "app.db", on_issue=hook, clock=clock) as engine:
            await failed(engine, "bank")
            for attempt in range(1, 4):
                await until(lambda: len(called) == attempt)  # noqa: B023  awaited at once
                await until(lambda: len(of_hook()) >= attempt)  # noqa: B023
                clock.advance(2**attempt)
                engine._running().timers.fire_due()
            await until(lambda: len(called) == 4 and not pending(engine))

    assert of_hook()[0].message.endswith("(OSError: the chat is down); it is called again in 1 s")
    assert of_hook()[2].message.endswith("in 4 s")


async def test_one_that_hangs_or_raises_is_in_the_way_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(alerts, "HOOK_THREADS", 1)
    stop = threading.Event()
    told: list[str] = []

    def tell(alert: IssueAlert) -> None:
        told.append(alert.what)
        stop.wait(30)

    async with Engine(tmp_path / "app.db", on_issue=tell) as engine:
        await failed(engine, "bank")
        await until(lambda: told)
        for _ in range(20):
            assert await (await engine.start(pays, "fine")).result() == 1
        await failed(engine, "stock")
    stop.set()


async def test_what_was_not_told_is_told_by_the_next_engine(tmp_path):
    told: list[str] = []

    async def fails(alert: IssueAlert) -> None:
        told.append("failed")
        raise OSError("down")

    async with Engine(tmp_path / "app.db") as engine:
        await failed(engine, "bank")  # Nobody is to be told yet.
        assert pending(engine) == ["new"]
    async with Engine(tmp_path / "app.db", on_issue=fails) as engine:
        await until(lambda: told)
    async with Engine(tmp_path / "app.db", on_issue=lambda one: told.append(one.what)) as engine:
        await until(lambda: len(told) == 2)
        await until(lambda: not pending(engine))

    assert told == ["failed", "new"]


async def test_of_two_engines_one_tells(tmp_path):
    told: list[str] = []

    async def tell(alert: IssueAlert) -> None:
        told.append(alert.issue.id)

    path = tmp_path / "app.db"
    async with Engine(path, on_issue=tell) as one, Engine(path, on_issue=tell) as other:
        for engine in (one, other):
            for what in ("bank", "stock"):
                await failed(engine, what)
        await until(lambda: not pending(one))
        await until(lambda: len(told) >= 2)

    assert sorted(told) == ["I-1", "I-2"]


async def test_slow_workflow_code_is_an_issue(tmp_path):
    """The watching thread reports it; what it reports is counted by the engine."""
    told: list[IssueAlert] = []
    async with Engine(tmp_path / "app.db", on_issue=told.append) as engine:
        run = await engine.start(pays.options(id="slow"), "fine")
        await run.result()
        row = engine._reader.find_newest("slow")
        assert row is not None
        stack = f'  File "{__file__}", line 7, in pays\n    crunch()\n'
        engine._running()._slow(row, stack)
        engine._running()._slow(row, stack)
        while not (await engine.issues() and (await engine.issues())[0].seen == 2):
            await asyncio.sleep(0)
        (issue,) = await engine.issues()
        assert (issue.kind, issue.open, issue.sample) == ("watchdog", 0, stack)
        assert issue.title == "workflow code did not come to rest for a second, in pays"
        await until(lambda: told)
