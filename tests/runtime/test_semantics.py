"""What docs/comparison.md says of talking runs, line by line, where no other test shows it."""

import asyncio
import datetime as dt
from typing import Any

import pytest

import durable
from durable import Query, Signal, Stream, Update, Value, activity, workflow
from durable.testing import ManualClock

number = Signal("number", int)
stop = Signal("stop", bool)
add = Update("add", int, int)
slow = Update("slow", int, int)
total = Query("total", int)
state = Value("state", str)
words = Stream("words", str)


class Sad(Exception):
    pass


@activity
async def echo(value: int) -> int:
    return value


@activity
async def hang() -> None:
    await asyncio.Event().wait()


@workflow
async def receives(count: int) -> list[int]:
    return [await number.receive() for _ in range(count)]


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


# -- activities and their limits -------------------------------------------------------------------


@activity
async def by_hand(text: str) -> str:
    state.set(durable.complete_later())
    return text


@workflow
async def signs() -> str:
    try:
        return await by_hand("ignored")
    except durable.PromiseRejected as error:
        return f"rejected: {error}"


@pytest.mark.parametrize(("verb", "result"), [("resolve", "ada"), ("reject", "rejected: ada")])
async def test_an_activity_is_completed_from_outside_by_its_token(engine, verb, result):
    run = await engine.start(signs)
    token = await anext(run.watch(state))

    answered = await getattr(engine, verb)(token, "ada")

    assert await run.result() == result
    assert answered.name == run.name


@activity(
    schedule_to_close="10s", retry=durable.Retry(initial_interval=60, max_interval=60, jitter=0)
)
async def fails() -> None:
    raise ConnectionError("no")


@workflow
async def tries() -> str:
    try:
        await fails()
    except durable.ScheduleToCloseTimeout as error:
        return str(error)
    return "never"


async def test_a_retry_that_would_come_too_late_is_not_waited_for(tmp_path):
    # Its time stands still: nothing that waits would ever end.
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock(jumps=False)) as engine:
        async with asyncio.timeout(20):
            message = await (await engine.start(tries)).result()

    assert "the next attempt would be too late; attempt 1 failed" in message


@workflow
async def sleeps_not() -> int:
    await asyncio.sleep(0)
    await durable.sleep(0)
    await asyncio.sleep(-1)
    return durable.info().events


async def test_a_sleep_of_nothing_makes_no_timer(engine):
    assert await (await engine.start(sleeps_not)).result() == 0


# -- signals ---------------------------------------------------------------------------------------


async def test_signals_sent_before_the_first_step_are_kept_in_order(tmp_path):
    async with durable.Engine(tmp_path / "app.db", functions=[]):
        pass
    async with durable.Client(tmp_path / "app.db") as client:
        run = await client.start(receives.options(id="x"), 3)
        for value in (3, 1, 2):
            await run.signal(number, value)

    async with durable.Engine(tmp_path / "app.db", functions=[receives]) as engine:
        assert await (await engine.get("x")).result() == [3, 1, 2]


async def test_a_signal_of_a_known_id_is_not_delivered_again(engine):
    run = await engine.start(receives, 2)

    for value in (1, 2, 3):
        await run.signal(number, value, id="same")
    await run.signal(number, 9)

    assert await run.result() == [1, 9]


async def test_signal_with_start_starts_once_and_signals_each_time(engine):
    for value in (1, 2):
        run = await engine.signal_with_start(number, value, receives.options(id="x"), 2)

    assert (await run.result(), run.name) == ([1, 2], "x")


class LooksLate(durable.Engine):
    """An engine that looks at a run it has sent a message to only when that has ended."""

    async def _insert(self, workflow, *rest):
        found = await super()._insert(workflow, *rest)
        if not found[1]:
            await (await self.get(workflow.start_options.id)).result()
        return found


@pytest.mark.parametrize("on_closed", ["return", "restart"])
async def test_a_signal_with_start_that_ends_the_run_was_sent(tmp_path, on_closed):
    again = receives.options(id="x", on_closed=on_closed)
    async with LooksLate(tmp_path / "app.db") as engine, asyncio.timeout(20):
        await engine.signal_with_start(number, 1, again, 2)

        run = await engine.signal_with_start(number, 2, again, 2)

        # It is not refused, nor started again, for a signal that it got.
        assert (await run.result(), run.name) == ([1, 2], "x")


