"""`durable stats`: figures that are counted again here, by hand."""

import datetime as dt
import json
from pathlib import Path

import apsw
import pytest

import durable
from durable.inspection import Viewer
from durable_cli._output import Screen, size
from durable_cli.stats import _folded
from tests.cli.conftest import Command

HOUR_US = 3_600_000_000
NOW = dt.datetime(2026, 11, 22, 17, 30, tzinfo=dt.UTC)
NOW_US = round(NOW.timestamp() * 1e6)


def change(path: Path, text: str, *values: object) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(text, values)
    assert connection.total_changes() > 0
    connection.close()


class Clock:
    """Half past five."""

    def wall_us(self) -> int:
        return NOW_US


@pytest.fixture
def timed(empty_file: Path) -> Path:
    """Runs that took 1 to 100 s, one an hour before the other; and one of an activity each."""
    connection = apsw.Connection(str(empty_file))
    connection.execute("BEGIN")
    for at in range(100):
        ended = NOW_US - at * HOUR_US
        began = ended - (at + 1) * 1_000_000
        state = "failed" if at % 10 == 0 else "completed"
        connection.execute(
            "INSERT INTO durable_run (id, ordinal, workflow, state, queue, "
            "priority, salt, arguments,"
            " fingerprint, checksum, cause, created_us, started_us, clock_us, closed_us, result)"
            " VALUES (?, 1, 'work', ?, 'default', 0, 0, '[]', 0, 0, 'started', ?, ?, ?, ?, '1')",
            (f"r{at}", state, began, began, began, ended),
        )
        connection.execute(
            "INSERT INTO durable_event (run, seq, kind, step, name, fingerprint, arguments, result,"
            " checksum, at_us, took_us) VALUES (?, 1, ?, '1', 'act', 0, '[]', '1', 0, 500, ?)",
            (connection.last_insert_rowid(), 2 if at % 2 else 1, (at + 1) * 1_000),
        )
    connection.execute("COMMIT")
    connection.close()
    return empty_file


def looking(viewer: Viewer) -> Viewer:
    viewer._clock = Clock()  # type: ignore[assignment]
    return viewer


