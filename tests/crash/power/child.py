"""The processes of the campaign; each prints one line of JSON, or fails.

child.py record FILE DURABILITY SIZE BUG    live some lives on a recorded file system
child.py resume FOLDER DURABILITY SIZE      open each image, and drive the plan to its end
"""

import asyncio
import contextlib
import json
import pickle
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from durable._store import writer
from durable._store.reader import Reader
from tests.crash.power import workload
from tests.crash.power.content import Content
from tests.crash.power.judge import damage_of
from tests.crash.power.recorder import Recorder

# Small, so that a log is copied back and begun again dozens of times in a few seconds.
CHECKPOINT_PAGES = 60


def close_quietly() -> None:
    """Let a read-only connection that closes last pass over the lock that it cannot have.

    SQLite does so itself; apsw raises what a file of a Python VFS has refused meanwhile.
    """
    close = Reader.close

    def quiet(self: Reader) -> None:
        with contextlib.suppress(apsw.IOError):
            close(self)

    Reader.close = quiet  # type: ignore[method-assign]


def checkpoint_often() -> None:
    writer.CHECKPOINT_PAGES = CHECKPOINT_PAGES
    writer.RESTART_PAGES = 4 * CHECKPOINT_PAGES


# -- recording ----------------------------------------------------------------------------------


def record(file: str, durability: str, size: str, bug: str) -> dict[str, Any]:
    """Record three lives of an engine; two of them end with work under way."""
    recorder = Recorder()
    recorder.install()
    checkpoint_often()
    close_quietly()
    workload.outside.told = recorder.fact
    if bug:
        BUGS[bug](recorder)
    runs = workload.plan(int(size))
    first, second, third = runs[0::3], runs[1::3], runs[2::3]
    wrong: dict[str, Any] = {}

    async def live(*lot: Any) -> None:
        wrong.update(await workload.live(path, durability, *lot))

    with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
        path = f"{folder}/app.db"
        asyncio.run(live(first, second))
        asyncio.run(live(second, third))
        asyncio.run(live(third + first))
    Path(file).write_bytes(pickle.dumps([tuple(event) for event in recorder.events]))
    return {"wrong": wrong}


# -- planted bugs -------------------------------------------------------------------------------


def skip_syncs(recorder: Recorder) -> None:
    """Leave out one sync of the log in 25."""
    left = 25

    def skips(name: str) -> bool:
        nonlocal left
        left -= name.endswith("-wal")
        if left > 0 or not name.endswith("-wal"):
            return False
        left = 25
        return True

    recorder.skips = skips


def open_as_normal(recorder: Recorder) -> None:
    """Open a file that was asked for with full durability with less."""
    make = writer.Writer.__init__

    def init(self: writer.Writer, path: str, durability: str, *rest: Any) -> None:
        make(self, path, "normal", *rest)

    writer.Writer.__init__ = init  # type: ignore[method-assign, assignment]


def acknowledge_early(recorder: Recorder) -> None:
    """Let a client's signal return before it is committed."""
    from durable.client import Client

    commit = Client._commit
    tasks = set()

    async def early(self: Client, operation: Callable[..., Any]) -> Any:
        if not operation.__qualname__.startswith("signal."):
            return await commit(self, operation)
        tasks.add(asyncio.create_task(commit(self, operation)))
        return True

    Client._commit = early  # type: ignore[method-assign]


def split_changes(recorder: Recorder) -> None:
    """Commit the events of some changes in one transaction, and what belongs to them in another."""
    import msgspec

    commit = writer.Writer._try_commit

    def split(self: writer.Writer, batch: list[writer.Change]) -> None:
        events = [
            msgspec.structs.replace(change, rows=(), done=None, operation=None)
            for change in batch
            if change.event is not None and change.rows
        ]
        if events and self.commits % 5 == 0:
            commit(self, events)
            kept = [change.event for change in batch]
            for change in batch:
                if change.rows:
                    change.event = None
            commit(self, batch)
            for change, event in zip(batch, kept, strict=True):
                change.event = event
        else:
            commit(self, batch)

    writer.Writer._try_commit = split  # type: ignore[method-assign]


