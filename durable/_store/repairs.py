"""What a person does to runs that went wrong, as operations of one transaction.

Each act and its row in the audit are one commit. A run that a worker holds in memory gets a row in
its inbox, and its owner does it (law 3); any other is changed here and now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from durable._store import requests, restarts
from durable._store.restarts import Plan
from durable._store.rows import LOST_ALONE, RunRow
from durable._store.statements import Statement
from durable._store.stored_payloads import EncodedPayload
from durable._store.writer import Transaction
from durable.errors import WrongState
from durable.payloads import decode_document, encode_document

__all__ = [
    "By",
    "Pausing",
    "accept",
    "audit",
    "cancel",
    "edit",
    "hold",
    "pause",
    "remove",
    "restart",
    "resume",
    "resume_if_asked",
    "retry",
    "set_issue",
    "skip",
    "terminate",
]

Operation = Callable[[Transaction], Any]
STEPS_SHOWN = 5
# Ids of what can be pending end with the number of a call, or say that they are a child's end.
_STEP_ID = re.compile(r"(?:^|\.)[0-9]+(?:!end)?$")


@attrs.frozen(kw_only=True)
class By:
    """Who does it, why and when.

    Attributes:
        who: As the audit shows it.
        why: In their words; may be empty.
        now_us: The time.
        is_alive: Asks the kernel whether a worker lives.
        job: The act on many runs that it is part of, or None.
    """

    who: str
    why: str
    now_us: int
    is_alive: Callable[[int], bool]
    job: int | None = None


def audit(transaction: Transaction, by: By, run: int | None, verb: str, /, **details: Any) -> None:
    """Write down who did what."""
    if by.job is not None:
        details["job"] = by.job
    text = encode_document(details).decode()
    transaction.rows("insert_audit", [(run, verb, by.who, by.why, text, by.now_us)])


def note(run: int, by: By, verb: str, /, **details: Any) -> Callable[[Transaction], None]:
    """Return the operation that writes down what was said to a run, or that it was started."""

    def operation(transaction: Transaction) -> None:
        audit(transaction, by, run, verb, **details)

    return operation


# -- going on --------------------------------------------------------------------------------------


def retry(
    pk: int, by: By, *, anyway: bool, again: tuple[str, ...] = ()
) -> Callable[[Transaction], int]:
    """Return the operation that lets a run go on; its value is the key of the run that goes on.

    An open run goes on in place: what waits for a retry is tried now, a paused or blocked one
    starts again. A closed one never changes: a new ordinal gets a copy of what was recorded before
    the failure's origin.

    Raises:
        WrongState: It completed, or nothing of it failed, or steps completed after the failure, or
            a step that runs at most once would be done again.
    """

    def operation(transaction: Transaction) -> int:
        run = requests.get(transaction, pk)
        to = _retry(transaction, run, by, anyway=anyway, again=again)
        audit(transaction, by, to, "retry", run=run.name)
        return to

    return operation


def _retry(
    transaction: Transaction, run: RunRow, by: By, *, anyway: bool, again: tuple[str, ...]
) -> int:
    match run.state:
        case "completed" | "continued":
            raise WrongState(f"run {run.name} is {run.state}; there is nothing to retry")
        case "failed" | "cancelled" | "terminated":
            restarts.require_newest(transaction, run)
            _refuse_if_later(transaction, run, anyway=anyway)
            return restarts.retried(transaction, run, by.now_us, again)
        case "paused" | "blocked":
            if run.origin is not None:
                _refuse_if_later(transaction, run, anyway=anyway)
                restarts.rewind(transaction, run, by.now_us, again)
            transaction.all("retry_steps_now", run=run.pk, now_us=by.now_us)
            transaction.one("ready_run", pk=run.pk)
            return run.pk
        case _:
            _refuse_if_nothing_waits(transaction, run, by)
            transaction.all("retry_steps_now", run=run.pk, now_us=by.now_us)
            requests.put(transaction, run.pk, "retry", "", "", "null", by.now_us)
            return run.pk


def _refuse_if_nothing_waits(transaction: Transaction, run: RunRow, by: By) -> None:
    """Refuse a run none of whose steps waits for its next attempt.

    The rows of its steps tell: a run is written down as retrying only once it waited for a second.
    """
    status, now_us = run.status(by.is_alive), by.now_us
    if status == "retrying" or transaction.all("find_waiting_retry", run=run.pk, now_us=now_us):
        return
    raise WrongState(f"run {run.name} is {status}, and no step of it waits for a retry")


def _refuse_if_later(transaction: Transaction, run: RunRow, *, anyway: bool) -> None:
    if anyway or not run.origin:
        return
    later = transaction.all("find_completed_after", run=run.pk, after=run.origin)
    if later:
        names = ", ".join(f"step {step} ({name})" for step, name in later[:STEPS_SHOWN])
        raise WrongState(
            f"run {run.name}: {names} completed after {_what_ended(run)} (clean-up or "
            "compensation, perhaps); a retry goes on from before them, as if they had not been. "
            "Retry with --anyway if that is right, or restart --from a step"
        )


def _what_ended(run: RunRow) -> str:
    return "it was cancelled" if run.state == "cancelled" else "the step that failed"


def restart(pk: int, plan: Plan, by: By) -> Callable[[Transaction], int | None]:
    """Return the operation that makes a run's next ordinal from any place of its history.

    An open run is terminated first. Its value is the key of the new run; None if a worker holds the
    old one, and was told to do it.

    Raises:
        WrongState: There is no such place, or a newer ordinal is open, or a step that runs at most
            once would be done again, or a kept step is none that has an output.
    """

    def operation(transaction: Transaction) -> int | None:
        run = requests.get(transaction, pk)
        details = {"run": run.name, "from": plan.place}
        if run.is_open:
            restarts.refuse(transaction, run, plan)
            why = f"restarted from {plan.place}"
            if not requests.terminate(pk, why, by.now_us, by.is_alive, "restart", plan)(
                transaction
            ):
                audit(transaction, by, pk, "restart", **details)
                return None
            run = requests.get(transaction, pk)
        to = restarts.restarted(transaction, run, plan, by.now_us)
        if not plan.keeps_children:
            requests.end_left_children(transaction, run, by.now_us, by.is_alive)
        audit(transaction, by, to, "restart", **details)
        return to

    return operation


# -- by hand ---------------------------------------------------------------------------------------


def skip(
    pk: int, step: str, payload: bytes, by: By, *, fails: bool
) -> Callable[[Transaction], None]:
    """Return the operation that ends a pending step by hand.

    Raises:
        RunClosed: The run has ended.
        WrongState: The step has ended already.
    """

    def operation(transaction: Transaction) -> None:
        run = requests.get_open(transaction, pk, "none of its steps is pending")
        key = _pending_step(transaction, run, step)
        if transaction.one("get_end_of_step", run=run.pk, step=key) is not None:
            raise WrongState(
                f"step {key} of run {run.name} has ended; to replace what it returned: restart "
                f"--from {key} --step-output {key}=JSON"
            )
        kind = "fail" if fails else "skip"
        stored = EncodedPayload.of(payload).store(transaction)
        requests.put(transaction, run.pk, kind, "", key, stored, by.now_us)
        # What a person has paused stays so; what this very step has paused goes on.
        pending = {row[0]: row[2] for row in transaction.all("list_steps", run=run.pk)}
        if run.state == "paused" and pending.get(key) == "exhausted":
            transaction.one("ready_run", pk=run.pk)
            transaction.hold([run.pk])
        audit(transaction, by, run.pk, kind, step=key)

    return operation


def _pending_step(transaction: Transaction, run: RunRow, step: str) -> str:
    """Return the id of a step that a person names, by its id or by its name.

    Raises:
        WrongState: It is no id, and no step that is written down as pending has that name.
    """
    if _STEP_ID.search(step):
        return step
    pending = transaction.all("list_steps", run=run.pk)
    named = [row[0] for row in pending if row[1] == step]
    if len(named) == 1:
        return str(named[0])
    shown = ", ".join(f"{row[0]} ({row[1]})" for row in pending[:STEPS_SHOWN]) or "none is"
    raise WrongState(
        f"run {run.name}: {step!r:.60} is neither the id of a step, as in 3 or 2/1.3, nor the name "
        f"of exactly one that is written down as pending: {shown}; `durable show` has the ids"
    )


def accept(pk: int, step: str, by: By) -> Callable[[Transaction], None]:
    """Return the operation that lets a recorded end pass though the arguments changed.

    Raises:
        WrongState: The run is not blocked, or the step has no recorded end.
    """

    def operation(transaction: Transaction) -> None:
        run = requests.get(transaction, pk)
        if run.state != "blocked":
            raise WrongState(f"run {run.name} is {run.status(by.is_alive)}, not blocked")
        pending = {row[0] for row in transaction.all("list_steps", run=pk)}
        if step not in pending and transaction.one("get_end_of_step", run=pk, step=step) is None:
            raise WrongState(f"run {run.name} has recorded no end of a step {step}")
        transaction.all("insert_accepted", run=pk, step=step)
        transaction.one("ready_run", pk=pk)
        audit(transaction, by, pk, "accept", step=step)

    return operation


def edit(pk: int, step: str, changes: Mapping[str, Any], by: By) -> Callable[[Transaction], None]:
    """Return the operation that changes the policy of a pending step.

    Raises:
        RunClosed: The run has ended.
        WrongState: The step has ended already.
    """

    def operation(transaction: Transaction) -> None:
        run = requests.get_open(transaction, pk, "none of its steps is pending")
        key = _pending_step(transaction, run, step)
        if transaction.one("get_end_of_step", run=run.pk, step=key) is not None:
            raise WrongState(f"step {key} of run {run.name} has ended; its policy is of no use")
        before = dict(transaction.all("list_policies", run=run.pk)).get(key, "{}")
        text = encode_document({**decode_document(before), **changes}).decode()
        transaction.all("upsert_policy", run=run.pk, step=key, changes=text)
        if run.state in {"ready", "parked"}:  # Whoever has it in memory is told.
            requests.put(transaction, run.pk, "edit", "", key, text, by.now_us)
        said = dict(_said(name, value) for name, value in changes.items())
        audit(transaction, by, run.pk, "edit", step=key, **said)

    return operation


def _said(name: str, value: object) -> tuple[str, object]:
    """Return a change of a policy in the words of who made it: times in seconds."""
    if isinstance(value, str) and value.endswith("us"):
        return name, _seconds(int(value[:-2]))
    if name.endswith("_us") and isinstance(value, int):
        return name.removesuffix("_us"), _seconds(value)
    return name.removesuffix("_us"), "none" if value is None else value


def _seconds(span_us: int) -> str:
    return f"{span_us / 1_000_000:.6f}".rstrip("0").rstrip(".") + "s"


class Pausing(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a run is paused; as JSON it is what its owner is asked to do.

    Attributes:
        message: For people.
        hold: ``workflow:NAME`` or ``queue:NAME``, if it is paused with all of them.
    """

    message: str
    hold: str = ""

    def waits(self) -> str:
        """Return what the run's row says of it, as JSON."""
        hold = {"hold": self.hold} if self.hold else {}
        return encode_document({"kind": "paused", "message": self.message, **hold}).decode()


