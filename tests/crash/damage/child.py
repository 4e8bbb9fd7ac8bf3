"""The processes of the campaigns; each prints one line of JSON, or fails.

child.py mounts                  say whether this host lets a process mount things of its own
child.py die FOLDER SIZE        live through half a plan, and die with a log beside the file
child.py fill FOLDER WAY FROM TO STEP BUG   let the disk be full after so many pages, and live
child.py read-alone DIED FOLDER WHERE BUG   do everything with files that cannot be written to
child.py cut DIED FOLDER PART PLACES LOOKS RESUMED SEED   cut a log at places by chance, and go on
child.py cut-copied DIED FOLDER             cut a log that was copied into the file
child.py cut-bug DIED FOLDER                let a transaction of a log seem to end early
child.py fill-known FOLDER      make a file with runs whose ends are known, and die
child.py strike BASE FOLDER COUNT SEED BUG  let a disk strike that file, look at it and serve it
child.py look-at-full FOLDER    look at a file on a disk that is full
"""

import asyncio
import contextlib
import faulthandler
import itertools
import json
import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import apsw

import durable
from durable._store import connection, writer
from tests.crash.damage import hits, logs, mounts, read_only
from tests.crash.damage.full import PAGE_BYTES, ROOM_BYTES, FullDisk, PlayedDisk, RealDisk
from tests.crash.power import workload
from tests.crash.power.child import checkpoint_often, close_quietly, judge_end, resume_one
from tests.crash.power.faults import Life
from tests.crash.power.recorder import Recorder

# Where a bug is planted, a life may have no end.
LIFE_S_MAX, LIFE_WITH_BUG_S = 20, 3


def may_mount() -> dict[str, Any]:
    """Say why this host lets no process mount what nobody else sees; empty if it does."""
    try:
        mounts.leave_mounts()
        with tempfile.TemporaryDirectory() as folder:
            mounts.mount_memory(Path(folder), PAGE_BYTES)
            mounts.unmount(Path(folder))
    except OSError as error:
        return {"why_not": str(error)}
    return {"why_not": ""}


# -- a file whose engine died -------------------------------------------------------------------


def die(folder: str, size: str) -> dict[str, Any]:
    """Live through half a plan, begin the other half, and die; the log is left beside the file.

    What the outside has mended then stands in a file beside it.
    """
    runs = workload.plan(int(size))
    path = f"{folder}/app.db"
    asyncio.run(workload.live(path, "full", runs[::2]))

    async def half() -> None:
        async with durable.Engine(path, grace=0) as engine:
            driver = workload.Driver(engine, engine)
            for one in runs[1::2]:
                await driver.begin(one)
            for name in ("first", "last"):
                await (await engine.start(workload.retries.options(id=name), 1)).result()
            Path(folder, "mended").write_text(json.dumps(sorted(workload.outside.mended)))
            print(json.dumps({"log": Path(f"{path}-wal").stat().st_size}), flush=True)
            os._exit(0)

    asyncio.run(half())
    raise AssertionError


# -- a full disk --------------------------------------------------------------------------------


def fill(folder: str, way: str, first: str, last: str, step: str, bug: str = "") -> dict[str, Any]:
    """Live through a plan on disks that have room for so many pages of 4 KiB, from the first on.

    Args:
        folder: Where the disks are. What is in ``base`` is on each of them, and needs no room.
        way: ``real``; ``files``, with so many files and no others; or ``played``, where this host
            lets nobody mount anything.
        first: So many pages in the first life.
        last: So many at most; once a life needs no more there are no others.
        step: So many more in each next life.
        bug: What is planted.
    """
    recorder = Recorder()
    checkpoint_often()
    close_quietly()
    if bug:
        BUGS_OF_FULL[bug]()
    if way != "played":
        mounts.leave_mounts()
    wrong: dict[str, list[str]] = {}
    total: Counter[str] = Counter()
    for room in range(int(first), int(last) + 1, int(step)):
        place = Path(folder) / str(room)
        place.mkdir()
        disk = make_disk(way, place, room, Path(folder) / "base", recorder)
        found = live_on(place / "app.db", disk, LIFE_WITH_BUG_S if bug else LIFE_S_MAX, total)
        if found:
            wrong[f"{way} {room}"] = found
        disk.close()
        recorder.remove()
        shutil.rmtree(place)
        if not disk.failed:
            break
    return {"total": dict(total), "wrong": wrong}


