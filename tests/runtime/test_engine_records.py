"""What the engine itself logs about a run says which run, step and attempt it is about."""

import asyncio
import logging

import pytest

import durable
from durable import Engine, Retry, Signal, activity, workflow
from durable._runtime import logs
from durable.errors import RunFailed

said = logging.getLogger("app.subject")
number = Signal("number", int)
as_text = Signal("number", str)
at_once = Retry(initial_interval=0, max_attempts=2)


@activity(retry=at_once)
async def fails() -> None:
    raise ConnectionError("no")


@activity(retry=Retry(initial_interval=0, max_attempts=1, on_exhausted="pause"))
async def pauses() -> None:
    raise ConnectionError("no")


@activity(retry=Retry(retry_if=lambda error: error.nothing))  # type: ignore[attr-defined]
async def fails_with_a_broken_policy() -> None:
    raise ConnectionError("no")


@workflow
async def ends_failed() -> None:
    await fails()


@workflow
async def ends_paused() -> None:
    await pauses()


@workflow
async def ends_with_a_broken_policy() -> None:
    await fails_with_a_broken_policy()


@workflow
async def is_blocked() -> None:
    await asyncio.to_thread(int)


@workflow
async def waits_for_nothing() -> None:
    await asyncio.Event().wait()


@workflow
async def leaves_a_task() -> None:
    async def failing() -> None:
        raise ValueError("unseen")

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    del task


@workflow
async def receives() -> int:
    return await number.receive()


def records_of(caplog, text):
    return [one for one in caplog.records if text in one.getMessage()]


async def told(tmp_path, caplog, flow, text):
    """Run a workflow until a record with that text is told; return what these are about."""
    async with Engine(tmp_path / "app.db", functions=[flow], grace=0) as engine:
        run = await engine.start(flow.options(id="it"))
        if flow is receives:
            await run.signal(as_text, "one")
        while not records_of(caplog, text):
            await asyncio.sleep(0)
    return [
        (one.durable_run, one.durable_workflow, one.durable_step, one.durable_attempt)
        for one in records_of(caplog, text)
    ]


@pytest.mark.parametrize(
    ("flow", "text", "about"),
    [
        (ends_failed, "attempt 1 of fails", ("it", "ends_failed", "1", 1)),
        (ends_failed, "there is no other attempt", ("it", "ends_failed", "1", 2)),
        (ends_failed, "(ends_failed) failed", ("it", "ends_failed", "", 0)),
        (ends_paused, "is paused", ("it", "ends_paused", "1", 1)),
        (
            ends_with_a_broken_policy,
            "the retry policy of",
            ("it", "ends_with_a_broken_policy", "1", 1),
        ),
        (is_blocked, "is blocked", ("it", "is_blocked", "", 0)),
        (waits_for_nothing, "nothing that is durable", ("it", "waits_for_nothing", "", 0)),
        (leaves_a_task, "nothing has awaited it", ("it", "leaves_a_task", "", 0)),
        (receives, "dead letter", ("it", "receives", "", 0)),
    ],
)
async def test_a_record_of_the_engine_names_what_it_is_about(tmp_path, caplog, flow, text, about):
    assert await told(tmp_path, caplog, flow, text) == [about]


async def test_a_run_without_code_is_named_when_it_is_blocked(tmp_path, caplog):
    async with durable.Client(tmp_path / "app.db", create=True) as client:
        await client.start(ends_failed.options(id="it"))

    async with Engine(tmp_path / "app.db", functions=[ends_failed]) as engine:
        engine._given = {"ends_failed": [ends_failed, ends_paused]}
        while not records_of(caplog, "is blocked"):
            await asyncio.sleep(0)

    assert [one.durable_run for one in records_of(caplog, "is blocked")] == ["it"]


async def test_it_is_not_kept_as_a_line_of_the_code(tmp_path):
    with pytest.raises(RunFailed):
        await asyncio.to_thread(durable.run, tmp_path / "app.db", ends_failed.options(id="it"))

    with durable.view(tmp_path / "app.db") as runs:
        assert list(runs.logs("it")) == []


def test_the_subject_ends_with_its_record(caplog):
    logs.install()
    try:
        with logs.about(logs.Subject("outer")), logs.about(logs.Subject("inner", step="2")):
            said.warning("within")
        said.warning("after")
    finally:
        logs.uninstall()

    assert [(one.durable_run, one.durable_step) for one in caplog.records] == [
        ("inner", "2"),
        ("", ""),
    ]
