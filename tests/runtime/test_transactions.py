"""Transactions: the user's own tables, exactly once, and nobody else's part in danger."""

import asyncio
import logging
from typing import Any

import apsw
import pytest

import durable
from durable import Signal, Stream, Value, activity, transaction, workflow
from durable.testing import ManualClock
from tests.runtime.insist import insist

number = Signal("number", int)
state = Value("state", str)
lines = Stream("lines", str)


class Sad(Exception):
    pass


@activity
async def echo_transaction(value: int) -> int:
    return value


TABLES = """
CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, amount INTEGER CHECK (amount < 1000));
CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY);
"""


@transaction
def make_tables(cursor: durable.Cursor) -> None:
    cursor.execute(TABLES)


@transaction(retry=durable.Retry(initial_interval=1, max_attempts=3))
def book(cursor: durable.Cursor, amount: int, fails: int = 0) -> int:
    cursor.execute("INSERT INTO ledger (amount) VALUES (?)", (amount,))
    if durable.attempt().number <= fails:
        raise Sad(f"{amount} is not booked")
    return cursor.last_insert_rowid


def rows(harness_or_engine, sql="SELECT amount FROM ledger ORDER BY id"):
    """Read the user's tables as anybody may: on a connection of one's own."""
    connection = apsw.Connection(str(harness_or_engine.path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@workflow
async def books(amounts: list[int], fails: int = 0) -> list[Any]:
    await make_tables()
    found = await asyncio.gather(
        *(book(amount, fails) for amount in amounts), return_exceptions=True
    )
    return [str(one) if isinstance(one, BaseException) else one for one in found]


@pytest.fixture
async def engine(tmp_path):
    # Where one refusal, or what a caller outside sees, is the point: no run is replayed for it.
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        await opened.transaction(lambda tx: tx.execute(TABLES))
        yield opened


# -- exactly once ----------------------------------------------------------------------------------


async def test_transactions_happen_exactly_once(durable_harness):
    result = await durable_harness.run(books, [5, 6, 7])

    assert sorted(result) == [1, 2, 3]
    assert sorted(rows(durable_harness)) == [(5,), (6,), (7,)]


async def test_what_raises_leaves_nothing_and_is_tried_again(durable_harness):
    result = await durable_harness.run(books, [5, 6], 2)

    assert sorted(result) == [1, 2]
    assert sorted(rows(durable_harness)) == [(5,), (6,)]


async def test_what_raises_for_good_fails_alone(durable_harness):
    result = await durable_harness.run(books, [5, 2_000, 6])

    assert "CHECK constraint failed" in result[1]
    assert sorted(rows(durable_harness)) == [(5,), (6,)]


async def test_given_up_nothing_is_left(durable_harness):
    result = await durable_harness.run(books, [5, 6], 3)

    assert result == ["5 is not booked", "6 is not booked"]
    assert rows(durable_harness) == []


@transaction(retry=durable.Retry(max_attempts=1))
def says_wrongly(cursor: durable.Cursor, how: str) -> int:
    cursor.execute("INSERT INTO ledger (amount) VALUES (1)")
    return object() if how == "object" else "text"  # type: ignore[return-value]


@workflow
async def tries_to_say(how: str) -> str:
    await make_tables()
    try:
        return str(await says_wrongly(how))
    except durable.PayloadError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("how", ["object", "text"])
async def test_a_result_that_cannot_be_stored_takes_its_rows_along(durable_harness, how):
    result = await durable_harness.run(tries_to_say, how)

    assert result.startswith("refused:")
    assert rows(durable_harness) == []


@transaction
def says_much(cursor: durable.Cursor, length: int) -> str:
    cursor.execute("INSERT INTO ledger (amount) VALUES (1)")
    return "x" * length


@workflow
async def hears_much(length: int) -> int:
    await make_tables()
    return len(await says_much(length))


@pytest.mark.parametrize("length", [32_766, 32_767, 300_000])
async def test_a_large_result_is_recorded_with_its_rows(durable_harness, length):
    assert await durable_harness.run(hears_much, length) == length
    assert rows(durable_harness) == [(1,)]


# -- what is refused -------------------------------------------------------------------------------

REFUSED = [
    "COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT x", "RELEASE operation", "ROLLBACK TO operation",
    "ATTACH ':memory:' AS x", "DETACH main", "VACUUM", "ANALYZE",
    "PRAGMA user_version = 7", "PRAGMA journal_mode = DELETE", "PRAGMA writable_schema = ON",
    "SELECT * FROM durable_event", "SELECT count(*) FROM RUN", 'SELECT 1 FROM main."Step"',
    "SELECT * FROM durable_runs", "WITH x AS (SELECT * FROM durable_run) SELECT * FROM x",
    "SELECT (SELECT max(pk) FROM durable_run)",
    "INSERT INTO ledger (amount) SELECT pk FROM durable_run",
    "INSERT INTO durable_inbox DEFAULT VALUES", "UPDATE durable_run SET state = 'completed'",
    "DELETE FROM durable_event",
    "DELETE FROM ledger WHERE id IN (SELECT pk FROM durable_run)",
    "DROP TABLE durable_value", "DROP VIEW durable_runs", "ALTER TABLE durable_run ADD COLUMN x",
    "ALTER TABLE durable_run RENAME TO walk", "ALTER TABLE ledger RENAME TO durable_event",
    "CREATE INDEX mine ON durable_event (at_us)", "CREATE TABLE durable_event (x)",
    "CREATE TEMP TABLE durable_event (x)",
    "CREATE TEMP VIEW run AS SELECT 1", "CREATE TABLE copy AS SELECT * FROM durable_run",
    "CREATE TRIGGER mine AFTER INSERT ON durable_event BEGIN DELETE FROM ledger; END",
    "CREATE TEMP TRIGGER mine AFTER INSERT ON durable_event BEGIN DELETE FROM ledger; END",
    "CREATE VIEW mine AS SELECT * FROM durable_run; SELECT * FROM mine",
    ("CREATE TRIGGER mine AFTER INSERT ON ledger BEGIN DELETE FROM durable_event; END;"
    "INSERT INTO ledger (amount) VALUES (1)"),
    "UPDATE sqlite_sequence SET seq = 0", "DELETE FROM sqlite_sequence",
    "DELETE FROM sqlite_schema", "UPDATE sqlite_dbpage SET data = zeroblob(4096)",
    "SELECT load_extension('x')", "INSERT INTO ledger (amount) VALUES (1); COMMIT",
]  # fmt: skip


@transaction(retry=durable.Retry(max_attempts=1))
def runs_sql(cursor: durable.Cursor, sql: str) -> list[list[Any]]:
    cursor.execute("INSERT INTO ledger (amount) VALUES (99)")
    return [list(row) for row in cursor.execute(sql)]


@workflow
async def tries_sql(sql: str) -> str:
    try:
        return str(await runs_sql(sql))
    except apsw.Error as error:
        return f"refused: {error}"
    except Exception as error:
        return f"failed: {error!r}"


SCHEMA = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"


@pytest.mark.parametrize("sql", REFUSED)
async def test_what_is_not_the_users_is_refused_and_nothing_is_left(engine, sql):
    before = rows(engine, SCHEMA)

    in_step = await (await engine.start(tries_sql, sql)).result()
    with pytest.raises(apsw.Error) as refused:
        await engine.transaction(lambda tx: tx.execute(sql).fetchall())

    assert in_step.startswith("refused: ")
    said = ("not authorized", "prohibited", "cannot", "may not be modified", "no such", "already")
    assert [True for one in said if one in in_step] != []
    assert [True for one in said if one in str(refused.value)] != []
    assert rows(engine) == []
    assert rows(engine, SCHEMA) == before
    assert await (await engine.start(tries_sql, "SELECT 1")).result() == "[[1]]"


ALLOWED = [
    "CREATE TABLE t (x); INSERT INTO t VALUES (1); ALTER TABLE t ADD COLUMN y; DROP TABLE t",
    (
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t DEFAULT VALUES; "
        "ALTER TABLE t RENAME TO u; DROP TABLE u"
    ),
    "CREATE TABLE t (x UNIQUE); CREATE INDEX i ON t (x); REINDEX i; DROP INDEX i; DROP TABLE t",
    "CREATE VIEW v AS SELECT * FROM ledger; SELECT * FROM v; DROP VIEW v",
    "CREATE TABLE t (x, y); ALTER TABLE t RENAME x TO z; ALTER TABLE t DROP COLUMN y",
    (
        "CREATE TRIGGER g AFTER INSERT ON ledger BEGIN INSERT INTO parent VALUES (NEW.id); END; "
        "INSERT INTO ledger (amount) VALUES (1); DROP TRIGGER g"
    ),
    "CREATE TEMP TABLE t (x); INSERT INTO t VALUES (1); DROP TABLE t",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT n FROM c",
    "INSERT INTO ledger (amount) VALUES (1) RETURNING id",
    "EXPLAIN QUERY PLAN SELECT * FROM ledger",
    "SELECT json_extract('[1]', '$[0]'), upper('a'), abs(-1)",
]


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("sql", ALLOWED)
async def test_what_is_the_users_is_allowed(engine, sql, is_analyzed):
    if is_analyzed:  # As `PRAGMA optimize` leaves the file of an engine that was closed.
        other = apsw.Connection(engine.path)
        other.execute("ANALYZE")
        other.close()

    assert (await (await engine.start(tries_sql, sql)).result()).startswith("[")


async def test_the_users_triggers_fire_as_everywhere(engine):
    await engine.transaction(
        lambda tx: tx.execute(
            "CREATE TRIGGER g AFTER INSERT ON ledger BEGIN INSERT INTO parent VALUES (NEW.id); END"
        )
    )

    await (await engine.start(books, [5])).result()

    assert rows(engine, "SELECT id FROM parent") == [(1,)]


async def test_a_trigger_planted_on_the_librarys_tables_does_not_fire(engine):
    other = apsw.Connection(engine.path)
    other.execute(
        "CREATE TRIGGER planted AFTER INSERT ON durable_run BEGIN DELETE FROM ledger; END"
    )
    other.close()

    await engine.transaction(place, 3)

    assert rows(engine) == [(3,)]


async def test_each_statement_is_judged_for_itself(engine):
    said = await (
        await engine.start(
            tries_sql, "CREATE TABLE t (x); DROP TABLE t; DELETE FROM sqlite_sequence"
        )
    ).result()

    assert said == "refused: not authorized"


# -- everybody else's part -------------------------------------------------------------------------


@transaction(retry=durable.Retry(max_attempts=1))
def inserts(cursor: durable.Cursor, conflict: str, key: int) -> int:
    cursor.execute("INSERT INTO ledger (id, amount) VALUES (?, 7)", (100 + key,))
    if key % 2:
        cursor.execute(f"INSERT OR {conflict} INTO ledger (id, amount) VALUES (1, 8)")
    return key


@workflow
async def inserts_many(conflict: str) -> list[str]:
    await make_tables()
    await book(1)
    found = await asyncio.gather(
        *(inserts(conflict, key) for key in range(6)), return_exceptions=True
    )
    return ["failed" if isinstance(one, BaseException) else str(one) for one in found]


@pytest.mark.parametrize("conflict", ["ABORT", "FAIL", "ROLLBACK", "IGNORE", "REPLACE"])
async def test_a_conflict_takes_nobody_elses_part_along(durable_harness, conflict):
    result = await durable_harness.run(inserts_many, conflict)

    if conflict in {"IGNORE", "REPLACE"}:
        assert result == ["0", "1", "2", "3", "4", "5"]
        return
    assert result == ["0", "failed", "2", "failed", "4", "failed"]
    assert sorted(rows(durable_harness, "SELECT id FROM ledger")) == [(1,), (100,), (102,), (104,)]


@transaction(retry=durable.Retry(max_attempts=1))
def swallows(cursor: durable.Cursor) -> str:
    try:
        cursor.execute("INSERT OR ROLLBACK INTO ledger (id, amount) VALUES (1, 8)")
    except apsw.ConstraintError:
        return "swallowed"
    return "inserted"


@workflow
async def swallows_it() -> str:
    await make_tables()
    await book(1)
    try:
        return await swallows()
    except durable.UsageError as error:
        return str(error)


async def test_a_rollback_that_is_swallowed_is_an_error_with_a_way_out(durable_harness):
    said = await durable_harness.run(swallows_it)

    assert "use OR ABORT" in said
    assert rows(durable_harness) == [(1,)]


@transaction(retry=durable.Retry(max_attempts=1))
def defers(cursor: durable.Cursor) -> str:
    cursor.execute(
        "CREATE TABLE IF NOT EXISTS child (id REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    cursor.execute("INSERT INTO child VALUES (1)")
    return "done"


@workflow
async def defers_it() -> str:
    await make_tables()
    try:
        return await defers()
    except Exception as error:
        return f"{error}"


async def test_a_deferred_constraint_harms_no_commit(durable_harness):
    said = await durable_harness.run(defers_it)

    assert said in {"done", "FOREIGN KEY constraint failed"}


@transaction(retry=durable.Retry(max_attempts=1))
def raises_of_sqlite(cursor: durable.Cursor, name: str) -> None:
    cursor.execute("INSERT INTO ledger (amount) VALUES (1)")
    raise getattr(apsw, name)("from another file of the user's")


@workflow
async def raises_it(name: str) -> str:
    await make_tables()
    try:
        await raises_of_sqlite(name)
    except apsw.Error as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("name", ["BusyError", "FullError", "CorruptError", "SQLError"])
async def test_an_error_of_another_file_is_the_users(durable_harness, name):
    async with asyncio.timeout(5):
        said = await durable_harness.run(raises_it, name)

    assert said == "from another file of the user's"
    assert rows(durable_harness) == []


async def test_one_that_holds_the_writer_long_is_named(engine, caplog, monkeypatch):
    monkeypatch.setattr("durable._store.writer.TRANSACTION_WARN_S", 0.0)

    with caplog.at_level(logging.WARNING, "durable.store"):
        run = await engine.start(books.options(id="slow"), [1])
        await run.result()
        await engine.transaction(lambda tx: None)

    assert "book of run slow held the file's only writer" in caplog.text
    assert "engine.transaction() held the file's only writer" in caplog.text


@transaction(retry=durable.Retry(initial_interval=1, max_attempts=2))
def publishes(cursor: durable.Cursor) -> None:
    cursor.execute("INSERT INTO ledger (amount) VALUES (1)")
    state.set("said")
    lines.append(f"attempt {durable.attempt().number}")
    if durable.attempt().number == 1:
        raise Sad


@workflow
async def publishes_too() -> None:
    await make_tables()
    await publishes()


async def test_what_it_publishes_is_not_part_of_it(durable_harness):
    harness = durable_harness
    handle = await harness.start(publishes_too)
    await harness.finish(handle)
    run = await harness.again(handle)

    assert await run.read(state) == "said"
    assert [(one.value, one.attempt) async for one in run.tail(lines)][-1] == ("attempt 2", 2)
    assert rows(harness) == [(1,)]


kept: list[Any] = []


@transaction
def keeps_its_cursor(cursor: durable.Cursor) -> None:
    kept.append(cursor)


@workflow
async def keeps() -> None:
    await keeps_its_cursor()


async def test_a_cursor_is_closed_with_its_function(durable_harness):
    kept.clear()
    await durable_harness.run(keeps)

    for use in (
        lambda cursor: cursor.execute("SELECT 1"),
        lambda cursor: cursor.executemany("SELECT 1", []),
        lambda cursor: cursor.fetchall(), lambda cursor: cursor.fetchone(), list,
        lambda cursor: cursor.changes, lambda cursor: cursor.last_insert_rowid,
    ):  # fmt: skip
        with pytest.raises(durable.UsageError, match="its function has returned"):
            use(kept[0])


# -- definitions -----------------------------------------------------------------------------------


def test_an_async_function_is_no_transaction():
    with pytest.raises(durable.DefinitionError, match="is async"):

        @transaction  # type: ignore[arg-type]
        async def wrong(cursor: durable.Cursor) -> None: ...


def test_a_function_without_a_cursor_is_no_transaction():
    with pytest.raises(durable.DefinitionError, match="its cursor"):

        @transaction  # type: ignore[arg-type]
        def wrong() -> None: ...


async def test_outside_an_engine_it_says_what_to_do():
    with pytest.raises(durable.NotInWorkflow, match=r"book.*\.fn"):
        await book(1)


def test_the_plain_function_takes_any_cursor():
    connection = apsw.Connection(":memory:")
    connection.execute(TABLES)
    cursor = connection.cursor()

    runs_sql.fn(cursor, "SELECT 1")  # type: ignore[arg-type]

    assert connection.execute("SELECT amount FROM ledger").get == 99


# -- from outside: the outbox ----------------------------------------------------------------------


@workflow
async def receives_one(scale: int) -> int:
    return scale * await number.receive()


def place(tx, amount, run_id="order", *, fails=False):
    tx.execute("INSERT INTO ledger (amount) VALUES (?)", (amount,))
    name = tx.start(receives_one.options(id=run_id), 10)
    tx.signal(name, number, amount)
    if fails:
        raise Sad("no")
    return name


async def test_rows_a_start_and_a_signal_are_one_commit(durable_harness):
    harness = durable_harness
    harness.started.append(receives_one)
    await harness.engine.transaction(lambda tx: tx.execute(TABLES))

    name = await harness.engine.transaction(place, 3)

    assert name == "order"
    while harness.engine._worker is None:
        harness.engine = harness._make_engine()
        await harness.engine.__aenter__()
    assert await harness.finish(await harness.engine.get("order")) == 30
    assert rows(harness) == [(3,)]


async def test_an_exception_rolls_all_of_it_back(durable_harness):
    harness = durable_harness
    await harness.engine.transaction(lambda tx: tx.execute(TABLES))

    with pytest.raises(Sad, match="no"):
        await harness.engine.transaction(place, 3, fails=True)
    with pytest.raises(apsw.ConstraintError):
        await harness.engine.transaction(place, 3_000)

    assert rows(harness) == []
    with pytest.raises(durable.RunNotFound):
        await harness.engine.get("order")


async def test_an_id_that_is_there_is_the_same_run_or_a_conflict(engine):
    first = await engine.transaction(lambda tx: tx.start(receives_one.options(id="x"), 10))
    again = await engine.transaction(lambda tx: tx.start(receives_one.options(id="x"), 10))
    assert (first, again) == ("x", "x")

    def conflicts(tx, caught):
        tx.execute("INSERT INTO ledger (amount) VALUES (1)")
        try:
            tx.start(receives_one.options(id="x"), 11)
        except durable.IdConflict:
            if not caught:
                raise
        return tx.start(receives_one.options(id="y"), 11)

    with pytest.raises(durable.IdConflict):
        await engine.transaction(conflicts, caught=False)
    assert rows(engine) == []
    assert await engine.transaction(conflicts, caught=True) == "y"
    assert rows(engine) == [(1,)]
    assert await (await engine.get("y")).status() != "completed"


@pytest.mark.parametrize("target", ["nobody", "over"])
async def test_a_signal_to_nobody_may_be_caught(engine, target):
    over = await engine.start(receives_one.options(id="over"), 1)
    await over.signal(number, 1)
    await over.result()
    expected = durable.RunClosed if target == "over" else durable.RunNotFound

    def tells(tx, caught):
        tx.execute("INSERT INTO ledger (amount) VALUES (1)")
        try:
            tx.signal(target, number, 1)
        except expected:
            if not caught:
                raise
        tx.execute("INSERT INTO ledger (amount) VALUES (2)")

    with pytest.raises(expected):
        await engine.transaction(tells, caught=False)
    assert rows(engine) == []
    await engine.transaction(tells, caught=True)
    assert rows(engine) == [(1,), (2,)]


@pytest.mark.parametrize(
    "use",
    [
        lambda tx: tx.execute("INSERT INTO ledger (amount) VALUES (1)"),
        lambda tx: tx.executemany("INSERT INTO ledger (amount) VALUES (?)", [(1,)]),
        lambda tx: tx.start(receives_one.options(id="late"), 1),
        lambda tx: tx.signal("there", number, 1),
    ],
    ids=["execute", "executemany", "start", "signal"],
)
async def test_it_is_of_no_use_after_its_end(engine, use):
    there = await engine.start(receives_one.options(id="there"), 1)
    tx = await engine.transaction(lambda tx: tx)

    with pytest.raises(durable.UsageError, match="its function has returned"):
        use(tx)

    assert rows(engine) == []
    assert await there.history() == []
    with pytest.raises(durable.RunNotFound):
        await engine.get("late")


async def test_a_started_workflow_must_be_one_the_engine_may_run(tmp_path):
    @workflow(name="receives_one")
    async def another() -> None: ...

    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[receives_one], clock=ManualClock()) as engine:
        await engine.transaction(lambda tx: tx.execute(TABLES))

        def starts(tx):
            tx.execute("INSERT INTO ledger (amount) VALUES (1)")
            tx.start(another.options(id="x"))

        with pytest.raises(durable.UsageError, match="another workflow"):
            await engine.transaction(starts)

        assert rows(engine) == []
        with pytest.raises(durable.RunNotFound):
            await engine.get("x")


async def test_an_async_function_is_refused_also_from_outside(engine):
    async def wrong(tx): ...

    with pytest.raises(durable.UsageError, match="plain function"):
        await engine.transaction(wrong)

    assert await engine.transaction(place, 1) == "order"


async def test_many_at_once_are_each_atomic(engine):
    found = await asyncio.gather(
        *(engine.transaction(place, n, f"order-{n}", fails=n % 3 == 0) for n in range(12)),
        return_exceptions=True,
    )

    assert [isinstance(one, Sad) for one in found] == [n % 3 == 0 for n in range(12)]
    assert sorted(rows(engine)) == sorted((n,) for n in range(12) if n % 3)
    assert await engine.count() == {} or sum((await engine.count()).values()) == 8


async def test_one_whose_caller_gave_up_starts_its_run_all_the_same(engine):
    waiting = asyncio.ensure_future(engine.transaction(place, 4))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    while not rows(engine):
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        assert await (await engine.get("order")).result() == 40


async def test_a_client_has_none(tmp_path):
    assert not hasattr(durable.Client(tmp_path / "app.db"), "transaction")
    with pytest.raises(durable.UsageError, match="not open"):
        await durable.Engine(tmp_path / "app.db").transaction(lambda tx: None)


async def test_the_engine_goes_on_after_each_kind_of_end(durable_harness):
    harness = durable_harness
    handle = await harness.start(books, [1, 5_000], 1)

    assert len(await harness.finish(handle)) == 2
    await insist(harness, handle, lambda run: run.history())
    assert await harness.run(books.options(id="again"), [2]) == [2]
