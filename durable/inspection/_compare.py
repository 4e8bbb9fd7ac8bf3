"""Two runs side by side: which steps are the same, and where the first difference is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from durable.inspection._events import Told
from durable.inspection._talk import Talk
from durable.inspection._views import RunSummary, StepView

if TYPE_CHECKING:
    from durable._store.reader import Reader
    from durable._store.rows import RunRow

__all__ = ["DIFFERENCES_MAX", "ComparisonView", "Entry", "StepDifference", "compare", "entries_of"]

# More differences than that are counted, and not told one by one.
DIFFERENCES_MAX = 1_000


@attrs.frozen(kw_only=True)
class StepDifference:
    """A step that is not the same in two runs.

    Attributes:
        step: Its id, as of `StepView`.
        what: Which fields differ: of ``name status arguments result error``; empty if one run does
            not have the step.
        one: The step in the first run, or None.
        other: The step in the second run, or None.
    """

    step: str
    what: Sequence[str]
    one: StepView | None
    other: StepView | None


@attrs.frozen(kw_only=True)
class ComparisonView:
    """Two runs side by side.

    Attributes:
        one: The first run.
        other: The second run.
        fields: Of the runs themselves: ``workflow``, ``arguments``, ``code`` (the fingerprint of
            the workflow's source), ``status``, ``result`` and ``error``, with the value in each,
            where they differ. Payloads are JSON text, at most 64 KiB of it.
        same: How many steps are the same in both: id, kind, name, status, arguments and result. How
            long they took, how many attempts they had and when they ended does not count.
        differ: How many both have, but not the same.
        only_one: How many only the first run has.
        only_other: How many only the second run has.
        differences: Those steps, at most 1,000, in the order in which they came up in either run.
    """

    one: RunSummary
    other: RunSummary
    fields: Mapping[str, tuple[str, str]]
    same: int
    differ: int
    only_one: int
    only_other: int
    differences: Sequence[StepDifference]

    @property
    def is_same(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.fields or self.differ or self.only_one or self.only_other)


@attrs.frozen
class Entry:
    """A step, and hashes of its payloads, which the view may hold cut.

    Attributes:
        view: What is shown of it.
        arguments: A hash of the whole arguments.
        result: A hash of the whole result.
    """

    view: StepView
    arguments: int = 0
    result: int = 0


def entries_of(reader: Reader, row: RunRow, pending: Sequence[StepView]) -> Sequence[Entry]:
    """Return what is recorded of a run, in order, and then what is under way."""
    talk = Talk(reader, row)
    told = Told(row.clock_us or row.created_us, talk.answers(), talk.buried())
    entries: list[Entry] = []
    for event, damage in reader.events_as_found(row.pk):
        if damage:
            entries.append(Entry(told.damaged(event, damage, ())))
        else:
            view = told.step_of(event, ())
            entries.append(Entry(view, hash(event.arguments), hash(event.result)))
    return entries + [Entry(view) for view in pending]


def compare(
    one: RunSummary,
    other: RunSummary,
    fields: Mapping[str, tuple[str, str]],
    left: Sequence[Entry],
    right: Sequence[Entry],
) -> ComparisonView:
    """Compare two runs step by step; the order in which branches went on does not count.

    Args:
        one: The first run.
        other: The second run.
        fields: What is known of the runs themselves, in each.
        left: The steps of the first run, in order.
        right: The steps of the second run, in order.
    """
    mine, theirs = _by_key(left), _by_key(right)
    places: dict[tuple[str, ...], int] = {}
    for keyed in (mine, theirs):
        for place, key in enumerate(keyed):
            places[key] = min(place, places.get(key, place))
    counts = Counter[str]()
    differences: list[StepDifference] = []
    for key in sorted(places, key=lambda key: places[key]):
        found = _difference(mine.get(key), theirs.get(key))
        if found is None:
            counts["same"] += 1
            continue
        counts["one" if found.other is None else "other" if found.one is None else "differ"] += 1
        if len(differences) < DIFFERENCES_MAX:
            differences.append(found)
    return ComparisonView(
        one=one,
        other=other,
        fields={name: pair for name, pair in fields.items() if pair[0] != pair[1]},
        same=counts["same"],
        differ=counts["differ"],
        only_one=counts["one"],
        only_other=counts["other"],
        differences=differences,
    )


def _by_key(entries: Sequence[Entry]) -> dict[tuple[str, ...], Entry]:
    """Return the entries by what makes them the same step in another run."""
    keyed: dict[tuple[str, ...], Entry] = {}
    seen = Counter[tuple[str, ...]]()
    for entry in entries:
        view = entry.view
        # A child's start and its end may have one id; a request to cancel has none.
        kind = "" if view.status == "damaged" else view.kind
        base = (kind, view.step or view.name)
        seen[base] += 1
        keyed[*base, str(seen[base])] = entry
    return keyed


def _difference(one: Entry | None, other: Entry | None) -> StepDifference | None:
    if one is None or other is None:
        found = one or other
        assert found is not None, "a step is in one of them"
        return StepDifference(
            step=found.view.step, what=(), one=None if one is None else one.view,
            other=None if other is None else other.view,
        )  # fmt: skip
    mine, theirs = one.view, other.view
    pairs = {
        "name": (mine.name, theirs.name),
        "status": (mine.status, theirs.status),
        "arguments": (one.arguments, other.arguments),
        "result": _results(one, other),
        "error": (mine.error, theirs.error),
    }
    what = [name for name, (a, b) in pairs.items() if a != b]
    if not what:
        return None
    return StepDifference(step=mine.step, what=what, one=mine, other=theirs)


def _results(one: Entry, other: Entry) -> tuple[object, object]:
    # Of a failure its text counts, and not the lines in its traceback. What came of an update is no
    # part of its event.
    if one.view.error or other.view.error or one.view.kind == "update":
        return one.view.result, other.view.result
    return one.result, other.result
