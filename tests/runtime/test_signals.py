"""Signals: kept, once, in order, whoever receives and whatever ends; warm, replayed, restarted."""

import asyncio

import pytest

import durable
from durable import Signal, Update, activity, workflow
from durable.testing import ManualClock

number = Signal("number", int)
text = Signal("number", str)
blob = Signal("blob", str)
double = Update("double", int, int)


class Sad(Exception):
    pass


@activity
async def echo_signal(value: int) -> int:
    return value


async def tell(harness, handle, signal, value, **options):
    """Send one signal, opening the file again if the engine vanished, also while it is packed."""
    while True:
        run = await harness.again(handle)
        try:
            await run.signal(signal, value, **options)
        except durable.UsageError as error:
            if "not open" not in str(error):  # Said before anything was stored.
                raise
        else:
            return


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


# -- once for each id ------------------------------------------------------------------------------


@workflow
async def takes_and_goes_on(left: int, got: list[int]) -> list[int]:
    got = [*got, await number.receive()]
    if left > 1:
        durable.continue_as_new(left - 1, got)
    return got


async def test_a_signals_id_is_known_for_good(durable_harness):
    harness = durable_harness
    handle = await harness.start(takes_and_goes_on, 3, [])

    await tell(harness, handle, number, 1, id="a")
    await tell(harness, handle, number, 2, id="b")
    await tell(harness, handle, number, 8, id="b")
    while (await (await harness.again(handle)).status()) != "continued":
        await asyncio.sleep(0)
    await tell(harness, handle, number, 9, id="a")
    await tell(harness, handle, number, 3, id="c")

    assert await harness.finish(handle) == [1, 2, 3]


@workflow
async def doubles_then_receives() -> int:
    @double.handler
    def on_double(value: int) -> int:
        return 2 * value

    return await number.receive()


async def test_a_signal_said_again_to_a_run_that_heard_it_and_ended_is_no_error(durable_harness):
    harness = durable_harness
    handle = await harness.start(takes_and_goes_on, 1, [])
    await tell(harness, handle, number, 1, id="a")
    assert await harness.finish(handle) == [1]

    await tell(harness, handle, number, 1, id="a")
    with pytest.raises(durable.RunClosed, match="takes no more signals"):
        await tell(harness, handle, number, 1, id="b")
    with pytest.raises(durable.RunClosed, match="takes no more signals"):
        await tell(harness, handle, number, 1)


async def test_the_id_of_an_update_may_be_a_signals_too(engine):
    run = await engine.start(doubles_then_receives)
    assert await run.update(double, 4, id="m1") == 8

    await run.signal(number, 7, id="m1")

    async with asyncio.timeout(5):
        assert await run.result() == 7


# -- who receives ----------------------------------------------------------------------------------


@workflow
async def two_receive() -> dict[str, int]:
    found: dict[str, int] = {}

    async def one(name: str) -> None:
        found[name] = await number.receive()
        await echo_signal(found[name])

    await asyncio.gather(one("first"), one("second"))
    return found


async def test_of_two_receivers_the_one_that_asked_first_gets_the_first(durable_harness):
    harness = durable_harness
    handle = await harness.start(two_receive)

    await tell(harness, handle, number, 1)
    await tell(harness, handle, number, 2)

    assert await harness.finish(handle) == {"first": 1, "second": 2}


@workflow
async def gives_up_receiving() -> list[str]:
    waiting = asyncio.ensure_future(number.receive())
    await asyncio.sleep(1)
    waiting.cancel()
    (outcome,) = await durable.settle(waiting)
    found = [type(outcome.error).__name__]
    try:
        await number.receive(timeout=10)
    except TimeoutError:
        found.append("late")
    await blob.receive()
    return [*found, str(await number.receive()), str(await number.receive())]


async def test_a_receive_that_was_cancelled_or_timed_out_takes_nothing(durable_harness):
    harness = durable_harness
    handle = await harness.start(gives_up_receiving)
    fired = 0
    while fired < 2:
        await asyncio.sleep(0)
        events = await (await harness.again(handle)).history()
        fired = len([event for event in events if event.kind == "fired"])

    for value in (1, 2):
        await tell(harness, handle, number, value)
    await tell(harness, handle, blob, "go")

    assert await harness.finish(handle) == ["CancelledError", "late", "1", "2"]


@workflow
async def cancels_as_it_comes() -> list[int]:
    """Its first receiver is cancelled while the second waits behind it."""
    waiting = asyncio.ensure_future(number.receive())

    @blob.handler
    def on_blob(value: str) -> None:
        del value
        waiting.cancel()

    second = asyncio.ensure_future(number.receive())
    got = [await second]
    assert waiting.cancelled()
    return got


async def test_a_cancelled_receiver_leaves_its_turn_to_the_next(durable_harness):
    harness = durable_harness
    handle = await harness.start(cancels_as_it_comes)

    await tell(harness, handle, blob, "cancel")
    await tell(harness, handle, number, 5)

    assert await harness.finish(handle) == [5]


@workflow
async def hears_the_rest() -> list[str]:
    heard: list[str] = []
    await blob.receive()
    number.handler(lambda value: heard.append(f"mine {value}"))
    Signal.any_handler(lambda name, value: heard.append(f"{name} {value}"))
    await durable.wait_until(lambda: len(heard) == 4)
    return heard


async def test_a_catch_all_takes_what_came_before_it_and_has_no_handler(durable_harness):
    harness = durable_harness
    handle = await harness.start(hears_the_rest)

    await tell(harness, handle, Signal("x", int), 1)
    await tell(harness, handle, number, 2)
    await tell(harness, handle, Signal("y", list[int]), [3])
    await tell(harness, handle, blob, "go")
    await tell(harness, handle, number, 4)

    assert sorted(await harness.finish(handle)) == ["mine 2", "mine 4", "x 1", "y [3]"]


