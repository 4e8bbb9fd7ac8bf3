"""Signals are kept until received, handlers are tasks of their own, and queries only look."""

import asyncio
import contextlib
import functools

import pytest

from durable._core.driver import Completed, ContinueAsNew, Continued, Failed
from durable.errors import Blocked, QueryFailed, ReadOnly, UpdateRefused
from tests.core.feeding import act, decode_int, listener, loop, mailbox, replayed, started


def receive(name):
    return mailbox().receive(name, decode_int)


# -- signals that are received ---------------------------------------------------------------------


def test_a_signal_that_came_early_is_kept_until_it_is_received():
    async def code():
        await act("a")
        return await receive("s")

    fed = started(code)
    fed.signal("s", 5)
    fed.complete("1")

    assert fed.outcome == Completed(5)
    assert fed.driver.mailbox.unreceived() == []


def test_signals_of_a_name_are_received_in_the_order_of_their_events():
    async def code():
        return [await receive("s") for _ in range(3)]

    fed = started(code)
    for value in (3, 1, 2):
        fed.signal("s", value)

    assert fed.outcome == Completed([3, 1, 2])


def test_each_signal_is_received_once_by_whoever_asked_first():
    async def code():
        return await asyncio.gather(receive("s"), receive("s"), receive("t"))

    fed = started(code)
    fed.signal("t", 1)
    fed.signal("s", 2)
    fed.signal("s", 3)

    assert fed.outcome == Completed([2, 3, 1])
    assert replayed(code, fed.history).outcome == fed.outcome


def test_a_receiver_that_gave_up_leaves_the_signal_to_the_next():
    async def code():
        first = asyncio.create_task(receive("s"))
        second = asyncio.create_task(receive("s"))
        await act("a")
        first.cancel()
        return await second

    fed = started(code)
    fed.complete("1")
    fed.signal("s", 5)

    assert fed.outcome == Completed(5)


def test_a_receiver_that_was_woken_and_cancelled_at_once_wakes_the_next():
    async def code():
        first, second = (asyncio.create_task(receive("s")) for _ in range(2))
        mailbox().on_signal("now", listener(lambda _: first.cancel()))
        return await second

    fed = started(code)
    fed.signal("s", 5)
    assert fed.outcome is None  # The first has it.
    fed.signal("s", 6)

    assert fed.outcome == Completed(6)


def test_a_signal_that_does_not_decode_is_a_dead_letter_and_blocks_nothing():
    async def code():
        return await receive("s")

    fed = started(code)

    assert fed.signal("s", "no number") == ["bury 1 s"]
    assert fed.outcome is None
    fed.signal("s", 5)
    assert fed.outcome == Completed(5)


def test_signals_that_nobody_received_are_told_in_order():
    async def code():
        await act("a")

    fed = started(code)
    fed.signal("t", 1)
    fed.signal("s", 2)
    fed.signal("t", 3)

    letters = fed.driver.mailbox.unreceived()

    assert [(one.seq, one.name, one.number) for one in letters] == [
        (1, "t", 1),
        (2, "s", 1),
        (3, "t", 2),
    ]


def test_receive_nowait_takes_what_is_here_and_no_more():
    async def code():
        await act("a")
        return [mailbox().receive_nowait("s", decode_int) for _ in range(2)]

    fed = started(code)
    fed.signal("s", 5)
    fed.complete("1")

    assert fed.outcome == Completed([(5,), None])


def test_it_says_which_signals_are_awaited():
    async def code():
        await asyncio.gather(receive("approve"), receive("stop"))

    fed = started(code)
    both = fed.driver.mailbox.awaited
    fed.signal("approve", 1)

    assert both == ["approve", "stop"]
    assert fed.driver.mailbox.awaited == ["stop"]


# -- signals that are handled ----------------------------------------------------------------------


def test_each_signal_begins_its_handler_in_a_task_of_its_own():
    async def handle(value):
        await act(f"noted {value}")

    async def code():
        mailbox().on_signal("s", listener(handle))
        await act("end")

    fed = started(code)

    assert fed.signal("s", 1) == ["run signal:s#1.1 noted 1"]
    assert fed.signal("s", 2) == ["run signal:s#2.1 noted 2"]


async def note(value):
    return await act(f"noted {value}")


class Notes:
    async def __call__(self, value):
        return await note(value)


