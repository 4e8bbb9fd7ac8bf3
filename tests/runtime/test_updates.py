"""Updates: accepted or refused, done once, answered for good; warm, replayed, restarted."""

import asyncio
import contextlib
from typing import Any

import pytest

import durable
from durable import Query, Signal, Update, Value, activity, workflow
from durable.testing import ManualClock
from tests.runtime.insist import facts, insist, reach

add = Update("add", int, int)
other = Update("other", int, int)
echo_text = Update("echo", str, str)
go = Signal("go", int)
seen = Query("seen", list[int])
state = Value("state", str)

called: list[int] = []
"""What handlers outside of any history were called with, replays included."""


class Sad(Exception):
    pass


@activity
async def echo_update(value: int) -> int:
    return value


@pytest.fixture
async def engine(tmp_path):
    # For what is said where one engine lives: who else is there is the point of these tests.
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


# -- accepted or refused ---------------------------------------------------------------------------


@workflow
async def adds_up() -> list[int]:
    """Ends with a signal; what it has seen is its result."""
    values: list[int] = []

    def positive(value: int) -> None:
        if value < 0:
            raise Sad(f"{value} is negative")
        if value == 13:
            raise Sad

    @add.handler(validator=positive)
    async def on_add(value: int) -> int:
        values.append(value)
        if value == 7:
            raise Sad("seven is sad")
        await echo_update(value)
        return sum(values)

    seen.handler(lambda: list(values))
    await go.receive()
    return values


async def update(harness, handle, value, id, which=add):
    """Send an update till it is answered; return the answer, or the error."""
    try:
        return await insist(harness, handle, lambda run: run.update(which, value, id=id))
    except durable.WorkflowError as error:
        return error


async def stop(harness, handle):
    """Let a run that ends with a signal end; return its result."""
    with contextlib.suppress(durable.RunClosed):  # It was sent by an engine that vanished.
        await insist(harness, handle, lambda run: run.signal(go, 0, id="stop"))
    return await harness.finish(handle)


async def test_a_refused_update_leaves_nothing(durable_harness):
    harness = durable_harness
    handle = await harness.start(adds_up)

    refused = await update(harness, handle, -1, "a")
    speechless = await update(harness, handle, 13, "b")
    unknown = await update(harness, handle, 1, "c", other)

    assert [type(one) for one in (refused, speechless, unknown)] == [durable.UpdateRefused] * 3
    assert str(refused) == "-1 is negative"
    assert str(speechless) == "Sad"
    assert "takes no update 'other' now; it takes: add" in str(unknown)
    assert await (await harness.again(handle)).history() == []
    assert await stop(harness, handle) == []


async def test_a_refused_updates_id_stays_refused(durable_harness):
    harness = durable_harness
    handle = await harness.start(adds_up)
    await update(harness, handle, -1, "a")

    again = await update(harness, handle, 5, "a")

    assert isinstance(again, durable.UpdateRefused)
    assert await stop(harness, handle) == []


async def test_an_update_is_done_once_for_each_id(durable_harness):
    harness = durable_harness
    handle = await harness.start(adds_up)

    answers = [await update(harness, handle, 4, "same") for _ in range(3)]
    answers.append(await update(harness, handle, 5, "other"))

    assert answers == [4, 4, 4, 9]
    assert await stop(harness, handle) == [4, 5]


async def test_what_a_handler_raises_is_the_same_answer_each_time(durable_harness):
    harness = durable_harness
    handle = await harness.start(adds_up)

    failures = [await update(harness, handle, 7, "seven") for _ in range(2)]

    for failed in failures:
        assert isinstance(failed, durable.UpdateFailed)
        assert isinstance(failed.__cause__, Sad)
        assert "Sad: seven is sad" in str(failed)
    assert await update(harness, handle, 1, "one") == 8
    assert await stop(harness, handle) == [7, 1]


