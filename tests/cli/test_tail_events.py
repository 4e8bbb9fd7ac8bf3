"""`durable tail RUN`: events as they are committed."""

import asyncio
import itertools
import json
import re
import signal
import sys
from pathlib import Path

import apsw
import pytest

import durable
from durable import Signal, activity, workflow
from durable_cli import main
from tests.cli.conftest import Command, Done


def change(path: Path, text: str, *values: object) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(text, values)
    assert connection.total_changes() > 0
    connection.close()


def lines(done: Done) -> list[list[str]]:
    return [line.split("\t") for line in done.out.splitlines()]


def test_a_line_for_each_event(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "tail", "order-8812")

    assert (done.code, done.err) == (0, "")
    first, second = lines(done)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z", first[0])
    assert first[1:] == [
        "order-8812", "1", "completed", "activity", "1", "reserve", '{"tea":8812,"milk":8812}',
    ]  # fmt: skip
    assert second[1:7] == ["order-8812", "2", "failed", "activity", "2", "charge"]
    assert second[7].startswith("ConnectionError: refused by \\x1b[31mbank")


@pytest.mark.parametrize(("since", "seen"), [(0, ["1", "2"]), (1, ["2"]), (2, []), (99, [])])
def test_since_leaves_out_what_was_seen(
    since: int, seen: list[str], durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "tail", "order-8812", "--since", since)

    assert [line[2] for line in lines(done)] == seen


def test_json_has_a_line_for_each_event(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "tail", "order-8812", "--json")

    first, second = map(json.loads, done.out.splitlines())
    assert (first["seq"], first["step"], first["result"]) == (1, "1", {"tea": 8812, "milk": 8812})
    assert first["arguments"] == [8812, ["tea", "milk"]]
    assert (second["status"], second["result"]) == ("failed", None)


def test_signals_keep_their_numbers_whatever_was_left_out(desk_file: Path) -> None:
    change(desk_file, "UPDATE durable_event SET kind = 6, name = 'go', step = ''")
    with durable.view(desk_file) as runs:
        numbers = [one.step for one in runs.events("count-1")]
        later = [one.step for one in runs.events("count-1", after=2)]

    assert len(numbers) > 2
    assert numbers == [f"signal:go#{at}" for at in range(1, len(numbers) + 1)]
    assert later == numbers[2:]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "UPDATE durable_event SET result = '9' WHERE seq = 1",
            "event 1 does not match its checksum",
        ),
        ("DELETE FROM durable_event WHERE seq = 1", "event 1 is missing"),
        (
            "UPDATE durable_event SET step = CAST(x'ff' AS TEXT) WHERE seq = 1",
            "event 1 holds text that",
        ),
    ],
)
def test_a_damaged_event_is_shown_as_such(
    text: str, says: str, durable_: Command, shop_file: Path
) -> None:
    change(shop_file, text)

    done = durable_("-d", shop_file, "tail", "order-8812")

    assert done.code == 0
    assert lines(done)[0][3] == "damaged"
    assert lines(done)[0][7].startswith(says)
    assert lines(done)[1][2:4] == ["2", "failed"]


def test_an_update_and_a_run_without_events(durable_: Command, desk_file: Path) -> None:
    answered = durable_("-d", desk_file, "tail", "asked")
    none = durable_("-d", desk_file, "tail", "spoken", "--since", "1")

    assert [line[4] for line in lines(answered)] == ["call"]
    assert none == Done(0, "", "")


def test_a_terminal_is_told_how_it_ended(on_terminal: Command, shop_file: Path) -> None:
    done = on_terminal("-d", shop_file, "tail", "order-8812", "--color", "never")

    *events, end = done.out.splitlines()
    assert len(events) == 2
    assert "✓ completed activity 1    reserve" in events[0]
    assert max(map(len, events)) <= 80
    assert end.startswith("✕ failed  order-8812  fulfil  ")


go = Signal("go", int)


@activity
async def double(number: int) -> int:
    return 2 * number


@workflow
async def leg(left: int) -> int:
    """Waits, works, goes on as new, and returns from its last leg."""
    found = await double(await go.receive())
    if left:
        await durable.continue_as_new(left - 1)
    return found


async def test_it_follows_a_living_run_over_its_ordinals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with durable.Engine(tmp_path / "legs.db", functions=[leg]) as engine:
        run = await engine.start(leg.options(id="x"), 1)
        tailing = asyncio.ensure_future(asyncio.to_thread(main, ["tail", "x#1", "--json"]))
        for number in (1, 2):
            await run.signal(go, number)

        assert await tailing == 0

    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # The second signal came before or after the first leg's end; the legs are the same.
    done = [(one["run"], one["result"]) for one in events if one["kind"] == "activity"]
    assert done == [("x", 2), ("x#2", 4)]
    for name in ("x", "x#2"):
        numbers = [one["seq"] for one in events if one["run"] == name]
        assert numbers == list(range(1, len(numbers) + 1))
    assert {one["run"] for one in events} == {"x", "x#2"}


