"""What must hold of a file, and of a file and the log of what really happened.

Knows SQLite and the schema, and nothing of the library it judges. The file is only ever looked at
from a process of its own, for a second reader in a process that also holds it open by other means
would drop SQLite's locks:

    invariants.py check DB       print what is wrong with the file, as JSON
    invariants.py snapshot DB    print what is recorded in it, as JSON
"""

import dataclasses
import json
import os
import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

CLOSED = ("completed", "failed", "cancelled", "terminated", "continued")
COMPLETED, FAILED, FIRED = 1, 2, 3


@dataclasses.dataclass
class Snapshot:
    """What a file holds at one moment.

    Attributes:
        steps: The recorded end of each step by idempotency key: (kind, name, hash of the result).
        runs: (id, ordinal) of each run with its state, its result and its number of events.
        arguments: By idempotency key, the arguments and the result of recorded steps under 1 KiB.
        attempts: Numbers of the failed attempts of each step, by idempotency key.
    """

    steps: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    runs: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    arguments: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    attempts: dict[str, list[int]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Kill:
    """One death: how long the log was, and what was recorded by then."""

    log_lines: int
    recorded: Snapshot


def checksum(*parts):
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc - (1 << 32) if crc >= 1 << 31 else crc


class File:
    """A file, opened for reading."""

    def __init__(self, path):
        import apsw

        self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self._connection.set_busy_timeout(5_000)
        self._connection.execute("BEGIN")  # All of it is of one moment: others may be writing.

    def all(self, text, *values):
        return self._connection.execute(text, values).fetchall()

    def bytes_of(self, stored):
        if stored is None:
            return b""
        if isinstance(stored, str):
            return stored.encode()
        rows = self.all("SELECT size, data FROM durable_blob WHERE id = ?", stored)
        if not rows:
            raise ValueError(f"blob {stored} is missing")
        data = zlib.decompress(rows[0][1])
        if len(data) != rows[0][0]:
            raise ValueError(f"blob {stored} has another size")
        return data


# -- of the file alone ----------------------------------------------------------------------------


def check_file(path):
    """Return what is wrong with the file; run it in a process of its own."""
    file = File(path)
    found = [f"integrity_check: {row[0]}" for row in file.all("PRAGMA integrity_check")]
    found = [one for one in found if not one.endswith(" ok")]
    for check in (
        check_runs,
        check_events,
        check_payloads,
        check_blobs,
        check_ordinals,
        check_tally,
    ):
        found += check(file)
    return found


def check_tally(file):
    # One statement: one moment of a file that others may be writing to.
    rows = file.all(
        "WITH counted AS (SELECT workflow, state, COALESCE(wait_kind, '') AS kind, COUNT(*) AS runs"
        "   FROM durable_run AS run WHERE NOT EXISTS (SELECT 1 "
        "FROM durable_run AS newer WHERE newer.id = run.id"
        "   AND newer.ordinal > run.ordinal) GROUP BY 1, 2, 3),"
        " kept AS (SELECT workflow, state, kind, runs FROM durable_tally WHERE runs <> 0)"
        " SELECT 'counted', * FROM (SELECT * FROM counted EXCEPT SELECT * FROM kept)"
        " UNION ALL SELECT 'kept', * FROM (SELECT * FROM kept EXCEPT SELECT * FROM counted)"
    )
    return [f"tally: {row}" for row in rows]


def check_runs(file):
    found = []
    marks = ",".join(f"'{state}'" for state in CLOSED)
    rows = file.all(
        f"SELECT id, ordinal, state, worker_id, closed_us, pk "
        f"FROM durable_run WHERE state IN ({marks})"
    )
    for run_id, ordinal, state, worker, closed_us, pk in rows:
        run = f"{run_id}#{ordinal} ({state})"
        if worker is not None or closed_us is None:
            found.append(f"{run} is closed, with worker {worker} and closed_us {closed_us}")
        for table in ("step", "inbox"):
            left = file.all(f"SELECT COUNT(*) FROM durable_{table} WHERE run = ?", pk)[0][0]
            if left:
                found.append(f"{run} is closed and left {left} rows in {table}")
    for table in ("step", "inbox", "event", "attempt"):
        lone = file.all(
            f"SELECT COUNT(*) FROM durable_{table} WHERE run NOT IN (SELECT pk FROM durable_run)"
        )[0][0]
        if lone:
            found.append(f"{lone} rows of {table} belong to no run")
    return found


def check_events(file):
    found = []
    text = """SELECT run.id, run.ordinal, run.closed_us, run.clock_us, seq, kind, step, at_us
                FROM durable_event AS event JOIN durable_run AS run ON run.pk = event.run
                ORDER BY run.pk, seq"""
    before = (None, 0, 0)
    ended = set()
    for run_id, ordinal, closed_us, clock_us, seq, kind, step, at_us in file.all(text):
        run = (run_id, ordinal)
        _, last, last_us = before if before[0] == run else (run, 0, 0)
        if seq != last + 1:
            found.append(f"{run}: event {seq} follows event {last}")
        if at_us < last_us:
            found.append(f"{run}: event {seq} is earlier than the one before")
        if closed_us is not None and clock_us + at_us > closed_us:
            found.append(f"{run}: event {seq} is {clock_us + at_us - closed_us} us after its close")
        if kind in (COMPLETED, FAILED, FIRED):
            if (run, step) in ended:
                found.append(f"{run}: step {step} has two ends, the second in event {seq}")
            ended.add((run, step))
        before = (run, seq, at_us)
    return found


def check_payloads(file):
    found = []
    for run, seq, arguments, result, check in file.all(
        "SELECT run, seq, arguments, result, checksum FROM durable_event"
    ):
        try:
            if checksum(file.bytes_of(arguments), file.bytes_of(result)) != check:
                found.append(f"run {run}: event {seq} does not match its checksum")
        except (ValueError, zlib.error) as error:
            found.append(f"run {run}: event {seq}: {error}")
    for run, arguments, check, result, result_check in file.all(
        "SELECT pk, arguments, checksum, result, result_checksum FROM durable_run"
    ):
        try:
            if checksum(file.bytes_of(arguments)) != check:
                found.append(f"run {run}: its arguments do not match their checksum")
            if result_check is not None and checksum(file.bytes_of(result)) != result_check:
                found.append(f"run {run}: its result does not match its checksum")
        except (ValueError, zlib.error) as error:
            found.append(f"run {run}: {error}")
    return found


def check_blobs(file):
    used = Counter()
    columns = [("run", "arguments"), ("run", "result"), ("event", "arguments"), ("event", "result")]
    columns += [("inbox", "payload"), ("letter", "payload"), ("item", "payload")]
    columns += [("value", "payload"), ("answer", "result")]
    for table, column in columns:
        rows = file.all(f"SELECT {column} FROM durable_{table} WHERE typeof({column}) = 'integer'")
        used.update(row[0] for row in rows)
    kept = dict(file.all("SELECT id, refs FROM durable_blob"))
    return [
        f"blob {one} has {kept.get(one)} references noted and {used.get(one, 0)} rows that use it"
        for one in sorted({*used, *kept})
        if used.get(one, 0) != kept.get(one)
    ]


def check_ordinals(file):
    found = []
    ordinals = defaultdict(list)
    for run_id, ordinal, state in file.all(
        "SELECT id, ordinal, state FROM durable_run ORDER BY id, ordinal"
    ):
        ordinals[run_id].append((ordinal, state))
    for run_id, one in ordinals.items():
        if [ordinal for ordinal, _ in one] != list(range(1, len(one) + 1)):
            found.append(f"{run_id} has the ordinals {[ordinal for ordinal, _ in one]}")
        if any(state not in CLOSED for _, state in one[:-1]):
            found.append(f"an ordinal of {run_id} is open, and is not the newest")
    return found


def take_snapshot(path):
    """Read what is recorded; run it in a process of its own."""
    file = File(path)
    seen = Snapshot()
    keys = {}
    for pk, run_id, ordinal, salt, state, result, events in file.all(
        """SELECT pk, id, ordinal, salt, state, result,
                  (SELECT COUNT(*) FROM durable_event AS event WHERE event.run = run.pk)
                   FROM durable_run AS run"""
    ):
        keys[pk] = f"{run_id}/{salt:x}"
        value = json.loads(file.bytes_of(result) or b"null") if state in CLOSED else None
        seen.runs[f"{run_id}#{ordinal}"] = [state, value, events]
    for pk, kind, step, name, arguments, result in file.all(
        "SELECT run, kind, step, name, arguments, result FROM durable_event WHERE kind IN (1, 2)"
    ):
        key = f"{keys[pk]}/{step}"
        value = json.loads(file.bytes_of(result))
        seen.steps[key] = [kind, name, zlib.crc32(json.dumps(value).encode())]
        if isinstance(arguments, str) and isinstance(result, str) and len(result) < 1_000:
            seen.arguments[key] = [json.loads(arguments), value]
    for pk, step, number in file.all(
        "SELECT run, step, attempt FROM durable_attempt WHERE state = 'failed' ORDER BY attempt"
    ):
        seen.attempts.setdefault(f"{keys[pk]}/{step}", []).append(number)
    return seen


# -- of the file and the log ----------------------------------------------------------------------


def check_history(kills, end, lines, expected):
    """Return what is wrong between what is recorded and what was done.

    Args:
        kills: Each death, in order.
        end: What is recorded in the end.
        lines: The log, in order.
        expected: (state, result) by run id.
    """
    return [
        *check_ends(end, expected),
        *check_final(kills, end),
        *check_not_again(kills, end, lines),
        *check_repeats(kills, lines),
        *check_results(end, lines),
        *check_attempts(end, lines),
    ]


def check_ends(end, expected):
    newest = {}
    for name, (state, result, _) in end.runs.items():
        run_id, _, ordinal = name.rpartition("#")
        if int(ordinal) >= newest.get(run_id, (0,))[0]:
            newest[run_id] = (int(ordinal), state, result)
    found = [
        f"{run_id} ended {newest.get(run_id, ('', 'nowhere', ''))[1:]}, and not {wanted}"
        for run_id, wanted in expected.items()
        if newest.get(run_id, (0, "", ""))[1:] != tuple(wanted)
    ]
    return [*found, *(f"{one} was never started" for one in newest.keys() - expected.keys())]


def check_final(kills, end):
    """What a kill found recorded is recorded in the end, and a closed run never changes."""
    found = []
    for n, kill in enumerate(kills, 1):
        for key, record in kill.recorded.steps.items():
            if end.steps.get(key) != record:
                found.append(
                    f"{key} was recorded as {record} at kill {n}, and is {end.steps.get(key)}"
                )
        for name, record in kill.recorded.runs.items():
            if record[0] in CLOSED and end.runs.get(name) != record:
                found.append(
                    f"{name} was closed as {record} at kill {n}, and is {end.runs.get(name)}"
                )
    return found


def check_not_again(kills, end, lines):
    """No step that was recorded is begun again: not after a kill, and not within a life either."""
    found = []
    for n, kill in enumerate(kills, 1):
        found += [
            f"{line['key']} ({line['name']}) was recorded at kill {n} and began again after it"
            for line in lines[kill.log_lines :]
            if line["phase"] == "start" and line["key"] in kill.recorded.steps
        ]
    return found


def check_repeats(kills, lines):
    """An attempt is made twice only if a kill cut it off; there are no more repeats than that."""
    found = []
    borders = [0, *(kill.log_lines for kill in kills), len(lines)]
    begun = [
        Counter(
            (line["key"], line["number"]) for line in lines[first:last] if line["phase"] == "start"
        )
        for first, last in pairwise(borders)
    ]
    for life, attempts in enumerate(begun, 1):
        found += [f"{one} began {n} times in life {life}" for one, n in attempts.items() if n > 1]
    repeats = 0
    for life, attempts in enumerate(begun):
        for one in attempts:
            earlier = [before for before in range(life) if one in begun[before]]
            repeats += bool(earlier)
            if earlier and one[0] in kills[earlier[-1]].recorded.steps:
                found.append(f"{one} is repeated in life {life + 1}, though it was recorded")
    if repeats > (most := in_flight(kills, lines)):
        found.append(f"{repeats} attempts were repeated, and only {most} were in flight at a kill")
    return found


def check_crew(deaths, kills, end, lines, expected):
    """Return what is wrong after several processes worked on one file at once.

    Args:
        deaths: By pid, how long the log was when the process was killed, or had ended.
        kills: As for `check_history`; the log's length was taken after what was recorded.
        end: What is recorded in the end.
        lines: The log, in order.
        expected: (state, result) by run id.
    """
    return [
        *check_ends(end, expected),
        *check_final(kills, end),
        *check_not_again(kills, end, lines),
        *check_overlaps(deaths, lines),
        *check_results(end, lines),
        *check_attempts(end, lines),
    ]


def check_overlaps(deaths, lines):
    """No step has two bodies at once, and an attempt is repeated only if its process died."""
    found, running, begun = [], {}, {}
    for at, line in enumerate(lines):
        key, pid = line["key"], line["pid"]
        if line["phase"] != "start":
            if running.get(key) == pid:
                del running[key]
            continue
        other = running.get(key)
        if other is not None and other != pid and at < deaths.get(other, len(lines)):
            found.append(f"{key} begins in {pid} while {other} performs it")
        if other == pid:
            found.append(f"{key} begins in {pid} while it performs it already")
        before = begun.get((key, line["number"]))
        if before is not None and before not in deaths:
            found.append(f"{key}: attempt {line['number']} of {before}, which lives, is repeated")
        running[key] = begun[key, line["number"]] = pid
    return found


def in_flight(kills, lines):
    """Count the attempts that had begun, and were not recorded, at some kill."""
    total, first = 0, 0
    for kill in kills:
        part = lines[first : kill.log_lines]
        begun = {(line["key"], line["number"]) for line in part if line["phase"] == "start"}
        total += sum(key not in kill.recorded.steps for key, _ in begun)
        first = kill.log_lines
    return total


def count_repeats(lines):
    begun = Counter((one["key"], one["number"]) for one in lines if one["phase"] == "start")
    return sum(n - 1 for n in begun.values())


def check_results(end, lines):
    """What is recorded is what the step made, and no branch got another's result."""
    made = defaultdict(set)
    for line in lines:
        if line["phase"] == "end":
            made[line["key"]].add(line["hash"])
    found = [
        f"{key} ({name}) is recorded with a result it never made"
        for key, (kind, name, mark) in end.steps.items()
        if kind == COMPLETED and mark not in made[key]
    ]
    for key, (arguments, result) in end.arguments.items():
        if end.steps[key][1] == "tag" and result != tag_of(arguments):
            found.append(f"{key}: tag was given {arguments} and made {result}")
    return found


def tag_of(arguments):
    """Return what tag makes of its arguments, where each branch got what is its own."""
    url = arguments[0]
    return [url, f"text of {url}", f"tag of {url}"]


def check_attempts(end, lines):
    """Each recorded end of a step is that of an attempt whose number follows its failures."""
    succeeded = {}
    for line in lines:
        if line["phase"] == "end":
            succeeded.setdefault(line["key"], set()).add(line["number"])
    return [
        f"{key}: attempts {end.attempts.get(key, [])} failed, and {succeeded[key]} succeeded"
        for key, (kind, _, _) in end.steps.items()
        if kind == COMPLETED and key in succeeded
        and any(
            end.attempts.get(key, []) != list(range(1, number)) for number in succeeded[key]
        )
    ]  # fmt: skip


# -- in processes of their own --------------------------------------------------------------------


def ask(verb, path):
    """Run a verb of this module in a process of its own; return what it printed."""
    command = [sys.executable, __file__, verb, os.fspath(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def file_problems(path):
    return ask("check", path)


def snapshot(path):
    return Snapshot(**ask("snapshot", path))


def read_log(path):
    path = Path(path)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    if sys.argv[1] == "check":
        print(json.dumps(check_file(sys.argv[2])))
    else:
        print(json.dumps(dataclasses.asdict(take_snapshot(sys.argv[2]))))
