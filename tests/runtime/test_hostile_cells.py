"""Whatever stands in one cell of the file: every other run, every page and the engine go on."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

import durable
from durable import Engine
from durable._store.migrate import MIGRATIONS
from tests.runtime import hostile
from tests.until import until

TABLES = sorted(
    line.split()[2] for line in MIGRATIONS[1].splitlines() if line.startswith("CREATE TABLE ")
)
# Of the values of a column; the long form takes every one.
SHORT = 7


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "app.db"
    asyncio.run(hostile.fill(path))
    return path


def look(path: Path) -> None:
    """Ask for everything that shows more than the victim."""
    with durable.view(path) as runs:
        runs.list()
        runs.count()
        runs.stats()
        runs.get("other")
        runs.issues()
        runs.workers()
        runs.doctor()


async def serve(path: Path) -> None:
    """Start another run, and see it to its end."""
    async with Engine(path, functions=hostile.FUNCTIONS, on_issue=str, grace=0) as engine:
        run = await engine.start(hostile.answers)

        async def has_ended() -> bool:
            return (await run.status()) == "completed"

        await until(has_ended)


async def trouble_of(path: Path, log: pytest.LogCaptureFixture) -> str:
    """Return what went wrong over a damaged file; empty if nothing did."""
    log.clear()
    try:
        look(path)
        await serve(path)
        look(path)
    except (Exception, asyncio.CancelledError) as error:
        return f"{type(error).__name__}: {error!s:.300}"
    return "it was opened again" if "opens the file again" in log.text else ""


async def campaign(
    made: Path, folder: Path, table: str, every: int, log: pytest.LogCaptureFixture
) -> dict[str, str]:
    """Return the cells of a table that reach further than their run, and how."""
    log.set_level(logging.ERROR, "durable")
    found: dict[str, str] = {}
    for cell in hostile.cells(made, every):
        path = folder / "app.db"
        for one in folder.iterdir():
            one.unlink()
        if cell.table == table and hostile.damage(made, path, cell):
            trouble = await trouble_of(path, log)
            if trouble:
                found[str(cell)] = trouble
    return found


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
async def test_a_hostile_cell_stays_where_it_is(
    made: Path, tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await campaign(made, tmp_path, table, SHORT, caplog) == {}


@pytest.mark.long
@pytest.mark.parametrize("table", TABLES)
async def test_every_hostile_cell_stays_where_it_is(
    made: Path, tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await campaign(made, tmp_path, table, 1, caplog) == {}


def test_every_table_is_in_the_campaign(made: Path) -> None:
    assert {cell.table for cell in hostile.cells(made)} == set(TABLES)


FOUND = [
    hostile.Cell("durable_blob", "size", 2**63 - 1),
    hostile.Cell("durable_blob", "size", -(2**63)),
    hostile.Cell("durable_event", "seq", 2**63 - 1),
    hostile.Cell("durable_tally", "runs", 2**63 - 1),
    hostile.Cell("durable_run", "closed_us", 1),
    hostile.Cell("durable_worker", "id", 2**62),
]


@pytest.mark.slow
@pytest.mark.parametrize("cell", FOUND, ids=str)
async def test_what_the_long_form_found_stays_mended(
    made: Path, tmp_path: Path, cell: hostile.Cell, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "durable")

    assert hostile.damage(made, tmp_path / "app.db", cell)
    assert await trouble_of(tmp_path / "app.db", caplog) == ""
