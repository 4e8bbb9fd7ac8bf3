"""What the verbs share: find the run, ask, say what became of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

import durable
from durable.inspection import CLOSED, duration
from durable_cli._errors import FAILED, OPEN_STILL, STOPPED
from durable_cli._options import find_run, say, settings
from durable_cli._output import Cell, Screen, clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from durable import Client, Run, RunDetails, RunSummary
    from durable.inspection import StepView

__all__ = [
    "Asked",
    "ask",
    "code_of_end",
    "ended",
    "look",
    "look_at",
    "tell_trouble",
    "tell_why",
    "write_end",
]

# What was said to a run is no step of it.
SAID = frozenset({"signal", "update", "cancel", "run_timeout", "patch"})
# After so long without an answer it is said why: perhaps nobody serves the file.
QUIET_S = 1.0


@attrs.frozen
class Asked:
    """A run before and after a verb; with `retry` two runs, perhaps."""

    before: RunDetails
    after: RunDetails
    screen: Screen

    @property
    def name(self) -> str:
        """The run's name, clean and bold."""
        return self.screen.style(clean(self.after.id), "bold")

    def kept(self) -> Sequence[StepView]:
        """Return the recorded steps that the later run took over from the earlier one."""
        # What was copied kept its time; what was done since then has another one.
        copied = {(step.step, step.ended) for step in self.after.steps}
        return [
            step
            for step in self.before.steps
            if step.ended and step.kind not in SAID and (step.step, step.ended) in copied
        ]

    def say_status(self) -> None:
        """Say how the run is now, and why it waits."""
        status = self.screen.status(self.after.status)
        why = f": {clean(self.after.why)}" if self.after.why else ""
        self.screen.line(f"now {self.screen.style(status.text, *status.styles)}{why}")


def look(text: str) -> tuple[str, str, RunDetails]:
    """Return the path of the file, what names a run in it, and the run.

    The name is the one that was typed: a run is shown as ``x`` where ``x`` may mean a newer one.

    Reading first: what is no file of ours is refused before anything could write to it.
    """
    path = settings().path()
    with durable.view(path) as runs:
        name = find_run(runs, text)
        return path, name, runs.get(name)


def look_at(texts: Sequence[str]) -> tuple[str, list[str]]:
    """Return the path of the file, and what names each of several runs that are all in it.

    Raises:
        RunNotFound: One is not.
    """
    path = settings().path()
    with durable.view(path) as runs:
        names = [find_run(runs, text) for text in texts]
        for name in names:
            runs.get_row(name)
    return path, names


def write_end(screen: Screen, run: RunSummary) -> None:
    """Write a line on a run that was waited for, ended or not, at once."""
    status = screen.status(run.status)
    took = ""
    if run.started is not None and run.closed is not None:
        took = duration(max(0.0, (run.closed - run.started).total_seconds()))
    cells = status, Cell(clean(run.id), ("bold",)), Cell(clean(run.workflow)), Cell(took)
    if screen.is_terminal:
        why = screen.style(clean(run.why), *status.styles)
        shown = [screen.style(cell.text, *cell.styles) for cell in cells if cell.text]
        screen.line("  ".join([*shown, why] if why else shown))
    else:
        screen.rows([(*cells, Cell(clean(run.why)))])
    screen.flush()


def code_of_end(ends: Sequence[RunSummary]) -> int:
    """Return the exit code that runs which were waited for have together: the worst counts."""
    found = {run.status for run in ends}
    if found - set(CLOSED):
        return OPEN_STILL
    if "failed" in found:
        return FAILED
    return STOPPED if found - {"completed", "continued"} else 0


async def ended(handle: Run[Any], run: RunSummary) -> dict[str, Any]:
    """Return what JSON says of a run that was waited for: with its result, or why there is none."""
    fields = attrs.asdict(run)
    try:
        fields["result"] = await handle.result() if run.status == "completed" else None
    except durable.PayloadError as error:
        fields["result"] = f"<{error}>"
    return fields


async def tell_why(handle: Run[Any], path: str) -> None:
    """After a second of waiting, say on stderr that a run is queued, and why; or `tell_trouble`."""
    await asyncio.sleep(QUIET_S)
    found = await handle.details()
    if found.status == "queued":
        say(f"{clean(found.id)} is queued: {clean(found.why)}")
    await tell_trouble(path)


async def tell_trouble(path: str) -> None:
    """While something is waited for, say once on stderr that a worker cannot write to the file."""
    while True:
        await asyncio.sleep(QUIET_S)
        with durable.view(path) as runs:
            if runs.trouble:
                say(runs.trouble)
                return


def ask(text: str, verb: Callable[[Run[Any]], Awaitable[Run[Any]]]) -> Asked:
    """Ask a run of the file for something.

    Args:
        text: RUN, as typed.
        verb: Does it, and returns the run to look at.
    """
    path, name, before = look(text)
    after = asyncio.run(_ask(path, name, verb))
    settings().outcome(
        {"run": after.id, "workflow": after.workflow, "status": after.status, "why": after.why}
    )
    return Asked(before, after, settings().words())


async def _ask(path: str, name: str, verb: Callable[[Run[Any]], Awaitable[Run[Any]]]) -> RunDetails:
    client: Client
    async with durable.Client(path) as client:
        return await (await verb(await client.get(name))).details()
