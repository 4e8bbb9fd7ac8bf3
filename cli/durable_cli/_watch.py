"""``--watch``: the same again whenever the file has changed, or after some seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.inspection import Viewer
    from durable_cli._output import Screen

__all__ = ["repeated"]

_HOME, _CLEAR_BELOW = "\x1b[H", "\x1b[J"
_OTHER_SCREEN, _OWN_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


def repeated(screen: Screen, runs: Viewer, once: Callable[[], None], every_s: float | None) -> None:
    """Show something once; or, with an interval, again and again until Ctrl-C.

    On a terminal it is drawn anew in place, on a screen of its own; a pipe gets one after the
    other. It is shown again when somebody has committed, and at the latest after the interval: ages
    grow, and workers die, without a commit.
    """
    if every_s is None:
        once()
        return
    control = screen.control if screen.is_terminal else _nothing
    control(_OTHER_SCREEN)
    try:
        while True:
            control(_HOME)
            mark = runs.mark()
            once()
            control(_CLEAR_BELOW)
            screen.flush()
            runs.wait(mark, every_s)
    finally:
        control(_OWN_SCREEN)


def _nothing(_: str) -> None:
    """Into a pipe no cursor is moved."""