async def test_two_askers_of_one_id_get_the_same_answer(engine):
    run = await engine.start(adds_up)

    answers = await asyncio.gather(*(run.update(add, 3, id="same") for _ in range(5)))

    assert answers == [3] * 5
    assert await run.query(seen) == [3]


async def test_two_updates_at_once_are_both_done(durable_harness):
    harness = durable_harness
    handle = await harness.start(adds_up)

    async def both(run):
        return await asyncio.gather(
            run.update(add, 1, id="one"), run.update(add, 2, id="two"), run.update(add, 3, id="3")
        )

    answers = await insist(harness, handle, both)

    assert max(answers) == 6
    assert sorted(await stop(harness, handle)) == [1, 2, 3]


async def test_an_answer_is_there_for_good(durable_harness):
    harness = durable_harness
    handle = await harness.start(adds_up.options(id="x"))
    await update(harness, handle, 4, "four")
    await update(harness, handle, 7, "seven")
    await update(harness, handle, -1, "minus")
    await stop(harness, handle)
    run = await harness.again(handle)

    async with durable.Client(harness.path) as client:
        for asked in (run, await client.get("x")):
            assert await asked.update_result(add, "four") == 4
            with pytest.raises(durable.UpdateFailed, match="seven is sad"):
                await asked.update_result(add, "seven")
            with pytest.raises(durable.UpdateRefused, match="-1 is negative"):
                await asked.update_result(add, "minus")
            with pytest.raises(durable.UsageError, match="no update 'none' was ever sent"):
                await asked.update_result(add, "none")
            assert await asked.update(add, 4, id="four") == 4
            with pytest.raises(durable.RunClosed, match="takes no more updates"):
                await asked.update(add, 5, id="new")


async def test_an_update_to_an_unknown_run_is_refused(engine):
    with pytest.raises(durable.RunNotFound):
        await (await engine.get("nobody")).update(add, 1)


@pytest.mark.parametrize("value", ["four", None, object()])
async def test_a_value_of_the_wrong_type_is_refused_at_the_call(engine, value):
    run = await engine.start(adds_up)

    with pytest.raises(durable.PayloadError):
        await run.update(add, value, id="x")
    with pytest.raises(durable.UsageError, match="no update 'x' was ever sent"):
        await run.update_result(add, "x")


async def test_what_the_handler_cannot_decode_is_refused(durable_harness):
    harness = durable_harness
    handle = await harness.start(adds_up)

    refused = await update(harness, handle, "four", "x", Update("add", str, int))

    assert isinstance(refused, durable.UpdateRefused)
    assert "int" in str(refused)
    assert await (await harness.again(handle)).history() == []


@workflow
async def answers_wrongly() -> None:
    @add.handler
    def on_add(value: int) -> int:
        return "wrong" if value else object()  # type: ignore[return-value]

    await go.receive()


@pytest.mark.parametrize("value", [0, 1])
async def test_an_answer_that_does_not_fit_fails_the_update_alone(durable_harness, value):
    harness = durable_harness
    handle = await harness.start(answers_wrongly)

    failed = await update(harness, handle, value, "x")

    assert isinstance(failed, durable.UpdateFailed)
    assert isinstance(failed.__cause__, durable.PayloadError)
    await stop(harness, handle)


@pytest.mark.parametrize("length", [100, 32_768, 300_000])
async def test_large_ones_arrive_whole_both_ways(durable_harness, length):
    harness = durable_harness

    @workflow
    async def echoes() -> None:
        @echo_text.handler
        async def on_echo(value: str) -> str:
            await echo_update(len(value))
            return value + "!"

        await go.receive()

    handle = await harness.start(echoes)
    answer = await update(harness, handle, "x" * length, "a", echo_text)

    assert answer == "x" * length + "!"
    await stop(harness, handle)
    assert await (await harness.again(handle)).update_result(echo_text, "a") == answer


