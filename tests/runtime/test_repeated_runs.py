"""What a retried or restarted run keeps of what was said to it, and of its options."""

import asyncio
import contextlib
from typing import Any

import pytest

import durable
from durable import Signal, Update, Value, activity, workflow
from durable.testing import ManualClock

is_broken = [True]
number = Signal("number", int)
add = Update("add", int, int)
token_of = Value("token", str)


@pytest.fixture(autouse=True)
def _breaks():
    is_broken[0] = True


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


@activity(retry=durable.Retry(max_attempts=1))
async def fragile() -> int:
    if is_broken[0]:
        raise ValueError("broken")
    return 1


async def updated(harness, handle, value, key):
    """Send an update until its answer came: the engine may vanish meanwhile."""
    while True:
        run = await harness.again(handle)
        try:
            return await run.update(add, value, id=key)
        except durable.UsageError:
            await asyncio.sleep(0)


async def reach(harness, handle, seq):
    """Wait until a run has recorded so many events."""
    while len(await (await harness.again(handle)).history()) < seq:
        await asyncio.sleep(0)
    return await harness.again(handle)


# -- what was said after the failure's origin ------------------------------------------------------


@workflow
async def asks_while_it_fails(answer_first: bool) -> Any:
    """Its activity fails, and only then it waits for an answer and fails itself."""
    failing = asyncio.ensure_future(fragile())
    if answer_first:
        await asyncio.wait([failing])
    promise = durable.promise("ok", str)
    token_of.set(promise.token)
    try:
        said = await promise
    except durable.PromiseRejected as error:
        said = f"rejected: {error}"
    return [said, await failing]


@pytest.mark.parametrize("answer_first", [True, False])
@pytest.mark.parametrize(("verb", "said"), [("resolve", "yes"), ("reject", "rejected: yes")])
async def test_an_answer_given_after_the_failure_is_kept_by_the_retried_run(
    durable_harness, answer_first, verb, said
):
    harness = durable_harness
    run = await reach(harness, await harness.start(asks_while_it_fails, answer_first), 1)
    token = await run.read(token_of)
    with contextlib.suppress(durable.UsageError):  # The engine vanishes once it is in the file.
        await getattr(harness.engine, verb)(token, "yes")
    with pytest.raises(durable.RunFailed):
        await harness.finish(run)
    is_broken[0] = False

    again = await (await harness.again(run)).retry()

    assert await harness.finish(again) == [said, 1]
    await harness.again(again)
    with pytest.raises(durable.TokenUnknown):
        await harness.engine.resolve(token, "no")


@workflow
async def adds_up() -> list[int]:
    total = [0]

    def by(value: int) -> int:
        total[0] += value
        return total[0]

    add.handler(by)
    failing = asyncio.ensure_future(fragile())
    await number.receive()
    return [total[0], await failing]


async def test_an_update_answered_after_the_failure_counts_in_the_retried_run(durable_harness):
    harness = durable_harness
    run = await reach(harness, await harness.start(adds_up), 1)
    assert await updated(harness, run, 5, "five") == 5
    await (await harness.again(run)).signal(number, 1)
    with pytest.raises(durable.RunFailed):
        await harness.finish(run)
    is_broken[0] = False

    again = await (await harness.again(run)).retry()

    assert await harness.finish(again) == [5, 1]
    assert await (await harness.again(again)).update_result(add, "five") == 5


# -- what a new ordinal keeps ----------------------------------------------------------------------


@workflow
async def fails_then_sleeps() -> str:
    await fragile()
    try:
        await asyncio.sleep(3_600)
    except asyncio.CancelledError:
        return f"stopped at {durable.info().deadline is not None}"
    return "slept"


@pytest.mark.parametrize("how", ["retry", "restart"])
async def test_a_retried_or_restarted_run_has_its_whole_run_timeout_again(durable_harness, how):
    harness = durable_harness
    options = fails_then_sleeps.options(id="x", run_timeout=60, on_closed=how)
    run = await harness.start(options)
    with pytest.raises(durable.RunFailed):
        await harness.finish(run)
    is_broken[0] = False
    harness.clock.advance(50)

    again = await harness.start(options)
    limit = (await again.details()).deadline

    assert limit is not None
    assert await harness.finish(again) == "stopped at True"


@workflow
async def minds() -> None:
    await fails_then_sleeps.options(id="child", on_parent_close="terminate").start()
    await number.receive()


