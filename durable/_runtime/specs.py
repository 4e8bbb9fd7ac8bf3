"""What steps that are no activities ask for: the ``spec`` of a `Step`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from durable.definitions import Workflow

__all__ = ["Act", "Answer", "ChildCall"]


@attrs.define
class ChildCall:
    """Start a child; its end is delivered at ``end_step``."""

    workflow: Workflow[Any, Any]
    run_id: str | None
    end_step: str


@attrs.define
class Act:
    """Do something to another run, by id: ``signal`` or ``cancel``."""

    verb: str
    target: str
    name: str
    payload: bytes
    key: str


@attrs.define
class Answer:
    """Wait for a token to be answered, or for a started child to end: nothing is to be done."""
