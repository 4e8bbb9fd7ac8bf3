"""`durable issues` and what it does about a group."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_like_failures_are_listed_as_one(
    durable_: Command, on_terminal: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "issues")
    shown = on_terminal("-d", shop_file, "issues", "--color", "never")
    as_json = json.loads(durable_("-d", shop_file, "issues", "--json").out)

    assert done.code == 0
    (line,) = [one for one in done.out.splitlines() if "charge" in one]
    assert line.split("\t")[0] == "I-1"
    assert line.split("\t")[1:4] == ["failed", "2", "2"]
    assert line.split("\t")[-2:] == [
        "charge  shop.py",
        r"ConnectionError: refused by \x1b[<n>mbank\x1b[<n>m \u202egpj.exe",
    ]
    assert "ISSUE" in shown.out
    assert "\x1b" not in shown.out
    # The file is as old as the session: after half a minute its queued runs are an issue too.
    assert {one["kind"] for one in as_json} - {"no worker"} == {"failed"}


def test_one_group_is_shown_with_its_sample(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "issues", "show", "I-1")

    assert done.code == 0
    assert "workflows  " in done.out
    assert "fulfil 1" in done.out
    assert "careful 1" in done.out
    assert "in charge\n" in done.out
    assert "\x1b" not in done.out
    assert "issue      I-1\n" in durable_("-d", shop_file, "show", "order-8812").out


def test_a_group_is_retried(durable_: Command, shop_file: Path) -> None:
    dry = durable_("-d", shop_file, "issues", "retry", "I-1", "--dry-run")
    done = durable_("-d", shop_file, "issues", "retry", "I-1", "--reason", "mended", "--yes")
    again = durable_("-d", shop_file, "issues", "retry", "I-1", "--anyway", "--yes")
    rest = durable_("-d", shop_file, "issues", "restart", "I-1", "--yes")

    assert dry.out == "would retry 2 runs (2 failed): order-7, order-8812\n"
    assert "1 of 2 runs goes on (job 1)\nnot order-7: run order-7: step 2 (release)" in done.out
    assert done.code == 4
    assert again.out.endswith("1 run goes on (job 2)\n")
    assert rest.code == 3
    assert "no run to restart is meant by status:open,failed (issue:I-1)" in rest.err


@pytest.mark.parametrize("verb", ["mute", "resolve", "reopen", "retry", "restart"])
def test_a_group_that_goes_by_itself_says_so(durable_: Command, shop_file: Path, verb: str) -> None:
    done = durable_("-d", shop_file, "issues", verb, "no-worker:video")

    assert done.code == 3
    assert "goes by itself when one starts" in done.err
    assert "its runs are workflow:video" in done.err


def test_a_group_is_resolved_muted_and_opened_again(durable_: Command, shop_file: Path) -> None:
    for verb, state in (("resolve", "resolved"), ("mute", "muted"), ("reopen", "open")):
        done = durable_("-d", shop_file, "issues", verb, "I-1", "--reason", "so")
        listed = durable_("-d", shop_file, "issues", "--state", state)
        of_all = durable_("-d", shop_file, "issues", "--state", "all").out

        assert done.out.startswith(f"I-1 is {state}: ")
        assert "I-1\t" in listed.out
        assert f"I-1\tfailed\t{state}\t2\t2\t" in of_all


@pytest.mark.parametrize("verb", ["show", "retry", "mute", "resolve", "reopen"])
def test_a_group_that_is_not_there_is_exit_code_3(
    durable_: Command, shop_file: Path, verb: str
) -> None:
    done = durable_("-d", shop_file, "issues", verb, "I-77")

    assert (done.code, "no issue 'I-77'" in done.err) == (3, True)
