"""A disk that has so much room and no more, until somebody makes some.

Laws: what is said meanwhile is that the disk is full, in these words; once there is room each run
ends as it should, in the same process, and no run was blocked, no attempt used up, nothing doubled.
"""

import logging
import threading
from pathlib import Path

from tests.crash.damage import mounts
from tests.crash.power.recorder import Recorder

PAGE_BYTES = 4096
# How long a disk stays full after that was said for the first time.
LASTS_S = 0.05
# Enough for every plan.
ROOM_BYTES = 64 << 20
WORDS = "the disk is full"
# What SQLite and the kernel call it.
RAW_WORDS = (
    "disk I/O error",
    "database or disk is full",
    "unable to open",
    "No space left",
    "(28)",
)


class FullDisk(logging.Handler):
    """So much room, until a while after somebody said that there is none left.

    Attributes:
        failed: Whether anything was said.
        is_over: Whether there is room again.
        said: What was said before that.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.failed = 0
        self.is_over = False
        self.said: list[str] = []
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Hear what the library logs of the file; of runs it logs what they raise."""
        text = record.getMessage()
        if not text.startswith("run "):
            self.hear(text)

    def hear(self, text: str) -> None:
        """Note what was said; the first time, let there be room after a while."""
        if self.is_over:
            return
        self.said.append(text)
        if not self.failed:
            self.failed = 1
            self._timer = threading.Timer(LASTS_S, self._end)
            self._timer.start()

    def _end(self) -> None:
        self.make_room()
        self.is_over = True

    def make_room(self) -> None:
        """Let there be room for everything."""
        raise NotImplementedError

    def close(self) -> None:
        """Wait until there is room again."""
        if self._timer is not None:
            self._timer.join()
        super().close()

    def wrong_words(self) -> list[str]:
        """Return what was said in other words."""
        return sorted({
            f"it said: {text}"
            for text in self.said
            if WORDS not in text or any(raw in text for raw in RAW_WORDS)
        })  # fmt: skip


class RealDisk(FullDisk):
    """A file system in memory, with room for one page at least: none means no limit."""

    def __init__(self, folder: Path, pages: int, *, files_max: int = 1_000) -> None:
        super().__init__()
        self._folder = folder
        mounts.mount_memory(folder, pages * PAGE_BYTES, files_max=files_max)

    def close(self) -> None:
        """Wait until there is room again; then unmount it."""
        super().close()
        mounts.unmount(self._folder)

    def make_room(self) -> None:
        """Make the file system larger."""
        mounts.resize_memory(self._folder, ROOM_BYTES)


class PlayedDisk(FullDisk):
    """A recorder that lets writes fail once the files have a size; also those that need no room."""

    def __init__(self, folder: Path, pages: int, recorder: Recorder) -> None:
        super().__init__()
        self._folder = folder
        self._bytes_max = pages * PAGE_BYTES
        recorder.before = self._before

    def _before(self, kind: str, name: str) -> None:
        import apsw

        if kind != "write" or self._bytes_max >= ROOM_BYTES:
            return
        if sum(one.stat().st_size for one in self._folder.iterdir()) >= self._bytes_max:
            raise apsw.FullError("made to fail: the disk has no room")

    def make_room(self) -> None:
        """Let no write fail any more."""
        self._bytes_max = ROOM_BYTES