async def test_a_signal_that_does_not_decode_is_a_dead_letter_and_no_hindrance(engine):
    run = await engine.start(receives, 1)
    await run.signal(Signal("number", str), "not a number")
    await run.signal(number, 7)

    assert await run.result() == [7]
    (letter,) = (await run.details()).dead_letters
    assert (letter.name, letter.payload) == ("number", '"not a number"')


async def test_a_signal_to_a_closed_run_is_refused(engine):
    run = await engine.start(receives, 0)
    await run.result()

    with pytest.raises(durable.RunClosed, match="takes no more signals"):
        await run.signal(number, 1)
    assert await run.history() == []


@workflow
async def sends(target: str) -> str:
    try:
        await number.send(target, 5)
    except durable.UsageError as error:
        return type(error).__name__
    return "sent"


async def test_a_run_signals_another_and_gets_an_error_for_one_that_is_not_there(engine):
    target = await engine.start(receives.options(id="target"), 1)

    sent = await (await engine.start(sends, "target")).result()
    unknown = await (await engine.start(sends, "nobody")).result()
    assert await target.result() == [5]
    closed = await (await engine.start(sends, "target")).result()

    assert (sent, unknown, closed) == ("sent", "RunNotFound", "RunClosed")


@workflow
async def hears_all() -> list[str]:
    heard: list[str] = []
    Signal.any_handler(lambda name, value: heard.append(f"{name}={value}"))
    await durable.wait_until(lambda: len(heard) == 2)
    return heard


async def test_a_catch_all_handler_gets_what_nobody_else_takes(engine):
    run = await engine.start(hears_all)
    await run.signal(Signal("one", int), 1)
    await run.signal(Signal("two", str), "b")

    assert await run.result() == ["one=1", "two=b"]


# -- queries and values ----------------------------------------------------------------------------


@workflow
async def counts() -> int:
    found = 0
    looked = 0

    @add.handler
    async def on_add(value: int) -> int:
        nonlocal found
        if value < 0:
            raise Sad(f"{value} is sad")
        found += await echo(value)
        state.set(f"at {found}")
        return found

    @slow.handler
    async def on_slow(value: int) -> int:
        await durable.sleep("1d")
        return value

    @total.handler
    def get_total(how: str = "") -> int:
        match how:
            case "writes":
                state.set("by a query")
            case "steps":
                asyncio.ensure_future(echo(1))  # noqa: RUF006  it is refused
            case "sleeps":
                asyncio.get_running_loop().call_later(1, print)
        return found

    def is_over() -> bool:
        nonlocal looked
        looked += 1
        return found >= 10

    await durable.wait_until(is_over)
    return looked


@pytest.mark.parametrize("how", ["writes", "steps", "sleeps"])
async def test_a_query_that_would_change_the_run_raises_and_leaves_no_trace(engine, how):
    run = await engine.start(counts)
    assert await run.update(add, 4) == 4
    before = await run.history()

    with pytest.raises(durable.QueryFailed, match="ReadOnly"):
        await run.query(total, how)

    assert await run.query(total) == 4
    assert await run.history() == before
    assert await run.read(state) == "at 4"
    assert await run.update(add, 6) == 10


async def test_a_query_evaluates_no_condition(engine):
    run = await engine.start(counts)
    for _ in range(50):
        await run.query(total)
    await run.update(add, 10)

    assert await run.result() < 10


async def test_a_query_of_a_closed_run_is_answered_by_replay(engine):
    run = await engine.start(counts)
    await run.update(add, 12)
    await run.result()

    assert await run.query(total) == 12


async def test_a_value_is_read_where_no_worker_lives(tmp_path):
    async with durable.Engine(tmp_path / "app.db") as engine:
        run = await engine.start(counts.options(id="x"))
        await run.update(add, 4)

    async with durable.Client(tmp_path / "app.db") as client:
        assert await (await client.get("x")).read(state) == "at 4"
        assert await (await client.get("x")).read(Value("unset", int), default=0) == 0


