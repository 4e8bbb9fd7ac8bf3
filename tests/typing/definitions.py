"""What type checkers see of definitions and calls. Never run: `make check` reads it.

A wrong call carries both checkers' names for its error; if the call were accepted, the unused
ignores would fail the check.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, assert_type

import durable
from durable import Activity, Retry, Workflow, activity, workflow

# -- activities -----------------------------------------------------------------------------------


@activity
async def transcribe(url: str, *, language: str = "en") -> str:
    return url + language


@activity(retry=Retry(max_attempts=5), start_to_close="30s", heartbeat=5)
async def translate(text: str) -> list[str]:
    return [text]


@activity
def store(texts: Sequence[str]) -> int:
    return len(texts)


@activity(name="old", schedule_to_close=60.0, fallback=store)
def store_elsewhere(texts: Sequence[str]) -> int:
    return len(texts)


@activity
def refuse() -> None: ...


async def activities_keep_their_signatures() -> None:
    assert_type(await transcribe("x"), str)
    assert_type(await transcribe("x", language="de"), str)
    assert_type(await translate("x"), list[str])
    assert_type(await store(["x"]), int)
    assert_type(await store_elsewhere(["x"]), int)
    assert_type(await refuse(), None)
    await assert_type(store(["x"]), Coroutine[Any, Any, int])

    await transcribe(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await transcribe()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await transcribe("x", tongue="de")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await store([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def options_keep_them_too() -> None:
    patient = transcribe.options(retry=Retry(max_attempts=3), start_to_close="1h")

    assert_type(await patient("x", language="fr"), str)
    assert_type(await store.options(at_most_once=True)(["x"]), int)

    await patient(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    transcribe.options(retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    transcribe.options(arguments="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    store.options(fallback=transcribe)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def activities_can_be_passed_on(
    takes: Callable[[Callable[[str], Awaitable[list[str]]]], None],
    made: Activity[[str], list[str]],
) -> None:
    takes(translate)
    takes(made)
    takes(store)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def policies_are_checked() -> None:
    Retry(give_up_on=(ValueError, KeyError), retry_if=lambda error: bool(error.args))
    Retry(give_up_on=[ValueError])
    Retry(on_exhausted="stop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Retry(give_up_on=(1,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# -- workflows ------------------------------------------------------------------------------------


@workflow
async def publish(urls: list[str], *, dry: bool = False) -> int:
    return len(urls) * dry


@workflow(name="publish-2", aliases=["publish-1"], on_failure="pause")
async def publish_later(urls: list[str]) -> dict[str, int]:
    return dict.fromkeys(urls, 1)


async def workflows_keep_their_signatures() -> None:
    assert_type(await publish(["x"]), int)
    assert_type(await publish(["x"], dry=True), int)
    assert_type(await publish_later(["x"]), dict[str, int])
    chosen = publish.options(id="batch-7", start_delay="1h", on_closed="restart")
    assert_type(await chosen(["x"], dry=True), int)

    await publish("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await chosen("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    publish.options(on_closed="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@workflow  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
def plain(urls: list[str]) -> int:
    return len(urls)


# -- what running code calls ----------------------------------------------------------------------


def look_up(word: str, times: int = 1) -> bytes:
    return word.encode() * times


async def look_up_slowly(word: str) -> bytes:
    return word.encode()


@workflow
async def inside() -> None:
    assert_type(await durable.step(look_up, "x", times=2), bytes)
    assert_type(await durable.step(look_up_slowly, "x", name="slowly"), bytes)
    assert_type(durable.patched("v2"), bool)
    assert_type(durable.random().random(), float)
    assert_type(durable.info().run_id, str)
    assert_type(durable.attempt().idempotency_key, str)
    await durable.sleep("30d")
    for done in durable.as_completed([store(["x"]), store(["y"])]):
        assert_type(await done, int)

    await durable.sleep(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_declared_workflow_can_be_named(one: Workflow[[list[str]], int]) -> None:
    assert_type(one.name, str)
