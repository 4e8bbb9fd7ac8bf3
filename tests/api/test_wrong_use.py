"""Wrong use: one clear error, raised before anything is stored."""

import asyncio
import warnings

import pytest

import durable
from durable import Engine, activity, workflow
from durable.errors import UsageError


@activity
async def tiny(value: int) -> int:
    return value


@workflow
async def flow(value: int) -> int:
    return await tiny(value)


def named(value: int):
    @workflow(name="twice")
    async def made() -> int:
        return value

    return made


def test_two_workflows_of_one_name_are_refused_when_the_engine_is_made(tmp_path):
    one, other = named(1), named(2)

    with pytest.raises(UsageError, match=r"two workflows called 'twice': .*test_wrong_use.py:\d+"):
        Engine(tmp_path / "app.db", functions=[one, other])
    Engine(tmp_path / "app.db", functions=[one, one, one.options(id="x")])


def test_functions_is_a_list(tmp_path):
    with pytest.raises(UsageError, match=r"functions=\[flow\]"):
        Engine(tmp_path / "app.db", functions=flow)  # type: ignore[arg-type]


def test_an_engine_is_entered_with_async(tmp_path):
    with pytest.raises(UsageError, match="async with"), Engine(tmp_path / "app.db"):
        pass


async def test_run_says_what_to_do_where_a_loop_runs(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match="an event loop runs already"):
            durable.run(tmp_path / "app.db", flow, 1)
    assert not (tmp_path / "app.db").exists()


def test_run_takes_the_workflow_and_not_a_call_of_it(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match="pass the workflow and its arguments apart"):
            durable.run(tmp_path / "app.db", flow(1))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="takes the file first"):
        durable.run(flow, tmp_path / "app.db")  # type: ignore[arg-type]


async def test_an_engine_is_not_used_from_another_loop(tmp_path):
    async with Engine(tmp_path / "app.db", functions=[flow]) as engine:
        run = await engine.start(flow.options(id="here"), 1)

        def elsewhere() -> list[BaseException | None]:
            found: list[BaseException | None] = []
            for call in (lambda: engine.start(flow, 2), run.result, lambda: engine.get("here")):
                try:
                    asyncio.run(call())
                except BaseException as error:
                    found.append(error)
            return found

        errors = await asyncio.to_thread(elsewhere)

        assert [type(one) for one in errors] == [UsageError] * 3
        assert "Client(path).blocking()" in str(errors[0])
        assert sum((await engine.count()).values()) == 1
        assert await run.result() == 1
