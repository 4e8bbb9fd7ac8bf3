"""The processes of the campaign; each prints one line of JSON, or fails.

child.py record FILE DURABILITY SIZE BUG    live some lives on a recorded file system
child.py resume FOLDER DURABILITY SIZE      open each image, and drive the plan to its end
child.py endure FOLDER SIZE KINDS EACH NAMES    let EACH calls of some kinds and files fail
child.py endure-bug FOLDER      let a call fail where a bug is planted
child.py forget FILE NUMBER     record a life in which the n-th sync of the log fails
child.py talk FOLDER KIND       let a call of a client's commit fail, and send again
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
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import apsw

import durable
from durable._store import writer
from durable._store.reader import Reader
from tests.crash.power import workload
from tests.crash.power.content import Content
from tests.crash.power.faults import Fault, Life, Outcome, StatementFault, watch_statements
from tests.crash.power.judge import damage_of
from tests.crash.power.recorder import Recorder

# Small, so that a log is copied back and begun again dozens of times in a few seconds.
CHECKPOINT_PAGES = 60
# Where a bug is planted, a life may have no end.
LIFE_WITH_BUG_S = 3


class QuietConnection(apsw.Connection):
    """Passes over what it cannot do as it closes, such as copying back the log.

    SQLite does so itself; apsw raises what a file of a Python VFS has refused meanwhile.
    """

    def close(self, force: bool = False) -> None:
        with contextlib.suppress(apsw.Error):
            super().close(force)


def close_quietly() -> None:
    apsw.Connection = QuietConnection  # type: ignore[misc]


def checkpoint_often() -> None:
    writer.CHECKPOINT_PAGES = CHECKPOINT_PAGES
    writer.RESTART_PAGES = 4 * CHECKPOINT_PAGES


def tell_commits(recorder: Recorder) -> None:
    """Let the record say which commits the writers have said to be done; not the soft ones."""
    make, now, here = writer.Writer.__init__, writer.Writer.commit_now, writer.Writer.commit_here

    def tell(batch: list[writer.Change]) -> None:
        if any(change.error is None and not change.soft for change in batch):
            recorder.tell_commit()

    def init(self: writer.Writer, path: str, durability: str, deliver: Any, *rest: Any) -> None:
        def telling(batch: list[writer.Change]) -> None:
            tell(batch)
            deliver(batch)

        make(self, path, durability, telling, *rest)

    def commit_now(self: writer.Writer, change: writer.Change) -> Any:
        value = now(self, change)
        tell([change])
        return value

    def commit_here(self: writer.Writer, batch: list[writer.Change]) -> bool:
        is_done = here(self, batch)
        if is_done:
            tell(batch)
        return is_done

    writer.Writer.__init__ = init  # type: ignore[method-assign, assignment]
    writer.Writer.commit_now = commit_now  # type: ignore[method-assign]
    writer.Writer.commit_here = commit_here  # type: ignore[method-assign]


# -- recording ----------------------------------------------------------------------------------


def record(file: str, durability: str, size: str, bug: str) -> dict[str, Any]:
    """Record three lives of an engine; two of them end with work under way."""
    recorder = Recorder()
    recorder.install()
    checkpoint_often()
    close_quietly()
    tell_commits(recorder)
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


def pass_over_failures() -> None:
    """Take a commit whose outcome is unknown for one that is done."""
    commit = writer.Writer._try_commit

    def careless(self: writer.Writer, batch: list[writer.Change]) -> None:
        try:
            commit(self, batch)
        except durable.CommitUnknown:
            self._broken = None

    writer.Writer._try_commit = careless  # type: ignore[method-assign]


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


# -- faults -------------------------------------------------------------------------------------


def endure(folder: str, size: str, kinds: str, each: str, names: str = "") -> dict[str, Any]:
    """Let calls fail, spread over all that a life makes.

    Args:
        folder: Where the files are made.
        size: Of the plan.
        kinds: Of the calls, with commas; ``statement`` is the first read of a named statement.
        each: How many calls of each kind and file, or statement.
        names: Of files or statements, with commas, or after a minus all others; none: all.
    """
    recorder = Recorder()
    checkpoint_often()
    close_quietly()
    endurance = Endurance(Path(folder), recorder, int(size))
    for kind, name, count in endurance.count_calls():
        if kind in kinds.split(",") and is_among(name, names):
            for number in spread(count, int(each)):
                endurance.fail(kind, name, number)
    return endurance.found


def endure_bug(folder: str) -> dict[str, Any]:
    """Let a sync of the log fail where a commit whose outcome is unknown is taken for done."""
    close_quietly()
    pass_over_failures()
    endurance = Endurance(Path(folder), Recorder(), 1)
    endurance.life_s_max = LIFE_WITH_BUG_S
    endurance.fail("sync", "app.db-wal", 15)
    return endurance.found


def spread(count: int, each: int) -> list[int]:
    """Return some numbers from 1 to count, evenly spread: of one the middle."""
    return sorted({count * (2 * n + 1) // (2 * each) + 1 for n in range(each)})


def is_among(name: str, names: str) -> bool:
    listed = names.removeprefix("-").split(",")
    return (name not in listed) if names.startswith("-") else (not names or name in listed)


class Endurance:
    """Lives with a fault each, and what became of them by what failed."""

    def __init__(self, folder: Path, recorder: Recorder, size: int) -> None:
        self._folder = folder
        self._recorder = recorder
        self._size = size
        self.life_s_max = 20.0
        self._during: Callable[[Reader, str], AbstractContextManager[None]] = free
        self.total: Counter[str] = Counter()
        self.wrong: dict[str, list[str]] = {}
        self.raw: dict[str, list[str]] = {}
        self.blocked: dict[str, list[str]] = {}
        watch_statements(self._run_statement)

    @property
    def found(self) -> dict[str, Any]:
        """All of it, as it is printed."""
        return {
            "total": dict(self.total),
            "wrong": self.wrong,
            "raw": self.raw,
            "blocked": self.blocked,
        }

    def _run_statement(self, reader: Reader, statement: str) -> AbstractContextManager[None]:
        return self._during(reader, statement)

    def count_calls(self) -> list[tuple[str, str, int]]:
        """Return (kind, file or statement, how often) of the calls of a life without a fault."""
        calls: Counter[tuple[str, str]] = Counter()

        def during(reader: Reader, statement: str) -> AbstractContextManager[None]:
            calls["statement", statement] += 1
            return free(reader, statement)

        self._during = during
        self._recorder.before = lambda kind, name: calls.update([(kind, name)])
        never = Fault("", "", 1, lasts=False)
        assert self._endure_one("none", never).wrong == []
        self._during = free
        return [(kind, name, count) for (kind, name), count in sorted(calls.items())]

    def fail(self, kind: str, name: str, number: int) -> None:
        """Let a call fail once, and, but for a statement's, in another life for a while."""
        if kind == "statement":
            statement = StatementFault(name, number)
            self._during = statement.during
            self._endure(f"{kind} {name} {number}", statement)
            self._during = free
        else:
            for lasts in (False, True):
                fault = Fault(kind, name, number, lasts=lasts)
                self._endure(f"{kind} {name} {number}" + " for a while" * lasts, fault)

    def _endure(self, about: str, fault: Fault) -> None:
        self._recorder.before = fault
        outcome = self._endure_one(about, fault)
        self.total.update(faults=bool(fault.failed), failed=fault.failed, renewed=outcome.renewed)
        self.total.update(outcome.raised)
        for found, where in (
            (outcome.wrong, self.wrong),
            (outcome.raw, self.raw),
            (outcome.blocked, self.blocked),
        ):
            if found:
                where[about] = found

    def _endure_one(self, about: str, fault: Fault) -> Outcome:
        """Let an engine live with a fault; return what became of it and of the file."""
        workload.outside.begun.clear()
        workload.outside.mended.clear()
        self._recorder.events.clear()
        folder = self._folder / about
        folder.mkdir()
        path = folder / "app.db"
        self._recorder.install()
        life = Life(path, fault, life_s_max=self.life_s_max)
        outcome = life.live(workload.plan(self._size))
        self._recorder.remove()
        outcome.wrong += judge_end(path)
        if not outcome.wrong:
            shutil.rmtree(folder)
        return outcome


