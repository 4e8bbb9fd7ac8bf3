"""The commands that repair single runs, and the audit that `show` tells of."""

import asyncio
import json
from pathlib import Path

import pytest

import durable
from tests.cli import shop
from tests.cli.conftest import Command


def serve(path: Path, name: str) -> object:
    """Serve a file until a run has its result; return that."""

    async def until_done() -> object:
        async with durable.Engine(path, functions=shop.FUNCTIONS) as engine:
            return await (await engine.get(name)).result()

    return asyncio.run(until_done())


def status(path: Path, run: str) -> str:
    with durable.view(path) as runs:
        return runs.get(run).status


def test_restart_makes_the_next_run_from_a_place(durable_: Command, shop_file: Path) -> None:
    Path("card-works").touch()

    done = durable_(
        "-d", shop_file, "restart", "order-8812", "--from", "charge", "--reason", "card works"
    )

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(
        "order-8812#2 begins from charge of order-8812, with 1 recorded step\nnow queued: "
    )
    assert serve(shop_file, "order-8812") == "receipt 8812"
    shown = durable_("-d", shop_file, "show", "order-8812").out
    assert "cause      restarted, goes on from order-8812\n" in shown
    assert "(run order-8812, from charge): card works\n" in shown
    assert "next       order-8812#2\n" in durable_("-d", shop_file, "show", "order-8812#1").out


def test_restart_takes_input_and_outputs_from_files(durable_: Command, shop_file: Path) -> None:
    Path("in.json").write_text("[9]")
    Path("out.json").write_text('"by hand"')

    done = durable_(
        "-d", shop_file, "restart", "order-8812", "--from", "start", "--input", "@in.json"
    )
    again = durable_(
        "-d", shop_file, "restart", "order-8812#1", "--from", "2", "--step-output", "2=@out.json"
    )

    assert done.code == 0
    assert (again.code, "as order-8812#2 already, which is open" in again.err) == (4, True)
    durable_("-d", shop_file, "terminate", "order-8812#2")
    durable_(
        "-d", shop_file, "restart", "order-8812#1", "--from", "2", "--step-output", "2=@out.json"
    )
    assert serve(shop_file, "order-8812#3") == "by hand"
    assert json.loads(durable_("-d", shop_file, "show", "--json", "order-8812#2").out)[
        "arguments"
    ] == [9]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(["--input", "{"], "is no JSON"), (["--input", "@nowhere.json"], "cannot be read"),
     (["--step-output", "2"], "takes STEP=JSON"), (["--step-output", "=1"], "takes STEP=JSON"),
     (["--input", "5"], "a list of its arguments"), (["--from", ""], "a step is named")],
)  # fmt: skip
def test_restart_says_what_makes_no_sense(
    durable_: Command, shop_file: Path, wrong: list[str], said: str
) -> None:
    done = durable_("-d", shop_file, "restart", "order-8812", *wrong)

    assert (done.code, said in done.err) == (2, True)
    assert status(shop_file, "order-8812") == "failed"


def test_a_place_that_is_not_there_is_exit_code_4(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "restart", "order-8812", "--from", "nowhere")

    assert done.code == 4
    assert "has no step 'nowhere'; it has 1 (reserve), 2 (charge)" in done.err


def test_skip_ends_a_pending_step(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "skip", "video-1", "1", "--output", '"b.mp4"')
    other = durable_("-d", shop_file, "skip", "order-8812", "2", "--error", "no")

    assert done.out.startswith("step 1 of video-1 is to end with your output\nnow queued")
    assert (other.code, "it has ended" in other.err or "is failed" in other.err) == (4, True)
    assert serve(shop_file, "video-1") == "b.mp4"


@pytest.mark.parametrize("options", [[], ["--output", "1", "--error", "no"]])
def test_skip_wants_either_an_output_or_an_error(
    durable_: Command, shop_file: Path, options: list[str]
) -> None:
    done = durable_("-d", shop_file, "skip", "video-1", "1", *options)

    assert (done.code, "--output JSON or --error TEXT" in done.err) == (2, True)


def test_pause_and_resume(durable_: Command, shop_file: Path) -> None:
    paused = durable_("-d", shop_file, "pause", "video-1", "--reason", "lunch")
    again = durable_("-d", shop_file, "pause", "video-1")
    shown = durable_("-d", shop_file, "show", "video-1").out
    resumed = durable_("-d", shop_file, "resume", "video-1")
    once_more = durable_("-d", shop_file, "resume", "video-1")

    assert paused.out.startswith("video-1 is asked to pause\nnow paused: paused by ")
    assert paused.out.endswith(": lunch\n")
    assert shown.count("lunch") == 1
    assert resumed.out.startswith("video-1 goes on\nnow queued")
    assert (again.code, once_more.code) == (4, 4)


def test_accept_wants_a_blocked_run(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "accept", "order-8812", "1")

    assert (done.code, "is failed, not blocked" in done.err) == (4, True)


def test_rm_deletes_one_run_and_wants_to_be_sure(durable_: Command, shop_file: Path) -> None:
    unsure = durable_("-d", shop_file, "remove", "order-8812")
    still = status(shop_file, "order-8812")
    done = durable_("-d", shop_file, "remove", "order-8812", "--yes", "--reason", "a test")
    gone = durable_("-d", shop_file, "show", "order-8812")
    is_open = durable_("-d", shop_file, "remove", "video-1", "-y")

    assert (unsure.code, still) == (2, "failed")
    assert (done.code, done.out) == (0, "1 run is deleted\n")
    assert gone.code == 3
    assert (is_open.code, "end it first" in is_open.err) == (4, True)


def test_edit_changes_the_policy_of_a_pending_step(durable_: Command, shop_file: Path) -> None:
    done = durable_(
        "-d", shop_file, "edit", "video-1", "1", "--max-attempts", "none", "--max-interval", "1ms",
        "--initial-interval", "1ms", "--reason", "no more memory today",
    )  # fmt: skip
    wrong = durable_("-d", shop_file, "edit", "video-1", "1", "--max-attempts", "many")
    nothing = durable_("-d", shop_file, "edit", "video-1", "1")
    ended = durable_("-d", shop_file, "edit", "order-8812", "1", "--max-attempts", "3")

    assert done.code == 0
    assert done.out.startswith(
        "step 1 of video-1 has max_attempts none, max_interval 1ms, initial_interval 1ms\n"
    )
    assert (wrong.code, nothing.code, ended.code) == (2, 2, 4)
    assert "takes a whole number or none, not 'many'" in wrong.err
    assert "say what of the step's policy is to change" in nothing.err
    Path("card-works").touch()
    assert serve(shop_file, "video-1") == "a.mp4"
