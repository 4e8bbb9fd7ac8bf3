"""What the tests of processes run in them: found there by module and name."""

import asyncio
import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import durable
from durable import Retry, activity, workflow

QUICK = Retry(initial_interval=0, max_attempts=2)
ONCE = Retry(max_attempts=1)

tokens = durable.Stream("tokens", str)
state = durable.Value("state", dict[str, int])
logger = logging.getLogger("tests.in_processes")


class Refused(ValueError):
    def __init__(self, order: str, cents: int) -> None:
        super().__init__(order, cents)
        self.order, self.cents = order, cents


def wait_for_ever(folder: str) -> None:
    """Say where it runs, and compute until somebody ends it."""
    told = Path(folder, f"{os.getpid()}.new")
    told.write_text("")
    told.rename(Path(folder, str(os.getpid())))
    while True:
        pass


@activity(isolation="process")
def where(number: int) -> tuple[int, int]:
    return number, os.getpid()


def pid() -> int:
    return os.getpid()


@activity(isolation="process")
async def where_async(number: int) -> tuple[int, int]:
    await asyncio.sleep(0)
    return number, os.getpid()


@activity(isolation="process", retry=ONCE)
def refuses() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise Refused("order-1", 500) from error


@activity(isolation="process", retry=Retry(max_attempts=5, initial_interval=0))
def asks_for_later() -> int:
    if durable.attempt().number == 1:
        raise durable.RetryAfter(3_600)
    return durable.attempt().number


@activity(isolation="process")
def echo(text: str) -> str:
    return text


@activity(isolation="process", retry=ONCE)
def leaves(code: int) -> None:
    os._exit(code)


@activity(isolation="process", retry=ONCE)
def kills_itself(number: int) -> None:
    os.kill(os.getpid(), number)


@activity(isolation="process", retry=ONCE)
def segfaults() -> None:
    ctypes.string_at(0)


@activity(isolation="process", retry=ONCE)
def leaves_a_fork() -> None:
    if os.fork() == 0:  # It has the connection, and holds it open.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
    os._exit(4)


@activity(isolation="process", retry=ONCE)
def exits() -> None:
    sys.exit(3)


def end_of_the_engine() -> int:
    """Return the descriptor of this process's end of its connection."""
    from durable._runtime import process_child

    assert process_child.here is not None
    return process_child.here.fileno()


@activity(isolation="process", retry=ONCE)
def says_half() -> None:
    os.write(end_of_the_engine(), (20).to_bytes(8, "big") + (0).to_bytes(8, "big") + b'["retur')
    os._exit(0)


@activity(isolation="process", retry=ONCE)
def says_nonsense() -> None:
    os.write(end_of_the_engine(), b"\xff" * 100)
    threading.Event().wait()


@activity(isolation="process", retry=Retry(initial_interval=0))
def dies_first(way: str) -> int:
    about = durable.attempt()
    if about.number == 1:
        durable.heartbeat({"way": way, "done": 7})
        if way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(3)
    assert about.details == {"way": way, "done": 7}
    assert about.last_failure is not None
    return about.number


@activity(isolation="process")
def about() -> dict[str, str]:
    found = durable.attempt()
    return {
        "run": found.run_id,
        "step": found.step_id,
        "activity": found.activity,
        "key": found.idempotency_key,
        "header": found.headers.get("trace", ""),
        "cancelled": str(durable.is_cancelled()),
        "stopping": str(found.is_stopping()),
        "has deadline": str(found.deadline is not None),
    }


@activity(isolation="process")
def publishes() -> str:
    for word in ("a", "b", "c"):
        tokens.append(word)
        state.set({word: len(word)})
    logger.warning("said %s", "aloud")
    logger.debug("not said")
    return "done"


@activity(isolation="process", retry=ONCE)
def uses_resource() -> None:
    durable.resource("pool")


@activity(isolation="process")
def later(folder: str) -> int:
    Path(folder, "token").write_text(durable.complete_later())
    return -1


@activity(isolation="process", retry=ONCE)
def spins(folder: str) -> None:
    wait_for_ever(folder)


@activity(isolation="process", retry=ONCE)
def beats_once(folder: str) -> None:
    durable.heartbeat()
    wait_for_ever(folder)


@activity(isolation="process", retry=ONCE)
def cleans_up(folder: str) -> None:
    try:
        wait_for_ever(folder)
    finally:
        Path(folder, "cleaned").write_text(str(durable.is_cancelled()))


@activity(isolation="process", retry=ONCE)
def holds_on(folder: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait_for_ever(folder)


@activity(isolation="process", retry=ONCE)
def has_a_child(folder: str) -> None:
    child = subprocess.Popen(["sleep", "1000"])
    Path(folder, "child").write_text(str(child.pid))
    wait_for_ever(folder)


@activity(isolation="process", retry=ONCE)
def holds_the_interpreter(folder: str) -> None:
    Path(folder, str(os.getpid())).write_text("")
    re.match(r"(a+)+$", "a" * 60 + "b")  # C code that lets no other thread run, for years.


@activity(isolation="process")
def grows(count: int) -> str:
    return "x" * count


@activity(isolation="process")
def unlimited(count: int) -> int:
    return len(bytearray(count))


@activity(isolation="process", at_most_once=True)
def letter(folder: str) -> None:
    with Path(folder, "letters").open("a") as file:
        file.write("sent\n")
    os._exit(1)


@activity(isolation="process", memory_limit="256MiB", retry=ONCE)
def takes(count: int) -> tuple[int, int]:
    return len(bytearray(count)), os.getpid()


@activity(isolation="process")
def ends_when_told(folder: str) -> str:
    Path(folder, "begun").write_text("")
    while not durable.attempt().is_stopping():
        time.sleep(0.01)
    return "ended in order"


@activity(isolation="process", retry=ONCE)
def waits_for(folder: str, name: str) -> int:
    Path(folder, f"{name}.begun").write_text("")
    while not Path(folder, name).exists():
        time.sleep(0.002)
    return os.getpid()


@activity(isolation="process")
def leaves_a_thread() -> str:
    """Let a thread of its own talk on when it has ended."""

    def talk() -> None:
        while True:
            time.sleep(0.001)
            logger.warning("of nobody")

    threading.Thread(target=talk, daemon=True).start()
    return "left"


@workflow
async def both() -> list[int]:
    plain, _ = await where(1)
    in_a_task, _ = await where_async(2)
    return [plain, in_a_task]


@workflow
async def catches() -> str:
    try:
        await refuses()
    except Refused as error:
        return f"{error.order} {error.cents} {error.__cause__!r}"
    return "?"


@workflow
async def goes_on(way: str) -> int:
    return await dies_first(way)


@workflow
async def waits_an_hour() -> int:
    return await asks_for_later()


@workflow
async def tells() -> dict[str, str]:
    return await about()


@workflow
async def reads() -> str:
    return await publishes()


@workflow
async def hands_over(folder: str) -> int:
    return await later(folder)
