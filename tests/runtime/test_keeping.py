"""Logs are kept with the run, once; and the source of the code that ran."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

import pytest

import durable
from durable import Client, CommitUnknown, Engine, Retry, StoreError, UsageError, activity, workflow
from durable._runtime import keeping
from durable.inspection import view
from durable.testing import Harness

log = logging.getLogger("tests.kept")


@pytest.fixture(autouse=True)
def _loud(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tests.kept")


@activity(retry=Retry(initial_interval=0.001, max_attempts=3))
async def speaks(number: int) -> int:
    log.info("attempt %d of %d", durable.attempt().number, number)
    if durable.attempt().number < 2:
        raise ValueError("not yet")
    return number


@activity
def threaded(text: str) -> None:
    log.warning("from a thread: %s", text)


@workflow
async def keeps(number: int) -> int:
    log.info("before")
    found = await speaks(number)
    await durable.sleep(10)
    log.info("after")
    await threaded("x")
    return found


@workflow
async def says(lines: list[Any]) -> None:
    for line in lines:
        log.info("\udcff half" if isinstance(line, dict) else line)
    log.debug("not this")


@workflow
async def breaks() -> None:
    try:
        raise KeyError("lost")
    except KeyError:
        log.exception("caught it")
    log.info("%d of %s", "wrong")  # noqa: PLE1206  a wrong format harms nobody


def texts(path: Any, run: str = "x", **asked: Any) -> list[str]:
    with view(path) as runs:
        return [one.text for one in runs.logs(run, **asked)]


@pytest.mark.parametrize("mode", ["warm", "replay", "restart"])
async def test_each_line_is_kept_once_however_often_the_code_is_replayed(tmp_path, mode):
    path = tmp_path / "app.db"
    async with Harness(path, mode, functions=[keeps]) as harness:
        run = await harness.start(keeps.options(id="x"), 7)
        assert await harness.finish(run) == 7

    every = [
        ("before", "", 0), ("attempt 1 of 7", "1", 1), ("attempt 2 of 7", "1", 2),
        ("after", "", 0), ("from a thread: x", "2", 1),
    ]  # fmt: skip
    with view(path) as runs:
        found = [(one.text, one.step, one.attempt) for one in runs.logs("x")]
    if mode == "restart":  # A process that vanishes takes along what was not written yet.
        assert [one for one in every if one in found] == found
    else:
        assert found == every
        assert texts(path, level="WARNING") == ["from a thread: x"]


async def _run(path: Any, code: Any, *args: Any, **options: Any) -> None:
    async with Engine(path, functions=[code], **options) as engine:
        await (await engine.start(code.options(id="x"), *args)).result()


async def test_the_level_decides_what_is_kept(tmp_path):
    await _run(tmp_path / "info.db", says, ["one"])
    await _run(tmp_path / "debug.db", says, ["one"], keep_logs="DEBUG")
    await _run(tmp_path / "none.db", says, ["one"], keep_logs=None)

    assert texts(tmp_path / "info.db") == ["one"]
    assert texts(tmp_path / "debug.db") == ["one", "not this"]
    assert texts(tmp_path / "none.db") == []
    with pytest.raises(UsageError, match="no level 'LOUD'"):
        Engine(tmp_path / "x.db", keep_logs="LOUD")


async def test_tracebacks_wrong_formats_and_odd_characters_are_kept_as_text(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "propagate", False)  # pytest's own handler raises at a wrong format.
    monkeypatch.setattr(log, "handlers", [logging.NullHandler()])
    await _run(tmp_path / "a.db", breaks)
    await _run(tmp_path / "b.db", says, [{"half": 1}, "nul \0 in it", "x" * 9_000])

    caught, wrong = texts(tmp_path / "a.db")
    assert caught.startswith("caught it\nTraceback")
    assert caught.endswith("KeyError: 'lost'")
    assert wrong == "'%d of %s' ('wrong',)"
    half, nul, long = texts(tmp_path / "b.db")
    assert (half, nul) == ("? half", "nul \0 in it")
    assert long == "x" * keeping.LINE_CHARACTERS_MAX + "... (9,000 characters)"


async def test_a_run_keeps_so_many_lines_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "LINES_PER_RUN_MAX", 3)
    path = tmp_path / "app.db"

    await _run(path, says, ["1", "2", "3", "4", "5"])

    assert texts(path) == ["1", "2", "3", "3 lines are kept of a run; what follows is not"]


async def test_lines_that_come_too_fast_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "LINES_WAITING_MAX", 2)
    path = tmp_path / "app.db"

    await _run(path, says, ["1", "2", "3", "4"])

    assert texts(path) == ["1", "2", "2 lines came too fast and are not kept"]


async def test_two_engines_of_one_process_keep_their_own(tmp_path):
    await asyncio.gather(
        _run(tmp_path / "one.db", says, ["one"]), _run(tmp_path / "two.db", says, ["two"])
    )

    assert (texts(tmp_path / "one.db"), texts(tmp_path / "two.db")) == (["one"], ["two"])


async def test_what_no_run_says_is_not_kept(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path, functions=[says]) as engine:
        log.info("nobody's")
        await (await engine.start(says.options(id="x"), ["mine"])).result()

    assert texts(path) == ["mine"]


async def test_a_page_begins_after_a_line_and_the_end_comes_first(tmp_path):
    path = tmp_path / "app.db"
    await _run(path, says, ["1", "2", "3"])

    with view(path) as runs:
        first = runs.logs("x", after=0, limit=2)
        assert [one.text for one in first] == ["1", "2"]
        assert [one.text for one in runs.logs("x", after=first[-1].n)] == ["3"]
        assert [one.text for one in runs.logs("x", limit=1)] == ["3"]
        for limit in (0, 1_001):
            with pytest.raises(UsageError, match="limit is 1 to 1000"):
                runs.logs("x", limit=limit)


async def test_logs_go_with_their_run(tmp_path):
    path = tmp_path / "app.db"
    await _run(path, says, ["1"])
    async with Client(path) as client:
        await (await client.get("x")).remove()
        rows = client._reader.all("count_logs", run=1)

    assert rows == [(0,)]


async def test_the_source_that_ran_is_kept_once(tmp_path):
    path = tmp_path / "app.db"
    await _run(path, says, ["1"])
    await _run(path, says, ["1"])

    with view(path) as runs:
        (one,) = runs.sources("x")
        assert one.code == says.fingerprint
        assert one.text.startswith("@workflow\nasync def says(")
        assert one.place == says.place


async def test_code_without_source_runs_all_the_same(tmp_path):
    names: dict[str, Any] = {"workflow": workflow}
    exec("async def bare() -> int:\n    return 1\n", names)
    code = workflow(names["bare"])
    path = tmp_path / "app.db"

    await _run(path, code)

    with view(path) as runs:
        assert runs.sources("x") == []


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@activity(retry=Retry(max_attempts=1))
async def copies() -> int:
    # What a listener does with records that other processes sent.
    logging.makeLogRecord({"msg": "another's", "levelno": logging.INFO})
    log.info("%d", Unshowable())
    return 1


@workflow
async def copies_both() -> int:
    logging.makeLogRecord({"msg": "another's", "levelno": logging.INFO})
    return await copies()


async def test_records_that_are_copies_or_cannot_be_shown_harm_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [logging.NullHandler()])
    path = tmp_path / "app.db"

    await _run(path, copies_both)

    with view(path) as runs:
        assert runs.get("x").status == "completed"
    assert texts(path) == ["<a line that cannot be shown: RuntimeError>"]


@workflow
async def names_oddly(name: str) -> None:
    logging.getLogger("tests.kept." + chr(0xDCFF) + name).warning("said")


@workflow
async def too_high() -> None:
    log.log(1 << 70, "no file takes that number")


async def test_a_line_that_the_file_refuses_does_not_make_the_engine_begin_again(tmp_path, caplog):
    path = tmp_path / "app.db"

    async with Engine(path, functions=[too_high, says]) as engine:
        await (await engine.start(too_high.options(id="x"))).result()
        engine._worker.keeper.write()
        await (await engine.start(says.options(id="y"), ["after"])).result()

    assert not [one for one in caplog.records if one.name.startswith("durable")]
    assert texts(path, "y") == ["after"]


async def test_an_odd_name_of_a_logger_is_kept_as_text(tmp_path):
    await _run(tmp_path / "app.db", names_oddly, "a")

    with view(tmp_path / "app.db") as runs:
        assert [one.logger for one in runs.logs("x")] == ["tests.kept.?a"]


async def test_lines_said_while_the_file_is_opened_again_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "DELAY_S", 0)
    path = tmp_path / "app.db"
    async with Engine(path, functions=[says]) as engine:
        run = await engine.start(says.options(id="x"), ["first"])
        await run.result()
        worker = engine._worker
        opens, refusals = worker.open, iter(range(2))

        def refuse() -> None:  # Twice, so that the moment when the line is due is over.
            if next(refusals, None) is not None:
                raise StoreError("the disk is away")
            opens()

        monkeypatch.setattr(worker, "open", refuse)
        record = log.makeRecord(log.name, logging.INFO, __file__, 1, "late", (), None)
        worker.keeper.keep(record, engine._get_row(run._pk))
        worker.commit_failed(CommitUnknown("the disk is away"))
        await worker.reopening._task
        await (await engine.start(says.options(id="y"), ["after"])).result()

    assert texts(path) == ["first", "late"]
    assert texts(path, "y") == ["after"]


async def test_lines_of_a_deleted_run_do_not_reach_the_next_of_its_key(tmp_path):
    path = tmp_path / "app.db"
    async with Engine(path, functions=[says]) as engine, Client(path) as client:
        old = await engine.start(says.options(id="old"), ["of the old"])
        await old.result()
        row = engine._get_row(old._pk)
        record = log.makeRecord(log.name, logging.INFO, __file__, 1, "too late", (), None)
        await (await client.get("old")).remove()
        engine._worker.keeper.keep(record, row)  # As by an attempt's thread that goes on.
        new = await engine.start(says.options(id="new"), ["of the new"])
        await new.result()
        assert new._pk == old._pk

    assert texts(path, "new") == ["of the new"]


async def test_the_lines_of_a_run_are_in_the_file_before_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "DELAY_S", 3_600)
    path = tmp_path / "app.db"
    async with Engine(path, functions=[says, waits_for_ever]) as engine:
        await (await engine.start(says.options(id="x"), ["the last words"])).result()
        assert texts(path) == ["the last words"]

        run = await engine.start(waits_for_ever.options(id="y"))
        while not engine._worker.keeper._lines:
            await asyncio.sleep(0)
        await run.terminate("enough")
        await run.wait()
        assert texts(path, "y") == ["here"]


@workflow
async def waits_for_ever() -> None:
    log.info("here")
    await durable.sleep(1e6)


async def test_a_factory_put_on_top_of_ours_makes_no_ring(tmp_path):
    before = logging.getLogRecordFactory()
    try:
        async with Engine(tmp_path / "one.db", functions=[says]):
            ours = logging.getLogRecordFactory()
            logging.setLogRecordFactory(functools.partial(ours))
        for name in ("two.db", "three.db"):
            await _run(tmp_path / name, says, ["said"])
            assert texts(tmp_path / name) == ["said"]
    finally:
        logging.setLogRecordFactory(before)
        from durable._runtime import logs

        logs._is_below = False
