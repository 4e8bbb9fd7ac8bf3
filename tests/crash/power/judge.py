"""Judges what power cuts leave of a recorded file.

The recorded commits are found in the writes of the log, and the content after each is noted. Each
image must then be the content after one of them: of none that had not begun, of none before the
newest one that was synced, and with full durability of none before one that was said to be done.
Contents are told apart by their pages, so an image costs two milliseconds, and each content is read
and judged only once.
"""

import bisect
import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import apsw

from tests.crash.power.content import SOFT, Content, Fact
from tests.crash.power.disk import BY_CHANCE, Disk, Files, write_files
from tests.crash.power.recorder import Event

LOG, JOURNAL = "app.db-wal", "app.db-journal"
FRAME_BYTES = 24


def commits_of(events: Sequence[Event]) -> tuple[list[int], list[int]]:
    """Return after how many events each commit begins to be written, and after how many it is.

    A frame whose header names the file's size ends a transaction; it is done with the frame's page.
    A file that is not in WAL mode yet commits by deleting its journal.

    Source: sqlite.org/fileformat2.html#the_write_ahead_log.
    """
    begun, done, began, page_at = [0], [0], 0, -1
    for count, event in enumerate(events, 1):
        if event.kind == "delete" and event.name == JOURNAL:
            begun.append(count)
            done.append(count)
        elif event.kind == "write" and event.name == LOG:
            if event.place == page_at:
                begun.append(began)
                done.append(count)
            page_at = -1
            if len(event.data) == FRAME_BYTES and any(event.data[4:8]):
                began, page_at = count, event.place + FRAME_BYTES
    return (begun, done) if page_at < 0 else ([*begun, began], done)


def syncs_of(events: Sequence[Event]) -> list[tuple[int, int]]:
    """Return after how many events each sync of commits is done, and how many events it covers."""
    return [
        (count, event.place if event.kind == "sync" else count)
        for count, event in enumerate(events, 1)
        if (event.kind == "sync" and event.name == LOG)
        or (event.kind == "delete" and event.name == JOURNAL and event.place)
    ]


def image_of(path: Path) -> bytes:
    """Return all pages of a file as its readers see them; a lost file has none."""
    connection = apsw.Connection(str(path))
    try:
        # Without shared memory, and without work at its close: nobody else opens an image.
        connection.pragma("locking_mode", "exclusive")
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchall()
        return connection.serialize("main") or b""
    finally:
        connection.close()


def damage_of(path: Path) -> list[str]:
    """Return what SQLite finds wrong with a file."""
    connection = apsw.Connection(str(path))
    try:
        rows = connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()
    return [f"integrity_check: {row[0]}" for row in rows if row[0] != "ok"]


class Found:
    """A content that images have, and what is known of it.

    Attributes:
        commits: The numbers of the commits after which the file had it.
        problems: What is wrong with it.
        missing: Places of the facts that are not in it, in order.
        missing_soft: Those that a power cut may take.
    """

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.problems: list[str] = []
        self.missing: list[int] = []
        self.missing_soft: list[int] = []
        self._is_read = False

    def read(self, path: Path, facts: Sequence[Fact]) -> None:
        """Judge it, the first time that an image has it."""
        if self._is_read:
            return
        self._is_read = True
        self.problems = damage_of(path)
        if self.problems:
            return
        content = Content(path)
        self.problems = content.problems
        for place, fact in enumerate(facts):
            if not content.holds(fact):
                (self.missing_soft if fact[0] == SOFT else self.missing).append(place)


