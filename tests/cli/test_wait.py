"""`durable wait`: runs that have ended, that end meanwhile, and that do not."""

import asyncio
import json
import re
from pathlib import Path

import apsw
import pytest

import durable
from durable import Signal, workflow
from durable_cli import main
from tests.cli.conftest import Command, Done


@pytest.mark.parametrize(
    ("runs", "code"),
    [
        (["hello-1"], 0),
        (["hello-1", "hello-2"], 0),
        (["order-8812"], 1),
        (["cancelled-nap"], 7),
        (["terminated-nap"], 7),
        (["cancelled-nap", "hello-1"], 7),
        (["cancelled-nap", "order-8812", "hello-1"], 1),
        (["--any", "hello-1", "order-8812"], 0),
        (["--any", "nap", "cancelled-nap"], 7),
        (["--timeout", "0.01", "nap"], 8),
        (["--timeout", "0.01", "order-8812", "nap"], 8),
        (["--timeout", "0.01", "--any", "nap", "video-1"], 8),
        (["last"], 8),
        (["nope"], 3),
        (["hello-1", "nope"], 3),
        (["hello-1#1"], 0),
        (["hello-1#2"], 3),
        ([], 2),
        (["hello-1", "--timeout", "soon"], 2),
        (["hello-1", "--timeout", "0"], 2),
        (["hello-1", "--timeout", "-5s"], 2),
    ],
)
def test_the_exit_code_is_how_they_ended(
    runs: list[str], code: int, durable_: Command, shop_file: Path
) -> None:
    more = ["--timeout", "0.01"] if runs == ["last"] else []

    assert durable_("-d", shop_file, "wait", *runs, *more).code == code


def test_a_line_for_each_run_in_the_order_given(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "wait", "order-8812", "hello-1", "terminated-nap", "hello-1")

    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [line[:3] for line in lines] == [
        ["failed", "order-8812", "fulfil"],
        ["completed", "hello-1", "greet"],
        ["terminated", "terminated-nap", "nap"],
    ]
    assert lines[0][4].startswith("ConnectionError: refused by \\x1b[31mbank")
    assert done.err == ""


def test_what_has_not_ended_says_why(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "wait", "hello-1", "nap", "--timeout", "0.01")

    assert re.fullmatch(
        r"completed\thello-1\t.*\nsleeping\tnap\tnap\t\ttimer !t1 in \d+d \d+h\n", done.out
    )
    assert done.err == "error: 1 of 2 runs have not ended within 0.01 s\n"


def test_one_that_is_missing_is_told_before_any_waiting(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "wait", "nap", "nope")

    assert done == Done(3, "", "error: no run 'nope' is in the file; `durable ls` lists them\n")


def test_any_tells_of_one_run_alone(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "wait", "--any", "nap", "hello-2", "hello-1")

    assert [line.split("\t")[1] for line in done.out.splitlines()] == ["hello-2"]


def test_json_has_the_results(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "wait", "hello-1", "order-8812", "--json")

    hello, order = json.loads(done.out)
    assert (hello["id"], hello["status"], hello["result"]) == ("hello-1", "completed", "hello 世界")
    assert (order["status"], order["result"], done.code) == ("failed", None, 1)
    assert order["closed"].endswith("Z")


def test_a_damaged_result_is_said_and_harms_no_other(durable_: Command, shop_file: Path) -> None:
    connection = apsw.Connection(str(shop_file))
    connection.execute("UPDATE durable_run SET result = '\"x\"' WHERE id = 'hello-1'")
    connection.close()

    done = durable_("-d", shop_file, "wait", "hello-1", "hello-2", "--json")

    damaged, whole = json.loads(done.out)
    assert damaged["result"].startswith("<the payload does not match its checksum")
    assert whole["result"] == "hello " + "x" * 500


def test_an_empty_file_has_no_last_run(durable_: Command, empty_file: Path) -> None:
    assert durable_("wait", "last").code == 3


def test_a_terminal_sees_shapes(on_terminal: Command, shop_file: Path) -> None:
    done = on_terminal("-d", shop_file, "wait", "hello-1", "order-8812", "--color", "never")

    assert re.match(r"✓ completed  hello-1  greet  \d+ms\n✕ failed  order-8812  fulfil  ", done.out)


go = Signal("go", int)


@workflow
async def leg(left: int) -> str:
    """Waits, goes on as new, and returns from its last leg."""
    await go.receive()
    if left:
        await durable.continue_as_new(left - 1)
    return "there"


async def test_what_ends_meanwhile_is_seen_and_what_continues_is_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with durable.Engine(tmp_path / "legs.db", functions=[leg]) as engine:
        run = await engine.start(leg.options(id="x"), 2)
        waiting = asyncio.ensure_future(asyncio.to_thread(main, ["wait", "x#1", "--json"]))
        for _ in range(3):
            await run.signal(go, 1)

        code = await waiting

    (found,) = json.loads(capsys.readouterr().out)
    assert (code, found["id"], found["result"]) == (0, "x#3", "there")


async def test_run_wait_raises_nothing_for_one_that_failed(shop_file: Path) -> None:
    async with durable.Client(shop_file) as client:
        failed = await (await client.get("order-8812")).wait()
        with pytest.raises(durable.RunFailed):
            await (await client.get("order-8812")).result()

    assert (failed.id, failed.status) == ("order-8812", "failed")
