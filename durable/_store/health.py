"""Whether a file is whole."""

from __future__ import annotations

from durable._store.asking import ask

__all__ = ["faults", "journal_mode"]


def faults(path: str, limit: int) -> list[str]:
    """Return what is wrong with a file's pages, at most so many; none if every page reads."""
    found = [str(row[0]) for row in ask(path, "PRAGMA quick_check", limit).rows]
    return [] if found == ["ok"] else found


def journal_mode(path: str) -> str:
    """Return how the file is written: ``wal``, if an engine has had it."""
    return str(ask(path, "PRAGMA journal_mode", 1).rows[0][0])
