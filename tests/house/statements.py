"""Writes ``durable/_store/statements.py``: the names of the statements, as types."""

from __future__ import annotations

from pathlib import Path

from durable._store.queries import IN_CHANGES, QUERIES
from durable._store.stored_payloads import PLAIN_BLOB

TARGET = Path(__file__).parents[2] / "durable" / "_store" / "statements.py"
HEADER = '''"""The names of the statements, as types: a misspelt one is a type error.

Written by ``python -m tests.house.statements`` from ``sql/*.sql``; a test compares.
"""

from typing import Any, Literal

__all__ = ["ChangeStatement", "Row", "Rows", "Statement"]

'''
ROWS = '''
Row = tuple[ChangeStatement, tuple[Any, ...]]
"""A row of a change, with its statement."""
Rows = list[Row]
'''


def text() -> str:
    """Return what the file is to hold."""
    return (
        HEADER
        + _literal("Statement", sorted([*QUERIES, PLAIN_BLOB]))
        + '"""Any of them."""\n'
        + _literal("ChangeStatement", sorted([*IN_CHANGES, PLAIN_BLOB]))
        + '"""Those whose rows a change may have."""\n'
        + ROWS
    )


def _literal(name: str, names: list[str]) -> str:
    lines = "".join(f'    "{one}",\n' for one in names)
    return f"{name} = Literal[\n{lines}]\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
