"""How an export is written line by line, and how it is read and checked."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import attrs
import msgspec

from durable._store.portable.checks import find_fault
from durable._store.portable.lines import (
    FORMAT,
    VERSION,
    EventLine,
    Footer,
    Header,
    Line,
    RunLine,
)
from durable.errors import FileCorrupt, FileTooNew, NotADurableFile, PayloadTooLarge, StoreError
from durable.payloads import PAYLOAD_BYTES_MAX, decode_document, document_decoder, encode_document

__all__ = ["LineWriter", "PortableView", "Sink", "look_into", "read"]

# Two payloads of the default limit, each of quotes alone, which JSON escapes, and all else.
LINE_BYTES_MAX = 4 * PAYLOAD_BYTES_MAX + 1024 * 1024
# A file of something else may have no second line: so much is read of it.
HEADER_BYTES_MAX = 64 * 1024
_GZIP = b"\x1f\x8b"
# JSON of real runs becomes 5 to 40 times smaller. Small files may hold more: it does no harm.
UNPACKED_RATIO_MAX = 200
UNPACKED_BYTES_FREE = 32 * 1024 * 1024
PIECE_BYTES = 64 * 1024


class Sink(Protocol):
    """What lines are written into."""

    def write(self, data: bytes, /) -> object:
        """Write all of it."""
        ...


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class _Mark(msgspec.Struct):
    format: str
    version: int


class _Kind(msgspec.Struct):
    kind: str


_KINDS = {str(one.__struct_config__.tag) for one in (*Line.__args__, Header, Footer)}
_decode: Callable[[bytes], Line | Header | Footer] = document_decoder(Line | Header | Footer)


# -- writing ---------------------------------------------------------------------------------------


class LineWriter:
    """Writes lines, and counts and sums them for the footer."""

    def __init__(self, stream: Sink) -> None:
        self._stream = stream
        self._sum = hashlib.sha256()
        self.lines = self.runs = self.events = 0

    def write(self, line: Line | Header | Footer) -> None:
        """Write one line.

        Raises:
            PayloadTooLarge: It is longer than whoever imports it would take.
        """
        data = encode_document(line) + b"\n"
        if len(data) > LINE_BYTES_MAX:
            raise PayloadTooLarge(
                f"a line of {len(data):,} bytes is more than an export may have "
                f"({LINE_BYTES_MAX:,}); leave this run out"
            )
        self._sum.update(data)
        self._stream.write(data)
        self.lines += 1
        self.runs += isinstance(line, RunLine)
        self.events += isinstance(line, EventLine)

    def close(self) -> None:
        """Write the footer."""
        self.write(
            Footer(
                runs=self.runs, events=self.events, lines=self.lines, sha256=self._sum.hexdigest()
            )
        )


# -- reading ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class PortableView:
    """What an export holds.

    Attributes:
        library: The version of the library that wrote it.
        written: When, UTC, as text.
        redacted: Whether something in it was hidden.
        paths: What was to be hidden.
        runs: How many runs.
        events: How many events they have together.
    """

    library: str
    written: str
    redacted: bool
    paths: tuple[str, ...]
    runs: int
    events: int


def look_into(source: str | os.PathLike[str]) -> PortableView:
    """Read an export to its end and check it; nothing is written.

    Raises:
        NotADurableFile: It is none.
        FileTooNew: A newer version of the library wrote it.
        FileCorrupt: It was cut off or changed.
        StoreError: It cannot be read.
    """
    with read(source) as (header, lines):
        events = sum(isinstance(line, EventLine) for line in lines)
    return PortableView(
        library=header.library, written=header.written, redacted=header.redacted,
        paths=tuple(header.paths), runs=header.runs, events=events,
    )  # fmt: skip


@contextlib.contextmanager
def read(source: str | os.PathLike[str]) -> Iterator[tuple[Header, Iterator[Line]]]:
    """Open an export: its header, and its lines, of which the last is only out if all are right.

    Raises:
        NotADurableFile: It is none.
        FileTooNew: A newer version of the library wrote it.
        FileCorrupt: While the lines are read: it was cut off or changed.
        StoreError: It cannot be read.
    """
    path = os.fspath(source)
    try:
        # Asked of the name: to open a pipe is to wait for its other end. It is read twice, too.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise NotADurableFile(f"{path} is no regular file; an import reads one")
        with Path(path).open("rb") as file:
            is_packed = file.read(2) == _GZIP
            file.seek(0)
            with _unpacked(path, file) if is_packed else file as stream:
                reader = _LineReader(path, stream)
                yield reader.header(), reader.lines()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileCorrupt(f"{path} is cut off or damaged: {error}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise StoreError(f"{path} cannot be read: {why}") from error


class _Bounded(io.RawIOBase):
    """What a compressed file holds, unless that is out of all proportion to its size.

    A thousand bytes of one letter are one byte of gzip: a small file may hold more than the memory.
    """

    def __init__(self, path: str, stream: gzip.GzipFile, bytes_max: int) -> None:
        self._path = path
        self._stream = stream
        self._left = self._bytes_max = bytes_max

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        found = self._stream.readinto(buffer)
        self._left -= found
        if self._left < 0:
            raise FileCorrupt(
                f"{self._path} unpacks to more than {self._bytes_max:,} bytes, "
                f"{UNPACKED_RATIO_MAX} times its size; if you trust it, unpack it with gunzip and "
                "import that"
            )
        return found

    def close(self) -> None:
        self._stream.close()
        super().close()


def _unpacked(path: str, file: BinaryIO) -> io.BufferedReader:
    size = os.fstat(file.fileno()).st_size
    bytes_max = max(UNPACKED_BYTES_FREE, UNPACKED_RATIO_MAX * size)
    return io.BufferedReader(_Bounded(path, gzip.GzipFile(fileobj=file), bytes_max), PIECE_BYTES)


class _LineReader:
    def __init__(self, path: str, stream: _Stream) -> None:
        self._path = path
        self._stream = stream
        self._sum = hashlib.sha256()
        self._lines = self._runs = self._events = 0

    def header(self) -> Header:
        data = self._stream.readline(HEADER_BYTES_MAX)
        try:
            mark = decode_document(data, type=_Mark)
        except (msgspec.DecodeError, UnicodeDecodeError):
            mark = _Mark("", 0)
        if mark.format != FORMAT:
            raise NotADurableFile(f"{self._path} is no export of runs; durable export makes one")
        if mark.version > VERSION:
            raise FileTooNew(
                f"{self._path} is an export of a newer durable (format {mark.version}, this one "
                f"reads {VERSION}); upgrade durable"
            )
        header = self._decoded(data)
        if not isinstance(header, Header):
            raise self._damaged("its first line is no header")
        self._count(data)
        return header

    def lines(self) -> Iterator[Line]:
        while True:
            data = self._stream.readline(LINE_BYTES_MAX + 1)
            if len(data) > LINE_BYTES_MAX:
                raise self._damaged(f"it is longer than {LINE_BYTES_MAX:,} bytes")
            if not data.endswith(b"\n"):
                raise FileCorrupt(f"{self._path} is cut off: it ends after {self._lines:,} lines")
            line = self._decoded(data)
            if isinstance(line, Footer):
                self._check(line)
                return
            if isinstance(line, Header):
                raise self._damaged("a second header")
            self._count(data)
            if line is None:  # Of a later minor version.
                continue
            self._runs += isinstance(line, RunLine)
            self._events += isinstance(line, EventLine)
            if not self._runs:
                raise self._damaged("it belongs to no run", self._lines)
            if fault := find_fault(line):
                raise self._damaged(fault, self._lines)
            yield line

    def _count(self, data: bytes) -> None:
        self._lines += 1
        self._sum.update(data)

    def _check(self, footer: Footer) -> None:
        found = self._runs, self._events, self._lines, self._sum.hexdigest()
        if found != (footer.runs, footer.events, footer.lines, footer.sha256):
            raise FileCorrupt(f"{self._path} does not match its checksum: it was changed")
        if self._stream.read(1):
            raise FileCorrupt(f"{self._path} goes on after its end: it was changed")

    def _decoded(self, data: bytes) -> Line | Header | Footer | None:
        try:
            return _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                if decode_document(data, type=_Kind).kind not in _KINDS:
                    return None
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str, number: int | None = None) -> FileCorrupt:
        number = self._lines + 1 if number is None else number
        return FileCorrupt(f"{self._path} is damaged in line {number:,}: {why}")
