"""`durable prune`: what has ended goes, what is open stays, and nothing without being asked."""

from pathlib import Path

import durable
from tests.cli.conftest import Command


def ids(path: Path) -> set[str]:
    with durable.view(path) as runs:
        return {one.id for one in runs.list("superseded:any", limit=1_000)}


def is_open(path: Path) -> set[str]:
    with durable.view(path) as runs:
        return {one.id for one in runs.list("status:open", limit=1_000)}


def test_all_that_has_ended_goes_and_what_is_open_stays(durable_: Command, shop_file: Path) -> None:
    left = is_open(shop_file)
    assert ids(shop_file) > left

    done = durable_("-d", shop_file, "prune", "status:closed", "--yes")

    assert done.code == 0, done.err
    assert "are deleted" in done.out
    assert ids(shop_file) == left
    assert durable_("verify", shop_file).out == ""


def test_only_what_ended_long_ago_goes(durable_: Command, shop_file: Path) -> None:
    before = ids(shop_file)

    none = durable_("-d", shop_file, "prune", "--older-than", "3650d", "--yes")

    assert "no run" in none.out + none.err
    assert ids(shop_file) == before


def test_a_filter_narrows_it_and_a_dry_run_deletes_nothing(
    durable_: Command, shop_file: Path
) -> None:
    before = ids(shop_file)

    dry = durable_("-d", shop_file, "prune", "status:failed", "--dry-run")
    assert dry.code == 0
    assert ids(shop_file) == before
    done = durable_("-d", shop_file, "prune", "status:failed", "--yes")

    assert done.code == 0
    with durable.view(shop_file) as runs:
        assert runs.count("superseded:any status:failed") == {}
        assert runs.count("superseded:any status:completed") != {}


def test_without_saying_which_nothing_is_deleted(durable_: Command, shop_file: Path) -> None:
    before = ids(shop_file)

    done = durable_("-d", shop_file, "prune", "--yes")

    assert done.code == 2
    assert "say which runs" in done.err
    assert ids(shop_file) == before


async def test_the_client_prunes_too(shop_file: Path) -> None:
    left = is_open(shop_file)
    async with durable.Client(shop_file) as client:
        ended = await (await client.prune("status:closed")).wait()

        assert ended.done > 0
    assert ids(shop_file) == left
