r"""The filter language: one text means the same runs on the command line, in Python and in the UI.

::

    status:failed workflow:invoice.* started:<2d
    error:"timed out" -queue:gpu
    (status:retrying or status:blocked) tag:urgent attr.region:eu
    input.customer.id:42  took:>5m  steps:>=100

Terms stand together: all of them must hold. ``or`` between terms or groups, ``-`` or ``not`` before
one, parentheses. A term is ``field:value``, with several values ``field:a,b`` (any of them), with a
comparison ``field:>5m``, or with a range ``field:1h..2d``. ``*`` in a value stands for any text. A
value with blanks or marks stands in double quotes, where ``*`` is a star. A word alone is searched
in the id, the workflow and the error.

Times, in UTC: a duration is how long ago (``started:<2h``: less than two hours ago; of ``wakes``
how far ahead), ``today``, ``2026-11-22`` (that day), ``2026-11-22T09:00`` (that minute).

A text is parsed here, and nothing else: what it becomes in SQL has fixed columns and bound values.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterator, Sequence

import attrs

from durable._clock import since_epoch_us
from durable.errors import FilterError, UsageError
from durable.policies import duration_us
from durable.verbs import VERBS

__all__ = [
    "CLOSED",
    "FIELDS",
    "OPEN",
    "PATHS",
    "STATUSES",
    "And",
    "Field",
    "Filter",
    "Not",
    "Or",
    "Term",
    "Value",
    "Words",
    "interval_of",
    "mentions",
    "narrowed",
    "parse",
    "span_of",
]

# Texts longer than this are no filters: a hundred ids of the greatest length fit.
FILTER_CHARACTERS_MAX = 32_000
# Nested deeper, a text is no filter either.
DEPTH_MAX = 30
# SQLite takes 32,766 bound values; one of these has at most ten.
TERMS_MAX = 200
VALUES_MAX = 500

OPEN = ("blocked", "paused", "running", "retrying", "queued", "waiting", "sleeping")
CLOSED = ("completed", "failed", "cancelled", "terminated", "continued")
STATUSES = (*OPEN, *CLOSED)
"""Every status a run can be shown with; open ones in the order in which the first match counts."""


@attrs.frozen
class Field:
    """What a term can be about.

    Attributes:
        kind: Of its values: ``status``, ``text``, ``flag``, ``number``, ``duration`` or ``time``.
        text: What it is; one line, for people.
    """

    kind: str
    text: str


FIELDS: dict[str, Field] = {
    "status": Field("status", f"{', '.join(STATUSES)}, open or closed"),
    "workflow": Field("text", "the stored name"),
    "id": Field("text", "the id; order-42#2 means that ordinal"),
    "queue": Field("text", "the task queue"),
    "cause": Field("text", "started, restarted, retried or continued"),
    "version": Field("text", "the fingerprint of the code it began with"),
    "patch": Field("text", "a patch that it went through"),
    "hold": Field("text", "what it is paused with: workflow:NAME or queue:NAME"),
    "worker": Field("number", "the worker that has it in hand"),
    "tag": Field("text", "a tag it was started with"),
    "step": Field("text", "the id or name of a step, recorded or pending"),
    "error": Field("text", "part of what went wrong last"),
    "issue": Field("text", "the group of like failures: I-14, or its fingerprint"),
    "parent": Field("text", "the run that started it"),
    "root": Field("text", "the run at the top of its family"),
    "created": Field("time", "when it was stored"),
    "started": Field("time", "when its code first ran"),
    "finished": Field("time", "when it ended"),
    "wakes": Field("time", "when it goes on by itself"),
    "took": Field("duration", "from its start to its end, or to now"),
    "attempts": Field("number", "attempts of its steps that failed"),
    "steps": Field("number", "events in its history"),
    "priority": Field("number", "as started; the smaller, the sooner"),
    "ordinal": Field("number", "1, and more for what a restart or retry made"),
    "superseded": Field("flag", "yes, no or any: whether a newer run of its id exists"),
}
"""Each field by name. ``attr.NAME``, ``input.PATH`` and ``output.PATH`` are fields too."""

PATHS = ("attr", "input", "output")
_COMPARISONS = (">=", "<=", ">", "<")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<open>-?\() | (?P<close>\)) |
        (?P<word>(?:"(?:[^"\\]|\\.)*"|[^\s()"])+)
    )""",
    re.VERBOSE,
)
_UNITS = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|us|s|m|h|d|w))+")
_NUMBER = re.compile(r"-?\d{1,18}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?Z?)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")


