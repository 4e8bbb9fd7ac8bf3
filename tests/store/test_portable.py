"""Exports: whole or refused, never half in, flat in memory."""

import asyncio
import gzip
import hashlib
import json
import signal
import subprocess
import sys
import tracemalloc

import apsw
import pytest

import durable
from durable import errors
from durable._store.portable import look_into, passing
from durable._store.writer import Change
from durable.payloads import checksum, checksum_of_two
from tests.store.exports import event_line, header, run_line, write
from tests.store.samples import event_row, run_row


def bring(source, path, **options):
    async def inside():
        async with durable.Client(path, create=True) as client:
            return await client.import_(source, **options)

    return asyncio.run(inside())


def ids(path):
    with durable.view(path) as runs:
        return {one.id for one in runs.list("superseded:any", limit=1_000)}


@pytest.fixture
def export(tmp_path):
    return write(
        tmp_path / "x.jsonl", header(2), run_line(), event_line(), event_line(2),
        run_line(2, "b", parent=1, root=1),
    )  # fmt: skip


# -- the file --------------------------------------------------------------------------------------


def test_lines_of_others_are_read_as_they_are_meant(export, tmp_path):
    found = bring(export, tmp_path / "app.db")

    assert (found.runs, found.events, found.names) == (2, 2, ("a", "b"))
    assert ids(tmp_path / "app.db") == {"a", "b"}
    with durable.view(tmp_path / "app.db") as runs:
        assert [child.id for child in runs.get("a").children] == ["b"]


