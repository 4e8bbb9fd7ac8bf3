"""The filter language: what a text means, what is wrong with one, and the runs it finds."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable._clock import new_salt
from durable._store.filtering import Selection, Sort, _sources_of, compiled
from durable._store.rows import NewRun, RunRow
from durable._store.writer import Change, Transaction
from durable.errors import FilterError, UsageError
from durable.filters import (
    DEPTH_MAX,
    FIELDS,
    FILTER_CHARACTERS_MAX,
    STATUSES,
    TERMS_MAX,
    VALUES_MAX,
    And,
    Not,
    Or,
    Term,
    Value,
    Words,
    interval_of,
    parse,
)

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
NOW_US = int(dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC).timestamp()) * 1_000_000


def term(field: str, *texts: str, comparison: str = "") -> Term:
    return Term(field, comparison, tuple(map(Value, texts)))


# -- what a text means -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", And(())),
        ("  ", And(())),
        ("status:failed", term("status", "failed")),
        ("status:failed,blocked", term("status", "failed", "blocked")),
        ("took:>5m", term("took", "5m", comparison=">")),
        ("took:>=5m", term("took", "5m", comparison=">=")),
        ("started:1h..2d", term("started", "1h", "2d", comparison="..")),
        ("id:a..b", term("id", "a..b")),
        ("id:order:42", term("id", "order:42")),
        ('error:"timed out"', Term("error", "", (Value("timed out", is_quoted=True),))),
        (r'id:"a\"b\\c"', Term("id", "", (Value(r"a\"b\c".replace('\\"', '"'), is_quoted=True),))),
        ('id:"a,b",c', Term("id", "", (Value("a,b", is_quoted=True), Value("c")))),
        ("timeout", Words(Value("timeout"))),
        ('"status:failed"', Words(Value("status:failed", is_quoted=True))),
        ("-status:failed", Not(term("status", "failed"))),
        ("not status:failed", Not(term("status", "failed"))),
        ("not not x", Not(Not(Words(Value("x"))))),
        ("-(a b)", Not(And((Words(Value("a")), Words(Value("b")))))),
        ("a b or c", Or((And((Words(Value("a")), Words(Value("b")))), Words(Value("c"))))),
        ("a (b or c)", And((Words(Value("a")), Or((Words(Value("b")), Words(Value("c"))))))),
        ("priority:-3", term("priority", "-3")),
        ("attr.region:eu", term("attr.region", "eu")),
        ("input.0.id:42", term("input.0.id", "42")),
    ],
)
def test_a_text_means(text: str, meant: object) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("stauts:failed", "no field 'stauts'; did you mean status?", 0),
        ("a status:faild", "no status 'faild'; did you mean failed?", 9),
        ("status:failed,lost", "no status 'lost'", 14),
        ("status:", "has no value", 7),
        ("id:a,,b", "a value is missing", 5),
        ("id:,", "a value is missing", 3),
        ("(a", "not closed", 0),
        ("a)", "closes what was not opened", 1),
        ("()", "a term is missing", 1),
        ('id:"a', "a quote is not closed", 3),
        ('id:a"b"', "quotes stand around a whole value", 3),
        ('"a"b', "quotes stand around a whole value", 0),
        ('""', "quotes are empty", 0),
        ("not", "before nothing", 0),
        ("not or a", "before nothing", 0),
        ("- a", "before nothing", 0),
        ("a or", "a term is missing", 4),
        ("or", "a term is missing", 0),
        ("took:5m", "compare it", 5),
        ("took:>5", "no duration", 6),
        ("steps:>many", "no whole number", 7),
        ("steps:99999999999999999999", "no whole number", 6),
        ("started:soon", "no time", 8),
        ("started:2026-02-31", "no time", 8),
        ("started:1h..soon", "no time", 12),
        ("id:>a", "cannot be compared", 3),
        ("superseded:maybe", "no answer 'maybe'", 11),
        ("attr.:x", "is no path", 0),
        ('input.a"b:x', "quote is not closed", 7),
        ("input.a$b:x", "is no path", 0),
        ("frobnicate:x", "there are status, workflow", 0),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, message: str, position: int) -> None:
    with pytest.raises(FilterError, match=message.replace("?", r"\?")) as caught:
        parse(text)

    assert caught.value.position == position
    assert caught.value.text == text


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="a filter is a text"):
        parse(["status:failed"])  # type: ignore[arg-type]


def nested(depth: int) -> str:
    return "(" * depth + "x" + ")" * depth


@pytest.mark.parametrize(
    ("at_most", "over"),
    [
        ("x" * FILTER_CHARACTERS_MAX, "x" * (FILTER_CHARACTERS_MAX + 1)),
        (nested(DEPTH_MAX), nested(DEPTH_MAX + 1)),
        ("not " * DEPTH_MAX + "x", "not " * (DEPTH_MAX + 1) + "x"),
        ("x " * TERMS_MAX, "x " * (TERMS_MAX + 1)),
        ("id:" + ",".join("x" * VALUES_MAX), "id:" + ",".join("x" * (VALUES_MAX + 1))),
    ],
    ids=["characters", "depth", "negations", "terms", "values"],
)  # fmt: skip
def test_limits_hold_at_their_edge(at_most: str, over: str) -> None:
    parse(at_most)
    with pytest.raises(FilterError, match="at most"):
        parse(over)


@pytest.mark.parametrize("between", [" ", " or "])
@pytest.mark.parametrize("field", ["error", "id", "step", "input.a", "tag", "issue"])
def test_the_largest_filter_is_none_too_large_for_sqlite(store, between: str, field: str) -> None:
    others = ["-error:y"] * (TERMS_MAX - DEPTH_MAX)  # What is in parentheses is a term too.
    values = f"{field}:" + ",".join("x" * (VALUES_MAX - len(others)))
    for terms in ([values, *others], [*others, values], [f"{field}:" + ",".join("x" * VALUES_MAX)]):
        query = "(" * (DEPTH_MAX - 2) + between.join(terms) + ")" * (DEPTH_MAX - 2)

        store.reader.select(selected(store, query))
        store.reader.tally(selected(store, query))


@pytest.mark.parametrize("text", ["\0", "error:a\0b", 'id:"\0"'])
def test_a_filter_with_a_nul_matches_nothing_but_is_refused(text: str) -> None:
    with pytest.raises(FilterError, match="NUL") as caught:
        parse(text)
    assert caught.value.position == text.index("\0")


PIECES = [*'abit:,"()-*<>. \\', " or ", "not ", "status:", "started:", "1h", "failed"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_is_a_filter_or_says_where_not(text: str) -> None:
    try:
        found = parse(text)
    except FilterError as error:
        assert 0 <= error.position <= len(text)
        assert error.message
    else:
        selection = compiled(found, alive=[], now_us=NOW_US, workflows=list)
        assert selection.where.count("?") == len(selection.values)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2h", NOW_US - 2 * HOUR_US, NOW_US - 2 * HOUR_US),
        ("today", NOW_US - 12 * HOUR_US, NOW_US + 12 * HOUR_US),
        ("yesterday", NOW_US - 36 * HOUR_US, NOW_US - 12 * HOUR_US),
        ("2026-11-22", NOW_US - 12 * HOUR_US, NOW_US + 12 * HOUR_US),
        ("2026-11-22T12:00", NOW_US, NOW_US + 60_000_000),
        ("2026-11-22T12:00:00Z", NOW_US, NOW_US + 1_000_000),
    ],
)
def test_a_time_has_a_length(text: str, low: int, high: int) -> None:
    assert interval_of(text, NOW_US) == (low, high)


# -- the runs it finds -----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Made:
    """A run as the tests plant it; times are hours before now."""

    id: str
    ordinal: int = 1
    workflow: str = "invoice.send"
    state: str = "completed"
    kind: str = ""
    worker: int | None = None
    queue: str = "default"
    created: float = 10
    started: float | None = 9
    closed: float | None = 8
    wakes: float | None = None
    error: str | None = None
    arguments: object = ()
    result: object = None
    labels: tuple[tuple[str, object], ...] = ()
    parent: str = ""
    priority: int = 0

    @property
    def name(self) -> str:
        return self.id if self.ordinal == 1 else f"{self.id}#{self.ordinal}"


ALIVE, DEAD = 7, 8
RUNS = [
    Made(id="plain"),
    Made(id="order-1", state="failed", error="TimeoutError: it timed out after 30 s", closed=1),
    Made(id="order-2", state="failed", error="ValueError: 100% wrong_name", started=30, closed=30),
    Made(id="order-2", ordinal=2, arguments=[{"customer": {"id": 42}}], result={"total": 7}),
    Made(id="order-3", state="ready", worker=ALIVE, closed=None, started=0.5),
    Made(id="order-4", state="ready", worker=DEAD, closed=None, workflow="order.ship"),
    Made(id="order-5", state="ready", closed=None, started=None, queue="gpu", priority=-3),
    Made(id="order-6", state="parked", kind="retrying", closed=None, wakes=-1),
    Made(id="order-7", state="parked", kind="sleeping", closed=None, wakes=-48),
    Made(id="order-8", state="parked", kind="waiting", closed=None),
    Made(id="order-9", state="parked", kind="strange", closed=None, workflow="order[1].ship"),
    Made(id="order-10", state="paused", kind="paused", closed=None, parent="order-3"),
    Made(id="order-11", state="blocked", kind="blocked", closed=None, parent="order-2#2"),
    Made(id="tagged", labels=(("tag", "urgent"), ("attr.region", "eu"), ("attr.total", 120))),
    Made(id="vip", labels=(("tag", "a b"), ("attr.vip", True), ("attr.total", 99.5))),
    Made(id="texts", labels=(("attr.total", "120"),), arguments=["42"], result="done*"),
    Made(id="named", arguments={"args": [1], "kwargs": {"customer": {"id": 42}, "vip": True}}),
    Made(id="cancelled", state="cancelled", workflow="night-report"),
    Made(id="terminated", state="terminated", workflow="Night-Report"),
    Made(id="continued", state="continued", closed=5),
    Made(id="continued", ordinal=2, closed=4),
]  # fmt: skip


@pytest.fixture
def store(tmp_path, make_store):
    return make_store(tmp_path / "app.db")


@pytest.fixture
def planted(store) -> Callable[[str], list[str]]:
    """Return a function that says which runs a filter finds, in order, whatever the index."""
    plant(store)
    return lambda query: found_by(store, query)


def plant(store) -> None:
    keys: dict[str, int] = {}

    def us(hours: float | None) -> int | None:
        return None if hours is None else NOW_US - int(hours * HOUR_US)

    def operation(transaction: Transaction) -> None:
        for one in RUNS:
            labels = msgspec.json.encode(one.labels).decode() if one.labels else None
            row = NewRun(
                id=one.id, ordinal=one.ordinal, workflow=one.workflow, salt=new_salt(),
                arguments=msgspec.json.encode(one.arguments).decode(), fingerprint=0, checksum=0,
                cause="started", code="c0de", created_us=us(one.created) or 0, queue=one.queue,
                priority=one.priority, started_us=us(one.started),
                parent_pk=keys.get(one.parent), labels=labels,
            )  # fmt: skip
            keys[one.name] = pk = transaction.insert_run(row)
            transaction.select(
                "UPDATE durable_run SET state = ?, worker_id = ?, wake_at_us = ?, waits = ?, "
                "closed_us = ?, result = ?, error = ? WHERE pk = ?",
                (
                    one.state, one.worker, us(one.wakes),
                    msgspec.json.encode({"kind": one.kind}).decode() if one.kind else None,
                    us(one.closed), msgspec.json.encode(one.result).decode(), one.error, pk,
                ),
            )  # fmt: skip

    store.writer.commit_now(Change(operation=operation))


def selected(store, query: str) -> Selection:
    return compiled(parse(query), alive=[ALIVE], now_us=NOW_US, workflows=store.reader.workflows)


def found_by(store, query: str) -> list[str]:
    """Return the names, by the chosen index; a walk over all runs must find the same."""
    selection = selected(store, query)
    walk = attrs.evolve(selection, choices=[])
    rows = store.reader.select(selection)
    names = [row.name for row in rows]
    assert names == [row.name for row in store.reader.select(walk)], "an index finds other runs"
    assert names[::-1] == [row.name for row in store.reader.select(selection, is_ascending=True)]
    assert len(names) == sum(number for *_, number in store.reader.tally(selection))
    paged: list[RunRow] = []
    while page := store.reader.select(
        selection, before=paged[-1].pk if paged else 1 << 62, limit=2
    ):
        paged += page
    assert [row.name for row in paged] == names
    return names


NEWEST = [one.name for one in RUNS if one.name not in {"order-2", "continued"}][::-1]


def of(*names: str) -> list[str]:
    return [name for name in [one.name for one in RUNS][::-1] if name in names]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", NEWEST),
        ("superseded:any", [one.name for one in RUNS][::-1]),
        ("superseded:yes", of("order-2", "continued")),
        ("superseded:no", NEWEST),
        ("status:continued", of("continued")),
        ("ordinal:1 id:order-2", of("order-2")),
        ("id:order-2", of("order-2#2")),
        ("id:order-2#1", of("order-2")),
        ("id:order-2#2", of("order-2#2")),
        ("id:order-2#3", []),
        ("id:order-1,vip,nobody", of("order-1", "vip")),
        ("id:order-1*", of("order-1", "order-10", "order-11")),
        ('id:"order-1*"', []),
        ("status:failed", of("order-1")),
        ("status:failed superseded:any", of("order-1", "order-2")),
        ("status:running", of("order-3")),
        ("status:queued", of("order-4", "order-5")),
        ("status:retrying", of("order-6")),
        ("status:sleeping", of("order-7", "order-9")),
        ("status:waiting", of("order-8")),
        ("status:paused,blocked", of("order-10", "order-11")),
        ("status:open", of(*(f"order-{n}" for n in range(3, 12)))),
        ("status:running,running", of("order-3")),
        ("-status:open -status:completed", of("order-1", "cancelled", "terminated")),
        ("status:failed status:running", []),
        ("status:failed or status:running", of("order-1", "order-3")),
        ("workflow:order.ship", of("order-4")),
        ("workflow:order*", of("order-4", "order-9")),
        ("workflow:order[1].*", of("order-9")),
        ("workflow:night-report", of("cancelled")),
        ("workflow:?ight-report*", []),
        ("workflow:order.ship,night-report", of("order-4", "cancelled")),
        ("queue:gpu", of("order-5")),
        ("-queue:default", of("order-5")),
        ("priority:<0", of("order-5")),
        ("priority:-3", of("order-5")),
        ("worker:7", of("order-3")),
        ("error:timed", of("order-1")),
        ("error:TIMED", of("order-1")),
        ('error:"timed out"', of("order-1")),
        ("error:timed*30", of("order-1")),
        ("error:100% superseded:any", of("order-2")),
        ("error:wrong_name superseded:any", of("order-2")),
        ("error:wrongXname superseded:any", []),
        ("-error:timed status:failed", []),
        ("timed", of("order-1")),
        ("ight", of("cancelled", "terminated")),
        ('"order-1"', of("order-1", "order-10", "order-11")),
        ("tag:urgent", of("tagged")),
        ('tag:"a b"', of("vip")),
        ("tag:urgent,urg*", of("tagged")),
        ('tag:urgent,"a b"', of("tagged", "vip")),
        ("-tag:urgent tag:*", of("vip")),
        ("attr.region:eu", of("tagged")),
        ("attr.region:EU", []),
        ("attr.vip:true", of("vip")),
        ("attr.total:120", of("tagged", "texts")),
        ('attr.total:"120"', of("texts")),
        ("attr.total:>100", of("tagged")),
        ("attr.total:99..121", of("tagged", "vip")),
        ("attr.total:121..99", of("tagged", "vip")),
        ("attr.total:1*", of("tagged", "texts")),
        ("input.customer.id:42", of("order-2#2", "named")),
        ("input.0.customer.id:42", of("order-2#2")),
        ("input.0:42", of("texts")),
        ("input.0:>0", of("named")),
        ("input.vip:true", of("named")),
        ("input.customer.id:>41", of("order-2#2", "named")),
        ("output.total:7", of("order-2#2")),
        ("output.total:<8", of("order-2#2")),
        ("output.total:7*", of("order-2#2")),
        ("parent:order-3", of("order-10")),
        ("parent:order-2", of("order-11")),
        ("parent:order-2#2", of("order-11")),
        ("parent:order-2#1", []),
        ("parent:nobody", []),
        ("started:<1h", of("order-3")),
        ("started:>1d superseded:any", of("order-2")),
        ("started:2026-11-21 superseded:any", of("order-2")),
        ("started:<2026-11-22 superseded:any", of("order-2")),
        ("started:<=2026-11-21 superseded:any", of("order-2")),
        ("started:>2026-11-22", []),
        ("started:0h..1h", of("order-3")),
        ("finished:<2h", of("order-1")),
        ("finished:>=2026-11-22T11:00", of("order-1")),
        ("finished:2026-11-22T11:00", of("order-1")),
        ("finished:2h", of("order-1")),
        ("finished:1d..2d superseded:any", of("order-2")),
        ("wakes:<2h", of("order-6")),
        ("wakes:>1d", of("order-7")),
        ("wakes:yesterday", []),
        ("-wakes:<2h status:open", of(*(f"order-{n}" for n in (3, 4, 5, 7, 8, 9, 10, 11)))),
        ("took:>8h status:closed", []),
        ("took:>7h status:failed", of("order-1")),
        ("took:30m..1h status:running", of("order-3")),
        ("version:c0de status:failed", of("order-1")),
        ("cause:started status:failed", of("order-1")),
        ("steps:>0", []),
        ("steps:0 status:failed", of("order-1")),
        ("attempts:>=1", []),
        ("step:charge", []),
        ("patch:charge-v2", []),
        ("hold:workflow:order", []),
        ("issue:I-14", []),
        ("issue:0123456789abcdef", []),
        ("issue:I-99999999999999999999", []),
        ("(status:retrying or status:blocked) workflow:invoice.*", of("order-6", "order-11")),
        ("status:failed,retrying workflow:invoice.send started:<1d", of("order-1", "order-6")),
        ('id:"x\' OR 1=1 --"', []),
    ],
)  # fmt: skip
def test_a_filter_finds(planted: Callable[[str], list[str]], query: str, found: list[str]) -> None:
    assert planted(query) == found


def test_every_field_has_a_filter_that_was_tried() -> None:
    marks = test_a_filter_finds.pytestmark  # type: ignore[attr-defined]
    tried = {
        found.field for mark in marks for query, _ in mark.args[1] for found in _terms(parse(query))
    }

    assert set(FIELDS) - tried == {"root", "created"}


def _terms(one: object) -> Iterator[Term]:
    match one:
        case Term():
            yield one
        case Not(inner):
            yield from _terms(inner)
        case And(parts) | Or(parts):
            for part in parts:
                yield from _terms(part)
        case _:
            return


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in {"root", "created"}])
def test_a_field_and_its_opposite_share_no_run_and_miss_none(
    planted: Callable[[str], list[str]], field: str
) -> None:
    by_kind = {
        "number": "1",
        "duration": ">1h",
        "time": "<1d",
        "status": "completed",
        "flag": "yes",
    }
    value = by_kind.get(FIELDS[field].kind, "a*")
    holds = planted(f"superseded:any {field}:{value}")
    other = planted(f"superseded:any -{field}:{value}")

    assert sorted(holds + other) == sorted(one.name for one in RUNS)


def test_random_filters_find_the_same_by_every_index(store) -> None:
    plant(store)
    chance = random.Random(7)
    terms = [
        *(f"status:{status}" for status in STATUSES), "status:open", "workflow:invoice.send",
        "workflow:order*", "tag:urgent", "attr.total:120", "id:order-1,order-2", "started:<1h",
        "finished:<2h", "parent:order-3", "superseded:any", "error:timed", "priority:0",
        "-queue:gpu", "(status:failed or tag:urgent)", "order",
    ]  # fmt: skip

    for _ in range(300):
        found_by(store, " ".join(chance.sample(terms, chance.randint(1, 4))))


def test_large_ranges_walk_the_runs_instead_of_sorting_them(store, monkeypatch) -> None:
    plant(store)
    monkeypatch.setattr("durable._store.filtering.RANGE_RUNS_MAX", 2)

    assert found_by(store, "started:<1d") == [
        one.name
        for one in RUNS[::-1]
        if one.started is not None and one.started < 24 and one.name != "continued"
    ]
    assert found_by(store, "finished:<2h") == ["order-1"]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("status:failed", "durable_run_state"),
        ("status:retrying", "durable_run_state"),
        ("status:failed,blocked", "durable_run_state"),
        ("workflow:order.*", "durable_run_workflow"),
        ("started:<1h", "durable_run_started"),
        ("finished:<1h", "durable_run_closed"),
        ("tag:urgent", "durable_label"),
        ("attr.region:eu", "durable_label"),
        ("issue:I-1", "durable_run_issue"),
        ("parent:order-3", "durable_run_parent"),
        ("id:order-1", "sqlite_autoindex_durable_run_1"),
    ],
)
def test_an_indexed_filter_scans_nothing_and_sorts_only_ranges(
    store, query: str, index: str
) -> None:
    plant(store)
    selection = selected(store, query)
    is_range = index in {
        "durable_run_started",
        "durable_run_closed",
        "durable_run_parent",
        "sqlite_autoindex_durable_run_1",
    }

    for source in selection.choose(store.reader._count):
        text, values = selection.page(source, 0, 1 << 62, 100, is_ascending=False)
        plan = "\n".join(
            str(row[3]) for row in store.reader._rows(f"EXPLAIN QUERY PLAN {text}", values)
        )

        assert index in plan
        assert "SCAN" not in plan
        assert is_range or "TEMP B-TREE" not in plan


def test_a_row_that_is_not_utf8_hides_no_other(store) -> None:
    plant(store)
    store.writer._connection.execute(
        "UPDATE durable_run SET workflow = CAST(x'6f6bff' AS TEXT) WHERE id = 'plain'"
    )

    rows = store.reader.select(selected(store, ""))

    assert [row.name for row in rows] == NEWEST
    assert rows[-1].workflow == r"ok\xff"
    assert rows[0].arguments == "[]"


# -- other orders ----------------------------------------------------------------------------------


def sorted_by(store, query: str, name: str, *, is_descending: bool, step: int) -> list[str]:
    """Return the names in an order, read in pages."""
    sort = Sort.by(name, NOW_US, is_descending=is_descending)
    found: list[RunRow] = []
    while True:
        page = store.reader.select_sorted(
            selected(store, query), sort, before=found[-1].pk if found else None, limit=step
        )
        found += page
        if len(page) < step:
            return [row.name for row in found]


def in_order(store, names: list[str], name: str, *, is_descending: bool) -> list[str]:
    """Return what the order should be: by the value, then by the key; without one at the end."""
    rows = [store.reader.find_ordinal(one.partition("#")[0], int(one.partition("#")[2] or 1))
            for one in names]  # fmt: skip

    def value(row: RunRow) -> int | None:
        match name:
            case "took":
                if row.started_us is None:
                    return None
                return (NOW_US if row.closed_us is None else row.closed_us) - row.started_us
            case "started":
                return row.started_us
            case "finished":
                return row.closed_us
            case _:
                return row.wake_at_us

    having = sorted((value(row), row.pk, row.name) for row in rows if value(row) is not None)
    rest = sorted((row.pk, row.name) for row in rows if value(row) is None)
    if is_descending:
        having, rest = having[::-1], rest[::-1]
    return [one[-1] for one in (*having, *rest)]


@pytest.mark.parametrize("most", [0, 5_000])
@pytest.mark.parametrize("is_descending", [True, False])
@pytest.mark.parametrize("name", ["started", "finished", "wakes", "took"])
@pytest.mark.parametrize(
    "query",
    [
        "", "superseded:any", "status:open", "status:failed,completed", "workflow:invoice.*",
        "started:<1d", "finished:<1d status:completed", "tag:urgent", "id:order-1,vip", "order",
        "took:>1h", "-status:completed", "status:failed or status:blocked", "parent:order-3",
        "id:nobody", "input.customer.id:42 superseded:any",
    ],
)  # fmt: skip
def test_runs_are_sorted_page_by_page(
    store, monkeypatch, query: str, name: str, is_descending: bool, most: int
) -> None:
    plant(store)
    names = found_by(store, query)
    monkeypatch.setattr("durable._store.filtering.RANGE_RUNS_MAX", most)

    expected = in_order(store, names, name, is_descending=is_descending)

    for step in (1, 3, 1_000):
        found = sorted_by(store, query, name, is_descending=is_descending, step=step)
        assert found == expected


def test_a_page_behind_a_run_that_is_gone_is_none(store) -> None:
    plant(store)
    sort = Sort.by("took", NOW_US, is_descending=True)

    assert store.reader.select_sorted(selected(store, ""), sort, before=7_777, limit=1) is None


@pytest.mark.parametrize(
    ("name", "index"), [("started", "durable_run_started"), ("finished", "durable_run_closed")]
)
@pytest.mark.parametrize("is_descending", [True, False])
@pytest.mark.parametrize("place", [None, (7, 7)])
def test_an_order_with_an_index_sorts_nothing(
    store, name: str, index: str, is_descending: bool, place: tuple[int, int] | None
) -> None:
    plant(store)
    sort = Sort.by(name, NOW_US, is_descending=is_descending)
    selection = selected(store, "-order")
    (source,) = _sources_of(store.reader._rows, selection, sort)

    text, values = selection.sorted_page(source, sort, place, 100)

    plan = "\n".join(
        str(row[3]) for row in store.reader._rows(f"EXPLAIN QUERY PLAN {text}", values)
    )
    assert index in plan
    assert "TEMP B-TREE" not in plan
    bound = "<?" if is_descending and place is not None else ">?"
    assert f"{sort.column.removeprefix('run.')}{bound}" in plan  # It begins at the place.


def test_a_sorted_page_with_a_row_that_is_not_utf8_hides_no_other(store) -> None:
    plant(store)
    store.writer._connection.execute(
        "UPDATE durable_run SET workflow = CAST(x'6f6bff' AS TEXT) WHERE id = 'plain'"
    )

    found = sorted_by(store, "", "took", is_descending=True, step=1_000)

    assert sorted(found) == sorted(NEWEST)
