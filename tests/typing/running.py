"""What type checkers see of engines, clients and handles. Never run: `make check` reads it."""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, assert_type

import durable
from durable import Client, Engine, Limits, Run, RunDetails, RunSummary, workflow
from durable.inspection import ComparisonView, EventView, FamilyView, StatsView, TableView


@workflow
async def publish(urls: list[str], *, dry: bool = False) -> int:
    return len(urls) * dry


@contextlib.asynccontextmanager
async def lifespan() -> AsyncGenerator[Mapping[str, object], None]:
    yield {"pool": object()}


async def engines_carry_types_through() -> None:
    async with Engine("app.db", lifespan=lifespan, limits=Limits(threads_max=4)) as engine:
        assert_type(engine, Engine)
        run = await engine.start(publish.options(id="batch-7"), ["x"], dry=True)
        assert_type(run, Run[int])
        assert_type(await run.result(), int)
        assert_type(await run.retry(), Run[int])
        assert_type(await run.details(), RunDetails)
        assert_type(run.id, str)

        await engine.start(publish, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await engine.start(publish)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await engine.start(publish, ["x"], wet=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await engine.start(publish.fn, ["x"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    Engine("app.db", functions=[publish])
    Engine("app.db", durability="none")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def clients_know_no_types_of_runs() -> None:
    async with Client("app.db") as client:
        assert_type(await client.get("batch-7"), Run[Any])
        assert_type(await client.list("status:failed"), Sequence[RunSummary])
        assert_type(await client.stats(), StatsView)
        assert_type(await client.backup("copies", keep=7), str)
        run = await client.get("batch-7")
        assert_type(await run.wait(), RunSummary)
        async for event in run.events(after=3):
            assert_type(event, EventView)
        with client.blocking() as plain:
            assert_type(plain.stats(), StatsView)
            assert_type(plain.backup("copy.db", overwrite=True), str)
            assert_type(plain.get("batch-7").wait(), RunSummary)


def scripts_carry_types_through() -> None:
    assert_type(durable.run("app.db", publish, ["x"]), int)
    assert_type(durable.run_only("app.db", publish.options(id="x"), ["x"], dry=True), int)

    durable.run("app.db", publish, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    durable.run("app.db", publish, ["x"], wet=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_run_of_a_subtype_is_a_run(run: Run[bool]) -> Run[int]:
    return run


def views_are_plain() -> None:
    with durable.view("app.db") as runs:
        assert_type(runs.get("batch-7"), RunDetails)
        assert_type(runs.list(limit=10), list[RunSummary])
        assert_type(runs.count(), dict[str, int])
        assert_type(runs.stats(by="activity", since="7d"), StatsView)
        assert_type(runs.compare("batch-7#1", "batch-7#2"), ComparisonView)
        assert_type(runs.family("batch-7", from_root=True), FamilyView)
        assert_type(runs.sql("SELECT 1"), TableView)
        assert_type(runs.backup("copy.db"), str)

        runs.stats(by="week")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
