"""The kill campaign: processes killed at random moments, and at each commit, lose nothing.

Short in `make test`; `DURABLE_KILLS=50 DURABLE_SEED=7 pytest -m crash` is the long form.
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

import durable
from tests.crash import invariants, victim
from tests.crash.invariants import Kill, Snapshot

pytestmark = [pytest.mark.crash, pytest.mark.slow]

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
KILLS = int(os.environ.get("DURABLE_KILLS", "8"))
SEED = int(os.environ.get("DURABLE_SEED", "1"))
LIFE_S_MAX = 60


@pytest.fixture
def campaign(tmp_path):
    """Make campaigns; whatever still runs in the end is killed."""
    made = []

    def make(*options):
        made.append(Campaign(tmp_path, *options))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.communicate()


class Campaign:
    """One file, one log, and the processes that work on them and die."""

    def __init__(self, folder, command, log, seed):
        self.path = folder / "app.db"
        self.log = log
        self.command = command
        self.chance = random.Random(seed)
        self.kills = []
        self.retried = 0
        """Runs that were blamed for the deaths of their workers, which here are not their doing."""
        self.process = None

    def begin(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, *map(str, [*self.command, *arguments])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def log_lines(self):
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0

    def wait_for_lines(self, count):
        """Wait until the process has written so many lines, or has ended."""
        deadline = time.monotonic() + LIFE_S_MAX
        while self.log_lines() < count and self.process.poll() is None:
            assert time.monotonic() < deadline, "the process makes no progress"
            time.sleep(0.001)

    def kill(self):
        """Kill the process, and note what is recorded; one that has ended was not killed."""
        if self.process.poll() is not None:
            self.finish()
            return
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        if self.path.exists():
            assert invariants.file_problems(self.path) == []
            seen = invariants.snapshot(self.path)
        else:
            seen = Snapshot()
        self.kills.append(Kill(self.log_lines(), seen))

    def finish(self):
        deadline = time.monotonic() + LIFE_S_MAX
        while True:
            try:
                output, _ = self.process.communicate(timeout=5)
                break
            except subprocess.TimeoutExpired:
                assert time.monotonic() < deadline, "the process does not end"
                self.retried += asyncio.run(retry_suspects(self.path))
        assert self.process.returncode == 0, output.decode()

    def live(self, life, lines_max, *arguments, during=lambda: None):
        """Begin a process, and kill it somewhere among its next lines."""
        before = self.log_lines()
        self.begin(*arguments)
        lines = self.chance.randrange(1, lines_max)
        self.wait_for_lines(before + lines // 2)
        if self.process.poll() is None:
            during()
        self.wait_for_lines(before + lines)
        # Somewhere behind a line: between two commits, in one, or while only timers run.
        time.sleep(self.chance.uniform(0, 0.03))
        self.kill()

    def prove(self, expected, capsys):
        assert invariants.file_problems(self.path) == []
        end, lines = invariants.snapshot(self.path), invariants.read_log(self.log)
        assert invariants.check_history(self.kills, end, lines, expected) == []
        repeats = invariants.count_repeats(lines)
        in_flight = invariants.in_flight(self.kills, lines)
        with capsys.disabled():
            print(
                f"\n  {len(self.kills)} kills, {len(end.runs)} runs, {len(end.steps)} steps; "
                f"{repeats} attempts made again, {in_flight} were in flight at a kill; "
                f"{self.retried} runs retried that were blamed for kills"
            )
        return end, lines


async def cancel(path, ids, *, must):
    """Cancel runs of a living process; ``must``: wait until each exists."""
    async with durable.Client(path) as client:
        for run_id in ids:
            while True:
                try:
                    await (await client.get(run_id)).cancel("enough")
                except durable.RunNotFound:
                    if must:
                        await asyncio.sleep(0.01)
                        continue
                except durable.RunClosed:
                    pass
                break


async def retry_suspects(path):
    """Do what an operator does about runs whose workers died again and again: retry them."""
    async with durable.Client(path) as client:
        blamed = await client.list("status:blocked")
        for one in blamed:
            assert "the worker died" in one.why, one
            await (await client.get(one.id)).retry()
    return len(blamed)


def expected_of(lives):
    return {
        run_id: (state, result)
        for life in range(lives)
        for run_id, _, _, state, result in victim.plan(life)
    }


def test_an_engine_killed_at_random_ends_every_run_right(tmp_path, capsys, campaign):
    log = tmp_path / "log"
    campaign = campaign([HERE / "victim.py", "engine"], log, SEED)

    def cancel_some():
        ids = [f"{life}-cancelled" for life in range(len(campaign.kills) + 1)]
        ids = [one for one in ids if campaign.chance.random() < 0.5]
        with contextlib.suppress(durable.NotADurableFile):  # It may have no tables yet.
            asyncio.run(cancel(campaign.path, ids, must=False))

    for life in range(1, KILLS + 1):
        campaign.live(life, 300, campaign.path, log, life, during=cancel_some)
    campaign.begin(campaign.path, log, KILLS)
    campaign.wait_for_lines(campaign.log_lines() + 1)
    ids = [f"{life}-cancelled" for life in range(KILLS)]
    asyncio.run(cancel(campaign.path, ids, must=True))
    campaign.finish()

    campaign.prove(expected_of(KILLS), capsys)


def test_a_script_killed_at_random_ends_every_run_right(tmp_path, capsys, campaign):
    log, kills = tmp_path / "log", max(3, KILLS // 3)
    campaign = campaign([HERE / "victim.py", "run"], log, SEED + 1)

    for life in range(1, kills + 1):
        campaign.live(life, 200, campaign.path, log, (life + 1) // 2)
    campaign.begin(campaign.path, log, (kills + 1) // 2)
    campaign.finish()

    expected = expected_of((kills + 1) // 2)
    campaign.prove({k: v for k, v in expected.items() if v[0] == "completed"}, capsys)


def test_the_document_pipeline_killed_at_random_makes_the_same_report(tmp_path, capsys, campaign):
    folder, out, kills = tmp_path / "documents", tmp_path / "out", max(3, KILLS // 3)
    folder.mkdir()
    for n in range(8 * kills):
        part = folder / f"part{n % 4}"
        part.mkdir(exist_ok=True)
        text = "\n\n".join(f"Sentence {k} of file {n} says something else. " * 12 for k in range(8))
        (part / f"file{n}.md").write_text(text)
    log = out / "side-effects.jsonl"
    program = [EXAMPLES / "04_document_pipeline.py", folder, "--db", tmp_path / "app.db"]
    options = ["--flaky", "0.2", "--slow-ms", "5"]
    campaign = campaign([*program, "--out", out, *options], log, SEED + 2)

    for life in range(1, kills + 1):
        campaign.live(life, 120)
    campaign.begin()
    campaign.finish()

    assert invariants.file_problems(campaign.path) == []
    end = invariants.snapshot(campaign.path)
    lines = [{**line, "number": line["attempt"]} for line in invariants.read_log(log)]
    assert [run[0] for run in end.runs.values()] == ["completed"]
    assert invariants.check_final(campaign.kills, end) == []
    assert invariants.check_not_again(campaign.kills, end, lines) == []
    assert invariants.check_repeats(campaign.kills, lines) == []
    assert invariants.check_attempts(end, lines) == []
    ended = {line["key"] for line in lines if line["phase"] == "end"}
    assert ended == end.steps.keys()
    report = (out / "report.md").read_text()
    shutil.rmtree(out)
    undisturbed = [*program[:-1], tmp_path / "other.db", "--out", out, *options]
    subprocess.run([sys.executable, *map(str, undisturbed)], check=True, capture_output=True)
    assert report == (out / "report.md").read_text()
    with capsys.disabled():
        print(
            f"\n  {len(campaign.kills)} kills, {len(end.steps)} steps; "
            f"{invariants.count_repeats(lines)} attempts made again"
        )


def test_dying_around_each_commit_loses_nothing(tmp_path, capsys):
    path, log, last = tmp_path / "app.db", tmp_path / "log", 30 if KILLS > 8 else 24
    command = [sys.executable, HERE / "victim.py", "commits", path, log, 1, last]

    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)

    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert [end["ended"] for end in ends] == [0] * (2 * last), done.stderr
    assert sum(end["died"] == 9 for end in ends) >= 2 * (last - 4)
    for end in ends:
        file = f"{path}-{end['n']}-{end['when']}"
        recorded = snapshot_here(file)
        assert recorded.runs == {"tour#1": ["completed", victim.TOUR, recorded.runs["tour#1"][2]]}
    with capsys.disabled():
        print(f"\n  {sum(end['died'] == 9 for end in ends)} deaths around a commit")


def snapshot_here(path):
    """Look at a file nobody has open, in this process: it is never opened otherwise."""
    assert invariants.check_file(path) == []
    return invariants.take_snapshot(path)


# -- the checker must be able to fail -------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A file and a log without a kill, and what is recorded in it."""
    folder = tmp_path_factory.mktemp("finished")
    path, log = folder / "app.db", folder / "log"
    command = [sys.executable, HERE / "victim.py", "run", path, log, 1]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return path, log


