"""What the verbs share: find the run, ask, say what became of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

import durable
from durable_cli._options import find_run, settings
from durable_cli._output import Screen, clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable import Client, Run, RunDetails

__all__ = ["Asked", "ask", "look"]


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


def ask(text: str, verb: Callable[[Run[Any]], Awaitable[Run[Any]]]) -> Asked:
    """Ask a run of the file for something.

    Args:
        text: RUN, as typed.
        verb: Does it, and returns the run to look at.
    """
    path, name, before = look(text)
    after = asyncio.run(_ask(path, name, verb))
    return Asked(before, after, settings().screen())


async def _ask(path: str, name: str, verb: Callable[[Run[Any]], Awaitable[Run[Any]]]) -> RunDetails:
    client: Client
    async with durable.Client(path) as client:
        return await (await verb(await client.get(name))).details()
