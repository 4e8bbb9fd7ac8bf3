"""Tags and attributes: what a run is started with, and found by."""

from __future__ import annotations

import math

import pytest

import durable
from durable import Client, Engine, activity, workflow
from durable.errors import UsageError
from durable.names import ATTRIBUTE_CHARACTERS_MAX, LABEL_CHARACTERS_MAX, LABELS_MAX


@activity
async def fail(really: bool) -> int:
    if really:
        raise ValueError("as asked")
    return 1


@workflow
async def one(value: int) -> int:
    return value


@workflow
async def family(value: int) -> int:
    return await one.options(id="child", tags=["small"])(value)


@workflow
async def counting(left: int) -> int:
    if left:
        durable.continue_as_new(left - 1)
    return left


@workflow
async def failing() -> int:
    return await fail.options(retry=durable.Retry(max_attempts=1))(True)


async def names(client: Client, query: str) -> list[str]:
    return [run.id for run in await client.list(query)]


async def test_a_run_is_found_by_its_tags_and_attributes(tmp_path):
    labelled = one.options(
        id="a", tags=["urgent", "eu west"], attributes={"region": "eu", "total": 120, "vip": True}
    )
    async with Engine(tmp_path / "app.db") as engine:
        await (await engine.start(labelled, 1)).result()
        await (await engine.start(one.options(id="b"), 1)).result()

        assert await names(engine, "tag:urgent") == ["a"]
        assert await names(engine, 'tag:"eu west" attr.total:>100 attr.vip:true') == ["a"]
        (found,) = await engine.list("attr.region:eu")
        assert found.tags == ["urgent", "eu west"]
        assert found.attributes == {"region": "eu", "total": 120, "vip": True}
        assert (await (await engine.get("b")).details()).tags == []


async def test_a_client_stores_them_too(tmp_path):
    async with Engine(tmp_path / "app.db", functions=[]):
        pass
    async with Client(tmp_path / "app.db") as client:
        await client.start(one.options(id="a", tags=["urgent"]), 1)

        assert await names(client, "tag:urgent status:queued") == ["a"]


async def test_later_ordinals_keep_them(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        run = await engine.start(counting.options(id="c", tags=["long"]), 2)
        await run.result()
        failed = await engine.start(failing.options(id="f", attributes={"n": 1}))
        with pytest.raises(durable.RunFailed):
            await failed.result()
        again = await failed.retry()
        with pytest.raises(durable.RunFailed):
            await again.result()

        assert await names(engine, "tag:long superseded:any") == ["c#3", "c#2", "c"]
        assert await names(engine, "attr.n:1 superseded:any") == ["f#2", "f"]


async def test_a_child_has_its_own(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        await (await engine.start(family.options(id="p", tags=["large"]), 2)).result()

        assert await names(engine, "tag:small") == ["child"]
        assert await names(engine, "tag:large") == ["p"]


async def test_a_run_that_is_removed_is_found_no_more(tmp_path):
    async with Engine(tmp_path / "app.db") as engine:
        run = await engine.start(one.options(id="a", tags=["urgent"]), 1)
        await run.result()
        await run.remove()
        left = engine._reader._connection.execute("SELECT COUNT(*) FROM durable_label").get

        assert (await names(engine, "tag:urgent"), left) == ([], 0)


@pytest.mark.parametrize(
    "labels",
    [
        {"tags": [f"t{n}" for n in range(LABELS_MAX)]},
        {"tags": ["x" * LABEL_CHARACTERS_MAX]},
        {"attributes": {f"a{n}": n for n in range(LABELS_MAX)}},
        {"attributes": {"x" * LABEL_CHARACTERS_MAX: "y" * ATTRIBUTE_CHARACTERS_MAX}},
        {"attributes": {"low": -(2**63), "high": 2**63 - 1, "f": 0.5, "b": False, "empty": ""}},
        {"tags": (), "attributes": {}},
    ],
)
async def test_what_is_allowed_is_stored(tmp_path, labels):
    async with Engine(tmp_path / "app.db") as engine:
        await (await engine.start(one.options(id="a", **labels), 1)).result()
        (found,) = await engine.list()

    assert list(found.tags) == list(labels.get("tags", []))
    assert found.attributes == labels.get("attributes", {})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"tags": "urgent"}, "a list of at most"),
        ({"tags": [f"t{n}" for n in range(LABELS_MAX + 1)]}, "a list of at most"),
        ({"tags": ["x" * (LABEL_CHARACTERS_MAX + 1)]}, "a tag is a text of 1 to"),
        ({"tags": [""]}, "a tag is a text of 1 to"),
        ({"tags": ["a\nb"]}, "a tag is a text of 1 to"),
        ({"tags": [3]}, "a tag is a text of 1 to"),
        ({"tags": {"a"}}, "a list of at most"),
        ({"attributes": ["a"]}, "a mapping of at most"),
        ({"attributes": {f"a{n}": n for n in range(LABELS_MAX + 1)}}, "a mapping of at most"),
        ({"attributes": {"a b": 1}}, "the name of an attribute"),
        ({"attributes": {"": 1}}, "the name of an attribute"),
        ({"attributes": {"1a": 1}}, "the name of an attribute"),
        ({"attributes": {"x" * (LABEL_CHARACTERS_MAX + 1): 1}}, "the name of an attribute"),
        ({"attributes": {3: 1}}, "the name of an attribute"),
        ({"attributes": {"a": "x" * (ATTRIBUTE_CHARACTERS_MAX + 1)}}, "attribute a is"),
        ({"attributes": {"a": 2**63}}, "attribute a is"),
        ({"attributes": {"a": math.inf}}, "attribute a is"),
        ({"attributes": {"a": math.nan}}, "attribute a is"),
        ({"attributes": {"a": None}}, "attribute a is"),
        ({"attributes": {"a": [1]}}, "attribute a is"),
    ],
)
def test_what_is_not_is_refused_at_the_call(labels, message):
    with pytest.raises(UsageError, match=message):
        one.options(**labels)
