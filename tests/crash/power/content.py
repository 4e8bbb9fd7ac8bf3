"""What a file holds: read once, then asked which facts are in it and what contradicts itself.

Opens files, so it is for files that no library in this process has open.
"""

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from durable._core.events import Kind
from tests.crash import invariants

SOFT = "item of an attempt"
"""What an attempt appends is committed softly: a reader may have seen what a power cut takes."""

Fact = tuple[str, tuple[Any, ...]]


class RunRow(NamedTuple):
    """A run's row, as far as it is judged."""

    pk: int
    id: str
    ordinal: int
    state: str
    result: Any
    salt: int
    closed_us: int | None
    parent_pk: int | None
    parent_step: str | None

    @property
    def name(self) -> str:
        return self.id if self.ordinal == 1 else f"{self.id}#{self.ordinal}"


class EventRow(NamedTuple):
    """A recorded event, as far as it is judged."""

    run: int
    seq: int
    kind: int
    step: str
    name: str
    result: Any


_MESSAGES = {"signal": Kind.RECEIVED, "update": Kind.UPDATE_ACCEPTED}
_CHILD_ENDS = (Kind.CHILD_COMPLETED, Kind.CHILD_FAILED)
_STEP_ENDS = (Kind.COMPLETED, Kind.FAILED)


