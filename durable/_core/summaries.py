"""A recorded exception in one line, for lists and logs.

It stands alone, away from what records and rebuilds exceptions: that knows asyncio's cancellation,
and whoever only looks at runs loads no event loop.
"""

from __future__ import annotations

__all__ = ["summary"]

SUMMARY_CHARACTERS_MAX = 300


def summary(record: object) -> str:
    """Return ``TypeName: message`` in one line of at most 300 characters, safe for a terminal."""
    name, message = "ActivityError", ""
    if isinstance(record, dict):
        if isinstance(recorded := record.get("type"), str) and recorded:
            name = recorded.rpartition(".")[2]
        if isinstance(recorded := record.get("message"), str):
            message = recorded
    text = f"{name}: {message}" if message else name
    # Escaping only lengthens, so what lies beyond the limit needs no look.
    text = "".join(map(_escape, text[: SUMMARY_CHARACTERS_MAX + 1]))
    if len(text) <= SUMMARY_CHARACTERS_MAX:
        return text
    return text[: SUMMARY_CHARACTERS_MAX - 3] + "..."


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()
