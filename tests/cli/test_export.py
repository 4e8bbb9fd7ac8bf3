"""`durable export` and `durable import`: a run somewhere else, and nothing that is hidden."""

import asyncio
import gzip
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

import durable
from durable.inspection import look_into
from tests.cli import parcels
from tests.cli.conftest import Command, copy_of
from tests.store.exports import header, run_line, write

OWN = {
    "event": "seq, kind, step, name, fingerprint, @arguments, @result, checksum, at_us, took_us",
    "step": "step, name, state, attempt, counted_from, scheduled_us, started_us, retry_at_us,"
    " fingerprint, arguments, details, error",
    "attempt": "step, attempt, name, state, started_us, ended_us, error",
    "value": "name, @payload, checksum, at_us",
    "item": "stream, position, step, attempt, number, seq, @payload, checksum, at_us",
    "answer": "key, name, state, @result, at_us",
    "letter": "seq, name, key, @payload, why, at_us",
    "once": "step",
    "redone": "step, ordinal",
    "accepted": "step",
    "label": "name, value",
}
RUN = (
    "workflow, queue, priority, headers, salt, @arguments, fingerprint, checksum, cause, code, "
    "created_us, started_us, clock_us, closed_us, @result, result_checksum, origin, parent_step, "
    "on_parent_close, deadline_us, run_timeout_us, redo_seq, adopts, labels, error"
)


@pytest.fixture(scope="session")
def made_parcels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "parcels.db"
    asyncio.run(parcels.fill(path))
    return path


@pytest.fixture
def parcels_file(made_parcels: Path, tmp_path: Path) -> Path:
    parcels.calls.clear()
    return copy_of(made_parcels, tmp_path)


