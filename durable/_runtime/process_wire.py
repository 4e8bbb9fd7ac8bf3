"""Messages between an engine and the processes of its pool: a header and a payload, in JSON.

A message is two lengths, a header (a list whose first member says what it is) and a payload: bytes
as the library's codec made them. Nothing is pickled. A message that is cut off or no message at all
is the end of the conversation, like a process that died.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from select import POLLERR, POLLHUP, POLLIN, poll
from typing import Any

import msgspec

from durable.payloads import PAYLOAD_BYTES_LIMIT, decode_document, encode_document

__all__ = ["Closed", "Wire"]

_LENGTHS = struct.Struct("!QQ")
# The details of a heartbeat, the headers of a run and a line of a log are in headers: far less.
HEADER_BYTES_MAX = 256 * 1024 * 1024
# A payload is received in pieces, so that a wrong length takes no memory.
PIECE_BYTES = 1 << 20


class Closed(Exception):
    """The other side is gone, or does not say what can be read."""

    def __init__(self, why: str, *, is_unreadable: bool = False) -> None:
        super().__init__(why)
        self.is_unreadable = is_unreadable


class Wire:
    """One end of a connection.

    Args:
        end: A connected stream socket; it is closed by `close`.
        look: Called whenever nothing has come for ``look_s`` seconds; it may raise `Closed`.
        look_s: How long that is.
    """

    def __init__(self, end: socket.socket, look: Callable[[], None], look_s: float) -> None:
        self._end = end
        self._look = look
        self._look_ms = round(look_s * 1_000)
        self._sending = threading.Lock()
        self._poll = poll()
        self._poll.register(end, POLLIN | POLLHUP | POLLERR)

    def send(self, header: list[Any], payload: bytes = b"") -> None:
        """Send a message, from any thread.

        Raises:
            Closed: The other side is gone.
            PayloadError: The header cannot be encoded.
        """
        encoded = encode_document(header)
        lengths = _LENGTHS.pack(len(encoded), len(payload))
        with self._sending:
            try:
                if len(payload) <= PIECE_BYTES:
                    self._end.sendall(lengths + encoded + payload)
                else:
                    self._end.sendall(lengths + encoded)
                    self._end.sendall(payload)
            except OSError as error:
                raise Closed(str(error)) from error

    def receive(self) -> tuple[list[Any], bytes]:
        """Wait for a message; one thread alone does.

        Raises:
            Closed: The other side is gone, or what it said is no message.
        """
        header_bytes, payload_bytes = _LENGTHS.unpack(self._read(_LENGTHS.size))
        if header_bytes > HEADER_BYTES_MAX or payload_bytes > PAYLOAD_BYTES_LIMIT:
            raise Closed("what it said is no message", is_unreadable=True)
        try:
            header = decode_document(self._read(header_bytes))
        except (msgspec.DecodeError, ValueError) as error:
            raise Closed("what it said is no message", is_unreadable=True) from error
        if not isinstance(header, list) or not header:
            raise Closed("what it said is no message", is_unreadable=True)
        return header, self._read(payload_bytes)

    def _read(self, count: int) -> bytes:
        pieces: list[bytes] = []
        while count:
            while not self._poll.poll(self._look_ms):
                self._look()
            try:
                piece = self._end.recv(min(count, PIECE_BYTES))
            except OSError as error:
                raise Closed(str(error)) from error
            if not piece:
                raise Closed("it closed the connection")
            pieces.append(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close this end; the other side notices."""
        self._end.close()
