"""What code asks for in one drain: each command once, in the order of asking, under its key."""

import asyncio

from durable._core.commands import AppendItem, SetValue
from durable._core.events import Kind
from tests.core.feeding import (
    SECOND_US,
    Fed,
    act,
    driver,
    listener,
    loop,
    mailbox,
    replayed,
    started,
)


def test_what_is_asked_for_comes_in_the_order_of_asking():
    async def code():
        second = act("b")
        async with asyncio.timeout(5):
            await act("a")
        await second

    assert Fed(code).start() == ["run 1 b", f"arm !t1 {5 * SECOND_US}", "run 2 a"]


def test_what_was_asked_for_is_not_asked_for_again_by_the_next_drain():
    async def code():
        await asyncio.gather(act("a"), act("b"))

    fed = Fed(code)

    assert fed.start() == ["run 1 a", "run 2 b"]
    assert fed.complete("1") == []


def test_a_step_says_what_to_perform():
    async def code():
        await act("charge", 42)

    fed = Fed(code)
    (step,) = fed.driver.start()

    assert step is fed.loop.steps["1"]
    assert (step.name, step.arguments, step.kind) == ("charge", b"[42]", Kind.COMPLETED)


def test_a_step_that_ends_needs_no_drop():
    async def code():
        await act("a")
        await act("b")

    fed = started(code)

    assert fed.complete("1") == ["run 2 b"]


def test_a_cancelled_step_is_dropped_once():
    async def code():
        step = act("a")
        step.cancel()
        step.cancel()
        await act("b")

    assert Fed(code).start() == ["run 1 a", "drop 1", "run 2 b"]


def test_a_timer_that_is_not_needed_any_more_is_disarmed_once():
    async def code():
        timer = loop().call_later(5, print)
        timer.cancel()
        timer.cancel()
        await act("a")

    assert Fed(code).start() == [f"arm !t1 {5 * SECOND_US}", "disarm !t1", "run 1 a"]


def test_a_timer_that_fired_needs_no_disarming():
    async def code():
        async with asyncio.timeout(5):
            await act("a")

    fed = started(code)

    assert fed.fire("!t1") == ["drop 1"]


def test_a_patch_is_marked_once_per_run_and_name():
    async def code():
        assert driver().patched("new")
        assert driver().patched("new")
        await act("a")

    assert Fed(code).start() == ["patch new", "run 1 a"]


def test_a_patch_of_the_history_is_not_marked_again():
    async def code():
        assert driver().patched("new")
        await act("a")
        assert driver().patched("new")
        await act("b")

    fed = started(code)
    fed.deliver(Kind.PATCHED, name="new")
    fed.complete("1")

    again = replayed(code, fed.history)

    assert again.waits == ["2"]
    assert again.loop.commands == []


def test_values_and_items_go_out_with_the_drain_that_wrote_them():
    async def code():
        await act("a")
        loop().record(SetValue("state", b'"on"'), "value")
        for item in (b"1", b"2"):
            loop().record(AppendItem("words", loop().lineage().next_write(), item), "stream")
        await act("b")

    fed = started(code)

    assert fed.complete("1") == [
        'set state "on"',
        "append words !w1 1",
        "append words !w2 2",
        "run 2 b",
    ]


def test_an_answer_goes_out_with_the_drain_that_made_it():
    async def doubles(value):
        return value * await act("factor")

    async def code():
        mailbox().on_update("double", listener(doubles))
        await act("end")

    fed = started(code)

    assert fed.update("u", "double", 4) == ["run update:u.1 factor"]
    assert fed.complete("update:u.1", 2) == ["answer u double 8"]


def test_a_replay_asks_again_for_whatever_has_no_end_yet():
    async def code():
        pending = act("a")
        async with asyncio.timeout(5):
            await act("b")
        await asyncio.gather(pending, act("c"))

    fed = started(code)
    fed.complete("2")

    again = replayed(code, fed.history)

    assert again.waits == fed.waits == ["1", "3"]
