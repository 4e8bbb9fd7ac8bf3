"""Payloads over 32 KiB: whoever can spare the loop's thread does the work on another one."""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import durable
from durable import activity, workflow
from durable.errors import PayloadError
from durable.payloads import codec_for
from durable.payloads._parts import PART_BYTES, decode_by_parts

decoded_by: set[int] = set()
MEMBERS = 4_000


@dataclasses.dataclass
class Row:
    number: int
    text: str

    def __post_init__(self) -> None:
        decoded_by.add(threading.get_ident())


def rows() -> list[Row]:
    made = [Row(number, f"text {number}") for number in range(MEMBERS)]
    decoded_by.clear()
    return made


@activity
async def fetch() -> list[Row]:
    return rows()


@activity
def read() -> list[Row]:
    return rows()


@activity
async def measure(found: list[Row]) -> int:
    return len(found)


@workflow
async def passes_on(how: str) -> int:
    found = await (fetch() if how == "async" else read())
    decoded_by.add(0)
    return await measure(found)


@workflow
async def returns_many() -> list[Row]:
    return rows()


@pytest.mark.parametrize("how", ["async", "plain"])
async def test_a_large_result_and_large_arguments_are_decoded_on_other_threads(tmp_path, how):
    async with durable.Engine(tmp_path / "app.db", functions=[passes_on]) as engine:
        run = await engine.start(passes_on, how)

        assert await run.result() == MEMBERS
    assert 0 in decoded_by
    assert threading.get_ident() not in decoded_by
    assert len(decoded_by) > 1


async def test_the_large_result_of_a_run_is_decoded_on_another_thread(tmp_path):
    async with durable.Engine(tmp_path / "app.db", functions=[returns_many]) as engine:
        run = await engine.start(returns_many)
        await run.wait()
        decoded_by.clear()

        assert len(await run.result()) == MEMBERS
    assert decoded_by
    assert threading.get_ident() not in decoded_by


@activity(retry=durable.Retry(max_attempts=1))
async def returns_what_does_not_fit() -> list[int]:
    return ["no number"] * 10_000  # type: ignore[list-item]


@workflow
async def is_told(how: str) -> str:
    try:
        await returns_what_does_not_fit()
    except PayloadError as error:
        return str(error)
    return how


async def test_a_large_result_that_does_not_fit_fails_its_step_alone(durable_harness):
    told = await durable_harness.run(is_told, "fits")

    assert "$[0]" in told
    assert "Expected `int`, got `str`" in told


# -- part by part ----------------------------------------------------------------------------------

numbers = st.lists(st.integers(-(2**40), 2**40), max_size=4)
texts = st.text(max_size=5)
HINTS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (list[int], numbers),
    (dict[str, list[int]], st.dictionaries(texts, numbers, max_size=4)),
    (list[dict[str, float | None]], st.lists(st.dictionaries(texts, st.floats() | st.none()))),
    (tuple[int, ...], numbers.map(tuple)),
    (set[int], st.sets(st.integers())),
    (Any, st.recursive(st.none() | texts, lambda one: st.lists(one) | st.dictionaries(texts, one))),
    (list, st.lists(texts)),
    (dict[int, str], st.dictionaries(st.integers(), texts)),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "values"), HINTS, ids=str)
def test_part_by_part_gives_what_decoding_whole_gives(hint, values, monkeypatch):
    monkeypatch.setattr("durable.payloads._parts.PART_BYTES", 2)  # Each part has parts.
    codec = codec_for(hint, "result of f")

    @settings(max_examples=60, deadline=None)
    @given(values)
    def same(value: Any) -> None:
        text = codec.encode(value)
        if not any(literal in text for literal in (b"NaN", b"Infinity")):
            assert decode_by_parts(hint, text) == codec.decode(text)

    same()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text + b"]",
        lambda text: text.replace(b"7", b"x", 1),
        lambda text: text.replace(b"1", b'"one"', 1),
        lambda text: b"{" + text[1:-1] + b"}",
    ],
)
def test_what_is_wrong_with_a_large_text_is_told_as_of_a_small_one(
    spoil: Callable[[bytes], bytes],
) -> None:
    codec = codec_for(list[int], "result of f")
    text = spoil(codec.encode(list(range(20_000))))
    assert len(text) > PART_BYTES

    with pytest.raises(PayloadError) as told:
        codec.decode(text)
    with pytest.raises(Exception) as whole:  # Whatever msgspec raises.
        codec._decode(text)
    assert str(whole.value) in str(told.value)


def test_numbers_that_are_no_json_survive_in_a_large_payload() -> None:
    codec = codec_for(list[float], "result of f")
    value = [float("inf"), *map(float, range(20_000))]

    assert codec.decode(codec.encode(value)) == value