# -- updates ---------------------------------------------------------------------------------------


async def test_an_update_whose_handler_raises_fails_alone(engine):
    run = await engine.start(counts)

    with pytest.raises(durable.UpdateFailed, match="Sad: -3 is sad") as failed:
        await run.update(add, -3)

    assert isinstance(failed.value.__cause__, Sad)
    assert await run.update(add, 10) == 10


async def test_update_with_start_starts_once_and_answers_each_time(engine):
    answers = [
        await engine.update_with_start(add, value, counts.options(id="x")) for value in (3, 4)
    ]

    assert answers == [3, 7]


async def test_an_update_open_at_the_end_is_abandoned(engine):
    run = await engine.start(counts)
    waiting = asyncio.ensure_future(run.update(slow, 1))
    while not any(event.kind == "update_accepted" for event in await run.history()):
        await asyncio.sleep(0)
    await run.terminate()

    with pytest.raises(durable.UpdateAbandoned):
        await waiting


async def test_an_update_that_ends_with_its_run_is_answered(engine):
    run = await engine.start(counts)

    assert await run.update(add, 10) == 10
    assert await run.result() > 0


# -- promises --------------------------------------------------------------------------------------


@workflow
async def asks() -> str:
    asked = durable.promise("ok", bool)
    state.set(asked.token)
    try:
        return str(await asked.wait("3d"))
    except TimeoutError:
        return "late"
    except durable.PromiseRejected as error:
        return f"no: {error}"


async def test_a_promise_is_rejected_or_times_out(engine):
    rejected, late = await engine.start(asks), await engine.start(asks)
    token = await anext(rejected.watch(state))
    await engine.reject(token, "not today")

    assert await rejected.result() == "no: not today"
    assert await late.result() == "late"
    with pytest.raises(durable.TokenUnknown):
        await engine.resolve(token, True)


# -- children --------------------------------------------------------------------------------------


@workflow
async def child(value: int) -> int:
    return await echo(value)


@workflow
async def waits_long() -> str:
    try:
        await durable.sleep("300d")
    except asyncio.CancelledError:
        state.set(durable.info().cancel_reason or "")
        raise
    return "woken"


@workflow
async def leaves(what: str) -> str:
    """Ends while a child of it is open."""
    options = waits_long.options(id="left")
    if what != "default":
        options = options.options(on_parent_close=what)  # type: ignore[arg-type]
    await options.start()
    return what


@pytest.mark.parametrize(
    ("what", "state_of_child"),
    [("default", "completed"), ("abandon", "completed"), ("cancel", "cancelled"),
     ("terminate", "terminated")],
)  # fmt: skip
async def test_what_becomes_of_a_child_whose_parent_ends(engine, what, state_of_child):
    await (await engine.start(leaves, what)).result()
    left = await engine.get("left")

    await asyncio.gather(left.result(), return_exceptions=True)

    assert await left.status() == state_of_child


@workflow
async def gives_up(how: str) -> str:
    """Waits a day for a child that takes longer."""
    options = waits_long.options(id="given-up")
    try:
        async with asyncio.timeout(86_400):
            match how:
                case "awaited":
                    await options()
                case "left":
                    await options.options(on_cancel="abandon")()
                case _:
                    await (await options.start()).result()
    except TimeoutError:
        return "gave up"
    return "never"


@pytest.mark.parametrize(
    ("how", "state_of_child"),
    [("awaited", "cancelled"), ("left", "completed"), ("handle", "completed")],
)
async def test_giving_up_on_a_child_asks_it_to_stop_and_does_not_wait(engine, how, state_of_child):
    assert await (await engine.start(gives_up, how)).result() == "gave up"
    given_up = await engine.get("given-up")

    await asyncio.gather(given_up.result(), return_exceptions=True)

    assert await given_up.status() == state_of_child


@workflow
async def starts_twice() -> str:
    await child.options(id="taken").start(1)
    try:
        await child.options(id="taken").start(2)
    except durable.IdConflict:
        return "conflict"
    return "two"


async def test_a_childs_id_that_is_taken_is_an_error_to_catch(engine):
    assert await (await engine.start(starts_twice)).result() == "conflict"


