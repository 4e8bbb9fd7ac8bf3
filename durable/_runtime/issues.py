"""Issues: like failures are one. What makes two failures alike, and the rows that count them.

The fingerprint is made when it happens, of the error's type and the functions of the user's own
code in its innermost traceback (no line numbers: an edit above the place changes nothing); where no
frame is the user's, of the message with its numbers, ids, paths and quoted texts taken out.

Source: the order of preference is Sentry's (stack, then exception, then message).
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import attrs

from durable._core.frames import owner_of
from durable._store.statements import Rows

__all__ = ["Likeness", "blocked", "failure", "normalise", "rows", "slow_rows"]


# So many of the innermost frames count: a change far up the stack is still the same failure.
FRAMES_MAX = 5
TITLE_CHARACTERS_MAX = 300
SAMPLE_CHARACTERS_MAX = 64_000
HOUR_US = 3_600_000_000
# What is tried again so often is an issue, although it has not failed for good.
RETRIES_MIN = 3

_REMOTE = "The traceback of the process that raised it:"
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line \d+, in (?P<function>\S+)', re.MULTILINE)
# In this order: what is found first is taken out first.
_VARIABLE = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"\bhttps?://\S+"), "<url>"),
    (re.compile(r"(?:'[^']*'|\"[^\"]*\"|`[^`]*`)"), "<text>"),
    (re.compile(r"(?<![\w.])/(?:[\w.-]+/)*[\w.-]+"), "<path>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "<ip>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{12,}\b"), "<hash>"),
    (re.compile(r"\d+(?:\.\d+)?"), "<n>"),
)


@attrs.frozen
class Likeness:
    """What like failures have in common.

    Attributes:
        fingerprint: 16 hexadecimal digits.
        kind: ``failed``, ``retrying``, ``blocked`` or ``watchdog``.
        type: Of the error, or why a run is blocked.
        title: One line with the variable parts taken out.
        function: The innermost function of the user's code, or of the step; may be empty.
        place: Its file; may be empty.
    """

    fingerprint: str
    kind: str
    type: str
    title: str
    function: str
    place: str


def normalise(message: str) -> str:
    """Return a message with its variable parts as ``<n>``, ``<uuid>``, ``<path>`` and the like."""
    first = message.strip().partition("\n")[0][:TITLE_CHARACTERS_MAX]
    for pattern, stands_for in _VARIABLE:
        first = pattern.sub(stands_for, first)
    return first


def failure(kind: str, record: dict[str, Any], function: str) -> Likeness:
    """Return what a failure is like.

    Args:
        kind: ``failed`` or ``retrying``.
        record: See `record_exception`.
        function: The activity or workflow it is of.
    """
    name = str(record.get("type", ""))
    chosen = record.get("attributes", {}).get("durable_fingerprint")
    message = normalise(str(record.get("message", "")))
    frames = _frames_of_user(str(record.get("traceback", "")))
    if isinstance(chosen, str) and chosen:
        parts = [kind, chosen]
    elif frames:
        parts = [kind, name, *(f"{_stem(path)}:{function}" for path, function in frames)]
    else:
        parts = [kind, name, function, message]
    inner = frames[-1] if frames else ("", function)
    return Likeness(
        _digest(parts), kind, name, f"{name.rpartition('.')[2]}: {message}", inner[1], inner[0]
    )


def blocked(workflow: str, why: str, message: str, difference: dict[str, Any]) -> Likeness:
    """Return what a run that is blocked is like: the same edit blocks many."""
    if difference:
        step, was, now = (str(difference[side]) for side in ("step", "recorded", "code"))
        if why == "payload":
            was, now = was.partition(" -> ")[0], normalise(now)
            title = f"the recorded result of step {step} ({was}) does not decode: {now}"
        else:
            was, now = (re.split(r"[(\[{]", side)[0] for side in (was, now))
            title = f"code changed at step {step}: recorded {was}, code has {now}"
            if was == now:
                title = f"code changed at step {step}: {now} gets other arguments"
        place = str(difference["where"]).rpartition(":")[0]
        parts = ["blocked", workflow, why, step, was, now]
        return Likeness(_digest(parts), "blocked", why, title, workflow, place)
    title = normalise(message)
    return Likeness(_digest(["blocked", workflow, why, title]), "blocked", why, title, workflow, "")


def rows(
    likeness: Likeness, pk: int, workflow: str, code: str, error: str, sample: str, now_us: int
) -> Rows:
    """Return the rows that count one more of a kind, and tell its run which it is."""
    return [
        *_counted(likeness, pk, workflow, code, sample, now_us),
        ("set_issue_of_run", (pk, likeness.fingerprint, error[:TITLE_CHARACTERS_MAX])),
    ]


def slow_rows(pk: int, workflow: str, code: str, stack: str, now_us: int) -> Rows:
    """Return the rows that count one more drain that did not come to rest for long."""
    frames = _frames_of_user(stack)
    path, function = frames[-1] if frames else ("", workflow)
    title = f"workflow code did not come to rest for a second, in {function}"
    parts = ["watchdog", workflow, _stem(path), function]
    like = Likeness(_digest(parts), "watchdog", "slow drain", title, function, path)
    return _counted(like, pk, workflow, code, stack, now_us)


def _counted(one: Likeness, pk: int, workflow: str, code: str, sample: str, now_us: int) -> Rows:
    return [
        ("insert_alert", (one.fingerprint, pk, now_us)),
        (
            "upsert_issue",
            (
                one.fingerprint, one.kind, one.type, one.title, one.function, one.place,
                sample[:SAMPLE_CHARACTERS_MAX], pk, now_us, now_us,
            ),
        ),
        ("count_issue", (one.fingerprint, workflow, code, now_us // HOUR_US)),
    ]  # fmt: skip


def _frames_of_user(traceback: str) -> list[tuple[str, str]]:
    """Return (file, function) of the user's frames in the innermost traceback, outermost first."""
    innermost = traceback.rpartition(_REMOTE)[2]
    blocks = innermost.split("Traceback (most recent call last):")
    for block in blocks[1:] or blocks:
        found = [
            (match["path"], match["function"])
            for match in _FRAME.finditer(block)
            if owner_of(match["path"]) == "user"
        ]
        if found:
            return found[-FRAMES_MAX:]
    return []


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".py")


def _digest(parts: list[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
