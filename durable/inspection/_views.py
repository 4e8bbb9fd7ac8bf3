"""What is shown of a run: its summary, its details, its steps and their attempts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen(kw_only=True)
class RunSummary:
    """One line of a list of runs.

    Attributes:
        id: As people write it, with ``#n`` from the second ordinal on.
        workflow: The stored name.
        status: One of `STATUSES`.
        why: Why an open run waits, or what ended it; one line.
        created: When it was stored, UTC.
        started: When its code first ran, UTC, or None.
        closed: When it ended, UTC, or None.
        wakes: When it goes on by itself, UTC, or None.
        cause: ``started``, ``restarted``, ``retried`` or ``continued``.
        key: Its number in the file: newer runs have larger ones.
        tags: As it was started with.
        attributes: As it was started with, by name.
    """

    id: str
    workflow: str
    status: str
    why: str
    created: dt.datetime
    started: dt.datetime | None
    closed: dt.datetime | None
    wakes: dt.datetime | None
    cause: str
    key: int
    tags: Sequence[str]
    attributes: Mapping[str, str | int | float | bool]


@attrs.frozen(kw_only=True)
class AttemptView:
    """A failed or abandoned attempt, with its whole traceback."""

    number: int
    state: str
    started: dt.datetime
    ended: dt.datetime
    error: str
    traceback: str


@attrs.frozen(kw_only=True)
class StepView:
    """One thing that happened in a run, or is under way: a step, a timer, a message.

    Attributes:
        step: Its id, with which the ids of what followed begin: ``2``, a timer's ``!t1``, a
            signal's ``signal:NAME#1``, an update's ``update:ID``. Empty for what concerns the
            whole run.
        kind: ``activity``, ``timer``, ``child`` (its end), ``call`` (what the run did to another:
            ``start NAME``, ``signal NAME``, ``cancel``), ``promise``, ``signal``, ``update``,
            ``cancel`` (a request to stop), ``run_timeout`` or ``patch``.
        name: Of the activity, the child's workflow, the promise, the signal, the update or the
            patch; for the rest the kind.
        status: ``completed``, ``failed``, ``fired`` (timers), ``resolved``, ``rejected``
            (promises), ``received`` (signals), ``accepted`` (updates without an answer),
            ``abandoned``, ``requested`` (a cancel), ``reached`` (a run_timeout), ``patched``;
            pending: ``queued`` (it waits for a place or a thread), ``running``,
            ``retrying``, ``exhausted``, ``intent``, ``later`` (its code has
            returned, and somebody outside answers); or ``damaged``: its row does not read;
            ``error`` says why.
        tries: Attempts made of an activity; 0 for the rest.
        ended: When, UTC, or None while it is pending.
        took_us: Microseconds of the attempt that ended it, of the timer, the child or the update.
        next_try: When it is tried again, UTC, or None.
        error: One line of the last failure, the reason of a cancel, or empty.
        arguments: What it was given, a message's content too. As stored: JSON text, at most 64 KiB
            of it; ``<the reason>`` if it is damaged.
        result: What came out. As stored: JSON text, at most 64 KiB of it; ``<the reason>`` if it is
            damaged.
        attempts: The failed ones.
        started: When the attempt that runs began, UTC; None of what does not run, or is quick.
        details: What its last heartbeat said, as JSON; or empty.
        code: The fingerprint of the workflow's source that went through it; empty while pending.
    """

    step: str
    kind: str
    name: str
    status: str
    tries: int
    ended: dt.datetime | None
    took_us: int | None
    next_try: dt.datetime | None
    error: str
    arguments: str
    result: str
    attempts: Sequence[AttemptView]
    code: str = ""
    started: dt.datetime | None = None
    details: str = ""


@attrs.frozen(kw_only=True)
class StepLine:
    """A step in one line; `Viewer.step` has the whole of it.

    Attributes:
        seq: The number of its event; None while it is pending.
        step: As of `StepView`.
        kind: As of `StepView`.
        name: As of `StepView`.
        status: As of `StepView`.
        tries: As of `StepView`.
        started: When its first attempt began, or its timer was armed, UTC; None if nobody knows.
        ended: When, UTC, or None while it is pending.
        next_try: When it is tried again, UTC, or None.
        error: One line of the last failure, the reason of a cancel, or empty.
        label: What tells it from its like: the beginning of its arguments, at most 120 characters.
    """

    seq: int | None
    step: str
    kind: str
    name: str
    status: str
    tries: int
    started: dt.datetime | None
    ended: dt.datetime | None
    next_try: dt.datetime | None
    error: str
    label: str


@attrs.frozen(kw_only=True)
class AttemptTime:
    """When a failed or abandoned attempt ran.

    Attributes:
        step: The step's id.
        number: From 1.
        state: ``failed`` or ``abandoned``.
        started: UTC.
        ended: UTC.
    """

    step: str
    number: int
    state: str
    started: dt.datetime
    ended: dt.datetime


@attrs.frozen(kw_only=True)
class WorkerView:
    """A process that serves the file.

    Attributes:
        id: Its number in the file, never used again.
        pid: Of the process.
        host: Where it runs.
        started: When it opened the file, UTC.
        is_alive: Whether the kernel says that it lives; a dead one's runs are taken over.
        workflows: The stored names of those it can run.
        runs: How many runs it has in hand.
    """

    id: int
    pid: int
    host: str
    started: dt.datetime
    is_alive: bool
    workflows: Sequence[str]
    runs: int


@attrs.frozen(kw_only=True)
class QueueView:
    """A task queue with runs that could go on now.

    Attributes:
        name: Its name.
        queued: Runs that wait for a worker.
        in_hand: Runs in the hands of workers.
        is_held: Whether it is paused as a whole.
    """

    name: str
    queued: int
    in_hand: int
    is_held: bool


@attrs.frozen(kw_only=True)
class LogView:
    """A line that a run's code has logged.

    Attributes:
        n: Its number; later lines have larger ones.
        at: When, UTC.
        level: Its name, as in ``WARNING``.
        logger: The logger's name.
        step: Of the activity that said it; empty: the workflow itself.
        attempt: Of that step; 0: the workflow itself.
        text: At most 8,192 characters, with the traceback if there is one.
    """

    n: int
    at: dt.datetime
    level: str
    logger: str
    step: str
    attempt: int
    text: str


@attrs.frozen(kw_only=True)
class SourceView:
    """The source of the code that went through a run from some event on.

    Attributes:
        code: Its fingerprint.
        event: The number of the first event it went through.
        place: Where it is, as ``file:line``.
        line: The number of its first line.
        text: The source, at most 200,000 characters.
    """

    code: str
    event: int
    place: str
    line: int
    text: str


@attrs.frozen(kw_only=True)
class CheckView:
    """Something about the file that was looked at.

    Attributes:
        name: What.
        is_well: Whether it is as it should be.
        text: What was found, and what to do if it is not well; one line.
    """

    name: str
    is_well: bool
    text: str


@attrs.frozen(kw_only=True)
class ItemView:
    """An item of a stream.

    Attributes:
        position: Its place in the stream, from 0.
        value: As stored: JSON text, at most 64 KiB of it; ``<the reason>`` if it is damaged.
        at: When it was appended, UTC.
    """

    position: int
    value: str
    at: dt.datetime


@attrs.frozen(kw_only=True)
class EventView:
    """One recorded fact of a run, as people read it.

    Attributes:
        seq: Its place in the history, from 1.
        run: The run, as people write it: with ``#n`` from the second ordinal on.
        at: When, UTC.
        kind: As of `StepView`.
        step: As of `StepView`.
        name: As of `StepView`.
        status: As of `StepView`; an update is ``accepted``, its answer is no event.
        took_us: Microseconds of the attempt that ended the step, or of the child, or None.
        error: One line of what failed, the reason of a cancel, or empty.
        arguments: As stored: JSON text, at most 64 KiB of it; ``<the reason>`` if it is damaged.
        result: Likewise.
    """

    seq: int
    run: str
    at: dt.datetime
    kind: str
    step: str
    name: str
    status: str
    took_us: int | None
    error: str
    arguments: str
    result: str


@attrs.frozen(kw_only=True)
class CodeView:
    """Which code went through a run from some event on.

    Attributes:
        code: The fingerprint of the workflow's source: 16 hexadecimal digits.
        event: The number of the first event it went through.
        at: When, UTC.
    """

    code: str
    event: int
    at: dt.datetime


@attrs.frozen(kw_only=True)
class ChildView:
    """A run that this run started.

    Attributes:
        id: As people write it.
        workflow: The stored name.
        status: One of `STATUSES`.
        step: Where its end is delivered in this run.
    """

    id: str
    workflow: str
    status: str
    step: str


@attrs.define(kw_only=True)
class FamilyView:
    """A run in the tree of its family.

    Attributes:
        id: As people write it.
        workflow: The stored name.
        status: One of `STATUSES`.
        why: Why an open run waits, or what ended it; one line.
        started: When its code first ran, UTC, or None.
        closed: When it ended, UTC, or None.
        step: Where its end is delivered in the run that started it; empty: nowhere.
        children: The runs it started, oldest first.
        folded: Of many like children those not among `children`: how many of each status, by
            workflow.
        is_cut: Whether it has more children than that: the tree is 100 deep at most, and has
            100,000 runs at most.
    """

    id: str
    workflow: str
    status: str
    why: str
    started: dt.datetime | None
    closed: dt.datetime | None
    step: str
    children: list[FamilyView] = attrs.field(factory=list["FamilyView"])
    folded: dict[str, dict[str, int]] = attrs.field(factory=dict[str, dict[str, int]])
    is_cut: bool = False


@attrs.frozen(kw_only=True)
class ValueView:
    """A published value.

    Attributes:
        name: Its name.
        value: As stored: JSON text, at most 64 KiB of it; ``<the reason>`` if it is damaged.
        at: When it was set, UTC.
    """

    name: str
    value: str
    at: dt.datetime


@attrs.frozen(kw_only=True)
class StreamView:
    """A stream, and how many items it has."""

    name: str
    items: int


@attrs.frozen(kw_only=True)
class UpdateView:
    """An update that was accepted or refused, or that came too late.

    Attributes:
        id: Its id.
        name: Its name.
        status: ``accepted`` (without an answer yet), ``completed``, ``failed``, ``refused`` or
            ``abandoned``: the run ended first.
        answered: When, UTC, or None.
        answer: As stored: JSON text, at most 64 KiB of it, or empty.
        error: One line of why it failed or was refused, or empty.
    """

    id: str
    name: str
    status: str
    answered: dt.datetime | None
    answer: str
    error: str


@attrs.frozen(kw_only=True)
class PromiseView:
    """What somebody outside is to answer.

    Attributes:
        name: Of the promise, or of the activity that is completed later.
        step: Its step.
        token: What the answer is addressed to: ``durable answer TOKEN JSON``.
    """

    name: str
    step: str
    token: str


@attrs.frozen(kw_only=True)
class DeadLetter:
    """A message that the run could not receive: its type did not fit, or the run had ended.

    Attributes:
        name: The signal's.
        payload: As stored: JSON text, at most 64 KiB of it; ``<the reason>`` if it is damaged.
        why: Why nobody received it; one line.
        at: When it came, UTC.
    """

    name: str
    payload: str
    why: str
    at: dt.datetime


@attrs.frozen(kw_only=True)
class IssueView:
    """A group of like failures.

    Attributes:
        id: ``I-14``.
        fingerprint: 16 hexadecimal digits: the same for like failures in every file.
        kind: ``failed``, ``retrying`` (3 times or more), ``blocked``, ``watchdog`` (workflow code
            did not come to rest for a second), or ``no worker``: runs that nobody takes for half a
            minute, because no living worker knows their workflow. Its id is ``no-worker:NAME``, it
            has no fingerprint, and it goes by itself when a worker starts.
        state: ``open``, ``resolved`` (open again with the next one) or ``muted``.
        title: One line, with numbers, ids and the like taken out.
        function: The innermost function of the user's code, or of the step; may be empty.
        place: Its file; may be empty.
        seen: How often it came up.
        open: Runs that need somebody: open ones, and failed ones that nobody retried.
        first: When it first came up, UTC.
        last: When it last did, UTC.
        hours: How often in each of the last 24 hours, the current one last.
        workflows: How often by workflow, in the last 30 days.
        versions: How often by fingerprint of the workflow's code, in the last 30 days.
        sample: The newest traceback, or why the run is blocked.
        sample_run: The run it is of; empty if it was deleted.
    """

    id: str
    fingerprint: str
    kind: str
    state: str
    title: str
    function: str
    place: str
    seen: int
    open: int
    first: dt.datetime | None
    last: dt.datetime | None
    hours: Sequence[int]
    workflows: Mapping[str, int]
    versions: Mapping[str, int]
    sample: str
    sample_run: str


@attrs.frozen(kw_only=True)
class IssueAlert:
    """What `Engine(on_issue=)` is called with.

    Attributes:
        what: ``new``: a failure like no other before; ``regressed``: like one that was resolved;
            ``blocked``: runs are blocked, in a way that is new or was resolved.
        issue: The group, as it is now.
        run: The run in which it came up; empty if it was deleted.
        at: When, UTC.
    """

    what: str
    issue: IssueView
    run: str
    at: dt.datetime


@attrs.frozen(kw_only=True)
class HoldView:
    """A workflow or a queue that is paused as a whole.

    Attributes:
        kind: ``workflow`` or ``queue``.
        name: Its name.
        who: Whoever paused it, as ``user@host``.
        why: In their words; may be empty.
        at: When, UTC.
    """

    kind: str
    name: str
    who: str
    why: str
    at: dt.datetime


@attrs.frozen(kw_only=True)
class JobView:
    """An act on many runs.

    Attributes:
        id: Its number.
        verb: One that many runs take at once: ``retry``, ``pause``, ``remove``.
        query: The filter; times in it count from ``created``.
        who: Whoever asked for it, as ``user@host``.
        why: In their words; may be empty.
        state: ``running``, ``done`` or ``stopped``.
        total: Runs that matched when it was asked for.
        done: Runs to which it was done.
        refused: Runs for which it was refused.
        created: When it was asked for, UTC.
        ended: When it ended, UTC, or None.
        refusals: The first 100 of those for which it was refused, and why.
    """

    id: int
    verb: str
    query: str
    who: str
    why: str
    state: str
    total: int
    done: int
    refused: int
    created: dt.datetime
    ended: dt.datetime | None
    refusals: Mapping[str, str]


@attrs.frozen(kw_only=True)
class DifferenceView:
    """Where a blocked run's code and history part.

    Attributes:
        step: The step's id; empty if none is concerned.
        event: The number of the event that does not fit.
        recorded: What the history has there.
        at: When that was recorded, UTC.
        code: What the code has there.
        where: Where in the code, as ``file:line``; may be empty.
    """

    step: str
    event: int
    recorded: str
    at: dt.datetime | None
    code: str
    where: str


@attrs.frozen(kw_only=True)
class AuditView:
    """What a person did to a run.

    Attributes:
        verb: ``retry``, ``restart``, ``cancel``, ...
        who: Whoever did it, as ``user@host``.
        why: In their words; may be empty.
        details: What else was said: JSON text.
        at: When, UTC.
    """

    verb: str
    who: str
    why: str
    details: str
    at: dt.datetime | None


@attrs.frozen(kw_only=True)
class RunDetails(RunSummary):
    """Everything about one run.

    Attributes:
        arguments: As stored: JSON text, at most 64 KiB of it; ``<the reason>`` if it is damaged.
        result: Likewise; of a cancelled or terminated run the reason.
        traceback: Of what ended a failed run, or empty.
        events: How many are recorded.
        worker: The number of the one that has it in hand, or empty.
        lost: How often its worker died with it in hand, without an event since.
        parent: The run that started it, or empty.
        root: The run at the top of its family, or empty.
        deadline: When its ``run_timeout`` is over, UTC, or None.
        waits_for: What an open run waits for from outside, a few of many: ``signal approval``,
            ``child ship (step 3)``, ``promise ok (step 2)``. Known once it has waited for a second.
        steps: What happened, in order; then what is under way.
        children: The runs it started, oldest first, at most 1,000.
        values: What it published, by name.
        streams: What it and its activities appended to, by name.
        updates: In the order in which they were accepted; then those refused or abandoned.
        promises: What waits for an answer.
        dead_letters: Messages it could not receive, at most 100.
        source: The run that this one goes on from, or empty.
        followed_by: The runs that go on from this one, oldest first.
        audit: What people did to it, oldest first, at most 1,000.
        difference: Where the code and the history of a blocked run part, or None.
        issue: The group of like failures it belongs to, as ``I-14``, or empty.
        codes: Which code of its workflow went through it: the one it began with, then each that
            went on with it.
    """

    arguments: str
    result: str
    traceback: str
    events: int
    worker: str
    lost: int
    parent: str
    root: str
    deadline: dt.datetime | None
    waits_for: Sequence[str]
    steps: Sequence[StepView]
    children: Sequence[ChildView]
    values: Sequence[ValueView]
    streams: Sequence[StreamView]
    updates: Sequence[UpdateView]
    promises: Sequence[PromiseView]
    dead_letters: Sequence[DeadLetter]
    source: str
    followed_by: Sequence[str]
    audit: Sequence[AuditView]
    difference: DifferenceView | None
    issue: str
    codes: Sequence[CodeView]
