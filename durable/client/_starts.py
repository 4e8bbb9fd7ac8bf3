"""Whether a run that exists is the one that a start means."""

from __future__ import annotations

from typing import Any

from durable._store.rows import RunRow
from durable.definitions import Workflow
from durable.errors import IdConflict

__all__ = ["conflict"]


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
