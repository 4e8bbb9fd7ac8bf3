r"""What people and programs read: tables, colour, JSON, and no control character of anybody's.

Law: every text out of the file, of an error or from the command line passes `clean` (or
`clean_lines`, or `to_json`) before it is written. A run may be called ``\x1b]0;owned``, and U+202E
would show ``gpj.exe`` as ``exe.jpg``.
"""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Any, TextIO

import attrs

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

__all__ = [
    "Cell",
    "Screen",
    "age",
    "cells",
    "clean",
    "clean_lines",
    "cut",
    "moment",
    "size",
    "to_json",
]

# What a terminal that does not tell its size most often has.
COLUMNS_WITHOUT_TERMINAL = 80
GAP = "  "
# A column that must give way keeps this many cells: enough to tell runs apart.
COLUMN_CELLS_MIN = 10
# What part of the screen the last column, the one with the text, gets before others give way to it.
TEXT_SHARE = 0.4

_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34",
    "magenta": "35", "cyan": "36",
}  # fmt: skip

_BARS = "▁▂▃▄▅▆▇█"

# Shape and colour both tell the status: one of them is enough. None of the shapes is wide.
_STATUS_LOOKS = {
    "blocked": ("■", "red"),
    "paused": ("‖", "yellow"),
    "running": ("●", "blue"),
    "retrying": ("▲", "yellow"),
    "queued": ("○", "cyan"),
    "waiting": ("◇", "cyan"),
    "sleeping": ("◌", "cyan"),
    "completed": ("✓", "green"),
    "fired": ("✓", "green"),
    "failed": ("✕", "red"),
    "exhausted": ("✕", "red"),
    "damaged": ("■", "red"),
    "cancelled": ("⊘", "magenta"),
    "terminated": ("⊗", "magenta"),
    "abandoned": ("⊘", "dim"),
    "resolved": ("✓", "green"),
    "rejected": ("✕", "red"),
    "refused": ("✕", "red"),
    "received": ("↓", "cyan"),
    "accepted": ("↓", "cyan"),
    "requested": ("⊘", "magenta"),
    "reached": ("⊘", "red"),
    "later": ("◇", "cyan"),
    "continued": ("→", "dim"),
}


# -- text ------------------------------------------------------------------------------------------


def clean(text: str) -> str:
    r"""Return the text with every character that is not plainly visible as ``\x1b`` or ``\u202e``.

    Control characters, ANSI escapes, changes of direction, invisible and lone half characters; the
    space alone is left of the spaces. Newlines and tabs are shown too.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def clean_lines(text: str) -> str:
    """Do as `clean` does, but keep newlines: for tracebacks."""
    return "\n".join(map(clean, text.split("\n")))


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


def cells(text: str) -> int:
    """Return how many cells of a terminal a clean text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells_of_one, text))


def _cells_of_one(one: str) -> int:
    if unicodedata.category(one) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(one) in {"W", "F"} else 1


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """Return a clean text in at most so many cells, with an ellipsis for what is missing."""
    if cells(text) <= width:
        return text
    room = width - cells(ellipsis)
    if room < 0:
        return ""
    kept = 0
    for one in text:
        room -= _cells_of_one(one)
        if room < 0:
            break
        kept += 1
    return text[:kept].rstrip(" ") + ellipsis


# -- time ------------------------------------------------------------------------------------------


