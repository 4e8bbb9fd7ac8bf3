"""The loop is the history's: cancellation, order, generators, time, budget, host, eviction."""

import asyncio
import contextlib
import contextvars
import gc
import sys
import weakref

import anyio
import pytest

from durable._core.commands import SetValue
from durable._core.driver import Completed, Driver, Failed
from durable._core.events import Kind
from durable._core.loop import UNSEEN_FAILURES_MAX, Evicted
from durable.errors import Blocked
from tests.core.feeding import SECOND_US, Fed, act, listener, loop, mailbox, replayed, started

# -- law 7: cancellation passes through at once ----------------------------------------------------


def test_a_timeout_of_asyncio_ends_in_the_drain_of_its_timer():
    async def code():
        try:
            async with asyncio.timeout(5):
                await act("slow")
        except TimeoutError:
            return "late"

    fed = started(code)

    assert fed.fire("!t1") == ["drop 1"]
    assert fed.outcome == Completed("late")


def test_a_timeout_of_anyio_ends_in_the_drain_of_its_timer():
    async def code():
        try:
            with anyio.fail_after(5):
                await act("slow")
        except TimeoutError:
            return "late"

    fed = started(code)

    assert "drop 1" in fed.fire("!t1")
    assert fed.outcome == Completed("late")


def test_a_scope_of_anyio_that_moves_on_cancels_all_that_is_in_it():
    async def code():
        with anyio.move_on_after(5) as scope:
            await asyncio.gather(act("a"), act("b"))
        return scope.cancelled_caught

    fed = started(code)
    asked = fed.fire("!t1")

    assert {"drop 1", "drop 2"} <= set(asked)
    assert fed.outcome == Completed(True)


@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
def test_a_failure_in_a_task_group_cancels_the_others_at_once(kind):
    async def branch(name):
        await act(name)

    async def code():
        if kind == "asyncio":
            async with asyncio.TaskGroup() as group:
                group.create_task(branch("a"))
                group.create_task(branch("b"))
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(branch, "a")
                group.start_soon(branch, "b")

    fed = started(code)

    assert fed.fail("1.1", ValueError("no")) == ["drop 2.1"]
    assert isinstance(fed.outcome, Failed)
    assert fed.outcome.origin == 1


def test_what_ends_in_the_turn_in_which_its_timeout_falls_due_has_ended_in_time():
    async def code():
        async with asyncio.timeout(5):
            return await act("a")

    fed = started(code)
    fed.complete("1", "in time", at_us=5 * SECOND_US)

    assert fed.outcome == Completed("in time")


# -- law 8: iteration order is ours ----------------------------------------------------------------


def order_of_a_set(salt):
    found = []

    async def code():
        futures = {asyncio.get_running_loop().create_future(): name for name in "abcdefgh"}
        found.extend(futures[one] for one in set(futures))
        await act("a")

    started(code, salt=salt)
    return "".join(found)


def test_sets_of_futures_are_in_the_same_order_under_the_same_salt():
    first = order_of_a_set(1)
    junk = [object() for _ in range(1000)]  # Other addresses for what is made now.

    assert order_of_a_set(1) == first
    assert len(junk) == 1000


def test_the_salt_spreads_the_hashes_of_runs():
    hashes = {Fed(anyio.sleep_forever, salt=salt).loop.hash_of(1) for salt in range(1000)}

    assert len(hashes) == 1000


@pytest.mark.parametrize("kind", ["task", "future", "step", "scope"])
def test_what_asyncio_and_anyio_put_into_sets_hashes_by_creation(kind):
    found = []

    async def nothing():
        pass

    async def code():
        made = {
            "task": lambda: asyncio.create_task(nothing()),
            "future": loop().create_future,
            "step": lambda: act("a"),
            "scope": anyio.CancelScope,
        }[kind]()
        found.append(hash(made))
        await act("end")

    for _ in range(2):
        started(code)

    assert found[0] == found[1]