@attrs.frozen
class Value:
    """One value of a term.

    Attributes:
        text: As written, without quotes; ``*`` stands for any text unless it was quoted.
        is_quoted: Whether it stood in quotes.
    """

    text: str
    is_quoted: bool = False

    @property
    def is_pattern(self) -> bool:
        """Whether a star in it stands for any text."""
        return "*" in self.text and not self.is_quoted


@attrs.frozen
class Term:
    """A field and what it must be: any of the values, or a comparison with the only one.

    Attributes:
        field: One of `FIELDS`, or ``attr.NAME``, ``input.PATH``, ``output.PATH``.
        comparison: Empty for equality, ``>``, ``>=``, ``<``, ``<=``, or ``..`` with two values.
        values: At least one.
    """

    field: str
    comparison: str
    values: Sequence[Value]


@attrs.frozen
class Words:
    """A word alone: in the id, the workflow or the error."""

    value: Value


@attrs.frozen
class Not:
    """What must not hold."""

    inner: Filter


@attrs.frozen
class And:
    """All must hold; of none, everything does."""

    parts: Sequence[Filter]


@attrs.frozen
class Or:
    """One must hold."""

    parts: Sequence[Filter]


Filter = Term | Words | Not | And | Or


def parse(text: str) -> Filter:
    """Return what a text means; an empty one means every run.

    Raises:
        FilterError: It is no filter; the message says where, and what was meant, perhaps.
        UsageError: It is no text.
    """
    if not isinstance(text, str):
        raise UsageError(f"a filter is a text, not {text!r:.80}")
    if len(text) > FILTER_CHARACTERS_MAX:
        raise FilterError(f"a filter has at most {FILTER_CHARACTERS_MAX:,} characters", text, 0)
    if "\0" in text:  # SQLite's patterns end there, and would match everything.
        raise FilterError("a filter holds no NUL character", text, text.index("\0"))
    return _Parser(text).parse()


def mentions(one: Filter) -> Iterator[Term]:
    """Yield every term of a filter, wherever it stands."""
    match one:
        case Term():
            yield one
        case Not():
            yield from mentions(one.inner)
        case And() | Or():
            for part in one.parts:
                yield from mentions(part)
        case Words():
            return


def narrowed(verb: str, query: str) -> str:
    """Return the filter of an act on many runs: those to which the verb can apply.

    A filter that names a status is taken as it is. Of an issue, ``retry`` and ``restart`` are about
    the runs that need somebody: open ones, and failed ones.

    Args:
        verb: As the command is called.
        query: The filter.

    Raises:
        FilterError: It is no filter, or it means every run.
    """
    found = parse(query)
    if found == And(()):
        raise FilterError("an empty filter means every run; say which, or status:open", query, 0)
    fields = {term.field for term in mentions(found)}
    statuses = VERBS[verb].meant_for
    if "issue" in fields and verb in {"retry", "restart"}:
        # Exact from the first moment: a run is shown as retrying only once it waited for a second.
        statuses = "open,failed"
    if not statuses or "status" in fields:
        return query
    return f"status:{statuses} ({query})"


# -- values ----------------------------------------------------------------------------------------


def span_of(text: str) -> int | None:
    """Return a duration's microseconds, or None if the text is none: ``90s``, ``1h30m``, ``7d``."""
    if not _UNITS.fullmatch(text):
        return None
    try:
        return duration_us(text, "duration")
    except UsageError:  # Longer than anything lasts.
        return None


