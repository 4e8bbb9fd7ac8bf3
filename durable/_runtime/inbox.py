"""The inbox: what others asked of our runs becomes events, in the order in which it was committed.

Law 3: a request is a row, acknowledged when it is in the file; its event and the row's deletion are
one commit. A row is taken once in this process (`LiveRun.inbox_taken`); what cannot be taken yet
waits in ``LiveRun.postponed``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from durable._core.driver import EARLY
from durable._core.events import BEFORE_BEGIN, Event, Kind
from durable._core.failures import failure_json
from durable._core.machines import RunState
from durable._runtime import ends
from durable._runtime.logs import about
from durable._runtime.runs import LiveRun, Rows
from durable._store.repairs import Pausing
from durable._store.restarts import Plan
from durable._store.rows import InboxRow
from durable._store.stored_payloads import column_of
from durable._store.writer import Change
from durable.errors import (
    DurableError,
    PayloadError,
    QueryFailed,
    RunCancelled,
    RunTerminated,
    UpdateRefused,
)
from durable.payloads import decode_document, encode_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durable._runtime.worker import Worker
    from durable._store.rows import RunRow

__all__ = ["Inbox", "may_end"]

# Requests read at once; the rest in the next turn of the loop.
REQUESTS_PER_LOOK = 1_000


class Inbox:
    """Takes the requests to one worker's runs."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._seen = 0
        self._early: dict[int, list[InboxRow]] = {}
        """Requests to runs of ours that are in the file, and not yet in memory."""
        self._will_look = False

    def look_soon(self) -> None:
        """Look in this turn of the loop, once however often it is asked for."""
        if not self._will_look:
            self._will_look = True
            self._worker.call_soon(self._look_now)

    def _look_now(self) -> None:
        self._will_look = False
        if self._worker.is_serving:
            self.look()

    def look(self) -> None:
        """Take what came in for runs in memory; the others find theirs when they begin."""
        reader = self._worker.store.reader
        newest = reader.newest_request()
        requests = reader.inbox_of_worker(self._worker.id, self._seen, REQUESTS_PER_LOOK)
        for request in requests:
            self._seen = request.id
            run = self._worker.live.get(request.run)
            if run is not None:
                self.take(run, request)
            else:
                self._early.setdefault(request.run, []).append(request)
        if len(requests) == REQUESTS_PER_LOOK:
            self.look_soon()
        else:  # What is left is for runs of others, or of nobody: who claims a run reads its own.
            self._seen = max(self._seen, newest)

    def begun(self, run: LiveRun) -> None:
        """Take what came in for a run between its commit and its begin."""
        for request in self._early.pop(run.row.pk, ()):
            self.take(run, request)

    def forget_early(self, pk: int) -> None:
        """The requests to a run are read again: what was read before may be done by now."""
        self._early.pop(pk, None)

    def signals_before(
        self, run: LiveRun, requests: Sequence[InboxRow], rows: Rows
    ) -> Iterator[Event]:
        """Yield the signals that came before a run has begun, as events; the rest comes after it.

        Args:
            run: It has not begun.
            requests: What was asked of it, in order.
            rows: Get what takes the signals out of the inbox.
        """
        for seq, request in enumerate(requests, 1):
            if request.kind != "signal":
                return
            try:
                payload = self._worker.store.reader.payload(request.payload)
            except PayloadError:
                return  # It becomes a dead letter, as it does later.
            run.inbox_taken.add(request.id)
            rows += _taken(request)
            yield Event(
                seq, int(Kind.RECEIVED), request.key, request.name, 0, b"", payload, 0, BEFORE_BEGIN
            )

    def look_again(self, run: LiveRun) -> None:
        """Take what could not be taken before."""
        if run.postponed:
            postponed, run.postponed = run.postponed, []
            for request in postponed:
                run.inbox_taken.discard(request.id)
                self.take(run, request)

    def take(self, run: LiveRun, request: InboxRow) -> None:
        """Turn one request into an event, or do what it asks."""
        if request.id in run.inbox_taken or run.is_over:
            return
        if run.state is RunState.PAUSING and request.kind not in _WHILE_PAUSING:
            return  # It is in the file, and found when the run is resumed.
        run.inbox_taken.add(request.id)
        if run.is_recording:
            self._postpone(run, request)
            return
        rows = _taken(request)
        try:
            payload = self._worker.store.reader.payload(request.payload)
        except PayloadError as error:
            self._bury(run, request, rows, str(error))
            run.asked()
            return
        try:
            self._take(run, request, payload, rows)
        except msgspec.MsgspecError as error:  # Nobody of ours wrote this row.
            self._bury(run, request, rows, str(error))
        run.asked()

    def _take(self, run: LiveRun, request: InboxRow, payload: bytes, rows: Rows) -> None:
        match request.kind:
            case "cancel":
                run.deliver(Kind.CANCEL_REQUESTED, "", result=payload, rows=rows)
            case "terminate":
                ends.terminate(run, decode_document(payload, type=str), rows)
            case "signal":
                run.deliver(Kind.RECEIVED, request.key, request.name, result=payload, rows=rows)
            case "update":
                self._take_update(run, request, payload, rows)
            case "query":
                self._take_query(run, request, payload, rows)
            case "child":
                self._take_child_end(run, request, int(payload), rows)
            case "resolve" | "reject":
                self._take_answer(run, request, payload, rows)
            case _:
                self._take_repair(run, request, payload, rows)

    def _take_repair(self, run: LiveRun, request: InboxRow, payload: bytes, rows: Rows) -> None:
        match request.kind:
            case "retry":
                self._worker.submit(Change(rows))
                self._worker.activities.hurry(run)
            case "skip" | "fail":
                self._take_skip(run, request, payload, rows)
            case "restart":
                plan = decode_document(payload, type=Plan)
                ends.terminate(run, f"restarted from {plan.place}", rows, plan)
            case "pause":
                asked = decode_document(payload, type=Pausing)
                run.pause_soon(asked, rows)
            case "edit":
                self._worker.submit(Change(rows))
                run.policies[request.key] = payload.decode()
                self._worker.activities.edit(run, request.key)
            case "resume":
                run.resume_now(rows)
                for row in self._worker.store.reader.inbox_of_run(run.row.pk):
                    self.take(run, row)

    def _postpone(self, run: LiveRun, request: InboxRow) -> None:
        run.postponed.append(request)

    def _bury(self, run: LiveRun, request: InboxRow, rows: Rows, why: str) -> None:
        """Keep what cannot be delivered as a dead letter; the run goes on."""
        with about(run.subject()):
            self._worker.log.warning(
                "run %s: a %s %s is kept as a dead letter: %s",
                run.row.name, request.kind, request.name or request.key, why,
            )  # fmt: skip
        rows[:] = [
            row for row in rows if not row[0].endswith("_blobs_of_inbox")
        ]  # The letter keeps it.
        rows.append(
            (
                "insert_letter",
                (
                    run.row.pk, None, request.name or request.kind, request.key, request.payload,
                    why, request.at_us,
                ),
            )
        )  # fmt: skip
        self._worker.submit(Change(rows))

    # -- updates and queries ---------------------------------------------------------------------

    def _take_update(self, run: LiveRun, request: InboxRow, payload: bytes, rows: Rows) -> None:
        loop = run.driver.loop
        try:
            with loop.reading():
                run.driver.mailbox.validate(request.name, payload)
        except UpdateRefused as refusal:
            self._answer(run, request, rows, "refused", encode_document(str(refusal)))
        else:
            run.deliver(
                Kind.UPDATE_ACCEPTED, request.key, request.name, arguments=payload, rows=rows
            )
            return
        if loop.read_only_broken:
            self._mend(run)

    def _take_query(self, run: LiveRun, request: InboxRow, payload: bytes, rows: Rows) -> None:
        if run.uncommitted:  # It is answered after the last committed event.
            self._postpone(run, request)
            return
        try:
            answer, state = self.query(run, request.name, payload), "completed"
        except DurableError as error:
            answer, state = encode_document(str(error)), "failed"
        self._answer(run, request, rows, state, answer)

    def query(self, run: LiveRun, name: str, payload: bytes) -> bytes:
        """Answer a query to a run in memory, all of whose events are committed.

        Raises:
            QueryFailed: There is no such query, or it raised.
        """
        loop = run.driver.loop
        try:
            with loop.reading():
                return run.driver.mailbox.query(name, payload)
        except PayloadError as error:
            raise QueryFailed(str(error)) from error
        finally:
            if loop.read_only_broken:
                self._mend(run)

    def _mend(self, run: LiveRun) -> None:
        """What only may look has tried to change the run: build the code again from the file."""
        if not run.is_over:
            run.needs_rebuild = True
            run.mend()

    def _answer(
        self, run: LiveRun, request: InboxRow, rows: Rows, state: str, payload: bytes
    ) -> None:
        worker, pk = self._worker, run.row.pk
        stored = column_of(payload, rows)
        values = (pk, request.key, request.name, state, stored, worker.now_us())
        rows.append(("upsert_answer", values))
        worker.submit(Change(rows, partial(_ring, worker, pk)))

    # -- ends of other runs ----------------------------------------------------------------------

    def _take_child_end(self, run: LiveRun, request: InboxRow, child: int, rows: Rows) -> None:
        loop, step_id = run.driver.loop, request.key
        step = loop.steps.get(step_id)
        if step is None:
            if step_id.removesuffix("!end") in loop.steps:  # Its start has no event yet.
                self._postpone(run, request)
            else:
                self._worker.submit(Change(rows))
            return
        row = self._worker.store.reader.find_run(child)
        if row is None:
            self._worker.submit(Change(rows))
            return
        kind, payload = self._end_of_child(row)
        run.deliver(
            kind, step_id, step.name, step.fingerprint, step.arguments, payload,
            max(0, (row.closed_us or 0) - (row.started_us or row.created_us)), rows,
        )  # fmt: skip

    def _end_of_child(self, row: RunRow) -> tuple[Kind, bytes]:
        try:
            payload = self._worker.store.reader.payload(row.result, row.result_checksum)
        except PayloadError as error:
            return Kind.CHILD_FAILED, failure_json(error)
        match row.state:
            case "completed":
                return Kind.CHILD_COMPLETED, payload
            case "failed":
                return Kind.CHILD_FAILED, payload
            case "cancelled":
                reason = decode_document(payload, type=str)
                return Kind.CHILD_FAILED, failure_json(RunCancelled(row.name, reason))
            case _:
                reason = decode_document(payload, type=str)
                return Kind.CHILD_FAILED, failure_json(RunTerminated(row.name, reason))

    # -- steps done by hand ----------------------------------------------------------------------

    def _take_skip(self, run: LiveRun, request: InboxRow, payload: bytes, rows: Rows) -> None:
        """A person says how a pending step ends."""
        fails = request.kind == "fail"
        step = run.driver.loop.steps.get(request.key)
        if step is None:
            self._bury(run, request, rows, f"step {request.key} is not pending")
            return
        if not fails:
            try:
                step.decode(payload)
            except PayloadError as error:
                self._bury(run, request, rows, str(error))
                return
        pending = run.pending.get(request.key)
        if pending is not None:
            rows += self._worker.activities.give_up(pending, "it was ended by hand")
        elif run.step_rows.pop(request.key, None) is not None:
            rows.append(("delete_step", (run.row.pk, request.key)))
        run.deliver(
            step.kind + fails, step.step_id, step.name, step.fingerprint, step.arguments, payload,
            0, rows,
        )  # fmt: skip

    # -- tokens ----------------------------------------------------------------------------------

    def _take_answer(self, run: LiveRun, request: InboxRow, payload: bytes, rows: Rows) -> None:
        rejects = request.kind == "reject"
        kind = Kind.REJECTED if rejects else Kind.RESOLVED
        step = run.driver.loop.steps.get(request.key)
        if step is None:
            if request.key in run.driver.loop.dropped:
                self._worker.submit(Change(rows))
            else:  # Said to an earlier try of this run: it has not come so far yet.
                run.deliver(kind, request.key, EARLY, result=payload, rows=rows)
            return
        if not rejects:
            try:
                step.decode(payload)
            except PayloadError as error:
                self._bury(run, request, rows, str(error))
                return
        if step.kind == Kind.COMPLETED:
            if not self._worker.activities.answered(run, step, payload, rows, rejects=rejects):
                self._postpone(run, request)  # Its code is called again, and has not asked yet.
            return
        run.deliver(kind, request.key, step.name, 0, b"", payload, 0, rows)


def _taken(request: InboxRow) -> Rows:
    """Return the rows that take a request out of the inbox."""
    rows: Rows = [("delete_inbox", (request.id,))]
    if isinstance(request.payload, int):
        # The order is the writer's: what is shared is not unshared and then deleted.
        rows.append(("unshare_blobs_of_inbox", (request.payload,)))
        rows.append(("delete_blobs_of_inbox", (request.payload,)))
    return rows


# What a run takes that waits for its running attempts before it is paused.
_WHILE_PAUSING = {"terminate", "restart", "resume"}


def may_end(requests: Sequence[InboxRow], step_id: str) -> bool:
    """Say whether what was asked of a run may end or hold a step before its code is called."""
    return any(
        one.kind in {"cancel", "pause", "restart"}
        or (one.kind in {"skip", "fail"} and one.key == step_id)
        for one in requests
    )


def _ring(worker: Worker, pk: int, change: Change) -> None:
    if change.error is not None:
        worker.commit_failed(change.error)
    else:
        worker.notify(pk, "news")
