"""`durable show`: everything about one run, readable, and nothing hostile in it."""

import asyncio
import json
import re
from pathlib import Path

import apsw
import pytest

import durable
from durable.payloads import checksum
from tests.cli.conftest import Command
from tests.cli.shop import EVIL


def test_a_failed_run_shows_its_steps_and_its_traceback(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "show", "order-8812")

    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert re.fullmatch(r"order-8812  fulfil  failed after [\d.]+m?s", lines[0])
    assert lines[1].startswith("  ConnectionError: refused by")
    assert re.search(
        r"^created    \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \(\d+[sm] ago\)$", done.out, re.MULTILINE
    )
    assert re.search(r"^cause      started$", done.out, re.MULTILINE)
    assert re.search(r"^arguments  \[8812\]$", done.out, re.MULTILINE)
    assert re.search(r"^STEP +NAME +STATUS +TRIES +TOOK +ENDED +ERROR$", done.out, re.MULTILINE)
    assert re.search(r"^1 +reserve +completed +1 +[\d.]+m?s +\+[\d.]+m?s$", done.out, re.MULTILINE)
    assert re.search(r"^2 +charge +failed +2 +\S+ +\S+ +ConnectionError: ", done.out, re.MULTILINE)
    assert done.out.count("Traceback (most recent call last):") >= 1
    assert "    return await charge(order)\n" in done.out


def test_each_attempt_shows_its_traceback_if_asked(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "show", "order-8812", "--attempts")

    titles = re.findall(
        r"^step 2 \(charge\), attempt (\d) failed .*Z after .*$", done.out, re.MULTILINE
    )
    assert titles == ["1", "2"]
    assert done.out.count("      raise ConnectionError(EVIL)\n") == 2


def test_an_open_run_says_why_it_waits(durable_: Command, shop_file: Path) -> None:
    nap = durable_("-d", shop_file, "show", "nap").out
    video = durable_("-d", shop_file, "show", "video-1").out

    assert re.search(
        r"^nap  nap  sleeping for [0-9dhms. ]+\n  timer !t1 in (29d 23h|30d 00h)$",
        nap,
        re.MULTILINE,
    )
    assert re.search(r"^goes on    \d{4}-", nap, re.MULTILINE)
    assert re.search(
        r"^1 +encode +retrying +1 +next try in \dh \d+m, after Mem", video, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("run", "reason"), [("cancelled-nap", "no longer needed"), ("terminated-nap", r"wrong \u202ec")]
)
def test_a_stopped_run_says_the_reason_once(
    run: str, reason: str, durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "show", run)

    assert done.out.count(reason) == 1


def test_payloads_are_cut_to_a_line_unless_wanted_whole(durable_: Command, shop_file: Path) -> None:
    short = durable_("-d", shop_file, "show", "hello-2").out
    whole = durable_("-d", shop_file, "show", "hello-2", "--payloads").out

    assert len(re.search(r"^result .*…$", short, re.MULTILINE)[0]) == 160  # type: ignore[index]
    assert f'"hello {"x" * 500}"' in whole
    assert "x" * 200 not in short


def test_whole_payloads_of_steps_are_shown_too(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "show", "order-8812", "--payloads")

    assert 'step 1 (reserve)\narguments  [8812,["tea","milk"]]\n' in done.out
    assert 'result     {"tea":8812,"milk":8812}\n' in done.out


def test_json_has_all_with_payloads_decoded(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "show", "order-8812", "--json")

    run = json.loads(done.out)
    assert done.out.replace("\n", "").isprintable()
    assert (run["id"], run["status"], run["arguments"]) == ("order-8812", "failed", [8812])
    assert [step["name"] for step in run["steps"]] == ["reserve", "charge"]
    assert run["steps"][0]["result"] == {"tea": 8812, "milk": 8812}
    assert [one["number"] for one in run["steps"][1]["attempts"]] == [1, 2]
    assert run["steps"][1]["attempts"][0]["ended"].endswith("Z")
    assert run["steps"][1]["attempts"][0]["traceback"].rstrip().endswith(EVIL.split("\n")[1])


@pytest.mark.parametrize("options", [[], ["--attempts", "--payloads"]])
def test_nothing_hostile_is_shown(
    options: list[str], durable_: Command, on_terminal: Command, shop_file: Path
) -> None:
    piped = durable_("-d", shop_file, "show", "order-8812", *options).out
    shown = on_terminal("-d", shop_file, "show", "order-8812", *options).out

    for text in (piped, re.sub(r"\x1b\[[\d;]*m", "", shown)):
        assert text.replace("\n", "").isprintable()
        assert r"\x1b[31mbank\x1b[0m \u202egpj.exe" in text


