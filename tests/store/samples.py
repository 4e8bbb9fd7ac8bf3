"""Rows as the runtime makes them."""


def run_row(run_id, salt=7):
    return (
        run_id, 1, "work", "ready", None, None, "default", 0, None, salt, "[[],{}]", 1, 1,
        "started", None, 1, 1, 1, None, None, None, None, None, None, None, 1, None,
        None,
    )  # fmt: skip


def event_row(seq, result="1", run=1):
    return (run, seq, 1, str(seq), "step", 1, "[]", result, 0, seq, 0)
