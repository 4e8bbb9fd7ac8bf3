"""How `show` writes a run's family and messages: one line each, under its header."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from durable_cli._output import clean, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durable import RunDetails
    from durable.inspection import StepView, ValueView
    from durable_cli._output import Screen

__all__ = ["LABEL_CELLS", "decoded", "field", "name_of", "write_talk"]

LABEL_CELLS = 11
# Of each kind so many lines are shown, and the others counted: there may be a thousand children.
LINES_MAX = 10
# What is shown of a value, an answer or a dead letter; `durable read` shows values whole.
PAYLOAD_CELLS = 100
# These two have words of their own in the library, and a place of their own here.
PROGRESS, DETAILS = "progress", "details"
# Kinds whose name alone would not tell what they are.
_WITH_KIND = frozenset({"child", "promise", "signal", "update", "patch"})


def write_talk(screen: Screen, run: RunDetails) -> None:
    """Write what the run published, whom it waits for, its children and its messages."""
    for label, lines in (
        ("progress", list(_progress(run.values))),
        ("details", list(_details(run.values))),
        ("values", [f"{clean(one.name)} = {_short(screen, one.value)}" for one in _others(run)]),
        ("streams", [f"{clean(one.name)}: {_items(one.items)}" for one in run.streams]),
        ("answer", [_promise(one.token, one.name, one.step) for one in run.promises]),
        ("children", [_child(screen, run, at) for at in range(len(run.children))]),
        ("updates", list(_updates(run))),
        ("dead", list(_dead_letters(screen, run))),
        ("audit", list(_audit(run))),
    ):
        _lines(screen, label, lines, run)


def field(screen: Screen, label: str, text: str) -> None:
    """Write a labelled line."""
    screen.line(screen.style(f"{label:<{LABEL_CELLS}}", "dim") + text)


def decoded(text: str) -> Any:
    """Return a payload's value; None where there is none, the text where it was cut or damaged."""
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def name_of(step: StepView) -> str:
    """Return how people call a step: with its kind, where that is no activity or timer."""
    if step.kind in _WITH_KIND:
        return clean(f"{step.kind} {step.name}")
    return clean(step.name)


def _lines(screen: Screen, label: str, lines: Sequence[str], run: RunDetails) -> None:
    shown = lines if len(lines) <= LINES_MAX + 1 else lines[:LINES_MAX]
    for at, line in enumerate(shown):
        field(screen, "" if at else label, line)
    if len(shown) == len(lines):
        return
    more = f"... and {len(lines) - len(shown):,} more"
    if label == "children":
        counts = Counter(one.status for one in run.children)
        more += "; " + ", ".join(f"{number:,} {status}" for status, number in counts.items())
    field(screen, "", screen.style(more, "dim"))


def _progress(values: Sequence[ValueView]) -> Iterator[str]:
    for one in values:
        if one.name == PROGRESS:
            yield _progress_of(decoded(one.value)) or clean(one.value)


def _progress_of(value: Any) -> str:
    match value:
        case {"done": int() | float() as done, "total": int() | float() as total} if total > 0:
            return f"{done:,} of {total:,} ({done / total:.0%})"
        case {"done": int() | float() as done, "total": None}:
            return f"{done:,}"
        case _:
            return ""


def _details(values: Sequence[ValueView]) -> Iterator[str]:
    for one in values:
        if one.name == DETAILS:
            value = decoded(one.value)
            yield clean(value if isinstance(value, str) else one.value)


def _others(run: RunDetails) -> Sequence[ValueView]:
    return [one for one in run.values if one.name not in {PROGRESS, DETAILS}]


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _promise(token: str, name: str, step: str) -> str:
    # Whole, whatever the width: it is there to be copied.
    return f"durable answer {clean(token)} JSON  ({clean(name)}, step {clean(step)})"


def _child(screen: Screen, run: RunDetails, at: int) -> str:
    child = run.children[at]
    status = screen.status(child.status)
    text = f"{clean(child.id)}  {clean(child.workflow)}  "
    return text + screen.style(status.text, *status.styles)


def _updates(run: RunDetails) -> Iterator[str]:
    """Tell of the updates that are not among the steps: they were never let in."""
    told = {step.step for step in run.steps if step.kind == "update"}
    for one in run.updates:
        if f"update:{one.id}" not in told:
            yield f"{clean(one.name)} {clean(one.id)} {clean(one.status)}: {clean(one.error)}"


def _dead_letters(screen: Screen, run: RunDetails) -> Iterator[str]:
    for one in run.dead_letters:
        payload = _short(screen, one.payload)
        yield f"signal {clean(one.name)} {payload} of {moment(one.at)}: {clean(one.why)}"


def _audit(run: RunDetails) -> Iterator[str]:
    for one in run.audit:
        details = decoded(one.details)
        said = details if isinstance(details, dict) else {}
        more = ", ".join(f"{clean(str(key))} {clean(str(value))}" for key, value in said.items())
        # The reason of what ended or holds the run is said above.
        why = f": {clean(one.why)}" if one.why and one.why not in run.why else ""
        at = "" if one.at is None else moment(one.at)
        yield f"{at} {clean(one.verb)} by {clean(one.who)}{f' ({more})' if more else ''}{why}"


def _short(screen: Screen, text: str) -> str:
    return screen.cut(clean(text), PAYLOAD_CELLS)
