"""Queries: they look, and nothing else; of every state of a run, from anywhere."""

import asyncio
import contextlib
import logging
from typing import Any

import pytest

import durable
from durable import Query, Signal, Stream, Update, Value, activity, workflow
from durable.testing import ManualClock
from tests.runtime.insist import facts, insist, reach

look = Query("look", str)
count = Query("count", int)
go = Signal("go", int)
more = Signal("more", int)
add = Update("add", int, int)
state = Value("state", str)
lines = Stream("lines", str)


class Sad(Exception):
    pass


@activity
async def echo_query(value: int) -> int:
    return value


@workflow
async def looked_at() -> list[Any]:
    """Whatever its query tries, it says the same in the end."""
    event = asyncio.Event()
    future = asyncio.get_running_loop().create_future()
    queue: asyncio.Queue[int] = asyncio.Queue()
    lock = asyncio.Lock()
    woken: list[str] = []
    timer = asyncio.get_running_loop().call_later(900_000, woken.append, "timer")
    gone = asyncio.get_running_loop().create_future()

    async def waits(name, waiting):
        await waiting
        woken.append(name)

    await lock.acquire()
    waiting = [
        asyncio.ensure_future(waits("event", event.wait())),
        asyncio.ensure_future(waits("future", future)),
        asyncio.ensure_future(waits("queue", queue.get())),
        asyncio.ensure_future(waits("lock", lock.acquire())),
    ]
    gone.cancel()

    @look.handler
    def on_look(how: str) -> str:
        match how:
            case "an activity":
                asyncio.ensure_future(echo_query(1))  # noqa: RUF006
            case "an activity, by hand":
                echo_query(1).send(None)
            case "a timer":
                asyncio.get_running_loop().call_later(1, print)
            case "a timer's end":
                timer.cancel()
            case "a task":
                asyncio.get_running_loop().create_task(asyncio.sleep(0))
            case "a task's end":
                waiting[0].cancel()
            case "a value":
                state.set("by a query")
            case "progress":
                durable.progress(1, 2)
            case "an item":
                lines.append("by a query")
            case "a signal":
                go.send("nobody", 1).send(None)
            case "a child":
                looked_at().send(None)
            case "a promise":
                durable.promise("asked")
            case "a wake-up":
                asyncio.get_running_loop().call_soon(print)
            case "an event":
                event.set()
            case "a future":
                future.set_result(1)
            case "a queue":
                queue.put_nowait(1)
            case "a lock":
                lock.release()
            case "a letter":
                return str(more.receive_nowait())
            case "a signal's handler":
                more.handler(print)
            case "a catch-all":
                Signal.any_handler(print)
            case "an update's handler":
                add.handler(abs)
            case "a query's handler":
                look.handler(lambda how: "another")
            case "a patch":
                return str(durable.patched("by-a-query"))
            case "chance":
                return str(durable.random().random())
            case "an id":
                return str(durable.uuid4())
            case "a wait":
                durable.wait_until(lambda: True).send(None)
            case "going on":
                durable.continue_as_new()
            case "swallows":
                try:
                    event.set()
                except Exception:
                    return "swallowed"
            case "a cancelled future":
                return str(gone.result())
            case "its own error":
                raise Sad("no answer")
            case "an answer that does not fit":
                return 3  # type: ignore[return-value]
        return f"{how} {woken}"

    await go.receive()
    before = list(woken)
    await echo_query(len(woken))
    chance = [durable.random().random(), str(durable.uuid4())]
    letters = [await more.receive(), await more.receive()]
    is_patched = durable.patched("by-a-query")
    event.set()
    future.set_result(1)
    queue.put_nowait(1)
    lock.release()
    await asyncio.gather(*waiting)
    timer.cancel()
    return [before, woken, chance[0] != chance[1], letters, is_patched]