async def test_events_of_the_engine_itself_come_as_they_are_committed(tmp_path: Path) -> None:
    async with durable.Engine(tmp_path / "legs.db", functions=[leg]) as engine:
        run = await engine.start(leg.options(id="x"), 0)
        events = run.events()
        await run.signal(go, 1)

        seen = [(await anext(events)).kind, (await anext(events)).kind]
        rest = [one async for one in events]

    assert (seen, rest) == (["signal", "activity"], [])


async def test_what_a_retry_in_place_dropped_is_told_anew(tmp_path: Path) -> None:
    @activity
    async def breaks() -> str:
        if not Path("mended").exists():
            raise ValueError("broken")
        return "whole"

    @workflow(on_failure="pause")
    async def pauses() -> str:
        await double(1)
        return await breaks.options(retry=durable.Retry(max_attempts=1))()

    async with durable.Engine(tmp_path / "x.db", functions=[pauses]) as engine:
        run = await engine.start(pauses.options(id="x"))
        events = run.events()
        before = [await anext(events), await anext(events)]
        while await run.status() != "paused":
            await asyncio.sleep(0)
        Path("mended").touch()
        await run.retry()
        after = [one async for one in events]

    assert [(one.seq, one.status) for one in before] == [(1, "completed"), (2, "failed")]
    assert [(one.seq, one.status, one.result) for one in after] == [(2, "completed", '"whole"')]


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_pages_are_told_without_a_gap(
    page: int, desk_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.client._run.EVENTS_PAGE", page)
    change(desk_file, "UPDATE durable_event SET kind = 6, name = 'go', step = ''")
    change(
        desk_file, "UPDATE durable_run SET state = 'terminated', closed_us = 1, worker_id = NULL"
    )

    async with durable.Client(desk_file) as client:
        events = [one async for one in (await client.get("count-1")).events()]

    assert [one.step for one in events] == [f"signal:go#{at + 1}" for at in range(len(events))]
    assert [one.seq for one in events] == list(range(1, len(events) + 1))
    assert len(events) > 3


@pytest.mark.parametrize("after", [-1, "1", None])
async def test_a_number_that_is_none_is_refused(after: int, shop_file: Path) -> None:
    async with durable.Client(shop_file) as client:
        run = await client.get("nap")
        with pytest.raises(durable.UsageError, match="number of an event"):
            await anext(run.events(after=after))


def test_plain_functions_have_it_too(shop_file: Path) -> None:
    with durable.Client(shop_file).blocking() as client:
        events = list(client.get("order-8812").events(after=1))

    assert [one.seq for one in events] == [2]


@pytest.mark.parametrize("limit", [0, 1_001])
def test_a_page_of_events_has_a_limit(limit: int, shop_file: Path) -> None:
    with durable.view(shop_file) as runs, pytest.raises(durable.UsageError, match="limit is 1"):
        runs.events("nap", limit=limit)


def test_pages_follow_each_other(desk_file: Path) -> None:
    with durable.view(desk_file) as runs:
        whole = [one.seq for one in runs.events("count-1")]
        pages, after = list[int](), 0
        while page := runs.events("count-1", after=after, limit=2):
            pages += [one.seq for one in page]
            after = pages[-1]

    assert pages == whole == list(itertools.islice(itertools.count(1), len(whole)))


@pytest.mark.parametrize("query", ["workflow:leg", None])
async def test_the_events_of_many_runs_are_followed_until_ctrl_c(
    tmp_path: Path, query: str | None
) -> None:
    path = tmp_path / "legs.db"
    command = [sys.executable, "-m", "durable", "-d", str(path), "tail", "--json"]
    async with durable.Engine(path, functions=[leg]) as engine:
        following = await asyncio.create_subprocess_exec(
            *command, *([] if query is None else [query]), stdout=asyncio.subprocess.PIPE
        )
        assert following.stdout is not None
        reading = asyncio.ensure_future(following.stdout.readline())
        names = []
        while not reading.done():  # It begins to follow when it is up.
            run = await engine.start(leg, 0)
            names.append(run.name)
            await run.signal(go, 1)
            await run.result()
            await asyncio.wait([reading], timeout=0.05)
        following.send_signal(signal.SIGINT)
        await following.communicate()

    assert json.loads(await reading)["run"] in names
    assert following.returncode == 130


def test_events_of_many_are_followed_from_now_on_alone(durable_: Command, shop_file: Path) -> None:
    since = durable_("-d", shop_file, "tail", "status:open", "--since", "1")
    wrong = durable_("-d", shop_file, "tail", "stauts:open")
    nobody = durable_("-d", shop_file, "tail", "nobody")

    assert (since.code, "--since is of one run" in since.err) == (2, True)
    assert (wrong.code, "did you mean status?" in wrong.err) == (2, True)
    assert nobody.code == 3
