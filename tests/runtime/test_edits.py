"""Every single edit of a workflow at every position, with a run in flight at every position.

A run in flight either goes on and ends as the edited code says, with what was recorded, or it
is blocked at the first place where code and history part, with both sides. It never ends with a
wrong result, and never looks as if it went on.
"""

import ast
import asyncio
import contextlib
import os
import textwrap
from typing import Any

import pytest

import durable
from durable import Signal
from durable.testing import ManualClock

# One line a step: two in a row, three at once, a timer, a signal, a child.
STEPS = (
    'found.append(await call("a", found[-1]))',
    'found.append(await call("b", found[-1]))',
    'found += await asyncio.gather(call("c", 1), call("d", 2), call("e", 3))',
    "await asyncio.sleep(60)",
    "found.append(await go.receive())",
    "found.append(await child(found[-1]))",
    'found.append(await call("f", found[-1]))',
    'found.append(await call("g", 7))',
)
EDITS = ("insert", "remove", "rename", "reorder", "arguments", "type")
RENAMED = {3: "await receives(4)", 4: "found.append(await other_signal.receive())"}
# `make crash` lets a run wait at each position for each edit, and prints the whole matrix.
EVERY_HALT = os.environ.get("DURABLE_EDITS") == "all"
go = Signal("go", int)
other_signal = Signal("other", int)
text_go = Signal("go", str)
calls: list[str] = []


def edited(edit: str, at: int) -> tuple[str, ...]:
    """Return the steps after one edit at a position."""
    steps = list(STEPS)
    line = steps[at]
    match edit:
        case "insert":
            steps.insert(at, 'found.append(await call("new", 0))')
        case "remove":
            del steps[at]
        case "reorder":
            other = (at + 1) % len(steps)
            steps[at], steps[other] = steps[other], steps[at]
        case "rename":
            steps[at] = RENAMED.get(at) or line.replace("call(", "again(").replace(
                "child(", "other_child("
            )
        case "arguments":
            steps[at] = (
                line.replace('call("', 'call("x').replace("(found[-1])", "(found[-1] + 1)")
                .replace("60", "120").replace("go.receive()", "go.receive(timeout=600)")
            )  # fmt: skip
        case "type":
            steps[at] = line.replace("call(", "text(").replace("child(", "text_child(").replace(
                "go.receive()", "text_go.receive()"
            )  # fmt: skip
    return tuple(steps)


def halts_of(at: int) -> list[int]:
    """Return where runs wait: before and after the edit, and at both ends; or anywhere."""
    if EVERY_HALT:
        return list(range(len(STEPS) + 1))
    return sorted({0, at, at + 1, len(STEPS)})


def compiled(steps: tuple[str, ...], halt: int | None = None) -> dict[str, Any]:
    """Make the workflow of these steps, with what it calls; with ``halt`` it waits there."""
    lines = list(steps)
    if halt is not None:
        lines.insert(halt, "await halted.receive()")
    source = textwrap.dedent(
        """
        import asyncio
        import durable
        from durable import Signal, activity, workflow

        go, other_signal = Signal("go", int), Signal("other", int)
        text_go, halted = Signal("go", str), Signal("halted", int)

        @activity
        async def call(name: str, value: int) -> int:
            calls.append(name)
            return value + 1

        @activity
        async def again(name: str, value: int) -> int:
            return value + 1

        @activity(name="call")
        async def text(name: str, value: int) -> str:
            return str(value + 1)

        @workflow
        async def child(value: int) -> int:
            return value * 2

        @workflow
        async def other_child(value: int) -> int:
            return value * 2

        @workflow
        async def receives(value: int) -> int:
            return value

        @workflow(name="child")
        async def text_child(value: int) -> str:
            return str(value * 2)

        @workflow
        async def edited(start: int) -> list:
            found = [start]
        {lines}
            return found
        """
    ).format(lines="\n".join(f"    {line}" for line in lines))
    ast.parse(source)
    names: dict[str, Any] = {"calls": calls, "__name__": "edited_code"}
    code = compile(source, "app.py", "exec")
    exec(code, names)
    return names


