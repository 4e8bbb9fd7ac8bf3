"""Verbs on many runs: how many and which, a question, progress, what was refused."""

import json
import sqlite3
from pathlib import Path

import pytest

import durable
from tests.cli.conftest import Command


def statuses(path: Path, query: str = "") -> dict[str, int]:
    with durable.view(path) as runs:
        return runs.count(query)


def test_a_dry_run_says_how_many_and_the_first(durable_: Command, shop_file: Path) -> None:
    before = statuses(shop_file)

    done = durable_("-d", shop_file, "terminate", "status:open", "--dry-run")

    assert (done.code, done.err) == (0, "")
    assert done.out == "would terminate 2 runs (1 retrying, 1 sleeping): video-1, nap\n"
    assert statuses(shop_file) == before


def test_a_dry_run_of_one_run_does_nothing_either(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "terminate", "nap", "--dry-run")

    assert (done.code, done.out) == (0, "would terminate nap\n")
    assert statuses(shop_file)["sleeping"] == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["retry", "nap"], 4, "nap is sleeping"),
        (["restart", "order-7", "--from", "nothing"], 4, "nothing"),
        (["restart", "order-7", "--messages", "drop"], 0, "would restart order-7"),
        (["remove", "nap"], 4, "nap"),
        (["accept", "nap", "1"], 4, "nap is sleeping, not blocked"),
        (["skip", "order-7", "1", "--output", "1"], 4, "none of its steps is pending"),
        (["signal", "nap", "go"], 0, "would signal nap"),
        (["pause", "nap"], 0, "would pause nap"),
        (["edit", "video-1", "1", "--max-attempts", "3"], 0, "would edit video-1"),
        (["cancel", "nap"], 0, "would cancel nap"),
        (["remove", "order-7"], 0, "would remove order-7"),
    ],
)
def test_a_dry_run_of_one_run_says_what_it_would_be_refused_for(
    durable_: Command, shop_file: Path, words: list[str], code: int, said: str
) -> None:
    def tables() -> list[str]:
        with sqlite3.connect(shop_file) as file:
            return list(file.iterdump())

    before = tables()

    done = durable_("-d", shop_file, *words, "--dry-run")

    assert done.code == code, done.err
    assert said in done.out + done.err
    assert tables() == before


def test_without_a_terminal_nobody_is_asked(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "terminate", "status:open")

    assert done.code == 2
    assert "nobody is there to be asked: terminate 2 runs? Say --yes" in done.err
    assert statuses(shop_file)["sleeping"] == 1


def test_all_that_a_filter_means_are_ended(durable_: Command, shop_file: Path) -> None:
    done = durable_(
        "-d", shop_file, "terminate", "workflow:nap,video", "--yes", "--reason", "closing"
    )

    assert done.code == 0
    assert done.out.splitlines()[-1] == "2 runs are ended (job 1)"
    assert statuses(shop_file, "status:open") == {}
    shown = json.loads(durable_("-d", shop_file, "show", "nap", "--json").out)
    assert [(one["verb"], one["why"]) for one in shown["audit"]] == [("terminate", "closing")]


def test_runs_that_refuse_are_listed_and_the_others_go_on(
    durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "retry", "status:failed,completed", "--yes")

    assert done.code == 4
    assert "1 of 4 runs goes on (job 1)" in done.out
    assert "not hello-1: run hello-1 is completed; there is nothing to retry" in done.out
    assert "not order-7: run order-7: step 2 (release) completed after the step" in done.out
    assert "retry was refused for 3 runs" in done.err
    assert statuses(shop_file, "cause:retried") == {"queued": 1}


@pytest.mark.parametrize(
    ("verb", "query", "count"),
    [
        ("retry", "id:*", 3), ("cancel", "id:*", 2), ("terminate", "id:*", 2), ("pause", "id:*", 2),
        ("remove", "id:*", 6), ("retry", "status:failed", 2), ("restart", "workflow:greet", 2),
    ],
)  # fmt: skip
def test_a_verb_is_about_runs_it_can_apply_to(
    verb: str, query: str, count: int, durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, verb, query, "--dry-run")

    assert done.out.startswith(f"would {verb} {count} runs (")


def test_a_filter_that_means_none_is_not_found(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "resume", "workflow:greet", "--yes")

    assert done.code == 3
    assert "no run to resume is meant by status:paused (workflow:greet)" in done.err


def test_a_filter_that_is_none_is_shown_with_its_place(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "retry", "stauts:failed")

    assert done.code == 2
    assert "did you mean status?" in done.err
    assert done.err.endswith("^\n")


def test_a_run_of_that_name_comes_before_a_filter(durable_: Command, shop_file: Path) -> None:
    import apsw

    with apsw.Connection(str(shop_file)) as connection:
        connection.execute("UPDATE durable_run SET id = 'status:open' WHERE id = 'nap'")
    connection.close()

    done = durable_("-d", shop_file, "terminate", "status:open")

    assert done.out.startswith("status:open is terminated")
    assert statuses(shop_file, "status:open") == {"retrying": 1}


def test_a_word_alone_is_no_filter_for_a_verb(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "terminate", "na", "--yes")

    assert (done.code, done.out) == (3, "")
    assert "no run 'na' is in the file" in done.err


