"""Damaged rows: one line, one run, and never a silent wrong value."""

import ast
import inspect

import apsw
import attrs
import pytest

import durable
from durable import activity, workflow
from durable._store.queries import QUERIES
from durable._store.rows import (
    AlertRow,
    AnswerRow,
    AttemptRow,
    AuditRow,
    ChildRow,
    HoldRow,
    InboxRow,
    IssueRow,
    ItemRow,
    JobRow,
    LetterRow,
    LogRow,
    RunRow,
    SourceRow,
    StepRow,
    ValueRow,
    WorkerRow,
)
from durable._store.writer import Change
from durable.errors import FileCorrupt, PayloadError
from durable.payloads import checksum, compress
from tests.store.samples import event_row


def change(path, text, *values):
    made = apsw.Connection(str(path))
    made.execute(text, values)
    assert made.total_changes() > 0
    made.close()


@pytest.fixture
def store(path, make_store):
    made = make_store(path)
    large = b'"' + b"x" * 50_000 + b'"'
    made.writer.commit_now(Change(rows=[("insert_blob", (77, 1, len(large), compress(large)))]))
    for seq, result in ((1, "1"), (2, 77), (3, "3")):
        row = list(event_row(seq, result))
        row[8] = checksum(b"[]", large if result == 77 else result.encode())
        made.writer.commit_now(Change(event=tuple(row)))
    return made


def test_a_history_is_read_in_pages_without_a_gap(store, monkeypatch):
    monkeypatch.setattr("durable._store.reader.EVENTS_PER_PAGE", 2)

    assert [event.seq for event in store.reader.events(1)] == [1, 2, 3]
    assert [event.seq for event in store.reader.events(1, after=1)] == [2, 3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "UPDATE durable_event AS event SET result = '9' WHERE seq = 3",
            "event 3 does not match its checksum",
        ),
        (
            "UPDATE durable_event AS event SET arguments = '[ ]' WHERE seq = 1",
            "event 1 does not match its checksum",
        ),
        ("DELETE FROM durable_event WHERE seq = 2", "event 2 is missing"),
        ("UPDATE durable_event SET run = 5 WHERE seq = 1", "event 1 is missing"),
        ("DELETE FROM durable_blob", "event 2: blob 77 is missing"),
        ("UPDATE durable_blob SET data = x'00'", "event 2: the compressed payload is damaged"),
        (
            "UPDATE durable_blob SET data = substr(data, 1, 30)",
            "event 2: the compressed payload is damaged",
        ),
        ("UPDATE durable_event SET result = x'00' WHERE seq = 1", "event 1: a payload is text"),
        (
            "UPDATE durable_event SET result = CAST(x'ff' AS TEXT) WHERE seq = 1",
            "an event after event 0",
        ),
        ("UPDATE durable_event SET name = CAST(x'c328' AS TEXT) WHERE seq = 3", "not UTF-8"),
    ],
)
def test_a_damaged_event_is_named(store, path, text, says):
    change(path, text)

    with pytest.raises(PayloadError, match=says):
        list(store.reader.events(1))


def test_text_that_is_not_utf8_is_damage_in_one_line(store, path):
    change(path, "UPDATE durable_run SET id = CAST(x'ff' AS TEXT)")

    with pytest.raises(FileCorrupt, match="not UTF-8") as caught:
        store.reader.all("get_run", pk=1)

    assert "\n" not in str(caught.value)
    row = store.reader.find_run(1)  # Its run is blocked, or goes on: the engine has to see it.
    assert row is not None
    assert row.id == r"\xff"


def test_a_payload_is_checked_where_it_has_a_checksum(store):
    assert store.reader.payload("[]", checksum(b"[]")) == b"[]"

    with pytest.raises(PayloadError, match="checksum"):
        store.reader.payload("[]", 5)


# -- the statements and the rows they are read into -----------------------------------------------

ROWS = {
    "get_run": RunRow, "find_newest": RunRow, "find_ordinal": RunRow, "list_steps": StepRow,
    "list_attempts": AttemptRow, "list_inbox_of_worker": InboxRow, "list_inbox_of_run": InboxRow,
    "list_live_workers": WorkerRow, "list_items": ItemRow, "list_letters": LetterRow,
    "list_answers": AnswerRow, "list_values": ValueRow, "list_audit": AuditRow,
    "list_issues": IssueRow, "list_alerts": AlertRow, "get_job": JobRow, "list_jobs": JobRow,
    "list_family": ChildRow, "list_holds": HoldRow, "list_logs": LogRow, "list_last_logs": LogRow,
    "get_source": SourceRow, "list_attempts_of_step": AttemptRow,
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_statement_returns_the_columns_of_its_row_in_their_order(store, name):
    text = QUERIES[name].text
    fields = [field.name for field in attrs.fields(ROWS[name])]

    columns = text[len("SELECT") : text.index("FROM")].replace("inbox.", "").split(",")

    assert [column.strip() for column in columns] == fields


def test_each_row_read_from_the_file_is_compared_with_its_statement():
    from durable._store import reader

    used = {
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(reader)))
        if isinstance(node, ast.Constant) and node.value in QUERIES
    }

    made_into_rows = {name for name in used if QUERIES[name].text.count(",") > 2}
    assert made_into_rows <= ROWS.keys() | {
        "list_events", "list_events_as_found", "get_blob",
        "count_queued_before", "list_place_holders", "list_claimable",
        "find_answer", "find_message", "find_line", "find_issue", "list_counts_of_issue",
        "count_open_of_issue", "list_open_of_issue", "count_by_state",
        "count_by_state_of_workflow",
    }  # fmt: skip