CHANGES = [
    "an activity", "an activity, by hand", "a timer", "a timer's end", "a task", "a task's end",
    "a value", "progress", "an item", "a signal", "a child", "a promise", "a wake-up", "an event",
    "a future", "a queue", "a lock", "a letter", "a signal's handler", "a catch-all",
    "an update's handler", "a query's handler", "a patch", "chance", "an id", "a wait",
    "going on",
]  # fmt: skip
SAYS_OTHERWISE = ["a cancelled future", "its own error", "an answer that does not fit"]
THE_END = [[], ["event", "future", "queue", "lock"], True, [1, 2], True]


async def play(harness, run_id, how):
    """Drive one run to its end, asking on the way; return its facts, and what was said."""
    said = []
    harness.clock.jumps = False
    handle = await harness.start(looked_at.options(id=run_id))

    async def ask():
        if how is not None:
            try:
                said.append(await insist(harness, handle, lambda run: run.query(look, how)))
            except durable.QueryFailed as error:
                said.append(str(error))

    await ask()
    await insist(harness, handle, lambda run: run.signal(more, 1, id="1"))
    await reach(harness, handle, lambda kinds: "received" in kinds)
    await ask()
    await insist(harness, handle, lambda run: run.signal(go, 1, id="2"))
    await reach(harness, handle, lambda kinds: "completed" in kinds)
    await ask()
    with contextlib.suppress(durable.RunClosed):  # It was sent already, and ended the run.
        await insist(harness, handle, lambda run: run.signal(more, 2, id="3"))
    result = await harness.finish(handle)
    await ask()
    run = await harness.again(handle)
    values = await run.read(state, default="unset"), [item async for item in run.tail(lines)]
    return result, facts(await run.history()), values, said


@pytest.mark.parametrize("how", CHANGES)
async def test_a_query_that_would_change_the_run_fails_and_leaves_no_trace(durable_harness, how):
    result, history, values, said = await play(durable_harness, "asked", how)

    while_open = said[:3]  # A closed run has nobody to wake.
    assert [one for one in while_open if "ReadOnly" not in one] == []
    assert len(said) == 4
    assert (result, values) == (THE_END, ("unset", []))
    assert history == (await play(durable_harness, "not-asked", None))[1]


@pytest.mark.parametrize("how", SAYS_OTHERWISE)
async def test_whatever_a_query_raises_fails_it_alone(durable_harness, how):
    result, history, _, said = await play(durable_harness, "asked", how)

    assert [one for one in said if one.startswith(how)] == []
    assert len(said) == 4
    assert result == THE_END
    assert history == (await play(durable_harness, "not-asked", None))[1]


async def test_a_query_that_swallows_the_refusal_changes_nothing_either(durable_harness):
    result, history, _, said = await play(durable_harness, "asked", "swallows")

    assert said[:3] == ["swallowed"] * 3
    assert result == THE_END
    assert history == (await play(durable_harness, "not-asked", None))[1]


async def test_queries_are_answered_where_the_run_stands(durable_harness):
    _, _, _, said = await play(durable_harness, "asked", "now")

    assert said == ["now []"] * 3 + ["now ['event', 'future', 'queue', 'lock']"]


# -- wrong questions -------------------------------------------------------------------------------


@workflow
async def counts_signals() -> int:
    found = 0
    looks = 0

    @count.handler
    def get_count(factor: int = 1, *, plus: int = 0) -> int:
        return found * factor + plus

    @look.handler
    def get_looks() -> str:
        return str(looks)

    def is_over() -> bool:
        nonlocal looks
        looks += 1
        return found < 0

    @go.handler
    def on_go(value: int) -> None:
        nonlocal found
        found = -1 if value < 0 else found + value

    await durable.wait_until(is_over)
    return found


async def tell(harness, handle, value, id):
    """Send a signal, and wait for its event."""
    known = len(await (await harness.again(handle)).history())
    await insist(harness, handle, lambda run: run.signal(go, value, id=id))
    await reach(harness, handle, lambda kinds: len(kinds) > known)


async def test_the_arguments_of_a_query_are_passed_on(durable_harness):
    harness = durable_harness
    handle = await harness.start(counts_signals)
    await tell(harness, handle, 3, "a")

    assert await insist(harness, handle, lambda run: run.query(count)) == 3
    assert await insist(harness, handle, lambda run: run.query(count, 4, plus=2)) == 14


