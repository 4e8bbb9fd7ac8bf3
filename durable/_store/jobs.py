"""Acts on many runs: asked for in one commit, done a chunk a commit, by whoever serves the file.

A job is a filter and a place: each chunk looks at the next runs behind the place that the filter
means *now*, acts on them, and moves the place, in one commit. So a kill loses nothing and does
nothing twice, several processes may help, and a run that was mended meanwhile is left alone. Runs
stored after the job are no concern of it, those that its own acts make among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw
import attrs
import msgspec

from durable._store import messages, repairs
from durable._store.filtering import Selection, compiled, select
from durable._store.repairs import By
from durable._store.restarts import Plan
from durable._store.rows import JobRow
from durable._store.stored_payloads import EncodedPayload
from durable._store.writer import Transaction
from durable.errors import FilterError, RunClosed, RunNotFound, UsageError, WrongState
from durable.filters import parse
from durable.payloads import decode_document, encode_document

__all__ = ["Advanced", "Details", "advance", "create", "stop"]

# Others get their turn between two commits.
RUNS_PER_COMMIT = 100


class Details(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What else was said of an act.

    Attributes:
        anyway: Of `retry`.
        again: Of `retry`: steps that run at most once and may be done again.
        plan: Of `restart`.
        children: Of `remove`.
        hold: Of `pause`: what is paused as a whole.
        name: Of `skip`, `fail`, `accept` and `edit`: the step; of `signal`: the signal.
        payload: Of `skip` and `fail`: how the step ends; of `signal`: what it carries; of `edit`:
            what is changed.
    """

    anyway: bool = False
    again: tuple[str, ...] = ()
    plan: Plan | None = None
    children: bool = False
    hold: str = ""
    name: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"null")


@attrs.frozen
class Advanced:
    """What a chunk did.

    Attributes:
        is_over: Whether nothing is left to do.
        closed: Keys of runs that were open and are closed now.
    """

    is_over: bool
    closed: Sequence[int]


def create(
    verb: str, query: str, details: Details, by: By, selection: Selection
) -> Callable[[Transaction], int]:
    """Return the operation that stores a job; its value is the job's number."""

    def operation(transaction: Transaction) -> int:
        upto: int = transaction.all("get_last_key")[0][0]
        total = 0
        for source in selection.choose(
            lambda *one: int(transaction.select(*one)[0][0]), is_disjoint=True
        ):
            total += sum(row[3] for row in transaction.select(*selection.tally(source)))
        text = encode_document(details).decode()
        row = transaction.one(
            "insert_job", verb=verb, query=query, details=text, who=by.who, why=by.why,
            total=total, upto=upto, now_us=by.now_us,
        )  # fmt: skip
        assert row is not None
        job: int = row[0]
        repairs.audit(
            transaction, attrs.evolve(by, job=job), None, f"{verb} many", query=query, runs=total
        )
        return job

    return operation


def stop(job: int, by: By) -> Callable[[Transaction], None]:
    """Return the operation that ends a job before all runs were looked at.

    Raises:
        WrongState: It has ended.
    """

    def operation(transaction: Transaction) -> None:
        if transaction.one("end_job", id=job, state="stopped", now_us=by.now_us) is None:
            raise WrongState(f"job {job} has ended already")
        repairs.audit(transaction, attrs.evolve(by, job=job), None, "stop job")

    return operation


def give_up(job: int, why: str, now_us: int) -> Callable[[Transaction], None]:
    """Return the operation that ends a job that cannot be done, and says why among its refusals."""

    def operation(transaction: Transaction) -> None:
        if transaction.one("end_job", id=job, state="stopped", now_us=now_us) is not None:
            transaction.all("insert_refusal", job=job, run=0, why=why)

    return operation


