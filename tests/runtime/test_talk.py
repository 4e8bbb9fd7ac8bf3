"""Signals, updates, queries, values, streams, promises, children: warm, replayed, restarted."""

import asyncio

import pytest

import durable
from durable import Query, Signal, Stream, Update, Value, activity, transaction, workflow

approval = Signal("approval", bool)
number = Signal("number", int)
maybe = Signal[int | None]("maybe")
add = Update("add", int, int)
total_query = Query("total", int)
state = Value("state", str)
tokens = Stream("tokens", str)


class Sad(Exception):
    pass


@activity
async def echo(value: int) -> int:
    return value


@activity(retry=durable.Retry(max_attempts=1))
async def fail(text: str) -> int:
    raise Sad(text)


@workflow
async def receives(count: int) -> list[int]:
    found = []
    for _ in range(count):
        found.append(await number.receive())
        await echo(len(found))
    return found


@workflow
async def handles(count: int) -> list[int]:
    found: list[int] = []

    @number.handler
    async def on_number(value: int) -> None:
        found.append(await echo(value))

    await durable.wait_until(lambda: len(found) == count)
    return found


async def drive(harness, handle, *acts):
    """Do one thing after another, opening the file again whenever it was closed."""
    for act in acts:
        await reopen(harness)
        again = await harness.engine.get(handle.name)
        await act(again)
    return await harness.finish(handle)


async def reopen(harness):
    if harness.engine._worker is None:
        await harness.engine.__aexit__(None, None, None)
        harness.engine = harness._make_engine()
        await harness.engine.__aenter__()


async def test_signals_are_received_once_in_order(durable_harness):
    harness = durable_harness
    handle = await harness.start(receives, 3)
    found = await drive(
        harness,
        handle,
        *[lambda run, n=n: run.signal(number, n) for n in (5, 6, 7)],
    )

    assert found == [5, 6, 7]


async def test_a_handler_is_a_task_of_its_own(durable_harness):
    harness = durable_harness
    handle = await harness.start(handles, 3)
    found = await drive(
        harness,
        handle,
        *[lambda run, n=n: run.signal(number, n) for n in (5, 6, 7)],
    )

    assert sorted(found) == [5, 6, 7]


async def test_receive_times_out_durably(durable_harness):
    harness = durable_harness

    @workflow
    async def waits() -> str:
        try:
            return str(await approval.receive(timeout="3d"))
        except TimeoutError:
            return "late"

    assert await harness.run(waits) == "late"


@workflow
async def sums() -> int:
    total = 0
    done = asyncio.Event()

    def positive(value: int) -> None:
        if value < 0:
            raise ValueError(f"{value} is negative")

    @add.handler(validator=positive)
    async def on_add(value: int) -> int:
        nonlocal total
        total += await echo(value)
        if total >= 10:
            done.set()
        return total

    @total_query.handler
    def get_total(factor: int = 1) -> int:
        return total * factor

    await done.wait()
    return total


async def test_updates_are_answered(durable_harness):
    harness = durable_harness
    answers = []

    async def send(run, value):
        try:
            async with asyncio.timeout(5):
                answers.append(await run.update(add, value, id=f"u{value}"))
        except (TimeoutError, durable.UsageError) as error:
            answers.append(type(error).__name__)

    handle = await harness.start(sums)
    for value in (3, 4, 5):
        await reopen(harness)
        run = await harness.engine.get(handle.name)
        task = asyncio.ensure_future(run.update(add, value, id=f"u{value}"))
        while not task.done():
            await asyncio.sleep(0)
            if harness.engine._worker is None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await reopen(harness)
                run = await harness.engine.get(handle.name)
                task = asyncio.ensure_future(run.update(add, value, id=f"u{value}"))
        answers.append(task.result())
    assert await harness.finish(handle) == 12
    again = await harness.engine.get(handle.name)
    assert await again.update_result(add, "u4") == 7

    assert answers == [3, 7, 12]


async def test_a_refused_update_leaves_no_event(tmp_path):
    async with durable.Engine(tmp_path / "a.db") as engine:
        run = await engine.start(sums)
        with pytest.raises(durable.UpdateRefused, match="-1 is negative"):
            await run.update(add, -1)
        with pytest.raises(durable.UpdateRefused, match="takes: add"):
            await run.update(Update("other", int, int), 1)
        assert await run.history() == []
        assert await run.query(total_query) == 0
        assert await run.update(add, 4) == 4
        assert await run.query(total_query, factor=2) == 8
        assert await run.update(add, 8) == 12
        assert await run.result() == 12
        assert await run.query(total_query) == 12


@workflow
async def publishes(count: int) -> int:
    state.set("begun")
    for index in range(count):
        tokens.append(f"w{index}")
        await streams(index)
        state.set(f"done {index}")
    return count


@activity
async def streams(index: int) -> None:
    tokens.append(f"a{index}")


async def test_values_and_items_are_written_once(durable_harness):
    harness = durable_harness
    handle = await harness.start(publishes, 3)
    assert await harness.finish(handle) == 3
    run = await harness.engine.get(handle.name)
    assert await run.read(state) == "done 2"
    items = [item async for item in run.tail(tokens)]

    assert [item.value for item in items if not item.attempt] == ["w0", "w1", "w2"]
    assert {item.value for item in items if item.attempt} == {"a0", "a1", "a2"}
    assert [item.position for item in items] == list(range(len(items)))


