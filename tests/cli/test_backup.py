"""`durable backup`: whole and checked, or not there; and never over something else."""

import asyncio
import datetime as dt
import json
import os
import resource
import stat
from pathlib import Path

import apsw
import pytest

import durable
from durable import activity, workflow
from durable._store import backup
from tests.cli.conftest import Command


def names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


def test_a_copy_has_every_run_and_is_one_private_file(
    durable_: Command, shop_file: Path, place: Path
) -> None:
    done = durable_("-d", shop_file, "backup", place / "copy.db")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{place}/copy.db is a checked copy, ")
    assert names(place) == {"copy.db"}
    assert stat.S_IMODE((place / "copy.db").stat().st_mode) == 0o600
    before, after = (
        durable_("-d", one, "ls", "--json").out for one in (shop_file, place / "copy.db")
    )
    assert json.loads(before) == json.loads(after)


def test_what_is_only_in_the_log_is_copied_too(
    durable_: Command, shop_file: Path, place: Path
) -> None:
    writer = apsw.Connection(str(shop_file))
    writer.wal_autocheckpoint(0)
    writer.execute("UPDATE durable_run SET workflow = 'renamed' WHERE id = 'nap'")

    durable_("-d", shop_file, "backup", place / "copy.db")

    writer.close()
    with durable.view(place / "copy.db") as runs:
        assert runs.get("nap").workflow == "renamed"


def test_a_copy_can_be_served(durable_: Command, shop_file: Path, place: Path) -> None:
    from tests.cli import shop

    durable_("-d", shop_file, "backup", place / "copy.db")

    async def serve() -> str:
        async with durable.Engine(place / "copy.db", functions=shop.FUNCTIONS) as engine:
            return await (await engine.start(shop.greet.options(id="new"), "ada")).result()

    assert asyncio.run(serve()) == "hello ada"


def test_one_that_exists_is_left_alone_unless_forced(
    durable_: Command, shop_file: Path, place: Path
) -> None:
    (place / "x.db").write_text("precious")

    refused = durable_("-d", shop_file, "backup", place / "x.db")
    kept = (place / "x.db").read_text()
    forced = durable_("-d", shop_file, "backup", place / "x.db", "--force")

    assert refused.code == 2
    assert refused.err.startswith(f"error: {place}/x.db exists already")
    assert (kept, forced.code, names(place)) == ("precious", 0, {"x.db"})
    with durable.view(place / "x.db") as runs:
        assert runs.get("nap").id == "nap"


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_the_file_is_never_its_own_backup(
    force: list[str], durable_: Command, shop_file: Path, place: Path
) -> None:
    (place / "link.db").symlink_to(shop_file)
    os.link(shop_file, place / "hard.db")
    before = shop_file.read_bytes()

    for name in (shop_file, place / "link.db", place / "hard.db", f"./{shop_file.name}"):
        done = durable_("-d", shop_file, "backup", name, *force)
        assert (done.code, "is the file itself" in done.err) == (2, True)

    assert shop_file.read_bytes() == before


def test_a_file_in_use_is_not_replaced(
    durable_: Command, shop_file: Path, made_desk: Path, place: Path
) -> None:
    durable_("-d", made_desk, "backup", place / "x.db")
    using = apsw.Connection(str(place / "x.db"))
    using.pragma("journal_mode", "wal")
    using.execute("UPDATE durable_run SET lost = 0")

    done = durable_("-d", shop_file, "backup", place / "x.db", "--force")

    using.close()
    assert (done.code, "is open in a process" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("dest", "code", "says"),
    [
        ("place", 1, "is a directory"),
        ("none/x.db", 1, "does not exist"),
        ("", 1, "is no path of a file"),
        ("x\0y", 1, "NUL"),
        (":memory:", 1, "is no path of a file"),
    ],
)
def test_a_place_that_is_none_is_one_line(
    dest: str, code: int, says: str, durable_: Command, shop_file: Path, place: Path
) -> None:
    done = durable_("-d", shop_file, "backup", dest)

    assert (done.code, done.out, says in done.err) == (code, "", True)
    assert names(place) == set()


