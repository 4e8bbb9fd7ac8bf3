"""New ordinals of closed runs, and open runs that go back to a place in their history.

Laws:

* A closed run never changes. Its next ordinal begins with a copy of what was recorded before a
  place in the history, and keeps its salt and its clock: the order of sets, chance, the times of
  its events and its tokens stay what they were.
* The last drain that is kept was never done for the new ordinal: it is done anew, by today's code,
  so patches are decided there, and what it publishes is published again (``redo_seq``).
* What others said from that place on was acknowledged, so it is said again: signals, updates (their
  handlers run again; whoever asked has his answer) and answers to promises.
* A step that completed, and is done again because somebody wants so, is another call to the world:
  its idempotency key changes (table ``redone``). One that failed keeps its key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from durable._clock import new_salt
from durable._core.events import Kind
from durable._store.rows import NewRun, RunRow
from durable._store.statements import Statement
from durable._store.stored_payloads import EncodedPayload
from durable._store.writer import Transaction
from durable.errors import WrongState
from durable.payloads import checksum, checksum_of_two, decompress, fingerprint
from durable.run_name import run_name

__all__ = ["Plan", "find_place", "refuse", "require_newest", "restarted", "retried", "rewind"]

# Of a run whose failure no event produced: the code alone failed, and all it recorded is kept.
WHOLE_HISTORY = 1 << 62
STEPS_SHOWN = 8
# Kinds of events that end steps, and of those that end the same steps well (see `Kind`).
_ENDS = {1: 1, 2: 1, 8: 8, 9: 8, 10: 10, 11: 10, 12: 12, 13: 12}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is restarted; as JSON it is what a run's owner is asked to do.

    Attributes:
        place: ``start``, ``failed``, ``last``, ``event:N``, an id that is shown, or the name of a
            step.
        arguments: Edited ones, as the codec writes them; null for those it has.
        outputs: By step id, what a kept step is said to have returned.
        keeps_messages: Whether what others said after the place is said again.
        keeps_children: Whether steps that start a child anew find the one that is there.
        again: Steps that run at most once and may be done again, and children that have such.
        begins_anew: Whether a run of which nothing is kept has another salt, and so other keys.
    """

    place: str
    arguments: msgspec.Raw = msgspec.Raw(b"null")
    outputs: dict[str, msgspec.Raw] = {}
    keeps_messages: bool = True
    keeps_children: bool = True
    again: tuple[str, ...] = ()
    begins_anew: bool = False


def require_newest(transaction: Transaction, run: RunRow) -> None:
    """Refuse a run that goes on as another already.

    Raises:
        WrongState: It is not the newest of its id.
    """
    ordinal = _newest(transaction, run).ordinal
    if ordinal != run.ordinal:
        raise WrongState(
            f"run {run.name} goes on as {run_name(run.id, ordinal)} already, the newest of its id; "
            "name that"
        )


def retried(transaction: Transaction, run: RunRow, now_us: int, again: tuple[str, ...] = ()) -> int:
    """Make the next ordinal of a closed run, with what was recorded before the failure.

    Raises:
        WrongState: It is not the newest, or a step that runs at most once would be done again.
    """
    require_newest(transaction, run)
    plan = Plan(place="failed", again=again)
    before = run.origin or WHOLE_HISTORY
    return _next(transaction, run, plan, "retried", before, run.origin or 0, now_us)


def restarted(transaction: Transaction, run: RunRow, plan: Plan, now_us: int) -> int:
    """Make the next ordinal of a closed run, from any place of its history.

    Raises:
        WrongState: A newer ordinal is open; there is no such place; a step that runs at most once
            would be done again; an output is given for a step that is not kept.
    """
    newest = _newest(transaction, run)
    if newest.is_open and newest.pk != run.pk:
        raise WrongState(
            f"run {run.name} goes on as {newest.name} already, which is open; restart that one"
        )
    before, but = find_place(transaction, run, plan)
    return _next(transaction, run, plan, "restarted", before, but, now_us)


def rewind(transaction: Transaction, run: RunRow, now_us: int, again: tuple[str, ...] = ()) -> None:
    """Let a paused run go on from its failure's origin: what it recorded from there on is dropped.

    The blobs of dropped messages go over to those that are sent again.

    Raises:
        WrongState: A step that runs at most once would be done again.
    """
    pk, before = run.pk, run.origin or WHOLE_HISTORY
    _refuse_once(transaction, run, before, again)
    drained = transaction.one("find_last_drained", run=pk, before=before)
    assert drained is not None
    redo_seq: int = drained[0]
    transaction.all("resend_messages", to=pk, run=pk, from_seq=before, but=run.origin or 0)
    transaction.all("delete_events_from", run=pk, from_seq=redo_seq + 1)
    transaction.all("drop_accepted", run=pk)
    transaction.all("delete_items_from", run=pk, redo_seq=redo_seq)
    transaction.rows("mark_redo", [(pk, redo_seq)])
    transaction.all("renew_deadline", pk=pk, now_us=now_us)
    _take_children_along(transaction, run, pk, now_us)


