"""The named statements.

Law: SQL lives in ``sql/*.sql``, each statement named and described; nothing is built from strings.
The one mechanical step is ``-- :rows``: such a statement ends in one row of ``VALUES``, which is
repeated to a few fixed sizes, so that a transaction of any length is a fixed number of prepared
statements. (`executemany` gives the interpreter lock away at each row, and falls from 60,000 to
1,400 rows a second beside one busy Python thread.)

``-- :each (a, b)`` is the same for a statement that runs once for each row, whose values it calls
``NEW.a`` and ``NEW.b``: it is the body of a trigger of the writer's own connection, on a view that
the rows are inserted into. So it finds its run by key, whatever statistics say. ``UPDATE ... FROM
(VALUES ...)`` and ``IN (VALUES ...)`` are joins, for which a table that somebody's ANALYZE found
small is read whole; no clause of SQLite forbids that, and an equality with one key it never reads
otherwise.

``-- :order N`` is the place of a statement among those of a change, whose rows are written by
statement: rows exist before they are changed.

Law: no statement's plan depends on ``sqlite_stat1``: where there is a choice, the index is named
(INDEXED BY) and the order of a join is written down (CROSS JOIN). We gather no statistics; other
programs may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import resources

import attrs

__all__ = ["IN_CHANGES", "QUERIES", "ROW_SIZES", "SETUP", "Query", "batches"]

# Few, so that they stay prepared. apsw caches statements of at most 16 KiB: 250 rows of the widest
# statement are just under it.
ROW_SIZES = (250, 50, 8, 1)

_NAME = re.compile(r"^-- :name (\w+)$", re.MULTILINE)
_ROW = re.compile(r"VALUES (\((?:\?(?:, )?)+\))")
_EACH = re.compile(r":each \((.+)\)")
_ORDERED = re.compile(r"^:order (\d+)$", re.MULTILINE)


@attrs.frozen(kw_only=True)
class Query:
    """One named statement.

    Attributes:
        name: Its name.
        text: The statement, for one row.
        comment: Why it is.
        width: Values in a row, 0 for a statement without ``:rows`` or ``:each``.
        by_rows: The statement for each of `ROW_SIZES`.
        may_scan: Whether its comment allows a full scan.
        may_turn: Whether its comment allows that statistics change its plan.
        setup: What a connection needs before it runs a statement with ``:each``.
        order: Its place among the statements of a change; None if it is none of them.
    """

    name: str
    text: str
    comment: str
    width: int
    by_rows: dict[int, str]
    may_scan: bool
    may_turn: bool
    setup: str
    order: int | None


def _parse(text: str) -> Iterator[Query]:
    parts = _NAME.split(text)[1:]
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        lines = body.strip().splitlines()
        comment = [line[3:] for line in lines if line.startswith("-- ")]
        statement = "\n".join(line for line in lines if not line.startswith("-- "))
        width, by_rows, setup = 0, {}, ""
        if ":rows" in comment:
            row = _ROW.search(statement)
            assert row is not None, f"{name} has no row of values"
            width = row[1].count("?")
            by_rows = _by_rows(statement[: row.start(1)], width, statement[row.end(1) :])
        elif each := _EACH.search("\n".join(comment)):
            width = each[1].count(",") + 1
            by_rows = _by_rows(f"INSERT INTO {_view(name)} VALUES ", width, "")  # noqa: S608  a name
            setup = _trigger(name, each[1], width, statement)
        yield Query(
            name=name,
            text=statement,
            comment="\n".join(line for line in comment if not line.startswith(":")),
            width=width,
            by_rows=by_rows,
            may_scan=any(line.startswith(":scan allowed (") for line in comment),
            may_turn=any(line.startswith(":plan may turn (") for line in comment),
            setup=setup,
            order=None if (place := _ORDERED.search("\n".join(comment))) is None else int(place[1]),
        )


def _by_rows(before: str, width: int, after: str) -> dict[int, str]:
    row = f"({','.join('?' * width)})"
    return {size: before + ",".join([row] * size) + after for size in ROW_SIZES}


def _view(name: str) -> str:
    return f"temp.durable_{name}"


def _trigger(name: str, columns: str, width: int, statement: str) -> str:
    nothing = ", ".join(["NULL"] * width)
    return (
        f"CREATE VIEW {_view(name)} ({columns}) AS SELECT {nothing};\n"
        f"CREATE TEMP TRIGGER durable_{name}_each INSTEAD OF INSERT ON durable_{name}\n"
        f"BEGIN\n{statement};\nEND"
    )


def _load() -> dict[str, Query]:
    queries: dict[str, Query] = {}
    for file in sorted(
        resources.files(__package__).joinpath("sql").iterdir(), key=lambda f: f.name
    ):
        for query in _parse(file.read_text(encoding="utf-8")):
            assert query.name not in queries, f"two statements are called {query.name}"
            queries[query.name] = query
    return queries


QUERIES = _load()
IN_CHANGES = [
    query.name
    for query in sorted(
        (query for query in QUERIES.values() if query.order is not None),
        key=lambda query: query.order or 0,
    )
]
"""The statements whose rows a change may have, in the order in which they run."""
SETUP = ";\n".join(query.setup for query in QUERIES.values() if query.setup)
"""What the writer's connection runs once: the triggers of the statements with ``:each``."""


def batches(query: Query, rows: Sequence[tuple[object, ...]]) -> Iterator[tuple[str, list[object]]]:
    """Yield statements with their flat bindings that together cover all rows, in order."""
    start, count = 0, len(rows)
    for size in ROW_SIZES:
        while count - start >= size:
            part = rows[start : start + size]
            yield query.by_rows[size], [value for row in part for value in row]
            start += size