def test_as_completed_over_coroutines_is_refused_and_names_the_cure():
    async def branch():
        await act("a")

    async def code():
        coroutines = [branch(), branch()]
        try:
            for one in asyncio.as_completed(coroutines):
                await one
        finally:
            for one in coroutines:
                one.close()

    with pytest.raises(Blocked, match=r"use durable\.as_completed") as caught:
        started(code)

    assert caught.value.kind == "not-durable"


def test_what_cannot_be_replayed_blocks_the_run_even_if_the_refusal_is_swallowed():
    async def code():
        with contextlib.suppress(Exception):
            await asyncio.to_thread(print)
        await act("a")

    with pytest.raises(Blocked, match=r"was called inside a workflow \(.*test_loop.py:\d+\)"):
        started(code)


# -- law 9: generators -----------------------------------------------------------------------------


async def numbers():
    try:
        while True:
            yield await act("next")
    finally:
        await act("clean up")


def test_a_dropped_generator_is_closed_in_the_drain_that_dropped_it():
    async def code():
        async for _ in numbers():
            break
        await act("after")

    fed = started(code)

    assert fed.complete("1") == ["run 2 after", "run ~1.1 clean up"]
    assert replayed(code, fed.history).waits == ["2", "~1.1"]


def test_a_generator_that_only_the_collector_finds_is_closed_at_the_end_of_the_run():
    async def code():
        generator = numbers()
        box = [generator]
        box.append(box)
        await anext(generator)
        del generator, box
        gc.collect()
        await act("after")

    fed = started(code)

    assert fed.complete("1") == ["run 2 after"]
    assert fed.complete("2") == []
    assert fed.evict() == []


# -- law 10: time ----------------------------------------------------------------------------------


def test_time_is_the_seconds_since_the_start_of_the_run_and_moves_with_events_only():
    seen = []

    async def code():
        for name in "ab":
            seen.append(loop().time())
            await act(name)
            seen.append(loop().time())

    fed = started(code)
    fed.complete("1", at_us=1_500_000)
    fed.complete("2", at_us=1_500_007)

    assert seen == [0.0, 1.5, 1.5, 1.500007]


@pytest.mark.parametrize(
    ("delay", "due_us"),
    [(1, 1_000_000), (0.0000001, 1), (1.0000004, 1_000_001), (3600.1, 3600100000)],
)
def test_due_times_are_rounded_up_to_microseconds(delay, due_us):
    async def code():
        await asyncio.sleep(delay)

    assert Fed(code).start() == [f"arm !t1 {due_us}"]


@pytest.mark.parametrize("at_us", [0, 4_999_999])
def test_a_timer_that_fires_sets_the_clock_to_its_due_time_at_least(at_us):
    async def code():
        await asyncio.sleep(5)
        return loop().time()

    fed = started(code)
    fed.fire("!t1", at_us=at_us)

    assert fed.outcome == Completed(5.0)


def test_the_clock_never_goes_back():
    async def code():
        await act("a")
        first = loop().time()
        await act("b")
        return first, loop().time()

    fed = started(code)
    fed.complete("1", at_us=7 * SECOND_US)
    fed.complete("2", at_us=3 * SECOND_US)

    assert fed.outcome == Completed((7.0, 7.0))


@pytest.mark.parametrize("delay", [0, -1])
def test_what_is_due_when_asked_for_needs_no_timer(delay):
    async def code():
        await asyncio.sleep(delay)
        ran = asyncio.Event()
        loop().call_later(delay, ran.set)
        await ran.wait()

    fed = Fed(code)

    assert fed.start() == []
    assert fed.outcome == Completed(None)


@pytest.mark.parametrize("when", [float("nan"), float("inf")])
def test_a_timer_is_due_at_some_time(when):
    async def code():
        loop().call_at(when, print)

    outcome = started(code).outcome

    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ValueError)


# -- law 11: a drain has a budget ------------------------------------------------------------------