async def test_one_that_is_too_large_is_refused_at_the_call(tmp_path):
    limits = durable.Limits(payload_bytes_max=1_000)
    async with durable.Engine(tmp_path / "app.db", limits=limits) as engine:
        run = await engine.start(adds_up)

        with pytest.raises(durable.PayloadTooLarge):
            await run.update(Update("add", str, int), "x" * 1_000)
        assert await run.update(add, 1) == 1


# -- validators ------------------------------------------------------------------------------------


@workflow
async def validates(how: str) -> list[str]:
    event = asyncio.Event()
    found: list[str] = []
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()

    async def waits():
        await event.wait()
        found.append("woken")

    waiting = asyncio.ensure_future(waits())

    def may(value: int) -> None:
        if not value:
            return
        match how:
            case "a value":
                state.set("by a validator")
            case "an activity":
                asyncio.ensure_future(echo_update(1))  # noqa: RUF006
            case "an event":
                event.set()
            case "swallows":
                try:
                    event.set()
                except Exception:
                    found.append("swallowed")
            case "a letter":
                go.receive_nowait()
            case "chance":
                durable.random().random()
            case "going on":
                durable.continue_as_new()
            case "a cancelled future":
                gone.result()

    @add.handler(validator=may)
    async def on_add(value: int) -> int:
        found.append(f"accepted {value}")
        return len(found)

    found.append(str(await go.receive()))
    found.append(str(durable.random().random() != 0))
    event.set()
    await waiting
    return found


VALIDATORS = [
    "a value", "an activity", "an event", "swallows", "a letter", "chance", "going on",
    "a cancelled future",
]  # fmt: skip


@pytest.mark.parametrize("how", VALIDATORS)
async def test_a_validator_that_does_more_than_look_refuses_and_changes_nothing(
    durable_harness, how
):
    harness = durable_harness
    handle = await harness.start(validates, how)

    refused = await update(harness, handle, 1, "refused")
    accepted = await update(harness, handle, 0, "accepted")

    assert isinstance(refused, durable.UpdateRefused)
    assert accepted == 1
    assert await stop(harness, handle) == ["accepted 0", "0", "True", "woken"]
    run = await harness.again(handle)
    assert await run.read(state, default="unset") == "unset"
    assert [event.kind for event in await run.history()] == ["update_accepted", "received"]


@workflow
async def has_an_async_validator() -> str:
    async def may(value: int) -> None: ...

    try:
        add.handler(validator=may)(abs)
    except durable.UsageError as error:
        return str(error)
    return "taken"


async def test_an_async_validator_is_refused_where_it_is_given(durable_harness):
    assert "plain function" in await durable_harness.run(has_an_async_validator)


# -- what handlers may do --------------------------------------------------------------------------


@workflow
async def handlers_wait() -> list[int]:
    order: list[int] = []
    ready = asyncio.Event()

    @add.handler
    async def on_add(value: int) -> int:
        order.append(value)
        match value:
            case 1:
                await durable.sleep("1h")
            case 2:
                await ready.wait()
            case 3:
                ready.set()
            case 4:
                await asyncio.gather(echo_update(4), asyncio.sleep(5), echo_update(5))
        order.append(-value)
        return value

    await go.receive()
    await durable.wait_until(lambda: len(order) == 8)
    return order


async def test_a_handler_awaits_activities_timers_and_other_updates(durable_harness):
    harness = durable_harness
    handle = await harness.start(handlers_wait)

    async def four(run):
        return await asyncio.gather(*(run.update(add, n, id=f"u{n}") for n in (1, 2, 3, 4)))

    assert await insist(harness, handle, four) == [1, 2, 3, 4]
    order = await stop(harness, handle)
    assert sorted(order) == [-4, -3, -2, -1, 1, 2, 3, 4]
    assert order.index(3) < order.index(-2)


@workflow
async def replaces_its_handler() -> int:
    add.handler(lambda value: value + 1)
    await go.receive()
    add.handler(lambda value: value + 100)
    return await go.receive()


