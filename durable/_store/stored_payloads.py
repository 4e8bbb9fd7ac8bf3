"""Payloads on their way into the file: text up to `INLINE_BYTES_MAX`, else a compressed blob.

Compressing 64 MiB takes a second, so no loop does it. A change of the runtime carries the bytes,
and the writer's thread compresses them (`column_of`). What comes from elsewhere is compressed
before its transaction begins (`EncodedPayload`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from durable._clock import new_salt
from durable._store.statements import Rows
from durable.payloads import INLINE_BYTES_MAX, compress

if TYPE_CHECKING:
    from durable._store.writer import Transaction

__all__ = ["PLAIN_BLOB", "EncodedPayload", "column_of", "compressed"]

PLAIN_BLOB: Final = "insert_plain_blob"
"""In place of ``insert_blob``, with a payload that the writer compresses."""


@attrs.frozen
class EncodedPayload:
    """A payload ready for the file.

    Attributes:
        column: What the payload column holds: the text, or the id of its blob.
        size: Its bytes.
        data: What the blob holds, compressed; empty if there is none.
    """

    column: str | int
    size: int
    data: bytes

    @classmethod
    def of(cls, payload: bytes) -> EncodedPayload:
        """Prepare a payload; a large one is compressed."""
        if len(payload) <= INLINE_BYTES_MAX:
            return cls(payload.decode(), len(payload), b"")
        return cls(new_salt(), len(payload), compress(payload))

    def rows(self) -> Rows:
        """Return the row of its blob, if it has one."""
        if isinstance(self.column, str):
            return []
        return [("insert_blob", (self.column, 1, self.size, self.data))]

    def store(self, transaction: Transaction) -> str | int:
        """Put a large one into its blob; return what the payload column holds."""
        for name, row in self.rows():
            transaction.rows(name, [row])
        return self.column


def column_of(payload: bytes, rows: Rows) -> str | int:
    """Return what a payload column holds: the text, or the id of a blob, which the rows get."""
    if len(payload) <= INLINE_BYTES_MAX:
        return payload.decode()
    blob = new_salt()
    rows.append((PLAIN_BLOB, (blob, 1, len(payload), payload)))
    return blob


def compressed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the row of ``insert_blob`` for one of `PLAIN_BLOB`."""
    return (*row[:3], compress(row[3]))
