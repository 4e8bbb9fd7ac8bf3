"""Rows as the runtime makes them."""

from durable._store.rows import NewRun


def run_row(run_id, salt=7):
    return NewRun(
        id=run_id, ordinal=1, workflow="work", salt=salt, arguments="[[],{}]", fingerprint=1,
        checksum=1, cause="started", code=None, created_us=1, started_us=1, clock_us=1,
    )  # fmt: skip


def event_row(seq, result="1", run=1):
    return (run, seq, 1, str(seq), "step", 1, "[]", result, 0, seq, 0)