@pytest.mark.parametrize(
    ("question", "args", "said"),
    [
        (Query("other", int), (), "no query 'other'; it answers: count, look"),
        (count, ("four",), "int"),
        (count, (1, 2, 3), "argument"),
        (look, (1,), "argument"),
    ],
)
@pytest.mark.parametrize("is_over", [False, True])
async def test_a_question_that_does_not_fit_fails_and_the_run_goes_on(
    durable_harness, question, args, said, is_over
):
    harness = durable_harness
    handle = await harness.start(counts_signals)
    if is_over:
        await tell(harness, handle, -1, "end")
        assert await harness.finish(handle) == -1

    with pytest.raises(durable.QueryFailed, match=said):
        await insist(harness, handle, lambda run: run.query(question, *args))
    with pytest.raises(durable.QueryFailed, match="bogus"):
        await insist(harness, handle, lambda run: run.query(count, bogus=1))

    if not is_over:
        await tell(harness, handle, -1, "end")
    assert await harness.finish(handle) == -1


async def test_an_argument_that_cannot_be_stored_is_refused_at_the_call(durable_harness):
    handle = await durable_harness.start(counts_signals)

    with pytest.raises(durable.PayloadError):
        await handle.query(count, object())


async def test_an_answer_of_another_type_than_asked_for_is_an_error_of_the_asker(durable_harness):
    handle = await durable_harness.start(counts_signals)

    with pytest.raises(durable.PayloadError):
        await handle.query(Query("look", int))


async def test_queries_evaluate_no_predicate(durable_harness):
    harness = durable_harness
    handle = await harness.start(counts_signals)
    before = await insist(harness, handle, lambda run: run.query(look))

    for _ in range(20):
        await insist(harness, handle, lambda run: run.query(count))

    assert await insist(harness, handle, lambda run: run.query(look)) == before


def test_an_async_function_cannot_answer(durable_harness):
    # It is said inside a workflow, which needs no engine to get that far.
    async def wrong() -> int:
        return 1

    with pytest.raises(durable.UsageError, match="plain one"):
        count.handler(wrong)  # type: ignore[arg-type]


# -- in every state --------------------------------------------------------------------------------


@pytest.fixture
async def engine(tmp_path):
    # One engine, or none: what a restart does to a state is shown above.
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


async def test_a_question_right_after_a_signal_is_answered_after_its_event(engine):
    run = await engine.start(counts_signals)

    async def asks(n):
        await run.signal(go, 1)
        return await run.query(count) >= n

    assert all(await asyncio.gather(*(asks(1) for _ in range(50))))
    assert await run.query(count) == 50


@workflow
async def fails_after_a_signal() -> None:
    found = 0

    @count.handler
    def get_count() -> int:
        return found

    found = await go.receive()
    await asyncio.sleep(1)
    raise Sad("so")


@pytest.mark.parametrize("end", ["fail", "cancel", "terminate"])
async def test_a_run_that_ended_badly_still_answers(engine, end):
    run = await engine.start(counts_signals if end != "fail" else fails_after_a_signal)
    await run.signal(go, 5)
    while not await run.history():
        await asyncio.sleep(0)
    if end != "fail":
        await getattr(run, end)()
    await asyncio.gather(run.result(), return_exceptions=True)

    assert await run.query(count) == 5


@workflow(on_failure="pause")
async def pauses() -> None:
    @count.handler
    def get_count() -> int:
        return 7

    await echo_query(1)
    raise Sad("so")


async def test_a_paused_run_answers(engine):
    run = await engine.start(pauses)
    while await run.status() != "paused":
        await asyncio.sleep(0)

    assert await run.query(count) == 7
    assert await run.status() == "paused"


@workflow
async def blocks() -> None:
    @count.handler
    def get_count() -> int:
        return 7

    await echo_query(1)
    await asyncio.to_thread(print)