def judge_end(path: Path) -> Iterator[str]:
    """Judge a file whose runs have ended, and what was done for them."""
    after = Content(path)
    yield from damage_of(path)
    yield from after.problems
    yield from check_attempts(after)
    yield from check_ledger(after)
    paid = Counter((run, step) for run, step, _, name in workload.outside.begun if name == "pay")
    yield from (f"{run}: {step} was called {n} times" for (run, step), n in paid.items() if n > 1)


@contextlib.contextmanager
def free(reader: Reader, statement: str) -> Iterator[None]:
    """Let a statement run as it is."""
    yield


def forget(file: str, number: str) -> dict[str, Any]:
    """Record a life of an engine in which a sync of the log fails once."""
    recorder = Recorder()
    recorder.install()
    close_quietly()
    workload.outside.told = recorder.fact
    recorder.before = fault = Fault("sync", "app.db-wal", int(number), lasts=False)
    with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
        life = Life(Path(folder) / "app.db", fault, alone=True)
        outcome = life.live(workload.plan(1))
    Path(file).write_bytes(pickle.dumps([tuple(event) for event in recorder.events]))
    return {"failed": fault.failed, "wrong": outcome.wrong}


def talk(folder: str, kind: str) -> dict[str, Any]:
    """Let a client's commit fail once, and say what its next call does."""
    recorder = Recorder()
    recorder.install()
    close_quietly()
    path = f"{folder}/app.db"

    async def begin() -> None:
        async with durable.Client(path, create=True) as client:
            await client.start(workload.receives.options(id="run"), 1)

    async def send() -> list[str]:
        said = []
        async with durable.Client(path) as client:
            run = await client.get("run")
            recorder.before = Fault(kind, "app.db-wal", 1, lasts=False)
            for _ in range(2):
                try:
                    await run.signal(workload.number, 1, id="message")
                    said.append("sent")
                except durable.StoreError:
                    said.append("failed")
        return said

    asyncio.run(begin())
    return {"said": asyncio.run(send())}


if __name__ == "__main__":
    verbs: dict[str, Callable[..., dict[str, Any]]] = {
        "record": record,
        "resume": resume,
        "endure": endure,
        "endure-bug": endure_bug,
        "forget": forget,
        "talk": talk,
    }
    print(json.dumps(verbs[sys.argv[1]](*sys.argv[2:])))
