"""`durable debug`: the real local variables where a run stands, and nothing is performed."""

import asyncio
import contextlib
import hashlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import durable
from durable.errors import RunNotFound, WrongState
from tests.cli.conftest import Command

APP = """
import asyncio
from pathlib import Path

import durable
from durable import Retry, Signal, activity, workflow

go = Signal("go", int)

class Rude:
    def __repr__(self):
        raise ValueError("no")

@activity(retry=Retry(max_attempts=1))
async def charge(order: int) -> int:
    with Path("performed").open("a") as file:
        file.write("x")
    return order * 2

async def helper(total: int) -> int:
    extra = total + 1
    await asyncio.gather(wait(extra), wait(extra + 1))
    return extra

async def wait(number: int) -> int:
    return await go.receive()

@workflow
async def pay(order: int) -> int:
    total, text, rude = 0, "\\x1b[31mred", Rude()
    for at in range(3):
        # place
        total += await charge(order + at)
    return await helper(total)

@workflow
async def fails(order: int) -> int:
    total = await charge(order)
    parts = [total, 0]
    return parts[0] // parts[1]

@workflow
async def ends(order: int) -> int:
    return await charge(order)

engine = durable.Engine("pay.db", functions=[pay, fails, ends])
"""


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """The folder of an application with a run that waits, one that failed, one that completed."""
    (tmp_path / "pay.py").write_text(APP)
    names: dict[str, object] = {}
    exec(compile(APP, str(tmp_path / "pay.py"), "exec"), names)
    engine = names["engine"]
    assert isinstance(engine, durable.Engine)

    async def fill() -> None:
        async with engine:
            run = await engine.start(names["pay"].options(id="waits"), 10)  # type: ignore[attr-defined]
            for kind in ("fails", "ends"):
                other = await engine.start(names[kind].options(id=kind), 10)  # type: ignore[attr-defined]
                with contextlib.suppress(durable.RunFailed):
                    await other.result()
            while len(await run.history()) < 3:
                await asyncio.sleep(0)

    asyncio.run(fill())
    (tmp_path / "performed").unlink()
    return tmp_path


def test_every_task_is_shown_with_its_variables(durable_: Command, played: Path) -> None:
    before = hashlib.sha256((played / "pay.db").read_bytes()).digest()

    done = durable_("debug", "pay.py:engine", "waits")

    assert (done.code, done.err) == (0, "")
    lines = [line.strip() for line in done.out.splitlines()]
    assert lines[0] == "waits after event 3"
    assert [line for line in lines if line.startswith("task ")] == [
        "task main:",
        "task 1:",
        "task 2:",
    ]
    for line in ("order = 10", "total = 66", "at = 2", "extra = 67", "number = 67", "number = 68"):
        assert line in lines
    assert r"text = '\x1b[31mred'" in lines
    assert "rude = <Rude instance at" in done.out or "rude = <its repr raised" in done.out
    assert not (played / "performed").exists()
    assert hashlib.sha256((played / "pay.db").read_bytes()).digest() == before


@pytest.mark.parametrize(
    ("place", "event", "total", "at"),
    [
        ("1", 0, 0, 0),
        ("2", 1, 20, 1),
        ("charge", 0, 0, 0),
        ("event:3", 2, 42, 2),
        ("last", 2, 42, 2),
    ],
)
def test_a_place_is_stopped_before(
    place: str, event: int, total: int, at: int, durable_: Command, played: Path
) -> None:
    done = durable_("debug", "pay.py:engine", "waits", "--at", place, "-c", "p total, at")

    assert f"waits after event {event}\n" in done.out
    assert f"({total}, {at})\n" in done.out
    assert "total += await charge(order + at)" in done.out


def test_commands_go_up_and_to_other_tasks_and_cannot_go_on(
    durable_: Command, played: Path
) -> None:
    def typed(*commands: str) -> str:
        options = [word for one in commands for word in ("-c", one)]
        return durable_("debug", "pay.py:engine", "waits", *options).out

    assert "\n67\n" in typed("p extra")
    assert "(66, 2)" in typed("up", "p total, at")
    assert "\n68\n" in typed("task 2", "p number")
    assert "there is no task 'x'; there are main, 1, 2" in typed("task x")
    listed = typed("tasks")
    assert [line.split()[:2] for line in listed.splitlines()[-3:]] == [
        [">", "main"], ["1", str(played / "pay.py:26")], ["2", str(played / "pay.py:26")]
    ]  # fmt: skip
    for command in ("next", "step", "continue", "return", "until", "jump 3"):
        assert "the code stands still here" in typed(command)


