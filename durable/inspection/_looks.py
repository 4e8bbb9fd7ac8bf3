"""Other ways to look at a file than a list of runs and one run's details."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from durable._store.asking import TIMEOUT_S, TableView, ask
from durable._store.backup import back_up, back_up_into
from durable._store.connection import real_path
from durable._store.ownership import refuse_target
from durable._store.portable import ExportView, Portion, Redactor, export
from durable.errors import FilterError, RunNotFound
from durable.filters import mentions, parse
from durable.inspection._compare import ComparisonView, compare, entries_of
from durable.inspection._doctor import look_over
from durable.inspection._family import Family, root_of
from durable.inspection._log import EventLog
from durable.inspection._stats import StatsView, stats_of
from durable.inspection._texts import check_limit, duration, time_of
from durable.policies import Duration, duration_us

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from durable._clock import Clock
    from durable._store.filtering import Selection
    from durable._store.locks import Trouble
    from durable._store.reader import Reader
    from durable._store.rows import RunRow
    from durable.inspection._views import (
        CheckView,
        EventView,
        FamilyView,
        RunDetails,
        RunSummary,
        WorkerView,
    )

__all__ = ["EVENTS_LIMIT_MAX", "Looks", "check_report_target"]

EVENTS_LIMIT_MAX = 1_000


def check_report_target(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Refuse to write a report over a file, or over what is beside one.

    Args:
        path: The file that is reported of.
        target: Where the report goes; what is there is replaced.

    Raises:
        UsageError: It is the file, its log, its lock file, or such a name of another file.
    """
    refuse_target(real_path(path), os.path.realpath(target), overwrite=True)


