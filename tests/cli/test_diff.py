"""`durable diff`: real runs, and the comparison itself as a pure function."""

import asyncio
import json
import re
from pathlib import Path

import apsw
import attrs
import pytest

import durable
from durable import Signal, activity, workflow
from durable.inspection import RunSummary, StepView
from durable.inspection._compare import DIFFERENCES_MAX, Entry, compare
from durable_cli.diff import _parted
from tests.cli import shop
from tests.cli.conftest import Command, Done


def change(path: Path, text: str, *values: object) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(text, values)
    assert connection.total_changes() > 0
    connection.close()


# -- the comparison --------------------------------------------------------------------------------

SUMMARY = RunSummary(
    id="x", workflow="w", status="completed", why="", created=None, started=None,  # type: ignore[arg-type]
    closed=None, wakes=None, cause="started", key=1, tags=(), attributes={},
)  # fmt: skip
STEP = StepView(
    step="1", kind="activity", name="work", status="completed", tries=1, ended=None, took_us=5,
    next_try=None, error="", arguments="[]", result="1", attempts=(),
)  # fmt: skip


def entry(step: str, **fields: object) -> Entry:
    view = attrs.evolve(STEP, step=step, **fields)  # type: ignore[arg-type]
    return Entry(view, hash(view.arguments), hash(view.result))


def compared(left: list[Entry], right: list[Entry]) -> tuple[list[object], tuple[int, ...]]:
    found = compare(SUMMARY, SUMMARY, {}, left, right)
    counts = found.same, found.differ, found.only_one, found.only_other
    assert found.is_same == (not found.differences)
    return [(one.step, list(one.what)) for one in found.differences], counts


@pytest.mark.parametrize(
    ("left", "right", "differences", "counts"),
    [
        ([], [], [], (0, 0, 0, 0)),
        ([entry("1")], [entry("1")], [], (1, 0, 0, 0)),
        ([entry("1")], [entry("1", tries=9, took_us=1)], [], (1, 0, 0, 0)),
        ([entry("1"), entry("2")], [entry("2"), entry("1")], [], (2, 0, 0, 0)),
        ([entry("1")], [entry("1", name="b")], [("1", ["name"])], (0, 1, 0, 0)),
        ([entry("1")], [entry("1", arguments="[1]")], [("1", ["arguments"])], (0, 1, 0, 0)),
        (
            [entry("1")], [entry("1", status="failed", error="E", result="")],
            [("1", ["status", "result", "error"])], (0, 1, 0, 0),
        ),
        (
            [entry("1", error="E", result="", status="failed")],
            [entry("1", error="E", result="", status="failed")], [], (1, 0, 0, 0),
        ),
        ([entry("1")], [], [("1", [])], (0, 0, 1, 0)),
        ([], [entry("1")], [("1", [])], (0, 0, 0, 1)),
        ([entry("1")], [entry("1", kind="timer")], [("1", []), ("1", [])], (0, 0, 1, 1)),
        (
            [entry("1"), entry("3")], [entry("1"), entry("2"), entry("3", result="2")],
            [("3", ["result"]), ("2", [])], (1, 1, 0, 1),
        ),
        ([entry(""), entry("")], [entry("")], [("", [])], (1, 0, 1, 0)),
    ],
)  # fmt: skip
def test_steps_are_the_same_by_what_they_are(
    left: list[Entry], right: list[Entry], differences: object, counts: object
) -> None:
    assert compared(left, right) == (differences, counts)


def test_whole_payloads_count_and_not_what_is_shown_of_them() -> None:
    one, other = Entry(STEP, 1, 2), Entry(STEP, 1, 3)

    assert compared([one], [other])[0] == [("1", ["result"])]


@pytest.mark.parametrize("count", [DIFFERENCES_MAX, DIFFERENCES_MAX + 1])
def test_differences_have_a_limit_and_are_all_counted(count: int) -> None:
    found = compare(SUMMARY, SUMMARY, {}, [entry(str(at)) for at in range(count)], [])

    assert (len(found.differences), found.only_one) == (DIFFERENCES_MAX, count)


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("", "", ("", "")),
        ("abc", "abd", ("abc", "abd")),
        ("x" * 60 + "a", "x" * 60 + "bc", ("…" + "x" * 20 + "a", "…" + "x" * 20 + "bc")),
        ("x" * 60, "x" * 61, ("…" + "x" * 20, "…" + "x" * 21)),
        ("x" * 60, "x" * 60, ("x" * 60, "x" * 60)),
    ],
)
def test_long_values_are_shown_from_where_they_part(
    one: str, other: str, shown: tuple[str, str]
) -> None:
    assert _parted(one, other, "…") == shown


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def mended(shop_file: Path) -> Path:
    """A file in which order-8812 failed, and completed as order-8812#2."""

    async def mend() -> None:
        Path("card-works").touch()
        async with durable.Engine(shop_file, functions=shop.FUNCTIONS) as engine:
            await (await (await engine.get("order-8812")).retry()).result()

    asyncio.run(mend())
    return shop_file


