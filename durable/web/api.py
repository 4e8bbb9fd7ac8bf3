"""What can be looked at: plain functions over a `Viewer`; nothing here knows HTTP.

A look takes what was asked and returns plain data and views. `LOOKS` has each by its address, with
what may be asked of it; the OpenAPI document is made of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from durable._clock import steady_s
from durable.errors import UsageError
from durable.filters import FIELDS, STATUSES, parse
from durable.inspection import (
    LIST_LIMIT_MAX,
    AttemptTime,
    CheckView,
    ComparisonView,
    EventView,
    FamilyView,
    HoldView,
    IssueView,
    ItemView,
    JobView,
    LogView,
    QueueView,
    RunDetails,
    RunSummary,
    SourceView,
    StatsView,
    StepLine,
    StepView,
    ValueView,
    WorkerView,
    versions,
)
from durable.web._forms import (
    MessageForm,
    WorkflowForm,
    message_forms,
    promise_form,
    workflow_forms,
)

if TYPE_CHECKING:
    from durable.engine import Engine
    from durable.inspection import Viewer

__all__ = ["LOOKS", "Asked", "Look", "Text"]

PAGE = 100
STEPS_PER_PAGE = 500
# A check of the code stops there, and says so.
CHECKED_MAX = 10_000
CHECK_S = 20.0


@attrs.define
class Asked:
    """What was asked, and of what.

    Attributes:
        viewer: An open viewer of the file.
        values: Texts by name: of the address and of its query.
        engine: Whose code may be replayed here; None where there is none.
        is_read_only: Whether acts are refused.
    """

    viewer: Viewer
    values: Mapping[str, str]
    engine: Engine | None = None
    is_read_only: bool = False

    def text(self, name: str, otherwise: str = "") -> str:
        """Return a text that may be left out."""
        return self.values.get(name, otherwise)

    def number(self, name: str, otherwise: int, most: int = 2**53) -> int:
        """Return a whole number that may be left out.

        Raises:
            UsageError: It is none, or too large.
        """
        text = self.values.get(name)
        if text is None:
            return otherwise
        digits = text.isascii() and text.isdecimal() and len(text) <= 16
        if not digits or not 0 <= int(text) <= most:
            raise UsageError(f"{name} is a whole number from 0 to {most:,}, not {text!r:.60}")
        return int(text)


@attrs.frozen
class Text:
    """A payload as it is stored: JSON text, sent as it is."""

    data: bytes


@attrs.frozen
class Look:
    """Something that can be looked at.

    Attributes:
        function: What looks.
        parameters: What may be asked besides the address, by name: what it is.
        result: The type of the answer.
        needs_code: Whether it needs the code of workflows.
        is_slow: Whether it may take seconds: others do not wait for it.
    """

    function: Callable[[Asked], Any]
    parameters: Mapping[str, str]
    result: Any
    needs_code: bool = False
    is_slow: bool = False


# -- shapes ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class RunPage:
    """A page of runs; ``next`` is the ``before`` of the page after it, or null."""

    items: Sequence[RunSummary]
    next: str | None


@attrs.frozen(kw_only=True)
class Counts:
    """How many runs there are, by status; statuses of which there is none are left out."""

    counts: Mapping[str, int]
    total: int


@attrs.frozen(kw_only=True)
class EventPage:
    """A page of a history; ``next`` is the ``after`` of the page after it, or null."""

    items: Sequence[EventView]
    next: str | None


@attrs.frozen(kw_only=True)
class StepPage:
    """A page of what happened; with the first one what is pending.

    ``next`` is the ``after`` of the page after it, or null.
    """

    items: Sequence[StepLine]
    pending: Sequence[StepLine]
    next: str | None


@attrs.frozen(kw_only=True)
class AttemptTimes:
    """When failed attempts ran, step by step, at most 5,000."""

    items: Sequence[AttemptTime]


@attrs.frozen(kw_only=True)
class Values:
    """What a run has published, whole, by name."""

    items: Sequence[ValueView]


@attrs.frozen(kw_only=True)
class Items:
    """A page of a stream."""

    items: Sequence[ItemView]


@attrs.frozen(kw_only=True)
class Stack:
    """Where the code of a run waits, task by task."""

    text: str


@attrs.frozen(kw_only=True)
class Logs:
    """What the code of a run has logged, in order."""

    items: Sequence[LogView]


@attrs.frozen(kw_only=True)
class Sources:
    """The source of the code that went through a run, the one it began with first."""

    items: Sequence[SourceView]


@attrs.frozen(kw_only=True)
class Issues:
    """Groups of like failures, the one with the newest failure first."""

    items: Sequence[IssueView]


@attrs.frozen(kw_only=True)
class Jobs:
    """Acts on many runs, the newest first."""

    items: Sequence[JobView]


@attrs.frozen(kw_only=True)
class Holds:
    """Workflows and queues that are paused as a whole."""

    items: Sequence[HoldView]


@attrs.frozen(kw_only=True)
class Soonest:
    """Runs that go on by themselves, the soonest first."""

    items: Sequence[RunSummary]


@attrs.frozen(kw_only=True)
class Workers:
    """The processes that serve the file, and its queues."""

    items: Sequence[WorkerView]
    queues: Sequence[QueueView]


@attrs.frozen(kw_only=True)
class Forms:
    """What can be started, and what can be said to runs.

    Attributes:
        workflows: Those in the file, those that living workers know, and those of the code here.
        messages: Those that the code here declares; empty without code.
    """

    workflows: Sequence[WorkflowForm]
    messages: Sequence[MessageForm]


@attrs.frozen(kw_only=True)
class FieldView:
    """A field of the filter language."""

    kind: str
    text: str


@attrs.frozen(kw_only=True)
class Language:
    """What a filter can say."""

    statuses: Sequence[str]
    fields: Mapping[str, FieldView]


@attrs.frozen(kw_only=True)
class Meta:
    """What this is.

    Attributes:
        file: The file, as given.
        versions: Of ``durable``, ``sqlite``, ``apsw`` and ``python``, and the ``platform``.
        is_read_only: Whether acts are refused.
        has_code: Whether code is here: for typed forms, and for looking where code waits.
        workers: How many live.
        issues: How many groups of like failures are open, at most 100.
        jobs: How many acts on many runs are under way.
        trouble: Why a worker cannot write to the file, and since when; empty if all can.
    """

    file: str
    versions: Mapping[str, str]
    is_read_only: bool
    has_code: bool
    workers: int
    issues: int
    jobs: int
    trouble: str


@attrs.frozen(kw_only=True)
class MisfitView:
    """An open run that the code here would block, and why."""

    run: str
    workflow: str
    why: str


@attrs.frozen(kw_only=True)
class CodeCheck:
    """How many open runs the code here fits, and those that it does not.

    ``is_whole`` is false where more than 10,000 were open, or it took longer than 20 seconds.
    """

    fit: int
    misfits: Sequence[MisfitView]
    is_whole: bool


@attrs.frozen(kw_only=True)
class Checks:
    """What is well with the file, and what is not."""

    items: Sequence[CheckView]


# -- looks -----------------------------------------------------------------------------------------


def runs(asked: Asked) -> RunPage:
    """Return a page of runs."""
    limit = asked.number("limit", PAGE, LIST_LIMIT_MAX)
    found = asked.viewer.list(
        asked.text("q"),
        limit=limit,
        before=asked.number("before", 0) or None,
        sort=asked.text("sort", "-created"),
    )
    return RunPage(items=found, next=str(found[-1].key) if len(found) == limit else None)


def counts(asked: Asked) -> Counts:
    """Return how many runs there are, by status."""
    found = asked.viewer.count(asked.text("q"))
    return Counts(counts=found, total=sum(found.values()))


def run(asked: Asked) -> RunDetails:
    """Return everything about a run but its recorded steps."""
    return asked.viewer.header(asked.text("id"))


def steps(asked: Asked) -> StepPage:
    """Return a page of what happened in a run, a line each."""
    limit = asked.number("limit", STEPS_PER_PAGE, LIST_LIMIT_MAX)
    after, name = asked.number("after", 0), asked.text("id")
    found = asked.viewer.steps(name, after=after, limit=limit)
    pending = [] if after else asked.viewer.pending(name)
    return StepPage(
        items=found, pending=pending, next=str(found[-1].seq) if len(found) == limit else None
    )


def step(asked: Asked) -> StepView:
    """Return the whole of one step, with its attempts."""
    seq = asked.number("seq", 0)
    return asked.viewer.step(asked.text("id"), seq=seq or None, step=asked.text("step"))


def attempts(asked: Asked) -> AttemptTimes:
    """Return when the failed attempts of a run's steps ran."""
    return AttemptTimes(items=asked.viewer.attempt_times(asked.text("id")))


