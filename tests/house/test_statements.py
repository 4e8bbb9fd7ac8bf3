"""Every statement, asked of SQLite itself: it compiles, finds its rows by an index, and is used."""

import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import durable
from durable._store import connection, migrate
from durable._store.queries import QUERIES, ROW_SIZES, Query, batches

PARAMETER = re.compile(r"(?<![\w:]):([a-z_]+)")
# What a plan calls rows that stand in the statement itself.
OWN_ROWS = re.compile(
    r"SCAN (\d+-ROW VALUES CLAUSE|\d+ CONSTANT ROWS?|CONSTANT ROW|v|\(subquery.*)"
)
SOURCES = sorted(Path(durable.__file__).parent.glob("**/*.py"))

every_statement = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
every_rows_statement = pytest.mark.parametrize(
    "query",
    [query for query in QUERIES.values() if query.width],
    ids=[query.name for query in QUERIES.values() if query.width],
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    path = str(tmp_path_factory.mktemp("house") / "empty.db")
    made = connection.connect(path, create=True)
    migrate.migrate(made, path)
    yield made
    made.close()


def plan(opened: apsw.Connection, text: str, width: int) -> list[str]:
    bindings = [None] * width if width else dict.fromkeys(PARAMETER.findall(text))
    rows = opened.execute(f"EXPLAIN QUERY PLAN {text}", bindings).fetchall()
    return [str(row[3]) for row in rows]


@every_statement
def test_finds_its_rows_without_reading_a_whole_table(
    query: Query, opened: apsw.Connection
) -> None:
    text = query.by_rows[8] if query.width else query.text

    details = plan(opened, text, 8 * query.width)

    scans = [one for one in details if one.startswith("SCAN") and not OWN_ROWS.fullmatch(one)]
    assert query.may_scan or not scans


@every_statement
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
    assert any(f'"{query.name}"' in path.read_text(encoding="utf-8") for path in SOURCES)


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
