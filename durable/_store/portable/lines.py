"""The format: what each line holds.

Within a version fields may be added, and kinds of lines: a reader ignores those it does not know.
Numbers of runs are their places in the file, from 1; links between runs are such numbers.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from durable.run_name import run_name

__all__ = [
    "FORMAT", "VERSION", "AcceptedLine", "AnswerLine", "AttemptLine", "AuditLine", "CodeLine",
    "EndLine", "EventLine", "Footer", "Header", "ItemLine", "LetterLine", "Line", "OnceLine",
    "PolicyLine", "RedoneLine", "RunLine", "StepLine", "ValueLine",
]  # fmt: skip

FORMAT, VERSION = "durable-export", 1

Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Natural = Annotated[int, Meta(ge=1, le=2**62)]


class Header(msgspec.Struct, tag="header", tag_field="kind", kw_only=True):
    """The first line."""

    format: str
    version: int
    library: str
    written: str
    redacted: bool
    paths: list[str]
    runs: Annotated[int, Meta(ge=0, le=2**40)]


class RunLine(msgspec.Struct, tag="run", tag_field="kind", kw_only=True):
    """A run's row; the lines up to the next of these belong to it."""

    number: Natural
    id: str
    ordinal: Natural
    workflow: str
    state: Literal[
        "ready", "parked", "paused", "blocked",
        "completed", "failed", "cancelled", "terminated", "continued",
    ]  # fmt: skip
    waits: str | None
    queue: str
    priority: Int
    headers: str | None
    salt: Int
    arguments: str
    fingerprint: Int
    checksum: Int
    cause: Literal["started", "restarted", "retried", "continued"]
    code: str | None
    created_us: Int
    started_us: Int | None
    clock_us: Int | None
    closed_us: Int | None
    result: str | None
    result_checksum: Int | None
    origin: Int | None
    root: Natural | None
    parent: Natural | None
    parent_step: str | None
    on_parent_close: Literal["abandon", "cancel", "terminate"] | None
    deadline_us: Int | None
    run_timeout_us: Int | None
    source: Natural | None
    redo_seq: Int | None
    adopts: Literal[0, 1]
    labels: str | None
    error: str | None

    @property
    def name(self) -> str:
        """The id as people write it."""
        return run_name(self.id, self.ordinal)

    @property
    def is_open(self) -> bool:
        """Whether the run had not ended."""
        return self.closed_us is None


class EventLine(msgspec.Struct, tag="event", tag_field="kind", kw_only=True):
    """A recorded fact; ``what`` is its kind, as in the file."""

    seq: Natural
    what: Int
    step: str
    name: str
    fingerprint: Int
    arguments: str
    result: str
    checksum: Int
    at_us: Int
    took_us: Int


class StepLine(msgspec.Struct, tag="step", tag_field="kind", kw_only=True):
    """What a pending step remembers."""

    step: str
    name: str
    state: Literal["queued", "running", "retrying", "intent", "exhausted", "later"]
    attempt: Natural
    counted_from: Int
    scheduled_us: Int
    started_us: Int | None
    retry_at_us: Int | None
    fingerprint: Int
    arguments: str | None
    details: str | None
    error: str | None


class AttemptLine(msgspec.Struct, tag="attempt", tag_field="kind", kw_only=True):
    """An attempt that did not succeed."""

    step: str
    attempt: Natural
    name: str
    state: Literal["failed", "abandoned"]
    started_us: Int
    ended_us: Int
    error: str


class ValueLine(msgspec.Struct, tag="value", tag_field="kind", kw_only=True):
    """A published value."""

    name: str
    payload: str
    checksum: Int
    at_us: Int


class ItemLine(msgspec.Struct, tag="item", tag_field="kind", kw_only=True):
    """An item of a stream."""

    stream: str
    position: Annotated[int, Meta(ge=0, le=2**62)]
    step: str
    attempt: Int
    number: Int
    seq: Int
    payload: str
    checksum: Int
    at_us: Int


class AnswerLine(msgspec.Struct, tag="answer", tag_field="kind", kw_only=True):
    """How an update ended."""

    key: str
    name: str
    state: Literal["completed", "failed", "refused", "abandoned"]
    result: str
    at_us: Int


class LetterLine(msgspec.Struct, tag="letter", tag_field="kind", kw_only=True):
    """A signal that nobody received."""

    seq: Int | None
    name: str
    key: str
    payload: str
    why: str
    at_us: Int


class OnceLine(msgspec.Struct, tag="once", tag_field="kind", kw_only=True):
    """A step that runs at most once, and was begun."""

    step: str


class RedoneLine(msgspec.Struct, tag="redone", tag_field="kind", kw_only=True):
    """A step that completed in an earlier ordinal and is done again."""

    step: str
    ordinal: Int


class AcceptedLine(msgspec.Struct, tag="accepted", tag_field="kind", kw_only=True):
    """A recorded end that is let pass although the code asks with other arguments."""

    step: str


class CodeLine(msgspec.Struct, tag="code", tag_field="kind", kw_only=True):
    """Which code went on with the run, from an event on."""

    from_seq: Natural
    code: str
    at_us: Int


class PolicyLine(msgspec.Struct, tag="policy", tag_field="kind", kw_only=True):
    """What a person changed of the policy of a pending step."""

    step: str
    changes: str


class AuditLine(msgspec.Struct, tag="audit", tag_field="kind", kw_only=True):
    """What a person did to the run."""

    verb: str
    who: str
    why: str
    details: str
    at_us: Int


class EndLine(msgspec.Struct, tag="end", tag_field="kind", kw_only=True):
    """The end of a child that the run was told of, and has not taken."""

    step: str
    child: Natural


class Footer(msgspec.Struct, tag="footer", tag_field="kind", kw_only=True):
    """The last line: of all before it how many runs, lines and events, and their SHA-256."""

    runs: int
    events: int
    lines: int
    sha256: str


Line = (
    RunLine | EventLine | StepLine | AttemptLine | ValueLine | ItemLine | AnswerLine | LetterLine
    | OnceLine | RedoneLine | AcceptedLine | CodeLine | PolicyLine | AuditLine | EndLine
)  # fmt: skip
