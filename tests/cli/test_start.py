"""`durable start`: finds the workflow, refuses what does not fit, and executes nothing."""

import asyncio
import datetime as dt
import json
import sys
from pathlib import Path

import pytest

import durable
from durable_cli import main
from tests.cli import shop
from tests.cli.conftest import Command, Done

APP = """
import dataclasses
import durable

@dataclasses.dataclass
class Order:
    number: int
    items: list[str]

@durable.workflow
async def fulfil(order: Order, *, fast: bool = False) -> str:
    raise SystemError("nothing is executed here")

@durable.workflow(name="greeting")
async def greet(name: str) -> str:
    raise SystemError("nothing is executed here")

@durable.workflow
async def nothing() -> None: ...

engine = durable.Engine("app.db")
number = 7
"""


@pytest.fixture(autouse=True)
def unchanged_modules(monkeypatch: pytest.MonkeyPatch, empty_file: Path) -> None:
    """Modules loaded in this process are forgotten after the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    Path("app.py").write_text(APP, encoding="utf-8")


def started(path: Path) -> list[durable.RunDetails]:
    with durable.view(path) as runs:
        return [runs.get(one.id) for one in runs.list()]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (["app:nothing"], []),
        (["app:nothing", "[]"], []),
        (["app.py:greet", '["ada"]'], ["ada"]),
        (["app:greet", '["世界"]'], ["世界"]),
        (["app:greet", "--arg", 'name="ada"'], {"args": [], "kwargs": {"name": "ada"}}),
        (["app:greet", "@given.json"], ["of a file"]),
        (["app:greet", "--arg", "name=@text.json"], {"args": [], "kwargs": {"name": "x=y"}}),
        (["app:fulfil", '[{"number": 1, "items": []}]'], [{"number": 1, "items": []}]),
        (
            ["app:fulfil", '{"args": [{"number": 1, "items": ["tea"]}], "kwargs": {"fast": true}}'],
            {"args": [{"number": 1, "items": ["tea"]}], "kwargs": {"fast": True}},
        ),
        (
            ["app:fulfil", '[{"number": 1, "items": []}]', "--arg", "fast=true"],
            {"args": [{"number": 1, "items": []}], "kwargs": {"fast": True}},
        ),
    ],
)
def test_the_arguments_are_stored_as_the_workflow_takes_them(
    given: list[str], stored: object, durable_: Command, empty_file: Path
) -> None:
    Path("given.json").write_text('["of a file"]')
    Path("text.json").write_text('"x=y"')

    done = durable_("start", *given)

    (run,) = started(empty_file)
    assert done == Done(0, f"{run.id}\n", "")
    assert json.loads(run.arguments) == stored
    assert run.status == "queued"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["app:greet"], "do not fit greet(name: str) -> str: missing a required argument: 'name'"),
        (["app:greet", "[1]"], "do not fit greet(name: str) -> str: "),
        (["app:greet", '["a", "b"]'], "it takes 1 positional arguments"),
        (["app:greet", '["a"]', "--arg", "age=1"], "it has no parameter 'age'"),
        (["app:greet", '["a"]', "--arg", 'name="b"'], "multiple values"),
        (["app:fulfil", '[{"number": "one", "items": []}]'], "do not fit fulfil(order: "),
        (["app:fulfil", '[{"number": 1}]'], "do not fit fulfil(order: "),
        (["app:greet", "name"], "is no JSON"),
        (["app:greet", '"ada"'], "the arguments are a list"),
        (["app:greet", '{"name": "ada"}'], "the arguments are a list"),
        (["app:greet", '{"args": [], "kwargs": {}, "more": 1}'], "the arguments are a list"),
        (["app:greet", "@none.json"], "none.json cannot be read"),
        (["app:greet", '["\\ud800"]'], "do not fit"),
        (["app:greet", "--arg", "name"], "--arg takes NAME=JSON"),
        (["app:greet", "--arg", '="x"'], "--arg takes NAME=JSON"),
        (["app:greet", "--arg", "name=x"], "is no JSON"),
        (["app:greet", "--arg", 'name="x"', "--arg", 'name="y"'], "given twice"),
        (["app:greet", '["a"]', "--id", "a#2"], "cannot be the id of a run"),
        (["app:greet", '["a"]', "--id", ""], "cannot be the id of a run"),
        (["app:greet", '["a"]', "--id", "\x1b[31m"], "cannot be the id of a run"),
        (["app:greet", '["a"]', "--delay", "soon"], "--delay: 'soon' is no duration"),
        (["app:greet", '["a"]', "--on-closed", "x"], "Invalid value"),
        (["app:greet", '["a"]', "--timeout", "3s"], "--timeout is for --wait"),
        (["app:none"], "app has no 'none'; it has fulfil, greet, nothing"),
        (["app:engine"], "app:engine is an Engine; it must be a workflow; it has fulfil, greet"),
        (["app:number"], "app:number is an int; it must be a workflow"),
        (["app"], "'app' is not APP:WORKFLOW; for example shop:publish or shop.py:publish"),
        (["nowhere:greet"], "there is no module 'nowhere'"),
        ([], "Missing argument"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_stored(
    given: list[str], says: str, durable_: Command, empty_file: Path
) -> None:
    done = durable_("start", *given)

    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert "Traceback" not in done.err
    assert started(empty_file) == []


def test_an_application_that_cannot_be_imported_is_told(
    durable_: Command, empty_file: Path
) -> None:
    Path("bad.py").write_text("raise ValueError('no')")

    done = durable_("start", "bad:greet")

    assert done.code == 1
    assert done.err.splitlines()[-1] == "error: bad cannot be imported: ValueError: no"


def test_the_same_id_is_the_same_run(durable_: Command, empty_file: Path) -> None:
    first = durable_("start", "app:greet", '["ada"]', "--id", "x")
    again = durable_("start", "app:greet", '["ada"]', "--id", "x")
    other = durable_("start", "app:greet", '["bob"]', "--id", "x")

    assert first == again == Done(0, "x\n", "")
    assert other.code == 2
    assert "exists with other arguments" in other.err
    assert len(started(empty_file)) == 1


def test_on_closed_begins_anew(durable_: Command, empty_file: Path) -> None:
    durable_("start", "app:greet", '["ada"]', "--id", "x")
    durable_("terminate", "x")

    done = [
        durable_("start", "app:greet", '["ada"]', "--id", "x", "--on-closed", one)
        for one in ("return", "error", "restart")
    ]

    assert [(one.code, one.out) for one in done] == [(0, "x\n"), (2, ""), (0, "x#2\n")]


def test_a_delay_is_waited_for(durable_: Command, empty_file: Path) -> None:
    done = durable_("start", "app:greet", '["ada"]', "--delay", "30d", "--json")

    assert json.loads(done.out)["status"] == "sleeping"
    (run,) = started(empty_file)
    assert run.wakes is not None
    assert (run.wakes - run.created).days == 30


def test_a_missing_file_is_not_made(durable_: Command) -> None:
    done = durable_("-d", "none.db", "start", "app:nothing")

    assert (done.code, Path("none.db").exists()) == (1, False)
    assert "does not exist" in done.err


def test_waiting_without_a_worker_ends_with_the_time(durable_: Command, empty_file: Path) -> None:
    done = durable_("start", "app:nothing", "--id", "x", "--wait", "--timeout", "0.01")

    assert done == Done(
        8,
        "queued\tx\tnothing\t\tno worker lives; start one with `durable worker APP:ENGINE`\n",
        "error: run x has not ended within 0.01 s\nhint: durable wait x\n",
    )


def test_a_terminal_is_told_what_comes_next(on_terminal: Command, empty_file: Path) -> None:
    done = on_terminal("start", "app:nothing", "--id", "x", "--color", "never")

    assert done.out == (
        "x\nnow queued: no worker lives; start one with `durable worker APP:ENGINE`\n"
    )


@pytest.mark.parametrize(
    ("workflow", "arguments", "code", "result"),
    [("greet", '["ada"]', 0, "hello ada"), ("fulfil", "[1]", 1, None)],
)
async def test_waiting_for_a_worker_gives_the_result(
    workflow: str, arguments: str, code: int, result: str | None, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "empty.db"
    Path("shop.py").write_text(Path(shop.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    async with durable.Engine(path, functions=shop.FUNCTIONS):
        given = ["start", f"shop.py:{workflow}", arguments, "--wait", "--json"]

        assert await asyncio.to_thread(main, given) == code

    assert json.loads(capsys.readouterr().out)["result"] == result


def test_a_run_like_another_is_started(durable_: Command, empty_file: Path) -> None:
    given = ["app:fulfil", '{"args": [{"number": 7, "items": ["tea"]}], "kwargs": {"fast": true}}']
    first = durable_("-d", empty_file, "start", *given, "--id", "first")

    again = durable_("-d", empty_file, "start", "app:fulfil", "--like", "first", "--id", "again")
    other = durable_("-d", empty_file, "start", "app:greet", "--like", "first")
    both = durable_("-d", empty_file, "start", "app:fulfil", "[1]", "--like", "first")
    nobody = durable_("-d", empty_file, "start", "app:fulfil", "--like", "nobody")

    assert (first.code, again.code, again.out) == (0, 0, "again\n")
    one, two = started(empty_file)
    assert one.arguments == two.arguments
    assert json.loads(one.arguments)["kwargs"] == {"fast": True}
    assert (other.code, "run first is of the workflow fulfil, not of greeting" in other.err) == (
        2, True,
    )  # fmt: skip
    assert (both.code, nobody.code) == (2, 3)


def test_a_run_begins_at_a_moment(durable_: Command, empty_file: Path) -> None:
    done = durable_("-d", empty_file, "start", "app:nothing", "--at", "2126-12-01T09:00:30")

    assert done.code == 0
    (run,) = started(empty_file)
    assert run.status == "sleeping"
    assert run.wakes is not None
    assert abs(run.wakes - dt.datetime(2126, 12, 1, 9, 0, 30, tzinfo=dt.UTC)).total_seconds() < 1


@pytest.mark.parametrize(
    "words",
    [
        ["--at", "2001-01-01T00:00"], ["--at", "5m"], ["--at", "soon"],
        ["--at", "2126-12-01T09:00", "--delay", "5m"],
    ],
)  # fmt: skip
def test_a_moment_that_is_none_is_refused(
    durable_: Command, empty_file: Path, words: list[str]
) -> None:
    done = durable_("-d", empty_file, "start", "app:nothing", *words)

    assert done.code == 2
    assert "--at" in done.err
    assert started(empty_file) == []


def test_a_dry_run_of_a_start_stores_nothing(durable_: Command, empty_file: Path) -> None:
    durable_("-d", empty_file, "start", "app:nothing", "--id", "there")

    new = durable_("-d", empty_file, "start", "app:greet", '["ada"]', "--dry-run")
    there = durable_("-d", empty_file, "start", "app:nothing", "--id", "there", "--dry-run")
    wrong = durable_("-d", empty_file, "start", "app:greet", "[1]", "--dry-run")
    as_json = durable_(
        "-d", empty_file, "start", "app:nothing", "--id", "there", "--dry-run", "--json"
    )

    assert (new.code, new.out) == (0, "would start (greeting)\n")
    assert there.out == "would start there (nothing); there is one of this id: queued\n"
    assert (wrong.code, "do not fit greet(name: str)" in wrong.err) == (2, True)
    assert json.loads(as_json.out) == {"id": "there", "workflow": "nothing", "status": "queued"}
    assert len(started(empty_file)) == 1
