"""Exports, written line by line by hand."""

import hashlib
import json

from durable.payloads import checksum, checksum_of_two

NOW = "2026-11-22T17:53:04Z"


def run_line(number=1, run_id="a", **changes):
    row = {
        "kind": "run", "number": number, "id": run_id, "ordinal": 1, "workflow": "work",
        "state": "completed", "waits": None, "queue": "default", "priority": 0, "headers": None,
        "salt": 7, "arguments": "[1]", "fingerprint": 1, "checksum": checksum(b"[1]"),
        "cause": "started", "code": "c", "created_us": 1, "started_us": 1, "clock_us": 1,
        "closed_us": 2, "result": "1", "result_checksum": checksum(b"1"), "origin": None,
        "root": None, "parent": None, "parent_step": None, "on_parent_close": None,
        "deadline_us": None, "run_timeout_us": None, "source": None, "redo_seq": None,
        "adopts": 1, "labels": None, "error": None,
    }  # fmt: skip
    return row | changes


def event_line(seq=1, **changes):
    row = {
        "kind": "event", "seq": seq, "what": 1, "step": str(seq), "name": "step",
        "fingerprint": 1, "arguments": "[]", "result": "1",
        "checksum": checksum_of_two(b"[]", b"1"), "at_us": 0, "took_us": 0,
    }  # fmt: skip
    return row | changes


def header(runs=1, **changes):
    row = {
        "kind": "header", "format": "durable-export", "version": 1, "library": "0.1",
        "written": NOW, "redacted": False, "paths": [], "runs": runs,
    }  # fmt: skip
    return row | changes


def write(path, *rows):
    """Write lines, and the footer that is right for them."""
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    footer = {
        "kind": "footer", "runs": sum(row.get("kind") == "run" for row in rows),
        "events": sum(row.get("kind") == "event" for row in rows), "lines": len(rows),
        "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    path.write_bytes(data + json.dumps(footer).encode() + b"\n")
    return path
