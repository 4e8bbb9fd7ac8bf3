"""Filters in SQL: the one place where a statement is built, of fixed columns and bound values.

A selection has *sources*: one statement for each value of the term that an index serves best, each
in the order of the keys. So a page of a million runs costs what a page costs; a filter that no
index serves walks the runs from the newest on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, assert_never

import attrs

from durable._store.rows import RunRow
from durable.filters import (
    CLOSED,
    OPEN,
    And,
    Filter,
    Not,
    Or,
    Term,
    Value,
    Words,
    interval_of,
    mentions,
    span_of,
)
from durable.payloads import encode_document
from durable.run_name import RunName

__all__ = [
    "COLUMNS", "Selection", "Sort", "Source", "as_bytes", "compiled", "select", "select_sorted"
]  # fmt: skip

COLUMNS = ", ".join(f"run.{field.name}" for field in attrs.fields(RunRow))
"""Those of a `RunRow`, in its order."""

_BYTES = ", ".join(
    f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END"
    for name in (f"run.{field.name}" for field in attrs.fields(RunRow))
)

_RUNS = "durable_run AS run"
# Runs that a range of times is looked up by its index for: they are sorted afterwards.
RANGE_RUNS_MAX = 5_000
# The largest integer of SQLite.
LARGEST = 2**63 - 1

# Status: the stored state, and what a run is said to wait for.
_STATES: dict[str, Sequence[tuple[str, str | None]]] = {
    "running": [("ready", None)],
    "queued": [("ready", "queued"), ("ready", None)],
    "retrying": [("parked", "retrying"), ("ready", "retrying")],
    "waiting": [("parked", "waiting"), ("ready", "waiting")],
    "sleeping": [("parked", "sleeping"), ("ready", "sleeping")],
    **{one: [(one, None)] for one in ("paused", "blocked", *CLOSED)},
}
_GROUPS = {"open": OPEN, "closed": CLOSED}
_TEXTS = {"workflow": "workflow", "queue": "queue", "cause": "cause", "version": "code"}
_TIMES = {
    "created": "created_us", "started": "started_us", "finished": "closed_us", "wakes": "wake_at_us"
}  # fmt: skip
_TIME_INDEXES = {"started": "durable_run_started", "finished": "durable_run_closed"}
_TOOK = "(COALESCE(run.closed_us, ?) - run.started_us)"
_NUMBERS = {
    "worker": "run.worker_id",
    "priority": "run.priority",
    "ordinal": "run.ordinal",
    "steps": "(SELECT COALESCE(MAX(event.seq), 0) FROM durable_event AS event "
    "WHERE event.run = run.pk)",
    "attempts": "(SELECT COUNT(*) FROM durable_attempt AS attempt WHERE attempt.run = run.pk)",
}
_SUPERSEDED = (
    "EXISTS (SELECT 1 FROM durable_run AS newer "
    "WHERE newer.id = run.id AND newer.ordinal > run.ordinal)"
)
_COMPARISONS = frozenset({">", ">=", "<", "<="})


@attrs.frozen
class Source:
    """Where candidates come from.

    Attributes:
        table: What stands behind ``FROM``.
        where: The term it serves.
        values: Bound in it.
        is_range: Whether its rows come in another order than that of the keys.
        key: The column that has the keys, in order.
    """

    table: str
    where: str
    values: Sequence[object]
    is_range: bool = False
    key: str = "run.pk"

    def probe(self, most: int) -> tuple[str, Sequence[object]]:
        """Return the statement that counts its candidates, up to a number."""
        inner = f"SELECT 1 FROM {self.table} WHERE {self.where} LIMIT ?"  # noqa: S608  see the law
        return f"SELECT COUNT(*) FROM ({inner})", (*self.values, most)  # noqa: S608  likewise


def as_bytes(text: str, values: Sequence[object]) -> tuple[str, Sequence[object]]:
    """Return a page's statement with every text as bytes: of a file that was damaged."""
    return text.replace(COLUMNS, _BYTES, 1), values


_ALL = Source(f"{_RUNS} NOT INDEXED", "run.pk > 0", ())


