"""Whose code a frame is: the user's, durable's, an installed package's or Python's own."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from types import FrameType
from typing import Any, Literal

__all__ = ["Owner", "frames_of_coroutine", "innermost_of_user", "owner_of"]

Owner = Literal["user", "durable", "installed", "python"]

_DURABLE = __file__.removesuffix("_core/frames.py")
_STDLIB = f"{sysconfig.get_path('stdlib') or '/nowhere'}/"
_INSTALLED = ("/site-packages/", "/dist-packages/")


def owner_of(path: str) -> Owner:
    """Return whose code stands in a file.

    Args:
        path: `co_filename` of a code object. durable may itself be installed, and the standard
            library's folder holds ``site-packages``: the narrower answer counts.
    """
    if path.startswith(_DURABLE):
        return "durable"
    if any(folder in path for folder in _INSTALLED):
        return "installed"
    return "python" if path.startswith((_STDLIB, "<frozen")) else "user"


def frames_of_coroutine(coro: Any) -> Iterator[FrameType]:
    """Yield the frames of what a suspended coroutine awaits, outermost first."""
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "ag_frame", None)
        if frame is not None:
            yield frame
        coro = getattr(coro, "cr_await", None) or getattr(coro, "ag_await", None)


def innermost_of_user(coro: Any) -> str:
    """Return where the user's code waits in a suspended coroutine, as ``file:line``, or nothing.

    Where no frame is the user's, it is the innermost one that is not durable's.
    """
    found, is_user = "", False
    for frame in frames_of_coroutine(coro):
        owner = owner_of(frame.f_code.co_filename)
        if owner == "user" or (owner != "durable" and not is_user):
            found, is_user = f"{frame.f_code.co_filename}:{frame.f_lineno}", owner == "user"
    return found
