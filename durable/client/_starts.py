"""The rows of runs that are started from outside, and whether a run is the one meant."""

from __future__ import annotations

from typing import Any

from durable._clock import new_id
from durable._store.rows import RunRow, new_run
from durable.definitions import Workflow
from durable.errors import (
    IdConflict,
)
from durable.payloads import checksum, encode_document

__all__ = ["conflict", "new_start"]


def new_start(
    workflow: Workflow[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    encoded: bytes,
    arguments: str | int,
    now_us: int,
    salt: int,
) -> tuple[Any, ...]:
    """Return the row of a run that some worker is to take."""
    options = workflow.start_options
    begins_us = now_us + options.start_delay_us
    delayed = options.start_delay_us > 0
    limit_us = options.run_timeout_us
    return new_run(
        id=new_id(now_us) if options.id is None else options.id,
        ordinal=1,
        workflow=workflow.name,
        state="parked" if delayed else "ready",
        wake_at_us=begins_us if delayed else None,
        queue=options.queue,
        priority=options.priority,
        headers=encode_document(options.headers).decode() if options.headers else None,
        salt=salt,
        arguments=arguments,
        fingerprint=workflow.codec.fingerprint(args, kwargs, encoded),
        checksum=checksum(encoded),
        cause="started",
        code=workflow.fingerprint,
        now_us=now_us,
        deadline_us=None if limit_us is None else begins_us + limit_us,
        run_timeout_us=limit_us,
        labels=options.labels,
    )


def conflict(
    row: RunRow, workflow: Workflow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> IdConflict | None:
    """Return the error if an existing run is of another workflow, or of other arguments."""
    if row.workflow not in {workflow.name, *workflow.aliases}:
        return IdConflict(
            f"run {row.name} exists and is of workflow {row.workflow}, not {workflow.name}; choose "
            "another id"
        )
    codec = workflow.codec
    mark = codec.fingerprint(args, kwargs, codec.encode(args, kwargs))
    if mark != row.fingerprint:
        return IdConflict(
            f"run {row.name} exists with other arguments; an id means one run: choose another, or "
            "pass the same arguments"
        )
    return None