def rows(path: Path, table: str, columns: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table by the names of their runs, large payloads whole."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    names = [one.strip() for one in columns.split(",")]
    run = "one" if table == "run" else "run"
    join = (
        ""
        if table == "run"
        else f"durable_{table} AS one JOIN durable_run AS run ON run.pk = one.run"
    )
    wanted = ", ".join("one." + name.lstrip("@") for name in names)
    found = connection.execute(
        f"SELECT {run}.id, {run}.ordinal, {wanted} FROM {join or 'durable_run AS one'}"
    ).fetchall()
    blobs = {
        row[0]: row[1] for row in connection.execute("SELECT id, data FROM durable_blob").fetchall()
    }
    connection.close()

    def whole(name: str, value: Any) -> Any:
        return blobs[value] if name.startswith("@") and isinstance(value, int) else value

    plain = [
        (*row[:2], *(whole(n, v) for n, v in zip(names, row[2:], strict=True))) for row in found
    ]
    return sorted(plain, key=repr)


def statuses(path: Path) -> dict[str, str]:
    with durable.view(path) as runs:
        found = runs.list("superseded:any", limit=1_000)
    return {one.id: one.status for one in found}


def serve(path: Path, name: str, *, resume: bool = False) -> object:
    async def until_done() -> object:
        async with durable.Engine(path, functions=parcels.FUNCTIONS) as engine:
            run = await engine.get(name)
            if resume:
                await run.resume()
            return await run.result()

    return asyncio.run(until_done())


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_everything_of_every_run_arrives(durable_: Command, parcels_file: Path, name: str) -> None:
    done = durable_("-d", parcels_file, "export", "superseded:any", "-o", name)
    came = durable_("import", name, "-d", "here.db")

    assert (done.code, done.err, came.code, came.err) == (0, "", 0, "")
    assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    for table, columns in OWN.items():
        assert rows(Path("here.db"), table, columns) == rows(parcels_file, table, columns), table
        assert rows(parcels_file, table, columns) or table in {"accepted", "step"}, table
    assert rows(Path("here.db"), "run", RUN) == rows(parcels_file, "run", RUN)
    assert apsw.Connection("here.db").execute("PRAGMA integrity_check").get == "ok"


def test_every_status_arrives_and_what_was_open_is_paused(
    durable_: Command, shop_file: Path, parcels_file: Path
) -> None:
    for file in (shop_file, parcels_file):
        durable_("-d", file, "export", "superseded:any", "-o", f"{file.stem}.jsonl")
        durable_("import", f"{file.stem}.jsonl", "-d", "here.db")

    before, after = statuses(shop_file) | statuses(parcels_file), statuses(Path("here.db"))
    is_closed = {"completed", "failed", "cancelled", "terminated", "continued"}
    assert {"sleeping", "retrying", "waiting", *is_closed} == set(before.values())
    assert after == {
        name: status if status in is_closed else "paused" for name, status in before.items()
    }
    shown = durable_("-d", "here.db", "show", "nap").out
    assert "imported from shop.jsonl (exported " in shown
    assert "where it was sleeping; `durable resume` lets it run here" in shown


def test_nothing_imported_starts_by_itself(durable_: Command, parcels_file: Path) -> None:
    durable_("-d", parcels_file, "export", "status:open", "-o", "out.jsonl")
    durable_("import", "out.jsonl", "-d", "here.db")

    assert serve_new(Path("here.db")) == 4

    assert set(statuses(Path("here.db")).values()) == {"paused", "completed"}
    assert parcels.calls == []


def serve_new(path: Path) -> object:
    async def until_done() -> object:
        async with durable.Engine(path, functions=parcels.FUNCTIONS) as engine:
            return await (await engine.start(parcels.part.options(id="new"), 4)).result()

    return asyncio.run(until_done())


def test_an_open_run_goes_on_once_it_is_resumed(durable_: Command, parcels_file: Path) -> None:
    durable_("-d", parcels_file, "export", "listening", "-o", "out.jsonl")
    durable_("import", "out.jsonl", "-d", "here.db")
    durable_("-d", "here.db", "signal", "listening", "go", '"at last"')

    found = serve(Path("here.db"), "listening", resume=True)

    assert found == [parcels.HOSTILE, "remember", "at last"]


@pytest.mark.parametrize("prefix", ["", "copy of "])
def test_a_family_goes_on_together(durable_: Command, parcels_file: Path, prefix: str) -> None:
    durable_("-d", parcels_file, "export", "whole", "--children", "-o", "out.jsonl")
    rename = ["--rename", prefix] if prefix else []
    came = durable_("import", "out.jsonl", "-d", "here.db", *rename)
    tree = durable_("-d", "here.db", "tree", f"{prefix}whole")
    durable_("-d", "here.db", "signal", f"{prefix}held-part", "go", '"held"')
    durable_("-d", "here.db", "resume", f"{prefix}held-part")

    found = serve(Path("here.db"), f"{prefix}whole", resume=True)

    assert came.out.startswith("4 runs imported, 2 paused: ")
    assert all(f" {prefix}{one}  " in tree.out for one in ("held-part", "whole/1.1", "whole/2.1"))
    assert found == "held 2"
    with durable.view("here.db") as runs:
        assert sum(runs.count("superseded:any").values()) == 4


def test_the_end_of_a_child_that_nobody_took_arrives(durable_: Command, parcels_file: Path) -> None:
    durable_("-d", parcels_file, "pause", "whole")
    durable_("-d", parcels_file, "signal", "held-part", "go", '"held"')
    serve(parcels_file, "held-part")
    durable_("-d", parcels_file, "export", "whole", "--children", "-o", "out.jsonl")
    durable_("import", "out.jsonl", "-d", "here.db", "--rename", "my-")

    assert serve(Path("here.db"), "my-whole", resume=True) == "held 2"


def test_a_failed_run_goes_on_from_the_failed_step_for_the_same_call(
    durable_: Command, parcels_file: Path
) -> None:
    with durable.view(parcels_file) as runs:
        mailed = [step.name for step in runs.get("order-1#2").steps if step.result]
    durable_("-d", parcels_file, "export", "order-1", "-o", "out.jsonl")
    durable_("import", "out.jsonl", "-d", "here.db")
    Path("bank-works").touch()
    done = durable_("-d", "here.db", "retry", "order-1")

    assert serve(Path("here.db"), "order-1") == "charged 3"

    assert (done.code, mailed) == (0, ["look_up", "mail", "wire"])
    assert [name for name, _ in parcels.calls] == ["charge"]
    salt = apsw.Connection("here.db").execute("SELECT salt FROM durable_run LIMIT 1").get
    assert parcels.calls[0][1] == f"order-1/{salt:x}/4"


def test_a_step_done_again_keeps_its_key_although_its_source_did_not_come(
    durable_: Command, parcels_file: Path
) -> None:
    durable_("-d", parcels_file, "export", "order-1#2", "-o", "out.jsonl")
    durable_("import", "out.jsonl", "-d", "here.db")
    durable_("-d", "here.db", "restart", "order-1#2", "--from", "mail", "--again", "3")
    Path("bank-works").touch()

    serve(Path("here.db"), "order-1")

    keys = {name: key.rpartition("/")[2] for name, key in parcels.calls}
    assert keys == {"mail": "2#3", "wire": "3#3", "charge": "4"}


def test_replays_fit_and_edited_code_is_told(
    durable_: Command, parcels_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    text = Path(parcels.__file__).read_text(encoding="utf-8")
    text += '\nengine = durable.Engine("here.db", functions=FUNCTIONS)\n'
    Path("same.py").write_text(text, encoding="utf-8")
    Path("edited.py").write_text(text.replace("charge(customer, 3)", "charge(customer, 4)"))
    durable_("-d", parcels_file, "export", "superseded:any", "-o", "out.jsonl")
    durable_("import", "out.jsonl", "-d", "here.db")
    names = statuses(Path("here.db"))

    fits = durable_("replay", "same.py:engine", "--", *names)
    open_fits = durable_("check", "same.py:engine")
    differs = durable_("replay", "edited.py:engine", "order-1", "bulky", "--json")

    assert (fits.code, fits.out.splitlines()[-1]) == (0, f"{len(names)} fit, 0 do not")
    assert (open_fits.code, "3 fit" in open_fits.out) == (0, True)
    assert differs.code == 6
    assert [one["run"] for one in json.loads(differs.out)["misfits"]] == ["order-1#2"]
    assert "was recorded with other arguments" in differs.out


def test_an_engine_takes_them_in_while_it_serves(durable_: Command, parcels_file: Path) -> None:
    async def serve_both() -> tuple[list[str], str]:
        async with (
            durable.Engine(parcels_file, functions=parcels.FUNCTIONS) as there,
            durable.Engine("here.db", functions=parcels.FUNCTIONS) as here,
        ):
            made = await there.export("status:open", "out.jsonl")
            came = await here.import_("out.jsonl", rename="my ")
            mine = await here.start(parcels.part.options(id="mine"), 1)
            await mine.result()
            run = await here.get("my listening")
            await run.resume()
            await run.signal(parcels.go, "there")
            assert (made.runs, came.runs, came.paused) == (3, 3, 3)
            return await run.result(), await (await here.get("my whole")).status()

    said, status = asyncio.run(serve_both())

    assert (said[-1], status) == ("there", "paused")
    assert statuses(parcels_file)["listening"] == "waiting"


def test_plain_functions_have_the_same_verbs(shop_file: Path) -> None:
    with durable.Client(shop_file).blocking() as there:
        made = there.export("hello-1", "out.jsonl")
    with durable.Client("here.db", create=True).blocking() as here:
        came = here.import_("out.jsonl")

    assert (made.runs, came.names) == (1, ("hello-1",))
    assert stat.S_IMODE(Path("here.db").stat().st_mode) == 0o600
    with pytest.raises(durable.StoreError, match="does not exist"):
        durable.Client("none.db").blocking().__enter__()


# -- what is taken ---------------------------------------------------------------------------------


def test_which_runs_go(durable_: Command, parcels_file: Path) -> None:
    found = {}
    for words in (
        ["order-1"], ["order-1#1"], ["order-1", "--all-ordinals"], ["tag:urgent"],
        ["countdown", "--all-ordinals"], ["whole"], ["workflow:whole", "--children"],
        ["tdown"],
    ):  # fmt: skip
        durable_("-d", parcels_file, "export", *words, "-o", "x", "--force")
        found[" ".join(words)] = [
            f"{one['id']}#{one['ordinal']}"
            for one in map(json.loads, Path("x").read_text().splitlines())
            if one["kind"] == "run"
        ]

    assert found == {
        "order-1": ["order-1#2"],
        "order-1#1": ["order-1#1"],
        "order-1 --all-ordinals": ["order-1#1", "order-1#2"],
        "tag:urgent": ["order-1#2"],
        "countdown --all-ordinals": ["countdown#1", "countdown#2", "countdown#3"],
        "whole": ["whole#1"],
        "workflow:whole --children": ["whole#1", "held-part#1", "whole/1.1#1", "whole/2.1#1"],
        "tdown": ["countdown#3"],
    }


def test_to_stdout(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "export", "hello-1", "-o", "-")
    Path("x").write_text(done.out, encoding="utf-8")

    assert (done.code, done.err, look_into("x").runs) == (0, "", 1)
    assert durable_("-d", shop_file, "export", "nap", "-o", "-", "--json").code == 2


def test_the_outcome_as_json(durable_: Command, shop_file: Path) -> None:
    made = durable_("-d", shop_file, "export", "order-8812", "-o", "x.jsonl", "--json")
    came = durable_("import", "x.jsonl", "-d", "here.db", "--json", "--reason", "to see why")

    assert json.loads(made.out) == {
        "path": str(Path("x.jsonl").resolve()), "runs": 1, "events": 2, "redacted": False,
        "damaged": 0, "skipped": [], "bytes": Path("x.jsonl").stat().st_size,
    }  # fmt: skip
    assert json.loads(came.out) == {
        "runs": 1, "events": 2, "paused": 0, "redacted": False, "names": ["order-8812"],
    }  # fmt: skip
    with durable.view("here.db") as runs:
        (audit,) = runs.get("order-8812").audit
    assert (audit.verb, audit.why) == ("import", "to see why")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nope"], 3, "no run 'nope'"),
        (["status:nope"], 2, "nope"),
        (["nap", "-o", "shop.db"], 2, "is the file itself, or one that belongs to it"),
        (["nap", "-o", "shop.db", "--force"], 2, "is the file itself, or one that belongs to it"),
        (["nap", "-o", "shop.db-wal"], 2, "is the file itself, or one that belongs to it"),
        (["nap", "-o", "there"], 2, "exists already"),
        (["nap", "-o", "none/x"], 1, "does not exist"),
        (["nap", "-o", "."], 1, "is a directory"),
        (["nap", "--redact", "a..b"], 2, "names no key"),
        (["nap", "--redact", ""], 2, "names no key"),
    ],
)
def test_what_is_refused_leaves_nothing(
    words: list[str], code: int, says: str, durable_: Command, shop_file: Path
) -> None:
    Path("there").write_text("precious")

    done = durable_("-d", shop_file, "export", *(words if "-o" in words else [*words, "-o", "x"]))

    assert (done.code, done.out, says in done.err) == (code, "", True)
    assert {one.name for one in Path().iterdir()} <= {
        "shop.db", "shop.db-wal", "shop.db-shm", "shop.db-lock", "there"
    }  # fmt: skip
    assert Path("there").read_text() == "precious"


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE durable_event SET result = '9' WHERE run = 3 AND seq = 1",
        "DELETE FROM durable_event WHERE run = 3 AND seq = 1",
        "UPDATE durable_event SET name = CAST(x'ff' AS TEXT) WHERE run = 3 AND seq = 1",
        "UPDATE durable_event SET arguments = 77 WHERE run = 3 AND seq = 1",
        "UPDATE durable_event SET arguments = x'00' WHERE run = 3 AND seq = 1",
        "UPDATE durable_run SET arguments = '[1]' WHERE pk = 3",
        "UPDATE durable_run SET result = '[1]' WHERE pk = 3",
        "UPDATE durable_run SET labels = '[' WHERE pk = 3",
        "UPDATE durable_run SET error = CAST(x'ff' AS TEXT) WHERE pk = 3",
        "UPDATE durable_attempt SET name = CAST(x'ff' AS TEXT) WHERE run = 3",
        "INSERT INTO durable_value VALUES (3, 'v', '1', 0, 0)",
    ],
)
def test_a_damaged_run_is_refused_or_left_out(
    harm: str, durable_: Command, shop_file: Path
) -> None:
    connection = apsw.Connection(str(shop_file))
    connection.execute(harm)
    connection.close()

    refused = durable_("-d", shop_file, "export", "superseded:any", "-o", "x")
    is_there = Path("x").exists()
    kept = durable_("-d", shop_file, "export", "superseded:any", "-o", "x", "--skip-damaged")

    assert (refused.code, is_there) == (1, False)
    assert "run order-8812 is damaged: " in refused.err
    assert kept.code == 0
    assert kept.err.startswith("left out order-8812: ")
    assert " has 7 runs, " in kept.out
    assert look_into("x").runs == 7