@attrs.frozen
class Sort:
    """An order of runs other than that of their keys.

    Attributes:
        column: What they are sorted by, a number; it is null where a run has none.
        index: The index that has it in order, or an empty text.
        values: Bound in the column.
        is_descending: Whether the largest comes first.
    """

    column: str
    index: str
    values: Sequence[object]
    is_descending: bool

    @classmethod
    def by(cls, name: str, now_us: int, *, is_descending: bool) -> Sort:
        """Return the order by ``started``, ``finished``, ``wakes`` or ``took``."""
        if name == "took":
            return cls(_TOOK, "", (now_us,), is_descending)
        return cls(f"run.{_TIMES[name]}", _TIME_INDEXES.get(name, ""), (), is_descending)

    def of_run(self, key: int) -> tuple[str, Sequence[object]]:
        """Return the statement that reads what a run is sorted by."""
        text = f"SELECT {self.column} FROM durable_run AS run WHERE run.pk = ?"  # noqa: S608  see the law
        return text, (*self.values, key)


@attrs.frozen
class Selection:
    """A compiled filter.

    Attributes:
        choices: Sets of sources; each set covers all that matches.
        where: The whole condition.
        values: Bound in it.
    """

    choices: Sequence[Sequence[Source]]
    where: str
    values: Sequence[object]

    def choose(
        self, count: Callable[[str, Sequence[object]], int], *, is_disjoint: bool = False
    ) -> Sequence[Source]:
        """Return the set with the fewest candidates.

        Args:
            count: Runs a statement that counts.
            is_disjoint: Whether no run may come from two of its sources.
        """
        everything: Sequence[Source] = (_ALL,)
        found = everything
        fewest = RANGE_RUNS_MAX
        choices = [
            sources
            for sources in self.choices
            if not is_disjoint or len(sources) < 2 or sources[0].key == "run.pk"
        ]
        for sources in choices:
            # In the order of the keys already: never worse than to walk all runs.
            is_ordered = not any(one.is_range for one in sources)
            if is_ordered and len(choices) == 1:
                return sources
            candidates = sum(count(*one.probe(RANGE_RUNS_MAX + 1)) for one in sources)
            if candidates <= fewest or (is_ordered and found is everything):
                found, fewest = tuple(sources), min(fewest, candidates)
        return found

    def page(
        self, source: Source, after: int, before: int, limit: int, *, is_ascending: bool
    ) -> tuple[str, Sequence[object]]:
        """Return the statement for runs with keys between two, from one source, in order."""
        order = "ASC" if is_ascending else "DESC"
        text = (
            f"SELECT {COLUMNS} FROM {source.table} "  # noqa: S608  see the law above
            f"WHERE {source.where} AND {source.key} > ? AND {source.key} < ? AND ({self.where}) "
            f"ORDER BY {source.key} {order} LIMIT ?"
        )
        return text, (*source.values, after, before, *self.values, limit)

    def sorted_page(
        self, source: Source, sort: Sort, place: Sequence[int] | None, limit: int
    ) -> tuple[str, Sequence[object]]:
        """Return the statement for runs that have what they are sorted by, from one source.

        Args:
            source: Where they come from.
            sort: By what.
            place: Only those behind this value and key; None for all.
            limit: At most so many.
        """
        sign, order = ("<", "DESC") if sort.is_descending else (">", "ASC")
        column, bound = sort.column, sort.values
        behind, values = "", [*bound, *source.values, *bound]
        if place is not None:
            behind = f"AND {column} {sign}= ? AND ({column} {sign} ? OR run.pk {sign} ?) "
            values += [*bound, place[0], *bound, *place]
        text = (
            f"SELECT {COLUMNS}, {column} AS place FROM {source.table} "  # noqa: S608  see the law
            f"WHERE {source.where} AND {column} IS NOT NULL {behind}AND ({self.where}) "
            f"ORDER BY place {order}, run.pk {order} LIMIT ?"
        )
        return text, (*values, *self.values, limit)

    def without(self, sort: Sort) -> Selection:
        """Return what is meant of it that has nothing to be sorted by."""
        return attrs.evolve(
            self,
            where=f"({self.where}) AND {sort.column} IS NULL",
            values=(*self.values, *sort.values),
        )

    def tally(self, source: Source) -> tuple[str, Sequence[object]]:
        """Return the statement that counts what matches of one source.

        By stored state, by what the parked ones wait for, and by the worker of the ready ones.
        """
        text = (
            "SELECT run.state, run.wait_kind, "  # noqa: S608  see the law above
            "CASE run.state WHEN 'ready' THEN run.worker_id END AS worker, COUNT(*) "
            f"FROM {source.table} WHERE {source.where} AND ({self.where}) "
            "GROUP BY run.state, run.wait_kind, worker ORDER BY run.state"
        )
        return text, (*source.values, *self.values)


