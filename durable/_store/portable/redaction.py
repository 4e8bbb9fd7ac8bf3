"""Hiding what an export must not tell.

A PATH names keys of objects in payloads; ``*`` means every text. What was found under such a key is
hidden wherever else in the file it occurs: in another step's arguments, in an id, a message, a
traceback, a reason. So a file is read twice: once to `learn`, once to write what `redacted` gives.

Names stay: of workflows, activities, signals, values, streams, queues, and of keys that could stand
in code. Where a text that is to be hidden is part of what tells rows apart (ids, steps), it becomes
a number of its own, so that two of them stay two.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from durable._core.events import FAILURES, STEP_ENDS
from durable._store.portable.known import HIDDEN, Known, bare_error, bare_traceback
from durable._store.portable.lines import (
    AcceptedLine,
    AnswerLine,
    AttemptLine,
    AuditLine,
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
from durable.errors import UsageError
from durable.payloads import checksum, checksum_of_two, fingerprint

__all__ = ["Redactor"]

# Among the steps whose recorded ends are let pass: the end of the run itself.
THE_RUN = ""
PATHS_MAX = 100
PATH_CHARACTERS_MAX = 200


class Redactor:
    """Hides what some keys hold, or every text.

    Args:
        paths: ``email``, ``customer.card``, or ``*``.

    Raises:
        UsageError: One of them is no path.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        if isinstance(paths, str) or len(paths) > PATHS_MAX:
            raise UsageError(f"paths to redact are a list of at most {PATHS_MAX} texts")
        for path in paths:
            is_path = isinstance(path, str) and 0 < len(path) <= PATH_CHARACTERS_MAX
            if not is_path or "" in path.split("."):
                raise UsageError(
                    f"{path!r:.80} names no key; a path is one, as in email, or some, as in "
                    "customer.card, or *"
                )
        self.paths = tuple(dict.fromkeys(paths))
        self._is_all = "*" in paths
        self._keys = [tuple(path.split(".")) for path in self.paths if path != "*"]
        self._known = Known()
        self._is_changed = False

    # -- learning ----------------------------------------------------------------------------------

    def learn(self, line: Line) -> None:
        """Remember the texts that a line holds under the keys.

        Raises:
            UsageError: It is too much to be remembered.
        """
        if not self._keys:
            return
        for text in _payloads(line):
            found = _decoded(text)
            with contextlib.suppress(RecursionError):  # It is hidden as a whole then.
                for leaf in self._under_keys(found[0] if found else None, ()):
                    self._known.add(leaf)

    def _under_keys(self, value: Any, place: tuple[str, ...]) -> Iterator[Any]:
        if self._is_meant(place):
            yield from _leaves(value)
        elif isinstance(value, dict):
            for key, member in value.items():
                yield from self._under_keys(member, (*place, key))
        elif isinstance(value, list):
            if _is_attribute(value):
                place = (*place, *value[0].split(".")[1:])
            for member in value:
                yield from self._under_keys(member, place)

    def _is_meant(self, place: tuple[str, ...]) -> bool:
        return any(place[-len(keys) :] == keys for keys in self._keys) if place else False

    def ready(self) -> None:
        """Say that all was learned."""
        self._known.ready()

    # -- hiding ------------------------------------------------------------------------------------

    def redacted(self, line: Line) -> Iterator[Line]:
        """Yield a line without what is to be hidden, and what its change makes necessary."""
        match line:
            case RunLine():
                yield from self._run(line)
                return
            case EventLine():
                yield from self._event(line)
                return
            case StepLine():
                yield from self._step(line)
                return
            case AttemptLine():
                line.step = self._name(line.step)
                line.error = self._payload(line.error, is_record=True)
            case ValueLine():
                line.payload = self._payload(line.payload)
                line.checksum = checksum(line.payload.encode())
            case ItemLine():
                line.step = self._name(line.step)
                line.payload = self._payload(line.payload)
                line.checksum = checksum(line.payload.encode())
            case _:
                self._message(line)
        yield line

    def _message(self, line: Line) -> None:
        match line:
            case AnswerLine():
                line.key = self._name(line.key)
                line.result = self._payload(line.result, is_record=line.state == "failed")
            case LetterLine():
                line.key = self._name(line.key)
                line.payload = self._payload(line.payload)
                line.why = self._text(line.why)
            case OnceLine() | RedoneLine() | AcceptedLine() | PolicyLine() | EndLine():
                line.step = self._name(line.step)
            case AuditLine():
                line.who = line.who if self._is_all else self._text(line.who)
                line.why = self._text(line.why)
                line.details = self._payload(line.details)

    def _run(self, line: RunLine) -> Iterator[Line]:
        line.id = self._name(line.id)
        line.parent_step = None if line.parent_step is None else self._name(line.parent_step)
        before = line.arguments
        line.arguments = self._payload(before)
        if line.arguments != before:
            line.fingerprint = fingerprint(line.arguments.encode())
            line.checksum = checksum(line.arguments.encode())
        result = line.result
        if result is not None:
            line.result = self._payload(result, is_record=_is_failure(line))
            line.result_checksum = checksum(line.result.encode())
        line.headers = self._optional(line.headers)
        line.waits = self._waits(line.waits)
        line.labels = self._labels(line.labels)
        line.error = self._error(line.error)
        yield line
        if line.result != result:
            yield AcceptedLine(step=THE_RUN)

    def _event(self, line: EventLine) -> Iterator[Line]:
        line.step = self._name(line.step)
        before = line.arguments
        line.arguments = self._payload(before)
        line.result = self._payload(line.result, is_record=line.what in FAILURES)
        line.checksum = checksum_of_two(line.arguments.encode(), line.result.encode())
        is_changed = line.arguments != before
        if is_changed:
            line.fingerprint = fingerprint(line.arguments.encode())
        yield line
        if is_changed and line.what in STEP_ENDS:
            yield AcceptedLine(step=line.step)

    def _step(self, line: StepLine) -> Iterator[Line]:
        line.step = self._name(line.step)
        line.details = self._optional(line.details)
        line.error = self._error(line.error)
        before = line.arguments
        line.arguments = self._optional(before)
        is_changed = line.arguments != before
        if is_changed and line.arguments is not None:
            line.fingerprint = fingerprint(line.arguments.encode())
        yield line
        if is_changed:
            yield AcceptedLine(step=line.step)

    def _waits(self, text: str | None) -> str | None:
        if text is None:
            return None
        found = _decoded(text)
        if found is None or not isinstance(found[0], dict):
            return None
        kind = found[0].get("kind")
        try:
            waits = self._walked(found[0])
        except RecursionError:
            return None
        return _encoded({**waits, "kind": kind}) if kind is not None else _encoded(waits)

    def _labels(self, text: str | None) -> str | None:
        if text is None:
            return None
        found = _decoded(text)
        if found is None or not isinstance(found[0], list):
            return None
        labels: list[Any] = []
        for one in found[0]:
            if not isinstance(one, list) or len(one) != 2:
                continue
            is_meant = _is_attribute(one) and self._is_meant(tuple(one[0].split(".")[1:]))
            value = self._hidden(one[1]) if is_meant else self._walked(one[1])
            if [one[0], value] not in labels:
                labels.append([one[0], value])
        return _encoded(labels)

    # -- texts -------------------------------------------------------------------------------------

    def _text(self, text: str) -> str:
        """Return a text in somebody's words."""
        if self._is_all:
            return HIDDEN if text else text
        return self._known.without(text)

    def _name(self, text: str) -> str:
        """Return what tells rows apart."""
        return self._known.numbered(text)

    def _error(self, text: str | None) -> str | None:
        """Return an error in one line; its class stays."""
        if text is None:
            return None
        return bare_error(text) if self._is_all else self._known.without(text)

    def _traceback(self, text: str) -> str:
        return bare_traceback(text) if self._is_all else self._known.without(text)

    # -- payloads ----------------------------------------------------------------------------------

    def _optional(self, text: str | None) -> str | None:
        return None if text is None else self._payload(text)

    def _payload(self, text: str, *, is_record: bool = False) -> str:
        """Return a payload; one of which nothing is to be hidden is returned as it was."""
        if not text:
            return text
        found = _decoded(text)
        if found is None:  # It cannot be looked into, so nothing of it is told.
            return json.dumps(HIDDEN)
        self._is_changed = False
        try:
            value = self._record(found[0]) if is_record else self._walked(found[0])
        except RecursionError:
            return json.dumps(HIDDEN)
        return _encoded(value) if self._is_changed else text

    def _walked(self, value: Any, place: tuple[str, ...] = ()) -> Any:
        if self._is_meant(place):
            return self._hidden(value)
        if isinstance(value, dict):
            keys = self._bare_keys(value) if self._is_all else map(self._known.numbered, value)
            return {
                self._changed(key, new): self._walked(member, (*place, key))
                for new, (key, member) in zip(keys, value.items(), strict=True)
            }
        if isinstance(value, list):
            return [self._walked(member, place) for member in value]
        if isinstance(value, str):
            return self._changed(value, self._text(value))
        if isinstance(value, int | float) and repr(value) in self._known:
            return self._changed(value, type(value)(0))
        return value

    def _hidden(self, value: Any) -> Any:
        """Return what stands under a key that is meant: the same shape, without what it tells."""
        if isinstance(value, dict):
            return {
                self._changed(key, new): self._hidden(member)
                for new, (key, member) in zip(self._bare_keys(value), value.items(), strict=True)
            }
        if isinstance(value, list):
            return [self._hidden(member) for member in value]
        if isinstance(value, str):
            return self._changed(value, HIDDEN)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._changed(value, type(value)(0))
        return value

    @staticmethod
    def _bare_keys(keys: Iterable[str]) -> Iterator[str]:
        """Yield the keys of an object: a number in the place of what could not stand in code."""
        for number, key in enumerate(keys, 1):
            yield key if key.isidentifier() else f"<redacted {number}>"

    def _changed(self, before: Any, after: Any) -> Any:
        self._is_changed = self._is_changed or before != after
        return after

    def _record(self, value: Any) -> Any:
        """Return the record of an exception: its classes and frames stay."""
        if not isinstance(value, dict):
            return self._walked(value)
        return {key: self._part(key, member) for key, member in value.items()}

    def _part(self, key: str, value: Any) -> Any:
        match key:
            case "type" | "mro" if self._is_all:
                return value
            case "args" | "attributes" if self._is_all:
                return self._marked(value)
            case "traceback":
                return self._traced(value)
            case "cause" | "context":
                return self._record(value)
            case "group":
                return self._records(value)
            case _:
                return self._walked(value, (key,))

    def _records(self, value: Any) -> Any:
        return [self._record(one) for one in value] if isinstance(value, list) else None

    def _traced(self, value: Any) -> Any:
        return self._changed(value, self._traceback(value)) if isinstance(value, str) else None

    def _marked(self, value: Any, place: tuple[str, ...] = ()) -> Any:
        """Return what an exception carried: what JSON does not have is marked, and stays so."""
        if isinstance(value, list):
            return [self._marked(one, place) for one in value]
        if not isinstance(value, dict) or self._is_meant(place):
            return self._walked(value, place)
        match value:
            case {"$text": _} | {"$bytes": _} | {"$repr": _} if len(value) == 1:
                return self._changed(value, HIDDEN)
            case {"$float": _} if len(value) == 1:
                return value
            case {"$tuple": members} | {"$dict": members} if len(value) == 1:
                return {key: self._marked(members, place) for key in value}
            case _:
                return {
                    self._changed(key, new): self._marked(member, (*place, key))
                    for new, (key, member) in zip(
                        self._bare_keys(value), value.items(), strict=True
                    )
                }