@pytest.mark.parametrize(
    ("since", "ended", "p50_us", "p95_us"),
    [("5h", 6, 3_000_000, 6_000_000), ("20h", 21, 11_000_000, 20_000_000),
     ("30d", 100, 50_000_000, 95_000_000)],
)  # fmt: skip
def test_durations_are_the_nearest_ranks(
    since: str, ended: int, p50_us: int, p95_us: int, timed: Path
) -> None:
    with durable.view(timed) as runs:
        (found,) = looking(runs).stats(since=since).durations

    assert (found.name, found.ended) == ("work", ended)
    assert (found.p50_us, found.p95_us) == (p50_us, p95_us)
    assert found.failed == -(-ended // 10)
    assert found.completed == ended - found.failed


def test_durations_of_activities_are_those_of_their_steps(timed: Path) -> None:
    with durable.view(timed) as runs:
        (found,) = looking(runs).stats(by="activity", since="30d").durations

    assert (found.name, found.ended, found.completed, found.failed) == ("act", 100, 50, 50)
    assert (found.p50_us, found.p95_us) == (50_000, 95_000)


def test_steps_before_the_time_do_not_count(timed: Path) -> None:
    # They are recorded a moment after the run's begin: that of the last run's fell out of the hour.
    with durable.view(timed) as runs:
        (found,) = looking(runs).stats(by="activity", since="5h").durations

    assert found.ended == 5


def test_hours_have_what_began_and_ended_in_them(timed: Path) -> None:
    with durable.view(timed) as runs:
        hours = looking(runs).stats(since="3h").hours

    assert [one.hour.hour for one in hours] == [14, 15, 16, 17]
    assert [(one.started, one.completed, one.failed) for one in hours] == [
        (0, 1, 0), (1, 1, 0), (1, 1, 0), (1, 0, 1),
    ]  # fmt: skip


def test_a_run_that_never_ran_counts_and_took_no_time(timed: Path) -> None:
    change(timed, "UPDATE durable_run SET started_us = NULL WHERE id <> 'r0'")

    with durable.view(timed) as runs:
        (found,) = looking(runs).stats(since="5h").durations

    assert (found.ended, found.p50_us, found.p95_us) == (6, 1_000_000, 1_000_000)


def test_it_is_shown_by_status_hour_and_workflow(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "stats")

    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == (
        "runs       8: 1 retrying, 1 sleeping, 2 completed, 2 failed, 1 cancelled, 1 terminated"
    )
    assert lines[1].startswith("started    8 in 24h  ▁")
    assert lines[3].startswith("failed     2 in 24h")
    assert lines[4].startswith("file       ")
    assert lines[5] == "rows       8 runs, 5 events, 0 large payloads (0 B)"
    assert lines[7].split() == ["WORKFLOW", "ENDED", "COMPLETED", "FAILED", "P50", "P95"]
    assert [line.split()[:4] for line in lines[8:]] == [
        ["greet", "2", "2", "0"], ["nap", "2", "0", "0"], ["careful", "1", "0", "1"],
        ["fulfil", "1", "0", "1"],
    ]  # fmt: skip


def test_json_has_everything(durable_: Command, shop_file: Path) -> None:
    found = json.loads(durable_("-d", shop_file, "stats", "--json", "--by", "activity").out)

    assert found["by"] == "activity"
    assert {one["name"] for one in found["durations"]} == {"charge", "release", "reserve"}
    assert found["rows"] == {"runs": 8, "events": 5, "blobs": 0}
    assert found["file_bytes"] >= shop_file.stat().st_size > 0
    assert sum(one["started"] for one in found["hours"]) == 8


def test_an_empty_file_has_zeros(durable_: Command, empty_file: Path) -> None:
    done = durable_("stats", "--by", "activity")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("runs       0\nstarted    0 in 24h  ▁▁▁")
    assert "ACTIVITY" not in done.out


def test_a_hostile_name_of_an_activity_is_shown_harmlessly(
    durable_: Command, shop_file: Path
) -> None:
    change(
        shop_file, "UPDATE durable_event SET name = CAST(x'1b5dff' AS TEXT) WHERE name = 'reserve'"
    )

    done = durable_("-d", shop_file, "stats", "--by", "activity")

    assert done.code == 0
    assert "\n\\x1b]\ufffd" in done.out


@pytest.mark.parametrize("since", ["0", "soon", "367d", "-1h", ""])
def test_a_time_that_is_none_is_wrong_usage(since: str, durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "stats", "--since", since)

    assert done.code == 2
    assert done.err.startswith("error: ")


@pytest.mark.parametrize("hours", [1, 24, 47, 48, 49, 96, 97, 1_000, 8_785])
def test_bars_lose_no_hour(hours: int) -> None:
    counts = list(range(1, hours + 1))

    bars = _folded(counts)

    assert sum(bars) == sum(counts)
    assert len(bars) <= 49


@pytest.mark.parametrize(
    ("counts", "shown"), [([], ""), ([0, 0], "▁▁"), ([0, 1, 100], "▁▂█"), ([5], "█")]
)
def test_what_happened_is_never_shown_as_nothing(counts: list[int], shown: str) -> None:
    import io

    assert Screen(io.StringIO()).bars(counts) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_048_575, "1.0 MiB"),
     (5 * 1024**3, "5.0 GiB"), (1024**5, "1,024.0 TiB")],
)  # fmt: skip
def test_sizes_for_people(count: int, shown: str) -> None:
    assert size(count) == shown


async def test_a_client_and_an_engine_have_them_too(shop_file: Path) -> None:
    async with durable.Client(shop_file) as client:
        found = await client.stats(since=3_600)
        with pytest.raises(durable.UsageError, match="by is"):
            await client.stats(by="week")  # type: ignore[arg-type]

    assert found.rows["runs"] == 8
