"""`durable check` and `durable show --stack`: replays that only look."""

import asyncio
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import durable
from durable import Signal, activity, workflow
from durable.testing import ManualClock
from tests.cli.conftest import Command

BEFORE = """
import durable
from durable import Signal, activity, workflow
go = Signal("go", int)

@activity
async def charge(order: int) -> int:
    return order

@workflow
async def pay(order: int) -> int:
    await charge(order)
    return await go.receive()

@workflow
async def rest() -> int:
    return await go.receive()

engine = durable.Engine("pay.db", functions=[pay, rest])
"""
AFTER = BEFORE.replace("    await charge(order)\n", "    await charge_card(order)\n").replace(
    "async def charge(", "async def charge_card("
)


@pytest.fixture
def in_flight(tmp_path: Path) -> Path:
    """A file with three runs that wait, made by the code before."""
    names: dict[str, durable.Engine] = {}
    exec(BEFORE, names)
    path = tmp_path / "pay.db"

    async def fill() -> None:
        async with names["engine"] as engine:
            for at in range(2):
                await engine.start(names["pay"].options(id=f"pay-{at}"), at)  # type: ignore[attr-defined]
            await engine.start(names["rest"].options(id="rest"))  # type: ignore[attr-defined]
            for at in range(2):
                run = await engine.get(f"pay-{at}")
                while not await run.history():
                    await asyncio.sleep(0)

    asyncio.run(fill())
    return path


def contents(path: Path) -> bytes:
    return path.read_bytes()


def test_code_that_fits_is_exit_code_0(durable_: Command, in_flight: Path, tmp_path: Path) -> None:
    (tmp_path / "fits.py").write_text(BEFORE)
    before = contents(in_flight)

    done = durable_("check", "fits.py:engine")

    assert (done.code, done.out) == (0, "3 fit, 0 do not\n")
    assert contents(in_flight) == before


def test_code_that_does_not_fit_is_shown_with_the_difference(
    durable_: Command, in_flight: Path, tmp_path: Path
) -> None:
    (tmp_path / "edited.py").write_text(AFTER)

    done = durable_("check", "edited.py:engine", "--junit", "check.xml")
    as_json = json.loads(durable_("check", "edited.py:engine", "--json").out)

    assert done.code == 6
    assert done.out.endswith("1 fits, 2 do not\n")
    line = AFTER[: AFTER.index("await charge_card")].count("\n") + 1
    assert done.out.count("  recorded  step 1  charge  ") == 2
    assert done.out.count("  code now  step 1  charge_card  ") == 2
    assert f"edited.py:{line}\n" in done.out
    assert (as_json["fit"], as_json["misfit"]) == (1, 2)
    assert as_json["misfits"][0]["difference"]["recorded"] == "charge"
    suite = ET.parse("check.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    with durable.view(in_flight) as runs:
        assert sum(runs.count("status:waiting,queued").values()) == 3


def test_an_engine_may_refuse_to_serve_what_does_not_fit(
    in_flight: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @activity
    async def other(order: int) -> int:
        return order

    @workflow(name="pay")
    async def edited(order: int) -> int:
        return await other(order)

    async def enter(check: str) -> None:
        functions = [edited]
        async with durable.Engine(in_flight, functions=functions, check=check):  # type: ignore[arg-type]
            pass

    with pytest.raises(durable.CodeMisfit, match=r"3 open runs do not fit this code"):
        asyncio.run(enter("refuse"))
    with durable.view(in_flight) as runs:
        assert sum(runs.count("status:waiting,queued").values()) == 3
    caplog.clear()
    asyncio.run(enter("warn"))
    assert sum("does not fit this code" in one.message for one in caplog.records) == 3
    with pytest.raises(durable.UsageError, match="check is"):
        asyncio.run(enter("maybe"))


def test_show_stack_tells_where_the_code_waits(
    durable_: Command, in_flight: Path, tmp_path: Path
) -> None:
    (tmp_path / "fits.py").write_text(BEFORE)
    (tmp_path / "edited.py").write_text(AFTER)

    done = durable_("-d", in_flight, "show", "pay-1", "--stack", "fits.py:engine")
    blocked = durable_("-d", in_flight, "show", "pay-1", "--stack", "edited.py:engine")

    line = BEFORE[: BEFORE.index("return await go.receive")].count("\n") + 1
    assert f"fits.py:{line} in pay\n" in done.out
    assert (blocked.code, "the code now calls charge_card" in blocked.err) == (1, True)


go = Signal("go", int)


async def test_a_run_that_fits_by_the_check_goes_on(tmp_path: Path) -> None:
    @workflow
    async def waits() -> int:
        return await go.receive()

    engine = durable.Engine(tmp_path / "app.db", functions=[waits], clock=ManualClock())
    async with engine:
        run = await engine.start(waits.options(id="x"))
        assert list(engine.check()) == [None]
        await run.signal(go, 1)
        assert await run.result() == 1


def test_exported_histories_are_checked_too(durable_: Command, in_flight: Path) -> None:
    folder = in_flight.parent
    durable_("-d", in_flight, "export", "workflow:pay", "-o", folder / "pay.jsonl.gz")
    (folder / "fits.py").write_text(BEFORE.replace("pay.db", "none.db"))
    (folder / "parts.py").write_text(AFTER.replace("pay.db", "none.db"))

    fits = durable_("check", "fits.py:engine", "--exported", folder / "pay.jsonl.gz")
    parts = durable_("check", "parts.py:engine", "--exported", folder / "pay.jsonl.gz", "--json")
    no_export = durable_("check", "fits.py:engine", "--exported", folder / "fits.py")

    assert (fits.code, fits.out) == (0, "2 fit, 0 do not\n")
    assert parts.code == 6
    found = json.loads(parts.out)
    assert sorted(one["run"] for one in found["misfits"]) == ["pay-0", "pay-1"]
    assert no_export.code == 1
    assert not (folder / "none.db").exists()