def functions_of(names: dict[str, Any], steps: tuple[str, ...]) -> list[Any]:
    text = "\n".join(steps)
    child = names["text_child"] if "text_child(" in text else names["child"]
    return [names["edited"], names["other_child"], names["receives"], child]


async def ended(engine: Any, run: Any) -> str:
    """Wait until a run has ended or is blocked, and say which."""
    while True:
        status: str = await run.status()
        if status in {"completed", "failed", "blocked"}:
            return status
        try:
            async with asyncio.timeout(10):
                await engine._running().wait(run._pk)
        except TimeoutError:
            return status


async def right_of(path: Any, steps: tuple[str, ...]) -> Any:
    """Return what a run of these steps gives from the start, or its error."""
    names = compiled(steps)
    async with durable.Engine(
        path, functions=functions_of(names, steps), clock=ManualClock(), durability="normal"
    ) as engine:
        run = await engine.start(names["edited"].options(id="right"), 1)
        await talk(run, steps)
        try:
            async with asyncio.timeout(20):
                return await run.result()
        except durable.RunFailed as error:
            return type(error.__cause__).__name__


async def talk(run: Any, steps: tuple[str, ...] = ()) -> None:
    with contextlib.suppress(durable.UsageError):
        await run.signal(go, 5)
        await run.signal(other_signal, 5)
        if "text_go" in "".join(steps):  # The number is a dead letter to it.
            await run.signal(text_go, "5")


async def outcome_of(tmp_path: Any, steps: tuple[str, ...], halt: int) -> tuple[str, Any, Any]:
    """Let a run of the original come to a position, and go on with edited code.

    Returns:
        Its status, its result or why it is blocked, and its difference.
    """
    path = tmp_path / "app.db"
    calls.clear()
    names = compiled(STEPS, halt)
    async with durable.Engine(
        path, functions=functions_of(names, STEPS), clock=ManualClock(), durability="normal"
    ) as engine:
        run = await engine.start(names["edited"].options(id="x"), 1)
        await talk(run)
        while not await waits(run):
            await asyncio.sleep(0)
    names = compiled(steps)
    async with durable.Engine(
        path, functions=functions_of(names, steps), clock=ManualClock(), durability="normal"
    ) as engine:
        run = await engine.get("x")
        if "text_go" in "".join(steps):
            await talk(run, steps)
        status = await ended(engine, run)
        details = await run.details()
        if status == "completed":
            return status, await run.result(), None
        return status, details.why, details.difference


async def waits(run: Any) -> bool:
    """Say whether the run waits at its halt."""
    worker = run._client._worker
    live = worker.live.get(run._pk)
    return live is not None and "halted" in live.driver.mailbox.awaited and not live.uncommitted


async def row_of(tmp_path: Any, edit: str, at: int) -> list[str]:
    """Return the row of the matrix: what becomes of a run in flight at each position."""
    steps = edited(edit, at)
    fresh = await right_of(tmp_path / "fresh.db", steps)
    cells: list[str] = []
    for halt in halts_of(at):
        folder = tmp_path / str(halt)
        folder.mkdir()
        status, said, difference = await outcome_of(folder, steps, halt)
        assert status in {"completed", "blocked", "failed"}, (edit, at, halt, status)
        if status == "completed":
            assert said == fresh, (edit, at, halt)
            assert len(calls) == len(set(calls)), (edit, at, halt, calls)
        elif status == "failed":
            assert isinstance(fresh, str), (edit, at, halt, said)
        else:
            assert difference is not None, (edit, at, halt, said)
            assert difference.recorded
            assert difference.code
            assert halt > at or (edit == "reorder" and at == len(STEPS) - 1), (edit, at, halt)
        cells.append({"completed": "ok", "blocked": "B", "failed": "f"}[status])
    return cells


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("at", range(len(STEPS)))
async def test_an_edited_run_ends_right_or_is_blocked_with_the_difference(tmp_path, edit, at):
    cells = await row_of(tmp_path, edit, at)

    print(f"{edit:<10} step {at + 1}: {' '.join(f'{cell:>2}' for cell in cells)}")
