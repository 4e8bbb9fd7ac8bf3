"""Events of a run as lines, for `durable tail` and `durable show --events`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from durable_cli._output import Cell, clean
from durable_cli._output import cells as cells_of
from durable_cli._talk import decoded

if TYPE_CHECKING:
    from durable.inspection import EventView
    from durable_cli._output import Screen

__all__ = ["plain", "write_event"]

# Of what an event says; `durable show RUN --payloads` shows it whole.
CONTENT_CELLS = 100
# Of an event's line on a terminal: time, run, number, status, kind, step, name, content.
WIDTHS = (24, 10, 3, 11, 8, 4, 10, 0)


def plain(event: EventView) -> dict[str, Any]:
    """Return an event as plain data, with its payloads decoded."""
    fields = attrs.asdict(event)
    return fields | {name: decoded(fields[name]) for name in ("arguments", "result")}


def write_event(screen: Screen, event: EventView) -> None:
    """Write a line, tab-separated into a pipe."""
    status = screen.status(event.status)
    content = clean(event.error or event.result or event.arguments)
    cells = (
        Cell(f"{event.at:%Y-%m-%d %H:%M:%S}.{event.at.microsecond // 1000:03}Z", ("dim",)),
        Cell(clean(event.run)),
        Cell(str(event.seq)),
        status,
        Cell(clean(event.kind)),
        Cell(clean(event.step)),
        Cell(clean(event.name)),
        Cell(screen.cut(content, CONTENT_CELLS)),
    )
    if not screen.is_terminal:
        screen.rows([cells])
        return
    # Lines come one by one, so the columns cannot know how wide they will be.
    shown: list[str] = []
    room = screen.columns
    for cell, width in zip(cells, WIDTHS, strict=True):
        text = screen.cut(cell.text, max(0, room - 1))
        padded = text + " " * (width - cells_of(text))
        room -= cells_of(padded) + 1
        shown.append(screen.style(padded, *cell.styles))
    screen.line(" ".join(shown).rstrip(" "))
