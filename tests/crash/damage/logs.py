"""The frames of a write-ahead log: where its transactions end, and what a cut of it leaves.

Source: sqlite.org/fileformat2.html, "The Write-Ahead Log".
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import apsw

from tests.crash.power.judge import image_of

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
_NATIVE = 0x377F0682


class Frame(NamedTuple):
    """A page in a log.

    Attributes:
        at: Where it begins.
        end: Where the next one does.
        commits: Whether it ends a transaction.
    """

    at: int
    end: int
    commits: bool


def frames_of(log: bytes) -> Iterator[Frame]:
    """Yield the frames that belong to the newest log in a file: those with the header's salts."""
    page_bytes = int.from_bytes(log[8:12], "big")
    at = HEADER_BYTES
    while at + FRAME_HEADER_BYTES + page_bytes <= len(log) and log[at + 8 : at + 16] == log[16:24]:
        end = at + FRAME_HEADER_BYTES + page_bytes
        yield Frame(at, end, log[at + 4 : at + 8] != bytes(4))
        at = end


def mark_of(path: Path) -> bytes:
    """Return what tells one content of a file and its log from another.

    Nothing is changed but the index, which is made anew.
    """
    Path(f"{path}-shm").unlink(missing_ok=True)
    return hashlib.blake2b(image_of(path), digest_size=16).digest()


class CutLog:
    """A file whose log is cut, again and again, and the contents that it may have.

    Args:
        path: The file; its log is changed.

    Attributes:
        ends: Where the log's transactions end, its header among them.
        marks: The content after each.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = Path(f"{path}-wal")
        self._bytes = self._log.read_bytes()
        self.frames = list(frames_of(self._bytes))
        self.ends = [HEADER_BYTES, *(one.end for one in self.frames if one.commits)]
        self.marks: dict[int, bytes] = {}
        for end in self.ends:
            self.cut(end)
            self.marks[end] = mark_of(path)

    @property
    def size(self) -> int:
        """Where the newest transaction ends."""
        return self.ends[-1]

    @property
    def contents(self) -> int:
        """How many contents the log's transactions make."""
        return len(set(self.marks.values()))

    def cut(self, size: int, log: bytes | None = None) -> None:
        """Let the log have its first bytes alone.

        Args:
            size: So many.
            log: Another content of it.
        """
        log = self._bytes if log is None else log
        with self._log.open("r+b") as file:
            old = os.fstat(file.fileno()).st_size
            file.truncate(min(size, old))
            if size > old or log is not self._bytes:
                file.seek(0)
                file.write(log[:size])

    def violations(self, sizes: Iterable[int], log: bytes | None = None) -> Iterator[str]:
        """Cut it at some places, and say where the content is not that after the last whole commit.

        Args:
            sizes: Places.
            log: Another content of it.
        """
        for size in sizes:
            self.cut(size, log)
            wanted = self.marks[max(end for end in self.ends if end <= max(size, HEADER_BYTES))]
            try:
                found = mark_of(self.path)
            except apsw.Error as error:
                yield f"cut at {size}: it cannot be read: {error!r}"
            else:
                if found != wanted:
                    is_of = [end for end, mark in self.marks.items() if mark == found]
                    yield f"cut at {size}: its content is that after {is_of or 'no commit'}"


def with_commit_at(log: bytes, frame: Frame) -> bytes:
    """Return a log in which a transaction seems to end early, whose checksums fit.

    Args:
        log: The log.
        frame: One that ends no transaction; it does in what is returned, and is the last.
    """
    changed = bytearray(log[: frame.end])
    order = "<" if int.from_bytes(log[:4], "big") == _NATIVE else ">"
    size_in_pages = next(
        log[one.at + 4 : one.at + 8] for one in frames_of(log) if one.commits and one.at > frame.at
    )
    changed[frame.at + 4 : frame.at + 8] = size_in_pages
    before = log[frame.at - (frame.end - frame.at) + 16 :][:8] if frame.at > HEADER_BYTES else b""
    sums = struct.unpack(">II", before or log[24:32])
    sums = _sums(sums, changed[frame.at : frame.at + 8], order)
    sums = _sums(sums, changed[frame.at + FRAME_HEADER_BYTES : frame.end], order)
    changed[frame.at + 16 : frame.at + 24] = struct.pack(">II", *sums)
    return bytes(changed)


def _sums(sums: tuple[int, ...], data: bytes | bytearray, order: str) -> tuple[int, int]:
    one, other = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + other) & 0xFFFFFFFF
        other = (other + second + one) & 0xFFFFFFFF
    return one, other
