"""What goes wrong, as one line on stderr and an exit code; a traceback only for our own mistakes.

====  ==============================================================================
0     done
1     an unexpected error; or the file cannot be used: missing, foreign, damaged; or the run that
      was waited for failed
2     wrong usage
3     not found
4     the verb does not fit the run's state
5     the file stayed locked
6     the run said no: an update was refused, failed or abandoned, a query failed; or a check
      found what does not fit, or a comparison a difference
7     the run that was waited for was cancelled or terminated
8     the time to wait was over, and the run is open still
130   Ctrl-C
141   whoever read the output went away, as under ``| head``
143   a worker got SIGTERM and stopped in order
====  ==============================================================================
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

import click

from durable import errors
from durable_cli._output import Screen, cells, clean, clean_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = [
    "CHECK_FAILED",
    "FAILED",
    "NOT_FOUND",
    "OPEN_STILL",
    "REFUSED",
    "STOPPED",
    "WRONG_STATE",
    "Failed",
    "ReaderGone",
    "code_of",
]

FAILED, USAGE, NOT_FOUND, WRONG_STATE, BUSY, REFUSED, STOPPED, OPEN_STILL = range(1, 9)
CHECK_FAILED = REFUSED
INTERRUPTED, BROKEN_PIPE = 130, 141
# Of a filter, before and after the place that is wrong.
POINTED_CELLS = 60
_HERE = __file__.rpartition("/")[0]

# The first class that fits counts.
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.RunNotFound, NOT_FOUND),
    (errors.TokenUnknown, NOT_FOUND),
    (errors.UpdateRefused, REFUSED),
    (errors.UpdateFailed, REFUSED),
    (errors.UpdateAbandoned, REFUSED),
    (errors.QueryFailed, REFUSED),
    (errors.WrongState, WRONG_STATE),
    (errors.RunClosed, WRONG_STATE),
    (errors.PayloadError, FAILED),  # What is stored does not read; nobody typed it wrongly.
    (errors.UsageError, USAGE),
    (errors.StoreBusy, BUSY),
    (errors.DurableError, FAILED),
    (click.UsageError, USAGE),
    (click.ClickException, FAILED),
    (click.Abort, INTERRUPTED),
    (KeyboardInterrupt, INTERRUPTED),
)


class Failed(click.ClickException):
    """A command failed, and said so; a hint may follow, and the exit code may be another."""

    def __init__(self, message: str, hint: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class ReaderGone(Exception):
    """Whoever read the output went away; click would make of a `BrokenPipeError` exit code 1."""


def code_of(error: BaseException) -> int:
    """Return the exit code of an error."""
    if isinstance(error, Failed):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def guarded(command: Callable[[], int]) -> int:
    """Run a command, report what goes wrong, and return the exit code."""
    try:
        code = command()
        sys.stdout.flush()
    except (BrokenPipeError, ReaderGone):
        _stop_writing()
        return BROKEN_PIPE
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else FAILED
    except BaseException as error:  # noqa: BLE001  each one becomes a line and a code
        return _report(error)
    return code


def _stop_writing() -> None:
    """Give stdout a place to go: Python flushes it at exit, and would complain about the pipe."""
    import os

    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # A stdout that is no file has no pipe to break.
        return


def _report(error: BaseException) -> int:
    code = code_of(error)
    if code == INTERRUPTED:
        return code
    message, hint = _explain(error)
    screen = Screen(sys.stderr)
    if message is None:
        screen.line(_trace(error))
        message = f"{type(error).__name__}: {error}"
    elif isinstance(error, Failed) and error.__cause__ is not None:
        screen.line(_trace(error.__cause__.with_traceback(_beyond_ours(error.__cause__))))
    screen.line(screen.style("error:", "red", "bold") + f" {clean(message)}")
    if hint:
        screen.line(screen.style("hint:", "cyan", "bold") + f" {clean_lines(hint)}")
    return code


def _trace(error: BaseException) -> str:
    return clean_lines("".join(traceback.format_exception(error)).rstrip("\n"))


def _beyond_ours(error: BaseException) -> TracebackType | None:
    """Return the traceback from the first frame that is neither ours nor the import system's."""
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_ours(file: str) -> bool:
    return file.startswith(("<frozen importlib", _HERE)) or file.endswith("importlib/__init__.py")


def _pointed(error: errors.FilterError) -> str:
    """Return the part of a filter that is wrong, and a caret under the place."""
    before, after = error.text[: error.position], error.text[error.position :]
    shown = clean(before[-POINTED_CELLS:]) if before else ""
    return f"{shown}{clean(after[:POINTED_CELLS])}\n      {' ' * cells(shown)}^"


def _may_be_filter(error: click.NoSuchOption) -> bool:
    """Say whether an unknown option of one letter stands where a filter may: ``-status:failed``."""
    takes = () if error.ctx is None else error.ctx.command.params
    is_letter = not error.option_name.startswith("--")
    return is_letter and any("QUERY" in f"{one.metavar} {one.name}".upper() for one in takes)


def _explain(error: BaseException) -> tuple[str | None, str]:
    """Return the line and a hint; no line for what should not have happened."""
    match error:
        case Failed():
            return error.message, error.hint
        case errors.FilterError():
            return error.message, _pointed(error)
        case click.NoSuchOption() if _may_be_filter(error):
            path = error.ctx.command_path if error.ctx is not None else "durable"
            where = "a filter that begins with - goes after --: durable ls -- -status:failed"
            return error.format_message(), f"{path} --help; {where}"
        case click.UsageError():
            path = error.ctx.command_path if error.ctx is not None else "durable"
            return error.format_message(), f"{path} --help"
        case click.ClickException():
            return error.format_message(), ""
        case errors.CommitUnknown():
            return str(error), "look with `durable show RUN` before you ask again"
        case errors.StoreBusy():
            return str(
                error
            ), "another process writes to it, or was stopped while it did; try again"
        case errors.DurableError() | OSError():
            return str(error), ""
        case UnicodeDecodeError():
            return "the file holds text that is not UTF-8: it was damaged, or changed by hand", ""
        case _:
            return None, ""
