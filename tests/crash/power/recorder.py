"""A file system between SQLite and the disk that writes down, or breaks, what SQLite does.

The recording VFS is the default of its process, so that what is tested needs no change. What is
done to the database, its log and its journal stands in one list, in order, together with the facts:
what the outside was told, and what it has seen the library do.

Laws:

* A write stands in the list before it is done, a sync after it was done: what the list calls synced
  is synced.
* A sync covers the writes that were done before it began, and no others.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apsw

# As long as a disk takes: what a commit tells is told before the next one is synced.
SYNC_S = 0.002
# What a Python VFS cannot stand in for.
_NOT_OURS = {"xSetSystemCall", "xGetSystemCall", "xNextSystemCall"}


class Event(NamedTuple):
    """One thing that happened.

    Attributes:
        kind: ``open``, ``write``, ``truncate``, ``sync``, ``unsynced`` (a sync that failed),
            ``delete``, ``fact``, or ``told``: its writer said that a commit was done.
        name: The file's name in its folder; of a fact its kind.
        place: Of a write its offset, of a truncate the size, of a delete whether the folder was
            synced, of a sync the number of events before it began, of what was told that
            up to the commit's last write.
        data: What was written; of a fact what it is about.
    """

    kind: str
    name: str
    place: int = 0
    data: Any = b""


class Recorder:
    """The list of what happened, and what is done on purpose to the calls before they are made.

    Attributes:
        events: What happened so far.
        before: Called with (kind, name) before each call, reads included; it may raise.
        skips: Called with a name before each sync; True: it is left out, and not recorded.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.before: Callable[[str, str], None] = lambda kind, name: None
        self.skips: Callable[[str], bool] = lambda name: False
        self._order = threading.Lock()
        self._written: dict[int, int] = {}
        """By thread: how many events there were with its last write to a log."""
        self._vfs: RecordingVFS | None = None

    def install(self) -> None:
        """Make this the file system of all connections that are opened from now on."""
        self._vfs = self._vfs or RecordingVFS(self)
        apsw.set_default_vfs("recording")

    def remove(self) -> None:
        """Let connections that are opened from now on be none of its business."""
        apsw.set_default_vfs("unix")

    def fact(self, kind: str, *about: object) -> None:
        """Write down what the outside knows from now on."""
        self.events.append(Event("fact", kind, 0, about))

    def tell_commit(self) -> None:
        """Write down that what this thread wrote last was said to be committed."""
        self.events.append(Event("told", "", self._written.get(threading.get_ident(), 0)))

    def act(self, event: Event, do: Callable[[], None]) -> None:
        """Write down a change of a file, and make it."""
        self.before(event.kind, event.name)
        with self._order:
            self.events.append(event)
            if event.kind == "write" and event.name.endswith("-wal"):
                self._written[threading.get_ident()] = len(self.events)
            do()

    def sync(self, name: str, do: Callable[[], None]) -> None:
        """Sync a file, and write down what that covers."""
        if self.skips(name):
            return
        with self._order:
            begun = len(self.events)
        try:
            self.before("sync", name)
        except apsw.Error:
            self.events.append(Event("unsynced", name, begun))
            raise
        do()
        time.sleep(SYNC_S)
        self.events.append(Event("sync", name, begun))


class RecordingVFS(apsw.VFS):
    """SQLite's own file system, with a recorder before it."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__("recording", "unix", makedefault=True, exclude=_NOT_OURS)
        self._recorder = recorder

    def xOpen(self, name, flags):
        return RecordingFile(self._recorder, name, flags)

    def xDelete(self, filename, syncdir):
        event = Event("delete", Path(filename).name, int(syncdir))
        remove = super().xDelete
        self._recorder.act(event, lambda: remove(filename, syncdir))


class RecordingFile(apsw.VFSFile):
    """A file whose changes are written down."""

    def __init__(self, recorder, name, flags):
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._recorder = recorder
        self._name = Path(path or "temporary").name
        event = Event("open", self._name)
        recorder.act(event, lambda: super(RecordingFile, self).__init__("unix", name, flags))

    def xRead(self, amount, offset):
        self._recorder.before("read", self._name)
        return super().xRead(amount, offset)

    def xWrite(self, data, offset):
        write = super().xWrite
        event = Event("write", self._name, offset, bytes(data))
        self._recorder.act(event, lambda: write(data, offset))

    def xTruncate(self, newsize):
        truncate = super().xTruncate
        event = Event("truncate", self._name, newsize)
        self._recorder.act(event, lambda: truncate(newsize))

    def xSync(self, flags):
        sync = super().xSync
        self._recorder.sync(self._name, lambda: sync(flags))