def select(
    execute: Callable[[str, Sequence[object]], list[Any]],
    selection: Selection,
    *,
    after: int,
    before: int,
    limit: int,
    is_ascending: bool,
) -> list[RunRow]:
    """Return a page of what a filter means, in the order of the keys.

    Args:
        execute: Runs a statement that counts or a page's; rows of pages are of `COLUMNS`.
        selection: The compiled filter.
        after: Only keys above it.
        before: Only keys below it.
        limit: At most so many.
        is_ascending: The oldest first.
    """

    def count(text: str, values: Sequence[object]) -> int:
        number: int = execute(text, values)[0][0]
        return number

    found: dict[int, RunRow] = {}
    for source in selection.choose(count):
        statement = selection.page(source, after, before, limit, is_ascending=is_ascending)
        found.update((row[0], RunRow(*row)) for row in execute(*statement))
    return [found[pk] for pk in sorted(found, reverse=not is_ascending)][:limit]


def select_sorted(
    execute: Callable[[str, Sequence[object]], list[Any]],
    selection: Selection,
    sort: Sort,
    *,
    before: int | None,
    limit: int,
) -> list[RunRow] | None:
    """Return a page of what a filter means, in an order of its own; None if its place is gone.

    Like values are in the order of the keys. Runs that have no such value come last, either way.

    Args:
        execute: Runs a statement that counts, one of a run's place, or a page's.
        selection: The compiled filter.
        sort: By what.
        before: Only runs that come after the one of this key, as it is now.
        limit: At most so many.
    """
    place: Sequence[int] | None = None
    key = None
    if before is not None:
        rows = execute(*sort.of_run(before))
        if not rows:
            return None
        (value,) = rows[0]
        place, key = (None, before) if value is None else ((value, before), None)
    found: dict[int, tuple[int, RunRow]] = {}
    if key is None:
        for source in _sources_of(execute, selection, sort):
            for row in execute(*selection.sorted_page(source, sort, place, limit)):
                found[row[0]] = row[-1], RunRow(*row[:-1])
    ordered = sorted(found.items(), key=lambda one: (one[1][0], one[0]), reverse=sort.is_descending)
    page = [row for _, (_, row) in ordered[:limit]]
    if len(page) < limit:
        is_ascending = not sort.is_descending
        page += select(
            execute, selection.without(sort), limit=limit - len(page), is_ascending=is_ascending,
            after=key if key is not None and is_ascending else 0,
            before=key if key is not None and not is_ascending else LARGEST,
        )  # fmt: skip
    return page


def _sources_of(
    execute: Callable[[str, Sequence[object]], list[Any]], selection: Selection, sort: Sort
) -> Sequence[Source]:
    """Return few candidates, which are then sorted, or else what is in the order already."""

    def count(text: str, values: Sequence[object]) -> int:
        number: int = execute(text, values)[0][0]
        return number

    sources = selection.choose(count)
    if not sort.index:
        return sources
    if sources != (_ALL,):
        most = RANGE_RUNS_MAX + 1
        if sum(count(*source.probe(most)) for source in sources) < most:
            return sources
    return [Source(_along(sort.index), f"{sort.column} IS NOT NULL", ())]


def compiled(
    found: Filter, *, alive: Sequence[int], now_us: int, workflows: Callable[[], Sequence[str]]
) -> Selection:
    """Return a filter as SQL.

    Runs of which a newer ordinal exists are left out, unless the filter asks for them: by
    ``superseded:``, ``ordinal:``, ``status:continued`` or an ``id:x#2``.

    Args:
        found: The parsed filter.
        alive: The workers that live, as the kernel says.
        now_us: What durations count from.
        workflows: Tells the names of all workflows in the file.
    """
    compiler = _Compiler(alive, now_us, workflows)
    where = compiler.condition(found)
    if not any(map(_asks_for_older, mentions(found))):
        where = f"({where}) AND NOT {_SUPERSEDED}"
    values = compiler.values
    return Selection(compiler.choices(found), where, values)