def interval_of(text: str, now_us: int, *, ahead: bool = False) -> tuple[int, int] | None:
    """Return the first microsecond of a time and the first one after it, or None if it is none.

    Args:
        text: A duration is one moment, ``today`` is a day, ``2026-11-22T09:00`` a minute.
        now_us: This moment, in microseconds since the epoch.
        ahead: Whether a duration counts from now on, and not back.
    """
    span_us = span_of(text)
    if span_us is not None:
        at_us = now_us + span_us if ahead else now_us - span_us
        return at_us, at_us
    length = dt.timedelta(days=1)
    try:
        if text in {"today", "yesterday"}:
            day = dt.datetime.fromtimestamp(now_us // 1_000_000, dt.UTC)
            at = day.replace(hour=0, minute=0, second=0, microsecond=0)
            at -= dt.timedelta(days=text == "yesterday")
        elif _MOMENT.fullmatch(text):
            at = dt.datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=dt.UTC)
            if "T" in text:
                length = dt.timedelta(seconds=1 if text.count(":") > 1 else 60)
        else:
            return None
        return since_epoch_us(at), since_epoch_us(at + length)
    except (ValueError, OverflowError):  # The 31st of February; or the end of all years.
        return None


# -- parsing ---------------------------------------------------------------------------------------


@attrs.frozen
class _Token:
    kind: str
    text: str
    position: int


