"""An import takes what a start takes, in bounded memory, and leaves nothing when it is refused."""

import asyncio
import gzip
import json
import tracemalloc

import pytest

import durable
from durable import errors
from durable._store.portable import look_into, passing
from durable.names import LABELS_MAX, NAME_CHARACTERS_MAX
from tests.store.exports import event_line, header, run_line, write

ODD = ["", "\x1b[2J", "a\nb", "\x00", "\u202egpj", "x" * (NAME_CHARACTERS_MAX + 1)]
LABEL = [["attr.vip", True], ["tag", "urgent"]]


def labels(*given):
    return json.dumps(given)


def value_line(**changes):
    return {"kind": "value", "name": "v", "payload": "1", "checksum": 0, "at_us": 1} | changes


HOSTILE = [
    *[(run_line(workflow=one), "cannot be the name of a workflow") for one in ODD],
    *[(run_line(queue=one), "cannot be the name of a queue") for one in ODD],
    *[(run_line(run_id=one), "cannot be the id of a run") for one in [*ODD, "a#2", ".", ".."]],
    *[(event_line(name=one), "cannot be its name") for one in ODD[1:5]],
    *[(event_line(step=one), "cannot be its place") for one in ODD[1:5]],
    *[(value_line(name=one), "cannot be the name of a value") for one in ODD],
    (run_line(priority=2**40), "its priority is"),
    (run_line(code="\x1b"), "cannot be its code"),
    (run_line(headers='{"a": 1}'), "its headers"),
    (run_line(headers="[" * 100_000), "its headers"),
    (run_line(labels="[" * 100_000), "its labels"),
    (run_line(labels=labels(["tag", "\x1b"])), "cannot be a label"),
    (run_line(labels=labels(["tag", "x" * 101])), "cannot be a label"),
    (run_line(labels=labels(["tag", 5])), "cannot be a label"),
    (run_line(labels=labels(["attr.a b", 5])), "cannot be a label"),
    (run_line(labels=labels(["attr.a", "x" * 1_001])), "cannot be a label"),
    (run_line(labels=labels(["other", "x"])), "cannot be a label"),
    (run_line(labels=labels(*LABEL * (LABELS_MAX + 1))), "labels"),
    ({"kind": "letter", "seq": None, "name": "\x1b", "key": "", "payload": "1", "why": "",
      "at_us": 1}, "cannot be the name of a signal"),
    ({"kind": "answer", "key": "\n", "name": "u", "state": "completed", "result": "1",
      "at_us": 1}, "cannot be its place"),
    ({"kind": "item", "stream": "", "position": 0, "step": "1", "attempt": 0, "number": 0,
      "seq": 0, "payload": "1", "checksum": 0, "at_us": 1}, "cannot be the name of a stream"),
    ({"kind": "audit", "verb": "\x1b", "who": "", "why": "", "details": "{}", "at_us": 1},
     "cannot be its verb"),
    ({"kind": "once", "step": "x" * 10_001}, "cannot be its place"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), HOSTILE)
def test_what_no_run_could_have_is_refused_before_anything_is_written(tmp_path, line, said):
    lines = (line,) if line["kind"] == "run" else (run_line(), line)
    source = write(tmp_path / "x.jsonl", header(1), *lines)

    with pytest.raises(errors.FileCorrupt, match=said) as caught:
        look_into(source)

    assert str(caught.value).isprintable()
    assert f"in line {1 + len(lines)}:" in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_what_a_run_could_have_is_taken(tmp_path):
    line = run_line(
        workflow="w" * NAME_CHARACTERS_MAX, run_id="é ü", labels=labels(*LABEL),
        headers='{"a": "\\u001b"}', priority=-(2**31),
    )  # fmt: skip
    source = write(tmp_path / "x.jsonl", header(1), line, event_line(name="signal stop"))

    assert look_into(source).runs == 1