def test_what_was_changed_of_a_run_goes_along(tmp_path):
    source = write(
        tmp_path / "x.jsonl", header(), run_line(), event_line(), event_line(2),
        {"kind": "code", "from_seq": 2, "code": "newer", "at_us": 5},
        {"kind": "policy", "step": "3", "changes": '{"max_attempts":null}'},
    )  # fmt: skip

    bring(source, tmp_path / "app.db")

    with durable.view(tmp_path / "app.db") as runs:
        assert [(one.code, one.event) for one in runs.get("a").codes] == [("c", 1), ("newer", 2)]
        assert runs._reader.policies(1) == {"3": '{"max_attempts":null}'}
        runs.export("a", tmp_path / "again.jsonl")
    lines = (tmp_path / "again.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert {"code", "policy"} <= set(kinds)


def test_a_file_cut_anywhere_is_refused(export, tmp_path):
    whole = export.read_bytes()
    packed = gzip.compress(whole)
    cuts = [whole[:size] for size in range(len(whole))][:: len(whole) // 150]
    cuts += [packed[:size] for size in range(len(packed))][:: len(packed) // 100]
    cuts += list(map(b"".join, _beginnings(whole.splitlines(keepends=True))))

    for data in cuts:
        (tmp_path / "cut").write_bytes(data)
        with pytest.raises(errors.StoreError) as caught:
            look_into(tmp_path / "cut")
        assert str(caught.value).startswith(f"{tmp_path}/cut ")


def _beginnings(parts):
    return [parts[:count] for count in range(len(parts))]


def test_a_changed_byte_anywhere_is_refused(export, tmp_path):
    whole = export.read_bytes()

    for at in range(0, len(whole), len(whole) // 200):
        changed = bytearray(whole)
        changed[at] ^= 1
        (tmp_path / "changed").write_bytes(changed)
        with pytest.raises(errors.StoreError):
            look_into(tmp_path / "changed")


def test_what_follows_the_end_is_refused(export):
    export.write_bytes(export.read_bytes() + b"\n")

    with pytest.raises(errors.FileCorrupt, match="goes on after its end"):
        look_into(export)


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"{}\n", b"[]\n", b"precious\n", b'{"format": 1}\n', b"\xff" * 9, b"{" * 100_000],
)
def test_another_file_is_refused_as_such(data, tmp_path):
    (tmp_path / "x").write_bytes(data)

    with pytest.raises(errors.NotADurableFile, match="is no export of runs"):
        look_into(tmp_path / "x")


def test_a_newer_format_is_refused_in_one_line_whatever_is_in_it(tmp_path):
    newer = {"format": "durable-export", "version": 2, "whatever": True}
    (tmp_path / "x").write_text(json.dumps(newer) + "\n")

    with pytest.raises(errors.FileTooNew, match=r"format 2, this one reads 1\); upgrade durable$"):
        look_into(tmp_path / "x")


def test_fields_and_lines_of_a_later_minor_version_are_ignored(tmp_path):
    write(
        tmp_path / "x", header(new=[1]), run_line(new={"a": 1}), {"kind": "new", "step": 7},
        event_line(new=None),
    )  # fmt: skip

    found = bring(tmp_path / "x", tmp_path / "app.db")

    assert (found.runs, found.events) == (1, 1)


def test_a_line_has_a_limit(export, monkeypatch):
    longest = max(map(len, export.read_bytes().splitlines(keepends=True)))

    monkeypatch.setattr(passing, "LINE_BYTES_MAX", longest)
    assert look_into(export).runs == 2
    monkeypatch.setattr(passing, "LINE_BYTES_MAX", longest - 1)
    with pytest.raises(errors.FileCorrupt, match="longer than"):
        look_into(export)


def test_what_would_be_too_long_a_line_is_not_exported(export, tmp_path, monkeypatch):
    bring(export, tmp_path / "app.db")
    monkeypatch.setattr(passing, "LINE_BYTES_MAX", 500)

    with (
        durable.view(tmp_path / "app.db") as runs,
        pytest.raises(errors.PayloadTooLarge, match="more than an export may have"),
    ):
        runs.export("a", tmp_path / "y")

    assert not (tmp_path / "y").exists()


# -- all or nothing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [event_line()],
        [header()],
        [run_line(), run_line(1, "b")],
        [run_line(), run_line(2, "a")],
        [run_line(), run_line(2, "b", id="")],
        [run_line(), run_line(2, "b#1")],
        [run_line(), run_line(2, "\x1b")],
        [run_line(), run_line(9, "b")],
        [run_line(), run_line(2, "b", parent=9)],
        [run_line(), run_line(2, "b", checksum=1)],
        [run_line(), run_line(2, "b", result_checksum=None)],
        [run_line(), run_line(2, "b", closed_us=None)],
        [run_line(), run_line(2, "b", state="ready")],
        [run_line(), run_line(2, "b", state="gone")],
        [run_line(), run_line(2, "b", salt=2**63)],
        [run_line(), run_line(2, "b", labels="[")],
        [run_line(), run_line(2, "b", labels='[["tag"]]')],
        [run_line(), run_line(2, "b", labels='{"a": 1}')],
        [run_line(), run_line(2, "b", headers='["a"]')],
        [run_line(parent=1), run_line(2, "b")],
        [run_line(parent=2), run_line(2, "b", parent=1)],
        [run_line(source=2), run_line(2, "b")],
        [run_line(), run_line(2, "b", source=2)],
        [run_line()],
        [run_line(), event_line(2)],
        [run_line(), event_line(), event_line()],
        [run_line(), event_line(what=99)],
        [run_line(), event_line(at_us=-1)],
        [run_line(), event_line(checksum=1)],
        [run_line(), event_line(result="2")],
        [run_line(), event_line(result=2)],
        [run_line(), {"kind": "value", "name": "v", "payload": "1", "checksum": 1, "at_us": 1}],
        [run_line(), {"kind": "end", "step": "1", "child": 3}],
        [run_line(), {"kind": "once", "step": "1"}, {"kind": "once"}],
    ],
)
def test_what_does_not_hold_together_is_refused_whole(rows, tmp_path):
    bring(write(tmp_path / "there", header(), run_line(1, "there")), tmp_path / "app.db")
    write(tmp_path / "x", header(2), *rows)

    with pytest.raises((errors.StoreError, errors.UsageError)) as caught:
        bring(tmp_path / "x", tmp_path / "app.db")

    assert "\n" not in str(caught.value)
    assert ids(tmp_path / "app.db") == {"there"}
    connection = apsw.Connection(str(tmp_path / "app.db"))
    assert connection.execute("SELECT COUNT(*) FROM durable_event").get == 0


