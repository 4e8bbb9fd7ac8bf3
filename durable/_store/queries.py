"""The named statements.

Law: SQL lives in ``sql/*.sql``, each statement named and described; nothing is built from strings.
The one mechanical step is ``-- :rows``: such a statement ends in one row of ``VALUES``, which is
repeated to a few fixed sizes, so that a transaction of any length is a fixed number of prepared
statements. (`executemany` gives the interpreter lock away at each row, and falls from 60,000 to
1,400 rows a second beside one busy Python thread.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import resources

import attrs

__all__ = ["QUERIES", "ROW_SIZES", "Query", "batches"]

# Few, so that they stay prepared. apsw caches statements of at most 16 KiB: 250 rows of the widest
# statement are just under it.
ROW_SIZES = (250, 50, 8, 1)

_NAME = re.compile(r"^-- :name (\w+)$", re.MULTILINE)
_ROW = re.compile(r"VALUES (\((?:\?(?:, )?)+\))")


@attrs.frozen(kw_only=True)
class Query:
    """One named statement.

    Attributes:
        name: Its name.
        text: The statement, for one row.
        comment: Why it is.
        width: Values in a row, 0 for a statement without ``:rows``.
        by_rows: The statement for each of `ROW_SIZES`.
        may_scan: Whether its comment allows a full scan.
    """

    name: str
    text: str
    comment: str
    width: int
    by_rows: dict[int, str]
    may_scan: bool


def _parse(text: str) -> Iterator[Query]:
    parts = _NAME.split(text)[1:]
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        lines = body.strip().splitlines()
        comment = [line[3:] for line in lines if line.startswith("-- ")]
        statement = "\n".join(line for line in lines if not line.startswith("-- "))
        width, by_rows = 0, {}
        if ":rows" in comment:
            row = _ROW.search(statement)
            assert row is not None, f"{name} has no row of values"
            width = row[1].count("?")
            for size in ROW_SIZES:
                rows = ",".join([row[1].replace(" ", "")] * size)
                by_rows[size] = statement[: row.start(1)] + rows + statement[row.end(1) :]
        yield Query(
            name=name,
            text=statement,
            comment="\n".join(line for line in comment if not line.startswith(":")),
            width=width,
            by_rows=by_rows,
            may_scan=any(line.startswith(":scan allowed (") for line in comment),
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


def batches(query: Query, rows: Sequence[tuple[object, ...]]) -> Iterator[tuple[str, list[object]]]:
    """Yield statements with their flat bindings that together cover all rows, in order."""
    start, count = 0, len(rows)
    for size in ROW_SIZES:
        while count - start >= size:
            part = rows[start : start + size]
            yield query.by_rows[size], [value for row in part for value in row]
            start += size