async def test_a_blocked_run_says_why_it_cannot_answer(engine):
    run = await engine.start(blocks)
    while await run.status() != "blocked":
        await asyncio.sleep(0)

    with pytest.raises(durable.QueryFailed, match="move it into an activity"):
        await run.query(count)
    assert await run.status() == "blocked"


@workflow
async def goes_on_counting(left: int) -> int:
    @count.handler
    def get_count() -> int:
        return left

    await go.receive()
    if left:
        durable.continue_as_new(left - 1)
    return left


async def test_a_question_to_a_run_that_went_on_is_answered_by_its_newest(engine):
    run = await engine.start(goes_on_counting.options(id="x"), 1)
    assert await run.query(count) == 1
    await run.signal(go, 1)
    while await run.status() != "continued":
        await asyncio.sleep(0)

    assert await run.query(count) == 0
    await run.signal(go, 1)
    await run.result()
    assert await run.query(count) == 0


@workflow
async def sleeps_long() -> int:
    @count.handler
    def get_count() -> int:
        return durable.info().events

    await durable.sleep("300d")
    return 1


async def test_a_run_that_begins_later_answers_where_its_code_begins(tmp_path):
    clock = ManualClock(jumps=False)
    async with durable.Engine(tmp_path / "app.db", clock=clock) as engine:
        run = await engine.start(sleeps_long.options(start_delay="1d"))
        try:
            async with asyncio.timeout(5):
                said = str(await run.query(count))
        except durable.QueryFailed as error:
            said = str(error)

        assert said == "0"
        assert await run.status() == "sleeping"
        assert await run.history() == []


# -- from elsewhere --------------------------------------------------------------------------------


async def test_another_client_is_answered_by_the_owner(tmp_path):
    path = tmp_path / "app.db"
    async with (
        durable.Engine(path, functions=[counts_signals], clock=ManualClock()) as engine,
        durable.Client(path) as client,
    ):
        run = await engine.start(counts_signals.options(id="x"))
        await run.signal(go, 4)
        there = await client.get("x")

        assert await there.query(count, 2) == 8
        for args in [("four",), (1, 2, 3)]:
            with pytest.raises(durable.QueryFailed):
                await there.query(count, *args)
        with pytest.raises(durable.QueryFailed, match="no query 'other'"):
            await there.query(Query("other", int))
        assert await there.query(count) == 4
        assert (
            engine._store.reader._connection.execute("SELECT count(*) FROM durable_answer").get == 0
        )
        assert len(await run.history()) == 1


@pytest.mark.parametrize("how", ["going on", "a cancelled future", "a letter", "a patch", "chance"])
async def test_a_wrong_question_from_another_client_does_not_harm_the_owner(tmp_path, how, caplog):
    path = tmp_path / "app.db"
    async with (
        durable.Engine(path, functions=[looked_at], clock=ManualClock(jumps=False)) as engine,
        durable.Client(path) as client,
    ):
        run = await engine.start(looked_at.options(id="x"))
        await run.signal(more, 1)
        while not await run.history():
            await asyncio.sleep(0)
        with caplog.at_level(logging.WARNING), pytest.raises(durable.QueryFailed):
            async with asyncio.timeout(5):
                await (await client.get("x")).query(look, how)
        await run.signal(go, 1)
        await run.signal(more, 2)

        assert await run.result() == THE_END
        assert caplog.text == ""


@workflow
async def answers_at_length() -> None:
    look.handler(lambda text: text * 2)
    await go.receive()


@pytest.mark.parametrize("length", [100, 40_000])
async def test_a_large_question_and_answer_leave_nothing_in_the_file(tmp_path, length):
    path = tmp_path / "app.db"
    async with (
        durable.Engine(path, functions=[answers_at_length]) as engine,
        durable.Client(path) as client,
    ):
        await engine.start(answers_at_length.options(id="x"))

        assert await (await client.get("x")).query(look, "x" * length) == "x" * 2 * length

        read = engine._store.reader._connection
        tables = ("answer", "inbox", "blob", "event", "letter")
        assert [read.execute(f"SELECT count(*) FROM durable_{one}").get for one in tables] == [
            0
        ] * 5


