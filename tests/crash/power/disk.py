"""What a disk may hold after a power cut, rebuilt from what was recorded.

Laws of the model:

* What a sync covered stays; of what was written since, each sector of 512 bytes may be there.
* A file whose name was never synced may be missing, also if its content was synced. SQLite syncs
  the folder with the first sync of a log or a journal, and that covers all names in it.
* A deleted file may come back as long as the folder was not synced since.
* The ``-shm`` is rebuilt by whoever opens the file first, so it is always missing.
* A write changes no byte beside its own (SQLite's powersafe overwrite, which it assumes too).

Source: sqlite.org/atomiccommit.html and sqlite.org/psow.html.
"""

import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.crash.power.recorder import Event

SECTOR_BYTES = 512
# How what was not synced is treated; the last four by chance.
HOWS = ("none", "all", "sectors", "garbage", "zeros", "prefix")
BY_CHANCE = HOWS[2:]

Files = Mapping[str, bytes | bytearray]


class Disk:
    """The files at one moment: what surely is on the disk, and what is on its way there.

    Args:
        forgets: Whether what a failed sync did not write is never written, for the kernel calls
            those pages clean afterwards.

    Attributes:
        version: Changes whenever what surely is on the disk does.
    """

    def __init__(self, *, forgets: bool = False) -> None:
        self._forgets = forgets
        self._count = 0
        self._safe: dict[str, bytearray] = {}
        self._pending: list[tuple[int, Event]] = []
        self._nameless: set[str] = set()
        """Files whose name was not synced yet."""
        self._deleted: dict[str, bytes] = {}
        """Deleted files that may come back."""
        self.version = 0

    @property
    def is_settled(self) -> bool:
        """Whether a power cut now leaves one image only."""
        return not self._pending and not self._nameless and not self._deleted

    def step(self, event: Event) -> None:
        """Let one more event happen."""
        match event.kind:
            case "open":
                self._open(event.name)
            case "write" | "truncate":
                self._open(event.name)
                self._pending.append((self._count, event))
            case "sync":
                self._sync(event)
            case "unsynced" if self._forgets:
                self._pending = [one for one in self._pending if not _covers(event, *one)]
            case "delete":
                self._delete(event)
        self._count += 1

    def _open(self, name: str) -> None:
        if name not in self._safe:
            self._safe[name] = bytearray()
            self._nameless.add(name)
            self.version += 1

    def _sync(self, sync: Event) -> None:
        kept = []
        for number, event in self._pending:
            if _covers(sync, number, event):
                _apply(self._safe[sync.name], event)
            else:
                kept.append((number, event))
        self._pending = kept
        if sync.name in self._nameless and sync.name.endswith(("-wal", "-journal")):
            self._nameless.clear()
            self._deleted.clear()
        self.version += 1

    def _delete(self, event: Event) -> None:
        content = self._safe.pop(event.name, None)
        self._pending = [one for one in self._pending if one[1].name != event.name]
        self._nameless.discard(event.name)
        if event.place:
            self._deleted.clear()
        elif content is not None:
            self._deleted[event.name] = bytes(content)
        self.version += 1

    def image(self, chance: random.Random, how: str) -> Files:
        """Return files that a power cut now may leave."""
        pending = [event for _, event in self._pending]
        if how == "none":
            pending = []
        elif how == "prefix":
            pending = pending[: chance.randrange(len(pending) + 1)]
        files: dict[str, bytes | bytearray] = dict(self._safe)
        for name in {event.name for event in pending}:
            files[name] = bytearray(self._safe[name])
        density = chance.choice((0.1, 0.5, 0.9))
        for event in pending:
            content = files[event.name]
            assert isinstance(content, bytearray)
            if how in {"all", "prefix"}:
                _apply(content, event)
            else:
                _tear(content, event, chance, how, density)
        self._tear_names(files, chance, how)
        return {name: content for name, content in files.items() if not name.endswith("-shm")}

    def _tear_names(
        self, files: dict[str, bytes | bytearray], chance: random.Random, how: str
    ) -> None:
        """Let files be missing that have no synced name, and others come back."""
        for name in sorted(self._nameless):
            if how == "none" or (how in BY_CHANCE and chance.random() < 0.3):
                del files[name]
        for name, content in self._deleted.items():
            if how == "none" or (how in BY_CHANCE and chance.random() < 0.5):
                files.setdefault(name, content)

    def play(self, events: Iterable[Event]) -> "Disk":
        """Let many events happen."""
        for event in events:
            self.step(event)
        return self


def _covers(sync: Event, number: int, event: Event) -> bool:
    return event.name == sync.name and number < sync.place


def _apply(content: bytearray, event: Event) -> None:
    if event.kind == "truncate":
        del content[event.place :]
    else:
        _put(content, event.place, event.data)


def _put(content: bytearray, place: int, data: bytes) -> None:
    if len(content) < place:
        content.extend(bytes(place - len(content)))
    content[place : place + len(data)] = data


def _tear(
    content: bytearray, event: Event, chance: random.Random, how: str, density: float
) -> None:
    """Let some sectors of a write arrive; what becomes of the others depends on how."""
    if event.kind == "truncate":
        if chance.random() < 0.5:
            _apply(content, event)
        return
    place, end = event.place, event.place + len(event.data)
    while place < end:
        border = min((place // SECTOR_BYTES + 1) * SECTOR_BYTES, end)
        if chance.random() < density:
            _put(content, place, event.data[place - event.place : border - event.place])
        elif how == "garbage" and chance.random() < 0.5:
            _put(content, place, chance.randbytes(border - place))
        elif how == "zeros" and len(content) < border:
            content.extend(bytes(border - len(content)))
        place = border


def write_files(files: Files, folder: Path) -> None:
    """Let a folder hold these files, and no others."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.name not in files:
            old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
