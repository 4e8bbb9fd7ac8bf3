"""`durable worker`: finds the engine, serves until told to stop, and stops in order."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import durable
from tests.cli import shop
from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def unchanged_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules loaded in this process are forgotten after the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def write(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


SMALL = """
import durable
engine = durable.Engine("app.db", functions=[])
number = 7
class Box:
    inner = engine
def make(): return engine
def needs(name): return engine
async def promise(): return engine
"""


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("small", "'small' is not APP:ENGINE; for example shop:engine or shop.py:engine"),
        ("", "'' is not APP:ENGINE"),
        (":engine", "':engine' is not APP:ENGINE"),
        ("small:", "'small:' is not APP:ENGINE"),
        ("no_such_module_anywhere:engine", "there is no module 'no_such_module_anywhere' here"),
        ("small.sub:engine", "there is no module 'small.sub'"),
        ("none.py:engine", "there is no file 'none.py'"),
        ("../small:engine", "'../small' is no module; name one (shop.jobs) or a file (jobs.py)"),
        (".small:engine", "'.small' is no module"),
        ("small:nothing", "small has no 'nothing'; it has engine"),
        ("small.py:nothing", "small.py has no 'nothing'; it has engine"),
        ("small:number", "small:number is an int; it must be a durable.Engine, or a function"),
        ("small:needs", "small:needs is a function; it must be a durable.Engine, or a function"),
        ("small:promise", "small:promise is a coroutine; it must be a durable.Engine"),
        ("small:Box", "small:Box is a Box; it must be"),
        ("small:\x1b[31m\u202e", r"small has no '\x1b[31m\u202e'"),
    ],
)
def test_a_bad_name_is_wrong_usage(app: str, message: str, durable_: Command) -> None:
    write("small.py", SMALL)

    done = durable_("worker", app)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}")
    assert done.err.endswith("hint: durable worker --help\n")


@pytest.mark.parametrize(
    "app", ["small:engine", "small.py:engine", "small:make", "small:Box.inner"]
)
def test_an_engine_is_found(app: str, durable_: Command) -> None:
    write("small.py", SMALL)

    done = durable_("worker", app, "--until-idle")

    assert (done.code, done.out) == (0, "")
    path = re.escape(str(Path("app.db").absolute()))
    assert re.fullmatch(rf"worker {os.getpid()} serves {path}; workflows: none\n", done.err)


def test_an_application_may_import_its_neighbours(durable_: Command) -> None:
    write("inner/neighbour.py", "name = 'app.db'")
    write("inner/app.py", f"from neighbour import name\n{SMALL}")

    assert durable_("worker", "inner/app.py:engine", "--until-idle").code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError: "),
        ("raise ValueError('\\x1b[31m')", r"ValueError: \x1b[31m"),
    ],
)
@pytest.mark.parametrize("app", ["bad", "bad.py"])
def test_an_application_that_breaks_shows_where(
    text: str, message: str, app: str, durable_: Command
) -> None:
    write("bad.py", text)

    done = durable_("worker", f"{app}:engine")

    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"error: {app} cannot be imported: {message}")
    assert 'bad.py", line 1' in done.err
    assert "importlib" not in done.err
    assert done.err.replace("\n", "").isprintable()


def test_an_engine_on_a_foreign_file_is_one_line(durable_: Command) -> None:
    write("small.py", SMALL)
    Path("app.db").mkdir()

    done = durable_("worker", "small:engine")

    assert done.code == 1
    assert re.search(r"^error: app\.db is a directory", done.err, re.MULTILINE)
    assert "Traceback" not in done.err


def test_a_file_and_an_engine_do_not_go_together(durable_: Command) -> None:
    done = durable_("-d", "x.db", "worker", "small:engine")

    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: the engine names its file; leave out -d",
    )


async def start(*arguments: str) -> asyncio.subprocess.Process:
    Path("app.py").write_text((ROOT / "tests/cli/shop.py").read_text(encoding="utf-8"))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "durable_cli", "worker", *arguments,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_stops_it_in_order(sent: signal.Signals, code: int, shop_file: Path) -> None:
    process = await start("app:engine")
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    with durable.view(shop_file) as runs:
        async with asyncio.timeout(10):
            while not runs._reader.live_workers():
                await asyncio.sleep(0.005)

    process.send_signal(sent)

    assert line == (
        f"worker {process.pid} serves {shop_file}; workflows: careful, fulfil, greet, nap, video\n"
    )
    assert await process.wait() == code
    assert (await process.stderr.read()).strip() == b""  # A newline ends the line of ^C.
    with durable.view(shop_file) as runs:
        assert runs._reader.live_workers() == []


@pytest.mark.slow
async def test_until_idle_leaves_when_all_is_done(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with durable.Engine(path, functions=[]) as engine:
        await engine.start(shop.greet.options(id="one"), "you")

    process = await start("app.py:engine", "--until-idle")

    assert await process.wait() == 0
    with durable.view(path) as runs:
        assert runs.get("one").result == '"hello you"'


@pytest.mark.slow
async def test_a_killed_worker_is_not_taken_for_a_living_one(
    shop_file: Path, durable_: Command
) -> None:
    process = await start("app:engine")
    assert process.stderr is not None
    await process.stderr.readline()
    with durable.view(shop_file) as runs:
        async with asyncio.timeout(10):
            while not runs._reader.live_workers():
                await asyncio.sleep(0.005)
    process.kill()
    await process.wait()

    Path("card-works").touch()
    await asyncio.to_thread(durable_, "-d", shop_file, "retry", "order-8812")
    queued = durable_("-d", shop_file, "ls", "status:queued").out

    assert queued.endswith("no worker lives; start one with `durable worker APP:ENGINE`\n")