def age(past: dt.timedelta) -> str:
    """Return how long ago, in one unit: ``12s``, ``3m``, ``7h``, ``40d``."""
    seconds = max(0, int(past.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def moment(at: dt.datetime) -> str:
    """Return a moment for people, in UTC: ``2026-11-22 09:13:02Z``."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at.year >= 1_000 else "before all time"


def size(count: int) -> str:
    """Return bytes for people: ``512 B``, ``4.0 KiB``, ``1.2 GiB``."""
    if count < 1_024:
        return f"{count} B"
    amount, units = count / 1_024, ["KiB", "MiB", "GiB", "TiB"]
    while amount >= 1_023.95 and len(units) > 1:
        amount /= 1_024
        del units[0]
    return f"{amount:,.1f} {units[0]}"


# -- JSON ------------------------------------------------------------------------------------------


def to_json(value: Any, *, ascii_only: bool = False, is_line: bool = False) -> str:
    """Return JSON: times end in Z, and nothing invisible is written as it is."""
    import json

    indent = None if is_line else 2
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, default=_to_plain)
    if text.replace("\n", "").isprintable():
        return text
    # Outside of strings JSON is plain ASCII, so what is escaped here is always inside one.
    return "".join(one if one == "\n" or one.isprintable() else _json_escaped(one) for one in text)


def _json_escaped(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _to_plain(value: Any) -> Any:
    import datetime as dt

    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if attrs.has(type(value)):
        return {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    raise TypeError(f"{type(value).__name__} has no JSON form")


# -- the screen ------------------------------------------------------------------------------------


@attrs.frozen
class Cell:
    """A clean text with its colours."""

    text: str
    styles: tuple[str, ...] = ()


class Screen:
    """Where output goes: a terminal of some width and abilities, or a pipe.

    Args:
        stream: A text stream.
        color: ``auto``, ``always`` or ``never``.
    """

    def __init__(self, stream: TextIO, color: str = "auto") -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()
        self.is_unicode = (stream.encoding or "utf-8").lower().replace("-", "").startswith("utf")
        self.is_colored = _wants_color(color, is_terminal=self.is_terminal)
        self.columns = _columns(stream)
        self.ellipsis = "…" if self.is_unicode else "..."

    def line(self, text: str = "") -> None:
        """Write a clean line; what the encoding lacks is escaped."""
        if not self.is_unicode:
            encoding = self._stream.encoding
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(text + "\n")

    def json(self, value: Any, *, is_line: bool = False) -> None:
        """Write a value as JSON, indented or in one line."""
        self.line(to_json(value, ascii_only=not self.is_unicode, is_line=is_line))

    def text(self, text: str) -> None:
        """Write a text that may have several lines, without an end of its own."""
        shown = clean_lines(text)
        if not self.is_unicode:
            encoding = self._stream.encoding
            shown = shown.encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(shown)

    def control(self, sequence: str) -> None:
        """Move the cursor, or clear: a sequence of ours, never of the file."""
        self._stream.write(sequence)

    def flush(self) -> None:
        """Let whoever reads have what was written so far."""
        self._stream.flush()

    def style(self, text: str, *styles: str) -> str:
        """Return the text in colour, if colour is wanted."""
        if not self.is_colored or not styles or not text:
            return text
        return f"\x1b[{';'.join(_CODES[one] for one in styles)}m{text}\x1b[0m"

    def status(self, status: str) -> Cell:
        """Return a status as word, colour and, on a terminal, shape."""
        shape, color = _STATUS_LOOKS.get(status, ("·", "dim"))
        word = clean(status)
        plain = not self.is_terminal or not self.is_unicode
        return Cell(word if plain else f"{shape} {word}", (color,))

    def bars(self, counts: Sequence[int]) -> str:
        """Return a bar for each count; the highest is of the most, the lowest of none."""
        most, top = max(counts, default=0), len(_BARS) - 1
        return "".join(_BARS[(count * top + most - 1) // most if most else 0] for count in counts)

    def cut(self, text: str, width: int) -> str:
        """Return a clean text in at most so many cells."""
        return cut(text, width, self.ellipsis)

    def rows(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Write rows for a program: tab-separated. A clean text holds no tab."""
        for row in rows:
            self.line("\t".join(self.style(cell.text, *cell.styles) for cell in row))

    def listing(
        self, titles: Sequence[str], rows: Sequence[Sequence[Cell]], yielding: Sequence[int]
    ) -> None:
        """Write a table for people; into a pipe, or if it is empty, the rows alone."""
        if self.is_terminal and rows:
            self.table(titles, rows, yielding=yielding)
        else:
            self.rows(rows)

    def table(
        self,
        titles: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        yielding: Sequence[int] = (),
        is_cut: bool = True,
    ) -> None:
        """Write an aligned table.

        Args:
            titles: Of the columns; the last one holds free text and gives way first.
            rows: As many cells each.
            yielding: The columns that give way next, the widest first.
            is_cut: Whether lines end at the edge of the screen.
        """
        head = [Cell(title, ("dim",)) for title in titles]
        widths = [max(map(cells, column)) for column in zip(*_texts([head, *rows]), strict=True)]
        room = self.columns
        if is_cut:
            _fit(widths, room - len(GAP) * (len(widths) - 1), yielding)
        else:
            room = sum(widths) + len(GAP) * len(widths)
        for row in (head, *rows):
            self.line(self._aligned(row, widths, room))

    def _aligned(self, row: Sequence[Cell], widths: Sequence[int], room: int) -> str:
        parts: list[str] = []
        last = max((at for at, cell in enumerate(row) if cell.text), default=-1)
        for cell, width in zip(row[: last + 1], widths, strict=False):
            text = self.cut(cell.text, max(0, min(width, room)))
            padding = " " * (width - cells(text)) + GAP
            room -= width + len(GAP)
            parts.append(self.style(text, *cell.styles) + padding)
        return "".join(parts).rstrip(" ")


def _texts(rows: Iterable[Sequence[Cell]]) -> Iterable[list[str]]:
    return ([cell.text for cell in row] for row in rows)


def _fit(widths: list[int], room: int, yielding: Sequence[int]) -> None:
    """Narrow the last column, then the yielding ones, until all fit or nothing can give way."""
    last = len(widths) - 1
    wanted = min(widths[last], int(room * TEXT_SHARE))
    while sum(widths[:last]) + wanted > room:
        widest = max(yielding, key=lambda at: widths[at], default=last)
        if widest == last or widths[widest] <= COLUMN_CELLS_MIN:
            break
        widths[widest] -= 1
    widths[last] = max(0, min(widths[last], room - sum(widths[:last])))


def _wants_color(choice: str, *, is_terminal: bool) -> bool:
    """Decide by the option, then NO_COLOR, then FORCE_COLOR, then the terminal.

    Source: https://no-color.org and https://force-color.org: set means set and not empty.
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal and os.environ.get("TERM") != "dumb"


def _columns(stream: TextIO) -> int:
    text = os.environ.get("COLUMNS", "")
    if text.isascii() and text.isdecimal() and 0 < len(text) < 5 and int(text) > 0:
        return int(text)
    try:
        return os.get_terminal_size(stream.fileno()).columns or COLUMNS_WITHOUT_TERMINAL
    except (OSError, ValueError):
        return COLUMNS_WITHOUT_TERMINAL