# -- what a damaged payload does to an engine -----------------------------------------------------


@activity
async def measure(number: int) -> int:
    return number


@workflow
async def measures(number: int) -> int:
    first = await measure(number)
    await durable.sleep(1_000)
    return first


@workflow
async def is_quick(number: int) -> int:
    return await measure(number)


@workflow
async def measures_all(count: int) -> int:
    await durable.sleep(0.001)
    return sum([await measure(number) for number in range(count)])


_SET = "UPDATE durable_event SET"


@pytest.mark.parametrize(
    ("text", "place", "step", "says"),
    [
        (f"{_SET} result = '9' WHERE seq = 2", 1, "1 measure", "match its checksum"),
        ("UPDATE durable_event SET arguments = x'5b5d' WHERE seq = 3", 2, "2 measure", "checksum"),
        (f"{_SET} result = 77 WHERE seq = 4", 3, "3 measure", "blob 77 is missing"),
        (f"{_SET} result = '1' WHERE seq = 1", 0, "!t1 timer", "match its checksum"),
        ("DELETE FROM durable_event WHERE seq = 3", 2, " ", "event 3 is missing"),
        (
            "UPDATE durable_event SET result = CAST(x'ff' AS TEXT) WHERE seq = 2",
            1, "1 measure", "event 2 holds text that is not UTF-8",
        ),
        (
            "UPDATE durable_event SET name = CAST(x'6dff' AS TEXT) WHERE seq = 2",
            1, "1 m\ufffd", "event 2 holds text that is not UTF-8",
        ),
    ],
)  # fmt: skip
async def test_a_damaged_event_is_a_placeholder_among_the_others(tmp_path, text, place, step, says):
    path = tmp_path / "app.db"
    async with durable.Engine(path) as engine:
        run = await engine.start(measures_all.options(id="damaged"), 3)
        await run.result()
    change(path, text)

    with durable.view(path) as runs:
        shown = runs.get("damaged")

    damaged = shown.steps[place]
    assert (damaged.status, f"{damaged.step} {damaged.name}") == ("damaged", step)
    assert says in damaged.error
    assert damaged.result == damaged.arguments == f"<{damaged.error}>"
    whole = ["fired", "completed", "completed", "completed"]
    whole[place] = "damaged"
    assert [one.status for one in shown.steps] == whole
    assert (shown.events, shown.status, shown.result) == (4, "completed", "3")


async def test_damaged_attempts_and_pending_steps_hide_nothing_else(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path) as engine:
        await (await engine.start(measures_all.options(id="damaged"), 1)).result()
    change(
        path,
        "INSERT INTO durable_attempt VALUES (1, '9', 1, 'x', 'failed', 1, 1, CAST(x'ff' AS TEXT))",
    )
    change(
        path,
        "INSERT INTO durable_step (run, step, name, state, attempt, scheduled_us, fingerprint) "
        "VALUES (1, '9', CAST(x'ff' AS TEXT), 'retrying', 1, 1, 0)",
    )

    with durable.view(path) as runs:
        shown = runs.get("damaged")

    assert [one.status for one in shown.steps] == ["fired", "completed", "damaged", "damaged"]
    assert all("not UTF-8" in one.error for one in shown.steps[2:])


async def test_changed_arguments_and_results_of_a_run_show_the_reason(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path) as engine:
        await (await engine.start(measures_all.options(id="damaged"), 1)).result()
    change(path, "UPDATE durable_run SET arguments = '[7]', result = '8'")

    with durable.view(path) as runs:
        shown = runs.get("damaged")

    assert "checksum" in shown.arguments
    assert "checksum" in shown.result
    assert [one.status for one in shown.steps] == ["fired", "completed"]


async def test_a_damaged_payload_blocks_its_run_and_no_other(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path) as engine:
        for name in ("damaged", "whole"):
            run = await engine.start(measures.options(id=name), 41)
            while not await run.history():
                await engine._running().commit(lambda transaction: None)
    change(path, "UPDATE durable_event SET result = '42' WHERE run = 1")

    async with durable.Engine(path) as engine:
        assert await (await engine.start(is_quick, 5)).result() == 5
        shown = {run.id: run for run in await engine.list()}
        assert shown["damaged"].status == "blocked"
        assert "event 1 does not match its checksum" in shown["damaged"].why
        assert shown["whole"].status in {"running", "sleeping"}
        details = await (await engine.get("damaged")).details()
        assert (details.status, details.why) == ("blocked", shown["damaged"].why)
        assert [step.status for step in details.steps] == ["damaged"]
