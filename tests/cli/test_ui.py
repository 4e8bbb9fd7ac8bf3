"""`durable ui`: where it listens, whom it lets in, how it ends."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import durable
from tests.cli.conftest import Command

TOKEN = "sixteen-letters-and-more"


@contextmanager
def served(path: Path, *options: str) -> Iterator[tuple[str, int, subprocess.Popen[str]]]:
    """Serve the pages of a file; yield what it wrote, its port and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "durable_cli", "ui", str(path), "--port=0", "--no-open", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        found = re.search(r":(\d+)/", line)
        assert found, line
        yield line, int(found[1]), process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def ask(port: int, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}


def test_the_address_lets_in_and_nothing_else_does(shop_file: Path) -> None:
    with served(shop_file) as (address, port, _):
        token = address.partition("token=")[2]
        sent_on = ask(port, f"/?token={token}")
        cookie = sent_on[2]["set-cookie"].partition(";")[0]

        assert len(token) == 43
        assert address == f"http://127.0.0.1:{port}/?token={token}"
        assert (sent_on[0], sent_on[2]["location"]) == (303, "./")
        assert ask(port, "/", cookie=cookie)[0] == 200
        assert ask(port, "/api/v1/runs", cookie=cookie)[0] == 200
        assert ask(port, "/api/v1/runs", authorization=f"Bearer {token}")[0] == 200
        assert ask(port, "/api/v1/runs")[0] == 401
        assert ask(port, "/api/v1/runs", authorization="Bearer wrong")[0] == 401
        assert ask(port, "/", cookie=cookie, host="evil.example")[0] == 403
        assert ask(port, "/", cookie=cookie, host=f"localhost:{port}")[0] == 200


def test_it_looks_only_on_request_and_needs_no_code(shop_file: Path) -> None:
    with served(shop_file, "--read-only", "--token", TOKEN) as (_, port, _):
        meta = json.loads(ask(port, "/api/v1/meta", authorization=f"Bearer {TOKEN}")[1])

    assert (meta["is_read_only"], meta["has_code"], meta["workers"]) == (True, False, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_although_a_connection_is_open(
    shop_file: Path, number: signal.Signals
) -> None:
    with served(shop_file, "--token", TOKEN) as (_, port, process):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            connection.request("GET", "/api/v1/meta", headers={"authorization": f"Bearer {TOKEN}"})
            connection.getresponse().read()
            process.send_signal(number)

            process.wait(timeout=20)

        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


SLOW = """
import os, time, durable

@durable.workflow
async def slow():
    if "REPLAYED" in os.environ:
        os.mkdir(os.environ["REPLAYED"])
        time.sleep(10)
    await durable.sleep("1h")

engine = durable.Engine("slow.db", functions=[slow])
"""


def test_a_signal_ends_it_in_the_middle_of_a_slow_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, path, replayed = tmp_path / "slow_app.py", tmp_path / "slow.db", tmp_path / "replayed"
    app.write_text(SLOW)
    asyncio.run(_begin(path))
    monkeypatch.setenv("REPLAYED", str(replayed))

    with served(path, "--token", TOKEN, "--app", f"{app}:engine") as (_, port, process):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            token = {"authorization": f"Bearer {TOKEN}"}
            connection.request("GET", "/api/v1/runs/one/stack", headers=token)
            while not replayed.exists():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)

            process.wait(timeout=8)

        assert process.stderr is not None
        assert process.stderr.read() == ""


async def _begin(path: Path) -> None:
    @durable.workflow
    async def slow() -> None:
        await durable.sleep("1h")

    async with durable.Engine(path, functions=[slow]) as engine:
        await engine.start(slow.options(id="one"))


def test_another_address_needs_a_token(durable_: Command, shop_file: Path) -> None:
    done = durable_("ui", shop_file, "--host", "0.0.0.0", "--port", "0", "--no-open")

    assert done.code == 2
    assert "others may reach it; give a token of your own" in done.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--token", "short"), "a token has at least 16 characters"),
        (("--token", "ünsafe-but-long-enough"), "letters of ASCII"),
        (("--token", "with a space; and more"), "letters of ASCII"),
        (("--host", ""), "say where to listen"),
        (("--host", "no.such.host.invalid", "--token", TOKEN), "nothing can listen at"),
        (("--app", "nowhere:engine"), "there is no module 'nowhere'"),
        (("--port", "70000"), "is not in the range 0<=x<=65535"),
    ],
)
def test_wrong_use_is_told_in_a_line(
    durable_: Command, shop_file: Path, options: tuple[str, ...], says: str
) -> None:
    done = durable_("ui", shop_file, "--no-open", "--port", "0", *options)

    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_port_that_is_taken_is_told(durable_: Command, shop_file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = durable_("ui", shop_file, "--no-open", "--port", taken.getsockname()[1])

    assert done.code == 2
    assert "nothing can listen at 127.0.0.1" in done.err


def test_what_is_no_file_of_ours_is_refused_first(durable_: Command, tmp_path: Path) -> None:
    foreign = tmp_path / "notes.db"
    foreign.write_text("not a database")

    for path in (foreign, tmp_path / "nowhere.db"):
        assert durable_("ui", path, "--no-open", "--port", "0").code != 0


def test_another_address_of_loopback_is_served_under_its_name(shop_file: Path) -> None:
    with served(shop_file, "--host", "127.0.0.2", "--token", TOKEN) as (address, port, _):
        assert address.startswith(f"http://127.0.0.2:{port}/")
        with closing(http.client.HTTPConnection("127.0.0.2", port, timeout=20)) as connection:
            connection.request("GET", "/api/v1/meta", headers={"authorization": f"Bearer {TOKEN}"})
            assert connection.getresponse().status == 200