@workflow
async def asks() -> str:
    answer = durable.promise("ok", str)
    state.set(answer.token)
    return await answer


async def test_a_promise_is_kept_from_outside(durable_harness):
    harness = durable_harness
    handle = await harness.start(asks)

    async def answer(run):
        await harness.engine.resolve(await run.read(state), "yes")

    assert await drive(harness, handle, lambda run: run.watch(state).__anext__(), answer) == "yes"


@workflow
async def child(value: int) -> int:
    if value < 0:
        raise Sad(f"child {value}")
    return await echo(value) * 10


@workflow
async def parent(values: list[int]) -> list[str]:
    found = await asyncio.gather(*(child(value) for value in values), return_exceptions=True)
    return [repr(one) for one in found]


async def test_children_run_and_their_failures_are_exceptions(durable_harness):
    harness = durable_harness
    harness.started.append(child)
    found = await harness.run(parent, [1, -2, 3])

    assert found == ["10", "Sad('child -2')", "30"]


@workflow
async def starts_one(value: int) -> list[int]:
    handle = await child.options(id="the-child").start(value)
    await echo(1)
    return [await handle.result(), handle.ordinal]


async def test_a_started_child_is_a_handle(durable_harness):
    harness = durable_harness
    harness.started.append(child)
    assert await harness.run(starts_one, 4) == [40, 1]


@workflow
async def maps(count: int) -> list[int]:
    return await durable.map(echo, range(count), limit=3)


async def test_map_keeps_order(durable_harness):
    harness = durable_harness
    assert await harness.run(maps, 12) == list(range(12))


@transaction
def take(cursor: durable.Cursor, sku: str) -> int:
    cursor.execute("CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, n INTEGER)")
    cursor.execute("INSERT INTO stock VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (sku,))
    row = cursor.execute("SELECT n FROM stock WHERE sku = ?", (sku,)).fetchone()
    assert row is not None
    return row[0]


@workflow
async def sells(count: int) -> list[int]:
    return [await take("a") for _ in range(count)]


async def test_a_transaction_happens_exactly_once(durable_harness):
    harness = durable_harness
    assert await harness.run(sells, 4) == [1, 2, 3, 4]


@workflow
async def goes_on(left: int, got: list[int]) -> list[int]:
    got = [*got, await number.receive()]
    if left > 1:
        durable.continue_as_new(left - 1, got)
    return got


async def test_signals_move_along(durable_harness):
    harness = durable_harness
    handle = await harness.start(goes_on.options(id="x"), 3, [])
    run = await harness.engine.get("x#1")
    for value in (1, 2, 3):
        await reopen(harness)
        run = await harness.engine.get("x")
        await run.signal(number, value)
    assert await harness.finish(handle) == [1, 2, 3]


lines = Stream("lines", str)


@activity(retry=durable.Retry(initial_interval=1))
async def tells(words: int) -> None:
    """Says its words, and fails after the second one the first time."""
    for index in range(words):
        lines.append(f"{index}")
        if index == 1 and durable.attempt().number == 1:
            raise ConnectionError("hung up")


@workflow
async def tells_in_turns(left: int) -> None:
    lines.append("next")
    await tells(3)
    if left:
        durable.continue_as_new(left - 1)


def fold(items):
    """Return what each step says in the end, as a reader of a stream may: see docs/messages.md."""
    said = {}
    for item in items:
        of_step = said.setdefault((item.ordinal, item.step), [])
        del of_step[item.index :]
        of_step.append(item.value)
    return said


async def test_an_item_of_a_repeated_attempt_takes_the_place_of_the_one_before(durable_harness):
    harness = durable_harness
    handle = await harness.start(tells_in_turns.options(id="x"), 1)
    await harness.finish(handle)

    items = [item async for item in (await harness.engine.get("x#1")).tail(lines)]

    said = fold(items)
    assert said == {
        (ordinal, step): said
        for ordinal in (1, 2)
        for step, said in (("!w1", ["next"]), ("1", ["0", "1", "2"]))
    }
    assert {item.attempt for item in items if item.step == "1"} == {1, 2}
    for ordinal in (1, 2):
        positions = [item.position for item in items if item.ordinal == ordinal]
        assert positions == list(range(len(positions)))


async def test_an_attempt_cut_off_by_a_death_begins_its_items_again(tmp_path):
    path = tmp_path / "app.db"
    hangs = asyncio.Event()

    @activity
    async def says() -> str:
        lines.append("a")
        lines.append("b")
        if not hangs.is_set():
            hangs.set()
            await asyncio.Event().wait()
        return "said"

    @workflow
    async def speaks() -> str:
        return await says()

    async with durable.Engine(path, functions=[speaks], grace=0) as engine:
        run = await engine.start(speaks.options(id="x"))
        async for item in run.tail(lines):
            if item.value == "b":
                break
    async with durable.Engine(path, functions=[speaks]) as engine:
        run = await engine.get("x")
        await run.result()
        items = [item async for item in run.tail(lines)]

    assert [(item.value, item.attempt, item.index) for item in items] == [
        ("a", 1, 0),
        ("b", 1, 1),
        ("a", 1, 0),
        ("b", 1, 1),
    ]
    assert fold(items) == {(1, "1"): ["a", "b"]}
