"""Wrong use: one clear error, raised before anything is stored."""

import asyncio
import warnings

import pytest

import durable
from durable import Engine, activity, workflow
from durable.errors import PayloadError, RunFailed, UsageError
from durable.payloads import codec_for


@activity
async def tiny(value: int) -> int:
    return value


@workflow
async def flow(value: int) -> int:
    return await tiny(value)


@workflow
async def waits() -> None:
    await durable.sleep("1d")


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


@pytest.mark.parametrize("functions", [5, "flow", asyncio])
def test_functions_is_nothing_but_a_list(tmp_path, functions):
    with pytest.raises(UsageError, match="functions= takes a list of workflows"):
        Engine(tmp_path / "app.db", functions=functions)


def test_functions_may_hold_activities(tmp_path):
    assert Engine(tmp_path / "app.db", functions=[tiny, flow]).workflows == ["flow"]


def test_an_engine_says_that_it_needs_asyncio(tmp_path):
    entering = Engine(tmp_path / "app.db", functions=[flow]).__aenter__()

    with pytest.raises(UsageError, match=r"no asyncio loop runs here.*trio"):
        entering.send(None)  # As another loop than asyncio's would.
    assert not (tmp_path / "app.db").exists()


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


@workflow
async def runs_another(path: str) -> int:
    return durable.run(path, flow, 1)


def test_run_names_the_child_where_it_is_called_in_a_workflow(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RunFailed, match=r"inside a workflow; there, `await flow\(\.\.\.\)`"):
            durable.run(tmp_path / "app.db", runs_another, str(tmp_path / "other.db"))
    assert not (tmp_path / "other.db").exists()


async def test_an_open_engine_gives_a_blocking_client_of_its_file(tmp_path):
    @workflow
    async def known_here(value: int) -> int:
        return await tiny(value)

    async with Engine(tmp_path / "app.db", functions=None) as engine:
        made_before = engine.blocking()

        def view(value: int) -> int:
            with made_before if value == 1 else engine.blocking() as client:
                return client.start(known_here, value).result()

        assert [await asyncio.to_thread(view, value) for value in (1, 2)] == [1, 2]
        with pytest.raises(UsageError, match="this thread runs the engine"), made_before:
            pass
        with pytest.raises(UsageError, match="open already"):
            await engine.__aenter__()


async def test_a_blocking_client_does_not_outwait_its_engine(tmp_path):
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def view(engine: Engine) -> object:
        with engine.blocking() as client:
            run = client.start(waits)
            loop.call_soon_threadsafe(asked.set)
            return run.result()

    async with Engine(tmp_path / "app.db", functions=[waits]) as engine:
        waiting = asyncio.ensure_future(asyncio.to_thread(view, engine))
        await asked.wait()

    with pytest.raises(UsageError, match="the engine was closed"):
        await waiting


async def test_a_blocking_client_is_not_called_on_the_loop_that_it_waits_for(tmp_path):
    async with Engine(tmp_path / "app.db", functions=[flow]) as engine:
        opened = engine.blocking()
        await asyncio.to_thread(opened.__enter__)
        try:
            with pytest.raises(UsageError, match="would wait for itself"):
                opened.start(flow, 1)
            assert await engine.count() == {}
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)


def test_a_blocking_engine_that_is_not_open_serves_the_file(tmp_path):
    engine = Engine(tmp_path / "app.db", functions=[flow])

    for value in (1, 2):
        with engine.blocking() as client:
            assert client.start(flow, value).result() == value


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


@workflow
async def returns_a_call(value: int) -> int:
    return tiny(value)  # type: ignore[return-value]


@workflow
async def returns_calls(value: int) -> dict[str, list[int]]:
    return {"all": [tiny(value)]}  # type: ignore[list-item]


@workflow
async def passes_a_call(value: int) -> int:
    return await tiny(tiny(value))  # type: ignore[arg-type]


@workflow
async def returns_a_child(value: int) -> int:
    return flow(value)  # type: ignore[return-value]


@workflow
async def returns_a_sleep(value: int) -> int:
    return durable.sleep(value)  # type: ignore[return-value]


@workflow
async def returns_a_task(value: int) -> int:
    return asyncio.create_task(tiny(value))  # type: ignore[return-value]


@workflow
async def returns_one_with_a_fallback(value: int) -> int:
    return tiny.options(fallback=tiny)(value)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (returns_a_call, r"result of returns_a_call: \$: await is missing before tiny\(\.\.\.\)"),
        (returns_calls, r"\$\.all\[0\]: await is missing before tiny\("),
        (passes_a_call, r"argument value of tiny: \$: await is missing before tiny\("),
        (returns_a_child, r"await is missing before flow\("),
        (returns_a_sleep, r"await is missing before sleep\("),
        (returns_a_task, r"await is missing before <.*Task"),
        (returns_one_with_a_fallback, r"await is missing before tiny\("),
    ],
)
def test_a_call_that_was_not_awaited_is_named(tmp_path, broken, message):
    with pytest.raises(RunFailed, match=message) as failed:
        durable.run(tmp_path / "app.db", broken, 1)
    assert isinstance(failed.value.__cause__, PayloadError)


def test_other_awaitables_are_told_from_data(tmp_path):
    async def counting():
        yield 1

    with pytest.raises(PayloadError, match="async generator; collect its items"):
        codec_for(object, "result").encode([counting()])


@pytest.mark.parametrize(
    "options",
    [
        {"limits": 5}, {"clock": 5}, {"lifespan": 5}, {"on_issue": 5}, {"grace": -1},
        {"adopt": "no"}, {"retention": 5},
    ],
    ids=str,
)  # fmt: skip
def test_an_engine_names_the_option_that_is_wrong(tmp_path, options):
    (name,) = options

    with pytest.raises(UsageError, match=name):
        Engine(tmp_path / "app.db", **options)


@pytest.mark.parametrize("path", [b"app.db", 5, None, ""])
def test_a_path_is_text(path):
    for kind in (Engine, durable.Client):
        with pytest.raises(UsageError, match="path of the file"):
            kind(path)


@pytest.mark.parametrize("given", [1.5, "4", 0, -1, True, None])
def test_limits_are_whole_numbers(given):
    with pytest.raises(UsageError, match="threads_max"):
        durable.Limits(threads_max=given)


@pytest.mark.parametrize("given", [{"completed": -30}, {"workflows": 5}, {"tags": "keep"}], ids=str)
def test_retention_takes_ages(given):
    with pytest.raises(UsageError, match="retention"):
        durable.Retention(**given)


async def test_messages_are_declared_ones_and_runs_have_names(tmp_path):
    ask, add = durable.Query("ask", int), durable.Update("add", int, int)
    async with durable.Client(tmp_path / "app.db", create=True) as client:
        run = await client.start(waits.options(id="w"))

        for wrong in ("sig", None, add):
            with pytest.raises(UsageError, match=r"takes a durable\.Signal"):
                await run.signal(wrong, 1)
        with pytest.raises(UsageError, match=r"takes a durable\.Update"):
            await run.update(ask, 1)
        with pytest.raises(UsageError, match=r"takes a durable\.Query"):
            await run.query("ask")
        for name in (None, 5, b"w"):
            with pytest.raises(UsageError, match="named by its id"):
                await client.get(name)
        assert client._reader.inbox_of_run(run._pk) == []