def pause(pk: int, by: By, hold: str = "") -> Callable[[Transaction], None]:
    """Return the operation that lets a run do nothing more until it is resumed.

    Running attempts finish and are recorded.

    Args:
        pk: The run.
        by: Who does it.
        hold: What is paused as a whole, if the run is only paused with it.

    Raises:
        RunClosed: It has ended.
        WrongState: It is paused or blocked already.
    """

    def operation(transaction: Transaction) -> None:
        run = _unheld(transaction, requests.get_open(transaction, pk, "it does nothing"), by)
        if run.state in {"paused", "blocked"}:
            raise WrongState(f"run {run.name} is {run.state} already")
        what = hold.replace(":", " ", 1) + " is paused" if hold else "paused"
        message = f"{what} by {by.who}" + (f": {by.why}" if by.why else "")
        why = Pausing(message=message, hold=hold)
        if run.worker_id is None:
            transaction.all("pause_free_run", pk=run.pk, waits=why.waits())
        else:
            payload = encode_document(why).decode()
            requests.put(transaction, run.pk, "pause", "", "", payload, by.now_us)
        audit(transaction, by, run.pk, "pause")

    return operation


def resume(pk: int, by: By) -> Callable[[Transaction], None]:
    """Return the operation that lets a paused run go on.

    Raises:
        RunClosed: It has ended.
        WrongState: It is not paused.
    """

    def operation(transaction: Transaction) -> None:
        run = _unheld(transaction, requests.get_open(transaction, pk, "nothing resumes it"), by)
        is_pausing = transaction.one("find_pause", run=run.pk) is not None
        is_stopped = run.origin is not None or transaction.all("find_exhausted", run=run.pk)
        if run.state == "paused" and is_stopped:  # A policy paused it.
            _retry(transaction, run, by, anyway=False, again=())
        elif run.state == "paused":  # What waits for a retry waits on.
            transaction.one("ready_run", pk=run.pk)
        elif is_pausing:  # It waits for its running attempts.
            requests.put(transaction, run.pk, "resume", "", "", "null", by.now_us)
        else:
            raise WrongState(f"run {run.name} is {run.status(by.is_alive)}, not paused")
        transaction.hold([run.pk])  # Something else that it is of may be paused as a whole.
        audit(transaction, by, run.pk, "resume")

    return operation