def _asks_for_older(term: Term) -> bool:
    texts = [value.text for value in term.values]
    match term.field:
        case "superseded" | "ordinal":
            return True
        case "status":
            return "continued" in texts
        case "id":
            return any(RunName.parse(text).ordinal is not None for text in texts)
        case _:
            return False


class _Compiler:
    """Collects bound values in the order in which it writes conditions."""

    def __init__(
        self, alive: Sequence[int], now_us: int, workflows: Callable[[], Sequence[str]]
    ) -> None:
        self.values: list[object] = []
        self._alive = encode_document(list(alive)).decode()
        self._now_us = now_us
        self._workflows = workflows
        self._by_value: dict[str, Callable[[Value], str]] = {
            "status": self._status,
            "id": self._id,
            "tag": partial(self._label, "tag"),
            "error": self._error,
            "issue": lambda value: self._bound(*_issue(value.text)),
            "parent": partial(self._relative, "run.parent_pk"),
            "root": partial(self._relative, "run.root_pk"),
            "step": self._step,
            "patch": self._patch,
            "hold": self._hold,
            "superseded": _superseded,
            **{field: partial(self._text, f"run.{column}") for field, column in _TEXTS.items()},
        }

    def condition(self, one: Filter) -> str:
        """Return the condition of a filter, or of a part of one."""
        match one:
            case And():
                return _joined("AND", list(map(self.condition, one.parts))) or "1"
            case Or():
                return _joined("OR", list(map(self.condition, one.parts)))
            case Not():  # What is unknown (NULL) does not hold.
                return f"NOT COALESCE(({self.condition(one.inner)}), 0)"
            case Words():
                return self._words(one.value)
            case Term():
                return self._term(one)
            case _:
                assert_never(one)

    def _bound(self, text: str, *values: object) -> str:
        self.values += values
        return text

    def _any(self, condition: Callable[[Value], str], term: Term) -> str:
        return _joined("OR", list(map(condition, term.values)))

    def _words(self, value: Value) -> str:
        pattern = _like(value)
        return " OR ".join(
            self._bound(rf"COALESCE({column}, '') LIKE ? ESCAPE '\'", pattern)
            for column in ("run.id", "run.workflow", "run.error")
        )

    def _term(self, term: Term) -> str:
        field, _, path = term.field.partition(".")
        one_by_one = self._by_value.get(field)
        if one_by_one is not None:
            return self._any(one_by_one, term)
        match field:
            case "attr":
                return self._attribute(term)
            case "input" | "output":
                return self._payload(field, path, term)
            case "took":
                spent = self._bound(_TOOK, self._now_us)
                return self._compared(spent, term, span_of)
            case _ if field in _TIMES:
                return self._time(field, term)
            case _:
                return self._compared(_NUMBERS[field], term, int)

    # -- by field ----------------------------------------------------------------------------------

    def _text(self, column: str, value: Value) -> str:
        if value.is_pattern:
            return self._bound(f"{column} GLOB ?", _glob(value.text))
        return self._bound(f"{column} = ?", value.text)

    def _status(self, value: Value) -> str:
        status = value.text
        if status in _GROUPS:
            return f"run.closed_us IS {'' if status == 'open' else 'NOT '}NULL"
        states = _STATES[status]
        return _joined("OR", [self._state(status, state, kind) for state, kind in states])

    def _state(self, status: str, state: str, kind: str | None) -> str:
        if kind is not None:
            return self._bound(f"run.state = '{state}' AND run.wait_kind = ?", kind)
        if state != "ready":
            return self._bound("run.state = ?", state)
        is_held = "run.worker_id IN (SELECT alive.value FROM json_each(?) AS alive)"
        held = self._bound(f"COALESCE({is_held}, 0)", self._alive)
        return (
            "run.state = 'ready' AND run.wait_kind IS NULL "
            f"AND {'' if status == 'running' else 'NOT '}{held}"
        )

    def _id(self, value: Value) -> str:
        name = RunName.parse(value.text)
        if name.ordinal is not None:
            return self._bound("run.id = ? AND run.ordinal = ?", *name)
        return self._text("run.id", value)

    def _label(self, name: str, value: Value) -> str:
        sign, text = ("GLOB", _glob(value.text)) if value.is_pattern else ("=", value.text)
        return self._bound(
            "(SELECT 1 FROM durable_label AS label INDEXED BY durable_label_run "  # noqa: S608
            "WHERE label.run = run.pk AND label.name = ? AND "
            f"label.value {sign} ?) = 1",
            name,
            text,
        )

    def _attribute(self, term: Term) -> str:
        name = term.field
        if not term.comparison:
            return self._any(lambda value: self._attribute_is(name, value), term)
        value = (
            "(SELECT label.value FROM durable_label AS label "
            "WHERE label.run = run.pk AND label.name = ?)"
        )
        return self._compared_by_type(value, term, name)

    def _attribute_is(self, name: str, value: Value) -> str:
        number = _number(value)
        if number is None:
            return self._label(name, value)
        return self._bound(
            "(SELECT 1 FROM durable_label AS label INDEXED BY durable_label_run "
            "WHERE label.run = run.pk AND label.name = ? AND "
            "label.value IN (?, ?)) = 1",
            name, value.text, number,
        )  # fmt: skip

    def _error(self, value: Value) -> str:
        pattern = _like(value)
        own = self._bound(r"COALESCE(run.error, '') LIKE ? ESCAPE '\'", pattern)
        step = self._bound(
            "EXISTS (SELECT 1 FROM durable_step AS step "
            "WHERE step.run = run.pk AND step.error LIKE ? ESCAPE '\\')",
            pattern,
        )
        return f"{own} OR {step}"

    def _step(self, value: Value) -> str:
        sign, text = ("GLOB", _glob(value.text)) if value.is_pattern else ("=", value.text)
        recorded, pending = (
            self._bound(
                f"EXISTS (SELECT 1 FROM {table} AS one WHERE one.run = run.pk AND "  # noqa: S608
                f"(one.step {sign} ? OR one.name {sign} ?))",
                text,
                text,
            )
            for table in ("durable_event", "durable_step")
        )
        return f"{recorded} OR {pending}"

    def _hold(self, value: Value) -> str:
        held = "CASE WHEN json_valid(run.waits) THEN run.waits ->> '$.hold' END"
        return f"run.state = 'paused' AND {self._text(held, value)}"

    def _patch(self, value: Value) -> str:
        sign, text = ("GLOB", _glob(value.text)) if value.is_pattern else ("=", value.text)
        return self._bound(
            "EXISTS (SELECT 1 FROM durable_event AS event "  # noqa: S608
            "WHERE event.run = run.pk AND event.kind = 5 AND "
            f"event.name {sign} ?)",
            text,
        )

    def _relative(self, column: str, value: Value) -> str:
        return self._bound(f"{column} IN ({_KEYS_OF_NAME})", *_named(value.text))

    def _payload(self, field: str, path: str, term: Term) -> str:
        column = "run.arguments" if field == "input" else "run.result"
        places = _places(path) if field == "input" else [path.split(".")]
        value = f"json_extract({column}, ?)"
        parts: list[str] = []
        for one in map(_json_path, places):
            if term.comparison:
                parts.append(self._compared_by_type(value, term, one))
            else:
                parts += [self._is_at(value, one, wanted) for wanted in term.values]
        found = _joined("OR", parts)
        # A large payload is the number of its blob.
        is_json = f"typeof({column}) = 'text' AND json_valid({column})"
        return f"CASE WHEN {is_json} THEN ({found}) END"

    def _is_at(self, column: str, path: str, value: Value) -> str:
        if value.is_pattern:
            return self._bound(f"{column} GLOB ?", path, _glob(value.text))
        wanted: list[object] = [value.text]
        number = _number(value)
        if number is not None:
            wanted.append(number)
        if not value.is_quoted and value.text in {"true", "false"}:
            wanted.append(value.text == "true")
        marks = ", ".join("?" * len(wanted))
        return self._bound(f"{column} IN ({marks})", path, *wanted)

    # -- comparisons -------------------------------------------------------------------------------

    def _compared(self, left: str, term: Term, read: Callable[[str], object]) -> str:
        """Compare something with the values of a term.

        Args:
            left: What is compared; its values are bound already.
            term: How, and with what.
            read: Reads a value.
        """
        values = [read(value.text) for value in term.values]
        if term.comparison == "..":
            return self._bound(f"{left} BETWEEN ? AND ?", *_sorted(values))
        if term.comparison:
            assert term.comparison in _COMPARISONS
            return self._bound(f"{left} {term.comparison} ?", values[0])
        marks = ", ".join("?" * len(values))
        return self._bound(f"{left} IN ({marks})", *values)

    def _compared_by_type(self, left: str, term: Term, *bound: object) -> str:
        """Compare what may be text or a number: SQLite has every text above every number."""
        inner = self._bound(f"EXISTS (SELECT 1 FROM (SELECT {left} AS found) WHERE ", *bound)  # noqa: S608
        is_text = isinstance(_plain_value(term.values[0].text), str)
        types = "'text'" if is_text else "'integer', 'real'"
        compared = self._compared("found", term, _plain_value)
        return f"{inner}typeof(found) IN ({types}) AND {compared})"

    def _time(self, field: str, term: Term) -> str:
        column = f"run.{_TIMES[field]}"
        low, high = self._bounds(field, term)
        parts = [f"{column} IS NOT NULL"]
        if low is not None:
            parts.append(self._bound(f"{column} >= ?", low))
        if high is not None:
            parts.append(self._bound(f"{column} < ?", high))
        return " AND ".join(parts)

    def _bounds(self, field: str, term: Term) -> tuple[int | None, int | None]:
        """Return the first moment that matches and the first after it that does not."""
        ahead = field == "wakes"
        spans: list[tuple[int, int]] = []
        for value in term.values:
            span = interval_of(value.text, self._now_us, ahead=ahead)
            assert span is not None, "the parser let a wrong time pass"
            spans.append(span)
        low, high = min(spans)[0], max(spans)[1]
        is_ago = span_of(term.values[0].text) is not None and not ahead
        sign = term.comparison
        if not sign and span_of(term.values[0].text) is not None:
            sign = "<"  # Two hours ago means within them.
        if is_ago and sign in _COMPARISONS:
            sign = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}[sign]
        match sign:
            case ">":
                return (high if high > low else high + 1), None
            case ">=":
                return low, None
            case "<":
                return None, low
            case "<=":
                return None, high if high > low else high + 1
            case _:
                return low, high if high > low else high + 1

    # -- sources -----------------------------------------------------------------------------------

    def choices(self, found: Filter) -> Sequence[Sequence[Source]]:
        """Return what indexes serve of the terms that all must hold."""
        parts = found.parts if isinstance(found, And) else [found]
        terms = [part for part in parts if isinstance(part, Term)]
        return [sources for term in terms if (sources := self._sources(term)) is not None]

    def _sources(self, term: Term) -> Sequence[Source] | None:
        texts = [value.text for value in term.values]
        field = term.field.partition(".")[0]
        if field in _TIME_INDEXES:
            column, index = _TIMES[field], _TIME_INDEXES[field]
            low, high = self._bounds(field, term)
            where = f"run.{column} >= ? AND run.{column} < ?"
            bounds = (0 if low is None else low, LARGEST if high is None else high)
            return [Source(_along(index), where, bounds, is_range=True)]
        if term.comparison:
            return None
        match field:
            case "status":
                return _by_status(texts)
            case "workflow":
                return [_by("workflow", "durable_run_workflow", name) for name in self._names(term)]
            case "id" if not any(value.is_pattern for value in term.values):
                ids = {RunName.parse(one).id for one in texts}
                along = _along("sqlite_autoindex_durable_run_1")
                return [Source(along, "run.id = ?", (one,), is_range=True) for one in sorted(ids)]
            case "issue":
                return [
                    Source(_along("durable_run_issue"), where, values)
                    for where, *values in map(_issue, sorted(set(texts)))
                ]
            case "parent":
                where = f"run.parent_pk IN ({_KEYS_OF_NAME})"
                return [
                    Source(_along("durable_run_parent"), where, _named(one), is_range=True)
                    for one in sorted(set(texts))
                ]
            case "tag" | "attr" if not any(value.is_pattern for value in term.values):
                return list(_by_labels(term))
            case _:
                return None

    def _names(self, term: Term) -> Sequence[str]:
        names = {value.text for value in term.values if not value.is_pattern}
        patterns = [value.text for value in term.values if value.is_pattern]
        if patterns:
            from fnmatch import fnmatchcase

            globs = list(map(_glob, patterns))
            for name in self._workflows():
                if any(fnmatchcase(name, one) for one in globs):
                    names.add(name)
        return sorted(names)


