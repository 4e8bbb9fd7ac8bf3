"""What opens something stays in the file it is of: tokens in payloads lose their proofs.

A replay of the copy does not notice: what a step was called with counts without the proofs.
"""

from __future__ import annotations

from durable._store.portable.lines import EventLine, ItemLine, Line, RunLine, ValueLine
from durable.payloads import TOKEN_MARK, checksum, checksum_of_two, without_proofs

__all__ = ["without_tokens"]


def without_tokens(line: Line) -> Line:
    """Return a line whose tokens open nothing; the line itself is changed."""
    is_changed = False
    for name in line.__struct_fields__:
        text = getattr(line, name)
        if isinstance(text, str) and TOKEN_MARK in text:
            setattr(line, name, without_proofs(text.encode()).decode())
            is_changed = True
    if is_changed:
        _sum_again(line)
    return line


def _sum_again(line: Line) -> None:
    match line:
        case RunLine():
            line.checksum = checksum(line.arguments.encode())
            if line.result is not None:
                line.result_checksum = checksum(line.result.encode())
        case EventLine():
            line.checksum = checksum_of_two(line.arguments.encode(), line.result.encode())
        case ValueLine() | ItemLine():
            line.checksum = checksum(line.payload.encode())
        case _:
            pass