def resume_if_asked(transaction: Transaction, *, run: int) -> None:
    """Let a run go on that is paused in this transaction, if a person has resumed it meanwhile."""
    if transaction.all("take_resumes", run=run):
        transaction.one("ready_run", pk=run)
        transaction.hold([run])


def hold(kind: str, name: str, by: By, *, is_held: bool) -> Callable[[Transaction], None]:
    """Return the operation that pauses a workflow or a queue as a whole, or lets it go on.

    What is started of it from now on is paused; the runs that are there are the job's.

    Raises:
        WrongState: It is to go on, and is not paused.
    """

    def operation(transaction: Transaction) -> None:
        if is_held:
            transaction.all(
                "insert_hold", kind=kind, name=name, who=by.who, why=by.why, now_us=by.now_us
            )
        elif transaction.one("delete_hold", kind=kind, name=name) is None:
            raise WrongState(f"the {kind} {name} is not paused")
        audit(transaction, by, None, f"{'pause' if is_held else 'resume'} {kind}", name=name)

    return operation


def _unheld(transaction: Transaction, run: RunRow, by: By) -> RunRow:
    """Free the runs of a dead worker; a free byte is the kernel's word for it."""
    worker = run.worker_id
    if worker is None or by.is_alive(worker):
        return run
    if transaction.one("end_worker", id=worker, state="dead", now_us=by.now_us) is not None:
        transaction.all("lose_runs_of_worker", worker=worker, lost_alone=LOST_ALONE)
    return requests.get(transaction, run.pk)