class Judge:
    """Rebuilds images of a record, and judges them.

    Args:
        events: The record.
        durability: What the engine was asked for; a client's commits are always full.
        folder: Where images are made.
        seed: Of the images that depend on chance.
        forgets: Whether what a failed sync did not write is never written.

    Attributes:
        counts: How many images were judged, by how they were made, and what was noticed of them.
        violations: What was wrong, each with the image it was found in.
    """

    def __init__(
        self,
        events: Sequence[Event],
        durability: str,
        folder: Path,
        seed: int = 1,
        *,
        forgets: bool = False,
    ) -> None:
        self._forgets = forgets
        self._events = events
        self._is_full = durability == "full"
        self._folder = folder
        self._path = folder / "app.db"
        self._chance = random.Random(seed)
        self.facts: list[Fact] = [(one.name, one.data) for one in events if one.kind == "fact"]
        self._fact_places = [n for n, one in enumerate(events, 1) if one.kind == "fact"]
        self._begun, self._done = commits_of(events)
        self._syncs = syncs_of(events)
        self._told = self._told_commits()
        self._found: dict[bytes, Found] = {}
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._note_commits()

    @property
    def commits(self) -> int:
        """How many transactions the record holds."""
        return len(self._done) - 1

    def _told_commits(self) -> list[tuple[int, int]]:
        """Return after how many events up to which commit was said to be done."""
        told = [(0, 0)]
        for count, event in enumerate(self._events, 1):
            if event.kind == "told":
                commit = bisect.bisect_right(self._done, event.place) - 1
                told.append((count, max(told[-1][1], commit)))
        return told

    def _note_commits(self) -> None:
        """Note the content after each commit, as the processes saw it."""
        disk = Disk()
        commit = iter(enumerate(self._done))
        number, place = next(commit)
        for count, event in enumerate(self._events):
            while count == place:
                self._look(disk.image(self._chance, "all")).commits.append(number)
                number, place = next(commit, (0, -1))
            disk.step(event)
        if place == len(self._events):
            self._look(disk.image(self._chance, "all")).commits.append(number)

    def _look(self, files: Files) -> Found:
        """Return the content of an image, which lies in the folder afterwards."""
        write_files(files, self._folder)
        mark = hashlib.blake2b(image_of(self._path), digest_size=16).digest()
        return self._found.setdefault(mark, Found())

    # -- images ----------------------------------------------------------------------------------

    def judge(self, images: int, *, until_found: bool = False) -> None:
        """Judge so many images, spread over the record.

        At each event that can leave another image without the writes that were not synced, that one
        is judged; the others, by chance and with all writes, are spread evenly.

        Args:
            images: How many others.
            until_found: Stop at the first violation.
        """
        disk = Disk(forgets=self._forgets)
        version, due = -1, 0
        plain = None
        for count, event in enumerate(self._events, 1):
            disk.step(event)
            if disk.version != version:
                version = disk.version
                plain = self._try(disk, "none", count)
            elif plain is not None:
                self._judge_found(plain, count, "none")
            due += images * count // len(self._events) - images * (count - 1) // len(self._events)
            while due and not disk.is_settled:
                due -= 1
                how = "all" if self._chance.random() < 0.2 else self._chance.choice(BY_CHANCE)
                self._try(disk, how, count)
            if until_found and self.violations:
                return

    def _try(self, disk: Disk, how: str, count: int) -> Found | None:
        """Make an image, and judge it."""
        self.counts["images"] += 1
        self.counts[how] += 1
        try:
            found = self._look(disk.image(self._chance, how))
            found.read(self._path, self.facts)
        except apsw.Error as error:
            self._violate(count, how, f"it cannot be opened: {error!r}")
            return None
        self._judge_found(found, count, how)
        return found

    def _judge_found(self, found: Found, count: int, how: str) -> None:
        """Judge a content that a power cut after so many events has left."""
        for problem in found.problems:
            self._violate(count, how, problem)
        newest = bisect.bisect_right(self._begun, count) - 1
        # Of a disk that forgets, what was told must be there; no sync says what else is.
        oldest = 0 if self._forgets else self._oldest(count)
        if not any(oldest <= commit <= newest for commit in found.commits):
            self._violate(count, how, self._place_of(found, oldest, newest))
        told = self._told[bisect.bisect_right(self._told, (count, len(self._done))) - 1][1]
        if self._is_full and not any(told <= commit for commit in found.commits):
            self._violate(count, how, f"commit {told} was said to be done, and is missing")
        known = bisect.bisect_right(self._fact_places, count)
        self.counts["soft items missing"] += bool(bisect.bisect_left(found.missing_soft, known))
        lost = [
            self.facts[place] for place in found.missing[: bisect.bisect_left(found.missing, known)]
        ]
        if lost and self._is_full:
            self._violate(count, how, f"{len(lost)} facts are missing, the first is {lost[0]}")
        self.counts["facts missing"] += bool(lost)
        self.counts["calls forgotten"] += any(kind == "paid" for kind, _ in lost)

    def _place_of(self, found: Found, oldest: int, newest: int) -> str:
        if not found.commits:
            return "its content is that after no commit"
        return f"its content is that after commit {found.commits}, not {oldest} to {newest}"

    def _oldest(self, count: int) -> int:
        """Return the newest commit that a sync of the log has covered."""
        place = bisect.bisect_right(self._syncs, (count, len(self._events))) - 1
        return -1 if place < 0 else bisect.bisect_right(self._done, self._syncs[place][1]) - 1

    def _violate(self, count: int, how: str, what: str) -> None:
        self.violations.append(f"after event {count} of {len(self._events)}, {how}: {what}")

    # -- samples ---------------------------------------------------------------------------------

    def keep_samples(self, samples: int, folder: Path) -> None:
        """Keep images to be resumed, each in a folder named by the number of events before it."""
        wanted = set(self._chance.sample(range(1, len(self._events) + 1), samples))
        disk = Disk()
        for count, event in enumerate(self._events, 1):
            disk.step(event)
            if count in wanted:
                files = disk.image(self._chance, self._chance.choice(("none", *BY_CHANCE)))
                write_files(files, folder / str(count))
                known = self.facts[: bisect.bisect_right(self._fact_places, count)]
                (folder / str(count) / "facts").write_text(json.dumps(known))

    def close(self) -> None:
        """Remove the folder of images."""
        shutil.rmtree(self._folder, ignore_errors=True)
