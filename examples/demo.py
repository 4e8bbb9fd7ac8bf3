"""Kill a durable run in the middle, start it again, and prove that nothing was done twice.

Usage: ``python demo.py``. It runs ``04_document_pipeline.py`` in a process of its own, sends it
SIGKILL once some 45 % of its steps are done, starts it again with the same arguments, and compares
what the two processes did by the log that every attempt writes to. Exit code 1: the proof failed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import durable

RUN_ID = "documents"
PIPELINE = Path(__file__).with_name("04_document_pipeline.py")
LOOK_AGAIN_S = 0.2
# Not a terminal: a line a second, so that a build log stays readable.
LOOKS_PER_LINE = 5
# A run that takes longer than this in one process is stuck; the demo's own takes some 10 seconds.
PROCESS_S_MAX = 300
REPORT_LINES_SHOWN = 10


@dataclass
class Log:
    """The side-effect log, read as it grows.

    Attributes:
        path: The file; it need not exist yet.
        lines: Every whole line so far, in order.
    """

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    _offset: int = 0

    def read(self) -> None:
        """Read what was added since the last time; a line without its end is left for the next."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        self.lines += [json.loads(line) for line in whole.splitlines()]

    def keys(self, phase: str, lines: list[dict[str, Any]] | None = None) -> set[str]:
        """Return the idempotency keys of the steps of which an attempt reached this phase."""
        chosen = self.lines if lines is None else lines
        return {line["key"] for line in chosen if line["phase"] == phase}

    def expected_steps(self) -> int | None:
        """Return how many steps the run will take, by the chunks per file so far.

        None while too few files are cut into chunks to tell.
        """
        made = {
            line["key"]: line
            for line in self.lines
            if line["phase"] == "end" and line["step"] in {"list_files", "extract"}
        }
        files: int = sum(line["makes"] for line in made.values() if line["step"] == "list_files")
        extracted = [line["makes"] for line in made.values() if line["step"] == "extract"]
        if not files or len(extracted) < max(1, files // 10):
            return None
        folders = {
            Path(line["subject"]).parent for line in made.values() if line["step"] == "extract"
        }
        chunks: int = round(files * sum(extracted) / len(extracted))
        return 2 + 3 * files + chunks + len(folders)


# -- two processes -------------------------------------------------------------------------------


def start(options: argparse.Namespace) -> subprocess.Popen[str]:
    folder = [str(options.folder)] if options.folder else []
    arguments = [
        *folder,
        *("--db", str(options.out / "demo.db"), "--out", str(options.out)),
        *("--limit", str(options.limit), "--seed", str(options.seed)),
        *("--flaky", str(options.flaky), "--slow-ms", str(options.slow_ms)),
    ]
    return subprocess.Popen(  # noqa: S603  our own script
        [sys.executable, str(PIPELINE), *arguments], stdout=subprocess.PIPE, text=True
    )


def watch(child: subprocess.Popen[str], log: Log, kill_after: int | None, share: float) -> bool:
    """Show progress until the process ends.

    Args:
        child: The process.
        log: Where it writes what it does.
        kill_after: Kill it once that many steps are done; None for a share of what is expected.
        share: That share; 0.0 lets the process live.

    Returns:
        Whether it was killed.

    Raises:
        TimeoutError: It took longer than `PROCESS_S_MAX`; it is killed then, too.
    """
    is_terminal = sys.stdout.isatty()
    deadline = time.monotonic() + PROCESS_S_MAX
    looks = 0
    try:
        while child.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {child.pid} has not ended in {PROCESS_S_MAX} s")
            log.read()
            done, expected = len(log.keys("end")), log.expected_steps()
            if looks % (1 if is_terminal else LOOKS_PER_LINE) == 0:
                of = f" of about {expected:,}" if expected else ""
                text = f"   process {child.pid}: {done:,}{of} steps done"
                print(f"\r\x1b[K{text}" if is_terminal else text, end="" if is_terminal else "\n")
                sys.stdout.flush()
            looks += 1
            limit = kill_after
            if limit is None and expected is not None:
                limit = round(share * expected)
            if share > 0 and limit is not None and done >= limit:
                child.send_signal(signal.SIGKILL)
                child.wait()
                return child.returncode == -signal.SIGKILL
            time.sleep(LOOK_AGAIN_S)
        return False
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        log.read()
        if is_terminal:
            print("\r\x1b[K", end="")


# -- the proof ----------------------------------------------------------------------------------


def recorded_before_kill(db: Path, before: list[dict[str, Any]]) -> set[str]:
    """Return the idempotency keys of the steps that were in the file when the process died.

    Looking starts nothing: the run waits, unchanged, until an engine opens the file.

    Args:
        db: The SQLite file, as the kill left it.
        before: The lines of the log up to the kill; they say which key belongs to which step.
    """
    with durable.view(db) as runs:
        run = runs.get(RUN_ID)
    key_of = {line["step_id"]: line["key"] for line in before}
    completed = [step.step for step in run.steps if step.status == "completed"]
    return {key_of.get(step_id, f"step {step_id}") for step_id in completed}


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the log says about both processes; all sets are of idempotency keys.

    Attributes:
        done: Steps that ended before the kill.
        kept: Those of them that were not started again.
        repeated: Steps that were under way at the kill, or ended too late to be recorded, and were
            started again.
        retried: Steps whose last attempt before the kill had failed, tried again as they would
            have been anyway.
        complaints: What must not be; empty if the proof holds.
    """

    done: set[str]
    kept: set[str]
    repeated: set[str]
    retried: set[str]
    complaints: list[str]


def prove(log: Log, killed_at: int, recorded: set[str]) -> Proof:
    """Compare what happened before and after the kill.

    Args:
        log: The whole log.
        killed_at: How many of its lines were written before the kill.
        recorded: What `recorded_before_kill` said.
    """
    before, after = log.lines[:killed_at], log.lines[killed_at:]
    done = log.keys("end", before)
    again = log.keys("start", after)
    last_phase = {line["key"]: line["phase"] for line in before}
    retried = {key for key in again if last_phase.get(key) == "failed"}
    repeated = (again & last_phase.keys()) - retried
    names = {line["key"]: f"{line['step']} {line['subject']}" for line in log.lines}

    complaints = [f"recorded, but called again: {names[key]}" for key in sorted(recorded & again)]
    complaints += [
        f"recorded, but its end is not in the log: {names.get(key, key)}"
        for key in sorted(recorded - done)
    ]
    complaints += [
        f"not recorded, and yet not called again: {names[key]}"
        for key in sorted(done - recorded - again)
    ]
    ended = log.keys("end")
    complaints += [f"never ended: {names[key]}" for key in sorted(log.keys("start") - ended)]
    for lines in (before, after):
        ends = [line["key"] for line in lines if line["phase"] == "end"]
        if len(ends) != len(set(ends)):
            complaints.append("a step ended twice within one process")
    made = {line["key"]: line["makes"] for line in log.lines if "makes" in line}
    steps_of = {line["key"]: line["step"] for line in log.lines}
    files = sum(count for key, count in made.items() if steps_of[key] == "list_files")
    chunks = sum(count for key, count in made.items() if steps_of[key] == "extract")
    folders = sum(step == "merge_folder" for step in steps_of.values())
    if len(ended) != (expected := 2 + 3 * files + chunks + folders):
        complaints.append(f"{len(ended):,} steps ended; the workflow makes {expected:,}")
    return Proof(
        done=done, kept=done - again, repeated=repeated, retried=retried, complaints=complaints
    )


# -- the story ----------------------------------------------------------------------------------


def clear(out: Path) -> None:
    """Remove what an earlier demo left; anything else is left alone.

    Raises:
        SystemExit: The folder holds something that no demo wrote.
    """
    if out.is_dir() and any(out.iterdir()):
        if not (out / "demo.db").exists() and not (out / "side-effects.jsonl").exists():
            raise SystemExit(f"{out} is not empty and no earlier demo's; choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill a durable run and start it again.")
    parser.add_argument("folder", nargs="?", type=Path, help="by default Python's own library")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="removed first")
    parser.add_argument("--limit", type=int, default=300, help="the most files to read")
    parser.add_argument("--seed", type=int, default=1, help="decides which attempts fail")
    parser.add_argument("--flaky", type=float, default=0.05, help="share of attempts that fail")
    parser.add_argument("--slow-ms", type=float, default=120, help="how slow the service is")
    parser.add_argument("--kill-after", type=int, help="steps; by default 45 %% of all")
    options = parser.parse_args()
    if options.kill_after is not None and options.kill_after < 1:
        parser.error(
            "--kill-after counts steps: 1 or more, so that there is something to go on from"
        )
    return options


def main() -> int:
    options = parse_arguments()
    options.out = options.out.resolve()
    clear(options.out)
    log = Log(options.out / "side-effects.jsonl")
    began = time.monotonic()

    print("1. Summarise a folder of documents in one durable run: three steps a file, one a chunk.")
    print(f"   {options.flaky:.0%} of the calls to a slow service fail and are retried.")
    first = start(options)
    if not watch(first, log, options.kill_after, 0.45):
        print(f"   The process ended by itself, with exit code {first.returncode}; raise --limit.")
        return 1
    killed_at = len(log.lines)
    print(f"2. kill -9 {first.pid}, {len(log.keys('end')):,} steps in.")
    recorded = recorded_before_kill(options.out / "demo.db", log.lines[:killed_at])
    print(f"   Its file holds {len(recorded):,} recorded steps.")

    print("3. Start it again, with the same arguments.")
    second = start(options)
    watch(second, log, None, 0.0)
    assert second.stdout is not None
    said = second.stdout.read().strip()
    if second.returncode != 0:
        print(f"   The process failed with exit code {second.returncode}.")
        return 1
    print(f"   {said}")

    proof = prove(log, killed_at, recorded)
    again = log.keys("start", log.lines[killed_at:])
    failures = sum(line["phase"] == "failed" for line in log.lines)
    print(f"4. Ended after {time.monotonic() - began:.1f} s. The log of all attempts says:")
    for what, count in (
        ("steps ended before the kill", len(proof.done)),
        ("steps kept from the file, not called again", len(proof.kept)),
        ("steps repeated, under way at the kill", len(proof.repeated)),
        ("attempts that failed and were retried", failures),
        ("recorded steps that were called again", len(recorded & again)),
    ):
        print(f"   {what:<44}{count:>7,}")
    report = options.out / "report.md"
    print(f"5. The report, {report}, begins:")
    for line in report.read_text(encoding="utf-8").splitlines()[:REPORT_LINES_SHOWN]:
        print(f"   | {line[: shutil.get_terminal_size().columns - 6]}")
    for complaint in proof.complaints[:20]:
        print(f"NOT PROVED: {complaint}")
    if not proof.complaints:
        print("Proved: no recorded step ran twice, and none is missing.")
    return 1 if proof.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
