"""Rows as data. What is read is checked; one bad row is an error of its run, not of the listing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import msgspec

from durable.errors import StoreError
from durable.payloads import decode_document
from durable.run_name import run_name

__all__ = [
    "LOST_ALONE",
    "OPEN_STATES",
    "AlertRow",
    "AnswerRow",
    "AttemptRow",
    "AuditRow",
    "ChildRow",
    "HoldRow",
    "InboxRow",
    "IssueRow",
    "ItemRow",
    "JobRow",
    "LetterRow",
    "NewRun",
    "RunRow",
    "StepRow",
    "ValueRow",
    "WorkerRow",
    "checked_secret",
    "continuation",
    "is_secret",
]

SECRET_BYTES_MIN = 16
WORKER_MAX = 2**61
"""The last number of a worker: it is a place in the lock file, which has others behind it."""

OPEN_STATES = ("ready", "parked", "paused", "blocked")
"""The stored states of runs that have not ended."""

LOST_ALONE = 3
"""After so many deaths of its worker in a row a run is served alone: who else may have done it?"""


@attrs.define
class RunRow:
    """One row of ``run``, in the order of the columns of ``get_run``."""

    pk: int
    id: str
    ordinal: int
    workflow: str
    state: str
    worker_id: int | None
    wake_at_us: int | None
    waits: str | None
    lost: int
    queue: str
    priority: int
    headers: str | None
    salt: int
    arguments: str | int
    fingerprint: int
    checksum: int
    cause: str
    code: str | None
    created_us: int
    started_us: int | None
    clock_us: int | None
    closed_us: int | None
    result: str | int | None
    result_checksum: int | None
    origin: int | None
    root_pk: int | None = None
    parent_pk: int | None = None
    parent_step: str | None = None
    on_parent_close: str | None = None
    deadline_us: int | None = None
    source_pk: int | None = None
    redo_seq: int | None = None
    adopts: int = 1
    run_timeout_us: int | None = None
    labels: str | None = None
    error: str | None = None
    issue: int | None = None
    begun: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the run has not ended."""
        return self.closed_us is None

    @property
    def name(self) -> str:
        """The id as people write it: with the ordinal from the second on."""
        return run_name(self.id, self.ordinal)

    def deadline_again_us(self, now_us: int) -> int | None:
        """Return the limit of an ordinal that follows now: each has the whole time, or None."""
        return None if self.run_timeout_us is None else now_us + self.run_timeout_us

    def status(self, is_alive: Callable[[int], bool]) -> str:
        """Return the status it is shown with; whether its worker lives is asked of the kernel."""
        return shown_status(self.state, self.worker_id, self.waits, is_alive)

    def waits_for(self) -> dict[str, Any]:
        """Return why it waits, decoded; a damaged value reads as unknown."""
        return decoded_waits(self.waits)


def continuation(row: RunRow, find_ordinal: Callable[[str, int], RunRow | None]) -> RunRow | None:
    """Return the ordinal that a run went on as; None if it did not, or that was deleted."""
    return find_ordinal(row.id, row.ordinal + 1) if row.state == "continued" else None


def shown_status(
    state: str, worker_id: int | None, waits: str | None, is_alive: Callable[[int], bool]
) -> str:
    """Return the status a stored state is shown with; whether a worker lives the kernel knows."""
    match state:
        case "ready" | "parked":
            kind = None if waits is None else decoded_waits(waits).get("kind")
            if kind in {"queued", "retrying", "waiting", "sleeping"}:
                return str(kind)
            if state == "parked":
                return "sleeping"
            return "running" if worker_id is not None and is_alive(worker_id) else "queued"
        case _:
            return state


