"""What a client tells of the file as a whole, and how it is kept safe."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

from durable.inspection import StatsView, Viewer
from durable.policies import Duration

__all__ = ["Keeping"]


class Keeping:
    """The verbs about the file itself; each looks at it on a thread."""

    async def _look(self, look: Callable[[Viewer], Any]) -> Any:
        """Look at the file on a thread, through a reader of its own."""
        raise NotImplementedError

    async def stats(
        self,
        *,
        by: Literal["workflow", "activity"] = "workflow",
        since: Duration = "24h",
    ) -> StatsView:
        """Return how many runs there are, how often they end, how long they take, how large it is.

        It is asked on a thread: with a million runs it takes about two seconds.

        Args:
            by: Whose durations: runs by workflow, or steps by activity.
            since: What happened in the last so long; at most 366 days.

        Raises:
            UsageError: ``by`` or ``since`` is neither.
        """
        found: StatsView = await self._look(lambda runs: runs.stats(by=by, since=since))
        return found

    async def backup(
        self, dest: str | os.PathLike[str], *, keep: int | None = None, overwrite: bool = False
    ) -> str:
        """Copy the file as it is now, on a thread; everybody goes on writing meanwhile.

        The copy is checked before it is moved into its place, where it appears whole or not at all.
        Cancelling the wait does not stop the thread.

        Args:
            dest: Where the copy goes; with ``keep`` a folder that exists.
            keep: The copy is named by the time, and of the copies so named the newest that many are
                left.
            overwrite: Whether a file that is there is replaced.

        Returns:
            The absolute path of the copy.

        Raises:
            UsageError: There is a file already, or it is this one, or one that is in use.
            StoreError: The file is damaged, or the copy cannot be written; nothing is left of it.
        """
        made: str = await self._look(lambda runs: runs.backup(dest, keep=keep, overwrite=overwrite))
        return made
