"""Finding the file, refusing what is none, errors as one line, and exit codes."""

import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import click
import pytest

import durable
from durable._store import connection as store_connection
from durable_cli import _errors, main
from durable_cli._main import COMMANDS, group
from tests.cli.conftest import Command, Done

ROOT = Path(__file__).parents[2]
PYTHONPATH = f"{ROOT}:{ROOT / 'cli'}"
READING = [
    ["ls"], ["ls", "--json"], ["show", "x"], ["read", "x"], ["read", "x", "y"], ["tail", "x", "y"],
    ["tail", "x"], ["wait", "x"], ["stats"], ["tree", "x"], ["diff", "x", "y"], ["backup", "copy"],
    ["sql", "SELECT 1"], ["sql", "DELETE FROM durable_run"],
    ["query", "x", "y"],
]  # fmt: skip
WRITING = [
    ["retry", "x"], ["cancel", "x"], ["terminate", "x"], ["signal", "x", "y"],
    ["update", "x", "y"], ["answer", "x", "1"],
]  # fmt: skip


def one_line(done: Done) -> str:
    """Return the error's message, having made sure that there is nothing else."""
    lines = done.err.splitlines()
    first, hints = lines[0], lines[1:]
    assert done.out == ""
    assert first.startswith("error: ")
    assert all(hint.startswith("hint: ") for hint in hints)
    assert "Traceback" not in done.err
    return first.removeprefix("error: ")


# -- which file ------------------------------------------------------------------------------------


def test_the_only_file_here_is_meant(durable_: Command, shop_file: Path) -> None:
    assert len(durable_("ls").out.splitlines()) == 8