_KEYS_OF_NAME = (
    "SELECT named.pk FROM durable_run AS named WHERE named.id = ? AND (? = 0 OR named.ordinal = ?)"
)


def _along(index: str) -> str:
    """Return what stands behind ``FROM`` to walk the runs of an index."""
    return f"{_RUNS} INDEXED BY {index}"


def _by(column: str, index: str, value: object) -> Source:
    return Source(_along(index), f"run.{column} = ?", (value,))


def _by_status(texts: Sequence[str]) -> Sequence[Source]:
    shown = [one for text in texts for one in _GROUPS.get(text, (text,))]
    pairs = dict.fromkeys(pair for one in shown for pair in _STATES[one])
    return [
        Source(_along("durable_run_state"), "run.state = ? AND run.wait_kind IS NULL", (state,))
        if kind is None
        else Source(
            _along("durable_run_state"), "run.state = ? AND run.wait_kind = ?", (state, kind)
        )
        for state, kind in pairs
    ]


def _by_labels(term: Term) -> Iterator[Source]:
    seen: set[object] = set()
    for value in term.values:
        number = _number(value) if term.field != "tag" else None
        for one in (value.text, number):
            if one is not None and (type(one), one) not in seen:
                seen.add((type(one), one))
                # The label first, in the order of its runs.
                yield Source(
                    "durable_label AS label CROSS JOIN durable_run AS run ON run.pk = label.run",
                    "label.name = ? AND label.value = ?",
                    (term.field, one),
                    key="label.run",
                )