# -- what is not taken -----------------------------------------------------------------------------


def test_ids_that_are_there_are_refused_and_nothing_is_imported(
    durable_: Command, shop_file: Path, parcels_file: Path
) -> None:
    durable_("-d", shop_file, "export", "hello-1", "-o", "one")
    durable_("-d", shop_file, "export", "superseded:any", "-o", "all")
    durable_("-d", parcels_file, "export", "order-1#1", "-o", "first")
    durable_("-d", parcels_file, "export", "order-1#2", "-o", "second")
    durable_("import", "one", "-d", "here.db")
    durable_("import", "first", "-d", "here.db")

    refused = durable_("import", "all", "-d", "here.db")
    of_another_ordinal = durable_("import", "second", "-d", "here.db")
    before = statuses(Path("here.db"))
    renamed = durable_("import", "all", "-d", "here.db", "--rename", "their ")

    assert (refused.code, of_another_ordinal.code) == (2, 2)
    assert "run hello-1 is in " in refused.err
    assert "--rename PREFIX" in refused.err
    assert set(before) == {"hello-1", "order-1"}
    assert (renamed.code, len(statuses(Path("here.db")))) == (0, 10)
    with durable.view("here.db") as runs:
        (audit,) = runs.get("their order-7").audit
    assert json.loads(audit.details)["run"] == "order-7"


