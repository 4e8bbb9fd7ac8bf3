"""The first ordinal of an id, as an engine, a client or a transaction starts it."""

from __future__ import annotations

from typing import Any

from durable._clock import new_id
from durable._store.rows import NewRun
from durable.definitions import Workflow
from durable.payloads import checksum, encode_document

__all__ = ["first_run"]


def first_run(
    workflow: Workflow[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    encoded: bytes,
    *,
    arguments: str | int,
    salt: int,
    now_us: int,
    worker_id: int | None = None,
) -> NewRun:
    """Return the run that a start makes.

    Args:
        workflow: What it runs, with the options of the start.
        args: The positional arguments.
        kwargs: The keyword arguments.
        encoded: What the codec made of both.
        arguments: What the row holds of them: the text, or the id of its blob.
        salt: The run's.
        now_us: This moment.
        worker_id: Who begins it at once, if it has no delay; None for whoever claims it.
    """
    options = workflow.start_options
    begins_us, limit_us = now_us + options.start_delay_us, options.run_timeout_us
    is_delayed = options.start_delay_us > 0
    begun_us = None if is_delayed or worker_id is None else now_us
    return NewRun(
        id=new_id(now_us) if options.id is None else options.id,
        ordinal=1,
        workflow=workflow.name,
        state="parked" if is_delayed else "ready",
        worker_id=None if is_delayed else worker_id,
        wake_at_us=begins_us if is_delayed else None,
        queue=options.queue,
        priority=options.priority,
        headers=encode_document(options.headers).decode() if options.headers else None,
        salt=salt,
        arguments=arguments,
        fingerprint=workflow.codec.fingerprint(args, kwargs, encoded),
        checksum=checksum(encoded),
        cause="started",
        code=workflow.fingerprint,
        created_us=now_us,
        started_us=begun_us,
        clock_us=begun_us,
        deadline_us=None if limit_us is None else begins_us + limit_us,
        run_timeout_us=limit_us,
        labels=options.labels,
    )
