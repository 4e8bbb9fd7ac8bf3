"""`durable replay`: closed runs are tests of the code on disk."""

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import apsw
import pytest

import durable
from tests.cli import shop
from tests.cli.conftest import Command, Done

SHOP = Path(shop.__file__).read_text(encoding="utf-8")
CLOSED = ["hello-1", "hello-2", "order-8812", "order-7", "cancelled-nap", "terminated-nap"]


@pytest.fixture(autouse=True)
def unchanged_modules(monkeypatch: pytest.MonkeyPatch, shop_file: Path) -> None:
    """Modules loaded in this process are forgotten after the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def write(before: str = "", after: str = "") -> None:
    assert before in SHOP
    # An engine without functions finds two of each name: those of this process are there already.
    text = SHOP.replace(before, after, 1)
    text = text.replace('Engine("shop.db")', 'Engine("shop.db", functions=FUNCTIONS)')
    functions = text[text.index("FUNCTIONS = (") :].splitlines()[0]
    at = text.index("engine = durable")
    Path("edited.py").write_text(f"{text[:at]}{functions}\n{text[at:]}", encoding="utf-8")


def test_the_code_that_ran_them_fits_every_run(durable_: Command, shop_file: Path) -> None:
    write()
    before = shop_file.read_bytes()

    done = durable_("replay", "edited.py:engine", *CLOSED, "nap", "video-1")

    names = [*CLOSED, "nap", "video-1"]
    assert done == Done(0, "".join(f"{one}  fits\n" for one in names) + "8 fit, 0 do not\n", "")
    assert shop_file.read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after", "misfits", "says"),
    [
        (
            'return f"hello {name}"', 'return f"hi {name}"', ["hello-1", "hello-2"],
            "the code now returns something else than what is recorded",
        ),
        (
            'return f"hello {name}"', "raise ValueError(name)", ["hello-1", "hello-2"],
            "the run is completed, but with the code now it would be failed",
        ),
        (
            'return f"hello {name}"', 'await durable.sleep(1)\n    return "late"',
            ["hello-1", "hello-2"],
            "the run is completed, but the code now goes on where its history ends",
        ),
        (
            "    return await charge(order)\n", "    return 'free'\n", ["order-8812"],
            "the code ends the run before",
        ),
        (
            "        await release(order)\n        raise\n", "        await release(order)\n",
            ["order-7"], "the run is failed, but with the code now it would be completed",
        ),
        (
            '    await durable.sleep("30d")\n', "", ["cancelled-nap"],
            "the code ends the run before",
        ),
        ("async def greet", "async def greets", ["hello-1", "hello-2"], "no workflow 'greet'"),
    ],
)  # fmt: skip
def test_code_that_would_do_otherwise_is_told(
    before: str, after: str, misfits: list[str], says: str, durable_: Command
) -> None:
    write(before, after)
    if "greets" in after:
        Path("edited.py").write_text(
            Path("edited.py").read_text().replace("careful, greet,", "careful, greets,")
        )

    done = durable_("replay", "edited.py:engine", *CLOSED, "--json")
    shown = durable_("replay", "edited.py:engine", *CLOSED)

    found = json.loads(done.out)
    assert (done.code, shown.code) == (6, 6)
    assert [one["run"] for one in found["misfits"]] == misfits
    assert set(found["fits"]) == set(CLOSED) - set(misfits)
    assert all(says in one["message"] for one in found["misfits"])
    assert says in shown.out


def test_another_file_can_be_replayed(durable_: Command, shop_file: Path) -> None:
    write()
    shop_file.rename("copy.db")

    missing = durable_("replay", "edited.py:engine", "hello-1")
    found = durable_("-d", "copy.db", "replay", "edited.py:engine", "last", "hello-1#1")

    assert missing.code == 1
    assert found.out == "video-1  fits\nhello-1#1  fits\n2 fit, 0 do not\n"


def test_junit_has_a_case_for_each_run(durable_: Command) -> None:
    write('return f"hello {name}"', 'return f"hi {name}"')

    durable_("replay", "edited.py:engine", "hello-1", "order-7", "nap", "--junit", "x.xml")

    suite = ET.parse("x.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert [one.get("name") for one in suite] == ["hello-1", "order-7", "nap"]


def test_a_damaged_run_does_not_fit_and_harms_no_other(durable_: Command, shop_file: Path) -> None:
    write()
    connection = apsw.Connection(str(shop_file))
    connection.execute("UPDATE durable_event SET result = '9' WHERE run = 3 AND seq = 1")
    connection.execute("UPDATE durable_run SET result = '\"x\"' WHERE id = 'hello-1'")
    connection.close()

    done = durable_("replay", "edited.py:engine", *CLOSED, "--json")

    found = json.loads(done.out)
    assert [(one["run"], one["kind"]) for one in found["misfits"]] == [
        ("hello-1", "payload"), ("order-8812", "payload")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["edited.py:engine", "nope"], 3),
        (["edited.py:engine", "hello-1", "nope"], 3),
        (["edited.py:engine"], 2),
        (["edited.py:greet", "hello-1"], 2),
        (["none.py:engine", "hello-1"], 2),
    ],
)
def test_wrong_usage_and_missing_runs(arguments: list[str], code: int, durable_: Command) -> None:
    write()

    done = durable_("replay", *arguments)

    assert (done.code, done.out) == (code, "")


async def test_a_run_that_its_time_ended_fits(tmp_path: Path) -> None:
    @durable.workflow(run_timeout=0.001)
    async def late() -> None:
        await durable.sleep("30d")

    engine = durable.Engine(tmp_path / "late.db", functions=[late])
    async with engine:
        run = await engine.start(late.options(id="x"))
        with pytest.raises(durable.RunFailed):
            await run.result()

    assert list(engine.check(runs=["x"])) == [None]
