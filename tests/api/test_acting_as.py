"""Who acts, and acts that are only rehearsed, are one caller's alone."""

import asyncio

import pytest

import durable
from durable import Signal, workflow

go = Signal("go", int)


@workflow
async def waits() -> int:
    return await go.receive()


async def whose(path, run):
    with durable.view(path) as runs:
        return [(one.verb, one.who) for one in runs.get(run).audit]


@pytest.mark.parametrize("kind", ["client", "engine"])
async def test_what_is_done_is_that_persons_and_nobody_elses(tmp_path, kind):
    path = tmp_path / "app.db"
    opened = (
        durable.Engine(path, functions=[waits])
        if kind == "engine"
        else durable.Client(path, create=True)
    )
    async with opened as client:
        await client.start(waits.options(id="a"))
        mine, ada = await client.get("a"), await client.acting_as("ada").get("a")

        await asyncio.gather(mine.pause("lunch"), ada.cancel("enough"))
        audit = dict(await whose(path, "a"))

    assert audit["cancel"] == "ada"
    assert audit["pause"] not in {"ada", ""}


@pytest.mark.parametrize("who", ["", "x" * 201, "a\nb", 7, None])
async def test_who_acts_has_a_name(tmp_path, who):
    async with durable.Client(tmp_path / "app.db", create=True) as client:
        with pytest.raises(durable.UsageError, match="1 to 200 printable characters"):
            client.acting_as(who)


async def test_a_client_that_is_opened_again_is_so_for_both(tmp_path):
    async with durable.Client(tmp_path / "app.db", create=True) as client:
        ada = client.acting_as("ada")
        await client.start(waits.options(id="a"))
        client._store.writer._broken = durable.CommitUnknown("of a test")

        await (await ada.get("a")).pause()

        assert client._store is ada._store
        assert await (await client.get("a")).status() == "paused"


async def test_a_dry_run_undoes_nothing_of_others(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Client(path, create=True) as client:
        await client.start(waits.options(id="a"))

        async def dry():
            with client._dry_run() as rehearsing:
                await (await rehearsing.get("a")).cancel()

        await asyncio.gather(dry(), client.start(waits.options(id="b")))

        assert await client.count() == {"queued": 2}
    assert await whose(path, "a") == []


def test_plain_functions_act_as_somebody_too(tmp_path):
    path = tmp_path / "app.db"
    with durable.Client(path, create=True).blocking() as client:
        client.start(waits.options(id="a"))

        client.acting_as("ada").get("a").cancel()

    with durable.view(path) as runs:
        assert [(one.verb, one.who) for one in runs.get("a").audit] == [("cancel", "ada")]