ASYNC_HANDLERS = {
    "async function": note,
    "lambda": lambda value: note(value=value),
    "partial": functools.partial(note),
    "object": Notes(),
    "future": lambda value: act(f"noted {value}"),
    "task": lambda value: asyncio.create_task(note(value)),
}


@pytest.mark.parametrize("handler", ASYNC_HANDLERS.values(), ids=ASYNC_HANDLERS)
def test_whatever_awaitable_a_handler_returns_is_awaited(handler):
    async def code():
        mailbox().on_signal("s", listener(handler))
        mailbox().on_update("u", listener(handler))
        await act("end")

    fed = started(code)
    (signalled,) = fed.signal("s", 1)
    (updated,) = fed.update("x", "u", 2)

    assert signalled.endswith(" noted 1")
    assert updated.endswith(" noted 2")
    assert fed.complete(updated.split()[1], 5) == ["answer x u 5"]
    assert fed.outcome is None


def test_a_new_handler_gets_the_signals_that_wait_oldest_first():
    heard = []

    async def code():
        await act("a")
        mailbox().on_signal(None, listener(lambda name, value: heard.append((name, value))))
        await act("b")

    fed = started(code)
    fed.signal("t", 1)
    fed.signal("s", 2)
    fed.signal("t", 3)
    fed.complete("1")

    assert heard == [("t", 1), ("s", 2), ("t", 3)]


def test_the_handler_of_all_others_leaves_a_signal_to_whoever_waits_for_it():
    heard = []

    async def code():
        mailbox().on_signal(None, listener(lambda name, value: heard.append((name, value))))
        return await receive("s")

    fed = started(code)
    fed.signal("t", 1)
    fed.signal("s", 2)

    assert heard == [("t", 1)]
    assert fed.outcome == Completed(2)


def test_what_a_handler_raises_ends_the_run():
    def handle(_):
        raise ValueError("no")

    async def code():
        mailbox().on_signal("s", listener(handle))
        await act("a")

    fed = started(code)
    fed.signal("s", 1)

    assert isinstance(fed.outcome, Failed)
    assert str(fed.outcome.error) == "no"


def raises(wake):
    def handle(_):
        wake()
        raise ValueError("the handler")

    return handle


def test_a_handler_that_raises_before_the_main_function_ends_in_the_same_drain_fails_the_run():
    async def code():
        event = asyncio.Event()
        mailbox().on_signal("s", listener(raises(event.set)))
        await event.wait()
        return "as if nothing had happened"

    fed = started(code)
    fed.signal("s", 1)

    assert isinstance(fed.outcome, Failed)
    assert str(fed.outcome.error) == "the handler"


def test_a_handler_that_raises_before_a_predicate_holds_fails_the_run():
    async def code():
        seen = []
        mailbox().on_signal("s", listener(raises(lambda: seen.append(1))))
        await loop().wait_until(lambda: seen)
        raise KeyError("the main function")

    fed = started(code)
    fed.signal("s", 1)

    assert isinstance(fed.outcome, Failed)
    assert str(fed.outcome.error) == "the handler"


def test_a_handler_that_raises_after_the_main_function_returned_fails_the_run_as_in_a_task_group():
    async def code():
        event = asyncio.Event()

        async def handle(_):
            event.set()
            for _ in range(5):
                await asyncio.sleep(0)
            raise ValueError("the handler")

        mailbox().on_signal("s", listener(handle))
        await event.wait()
        return "the main function"

    fed = started(code)
    fed.signal("s", 1)

    assert isinstance(fed.outcome, Failed)
    assert str(fed.outcome.error) == "the handler"


def test_a_handler_that_continues_as_new_first_does_so():
    async def code():
        event = asyncio.Event()

        def handle(_):
            event.set()
            raise ContinueAsNew((2,), {})

        mailbox().on_signal("s", listener(handle))
        await event.wait()

    fed = started(code)
    fed.signal("s", 1)

    assert fed.outcome == Continued((2,), {})


def test_a_cancel_reaches_handlers_too_and_lets_them_clean_up():
    async def handle(_):
        try:
            await act("slow")
        finally:
            await act("handler cleans up")

    async def code():
        mailbox().on_signal("s", listener(handle))
        try:
            await act("main")
        finally:
            await act("main cleans up")

    fed = started(code)
    fed.signal("s", 1)

    assert sorted(fed.cancel()) == [
        "drop 1",
        "drop signal:s#1.1",
        "run 2 main cleans up",
        "run signal:s#1.2 handler cleans up",
    ]