@pytest.mark.parametrize("depth", [1_001, 100_000])
@pytest.mark.parametrize("where", ["header", "line", "field"])
def test_what_is_nested_too_deep_is_one_line(tmp_path, depth, where):
    deep = "[" * depth
    rows = {
        "header": [deep],
        "line": [json.dumps(header(1)), deep],
        "field": [json.dumps(header(1)), '{"kind": "later", "x": ' + deep + "]" * depth + "}"],
    }[where]
    source = tmp_path / "x.jsonl"
    source.write_text("\n".join(rows) + "\n")

    with pytest.raises(errors.StoreError):
        look_into(source)


def bomb(path, size):
    with gzip.open(path, "wb") as packed:
        packed.write(json.dumps(header(1)).encode() + b"\n")
        for _ in range(size // (1024 * 1024)):
            packed.write(b"a" * 1024 * 1024)
    return path


def test_a_small_file_cannot_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(passing, "UNPACKED_BYTES_FREE", 2 * 1024 * 1024)
    source = bomb(tmp_path / "x.gz", 64 * 1024 * 1024)
    tracemalloc.start()

    with pytest.raises(errors.FileCorrupt, match=r"200 times its size.*gunzip"):
        look_into(source)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * passing.UNPACKED_RATIO_MAX * source.stat().st_size
    assert not list(tmp_path.glob("*.db*"))


def test_a_file_of_ordinary_proportions_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(passing, "UNPACKED_BYTES_FREE", 0)
    plain = write(tmp_path / "x.jsonl", header(1), run_line(), *map(event_line, range(1, 500)))
    packed = tmp_path / "x.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    assert look_into(packed).events == 499


# -- what is left ----------------------------------------------------------------------------------

LATE = [
    [header(1), run_line(checksum=5)],
    [header(2), run_line(), run_line(3, "b")],
    [header(2), run_line(), run_line(2)],
    [header(1), run_line(), event_line(2)],
    [header(1), run_line(), event_line(checksum=1)],
    [header(2), run_line(parent=2), run_line(2, "b", parent=1)],
    [header(1), run_line(state="ready")],
]


@pytest.mark.parametrize("rows", LATE)
def test_a_refused_import_into_a_new_file_leaves_nothing(tmp_path, rows):
    source = write(tmp_path / "x.jsonl", *rows)

    with pytest.raises(errors.FileCorrupt) as caught:
        asyncio.run(durable.client.import_into_new(tmp_path / "new.db", source))

    assert [one.name for one in tmp_path.iterdir()] == ["x.jsonl"]
    assert "partial" not in str(caught.value)


@pytest.mark.parametrize("rename", ["", "there-"])
def test_an_import_makes_one_whole_file(tmp_path, rename):
    source = write(tmp_path / "x.jsonl", header(1), run_line(), event_line())

    made = asyncio.run(
        durable.client.import_into_new(tmp_path / "new.db", source, rename=rename, reason="why")
    )

    assert {one.name for one in tmp_path.iterdir()} == {"x.jsonl", "new.db"}
    assert made.names == (f"{rename}a",)
    with durable.view(tmp_path / "new.db") as runs:
        assert runs.get(f"{rename}a").audit[-1].why == "why"


def test_a_prefix_that_makes_ids_too_long_leaves_nothing(tmp_path):
    source = write(tmp_path / "x.jsonl", header(1), run_line(run_id="x" * NAME_CHARACTERS_MAX))

    with pytest.raises(errors.UsageError, match="cannot be the id of a run"):
        asyncio.run(durable.client.import_into_new(tmp_path / "new.db", source, rename="p"))

    assert [one.name for one in tmp_path.iterdir()] == ["x.jsonl"]


def test_what_somebody_made_meanwhile_is_left_alone(tmp_path, monkeypatch):
    source = write(tmp_path / "x.jsonl", header(1), run_line())
    target = tmp_path / "new.db"
    real = durable.client._new_file.move_into_place

    def late(partial, place, *, overwrite):
        place.write_text("precious")
        real(partial, place, overwrite=overwrite)

    monkeypatch.setattr(durable.client._new_file, "move_into_place", late)

    with pytest.raises(errors.UsageError, match="made by somebody else meanwhile"):
        asyncio.run(durable.client.import_into_new(target, source))

    assert target.read_text() == "precious"
    assert {one.name for one in tmp_path.iterdir()} == {"x.jsonl", "new.db"}