def payload(asked: Asked) -> Text:
    """Return a payload whole, as it is stored."""
    of = asked.text("of")
    seq = asked.number("seq", 0)
    if of == "arguments":
        return Text(asked.viewer.payload(asked.text("id"), "arguments", seq or None))
    if of == "result":
        return Text(asked.viewer.payload(asked.text("id"), "result", seq or None))
    raise UsageError(f"of is arguments or result, not {of!r:.60}")


def events(asked: Asked) -> EventPage:
    """Return a page of a run's history."""
    limit = asked.number("limit", PAGE, LIST_LIMIT_MAX)
    after = asked.number("after", 0)
    found = asked.viewer.events(asked.text("id"), after=after, limit=limit)
    return EventPage(items=found, next=str(found[-1].seq) if len(found) == limit else None)


def family(asked: Asked) -> FamilyView:
    """Return a run with the runs it started."""
    return asked.viewer.family(asked.text("id"), from_root=asked.text("root") == "true")


def compare(asked: Asked) -> ComparisonView:
    """Compare two runs, step by step."""
    if not asked.text("with"):
        raise UsageError("name the other run: ?with=ID")
    return asked.viewer.compare(asked.text("id"), asked.text("with"))


def values(asked: Asked) -> Values:
    """Return what a run has published."""
    return Values(items=asked.viewer.values(asked.text("id")))