class Looks:
    """What a `Viewer` shows beside lists and details."""

    _reader: Reader
    _is_alive: Callable[[int], bool]
    _clock: Clock
    _find_trouble: Callable[[], Trouble | None]
    missing: str

    @property
    def trouble(self) -> str:
        """Why a living worker cannot write to the file, and since when, for people; else empty."""
        found = self._find_trouble()
        if found is None:
            return ""
        since = time_of(found.since_us)
        ago = duration(max(0, self._clock.wall_us() - found.since_us) / 1e6)
        return (
            f"the store waits since {since:%H:%M:%S}Z ({ago}): {found.text}; worker {found.worker} "
            "tries again, nothing is lost"
        )

    def get_row(self, run_id: str) -> RunRow:
        """Return the row of an id, or of ``id#n``."""
        raise NotImplementedError

    def count(self, query: str = "") -> dict[str, int]:
        """Return how many runs are shown with each status."""
        raise NotImplementedError

    def selection(self, query: str) -> Selection:
        """Return a filter, compiled."""
        raise NotImplementedError

    def workers(self) -> Sequence[WorkerView]:
        """Return who serves the file."""
        raise NotImplementedError

    def summary_of(self, row: RunRow) -> RunSummary:
        """Return one line about a run."""
        raise NotImplementedError

    def details_of(self, row: RunRow) -> RunDetails:
        """Return everything about a run."""
        raise NotImplementedError

    def compare(self, one: str, other: str) -> ComparisonView:
        """Compare two runs step by step: what is the same, and what differs first.

        Args:
            one: An id, or ``id#n``.
            other: Another one.

        Raises:
            RunNotFound: One of them is not in the file.
        """
        rows = self.get_row(one), self.get_row(other)
        mine, theirs = self.details_of(rows[0]), self.details_of(rows[1])
        fields = {
            "workflow": (mine.workflow, theirs.workflow),
            "arguments": (mine.arguments, theirs.arguments),
            "code": (rows[0].code or "", rows[1].code or ""),
            "status": (mine.status, theirs.status),
            "result": (mine.result, theirs.result),
            "error": (mine.why if mine.closed else "", theirs.why if theirs.closed else ""),
        }
        left, right = (
            entries_of(self._reader, row, [step for step in run.steps if step.ended is None])
            for row, run in zip(rows, (mine, theirs), strict=True)
        )
        return compare(mine, theirs, fields, left, right)

    def family(self, run_id: str, *, from_root: bool = False, is_folded: bool = True) -> FamilyView:
        """Return a run with the runs it started, and what those started.

        Args:
            run_id: An id, or ``id#n``.
            from_root: Begin at the run on top of the family, as far as it still is in the file.
            is_folded: Of more than 50 children of one workflow show 20, first those that did not
                complete, and count the others.

        Raises:
            RunNotFound: There is none.
        """
        row = self.get_row(run_id)
        top = root_of(self._reader, row) if from_root else row
        family = Family(self._reader, self._is_alive, self.summary_of, is_folded=is_folded)
        return family.tree(top)

    def events(
        self, run_id: str, *, after: int = 0, limit: int = EVENTS_LIMIT_MAX
    ) -> Sequence[EventView]:
        """Return a page of a run's history, in order; a damaged event is shown as such.

        Args:
            run_id: An id, or ``id#n``.
            after: The number of the last event that is left out.
            limit: At most so many, 1 to 1,000.

        Raises:
            RunNotFound: There is none.
        """
        check_limit(limit, EVENTS_LIMIT_MAX)
        row = self.get_row(run_id)
        return EventLog(self._reader, row.pk, max(0, after)).news(row, limit)

    def stats(
        self,
        *,
        by: Literal["workflow", "activity"] = "workflow",
        since: Duration = "24h",
    ) -> StatsView:
        """Return how many runs there are, how often they end, how long they take, how large it is.

        Every run is looked at once: about two seconds for a million of them.

        Args:
            by: Whose durations: runs by workflow, or steps by activity.
            since: What happened in the last so long; at most 366 days.

        Raises:
            UsageError: ``by`` or ``since`` is neither.
        """
        return stats_of(self._reader, self.count(), self._clock.wall_us(), by, since)

    def doctor(self, *, quick: bool = False) -> Sequence[CheckView]:
        """Look the file over: whether it is whole, served, and nothing is in its way.

        It is read whole: about a second for each quarter of a gigabyte. What cannot be looked at,
        in a damaged file, is not well, and says why.

        Args:
            quick: Do not compare indexes with their tables, nor payloads with their checksums.
        """
        return look_over(
            self._reader,
            self.workers,
            self.count,
            self.missing,
            self.trouble,
            self._clock.wall_us(),
            is_quick=quick,
        )

    def backup(
        self, dest: str | os.PathLike[str], *, keep: int | None = None, overwrite: bool = False
    ) -> str:
        """Copy the file as it is now; others go on writing meanwhile.

        The copy is checked (``quick_check``, and whose file it is) before it is moved into its
        place, where it appears whole or not at all, readable by its owner only.

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
        if keep is None:
            return back_up(self._reader.path, dest, overwrite=overwrite)
        return back_up_into(self._reader.path, dest, keep, time_of(self._clock.wall_us()))

    def export(
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
        """Write runs, as they are now, into one file that `Client.import_` reads somewhere else.

        With their histories, payloads, failed attempts, what they published and what was done to
        them. The file is of one moment, and appears in its place whole or not at all, readable by
        its owner only. What nobody has taken yet of what was said to a run is not in it.

        Args:
            runs: An id, which means its newest ordinal; ``id#n``; or a filter, see `list`.
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
        written = time_of(self._clock.wall_us()).isoformat(timespec="seconds")

        def portion() -> Portion:
            row = self._find_exported(runs)
            return Portion(
                run=row,
                selection=self.selection(runs) if row is None else None,
                has_ordinals=all_ordinals,
                has_children=children,
                skips_damaged=skip_damaged,
            )

        redactor = Redactor(redact) if redact else None
        return export(
            self._reader, portion, dest, redactor, written.replace("+00:00", "Z"),
            overwrite=overwrite,
        )  # fmt: skip

    def _find_exported(self, runs: str) -> RunRow | None:
        """Return the run of a name, or None if the text is a filter."""
        try:
            return self.get_row(runs)
        except RunNotFound:
            try:
                is_filter = any(mentions(parse(runs)))
            except FilterError:
                if ":" in runs:
                    raise
                is_filter = False
            if not is_filter:
                raise
        return None

    def sql(self, text: str, *, limit: int = 1_000, timeout: Duration | None = None) -> TableView:
        """Run one SQL statement that reads a view or a table of the file.

        The views ``durable_runs``, ``durable_steps`` and ``durable_events`` are documented.

        The views are what stays; the tables behind them may change with each version.

        Args:
            text: The statement; it is compiled by a connection that cannot write.
            limit: At most so many rows, 1 to 1,000,000.
            timeout: How long it may take; 30 seconds by default.

        Raises:
            UsageError: It is no statement, more than one, wrong, does more than read, or takes
                too long.
            StoreError: The file cannot be read.
        """
        seconds = TIMEOUT_S if timeout is None else duration_us(timeout, "timeout") / 1e6
        return ask(self._reader.path, text, limit, seconds)
