"""`durable tree`: real families, large ones, deep ones and damaged ones."""

import json
import re
from pathlib import Path

import apsw
import pytest

import durable
from durable.inspection import _family
from tests.cli.conftest import Command, Done

INSERT = (
    "INSERT INTO durable_run (id, ordinal, workflow, state, queue, "
    "priority, salt, arguments, fingerprint,"
    " checksum, cause, created_us, started_us, closed_us, result, result_checksum, root_pk,"
    " parent_pk, parent_step) VALUES (:id, 1, :workflow, :state, 'default', 0, 0, '[]', 0, 0,"
    " 'started', 1, 2, 1000002, '1', 0, :root, :parent, :step) RETURNING pk"
)


class Maker:
    """Writes closed runs into a file, as many as wanted."""

    def __init__(self, path: Path) -> None:
        self.connection = apsw.Connection(str(path))
        self.connection.execute("BEGIN")

    def run(
        self, id: str, parent: int | None = None, state: str = "completed", workflow: str = "work",
        root: int | None = None,
    ) -> int:  # fmt: skip
        values = {
            "id": id, "workflow": workflow, "state": state, "root": root, "parent": parent,
            "step": None if parent is None else "1",
        }  # fmt: skip
        pk: int = self.connection.execute(INSERT, values).get
        return pk

    def done(self) -> None:
        self.connection.execute("COMMIT")
        self.connection.close()


def ids(line: str) -> str:
    return re.sub(r"  .*", "", line)


def test_a_real_family(durable_: Command, desk_file: Path) -> None:
    done = durable_("-d", desk_file, "tree", "family-1")

    lines = done.out.splitlines()
    assert (done.code, done.err, len(lines)) == (0, "", 4)
    assert re.match(r"family-1  leads  waiting \d", lines[0])
    assert re.match(r"├─ the-child  waits  waiting ", lines[1])
    assert re.match(r"├─ \S+  ship  completed ", lines[2])
    assert re.match(r"└─ \S+  ship  failed \S+  ValueError: -1 cannot be shipped", lines[3])


def test_up_begins_at_the_top_and_marks_the_run(durable_: Command, desk_file: Path) -> None:
    alone = durable_("-d", desk_file, "tree", "the-child")
    up = durable_("-d", desk_file, "tree", "the-child", "--up")

    assert len(alone.out.splitlines()) == 1
    assert up.out.splitlines()[0].startswith("family-1  ")
    assert up.out.splitlines()[1].startswith("├─ the-child  (this one)  waits  ")
    assert up.out.count("(this one)") == 1


def test_json_is_nested(durable_: Command, desk_file: Path) -> None:
    found = json.loads(durable_("-d", desk_file, "tree", "family-1", "--json").out)

    assert (found["id"], found["step"], found["is_cut"]) == ("family-1", "", False)
    assert [one["status"] for one in found["children"]] == ["waiting", "completed", "failed"]
    assert found["children"][0]["children"] == []


def test_branches_are_drawn_below_each_other(durable_: Command, empty_file: Path) -> None:
    made = Maker(empty_file)
    top = made.run("top")
    left, right = made.run("left", top), made.run("right", top)
    made.run("left-1", left)
    made.run("left-2", left)
    made.run("right-1", right)
    made.done()

    done = durable_("tree", "top")

    assert [ids(line) for line in done.out.splitlines()] == [
        "top", "├─ left", "│", "│", "└─ right", "",
    ]  # fmt: skip
    assert [line[:13].rstrip() for line in done.out.splitlines()] == [
        "top  work  co", "├─ left  work", "│  ├─ left-1", "│  └─ left-2", "└─ right  wor",
        "   └─ right-1",
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "shown"), [(50, 51), (51, 22), (500, 22)])
def test_many_like_siblings_are_folded(
    count: int, shown: int, durable_: Command, empty_file: Path
) -> None:
    made = Maker(empty_file)
    top = made.run("top")
    for at in range(count):
        made.run(f"c{at}", top, "failed" if at % 10 == 7 else "completed")
    made.run("other", top, workflow="other")
    made.done()

    folded = durable_("tree", "top").out.splitlines()
    every = durable_("tree", "top", "--all").out.splitlines()

    assert len(every) == count + 2
    assert len(folded) == shown + 1
    if count == 500:
        assert folded[-1] == "└─ … and 480 more of work: 450 completed, 30 failed"
        assert sum("failed" in line for line in folded[1:-1]) == 20