async def test_a_new_handler_takes_the_updates_from_there_on(durable_harness):
    harness = durable_harness
    handle = await harness.start(replaces_its_handler)

    before = await update(harness, handle, 1, "before")
    await insist(harness, handle, lambda run: run.signal(go, 1, id="go"))
    await reach(harness, handle, lambda kinds: "received" in kinds)
    after = await update(harness, handle, 1, "after")

    assert (before, after) == (2, 101)
    assert await stop(harness, handle) == 0


# -- before it begins ------------------------------------------------------------------------------


@workflow
async def takes_from_the_start() -> list[int]:
    values: list[int] = []

    @add.handler
    def on_add(value: int) -> int:
        values.append(value)
        return len(values)

    await echo_update(1)
    await durable.wait_until(lambda: len(values) >= 2)
    return values


async def test_update_with_start_starts_once_and_reaches_the_newest(engine):
    start = takes_from_the_start.options(id="x")

    answers = [await engine.update_with_start(add, value, start) for value in (5, 6)]

    assert answers == [1, 2]
    assert await (await engine.get("x")).result() == [5, 6]
    with pytest.raises(durable.RunClosed, match='on_closed="restart"'):
        await engine.update_with_start(add, 7, start)
    assert await engine.update_with_start(add, 8, start.options(on_closed="restart")) == 1
    assert (await engine.get("x")).name == "x#2"


async def test_a_refused_update_with_start_has_started_the_run(engine):
    with pytest.raises(durable.UpdateRefused):
        await engine.update_with_start(add, -1, adds_up.options(id="x"))

    assert await (await engine.get("x")).update(add, 2) == 2


async def test_an_update_sent_before_the_first_step_is_taken_in_turn(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[]):
        pass
    async with durable.Client(path) as client:
        run = await client.start(takes_from_the_start.options(id="x"))
        waiting = [asyncio.ensure_future(run.update(add, n, id=f"{n}")) for n in (3, 4)]
        while (
            client._store.reader._connection.execute("SELECT count(*) FROM durable_inbox").get < 2
        ):
            await asyncio.sleep(0)

        async with durable.Engine(path, functions=[takes_from_the_start]) as engine:
            answers = await asyncio.gather(*waiting)
            found = await (await engine.get("x")).result()

    assert sorted(found) == [3, 4]
    assert sorted(answers) == [1, 2]


# -- the end of the run ----------------------------------------------------------------------------


@workflow
async def leaves_one_open(how: str) -> str:
    @add.handler
    async def on_add(value: int) -> int:
        try:
            if how in {"completed", "continued"}:
                await durable.sleep(60)
            else:
                await asyncio.Event().wait()
        finally:
            state.set("the handler was closed")
        return value

    if await go.receive() and how == "failed":
        raise Sad("over")
    if how == "continued":
        durable.continue_as_new("completed")
    return how


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "terminated", "continued"])
async def test_an_open_update_is_definite_whatever_end_its_run_takes(durable_harness, end):
    harness = durable_harness
    handle = await harness.start(leaves_one_open.options(id="x"), end)
    await insist(harness, handle, _send)
    await reach(harness, handle, lambda kinds: "update_accepted" in kinds)

    match end:
        case "cancelled" | "terminated":
            verb = end.removesuffix("led") if end == "cancelled" else "terminate"

            async def ask(run):
                # An engine that vanished may have done it before it could say so.
                with contextlib.suppress(durable.RunClosed):
                    await getattr(run, verb)()

            await insist(harness, handle, ask)
        case _:
            await insist(harness, handle, lambda run: run.signal(go, 1, id="go"))
            if end == "continued":
                await stop(harness, handle)
    with contextlib.suppress(durable.WorkflowError):
        await harness.finish(handle)

    run = await (await harness.again(handle))._client.get("x#1")
    assert await run.status() == end
    said = await asyncio.gather(
        run.update_result(add, "open"), run.update(add, 1, id="open"), return_exceptions=True
    )
    # A good end waits for what has begun; one that fails or is cancelled cancels it.
    kind = {
        "completed": int, "continued": int, "failed": durable.UpdateFailed,
        "cancelled": durable.UpdateFailed, "terminated": durable.UpdateAbandoned,
    }[end]  # fmt: skip
    assert [type(one) for one in said] == [kind, kind]


