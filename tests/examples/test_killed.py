"""The examples of runs that talk, each killed with SIGKILL and started again.

The file is looked at by SQLite only while no process has it open, or by `durable.Client`, which
uses the library's own connection.
"""

import asyncio
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import apsw
import pytest

import durable
from tests.crash import invariants as untyped_invariants

pytestmark = [pytest.mark.crash, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"
invariants: Any = untyped_invariants
SEED = int(os.environ.get("DURABLE_SEED", "1"))
LIFE_S_MAX = 60


class Script:
    """A script that is started, killed and started again in one folder."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.folder = folder
        self.command = [sys.executable, str(EXAMPLES / command[0]), *command[1:]]
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """Kill it, and make sure that it was alive: a death that came too late proves nothing."""
        assert not self.has_ended, "it ended before it could be killed"
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def end(self, logs: str = r"(?!)") -> str:
        """Let it come to its end, and return what it said; each line it logged matches `logs`."""
        assert self.process is not None
        said, logged = self.process.communicate(timeout=LIFE_S_MAX)
        unexpected = [line for line in logged.decode().splitlines() if not re.match(logs, line)]
        assert (self.process.returncode, unexpected) == (0, [])
        return said.decode()

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return what stands in a file of JSON lines."""
        path = self.folder / name
        return (
            [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        )

    def wait_for_lines(self, name: str, count: int) -> None:
        deadline = time.monotonic() + LIFE_S_MAX
        while len(self.lines(name)) < count and not self.has_ended:
            assert time.monotonic() < deadline, "it makes no progress"
            time.sleep(0.002)


Scripts = Callable[..., Script]
Steps = list[tuple[str, Any]]


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Scripts]:
    made: list[Script] = []

    def make(*command: str) -> Script:
        made.append(Script(tmp_path, *command))
        return made[-1]

    yield make
    for one in made:
        if not one.has_ended:
            one.kill()


def in_file(path: Path, text: str) -> list[tuple[Any, ...]]:
    """Ask SQLite of a file that no process has open."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows: list[tuple[Any, ...]] = connection.execute(text).fetchall()
    connection.close()
    return rows


# -- 05: the approval ------------------------------------------------------------------------------


async def answer(path: Path, token: str, value: object) -> None:
    async with durable.Client(path) as client:
        await client.resolve(token, value)


def test_an_approval_that_comes_while_no_process_lives_is_heard(
    script: Scripts, tmp_path: Path
) -> None:
    one = script("05_approval.py", "--patience", "3d")
    one.begin()
    one.wait_for_lines("approval.db.mail", 1)
    one.kill()
    (mail,) = one.lines("approval.db.mail")
    token = re.search(r"durable answer (\S+) true", mail["text"])[1]  # type: ignore[index]

    asyncio.run(answer(tmp_path / "approval.db", token, True))
    one.begin()
    said = one.end()

    assert re.fullmatch(r"0\.\d s  asked Ada\n\d+\.\d s  approved\n", said)
    assert {mail["key"] for mail in one.lines("approval.db.mail")} == {mail["key"]}


async def withdraw(path: Path, why: str) -> None:
    async with durable.Client(path) as client:
        run = await client.get("laptop")
        await run.signal(durable.Signal("withdraw", str), why)


def test_an_expense_withdrawn_while_no_process_lives_is_dropped(
    script: Scripts, tmp_path: Path
) -> None:
    one = script("05_approval.py", "--patience", "3d")
    one.begin()
    one.wait_for_lines("approval.db.mail", 1)
    one.kill()

    asyncio.run(withdraw(tmp_path / "approval.db", "not needed"))
    one.begin()

    assert one.end().endswith("withdrawn: not needed\n")


def test_reminders_and_the_escalation_happen_once_over_deaths(script: Scripts) -> None:
    one = script("05_approval.py", "--patience", "0.8")
    for lines in (1, 2, 3, 4):
        one.begin()
        one.wait_for_lines("approval.db.mail", lines)
        one.kill()
    one.begin()
    said = one.end()

    assert [line.partition("  ")[2] for line in said.splitlines()] == [
        "asked Ada",
        "reminded Ada",
        "Ada did not answer",
        "asked Grace",
        "reminded Grace",
        "Grace did not answer",
        "nobody answered: refused",
    ]
    mails = one.lines("approval.db.mail")
    assert len({mail["key"] for mail in mails}) == 4
    # One more of each is due to a death between the mail and its record.
    assert len(mails) <= 4 + 4


# -- 06: the saga ----------------------------------------------------------------------------------

ORDERS = 40
KILLS = 8
# What the last life logs: the refusals that it came to itself, with a traceback each.
REFUSALS = (
    r"run order-\d+(/\d+)?: attempt 1 of (reserve|charge|hand_over) \(step \d+\) failed, "
    r"|run order-\d+/\d+ \(ship\) failed: Refused: "
    r"|Refused: |ConnectionError: the carrier hung up$"
    r"|Traceback \(most recent call last\):$|The traceback of the process that raised it:$|  "
)
BACK = {"reserve": "release", "charge": "refund", "ship": "recall"}
ENDS = {
    0: r"2 parcels are on their way",
    1: r"undone, not enough lamp",
    2: r"undone, the card does not cover 1200\.00",
    3: r"undone, (the carrier takes no lamps|not enough lamp)",
}


def test_a_saga_killed_at_random_undoes_each_step_once_and_in_reverse_order(
    script: Scripts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, chance = script("06_orders_saga.py", "--orders", str(ORDERS)), random.Random(SEED)
    path, kills = tmp_path / "orders.db", 0
    recorded_at: list[tuple[int, AbstractSet[str]]] = []
    one.begin()
    for _ in range(KILLS):
        one.wait_for_lines("orders.db.outside", len(one.lines("orders.db.outside")) + 2)
        time.sleep(chance.uniform(0, 0.05))
        if one.has_ended:
            break
        one.kill()
        kills += 1
        assert invariants.check_file(path) == []
        calls = len(one.lines("orders.db.outside"))
        recorded_at.append((calls, invariants.take_snapshot(path).steps.keys()))
        one.begin()
    said = one.end(logs=REFUSALS)

    assert kills >= 3
    assert invariants.check_file(path) == []
    for number, line in enumerate(said.splitlines()):
        assert re.fullmatch(rf"order-{number}: {ENDS[number % 4]}", line)
    done = steps_of_orders(path)
    for number in range(ORDERS):
        check_way_back(done[f"order-{number}"], is_undone=number % 4 != 0)
    check_stock(path, done)
    check_outside(one.lines("orders.db.outside"), done, recorded_at)
    with capsys.disabled():
        undone = sum(name in BACK.values() for steps in done.values() for name, _ in steps)
        print(f"\n  {kills} kills, {ORDERS} orders, {undone} steps undone")


def steps_of_orders(path: Path) -> dict[str, Steps]:
    """Return what each order's run has recorded as done, in order: (name, arguments)."""
    rows = in_file(
        path,
        """SELECT run.id, event.name, event.arguments
             FROM durable_event AS event JOIN durable_run AS run ON run.pk = event.run
            WHERE run.workflow = 'place' AND event.kind IN (1, 8) ORDER BY run.pk, event.seq""",
    )
    done: dict[str, Steps] = defaultdict(list)
    for run_id, name, arguments in rows:
        done[run_id].append((name, json.loads(arguments)))
    return done


def check_way_back(steps: Steps, *, is_undone: bool) -> None:
    forth = [name for name, _ in steps if name in BACK]
    back = [name for name, _ in steps if name in BACK.values()]
    assert back == ([BACK[name] for name in reversed(forth)] if is_undone else [])
    reserved = [arguments for name, arguments in steps if name == "reserve"]
    released = [arguments for name, arguments in steps if name == "release"]
    assert released == (reserved[::-1] if is_undone else [])
    shipped = [arguments[1] for name, arguments in steps if name == "ship"]
    recalled = [arguments[1] for name, arguments in steps if name == "recall"]
    assert recalled == (shipped[::-1] if is_undone else [])


def check_stock(path: Path, done: dict[str, Steps]) -> None:
    """The user's rows are the recorded transactions, each once, and the stock is their sum."""
    moved = in_file(path, "SELECT order_id, sku, count FROM movement")
    recorded = [
        (order_id, sku, -count if name == "reserve" else count)
        for steps in done.values()
        for name, arguments in steps
        if name in {"reserve", "release"}
        for order_id, sku, count in [arguments]
    ]
    assert Counter(moved) == Counter(recorded)
    sums = Counter({"tea": 500, "milk": 500, "cup": 500, "lamp": 2})
    for _, sku, count in moved:
        sums[sku] += count
    assert dict(in_file(path, "SELECT sku, left FROM stock")) == dict(sums)


def check_outside(
    calls: list[dict[str, Any]],
    done: dict[str, Steps],
    recorded_at: list[tuple[int, AbstractSet[str]]],
) -> None:
    """No call that was recorded is made again; each compensation has one key."""
    for number, recorded in recorded_at:
        assert not {call["key"] for call in calls[number:]} & recorded
    keys: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for call in calls:
        keys[call["order"], call["what"], call["detail"]].add(call["key"])
    assert all(len(one) == 1 for one in keys.values())
    undone = Counter(name for steps in done.values() for name, _ in steps)
    for what in ("refund", "recall"):
        assert sum(name == what for _, name, _ in keys) == undone[what]


# -- 07: the agent ---------------------------------------------------------------------------------

REPLIES = [
    "It is 18 degrees and sunny, as far as I can tell from here.",
    "It is 42, as far as I can tell from here.",
    "You are very welcome; ask me about sums and the weather.",
]


async def follow(path: Path, seen: list[durable.Item[str]]) -> None:
    """Tail the tokens, from before the first death to the end."""
    while not path.exists():
        await asyncio.sleep(0.002)
    while True:
        try:
            async with durable.Client(path) as client:
                run = await client.get("chat")
                async for item in run.tail(durable.Stream("tokens", str)):
                    seen.append(item)
                return
        except (durable.NotADurableFile, durable.RunNotFound):  # The script has only just begun.
            await asyncio.sleep(0.002)


async def test_an_agent_killed_while_it_speaks_says_the_same(
    script: Scripts, tmp_path: Path
) -> None:
    one = script("07_llm_agent.py")
    seen: list[durable.Item[str]] = []
    async with asyncio.timeout(LIFE_S_MAX):
        tailing = asyncio.ensure_future(follow(tmp_path / "agent.db", seen))
        for count in (2, 9, 30):  # In the first words, in an answer, in the last turn.
            one.begin()
            while len(seen) < count:
                await asyncio.sleep(0.002)
            one.kill()
        one.begin()
        said = await asyncio.to_thread(one.end)
        await tailing

    assert said.splitlines()[1::2] == REPLIES
    assert [item.position for item in seen] == list(range(len(seen)))
    assert any(
        item.index == 0 and item.step == before.step and item.attempt == before.attempt
        for before, item in itertools.pairwise(seen)
    ), "no death fell into an answer"
    assert spoken(seen) == ["I will look.", *REPLIES]
    names = in_file(tmp_path / "agent.db", "SELECT name FROM durable_event WHERE kind = 1")
    assert Counter(name for (name,) in names) == {"ask_model": 5, "weather": 1, "calculate": 1}


def spoken(seen: list[durable.Item[str]]) -> list[str]:
    """Return what each step has said in the end, as docs/messages.md tells readers to."""
    said: dict[tuple[int, str], list[str]] = defaultdict(list)
    for item in seen:
        of_step = said[item.ordinal, item.step]
        del of_step[item.index :]
        of_step.append(item.value)
    return ["".join(one).strip() for one in said.values()]