async def turn(times):
    for _ in range(times):
        await asyncio.sleep(0)


def test_code_that_turns_for_ever_and_waits_for_nothing_is_blocked_with_its_stack():
    async def code():
        await turn(1_000_000)

    with pytest.raises(Blocked, match="endless loop") as caught:
        started(code)

    assert caught.value.kind == "endless"
    assert "test_loop.py" in str(caught.value)


@pytest.mark.parametrize(("turns", "fits"), [(197, True), (198, True), (199, False)])
def test_the_budget_counts_callbacks_without_a_new_command(turns, fits):
    async def code():
        await turn(turns)
        return "done"

    if fits:
        assert started(code, budget=200).outcome == Completed("done")
    else:
        with pytest.raises(Blocked, match="ran 200 callbacks"):
            started(code, budget=200)


def test_a_new_command_fills_the_budget_up():
    async def code():
        for name in "abc":
            await turn(150)
            act(name)
        await turn(150)

    fed = Fed(code, budget=200)

    assert fed.start() == ["run 1 a", "run 2 b", "run 3 c"]


def test_what_is_left_over_runs_with_the_next_event_if_the_run_waits_for_something():
    async def code():
        step = act("a")
        await turn(300)
        act("turned")
        await step

    fed = Fed(code, budget=200)

    assert fed.start() == ["run 1 a"]
    assert fed.complete("1") == ["run 2 turned"]
    assert replayed(code, fed.history, budget=200).outcome == fed.outcome == Completed(None)


@pytest.mark.parametrize(("events", "blocked"), [(2, False), (3, True)])
def test_drains_that_never_come_to_rest_block_the_run_at_their_limit(events, blocked):
    async def code():
        mailbox().on_signal("s", listener(lambda _: None))
        step = act("a")
        await turn(1_000_000)
        await step

    fed = started(code, budget=200, stalled_drains_max=3)
    for value in range(events - 1):
        fed.signal("s", value)

    if blocked:
        with pytest.raises(Blocked, match="never came to rest"):
            fed.signal("s", 9)
    else:
        assert fed.signal("s", 9) == []


# -- law 12: the host is left untouched ------------------------------------------------------------

known = contextvars.ContextVar("known", default="nothing")


async def test_a_drain_leaves_the_hosts_loop_task_hooks_and_context_as_they_were():
    inside = []

    async def code():
        inside.append((asyncio.get_running_loop(), known.get()))
        known.set("the run's")
        async for _ in numbers():
            break
        await act("after")

    known.set("the host's")
    host = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()

    fed = started(code)
    fed.complete("1")
    fed.evict()

    assert inside == [(fed.loop, "nothing")]
    assert host == (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks())
    assert known.get() == "the host's"


async def test_a_drain_that_blocks_leaves_the_host_as_it_was():
    async def code():
        await turn(1_000_000)

    host = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()

    with pytest.raises(Blocked):
        started(code)

    assert host == (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks())


def test_two_runs_do_not_see_each_other():
    async def code():
        seen = known.get()
        known.set("set")
        await act("a")
        return seen, known.get()

    one, other = started(code), started(code)
    for fed in (other, one):
        fed.complete("1")

    assert one.outcome == other.outcome == Completed(("nothing", "set"))


# -- law 13: eviction asks for nothing -------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        lambda: act("clean up"),
        lambda: asyncio.sleep(5),
        lambda: asyncio.create_task(asyncio.sleep(0)),
        lambda: loop().wait_until(lambda: False),
        lambda: loop().record(SetValue("state", b"1"), "value"),
        lambda: mailbox().receive("s", bytes),
    ],
    ids=["step", "timer", "task", "wait_until", "value", "receive"],
)
def test_clean_up_code_of_an_evicted_run_asks_for_nothing(ask):
    ended = []

    async def code():
        try:
            await act("a")
        finally:
            try:
                found = ask()
                if found is not None:
                    await found
            finally:
                ended.append("clean up")

    fed = started(code)

    assert fed.evict() == []
    assert ended == ["clean up"]
    assert (fed.waits, fed.loop.frames()) == ([], {})


