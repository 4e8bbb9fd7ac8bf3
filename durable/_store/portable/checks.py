"""What an export may say: what a run could have been started with, and could have recorded.

An export comes from elsewhere, and its checksum is no signature: whoever writes one writes the sum
that is right for it. So names, ids and labels are judged as those of a start are.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from durable._store.portable.lines import (
    AcceptedLine,
    AnswerLine,
    AttemptLine,
    AuditLine,
    CodeLine,
    EndLine,
    EventLine,
    ItemLine,
    LetterLine,
    Line,
    OnceLine,
    PolicyLine,
    RedoneLine,
    RunLine,
    StepLine,
    ValueLine,
)
from durable.names import (
    LABELS_MAX,
    is_attribute_name,
    is_attribute_value,
    is_name,
    is_priority,
    is_run_id,
    is_tag,
)
from durable.payloads import decode_document

__all__ = ["find_fault"]

# What tells rows of a run apart: paths of tasks and calls, with the names of what was called in
# them; and keys that are made of a run's id and such a path. A task that is 1,000 deep has less.
PLACE_CHARACTERS_MAX = 10_000
# Of an event: the name of a function or a message, and what was done with it, as in "signal stop".
TITLE_CHARACTERS_MAX = 500


def find_fault(line: Line) -> str:
    """Return what no run could have been started with, or recorded; empty if there is nothing."""
    match line:
        case RunLine():
            return _of_run(line)
        case EventLine() | StepLine() | AttemptLine():
            return _of_text("name", line.name, TITLE_CHARACTERS_MAX) or _of_place(line.step)
        case ValueLine():
            return _of_name("value", line.name)
        case ItemLine():
            return _of_name("stream", line.stream) or _of_place(line.step)
        case AnswerLine():
            return _of_name("update", line.name) or _of_place(line.key)
        case LetterLine():
            return _of_name("signal", line.name) or _of_place(line.key)
        case OnceLine() | RedoneLine() | AcceptedLine() | PolicyLine() | EndLine():
            return _of_place(line.step)
        case CodeLine():
            return _of_text("code", line.code, TITLE_CHARACTERS_MAX)
        case AuditLine():
            return _of_text("verb", line.verb, TITLE_CHARACTERS_MAX)


def _of_run(line: RunLine) -> str:
    if not is_run_id(line.id):
        return f"{line.id!r:.200} cannot be the id of a run"
    if not is_priority(line.priority):
        return f"its priority is {line.priority}"
    return (
        _of_name("workflow", line.workflow)
        or _of_name("queue", line.queue)
        or _of_text("code", line.code or "", TITLE_CHARACTERS_MAX)
        or _of_place(line.parent_step or "")
        or _of_labels(line.labels)
        or _of_headers(line.headers)
    )


def _of_name(what: str, name: str) -> str:
    return "" if is_name(name) else f"{name!r:.200} cannot be the name of a {what}"


def _of_place(text: str) -> str:
    return _of_text("place", text, PLACE_CHARACTERS_MAX)


def _of_text(what: str, text: str, characters_max: int) -> str:
    is_short = len(text) <= characters_max and (text.isprintable() or not text)
    return "" if is_short else f"{text!r:.200} cannot be its {what}"


def _of_headers(text: str | None) -> str:
    if text is None:
        return ""
    try:
        decode_document(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        return f"its headers: {error}"
    return ""


def _of_labels(text: str | None) -> str:
    if text is None:
        return ""
    try:
        labels = decode_document(text, type=list[tuple[str, str | bool | int | float]])
    except msgspec.DecodeError as error:
        return f"its labels: {error}"
    if len(labels) > 2 * LABELS_MAX:
        return f"it has {len(labels):,} labels"
    wrong = next(_wrong(labels), None)
    return "" if wrong is None else f"{wrong!r:.200} cannot be a label"


def _wrong(labels: list[tuple[str, str | bool | int | float]]) -> Iterator[object]:
    for name, value in labels:
        is_attribute = name.startswith("attr.") and is_attribute_name(name.removeprefix("attr."))
        if not (is_tag(value) if name == "tag" else is_attribute and is_attribute_value(value)):
            yield [name, value]
