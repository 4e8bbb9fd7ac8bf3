"""Files made by real runs, and a command line called as a function."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import attrs
import pytest

import durable
from durable_cli import main
from tests.cli import desk, shop


@attrs.frozen
class Done:
    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "DURABLE_DB", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def durable_(capsys: pytest.CaptureFixture[str]) -> Command:
    """``durable ...`` in this process, its output into pipes."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(one) for one in arguments])
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Command:
    """``durable ...`` in this process, its stdout and stderr two real terminals."""

    def call(*arguments: object) -> Done:
        with Terminal() as out, Terminal() as err, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out.stream)
            patch.setattr(sys, "stderr", err.stream)
            code = main([str(one) for one in arguments])
            return Done(code, out.close(), err.close())

    return call


class Terminal:
    """A pseudo terminal, read by a thread: its buffer is small."""

    def __enter__(self) -> Self:
        self._main, secondary = os.openpty()
        self.stream = os.fdopen(secondary, "w", encoding="utf-8")
        self._read = bytearray()
        self._reader = threading.Thread(target=self._drain)
        self._reader.start()
        return self

    def _drain(self) -> None:
        try:
            while chunk := os.read(self._main, 65_536):
                self._read += chunk
        except OSError:  # The other side is closed.
            return

    def close(self) -> str:
        self.stream.close()
        self._reader.join()
        return self._read.decode().replace("\r\n", "\n")

    def __exit__(self, *_: object) -> None:
        self.close()
        os.close(self._main)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a run of most statuses, made once; `shop_file` is a copy of it."""
    path = tmp_path_factory.mktemp("made") / "shop.db"
    asyncio.run(shop.fill(path))
    return path


@pytest.fixture(scope="session")
def made_desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of runs that talk, made once; `desk_file` is a copy of it."""
    path = tmp_path_factory.mktemp("made") / "desk.db"
    asyncio.run(desk.fill(path))
    return path


@pytest.fixture
def shop_file(made: Path, tmp_path: Path) -> Path:
    return copy_of(made, tmp_path)


@pytest.fixture
def desk_file(made_desk: Path, tmp_path: Path) -> Path:
    return copy_of(made_desk, tmp_path)


def copy_of(made: Path, folder: Path) -> Path:
    """Copy a file by way of SQLite: a bare copy would miss the log."""
    import apsw

    path = folder / made.name
    with (
        apsw.Connection(str(made)) as source,
        apsw.Connection(str(path)) as target,
        target.backup("main", source, "main") as backup,
    ):
        backup.step()
    source.close()
    target.close()
    return path


@pytest.fixture
def empty_file(tmp_path: Path) -> Path:
    path = tmp_path / "empty.db"

    async def make() -> None:
        async with durable.Engine(path):
            pass

    asyncio.run(make())
    return path