async def in_a_timeout():
    async with asyncio.timeout(5):
        await act("a")


async def in_a_task_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(5))


async def in_a_scope():
    with anyio.move_on_after(5):
        await act("a")


async def in_a_group_of_anyio():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 5)


async def in_a_task():
    await asyncio.create_task(asyncio.sleep(5))


async def after_a_value():
    loop().record(SetValue("state", b"1"), "value")
    await act("a")


WAITS = {
    "step": lambda: act("a"),
    "sleep": lambda: asyncio.sleep(5),
    "receive": lambda: mailbox().receive("s", bytes),
    "child": lambda: act("child", kind=int(Kind.CHILD_COMPLETED)),
    "wait_until": lambda: loop().wait_until(lambda: False),
    "timeout": in_a_timeout,
    "wait_for": lambda: asyncio.wait_for(asyncio.sleep(5), 9),
    "task group": in_a_task_group,
    "task": in_a_task,
    "gather": lambda: asyncio.gather(asyncio.sleep(5), act("a")),
    "scope": in_a_scope,
    "anyio group": in_a_group_of_anyio,
    "value": after_a_value,
    "turn": lambda: asyncio.sleep(0),
}


@pytest.mark.parametrize("place", ["main", "task", "handler", "finally", "nested"])
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_code_that_swallows_everything_is_evicted_all_the_same(wait, place):
    async def swallows():
        while True:
            with contextlib.suppress(BaseException):
                await wait()

    async def nested():
        while True:
            with contextlib.suppress(BaseException):
                await swallows()

    async def code():
        match place:
            case "main":
                await act("first")
                await swallows()
            case "nested":
                await act("first")
                await nested()
            case "task":
                task = asyncio.create_task(swallows())
                await act("first")
                await task
            case "handler":
                mailbox().on_signal("go", listener(lambda _: swallows()))
                await act("first")
            case "finally":
                try:
                    await act("first")
                finally:
                    await swallows()

    fed = Fed(code)
    with contextlib.suppress(Blocked):  # One that only turns is endless.
        fed.start()
        if place == "handler":
            fed.signal("go", 1)
        elif place in ("main", "nested"):
            fed.complete("1")

    assert fed.evict() == []
    assert (fed.waits, fed.loop.frames()) == ([], {})


def test_code_that_tries_again_until_it_is_not_refused_is_evicted_all_the_same():
    async def insists(ask):
        while True:
            try:
                ask()
                return
            except BaseException:
                continue

    async def code():
        try:
            await act("a")
        finally:
            await insists(lambda: loop().record(SetValue("state", b"1"), "value"))
            await insists(lambda: loop().call_later(5, print))
            await insists(lambda: asyncio.create_task(asyncio.sleep(0)))

    assert started(code).evict() == []


def test_each_task_of_an_evicted_run_is_refused_by_an_exception_first():
    refused = []

    async def branch(name):
        try:
            await act(name)
        finally:
            try:
                await act("clean up")
            except BaseException as error:
                refused.append((name, type(error)))
                raise

    async def code():
        await asyncio.gather(branch("a"), branch("b"))

    started(code).evict()

    assert refused == [("b", Evicted), ("a", Evicted)]


def test_nothing_of_an_evicted_run_is_left_to_the_collector():
    async def swallows():
        while True:
            with contextlib.suppress(BaseException):
                await in_a_timeout()

    async def code():
        mailbox().on_signal("s", listener(lambda _: swallows()))
        await asyncio.gather(swallows(), mailbox().receive("t", bytes))

    fed = started(code)
    fed.signal("s", 1)
    left = [weakref.ref(task.get_coro()) for task in fed.loop._tasks]
    fed.evict()

    assert len(left) == 4
    assert [one() for one in left] == [None] * 4


