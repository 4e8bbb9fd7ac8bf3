"""`durable sql`: it reads, and nothing that is asked of it can do more."""

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import durable
from durable._store import asking
from tests.cli.conftest import Command, Done

ROOT = Path(__file__).parents[2]
ENDS = ("", "-wal", "-shm", "-lock")


def test_rows_into_a_pipe_are_tab_separated(durable_: Command, shop_file: Path) -> None:
    done = durable_(
        "-d",
        shop_file,
        "sql",
        "SELECT id, state, NULL, 1.5 FROM durable_runs WHERE pk < 3 ORDER BY id",
    )

    assert done == Done(0, "hello-1\tcompleted\t\t1.5\nhello-2\tcompleted\t\t1.5\n", "")


@pytest.mark.parametrize(
    "view",
    [
        "durable_runs",
        "durable_steps",
        "durable_events",
        "durable_run",
        "durable_event",
        "durable_meta",
        "sqlite_schema",
    ],
)
def test_views_and_tables_can_be_read(view: str, durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "sql", f"SELECT COUNT(*) FROM {view}")

    assert done.code == 0
    assert int(done.out) >= 0


@pytest.mark.parametrize(
    "text",
    [
        "EXPLAIN QUERY PLAN SELECT 1", "PRAGMA table_info(durable_run)", "PRAGMA user_version",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 5) SELECT x FROM n",
        "SELECT * FROM pragma_table_info('durable_run')", "  -- why\n ; SELECT 1 ;; -- because\n",
        "VALUES (1)", "SELECT json_extract('[1]', '$[0]')", "PRAGMA quick_check",
    ],
)  # fmt: skip
def test_what_reads_is_allowed(text: str, durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "sql", text)

    assert (done.code, done.err) == (0, "")
    assert done.out


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM durable_run", "UPDATE durable_run SET lost = 9", "DROP TABLE durable_run",
        "CREATE TABLE x (a)",
        "INSERT INTO durable_audit SELECT * FROM durable_audit",
        "REPLACE INTO durable_run (pk) VALUES (1)",
        "CREATE TEMP TABLE x (a)", "CREATE TEMP VIEW x AS SELECT 1",
        "ALTER TABLE durable_run RENAME TO x",
        "ATTACH 'other.db' AS other", "ATTACH ':memory:' AS other", "DETACH main",
        "VACUUM", "VACUUM INTO 'stolen.db'", "REINDEX", "ANALYZE", "BEGIN IMMEDIATE", "SAVEPOINT x",
        "PRAGMA user_version = 7", "PRAGMA journal_mode = delete", "PRAGMA writable_schema = 1",
        "PRAGMA query_only = 0", "PRAGMA wal_checkpoint", "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA optimize", "PRAGMA incremental_vacuum", "PRAGMA temp_store_directory = '/tmp'",
        "PRAGMA data_store_directory", "PRAGMA hard_heap_limit = 1", "PRAGMA unknown",
        "SELECT load_extension('x')", "WITH x AS (SELECT 1) DELETE FROM durable_run",
        "EXPLAIN DELETE FROM durable_run", "SELECT * FROM pragma_user_version(7)",
        "CREATE VIRTUAL TABLE x USING fts5(a)",
    ],
)  # fmt: skip
def test_what_could_do_more_is_refused(text: str, durable_: Command, shop_file: Path) -> None:
    before = shop_file.read_bytes()

    done = durable_("-d", shop_file, "sql", text)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert shop_file.read_bytes() == before
    assert {one.name for one in Path().iterdir()} <= {f"shop.db{end}" for end in ENDS}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "DELETE FROM durable_run",
            "only reading is allowed here, and this would delete durable_run",
        ),
        ("PRAGMA user_version = 7", "this would pragma user_version 7"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("SELECT 1; garbage", "more than one statement"),
        ("SELECT 1; DELETE FROM durable_run", "more than one statement"),
        ("SELECT 1;; -- x\n SELECT 2", "more than one statement"),
        ("", "there is no statement"),
        ("/* only this */", "there is no statement"),
        (" ; ; ", "there is no statement"),
        ("SELEKT 1", "SQLite does not understand it"),
        ("SELECT nope FROM durable_run", "no such column: nope"),
        ('SELECT "nope"', "no such column"),
        ("SELECT ?", "bindings"),
        ("SELECT 1\0; DELETE FROM durable_run", "NUL"),
        ("SELECT zeroblob(100000000)", "larger than"),
    ],
)
def test_what_is_wrong_is_one_line(
    text: str, says: str, durable_: Command, shop_file: Path
) -> None:
    done = durable_("-d", shop_file, "sql", text)

    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_limit_that_is_hit_is_told(durable_: Command, shop_file: Path) -> None:
    some = durable_("-d", shop_file, "sql", "SELECT id FROM durable_run", "--limit", 3)
    exactly = durable_("-d", shop_file, "sql", "SELECT id FROM durable_run", "-n", 8)

    assert (some.code, len(some.out.splitlines())) == (0, 3)
    assert some.err == "there are more than 3 rows; --limit N shows more of them\n"
    assert (len(exactly.out.splitlines()), exactly.err) == (8, "")