def _joined(word: str, parts: Sequence[str]) -> str:
    """Return conditions joined in halves: SQLite takes no expression deeper than 1,000."""
    if len(parts) < 2:
        return f"({parts[0]})" if parts else ""
    middle = len(parts) // 2
    return f"({_joined(word, parts[:middle])}) {word} ({_joined(word, parts[middle:])})"


def _superseded(value: Value) -> str:
    return {"yes": _SUPERSEDED, "no": f"NOT {_SUPERSEDED}"}.get(value.text, "1")


def _issue(text: str) -> tuple[str, object]:
    if text.startswith("I-") and text[2:].isdecimal() and len(text) < 20:
        return "run.issue = ?", int(text[2:])
    return (
        "run.issue = (SELECT issue.id FROM durable_issue AS issue WHERE issue.fingerprint = ?)",
        text,
    )


def _named(name: str) -> Sequence[object]:
    run_id, ordinal = RunName.parse(name)
    return run_id, ordinal or 0, ordinal or 0


def _glob(text: str) -> str:
    """Return a pattern in which the star alone is special."""
    return text.replace("[", "[[]").replace("?", "[?]")


def _like(value: Value) -> str:
    text = value.text
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text.replace('*', '%') if value.is_pattern else text}%"


def _number(value: Value) -> int | float | None:
    """Return the number that an unquoted value may mean."""
    if value.is_quoted:
        return None
    try:
        number = int(value.text)
    except ValueError:
        try:
            return float(value.text)
        except ValueError:
            return None
    return number if abs(number) <= LARGEST else None


def _plain_value(text: str) -> object:
    number = _number(Value(text))
    return text if number is None else number


def _sorted(values: Sequence[object]) -> Sequence[object]:
    low, high = values
    numbers = isinstance(low, int | float) and isinstance(high, int | float)
    is_turned = numbers and float(str(low)) > float(str(high))
    return (high, low) if is_turned else (low, high)


def _places(path: str) -> Iterator[Sequence[str]]:
    """Yield where an argument may stand: by name, in the first argument, or by number."""
    parts = path.split(".")
    if parts[0].isdecimal():
        yield parts
        yield ["args", *parts]
        return
    yield ["kwargs", *parts]
    yield ["0", *parts]
    yield ["args", "0", *parts]


def _json_path(parts: Sequence[str]) -> str:
    """Return a path of SQLite's JSON functions; names were checked by the parser."""
    return "$" + "".join(f"[{int(one)}]" if one.isdecimal() else f'."{one}"' for one in parts)
