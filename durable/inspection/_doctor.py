"""Looks a file over: is it whole, is it served, is anything in its way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from durable._store import health, pages
from durable._store.connection import has_no_room
from durable._store.file_guard import has_ofd_locks
from durable.errors import DurableError
from durable.inspection._texts import time_of
from durable.inspection._views import CheckView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from durable._store.reader import Reader
    from durable.inspection._views import WorkerView

__all__ = ["look_over"]

# The log is written back at 16 MiB; one four times as large has a reader that keeps it.
LOG_BYTES_MAX = 64 * 1024 * 1024
# Below it a commit may fail any moment.
FREE_BYTES_MIN = 256 * 1024 * 1024
FAULTS_SHOWN = 5
MIB = 1024 * 1024


def look_over(
    reader: Reader,
    workers: Callable[[], Sequence[WorkerView]],
    counts: Callable[[], Mapping[str, int]],
    missing: str,
    trouble: str,
    now_us: int,
    *,
    is_quick: bool,
) -> Sequence[CheckView]:
    """Return what was looked at, and how it is; what cannot be looked at is not well.

    Args:
        reader: Of the file.
        workers: Returns those whose rows say that they live.
        counts: Returns runs by shown status.
        missing: What the file seems to lack, or an empty text.
        trouble: What keeps a worker from writing, or an empty text.
        now_us: This moment.
        is_quick: Leave out what reads every row twice, and the payloads.
    """
    path = reader.path
    looks: list[tuple[str, Callable[[], CheckView]]] = [
        ("integrity", lambda: _whole(path, is_quick=is_quick)),
        ("commits", lambda: _commits(reader, missing)),
        ("rows", lambda: _rows(reader, now_us)),
        *([] if is_quick else [("payloads", lambda: _payloads(reader))]),
        ("counts", lambda: _counts(reader)),
        ("journal", lambda: _mode(path)),
        ("log", lambda: _log(path)),
        ("locks", _locks),
        ("disk", lambda: _room(path)),
        ("writing", lambda: _written(trouble)),
        ("workers", lambda: _served(workers(), counts())),
        ("blocked", lambda: _stuck(counts())),
    ]
    return [_looked_at(name, look) for name, look in looks]


def _looked_at(name: str, look: Callable[[], CheckView]) -> CheckView:
    try:
        return look()
    except (DurableError, OSError) as error:
        return CheckView(name=name, is_well=False, text=f"cannot be looked at: {error}")


def _commits(reader: Reader, missing: str) -> CheckView:
    if missing:
        return CheckView(name="commits", is_well=False, text=missing)
    once = health.once_missing(reader, 1)
    if once:
        why, at_us = once[0]
        text = f"{why} (found at {time_of(at_us):%Y-%m-%d %H:%M})"
        return CheckView(name="commits", is_well=False, text=text)
    return CheckView(name="commits", is_well=True, text="none is known to be missing")


def _written(trouble: str) -> CheckView:
    text = trouble or "no worker says that it cannot write"
    return CheckView(name="writing", is_well=not trouble, text=text)


def _rows(reader: Reader, now_us: int) -> CheckView:
    found = health.tampered(reader, now_us, FAULTS_SHOWN)
    text = "; ".join(found[:FAULTS_SHOWN]) if found else "every row is as it is written"
    return CheckView(name="rows", is_well=not found, text=text)


def _payloads(reader: Reader) -> CheckView:
    found = health.damaged_payloads(reader, FAULTS_SHOWN)
    text = "; ".join(found) + "; go back to a backup" if found else "every payload is as written"
    return CheckView(name="payloads", is_well=not found, text=text)


def _locks() -> CheckView:
    has = has_ofd_locks()
    text = "other SQLite libraries of a process are kept from the log"
    if not has:
        text = (
            "this platform has no open file description locks: do not open the file by another "
            "SQLite library in the process of an engine"
        )
    return CheckView(name="locks", is_well=has, text=text)


def _whole(path: str, *, is_quick: bool) -> CheckView:
    found = health.faults(path, FAULTS_SHOWN, is_quick=is_quick)
    text = "; ".join(found) + "; go back to a backup" if found else "every page reads"
    return CheckView(name="integrity", is_well=not found, text=text)


def _mode(path: str) -> CheckView:
    mode = health.journal_mode(path)
    text = f"journal mode {mode}" + ("" if mode == "wal" else "; an engine that opens it sets wal")
    return CheckView(name="journal", is_well=mode == "wal", text=text)


def _log(path: str) -> CheckView:
    log = Path(f"{path}-wal")
    size = log.stat().st_size if log.exists() else 0
    is_well = size <= LOG_BYTES_MAX
    text = f"the log beside the file has {size / MIB:,.1f} MiB"
    if not is_well:
        text += "; a program that reads for a long time keeps it from shrinking"
    return CheckView(name="log", is_well=is_well, text=text)


def _room(path: str) -> CheckView:
    free = shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free  # noqa: PTH100, PTH120
    text = f"{free / MIB:,.0f} MiB are free on its disk"
    if has_no_room(path):
        text = "the disk is full; nothing is lost, make room: what waits for it goes on by itself"
    return CheckView(name="disk", is_well=free >= FREE_BYTES_MIN, text=text)


def _counts(reader: Reader) -> CheckView:
    wrong = pages.miscounted(reader)
    text = "as many runs as are counted"
    if wrong:
        text = (
            f"not as counted: runs of {', '.join(wrong[:FAULTS_SHOWN])}; was a row changed by hand?"
        )
    blobs = health.miscounted_blobs(reader, FAULTS_SHOWN)
    if blobs:
        shown = ", ".join(map(str, blobs))
        text = f"{'' if not wrong else text + '; '}large payloads not as counted: {shown}"
        return CheckView(name="counts", is_well=False, text=text)
    return CheckView(name="counts", is_well=not wrong, text=text)


def _served(workers: Sequence[WorkerView], counts: Mapping[str, int]) -> CheckView:
    alive = [one for one in workers if one.is_alive]
    dead = [one for one in workers if not one.is_alive]
    if alive:
        text = f"{len(alive)} worker{'s' if len(alive) > 1 else ''} live"
        if dead:
            text += f"; {len(dead)} died, and their runs are taken over"
        return CheckView(name="workers", is_well=True, text=text)
    queued = counts.get("queued", 0)
    text = "no worker lives"
    if queued:
        text += f", and {queued:,} runs wait for one; start one with `durable worker APP:ENGINE`"
    return CheckView(name="workers", is_well=queued == 0, text=text)


def _stuck(counts: Mapping[str, int]) -> CheckView:
    blocked = counts.get("blocked", 0)
    text = "no run is blocked"
    if blocked:
        text = f"{blocked:,} runs are blocked: code and history do not fit; see the issues"
    return CheckView(name="blocked", is_well=blocked == 0, text=text)
