"""The worker: owns runs, drives them, and keeps the file and the memory in step.

Everything in here happens on the host's loop, in one thread; the writer and activity threads hand
their news over with `call_from_thread`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from durable._clock import Clock, new_salt
from durable._core.machines import RunState
from durable._runtime import issues, logs
from durable._runtime.activities import Activities
from durable._runtime.alerts import Alerts, Hook
from durable._runtime.beginnings import Beginnings
from durable._runtime.claims import Claims
from durable._runtime.collecting import Collecting
from durable._runtime.expiry import Expiry
from durable._runtime.first_run import first_run
from durable._runtime.inbox import Inbox, may_end
from durable._runtime.jobs import Jobs
from durable._runtime.keeping import Keeper
from durable._runtime.outside import Outside
from durable._runtime.processes import Processes
from durable._runtime.reopening import ENDS_THE_WRITER, Reopening
from durable._runtime.runs import LOST_MAX, LiveRun, Rows
from durable._runtime.switching import SwitchInterval
from durable._runtime.threads import Threads
from durable._runtime.timers import TimerHandle, Timers
from durable._runtime.waits import waits_of
from durable._runtime.watchdog import Watchdog
from durable._store.connection import BUSY_DEADLINE_S, real_path
from durable._store.rows import RunRow
from durable._store.store import Store
from durable._store.stored_payloads import column_of
from durable._store.writer import Change, Transaction, is_large
from durable.errors import (
    FileCorrupt,
    PayloadError,
    RowRefused,
    StoreBusy,
    StoreError,
)
from durable.payloads import encode_document

if TYPE_CHECKING:
    from durable.definitions import Workflow
    from durable.policies import Limits, Retention

__all__ = ["Resolve", "Worker"]

Resolve = Callable[[str], "Workflow[Any, Any] | str"]
"""Finds the workflow of a stored name, or says why there is none."""

TAKE_OVER_EVERY_S = 0.25
# Committed changes acted on in one turn of the loop.
DELIVER_PER_TURN = 30
# Changes committed on the loop's own thread at once; more are the writer's.
HERE_MAX = 16
# How long the loop may stand still for a lock of others as the file is opened.
OPEN_WAIT_S = 0.1
# What a stopping engine waits for: so many are named.
SHOWN_MAX = 3
# How long activities on the loop may do nothing before a manual clock jumps.
IDLE_S = 0.01


class Worker:
    """One engine's worker."""

    log = logging.getLogger("durable.engine")

    def __init__(
        self,
        path: str,
        *,
        clock: Clock,
        limits: Limits,
        durability: Literal["full", "normal"],
        names: Callable[[], Sequence[str]],
        resolve: Resolve,
        know: Callable[[Workflow[Any, Any]], None],
        resources: Mapping[str, Any],
        retention: Retention | None,
        hook: Hook | None = None,
        keep_logs: int | None = logging.INFO,
        allow_shared: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # Absolute: the working directory may be another when it is opened again.
        self._path = real_path(path)
        self.clock = clock
        self.now_us = clock.wall_us
        self.limits = limits
        self._durability = durability
        self._allow_shared = allow_shared
        self._names = names
        self._resolve = resolve
        self.know = know
        """Makes a workflow known that a run of ours starts."""
        self._resources = resources
        self._hook = hook
        self.keeper = Keeper(self, keep_logs)
        self.id = 0
        self.live: dict[int, LiveRun] = {}
        self._warm: OrderedDict[int, LiveRun] = OrderedDict()
        self._loading: set[int] = set()
        self._waiters: dict[int, list[asyncio.Future[str]]] = {}
        self._in_flight = 0
        self._batch: list[Change] = []
        self._delivered: deque[Change] = deque()
        self.owns_loop = False
        """Nothing but this engine runs on the loop, so a commit may hold it up: `durable.run`."""
        self._progress = 0
        self._stopping = False
        self._has_grace = True
        self._is_open = False
        self._claiming = False
        self._claim_again = self._will_claim = False
        self._wake_timer: TimerHandle | None = None
        self._take_over_timer: asyncio.TimerHandle | None = None
        self.only: int | None = None
        self.after_event: Callable[[LiveRun], bool] | None = None
        """For tests: called after each committed event; True if the run was taken care of."""
        self.threads = Threads(limits.threads_max)
        self.processes = Processes(limits)
        self._switching = SwitchInterval(limits.switch_interval_us)
        self._collecting = Collecting()
        self.reopening = Reopening(self, self._loop)
        self._expiry = None if retention is None else Expiry(self, retention)

    # -- opening and closing ---------------------------------------------------------------------

    async def open_patiently(self) -> None:
        """Open the file; while others have it locked, the loop goes on.

        Raises:
            StoreBusy: They have had it for half a minute.
        """
        until_s = self._loop.time() + BUSY_DEADLINE_S
        while True:
            try:
                self.open()
            except StoreBusy:
                if self._loop.time() > until_s:
                    raise
                await asyncio.sleep(OPEN_WAIT_S)
            else:
                return

    def _begin(self) -> int:
        """Become a worker of the file; return when."""
        if self.id:
            self.reopening.leave_previous()
        names = list(self._names())
        now_us = self.now_us()
        self.id = self.store.open_worker(encode_document(names).decode(), now_us)
        for row in self.store.dead_workers():
            self._take_over_now(row.id)
        self.store.free_orphans()
        for name in names:
            self.store.writer.commit_now(Change(operation=partial(_ready_blocked, name)))
        return now_us

    def open(self) -> None:
        """Open the file, become a worker, take over from dead ones, look for work."""
        self.timers = Timers(self.clock, self._loop)
        self.activities = Activities(self, self._loop)
        self.outside = Outside(self)
        self.inbox = Inbox(self)
        self.jobs = Jobs(self)
        self.beginnings = Beginnings(self)
        self.claims = Claims(self)
        self.alerts = Alerts(self, self._hook)
        self.store = Store(
            self._path,
            durability=self._durability,
            deliver=partial(self.call_from_thread, self._deliver),
            on_foreign_commit=partial(self.call_from_thread, self._others_committed),
            create=self.id == 0,
            after=self.reopening.synced,
            allow_shared=self._allow_shared,
        )
        before = self.id
        try:
            with self.store.writer.impatient(OPEN_WAIT_S):
                now_us = self._begin()
        except BaseException:
            self.store.close()
            self.id = before
            raise
        self.reopening.opened(now_us)
        self.store.writer.settle()
        self.store.writer.start()
        logs.install()
        self._switching.shorten()
        self._collecting.rarely()
        self.watchdog = Watchdog(partial(self.call_from_thread, self._slow), self.call_from_thread)
        self._is_open = True
        self.keeper.write()  # What was said while the file was closed.
        self._watch_others()
        for look in (self.claim, self.jobs.look, self.alerts.look):
            self._guarded(look)
        if self._expiry is not None:
            self._expiry.open()

    def is_here(self) -> bool:
        """Say whether the caller is on the loop that this engine runs on."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:  # Plain code between two turns of this very loop.
            return threading.get_ident() == self._thread

    def require_open(self) -> None:
        """Refuse to use the file while it is being opened again.

        Raises:
            StoreError: Why that is.
        """
        refusal = None if self._is_open else self.reopening.refusal()
        if refusal is not None:
            raise refusal

    async def close(self, grace_s: float) -> None:
        """Stop: nothing new begins, attempts get their grace time, what is left is done later."""
        self._stopping = self.processes.is_stopping = True
        self.activities.stop(self.live.values())
        self.reopening.cancel()
        deadline = self._loop.time() + grace_s
        while self._has_grace and self.activities.is_busy:
            if self._loop.time() >= deadline:
                break
            await asyncio.sleep(0.005)
        self.activities.cancel_all(list(self.live.values()))
        for _ in range(100):  # Cancelled attempts get up to a second for their clean-up.
            if not self._has_grace or not self.activities.has_tasks(self.live.values()):
                break
            await asyncio.sleep(0.01)
        self._close_now(orderly=True)
        self.activities.leave_behind()
        self.end_waiters()
        self.threads.close()
        self.processes.close()

    def stop_at_once(self) -> None:
        """End the grace time: what still runs is done again later."""
        self._has_grace = False

    def waits_for_text(self) -> str:
        """Say what a stopping engine waits for, for people; empty if for nothing."""
        now_us = self.now_us()
        found = [
            f"{one.activity.name} of run {run.row.name} "
            f"({(now_us - one.attempt.started_us) / 1e6:.0f} s)"
            for run in self.live.values()
            for one in run.pending.values()
            if one.attempt is not None and one.has_begun
        ]
        if not found:
            return ""
        more = f" and {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else ""
        shown = ", ".join(found[:SHOWN_MAX])
        return f"{shown}{more} to end, at most for its grace time (again: at once)"

    def crash(self) -> None:
        """Vanish like a killed process, for tests: nothing is committed, nothing handed back."""
        self._stopping = True
        self.activities.is_stopping = True
        self._close_now(orderly=False)
        self.end_waiters()
        self.processes.close()

    def end_waiters(self, error: StoreError | None = None) -> None:
        """Tell all who wait for a run that the engine is closed, or why it cannot say."""
        waiting = [waiter for waiters in self._waiters.values() for waiter in waiters]
        self._waiters.clear()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result("closed") if error is None else waiter.set_exception(error)

    def _close_now(self, *, orderly: bool) -> None:
        if not self._is_open:  # It was about to begin again.
            return
        if orderly:
            self.keeper.write()
            rows: Rows = []
            for run in self.live.values():
                run.unmark_redo(rows)
            rows += self.beginnings.rows()
            if rows:
                self.store.writer.submit(Change(rows))
        self._is_open = False
        runs = self.live.values() if orderly else ()
        left = [row for run in runs if (row := run.left_row()) is not None]
        for run in list(self.live.values()):
            self.forget(run)
        batch, self._batch = self._batch, []
        for change in batch:
            self.store.writer.submit(change)
        if left:
            self.store.writer.submit(Change(left))
        if orderly:
            self.store.writer.submit(
                Change(operation=self.store.end_worker(self.id, self.now_us()))
            )
        self.alerts.close()
        self.timers.close()
        if self._take_over_timer is not None:
            self._take_over_timer.cancel()
        self.watchdog.close()
        self.store.close()
        logs.uninstall()
        self._switching.restore()
        self._collecting.restore()

    # -- the file --------------------------------------------------------------------------------

    def submit(self, change: Change) -> None:
        """Hand a change to the writer."""
        self._in_flight += 1
        self._progress += 1
        if not self._is_open:
            change.error = self.reopening.refusal() or StoreError("the engine is closed")
            self._deliver([change])
        elif self._batch:
            self._batch.append(change)
        elif self.owns_loop and self._in_flight == 1 and not self.activities.running:
            self._batch.append(change)
            self._loop.call_soon(self.commit_here)
        else:
            self.store.writer.submit(change)

    def commit_here(self) -> None:
        """Commit on this thread what was kept for it: it could only wait for the writer's."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        alone = (
            len(batch) <= HERE_MAX and not self.activities.running and not any(map(is_large, batch))
        )
        if alone and self.store.writer.commit_here(batch):
            is_first = not self._delivered
            self._delivered.extend(batch)
            if is_first:  # Act at once: nothing else waits for this turn.
                self._deliver_some()
            return
        for change in batch:
            self.store.writer.submit(change)

    def _deliver(self, batch: list[Change]) -> None:
        if not self._delivered:
            self._loop.call_soon(self._deliver_some)
        self._delivered.extend(batch)

    def _deliver_some(self) -> None:
        """Act on some committed changes, then let the loop turn.

        The host gets its turns, and what one turn makes is gone before the collector counts it
        among the old: a thousand attempts begun at once were a fifth of the time of each step.
        """
        delivered = self._delivered
        for _ in range(min(DELIVER_PER_TURN, len(delivered))):
            change = delivered.popleft()
            self._in_flight -= 1
            try:
                if change.done is not None:
                    change.done(change)
                elif change.error is not None:
                    self.commit_failed(change.error)
            except StoreError as error:
                self._read_failed(error)
        if delivered:
            self._loop.call_soon(self._deliver_some)
        elif self._in_flight == 0:
            self._loop.call_soon(self.look_idle)

    def call_from_thread(self, callback: Callable[..., object], *args: Any) -> None:
        """Call back on the loop's thread; nothing happens once the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._guarded, callback, *args)
        except RuntimeError:
            self.log.debug("the loop closed before %s was handed over", callback)

    def after(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call back on the loop's thread after a while, if the engine is still open then."""
        self._loop.call_later(seconds, lambda: self._guarded(callback) if self._is_open else None)

    def _guarded(self, callback: Callable[..., object], *args: Any) -> None:
        """Call back; a file that cannot be read is opened again, and is nobody's outcome."""
        try:
            callback(*args)
        except StoreError as error:
            self._read_failed(error)

    def _read_failed(self, error: StoreError) -> None:
        if isinstance(error, FileCorrupt) and isinstance(error.__cause__, UnicodeDecodeError):
            self.log.error("%s", error)  # Of one row, by whose run it is met again.
        elif self._is_open:
            self.commit_failed(error)

    async def commit(self, operation: Callable[[Transaction], Any]) -> Any:
        """Run an operation in the writer's next transaction; return its value once committed."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(change: Change) -> None:
            # Whoever asked may have been cancelled meanwhile: what is in the file counts.
            if change.error is None:
                self.look_soon()
            elif isinstance(change.error, ENDS_THE_WRITER):
                self.commit_failed(change.error)
            if future.done():
                return
            if change.error is not None:
                future.set_exception(change.error)
            else:
                future.set_result(change.value)

        self.submit(Change(done=done, operation=operation))
        return await future

    def commit_failed(self, error: BaseException) -> None:
        """Begin again as another worker: what is in memory may be ahead of the file."""
        if not self._stopping:
            self.reopening.begin(error)

    async def leave_file(self) -> None:
        """Drop everything that is in memory, and close the file."""
        self._close_now(orderly=False)
        self.store.locks.release(self.id)
        while self._in_flight:  # noqa: ASYNC110  the writer has ended, and handed back everything
            await asyncio.sleep(0)
        self._loading.clear()
        self._claiming = False

    def opened_again(self) -> None:
        """Tell who waits for runs what has become of them meanwhile."""
        self.claim()
        for pk in list(self._waiters):
            row = self.store.reader.find_run(pk)
            if row is not None and not row.is_open:
                self.notify(pk, row.state)

    def prepare_context(self, fresh: Context) -> None:
        """Put into a run's context what its libraries look for."""
        import sys

        sniffio = sys.modules.get("sniffio")
        if sniffio is not None:
            fresh.run(sniffio.current_async_library_cvar.set, "asyncio")

    def resource(self, name: str) -> Any:
        """Return what the lifespan opened."""
        if name not in self._resources:
            known = ", ".join(sorted(self._resources)) or "nothing"
            raise KeyError(f"the engine's lifespan opened no {name!r}; it opened {known}")
        return self._resources[name]

    # -- starting --------------------------------------------------------------------------------

    async def start(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        encoded: bytes,
    ) -> RunRow | None:
        """Store a new run and begin it; return it, or None if the id is taken."""
        rows: Rows = []
        run = first_run(
            workflow, args, kwargs, encoded,
            arguments=column_of(encoded, rows), salt=new_salt(), now_us=self.now_us(),
            worker_id=self.id,
        )  # fmt: skip
        future: asyncio.Future[RunRow | None] = self._loop.create_future()

        def done(change: Change) -> None:
            if change.error is not None:
                if not future.done():
                    future.set_exception(change.error)
                if not isinstance(change.error, RowRefused):
                    self.commit_failed(change.error)
                return
            pk: int | None = change.value
            row = None if pk is None else run.row(pk)
            if change.is_held:
                pass  # It begins when somebody resumes its workflow or queue.
            elif row is not None and run.state == "parked":
                self.parked_cold(run.wake_at_us, change)
            elif row is not None:
                self.begin_started(row, workflow)
            if not future.done():
                future.set_result(row)

        self.submit(Change(rows, done, start=run))
        return await future

    def begin_started(self, row: RunRow, workflow: Workflow[Any, Any]) -> None:
        """Begin a run that was just stored; one with a delay is woken when its time comes."""
        if self._stopping or not self._is_open:
            return
        if row.state == "parked":
            if row.wake_at_us is not None:
                self._wake_at(row.wake_at_us)
            return
        run = LiveRun(self, row, workflow)
        self.live[row.pk] = run
        run.begin()
        self.inbox.begun(run)

    def started(self, pk: int) -> None:
        """Begin a run that was committed as ours, from its row."""
        if self._stopping:
            return
        row = self.store.reader.find_run(pk)
        if row is not None and row.worker_id == self.id:
            self._load(row)

    # -- claiming --------------------------------------------------------------------------------

    def claim(self) -> None:
        """Look for free runs, ready or due, and take them."""
        if self._stopping or self.reopening.is_under_way:
            return
        if self._claiming:
            self._claim_again = True
            return
        wanted = self.claims.choose(frozenset(self._names()))
        if self.only is not None:
            wanted = [pk for pk in wanted if self._is_of_only(pk)]
        if not wanted:
            self._set_wake()
            return
        self._claiming = True
        now_us, worker = self.now_us(), self.id

        def operation(transaction: Transaction) -> list[int]:
            return [
                pk
                for pk in wanted
                if transaction.one("claim_run", pk=pk, worker=worker, now_us=now_us) is not None
            ]

        self.submit(Change(done=self._claimed, operation=operation))

    def _is_of_only(self, pk: int) -> bool:
        """Say whether a run is the only one to be served, or of its family."""
        if pk == self.only:
            return True
        row = self.store.reader.find_run(pk)
        return row is not None and row.root_pk == self.only

    def _claimed(self, change: Change) -> None:
        self._claiming = False
        if change.error is not None:
            self.commit_failed(change.error)
            return
        for pk in change.value:
            self._loading.add(pk)
            self._loop.call_soon(self._guarded, self._load_key, pk)
        if change.value or self._claim_again:
            self._claim_again = False
            self._loop.call_soon(self._guarded, self.claim)
        else:
            self._set_wake()

    def _load_key(self, pk: int) -> None:
        self._loading.discard(pk)
        if self._stopping or self.reopening.is_under_way or pk in self.live:
            return
        row = self.store.reader.find_run(pk)
        if row is not None and row.worker_id == self.id:
            self._load(row)

    def _load(self, row: RunRow) -> None:
        """Bring a run of ours into memory: replay it and go on."""
        found = self._resolve(row.workflow)
        if isinstance(found, str):
            self._refuse(row, "function", found)
            return
        try:
            self.inbox.forget_early(row.pk)
            requests = self.store.reader.inbox_of_run(row.pk)
            for request in requests:
                if request.kind == "terminate":
                    run = LiveRun(self, row, found)
                    self.live[row.pk] = run
                    self.inbox.take(run, request)
                    return
            run = LiveRun(self, row, found)
            self.live[row.pk] = run
            if not run.replay(requests):
                return
            if row.lost >= LOST_MAX and run.driver.loop.steps:
                names = ", ".join(
                    f"step {step.step_id} ({step.name})" for step in run.driver.loop.steps.values()
                )
                run.block(
                    "lost",
                    f"the worker died {row.lost} times in a row while {names} ran; mend it (a "
                    "crash of the interpreter, or too little memory), then retry the run",
                )
                return
            run.resume(self.store.reader.steps(row.pk), partial(may_end, requests))
        except (PayloadError, FileCorrupt, RowRefused) as error:  # One damaged row blocks one run.
            self._refuse(row, "payload", str(error))
            return
        for request in requests:
            if not run.gone:
                self.inbox.take(run, request)
        if not run.gone:
            run.begin_withheld()

    def _refuse(self, row: RunRow, kind: str, message: str) -> None:
        """Block a run, in memory or not."""
        run = self.live.get(row.pk)
        lost = row.lost if run is None else run.lost
        if run is not None:
            self.forget(run)
        with logs.about(logs.Subject(row.name, row.workflow)):
            self.log.error("run %s is blocked: %s", row.name, message)
        waits = encode_document({"kind": "blocked", "why": kind, "message": message}).decode()
        values = (row.pk, "blocked", None, None, waits, lost, 0)
        like = issues.blocked(row.workflow, kind, message, {})
        counted = issues.rows(
            like, row.pk, row.workflow, row.code or "", message, message, self.now_us()
        )

        def done(change: Change) -> None:
            if change.error is not None:
                self.commit_failed(change.error)
                return
            self.store.writer.take_again(row.pk)
            self.notify(row.pk, "blocked")

        self.submit(Change([("update_run", values), *counted], done))

    def _slow(self, row: RunRow, stack: str) -> None:
        """Count a drain that took long among its like."""
        if self.is_serving:
            now_us = self.now_us()
            rows = issues.slow_rows(row.pk, row.workflow, row.code or "", stack, now_us)
            self.submit(Change(rows))

    def refused(self, row: RunRow, error: RowRefused) -> None:
        """Block the one run whose history the file does not take on, and say where it stands.

        What it has in memory is dropped: its later events were failed with the one refused.
        """
        self._refuse(
            row,
            "refused",
            f"{error}, and nothing later is recorded. Mend the file, or what the step returns, "
            "then retry the run",
        )

    # -- memory ----------------------------------------------------------------------------------

    def keep_warm(self, run: LiveRun) -> bool:
        """Say whether a run that parks may stay in memory; an older one may have to go instead."""
        if self.limits.warm_runs_max < 2:
            return False
        self._warm[run.row.pk] = run
        if len(self._warm) > self.limits.warm_runs_max:
            _, oldest = self._warm.popitem(last=False)
            if oldest is run:
                return False
            if oldest.state is RunState.IDLE and not oldest.is_working:
                wake_at_us, waits = waits_of(oldest)
                values = (oldest.row.pk, "parked", None, wake_at_us, waits, oldest.lost, 0)
                self.submit(Change([("update_run", values)], partial(self.parked_cold, wake_at_us)))
                self.forget(oldest)
        return True

    def forget(self, run: LiveRun) -> None:
        """Drop a run from memory."""
        if self.live.get(run.row.pk) is not run:
            return  # It was dropped before.
        del self.live[run.row.pk]
        run.release()
        self._warm.pop(run.row.pk, None)
        if run.alone or run.lost:
            self.activities.look_alone_soon()

    def parked_cold(self, wake_at_us: int | None, change: Change) -> None:
        """A run left memory; wake up in time for it."""
        if change.error is not None:
            self.commit_failed(change.error)
            return
        if wake_at_us is not None:
            self._wake_at(wake_at_us)
        if change.start is None:  # Perhaps something came in meanwhile, and it did not park.
            self.look_soon()

    def _set_wake(self) -> None:
        wake_at_us = self.claims.next_wake_us
        if wake_at_us is not None and self.only is None:
            self._wake_at(max(wake_at_us, self.now_us() + 1_000))
            self._loop.call_soon(self.look_idle)

    def _wake_at(self, due_us: int) -> None:
        if self._wake_timer is not None and self._wake_timer.callback is not None:
            if self._wake_timer.due_us <= due_us:
                return
            self.timers.cancel(self._wake_timer)
        self._wake_timer = self.timers.at(due_us, self.claim)

    def look_idle(self) -> None:
        """With a manual clock: if nothing can happen before the next due moment, go there.

        Activities that run on the loop may just wait: they get a few milliseconds of real time.
        """
        if self._stopping or self._in_flight or self._claiming or self._loading:
            return
        if self.activities.is_unsettled:  # What has ended ended now, not after the jump.
            self._loop.call_soon(self.look_idle)
        elif not self.activities.running:
            self._jump(self._progress)
        elif not self._computes and self.clock.jump(0):
            self._loop.call_later(IDLE_S, self._jump, self._progress)

    @property
    def is_writing(self) -> bool:
        """Whether changes are with the writer, or committed and not yet acted on."""
        return self._in_flight > 0

    @property
    def _computes(self) -> bool:
        """Whether bodies run that do not just wait on the loop."""
        places = self.activities.places  # A thread is busy for a moment longer than its body.
        return bool(places.threads.in_use or places.processes.in_use)

    def _jump(self, progress: int) -> None:
        if self._stopping or self._in_flight or progress != self._progress:
            return
        if self.activities.is_unsettled:  # It is recorded first.
            self._loop.call_soon(self.look_idle)
            return
        due_us = self.timers.next_due_us()
        if due_us is not None and not self._computes and self.clock.jump(due_us):
            self._progress += 1
            self.timers.fire_due()
            self._loop.call_soon(self.look_idle)

    # -- others ----------------------------------------------------------------------------------

    def _others_committed(self) -> None:
        if self._stopping or self.reopening.is_under_way:
            return
        self.inbox.look()
        self.claim()
        self.jobs.look()
        for pk in list(self._waiters):
            if pk not in self.live:
                self.notify(pk, "news")

    def look_soon(self) -> None:
        """Something came in for a run, of ours or of nobody's: look for it in this turn."""
        self.inbox.look_soon()
        self.claim_soon()

    def claim_soon(self) -> None:
        """See in this turn of the loop which runs wait for a worker."""
        if not self._will_claim:
            self._will_claim = True
            self._loop.call_soon(self._guarded, self._claim_now)

    def _claim_now(self) -> None:
        self._will_claim = False
        if self.is_serving:
            self.claim()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back in this turn of the host's loop."""
        self._loop.call_soon(self._guarded, callback)

    @property
    def is_serving(self) -> bool:
        """Whether the file is open and runs may go on."""
        return self._is_open and not self._stopping and not self.reopening.is_under_way

    def _watch_others(self) -> None:
        self._take_over_timer = self._loop.call_later(TAKE_OVER_EVERY_S, self._watch_others)
        try:
            self.store.reader.refuse_moved()
            self.reopening.look_beside()
            dead = [row for row in self.store.dead_workers() if row.id != self.id]
        except StoreError as error:
            self._read_failed(error)
            return
        for row in dead:
            self._take_over(row.id)
        self._guarded(self.alerts.look)

    def _take_over(self, worker: int) -> None:
        def done(change: Change) -> None:
            if change.value:
                self.log.warning("took over the runs of worker %d, which died", worker)
                self.claim()

        self.submit(Change(done=done, operation=self.store.take_over(worker, self.now_us())))

    def _take_over_now(self, worker: int) -> None:
        operation = self.store.take_over(worker, self.now_us())
        if self.store.writer.commit_now(Change(operation=operation)):
            self.log.info("took over the runs of worker %d, which died", worker)

    # -- waiting for ends ------------------------------------------------------------------------

    async def wait(self, pk: int) -> str:
        """Wait for news of a run: until it closes, is blocked or paused, publishes or answers."""
        future: asyncio.Future[str] = self._loop.create_future()
        self._waiters.setdefault(pk, []).append(future)
        try:
            return await future
        finally:
            waiters = self._waiters.get(pk, [])
            if future in waiters:
                waiters.remove(future)
            if not waiters:
                self._waiters.pop(pk, None)

    def notify(self, pk: int, state: str) -> None:
        """Tell whoever waits for news of a run: its stored state, or that there is some."""
        for waiter in self._waiters.pop(pk, ()):
            if not waiter.done():
                waiter.set_result(state)
        if state in {"failed", "blocked", "paused"}:
            self.alerts.look()


def _ready_blocked(name: str, transaction: Transaction) -> None:
    transaction.all("ready_blocked_of_workflow", workflow=name, lost_max=LOST_MAX)
