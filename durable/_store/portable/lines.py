"""The format: what each line holds, how it is written, and how it is read and checked.

Within a version fields may be added, and kinds of lines: a reader ignores those it does not know.
Numbers of runs are their places in the file, from 1; links between runs are such numbers.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Protocol

import attrs
import msgspec
from msgspec import Meta

from durable.errors import FileCorrupt, FileTooNew, NotADurableFile, PayloadTooLarge, StoreError
from durable.payloads import PAYLOAD_BYTES_MAX

__all__ = [
    "AcceptedLine", "AnswerLine", "AttemptLine", "AuditLine", "EndLine", "EventLine", "Footer",
    "Header", "ItemLine", "LetterLine", "Line", "LineWriter", "OnceLine", "PortableView",
    "RedoneLine", "RunLine", "Sink", "StepLine", "ValueLine", "library_version", "look_into",
    "read",
]  # fmt: skip

FORMAT, VERSION = "durable-export", 1
# Two payloads of the default limit, each of quotes alone, which JSON escapes, and all else.
LINE_BYTES_MAX = 4 * PAYLOAD_BYTES_MAX + 1024 * 1024
# A file of something else may have no second line: so much is read of it.
HEADER_BYTES_MAX = 64 * 1024
_GZIP = b"\x1f\x8b"

Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Natural = Annotated[int, Meta(ge=1, le=2**62)]


class Sink(Protocol):
    """What lines are written into."""

    def write(self, data: bytes, /) -> object:
        """Write all of it."""
        ...


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class Header(msgspec.Struct, tag="header", tag_field="kind", kw_only=True):
    """The first line."""

    format: str
    version: int
    library: str
    written: str
    redacted: bool
    paths: list[str]
    runs: Annotated[int, Meta(ge=0, le=2**40)]


class RunLine(msgspec.Struct, tag="run", tag_field="kind", kw_only=True):
    """A run's row; the lines up to the next of these belong to it."""

    number: Natural
    id: str
    ordinal: Natural
    workflow: str
    state: Literal[
        "ready", "parked", "paused", "blocked",
        "completed", "failed", "cancelled", "terminated", "continued",
    ]  # fmt: skip
    waits: str | None
    queue: str
    priority: Int
    headers: str | None
    salt: Int
    arguments: str
    fingerprint: Int
    checksum: Int
    cause: Literal["started", "restarted", "retried", "continued"]
    code: str | None
    created_us: Int
    started_us: Int | None
    clock_us: Int | None
    closed_us: Int | None
    result: str | None
    result_checksum: Int | None
    origin: Int | None
    root: Natural | None
    parent: Natural | None
    parent_step: str | None
    on_parent_close: Literal["abandon", "cancel", "terminate"] | None
    deadline_us: Int | None
    run_timeout_us: Int | None
    source: Natural | None
    redo_seq: Int | None
    adopts: Literal[0, 1]
    labels: str | None
    error: str | None

    @property
    def name(self) -> str:
        """The id as people write it."""
        return self.id if self.ordinal == 1 else f"{self.id}#{self.ordinal}"

    @property
    def is_open(self) -> bool:
        """Whether the run had not ended."""
        return self.closed_us is None


class EventLine(msgspec.Struct, tag="event", tag_field="kind", kw_only=True):
    """A recorded fact; ``what`` is its kind, as in the file."""

    seq: Natural
    what: Int
    step: str
    name: str
    fingerprint: Int
    arguments: str
    result: str
    checksum: Int
    at_us: Int
    took_us: Int


class StepLine(msgspec.Struct, tag="step", tag_field="kind", kw_only=True):
    """What a pending step remembers."""

    step: str
    name: str
    state: Literal["running", "retrying", "intent", "exhausted", "later", "done"]
    attempt: Natural
    counted_from: Int
    scheduled_us: Int
    retry_at_us: Int | None
    details: str | None
    error: str | None
    result: str | None