async def test_a_retried_child_still_minds_its_parents_end(engine):
    parent = await engine.start(minds)
    while True:
        try:
            child = await engine.get("child")
            break
        except durable.RunNotFound:
            await asyncio.sleep(0)
    with pytest.raises(durable.RunFailed):
        await child.result()
    is_broken[0] = False

    again = await child.retry()
    await parent.signal(number, 1)
    await parent.result()

    with pytest.raises(durable.RunTerminated):
        await again.result()


@workflow
async def receives_one() -> int:
    return await number.receive()


async def test_a_restarted_run_gets_a_signal_of_an_id_that_an_earlier_one_had(engine):
    options = receives_one.options(id="x", on_closed="restart")
    run = await engine.start(options)
    await run.signal(number, 1, id="one")
    assert await run.result() == 1

    again = await engine.start(options)
    await again.signal(number, 2, id="one")

    assert (again.name, await again.result()) == ("x#2", 2)


@workflow
async def adds_once() -> int:
    total = [0]

    def by(value: int) -> int:
        total[0] += value
        return total[0]

    add.handler(by)
    await number.receive()
    return total[0]


async def test_a_restarted_run_answers_an_update_of_an_id_that_an_earlier_one_had(engine):
    options = adds_once.options(id="x", on_closed="restart")
    first = await engine.start(options)
    assert await first.update(add, 1, id="one") == 1
    await first.signal(number, 1)
    await first.result()

    again = await engine.start(options)

    assert await again.update(add, 7, id="one") == 7
    assert await again.update_result(add, "one") == 7
    assert await first.update_result(add, "one") == 1


@activity(retry=durable.Retry(initial_interval=60, jitter=0, max_attempts=2))
async def fails_thrice() -> int:
    attempts.append(durable.attempt().number)
    if len(attempts) < 4:
        raise ConnectionError("no")
    return len(attempts)


attempts: list[int] = []


@workflow
async def tries() -> int:
    return await fails_thrice()


async def test_attempts_before_a_retry_by_hand_count_no_more(tmp_path):
    attempts.clear()
    clock = ManualClock(jumps=False)
    async with durable.Engine(tmp_path / "app.db", clock=clock) as engine:
        run = await engine.start(tries)
        for made in (1, 2, 3):
            # Each is the first of two again: the second of the two is never reached by itself.
            while len(attempts) == made or not attempts:
                with contextlib.suppress(durable.WrongState):
                    await run.retry()
                await asyncio.sleep(0)

        assert await run.result() == 4
    assert attempts == [1, 2, 3, 4]


# -- engine.transaction ----------------------------------------------------------------------------


async def test_a_transaction_finds_the_run_that_went_on_with_other_arguments(engine):
    run = await engine.start(counts_down.options(id="x"), 2)
    assert await run.result() == 0

    def start(tx: Any) -> str:
        started: str = tx.start(counts_down.options(id="x"), 2)
        return started

    assert await engine.transaction(start) == "x"


@workflow
async def counts_down(value: int) -> int:
    if value:
        durable.continue_as_new(value - 1)
    return value


@pytest.mark.parametrize(
    ("verb", "error"), [("start", durable.PayloadTooLarge), ("signal", durable.PayloadTooLarge)]
)
async def test_a_transaction_refuses_what_is_too_large(tmp_path, verb, error):
    limits = durable.Limits(payload_bytes_max=100)
    async with durable.Engine(tmp_path / "app.db", limits=limits) as engine:
        run = await engine.start(receives_text)

        def act(tx: Any) -> None:
            if verb == "start":
                tx.start(takes_text, "x" * 200)
            else:
                tx.signal(run.id, text, "x" * 200)

        with pytest.raises(error):
            await engine.transaction(act)

        assert await engine.count("status:completed") == {}
        assert len(await engine.list()) == 1
        await run.terminate()


text = Signal("text", str)


@workflow
async def takes_text(value: str) -> str:
    return value


@workflow
async def receives_text() -> str:
    return await text.receive()


async def test_a_transaction_signals_exactly_the_ordinal_it_names(engine):
    options = receives_one.options(id="x", on_closed="restart")
    first = await engine.start(options)
    await first.signal(number, 1)
    await first.result()
    again = await engine.start(options)

    await engine.transaction(lambda tx: tx.signal("x#2", number, 5))

    assert await again.result() == 5
    with pytest.raises(durable.RunClosed):
        await engine.transaction(lambda tx: tx.signal("x#1", number, 5))
    with pytest.raises(durable.UsageError, match="200"):
        await engine.transaction(lambda tx: tx.signal("x#2", number, 5, id="i" * 201))