def test_the_end_of_an_id_is_enough_if_it_is_of_one(durable_: Command, shop_file: Path) -> None:
    one = durable_("-d", shop_file, "show", "8812", "--json")
    several = durable_("-d", shop_file, "show", "-nap")
    short = durable_("-d", shop_file, "show", "812")
    numbered = durable_("-d", shop_file, "show", "8812#1", "--json")

    assert json.loads(one.out)["id"] == json.loads(numbered.out)["id"] == "order-8812"
    assert several.code == 2  # A dash begins an option.
    assert short.code == 3
    several = durable_("-d", shop_file, "show", "--", "-nap")
    assert several.code == 3
    assert "several ids end with '-nap': cancelled-nap, terminated-nap" in several.err


def test_last_may_name_workflows(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "show", "last:gre*", "--json")

    assert json.loads(done.out)["id"] == "hello-2"
    assert durable_("-d", shop_file, "show", "last:nobody").code == 3


def test_an_issue_is_a_group_of_runs(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "retry", "I-1", "--dry-run")

    assert done.code == 0
    assert done.out.startswith("would retry ")


def test_jobs_are_listed_shown_and_stopped(durable_: Command, shop_file: Path) -> None:
    durable_("-d", shop_file, "retry", "status:failed,completed", "--yes", "--reason", "\x1b[31m")

    listed = durable_("-d", shop_file, "jobs")
    as_json = json.loads(durable_("-d", shop_file, "jobs", "--json").out)
    shown = durable_("-d", shop_file, "jobs", "show", "1")
    detail = json.loads(durable_("-d", shop_file, "jobs", "show", "1", "--json").out)
    stopped = durable_("-d", shop_file, "jobs", "stop", "1")
    missing = durable_("-d", shop_file, "jobs", "show", "2")

    assert listed.out.split("\t")[:6] == ["1", "retry", "done", "4", "1", "3"]
    assert as_json[0]["refusals"] == detail["refusals"]
    assert sorted(detail["refusals"]) == ["hello-1", "hello-2", "order-7"]
    assert r"\x1b[31m" in shown.out
    assert "not        hello-1: run hello-1 is completed" in shown.out
    assert (stopped.code, missing.code) == (4, 3)
    assert "job 1 has ended already" in stopped.err


def test_a_workflow_is_paused_and_resumed_as_a_whole(durable_: Command, shop_file: Path) -> None:
    paused = durable_("-d", shop_file, "pause", "--workflow", "nap", "--reason", "too late")
    shown = json.loads(durable_("-d", shop_file, "show", "nap", "--json").out)
    resumed = durable_("-d", shop_file, "resume", "--workflow", "nap")

    assert paused.out.splitlines() == [
        "workflow nap is paused; what is started of it waits", "1 run asked to pause (job 1)"
    ]  # fmt: skip
    assert shown["why"].endswith(": too late")
    assert resumed.out.splitlines() == ["workflow nap goes on", "1 run going on (job 2)"]
    assert durable_("-d", shop_file, "resume", "--workflow", "nap").code == 4


@pytest.mark.parametrize(
    "options", [[], ["nap", "--workflow", "nap"], ["--queue", "a", "--workflow", "nap"]]
)
def test_one_thing_is_paused(options: list[str], durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "pause", *options)

    assert done.code == 2
    assert "name one: a run, a filter, --workflow NAME or --queue NAME" in done.err


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        (["retry", "order-8812"], {"run": "order-8812#2", "status": "queued"}),
        (["cancel", "nap"], {"run": "nap"}),
        (["skip", "video-1", "1", "--output", '"x"'], {"run": "video-1"}),
        (["restart", "hello-1", "--from", "start"], {"run": "hello-1#2"}),
        (["remove", "hello-1", "--yes"], {"deleted": 1}),
        (["issues", "mute", "I-1"], {"issue": "I-1", "state": "muted"}),
        (["terminate", "status:open", "--yes"], {"verb": "terminate", "done": 2, "refused": 0}),
        (["terminate", "status:open", "--dry-run"], {"runs": 2, "first": ["video-1", "nap"]}),
        (["terminate", "nap", "--dry-run"], {"runs": 1, "first": ["nap"]}),
        (["pause", "--workflow", "nap"], {"verb": "pause", "done": 1}),
    ],
)
def test_what_a_verb_did_is_one_object_as_json(
    arguments: list[str], outcome: dict[str, object], durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, *arguments, "--json")

    assert (done.code, done.err) == (0, "")
    assert outcome.items() <= json.loads(done.out).items()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["signal", "status:open", "go", "true"], "2 runs have it (job 1)"),
        (["skip", "workflow:video", "1", "--output", '"x"'], "1 run is to end that step (job 1)"),
        (["edit", "workflow:video", "1", "--max-attempts", "3"], "1 run has it (job 1)"),
    ],
)
def test_the_other_verbs_take_filters_too(
    arguments: list[str], said: str, durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, *arguments, "--yes")

    assert done.code == 0
    assert done.out.splitlines()[-1] == said


def test_accept_is_about_blocked_runs(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "accept", "workflow:video", "1", "--yes")

    assert done.code == 3
    assert "status:blocked (workflow:video)" in done.err


@pytest.mark.parametrize("verb", ["ls", "retry", "terminate", "check"])
def test_a_filter_that_looks_like_an_option_is_told_where_it_goes(
    durable_: Command, shop_file: Path, verb: str
) -> None:
    done = durable_("-d", shop_file, verb, "-status:failed")

    assert done.code == 2
    assert "durable ls -- -status:failed" in done.err


def test_a_filter_that_begins_with_a_minus_goes_after_two(
    durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "ls", "--", "-status:failed", "-status:completed")

    assert done.code == 0
    shown = {line.split("\t")[0] for line in done.out.splitlines()}
    assert shown
    assert not shown & {"failed", "completed"}