def stream(asked: Asked) -> Items:
    """Return a page of a stream; without a place its end."""
    limit = asked.number("limit", PAGE, LIST_LIMIT_MAX)
    place = asked.number("from", 0) if "from" in asked.values else -limit
    return Items(
        items=asked.viewer.items(asked.text("id"), asked.text("name"), from_=place, limit=limit)
    )


def promise(asked: Asked) -> MessageForm:
    """Return what a promise of a run wants: its code is replayed, if nobody knows."""
    assert asked.engine is not None
    name = asked.text("name")
    found = promise_form(name)
    if found is None:
        asked.engine.stack(asked.text("id"), asked.viewer.path)
        found = promise_form(name)
    return found or MessageForm(kind="promise", name=name, schema={})


def stack(asked: Asked) -> Stack:
    """Return where the code of a run waits, by a replay with the code here."""
    assert asked.engine is not None
    return Stack(text=asked.engine.stack(asked.text("id"), asked.viewer.path))


def logs(asked: Asked) -> Logs:
    """Return what the code of a run has logged; without a place its end."""
    limit = asked.number("limit", 1_000, LIST_LIMIT_MAX)
    after = asked.number("after", 0) if "after" in asked.values else -1
    level = asked.text("level", "0")
    found = asked.viewer.logs(asked.text("id"), after=after, level=level, limit=limit)
    return Logs(items=found)


def code(asked: Asked) -> Sources:
    """Return the source of the code that went through a run."""
    return Sources(items=asked.viewer.sources(asked.text("id")))


def issues(asked: Asked) -> Issues:
    """Return groups of like failures."""
    state = asked.text("state", "open")
    limit = asked.number("limit", PAGE, LIST_LIMIT_MAX)
    return Issues(items=asked.viewer.issues(state=None if state == "all" else state, limit=limit))


def issue(asked: Asked) -> IssueView:
    """Return one group of like failures."""
    return asked.viewer.issue(asked.text("id"))


def jobs(asked: Asked) -> Jobs:
    """Return acts on many runs."""
    return Jobs(items=asked.viewer.jobs(limit=asked.number("limit", PAGE, LIST_LIMIT_MAX)))


def job(asked: Asked) -> JobView:
    """Return one act on many runs."""
    return asked.viewer.job(asked.number("id", 0))


def stats(asked: Asked) -> StatsView:
    """Return figures of the file."""
    by = asked.text("by", "workflow")
    return asked.viewer.stats(
        by="activity" if by == "activity" else "workflow", since=asked.text("since", "24h")
    )


def holds(asked: Asked) -> Holds:
    """Return what is paused as a whole."""
    return Holds(items=asked.viewer.holds())


def waiting(asked: Asked) -> Soonest:
    """Return runs that go on by themselves, the soonest first."""
    return Soonest(items=asked.viewer.soonest(limit=asked.number("limit", PAGE, LIST_LIMIT_MAX)))


def workers(asked: Asked) -> Workers:
    """Return who serves the file, and its queues."""
    return Workers(items=asked.viewer.workers(), queues=asked.viewer.queues())


def forms(asked: Asked) -> Forms:
    """Return what can be started, and what can be said to runs."""
    known = set(asked.viewer.workflows()).union(*asked.viewer.known_by_workers())
    return Forms(
        workflows=workflow_forms(asked.engine, known),
        messages=message_forms() if asked.engine is not None else [],
    )


