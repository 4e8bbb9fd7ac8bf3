"""Every statement, asked of SQLite itself: it compiles, finds its rows by an index, and is used."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

import durable
from durable import filters
from durable._store import connection, migrate
from durable._store.filtering import Sort, compiled
from durable._store.queries import IN_CHANGES, QUERIES, ROW_SIZES, SETUP, Query, batches
from tests.house import statements

Values = Sequence[Any] | dict[str, Any]
PARAMETER = re.compile(r"(?<![\w:]):([a-z_]+)")
# What a plan calls rows that stand in the statement itself.
OWN_ROWS = re.compile(
    r"SCAN (\d+-ROW VALUES CLAUSE|\d+ CONSTANT ROWS?|CONSTANT ROW|v|\(subquery.*)"
)
SOURCES = sorted(
    set(Path(durable.__file__).parent.glob("**/*.py")) - {statements.TARGET}  # It names them all.
)

every_statement = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
# The plans of triggers are those of the statements that they run with.
every_planned_statement = pytest.mark.parametrize(
    "query",
    [query for query in QUERIES.values() if not query.name.startswith("create_")],
    ids=[name for name in QUERIES if not name.startswith("create_")],
)
every_rows_statement = pytest.mark.parametrize(
    "query",
    [query for query in QUERIES.values() if query.width],
    ids=[query.name for query in QUERIES.values() if query.width],
)


def open_new(path: str) -> apsw.Connection:
    """Open an empty file as a writer does; plans show what triggers do, too."""
    made = connection.connect(path, create=True)
    migrate.migrate(made, path)
    for name in ("insert", "update", "delete"):
        made.execute(QUERIES[f"create_tally_on_{name}"].text)
    made.execute(SETUP)
    made.config(apsw.SQLITE_DBCONFIG_TRIGGER_EQP, 1)
    return made


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    made = open_new(str(tmp_path_factory.mktemp("house") / "empty.db"))
    yield made
    made.close()


def plan(opened: apsw.Connection, text: str, width: int) -> list[str]:
    bindings = [None] * width if width else dict.fromkeys(PARAMETER.findall(text))
    return details_of(opened, text, bindings)


def details_of(opened: apsw.Connection, text: str, bindings: Values) -> list[str]:
    rows = opened.execute(f"EXPLAIN QUERY PLAN {text}", bindings).fetchall()
    return [str(row[3]) for row in rows]


@every_planned_statement
def test_finds_its_rows_without_reading_a_whole_table(
    query: Query, opened: apsw.Connection
) -> None:
    text = query.by_rows[8] if query.width else query.text

    details = plan(opened, text, 8 * query.width)

    scans = [one for one in details if one.startswith("SCAN") and not OWN_ROWS.fullmatch(one)]
    assert query.may_scan or not scans


@every_planned_statement
def test_does_not_sort_what_it_limits(query: Query, opened: apsw.Connection) -> None:
    # A sort reads every row that fits before the first comes back: with a million parked runs a
    # `LIMIT 1` took as long as all of them.
    text = query.by_rows[8] if query.width else query.text

    details = plan(opened, text, 8 * query.width)

    sorts = "USE TEMP B-TREE FOR ORDER BY" in details
    assert query.may_scan or not (sorts and "LIMIT" in query.text)


@every_statement
def test_says_why_it_is(query: Query) -> None:
    assert re.match(r"[A-Z].*[.]$", query.comment, re.DOTALL), query.comment


@every_statement
def test_sorts_what_it_limits_and_names_its_columns(query: Query) -> None:
    assert "LIMIT" not in query.text or "ORDER BY" in query.text
    assert "SELECT *" not in query.text


@every_statement
def test_is_used(query: Query) -> None:
    by_code = any(f'"{query.name}"' in path.read_text(encoding="utf-8") for path in SOURCES)
    by_others = any(f"durable_{query.name} (" in other.text for other in QUERIES.values())
    assert by_code or by_others


@every_rows_statement
@pytest.mark.parametrize("size", ROW_SIZES)
def test_compiles_in_every_size(query: Query, size: int, opened: apsw.Connection) -> None:
    assert plan(opened, query.by_rows[size], size * query.width) is not None


@every_rows_statement
@pytest.mark.parametrize("size", ROW_SIZES)
def test_fits_the_statement_cache(query: Query, size: int) -> None:
    # apsw does not cache a statement of more than 16 KiB: it would be compiled each time.
    assert len(query.by_rows[size].encode()) <= 16 * 1024


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 49, 50, 51, 249, 250, 251, 617])
def test_batches_cover_every_row_once_in_order(count: int) -> None:
    query = next(query for query in QUERIES.values() if query.width > 1)
    rows = [tuple(range(n, n + query.width)) for n in range(count)]

    bound = [value for _, values in batches(query, rows) for value in values]

    assert bound == [value for row in rows for value in row]


# -- statistics ----------------------------------------------------------------------------------

MANY = 1_000_000
Statistic = Callable[[str, str | None, int], str]
"""Makes a row of sqlite_stat1 for a table, one of its indexes (or None) and its columns."""
# What is in a file: each index, by the name that sqlite_stat1 has for it, and its columns.
INDEXES = """
SELECT info.name, IIF(wr AND list.origin = 'pk', info.name, list.name),
       (SELECT COUNT(*) FROM pragma_index_xinfo(list.name) AS one WHERE one.key)
  FROM pragma_table_list AS info CROSS JOIN pragma_index_list(info.name) AS list
 WHERE info.schema = 'main' AND info.type = 'table' AND info.name GLOB 'durable_*'
 UNION ALL