def test_a_damaged_file_has_no_backup(durable_: Command, shop_file: Path, place: Path) -> None:
    with shop_file.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(b"\xde\xad\xbe\xef" * 1024 * 4)

    done = durable_("-d", shop_file, "backup", place / "x.db")

    assert (done.code, done.out) == (1, "")
    assert "is damaged" in done.err
    assert names(place) == set()


def test_a_copy_that_fails_half_way_leaves_nothing(
    durable_: Command, shop_file: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backup, "_check", interrupted)

    done = durable_("-d", shop_file, "backup", place / "x.db")

    assert (done.code, done.out) == (130, "")
    assert names(place) == set()


def test_no_room_is_one_line_and_leaves_nothing(
    durable_: Command, shop_file: Path, place: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        done = durable_("-d", shop_file, "backup", place / "x.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert (done.code, done.out) == (1, "")
    assert str(place) in done.err
    assert "Traceback" not in done.err
    assert names(place) == set()


def test_somebody_who_was_faster_is_not_overwritten(
    durable_: Command, shop_file: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faster(*_: object) -> None:
        (place / "x.db").write_text("precious")

    monkeypatch.setattr(backup, "_check", faster)

    done = durable_("-d", shop_file, "backup", place / "x.db")

    assert (done.code, (place / "x.db").read_text()) == (2, "precious")
    assert names(place) == {"x.db"}


def test_keep_leaves_the_newest_and_everything_else(shop_file: Path, place: Path) -> None:
    others = {"shop-notes.db", "shop-20261122T175304Z.db", "other-20200101T000000.000000Z.db"}
    for name in others:
        (place / name).touch()
    first = dt.datetime(2026, 11, 22, 17, 53, 4, 5, tzinfo=dt.UTC)

    made = [
        Path(backup.back_up_into(str(shop_file), place, 2, first + dt.timedelta(days=day))).name
        for day in (2, 0, 3, 1)
    ]

    assert made[0] == "shop-20261124T175304.000005Z.db"
    # Two are newer than those of the first and of the second day, which went at once.
    assert names(place) == others | {made[0], made[2]}


def test_keep_by_the_command(durable_: Command, shop_file: Path, place: Path) -> None:
    done = [durable_("-d", shop_file, "backup", place, "--keep", 2, "--json") for _ in range(3)]

    paths = [Path(json.loads(one.out)["path"]) for one in done]
    assert names(place) == {one.name for one in paths[1:]}
    assert json.loads(done[2].out)["bytes"] == paths[2].stat().st_size


@pytest.mark.parametrize(
    "arguments", [["none", "--keep", "1"], ["place", "--keep", "0"], ["place", "--keep", "x"],
                  ["place", "--keep", "1", "--force"], []],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], durable_: Command, shop_file: Path, place: Path) -> None:
    assert durable_("-d", shop_file, "backup", *arguments).code == 2
    assert names(place) == set()


async def test_a_backup_under_load_is_consistent_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PAGES_PER_STEP", 1)  # Every page is a chance for a commit between.

    @activity
    async def write(number: int) -> str:
        return "x" * 1_000

    @workflow
    async def writes() -> int:
        for number in range(100):
            await write(number)
        return 100

    async with durable.Engine(tmp_path / "app.db", functions=[writes]) as engine:
        runs = [await engine.start(writes) for _ in range(3)]
        copies = [await engine.backup(tmp_path / f"copy-{at}.db") for at in range(3)]
        assert [await run.result() for run in runs] == [100, 100, 100]

    for copy in copies:
        with durable.view(copy) as found:
            for one in found.list():
                events = [event.seq for event in found.events(one.id)]
                assert events == list(range(1, len(events) + 1))
                assert "damaged" not in {step.status for step in found.get(one.id).steps}


def test_plain_functions_have_it_too(shop_file: Path, place: Path) -> None:
    with durable.Client(shop_file).blocking() as client:
        made = client.backup(place / "x.db")
        with pytest.raises(durable.UsageError, match="exists already"):
            client.backup(place / "x.db")

    assert made == str(place / "x.db")
