"""One run in memory: its driver, its attempts and timers, and what it commits.

Law 2: nothing uncommitted leaves a run. An event gets its seq, is delivered and drained at once;
the event, what the drain asked for and the run's new state go out in one change. What the drain
asked for is performed when that change is committed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from durable._core import context
from durable._core.commands import (
    AnswerUpdate,
    AppendItem,
    ArmTimer,
    BuryLetter,
    Command,
    DropStep,
    DropTimer,
    MarkPatch,
    Recording,
    SetValue,
)
from durable._core.driver import UNDECODED, Driver, Failed, Outcome
from durable._core.events import Event, Kind
from durable._core.failures import summary
from durable._core.loop import COMPLETED, Step
from durable._core.machines import GOING, RUN, RunState, StepState
from durable._runtime import ends, issues, logs
from durable._runtime.inside import InWorkflow
from durable._runtime.remembered import check_remembered
from durable._runtime.specs import ChildCall
from durable._runtime.waits import waits_of
from durable._store.repairs import Pausing, resume_if_asked
from durable._store.statements import Row, Rows
from durable._store.stored_payloads import column_of
from durable._store.writer import Change, Transaction
from durable.errors import Blocked, PayloadError, RowRefused, RunTimedOut
from durable.payloads import INLINE_BYTES_MAX as INLINE
from durable.payloads import checksum, checksum_of_two, decode_document, encode_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durable._runtime.attempts import PendingStep
    from durable._runtime.timers import TimerHandle
    from durable._runtime.worker import Worker
    from durable._store.rows import InboxRow, RunRow, StepRow
    from durable.definitions import Workflow

__all__ = ["LiveRun", "Rows", "step_row"]

"""Rows of one change: (statement, values)."""

# A run that only waits is written down as parked after this long; until then its row is untouched.
PARK_AFTER_US = 1_000_000
# After so many deaths of its worker in a row, the last of them alone with it, a run is blocked.
LOST_MAX = 5
# The clean-up of a run whose run_timeout is over may take so long; then the run fails without it.
RUN_TIMEOUT_GRACE_US = 60_000_000
GRACE_TEXT = "60 s"

_DRIVEN = RunState.DRIVEN
_CLAIMED = RUN.facts["claimed"]
_WAITS, _GOES_ON = RUN.facts["waits"], RUN.facts["goes on"]
_PAUSE_ASKED, _RESUMED = RUN.facts["pause asked"], RUN.facts["resumed"]
_MAIN_ENDS = RUN.facts["main function ends"]
_END_DECIDED, _CLOSES = RUN.facts["end decided"], RUN.facts["closed"]
_LEAVES_MEMORY = RUN.facts["leaves memory"]
_LEFT = {
    RunState.PAUSED: RUN.facts["paused"],
    RunState.BLOCKED: RUN.facts["blocked"],
    RunState.CLOSED: RUN.facts["closed"],
}
_OPEN_HERE = frozenset({RunState.DRIVEN, RunState.IDLE, RunState.PAUSING, RunState.CLOSING})
_HERE = _OPEN_HERE | {RunState.ENDING}
_WAITING = frozenset({StepState.RETRYING, StepState.AWAITING})


class LiveRun:
    """A run this worker owns and holds in memory."""

    __slots__ = (
        "_held_back", "_redo_is_marked", "alone", "clock_us", "driver", "has_issue",
        "has_step_rows", "headers", "inbox_taken", "inside", "is_recording",
        "limit_timer", "lost", "needs_rebuild", "new_code", "park_timer", "pausing", "pending",
        "policies", "positions", "postponed", "redone", "row", "shown", "state", "step_rows",
        "timers", "uncommitted", "withheld", "worker", "workflow",
    )  # fmt: skip

    def __init__(self, worker: Worker, row: RunRow, workflow: Workflow[Any, Any]) -> None:
        assert row.clock_us is not None
        self.worker = worker
        self.row = row
        self.workflow = workflow
        self.clock_us: int = row.clock_us
        self.headers: Mapping[str, str] = (
            decode_document(row.headers, dict[str, str]) if row.headers else {}
        )
        self.state = _CLAIMED[RUN.first]
        """See `RunState`."""
        self.pending: dict[str, PendingStep] = {}
        """Activities the code waits for, by the ids of their steps."""
        self.timers: dict[str, TimerHandle] = {}
        self.withheld: list[Step] = []
        self.step_rows: dict[str, StepRow] = {}
        """What the file remembers of pending steps."""
        self.has_step_rows = False
        """Whether the file has, or had, any row of its steps: its end deletes them."""
        self.policies: dict[str, str] = {}
        """What a person changed of the policies of its steps, as JSON."""
        self.lost = row.lost
        self.alone = False
        """Its row says, or is about to say, that its attempts run and no other run's."""
        self.uncommitted = 0
        self.is_recording = False
        """The writer runs a transaction of it, which records its own event: no other may come."""
        self._held_back: list[Callable[[], None]] = []
        """What came meanwhile, in order."""
        self._redo_is_marked = False
        """The file says that the drain of the last event is to be done anew."""
        self.shown = "left" if row.state == "ready" and row.waits is not None else ""
        """What its row says while it is ready: ``queued``, all of it waits for places; ``left``,
        what it waited for when its last worker stopped."""
        self.has_issue = row.issue is not None
        """It belongs to a group of like failures, which it leaves as soon as it goes on."""
        self.pausing: tuple[Pausing, Rows] | None = None
        """While it is PAUSING: the reason, and what is committed once its attempts have ended."""
        self.redone: Mapping[str, int] = (
            {} if row.ordinal == 1 else worker.store.reader.redone(row.pk)
        )
        """Steps that completed in an earlier ordinal and are done again, and since which one."""
        self.park_timer: TimerHandle | None = None
        self.limit_timer: TimerHandle | None = None
        self.inbox_taken: set[int] = set()
        self.postponed: list[InboxRow] = []
        """Requests that cannot be taken yet."""
        self.positions: dict[str, int] = {}
        """Where the run's streams end."""
        self.needs_rebuild = False
        self.new_code: str | None = None
        """The fingerprint of the code that goes on with it, if the last event's was another."""
        self._look_at_code(row.code)
        self.driver = self._make_driver()

    def _look_at_code(self, last: str | None) -> None:
        code = self.workflow.fingerprint
        self.worker.keeper.keep_source(self.workflow)
        self.new_code = None if code == last else code

    def _make_driver(self) -> Driver:
        limits = self.worker.limits
        runner = InWorkflow(
            self.row, self.workflow, self.clock_us, self.headers, limits.payload_bytes_max,
            self.worker.keeper, self.worker.store.reader,
        )  # fmt: skip
        fresh = Context()
        fresh.run(context.workflow.set, runner)
        self.worker.prepare_context(fresh)
        driver = Driver(
            self._make_coroutine,
            fresh,
            self.row.salt,
            limits.drain_callbacks_max,
            limits.stalled_drains_max,
        )
        runner.bind(driver)
        self.inside = runner
        return driver

    def _make_coroutine(self) -> Coroutine[Any, Any, Any]:
        stored = self.worker.store.reader.payload(self.row.arguments, self.row.checksum)
        args, kwargs = self.workflow.codec.decode(stored)
        coroutine: Coroutine[Any, Any, Any] = self.workflow.fn(*args, **kwargs)
        return coroutine

    # -- beginning -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Run the code up to its first wait; the start itself is committed already."""
        commands = self._drive(self.driver.start, [])
        if commands is None:
            return
        if self.row.deadline_us is not None:
            self._arm_limit()
        if self.driver.outcome is None and not any(isinstance(c, Recording) for c in commands):
            self.worker.beginnings.note(self)
            self.row.begun = 1
            self.perform(commands)
        else:
            self.commit([], commands)

    def replay(self, requests: Sequence[InboxRow] = ()) -> bool:
        """Read the history and bring the code to where it stood; False if it is blocked now.

        Args:
            requests: What was asked of the run: signals are there for the first drain of its code.
        """
        before: Rows = []
        reader, pk, driver = self.worker.store.reader, self.row.pk, self.driver

        def replay() -> list[Command]:
            events = reader.events(pk)
            first = next(events, None)
            if first is None and not self.row.begun:  # Whatever it did, it does now.
                for event in self.worker.inbox.signals_before(self, requests, before):
                    driver.arrive(event)
                    before.append(("insert_event", self._event_row(event, before)))
                self.worker.beginnings.note(self)
                self.row.begun = 1
                return driver.start()
            driver.accept(reader.accepted(pk))
            if first is None:
                return driver.replay(())
            driver.know_patches(reader.patches(pk))
            return driver.replay(itertools.chain([first], events), self.row.redo_seq)

        spans = reader.code_spans(pk)
        self._look_at_code(spans[-1][1] if spans else self.row.code)
        commands = self._drive(replay, before)
        if commands is None:
            return False
        if before:
            first: list[Command] = [one for one in commands if isinstance(one, Recording)]
            self.commit(before, first)
        elif commands:
            self._record_again(commands)
        elif driver.outcome is not None:
            # Its last event and its end are one commit, so an open run whose code ends is changed.
            self.commit([], [])
        driver.loop.commands.clear()
        return driver.outcome is None

    def _record_again(self, commands: list[Command]) -> None:
        """Commit what the last drain records: without any later event, nobody knows if it was.

        That is the start of a run without events, and the drain from which a run goes on anew.
        What is there already stays as it is: the same items at the same positions.
        """
        recordings: list[Command] = [
            one for one in commands if isinstance(one, Recording | DropStep)
        ]
        if not recordings and self.driver.outcome is None:
            return
        reader, pk, seq = self.worker.store.reader, self.row.pk, self.driver.seq
        self.positions = {
            one.stream: reader.next_position(pk, one.stream, before=seq)
            for one in recordings
            if isinstance(one, AppendItem)
        }
        self.commit([], recordings)
        for stream, position in self.positions.items():
            self.positions[stream] = max(position, reader.next_position(pk, stream))

    def resume(
        self, remembered: Iterable[StepRow], is_withheld: Callable[[str], bool] = lambda _: False
    ) -> None:
        """After a replay: do again whatever the code waits for and has no event.

        Args:
            remembered: What the file remembers of its steps.
            is_withheld: Whether what was asked of the run may end a step: its code is not called
                before that is known (`begin_withheld`).
        """
        loop = self.driver.loop
        self.policies = self.worker.store.reader.policies(self.row.pk)
        stale: Rows = []
        remembered = list(remembered)
        try:
            check_remembered(self.driver, remembered, self.row.redo_seq)
        except Blocked as error:
            self._block(error, [])
            return
        self.has_step_rows = bool(remembered)
        for one in remembered:
            if one.step in loop.steps:
                self.step_rows[one.step] = one
            else:
                stale.append(("delete_step", (self.row.pk, one.step)))
        if stale:
            self.worker.submit(Change(stale))
        if self.row.deadline_us is not None:
            self._arm_limit()
        timers = sorted(loop.timers.values(), key=lambda timer: timer.due_us)
        now: list[Command] = [*map(ArmTimer, timers)]
        for step_id, step in loop.steps.items():
            known = self.step_rows.get(step_id)
            # Of what waits for its token the code is not called again.
            calls = step.kind == COMPLETED and (known is None or known.state != "later")
            if calls and is_withheld(step_id):
                self.withheld.append(step)
            else:
                now.append(step)
        self.perform(now, again=True)

    def begin_withheld(self) -> None:
        """Begin the steps that nothing asked of the run has ended."""
        withheld, self.withheld = self.withheld, []
        steps = self.driver.loop.steps
        self.perform([step for step in withheld if step.step_id in steps], again=True)

    @property
    def deadline_us(self) -> int | None:
        """When its code is cancelled by its run_timeout, or, once that is over, cut off."""
        due_us = self.row.deadline_us
        if due_us is not None and self.driver.timed_out_seq:
            due_us += RUN_TIMEOUT_GRACE_US
        return due_us

    def _arm_limit(self) -> None:
        """Set the timer of the run's time limit, or, once that is over, of its grace time."""
        due_us = self.deadline_us
        assert due_us is not None
        self.limit_timer = self.worker.timers.at(due_us, self._reach_limit)

    def _reach_limit(self) -> None:
        if self.is_recording:
            self.hold_back(self._reach_limit)
            return
        self.limit_timer = None
        if self.is_over:
            return
        if self.driver.timed_out_seq:
            self._end_by_force()
            return
        self.deliver(Kind.TIMED_OUT, "")
        if not self.is_over:
            self._arm_limit()

    def _end_by_force(self) -> None:
        """The code did not end within its grace time: the run fails without it."""
        error = RunTimedOut(
            f"the run did not end within its run_timeout, nor in the {GRACE_TEXT} after it that "
            "its clean-up may take"
        )
        self.driver.outcome = Failed(error, self.driver.timed_out_seq)
        self.commit([], [])

    # -- events ----------------------------------------------------------------------------------

    def deliver(
        self,
        kind: int,
        step: str,
        name: str = "",
        fingerprint: int = 0,
        arguments: bytes = b"",
        result: bytes = b"",
        took_us: int = 0,
        rows: Rows | None = None,
        value: Any = UNDECODED,
        now_us: int | None = None,
    ) -> None:
        """Record one fact, let the code react, and commit both with ``rows``."""
        if self.is_recording:
            late = partial(
                self.deliver, kind, step, name, fingerprint, arguments, result, took_us, rows, value
            )
            self.hold_back(late)
            return
        driver = self.driver
        at_us = (self.worker.now_us() if now_us is None else now_us) - self.clock_us
        if at_us < driver.at_us:
            at_us = driver.at_us
        event = Event(
            driver.seq + 1, kind, step, name, fingerprint, arguments, result, at_us, took_us
        )
        if rows is None and (len(arguments) > INLINE or len(result) > INLINE):
            rows = []
        event_row = self._event_row(event, rows)
        watchdog = self.worker.watchdog
        watchdog.drains += 1
        watchdog.draining = self.row
        try:
            commands = driver.deliver(event, value)
        except (Blocked, PayloadError) as error:
            # Nothing of this drain is done: code that fits does it anew.
            redo: Row = ("mark_redo", (self.row.pk, event.seq))
            self._block(error, [*(rows or ()), ("insert_event", event_row), redo])
            return
        finally:
            watchdog.draining = None
        self.commit(rows, commands, event_row)
        if driver.ending is not None and driver.is_closing:
            self.state = _MAIN_ENDS[self.state]  # It ends once its handlers have.

    def recorded(self, event: Event) -> None:
        """A fact is in the file: let the code react, and commit what it asks for, if it must be."""
        self._redo_is_marked = True
        self.lost = 0
        if self.alone:
            self.alone = False
            self.worker.activities.look_alone_soon()
        after_event = self.worker.after_event
        if after_event is not None and after_event(self):
            return
        commands = self._drive(partial(self.driver.deliver, event), [])
        if commands is None:
            return
        marks = self._marks_of(event.seq)
        is_plain = self.driver.outcome is None and self.state is not RunState.IDLE
        if is_plain and not marks and not any(map(_is_recorded, commands)):
            self.perform(commands)
        else:
            self.commit(marks, commands)

    def hold_back(self, callback: Callable[[], None]) -> None:
        """Do something once the transaction in the writer's hands is recorded."""
        self._held_back.append(callback)

    def thaw(self) -> None:
        """The transaction has come back: do what came meanwhile, before another one begins."""
        held_back, self._held_back = self._held_back, []
        for callback in held_back:
            if self.is_over:
                return
            callback()
        if self.postponed and not self.is_over and not self.uncommitted:
            self.worker.inbox.look_again(self)

    def _drive(self, drive: Callable[[], list[Command]], rows: Rows) -> list[Command] | None:
        watchdog = self.worker.watchdog
        watchdog.drains += 1
        watchdog.draining = self.row
        try:
            return drive()
        except (Blocked, PayloadError) as error:
            self._block(error, rows)
            return None
        finally:
            watchdog.draining = None

    def _event_row(self, event: Event, rows: Rows | None) -> tuple[Any, ...]:
        arguments, result = event.arguments, event.result
        return (
            self.row.pk, event.seq, event.kind, event.step, event.name, event.fingerprint,
            arguments.decode() if len(arguments) <= INLINE else self._blob(arguments, rows),
            result.decode() if len(result) <= INLINE else self._blob(result, rows),
            checksum_of_two(arguments, result), event.at_us, event.took_us,
        )  # fmt: skip

    @staticmethod
    def _blob(payload: bytes, rows: Rows | None) -> str | int:
        assert rows is not None
        return column_of(payload, rows)

    # -- commits ---------------------------------------------------------------------------------

    def commit(
        self,
        rows: Rows | None,
        commands: list[Command],
        event_row: tuple[Any, ...] | None = None,
    ) -> None:
        """Commit rows with the run's new state; afterwards perform the commands."""
        driver = self.driver
        ring = drops = False
        for command in commands:
            if type(command) is Step:
                continue
            if isinstance(command, Recording):
                rows = [] if rows is None else rows
                self._record(command, rows)
                ring = True
            elif type(command) is DropStep and command.step.kind == Kind.CHILD_COMPLETED:
                rows = [] if rows is None else rows
                rows += self._drop_child(command.step)
                drops = True
        if self.has_issue or self.new_code is not None or self._redo_is_marked:
            rows = [*(rows or ()), *self._marks(event_row)]
        if driver.outcome is not None:
            change = self._end(driver.outcome, [] if rows is None else rows)
            if drops:
                change.done = partial(self._left_children, change.done)
        elif self.state is not RunState.IDLE and not self.lost:
            change = Change(() if rows is None else rows, self._committed, commands)
        else:
            self.lost = 0
            self._goes_on()
            state: Row = ("update_run", self._state_row("ready", None, None))
            change = Change([*(rows or ()), state], self._committed, commands)
        change.event = event_row
        if ring:
            done = change.done
            assert done is not None
            change.done = partial(self._committed_with_news, done)
        self.uncommitted += 1
        self.worker.submit(change)

    def _end(self, outcome: Outcome, rows: Rows) -> Change:
        """Decide that the run ends: nothing of it begins any more."""
        self.state = _END_DECIDED[self.state]
        self.worker.activities.withdraw(self, rows)
        return ends.close(self, outcome, rows)

    def unmark_redo(self, rows: Rows) -> None:
        """Add the row that says that the drain of the last recorded transaction is done."""
        if self._redo_is_marked:
            self._redo_is_marked = False
            rows.append(("mark_redo", (self.row.pk, None)))

    def _goes_on(self) -> None:
        if self.state is RunState.IDLE:
            self.state = _GOES_ON[self.state]

    def _marks(self, event_row: tuple[Any, ...] | None) -> Rows:
        """Return the rows that say that the run went on: out of its issue, and with which code."""
        rows: Rows = []
        self.unmark_redo(rows)
        if event_row is not None:
            rows += self._marks_of(event_row[1])
        return rows

    def _marks_of(self, seq: int) -> Rows:
        rows: Rows = []
        if self.has_issue:
            self.has_issue = False
            rows.append(("clear_issue_of_run", (self.row.pk,)))
        if self.new_code is not None:
            span = (self.row.pk, seq, self.new_code, self.ends_at_us())
            rows.append(("insert_code_span", span))
            self.new_code = None
        return rows

    def _left_children(self, done: Callable[[Change], None] | None, change: Change) -> None:
        """Let children that the run's last drain gave up on hear of it: no command does so."""
        assert done is not None
        done(change)
        if change.error is None:
            self.worker.look_soon()

    def _committed_with_news(self, done: Callable[[Change], None], change: Change) -> None:
        done(change)
        if change.error is None:
            self.worker.notify(self.row.pk, "news")

    def _record(self, command: Recording, rows: Rows) -> None:
        """Add the row of something the code recorded."""
        pk, now_us = self.row.pk, self.clock_us + self.driver.at_us
        match command:
            case MarkPatch(name):
                self._record_patch(name, rows)
            case SetValue(name, payload):
                stored = column_of(payload, rows)
                rows.append(("upsert_value", (pk, name, stored, checksum(payload), now_us)))
            case AppendItem(stream, step, payload):
                self.append(stream, step, 0, 0, payload, now_us, rows)
            case BuryLetter(seq, name, why):
                with logs.about(self.subject()):
                    self.worker.log.warning(
                        "run %s: signal %s (event %d) is kept as a dead letter: %s",
                        self.row.name, name, seq, why,
                    )  # fmt: skip
                rows.append(("insert_letter", (pk, seq, name, "", "null", why, now_us)))
            case AnswerUpdate(update, name, succeeded, payload):
                stored = column_of(payload, rows)
                state = "completed" if succeeded else "failed"
                rows.append(("upsert_answer", (pk, update, name, state, stored, now_us)))
            case _:
                assert_never(command)

    def append(
        self, stream: str, step: str, attempt: int, number: int, payload: bytes, now_us: int,
        rows: Rows,
    ) -> None:  # fmt: skip
        """Add the row of an item at the end of a stream.

        ``attempt`` 0 is the workflow itself; ``number`` counts the items of an attempt, from 0.
        """
        position = self.positions.get(stream)
        if position is None:
            position = self.worker.store.reader.next_position(self.row.pk, stream)
        self.positions[stream] = position + 1
        stored = column_of(payload, rows)
        rows.append(
            (
                "insert_item",
                (
                    self.row.pk, stream, position, step, attempt, number, self.driver.seq, stored,
                    checksum(payload), now_us,
                ),
            )
        )  # fmt: skip

    def _drop_child(self, step: Step) -> Rows:
        """Return the rows by which a dropped wait for a child asks the child to stop."""
        call = step.spec
        if type(call) is not ChildCall or call.workflow.start_options.on_cancel != "cancel":
            return []
        reason = encode_document(f"run {self.row.name} no longer waits for it").decode()
        key = (self.row.pk, call.end_step)
        return [("cancel_children", (*key, reason, self.worker.now_us())), ("wake_children", key)]

    def _record_patch(self, name: str, rows: Rows) -> None:
        driver = self.driver
        event = Event(driver.seq + 1, Kind.PATCHED, "", name, 0, b"", b"", driver.at_us, 0)
        driver.deliver(event)
        rows.append(("insert_event", self._event_row(event, rows)))

    def _state_row(
        self, state: str, wake_at_us: int | None, waits: str | None, *, owned: bool = True
    ) -> tuple[Any, ...]:
        owner = self.worker.id if owned else None
        self.shown = "queued" if state == "ready" and waits is not None else ""
        return (self.row.pk, state, owner, wake_at_us, waits, self.lost, 0)

    def free_row(self) -> Row:
        """Return the row that says that no worker has it."""
        return "update_run", self._state_row("ready", None, None, owned=False)

    def alone_row(self, *, alone: bool) -> Row:
        """Return the row that says whether only this run's attempts run now."""
        self._goes_on()
        self.shown = ""
        pk, worker = self.row.pk, self.worker.id
        return "update_run", (pk, "ready", worker, None, None, self.lost, int(alone))

    def _committed(self, change: Change) -> None:
        if change.error is not None:
            self.not_committed(change.error)
            return
        self.uncommitted -= 1
        if self.state is not _DRIVEN and self.gone:
            return
        if self.alone and not self.lost:
            self.alone = False
            self.worker.activities.look_alone_soon()
        after_event = self.worker.after_event
        if after_event is None or change.event is None or not after_event(self):
            self.perform(change.context)
        if not self.uncommitted and (self.state is _DRIVEN or not self.gone):
            if self.needs_rebuild:
                self.mend()
            if self.postponed:
                self.worker.inbox.look_again(self)

    def not_committed(self, error: BaseException) -> None:
        """Nothing of a change is in the file: the run is behind what it has in memory."""
        if not isinstance(error, RowRefused):
            self.worker.commit_failed(error)
        elif not self.gone:  # Of several changes the first blocks the run.
            self.worker.refused(self.row, error)

    # -- performing ------------------------------------------------------------------------------

    def perform(self, commands: Iterable[Command], *, again: bool = False) -> None:
        """Do what the code asked for, now that the reason is in the file.

        Args:
            commands: What it asked for.
            again: It asked before, and the process died: some of it may be done.
        """
        worker = self.worker
        begun = False
        if self.state is not _DRIVEN:
            if self.state is RunState.PAUSING:  # It asks again when it is resumed.
                self.look_idle()
                return
            if self.is_over:  # A later event has ended it: nothing begins, and children hear of it.
                worker.look_soon()
                return
        for command in commands:
            if type(command) is Step:  # By far the most frequent: before the match.
                if command.done():
                    continue
                if command.kind == COMPLETED:
                    worker.activities.begin(self, command)
                    begun = True
                else:
                    worker.outside.begin(self, command, again=again)
                continue
            self._perform(command)
        if not begun or self.step_rows:  # A step just begun is in hand, unless it is a retry.
            self.look_idle()

    def _perform(self, command: Command) -> None:
        worker = self.worker
        match command:
            case DropStep(step):
                worker.activities.drop(self, step)
                worker.look_soon()
            case ArmTimer(timer):
                if not timer.cancelled():
                    due_us = self.clock_us + timer.due_us
                    fire = partial(self._fire, timer.step_id)
                    # Its clock never goes back: it is ahead after the wall clock was set back.
                    now_us = max(worker.now_us(), self.clock_us + self.driver.loop.now_us())
                    self.timers[timer.step_id] = worker.timers.at(due_us, fire, now_us=now_us)
            case DropTimer(timer):
                handle = self.timers.pop(timer.step_id, None)
                if handle is not None:
                    worker.timers.cancel(handle)
            case Step() | MarkPatch() | SetValue() | AppendItem() | BuryLetter() | AnswerUpdate():
                pass  # Steps are begun in `perform`, the others were rows of the commit.
            case _:
                assert_never(command)

    def _fire(self, step_id: str) -> None:
        if self.is_recording:
            self.hold_back(partial(self._fire, step_id))
            return
        self.timers.pop(step_id, None)
        timer = self.driver.loop.timers.get(step_id)
        if self.state is not RunState.PAUSING and not self.is_over and timer is not None:
            waited_us = self.worker.now_us() - self.clock_us - timer.armed_us
            self.deliver(Kind.FIRED, step_id, took_us=max(0, waited_us))

    def mend(self) -> None:
        """Build the code again, as soon as nothing waits for its commit."""
        if self.needs_rebuild and not self.uncommitted:
            self.needs_rebuild = False
            self.rebuild()

    def rebuild(self) -> bool:
        """Drop the code and build it again from the file, with attempts going on.

        Does nothing, and says False, while events wait for their commits.
        """
        if self.uncommitted:
            return False
        self.driver.evict()
        self.driver = self._make_driver()
        for handle in self.timers.values():
            self.worker.timers.cancel(handle)
        self.timers.clear()
        if not self.replay():
            return True
        loop = self.driver.loop
        for step_id, pending in list(self.pending.items()):
            step = loop.steps.get(step_id)
            if step is None:
                self.worker.activities.drop(self, pending.step)
            else:
                pending.step = step
        self.perform(
            [
                *map(ArmTimer, sorted(loop.timers.values(), key=lambda timer: timer.due_us)),
                *(step for step_id, step in loop.steps.items() if step_id not in self.pending),
            ],
            again=True,
        )
        self.worker.look_soon()  # The drain before may have asked a child to stop.
        return True

    # -- waiting ---------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing may happen to it here any more: it left memory, or its end is decided.

        The end is decided before it is committed; what other attempts bring meanwhile is too late.
        """
        return self.state not in _OPEN_HERE

    @property
    def gone(self) -> bool:
        """Whether it left memory."""
        return self.state not in _HERE

    @property
    def is_working(self) -> bool:
        """Whether an attempt is in hand, or something waits for its commit."""
        if self.uncommitted > 0:
            return True
        for one in self.pending.values():  # noqa: SIM110  any() costs a generator per step
            if one.is_in_hand:
                return True
        return False

    def asked(self) -> None:
        """Something was asked of it that is no event: its row, which that woke, waits again."""
        if self.state is RunState.IDLE:
            self.show_ready()
            self.look_idle()

    def show_ready(self) -> None:
        """Let its row say that something of it is in hand."""
        self._show(None)

    def show_queued(self) -> None:
        """Let its row say that all of it waits for places."""
        self._show(waits_of(self)[1])

    def _show(self, waits: str | None) -> None:
        self._goes_on()
        row = self._state_row("ready", None, waits)
        self.worker.submit(Change([("update_run", row)], soft=True))

    def look_idle(self) -> None:
        """See, a second from now, whether the run only waits."""
        if self.state is RunState.PAUSING:
            self._pause_if_idle()
            return
        if self.park_timer is None and not self.gone and not self.is_working:
            due_us = self.worker.now_us() + PARK_AFTER_US
            self.park_timer = self.worker.timers.at(due_us, self._park)

    def _park(self) -> None:
        self.park_timer = None
        if self.state not in GOING or self.is_working:
            return
        if not self.worker.is_serving:  # What it stopped to do is done by the next worker.
            return
        now_us = self.worker.now_us()
        wake_at_us, waits = waits_of(self)
        if wake_at_us is not None and wake_at_us - now_us <= PARK_AFTER_US:
            if self.state is RunState.IDLE:  # It waits again, but not for long.
                self.show_ready()
            # What is due in the past fires in a moment: looking again at once would starve it.
            look_at_us = max(wake_at_us, now_us) + PARK_AFTER_US
            self.park_timer = self.worker.timers.at(look_at_us, self._park)
            return
        stay = self.worker.keep_warm(self)
        self.state = _WAITS[self.state]
        if self.alone:
            self.alone = False
            self.worker.activities.look_alone_soon()
        row = self._state_row("parked", wake_at_us, waits, owned=stay)
        rows: Rows = [("update_run", row)]
        self.unmark_redo(rows)
        if stay:
            self.worker.submit(Change(rows))
        else:
            self.worker.submit(Change(rows, partial(self.worker.parked_cold, wake_at_us)))
            self.worker.forget(self)

    def left_row(self) -> Row | None:
        """Return the row of a run that just waits, for its worker stops; None if it does more.

        It stays ready: the next worker looks whether its code fits. Until then it shows what it
        waits for.
        """
        if self.state not in GOING or self.state is RunState.IDLE or self.uncommitted:
            return None
        for step_id, step in self.driver.loop.steps.items():
            pending = self.pending.get(step_id)
            if step.kind == COMPLETED and (pending is None or pending.state not in _WAITING):
                return None
        wake_at_us, waits = waits_of(self, tell=False)
        return "update_run", self._state_row("ready", wake_at_us, waits, owned=False)

    # -- ends ------------------------------------------------------------------------------------

    def _block(self, error: Blocked | PayloadError, rows: Rows) -> None:
        """Leave everything as it is, with the reason; code that fits will go on from here."""
        if not isinstance(error, Blocked):
            self.block("payload", str(error), rows)
            return
        difference = dict(error.difference)
        if difference:
            difference["at_us"] += self.clock_us
        self.block(error.kind, str(error), rows, difference)

    def subject(self, step: str = "", attempt: int = 0) -> logs.Subject:
        """Return what records of the engine are about: this run."""
        return logs.Subject(self.row.name, self.row.workflow, step, attempt)

    def block(
        self,
        kind: str,
        message: str,
        rows: Rows | None = None,
        difference: Mapping[str, Any] | None = None,
    ) -> None:
        """Store the run as blocked, for this reason, and drop it from memory."""
        with logs.about(self.subject()):
            self.worker.log.error("run %s is blocked: %s", self.row.name, message)
        reason: dict[str, Any] = {"kind": "blocked", "why": kind, "message": message}
        if difference:
            reason["difference"] = difference
        waits = encode_document(reason).decode()
        rows = [] if rows is None else rows
        self.has_issue = True
        like = issues.blocked(self.row.workflow, kind, message, reason.get("difference", {}))
        rows += issues.rows(
            like, self.row.pk, self.row.workflow, self.workflow.fingerprint, message, message,
            self.worker.now_us(),
        )  # fmt: skip
        rows.append(("update_run", self._state_row("blocked", None, waits, owned=False)))
        self._leave(rows, RunState.BLOCKED)

    def pause(self, why: Pausing, rows: Rows) -> None:
        """Store the run as paused, until a person retries it; running attempts are abandoned."""
        rows.append(self.paused_row(why))
        self.unmark_redo(rows)
        operation = partial(resume_if_asked, run=self.row.pk)
        self.worker.submit(self.leaving(rows, RunState.PAUSED, operation))

    def pause_soon(self, why: Pausing, rows: Rows) -> None:
        """Begin nothing more, and be paused once the running attempts have ended."""
        self.state = _PAUSE_ASKED[self.state]
        self.pausing = why, rows
        self.worker.activities.withdraw(self, rows)
        self._pause_if_idle()

    def _pause_if_idle(self) -> None:
        if self.state is not RunState.PAUSING or self.uncommitted:
            return
        if any(one.has_begun for one in self.pending.values()):
            return
        assert self.pausing is not None
        why, rows = self.pausing
        self.pause(why, rows)

    def resume_now(self, rows: Rows) -> None:
        """Go on after all: a person resumes it before its running attempts have ended."""
        if self.state is RunState.PAUSING:
            assert self.pausing is not None
            rows += self.pausing[1]
            self.pausing = None
            self.state = _RESUMED[self.state]
        self.worker.submit(Change(rows))
        loop = self.driver.loop
        timers = [one for step, one in loop.timers.items() if step not in self.timers]
        steps = [one for step, one in loop.steps.items() if step not in self.pending]
        self.perform([*map(ArmTimer, timers), *steps], again=True)
        self.worker.activities.take_up(self)

    def paused_row(self, why: Pausing) -> Row:
        """Return the row that says that it is paused, and why."""
        return "update_run", self._state_row("paused", None, why.waits(), owned=False)

    def _leave(self, rows: Rows, state: RunState) -> None:
        self.worker.submit(self.leaving(rows, state))

    def leaving(
        self, rows: Rows, state: RunState, operation: Callable[[Transaction], Any] | None = None
    ) -> Change:
        """Drop the run from memory; return the change that says why, and then who waits for it."""
        worker, pk = self.worker, self.row.pk

        def left(change: Change) -> None:
            if isinstance(change.error, RowRefused):
                worker.refused(self.row, change.error)
            elif change.error is not None:
                worker.commit_failed(change.error)
            else:
                worker.notify(pk, told)
            worker.look_soon()

        told = "terminated" if state is RunState.CLOSED else state.value
        self.state = _LEFT[state][self.state]
        worker.forget(self)
        return Change(rows, left, None, None, operation)

    def ends_at_us(self) -> int:
        """Return now, but never before its last event, whatever the wall clock did meanwhile."""
        return max(self.worker.now_us(), self.clock_us + self.driver.at_us)

    def failure_rows(
        self, kind: str, record: dict[str, Any], now_us: int, function: str = ""
    ) -> Rows:
        """Return the rows that count a failure among its like."""
        self.has_issue = True
        like = issues.failure(kind, record, function or self.row.workflow)
        return issues.rows(
            like, self.row.pk, self.row.workflow, self.workflow.fingerprint, summary(record),
            str(record.get("traceback", "")), now_us,
        )  # fmt: skip

    def closed(self, change: Change) -> None:
        """Its end is in the file, or is not."""
        worker = self.worker
        if change.error is not None:
            self.not_committed(change.error)
            return
        self.uncommitted -= 1
        if not self.gone:
            self.state = _CLOSES[self.state]
        worker.forget(self)
        if change.value is not None:
            worker.started(change.value)
        if self.row.parent_step is not None or self.inside.minds_children:
            worker.look_soon()
        worker.notify(self.row.pk, change.context)

    def release(self) -> None:
        """Drop the code and everything set up for it; what is in the file stays as it is."""
        if not self.gone:
            self.state = _LEAVES_MEMORY[self.state]
        for handle in (*self.timers.values(), self.park_timer, self.limit_timer):
            if handle is not None:
                self.worker.timers.cancel(handle)
        self.timers.clear()
        for pending in list(self.pending.values()):
            self.worker.activities.abandon(pending)
        self.driver.evict()


def _is_recorded(command: Command) -> bool:
    """Say whether a command is a row of the commit of its drain."""
    if isinstance(command, Recording):
        return True
    return type(command) is DropStep and command.step.kind == Kind.CHILD_COMPLETED


def step_row(run: LiveRun, row: StepRow) -> tuple[Any, ...]:
    """Return the values of ``upsert_step``."""
    return (
        run.row.pk, row.step, row.name, row.state, row.attempt, row.scheduled_us, row.started_us,
        row.retry_at_us, row.fingerprint, row.arguments, row.details, row.error,
    )  # fmt: skip
