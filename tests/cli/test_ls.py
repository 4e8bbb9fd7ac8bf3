"""`durable ls`: a table for people, lines for programs, JSON for both, and a quick start."""

import datetime as dt
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import durable
from durable_cli._output import Screen
from durable_cli._watch import repeated
from tests.cli.conftest import Command

NEWEST_FIRST = [
    "video-1", "nap", "terminated-nap", "cancelled-nap", "order-7", "order-8812", "hello-2",
    "hello-1",
]  # fmt: skip


def columns(text: str, at: int) -> list[str]:
    return [line.split("\t")[at] for line in text.splitlines()]


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_runs_come_newest_first_in_six_columns(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "ls")

    assert (done.code, done.err) == (0, "")
    assert columns(done.out, 2) == NEWEST_FIRST
    assert {line.count("\t") for line in done.out.splitlines()} == {5}


@pytest.mark.parametrize("field", ["created", "started", "finished", "wakes", "took"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_runs_are_sorted_by_a_field(
    durable_: Command, shop_file: Path, field: str, sign: str
) -> None:
    of_json = {"finished": "closed"}.get(field, field)

    done = durable_("-d", shop_file, "ls", "status:closed", "--sort", f"{sign}{field}", "--json")

    found = json.loads(done.out)
    assert len(found) > 3
    if field == "took":
        spans = [
            dt.datetime.fromisoformat(one["closed"]) - dt.datetime.fromisoformat(one["started"])
            for one in found
        ]
        assert spans == sorted(spans, reverse=bool(sign))
    else:
        times = [one[of_json] for one in found if one[of_json] is not None]
        assert times == sorted(times, reverse=bool(sign))
        assert all(one[of_json] is None for one in found[len(times) :])
    first, *rest = [one["id"] for one in found]
    behind = durable_(
        "-d", shop_file, "ls", "status:closed", f"--sort={sign}{field}", "--ids",
        "--before", found[0]["key"],
    )  # fmt: skip
    assert behind.out.splitlines() == rest
    assert first not in rest


def test_columns_are_chosen(durable_: Command, on_terminal: Command, shop_file: Path) -> None:
    every = "key,run,status,workflow,created,age,started,finished,wakes,took,cause,tags,why"
    done = durable_(
        "-d", shop_file, "ls", "id:hello-1,video-1", "--cols", "run, status,wakes,cause"
    )
    shown = on_terminal("-d", shop_file, "ls", "--cols", every, "--color", "never")
    wrong = durable_("-d", shop_file, "ls", "--cols", "run,error")
    unsorted = durable_("-d", shop_file, "ls", "--sort", "error")

    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [line[:2] for line in lines] == [["video-1", "retrying"], ["hello-1", "completed"]]
    assert lines[0][2].startswith("in ")
    assert [line[2:] for line in lines[1:]] == [["", "started"]]
    assert shown.out.split("\n")[0].split()[:4] == ["KEY", "RUN", "STATUS", "WORKFLOW"]
    assert (wrong.code, "--cols takes status, workflow" in wrong.err) == (2, True)
    assert (unsorted.code, "sorted by created, started" in unsorted.err) == (2, True)


def test_a_pipe_gets_no_title_no_colour_and_no_symbol(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "ls", "status:failed", "workflow:fulfil")

    status, workflow, run, age, took, error = done.out.removesuffix("\n").split("\t")
    assert (status, workflow, run) == ("failed", "fulfil", "order-8812")
    assert re.fullmatch(r"\d+[smh]", age)
    assert re.fullmatch(r"[\d.]+m?s", took)
    assert error.startswith(r"ConnectionError: refused by \x1b[31mbank\x1b[0m \u202egpj.exe\nline")


def test_a_terminal_gets_an_aligned_table_with_a_footer(
    on_terminal: Command, shop_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")

    done = on_terminal("-d", shop_file, "ls")

    assert done.code == 0
    head, *rows, footer = plain(done.out).splitlines()
    assert " ".join(head.split()) == "STATUS WORKFLOW RUN AGE TOOK WAITING FOR / ERROR"
    assert [row[head.index("RUN") :].split()[0] for row in rows] == NEWEST_FIRST
    assert all(len(line) <= 90 for line in (head, *rows))
    assert any(row.endswith("…") for row in rows)
    assert rows[4].startswith("✕ failed ")
    assert rows[-1].startswith("✓ completed ")
    assert footer == (
        "8 runs: 1 retrying, 1 sleeping, 2 completed, 2 failed, 1 cancelled, 1 terminated"
    )


@pytest.mark.parametrize(
    ("options", "variable", "colored"),
    [
        ([], None, True),
        ([], "NO_COLOR", False),
        (["--color", "never"], None, False),
        (["--color", "always"], "NO_COLOR", True),
    ],
)
def test_colour_on_a_terminal_can_be_chosen(
    options: list[str], variable: str | None, colored: bool, on_terminal: Command,
    shop_file: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if variable:
        monkeypatch.setenv(variable, "1")

    done = on_terminal("-d", shop_file, "ls", *options)

    assert ("\x1b[" in done.out) == colored


def test_a_pipe_is_coloured_if_forced(
    durable_: Command, shop_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert "\x1b[31mfailed" in durable_("-d", shop_file, "ls").out


def test_nothing_hostile_reaches_a_terminal(
    on_terminal: Command, shop_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    plant(shop_file, "evil\x1b]0;owned\x07\u202e\n2")

    done = on_terminal("-d", shop_file, "ls", "-n", "1")

    assert r"evil\x1b]0;owned\x07\u202e\n2" in done.out
    assert plain(done.out).replace("\n", "").isprintable()


def plant(path: Path, run_id: str) -> None:
    """Rename the newest run to what the library itself would refuse."""
    with apsw.Connection(str(path)) as connection:
        connection.execute("UPDATE durable_run SET id = ? WHERE id = 'video-1'", (run_id,))
    connection.close()


@pytest.mark.parametrize("mode", [[], ["--json"]])
def test_nothing_hostile_reaches_a_pipe(
    mode: list[str], durable_: Command, shop_file: Path
) -> None:
    plant(shop_file, "evil\x1b]0;owned\x07\u202e\n\t2")

    done = durable_("-d", shop_file, "ls", *mode)

    assert done.out.replace("\n", "").replace("\t", "").isprintable()
    assert mode or {line.count("\t") for line in done.out.splitlines()} == {5}


def test_json_is_one_array_with_all_fields_and_times_in_utc(
    durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "ls", "--json")

    runs = json.loads(done.out)
    assert [run["id"] for run in runs] == NEWEST_FIRST
    assert set(runs[0]) == {
        "id", "workflow", "status", "why", "created", "started", "closed", "wakes", "cause",
        "key", "tags", "attributes",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", runs[0]["created"])
    assert runs[1]["closed"] is None


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["status:sleeping"], ["nap"]),
        (["status:queued"], []),
        (["workflow:greet"], ["hello-2", "hello-1"]),
        (["workflow:greet", "-n", "1"], ["hello-2"]),
        (["workflow:nap", "status:cancelled", "--limit", "1"], ["cancelled-nap"]),
        (["-n", "3"], NEWEST_FIRST[:3]),
        (['workflow:"no such"'], []),
    ],
)
def test_filters_choose(
    options: list[str], found: list[str], durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "ls", *options)

    assert (done.code, columns(done.out, 2), done.err) == (0, found, "")


def test_a_footer_folds_where_the_terminal_ends(
    on_terminal: Command, shop_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    done = on_terminal("-d", shop_file, "ls", "--color", "never")

    assert done.out.splitlines()[-3:] == [
        "8 runs: 1 retrying, 1 sleeping,",
        "  2 completed, 2 failed, 1 cancelled,",
        "  1 terminated",
    ]


def test_a_footer_says_how_many_more_there_are(on_terminal: Command, shop_file: Path) -> None:
    done = on_terminal("-d", shop_file, "ls", "-n", "2", "--color", "never")

    assert done.out.splitlines()[3].startswith("2 of 8 runs: ")


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "9" * 40, ""])
def test_a_limit_out_of_range_is_wrong_usage(
    limit: str, durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "ls", "-n", limit)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: Invalid value for '-n'")


def test_an_empty_list_says_so_to_people_on_stderr(
    on_terminal: Command, shop_file: Path, empty_file: Path
) -> None:
    none = on_terminal("-d", empty_file, "ls")
    filtered = on_terminal("-d", shop_file, "ls", "status:blocked")

    assert (none.code, none.out, none.err) == (0, "", f"no runs in {empty_file}\n")
    assert (filtered.code, filtered.out) == (0, "")
    assert filtered.err.startswith(f"no such run among 8 in {shop_file}: 1 retrying, ")


def test_an_empty_list_says_nothing_to_programs(durable_: Command, empty_file: Path) -> None:
    assert durable_("-d", empty_file, "ls").out == ""
    assert durable_("-d", empty_file, "ls", "--json").out == "[]\n"


def test_times_out_of_range_break_no_list(durable_: Command, shop_file: Path) -> None:
    with apsw.Connection(str(shop_file)) as connection:
        connection.execute(
            "UPDATE durable_run SET created_us = ?, wake_at_us = ?", (1 << 62, 1 << 62)
        )
    connection.close()

    done = durable_("-d", shop_file, "ls")

    assert (done.code, len(done.out.splitlines())) == (0, 8)


LOOK = """
import sys
from durable_cli import main
assert main(sys.argv[1:]) == 0
print(" ".join(sorted(sys.modules)), file=sys.stderr)
"""
HEAVY = {
    "asyncio", "anyio", "sniffio", "starlette", "uvicorn", "durable.engine", "durable.client",
    "durable.definitions", "durable._runtime", "durable_cli.worker", "durable_cli.retry",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["ls"],
        ["ls", "--json"],
        ["show", "order-8812"],
        ["version"],
        ["--help"],
        ["stats"],
        ["backup", "copy.file"],
        ["sql", "SELECT 1"],
        ["tree", "order-8812"],
        ["diff", "hello-1", "hello-1"],
        ["completion", "bash"],
        ["new", "shop"],
    ],
)
def test_looking_loads_neither_an_event_loop_nor_the_engine(
    arguments: list[str], shop_file: Path
) -> None:
    root = Path(durable.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments],
        env={"DURABLE_DB": str(shop_file), "PYTHONPATH": f"{root}:{root / 'cli'}"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert not set(done.stderr.split()) & HEAVY


def test_the_reader_holds_no_lock_after_it(durable_: Command, shop_file: Path) -> None:
    durable_("-d", shop_file, "ls")

    connection = apsw.Connection(str(shop_file))
    connection.execute("BEGIN EXCLUSIVE; ROLLBACK")
    connection.close()


def test_only_counts_or_ids_are_shown_if_asked_for(durable_: Command, shop_file: Path) -> None:
    counts = durable_("-d", shop_file, "ls", "status:closed", "--count").out
    as_json = durable_("-d", shop_file, "ls", "status:closed", "--count", "--json").out
    ids = durable_("-d", shop_file, "ls", "workflow:greet", "--ids").out

    assert counts.splitlines() == ["completed\t2", "failed\t2", "cancelled\t1", "terminated\t1"]
    assert json.loads(as_json) == {"completed": 2, "failed": 2, "cancelled": 1, "terminated": 1}
    assert ids == "hello-2\nhello-1\n"


def test_a_line_is_a_run_and_the_next_page_begins_before_the_last(
    durable_: Command, shop_file: Path
) -> None:
    seen: list[str] = []
    before: list[object] = []
    while lines := durable_("-d", shop_file, "ls", "--jsonl", "-n", 3, *before).out.splitlines():
        page = [json.loads(line) for line in lines]
        seen += [run["id"] for run in page]
        before = ["--before", page[-1]["key"]]

    assert seen == NEWEST_FIRST


@pytest.mark.parametrize(
    ("query", "error", "hint"),
    [
        ("stauts:failed", "no field 'stauts'; did you mean status?", "stauts:failed\n      ^"),
        (
            "status:open id:\x1b[31m stauts:x",
            "no field 'stauts'",
            r"status:open id:\x1b[31m stauts:x",
        ),
    ],
)
def test_a_filter_that_is_none_is_shown_with_its_place(
    query: str, error: str, hint: str, durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "ls", query)

    assert (done.code, done.out) == (2, "")
    assert error in done.err
    assert hint in done.err
    place = done.err.splitlines()[1].index("stauts")
    assert done.err.splitlines()[2] == " " * place + "^"


@pytest.mark.slow
def test_watching_shows_what_changes_until_interrupted(shop_file: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "durable",
        "-d",
        str(shop_file),
        "ls",
        "--ids",
        "--watch",
        "1d",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        before = [watching.stdout.readline() for _ in NEWEST_FIRST]
        plant(shop_file, "renamed")
        after = watching.stdout.readline()
        watching.send_signal(signal.SIGINT)

    assert before[0] == "video-1\n"
    assert after == "renamed\n"
    assert watching.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["show", "nap", "--json"], ["issues", "--json"], ["jobs", "--json"], ["stats", "--json"]],
)
def test_others_are_watched_too(command: list[str], shop_file: Path) -> None:
    once = [sys.executable, "-m", "durable", "-d", str(shop_file), *command]
    lines = subprocess.run(once, capture_output=True, check=True).stdout.count(b"\n")

    with subprocess.Popen(
        [*once, "--watch", "100ms"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as watching:
        assert watching.stdout is not None
        seen = [watching.stdout.readline() for _ in range(2 * lines)]
        watching.send_signal(signal.SIGINT)
        watching.communicate()

    assert seen[:1] == seen[lines : lines + 1]
    assert watching.returncode == 130


def test_what_is_committed_while_a_list_is_made_shows_in_the_next_one(shop_file: Path) -> None:
    shown: list[list[str]] = []

    def once() -> None:
        shown.append([one.id for one in runs.list(limit=1)])
        if len(shown) == 1:
            plant(shop_file, "renamed")  # While the first list is shown.
        else:
            raise KeyboardInterrupt

    with durable.view(shop_file) as runs, pytest.raises(KeyboardInterrupt):
        repeated(Screen(sys.stdout), runs, once, every_s=86_400)

    assert shown == [["video-1"], ["renamed"]]
