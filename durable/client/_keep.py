"""What a client tells of the file as a whole, and how it is kept safe."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from durable._store.portable import importing
from durable.inspection import ExportView, ImportView, StatsView, Viewer, look_into
from durable.policies import Duration

if TYPE_CHECKING:
    from durable.client._client import Client

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

    async def export(
        self,
        runs: str,
        dest: str | os.PathLike[str] | IO[bytes],
        *,
        all_ordinals: bool = False,
        children: bool = False,
        redact: Sequence[str] = (),
        skip_damaged: bool = False,
        overwrite: bool = False,
    ) -> ExportView:
        """Write runs into one file that `import_` reads somewhere else, on a thread.

        It is of one moment, whatever goes on meanwhile, and appears in its place whole or not at
        all, readable by its owner only. Cancelling the wait does not stop the thread.

        Args:
            runs: An id, which means its newest ordinal; ``id#n``; or a filter, see `Client.list`.
            dest: Where they go, compressed if the name ends in ``.gz``; or a stream.
            all_ordinals: Every ordinal of their ids.
            children: The runs they started too, and what those started.
            redact: Keys whose values are hidden, as in ``email`` or ``customer.card``, wherever
                they occur; ``*`` hides every text. Their texts of 4 characters and more are hidden
                in the whole file, in messages, tracebacks and ids too.
            skip_damaged: Leave out runs that do not read, and say so.
            overwrite: Whether a file that is there is replaced.

        Raises:
            RunNotFound: No run of that name is in the file.
            FilterError: It is no filter.
            UsageError: There is a file already, or one of the keys is none.
            PayloadError: A run is damaged; nothing was written.
            StoreError: The file cannot be read, or the export not written; nothing is left of it.
        """
        made: ExportView = await self._look(
            lambda viewer: viewer.export(
                runs, dest, all_ordinals=all_ordinals, children=children, redact=redact,
                skip_damaged=skip_damaged, overwrite=overwrite,
            )
        )  # fmt: skip
        return made

    async def import_(
        self, source: str | os.PathLike[str], *, rename: str = "", reason: str = ""
    ) -> ImportView:
        """Read the runs of an export into this file: all of them in one transaction, or none.

        None of them starts by itself: what was open is paused, and `Run.resume` lets it run here.
        The export is checked to its end before the transaction begins; while that lasts (about a
        second for 10,000 short runs) others wait with their writing.

        Args:
            source: What `export` wrote.
            rename: What every id begins with here.
            reason: For the audit of each.

        Raises:
            NotADurableFile: It is no export.
            FileTooNew: A newer version of the library wrote it.
            FileCorrupt: It was cut off or changed.
            IdConflict: A run of that id is in the file; ``rename`` gives them others.
            StoreError: It cannot be read, or nothing be written.
        """
        client = cast("Client", self)
        await self._look(lambda _: look_into(source))  # What is refused here was written nowhere.
        path = client._store.path
        made: ImportView = await client._commit(importing(source, rename, path, client._by(reason)))
        return made
