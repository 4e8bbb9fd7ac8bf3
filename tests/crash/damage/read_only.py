"""Places that cannot be written to, and all that people do with a file in them.

Laws: what only looks shows every run, or says in one line what keeps it from it and what to do;
what would write says so in one line; nothing is changed, and nobody sees a traceback.
"""

import asyncio
import contextlib
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import durable
import durable_cli
from tests.crash.damage import mounts
from tests.crash.power import workload

NOBODY = 65534
PLACES = ("mount", "folder", "file")
LOGS = ("none", "log and index", "log alone", "empty log")


def place(died: Path, folder: Path, where: str, log: str) -> Path:
    """Put a file whose engine died, or that was closed in order, where nothing can be written.

    Args:
        died: Where the file is whose engine died.
        folder: Where it is put.
        where: ``mount``: a file system that is mounted for reading; ``folder``: one of somebody
            else; ``file``: a file of somebody else, in a folder that may be written to.
        log: What is beside it.
    """
    folder.mkdir(parents=True)
    for one in died.glob("app.db*"):
        shutil.copy2(one, folder)
    path = folder / "app.db"
    if log in {"none", "empty log"}:
        asyncio.run(_close_in_order(path))
    if log == "empty log":
        Path(f"{path}-wal").touch()
    if log == "log alone":
        Path(f"{path}-shm").unlink()
    if where == "mount":
        mounts.make_read_only(folder)
        return path
    for one in folder.iterdir():
        one.chmod(0o600 if where == "folder" else 0o400)
    folder.chmod(0o555 if where == "folder" else 0o755)
    return path


def become_nobody(paths: Iterable[Path], where: str) -> None:
    """Be a user whom permissions bind, and who owns the files; the folders, unless they bind.

    Args:
        paths: The files.
        where: See `place`.
    """
    if os.geteuid() != 0:
        return
    for path in paths:
        for one in path.parent.iterdir():
            os.chown(one, NOBODY, NOBODY)
        if where != "folder":
            os.chown(path.parent, NOBODY, NOBODY)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


async def _close_in_order(path: Path) -> None:
    async with durable.Client(path):
        pass


def contents(folder: Path) -> dict[str, str]:
    """Return a file and what is beside it, without what who reads makes: empty, or an index."""
    return {
        one.name: f"{hashlib.sha256(one.read_bytes()).hexdigest()} {one.stat().st_mode:o}"
        for one in folder.iterdir()
        if one.name.startswith("app.db") and not one.name.endswith("-shm") and one.stat().st_size
    }


def try_all(path: Path, other: Path) -> dict[str, str]:
    """Do everything with a file; return for each act what came of it, or the one line it said.

    Args:
        path: The file.
        other: A folder that can be written to.
    """
    return {name: _said(act, path, other) for name, act in ACTS.items()}


def _said(act: Callable[[Path, Path], object], path: Path, other: Path) -> str:
    try:
        return f"fine: {act(path, other)}"
    except durable.DurableError as error:
        return f"{type(error).__name__}: {error}"
    except BaseException as error:
        return f"RAW {type(error).__name__}: {error}"


def _serve(path: Path, _: Path) -> object:
    async def serve() -> None:
        async with durable.Engine(path, grace=0):
            pass

    return asyncio.run(serve())


def _start(path: Path, _: Path) -> object:
    async def start(*, create: bool) -> int:
        async with durable.Client(path, create=create) as client:
            await client.start(workload.retries.options(id="new"), 1)
        return 1

    return asyncio.run(start(create=False))


def _create(path: Path, _: Path) -> object:
    return durable.run(path.with_name("new.db"), workload.retries, 1)


def _view(path: Path, _: Path) -> object:
    with durable.view(path) as runs:
        listed = runs.list()
        for one in listed:
            runs.get(one.id)
        return f"{len(listed)} runs, the last one {runs.get('last').status}"


def _command(*arguments: str) -> Callable[[Path, Path], object]:
    def command(path: Path, other: Path) -> object:
        words = [one.replace("OTHER", str(other)) for one in arguments]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = durable_cli.main(["-d", str(path), *words])
        if "Traceback" in err.getvalue():
            raise RuntimeError(f"a traceback: {err.getvalue()}")
        if code == 0 or not err.getvalue():
            return f"{code}, {len(out.getvalue().splitlines())} lines"
        raise durable.StoreError(f"exit code {code}: {err.getvalue().strip()}")

    return command


ACTS: dict[str, Callable[[Path, Path], object]] = {
    "engine": _serve,
    "start": _start,
    "create": _create,
    "view": _view,
    "ls": _command("ls"),
    "show": _command("show", "steps-0"),
    "doctor": _command("doctor"),
    "verify": _command("verify"),
    "stats": _command("stats"),
    "sql": _command("sql", "SELECT COUNT(*) FROM durable_run"),
    "backup": _command("backup", "OTHER/copy.db"),
    "export": _command("export", "steps-0", "-o", "OTHER/runs.jsonl"),
    "cancel": _command("cancel", "asks-0"),
    "terminate": _command("terminate", "asks-0", "--yes"),
}
WRITES = frozenset({"engine", "start", "cancel", "terminate"})
# Where its log cannot be read, a file is not shown as if it had none.
BLIND = frozenset({("mount", "log alone"), ("folder", "log alone")})
ADVICE = ("mount it for writing", "check the permissions of the folder", "check its permissions")
WHERE_TO = "copy app.db and app.db-wal together into a folder of your own"


def judge(where: str, log: str, said: dict[str, str]) -> Iterator[str]:
    """Say which acts did not end as they should in a place."""
    for act, what in said.items():
        may_write = (where, log) == ("folder", "log and index")  # All that is needed is there.
        if act == "create":
            is_right = what.startswith("fine" if where == "file" else "StoreError") and (
                where == "file" or "cannot be created" in what
            )
        elif act in WRITES and not may_write:
            is_right = "StoreError" in what and any(one in what for one in (*ADVICE, WHERE_TO))
        elif act not in WRITES and (where, log) in BLIND:
            is_right = "StoreError" in what and WHERE_TO in what
        else:
            is_right = what.startswith("fine")
        if act == "view" and is_right and what.startswith("fine"):
            is_right = what.endswith("the last one completed")
        if not is_right or "\n" in what:
            yield f"{where}, {log}: {act}: {what}"