def test_tasks_of_an_evicted_run_are_closed_newest_first_each_as_its_own_current_task():
    closed = []

    async def branch(name):
        try:
            await act(name)
        finally:
            closed.append((name, asyncio.current_task().get_name()))

    async def code():
        async with asyncio.TaskGroup() as group:
            group.create_task(branch("a"), name="task a")
            group.create_task(branch("b"), name="task b")

    started(code).evict()

    assert closed == [("b", "task b"), ("a", "task a")]


def test_a_generator_of_an_evicted_run_does_not_wake_up_in_another_run():
    async def code():
        async for _ in numbers():
            pass

    async def collects():
        gc.collect()
        await act("own")

    fed = started(code)
    asked = fed.evict()
    del fed

    assert asked == []
    assert Fed(collects).start() == ["run 1 own"]


def test_a_run_that_was_dropped_is_driven_again_from_its_history():
    async def code():
        return [await act(name) for name in "ab"]

    fed = started(code)
    fed.complete("1", 1)
    fed.evict()

    again = replayed(code, fed.history)
    again.complete("2", 2)

    assert again.outcome == Completed([1, 2])


# -- failures that nothing awaited -----------------------------------------------------------------


async def fails(text):
    raise ValueError(text)


def test_a_failed_task_that_nothing_awaited_is_told_once():
    async def code():
        loop().create_task(fails("no"), name="forgotten")
        await act("a")

    fed = started(code)
    first, second = fed.loop.unseen_failures(), fed.loop.unseen_failures()

    assert [(name, str(error)) for name, error in first] == [("forgotten", "no")]
    assert second == []


def test_tasks_that_were_awaited_cancelled_or_went_well_are_no_failures():
    async def code():
        awaited, cancelled = asyncio.create_task(fails("no")), asyncio.create_task(turn(9))
        loop().create_task(turn(1))
        await asyncio.gather(awaited, return_exceptions=True)
        cancelled.cancel()
        await act("a")

    assert started(code).loop.unseen_failures() == []


def test_a_failed_task_is_told_though_many_were_made_since():
    async def code():
        loop().create_task(fails("no"), name="forgotten")
        for _ in range(200):
            await asyncio.create_task(turn(0))
        await act("a")

    fed = started(code, budget=2_000)

    assert [name for name, _ in fed.loop.unseen_failures()] == ["forgotten"]


@pytest.mark.parametrize(("failures", "told"), [(99, 99), (100, 100), (101, 100)])
def test_so_many_failures_of_a_run_are_told_and_no_more(failures, told):
    assert UNSEEN_FAILURES_MAX == 100

    async def code():
        for number in range(failures):
            loop().create_task(fails(str(number)))
        await act("a")

    assert len(started(code, budget=2_000).loop.unseen_failures()) == told


def test_asyncio_complains_of_no_failure_of_ours(caplog):
    async def code():
        loop().create_task(fails("no"))
        act("forgotten")
        asyncio.shield(act("shielded"))
        await act("a")

    fed = started(code)
    fed.fail("1", ValueError("no"))
    fed.fail("2", ValueError("no"))
    fed.complete("3")
    fed.evict()
    del fed
    gc.collect()

    assert caplog.records == []


# -- construction ----------------------------------------------------------------------------------


def test_a_driver_is_made_of_a_coroutine_function_a_context_and_a_salt_alone():
    made = Driver(anyio.sleep_forever, contextvars.Context(), 3)

    assert (made.seq, made.outcome, made.loop.time()) == (0, None, 0.0)
    assert made.loop.steps == {}
    assert Kind.COMPLETED == 1  # The numbers are in files.


@pytest.mark.parametrize("seconds", [1e308, float("inf"), 4e11])
def test_a_timer_that_no_moment_can_hold_is_refused(seconds):
    async def code():
        with pytest.raises(ValueError, match="10,000 years at most"):
            await asyncio.sleep(seconds)
        return "told"

    assert started(code).outcome == Completed("told")