def test_a_planted_payload_is_shown_escaped(durable_: Command, shop_file: Path) -> None:
    with apsw.Connection(str(shop_file)) as connection:
        connection.execute(
            "UPDATE durable_run SET arguments = ?, checksum = ? WHERE id = 'hello-1'",
            ('["\x1b[2J\u202e\n"]', checksum('["\x1b[2J\u202e\n"]'.encode())),
        )
    connection.close()

    for options in ([], ["--payloads"], ["--json"]):
        done = durable_("-d", shop_file, "show", "hello-1", *options)
        assert done.code == 0
        assert done.out.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "stored", ["[" * 60_000, '["cut', "", "[" + "9" * 5_000 + "]", '"\\ud800"']
)
def test_a_damaged_payload_harms_nothing_else(
    stored: str, durable_: Command, shop_file: Path
) -> None:
    with apsw.Connection(str(shop_file)) as connection:
        connection.execute(
            "UPDATE durable_run SET arguments = ?, checksum = ? WHERE id = 'hello-1'",
            (stored, checksum(stored.encode())),
        )
    connection.close()

    for options in ([], ["--payloads"], ["--json"]):
        done = durable_("-d", shop_file, "show", "hello-1", *options)
        assert (done.code, done.err) == (0, "")
        assert "hello-1" in done.out


def test_a_terminal_gets_lines_that_fit(
    on_terminal: Command, shop_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")

    done = on_terminal("-d", shop_file, "show", "hello-2", "--color", "never")

    table = done.out[done.out.index("arguments") :].splitlines()
    assert all(len(line) <= 70 for line in table)
    assert done.out.startswith("hello-2  greet  ✓ completed after ")


def test_last_is_the_newest_run(durable_: Command, shop_file: Path, empty_file: Path) -> None:
    assert durable_("-d", shop_file, "show", "last").out.startswith("video-1  video")

    none = durable_("-d", empty_file, "show", "last")
    assert (none.code, none.err) == (3, "error: no run is in the file, so there is no last one\n")


def test_an_ordinal_means_exactly_that_run(durable_: Command, shop_file: Path) -> None:
    async def retry() -> None:
        async with durable.Client(shop_file) as client:
            await (await client.get("order-8812")).retry()

    asyncio.run(retry())

    newest = durable_("-d", shop_file, "show", "order-8812").out
    first = durable_("-d", shop_file, "show", "order-8812#1").out
    second = durable_("-d", shop_file, "show", "order-8812#2").out
    assert newest.startswith("order-8812#2  fulfil  queued for ")
    assert re.search(r"^1 +reserve +completed +1 +\S+ +kept$", newest, re.MULTILINE)
    assert "started " not in newest
    assert second.startswith("order-8812#2  fulfil  queued for ")
    assert first.startswith("order-8812  fulfil  failed after ")


@pytest.mark.parametrize(
    "run",
    ["nope", "order-8812#3", "order-8812#0", "order-8812#", "#1", "", "x" * 100_000,
     "order-8812#" + "9" * 50, "\x1b[31m\u202e", "' OR 1=1 --", "%", "世界"],
)  # fmt: skip
def test_a_run_that_is_not_there_is_exit_code_3(
    run: str, durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "show", "--", run)

    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("error: no run ")
    assert done.err.removesuffix("\n").isprintable()


def test_one_step_is_shown_with_all_it_has(durable_: Command, shop_file: Path) -> None:
    by_id = durable_("-d", shop_file, "show", "order-8812", "--step", "2")
    by_name = durable_("-d", shop_file, "show", "order-8812", "--step", "charge")
    as_json = json.loads(
        durable_("-d", shop_file, "show", "order-8812", "--step", "charge", "--json").out
    )
    missing = durable_("-d", shop_file, "show", "order-8812", "--step", "chrage")

    assert by_id.code == 0
    assert by_id.out == by_name.out
    assert "reserve" not in by_id.out
    assert "step 2 (charge)\narguments  " in by_id.out
    assert by_id.out.count("Traceback (most recent call last):") == 2
    assert [(one["step"], one["tries"], len(one["attempts"])) for one in as_json] == [("2", 2, 2)]
    assert missing.code == 3
    assert "has no step 'chrage'; it has 1 (reserve), 2 (charge)" in missing.err


def test_the_recorded_events_are_shown_with_their_numbers(
    durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "show", "order-8812", "--events")
    as_json = json.loads(durable_("-d", shop_file, "show", "order-8812", "--events", "--json").out)
    both = durable_("-d", shop_file, "show", "order-8812", "--events", "--code")

    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [(row[2], row[3], row[6]) for row in rows] == [
        ("1", "completed", "reserve"), ("2", "failed", "charge"),
    ]  # fmt: skip
    assert "\x1b" not in done.out
    assert [one["seq"] for one in as_json] == [1, 2]
    assert (both.code, "exclude each other" in both.err) == (2, True)
