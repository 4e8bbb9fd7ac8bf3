"""One event, one drain; replays are checked; how a run ends."""

import asyncio

import msgspec
import pytest

from durable._core.driver import (
    EARLY,
    Cancelled,
    Completed,
    ContinueAsNew,
    Continued,
    Failed,
)
from durable._core.events import Event, Kind
from durable.errors import ActivityError, Blocked, PayloadError, RunTimedOut
from tests.core.feeding import (
    Fed,
    act,
    decode_int,
    driver,
    listener,
    loop,
    mailbox,
    replayed,
    started,
)


class Boom(Exception):
    pass


# -- law 1: one event, one drain -------------------------------------------------------------------


def test_an_event_is_delivered_alone_and_everything_it_wakes_runs_to_its_next_wait():
    async def branch(name):
        await act(name)
        await asyncio.sleep(0)
        await act(f"{name} again")

    async def code():
        await asyncio.gather(branch("a"), branch("b"))

    fed = started(code)

    assert fed.complete("2.1") == ["run 2.2 b again"]
    assert fed.complete("1.1") == ["run 1.2 a again"]


def test_the_order_of_the_events_is_the_order_in_which_the_code_sees_them():
    seen = []

    async def branch(name):
        seen.append(await act(name))

    async def code():
        await asyncio.gather(branch("a"), branch("b"), branch("c"))

    fed = started(code)
    for step, value in (("3.1", "c"), ("1.1", "a"), ("2.1", "b")):
        fed.complete(step, value)
    live, seen = seen, []
    replayed(code, fed.history)

    assert live == seen == ["c", "a", "b"]


def test_an_event_out_of_its_turn_is_our_own_mistake():
    async def code():
        await act("a")

    fed = started(code)
    event = Event(2, Kind.COMPLETED, "1", "a", 0, b"", b"", 0, 0)

    with pytest.raises(AssertionError, match="event 2 after 0"):
        fed.driver.deliver(event)


def test_a_replay_performs_nothing_and_waits_where_the_run_waited():
    async def code():
        await act("a")
        async with asyncio.timeout(60):
            await asyncio.gather(act("b"), act("c"))

    fed = started(code)
    fed.complete("1")
    fed.complete("3")

    again = Fed(code)

    assert again.driver.replay(fed.history) == []
    assert again.waits == fed.waits == ["!t1", "2"]
    assert (again.driver.replaying, again.loop.silent) == (False, False)


def test_the_drain_that_was_never_done_is_done_by_the_replay():
    async def code():
        await act("a")
        await act("b")

    fed = started(code)
    fed.complete("1")

    (step,) = Fed(code).driver.replay(fed.history, redo_seq=1)

    assert (step.step_id, step.name) == ("2", "b")


# -- law 3: late ends, and ends of what was never asked for ----------------------------------------


def test_the_late_end_of_an_abandoned_step_is_delivered_and_ignored():
    async def code():
        try:
            async with asyncio.timeout(5):
                await act("slow")
        except TimeoutError:
            await act("instead")

    fed = started(code)
    step = fed.loop.steps["1"]
    assert fed.fire("!t1") == ["drop 1", "run 2 instead"]

    late = fed.deliver(Kind.COMPLETED, "1", "slow", result=b"1", mark=step.fingerprint)

    assert late == []
    assert fed.waits == ["2"]
    assert replayed(code, fed.history).waits == ["2"]


def test_a_timer_that_fires_after_it_was_disarmed_is_ignored():
    async def code():
        async with asyncio.timeout(5):
            await act("a")
        await act("b")

    fed = started(code)
    fed.complete("1")

    assert fed.deliver(Kind.FIRED, "!t1") == []
    assert fed.waits == ["2"]


@pytest.mark.parametrize(
    ("kind", "step", "said"),
    [
        (Kind.COMPLETED, "2", r"step 2 \(x\) \(event 1\) is in the history"),
        (Kind.FAILED, "2", r"step 2 \(x\) \(event 1\) is in the history"),
        (Kind.CHILD_COMPLETED, "2", r"step 2 \(x\) \(event 1\) is in the history"),
        (Kind.FIRED, "!t1", r"timer !t1 \(event 1\) is in the history"),
        (Kind.RESOLVED, "2", r"step 2 \(x\) \(event 1\) is in the history"),
    ],
)
def test_the_end_of_what_was_never_asked_for_blocks_and_says_where_the_code_waits(kind, step, said):
    async def code():
        await act("a")

    fed = started(code)

    with pytest.raises(Blocked, match=said) as caught:
        fed.deliver(kind, step, "x", result=b"1")

    assert "did not ask for it, and waits at" in str(caught.value)
    assert "test_driver.py" in caught.value.difference["where"]