BUGS: dict[str, Callable[[Recorder], None]] = {
    "skip-syncs": skip_syncs,
    "open-as-normal": open_as_normal,
    "acknowledge-early": acknowledge_early,
    "split-changes": split_changes,
}


# -- resuming -----------------------------------------------------------------------------------


def resume(folder: str, durability: str, size: str) -> dict[str, Any]:
    """Resume each image of a folder, one after another."""
    checkpoint_often()
    images = sorted(Path(folder).iterdir(), key=lambda image: int(image.name))
    found = {
        image.name: resume_one(image, durability, workload.plan(int(size))) for image in images
    }
    return {"resumed": len(found), "wrong": {name: bad for name, bad in found.items() if bad}}


def resume_one(image: Path, durability: str, runs: list[workload.Planned]) -> list[str]:
    """Let an engine open an image, and drive the plan to its end; return what is wrong."""
    facts = json.loads((image / "facts").read_text())
    workload.outside.begun.clear()
    workload.outside.mended.clear()
    for kind, about in facts:
        if kind == "failed":
            workload.outside.mended |= {about[0], f"{about[0]}#2"}
    path = image / "app.db"
    with tempfile.TemporaryDirectory(dir=image.parent.parent) as copy:
        shutil.copytree(image, copy, dirs_exist_ok=True)
        before = Content(Path(copy) / "app.db")
    wrong = asyncio.run(workload.live(str(path), durability, runs))
    after = Content(path)
    paid = {tuple(about) for kind, about in facts if kind == "paid"}
    return [
        *(f"{run} ended with {end}" for run, end in wrong.items()),
        *damage_of(path),
        *after.problems,
        *(compare(before, after) if before.is_ready else ()),
        *check_attempts(after),
        *check_ledger(after),
        *(
            f"{run}: {step} was called again"
            for run, step, _, name in workload.outside.begun
            if name == "pay" and (run, step) in paid
        ),
    ]


def compare(before: Content, after: Content) -> Iterator[str]:
    """What is recorded stays, and is not done again."""
    ended = before.ended_steps()
    for run, step, number, name in workload.outside.begun:
        if (run, step) in ended:
            yield f"{run}: {name} ({step}) was recorded, and began again as attempt {number}"
    histories = after.history()
    for run, events in before.history().items():
        if histories.get(run, [])[: len(events)] != events:
            yield f"{run}: its recorded history is another"


# How many attempts of an activity fail by themselves.
_FAILURES = {"flaky": 2, "book": 1, "breaks": 1, "pay": 1}


def check_attempts(after: Content) -> Iterator[str]:
    """An attempt has the number after those that failed, and no power cut uses one up."""
    failed = after.failed_attempts()
    for run, step, number, name in workload.outside.begun:
        if any((run, step, one) not in failed for one in range(1, number)):
            yield f"{run}: attempt {number} of {name} ({step}) has none before it"
        if number > 1 + _FAILURES.get(name, 0):
            yield f"{run}: attempt {number} of {name} ({step}) is one too many"


def check_ledger(after: Content) -> Iterator[str]:
    """Each run has as many rows in the ledger as it makes."""
    rows = Counter(after.ledger_ids())
    for one in after.newest_states():
        wanted = workload.LEDGER_ROWS.get(one.rpartition("-")[0], {0})
        if "/" not in one and rows[one] not in wanted:
            yield f"{one} has {rows[one]} rows in the ledger, and not {wanted}"


if __name__ == "__main__":
    verbs: dict[str, Callable[..., dict[str, Any]]] = {"record": record, "resume": resume}
    print(json.dumps(verbs[sys.argv[1]](*sys.argv[2:])))