def test_the_environment_names_the_file(
    durable_: Command, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DURABLE_DB", str(made))

    assert len(durable_("ls").out.splitlines()) == 8


@pytest.mark.parametrize("place", ["before", "after", "both"])
def test_the_option_counts_more_than_the_environment(
    place: str, durable_: Command, shop_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DURABLE_DB", "other.db")
    named = ["-d", str(shop_file)]
    before = {"before": named, "after": [], "both": ["--db", "third.db"]}[place]
    after = [] if place == "before" else named

    assert durable_(*before, "ls", *after).code == 0


def test_no_file_and_several_files_are_wrong_usage(durable_: Command, tmp_path: Path) -> None:
    none = durable_("ls")
    for name in ("a.db", "b\x1b[31m.db"):
        (tmp_path / name).touch()
    (tmp_path / "folder.db").mkdir()
    several = durable_("ls")

    assert (none.code, several.code) == (2, 2)
    assert one_line(none) == (
        "which file? No *.db is in this folder; name one with -d FILE or $DURABLE_DB"
    )
    assert "This folder has a.db, b\\x1b[31m.db; name one" in one_line(several)


@pytest.mark.parametrize("arguments", [["-d", "", "ls"], ["-d"], ["ls", "-d"]])
def test_an_empty_path_is_wrong_usage(arguments: list[str], durable_: Command) -> None:
    done = durable_(*arguments)

    assert done.code == 2
    assert one_line(done)


# -- what is no file of ours -----------------------------------------------------------------------


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bank (balance)")
    connection.commit()
    connection.close()


def corrupt(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)  # The first page knows whose file it is.
        file.write(b"\xde\xad\xbe\xef" * ((path.stat().st_size - 4096) // 4))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (Path.mkdir, "is a directory"),
    "text": (lambda path: path.write_text("hello " * 1000), "is not a SQLite file"),
    "binary": (lambda path: path.write_bytes(bytes(range(256)) * 64), "is not a SQLite file"),
    "two bytes": (lambda path: path.write_bytes(b"SQ"), "is not a SQLite file"),
    "empty": (Path.touch, "is empty"),
    "a link to itself": (lambda path: path.symlink_to(path), "its links lead round"),
    "foreign": (foreign, "is a SQLite file of another program"),
}


@pytest.mark.parametrize("arguments", [*READING, *WRITING], ids=" ".join)
@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_durable_file_gets_one_line_and_no_change(
    kind: str, arguments: list[str], durable_: Command, tmp_path: Path
) -> None:
    path = tmp_path / "odd.db"
    make, message = BROKEN[kind]
    make(path)
    before = path.read_bytes() if path.is_file() else b""

    done = durable_("-d", path, *arguments)

    assert done.code == 1
    assert message in one_line(done)
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert [one.name for one in tmp_path.iterdir()] == ["odd.db"]


@pytest.mark.parametrize("arguments", [*READING, *WRITING], ids=" ".join)
def test_a_pipe_is_refused_and_not_waited_for(
    arguments: list[str], durable_: Command, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.db")

    done = durable_("-d", tmp_path / "pipe.db", *arguments)

    assert done.code == 1
    assert "is a pipe" in one_line(done)


@pytest.mark.parametrize("arguments", [*READING, *WRITING], ids=" ".join)
def test_a_missing_file_is_not_created(
    arguments: list[str], durable_: Command, tmp_path: Path
) -> None:
    for path in (tmp_path / "none.db", tmp_path / "no" / "folder.db"):
        done = durable_("-d", path, *arguments)

        assert done.code == 1
        assert "does not exist" in one_line(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["ls"], ["show", "hello-1"], ["retry", "order-8812"]])
def test_a_corrupt_file_gets_one_line_and_no_change(
    arguments: list[str], durable_: Command, shop_file: Path
) -> None:
    corrupt(shop_file)
    before = hashlib.sha256(shop_file.read_bytes()).digest()

    done = durable_("-d", shop_file, *arguments)

    assert done.code == 1
    assert one_line(done)
    assert hashlib.sha256(shop_file.read_bytes()).digest() == before


def test_text_that_is_not_utf8_hides_no_other_run(durable_: Command, shop_file: Path) -> None:
    with apsw.Connection(str(shop_file)) as connection:
        connection.execute("UPDATE durable_run SET id = CAST(x'ff' AS TEXT) WHERE id = 'hello-1'")
    connection.close()

    done = durable_("-d", shop_file, "ls")

    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 8
    assert r"\xff" in done.out


def test_a_damaged_event_is_shown_in_its_place(durable_: Command, shop_file: Path) -> None:
    with apsw.Connection(str(shop_file)) as connection:
        connection.execute("UPDATE durable_event SET result = '{}' WHERE seq = 1")
    connection.close()

    done = durable_("-d", shop_file, "show", "order-8812")

    assert (done.code, done.err) == (0, "")
    assert re.search(r"^1 +reserve +damaged .*event 1 does not match its", done.out, re.MULTILINE)
    assert re.search(r"^2 +charge +failed +2 .*ConnectionError: ", done.out, re.MULTILINE)


def test_a_file_of_a_newer_version_is_refused(durable_: Command, shop_file: Path) -> None:
    with apsw.Connection(str(shop_file)) as connection:
        connection.pragma("user_version", 999)
    connection.close()

    assert "newer durable" in one_line(durable_("-d", shop_file, "ls"))


def test_a_locked_file_is_exit_code_5(
    durable_: Command, shop_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_connection, "BUSY_DEADLINE_S", 0.05)
    connection = apsw.Connection(str(shop_file))
    connection.execute("BEGIN IMMEDIATE")

    done = durable_("-d", shop_file, "terminate", "nap")

    connection.execute("ROLLBACK")
    connection.close()
    assert done.code == 5
    assert "stayed locked" in one_line(done)
    assert "hint: another process writes to it" in done.err


# -- usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["lst"], ["--bogus"], ["ls", "--bogus"], ["ls", "stauts:extra"], ["ls", "status:stuck"],
        ["show"], ["show", "a", "b"], ["retry"], ["cancel"], ["terminate"], ["worker"],
        ["version", "x"], ["ls", "--color", "red"], ["\x1b[31m\u202e"], ["ls", "\x1b[31m"],
        ["ls", "status:"], [""], ["-"], ["--"], ["ls", "-n"], ["signal"], ["signal", "x"],
        ["signal", "x", "y", "z"], ["update", "x"], ["update", "x", "y", "{"], ["query", "x"],
        ["query", "x", "y", "1", "no"], ["query", "x", "y", "--app", "z"], ["read"],
        ["tail"], ["tail", "x", "--join"], ["tail", "x", "--from", "1"],
        ["tail", "x", "y", "--since", "1"], ["tail", "x", "--since", "-1"],
        ["wait"], ["diff"], ["diff", "x"], ["tree"], ["replay"], ["replay", "x:y"], ["start"],
        ["sql"], ["backup"],
        ["stats", "--by", "week"],
        ["tail", "x", "y", "--from", "-1"], ["answer"], ["answer", "x"],
        ["answer", "x", "1", "--reject", "no"], ["answer", "x", "\x1b[31m\u202e"],
        ["update", "x", "y", "--timeout", "soon"], ["update", "x", "y", "--timeout", "0"],
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_with_a_hint_and_exit_code_2(
    arguments: list[str], durable_: Command
) -> None:
    done = durable_(*arguments)

    assert done.code == 2
    assert one_line(done).isprintable()
    assert re.search(r"^hint: durable.* --help$", done.err, re.MULTILINE)


def test_help_is_shown_without_arguments_and_names_every_command(durable_: Command) -> None:
    done = durable_()

    assert (done.code, done.err) == (0, "")
    assert done == durable_("--help") == durable_("-h")
    assert set(COMMANDS) <= set(re.findall(r"^  (\w+)  ", done.out, re.MULTILINE))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, durable_: Command) -> None:
    done = durable_(name, "--help")

    assert done.code == 0
    assert done.out.startswith(f"Usage: durable {name} [OPTIONS]")
    assert group.get_command(click.Context(group), name) is not None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (durable.RunNotFound("x"), 3),
        (durable.TokenUnknown("x"), 3),
        (durable.UpdateRefused("x"), 6),
        (durable.UpdateFailed("x"), 6),
        (durable.UpdateAbandoned("x"), 6),
        (durable.QueryFailed("x"), 6),
        (durable.WrongState("x"), 4),
        (durable.RunClosed("x"), 4),
        (durable.UsageError("x"), 2),
        (durable.StoreBusy("x"), 5),
        (durable.FileCorrupt("x"), 1),
        (durable.CommitUnknown("x"), 1),
        (click.UsageError("x"), 2),
        (ValueError("x"), 1),
        (PermissionError("x"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert _errors.code_of(error) == code


def test_a_mistake_of_ours_shows_an_escaped_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> int:
        raise ValueError("\x1b[31mred\u202e")

    code = _errors.guarded(broken)

    err = capsys.readouterr().err
    assert code == 1
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.splitlines()[-1] == r"error: ValueError: \x1b[31mred\u202e"
    assert err.replace("\n", "").isprintable()


def test_ctrl_c_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert _errors.guarded(interrupted) == 130
    assert capsys.readouterr() == ("", "")


# -- processes -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("module", ["durable", "durable_cli"])
def test_it_runs_as_a_module(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "version", "--json"],
        env={"PYTHONPATH": PYTHONPATH}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(done.stdout)["durable"] == durable.__version__


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["ls"], ["ls", "--json"], ["show", "hello-2", "--payloads"], ["tail", "order-8812"],
        ["wait", "hello-1"], ["wait", "hello-1", "--json"], ["stats"], ["tree", "order-8812"],
        ["diff", "hello-1", "hello-2"], ["sql", "SELECT * FROM durable_run"],
        ["sql", "SELECT * FROM durable_run", "--csv"], ["completion", "bash"],
    ],
)  # fmt: skip
def test_a_reader_that_goes_away_is_no_error(arguments: list[str], shop_file: Path) -> None:
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run(
        [sys.executable, "-m", "durable_cli", "-d", str(shop_file), *arguments],
        env={"PYTHONPATH": PYTHONPATH}, stdout=write, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(write)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
@pytest.mark.parametrize(("run", "code"), [("nap", 0), ("nope", 3)])
def test_closed_streams_are_no_error(run: str, code: int, shop_file: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m durable_cli show {run} >&- 2>&-'],
        env={"PYTHONPATH": PYTHONPATH}, check=False,
    )  # fmt: skip

    assert done.returncode == code


@pytest.mark.slow
def test_an_ascii_locale_gets_escapes(shop_file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "durable_cli", "-d", str(shop_file), "show", "hello-1"],
        env={"PYTHONPATH": PYTHONPATH, "PYTHONIOENCODING": "ascii"},
        capture_output=True, check=True,
    )  # fmt: skip

    assert b'["\\u4e16\\u754c"]' in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_elses_is_one_line(durable_: Command, shop_file: Path) -> None:
    shop_file.chmod(0)

    assert "cannot be opened" in one_line(durable_("-d", shop_file, "ls"))


def test_version_names_what_a_report_needs(durable_: Command) -> None:
    done = durable_("version")

    names = [line.split()[0] for line in done.out.splitlines()]
    assert names == ["durable", "python", "sqlite", "apsw", "platform"]
    assert apsw.sqlite_lib_version() in done.out
    assert main(["version"]) == 0