def _newest(transaction: Transaction, run: RunRow) -> RunRow:
    newest = transaction.one("find_newest", id=run.id)
    assert newest is not None
    return RunRow(*newest)


def refuse(transaction: Transaction, run: RunRow, plan: Plan) -> None:
    """Refuse what `restarted` would refuse, before an open run is ended for it.

    Raises:
        WrongState: There is no such place, or a step that runs at most once would be done again.
    """
    before, _ = find_place(transaction, run, plan)
    _refuse_once(transaction, run, before, plan.again)
    _refuse_once_of_children(transaction, run, before, plan)


# -- places ----------------------------------------------------------------------------------------


class Asks(Protocol):
    """Runs named statements: a transaction, or a reader."""

    def all(self, name: Statement, /, **values: Any) -> list[tuple[Any, ...]]:
        """Run one; return its rows."""
        ...


def find_place(transaction: Asks, run: RunRow, plan: Plan) -> tuple[int, int]:
    """Return the first event that is not kept, and the one whose message is not said again.

    Raises:
        WrongState: There is no such place.
    """
    if plan.place == "start":
        return 1, 0
    if plan.place == "failed":
        if run.state in {"completed", "continued"}:
            raise WrongState(f"run {run.name} is {run.state}; name the step to restart from")
        return run.origin or WHOLE_HISTORY, run.origin or 0
    events = transaction.all("list_places", run=run.pk)
    word, _, number = plan.place.partition(":")
    if word == "event" and number.isdecimal():
        if not 1 <= int(number) <= len(events) + 1:
            raise WrongState(f"run {run.name} has no event {number}; it has {len(events):,}")
        return int(number), 0
    ends = [event for event in events if event[1] in _ENDS]
    if plan.place == "last":
        return _before(ends[-1], plan) if ends else (1, 0)
    return _place_of_step(transaction, run, plan, events)


def _place_of_step(
    transaction: Asks, run: RunRow, plan: Plan, events: list[tuple[int, int, str, str]]
) -> tuple[int, int]:
    ends = [event for event in events if event[1] in _ENDS]
    for event in (*(one for one in ends if one[2] == plan.place), *ends):
        if plan.place in {event[2], event[3]}:
            return _before(event, plan)
    for seq, step in _shown_ids(events):
        if step == plan.place:
            return seq, 0
    pending = {row[0]: row[1] for row in transaction.all("list_steps", run=run.pk)}
    if plan.place in pending or plan.place in pending.values():
        return WHOLE_HISTORY, 0
    raise WrongState(f"run {run.name} has no step {plan.place!r}; it has {_shown(ends)}")


def _before(event: tuple[int, int, str, str], plan: Plan) -> tuple[int, int]:
    seq, _, step, _ = event
    if step in plan.outputs:  # Its result is given: the run goes on behind it.
        return seq + 1, 0
    return seq, seq


def _shown_ids(events: list[tuple[int, int, str, str]]) -> Iterator[tuple[int, str]]:
    """Yield the events that end no step, with the ids that they are shown by."""
    received = Counter[str]()
    for seq, kind, step, name in events:
        match kind:
            case Kind.FIRED:
                yield seq, step
            case Kind.RECEIVED:
                received[name] += 1
                yield seq, f"signal:{name}#{received[name]}"
            case Kind.UPDATE_ACCEPTED:
                yield seq, f"update:{step}"


def _shown(ends: list[tuple[int, int, str, str]]) -> str:
    shown = ", ".join(f"{step} ({name})" for _, _, step, name in ends[:STEPS_SHOWN])
    more = len(ends) - STEPS_SHOWN
    return (shown or "none") + (f" and {more:,} more" if more > 0 else "")


# -- the copy --------------------------------------------------------------------------------------