def _is_failure(line: RunLine) -> bool:
    return line.state == "failed" or (line.is_open and line.origin is not None)


def _is_attribute(value: list[Any]) -> bool:
    return len(value) == 2 and isinstance(value[0], str) and value[0].startswith("attr.")


def _payloads(line: Line) -> Iterator[str]:
    """Yield the JSON texts of a line."""
    found: tuple[str | None, ...]
    match line:
        case RunLine():
            found = line.arguments, line.result, line.headers, line.labels, line.waits
        case EventLine():
            found = line.arguments, line.result
        case StepLine():
            found = line.details, line.arguments
        case AttemptLine():
            found = (line.error,)
        case ValueLine() | ItemLine() | LetterLine():
            found = (line.payload,)
        case AnswerLine():
            found = (line.result,)
        case AuditLine():
            found = (line.details,)
        case _:
            found = ()
    yield from filter(None, found)


def _decoded(text: str) -> tuple[Any] | None:
    """Return what a JSON text means; None if it is none, or too deep or long a number."""
    try:
        return (json.loads(text),)
    except (ValueError, RecursionError):
        return None


def _encoded(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if text.isascii() or _is_utf8(text) else json.dumps(value, separators=(",", ":"))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, member in value.items():
            if not key.isidentifier():
                yield key
            yield from _leaves(member)
    elif isinstance(value, list):
        for member in value:
            yield from _leaves(member)
    else:
        yield value
