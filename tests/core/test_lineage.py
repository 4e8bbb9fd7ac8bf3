"""Law 4: a step's id is the path of its task and the number of the call in it, both from 1."""

import asyncio
import contextvars

import anyio
import pytest

from durable._core.lineage import Lineage
from tests.core.feeding import act, listener, loop, mailbox, started


def test_the_main_task_numbers_its_calls_from_1():
    async def code():
        await asyncio.gather(act("a"), act("b"), act("c"))

    assert started(code).waits == ["1", "2", "3"]


def test_a_call_of_a_task_is_named_by_the_path_of_the_task():
    async def calls():
        await asyncio.gather(act("a"), act("b"), act("c"))

    async def makes_one():
        async with asyncio.TaskGroup() as group:
            group.create_task(calls())

    async def code():
        async with asyncio.TaskGroup() as group:
            group.create_task(act_once())
            group.create_task(makes_one())

    async def act_once():
        await act("first")

    assert started(code).waits == ["1.1", "2/1.1", "2/1.2", "2/1.3"]


def test_calls_tasks_timers_writes_and_dropped_generators_count_on_their_own():
    lineage = Lineage("2")

    ids = [
        lineage.next_call(),
        lineage.next_timer(),
        lineage.next_write(),
        lineage.child().path,
        lineage.closer().path,
        lineage.next_call(),
        lineage.next_timer(),
        lineage.next_write(),
        lineage.child().path,
        lineage.closer().path,
    ]

    assert ids == ["2.1", "2!t1", "2!w1", "2/1", "2~1", "2.2", "2!t2", "2!w2", "2/2", "2~2"]


def test_the_root_has_no_path_of_its_own():
    root = Lineage("")

    ids = [
        root.next_call(),
        root.next_timer(),
        root.next_write(),
        root.child().path,
        root.closer().path,
    ]

    assert ids == ["1", "!t1", "!w1", "1", "~1"]


def test_a_timeout_around_a_call_renames_nothing():
    async def plain():
        await act("a")
        await asyncio.gather(act("b"), act("c"))

    async def with_timeouts():
        async with asyncio.timeout(60):
            await act("a")
        async with asyncio.timeout(60):
            await asyncio.gather(act("b"), act("c"))

    one, other = started(plain), started(with_timeouts)
    one.complete("1")
    other.complete("1")

    assert one.waits == ["2", "3"]
    assert other.waits == ["!t2", "2", "3"]


def test_wait_for_renames_nothing():
    # It makes a task for itself on CPython 3.11, and none from 3.12 on.
    async def calls():
        await act("a")
        await act("b")

    async def code():
        await asyncio.wait_for(calls(), 60)
        await act("c")

    fed = started(code)
    begun = fed.waits
    fed.complete("1")
    fed.complete("2")

    assert begun == ["!t1", "1"]
    assert fed.waits == ["3"]


def test_a_call_is_numbered_when_its_task_gets_to_it():
    async def slow():
        await act("slow first")
        await act("slow second")

    async def code():
        task = asyncio.create_task(slow())
        await act("main first")
        await act("main second")
        await task

    fed = started(code)
    fed.complete("1")
    fed.complete("1.1")

    assert fed.waits == ["1.2", "2"]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_order_in_which_branches_end_renames_nothing(order):
    async def branch(name):
        await act(name)
        await act(f"{name} again")

    async def code():
        await asyncio.gather(branch("a"), branch("b"))

    fed = started(code)
    for name in order:
        fed.complete({"a": "1.1", "b": "2.1"}[name])

    assert {step.step_id: step.name for step in fed.loop.steps.values()} == {
        "1.2": "a again",
        "2.2": "b again",
    }


def test_tasks_of_anyio_are_named_as_those_of_asyncio():
    async def branch():
        await act("x")

    async def code():
        async with anyio.create_task_group() as group:
            group.start_soon(branch)
            group.start_soon(branch)

    assert started(code).waits == ["1.1", "2.1"]


def test_a_shared_context_does_not_mix_up_two_tasks():
    async def branch():
        await act("x")

    async def code():
        shared = contextvars.copy_context()
        await asyncio.gather(
            asyncio.create_task(branch(), context=shared),
            asyncio.create_task(branch(), context=shared),
        )

    assert started(code).waits == ["1.1", "2.1"]


def test_a_handler_is_named_by_its_message_and_renames_nothing():
    async def handle(value):
        await act("noted", value)

    async def code():
        mailbox().on_signal("stop", listener(handle))
        mailbox().on_update("add", listener(handle))
        await act("a")
        await act("b")

    fed = started(code)
    fed.signal("stop", 1)
    fed.signal("stop", 2)
    fed.update("u-1", "add", 3)
    fed.complete("1")

    assert fed.waits == ["2", "signal:stop#1.1", "signal:stop#2.1", "update:u-1.1"]


def test_an_item_is_named_by_its_call_and_its_index():
    async def item(call, index):
        loop().enter_lineage(f"{call}[{index}]")
        await act("first")
        await act("second")

    async def code():
        await act("before")
        call = loop().lineage().next_call()
        async with asyncio.TaskGroup() as group:
            for index in range(3):
                group.create_task(item(call, index))

    fed = started(code)
    fed.complete("1")
    fed.complete("2[1].1")

    assert fed.waits == ["2[0].1", "2[1].2", "2[2].1"]


def test_a_callback_asks_in_the_name_of_whoever_scheduled_it():
    async def branch():
        done = asyncio.Event()
        loop().call_soon(lambda: act("asked by a callback").add_done_callback(lambda _: done.set()))
        await done.wait()

    async def code():
        await asyncio.create_task(branch())

    assert started(code).waits == ["1.1"]