def test_json_and_csv_have_titles_and_every_kind_of_value(
    durable_: Command, shop_file: Path
) -> None:
    text = "SELECT 1 AS a, 'x\ny,\"z' AS b, NULL AS a, x'00ff' AS c, 9e999 AS d, 2 AS a"

    as_json = durable_("-d", shop_file, "sql", text, "--json").out
    as_csv = durable_("-d", shop_file, "sql", text, "--csv").out

    assert json.loads(as_json) == [
        {"a": 1, "b": 'x\ny,"z', "a:1": None, "c": "00ff", "d": "inf", "a:2": 2}
    ]
    assert list(csv.reader(io.StringIO(as_csv))) == [
        ["a", "b", "a", "c", "d", "a"], ["1", 'x\ny,"z', "", "00ff", "inf", "2"],
    ]  # fmt: skip


@pytest.mark.parametrize("how", [["--json"], ["--csv"], []])
def test_no_rows(how: list[str], durable_: Command, shop_file: Path, on_terminal: Command) -> None:
    text = "SELECT id AS run FROM durable_run WHERE 0"

    done = durable_("-d", shop_file, "sql", text, *how)
    seen = on_terminal("-d", shop_file, "sql", text, "--color", "never")

    assert done.out == {"--json": "[]\n", "--csv": "run\n", "": ""}[(how or [""])[0]]
    assert seen.out == "run\n"


def test_hostile_text_is_shown_harmlessly(
    durable_: Command, on_terminal: Command, shop_file: Path
) -> None:
    text = "SELECT char(27) || '[31m' || char(0x202e) AS \"a\x1b[31m\""

    for how in ([], ["--json"], ["--csv"]):
        out = durable_("-d", shop_file, "sql", text, *how).out
        assert out.replace("\n", "").isprintable()
    seen = on_terminal("-d", shop_file, "sql", text, "--color", "never").out
    assert seen == "a\\x1b[31m\n\\x1b[31m\\u202e\n"


def test_a_table_on_a_terminal_fits(on_terminal: Command, shop_file: Path) -> None:
    done = on_terminal("-d", shop_file, "sql", "SELECT * FROM durable_run", "--color", "never")

    assert max(map(len, done.out.splitlines())) <= 80


def test_text_that_is_not_utf8_is_one_line(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "sql", "SELECT CAST(x'ff' AS TEXT)")

    assert (done.code, done.out) == (1, "")
    assert "not UTF-8" in done.err


@pytest.mark.parametrize("arguments", [[], ["SELECT 1", "x"], ["SELECT 1", "--csv", "--json"],
                                       ["SELECT 1", "-n", "0"]])  # fmt: skip