SELECT name, NULL, 0
  FROM pragma_table_list
 WHERE schema = 'main' AND type = 'table' AND name GLOB 'durable_*'
"""
# Filters that pages, bulk acts and followers use; one for each index, and one for none. Not those
# of tags and attributes: they look a run up by its key in a join, for which no index can be named.
# (By its name, as other joins do it, they took twice as long.)
FILTERS = (
    "", "status:failed", "status:retrying", "status:open", "workflow:one", "started:<1h",
    "finished:<1h status:failed", "issue:I-1", "parent:order-3",
    "id:order-1", "error:refused",
)  # fmt: skip


def counted(rows: Callable[[str], int], alike: Callable[[str, str], int]) -> Statistic:
    """Return statistics of so many rows a table, so many of them alike in each index."""

    def statistic(table: str, index: str | None, columns: int) -> str:
        if index is None:
            return str(rows(table))
        return " ".join(map(str, [rows(table)] + [alike(table, index)] * columns))

    return statistic


def by_chance(seed: int) -> Statistic:
    """Return statistics that could be of some file, or of an earlier state of this one."""
    chance = random.Random(seed)
    rows: dict[str, int] = {}

    def statistic(table: str, index: str | None, columns: int) -> str:
        count = rows.setdefault(table, chance.choice([0, 1, 2, 10, 1_000, MANY, 1_000 * MANY]))
        alike = [min(count, chance.choice([1, 2, 10, 1_000, MANY])) for _ in range(columns)]
        return " ".join(map(str, [count, *sorted(alike, reverse=True)]))

    return statistic


def only_good(index: str) -> Statistic:
    return counted(lambda _: MANY, lambda _, one: 1 if one == index else MANY)


def is_run(table: str) -> bool:
    return table == "durable_run"


HOSTILE: dict[str, Statistic] = {
    "no rows": counted(lambda _: 0, lambda _, __: 0),
    "one row": counted(lambda _: 1, lambda _, __: 1),
    "useless indexes": counted(lambda _: MANY, lambda _, __: MANY),
    "perfect indexes": counted(lambda _: MANY, lambda _, __: 1),
    "one run, much else": counted(lambda t: 1 if is_run(t) else MANY, lambda _, __: 1),
    "one run, much else that is alike": counted(
        lambda t: 1 if is_run(t) else MANY, lambda t, _: 1 if is_run(t) else MANY
    ),
    "many runs, nothing else": counted(lambda t: MANY if is_run(t) else 1, lambda _, __: 1),
    "many runs that are alike": counted(
        lambda t: MANY if is_run(t) else 1, lambda t, _: MANY if is_run(t) else 1
    ),
    **{
        f"only {index} is good": only_good(index)
        for index in (
            "sqlite_autoindex_durable_run_1", "durable_run_claimable", "durable_run_wake",
            "durable_run_soonest", "durable_run_owned", "durable_run_blocked", "durable_run_state",
            "durable_run_started", "durable_run_closed", "durable_run_workflow",
            "durable_run_issue", "durable_run_source", "durable_run_parent", "durable_event",
            "durable_event_message", "durable_step", "durable_inbox_run", "durable_inbox_key",
            "durable_label", "durable_label_run", "durable_answer", "durable_blob_free",
        )
    },
    **{f"chance {seed}": by_chance(seed) for seed in range(40)},
}  # fmt: skip


class Analysed:
    """A file whose statistics are what a test says."""

    def __init__(self, path: str) -> None:
        self.connection = open_new(path)
        self.statements = [*named_statements(), *filter_statements()]
        self.before = self.plans()
        self.connection.execute("ANALYZE")
        found = self.connection.execute(INDEXES).fetchall()
        self.indexes: list[tuple[str, str | None, int]] = [
            (str(table), None if index is None else str(index), int(str(n)))
            for table, index, n in found
        ]

    def plans(self) -> dict[str, list[str]]:
        return {name: details_of(self.connection, text, to) for name, text, to in self.statements}

    def tell(self, statistic: Statistic) -> None:
        rows = [(table, index, statistic(table, index, n)) for table, index, n in self.indexes]
        self.connection.execute("DELETE FROM sqlite_stat1; DELETE FROM sqlite_stat4")
        self.connection.executemany("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", rows)
        self.connection.execute("ANALYZE sqlite_schema")

    def turned(self) -> dict[str, list[str]]:
        return {name: one for name, one in self.plans().items() if one != self.before[name]}


def named_statements() -> Iterator[tuple[str, str, Values]]:
    for query in QUERIES.values():
        if query.may_turn or query.name.startswith("create_"):
            continue
        if not query.width:
            yield query.name, query.text, dict.fromkeys(PARAMETER.findall(query.text))
        for size in (1, 8) if query.width else ():
            yield f"{query.name} of {size}", query.by_rows[size], [None] * (size * query.width)


def filter_statements() -> Iterator[tuple[str, str, Values]]:
    sort = Sort.by("finished", 0, is_descending=True)
    for text in FILTERS:
        found = compiled(filters.parse(text), alive=[1], now_us=1 << 50, workflows=lambda: ["one"])
        for number, source in enumerate(source for one in found.choices for source in one):
            name = f"filter {text!r}, source {number}"
            page = found.page(source, 0, 1 << 62, 100, is_ascending=False)
            for what, (statement, values) in (
                ("probe", source.probe(100)), ("page", page), ("tally", found.tally(source)),
                ("sorted", found.sorted_page(source, sort, None, 100)),
            ):  # fmt: skip
                yield f"{name}, {what}", statement, tuple(values)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Analysed]:
    made = Analysed(str(tmp_path_factory.mktemp("house") / "analysed.db"))
    yield made
    made.connection.close()


@pytest.mark.parametrize("statistic", HOSTILE.values(), ids=HOSTILE)
def test_no_statistics_turn_a_plan(statistic: Statistic, analysed: Analysed) -> None:
    analysed.tell(statistic)

    assert analysed.turned() == {}


@pytest.mark.parametrize("runs", [1, 300])
def test_no_analyze_of_another_program_turns_a_plan(tmp_path: Path, runs: int) -> None:
    analysed = Analysed(str(tmp_path / "analysed.db"))
    analysed.connection.executemany(
        "INSERT INTO durable_run (id, ordinal, workflow, state, queue, priority, salt, arguments,"
        " fingerprint, checksum, cause, created_us, wake_at_us, parent_pk, parent_step)"
        " VALUES (?, 1, 'one', 'parked', 'default', 0, 1, '[]', 1, 1, 'started', 1, 5, 1, '1')",
        [(f"run-{number}",) for number in range(runs)],
    )
    analysed.connection.executemany(
        "INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)"
        " VALUES (?, 'signal', '', '', '1', 1)",
        [(1 + number % 3,) for number in range(10 * runs)],
    )

    analysed.connection.execute("ANALYZE")

    assert analysed.connection.execute("SELECT COUNT(*) FROM sqlite_stat4").get > 0
    assert analysed.turned() == {}
    analysed.connection.close()


def test_the_plans_of_triggers_are_looked_at(analysed: Analysed) -> None:
    details = analysed.before["close_run of 8"]

    assert "SEARCH durable_run USING INTEGER PRIMARY KEY (rowid=?)" in details
    assert "-- TRIGGER durable_tally_on_update" in details


def test_the_names_of_the_statements_are_types() -> None:
    assert statements.TARGET.read_text(encoding="utf-8") == statements.text(), (
        "run: python -m tests.house.statements"
    )


def test_statements_of_changes_have_places_of_their_own() -> None:
    places = [query.order for query in QUERIES.values() if query.order is not None]

    assert len(set(places)) == len(places)
    assert all(QUERIES[name].width for name in IN_CHANGES)