# -- updates ---------------------------------------------------------------------------------------


def test_an_update_is_answered_with_what_its_handler_returns():
    async def code():
        mailbox().on_update("double", listener(lambda value: 2 * value))
        await act("a")

    fed = started(code)

    assert fed.update("u", "double", 4) == ["answer u double 8"]
    assert fed.driver.mailbox.open_updates == {}


def test_an_update_whose_handler_raises_fails_and_the_run_goes_on():
    def handle(_):
        raise ValueError("no")

    async def code():
        mailbox().on_update("double", listener(handle))
        await act("a")

    fed = started(code)

    assert fed.update("u", "double", 4) == ["answer u double failed"]
    assert fed.outcome is None


def test_an_update_without_an_answer_is_open():
    async def handle(_):
        await act("slow")

    async def code():
        mailbox().on_update("add", listener(handle))
        await act("a")

    fed = started(code)
    fed.update("u", "add", 4)

    assert fed.driver.mailbox.open_updates == {"u": "add"}


def test_an_accepted_update_without_a_handler_blocks():
    async def with_handler():
        mailbox().on_update("add", listener(lambda value: value))
        await act("a")

    async def without():
        await act("a")

    fed = started(with_handler)
    fed.update("u", "add", 4)

    with pytest.raises(Blocked, match=r"update u \(add, event 1\).*no handler"):
        replayed(without, fed.history)


def refuse_negative(value):
    if value < 0:
        raise ValueError("negative")


@pytest.mark.parametrize(
    ("name", "payload", "said"),
    [
        ("add", b"-1", "negative"),
        ("add", b'"x"', "is no number"),
        ("other", b"1", "takes no update 'other' now; it takes: add"),
    ],
)
def test_an_update_that_would_not_be_accepted_is_refused_with_the_reason(name, payload, said):
    async def code():
        mailbox().on_update("add", listener(lambda value: value, refuse_negative))
        await act("a")

    fed = started(code)

    with fed.loop.reading(), pytest.raises(UpdateRefused, match=said):
        fed.driver.mailbox.validate(name, payload)


def test_a_validator_that_tries_to_change_the_run_refuses_its_update():
    def changes(_):
        with contextlib.suppress(ReadOnly):  # Swallowed: it is refused all the same.
            act("from a validator")

    async def code():
        mailbox().on_update("add", listener(lambda value: value, changes))
        await act("a")

    fed = started(code)

    with fed.loop.reading(), pytest.raises(UpdateRefused, match="tried to change the run"):
        fed.driver.mailbox.validate("add", b"1")
    assert fed.waits == ["1"]


# -- queries ---------------------------------------------------------------------------------------


def test_a_query_sees_the_state_of_the_code():
    async def code():
        done = []
        mailbox().on_query("done", listener_of_query(lambda: len(done)))
        for name in "ab":
            await act(name)
            done.append(name)

    fed = started(code)
    fed.complete("1")

    with fed.loop.reading():
        assert fed.driver.mailbox.query("done", b"") == b"1"


def test_a_query_changes_nothing():
    async def code():
        mailbox().on_query("bad", listener_of_query(lambda: act("from a query")))
        await act("a")

    fed = started(code)
    numbers = fed.loop.numbers

    with fed.loop.reading(), pytest.raises(QueryFailed, match="may only look; nothing was changed"):
        fed.driver.mailbox.query("bad", b"")
    assert (fed.waits, fed.loop.numbers, fed.loop.commands) == (["1"], numbers, [])


def test_a_query_that_nobody_answers_fails_and_says_what_there_is():
    async def code():
        mailbox().on_query("done", listener_of_query(lambda: 1))
        await act("a")

    fed = started(code)

    with fed.loop.reading(), pytest.raises(QueryFailed, match="no query 'x'; it answers: done"):
        fed.driver.mailbox.query("x", b"")


def test_a_predicate_only_looks():
    async def code():
        try:
            await loop().wait_until(lambda: act("from a predicate"))
        except ReadOnly:
            return "refused"

    assert started(code).outcome == Completed("refused")


def listener_of_query(fn):
    one = listener(fn)
    one.decode = lambda _payload: ((), {})
    return one