class AttemptLine(msgspec.Struct, tag="attempt", tag_field="kind", kw_only=True):
    """An attempt that did not succeed."""

    step: str
    attempt: Natural
    name: str
    state: Literal["failed", "abandoned"]
    started_us: Int
    ended_us: Int
    error: str


class ValueLine(msgspec.Struct, tag="value", tag_field="kind", kw_only=True):
    """A published value."""

    name: str
    payload: str
    checksum: Int
    at_us: Int


class ItemLine(msgspec.Struct, tag="item", tag_field="kind", kw_only=True):
    """An item of a stream."""

    stream: str
    position: Annotated[int, Meta(ge=0, le=2**62)]
    step: str
    attempt: Int
    number: Int
    seq: Int
    payload: str
    checksum: Int
    at_us: Int


class AnswerLine(msgspec.Struct, tag="answer", tag_field="kind", kw_only=True):
    """How an update ended."""

    key: str
    name: str
    state: Literal["completed", "failed", "refused", "abandoned"]
    result: str
    at_us: Int


class LetterLine(msgspec.Struct, tag="letter", tag_field="kind", kw_only=True):
    """A signal that nobody received."""

    seq: Int | None
    name: str
    key: str
    payload: str
    why: str
    at_us: Int


class OnceLine(msgspec.Struct, tag="once", tag_field="kind", kw_only=True):
    """A step that runs at most once, and was begun."""

    step: str


class RedoneLine(msgspec.Struct, tag="redone", tag_field="kind", kw_only=True):
    """A step that completed in an earlier ordinal and is done again."""

    step: str
    ordinal: Int


class AcceptedLine(msgspec.Struct, tag="accepted", tag_field="kind", kw_only=True):
    """A recorded end that is let pass although the code asks with other arguments."""

    step: str


class AuditLine(msgspec.Struct, tag="audit", tag_field="kind", kw_only=True):
    """What a person did to the run."""

    verb: str
    who: str
    why: str
    details: str
    at_us: Int


class EndLine(msgspec.Struct, tag="end", tag_field="kind", kw_only=True):
    """The end of a child that the run was told of, and has not taken."""

    step: str
    child: Natural


class Footer(msgspec.Struct, tag="footer", tag_field="kind", kw_only=True):
    """The last line: of all before it how many runs, lines and events, and their SHA-256."""

    runs: int
    events: int
    lines: int
    sha256: str


Line = (
    RunLine | EventLine | StepLine | AttemptLine | ValueLine | ItemLine | AnswerLine | LetterLine
    | OnceLine | RedoneLine | AcceptedLine | AuditLine | EndLine
)  # fmt: skip


class _Mark(msgspec.Struct):
    format: str
    version: int


class _Kind(msgspec.Struct):
    kind: str


_KINDS = {str(one.__struct_config__.tag) for one in (*Line.__args__, Header, Footer)}
_decoder: msgspec.json.Decoder[Line | Header | Footer] = msgspec.json.Decoder(
    Line | Header | Footer
)


def library_version() -> str:
    """Return this library's version; the package that says it stands above this one."""
    return str(sys.modules["durable"].__version__)


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
        data = msgspec.json.encode(line) + b"\n"
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
            with gzip.open(file) if is_packed else file as stream:
                reader = _LineReader(path, stream)
                yield reader.header(), reader.lines()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileCorrupt(f"{path} is cut off or damaged: {error}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise StoreError(f"{path} cannot be read: {why}") from error


class _LineReader:
    def __init__(self, path: str, stream: _Stream) -> None:
        self._path = path
        self._stream = stream
        self._sum = hashlib.sha256()
        self._lines = self._runs = self._events = 0

    def header(self) -> Header:
        data = self._stream.readline(HEADER_BYTES_MAX)
        try:
            mark = msgspec.json.decode(data, type=_Mark)
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
                raise self._damaged("it belongs to no run")
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
            return _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                if msgspec.json.decode(data, type=_Kind).kind not in _KINDS:
                    return None
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> FileCorrupt:
        return FileCorrupt(f"{self._path} is damaged in line {self._lines + 1:,}: {why}")