def test_an_answer_that_came_before_its_promise_is_kept_until_it_is_asked_for():
    async def code():
        await act("a")
        step = loop().ask("approval", 0, b"", None, msgspec.json.decode, True, int(Kind.RESOLVED))
        driver().promise(step)
        return await step

    fed = started(code)
    early = fed.deliver(Kind.RESOLVED, "2", EARLY, result=b'"yes"')
    fed.complete("1")

    assert early == []
    assert fed.outcome == Completed("yes")
    assert replayed(code, fed.history).outcome == Completed("yes")


def test_an_event_of_an_unknown_kind_blocks_and_names_the_cure():
    async def code():
        await act("a")

    fed = started(code)

    with pytest.raises(Blocked, match="kind 99, which this version does not know; install"):
        fed.deliver(99)


def test_an_event_after_the_end_of_the_code_blocks():
    async def longer():
        await act("a")
        await act("b")

    async def shorter():
        await act("a")

    fed = started(longer)
    fed.complete("1")
    fed.complete("2")

    with pytest.raises(Blocked, match=r"ends the run before step 2 \(b\) \(event 2\)"):
        replayed(shorter, fed.history)


# -- law 5: replays are checked --------------------------------------------------------------------


def once(name, *args, **options):
    async def code():
        await act(name, *args, **options)
        await act("after")

    return code


def test_the_same_call_passes():
    fed = started(once("charge", 1))
    fed.complete("1")

    assert replayed(once("charge", 1), fed.history).waits == ["2"]


def test_another_name_blocks_and_shows_both_sides():
    fed = started(once("charge_card", 1))
    fed.complete("1")

    with pytest.raises(
        Blocked, match="step 1 in the history is charge_card, but the code now calls charge"
    ) as caught:
        replayed(once("charge", 1), fed.history)

    assert caught.value.difference["recorded"] == "charge_card"
    assert caught.value.difference["code"] == "charge"
    assert "test_driver.py" in caught.value.difference["where"]


def test_another_kind_of_step_blocks():
    fed = started(once("charge"))
    fed.complete("1")

    with pytest.raises(Blocked, match=r"is the activity charge, but .* calls the child workflow"):
        replayed(once("charge", kind=int(Kind.CHILD_COMPLETED)), fed.history)


def test_other_arguments_block_and_show_both_sides():
    fed = started(once("charge", 1))
    fed.complete("1")

    with pytest.raises(
        Blocked, match=r"other arguments: argument 1: 1 in the history, 2 in the code"
    ):
        replayed(once("charge", 2), fed.history)


def test_unchecked_arguments_pass():
    fed = started(once("charge", 1))
    fed.complete("1")

    assert replayed(once("charge", 2, checked=False), fed.history).waits == ["2"]


def test_other_arguments_that_a_person_has_accepted_pass():
    fed = started(once("charge", 1))
    fed.complete("1")
    again = Fed(once("charge", 2))
    again.driver.accept(["1"])

    again.driver.replay(fed.history)

    assert again.waits == ["2"]


def test_a_person_who_accepts_other_arguments_does_not_accept_another_name():
    fed = started(once("charge", 1))
    fed.complete("1")
    again = Fed(once("refund", 1))
    again.driver.accept(["1"])

    with pytest.raises(Blocked, match="calls refund"):
        again.driver.replay(fed.history)


def test_a_timer_matches_by_its_id_alone():
    def sleeps(seconds):
        async def code():
            await asyncio.sleep(seconds)
            await act("after")

        return code

    fed = started(sleeps(5))
    fed.fire("!t1")

    assert replayed(sleeps(9), fed.history).waits == ["1"]


def test_patched_code_is_new_for_runs_that_begin_and_old_for_those_that_had_passed():
    async def old():
        await act("old")
        await act("end")

    async def new():
        await act("new" if driver().patched("p") else "old")
        await act("end")

    fed = started(old)
    fed.complete("1")

    assert Fed(new).start() == ["patch p", "run 1 new"]
    assert replayed(new, fed.history).waits == ["2"]


# -- law 6: the first value is the replayed value --------------------------------------------------


def test_the_code_gets_what_the_record_decodes_to_also_the_first_time():
    async def code():
        return await act("a")

    fed = started(code)
    fed.complete("1", (1, 2))

    assert fed.outcome == Completed([1, 2])
    assert replayed(code, fed.history).outcome == Completed([1, 2])


def test_the_code_gets_the_exception_that_the_record_makes_also_the_first_time():
    async def code():
        try:
            await act("a")
        except ActivityError as error:
            return type(error).__name__, type(error) is Boom, str(error)

    class Gone(Boom):  # A class that no other process finds.
        pass

    fed = started(code)
    fed.fail("1", Gone("no"))

    assert fed.outcome == Completed(("Gone", False, "no"))
    assert replayed(code, fed.history).outcome == fed.outcome


def test_a_stop_iteration_reaches_the_code_as_another_error():
    async def code():
        await act("a")

    fed = started(code)
    fed.fail("1", StopIteration(3))

    assert isinstance(fed.outcome.error, RuntimeError)


