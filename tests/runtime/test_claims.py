"""Claims: which runs a worker takes, and what it reads to find them."""

import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from durable import Engine
from durable._runtime.claims import SOONEST_MAX, Claims
from durable._store.store import Store

PLANT = """
INSERT INTO durable_run (id, ordinal, workflow, state, wake_at_us, queue, priority, salt,
                         arguments, fingerprint, checksum, cause, created_us, started_us, clock_us)
VALUES (?, 1, ?, ?, ?, 'default', ?, 1, '[]', 1, 1, 'started', 1, ?, 1)
"""
Planted = tuple[str, str, int | None, int]
"""A run's workflow, state, due time and priority."""

NEVER_US = 1 << 61


def plant(path: Path, runs: Iterable[Planted]) -> None:
    nothing = lambda *_: None
    Store(str(path), durability="normal", deliver=nothing, on_foreign_commit=nothing).close()
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN")
    connection.executemany(
        PLANT, [(f"run-{n}", *run, 1 if run[1] == "parked" else None) for n, run in enumerate(runs)]
    )
    connection.execute("COMMIT")
    connection.close()


@asynccontextmanager
async def claims_of(path: Path, runs: Iterable[Planted]) -> AsyncIterator[Claims]:
    """Open a file of such runs, by an engine that knows no workflow, and so claims nothing."""
    plant(path, runs)
    async with Engine(path, functions=[]) as engine:
        yield engine._running().claims


def cost(claims: Claims, names: Iterable[str]) -> tuple[int, int]:
    """Return how many statements a look for free runs is, and SQLite's steps in them."""
    found: list[int] = []

    def ended(event: dict[str, dict[str, int]]) -> None:
        found.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

    reader = claims._worker.store.reader
    known = frozenset(names)
    claims.choose(known)  # Its statements are prepared now.
    reader._connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, ended)
    claims.choose(known)
    reader._connection.trace_v2(0, None)
    return len(found), sum(found)


FEW = ["known"]
MANY = ["known", *(f"other-{number}" for number in range(500))]


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [("known", "ready", None, 0)],
        [("known", "parked", 5, 0)],
        [("known", "parked", NEVER_US, 0)],
        [("unknown", "ready", None, 0), ("unknown", "parked", 5, 0)],
    ],
    ids=["nothing", "ready", "due", "parked", "unknown"],
)
async def test_a_look_costs_the_same_however_many_workflows_are_known(
    tmp_path: Path, runs: list[Planted]
) -> None:
    async with claims_of(tmp_path / "app.db", runs) as claims:
        assert cost(claims, FEW) == cost(claims, MANY)


@pytest.mark.parametrize(
    "run",
    [
        ("unknown", "ready", None, 0),
        ("unknown", "parked", 5, 0),
        ("unknown", "parked", NEVER_US, 0),
        ("known", "parked", NEVER_US, 0),
    ],
    ids=["ready, unknown", "due, unknown", "parked, unknown", "parked"],
)
async def test_a_look_costs_the_same_however_many_runs_wait(tmp_path: Path, run: Planted) -> None:
    async with claims_of(tmp_path / "few.db", [run] * 2 * SOONEST_MAX) as claims:
        few = cost(claims, FEW)
    async with claims_of(tmp_path / "many.db", [run] * 2_000) as claims:
        many = cost(claims, FEW)

    assert few == many


async def test_a_look_costs_the_same_however_many_workflows_have_parked_runs(
    tmp_path: Path,
) -> None:
    runs: list[Planted] = [(name, "parked", NEVER_US, 0) for name in MANY]
    async with claims_of(tmp_path / "few.db", runs[:SOONEST_MAX]) as claims:
        few = cost(claims, MANY)
    async with claims_of(tmp_path / "many.db", runs) as claims:
        many = cost(claims, MANY)

    assert few == many


@pytest.mark.parametrize("seed", range(10))
async def test_the_most_urgent_and_oldest_of_all_known_workflows_are_taken(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    names = [f"workflow-{number}" for number in range(12)]
    runs: list[Planted] = [
        (chance.choice(names), "ready", None, chance.choice([0, 0, 0, 1, 2])) for _ in range(300)
    ]
    known = frozenset(chance.sample(names, 7))
    async with claims_of(tmp_path / "app.db", runs) as claims:
        taken = claims.choose(known)

    waiting = sorted(
        (priority, pk) for pk, (name, *_, priority) in enumerate(runs, 1) if name in known
    )
    assert 0 < len(taken) < len(waiting)
    assert taken == [pk for _, pk in waiting[: len(taken)]]


@pytest.mark.parametrize("seed", range(10))
async def test_what_is_due_of_known_workflows_is_taken_in_the_order_of_its_times(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    names = [f"workflow-{number}" for number in range(12)]
    runs: list[Planted] = [
        (chance.choice(names), "parked", chance.choice([NEVER_US, chance.randrange(1, 10**6)]), 0)
        for _ in range(300)
    ]
    known = frozenset(chance.sample(names, 5))
    async with claims_of(tmp_path / "app.db", runs) as claims:
        taken = claims.choose(known)

    assert taken == [
        pk
        for _, pk in sorted(
            (due_us or 0, pk)
            for pk, (name, _, due_us, _) in enumerate(runs, 1)
            if name in known and due_us != NEVER_US
        )
    ]


@pytest.mark.parametrize("unknown", [0, 1, SOONEST_MAX - 1, SOONEST_MAX, 3 * SOONEST_MAX])
async def test_the_next_wake_is_that_of_a_known_workflow_whatever_comes_due_before(
    tmp_path: Path, unknown: int
) -> None:
    runs: list[Planted] = [("unknown", "parked", 5, 0)] * unknown
    runs += [("known", "parked", NEVER_US + number, 0) for number in (3, 1, 2)]
    async with claims_of(tmp_path / "app.db", runs) as claims:
        taken = claims.choose(frozenset(["known", "idle"]))

        assert (taken, claims.next_wake_us) == ([], NEVER_US + 1)


async def test_there_is_no_next_wake_where_only_unknown_workflows_have_parked_runs(
    tmp_path: Path,
) -> None:
    runs: list[Planted] = [("unknown", "parked", 5, 0)] * 20
    async with claims_of(tmp_path / "app.db", runs) as claims:
        taken = claims.choose(frozenset(["known"]))

        assert (taken, claims.next_wake_us) == ([], None)


async def test_requests_to_runs_of_nobody_are_looked_at_once(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    plant(path, [("unknown", "ready", None, 0)])
    connection = apsw.Connection(str(path))
    connection.executemany(
        "INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)"
        " VALUES (1, 'signal', 'go', '', '1', 1)",
        [()] * 50,
    )
    connection.close()
    async with Engine(path, functions=[]) as engine:
        inbox = engine._running().inbox

        inbox.look()

        assert inbox._seen == 50
