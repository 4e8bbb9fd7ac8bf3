"""Log records: silent on replay, and labelled with the run they belong to.

A record factory is the standard library's own hook. Records made in a replayed drain get a level
below every handler's, so they go nowhere; all others carry ``durable_run``, ``durable_workflow``,
``durable_step`` and ``durable_attempt``, and are kept with the run. (A handler of ours would keep
`logging.basicConfig` from doing anything, and warnings from the terminal.)

What the engine itself says about a run carries the same labels, by `about`, and is not kept: the
history of the run has it. (``extra=`` cannot set them: the standard library refuses names that a
record has already.)
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import attrs

from durable._core import context

__all__ = ["Subject", "about", "install", "uninstall"]

_BELOW_EVERY_HANDLER = -1
_engines = 0
_is_below = False
_previous: Any = None


@attrs.frozen
class Subject:
    """Which run, step and attempt a record of the engine's is about."""

    run: str
    workflow: str = ""
    step: str = ""
    attempt: int = 0


_subject: ContextVar[Subject | None] = ContextVar("durable_subject", default=None)


@contextmanager
def about(subject: Subject) -> Generator[None]:
    """Subject the records that the engine makes meanwhile, whatever code calls it."""
    token = _subject.set(subject)
    try:
        yield
    finally:
        _subject.reset(token)


def _factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record: logging.LogRecord = _previous(*args, **kwargs)
    record.durable_run = record.durable_workflow = record.durable_step = ""
    record.durable_attempt = 0
    if not isinstance(record.levelno, int):  # `logging.makeLogRecord`: a copy, to be filled in.
        return record
    subject = _subject.get()
    if subject is not None:
        record.durable_run, record.durable_workflow = subject.run, subject.workflow
        record.durable_step, record.durable_attempt = subject.step, subject.attempt
        return record
    runner = context.workflow.get()
    if runner is not None:
        if runner.is_silent:
            record.levelno = _BELOW_EVERY_HANDLER
            return record
        info = runner.info()
        record.durable_run, record.durable_workflow = info.run_id, info.workflow
        runner.keep(record)
        return record
    attempt = context.attempt.get()
    if attempt is not None:
        about = attempt.info()
        record.durable_run, record.durable_step = about.run_id, about.step_id
        record.durable_attempt = about.number
        attempt.keep(record)
    return record


def install() -> None:
    """Begin to label records; counted, for several engines may be open."""
    global _engines, _previous
    _engines += 1
    if _engines == 1 and not _is_below:
        _previous = logging.getLogRecordFactory()
        logging.setLogRecordFactory(_factory)


def uninstall() -> None:
    """Stop labelling when the last engine closes, unless somebody put another factory on top."""
    global _engines, _is_below
    _engines -= 1
    if _engines == 0:
        # Under another factory ours stays for good: putting it on top again would make a ring.
        _is_below = logging.getLogRecordFactory() is not _factory
        if not _is_below:
            logging.setLogRecordFactory(_previous)