@workflow
async def handler_fails() -> None:
    @number.handler
    async def on_number(value: int) -> None:
        await echo_signal(value)
        raise Sad(f"cannot take {value}")

    await asyncio.Event().wait()


async def test_what_a_handler_raises_ends_the_run(durable_harness):
    harness = durable_harness
    handle = await harness.start(handler_fails)
    await tell(harness, handle, number, 3)

    with pytest.raises(durable.RunFailed, match="Sad: cannot take 3") as failed:
        await harness.finish(handle)

    assert isinstance(failed.value.__cause__, Sad)


# -- what cannot be taken --------------------------------------------------------------------------


@workflow
async def takes_numbers(by: str) -> list[int]:
    if by == "receive":
        return [await number.receive(), await number.receive()]
    found: list[int] = []
    number.handler(found.append)
    await durable.wait_until(lambda: len(found) == 2)
    return found


@pytest.mark.parametrize("by", ["receive", "handler"])
async def test_a_signal_that_does_not_decode_is_one_dead_letter(durable_harness, by):
    harness = durable_harness
    handle = await harness.start(takes_numbers, by)

    for signal, value in [(number, 1), (text, "nonsense"), (number, 2)]:
        await tell(harness, handle, signal, value)

    assert await harness.finish(handle) == [1, 2]
    letters = (await (await harness.again(handle)).details()).dead_letters
    assert [(one.name, one.payload) for one in letters] == [("number", '"nonsense"')]


async def test_a_signal_to_a_closed_or_unknown_run_stores_nothing(engine):
    run = await engine.start(takes_numbers.options(id="closed"), "receive")
    await run.terminate()
    with pytest.raises(durable.RunTerminated):
        await run.result()

    with pytest.raises(durable.RunClosed, match="closed is terminated; it takes no more signals"):
        await run.signal(blob, "x" * 100_000)
    with pytest.raises(durable.RunNotFound):
        await engine.get("nobody")

    tables = ("inbox", "letter", "blob", "event")
    read = engine._store.reader._connection
    assert {
        t: read.execute(f"SELECT count(*) FROM durable_{t}").get for t in tables
    } == dict.fromkeys(tables, 0)


@pytest.mark.parametrize("length", [32_700, 32_768, 200_000])
async def test_a_large_signal_arrives_whole_also_after_going_on(durable_harness, length):
    harness = durable_harness

    @workflow
    async def goes_on_with_a_large_one(left: int) -> list[int]:
        if left:
            await number.receive()
            durable.continue_as_new(left - 1)
        return [len(await blob.receive()), len(await blob.receive())]

    handle = await harness.start(goes_on_with_a_large_one, 2)
    await tell(harness, handle, blob, "x" * length)
    for _ in range(2):
        await tell(harness, handle, number, 1)
    await tell(harness, handle, blob, "y" * (length + 1))

    assert await harness.finish(handle) == [length, length + 1]


# -- from run to run -------------------------------------------------------------------------------


@workflow
async def sends_in_turn(target: str, count: int) -> list[str]:
    said = []
    for n in range(count):
        try:
            await blob.send(target, f"{n}" * 40_000)
        except durable.UsageError as error:
            said.append(type(error).__name__)
        else:
            said.append("sent")
    return said


@workflow
async def hears_in_turn(count: int) -> list[str]:
    return [(await blob.receive())[:1] for _ in range(count)]


async def test_a_run_signals_another_once_and_in_order(durable_harness):
    harness = durable_harness
    hears = await harness.start(hears_in_turn.options(id="hears"), 3)
    sends = await harness.start(sends_in_turn, "hears", 3)

    assert await harness.finish(sends) == ["sent"] * 3
    assert await harness.finish(hears) == ["0", "1", "2"]


async def test_a_signal_to_nobody_is_an_error_of_the_sender_alone(durable_harness):
    harness = durable_harness
    hears = await harness.start(hears_in_turn.options(id="hears"), 0)
    await harness.finish(hears)
    await harness.again(hears)
    closed = await harness.start(sends_in_turn, "hears", 1)
    assert await harness.finish(closed) == ["RunClosed"]
    await harness.again(hears)
    unknown = await harness.start(sends_in_turn, "hears#2", 1)

    assert await harness.finish(unknown) == ["RunNotFound"]
    assert await (await harness.again(hears)).history() == []


# -- with a start ----------------------------------------------------------------------------------


async def test_signal_with_start_to_a_closed_run_needs_a_restart(engine):
    once = hears_in_turn.options(id="x")
    run = await engine.signal_with_start(blob, "a", once, 1)
    assert await run.result() == ["a"]

    with pytest.raises(durable.RunClosed, match='on_closed="restart"'):
        await engine.signal_with_start(blob, "b", once, 1)
    with pytest.raises(durable.IdConflict):
        await engine.signal_with_start(blob, "b", once, 2)
    again = await engine.signal_with_start(blob, "c", once.options(on_closed="restart"), 1)

    assert (again.name, await again.result()) == ("x#2", ["c"])
    assert [e.kind for e in await run.history()] == ["received"]


async def test_signal_with_start_to_a_run_that_went_on_reaches_its_newest(engine):
    start = takes_and_goes_on.options(id="x")
    for value in (1, 2, 3):
        run = await engine.signal_with_start(number, value, start, 3, [])

    assert await run.result() == [1, 2, 3]