async def test_where_no_worker_lives_the_code_must_be_known(tmp_path):
    path = tmp_path / "app.db"

    @workflow
    async def known_to_one_engine() -> None:
        count.handler(lambda: 3)
        await go.receive()

    async with durable.Engine(path, functions=[counts_signals, known_to_one_engine]) as engine:
        await engine.start(counts_signals.options(id="known"))
        await engine.start(known_to_one_engine.options(id="unknown"))
        await (await engine.get("known")).signal(go, 6)
        while not await (await engine.get("known")).history():
            await asyncio.sleep(0)

    async with durable.Client(path) as client:
        assert await (await client.get("known")).query(count) == 6
        with pytest.raises(durable.QueryFailed, match="no workflow 'known_to_one_engine' is known"):
            await (await client.get("unknown")).query(count)


async def test_an_owner_that_does_not_answer_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("durable.client._client.QUERY_DEADLINE_S", 0.02)
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[counts_signals]) as engine:
        await engine.start(counts_signals.options(id="x"))
        engine._worker.inbox.look = lambda: None  # It is stuck: it looks no more.
        async with durable.Client(path) as client:
            with pytest.raises(
                durable.QueryFailed, match=r"did not answer query count within 0\.02"
            ):
                await (await client.get("x")).query(count)


async def test_a_query_from_a_plain_function_is_the_same(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[counts_signals], clock=ManualClock()) as engine:
        await engine.start(counts_signals.options(id="x"))

        def ask():
            with durable.Client(path).blocking() as client:
                return client.get("x").query(count, plus=3)

        assert await asyncio.to_thread(ask) == 3


# -- predicates ------------------------------------------------------------------------------------


@workflow
async def waits_wrongly(how: str, looks_first: int) -> str:
    """Its predicate does more than look, at once or when it is looked at later."""
    gone = asyncio.get_running_loop().create_future()
    looks = 0

    @go.handler
    def on_go(value: int) -> None:
        gone.cancel()

    def predicate() -> object:
        nonlocal looks
        looks += 1
        if looks <= looks_first:
            return False
        match how:
            case "a value":
                state.set("by a predicate")
            case "a task":
                asyncio.ensure_future(asyncio.sleep(0))  # noqa: RUF006
            case "chance":
                durable.random().random()
            case "the time":
                return durable.now() >= durable.info().started
            case "its own error":
                raise Sad("no")
            case "the end of an iterator":
                next(iter([]))
            case "a cancelled future":
                gone.cancelled() and gone.result()
                return False
        return True

    try:
        await durable.wait_until(predicate)
    except BaseException as error:
        return type(error).__name__
    return "held"


@pytest.mark.parametrize("looks_first", [0, 1])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("a value", "ReadOnly"), ("a task", "ReadOnly"), ("chance", "ReadOnly"),
        ("its own error", "Sad"), ("the end of an iterator", "RuntimeError"),
        ("a cancelled future", "CancelledError"), ("nothing", "held"), ("the time", "held"),
    ],
)  # fmt: skip
async def test_a_predicate_only_looks_and_what_it_raises_is_the_waiters(
    durable_harness, how, said, looks_first
):
    harness = durable_harness
    handle = await harness.start(waits_wrongly, how, looks_first)
    with contextlib.suppress(durable.RunClosed):
        await insist(harness, handle, lambda run: run.signal(go, 1, id="go"))

    async with asyncio.timeout(5):
        result = await harness.finish(handle)

    assert result == said
    assert await (await harness.again(handle)).read(state, default="unset") == "unset"


@workflow
async def waits_for_a_coroutine() -> str:
    async def predicate() -> bool:
        return False

    try:
        await durable.wait_until(predicate)
    except durable.UsageError as error:
        return str(error)
    return "held"


async def test_an_async_predicate_is_refused(durable_harness):
    assert "plain function" in await durable_harness.run(waits_for_a_coroutine)
