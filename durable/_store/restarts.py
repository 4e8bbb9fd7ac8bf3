"""New ordinals of closed runs, and open runs that go back to a place in their history.

A closed run never changes. Its next ordinal begins with a copy of what was recorded before a place
in the history, and keeps its salt and its clock: the order of sets, chance, the times of its events
and its tokens stay what they were.

What others said from that place on was acknowledged, so it is said again: signals, updates (their
handlers run again; whoever asked has his answer) and answers to promises.
"""

from __future__ import annotations

from durable._store.rows import RunRow, new_run
from durable._store.writer import Transaction
from durable.errors import WrongState

__all__ = ["require_newest", "retried", "rewind"]

# Of a run whose failure no event produced: the code alone failed, and all it recorded is kept.
WHOLE_HISTORY = 1 << 62


def require_newest(transaction: Transaction, run: RunRow) -> None:
    """Refuse a run that goes on as another already.

    Raises:
        WrongState: It is not the newest of its id.
    """
    newest = transaction.one("find_newest", id=run.id)
    assert newest is not None
    ordinal = RunRow(*newest).ordinal
    if ordinal != run.ordinal:
        raise WrongState(
            f"run {run.name} was retried or restarted already: {run.id}#{ordinal} is the newest"
        )


def retried(transaction: Transaction, run: RunRow, now_us: int) -> int:
    """Make the next ordinal of a closed run, with what was recorded before the failure.

    Raises:
        WrongState: It is not the newest.
    """
    require_newest(transaction, run)
    inserted = transaction.rows(
        "insert_run",
        [
            new_run(
                id=run.id,
                ordinal=run.ordinal + 1,
                workflow=run.workflow,
                queue=run.queue,
                priority=run.priority,
                headers=run.headers,
                salt=run.salt,
                arguments=run.arguments,
                fingerprint=run.fingerprint,
                checksum=run.checksum,
                cause="retried",
                code=run.code,
                now_us=now_us,
                clock_us=run.clock_us,
                root_pk=run.root_pk,
                parent_pk=run.parent_pk,
                on_parent_close=run.on_parent_close,
                deadline_us=run.deadline_again_us(now_us),
            )
        ],
    )
    to: int = inserted[0][0]
    before = run.origin or WHOLE_HISTORY
    transaction.all("copy_events", run=run.pk, to=to, before=before)
    transaction.all("share_blobs_of_events", run=run.pk, before=before)
    if isinstance(run.arguments, int):
        transaction.all("share_blob", id=run.arguments)
    transaction.all("copy_values", run=run.pk, to=to)
    transaction.all("copy_items", run=run.pk, to=to, before=before)
    transaction.all("resend_messages", run=run.pk, to=to, from_seq=before, but=run.origin or 0)
    transaction.all("resend_letters", run=run.pk, to=to)
    transaction.all("share_blobs_of_inbox", run=to)
    return to


def rewind(transaction: Transaction, run: RunRow) -> None:
    """Let a paused run go on from its failure's origin: what it recorded from there on is dropped.

    The blobs of dropped messages go over to those that are sent again.
    """
    if run.origin:
        transaction.all(
            "resend_messages", to=run.pk, run=run.pk, from_seq=run.origin, but=run.origin
        )
        transaction.all("delete_events_from", run=run.pk, from_seq=run.origin)