def test_a_retried_run_differs_in_the_step_that_failed(durable_: Command, mended: Path) -> None:
    done = durable_("-d", mended, "diff", "order-8812#1", "order-8812#2")

    assert (done.code, done.err) == (6, "")
    head, summary, step = done.out.split("\n\n")
    assert head.startswith("status\n  order-8812    failed\n  order-8812#2  completed\nresult\n")
    assert summary == (
        "1 step is the same, 1 differs, 0 only in order-8812, 0 only in order-8812#2"
    )
    lines = step.splitlines()
    assert lines[0] == "step 2 (charge): status, result, error"
    assert lines[1].startswith(
        "  order-8812    failed       [8812]  ConnectionError: refused by \\x1b"
    )
    assert lines[2] == '  order-8812#2  completed    [8812]  "receipt 8812"'


def test_a_run_is_the_same_as_itself(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "diff", "order-8812", "order-8812#1")

    assert done == Done(
        0, "2 steps are the same, 0 differ, 0 only in order-8812, 0 only in order-8812\n", ""
    )


def test_json_has_payloads_decoded(durable_: Command, mended: Path) -> None:
    done = durable_("-d", mended, "diff", "order-8812#1", "order-8812#2", "--json")

    found = json.loads(done.out)
    assert (found["same"], found["differ"], done.code) == (1, 1, 6)
    assert found["fields"]["result"] == [None, "receipt 8812"]
    (step,) = found["differences"]
    assert (step["step"], step["what"]) == ("2", ["status", "result", "error"])
    assert (step["one"]["arguments"], step["other"]["result"]) == ([8812], "receipt 8812")


def test_other_workflows_and_open_runs_can_be_compared(durable_: Command, shop_file: Path) -> None:
    first = durable_("-d", shop_file, "diff", "order-8812", "video-1")
    every = durable_("-d", shop_file, "diff", "order-8812", "video-1", "--all")

    assert first.code == every.code == 6
    assert first.out.count("\nstep ") == 1
    assert every.out.count("\nstep ") == 2
    assert "0 steps are the same, 1 differs, 1 only in order-8812, 0 only in video-1\n" in every.out
    assert "step 1 (reserve): name, status, arguments, result, error\n" in every.out
    shown = r'^  video-1     retrying     encode  \["a.mp4"\] +MemoryError'
    assert re.search(shown, every.out, re.MULTILINE)
    assert "step 2 (charge): only in order-8812\n" in every.out


def test_a_damaged_step_is_shown_and_harms_no_other(durable_: Command, mended: Path) -> None:
    change(mended, "UPDATE durable_event SET result = '9' WHERE seq = 1 AND run = 3")

    done = durable_("-d", mended, "diff", "order-8812#1", "order-8812#2", "--all")

    assert done.code == 6
    assert "does not match its checksum" in done.out


def test_an_edited_argument_is_the_first_difference(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "diff", "hello-1", "hello-2")

    assert 'arguments\n  hello-1  ["世界"]\n  hello-2  ["xxx' in done.out
    assert done.out.splitlines()[-1].startswith("0 steps are the same, 0 differ, 0 only in")


def test_a_terminal_sees_shapes_and_no_line_is_too_long(on_terminal: Command, mended: Path) -> None:
    done = on_terminal("-d", mended, "diff", "order-8812#1", "order-8812#2", "--color", "never")

    assert "  order-8812    ✕ failed     [8812]  ConnectionError" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["hello-1", "nope"], 3), (["nope", "hello-1"], 3), (["hello-1"], 2), (["a", "b", "c"], 2)],
)
def test_wrong_usage_and_missing_runs(
    arguments: list[str], code: int, durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "diff", *arguments)

    assert (done.code, done.out) == (code, "")


go = Signal("go", str)


async def test_branches_that_end_in_another_order_are_no_difference(tmp_path: Path) -> None:
    @activity
    async def say(word: str) -> str:
        return word

    @workflow
    async def branches() -> list[str]:
        async def branch(name: str) -> str:
            await Signal(name, str).receive()
            return await say(name)

        return list(await asyncio.gather(branch("a"), branch("b")))

    async with durable.Engine(tmp_path / "x.db", functions=[branches]) as engine:
        for order in ("ab", "ba"):
            run = await engine.start(branches.options(id=order))
            for name in order:
                await run.signal(Signal(name, str), "go")
            assert await run.result() == ["a", "b"]

    with durable.view(tmp_path / "x.db") as runs:
        found = runs.compare("ab", "ba")
    assert (found.is_same, found.same) == (True, 4)
