"""`durable show` of runs that talk: families, messages, values, and what a run waits for."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import apsw
import pytest

import durable
from durable.payloads import checksum
from tests.cli import desk
from tests.cli.conftest import Command


def shown(durable_: Command, path: Path, run: str) -> str:
    done = durable_("-d", path, "show", run)
    assert (done.code, done.err) == (0, "")
    assert done.out.replace("\n", "").isprintable()
    return done.out


def as_json(durable_: Command, path: Path, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(durable_("-d", path, "show", run, "--json").out)
    return found


def row(name: str, text: str) -> list[str]:
    """Return the cells of the steps table whose step is this one."""
    line = next(one for one in text.splitlines() if one.startswith(f"{name} "))
    return re.split(r"  +", line)


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ("approval-1", r"promise approval \(step 1\); timer in (2d 23h|3d 00h)"),
        ("signature-1", r"the answer to by_hand \(step 1\)"),
        ("family-1", r"child waits \(step 1\)"),
        ("count-1", "signal stop"),
    ],
)
def test_a_run_says_what_it_waits_for(
    run: str, why: str, durable_: Command, desk_file: Path
) -> None:
    assert re.search(rf"^  {why}$", shown(durable_, desk_file, run), re.MULTILINE)
    assert re.search(rf"\t{why}$", durable_("-d", desk_file, "ls").out, re.MULTILINE)


def test_a_run_that_only_handles_messages_names_them(durable_: Command, tmp_path: Path) -> None:
    path = tmp_path / "app.db"

    @durable.workflow
    async def listens() -> None:
        desk.stop.handler(lambda _: None)
        desk.add.handler(lambda number: number)
        await durable.wait_until(lambda: False)

    async def wait_until_it_waits() -> None:

        async with durable.Engine(path) as engine:
            run = await engine.start(listens.options(id="ears"))
            while await run.status() != "waiting":
                await asyncio.sleep(0.005)

    asyncio.run(wait_until_it_waits())

    assert "  signal stop, update add\n" in shown(durable_, path, "ears")


def test_progress_details_and_values_have_lines(durable_: Command, desk_file: Path) -> None:
    text = shown(durable_, desk_file, "approval-1")

    assert "\nprogress   30 of 120 (25%)\n" in text
    assert "\ndetails    asks for order-1\\x1b[31mred" in text
    assert '\nvalues     state = "begun"\n' in text


@pytest.mark.parametrize(
    ("stored", "line"),
    [
        ('{"done":5,"total":null}', "progress   5"),
        ('{"done":1500,"total":3000}', "progress   1,500 of 3,000 (50%)"),
        ('{"done":1,"total":0}', 'progress   {"done":1,"total":0}'),
        ('"\\u001b[31m"', 'progress   "\\u001b[31m"'),
        ("[", "progress   ["),
    ],
)
def test_odd_progress_is_shown_as_it_is(
    stored: str, line: str, durable_: Command, desk_file: Path
) -> None:
    with apsw.Connection(str(desk_file)) as connection:
        connection.execute(
            "UPDATE durable_value SET payload = ?, checksum = ? WHERE name = 'progress'",
            (stored, checksum(stored.encode())),
        )
    connection.close()

    assert f"\n{line}\n" in shown(durable_, desk_file, "approval-1")


def test_a_damaged_value_harms_nothing_else(durable_: Command, desk_file: Path) -> None:
    with apsw.Connection(str(desk_file)) as connection:
        connection.execute("UPDATE durable_value SET payload = '7' WHERE name = 'state'")
    connection.close()

    text = shown(durable_, desk_file, "approval-1")
    assert "values     state = <the payload does not match its checksum" in text
    assert "progress   30 of 120 (25%)" in text


def test_what_waits_for_an_answer_shows_how_to_answer(durable_: Command, desk_file: Path) -> None:
    text = shown(durable_, desk_file, "approval-1")

    (token,) = [one["token"] for one in as_json(durable_, desk_file, "approval-1")["promises"]]
    assert f"\nanswer     durable answer {token} JSON  (approval, step 1)\n" in text


def test_children_are_shown_with_their_status_and_show_their_parent(
    durable_: Command, desk_file: Path
) -> None:
    text = shown(durable_, desk_file, "family-1")
    child = shown(durable_, desk_file, "family-1/2.1")

    assert "children   the-child  waits  waiting\n" in text
    assert "           family-1/2.1  ship  failed\n" in text
    assert "\nparent     family-1\n" in child
    assert as_json(durable_, desk_file, "family-1/2.1")["root"] == "family-1"


def test_many_children_are_counted(durable_: Command, tmp_path: Path) -> None:
    path = tmp_path / "app.db"

    @durable.workflow
    async def counts_to(number: int) -> int:
        if number == 7:
            raise ValueError(number)
        return number

    @durable.workflow
    async def leads_many() -> int:
        outcomes = await durable.map(counts_to, range(30), tolerate=1)
        return sum(one.ok for one in outcomes)

    async def run() -> int:
        async with durable.Engine(path, functions=[leads_many, counts_to]) as engine:
            return await (await engine.start(leads_many.options(id="many"))).result()

    assert asyncio.run(run()) == 29
    text = shown(durable_, path, "many")
    assert text.count("  counts_to  completed\n") in {9, 10}
    assert "           ... and 20 more; 29 completed, 1 failed\n" in text
    assert len(as_json(durable_, path, "many")["children"]) == 30


def test_messages_read_well_among_the_steps(durable_: Command, desk_file: Path) -> None:
    counts = shown(durable_, desk_file, "count-1")
    family = shown(durable_, desk_file, "family-1")
    asked = shown(durable_, desk_file, "asked")

    assert row("update:u4", counts)[1:3] == ["update add", "completed"]
    assert row("update:u4.1", counts)[1:4] == ["echo", "completed", "1"]
    assert row("update:u13", counts)[1:3] == ["update add", "failed"]
    assert row("update:u13", counts)[-1] == "LookupError: 13 is missing"
    assert row("signal:stop#1", counts)[1:3] == ["signal stop", "received"]
    assert row("1", family)[1:3] == ["start waits", "completed"]
    assert row("1.1", family)[1:3] == ["child ship", "completed"]
    assert row("2.1", family)[1:3] == ["child ship", "failed"]
    assert row("2.1", family)[-1] == "ValueError: -1 cannot be shipped"
    assert row("1", asked)[1:3] == ["signal stop", "failed"]
    assert row("1", asked)[-1].startswith("RunClosed: run spoken is completed")


def test_streams_and_dead_letters_and_refused_updates_are_shown(
    durable_: Command, desk_file: Path
) -> None:
    spoken = shown(durable_, desk_file, "spoken")
    counts = shown(durable_, desk_file, "count-1")

    assert "\nstreams    tokens: 5 items\n" in spoken
    assert "\nupdates    add u-1 refused: -1 is negative\n" in counts
    assert re.search(
        r'^dead       signal stop "no \\u001b\[31m.* of \S+ \S+Z: the value does not fit the type '
        r"bool",
        counts,
        re.MULTILINE,
    )


def test_json_has_all_of_it_decoded(durable_: Command, desk_file: Path) -> None:
    counts = as_json(durable_, desk_file, "count-1")
    family = as_json(durable_, desk_file, "family-1")

    updates = {one["id"]: (one["status"], one["answer"], one["error"]) for one in counts["updates"]}
    assert updates == {
        "u4": ("completed", 4, ""),
        "u13": ("failed", None, "LookupError: 13 is missing"),
        "u-1": ("refused", None, "-1 is negative"),
    }
    assert list(updates) == ["u4", "u13", "u-1"]
    assert counts["values"][0]["value"] == "at 4"
    assert counts["waits_for"] == ["signal stop"]
    assert counts["dead_letters"][0]["payload"] == f"no {desk.EVIL}"
    assert [one["kind"] for one in counts["steps"]] == ["update", "activity", "update", "signal"]
    assert [one["status"] for one in family["children"]] == ["waiting", "completed", "failed"]


def test_a_message_with_the_id_of_a_step_does_not_take_its_attempts(
    durable_: Command, tmp_path: Path
) -> None:
    path = tmp_path / "app.db"

    @durable.activity(retry=durable.Retry(initial_interval=0.001, max_attempts=2))
    async def fails_once() -> None:
        if durable.attempt().number == 1:
            raise ConnectionError("once")

    @durable.workflow
    async def is_signalled() -> None:
        await desk.stop.receive()
        await fails_once()

    async def run() -> None:
        async with durable.Engine(path, functions=[is_signalled]) as engine:
            handle = await engine.start(is_signalled.options(id="one"))
            await handle.signal(desk.stop, True, id="1")
            await handle.result()

    asyncio.run(run())
    steps = as_json(durable_, path, "one")["steps"]
    assert [(one["name"], len(one["attempts"])) for one in steps] == [
        ("stop", 0),
        ("fails_once", 1),
    ]


def test_a_retry_counts_recorded_steps_and_not_what_was_said(
    durable_: Command, tmp_path: Path
) -> None:
    path = tmp_path / "app.db"

    @durable.activity(retry=durable.Retry(max_attempts=1))
    async def breaks() -> None:
        raise ConnectionError("no")

    @durable.workflow
    async def breaks_after_a_signal() -> None:
        await desk.stop.receive()
        await desk.echo(1)
        await breaks()

    async def run() -> None:
        async with durable.Engine(path, functions=[breaks_after_a_signal]) as engine:
            handle = await engine.start(breaks_after_a_signal.options(id="one"))
            await handle.signal(desk.stop, True)
            with pytest.raises(durable.RunFailed):
                await handle.result()

    asyncio.run(run())
    done = durable_("-d", path, "retry", "one")
    assert done.out.startswith("one#2 goes on from step 2 (breaks) of one, with 1 recorded step\n")
