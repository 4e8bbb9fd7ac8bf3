"""The file is locked by others for a while: it is said everywhere, and nothing is lost."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request

import pytest

import durable
from durable import Signal, workflow
from durable._store import connection
from durable._store.locks import Trouble, lock_file
from tests.until import until

go = Signal("go", int)


@workflow
async def waits() -> int:
    return await go.receive()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(connection, "TELL_BUSY_S", 0.05)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.db"


def told(path):
    with durable.view(path) as runs:
        return runs.trouble


class Locker:
    """Another process that has the write lock until it is told to let go."""

    CODE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout.readline() == b"locked\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.let_go()

    def let_go(self):
        if self.process.returncode is None:
            self.process.communicate()


async def test_a_file_that_others_have_locked_is_told_by_views_until_it_is_free(path, caplog):
    async with durable.Engine(path, functions=[waits]) as engine:
        run = await engine.start(waits)
        with Locker(path) as locker:
            sending = asyncio.ensure_future(run.signal(go, 7))
            text = await until(lambda: told(path))
            assert not sending.done()
        await sending

        assert await run.result() == 7
        assert told(path) == ""
        assert await run.status() == "completed"
    assert text.startswith("the store waits since ")
    assert f"busy: process {locker.process.pid} has the write lock" in text
    assert "nothing is lost" in text
    messages = [one.getMessage() for one in caplog.records if one.name == "durable.store"]
    assert any(f"process {locker.process.pid} has the write lock" in one for one in messages)
    assert any("is written to again, after" in one for one in messages)


async def test_doctor_is_not_well_meanwhile(path):
    async with durable.Engine(path, functions=[waits]) as engine:
        run = await engine.start(waits)
        with Locker(path):
            sending = asyncio.ensure_future(run.signal(go, 7))
            text = await until(lambda: told(path))
            with durable.view(path) as runs:
                checks = {one.name: one for one in runs.doctor(quick=True)}
        await sending
        with durable.view(path) as runs:
            after = {one.name: one for one in runs.doctor(quick=True)}

    assert not checks["writing"].is_well
    assert text.split("(")[0] in checks["writing"].text
    assert after["writing"].is_well


async def test_a_client_that_waits_for_the_lock_says_so(path, caplog):
    async with durable.Engine(path, functions=[waits]) as engine:
        run = await engine.start(waits.options(id="w"))
        async with durable.Client(path) as client:
            with Locker(path):
                sending = asyncio.ensure_future((await client.get("w")).signal(go, 7))
                await until(lambda: "has the write lock" in caplog.text)
            await sending
        assert await run.result() == 7
    with durable.view(path) as runs:
        assert runs.trouble == ""


@pytest.mark.parametrize(
    "command", [["ls"], ["show", "w"], ["wait", "w", "--timeout", "20s"]], ids=str
)
async def test_commands_say_so(path, command):
    async with durable.Engine(path, functions=[waits]) as engine:
        run = await engine.start(waits.options(id="w"))
        with Locker(path) as locker:
            sending = asyncio.ensure_future(run.signal(go, 7))
            await until(lambda: told(path))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "durable_cli", "-d", str(path), *command,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            said = await process.stderr.readline()
            locker.let_go()
            await process.communicate()
        await sending

    assert b"the store waits since " in said
    assert b"has the write lock" in said
    assert process.returncode == 0


async def test_pages_say_so_and_their_mark_changes(path):
    from durable.web import app

    uvicorn = pytest.importorskip("uvicorn")

    async with durable.Engine(path, functions=[waits]) as engine:
        run = await engine.start(waits)
        with durable.view(path) as runs:
            before = runs.version()
            config = uvicorn.Config(app(engine, auth=lambda _: "me"), port=0, log_level="error")
            server = uvicorn.Server(config)
            serving = asyncio.ensure_future(server.serve())
            await until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}/api/v1/meta"
            calm = json.loads(await asyncio.to_thread(_read, url))
            with Locker(path):
                sending = asyncio.ensure_future(run.signal(go, 7))
                await until(lambda: told(path))
                meta = json.loads(await asyncio.to_thread(_read, url))
                assert runs.version() != before
            await sending
            server.should_exit = True
            await serving

    assert calm["trouble"] == ""
    assert "has the write lock" in meta["trouble"]


def _read(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


async def test_what_a_dead_worker_said_does_not_count(path):
    async with durable.Engine(path, functions=[waits]):
        locks = lock_file(str(path))
        locks.write_trouble(Trouble(9_999, 1_767_225_600_000_000, "busy"))

        assert told(path) == ""


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 18, b"\x01" * 400, bytes(18)], ids=["short", "ones", "odd", "zeros"]
)
async def test_a_damaged_record_says_nothing(path, data):
    async with durable.Engine(path, functions=[waits]):
        with path.with_name("app.db-lock").open("r+b") as file:
            file.seek(256)
            file.truncate()
            file.write(data)

        assert told(path) == ""


async def test_a_long_text_is_cut_and_another_workers_stays(path):
    async with durable.Engine(path, functions=[waits]) as engine:
        worker = engine._worker.id
        locks = lock_file(str(path))
        locks.write_trouble(Trouble(worker, 1_767_225_600_000_000, "é" * 2_000))
        locks.clear_trouble(worker + 1)

        found = locks.find_trouble()
        assert found is not None
        assert 500 < len(found.text) <= 512
        locks.clear_trouble(worker)
        assert locks.find_trouble() is None


async def test_an_engine_that_is_entered_meanwhile_waits_and_its_loop_goes_on(path):
    async with durable.Client(path, create=True):
        pass
    with Locker(path) as locker:
        engine = durable.Engine(path, functions=[waits])
        entering = asyncio.ensure_future(engine.__aenter__())
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert not entering.done()
        locker.let_go()
    await entering
    try:
        run = await engine.start(waits)
        await run.signal(go, 7)
        assert await run.result() == 7
    finally:
        await engine.__aexit__(None, None, None)


async def test_an_engine_leaves_meanwhile_and_nothing_is_lost(path):
    engine = durable.Engine(path, functions=[waits], grace=0)
    await engine.__aenter__()
    run = await engine.start(waits.options(id="w"))
    with Locker(path):
        sending = asyncio.ensure_future(run.signal(go, 7))
        await until(lambda: told(path))
        async with asyncio.timeout(10):  # The busy handler's patience is 30 s.
            await engine.__aexit__(None, None, None)
        assert isinstance((await asyncio.gather(sending, return_exceptions=True))[0], Exception)
    async with durable.Engine(path, functions=[waits]) as again:
        handle = await again.get("w")
        await handle.signal(go, 8)
        assert await handle.result() == 8


async def test_a_worker_that_is_stuck_says_so_again_when_another_has_spoken_and_died(path):
    async with durable.Engine(path, functions=[waits]) as engine:
        run = await engine.start(waits)
        with Locker(path):
            sending = asyncio.ensure_future(run.signal(go, 7))
            await until(lambda: told(path))
            lock_file(str(path)).write_trouble(Trouble(9_999, 1_767_225_600_000_000, "dead"))

            await until(lambda: told(path))
        await sending


SCRIPT = """
import sys, durable
from durable import activity, workflow
@activity
async def one(n: int) -> int:
    return n
@workflow
async def many() -> int:
    for n in range(1_000_000):
        await one(n)
    return 0
print("begun", flush=True)
durable.run(sys.argv[1], many)
"""


@pytest.mark.slow
async def test_a_signal_ends_a_script_meanwhile(path, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"begun\n"
        await until(lambda: path.exists() and size_of_history(path) > 5)
        with Locker(path):
            await until(lambda: told(path))
            process.send_signal(signal.SIGTERM)

            await asyncio.to_thread(process.communicate, timeout=15)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode != -signal.SIGKILL


def size_of_history(path):
    try:
        with durable.view(path) as runs:
            return sum(len(runs.events(one.id, limit=10)) for one in runs.list())
    except durable.StoreError:
        return 0
