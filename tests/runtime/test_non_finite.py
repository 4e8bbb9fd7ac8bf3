"""NaN and the infinities survive wherever a value is written, stored, passed on, shown or read."""

import asyncio
import json
import math
from typing import Any

import pytest

import durable
from durable import Client, Engine, Retry, RunFailed, Signal, activity, workflow
from durable_cli import main

NAN = float("nan")
INF = float("inf")
numbers = Signal("numbers", dict[str, float])
go = Signal("go", float)


def same(found: object, wanted: object) -> bool:
    """Say whether two values are equal, if NaN is NaN."""
    return repr(found) == repr(wanted)


@workflow
async def gives(value: object) -> dict[str, Any]:
    return {"value": value, "loss": NAN, "more": [INF, -INF]}


LOSS = {"value": -INF, "loss": NAN, "more": [INF, -INF]}


@activity(retry=Retry(initial_interval=1_000))
def breaks() -> dict[str, Any]:
    raise ValueError("no number", NAN, {"worst": INF})


@workflow
async def asks() -> object:
    return await breaks()


@workflow
async def fails() -> object:
    return await breaks.options(retry=Retry(max_attempts=1))()


@workflow
async def hears() -> float:
    return await go.receive()


@workflow
async def takes_any() -> list[Any]:
    heard: list[Any] = []
    Signal.any_handler(lambda name, data: heard.append([name, data]))
    await durable.wait_until(lambda: heard)
    return heard


async def is_pending(run):
    while await run.status() != "retrying":
        await asyncio.sleep(0.001)


@pytest.fixture
async def engine(tmp_path):
    async with Engine(tmp_path / "app.db") as opened:
        yield opened


async def test_a_handle_without_types_returns_them(engine):
    run = await engine.start(gives.options(id="n"), -INF)
    await run.result()

    async with Client(engine.path) as client:
        assert same(await (await engine.get("n")).result(), LOSS)
        assert same(await (await client.get("n")).result(), LOSS)


async def test_a_blocking_handle_without_types_returns_them(engine):
    await (await engine.start(gives.options(id="n"), -INF)).result()

    def look():
        with Client(engine.path).blocking() as client:
            return client.get("n").result()

    assert same(await asyncio.to_thread(look), LOSS)


async def test_the_history_shows_them(engine):
    run = await engine.start(hears)
    await run.signal(go, INF)
    await run.result()

    assert [event.result for event in await run.history()] == [INF]


async def test_a_handler_of_any_signal_gets_them(engine):
    run = await engine.start(takes_any)
    await run.signal(numbers, {"loss": NAN, "best": -INF})

    assert same(await run.result(), [["numbers", {"loss": NAN, "best": -INF}]])


async def test_a_skipped_step_returns_them(engine):
    run = await engine.start(asks)
    await is_pending(run)

    await run.skip("breaks", {"loss": NAN})

    assert same(await run.result(), {"loss": NAN})


async def test_steps_of_many_runs_are_skipped_with_them(engine):
    run = await engine.start(asks)
    await is_pending(run)

    await (await engine.skip_all("workflow:asks", "breaks", {"loss": -INF, "more": None})).wait()

    assert same(await run.result(), {"loss": -INF, "more": None})


async def test_a_run_is_restarted_with_them(engine):
    run = await engine.start(gives, 1)
    await run.result()

    again = await run.restart("start", input=[[NAN, None]])

    assert same((await again.result())["value"], [NAN, None])


async def test_a_run_is_restarted_with_outputs_that_have_them(engine):
    run = await engine.start(asks)
    await is_pending(run)
    await run.skip("breaks", {})
    await run.result()

    again = await run.restart("breaks", outputs={"1": {"loss": -INF}})

    assert same(await again.result(), {"loss": -INF})


async def test_many_runs_are_signalled_with_them(engine):
    run = await engine.start(hears.options(id="all"))

    job = await engine.signal_all("workflow:hears", go, NAN)
    await job.wait()

    assert math.isnan(await run.result())


async def test_a_failure_keeps_them(engine):
    run = await engine.start(fails)

    with pytest.raises(RunFailed) as caught:
        await run.result()

    assert same(caught.value.__cause__.args, ("no number", NAN, {"worst": INF}))


async def test_an_export_carries_them(engine, tmp_path):
    await (await engine.start(gives.options(id="n"), -INF)).result()
    await engine.export("n", tmp_path / "runs")

    async with Client(tmp_path / "other.db", create=True) as other:
        await other.import_(tmp_path / "runs")

        assert same(await (await other.get("n")).result(), LOSS)


async def test_the_command_line_shows_them(engine, capsys):
    await (await engine.start(gives.options(id="n"), -INF)).result()

    for line in (["wait", "n", "--json"], ["show", "n", "--json"], ["show", "n"]):
        capsys.readouterr()
        assert await asyncio.to_thread(main, [*line, "-d", str(engine.path)]) == 0
        out = capsys.readouterr().out
        assert "NaN" in out
        assert "Infinity" in out
        if "--json" in line:
            json.loads(out)


@durable.activity(retry=durable.Retry(initial_interval=1))
async def beats() -> list[Any]:
    details = durable.attempt().details
    if details is None:
        durable.heartbeat({"loss": float("nan"), "best": float("inf")})
        raise OSError("again")
    return [str(details["loss"]), details["best"]]


@durable.workflow
async def trains() -> list[Any]:
    return await beats()


async def test_they_survive_in_the_details_of_a_heartbeat(durable_harness):
    assert await durable_harness.run(trains) == ["nan", float("inf")]