@pytest.mark.crash
@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_nothing(tmp_path):
    rows = [row for n in range(1, 4) for row in (run_line(n, f"r{n}"), *map(event_line, (1, 2)))]
    write(tmp_path / "x", header(3), *rows)
    bring(write(tmp_path / "there", header(), run_line(1, "there")), tmp_path / "app.db")
    script = """
import asyncio, os, signal, sys
import durable
from durable._store.portable.importing import _Importer

begun = _Importer._begin

def begin(self, line):
    begun(self, line)
    if line.id == "r3":
        self._flush()
        os.kill(os.getpid(), signal.SIGKILL)

_Importer._begin = begin

async def main():
    async with durable.Client(sys.argv[1]) as client:
        await client.import_(sys.argv[2])

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "app.db", tmp_path / "x"], check=False, timeout=60
    )

    assert done.returncode == -signal.SIGKILL
    assert ids(tmp_path / "app.db") == {"there"}
    assert bring(tmp_path / "x", tmp_path / "app.db").runs == 3


def test_an_export_that_is_interrupted_leaves_nothing(export, tmp_path, monkeypatch):
    bring(export, tmp_path / "app.db")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(passing.LineWriter, "close", interrupted)
    before = {one.name for one in tmp_path.iterdir()}
    with durable.view(tmp_path / "app.db") as runs, pytest.raises(KeyboardInterrupt):
        runs.export("a", tmp_path / "y")

    assert {one.name for one in tmp_path.iterdir()} - {"app.db-wal", "app.db-shm"} <= before


def test_an_export_is_of_one_moment(make_store, tmp_path):
    store = make_store(tmp_path / "app.db")
    store.writer.commit_now(Change(start=run_row("one")))

    class Slow:
        """A stream into whose first line somebody else commits."""

        def __init__(self):
            self.data = b""

        def write(self, data):
            if not self.data:
                store.writer.commit_now(Change(start=run_row("two", salt=8)))
                store.writer.commit_now(Change(rows=[("insert_event", event_row(1))]))
            self.data += data

        def flush(self):
            pass

    stream = Slow()
    with durable.view(tmp_path / "app.db") as runs:
        connection = apsw.Connection(str(tmp_path / "app.db"))
        connection.execute("UPDATE durable_run SET checksum = ?", (checksum(b"[[],{}]"),))
        made = runs.export("status:open", stream)
        after = runs.count("")

    assert (made.runs, made.events, sum(after.values())) == (1, 0, 2)
    assert [json.loads(line)["kind"] for line in stream.data.splitlines()] == [
        "header", "run", "footer"
    ]  # fmt: skip


# -- memory ----------------------------------------------------------------------------------------


def long_file(path, events, items):
    """Make an export of one run with a long history, line by line."""
    digest, count = hashlib.sha256(), 0
    text = json.dumps("x" * 500)
    with path.open("wb") as file:

        def put(row):
            nonlocal count
            data = json.dumps(row).encode() + b"\n"
            digest.update(data)
            file.write(data)
            count += 1

        put(header())
        put(run_line(state="paused", closed_us=None))
        for seq in range(1, events + 1):
            check = checksum_of_two(b"[]", text.encode())
            put(event_line(seq, result=text, checksum=check))
        for position in range(items):
            put({
                "kind": "item", "stream": "s", "position": position, "step": "1", "attempt": 1,
                "number": position, "seq": 1, "payload": text, "at_us": 1,
                "checksum": checksum(text.encode()),
            })  # fmt: skip
        file.write(
            json.dumps(
                {
                    "kind": "footer",
                    "runs": 1,
                    "events": events,
                    "lines": count,
                    "sha256": digest.hexdigest(),
                }
            ).encode()
            + b"\n"
        )
    return path


@pytest.mark.slow
def test_memory_stays_flat_over_a_long_history(tmp_path):
    peaks = []
    for number, size in enumerate((4_000, 4_000, 16_000)):  # Pages full; the first fills caches.
        source = long_file(tmp_path / f"{number}.jsonl", size, size)
        tracemalloc.start()
        bring(source, tmp_path / f"{number}.db")
        with durable.view(tmp_path / f"{number}.db") as runs:
            runs.export("a", tmp_path / f"{number}.gz", redact=["email"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert look_into(tmp_path / f"{number}.gz").events == size

    assert peaks[2] < 1.25 * peaks[1]
    assert peaks[2] < source.stat().st_size / 3