def test_wrong_usage(arguments: list[str], durable_: Command, shop_file: Path) -> None:
    assert durable_("-d", shop_file, "sql", *arguments).code == 2


def test_a_planted_view_or_trigger_does_nothing(durable_: Command, shop_file: Path) -> None:
    planted = apsw.Connection(str(shop_file))
    planted.execute("CREATE VIEW planted AS SELECT load_extension('x') AS a")
    planted.close()

    done = durable_("-d", shop_file, "sql", "SELECT a FROM planted")

    assert (done.code, done.out) == (2, "")


def test_others_can_write_meanwhile_and_the_rows_are_read_to_the_end(shop_file: Path) -> None:
    with durable.view(shop_file) as runs:
        found = runs.sql("SELECT id FROM durable_run", limit=1)
        writer = apsw.Connection(str(shop_file))
        writer.execute("UPDATE durable_run SET lost = 1")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.close()

    assert (len(found.rows), found.has_more, found.columns) == (1, True, ("id",))


@pytest.mark.parametrize("limit", [0, -1, asking.ROWS_MAX + 1])
def test_a_limit_has_limits(limit: int, shop_file: Path) -> None:
    with durable.view(shop_file) as runs, pytest.raises(durable.UsageError, match="limit is 1"):
        runs.sql("SELECT 1", limit=limit)


@pytest.mark.slow
def test_ctrl_c_interrupts_a_long_statement(shop_file: Path) -> None:
    text = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n"
    code = (
        "import sys\nfrom durable._store import asking\nfrom durable_cli import main\n"
        "asking.STEPS_PER_CHANCE = 1000\nfetch = asking._fetched\n"
        "def told(*arguments):\n    print('begins', flush=True)\n    return fetch(*arguments)\n"
        "asking._fetched = told\nsys.exit(main(sys.argv[1:]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "-d", str(shop_file), "sql", text],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"begins\n"

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert (process.returncode, err.strip()) == (130, b"")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM durable_meta", "SELECT VALUE FROM Durable_Meta WHERE name = 'secret'",
        "SELECT hex(m.value) FROM durable_meta AS m",
        "SELECT name FROM durable_meta ORDER BY value",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM durable_meta WHERE value > x'80')",
        "WITH m(a, b) AS (SELECT * FROM durable_meta) SELECT b FROM m",
        "SELECT * FROM durable_runs JOIN durable_meta", "SELECT * FROM shown",
    ],
)  # fmt: skip
def test_what_tokens_are_keyed_with_is_not_read(
    text: str, durable_: Command, shop_file: Path
) -> None:
    planted = apsw.Connection(str(shop_file))
    secret: bytes = planted.execute("SELECT value FROM durable_meta WHERE name = 'secret'").get
    planted.execute("CREATE VIEW shown AS SELECT hex(value) AS it FROM durable_meta")
    planted.close()

    done = durable_("-d", shop_file, "sql", text)

    assert "what the tokens of promises are keyed with" in done.err
    assert (done.code, done.out) == (2, "")
    assert secret.hex() not in done.err.lower()


def test_the_names_in_it_are_read(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "sql", "SELECT name FROM durable_meta ORDER BY name")

    assert done == Done(0, "generation\nlogs\nsecret\n", "")


ENDLESS = (
    "CREATE VIEW endless AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    " SELECT {} FROM n WHERE x < 0"
)


@pytest.mark.parametrize("planted", [ENDLESS.format("COUNT(*)"), ENDLESS.format("x")])
def test_a_planted_view_without_end_is_given_up(
    planted: str, durable_: Command, shop_file: Path
) -> None:
    made = apsw.Connection(str(shop_file))
    made.execute(planted)
    made.close()

    done = durable_("-d", shop_file, "sql", "SELECT * FROM endless", "--timeout", "0.2")

    assert (done.code, done.out) == (2, "")
    assert "took longer than 0.2 s and was given up; a longer time can be given" in done.err