DOCTORS = [
    ("follows event", "DELETE FROM durable_event WHERE seq = 2"),
    ("two ends", "UPDATE durable_event SET step = '1' WHERE run = 2 AND seq = 2"),
    (
        "us after its close",
        "UPDATE durable_event SET at_us = at_us + 1e9 WHERE run = 2 AND seq = 20",
    ),
    ("earlier than", "UPDATE durable_event SET at_us = 0 WHERE run = 3 AND seq = 5"),
    ("checksum", "UPDATE durable_event SET result = '7' WHERE run = 2 AND seq = 3"),
    ("arguments do not", "UPDATE durable_run SET arguments = '[1]' WHERE pk = 2"),
    ("result does not", "UPDATE durable_run SET result = '1' WHERE pk = 2"),
    (
        "left 1 rows in inbox",
        "INSERT INTO durable_inbox (run, kind, name, key, payload, at_us) "  # noqa: ISC004
        "VALUES (2, 'retry', '', '', '', 1)",
    ),
    (
        "left 1 rows in step",
        "INSERT INTO durable_step (run, step, name, state, attempt, scheduled_us, fingerprint) "  # noqa: ISC004
        "VALUES (2, 'x', 'x', 'intent', 1, 1, 0)",
    ),
    ("is missing", "DELETE FROM durable_blob WHERE id IN (SELECT id FROM durable_blob LIMIT 1)"),
    (
        "references noted",
        "UPDATE durable_blob SET refs = 2 WHERE id IN (SELECT id FROM durable_blob LIMIT 1)",
    ),
    ("belong to no run", "UPDATE durable_event SET run = 999 WHERE run = 2"),
    (
        "has the ordinals",
        "UPDATE durable_run SET ordinal = 77 WHERE id = '0-counts' AND ordinal = 2",
    ),
]


