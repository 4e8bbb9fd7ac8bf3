"""The fuzz of the core: record random programs live, replay them elsewhere, compare everything.

    python tests/core/fuzz.py 20000                 # a campaign, in chunks
    python tests/core/fuzz.py replay < recorded     # what the child processes do

A difference is printed with the smallest program found that still shows it.
"""

import argparse
import gc
import json
import os
import pickle
import random
import subprocess
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from programs import build, play, teardown  # noqa: E402

# (bytes kept from the allocator, PYTHONHASHSEED, collector)
DISTURBANCES = [
    (0, "1", "normal"),
    (101, "77", "eager"),
    (1000, "4242", "off"),
    (5003, "9", "normal"),
]


def record(seeds):
    """Play the seeds live; return what was recorded, counts by status, and eviction complaints."""
    recorded, statuses, complaints = [], {}, []
    for seed in seeds:
        program = build(random.Random(seed), 4)
        played = play(program, seed)
        status = (
            played.status if played.driver.outcome is None else type(played.driver.outcome).__name__
        )
        statuses[status] = statuses.get(status, 0) + 1
        recorded.append((seed, program, played.history, played.result))
        asked = teardown(played)
        if len(played.history) > 2:
            at = random.Random(seed).randint(1, len(played.history) - 1)
            asked += teardown(play(program, seed, played.history, evict_after=at))
        if asked:
            complaints.append((seed, asked[:3]))
    return recorded, statuses, complaints


def replay(recorded, disturbance, collector, version):
    """Replay what was recorded; return the seeds that differ with their first difference."""
    {"normal": lambda: None, "eager": lambda: gc.set_threshold(3), "off": gc.disable}[collector]()
    differing = []
    for seed, program, history, result in recorded:
        played = play(program, seed, history, disturbance=disturbance)
        got = played.result
        if version != list(sys.version_info[:2]):
            # Another Python makes its helper tasks in another order (`wait_for` makes none from
            # 3.12 on): what counts is that every event fits, and what the program sees of them.
            result[0] = got[0] = []
            if played.status.startswith("blocked"):
                got[0] = played.trace[-1:]
        if got != result:
            differing.append((seed, first_difference(result, got)))
        teardown(played)
    return differing


def first_difference(expected, got):
    for what, one, other in zip(("commands", "log"), expected, got, strict=False):
        for index, (a, b) in enumerate(zip(one, other, strict=False)):
            if a != b:
                return f"{what}[{index}]: recorded {a!r}, replayed {b!r}"
        if len(one) != len(other):
            return f"{what}: {len(one)} recorded, {len(other)} replayed"
    return f"outcome: recorded {expected[2]}, replayed {got[2]}"


def replay_elsewhere(recorded, disturbance, seed, collector, python=sys.executable):
    done = subprocess.run(
        [
            python,
            "-W",
            "ignore",
            __file__,
            "replay",
            str(disturbance),
            collector,
            json.dumps(sys.version_info[:2]),
        ],
        input=pickle.dumps(recorded),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode()[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def smaller(program):
    """Yield programs with one part left out or lifted up."""
    if len(program) == 3 and isinstance(program[1], tuple):
        kind, children, delay = program
        yield from children
        for index in range(len(children)):
            if len(children) > 1:
                yield (kind, children[:index] + children[index + 1 :], delay)
            for child in smaller(children[index]):
                yield (kind, (*children[:index], child, *children[index + 1 :]), delay)


def shrink(program, seed, differs, tries=300):
    """Return a smaller program that still differs."""
    for _ in range(50):
        for candidate in smaller(program):
            tries -= 1
            if tries < 0:
                return program
            if differs(candidate, seed):
                program = candidate
                break
        else:
            return program
    return program


def differs_elsewhere(disturbance, hash_seed, collector, python):
    def differs(program, seed):
        played = play(program, seed)
        recorded = [(seed, program, played.history, played.result)]
        teardown(played)
        return bool(replay_elsewhere(recorded, disturbance, hash_seed, collector, python))

    return differs


def campaign(seeds, pythons=(sys.executable,), disturbances=DISTURBANCES):
    """Return (problems as text, counts, events)."""
    recorded, statuses, complaints = record(seeds)
    problems = [f"seed {seed}: eviction asked for {asked}" for seed, asked in complaints]
    for python in pythons:
        for disturbance, hash_seed, collector in disturbances:
            found = replay_elsewhere(recorded, disturbance, hash_seed, collector, python)
            for seed, difference in found[:2]:
                program = build(random.Random(seed), 4)
                differs = differs_elsewhere(disturbance, hash_seed, collector, python)
                problems.append(
                    f"seed {seed} under {python}, hash seed {hash_seed}, collector {collector}: "
                    f"{difference}\n  minimal program: {shrink(program, seed, differs)}"
                )
            problems += [f"... and {len(found) - 2} more"] if len(found) > 2 else []
    return problems, statuses, sum(len(history) for _, _, history, _ in recorded)


def main():
    warnings.simplefilter("ignore")
    if sys.argv[1] == "replay":
        recorded = pickle.load(sys.stdin.buffer)
        version = json.loads(sys.argv[4])
        print(json.dumps(replay(recorded, int(sys.argv[2]), sys.argv[3], version)))
        return 0
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", type=int)
    parser.add_argument("--python", action="append", help="also replay under this interpreter")
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    failed, done, events, counts = False, 0, 0, {}
    while done < options.seeds:
        size = min(1000, options.seeds - done)
        start = options.first + done
        problems, statuses, found = campaign(
            range(start, start + size), [sys.executable, *(options.python or [])]
        )
        done, events = done + size, events + found
        for status, count in statuses.items():
            counts[status] = counts.get(status, 0) + count
        for problem in problems:
            failed = True
            print(problem)
        print(f"{done:,} programs, {events:,} events, {counts}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