class Content:
    """All that is judged of one state of a file.

    Args:
        path: The file, which nobody writes to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        connection = apsw.Connection(str(path))
        try:
            self.is_ready = self._read(connection)
        finally:
            connection.close()

    def _read(self, connection: apsw.Connection) -> bool:
        """Read everything; False: not all tables are made yet."""

        def rows(text: str) -> list[Any]:
            return connection.execute(text).fetchall()

        tables = {name for (name,) in rows("SELECT name FROM sqlite_schema")}
        if not {"durable_event", "ledger", "orders"} <= tables:
            return False
        columns = "pk, id, ordinal, state, result, salt, closed_us, parent_pk, parent_step"
        self.runs = [RunRow(*row) for row in rows(f"SELECT {columns} FROM durable_run")]
        columns = "run, seq, kind, step, name, result"
        text = f"SELECT {columns} FROM durable_event ORDER BY run, seq"
        self.events = [EventRow(*row) for row in rows(text)]
        self.inbox = rows("SELECT run, kind, key FROM durable_inbox")
        self.letters = set(rows("SELECT run, key FROM durable_letter"))
        self.answers = {
            (run, key): result
            for run, key, result in rows(
                "SELECT run, key, result FROM durable_answer WHERE state = 'completed'"
            )
        }
        self.values = dict(rows("SELECT run, payload FROM durable_value WHERE name = 'state'"))
        self.items = set(rows("SELECT run, position, payload FROM durable_item"))
        self.begun_once = set(rows("SELECT run, step FROM durable_once"))
        self.steps = rows("SELECT run, step, state FROM durable_step")
        self.attempts = set(rows("SELECT run, step, attempt FROM durable_attempt"))
        self.blobs = dict(rows("SELECT id, data FROM durable_blob"))
        self.ledger = [key for (key,) in rows("SELECT key FROM ledger")]
        self.orders = {one for (one,) in rows("SELECT id FROM orders")}
        return True

    # -- looking things up -----------------------------------------------------------------------

    @cached_property
    def _by_key(self) -> dict[int, RunRow]:
        return {run.pk: run for run in self.runs}

    @cached_property
    def _ordinals(self) -> dict[str, list[RunRow]]:
        """The runs of each id, the oldest first."""
        found: dict[str, list[RunRow]] = {}
        for run in sorted(self.runs, key=lambda run: run.ordinal):
            found.setdefault(run.id, []).append(run)
        return found

    @cached_property
    def _recorded(self) -> set[tuple[int, int, str]]:
        """(run, kind, step) of all events."""
        return {(event.run, event.kind, event.step) for event in self.events}

    @cached_property
    def _kinds(self) -> set[tuple[int, int]]:
        return {(event.run, event.kind) for event in self.events}

    @cached_property
    def _lengths(self) -> Counter[int]:
        return Counter(event.run for event in self.events)

    @cached_property
    def _asked(self) -> set[tuple[int, str, str]]:
        return set(self.inbox)

    @cached_property
    def _asked_kinds(self) -> set[tuple[int, str]]:
        return {(run, kind) for run, kind, _ in self.inbox}

    def _named(self, name: str) -> RunRow | None:
        run_id, _, ordinal = name.partition("#")
        found = self._ordinals.get(run_id, [])
        return next((run for run in found if run.ordinal == int(ordinal or 1)), None)

    def _keys(self, run_id: str) -> list[int]:
        return [run.pk for run in self._ordinals.get(run_id, [])]

    def history(self) -> dict[str, list[EventRow]]:
        """Return the events of each run by its name."""
        found: dict[str, list[EventRow]] = {}
        for event in self.events:
            found.setdefault(self._by_key[event.run].name, []).append(event)
        return found

    def ended_steps(self) -> set[tuple[str, str]]:
        """Return (run, step) of the steps that have a recorded end."""
        return {
            (self._by_key[event.run].name, event.step)
            for event in self.events
            if event.kind in _STEP_ENDS
        }

    def failed_attempts(self) -> set[tuple[str, str, int]]:
        """Return (run, step, number) of the attempts that are recorded as failed."""
        return {(self._by_key[run].name, step, number) for run, step, number in self.attempts}

    def ledger_ids(self) -> list[str]:
        """Return the run of each row in the ledger; of a child's, the one that started it."""
        return [key.split("/")[0] for key in self.ledger]

    def newest_states(self) -> dict[str, str]:
        """Return the state of each id's newest ordinal."""
        return {run_id: runs[-1].state for run_id, runs in self._ordinals.items()}

    # -- facts -----------------------------------------------------------------------------------

    def holds(self, fact: Fact) -> bool:
        """Say whether what the outside knows is in the file."""
        kind, about = fact
        return self.is_ready and _HOLDS[kind](self, *about)

    def _holds_started(self, run_id: str) -> bool:
        return run_id in self._ordinals

    def _holds_ordered(self, run_id: str) -> bool:
        return run_id in self._ordinals and run_id in self.orders

    def _holds_result(self, run_id: str, value: Any) -> bool:
        return any(
            run.state == "completed" and self._decoded(run.result) == value
            for run in self._ordinals.get(run_id, [])
        )

    def _holds_closed(self, run_id: str, state: str) -> bool:
        return any(run.state == state for run in self._ordinals.get(run_id, []))

    def _holds_failed(self, run_id: str) -> bool:
        return self._holds_closed(run_id, "failed")

    def _holds_retried(self, run_id: str) -> bool:
        return len(self._keys(run_id)) > 1

    def _holds_signal(self, run_id: str, key: str) -> bool:
        return any(
            (run, "signal", key) in self._asked
            or (run, Kind.RECEIVED, key) in self._recorded
            or (run, key) in self.letters
            for run in self._keys(run_id)
        )

    def _holds_update(self, run_id: str, key: str, answer: Any) -> bool:
        return any(
            (run, key) in self.answers and self._decoded(self.answers[run, key]) == answer
            for run in self._keys(run_id)
        )

    def _holds_answered(self, run_id: str) -> bool:
        return any(
            (run, "resolve") in self._asked_kinds or (run, Kind.RESOLVED) in self._kinds
            for run in self._keys(run_id)
        )

    def _holds_stopped(self, run_id: str, how: str) -> bool:
        state = {"cancel": "cancelled", "terminate": "terminated"}[how]
        return self._holds_closed(run_id, state) or any(
            (run, how) in self._asked_kinds
            or (how == "cancel" and (run, Kind.CANCEL_REQUESTED) in self._kinds)
            for run in self._keys(run_id)
        )

    def _holds_value(self, run_id: str, value: str) -> bool:
        return any(self._decoded(self.values.get(run)) == value for run in self._keys(run_id))

    def _holds_item(self, run_id: str, position: int, value: str) -> bool:
        return any((run, position, json.dumps(value)) in self.items for run in self._keys(run_id))

    def _holds_attempt(self, name: str, step: str, number: int) -> bool:
        run = self._named(name)
        return run is not None and all(
            (run.pk, step, before) in self.attempts for before in range(1, number)
        )

    def _holds_events(self, name: str, count: int) -> bool:
        run = self._named(name)
        return run is not None and self._lengths[run.pk] >= count

    def _holds_paid(self, name: str, step: str) -> bool:
        run = self._named(name)
        return run is not None and (run.pk, step) in self.begun_once

    def _decoded(self, stored: Any) -> Any:
        if stored is None:
            return None
        return json.loads(
            zlib.decompress(self.blobs[stored]) if isinstance(stored, int) else stored
        )

    # -- contradictions --------------------------------------------------------------------------

    @cached_property
    def problems(self) -> list[str]:
        """What in the file contradicts itself, whatever happened before."""
        if not self.is_ready:
            return []
        found = invariants.check_file(self._path)
        for rule in _RULES:
            found += rule(self)
        return found

    def _check_ledger(self) -> Iterator[str]:
        """Each recorded transaction has its row, once, and no row is without one."""
        recorded = {
            f"{run.id}/{run.salt:x}/{event.step}"
            for event in self.events
            if event.kind == Kind.COMPLETED and event.name.endswith("book")
            for run in (self._by_key[event.run],)
        }
        rows = Counter(self.ledger)
        yield from (f"ledger: {key} stands {n} times" for key, n in rows.items() if n > 1)
        yield from (f"ledger: the row {key} is not recorded" for key in rows.keys() - recorded)
        yield from (f"ledger: {key} is recorded without its row" for key in recorded - rows.keys())

    def _check_messages(self) -> Iterator[str]:
        """No message waits that its run received; what an earlier ordinal left moves along."""
        for run, kind, key in self.inbox:
            if key and kind in _MESSAGES and (run, _MESSAGES[kind], key) in self._recorded:
                name = self._by_key[run].name
                yield f"inbox: the {kind} {key} of {name} was received, and waits"

    def _check_steps(self) -> Iterator[str]:
        """No step is pending that has ended."""
        for run, step, state in self.steps:
            if any((run, kind, step) in self._recorded for kind in _STEP_ENDS):
                yield f"step: {step} of {self._by_key[run].name} has ended, and is {state}"

    def _check_children(self) -> Iterator[str]:
        """An open parent hears of each child that has ended."""
        for run in self.runs:
            parent = self._by_key.get(run.parent_pk or 0)
            if parent is None or not run.parent_step or run.closed_us is None:
                continue
            if run.state == "continued" or parent.closed_us is not None:
                continue
            step = run.parent_step
            told = (parent.pk, "child", step) in self._asked
            if not told and not any(
                (parent.pk, kind, step) in self._recorded for kind in _CHILD_ENDS
            ):
                yield f"child: {run.name} has ended, and {parent.name} never hears of it"

    def _check_continued(self) -> Iterator[str]:
        """A run that goes on has the ordinal that it goes on as."""
        for run in self.runs:
            if run.state == "continued" and run.ordinal == len(self._keys(run.id)):
                yield f"ordinals: {run.name} goes on, and there is no next one"

    def _check_orders(self) -> Iterator[str]:
        """A row and a run that one transaction made are there together."""
        runs = {run_id for run_id in self._ordinals if run_id.startswith("order-")}
        yield from (f"orders: {one} is alone" for one in runs ^ self.orders)


_HOLDS: dict[str, Callable[..., bool]] = {
    "tables": lambda content: content.is_ready,
    "started": Content._holds_started,
    "ordered": Content._holds_ordered,
    "result": Content._holds_result,
    "closed": Content._holds_closed,
    "failed": Content._holds_failed,
    "retried": Content._holds_retried,
    "signal": Content._holds_signal,
    "update": Content._holds_update,
    "answered": Content._holds_answered,
    "stopped": Content._holds_stopped,
    "value": Content._holds_value,
    "item": Content._holds_item,
    SOFT: Content._holds_item,
    "attempt": Content._holds_attempt,
    "events": Content._holds_events,
    "paid": Content._holds_paid,
}
_RULES: tuple[Callable[[Content], Iterator[str]], ...] = (
    Content._check_ledger,
    Content._check_messages,
    Content._check_steps,
    Content._check_children,
    Content._check_continued,
    Content._check_orders,
)