async def _send(run):
    """Send an update, and give up waiting for its answer once it is in the file."""
    waiting = asyncio.ensure_future(run.update(add, 1, id="open"))
    while not (
        waiting.done() or run._client._reader.find_update(run._client._get_row(run._pk), "open")
    ):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_an_update_that_completes_in_the_runs_last_drain_is_answered(durable_harness):
    harness = durable_harness

    @workflow
    async def ends_with_it() -> int:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        @add.handler
        async def on_add(value: int) -> int:
            done.set_result(await echo_update(value))
            return value

        return await done

    handle = await harness.start(ends_with_it)

    assert await update(harness, handle, 3, "x") == 3
    assert await harness.finish(handle) == 3


async def test_giving_up_on_the_answer_takes_nothing_back(engine):
    run = await engine.start(handlers_wait)
    waiting = asyncio.ensure_future(run.update(add, 2, id="u2"))
    while not await run.history():
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    await run.update(add, 3)

    assert await run.update_result(add, "u2") == 2


async def test_an_update_to_a_paused_or_blocked_run_waits_for_its_repair(tmp_path):
    path = tmp_path / "app.db"
    mended = asyncio.Event()

    @activity(retry=durable.Retry(max_attempts=1, on_exhausted="pause"))
    async def fragile() -> int:
        if not mended.is_set():
            raise Sad("not yet")
        return 1

    @workflow
    async def pauses() -> list[int]:
        values: list[int] = []

        @add.handler
        def on_add(value: int) -> int:
            values.append(value)
            return value

        await fragile()
        await durable.wait_until(lambda: len(values) == 1)
        return values

    async with durable.Engine(path, clock=ManualClock()) as engine:
        run = await engine.start(pauses)
        while await run.status() != "paused":
            await asyncio.sleep(0)
        waiting = asyncio.ensure_future(run.update(add, 3))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        mended.set()
        await run.retry()

        assert await waiting == 3
        assert await run.result() == [3]


@workflow
async def one_after_another() -> Any:
    values: list[int] = []

    @add.handler
    async def on_add(value: int) -> int:
        values.append(await echo_update(value))
        return durable.random().getrandbits(30)

    await durable.wait_until(lambda: len(values) == 3)
    return values


async def test_histories_of_updates_are_the_same_in_each_mode(durable_harness):
    harness = durable_harness
    handle = await harness.start(one_after_another.options(id="same"))
    answers = [await update(harness, handle, n, f"u{n}") for n in (1, 2, 3)]

    assert await harness.finish(handle) == [1, 2, 3]
    assert len(set(answers)) == 3
    history = facts(await (await harness.again(handle)).history())
    assert [(one[1], one[2]) for one in history] == [
        ("update_accepted", "u1"), ("completed", "update:u1.1"),
        ("update_accepted", "u2"), ("completed", "update:u2.1"),
        ("update_accepted", "u3"), ("completed", "update:u3.1"),
    ]  # fmt: skip


@workflow
async def would_continue() -> str:
    @add.handler
    async def on_add(value: int) -> int:
        async def nested() -> int:
            durable.continue_as_new()

        return await asyncio.gather(nested()) if value else durable.continue_as_new()  # type: ignore[return-value]

    await go.receive()
    return "ended"


@pytest.mark.parametrize("value", [0, 1], ids=["handler", "task of it"])
async def test_a_handler_of_an_update_that_would_go_on_as_new_is_told_what_to_do(tmp_path, value):
    async with durable.Engine(tmp_path / "app.db") as engine:
        run = await engine.start(would_continue)

        with pytest.raises(durable.UpdateFailed, match="let the handler set a flag"):
            await run.update(add, value)
        await run.signal(go, 1)

        assert await run.result() == "ended"
