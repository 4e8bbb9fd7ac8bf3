"""Handles on child runs, inside workflows."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

from durable._core import context
from durable.errors import NotInWorkflow
from durable.payloads import encode_document
from durable.run_name import run_name

__all__ = ["ChildRun"]

R_co = TypeVar("R_co", covariant=True)


class ChildRun(Generic[R_co]):
    """A child that was started; see `Workflow.start`. Signals go by `Signal.send`.

    Attributes:
        id: Its id.
        ordinal: Which of the id's runs it is.
    """

    def __init__(self, run_id: str, ordinal: int, end: Any) -> None:
        self.id = run_id
        self.ordinal = ordinal
        self._end: asyncio.Future[R_co] = end

    @property
    def name(self) -> str:
        """The id as people write it: with the ordinal from the second on."""
        return run_name(self.id, self.ordinal)

    async def result(self) -> R_co:
        """Wait for the child's end, and return its result; cancelling the wait leaves it alone.

        Raises:
            Exception: What ended the child, rebuilt; `RunCancelled` or `RunTerminated` if it was
                stopped.
        """
        return await asyncio.shield(self._end)

    def done(self) -> bool:
        """Say whether the child's end has come in."""
        return self._end.done()

    async def cancel(self, reason: str = "") -> None:
        """Ask it to stop; returns when the request is in the file.

        Raises:
            RunClosed: It has ended.
        """
        runner = context.workflow.get()
        if runner is None:
            raise NotInWorkflow("a child's handle belongs to the workflow that started it")
        await runner.act("cancel", self.name, "", encode_document(reason), "")

    def __repr__(self) -> str:
        return f"<child run {self.name}>"