def language(asked: Asked) -> Language:
    """Return what a filter can say: statuses, and fields with the kind of their values."""
    del asked
    fields = {name: FieldView(kind=one.kind, text=one.text) for name, one in FIELDS.items()}
    return Language(statuses=STATUSES, fields=fields)


def meta(asked: Asked) -> Meta:
    """Return what this is: the file, versions, what needs somebody."""
    viewer = asked.viewer
    return Meta(
        file=viewer.path,
        versions=versions(),
        is_read_only=asked.is_read_only,
        has_code=asked.engine is not None,
        workers=sum(one.is_alive for one in viewer.workers()),
        issues=viewer.count_issues(),
        jobs=viewer.count_running_jobs(),
        trouble=viewer.trouble,
    )


def doctor(asked: Asked) -> Checks:
    """Look the file over; it is read whole, a second for each half gigabyte."""
    return Checks(items=asked.viewer.doctor(quick=True))


def check(asked: Asked) -> CodeCheck:
    """Replay open runs with the code here, without doing anything: which would not go on."""
    assert asked.engine is not None
    fit, misfits = 0, list[MisfitView]()
    parse(asked.text("q"))  # What is wrong with it is told by its own places.
    until_s = steady_s() + CHECK_S
    for one in asked.engine.check(asked.text("q"), path=asked.viewer.path):
        if one is None:
            fit += 1
        else:
            misfits.append(MisfitView(run=one.run, workflow=one.workflow, why=one.message))
        if fit + len(misfits) >= CHECKED_MAX or steady_s() > until_s:
            return CodeCheck(fit=fit, misfits=misfits, is_whole=False)
    return CodeCheck(fit=fit, misfits=misfits, is_whole=True)


def _look(
    function: Callable[[Asked], Any],
    *,
    needs_code: bool = False,
    is_slow: bool = False,
    **parameters: str,
) -> Look:
    from typing import get_type_hints

    named = {name.rstrip("_"): text for name, text in parameters.items()}
    return Look(function, named, get_type_hints(function)["return"], needs_code, is_slow)


_LIMIT = f"at most so many, 1 to {LIST_LIMIT_MAX:,}"
_AFTER = "the number of the last event that is left out"
LOOKS: Mapping[str, Look] = {
    "meta": _look(meta),
    "doctor": _look(doctor, is_slow=True),
    "check": _look(check, q="a filter: only these open runs", needs_code=True, is_slow=True),
    "language": _look(language),
    "forms": _look(forms),
    "runs": _look(
        runs, q="a filter", limit=_LIMIT, before="the next of the page before",
        sort="by created, started, finished, wakes or took; with - the largest first; -created",
    ),
    "counts": _look(counts, q="a filter"),
    "runs/{id}": _look(run),
    "runs/{id}/steps": _look(steps, after=_AFTER, limit=_LIMIT),
    "runs/{id}/step": _look(
        step, seq="the number of its event", step="instead, the id of a pending one"
    ),
    "runs/{id}/attempts": _look(attempts),
    "runs/{id}/payload": _look(
        payload, of="arguments or result", seq="of this event; left out, of the run"
    ),
    "runs/{id}/events": _look(events, after=_AFTER, limit=_LIMIT),
    "runs/{id}/family": _look(family, root="true: from the run at the top"),
    "runs/{id}/compare": _look(compare, with_="the other run", is_slow=True),
    "runs/{id}/values": _look(values),
    "runs/{id}/stream": _look(
        stream, name="of the stream", from_="the first position; left out, its end", limit=_LIMIT
    ),
    "runs/{id}/logs": _look(
        logs, after="the number of the last line that is left out; left out, the end",
        level="the lowest, as in WARNING", limit=_LIMIT,
    ),
    "runs/{id}/code": _look(code),
    "runs/{id}/promise": _look(promise, name="its name", needs_code=True, is_slow=True),
    "runs/{id}/stack": _look(stack, needs_code=True, is_slow=True),
    "issues": _look(issues, state="open, resolved, muted or all", limit=_LIMIT),
    "issues/{id}": _look(issue),
    "jobs": _look(jobs, limit=_LIMIT),
    "jobs/{id}": _look(job),
    "stats": _look(
        stats, by="workflow or activity", since="a duration, as in 24h or 7d", is_slow=True
    ),
    "holds": _look(holds),
    "waiting": _look(waiting, limit=_LIMIT),
    "workers": _look(workers),
}  # fmt: skip
"""What can be looked at, by its address."""