def _next(
    transaction: Transaction,
    run: RunRow,
    plan: Plan,
    cause: str,
    before: int,
    but: int,
    now_us: int,
) -> int:
    _refuse_once(transaction, run, before, plan.again)
    _refuse_once_of_children(transaction, run, before, plan)
    drained = transaction.one("find_last_drained", run=run.pk, before=before)
    assert drained is not None
    redo_seq: int = drained[0]
    is_anew = redo_seq == 0 and plan.begins_anew
    stored, mark, check = run.arguments, run.fingerprint, run.checksum
    is_edited = bytes(plan.arguments) != b"null"
    if is_edited:
        payload = bytes(plan.arguments)
        stored = EncodedPayload.of(payload).store(transaction)
        mark, check = fingerprint(payload), checksum(payload)
    newest = _newest(transaction, run)
    to = transaction.insert_run(
        NewRun(
            id=run.id,
            ordinal=newest.ordinal + 1,
            workflow=run.workflow,
            queue=run.queue,
            priority=run.priority,
            headers=run.headers,
            salt=new_salt() if is_anew else run.salt,
            arguments=stored,
            fingerprint=mark,
            checksum=check,
            cause=cause,
            code=None if is_anew else run.code,
            created_us=now_us,
            clock_us=None if is_anew else run.clock_us,
            root_pk=run.root_pk,
            parent_pk=run.parent_pk,
            on_parent_close=run.on_parent_close,
            deadline_us=run.deadline_again_us(now_us),
            run_timeout_us=run.run_timeout_us,
            source_pk=run.pk,
            redo_seq=redo_seq,
            adopts=int(plan.keeps_children),
            labels=run.labels,
        )
    )
    if not is_edited and isinstance(run.arguments, int):
        transaction.all("share_blob", id=run.arguments)
    transaction.all("copy_events", run=run.pk, to=to, before=redo_seq + 1)
    transaction.all("share_blobs_of_events", run=run.pk, before=redo_seq + 1)
    _replace(transaction, to, plan.outputs)
    transaction.all("copy_code_spans", run=run.pk, to=to, before=redo_seq + 1)
    transaction.all("copy_policies", run=run.pk, to=to)
    transaction.all("copy_once", run=run.pk, to=to)
    transaction.all("copy_accepted", run=run.pk, to=to)
    transaction.all("copy_redone", run=run.pk, to=to)
    if cause == "restarted" and not is_anew:
        transaction.all(
            "insert_redone", run=run.pk, to=to, from_seq=before, ordinal=newest.ordinal + 1
        )
    if redo_seq:
        transaction.all("copy_values", run=run.pk, to=to)
        transaction.all("copy_items", run=run.pk, to=to, redo_seq=redo_seq)
        transaction.all("share_blobs_of_published", run=to)
    if plan.keeps_messages:
        transaction.all("resend_messages", run=run.pk, to=to, from_seq=before, but=but)
        transaction.all("resend_letters", run=run.pk, to=to)
        transaction.all("share_blobs_of_inbox", run=to)
    _take_children_along(transaction, run, to, now_us)
    return to


def _replace(transaction: Transaction, to: int, outputs: dict[str, msgspec.Raw]) -> None:
    """Let steps of the copied history have returned something else."""
    for step, output in outputs.items():
        found = transaction.one("get_end_of_step", run=to, step=step)
        if found is None:
            raise WrongState(
                f"step {step} is not among those that are kept, so it has no output to replace; "
                "restart from that step or a later one"
            )
        seq, kind, arguments = found
        passed = arguments.encode() if isinstance(arguments, str) else b""
        if isinstance(arguments, int):
            blob = transaction.one("get_blob", id=arguments)
            assert blob is not None
            passed = decompress(blob[1], blob[0])
        payload = bytes(output)
        transaction.all(
            "replace_end_of_step",
            run=to,
            seq=seq,
            kind=_ENDS[kind],
            result=EncodedPayload.of(payload).store(transaction),
            checksum=checksum_of_two(passed, payload),
        )


def _refuse_once(
    transaction: Transaction, run: RunRow, before: int, named: tuple[str, ...]
) -> None:
    found = transaction.all("find_once_from", run=run.pk, before=before)
    steps = [step for (step,) in found if step not in named]
    if steps:
        listed = ", ".join(steps[:STEPS_SHOWN])
        raise WrongState(
            f"run {run.name}: step {listed} runs at most once, and may have happened. Find out, "
            f"then name it to do it again (--again {steps[0]}), or say what it returned "
            f"(restart --from {steps[0]} --step-output {steps[0]}=JSON)"
        )


def _refuse_once_of_children(
    transaction: Transaction, run: RunRow, before: int, plan: Plan
) -> None:
    """Refuse to start children anew whose steps run at most once, unless they are named."""
    if plan.keeps_children:
        return
    for child, step in transaction.all("find_once_of_children", run=run.pk, before=before):
        if child not in plan.again:
            raise WrongState(
                f"run {run.name}: its child {child} would be started anew, and has begun step "
                f"{step}, which runs at most once and may have happened. Find out, then name the "
                f"child to do it again (--again {child}), or keep it (--children keep)"
            )


def _take_children_along(transaction: Transaction, run: RunRow, to: int, now_us: int) -> None:
    """Let children whose start is kept, and whose end is not, report to the new ordinal.

    Or to the run itself, if it goes on in place. An open one goes over to it, a completed one's
    result is told again, and one that failed is retried from the step that failed. (Children whose
    start is not kept are found by the step that starts them.)
    """
    for pk, step in transaction.all("list_kept_children", run=run.pk, to=to):
        found = transaction.one("get_run", pk=pk)
        assert found is not None
        child = _newest(transaction, RunRow(*found))
        key = child.pk
        if not child.is_open and child.state != "completed":
            key = retried(transaction, child, now_us)
        transaction.all("adopt_run", pk=key, parent=to, step=step)
        if child.state == "completed":
            transaction.one(
                "insert_inbox", run=to, kind="child", name="", key=step, payload=str(key),
                at_us=now_us,
            )  # fmt: skip