@workflow
async def tells_its_child() -> list[int]:
    handle = await receives.options(id="told").start(2)
    await number.send(handle, 1)
    await number.send(handle.id, 2)
    return await handle.result()


async def test_a_parent_signals_its_child(engine):
    assert await (await engine.start(tells_its_child)).result() == [1, 2]


@workflow
async def family(depth: int) -> int:
    return 0 if depth == 0 else 1 + await family(depth - 1)


async def test_families_are_linked_both_ways(engine):
    top = await engine.start(family.options(id="top"), 2)
    assert await top.result() == 2

    (below,) = await top.children()
    (last,) = await below.children()
    assert (below.name, last.name) == ("top/1", "top/1/1")
    above, details = await below.parent(), await last.details()
    assert above is not None
    assert (above.name, details.parent, details.root) == ("top", "top/1", "top")


# -- cancellation and time limits ------------------------------------------------------------------


async def test_the_reason_of_a_cancel_is_told_inside_and_outside(engine):
    run = await engine.start(waits_long)
    await run.cancel("moved away")

    with pytest.raises(durable.RunCancelled, match="moved away"):
        await run.result()
    assert await run.read(state) == "moved away"


@workflow
async def handler_hangs() -> None:
    @number.handler
    async def on_number(value: int) -> None:
        try:
            await hang()
        finally:
            state.set("the handler was cancelled")

    try:
        await durable.sleep("300d")
    finally:
        await echo(1)  # The main task still cleans up when the handler is gone.


async def test_handlers_are_cancelled_with_the_run(engine):
    run = await engine.start(handler_hangs)
    await run.signal(number, 1)
    while len(await run.history()) < 1:
        await asyncio.sleep(0)
    await run.cancel()

    with pytest.raises(durable.RunCancelled):
        await run.result()
    assert await run.read(state) == "the handler was cancelled"


@workflow(run_timeout="1h")
async def takes_too_long() -> str:
    try:
        return await waits_long.options(id="inherits")()
    finally:
        state.set(f"cleaned up {await echo(3)}")


async def test_a_run_timeout_lets_the_code_clean_up_and_children_inherit_it(engine):
    run = await engine.start(takes_too_long)
    began = (await run.details()).created

    with pytest.raises(durable.RunFailed) as failed:
        await run.result()

    assert isinstance(failed.value.__cause__, durable.RunTimedOut)
    assert await run.read(state) == "cleaned up 3"
    inherits = await (await engine.get("inherits")).details()
    assert inherits.deadline == began + dt.timedelta(hours=1)


# -- going on --------------------------------------------------------------------------------------


@workflow
async def goes_on_from_a_handler(left: int) -> str:
    @number.handler
    def on_number(value: int) -> None:
        durable.continue_as_new(value)

    if left:
        await durable.sleep("300d")
    return "the end"


async def test_a_handler_may_continue_as_new(engine):
    run = await engine.start(goes_on_from_a_handler.options(id="x"), 3)
    await run.signal(number, 0)

    assert await run.result() == "the end"
    assert [(await engine.get(f"x#{n}")).ordinal for n in (1, 2)] == [1, 2]
    assert await (await engine.get("x#1")).status() == "continued"


@workflow(run_timeout="2h")
async def tells_what_it_carries(left: int) -> list[Any]:
    await durable.sleep("1h")
    if left:
        durable.continue_as_new(left - 1)
    info = durable.info()
    assert info.deadline is not None
    return [info.ordinal, info.headers, (info.deadline - info.started).total_seconds()]


async def test_a_run_that_goes_on_carries_its_headers_and_has_the_whole_time_again(engine):
    run = await engine.start(tells_what_it_carries.options(headers={"trace": "t1"}), 5)

    assert await run.result() == [6, {"trace": "t1"}, 7200]


@workflow
async def makes_many(count: int) -> int:
    return sum(await durable.map(echo, range(count)))


@pytest.mark.slow
async def test_a_history_is_as_long_as_it_gets(engine):
    count = 55_000  # More than a workflow server lets a history have.

    run = await engine.start(makes_many, count)

    assert await run.result() == count * (count - 1) // 2
    assert (await run.details()).events == count


