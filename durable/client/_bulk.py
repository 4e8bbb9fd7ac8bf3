"""What is done to many runs at once: a job in the file, done in chunks by whoever serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar, Unpack, cast

import msgspec

from durable._store import jobs, repairs
from durable._store.jobs import Details
from durable.client._repair import (
    PolicyChanges,
    failure_payload,
    output_payload,
    plan_of,
    policy_changes,
    step_named,
    steps_named,
)
from durable.errors import UsageError
from durable.filters import narrowed
from durable.messages import Signal, require
from durable.names import NAME_CHARACTERS_MAX
from durable.payloads import check_size, encode_document
from durable.policies import Duration, duration_us

if TYPE_CHECKING:
    from durable._store.jobs import Advanced
    from durable.client._client import Client
    from durable.inspection import HoldView, JobView

__all__ = ["Bulk", "Job", "ended_before"]

T = TypeVar("T")


def ended_before(query: str, older_than: Duration | None) -> str:
    """Return the filter of runs that have ended: those a filter means, or that ended so long ago.

    Raises:
        UsageError: ``older_than`` is no duration.
    """
    terms = ["status:closed", "superseded:any"]
    if older_than is not None:
        seconds = max(1, round(duration_us(older_than, "older_than") / 1e6))
        terms.append(f"finished:>{seconds}s")
    if query.strip():
        terms.append(f"({query})")
    return " ".join(terms)


class Job:
    """A handle on an act on many runs.

    Attributes:
        id: Its number in the file.
    """

    def __init__(self, client: Client, job: int) -> None:
        self._client = client
        self.id: int = job

    async def status(self) -> JobView:
        """Return how far it is.

        Raises:
            RunNotFound: It was deleted.
        """
        return self._client._viewer.job(self.id)

    async def wait(self, progress: Callable[[JobView], None] | None = None) -> JobView:
        """Wait until it is done, and help: where no engine serves the file, it is done here.

        Cancelled, it is left to the engines that serve the file; none of it is done twice.

        Args:
            progress: Called after each chunk of a hundred runs.

        Returns:
            How it ended: how many it was done to, and for which it was refused, and why.
        """
        client = self._client
        while True:
            operation = jobs.advance(self.id, client._clock.wall_us(), client._store.locks.is_held)
            advanced: Advanced = await client._commit(operation)
            for pk in advanced.closed:
                client._notify_closed(pk, "terminated")
            found = await self.status()
            if progress is not None:
                progress(found)
            if advanced.is_over:
                return found

    async def stop(self, reason: str = "") -> None:
        """Leave what is left of it undone.

        Raises:
            WrongState: It has ended.
        """
        await self._client._commit(jobs.stop(self.id, self._client._by(reason)))

    def __repr__(self) -> str:
        return f"<job {self.id}>"


class Bulk:
    """The verbs that act on every run a filter means; each returns a `Job`.

    On return the job is in the file, and the engines that serve it do it, a hundred runs a commit:
    kill any of them at any moment, and nothing is lost or done twice. Runs to which the verb cannot
    apply are not meant unless the filter names a status: ``retry`` is about failed, blocked and
    retrying ones, ``cancel`` and ``terminate`` about open ones, ``pause`` about open ones that are
    neither paused nor blocked, ``resume`` about paused, ``accept`` about blocked and ``remove``
    about closed ones, all others about open ones. What one
    run refuses is kept with the job, and harms no other. Times in the filter count from now.
    """

    async def retry_all(
        self, query: str, *, anyway: bool = False, again: Sequence[str] = (), reason: str = ""
    ) -> Job:
        """Let every run that a filter means go on; see `Run.retry` and `Bulk`.

        Args:
            query: A filter; see `Client.list`.
            anyway: Also where steps completed after the one that failed.
            again: Step ids of ``at_most_once`` steps that may be done again.
            reason: For the audit of each.

        Raises:
            FilterError: The query is no filter, or empty.
        """
        details = Details(anyway=anyway, again=steps_named(again))
        return await self._job("retry", query, details, reason)

    async def restart_all(
        self,
        query: str,
        from_: str = "failed",
        *,
        input: Sequence[object] | Mapping[str, object] | None = None,
        outputs: Mapping[str, object] | None = None,
        messages: Literal["keep", "drop"] = "keep",
        children: Literal["keep", "again"] | None = None,
        again: Sequence[str] = (),
        reason: str = "",
    ) -> Job:
        """Restart every run that a filter means from the same place; see `Run.restart`.

        Raises:
            FilterError: The query is no filter, or empty.
            PayloadError: The input or an output cannot be stored.
        """
        limit = cast("Client", self)._payload_bytes_max
        plan = plan_of(from_, input, outputs, messages, children, again, limit)
        return await self._job("restart", query, Details(plan=plan), reason)

    async def cancel_all(self, query: str, *, reason: str = "") -> Job:
        """Ask every run that a filter means to stop; see `Run.cancel`.

        Raises:
            FilterError: The query is no filter, or empty.
        """
        return await self._job("cancel", query, Details(), reason)

    async def terminate_all(self, query: str, *, reason: str = "") -> Job:
        """End every run that a filter means; see `Run.terminate`.

        Raises:
            FilterError: The query is no filter, or empty.
        """
        return await self._job("terminate", query, Details(), reason)

    async def pause_all(self, query: str, *, reason: str = "") -> Job:
        """Pause every run that a filter means; see `Run.pause`.

        Raises:
            FilterError: The query is no filter, or empty.
        """
        return await self._job("pause", query, Details(), reason)

    async def resume_all(self, query: str, *, reason: str = "") -> Job:
        """Resume every run that a filter means; see `Run.resume`.

        Raises:
            FilterError: The query is no filter, or empty.
        """
        return await self._job("resume", query, Details(), reason)

    async def remove_all(self, query: str, *, children: bool = False, reason: str = "") -> Job:
        """Delete every closed run that a filter means; see `Run.remove`.

        Raises:
            FilterError: The query is no filter, or empty.
        """
        return await self._job("remove", query, Details(children=children), reason)

    async def prune(
        self,
        query: str = "",
        *,
        older_than: Duration | None = None,
        children: bool = False,
        reason: str = "",
    ) -> Job:
        """Delete what has ended: all of it, or what a filter means, or what ended so long ago.

        An engine does it by itself with `Retention`.

        Args:
            query: A filter; see `Client.list`. Open runs are left alone whatever it says.
            older_than: Only runs that ended longer ago.
            children: The runs they started too.
            reason: For the audit of each.

        Raises:
            FilterError: The query is no filter.
            UsageError: ``older_than`` is no duration; or nothing was said at all.
        """
        if not query.strip() and older_than is None:
            raise UsageError(
                "prune deletes runs: say which, by a filter or by older_than; all that has ended "
                'is prune("status:closed")'
            )
        meant = ended_before(query, older_than)
        return await self.remove_all(meant, children=children, reason=reason)

    async def skip_all(self, query: str, step: str, output: object, *, reason: str = "") -> Job:
        """Let a pending step of every run that a filter means end with a result; see `Run.skip`.

        Raises:
            FilterError: The query is no filter, or empty.
            PayloadError: The output cannot be stored.
        """
        payload = output_payload(step, output, cast("Client", self)._payload_bytes_max)
        return await self._job("skip", query, _of_step(step, payload), reason)

    async def fail_all(self, query: str, step: str, message: str, *, reason: str = "") -> Job:
        """Let a pending step of every run that a filter means fail; see `Run.fail`.

        Raises:
            FilterError: The query is no filter, or empty.
        """
        return await self._job("fail", query, _of_step(step, failure_payload(message)), reason)

    async def accept_all(self, query: str, step: str, *, reason: str = "") -> Job:
        """Let every blocked run that a filter means take a step's recorded end; see `Run.accept`.

        Raises:
            FilterError: The query is no filter, or empty.
        """
        return await self._job("accept", query, _of_step(step), reason)

    async def edit_all(
        self, query: str, step: str, *, reason: str = "", **changes: Unpack[PolicyChanges]
    ) -> Job:
        """Change the policy of a pending step of every run that a filter means; see `Run.edit`.

        Raises:
            FilterError: The query is no filter, or empty.
            UsageError: Nothing is changed, or to something that cannot be.
        """
        payload = encode_document(policy_changes(changes))
        return await self._job("edit", query, _of_step(step, payload), reason)

    async def signal_all(self, query: str, signal: Signal[T], value: T) -> Job:
        """Send every open run that a filter means a signal, each once; see `Run.signal`.

        Raises:
            FilterError: The query is no filter, or empty.
            PayloadError: The value cannot be stored, or does not fit the signal's type.
        """
        require(signal, Signal)
        payload = signal._encode(value)
        limit = cast("Client", self)._payload_bytes_max
        check_size(payload, limit, f"signal {signal.name}")
        details = Details(name=signal.name, payload=msgspec.Raw(payload))
        return await self._job("signal", query, details, "")

    async def pause_workflow(self, name: str, *, reason: str = "") -> Job:
        """Pause a workflow as a whole: its open runs, and what is started of it from now on.

        On return new runs are paused from the first; those that are there are paused by the job.

        Args:
            name: The stored name.
            reason: Shown while it is paused, and kept in the audit.
        """
        return await self._hold("workflow", name, reason)

    async def pause_queue(self, name: str, *, reason: str = "") -> Job:
        """Pause a task queue as a whole; see `pause_workflow`."""
        return await self._hold("queue", name, reason)

    async def resume_workflow(self, name: str, *, reason: str = "") -> Job:
        """Let a workflow go on that was paused as a whole, with the runs that were paused with it.

        Runs that were paused one by one stay so.

        Raises:
            WrongState: It is not paused as a whole.
        """
        return await self._release("workflow", name, reason)

    async def resume_queue(self, name: str, *, reason: str = "") -> Job:
        """Let a task queue go on that was paused as a whole; see `resume_workflow`.

        Raises:
            WrongState: It is not paused as a whole.
        """
        return await self._release("queue", name, reason)

    async def holds(self) -> Sequence[HoldView]:
        """Return the workflows and queues that are paused as a whole."""
        return cast("Client", self)._viewer.holds()

    async def _hold(self, kind: str, name: str, reason: str) -> Job:
        client = cast("Client", self)
        query = f"{kind}:{_quoted(name)}"
        await client._commit(repairs.hold(kind, name, client._by(reason), is_held=True))
        return await self._job("pause", query, Details(hold=f"{kind}:{name}"), reason)

    async def _release(self, kind: str, name: str, reason: str) -> Job:
        client = cast("Client", self)
        query = f"hold:{_quoted(f'{kind}:{name}')}"
        await client._commit(repairs.hold(kind, name, client._by(reason), is_held=False))
        return await self._job("resume", query, Details(), reason)

    async def jobs(self, *, limit: int = 100) -> Sequence[JobView]:
        """Return acts on many runs, the newest first.

        Args:
            limit: At most so many, 1 to 1,000.
        """
        return cast("Client", self)._viewer.jobs(limit=limit)

    async def job(self, job: int) -> Job:
        """Return one act on many runs.

        Raises:
            RunNotFound: There is none of this number.
        """
        client = cast("Client", self)
        return Job(client, client._viewer.job(job).id)

    async def _job(self, verb: str, query: str, details: Details, reason: str) -> Job:
        client, text = cast("Client", self), narrowed(verb, query)
        selection = client._viewer.selection(text)
        operation = jobs.create(verb, text, details, client._by(reason), selection)
        job: int = await client._commit(operation)
        self._job_created()
        return Job(client, job)

    def _job_created(self) -> None:
        """Let an engine begin with it at once."""


def _of_step(step: str, payload: bytes = b"null") -> Details:
    return Details(name=step_named(step), payload=msgspec.Raw(payload))


def _quoted(name: str) -> str:
    """Return a name as a filter has it.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise UsageError(f"a name has 1 to {NAME_CHARACTERS_MAX} characters, not {name!r:.80}")
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