@pytest.mark.parametrize("prefix", ["a#b", "\x1b", "x" * 200])
def test_a_prefix_that_makes_no_id(prefix: str, durable_: Command, shop_file: Path) -> None:
    durable_("-d", shop_file, "export", "hello-1", "-o", "one")

    done = durable_("import", "one", "-d", "here.db", "--rename", prefix)

    assert (done.code, done.out, Path("here.db").exists()) == (2, "", False)


@pytest.mark.parametrize("name", ["none", "pipe", "text", "app.db", "cut"])
def test_what_is_no_export_makes_no_file(name: str, durable_: Command, shop_file: Path) -> None:
    os.mkfifo("pipe")
    Path("text").write_text("precious")
    shop_file.rename("app.db")
    durable_("-d", "app.db", "export", "hello-1", "-o", "whole.gz")
    Path("cut").write_bytes(Path("whole.gz").read_bytes()[:-20])

    done = durable_("import", name, "-d", "here.db")

    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert not Path("here.db").exists()


# -- redaction -------------------------------------------------------------------------------------


def redacted(durable_: Command, file: Path, *paths: str) -> bytes:
    words = [word for path in paths for word in ("--redact", path)]
    done = durable_("-d", file, "export", "superseded:any", "-o", "x.gz", *words)
    assert (done.code, done.err) == (0, "")
    return gzip.decompress(Path("x.gz").read_bytes())


