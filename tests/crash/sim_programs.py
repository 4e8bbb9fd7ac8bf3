"""What the runs of a simulated world do: random operations, and which values they may have."""

import asyncio
from typing import Any

import durable
from durable import OutcomeUnknown, Retry, Signal, Update, activity, transaction, workflow

DEPTH_MAX = 3
SHORT = Retry(initial_interval=0.05, max_interval=0.5)
LEDGER = "CREATE TABLE ledger (run TEXT, step TEXT, label TEXT)"

number = Signal("number", int)
add = Update("add", int, int)


class body:
    """Notes the beginning and the end of an attempt's body in its world."""

    def __enter__(self):
        self.life = durable.resource("life")
        self.attempt = durable.attempt()
        self.life.world.body_begins(self.life, self.attempt)
        return self.attempt

    def __exit__(self, kind, error, traceback):
        self.life.world.body_ends(self.life, self.attempt, kind)


@activity(retry=SHORT)
async def work(label: str, ms: int, fails: int) -> str:
    with body() as attempt:
        await asyncio.sleep(ms / 1000)
        if attempt.number <= fails:
            raise ConnectionError(f"attempt {attempt.number}")
        return f"{label} done"


@activity(at_most_once=True)
async def once(label: str, ms: int) -> str:
    with body():
        await asyncio.sleep(ms / 1000)
        return f"{label} done"


@transaction(retry=SHORT)
def book(cursor: durable.Cursor, label: str, fails: int) -> str:
    attempt = durable.attempt()
    cursor.execute("INSERT INTO ledger VALUES (?, ?, ?)", (attempt.run_id, attempt.step_id, label))
    if attempt.number <= fails:
        raise ConnectionError(f"attempt {attempt.number}")
    return f"{label} booked"


async def perform(op):
    match op:
        case ["work", label, ms, fails]:
            return await work(label, ms, fails)
        case ["once", label, ms]:
            try:
                return await once(label, ms)
            except OutcomeUnknown:
                return "unknown"
        case ["book", label, fails]:
            return await book(label, fails)
        case ["sleep", seconds]:
            await asyncio.sleep(seconds)
            return "slept"
        case ["receive"]:
            return await number.receive()
        case ["child", ops]:
            return await plays(ops)
        case ["within", seconds, inner]:
            try:
                async with asyncio.timeout(seconds):
                    return await perform(inner)
            except TimeoutError:
                return "late"
        case ["all", *ops]:
            return await asyncio.gather(*map(perform, ops))
        case ["one after another", *ops]:
            return [await perform(one) for one in ops]
    raise AssertionError(op)


@workflow
async def plays(ops: list[Any]) -> list[Any]:
    return [await perform(op) for op in ops]


@workflow
async def counts(count: int) -> int:
    total = 0

    @add.handler
    async def on_add(value: int) -> int:
        nonlocal total
        await book(f"add {value}", value % 2)
        total += 1
        return 2 * value

    await durable.wait_until(lambda: total == count)
    return total


@workflow
async def goes_on(left: int, found: list[Any]) -> list[Any]:
    found = [*found, await number.receive()]
    if left > 1:
        durable.continue_as_new(left - 1, found)
    return found


FUNCTIONS = [plays, counts, goes_on]


def fits(op, value):
    """Say whether a value is one that an operation may have."""
    match op:
        case ["work", label, *_]:
            return value == f"{label} done"
        case ["once", label, _]:
            return value in (f"{label} done", "unknown")
        case ["book", label, _]:
            return value == f"{label} booked"
        case ["sleep", _]:
            return value == "slept"
        case ["receive"]:
            return isinstance(value, int)
        case ["child", ops]:
            return fits(["all", *ops], value)
        case ["within", _, inner]:
            return value == "late" or fits(inner, value)
        case ["all" | "one after another", *ops]:
            return isinstance(value, list) and len(value) == len(ops) and all(map(fits, ops, value))
    raise AssertionError(op)


class Plans:
    """Makes random operations."""

    def __init__(self, chance):
        self._chance = chance
        self._labels = 0

    def op(self, depth):
        chance = self._chance
        self._labels += 1
        label = f"s{self._labels}"
        kinds = ["work", "work", "work", "once", "book", "book", "sleep"]
        if depth < DEPTH_MAX:
            kinds += ["child", "within", "all", "one after another"]
        match chance.choice(kinds):
            case "work":
                fails = chance.choice([0, 0, 0, 1, 2])
                return ["work", label, chance.choice([0, 1, 30, 400]), fails]
            case "once":
                return ["once", label, chance.choice([0, 5, 300])]
            case "book":
                return ["book", label, chance.choice([0, 0, 1])]
            case "sleep":
                return ["sleep", chance.choice([0, 0.01, 0.9, 1.5, 4, 12])]
            case "child":
                return ["child", self.ops(depth + 1, 2)]
            case "within":
                return ["within", chance.choice([0.05, 0.5, 2]), self.op(depth + 1)]
            case kind:
                return [kind, *self.ops(depth + 1, 3)]

    def ops(self, depth, most):
        return [self.op(depth) for _ in range(self._chance.randint(1, most))]
