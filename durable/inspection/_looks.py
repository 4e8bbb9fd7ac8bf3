"""Other ways to look at a file than a list of runs and one run's details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from durable.errors import UsageError
from durable.inspection._log import EventLog
from durable.inspection._stats import StatsView, stats_of
from durable.policies import Duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable._clock import Clock
    from durable._store.reader import Reader
    from durable._store.rows import RunRow
    from durable.inspection._views import EventView

__all__ = ["EVENTS_LIMIT_MAX", "Looks"]

EVENTS_LIMIT_MAX = 1_000


class Looks:
    """What a `Viewer` shows beside lists and details."""

    _reader: Reader
    _is_alive: Callable[[int], bool]
    _clock: Clock

    def get_row(self, run_id: str) -> RunRow:
        """Return the row of an id, or of ``id#n``."""
        raise NotImplementedError

    def count(self) -> dict[str, int]:
        """Return how many runs are shown with each status."""
        raise NotImplementedError

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
        if not 1 <= limit <= EVENTS_LIMIT_MAX:
            raise UsageError(f"limit is 1 to {EVENTS_LIMIT_MAX}, not {limit}")
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