def cancel(pk: int, by: By) -> Callable[[Transaction], None]:
    """Return the operation that asks a run to stop, with its audit.

    Raises:
        RunClosed: It has ended already.
    """

    def operation(transaction: Transaction) -> None:
        requests.cancel(pk, by.why, by.now_us)(transaction)
        audit(transaction, by, pk, "cancel")

    return operation


def terminate(pk: int, by: By) -> Callable[[Transaction], bool]:
    """Return the operation that ends a run, with its audit; True if it is closed now.

    Raises:
        RunClosed: It has ended already.
    """

    def operation(transaction: Transaction) -> bool:
        closed = requests.terminate(pk, by.why, by.now_us, by.is_alive)(transaction)
        audit(transaction, by, pk, "terminate")
        return closed

    return operation


def set_issue(issue: int, state: str, by: By) -> Callable[[Transaction], None]:
    """Return the operation that mutes, resolves or opens a group of like failures."""

    def operation(transaction: Transaction) -> None:
        transaction.one("set_state_of_issue", id=issue, state=state)
        audit(transaction, by, None, f"issue {state}", issue=f"I-{issue}")

    return operation


def remove(pk: int, by: By, *, children: bool) -> Callable[[Transaction], int]:
    """Return the operation that deletes a closed run with all it has; its value counts runs.

    Args:
        pk: The run.
        by: Who does it.
        children: Whether the runs of its family below it go too.

    Raises:
        WrongState: It is open, or one of its children is.
    """

    def operation(transaction: Transaction) -> int:
        run = requests.get(transaction, pk)
        family = [run]
        if children:
            for one in family:
                rows = transaction.all("list_children", parent=one.pk, limit=-1)
                family += [requests.get(transaction, row[0]) for row in rows]
        for one in family:
            if one.is_open:
                raise WrongState(
                    f"run {one.name} is {one.status(by.is_alive)}; end it first (durable cancel, "
                    "durable terminate)"
                )
        pks = {one.pk for one in family}
        for one in family:
            needed = [pk for (pk,) in transaction.all("is_needed", pk=one.pk) if pk not in pks]
            if needed:
                other = requests.get(transaction, needed[0])
                raise WrongState(
                    f"run {one.name} is needed by {other.name}, its parent, its child or what goes "
                    "on from it, which is open; end that first"
                )
        for one in family:
            delete(transaction, one.pk)
            audit(transaction, by, None, "remove", run=one.name, workflow=one.workflow)
        transaction.all("delete_free_blobs")
        transaction.has_freed = True
        return len(family)

    return operation


def delete(transaction: Transaction, pk: int) -> None:
    """Delete a run with all it has; its large payloads are free then, and not deleted yet."""
    transaction.all("release_blobs_of_run", run=pk)
    for statement in _PARTS:
        transaction.all(statement, run=pk)


_PARTS: tuple[Statement, ...] = (
    "delete_events_of_run", "delete_steps_of_run_now", "delete_attempts_of_run",
    "delete_inbox_of_run_now", "delete_answers_of_run", "delete_letters_of_run",
    "delete_values_of_run", "delete_items_of_run", "delete_once_of_run", "delete_redone_of_run",
    "delete_accepted_of_run", "delete_labels_of_run", "delete_policies_of_run",
    "delete_code_spans_of_run", "delete_logs_of_run", "delete_run",
)  # fmt: skip