@pytest.mark.parametrize(("problem", "change"), DOCTORS, ids=[problem for problem, _ in DOCTORS])
def test_a_doctored_file_is_found(finished, tmp_path, problem, change):
    copy = tmp_path / "doctored.db"
    shutil.copy(finished[0], copy)
    connection = apsw.Connection(str(copy))
    connection.execute(change)
    assert connection.total_changes() > 0
    connection.close()

    assert any(problem in one for one in invariants.check_file(copy))


def test_a_whole_file_and_its_log_are_not_complained_about(finished):
    path, log = finished
    expected = {k: v for k, v in expected_of(1).items() if v[0] == "completed"}

    assert invariants.check_file(path) == []
    end, lines = invariants.take_snapshot(path), invariants.read_log(log)
    assert invariants.check_history([], end, lines, expected) == []
    assert invariants.check_history([Kill(len(lines), end)], end, lines, expected) == []


def test_a_doctored_log_is_found(finished):
    path, log = finished
    end, lines = invariants.take_snapshot(path), invariants.read_log(log)
    expected = {k: v for k, v in expected_of(1).items() if v[0] == "completed"}
    middle = len(lines) // 2
    begun = next(one for one in lines[:middle] if one["phase"] == "start")
    ended = next(one for one in lines if one["phase"] == "end" and one["key"] in end.steps)

    def problems(kills, log_lines, wanted=expected):
        return "\n".join(invariants.check_history(kills, end, log_lines, wanted))

    killed = [Kill(middle, end)]
    assert "began again" in problems(killed, [*lines, begun])
    assert "2 times in life 1" in problems([], [begun, *lines])
    nothing_recorded = [Kill(0, Snapshot()), Kill(len(lines), Snapshot(steps={}))]
    assert problems(nothing_recorded, [*lines, begun]) == ""
    assert "never made" in problems(
        [], [{**one, "hash": 1} if one is ended else one for one in lines]
    )
    assert "succeeded" in problems(
        [], [{**one, "number": 9} if one is ended else one for one in lines]
    )
    assert "and not" in problems([], lines, {**expected, "0-sleeps": ("completed", [])})
    assert "never started" in problems([], lines, {})


def test_a_swapped_result_and_a_changed_record_are_found(finished):
    path, log = finished
    end, lines = invariants.take_snapshot(path), invariants.read_log(log)
    one, other = [key for key, step in end.steps.items() if step[1] == "tag"][:2]
    seen = invariants.take_snapshot(path)

    end.arguments[one], end.arguments[other] = (
        [end.arguments[one][0], end.arguments[other][1]],
        [end.arguments[other][0], end.arguments[one][1]],
    )
    end.steps[one] = [1, "tag", 5]

    assert sum("tag was given" in found for found in invariants.check_results(end, lines)) == 2
    assert "was recorded as" in invariants.check_final([Kill(0, seen)], end)[0]
