"""A file with rows in every table, and cells of it that somebody changed by hand.

Changed is one run, ``victim``, and what belongs to it, or one row of what belongs to none.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

import durable
from durable import Engine, Retry, Signal, Stream, Update, Value, activity, workflow
from durable.definitions import Workflow
from tests.until import until

__all__ = ["FUNCTIONS", "Cell", "answers", "cells", "damage", "fill"]

go = Signal("go", int)
shown = Value("shown", str)
lines = Stream("lines", str)
double = Update("double", int, int)


@activity(retry=Retry(initial_interval=1e6))
async def always_fails(text: str) -> None:
    raise ConnectionError(text)


@activity
async def echoes(text: str) -> str:
    return text


@activity
async def by_hand() -> int:
    durable.complete_later()
    return 0


@workflow
async def talks(text: str) -> int:
    double.handler(lambda value: 2 * value)
    shown.set(text)
    lines.append(text)
    await echoes(text)
    approval = durable.promise("approval", int)
    work = [asyncio.ensure_future(one) for one in (always_fails(text), by_hand(), approval)]
    await go.receive()
    return len(work)


@workflow
async def breaks() -> None:
    raise ValueError("as asked")


@workflow
async def held() -> None:
    pass


@workflow
async def answers() -> int:
    return 42


FUNCTIONS: list[Workflow[..., Any]] = [talks, breaks, held, answers]


async def fill(path: Path) -> None:
    """Make the file; tables that nothing has a row in yet get one that belongs to the victim."""
    async with Engine(path, functions=FUNCTIONS) as engine:
        for name in ("other", "victim"):
            start = talks.options(id=name, tags=["urgent"], attributes={"vip": True})
            run = await engine.start(start, "x" * 50_000)
            await run.update(double, 4)

            async def retries(run: durable.Run[int] = run) -> bool:
                return any(one.status == "later" for one in (await run.details()).steps)

            await until(retries)
        with contextlib.suppress(durable.RunFailed):
            await (await engine.start(breaks.options(id="broken"))).result()
        await engine.pause_workflow("held")
        await (await engine.start(held.options(id="held"))).details()
        await (await engine.get("other")).pause("to look at it")
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA ignore_check_constraints = ON")
        for table in _tables(made):
            if not made.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]:
                _insert(made, table)
        made.commit()


def _tables(made: sqlite3.Connection) -> Sequence[str]:
    text = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'durable_*'"
    return [name for (name,) in made.execute(f"{text} ORDER BY name")]


def _columns(made: sqlite3.Connection, table: str) -> Sequence[tuple[str, str, bool]]:
    """Return name, type and whether NULL is allowed, of what is stored."""
    found = made.execute(f"PRAGMA table_xinfo({table})")
    return [(row[1], row[2], not row[3] and not row[5]) for row in found if not row[6]]


# Texts that a table's CHECK asks for, where it is filled here.
_ASKED = {"kind": "signal", "state": "running", "verb": "retry", "what": "new"}


def _insert(made: sqlite3.Connection, table: str) -> None:
    values: dict[str, object] = {}
    for name, kind, _ in _columns(made, table):
        values[name] = {"INTEGER": 1, "BLOB": b"x"}.get(kind, _ASKED.get(name, "1"))
        if name == "run":
            values[name] = _victim(made)
    marks = ", ".join("?" * len(values))
    text = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
    made.execute(text, [*values.values()])


def _victim(made: sqlite3.Connection) -> int:
    (pk,) = made.execute("SELECT pk FROM durable_run WHERE id = 'victim'").fetchone()
    return int(pk)


# -- cells -----------------------------------------------------------------------------------------

NO_UTF8 = "CAST(x'ff' AS TEXT)"
TEXTS: list[object] = [
    "", "[" * 3_000, '{"a":' * 3_000, "\0", "x\0y", "NaN", '{"kind": NaN}', "null", "[]", "{}", "5",
    '[["tag"]]', '{"kind": 5}', '"', "\x1b[2J\u202e", "9" * 5_000, "1e999", NO_UTF8,
    "CAST(x'eda080' AS TEXT)", "x" * 10_000_000,
]  # fmt: skip
NUMBERS: list[object] = [0, -1, 1, 2**62, 2**63 - 1, -(2**63), 10**17]
BLOBS: list[object] = [b"", b"\xff" * 100]
FACTS = [f"name = '{name}'" for name in ("generation", "logs", "secret")]
VALUES = {"TEXT": TEXTS, "INTEGER": NUMBERS, "BLOB": BLOBS, "ANY": [*TEXTS, *NUMBERS, *BLOBS, 1.5]}


@attrs.frozen
class Cell:
    """One column of a table, and what stands in it.

    Attributes:
        table: The table.
        column: The column.
        value: A text that begins with ``CAST(`` is SQL.
        where: Which row, where that is not the victim's or the first.
    """

    table: str
    column: str
    value: object
    where: str = ""

    def __str__(self) -> str:
        place = f"{self.table.removeprefix('durable_')}.{self.column}"
        return f"{place}={self.value!r:.24}{' ' if self.where else ''}{self.where}"


def cells(path: Path, every: int = 1) -> Iterator[Cell]:
    """Yield the cells of a file; of each column one value in so many, and no UTF-8."""
    with contextlib.closing(sqlite3.connect(path)) as made:
        number = 0
        for table in _tables(made):
            for column, kind, is_nullable in _columns(made, table):
                values = [*VALUES[kind], *([None] if is_nullable else [])]
                number += 1
                for at, value in enumerate(values):
                    if (at + number) % every == 0 or value == NO_UTF8:
                        for where in FACTS if table == "durable_meta" else [""]:
                            yield Cell(table, column, value, where)


def damage(made: Path, path: Path, cell: Cell) -> bool:
    """Copy a file and change a cell of it; False if SQLite does not let it be."""
    shutil.copyfile(made, path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA ignore_check_constraints = ON")
        names = [name for name, _, _ in _columns(other, cell.table)]
        key: tuple[int, ...] = ()
        where = "rowid = (SELECT MIN(rowid) FROM {0})"
        if cell.where:
            where = cell.where
        elif cell.table == "durable_run":
            where = "id = 'victim'"
        elif "run" in names and _has(other, cell.table):
            where, key = "run = ?", (_victim(other),)
        elif _is_without_rowid(other, cell.table):
            where = f"{names[0]} = (SELECT MIN({names[0]}) FROM {{0}})"
        is_sql = isinstance(cell.value, str) and cell.value.startswith("CAST(")
        mark, values = (cell.value, ()) if is_sql else ("?", (cell.value,))
        text = f"UPDATE OR IGNORE {cell.table} SET {cell.column} = {mark} WHERE "
        try:
            changed = other.execute(text + where.format(cell.table), (*values, *key)).rowcount
            other.commit()
        except (sqlite3.Error, OverflowError):
            return False
    return changed > 0


def _has(made: sqlite3.Connection, table: str) -> bool:
    text = f"SELECT COUNT(*) FROM {table} WHERE run = ?"
    return bool(made.execute(text, (_victim(made),)).fetchone()[0])


def _is_without_rowid(made: sqlite3.Connection, table: str) -> bool:
    try:
        made.execute(f"SELECT rowid FROM {table} LIMIT 1")
    except sqlite3.Error:
        return True
    return False
