"""`durable logs` and `durable show --code`."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

import durable
from durable import Engine, workflow
from tests.cli.conftest import Command

log = logging.getLogger("tests.spoken")


@workflow
async def spoken(lines: list[str]) -> None:
    """Say each of them."""
    for line in lines:
        log.warning(line)


@pytest.fixture
def spoken_file(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with Engine(tmp_path / "logs.db", functions=[spoken]) as engine:
            run = await engine.start(spoken.options(id="talks"), ["one", "two \x1b[31m", "three"])
            await run.result()

    asyncio.run(fill())
    return tmp_path / "logs.db"


def test_lines_are_written_clean(durable_: Command, spoken_file: Path) -> None:
    done = durable_("-d", spoken_file, "logs", "talks")

    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "WARNING tests.spoken one", "WARNING tests.spoken two \\x1b[31m",
        "WARNING tests.spoken three",
    ]  # fmt: skip


def test_the_last_ones_by_level_and_as_json(durable_: Command, spoken_file: Path) -> None:
    last = durable_("-d", spoken_file, "logs", "talks", "-n", "1", "--json", "--follow")
    none = durable_("-d", spoken_file, "logs", "talks", "--level", "ERROR")
    wrong = durable_("-d", spoken_file, "logs", "talks", "--level", "LOUD")

    assert [json.loads(line)["text"] for line in last.out.splitlines()] == ["three"]
    assert (none.code, none.out) == (0, "")
    assert wrong.code == 2
    assert "no level 'LOUD'" in wrong.err


def test_following_writes_every_line_to_the_end(durable_: Command, spoken_file: Path) -> None:
    done = durable_("-d", spoken_file, "logs", "talks", "--follow")

    assert len(done.out.splitlines()) == 3


def test_show_writes_the_source(durable_: Command, spoken_file: Path) -> None:
    done = durable_("-d", spoken_file, "show", "talks", "--code")
    plain = durable_("-d", spoken_file, "show", "talks", "--code", "--json")

    assert "async def spoken(lines: list[str]) -> None:" in done.out
    assert json.loads(plain.out)[0]["code"] == durable.workflow(spoken.fn).fingerprint
