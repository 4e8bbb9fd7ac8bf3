"""A file of many runs, like those of a busy month, and how long it takes to find some of them."""

import random
import sys
import time

import apsw

import durable
from durable._store.store import Store

COUNT = 1_000_000
SPAN_S = 30 * 86_400
WORKFLOWS = ("invoice.send", "invoice.remind", "order.fulfil", "video.encode", "report")
# Of a thousand: the stored state, and what a parked run waits for.
STATES = (
    [("completed", None)] * 960 + [("failed", None)] * 15 + [("cancelled", None)] * 3
    + [("terminated", None)] * 2 + [("parked", "sleeping")] * 14 + [("parked", "waiting")] * 4
    + [("parked", "retrying")] + [("ready", None)]
)  # fmt: skip
INDEXED = (
    "", "status:failed", "status:failed workflow:invoice.send", "status:retrying",
    "status:failed,retrying started:<1d", "workflow:invoice.*", "started:<1h",
    "finished:<2h status:failed", "tag:urgent", "tag:urgent status:failed", "attr.region:eu",
    "status:open", "status:failed error:refused",
)  # fmt: skip
WALKING = ("error:refused workflow:report", "input.customer.id:42", "step:nothing", "nothing")
# A filter, and what is sorted by: with an index, or with few candidates.
SORTED = (
    ("", "created"), ("", "-finished"), ("", "started"), ("status:completed", "-finished"),
    ("status:failed", "-finished"), ("status:retrying", "-took"), ("started:<1h", "-took"),
    ("tag:urgent", "took"),
)  # fmt: skip
SORTED_WALKING = (("", "-took"), ("status:open", "-took"), ("", "wakes"))
_INSERT = """
INSERT INTO durable_run (id, ordinal, workflow, state, queue, priority, salt, arguments,
 fingerprint,
                 checksum, cause, code, created_us, started_us, clock_us, closed_us, result, waits,
                 error, labels)
VALUES (?, 1, ?, ?, 'default', 0, ?, ?, ?, ?, 'started', 'c0de', ?, ?, ?, ?, ?, ?, ?, ?)
"""


def make(path, count=COUNT, seed=1):
    """Make a file of so many runs, the same for the same seed but for the times."""
    nothing = lambda *_: None
    store = Store(path, durability="normal", deliver=nothing, on_foreign_commit=nothing)
    store.close()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = OFF; BEGIN")
    connection.executemany(_INSERT, rows(count, random.Random(seed)))
    connection.execute(
        "INSERT INTO durable_label (name, value, run) SELECT one.value ->> 0, "
        "one.value ->> 1, run.pk "
        "FROM durable_run AS run JOIN json_each(run.labels) AS one WHERE run.labels IS NOT NULL"
    )
    connection.execute(
        "INSERT OR REPLACE INTO durable_tally SELECT workflow, state, COALESCE(wait_kind, "
        "''), COUNT(*) FROM durable_run AS run "
        "GROUP BY 1, 2, 3"
    )
    connection.execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def rows(count, chance):
    now_us, step_us = time.time_ns() // 1_000, SPAN_S * 1_000_000 // count
    for number in range(count):
        state, kind = chance.choice(STATES)
        began_us = now_us - (count - number) * step_us
        is_open = state in {"ready", "parked"}
        yield (
            f"{number:09x}{chance.randrange(16**8):08x}", chance.choice(WORKFLOWS), state, number,
            f'[{{"customer":{{"id":{number % 1_000}}}}}]', number, number, began_us,
            began_us + 1_000, began_us + 1_000,
            None if is_open else began_us + chance.randrange(10**5, 10**8),
            None if is_open else "null", f'{{"kind":"{kind}"}}' if kind else None,
            "ConnectError: connection refused" if state == "failed" else None,
            None if number % 500 else '[["tag","urgent"],["attr.region","eu"]]',
        )  # fmt: skip


def ask(path, queries, limit=100, repeats=3):
    """Return the shortest time of a page of each filter, in milliseconds.

    A query is a filter, or a filter and what the page is sorted by.
    """
    found = {}
    with durable.view(path) as runs:
        for one in queries:
            query, sort = (one, "-created") if isinstance(one, str) else one
            took = []
            for _ in range(repeats):
                started = time.perf_counter()
                runs.list(query, limit=limit, sort=sort)
                took.append(time.perf_counter() - started)
            name = query or "(all)"
            name += "" if isinstance(one, str) else f" by {sort}"
            found[name] = round(1e3 * min(took), 1)
    return found


def counts(path):
    """Return the time of counting all runs by status, in milliseconds."""
    with durable.view(path) as runs:
        started = time.perf_counter()
        runs.count()
        return round(1e3 * (time.perf_counter() - started), 1)


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else COUNT)
