"""Drives workflows three ways: warm, with a full replay after each event, with a restart between.

What a workflow does must not depend on which. ``warm`` is an ordinary engine. ``replay`` drops the
run's code after each committed event and builds it again from the file, with its attempts going on.
``restart`` lets the whole engine vanish after each committed event, as a killed process would, and
opens the file again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar

from durable._runtime.runs import LiveRun
from durable._runtime.worker import Worker
from durable.client import Run
from durable.definitions import Workflow
from durable.engine import Engine
from durable.errors import Blocked, WrongState
from durable.testing.clock import ManualClock

__all__ = ["MODES", "Harness", "Mode"]

P = ParamSpec("P")
R = TypeVar("R")
Mode = Literal["warm", "replay", "restart"]
MODES: tuple[Mode, ...] = ("warm", "replay", "restart")
# A run that makes no event for so many openings of the file is stuck.
OPENINGS_MAX = 10_000


class _Engine(Engine):
    """An engine that calls back after each committed event."""

    def __init__(self, harness: Harness, **options: Any) -> None:
        super().__init__(harness.path, clock=harness.clock, grace=0, **options)
        self._harness = harness

    def _prepare(self, worker: Worker) -> None:
        worker.after_event = self._harness._after_event


class Harness:
    """One file, driven one way.

    Args:
        path: The file.
        mode: ``"warm"``, ``"replay"`` or ``"restart"``.
        clock: Time; a `ManualClock` that jumps by default.
        **options: Passed to each `Engine`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Mode = "warm",
        *,
        clock: ManualClock | None = None,
        **options: Any,
    ) -> None:
        self.path = path
        self.mode: Mode = mode
        self.clock: ManualClock = clock or ManualClock()
        self.options: dict[str, Any] = {"durability": "normal", **options}
        self.started: list[Workflow[..., Any]] = []
        """What was started here: known to each engine that opens the file later."""
        self.engine: Engine = self._make_engine()
        self.events: int = 0
        """Events committed so far."""
        self._moved = asyncio.Event()

    def _make_engine(self) -> Engine:
        engine = _Engine(self, **self.options)
        for workflow in self.started:
            engine._know(workflow)
        return engine

    def _after_event(self, run: LiveRun) -> bool:
        """Act after a committed event; True if the run was taken care of."""
        self.events += 1
        self._moved.set()
        match self.mode:
            case "replay":
                return run.rebuild()
            case "restart":
                self._crash_now()
                return True
            case _:
                return False

    def _crash_now(self) -> None:
        worker, self.engine._worker = self.engine._worker, None
        if worker is not None:
            worker.crash()

    async def __aenter__(self) -> Self:
        await self.engine.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.engine.__aexit__(kind, error, traceback)

    async def restart(self) -> Engine:
        """Let the engine vanish, and open the file again."""
        self._crash_now()
        await self.engine.__aexit__(None, None, None)
        self.engine = self._make_engine()
        await self.engine.__aenter__()
        return self.engine

    async def start(self, workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """Start a run."""
        self.started.append(workflow)
        return await self.engine.start(workflow, *args, **kwargs)

    async def run(self, workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a run, drive it to its end, and return its result."""
        return await self.finish(await self.start(workflow, *args, **kwargs))

    @contextlib.contextmanager
    def clock_held(self) -> Iterator[None]:
        """Within, the clock does not jump: what is to come before a timer comes before it."""
        before, self.clock.jumps = self.clock.jumps, False
        try:
            yield
        finally:
            self.clock.jumps = before
            if self.engine._worker is not None:
                self.engine._worker.look_idle()

    async def again(self, handle: Run[R]) -> Run[R]:
        """Return a handle of the engine that is open now; one that vanished is opened again.

        What was committed before this call has been acted on: with ``restart`` the engine that the
        handle belongs to does not vanish for an event that the file already has.
        """
        if self.mode == "restart":
            while self.engine._worker is not None and self.engine._worker.is_writing:  # noqa: ASYNC110
                await asyncio.sleep(0)
        if self.engine._worker is None:
            await self.engine.__aexit__(None, None, None)
            self.engine = self._make_engine()
            await self.engine.__aenter__()
        return Run(self.engine, self.engine._get_row(handle._pk), handle._decode)

    async def finish(self, handle: Run[R]) -> R:
        """Drive a run to its end, and return its result.

        Raises:
            Blocked: It was blocked.
            WrongState: It was paused.
        """
        for _ in range(OPENINGS_MAX):
            again = await self.again(handle)
            row = self.engine._get_row(handle._pk)
            if row.state == "continued":
                following = self.engine._reader.find_continuation(row)
                assert following is not None
                handle = Run(self.engine, following, handle._decode)
                continue
            if row.state == "blocked":
                waits = row.waits_for()
                raise Blocked(str(waits.get("message")), str(waits.get("why")))
            if row.state == "paused":
                raise WrongState(str(row.waits_for().get("message")))
            worker = self.engine._worker
            assert worker is not None
            if row.is_open or handle._pk in worker.live:
                # A closed run in hand: its end is in the file, and its engine is told in a moment.
                await worker.wait(handle._pk)
            else:
                return await again.result()
        raise AssertionError("the run makes no progress")
