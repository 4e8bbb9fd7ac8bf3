"""The texts that are to be hidden, and what stands in their place; tracebacks without messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from durable.errors import UsageError

__all__ = ["HIDDEN", "Known", "bare_error", "bare_traceback"]

HIDDEN = "<redacted>"
# Shorter ones ("yes", "42") occur everywhere by chance; under their own keys they are hidden too.
TEXT_CHARACTERS_MIN = 4
NUMBER_CHARACTERS_MIN = 6
# What is remembered of all that was found: it bounds the memory.
KNOWN_CHARACTERS_MAX = 64 * 1024 * 1024

_HEAD = re.compile(r"[\s|+-]*(Exception Group )?Traceback \(most recent call last\):\s*$")
_FRAME = re.compile(r"[\s|]*File \".*\", line \d+(, in .*)?$")
_SOURCE = re.compile(r"[\s|]*    \S|[\s|]*\[Previous line repeated|[\s|]*[~^ ]+$")
_BETWEEN = re.compile(
    r"\s*$|[\s|]*(During handling of the above exception, another exception occurred:"
    r"|The above exception was the direct cause of the following exception:)\s*$"
    r"|[\s|]*\+-[+-]*( \d+ -+)?\s*$"
)
_ERROR = re.compile(r"([\w.]+)(?:: .*)?$", re.DOTALL)


class Known:
    """Texts that are hidden wherever they occur."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._by_start: dict[str, list[str]] = {}
        self._characters = 0

    def add(self, leaf: object) -> None:
        """Remember a text or a number.

        Raises:
            UsageError: It is too much to be remembered.
        """
        texts: set[str] = set()
        if isinstance(leaf, str) and len(leaf) >= TEXT_CHARACTERS_MIN and leaf != HIDDEN:
            # As it is, as a program shows it, and by its lines, as a traceback of a group does.
            texts = {leaf, repr(leaf)[1:-1], json.dumps(leaf)[1:-1]}
            texts |= {json.dumps(leaf, ensure_ascii=False)[1:-1]}
            texts |= {line.strip() for line in leaf.splitlines()}
        elif isinstance(leaf, int | float) and not isinstance(leaf, bool):
            texts = {text for text in (repr(leaf),) if len(text) >= NUMBER_CHARACTERS_MIN}
        for text in sorted(texts):
            if len(text) >= TEXT_CHARACTERS_MIN and text not in self._numbers:
                self._numbers[text] = len(self._numbers) + 1
                self._by_start.setdefault(text[:TEXT_CHARACTERS_MIN], []).append(text)
                self._characters += len(text)
        if self._characters > KNOWN_CHARACTERS_MAX:
            raise UsageError(
                f"what is to be redacted has more than {KNOWN_CHARACTERS_MAX:,} characters; export "
                "fewer runs at once, or redact *"
            )

    def __contains__(self, text: str) -> bool:
        return text in self._numbers

    def ready(self) -> None:
        """Say that all was learned: of texts that begin alike the longest is looked for first."""
        for texts in self._by_start.values():
            texts.sort(key=len, reverse=True)

    def without(self, text: str) -> str:
        """Return a text with each known one in it hidden."""
        return self._replaced(text, lambda _: HIDDEN)

    def numbered(self, text: str) -> str:
        """Return a text that tells rows apart with the number of each known one in its place."""
        return self._replaced(text, lambda known: f"<redacted {self._numbers[known]}>")

    def _replaced(self, text: str, new: Callable[[str], str]) -> str:
        """Replace known texts from the left, the longest first.

        By their first characters: however many are known, each place costs one look.
        """
        size = TEXT_CHARACTERS_MIN
        if not self._by_start or len(text) < size:
            return text
        parts: list[str] = []
        at = begun = 0
        while at <= len(text) - size:
            texts = self._by_start.get(text[at : at + size], ())
            known = next((one for one in texts if text.startswith(one, at)), None)
            if known is None:
                at += 1
                continue
            parts += text[begun:at], new(known)
            at += len(known)
            begun = at
        return "".join([*parts, text[begun:]]) if parts else text


def bare_error(text: str) -> str:
    """Return an error in one line, ``Declined: no money``, without its message."""
    found = _ERROR.match(text)
    return f"{found[1]}: {HIDDEN}" if found else HIDDEN


def bare_traceback(text: str) -> str:
    """Return a traceback with its frames, and without its messages."""
    kept: list[str] = []
    is_in_frames = False
    for line in text.split("\n"):
        if _HEAD.match(line):
            is_in_frames = True
        elif is_in_frames and not (_FRAME.match(line) or _SOURCE.match(line)):
            is_in_frames = False
        if is_in_frames or _BETWEEN.match(line):
            kept.append(line)
        elif not kept or not kept[-1].endswith(HIDDEN):
            kept.append(bare_error(line.lstrip(" |+-")))
    return "\n".join(kept)
