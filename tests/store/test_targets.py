"""Nothing is written over a database, nor over what lies beside one, whatever it is called."""

import os

import pytest

import durable
from durable import NotADurableFile, UsageError, workflow
from durable.inspection import check_report_target
from tests.store.test_connection import contents

ENDS = ["", "-wal", "-shm", "-lock", "-journal"]


@workflow
async def idles() -> None:
    await durable.sleep(1e6)


@pytest.fixture
async def path(tmp_path):
    """A file that is open, so that its log and its lock file are there; nobody writes to it."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "app.db"
    async with durable.Engine(path, functions=[idles]) as engine:
        await engine.start(idles.options(id="x"))
    async with durable.Client(path):
        yield path


def backup(path, target, *, force):
    with durable.view(path) as runs:
        runs.backup(target, overwrite=force)


def export(path, target, *, force):
    with durable.view(path) as runs:
        runs.export("x", target, overwrite=force)


def report(path, target, *, force):
    check_report_target(path, target)


WRITERS = [backup, export, report]


def spelled(path, end, how):
    name, folder = f"{path.name}{end}", path.parent
    place = folder.parent / "elsewhere"
    match how:
        case "plain":
            return folder / name
        case "dots":
            return f"{folder}/../data/./{name}"
        case "link":
            place.symlink_to(folder / name)
        case "folder":
            place.symlink_to(folder)
            return place / name
        case "hard":
            if not (folder / name).exists():
                pytest.skip("nothing to link to")
            os.link(folder / name, place)
    return place


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("how", ["plain", "dots", "link", "folder", "hard"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("write", WRITERS)
async def test_a_file_and_what_is_beside_it_are_no_target(path, write, end, how, force):
    target = spelled(path, end, how)
    before = contents(path.parent)

    with pytest.raises(UsageError, match="is the file itself, or one that belongs to it"):
        write(path, target, force=force)

    assert contents(path.parent) == before


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("end", ENDS[1:])
@pytest.mark.parametrize("write", WRITERS)
async def test_nor_are_those_of_another_file(path, tmp_path, write, end, force):
    other = tmp_path / "other.db"
    backup(path, other, force=False)

    with pytest.raises(UsageError, match=r"is a name that belongs to .*other\.db"):
        write(path, f"{other}{end}", force=force)

    assert {one.name for one in tmp_path.iterdir()} == {"data", "other.db"}


@pytest.mark.parametrize("end", ENDS[1:])
async def test_what_is_beside_a_file_is_not_opened_as_one(path, end):
    before = contents(path.parent)

    for opening in (durable.Engine(f"{path}{end}"), durable.Client(f"{path}{end}", create=True)):
        with pytest.raises(NotADurableFile, match=r"belongs to .*app\.db; name that one"):
            async with opening:
                pass
    with pytest.raises(NotADurableFile), durable.view(f"{path}{end}"):
        pass

    assert contents(path.parent) == before


async def test_names_that_only_look_alike_are_free(path, tmp_path):
    for name in ("flood-lock", "app.db-walrus", "copy.db"):
        backup(path, tmp_path / name, force=False)

    assert len(list(tmp_path.iterdir())) == 4
