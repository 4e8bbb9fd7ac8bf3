"""A run's whole family, as a tree: who started whom, and how each is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from durable.inspection._views import FamilyView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable._store.reader import Reader
    from durable._store.rows import ChildRow, RunRow
    from durable.inspection._views import RunSummary

__all__ = ["FAMILY_DEPTH_MAX", "FAMILY_RUNS_MAX", "Family", "root_of"]

FAMILY_DEPTH_MAX = 100
FAMILY_RUNS_MAX = 100_000
# Of more like siblings than the first number as many as the second are shown, the rest counted.
FOLD_OVER = 50
FOLDED_SHOWN = 20


def root_of(reader: Reader, row: RunRow) -> RunRow:
    """Return the run at the top of a family, as far up as it still is in the file."""
    root = None if row.root_pk is None else reader.find_run(row.root_pk)
    if root is not None:
        return root
    seen = {row.pk}  # A damaged row may be its own grandparent.
    while row.parent_pk is not None and row.parent_pk not in seen:
        parent = reader.find_run(row.parent_pk)
        if parent is None:
            break
        seen.add(parent.pk)
        row = parent
    return row


class Family:
    """Reads a family, each run once.

    Args:
        reader: An open reader of the file.
        is_alive: Says whether a worker lives.
        summary_of: Makes a run's summary.
        is_folded: Whether many like siblings are counted instead of shown.
    """

    def __init__(
        self,
        reader: Reader,
        is_alive: Callable[[int], bool],
        summary_of: Callable[[RunRow], RunSummary],
        *,
        is_folded: bool,
    ) -> None:
        self._reader = reader
        self._is_alive = is_alive
        self._summary_of = summary_of
        self._is_folded = is_folded
        self._seen: set[int] = set()

    def tree(self, top: RunRow) -> FamilyView:
        """Return a run with all that came of it."""
        root = self._member(top, "")
        waiting = [(root, top.pk, 0)]
        while waiting:
            member, pk, depth = waiting.pop()
            for child, step in self._children(member, pk, depth):
                made = self._member(child, step)
                member.children.append(made)
                waiting.append((made, child.pk, depth + 1))
        return root

    def _member(self, row: RunRow, step: str) -> FamilyView:
        self._seen.add(row.pk)
        summary = self._summary_of(row)
        return FamilyView(
            id=summary.id, workflow=summary.workflow, status=summary.status, why=summary.why,
            started=summary.started, closed=summary.closed, step=step,
        )  # fmt: skip

    def _children(self, member: FamilyView, pk: int, depth: int) -> Sequence[tuple[RunRow, str]]:
        room = FAMILY_RUNS_MAX - len(self._seen)
        found = self._reader.child_rows(pk, max(0, room) + 1)
        if not found:
            return []
        if depth == FAMILY_DEPTH_MAX or len(found) > room:
            member.is_cut = True
            found = [] if depth == FAMILY_DEPTH_MAX else found[:room]
        shown = self._shown(member, found) if self._is_folded else found
        rows: list[tuple[RunRow, str]] = []
        for one in shown:
            row = None if one.pk in self._seen else self._reader.find_run(one.pk)
            if row is not None:
                rows.append((row, one.parent_step or ""))
        return rows

    def _shown(self, member: FamilyView, found: Sequence[ChildRow]) -> Sequence[ChildRow]:
        """Choose what is shown: where there are many alike, first those that did not complete."""
        alike: dict[str, list[ChildRow]] = {}
        for one in found:
            alike.setdefault(one.workflow, []).append(one)
        kept: list[ChildRow] = []
        for workflow, ones in alike.items():
            if len(ones) <= FOLD_OVER:
                kept += ones
                continue
            by_need = sorted(ones, key=lambda one: one.state == "completed")
            kept += by_need[:FOLDED_SHOWN]
            hidden = Counter(one.status(self._is_alive) for one in by_need[FOLDED_SHOWN:])
            member.folded[workflow] = dict(hidden.most_common())
        return sorted(kept, key=lambda one: one.pk)
