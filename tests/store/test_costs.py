"""What a change costs, in steps of SQLite's machine: the same however much lies in the file."""

from pathlib import Path

import apsw
import pytest

from durable._store.statements import ChangeStatement
from durable._store.store import Store
from durable._store.writer import Change

PLANT = """
INSERT INTO durable_run (id, ordinal, workflow, state, wake_at_us, queue, priority, salt, arguments,
                         fingerprint, checksum, cause, created_us, started_us, parent_pk,
                         parent_step)
VALUES (?, 1, 'work', 'parked', 5, 'default', 0, 1, '[]', 1, 1, 'started', 1, 1, ?, ?)
"""
# Runs with two children each, their messages and large payloads: keys 1 to 3, 4 to 6, ...
FEW, MANY = 50, 1_000
CHANGES: dict[ChangeStatement, tuple[object, ...]] = {
    "update_run": (2, "parked", None, 6, None, 0, 0),
    "close_run": (2, "completed", 9, "1", 1, 0),
    "mark_redo": (2, 1),
    "note_begun": (2,),
    "wake_parents": (2,),
    "insert_child_ends": (2, 9),
    "cancel_children": (1, "1", "{}", 9),
    "wake_children": (1, "1"),
    "bury_inbox_of_runs": (1,),
    "delete_inbox_of_run": (1,),
    "delete_inbox": (1,),
    "delete_blobs_of_inbox": (1,),
    "unshare_blobs_of_inbox": (1,),
    "set_issue_of_run": (1, "none", "refused"),
    "clear_issue_of_run": (1,),
    "insert_log": (1, 1, 1, 1, "logger", "", 1, "text"),
    "delete_step": (1, "1"),
}


def plant(path: Path, families: int, *, is_analysed: bool) -> None:
    """Make a file with so many parents and children, whose statistics are of its first days."""
    nothing = lambda *_: None
    Store(str(path), durability="normal", deliver=nothing, on_foreign_commit=nothing).close()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = OFF; BEGIN")
    for number in range(families):
        parent = 3 * number + 1
        connection.execute(PLANT, (f"run-{parent}", None, None))
        connection.execute(
            "INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)"
            " VALUES (?, 'signal', 'go', ?, '1', 1);"
            "INSERT INTO durable_blob (id, refs, size, data) VALUES (?, 1, 1, x'78')",
            (parent, f"key-{parent}", number + 1),
        )
        if number == 0 and is_analysed:
            connection.execute("ANALYZE")
        for step in ("1", "2"):
            connection.execute(PLANT, (f"run-{parent}-{step}", parent, step))
    connection.execute("COMMIT")
    connection.close()


def cost(path: Path, name: ChangeStatement) -> int:
    """Return how many steps the commit of a change is."""
    found: list[int] = []

    def ended(event: dict[str, dict[str, int]]) -> None:
        found.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

    nothing = lambda *_: None
    store = Store(str(path), durability="normal", deliver=nothing, on_foreign_commit=nothing)
    store.writer._connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, ended)
    store.writer.commit_now(Change(rows=[(name, CHANGES[name])]))
    store.writer._connection.trace_v2(0, None)
    store.close()
    return sum(found)


@pytest.mark.parametrize("is_analysed", [False, True], ids=["", "analysed while small"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_costs_the_same_however_many_runs_there_are(
    tmp_path: Path, name: ChangeStatement, is_analysed: bool
) -> None:
    plant(tmp_path / "few.db", FEW, is_analysed=is_analysed)
    plant(tmp_path / "many.db", MANY, is_analysed=is_analysed)

    few, many = cost(tmp_path / "few.db", name), cost(tmp_path / "many.db", name)

    assert few == many


def test_a_store_gathers_no_statistics(tmp_path: Path) -> None:
    plant(tmp_path / "app.db", FEW, is_analysed=False)

    cost(tmp_path / "app.db", "close_run")

    connection = apsw.Connection(str(tmp_path / "app.db"))
    statistics = "SELECT COUNT(*) FROM sqlite_schema WHERE name GLOB 'sqlite_stat*'"
    assert connection.execute(statistics).get == 0
    connection.close()
