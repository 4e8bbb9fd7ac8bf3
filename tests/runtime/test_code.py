"""Which code ran what, and the life of a patch: introduced, waited out, removed; in all modes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import durable
from durable import Workflow, activity, workflow
from durable.testing import Harness, ManualClock

Code = Workflow[[int], list[str]]


@activity
async def do(what: str) -> str:
    return what


def before() -> Code:
    @workflow(name="order")
    async def order(number: int) -> list[str]:
        done = [await do("reserve")]
        await durable.sleep(10)
        first, second = await asyncio.gather(branch(done), do("label"))
        await durable.sleep(10)
        return [*done, first, second, await do("charge")]

    async def branch(done: list[str]) -> str:
        return await do("pack")

    return order


def introduced() -> Code:
    @workflow(name="order")
    async def order(number: int) -> list[str]:
        """Ask the fraud desk first."""
        done = [await do("reserve")]
        await durable.sleep(10)
        first, second = await asyncio.gather(branch(done), do("label"))
        await durable.sleep(10)
        return [*done, first, second, await do("charge")]

    async def branch(done: list[str]) -> str:
        if durable.patched("fraud"):
            done.append(await do("ask"))
        return await do("pack")

    return order


def removed() -> Code:
    @workflow(name="order")
    async def order(number: int) -> list[str]:
        done = [await do("reserve")]
        await durable.sleep(10)
        first, second = await asyncio.gather(branch(done), do("label"))
        await durable.sleep(10)
        return [*done, first, second, await do("charge")]

    async def branch(done: list[str]) -> str:
        done.append(await do("ask"))
        return await do("pack")

    return order


OLD = ["reserve", "pack", "label", "charge"]
NEW = ["reserve", "ask", "pack", "label", "charge"]


async def play_until(path: Any, code: Code, run_id: str, events: int) -> ManualClock:
    """Start a run, and leave it once it has so many events."""
    clock = ManualClock(jumps=False)
    async with Harness(path, functions=[code], clock=clock) as harness:
        run = await harness.start(code.options(id=run_id), 1)
        while (await run.details()).events < events:
            await asyncio.sleep(0)
            if harness.engine._running().timers.next_due_us() is not None:
                clock.advance(10)
                harness.engine._running().timers.fire_due()
    clock.jumps = True
    return clock


async def finish(path: Any, mode: Any, code: Code, run_id: str, clock: ManualClock) -> list[str]:
    async with Harness(path, mode, functions=[code], clock=clock) as harness:
        harness.started.append(code)
        found: list[str] = await harness.finish(await harness.engine.get(run_id))
        return found


@pytest.mark.parametrize("mode", ["warm", "replay", "restart"])
@pytest.mark.parametrize(
    ("start", "events", "then", "result"),
    [
        (before, 1, introduced, NEW),  # Not there yet: the place is reached by today's code.
        (before, 2, introduced, OLD),
        (before, 4, introduced, OLD),
        (introduced, 2, removed, NEW),
        (introduced, 5, removed, NEW),
        (introduced, 5, introduced, NEW),
        (before, 1, removed, NEW),
    ],
)
async def test_a_patch_is_introduced_and_removed_under_runs(
    tmp_path, mode, start: Callable[[], Code], events, then: Callable[[], Code], result
):
    clock = await play_until(tmp_path / "app.db", start(), "x", events)

    assert sorted(await finish(tmp_path / "app.db", mode, then(), "x", clock)) == sorted(result)


async def test_one_removed_too_early_blocks_those_left_behind_and_they_are_found(tmp_path):
    path = tmp_path / "app.db"
    await play_until(path, before(), "old", 4)
    new = introduced()
    async with durable.Client(path) as client:
        await (await client.get("old")).pause()  # It is open still, and does nothing.
    async with Harness(path, functions=[new], clock=ManualClock(jumps=False)) as harness:
        run = await harness.start(new.options(id="new"), 1)
        clock_2 = harness.clock
        while (await run.details()).events < 6:
            await asyncio.sleep(0)
            if harness.engine._running().timers.next_due_us() is not None:
                clock_2.advance(10)
                harness.engine._running().timers.fire_due()
        left = await harness.engine.list("status:open workflow:order -patch:fraud")
        assert [one.id for one in left] == ["old"]
        assert [one.id for one in await harness.engine.list("patch:fr*")] == ["new"]

    misfits = list(durable.Engine(path, functions=[removed()]).check())
    assert [None if one is None else one.run for one in misfits] == [None, "old"]


async def test_the_ids_of_other_tasks_stay_what_they_were(tmp_path):
    path = tmp_path / "app.db"
    await play_until(path, before(), "old", 4)
    code = introduced()
    async with Harness(path, functions=[code]) as harness:
        await harness.engine.start(code.options(id="new"), 1)
        await harness.finish(await harness.engine.get("new"))
        ids = {}
        for run_id in ("old", "new"):
            run = await harness.engine.get(run_id)
            await harness.finish(run)
            steps = (await run.details()).steps
            ids[run_id] = {one.arguments: one.step for one in steps if one.kind == "activity"}
    asked = ids["new"].pop('["ask"]')
    packed = (ids["old"].pop('["pack"]'), ids["new"].pop('["pack"]'))

    assert ids["old"] == ids["new"]
    assert (asked, packed) == ("1.1", ("1.1", "1.2"))


# -- which code ran what ---------------------------------------------------------------------------


async def test_each_step_says_which_code_went_through_it(tmp_path):
    path = tmp_path / "app.db"
    first, second = before(), introduced()
    clock = await play_until(path, first, "x", 2)
    await finish(path, "warm", second, "x", clock)

    with durable.view(path) as runs:
        found = runs.get("x")

    assert [(one.code, one.event) for one in found.codes] == [
        (first.fingerprint, 1), (second.fingerprint, 3)
    ]  # fmt: skip
    assert [one.code for one in found.steps] == [
        *[first.fingerprint] * 2, *[second.fingerprint] * (len(found.steps) - 2)
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["warm", "replay", "restart"])
async def test_one_code_from_begin_to_end_is_stored_once(tmp_path, mode):
    code = before()
    async with Harness(tmp_path / "app.db", mode, functions=[code]) as harness:
        await harness.run(code.options(id="x"), 1)
    with durable.view(tmp_path / "app.db") as runs:
        assert [one.event for one in runs.get("x").codes] == [1]
        assert runs._reader.code_spans(1) == []


async def test_a_new_ordinal_keeps_which_code_went_through_what_it_keeps(tmp_path):
    path, first, second = tmp_path / "app.db", before(), introduced()
    clock = await play_until(path, first, "x", 2)
    await finish(path, "warm", second, "x", clock)
    async with Harness(path, functions=[first], clock=clock) as harness:
        again = await (await harness.engine.get("x")).restart("event:5")
        await harness.finish(again)
        codes = (await again.details()).codes

        assert [(one.code, one.event) for one in codes] == [
            (first.fingerprint, 1), (second.fingerprint, 3), (first.fingerprint, 5)
        ]  # fmt: skip
        assert await (await harness.engine.get("x#1")).remove() == 1
        assert harness.engine._reader.code_spans(1) == []