def test_a_failed_run_is_stopped_at_its_failure(durable_: Command, played: Path) -> None:
    done = durable_("debug", "pay.py:engine", "fails", "-c", "p parts", "-c", "up")

    assert done.code == 0
    assert "failed: ZeroDivisionError" in done.out
    assert "return parts[0] // parts[1]" in done.out
    assert "\n[20, 0]\n" in done.out
    assert "Oldest frame" in done.out


def test_a_run_that_has_ended_well_has_no_frames(durable_: Command, played: Path) -> None:
    done = durable_("debug", "pay.py:engine", "ends")
    earlier = durable_("debug", "pay.py:engine", "ends", "--at", "last")

    assert done.out == "ends after event 1\nits code has ended; choose an earlier place with --at\n"
    assert "order = 10" in earlier.out


def test_code_that_does_not_fit_stops_where_it_parts(durable_: Command, played: Path) -> None:
    app = played / "pay.py"
    app.write_text(APP.replace("await charge(order + at)", "await charge(order + at + 1)"))

    done = durable_("debug", "pay.py:engine", "waits")

    assert done.code == 6
    assert "blocked: step 1 (charge) was recorded with other arguments" in done.out
    assert "total = 0" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["nothing"], 3, "no run 'nothing'"),
        (["waits", "--at", "nowhere"], 4, "has no step 'nowhere'"),
        (["waits", "--at", "event:99"], 4, "has no event 99"),
        ([], 2, "Missing argument 'RUN'"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], code: int, error: str, durable_: Command, played: Path
) -> None:
    done = durable_("debug", "pay.py:engine", *arguments)

    assert done.code == code
    assert error in done.err


def test_the_file_may_be_another(durable_: Command, played: Path) -> None:
    durable_("-d", "pay.db", "backup", "copy.db")
    (played / "pay.db").unlink()

    done = durable_("-d", "copy.db", "debug", "pay.py:engine", "waits", "-c", "p extra")

    assert "\n67\n" in done.out


@pytest.mark.slow
def test_a_terminal_gets_the_debugger(played: Path) -> None:
    main, secondary = pty.openpty()
    command = [sys.executable, "-m", "durable", "debug", "pay.py:engine", "waits"]
    with subprocess.Popen(
        command, cwd=played, stdin=secondary, stdout=secondary, stderr=secondary
    ) as process:
        os.close(secondary)
        os.write(main, b"p 100 + extra\nq\n")
        said = b""
        try:
            while chunk := os.read(main, 65_536):
                said += chunk
        except OSError:  # The other end is closed.
            pass
    os.close(main)

    assert process.returncode == 0
    assert b"(durable) " in said
    assert b"167" in said


@pytest.mark.slow
def test_a_breakpoint_in_the_workflow_stops_the_replay(played: Path) -> None:
    (played / "pay.py").write_text(APP.replace("        # place\n", "        breakpoint()\n"))
    command = [sys.executable, "-m", "durable", "debug", "pay.py:engine", "waits", "--at", "2"]

    done = subprocess.run(
        command, cwd=played, input="p 'seen', at\nc\np 'seen', at\nc\n", capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "('seen', 0)" in done.stdout
    assert "('seen', 1)" in done.stdout
    assert "waits after event 1" in done.stdout


def test_from_python_the_frames_are_there_while_it_is_entered(played: Path) -> None:
    names: dict[str, object] = {}
    exec(compile(APP, str(played / "pay.py"), "exec"), names)
    engine = names["engine"]
    assert isinstance(engine, durable.Engine)

    with engine.stopped("waits", at="3") as stopped:
        assert (stopped.run, stopped.event, list(stopped.tasks)) == ("waits", 2, ["main"])
        assert stopped.tasks["main"][0].f_locals["total"] == 42
    with pytest.raises(RunNotFound), engine.stopped("nobody"):
        pass
    with pytest.raises(WrongState), engine.stopped("waits", at="9"):
        pass