def decoded_waits(waits: str | None) -> dict[str, Any]:
    """Return why a run waits; a damaged value reads as unknown."""
    try:
        found = decode_document(waits or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {"kind": "unknown"}
    return found if isinstance(found, dict) else {"kind": "unknown"}


@attrs.define
class ChildRow:
    """What a family's tree needs of one row of ``run``."""

    pk: int
    workflow: str
    state: str
    worker_id: int | None
    waits: str | None
    parent_step: str | None

    def status(self, is_alive: Callable[[int], bool]) -> str:
        """Return the status it is shown with."""
        return shown_status(self.state, self.worker_id, self.waits, is_alive)


@attrs.define
class StepRow:
    """One row of ``step``: what a pending step remembers."""

    step: str
    name: str
    state: str
    attempt: int
    counted_from: int
    scheduled_us: int
    started_us: int | None
    retry_at_us: int | None
    fingerprint: int
    arguments: str | None
    details: str | None
    error: str | None


@attrs.define
class PlaceHolder:
    """An attempt that has begun: what others wait for may be its place."""

    run: str
    name: str
    started_us: int


@attrs.define
class AttemptRow:
    """One row of ``attempt``: an attempt that did not succeed."""

    step: str
    attempt: int
    name: str
    state: str
    started_us: int
    ended_us: int
    error: str


@attrs.define
class InboxRow:
    """One row of ``inbox``: a request nobody has taken yet."""

    id: int
    run: int
    kind: str
    name: str
    key: str
    payload: str | int
    at_us: int


@attrs.define
class AnswerRow:
    """One row of ``answer``: how an update ended, or a query."""

    key: str
    name: str
    state: str
    result: str | int
    at_us: int


@attrs.define
class ValueRow:
    """One row of ``value``: what was published under a name."""

    name: str
    payload: str | int
    checksum: int
    at_us: int


@attrs.define
class ItemRow:
    """One row of ``item``: what was appended to a stream."""

    position: int
    step: str
    attempt: int
    number: int
    payload: str | int
    checksum: int
    at_us: int


@attrs.define
class LetterRow:
    """One row of ``letter``: a signal nobody received."""

    seq: int | None
    name: str
    payload: str | int
    why: str
    at_us: int


@attrs.define
class IssueRow:
    """One row of ``issue``: a group of like failures."""

    id: int
    fingerprint: str
    kind: str
    type: str
    title: str
    function: str
    place: str
    sample: str
    sample_run: int
    state: str
    seen: int
    first_us: int
    last_us: int


@attrs.define
class HoldRow:
    """One row of ``hold``: a workflow or a queue that is paused as a whole."""

    kind: str
    name: str
    who: str
    why: str
    at_us: int


@attrs.define
class AlertRow:
    """One row of ``alert``: what somebody is to be told."""

    id: int
    fingerprint: str
    what: str
    run: int
    worker_id: int | None
    at_us: int


@attrs.define
class JobRow:
    """One row of ``job``: an act on many runs."""

    id: int
    verb: str
    query: str
    details: str
    who: str
    why: str
    state: str
    total: int
    upto: int
    after: int
    done: int
    refused: int
    created_us: int
    ended_us: int | None


@attrs.define
class AuditRow:
    """One row of ``audit``: what a person did to a run."""

    verb: str
    who: str
    why: str
    details: str
    at_us: int


@attrs.define
class LogRow:
    """One row of ``log``: a line that a run's code has logged."""

    id: int
    at_us: int
    level: int
    logger: str
    step: str
    attempt: int
    text: str


@attrs.define
class SourceRow:
    """One row of ``source``: the source of a workflow's code."""

    code: str
    workflow: str
    text: str
    file: str
    line: int
    at_us: int


@attrs.define
class WorkerRow:
    """One row of ``worker``."""

    id: int
    pid: int
    host: str
    started_us: int
    workflows: str


class NewRun(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A run to be stored: the columns of ``insert_run``, in its order.

    Attributes as of `RunRow`, but for what a run has not at its beginning.
    """

    id: str
    ordinal: int
    workflow: str
    state: str = "ready"
    worker_id: int | None = None
    wake_at_us: int | None = None
    queue: str = "default"
    priority: int = 0
    headers: str | None = None
    salt: int
    arguments: str | int
    fingerprint: int
    checksum: int
    cause: str
    code: str | None
    created_us: int
    started_us: int | None = None
    clock_us: int | None = None
    root_pk: int | None = None
    parent_pk: int | None = None
    parent_step: str | None = None
    on_parent_close: str | None = None
    deadline_us: int | None = None
    source_pk: int | None = None
    redo_seq: int | None = None
    adopts: int = 1
    run_timeout_us: int | None = None
    labels: str | None = None

    def values(self) -> tuple[Any, ...]:
        """Return the values of ``insert_run``."""
        return msgspec.structs.astuple(self)

    def row(self, pk: int) -> RunRow:
        """Return the row that it became."""
        return RunRow(
            pk=pk, waits=None, lost=0, closed_us=None, result=None, result_checksum=None,
            origin=None, **msgspec.structs.asdict(self),
        )  # fmt: skip


def is_secret(row: Sequence[Any] | None) -> bool:
    """Say whether a row of ``durable_meta`` holds what tokens can be keyed with."""
    return row is not None and isinstance(row[0], bytes) and len(row[0]) >= SECRET_BYTES_MIN


def checked_secret(row: Sequence[Any] | None) -> bytes:
    """Return what the file's tokens are keyed with.

    Raises:
        StoreError: It is not there, or was changed by hand.
    """
    if row is None or not is_secret(row):
        raise StoreError(
            "the secret that tokens are keyed with is missing in the file, or was changed by hand; "
            "opening the file for writing makes a new one"
        )
    secret: bytes = row[0]
    return secret
