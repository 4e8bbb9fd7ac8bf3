"""`durable retry`, `cancel`, `terminate`: with a worker in another process, and with none."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from tests.cli import shop
from tests.cli.conftest import Command, Done

ROOT = Path(__file__).parents[2]
NO_WORKER = r"queued: no worker lives; start one with `durable worker APP:ENGINE`\n"


def status(path: Path, run: str) -> str:
    with durable.view(path) as runs:
        return runs.get(run).status


def test_retry_says_what_goes_on_and_from_where(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "retry", "order-8812")

    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(
        r"order-8812#2 goes on from step 2 \(charge\) of order-8812, with 1 recorded step\n"
        rf"now {NO_WORKER}",
        done.out,
    )
    assert status(shop_file, "order-8812#1") == "failed"


def test_a_retried_run_goes_on_when_a_worker_comes(
    durable_: Command, shop_file: Path, tmp_path: Path
) -> None:
    Path("card-works").touch()

    durable_("-d", shop_file, "retry", "last")
    durable_("-d", shop_file, "retry", "order-8812")

    async def serve() -> list[str]:
        async with durable.Engine(shop_file, functions=shop.FUNCTIONS) as engine:
            runs = [await engine.get(one) for one in ("order-8812", "video-1")]
            return [await run.result() for run in runs]

    assert asyncio.run(serve()) == ["receipt 8812", "a.mp4"]


def test_retry_of_a_run_that_cleaned_up_wants_anyway(durable_: Command, shop_file: Path) -> None:
    refused = durable_("-d", shop_file, "retry", "order-7")
    agreed = durable_("-d", shop_file, "retry", "order-7", "--anyway")

    assert refused.code == 4
    assert refused.err.startswith("error: run order-7: step 2 (release) completed after")
    assert agreed.code == 0
    assert agreed.out.startswith("order-7#2 goes on from step 1 (charge) of order-7, with 0 ")


def test_retry_of_a_stopped_run_goes_on_where_it_stopped(
    durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "retry", "terminated-nap")

    assert done.out.startswith("terminated-nap#2 goes on from where terminated-nap stopped, with 0")


@pytest.mark.parametrize(
    ("verb", "run", "message"),
    [
        ("retry", "hello-1", "run hello-1 is completed; there is nothing to retry"),
        ("retry", "nap", "run nap is sleeping, and no step of it waits for a retry"),
        ("cancel", "hello-1", "run hello-1 is completed; there is nothing to cancel"),
        ("terminate", "order-7", "run order-7 is failed already"),
    ],
)
def test_a_verb_that_does_not_fit_is_exit_code_4(
    verb: str, run: str, message: str, durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, verb, run)

    assert done == Done(4, "", f"error: {message}\n")


@pytest.mark.parametrize("verb", ["retry", "cancel", "terminate"])
def test_a_verb_on_nothing_is_exit_code_3(verb: str, durable_: Command, shop_file: Path) -> None:
    assert durable_("-d", shop_file, verb, "nope").code == 3


def test_cancel_without_a_worker_waits_in_the_file(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "cancel", "nap", "--reason", "why \x1b[31mnot")

    assert re.fullmatch(rf"nap is asked to stop\nnow {NO_WORKER}", done.out)

    async def serve() -> None:
        async with durable.Engine(shop_file, functions=shop.FUNCTIONS) as engine:
            await (await engine.get("nap")).result()

    with pytest.raises(durable.RunCancelled):
        asyncio.run(serve())
    assert "why \\x1b[31mnot" in durable_("-d", shop_file, "show", "nap").out


def test_terminate_without_a_worker_ends_the_run_at_once(
    durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "terminate", "nap", "--reason", "wrong")

    assert done == Done(0, "nap is terminated\n", "")
    assert "  wrong\n" in durable_("-d", shop_file, "show", "nap").out


@pytest.mark.parametrize("verb", ["cancel", "terminate"])
def test_a_reason_has_a_limit(verb: str, durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, verb, "nap", "--reason", "x" * 10_001)

    assert done.code == 2
    assert done.err.startswith("error: a reason is text of at most 10,000 characters")
    assert status(shop_file, "nap") == "sleeping"


@pytest.fixture
async def serving(shop_file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`durable worker` in another process, serving the file."""
    Path("app.py").write_text((ROOT / "tests/cli/shop.py").read_text(encoding="utf-8"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "durable_cli", "worker", "app:engine",
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}, cwd=shop_file.parent,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    assert b"serves" in await process.stderr.readline()
    yield process
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 143


async def until(path: Path, run: str, wanted: str) -> None:
    async with asyncio.timeout(10):
        while status(path, run) != wanted:
            await asyncio.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "run", "wanted"),
    [
        (["cancel", "nap", "--reason", "enough"], "nap", "cancelled"),
        (["terminate", "nap"], "nap", "terminated"),
        (["retry", "video-1"], "video-1", "completed"),
        (["retry", "order-8812"], "order-8812#2", "completed"),
    ],
)
async def test_verbs_reach_a_worker_in_another_process(
    arguments: list[str], run: str, wanted: str, shop_file: Path,
    serving: asyncio.subprocess.Process,
) -> None:  # fmt: skip
    Path("card-works").touch()

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "durable", "-d", str(shop_file), *arguments],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    await until(shop_file, run, wanted)