@workflow
async def goes_on_with_an_open_update() -> None:
    @slow.handler
    async def on_slow(value: int) -> int:
        await durable.sleep("300d")
        return value

    await number.receive()
    durable.continue_as_new()


async def test_an_update_open_when_a_run_goes_on_is_answered_first(engine):
    run = await engine.start(goes_on_with_an_open_update.options(id="x"))
    waiting = asyncio.ensure_future(run.update(slow, 1))
    while not any(event.kind == "update_accepted" for event in await run.history()):
        await asyncio.sleep(0)
    await run.signal(number, 1)

    assert await waiting == 1
    assert (await engine.get("x#1")).ordinal == 1
    assert "fired" in [event.kind for event in await (await engine.get("x#1")).history()]


# -- the user's own tables -------------------------------------------------------------------------


@durable.transaction(retry=durable.Retry(initial_interval=1, max_attempts=3))
def book(cursor: durable.Cursor, amount: int) -> int:
    cursor.execute("INSERT INTO ledger (amount) VALUES (?)", (amount,))
    if durable.attempt().number < 3:
        raise ConnectionError("rolled back")
    return cursor.last_insert_rowid


@durable.transaction(retry=durable.Retry(max_attempts=1))
def runs_sql(cursor: durable.Cursor, sql: str) -> None:
    cursor.execute(sql)


@workflow
async def books(amounts: list[int]) -> list[int]:
    return await asyncio.gather(*(book(amount) for amount in amounts))


@workflow
async def tries_sql(sql: str) -> str:
    try:
        await runs_sql(sql)
    except Exception as error:
        return str(error)
    return "done"


async def ledger(engine):
    return await engine.transaction(
        lambda tx: [amount for (amount,) in tx.execute("SELECT amount FROM ledger ORDER BY amount")]
    )


@pytest.fixture
async def bank(engine):
    await engine.transaction(
        lambda tx: tx.execute("CREATE TABLE ledger (id INTEGER PRIMARY KEY, amount INTEGER)")
    )
    return engine


async def test_a_transaction_that_raises_leaves_nothing_and_is_tried_again(bank):
    assert sorted(await (await bank.start(books, [5, 6, 7])).result()) == [1, 2, 3]

    assert await ledger(bank) == [5, 6, 7]


@pytest.mark.parametrize(
    "sql",
    ["COMMIT", "ROLLBACK", "ATTACH ':memory:' AS x", "PRAGMA user_version = 7", "VACUUM",
     "DELETE FROM durable_event", "SELECT * FROM durable_run", "DROP TABLE durable_value",
     "SAVEPOINT x"],
)  # fmt: skip
async def test_a_transaction_reaches_the_users_tables_alone(bank, sql):
    said = await (await bank.start(tries_sql, sql)).result()

    refusals = ("not authorized", "is prohibited", "cannot VACUUM")
    assert any(refusal in said for refusal in refusals)
    assert await ledger(bank) == []


async def test_rows_a_start_and_a_signal_are_one_commit_or_none(bank):
    def order(tx, amount):
        tx.execute("INSERT INTO ledger (amount) VALUES (?)", (amount,))
        run_id = tx.start(receives.options(id=f"order-{amount}"), 1)
        tx.signal(run_id, number, amount)
        if amount < 0:
            raise Sad("no")
        return run_id

    assert await bank.transaction(order, 3) == "order-3"
    with pytest.raises(Sad):
        await bank.transaction(order, -3)

    assert await (await bank.get("order-3")).result() == [3]
    assert await ledger(bank) == [3]
    with pytest.raises(durable.RunNotFound):
        await bank.get("order--3")


@workflow
async def goes_on_at_each(left: int, found: list[int]) -> list[int]:
    found = [*found, await number.receive()]
    if left > 1:
        durable.continue_as_new(left - 1, found)
    return found


async def test_signals_sent_while_a_run_goes_on_find_it(engine):
    run = await engine.start(goes_on_at_each.options(id="x"), 200, [])

    # Of two senders one often comes into the very commit in which the run goes on.
    async def send(values):
        for value in values:
            await run.signal(number, value)

    await asyncio.gather(send(range(100)), send(range(100, 200)))

    assert sorted(await run.result()) == list(range(200))
