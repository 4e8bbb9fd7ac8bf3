"""What concerns many runs: groups of like failures, and acts on many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from durable._clock import Clock
from durable._store.reader import Reader
from durable.errors import RunNotFound, UsageError
from durable.inspection._texts import decoded_list, moment, time_of
from durable.inspection._views import HoldView, IssueAlert, IssueView, JobView

if TYPE_CHECKING:
    from durable._store.rows import AlertRow, IssueRow, JobRow

__all__ = ["Groups"]

LIST_LIMIT_MAX = 1_000
REFUSALS_SHOWN = 100
HOUR_US = 3_600_000_000
# What nobody has taken after so long, because no worker knows its workflow, is an issue.
NO_WORKER_AFTER_US = 30_000_000
# So many runs of one workflow are counted; more are as bad.
UNSERVED_MAX = 1_000
NO_WORKER = "no-worker:"


class Groups:
    """Reads groups of like failures, and acts on many runs."""

    def __init__(self, reader: Reader, is_alive: Callable[[int], bool], clock: Clock) -> None:
        self._reader = reader
        self._is_alive = is_alive
        self._clock = clock
        self._known: Sequence[frozenset[str]] | None = None

    def name_of(self, pk: int | None) -> str:
        """Return a run's name by its key, or an empty text if there is none."""
        row = None if pk is None else self._reader.find_run(pk)
        return "" if row is None else row.name

    def known_by_workers(self) -> Sequence[frozenset[str]]:
        """Return the workflows that each living worker knows; asked once."""
        if self._known is None:
            self._known = [
                frozenset(decoded_list(one.workflows))
                for one in self._reader.live_workers()
                if self._is_alive(one.id)
            ]
        return self._known

    def issues(self, *, state: str | None = "open", limit: int = 100) -> Sequence[IssueView]:
        """Return groups of like failures, the one with the newest failure first.

        Args:
            state: ``open``, ``resolved``, ``muted``, or None for all.
            limit: At most so many, 1 to 1,000.
        """
        if state not in {None, "open", "resolved", "muted"}:
            raise UsageError(
                f'the state of an issue is "open", "resolved" or "muted", not {state!r}'
            )
        rows = self._reader.issues(max(1, min(limit, LIST_LIMIT_MAX)))
        found = [self._issue(row) for row in rows if state in {None, row.state}]
        return found if state in {"resolved", "muted"} else [*self._unserved(), *found][:limit]

    def count_issues(self) -> int:
        """Return how many groups of like failures are open, at most 100."""
        rows = self._reader.issues(LIST_LIMIT_MAX)
        return min(100, sum(row.state == "open" for row in rows) + len(self._unserved()))

    def count_running_jobs(self) -> int:
        """Return how many acts on many runs are not done yet."""
        return len(self._reader.running_jobs())

    def _unserved(self) -> Sequence[IssueView]:
        """Return a group for each workflow that no living worker knows, and that has work to do.

        It is stored nowhere: nobody lives who could. It goes when a worker starts.
        """
        known = frozenset[str]().union(*self.known_by_workers())
        found: list[IssueView] = []
        for workflow in self._reader.workflows():
            if workflow not in known:
                found += self._unserved_workflow(workflow)
        return found

    def _unserved_workflow(self, workflow: str) -> Sequence[IssueView]:
        now_us = self._clock.wall_us()
        waiting: list[tuple[int, int]] = []
        for _, pk in self._reader.find_claimable(workflow, UNSERVED_MAX):
            row = self._reader.find_run(pk)
            if row is not None:
                waiting.append((row.created_us, pk))
        waiting += self._reader.find_due(workflow, now_us, UNSERVED_MAX)
        since_us, oldest = min(waiting, default=(now_us, 0))
        if now_us - since_us < NO_WORKER_AFTER_US:
            return []
        title = f"no living worker knows the workflow {workflow}"
        return [
            IssueView(
                id=f"{NO_WORKER}{workflow}", fingerprint="", kind="no worker", state="open",
                title=title, function=workflow, place="", seen=len(waiting), open=len(waiting),
                first=moment(since_us), last=moment(now_us), hours=[0] * 24,
                workflows={workflow: len(waiting)}, versions={},
                sample=f"{title}; start one with `durable worker APP:ENGINE`",
                sample_run=self.name_of(oldest),
            )
        ]  # fmt: skip

    def holds(self) -> Sequence[HoldView]:
        """Return the workflows and queues that are paused as a whole."""
        return [
            HoldView(kind=one.kind, name=one.name, who=one.who, why=one.why, at=time_of(one.at_us))
            for one in self._reader.holds()
        ]

    def jobs(self, *, limit: int = 100) -> Sequence[JobView]:
        """Return acts on many runs, the newest first.

        Args:
            limit: At most so many, 1 to 1,000.
        """
        rows = self._reader.jobs(max(1, min(limit, LIST_LIMIT_MAX)))
        return [self._job(row) for row in rows]

    def job(self, number: int) -> JobView:
        """Return one act on many runs.

        Raises:
            RunNotFound: There is none of this number.
        """
        row = self._reader.find_job(number)
        if row is None:
            raise RunNotFound(f"no job {number} is in the file; `durable jobs` lists them")
        return self._job(row)

    def _job(self, row: JobRow) -> JobView:
        refusals: dict[str, str] = {}
        for run, why in self._reader.refusals(row.id, REFUSALS_SHOWN):
            refusals[self.name_of(run) or f"run {run}"] = why
        return JobView(
            id=row.id, verb=row.verb, query=row.query, who=row.who, why=row.why, state=row.state,
            total=row.total, done=row.done, refused=row.refused, created=time_of(row.created_us),
            ended=moment(row.ended_us), refusals=refusals,
        )  # fmt: skip

    def issue(self, name: str) -> IssueView:
        """Return a group by ``I-14`` or by its fingerprint.

        Raises:
            RunNotFound: There is none.
        """
        if name.startswith(NO_WORKER):
            for one in self._unserved_workflow(name.removeprefix(NO_WORKER)):
                return one
        return self._issue(self.issue_row(name))

    def alert_of(self, row: AlertRow) -> IssueAlert:
        """Return what somebody is to be told.

        Raises:
            RunNotFound: The group was deleted.
        """
        issue = self.issue(row.fingerprint)
        return IssueAlert(
            what="blocked" if issue.kind == "blocked" else row.what,
            issue=issue,
            run=self.name_of(row.run),
            at=time_of(row.at_us),
        )

    def issue_row(self, name: str) -> IssueRow:
        """Return the row of a group.

        Raises:
            RunNotFound: There is none.
        """
        number = name.upper().removeprefix("I-")
        is_number = number.isdecimal() and number.isascii() and len(number) < 16
        row = self._reader.find_issue(int(number) if is_number else -1, name)
        if row is None and name.startswith(NO_WORKER):
            workflow = name.removeprefix(NO_WORKER)
            raise RunNotFound(
                f"no issue {name!r} is kept in the file: such a one is there while no living "
                f"worker knows {workflow}, and goes by itself when one starts (`durable worker "
                f"APP:ENGINE`); its runs are workflow:{workflow}"
            )
        if row is None:
            raise RunNotFound(f"no issue {name!r} is in the file; `durable issues` lists them")
        return row

    def _issue(self, row: IssueRow) -> IssueView:
        hour = self._clock.wall_us() // HOUR_US
        counts = self._reader.counts_of_issue(row.fingerprint, hour - 30 * 24)
        hours, workflows, versions = [0] * 24, Counter[str](), Counter[str]()
        for at, workflow, code, seen in counts:
            if 0 <= hour - at < len(hours):
                hours[at - hour - 1] += seen
            workflows[workflow] += seen
            versions[code] += seen
        return IssueView(
            id=f"I-{row.id}", fingerprint=row.fingerprint, kind=row.kind, state=row.state,
            title=row.title, function=row.function, place=row.place, seen=row.seen,
            open=self._reader.count_open_of_issue(row.id), first=moment(row.first_us),
            last=moment(row.last_us), hours=hours, workflows=dict(workflows.most_common()),
            versions=dict(versions.most_common()), sample=row.sample,
            sample_run=self.name_of(row.sample_run),
        )  # fmt: skip