def test_folded_counts_are_in_the_json(durable_: Command, empty_file: Path) -> None:
    made = Maker(empty_file)
    top = made.run("top")
    for at in range(60):
        made.run(f"c{at}", top)
    made.done()

    found = json.loads(durable_("tree", "top", "--json").out)

    assert found["folded"] == {"work": {"completed": 40}}
    assert len(found["children"]) == 20


@pytest.mark.parametrize(("depth", "is_cut"), [(100, False), (101, True), (2_000, True)])
def test_a_deep_family_is_cut_at_its_limit(
    depth: int, is_cut: bool, durable_: Command, on_terminal: Command, empty_file: Path
) -> None:
    made = Maker(empty_file)
    pk = made.run("r0")
    for at in range(depth):
        pk = made.run(f"r{at + 1}", pk)
    made.done()

    done = durable_("tree", "r0")
    as_json = durable_("tree", "r0", "--json")
    seen = on_terminal("tree", "r0")

    assert len(done.out.splitlines()) == 101 + is_cut
    assert ("the tree is too large" in done.out) == is_cut
    assert (as_json.code, seen.code) == (0, 0)


def test_a_wide_family_is_cut_at_its_limit(
    durable_: Command, empty_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_family, "FAMILY_RUNS_MAX", 10)
    made = Maker(empty_file)
    top = made.run("top")
    for at in range(9):
        made.run(f"c{at}", top)
    made.done()
    whole = durable_("tree", "top")
    made = Maker(empty_file)
    made.run("one-more", top)
    made.done()

    cut = durable_("tree", "top")

    assert (len(whole.out.splitlines()), len(cut.out.splitlines())) == (10, 11)
    assert cut.out.endswith("└─ … and more, which is left out here: the tree is too large\n")


@pytest.mark.parametrize("up", [[], ["--up"]])
def test_a_damaged_family_ends(up: list[str], durable_: Command, empty_file: Path) -> None:
    made = Maker(empty_file)
    one = made.run("one", root=999)
    other = made.run("other", one)
    made.connection.execute("UPDATE durable_run SET parent_pk = ? WHERE pk = ?", (other, one))
    made.run("own", 3)
    made.done()

    assert durable_("tree", "one", *up).code == 0
    assert durable_("tree", "own", *up).out.count("own") == 1


def test_a_root_that_was_deleted_is_no_error(durable_: Command, empty_file: Path) -> None:
    made = Maker(empty_file)
    made.run("child", 77, root=77)
    made.done()

    assert durable_("tree", "child", "--up").out.startswith("child  (this one)  work  completed")


def test_hostile_names_are_shown_harmlessly(durable_: Command, empty_file: Path) -> None:
    made = Maker(empty_file)
    top = made.run("t\x1b[31m\n")
    for at in range(51):
        made.run(f"c{at}", top, workflow="w\u202e")
    made.done()

    out = durable_("tree", "last", "--up").out

    assert out.replace("\n", "").isprintable()
    assert r"t\x1b[31m\n" in out
    assert r"more of w\u202e: 31 completed" in out


def test_a_terminal_sees_shapes_and_no_line_is_too_long(
    on_terminal: Command, desk_file: Path
) -> None:
    done = on_terminal("-d", desk_file, "tree", "family-1", "--color", "never")

    lines = done.out.splitlines()
    assert lines[0].startswith("◇ family-1  leads  waiting")
    assert lines[3].startswith("└─ ✕ ")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 2), (["nope"], 3), (["last"], 3), (["x#1"], 3), (["a", "b"], 2)]
)
def test_wrong_usage_and_missing_runs(
    arguments: list[str], code: int, durable_: Command, empty_file: Path
) -> None:
    done = durable_("tree", *arguments)

    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")


@pytest.mark.parametrize("size", [10, 1_500])
def test_each_run_is_looked_at_a_fixed_number_of_times(size: int, empty_file: Path) -> None:
    made = Maker(empty_file)
    top = made.run("top")
    for at in range(size):
        made.run(f"c{at}", top)
    made.done()
    statements: list[str] = []

    def note(_cursor: object, sql: str, _bindings: object) -> bool:
        statements.append(sql)
        return True

    with durable.view(empty_file) as runs:
        runs._reader._connection.exec_trace = note
        found = runs.family("top", is_folded=False)

    assert len(found.children) == size
    assert len(statements) == 2 * size + 2


def test_a_run_alone_is_one_line(durable_: Command, shop_file: Path) -> None:
    done = durable_("-d", shop_file, "tree", "hello-1")

    assert isinstance(done, Done)
    assert re.fullmatch(r"hello-1  greet  completed \d+ms\n", done.out)
