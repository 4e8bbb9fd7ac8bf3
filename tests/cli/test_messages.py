"""`durable signal`, `update`, `query`, `read`, `tail`, `answer`: with a worker and with none."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from durable.testing import ManualClock
from tests.cli import desk
from tests.cli.conftest import Command, Done
from tests.until import until

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}
APP = f"{ROOT / 'tests/cli/desk.py'}:make"
NO_WORKER = "queued: no worker lives; start one with `durable worker APP:ENGINE`\n"


def serve(path: Path, run: str) -> object:
    """Serve the file until a run has ended; return its result."""

    async def until_it_ends() -> object:
        async with durable.Engine(path, functions=desk.FUNCTIONS) as engine:
            async with asyncio.timeout(20):
                return await (await engine.get(run)).result()

    return asyncio.run(until_it_ends())


def token_of(durable_: Command, path: Path, run: str) -> str:
    shown = json.loads(durable_("-d", path, "show", run, "--json").out)
    token: str = shown["promises"][0]["token"]
    return token


# -- read ------------------------------------------------------------------------------------------


def test_read_shows_a_value_as_json_and_all_of_them(durable_: Command, desk_file: Path) -> None:
    one = durable_("-d", desk_file, "read", "approval-1", "progress")
    every = durable_("-d", desk_file, "read", "approval-1")

    assert one.code == 0
    assert json.loads(one.out) == {"done": 30, "total": 120}
    rows = [line.split("\t") for line in every.out.splitlines()]
    assert [(name, value) for name, _, value in rows][1:] == [
        ("progress", '{"done":30,"total":120}'),
        ("state", '"begun"'),
    ]


def test_read_has_times_as_json(durable_: Command, desk_file: Path) -> None:
    one = json.loads(durable_("-d", desk_file, "read", "count-1", "state", "--json").out)
    every = json.loads(durable_("-d", desk_file, "read", "count-1", "--json").out)

    assert every == [one]
    assert (one["name"], one["value"], one["at"][-1]) == ("state", "at 4", "Z")


def test_read_shows_a_large_value_whole(durable_: Command, tmp_path: Path) -> None:
    large = durable.Value("large", str)

    @durable.workflow
    async def publishes() -> None:
        large.set("x" * 200_000)

    durable.run(tmp_path / "app.db", publishes.options(id="large"))

    assert json.loads(durable_("read", "large", "large").out) == "x" * 200_000


def test_a_value_that_is_not_set_is_exit_code_3(durable_: Command, desk_file: Path) -> None:
    done = durable_("-d", desk_file, "read", "count-1", "\x1b[31mnope")

    assert (done.code, done.out) == (3, "")
    assert re.fullmatch(
        r"error: run count-1 has not set the value .*nope'; it has: state\n", done.err
    )


def test_read_of_nothing_says_so_on_a_terminal_only(
    durable_: Command, on_terminal: Command, desk_file: Path
) -> None:
    assert durable_("-d", desk_file, "read", "asked") == Done(0, "", "")
    assert on_terminal("-d", desk_file, "read", "asked").out == "run asked has published nothing\n"


# -- tail ------------------------------------------------------------------------------------------


def test_tail_writes_items_and_tells_of_a_repeated_attempt(
    durable_: Command, desk_file: Path
) -> None:
    done = durable_("-d", desk_file, "tail", "spoken", "tokens")

    assert done == Done(0, "so: \none \ntwo \n-- step 1 again, attempt 2 --\none \ntwo \n", "")


def test_tail_joins_texts(durable_: Command, desk_file: Path) -> None:
    done = durable_("-d", desk_file, "tail", "spoken", "tokens", "--join", "--from", "1")

    assert done.out == "one two \n-- step 1 again, attempt 2 --\none two \n"


def test_tail_as_json_has_a_line_for_each_item(durable_: Command, desk_file: Path) -> None:
    done = durable_("-d", desk_file, "tail", "spoken", "tokens", "--json", "--from", "2")

    items = [json.loads(line) for line in done.out.splitlines()]
    assert [
        (one["position"], one["step"], one["attempt"], one["index"], one["value"]) for one in items
    ] == [
        (2, "1", 1, 1, "two "),
        (3, "1", 2, 0, "one "),
        (4, "1", 2, 1, "two "),
    ]
    assert all(one["at"].endswith("Z") for one in items)


def test_a_stream_that_a_closed_run_never_had_is_exit_code_3(
    durable_: Command, desk_file: Path
) -> None:
    done = durable_("-d", desk_file, "tail", "spoken", "nope")

    assert done == Done(3, "", "error: run spoken has no stream 'nope'; it has: tokens\n")


def test_nothing_hostile_is_written(durable_: Command, tmp_path: Path) -> None:
    lines = durable.Stream[object]("lines")
    text = f"{desk.EVIL}second"

    @durable.workflow
    async def speaks_evil() -> None:
        for item in (text, [text]):
            lines.append(item)

    durable.run(tmp_path / "app.db", speaks_evil.options(id="evil"))

    for options in ([], ["--join"], ["--json"]):
        done = durable_("tail", "evil", "lines", *options)
        assert done.code == 0
        assert done.out.replace("\n", "").isprintable()
        assert "second" in done.out


# -- signal ----------------------------------------------------------------------------------------


def test_a_signal_without_a_worker_waits_in_the_file(durable_: Command, desk_file: Path) -> None:
    done = durable_("-d", desk_file, "signal", "count-1", "stop", "true")

    assert done == Done(0, f"signal stop is sent to count-1\nnow {NO_WORKER}", "")
    assert serve(desk_file, "count-1") == 4


def test_a_misspelt_signal_is_sent_with_a_warning(durable_: Command, tmp_path: Path) -> None:
    path, approval = tmp_path / "app.db", durable.Signal("approval", bool)

    @durable.workflow
    async def approves() -> bool:
        return await approval.receive()

    async def park() -> None:
        clock = ManualClock(jumps=False)
        async with durable.Engine(path, functions=[approves], clock=clock) as engine:
            run = await engine.start(approves.options(id="order-42"))
            clock.advance(2)
            await until(lambda: engine._get_row(run._pk).state == "parked")

    asyncio.run(park())
    done = subprocess.run(
        [sys.executable, "-m", "durable", "-d", path, "signal", "order-42", "aproval", "true"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )

    assert done.stdout.startswith("signal aproval is sent to order-42\n")
    assert done.stderr == (
        "signal 'aproval' is sent to run order-42, and kept, but nothing in its code is known to "
        "ask for it; it knows: approval\n"
    )


def test_a_signal_with_an_id_is_sent_once(durable_: Command, desk_file: Path) -> None:
    for _ in range(3):
        done = durable_("-d", desk_file, "signal", "the-child", "stop", "true", "--id", "s1",
                        "--json")  # fmt: skip
        found = json.loads(done.out)
        assert (found["run"], found["status"]) == ("the-child", "queued")

    serve(desk_file, "the-child")

    shown = json.loads(durable_("-d", desk_file, "show", "the-child", "--json").out)
    assert [step["name"] for step in shown["steps"] if step["kind"] == "signal"] == ["stop"]


def test_a_signal_to_a_closed_run_is_exit_code_4(durable_: Command, desk_file: Path) -> None:
    done = durable_("-d", desk_file, "signal", "spoken", "stop", "true")

    message = "error: run spoken is completed; it takes no more signals\n"
    assert done == Done(4, "", message)


@pytest.mark.parametrize("verb", [["signal"], ["update"], ["query"], ["tail"], ["read"]])
def test_a_run_that_is_not_there_is_exit_code_3(
    verb: list[str], durable_: Command, desk_file: Path
) -> None:
    assert durable_("-d", desk_file, *verb, "nope", "name").code == 3


def test_what_is_no_json_is_refused_before_anything_is_sent(
    durable_: Command, desk_file: Path
) -> None:
    done = durable_("-d", desk_file, "signal", "count-1", "stop", "yes\x1b")

    assert done.code == 2
    assert done.err.startswith(
        """error: yes\\x1b is no JSON; a text has quotes of its own: '"yes"'\n"""
    )
    with durable.view(desk_file) as runs:
        assert runs.get("count-1").status == "waiting"


# -- answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "answer", "result"),
    [("approval-1", "true", "approved"), ("approval-1", "false", "refused"),
     ("signature-1", '"ada"', "ada")],
)  # fmt: skip
def test_an_answer_reaches_what_waits_for_it(
    run: str, answer: str, result: str, durable_: Command, desk_file: Path
) -> None:
    token = token_of(durable_, desk_file, run)

    done = durable_("-d", desk_file, "answer", token, answer)

    assert done == Done(0, f"{run} has its answer\nnow {NO_WORKER}", "")
    assert serve(desk_file, run) == result


def test_a_rejection_is_raised_in_the_run(durable_: Command, desk_file: Path) -> None:
    token = token_of(durable_, desk_file, "approval-1")

    done = durable_("-d", desk_file, "answer", token, "--reject", "not today", "--json")

    assert json.loads(done.out) == {"run": "approval-1", "status": "queued"}
    with pytest.raises(durable.RunFailed, match="PromiseRejected: not today"):
        serve(desk_file, "approval-1")
    shown = durable_("-d", desk_file, "show", "approval-1").out
    line = r"^1 +promise approval +rejected .*PromiseRejected: not today$"
    assert re.search(line, shown, re.MULTILINE)


def test_the_first_answer_counts(durable_: Command, desk_file: Path) -> None:
    token = token_of(durable_, desk_file, "approval-1")
    durable_("-d", desk_file, "answer", token, "true")

    again = durable_("-d", desk_file, "answer", token, "false")

    assert again == Done(3, "", "error: step 1 of run approval-1 was answered already\n")


@pytest.mark.parametrize("token", ["xx", "", "AAAA", "\x1b[31m", "é"])
def test_what_is_no_token_is_exit_code_3(token: str, durable_: Command, desk_file: Path) -> None:
    done = durable_("-d", desk_file, "answer", token, "1")

    assert done.code == 3
    assert re.fullmatch(r"error: .* is no token\n", done.err)


# -- query -----------------------------------------------------------------------------------------


def test_a_query_is_answered_by_replay_where_no_worker_is(
    durable_: Command, desk_file: Path
) -> None:
    plain = durable_("-d", desk_file, "query", "count-1", "total", "--app", APP)
    whole = durable_("-d", desk_file, "query", "count-1", "total", "3", "--app", APP, "--json")

    assert plain == Done(0, "4\n", "")
    assert json.loads(whole.out) == {"run": "count-1", "query": "total", "answer": 12}
    with durable.view(desk_file) as runs:
        assert (runs.get("count-1").status, runs.get("count-1").events) == ("waiting", 4)


def test_the_application_names_the_file(durable_: Command, desk_file: Path) -> None:
    assert durable_("query", "count-1", "total", "--app", APP) == Done(0, "4\n", "")


def test_a_query_nobody_can_answer_is_exit_code_6_with_a_hint(
    desk_file: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "durable", "-d", str(desk_file), "query", "count-1", "total"],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (6, "")
    assert "no workflow 'counts' is known to this process" in done.stderr
    assert done.stderr.endswith(
        "hint: where no worker serves the run, --app APP:ENGINE replays it here\n"
    )


def test_a_query_the_run_does_not_answer_names_those_it_does(
    durable_: Command, desk_file: Path
) -> None:
    done = durable_("-d", desk_file, "query", "count-1", "totl", "--app", APP)

    message = "error: the run answers no query 'totl'; it answers: total\n"
    assert done == Done(6, "", message)


# -- update ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_update_without_a_worker_says_so_and_is_done_later(
    durable_: Command, desk_file: Path
) -> None:
    ask = ["-d", desk_file, "update", "count-1", "add", "5", "--id", "k1"]

    done = durable_(*ask, "--timeout", "1200ms")

    assert (done.code, done.out) == (6, "")
    assert done.err == (
        f"count-1 is {NO_WORKER}"
        "error: no answer within 1.2 s\n"
        "hint: the update is not taken back; ask for its answer with --id k1\n"
    )

    async def serve_until_answered() -> int:
        async with durable.Engine(desk_file, functions=desk.FUNCTIONS) as engine:
            return await (await engine.get("count-1")).update_result(desk.add, "k1")

    assert asyncio.run(serve_until_answered()) == 9
    assert durable_(*ask) == Done(0, "9\n", "")


def test_an_update_that_was_done_is_answered_without_a_worker(
    durable_: Command, desk_file: Path
) -> None:
    done = durable_("-d", desk_file, "update", "count-1", "add", "4", "--id", "u4", "--json")

    assert json.loads(done.out) == {"run": "count-1", "update": "add", "id": "u4", "answer": 4}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("u-1", "-1 is negative"),
        ("u13", "update add of run count-1 failed: LookupError: 13 is mis"),
    ],
)
def test_an_update_that_was_refused_or_failed_is_exit_code_6(
    key: str, message: str, durable_: Command, desk_file: Path
) -> None:
    done = durable_("-d", desk_file, "update", "count-1", "add", "1", "--id", key)

    assert (done.code, done.out) == (6, "")
    assert done.err.startswith(f"error: {message}")


# -- with a worker ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def worker(folder: Path) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "durable_cli", "worker", APP,
        env=ENVIRONMENT, cwd=folder, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    assert b"serves" in await process.stderr.readline()
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 143


async def cli(path: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "durable", "-d", str(path), *arguments,
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out.decode()


@pytest.mark.slow
async def test_every_verb_reaches_a_worker_in_another_process(desk_file: Path) -> None:
    async with asyncio.timeout(60), worker(desk_file.parent):
        assert await cli(desk_file, "update", "count-1", "add", "6") == "10\n"
        assert await cli(desk_file, "query", "count-1", "total", "2") == "20\n"
        assert "sent to count-1" in await cli(desk_file, "signal", "count-1", "stop", "true")
        with durable.view(desk_file) as runs:
            token = runs.get("signature-1").promises[0].token
        assert "has its answer" in await cli(desk_file, "answer", token, '"ada"')
        async with durable.Client(desk_file) as client:
            assert await (await client.get("count-1")).result() == 10
            assert await (await client.get("signature-1")).result() == "ada"


@pytest.mark.slow
async def test_tail_follows_a_living_run_to_its_end(desk_file: Path) -> None:
    async with durable.Client(desk_file) as client:
        run = await client.start(desk.types.options(id="typing"))
    tail = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "durable", "-d", str(desk_file), "tail", "typing", "tokens",
        env=ENVIRONMENT, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert tail.stdout is not None

    async with asyncio.timeout(60), worker(desk_file.parent):
        # The run waits for a signal after each item: what comes comes while it is open.
        for number in range(3):
            assert await tail.stdout.readline() == f"{number}\n".encode()
            await cli(desk_file, "signal", run.name, "stop", "true")
        assert await tail.stdout.read() == b""
        assert await tail.wait() == 0