class _Parser:
    """Recursive descent: ``or`` binds weakest, then standing together, then ``-``."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._at = 0
        self._depth = 0
        self._terms = 0
        self._values_seen = 0

    def _split(self) -> Iterator[_Token]:
        position, end = 0, len(self._text.rstrip())
        while position < end:
            match = _TOKEN.match(self._text, position)
            if match is None:
                raise self._error("a quote is not closed", self._text.index('"', position))
            kind = str(match.lastgroup)
            yield _Token(kind, match[kind], match.start(kind))
            position = match.end()

    def _error(self, message: str, position: int) -> FilterError:
        return FilterError(message, self._text, position)

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def parse(self) -> Filter:
        """Parse all of it."""
        if not self._tokens:
            return And(())
        found = self._any()
        token = self._peek()
        if token is not None:
            raise self._error("this closes what was not opened", token.position)
        return found

    def _any(self) -> Filter:
        parts = [self._all()]
        while (token := self._peek()) is not None and token.text == "or":
            self._at += 1
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Filter:
        parts: list[Filter] = []
        while (token := self._peek()) is not None and token.kind != "close" and token.text != "or":
            parts.append(self._one(token))
        if not parts:
            token = self._peek()
            position = len(self._text) if token is None else token.position
            raise self._error("a term is missing here", position)
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self, token: _Token) -> Filter:
        self._at += 1
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise self._error(f"a filter has at most {TERMS_MAX} terms", token.position)
        if token.kind == "open":
            found = self._group(token)
            return Not(found) if token.text.startswith("-") else found
        if token.text == "not":
            return self._negated(token)
        if token.text.startswith("-"):
            if len(token.text) == 1:
                raise self._error(
                    "- stands before nothing; it has no blank behind it", token.position
                )
            return Not(self._term(_Token("word", token.text[1:], token.position + 1)))
        return self._term(token)

    def _negated(self, token: _Token) -> Filter:
        following = self._peek()
        if following is None or following.kind == "close" or following.text == "or":
            raise self._error("not stands before nothing", token.position)
        self._deeper(token)
        found = Not(self._one(following))
        self._depth -= 1
        return found

    def _deeper(self, token: _Token) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._error(f"a filter is at most {DEPTH_MAX} levels deep", token.position)

    def _group(self, token: _Token) -> Filter:
        self._deeper(token)
        found = self._any()
        closing = self._peek()
        if closing is None or closing.kind != "close":
            raise self._error("this parenthesis is not closed", token.position)
        self._at += 1
        self._depth -= 1
        return found

    def _term(self, token: _Token) -> Filter:
        field, colon, rest = _cut(token.text)
        if not colon:
            value = self._value("any", token.text, token.position)
            if not value.text:
                raise self._error("these quotes are empty", token.position)
            return Words(value)
        kind = self._kind(field, token.position)
        position = token.position + len(field) + 1
        if not rest:
            raise self._error(f"{field}: has no value", position)
        comparison = next((one for one in _COMPARISONS if rest.startswith(one)), "")
        if comparison:
            if kind in {"status", "text", "flag"}:
                raise self._error(f"{field} is or is not; it cannot be compared", position)
            value = self._value(kind, rest[len(comparison) :], position + len(comparison))
            return Term(field, comparison, (value,))
        low, dots, high = rest.partition("..")
        if dots and not rest.startswith('"') and kind in {"number", "duration", "time", "any"}:
            first = self._value(kind, low, position)
            return Term(field, "..", (first, self._value(kind, high, position + len(low) + 2)))
        if kind == "duration":
            raise self._error(f"compare it, as in {field}:>{rest}", position)
        return Term(field, "", tuple(self._values(kind, rest, position)))

    def _values(self, kind: str, text: str, position: int) -> Iterator[Value]:
        for one in _members(text):
            self._values_seen += 1
            if self._values_seen > VALUES_MAX:
                raise self._error(f"a filter has at most {VALUES_MAX} values", position)
            yield self._value(kind, one, position)
            position += len(one) + 1

    def _value(self, kind: str, text: str, position: int) -> Value:
        value = _plain(text)
        if not value.text and not value.is_quoted:
            raise self._error("a value is missing here", position)
        if '"' in text and not value.is_quoted:
            raise self._error("quotes stand around a whole value", position)
        wrong = _wrong(kind, value.text)
        if wrong:
            raise self._error(wrong, position)
        return value

    def _kind(self, field: str, position: int) -> str:
        base, dot, path = field.partition(".")
        if dot and base in PATHS:
            parts = path.split(".")
            if not all(part.isdecimal() or _NAME.fullmatch(part) for part in parts):
                raise self._error(
                    f"{field} is no path; write names and numbers with dots: {base}.customer.id",
                    position,
                )
            return "any"
        if field in FIELDS:
            return FIELDS[field].kind
        names = [*FIELDS, *(f"{one}.NAME" for one in PATHS)]
        near = difflib.get_close_matches(field, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise self._error(f"there is no field {field!r:.60}; {hint}", position)


def _wrong(kind: str, text: str) -> str:
    """Say why a field of this kind cannot have a value; an empty text if it can."""
    match kind:
        case "status":
            return _wrong_word(text, (*STATUSES, "open", "closed"), "status")
        case "flag":
            return _wrong_word(text, ("yes", "no", "any"), "answer")
        case "number" if not _NUMBER.fullmatch(text):
            return f"{text!r:.60} is no whole number"
        case "duration" if span_of(text) is None:
            return f"{text!r:.60} is no duration; write 90s, 5m, 2h or 7d"
        case "time" if interval_of(text, 0) is None:
            return (
                f"{text!r:.60} is no time; write 2h (ago), today, yesterday, 2026-11-22 or "
                "2026-11-22T09:00"
            )
        case _:
            return ""


def _wrong_word(text: str, known: Sequence[str], noun: str) -> str:
    if text in known:
        return ""
    near = difflib.get_close_matches(text, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"there is no {noun} {text!r:.60}; {hint}"


def _cut(text: str) -> tuple[str, str, str]:
    """Cut a term at its first colon, unless it begins with a quote."""
    return (text, "", "") if text.startswith('"') else text.partition(":")


def _members(text: str) -> Sequence[str]:
    """Cut values at their commas; those in quotes stay."""
    parts = re.split(r'((?:"(?:[^"\\]|\\.)*")|,)', text)
    found = [""]
    for part in parts:
        if part == ",":
            found.append("")
        else:
            found[-1] += part
    return found


def _plain(text: str) -> Value:
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        return Value(re.sub(r"\\(.)", r"\1", text[1:-1]), is_quoted=True)
    return Value(text)
