"""What people are told of failures, by `logging`: nothing that fails is silent.

A failed attempt is a WARNING, a failed run an ERROR. The first failure of a kind is told with its
whole traceback, the others in one line. What is to be told is said in the next turn of the host's
loop, when the host has its loop back: handlers may ask for it.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING

from durable._core.failures import summary
from durable._runtime.logs import Subject, about
from durable.payloads import decode_document

if TYPE_CHECKING:
    from durable._runtime.attempts import PendingStep
    from durable._runtime.runs import LiveRun

__all__ = ["Told"]

logger = logging.getLogger("durable.activity")
run_logger = logging.getLogger("durable.engine")

# Kinds whose traceback was told; beyond it, each is told whole once more.
KINDS_MAX = 1_000
LINE_CHARACTERS_MAX = 500


class Told:
    """What one worker has told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._kinds: set[tuple[str, str]] = set()

    def _is_first(self, kind: tuple[str, str]) -> bool:
        """Say whether a failure is the first of its kind: the function's name, the error's."""
        if kind in self._kinds:
            return False
        if len(self._kinds) >= KINDS_MAX:
            self._kinds.clear()
        self._kinds.add(kind)
        return True

    def attempt_failed(self, pending: PendingStep, error: BaseException, wait_us: int) -> None:
        """Tell that an attempt failed, and when the next one begins."""
        self._say(pending, error, f"the next attempt in {wait_us / 1e6:.3g} s")

    def step_failed(self, pending: PendingStep, error: BaseException) -> None:
        """Tell that a step failed for good: the workflow gets the exception."""
        self._say(pending, error, "there is no other attempt")

    def run_ended(self, run: LiveRun, state: str, payload: bytes) -> None:
        """Tell that a run failed, and of tasks of any run that failed and that nothing awaited."""
        for name, error in run.driver.loop.unseen_failures():
            self._loop.call_soon(
                _warn,
                run.subject(),
                f"run {run.row.name}: task {name} failed, and nothing has awaited it: "
                f"{_line_of(error)}",
                error,
                context=Context(),
            )
        if state == "failed":
            record = decode_document(payload)
            line = f"run {run.row.name} ({run.row.workflow}) failed: {summary(record)}"
            trace = str(record.get("traceback", "")).rstrip()
            if self._is_first((run.row.workflow, str(record.get("type")))) and trace:
                line = f"{line}\n{trace}"
            self._loop.call_soon(_error, run.subject(), line, context=Context())

    def _say(self, pending: PendingStep, error: BaseException, then: str) -> None:
        name, run = pending.activity.name, pending.run
        self._loop.call_soon(
            _warn,
            run.subject(pending.step_id, pending.number),
            f"run {run.row.name}: attempt {pending.number} of {name} (step "
            f"{pending.step_id}) failed, {then}: {_line_of(error)}",
            error if self._is_first((name, type(error).__qualname__)) else None,
            context=Context(),  # It is no line of the code's own, to be kept with its run.
        )


def _warn(subject: Subject, line: str, error: BaseException | None) -> None:
    with about(subject):
        logger.warning("%s", line, exc_info=error)


def _error(subject: Subject, line: str) -> None:
    with about(subject):
        run_logger.error("%s", line)


def _line_of(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  a text that cannot be made is no reason to say nothing
        text = type(error).__name__
    text = " ".join(text.split())
    return text if len(text) <= LINE_CHARACTERS_MAX else text[:LINE_CHARACTERS_MAX] + "..."