def advance(
    job: int, now_us: int, is_alive: Callable[[int], bool]
) -> Callable[[Transaction], Advanced]:
    """Return the operation that does the next chunk of a job."""

    def operation(transaction: Transaction) -> Advanced:
        found = transaction.one("get_job", id=job)
        row = None if found is None else JobRow(*found)
        if row is None or row.state != "running":
            return Advanced(True, ())
        runs = select(
            transaction.select,
            _selection(transaction, row, is_alive),
            after=row.after,
            before=row.upto + 1,
            limit=RUNS_PER_COMMIT,
            is_ascending=True,
        )
        by = By(who=row.who, why=row.why, now_us=now_us, is_alive=is_alive, job=row.id)
        act = _act(row.verb, decode_document(row.details, type=Details), by)
        closed: list[int] = []
        refused = 0
        for run in runs:
            why = _refusal(transaction, act(run.pk))
            if why is not None:
                refused += 1
                transaction.all("insert_refusal", job=job, run=run.pk, why=why)
            elif run.is_open and row.verb in {"terminate", "restart"}:
                closed.append(run.pk)
        if runs:
            transaction.all(
                "advance_job", id=job, after=runs[-1].pk, done=len(runs) - refused, refused=refused
            )
        is_over = len(runs) < RUNS_PER_COMMIT
        if is_over:
            transaction.one("end_job", id=job, state="done", now_us=now_us)
        return Advanced(is_over, closed)

    return operation


def _selection(transaction: Transaction, row: JobRow, is_alive: Callable[[int], bool]) -> Selection:
    try:
        query = parse(row.query)
    except FilterError:  # Of a newer version, or changed by hand: it means no run.
        query = parse("ordinal:0")
    return compiled(
        query,
        alive=[one[0] for one in transaction.all("list_live_workers") if is_alive(one[0])],
        now_us=row.created_us,
        workflows=lambda: [name for (name,) in transaction.all("list_workflows")],
    )


def _refusal(transaction: Transaction, act: Callable[[Transaction], object]) -> str | None:
    """Act on one run; return why that was refused, and leave nothing of it then."""
    try:
        with transaction.savepoint():
            act(transaction)
    except (WrongState, RunClosed, RunNotFound) as error:
        return str(error)
    except apsw.Error:
        raise
    except Exception as error:  # noqa: BLE001  one damaged row is refused alone
        return f"{type(error).__name__}: {error}"
    return None


def _act(verb: str, details: Details, by: By) -> Callable[[int], Callable[[Transaction], Any]]:
    match verb:
        case "retry":
            return lambda pk: repairs.retry(pk, by, anyway=details.anyway, again=details.again)
        case "restart":
            plan = details.plan
            assert plan is not None
            return lambda pk: repairs.restart(pk, plan, by)
        case "cancel":
            return lambda pk: repairs.cancel(pk, by)
        case "terminate":
            return lambda pk: repairs.terminate(pk, by)
        case "pause":
            return lambda pk: repairs.pause(pk, by, details.hold)
        case "resume":
            return lambda pk: repairs.resume(pk, by)
        case "remove":
            return lambda pk: repairs.remove(pk, by, children=details.children)
        case _:
            return _act_on_step(verb, details, by)


def _act_on_step(
    verb: str, details: Details, by: By
) -> Callable[[int], Callable[[Transaction], Any]]:
    name, payload = details.name, bytes(details.payload)
    match verb:
        case "skip" | "fail":
            return lambda pk: repairs.skip(pk, name, payload, by, fails=verb == "fail")
        case "accept":
            return lambda pk: repairs.accept(pk, name, by)
        case "edit":
            changes = decode_document(payload, type=dict[str, Any])
            return lambda pk: repairs.edit(pk, name, changes, by)
        case "signal":
            # Said once to each, whoever does the job, and however often it is killed.
            key = f"job {by.job} of {by.who}"
            return lambda pk: messages.signal(pk, name, EncodedPayload.of(payload), key, by.now_us)
        case _:
            raise UsageError(f"many runs do not take {verb!r:.60}")