def make_disk(way: str, place: Path, room: int, base: Path, recorder: Recorder) -> FullDisk:
    """Make a disk that has so much room beside what is on it."""
    old = sorted(base.glob("app.db*")) if base.exists() else []
    used = used_pages(old)
    disk: FullDisk
    if way == "real":
        disk = RealDisk(place, used + room)
    elif way == "files":
        # The folder itself is one of them.
        disk = RealDisk(place, ROOM_BYTES // PAGE_BYTES, files_max=1 + len(old) + room)
    else:
        recorder.install()
        disk = PlayedDisk(place, used + room, recorder)
    for one in old:
        shutil.copy2(one, place)
    return disk


def look_at_full(folder: str) -> dict[str, Any]:
    """Look at a file whose engine died on a disk that is full, and on one that was filled later."""
    mounts.leave_mounts()
    base, place = Path(folder) / "base", Path(folder) / "place"
    disk = make_disk("real", place, 0, base, Recorder())
    said = {}
    try:
        with durable.view(place / "app.db"):
            pass
    except durable.StoreError as error:
        said["opening"] = str(error)
    disk.make_room()
    with durable.view(place / "app.db") as runs:
        mounts.resize_memory(place, used_pages(place.glob("*")) * PAGE_BYTES)
        (said["doctor"],) = (one.text for one in runs.doctor() if one.name == "disk")
        said["runs"] = str(len(runs.list()))
    return said


def used_pages(files: Iterable[Path]) -> int:
    """Return how many pages of a disk some files take."""
    return sum(-(-one.stat().st_size // PAGE_BYTES) for one in files)


def live_on(path: Path, disk: FullDisk, life_s_max: float, total: Counter[str]) -> list[str]:
    """Live through a plan on a disk; return what was wrong."""
    workload.outside.begun.clear()
    workload.outside.mended.clear()
    mended = path.parent.parent / "base" / "mended"
    if mended.exists():
        workload.outside.mended.update(json.loads(mended.read_text()))
    log = logging.getLogger("durable")
    log.addHandler(disk)
    try:
        outcome = Life(path, disk, life_s_max=life_s_max).live(workload.plan(1))
    finally:
        log.removeHandler(disk)
    total.update(lives=1, full=disk.failed, said=len(disk.said), renewed=outcome.renewed)
    total.update(outcome.raised)
    if not outcome.wrong:
        outcome.wrong += judge_end(path)
    return [
        *outcome.wrong,
        *(f"raw: {one}" for one in outcome.raw),
        *(f"blocked: {one}" for one in outcome.blocked),
        *disk.wrong_words(),
    ]


def refuse_what_is_full() -> None:
    """Take a full disk for something that no second try can mend."""
    passing = tuple(kind for kind in writer._PASSING if kind is not apsw.FullError)
    writer._PASSING = passing  # type: ignore[assignment]


def forget_what_is_full() -> None:
    """Take what was not written, because there was no room, for written."""
    commit = writer.Writer._try_commit

    def careless(self: writer.Writer, batch: list[writer.Change]) -> None:
        with contextlib.suppress(apsw.FullError):
            commit(self, batch)

    writer.Writer._try_commit = careless  # type: ignore[method-assign]


BUGS_OF_FULL: dict[str, Callable[[], None]] = {
    "refuse": refuse_what_is_full,
    "forget": forget_what_is_full,
}


# -- a place for reading alone -------------------------------------------------------------------


def read_alone(died: str, folder: str, where: str, bug: str = "") -> dict[str, Any]:
    """Do everything with files that cannot be written to, with every log; say what was wrong.

    Args:
        died: A folder with a file whose engine died.
        folder: Where the others are put.
        where: See `read_only.place`.
        bug: ``blind``: a log that cannot be read is passed over.
    """
    other = Path(folder) / "other"
    other.mkdir()
    other.chmod(0o777)
    if where == "mount":
        mounts.leave_mounts()
    with tempfile.TemporaryDirectory() as copy:
        # Modules are loaded while this process may still read them.
        read_only.try_all(Path(shutil.copy2(Path(died) / "app.db", copy)), Path(copy))
    paths = {
        log: read_only.place(Path(died), Path(folder) / log.replace(" ", "-"), where, log)
        for log in read_only.LOGS
    }
    if bug == "blind":
        connection.has_log = lambda path: False
    if where != "mount":
        read_only.become_nobody(paths.values(), where)
    wrong: list[str] = []
    acts = 0
    for log, path in paths.items():
        before = read_only.contents(path.parent)
        (other / log).mkdir()
        said = read_only.try_all(path, other / log)
        acts += len(said)
        wrong += read_only.judge(where, log, said)
        is_free = (where, log) == ("folder", "log and index")
        if not is_free and read_only.contents(path.parent) != before:
            wrong.append(f"{where}, {log}: it was changed")
    return {"acts": acts, "wrong": wrong}


# -- a log that is cut ---------------------------------------------------------------------------


def cut(
    died: str, folder: str, part: str, places: str, looks: str, resumed: str, seed: str
) -> dict[str, Any]:
    """Cut the log of a file whose engine died; say where what is left is wrong.

    Args:
        died: A folder with that file.
        folder: Where copies are made.
        part: Of the log, as in ``3/10``.
        places: So many of its bytes by chance, or ``all``; beside each end of a frame too.
        looks: So many of these places are looked at by a view and doctor.
        resumed: In so many an engine goes on to the end of the plan.
        seed: Of the chance.
    """
    chance = random.Random(int(seed))
    one = logs.CutLog(copied(died, Path(folder) / "cut"))
    number, parts = map(int, part.split("/"))
    inside = range(one.size * (number - 1) // parts, one.size * number // parts + 1)
    ends = {0, logs.HEADER_BYTES, *(frame.end for frame in one.frames)}
    beside = {end + n for end in ends for n in (-1, 0, 1) if end + n in inside}
    count = len(inside) if places == "all" else min(int(places), len(inside))
    sizes = sorted(beside.union(chance.sample(inside, count)))
    wrong = list(one.violations(sizes))
    for size in chance.sample(sizes, int(looks)):
        one.cut(size)
        path = copied(folder, Path(folder) / "looked" / str(size), "cut")
        wrong += (f"cut at {size}: {what}" for what in look_at_cut(path))
        shutil.rmtree(path.parent)
    for size in chance.sample(sizes, int(resumed)):
        one.cut(size)
        image = copied(folder, Path(folder) / "samples" / str(size), "cut").parent
        wrong += (f"cut at {size}: {what}" for what in go_on(Path(died), image))
        shutil.rmtree(image)
    return {"cuts": len(sizes), "contents": one.contents, "wrong": wrong}


def go_on(died: Path, image: Path) -> list[str]:
    """Let an engine go on in a file that has lost commits; return what is wrong at the end."""
    mended = json.loads((died / "mended").read_text())
    (image / "facts").write_text(json.dumps([("failed", [run]) for run in mended]))
    return resume_one(image, "full", workload.plan(1))


def copied(source: str, folder: Path, inside: str = "") -> Path:
    """Copy a file and what is beside it but its index, as after the host died."""
    folder.mkdir(parents=True)
    for one in (Path(source) / inside).glob("app.db*"):
        if not one.name.endswith("-shm"):
            shutil.copy2(one, folder)
    return folder / "app.db"


def look_at_cut(path: Path) -> Iterator[str]:
    """Look at a file whose log was cut: it is whole, and may say that commits are missing."""
    is_gone = Path(f"{path}-wal").stat().st_size <= logs.HEADER_BYTES
    with durable.view(path) as runs:
        for run in runs.list():
            runs.get(run.id)
        for one in runs.doctor():
            if one.name in {"integrity", "rows", "counts"} and not one.is_well:
                yield f"{one.name}: {one.text}"
            if one.name == "commits" and is_gone and one.is_well:
                yield "it does not say that its log is gone"


def cut_copied(died: str, folder: str) -> dict[str, Any]:
    """Cut a log that was copied into the file: each content is whole, or told to be damaged."""
    path = copied(died, Path(folder) / "cut")
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchall()
    in_log, done = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    connection.close()
    assert in_log == done > 0
    one = logs.CutLog(copied(died, Path(folder) / "whole"))
    whole = set(one.marks.values())
    shutil.copy2(path, one.path)
    found: dict[str, list[int]] = {"whole": [], "told": [], "wrong": []}
    for end in one.ends:
        one.cut(end)
        found[what_is_cut(copied(folder, Path(folder) / str(end), "whole"), whole)].append(end)
    return found


def what_is_cut(path: Path, whole: Container[bytes]) -> str:
    """Say how a file is whose log was cut after it was copied."""
    try:
        with durable.view(path) as runs:
            if not all(one.is_well for one in runs.doctor() if one.name == "integrity"):
                return "told"
    except durable.StoreError:
        return "told"
    return "whole" if logs.mark_of(path) in whole else "wrong"


def cut_bug(died: str, folder: str) -> dict[str, Any]:
    """Let a transaction seem to end early."""
    one = logs.CutLog(copied(died, Path(folder) / "cut"))
    early = next(frame for frame in one.frames[5:] if not frame.commits)
    log = logs.with_commit_at(Path(f"{one.path}-wal").read_bytes(), early)
    return {"wrong": list(one.violations([early.end], log))}


# -- what a bad disk makes of a file ---------------------------------------------------------------


def fill_known(folder: str) -> dict[str, Any]:
    """Make a file with runs whose ends are known, and die with a log beside it."""

    async def make() -> None:
        await hits.fill(Path(folder) / "app.db")
        print(json.dumps({"log": (Path(folder) / "app.db-wal").stat().st_size}), flush=True)
        os._exit(0)

    asyncio.run(make())
    raise AssertionError


def strike(base: str, folder: str, count: str, seed: str, bug: str = "") -> dict[str, Any]:
    """Let a disk strike a file, again and again; say what was seen, and what was wrong of it.

    Args:
        base: Where the file is.
        folder: Where copies are made.
        count: So often.
        seed: Of the chance; or ``aimed``, at recorded texts.
        bug: What is planted.
    """
    faulthandler.enable()
    if bug:
        BUGS_OF_READING[bug]()
    wrong: dict[str, list[str]] = {}
    noticed: Counter[str] = Counter()
    source = Path(base)
    if seed == "aimed":
        path = copied(base, Path(folder) / "whole")
        apsw.Connection(str(path)).execute("SELECT COUNT(*) FROM sqlite_schema").fetchall()
        source = path.parent
        chosen = hits.aimed(source)
    else:
        chosen = hits.hits(source, int(count), int(seed))
    for number, hit in enumerate(itertools.islice(chosen, int(count))):
        print(f"{number}: {hit}", file=sys.stderr, flush=True)  # The last one, if this is the end.
        place = Path(folder) / str(number)
        seen = hits.Seen(hits.struck(source, place, hit)).look()
        if hit.file and hit.is_before_last and "doctor before" not in seen.noticed:
            seen.wrong.append("nobody is told that commits are missing")
        if seen.wrong:
            print(seen.wrong, file=sys.stderr, flush=True)
            wrong[str(hit)] = seen.wrong
        noticed.update(seen.noticed or {"nobody"})
        shutil.rmtree(place)
    return {"noticed": dict(noticed), "wrong": wrong}


def check_nothing() -> None:
    """Take each payload for what was written."""
    from durable._store import reader

    class Fitting:
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

    reader.checksum = lambda *payloads: Fitting()  # type: ignore[assignment, attr-defined]


BUGS_OF_READING: dict[str, Callable[[], None]] = {"check-nothing": check_nothing}


if __name__ == "__main__":
    verbs: dict[str, Callable[..., dict[str, Any]]] = {
        "mounts": may_mount,
        "die": die,
        "fill": fill,
        "look-at-full": look_at_full,
        "read-alone": read_alone,
        "cut": cut,
        "cut-copied": cut_copied,
        "cut-bug": cut_bug,
        "fill-known": fill_known,
        "strike": strike,
    }
    print(json.dumps(verbs[sys.argv[1]](*sys.argv[2:])))
