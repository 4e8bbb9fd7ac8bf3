"""Processes that serve a file end in order, and in time, whatever their activities do."""

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import asyncio, sys, threading, durable

@durable.activity
async def swallows() -> None:
    print("begun", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

@durable.activity
def hangs() -> None:
    print("begun", flush=True)
    threading.Event().wait()

@durable.workflow
async def flow(kind: str) -> None:
    await {"swallows": swallows, "hangs": hangs}[kind]()

durable.Engine.__init__.__kwdefaults__["grace"] = float(sys.argv[3])
durable.run(sys.argv[1], flow.options(id="x"), sys.argv[2])
"""


def started(tmp_path, kind: str, grace: float) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "app.db"), kind, str(grace)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line == "begun\n", child.stderr.read() if child.stderr else ""
    return child


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["swallows", "hangs"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_ends_within_its_grace_and_says_what_it_waits_for(tmp_path, kind, number, code):
    child = started(tmp_path, kind, 0.2)

    child.send_signal(number)
    _, said = child.communicate(timeout=20)

    assert child.returncode == code
    assert f"stopping; it waits for {kind} of run x (" in said
    assert "Traceback" not in said


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_grace(tmp_path, number):
    child = started(tmp_path, "swallows", 600)

    child.send_signal(number)
    assert child.stderr is not None
    assert "at most for its grace time" in child.stderr.readline()
    child.send_signal(number)
    began = time.monotonic()
    child.communicate(timeout=60)

    assert time.monotonic() - began < 60  # Of the 600 s: it did not wait for them.