@pytest.mark.parametrize("paths", [("email", "card"), ("*",)])
def test_what_is_hidden_is_nowhere_in_the_file(
    paths: tuple[str, ...], durable_: Command, parcels_file: Path
) -> None:
    before = gzip_free(durable_, parcels_file)

    found = redacted(durable_, parcels_file, *paths)

    assert before.count(parcels.EMAIL.encode()) > 10
    assert parcels.EMAIL.encode() not in found
    assert (str(parcels.CARD).encode() in found) == ("*" in paths)
    assert b"<redacted>" in found
    assert b"in charge" in found  # The frames stay.
    header = json.loads(found.splitlines()[0])
    assert (header["redacted"], header["paths"]) == (True, list(paths))
    if "*" in paths:
        assert b"remember" not in found
        assert b"gpj.exe" not in found.replace(b"hostile ", b"", 1).split(b'"arguments"')[1]


def gzip_free(durable_: Command, file: Path) -> bytes:
    durable_("-d", file, "export", "superseded:any", "-o", "plain")
    return Path("plain").read_bytes()


def test_a_redacted_run_replays_and_goes_on(durable_: Command, parcels_file: Path) -> None:
    redacted(durable_, parcels_file, "email", "card")
    came = durable_("import", "x.gz", "-d", "here.db")
    engine = durable.Engine("here.db", functions=parcels.FUNCTIONS)

    misfits = [one for one in engine.check(runs=statuses(Path("here.db"))) if one is not None]
    Path("bank-works").touch()
    durable_("-d", "here.db", "retry", "order-1")
    result = serve(Path("here.db"), "order-1")

    assert ", redacted: " in came.out
    assert misfits == []
    assert result == "charged 3"
    with durable.view("here.db") as runs:
        assert json.loads(runs.get("order-1#2").audit[-1].details)["redacted"] is True
        assert runs.get("order-1#2").why == "Declined: bank: card <redacted> of <redacted> declined"
        assert json.loads(runs.get("order-1#2").steps[0].result) == {
            "email": "<redacted>", "card": 0, "is_new": True,
        }  # fmt: skip


def test_of_a_run_without_any_text_the_shape_stays(durable_: Command, parcels_file: Path) -> None:
    redacted(durable_, parcels_file, "*")
    durable_("import", "x.gz", "-d", "here.db")
    engine = durable.Engine("here.db", functions=parcels.FUNCTIONS)

    misfits = [one for one in engine.check(runs=statuses(Path("here.db"))) if one is not None]
    shown = durable_("-d", "here.db", "show", "order-1", "--attempts")

    assert misfits == []
    assert "Declined: <redacted>" in shown.out
    assert "in charge" in shown.out
    assert "redacted True" in shown.out


def test_a_refused_import_makes_no_file(durable_: Command, tmp_path: Path) -> None:
    late = run_line(checksum=5)
    for name, rows in {"early": [run_line(workflow="\x1b")], "late": [late]}.items():
        write(tmp_path / name, header(1), *rows)
        before = {one.name for one in tmp_path.iterdir()}

        done = durable_("import", str(tmp_path / name), "-d", "i.db")

        assert (done.code, done.out) == (1, "")
        assert done.err.count("\n") == 1
        assert {one.name for one in tmp_path.iterdir()} == before