def test_a_record_that_does_not_decode_blocks():
    def refuse(payload):
        raise PayloadError("not an Order")

    async def code():
        await loop().ask("a", 0, b"", None, refuse, True)

    fed = started(code)

    with pytest.raises(Blocked, match=r"recorded result of step 1.*does not decode: not an Order"):
        fed.complete("1", 3)


# -- law 18: waiting for nothing is still waiting --------------------------------------------------


def waits_on():
    return asyncio.Event().wait()


def test_code_that_only_a_cancel_can_wake_waits():
    async def code():
        try:
            await waits_on()
        finally:
            await act("clean up")

    fed = started(code)
    waited = fed.driver.waits_for_nothing
    asked = fed.cancel("enough")

    assert waited
    assert asked == ["run 1 clean up"]
    assert not fed.driver.waits_for_nothing
    fed.complete("1")
    assert fed.outcome == Cancelled("enough", 1)
    assert not fed.driver.waits_for_nothing


def test_a_signal_that_nobody_receives_leaves_it_waiting():
    fed = started(waits_on)

    assert fed.signal("s", 1) == []
    assert fed.driver.waits_for_nothing
    assert replayed(waits_on, fed.history).driver.waits_for_nothing


def test_code_that_is_queried_only_waits_for_nothing():
    async def code():
        mailbox().on_query("q", listener(lambda: 1))
        await waits_on()

    assert started(code).driver.waits_for_nothing


@pytest.mark.parametrize(
    "wait",
    [
        lambda: act("a"),
        lambda: asyncio.sleep(5),
        lambda: mailbox().receive("s", decode_int),
        lambda: mailbox().on_signal("s", listener(print)),
        lambda: mailbox().on_update("u", listener(print)),
    ],
    ids=["step", "timer", "receive", "signal handler", "update handler"],
)
def test_code_that_an_event_can_wake_waits_for_something(wait):
    async def code():
        found = wait()
        await (found or waits_on())

    assert not started(code).driver.waits_for_nothing


def test_that_it_waits_for_nothing_is_noted_once():
    driver = started(waits_on).driver

    assert driver.note_that_it_waits_for_nothing()
    assert not driver.note_that_it_waits_for_nothing()


# -- how a run ends --------------------------------------------------------------------------------


def test_what_the_code_returns_completes_the_run():
    async def code():
        return 3

    assert started(code).outcome == Completed(3)


def test_what_the_code_raises_fails_the_run_and_names_the_event_it_came_from():
    async def code():
        await act("a")
        async with asyncio.TaskGroup() as group:
            group.create_task(hands_on())

    async def hands_on():
        try:
            await act("b")
        except Exception as error:
            raise Boom("b") from error

    fed = started(code)
    fed.complete("1")
    fed.fail("1.1", ValueError("no"))

    assert isinstance(fed.outcome, Failed)
    assert fed.outcome.origin == 2


def test_what_the_code_raises_by_itself_comes_from_no_event():
    async def code():
        await act("a")
        raise Boom

    fed = started(code)
    fed.complete("1")

    assert isinstance(fed.outcome, Failed)
    assert fed.outcome.origin == 0


def test_a_cancel_that_the_code_lets_through_cancels_the_run_after_its_clean_up():
    async def code():
        try:
            await act("a")
        finally:
            await act("clean up")

    fed = started(code)
    asked = fed.cancel("enough")
    fed.complete("2")

    assert asked == ["drop 1", "run 2 clean up"]
    assert fed.outcome == Cancelled("enough", 1)


def test_a_cancel_that_the_code_swallows_does_not_end_the_run():
    async def code():
        try:
            await act("a")
        except asyncio.CancelledError as error:
            return error.args

    fed = started(code)
    fed.cancel("enough")

    assert fed.outcome == Completed(("enough",))


def test_a_code_that_cancels_itself_fails():
    async def code():
        raise asyncio.CancelledError

    outcome = started(code).outcome

    assert isinstance(outcome, Failed)
    assert "the workflow cancelled itself" in str(outcome.error)


def test_a_run_whose_time_is_over_is_cancelled_and_fails_by_that():
    async def code():
        try:
            await act("a")
        finally:
            await act("clean up")

    fed = started(code)
    fed.deliver(Kind.TIMED_OUT)
    fed.complete("2")

    assert isinstance(fed.outcome, Failed)
    assert isinstance(fed.outcome.error, RunTimedOut)
    assert fed.outcome.origin == 1


def test_continue_as_new_ends_the_ordinal_with_the_next_ones_arguments():
    async def code():
        try:
            raise ContinueAsNew((1,), {"page": 2})
        except Exception:  # It is no Exception: such code lets it pass.
            return "swallowed"

    assert started(code).outcome == Continued((1,), {"page": 2})
