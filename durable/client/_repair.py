"""What a person does to a run: end it, let it go on, go back, do a step by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack, cast

import msgspec

from durable._store import repairs
from durable._store.restarts import Plan
from durable.errors import UsageError
from durable.payloads import check_size, codec_for
from durable.policies import ActivityPolicy, Duration, duration_us, edited

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.client._client import Client

__all__ = [
    "PolicyChanges",
    "Repairs",
    "failure_payload",
    "output_payload",
    "plan_of",
    "policy_changes",
    "reason_text",
    "step_named",
    "steps_named",
    "user_name",
]

REASON_CHARACTERS_MAX = 10_000
_INTERVALS = {"initial_interval", "max_interval"}
_LIMITS = {"start_to_close", "schedule_to_close", "heartbeat"}
STEP_CHARACTERS_MAX = 1_000


class PolicyChanges(TypedDict, total=False):
    """What of a pending step's policy may be changed.

    Attributes:
        max_attempts: See `Retry`; None for no limit.
        initial_interval: See `Retry`.
        backoff: See `Retry`.
        max_interval: See `Retry`.
        on_exhausted: See `Retry`.
        start_to_close: Of one attempt; None for no limit.
        schedule_to_close: Of all attempts together; None for no limit.
        heartbeat: Between two signs of life; None for no limit.
    """

    max_attempts: int | None
    initial_interval: Duration
    backoff: float
    max_interval: Duration
    on_exhausted: Literal["fail", "pause"]
    start_to_close: Duration | None
    schedule_to_close: Duration | None
    heartbeat: Duration | None


class Repairs:
    """The verbs by which a person ends and repairs a run; each leaves a row in its audit."""

    _client: Client
    _pk: int
    _decode: Callable[[bytes], Any]

    def _of(self, pk: int) -> Self:
        """Return a handle of another run, with the same type of result."""
        made: Self = type(self)(self._client, self._client._get_row(pk), self._decode)  # type: ignore[call-arg]
        return made

    async def cancel(self, reason: str = "") -> None:
        """Ask the run to stop: ``CancelledError`` in its main task, which it may catch.

        On return the request is in the file. It may be asked again.

        Args:
            reason: Told to the run, and kept in the audit; at most 10,000 characters.

        Raises:
            RunClosed: It has ended already.
        """
        await self._client._commit(repairs.cancel(self._pk, self._client._by(reason)))

    async def terminate(self, reason: str = "") -> None:
        """End the run: none of its code runs any more.

        On return it is closed, or its live owner has been told to close it.

        Raises:
            RunClosed: It has ended already.
        """
        client = self._client
        if await client._commit(repairs.terminate(self._pk, client._by(reason))):
            client._notify_closed(self._pk, "terminated")

    async def retry(
        self, *, anyway: bool = False, again: Sequence[str] = (), reason: str = ""
    ) -> Self:
        """Let the run go on: in place if it is open, as a new ordinal from the failure if closed.

        On return the request is in the file. An open run can be retried if it is blocked or paused,
        or if a step of it waits for its next attempt, which is then made now.

        Args:
            anyway: Also if steps completed after the one that failed, or after it was cancelled.
            again: Step ids of ``at_most_once`` steps that may be done again.
            reason: For the audit.

        Returns:
            The run that goes on.

        Raises:
            WrongState: It completed; or it is running, queued, waiting or sleeping, and no step of
                it waits for a retry; or steps completed after the failure or the cancel; or an
                ``at_most_once`` step would be done again that is not named.
        """
        client = self._client
        operation = repairs.retry(
            self._pk, client._by(reason), anyway=anyway, again=steps_named(again)
        )
        pk: int = await client._commit(operation)
        return self._of(pk)

    async def restart(
        self,
        from_: str = "failed",
        *,
        input: Sequence[object] | Mapping[str, object] | None = None,
        outputs: Mapping[str, object] | None = None,
        messages: Literal["keep", "drop"] = "keep",
        children: Literal["keep", "again"] | None = None,
        again: Sequence[str] = (),
        reason: str = "",
    ) -> Self:
        """Make the run's next ordinal from any place of its history; the run itself stays as it is.

        The new run, ``id#2``, keeps what was recorded before the place and does the rest with
        today's code. An open run is terminated first. On return the new run is in the file.

        Args:
            from_: ``"start"``; ``"failed"``, before the event that made the run fail; ``"last"``,
                before the last step that ended; a step's id, or its name (the first so called),
                before its end; the id of a timer, a signal or an update, as `Run.details` has it;
                ``"event:17"``, before that event.
            input: Other arguments: a list, or ``{"args": [...], "kwargs": {...}}``. Recorded steps
                are kept all the same; should they not fit any more, the run is blocked, and says
                where.
            outputs: By step id, what a recorded step is to have returned. A step so named in
                ``from_`` is not done again.
            messages: Whether signals, updates and answers of after the place are said again.
            children: Whether a step after the place that starts a child finds the one that is
                there, ``"keep"``, or starts it again, ``"again"``; an open one is terminated then.
                From the start they begin again, from anywhere else they are kept.
            again: Step ids of ``at_most_once`` steps that may be done again, and ids of children
                that begin again and have begun such steps.
            reason: For the audit.

        Returns:
            The new run.

        Raises:
            WrongState: There is no such place; a newer ordinal is open; an output is given for a
                step that is not kept; an ``at_most_once`` step, of it or of a child that begins
                again, would be done again that is not named.
            PayloadError: The input or an output cannot be stored.
        """
        client = self._client
        plan = plan_of(from_, input, outputs, messages, children, again, client._payload_bytes_max)
        row = client._get_row(self._pk)
        pk: int | None = await client._commit(repairs.restart(self._pk, plan, client._by(reason)))
        while pk is None:  # Its owner does it, and ends the run in the same commit.
            version = client._version()
            if not client._get_row(self._pk).is_open:
                pk = client._get_newest(row).pk
                break
            await client._wait_change(self._pk, version)
        client._notify_closed(self._pk, "terminated")
        return self._of(pk)

    async def skip(self, step: str, output: object, *, reason: str = "") -> None:
        """Let a pending step end with a result of yours, whatever becomes of its attempts.

        On return the request is in the file. A result that does not fit the step is kept as a dead
        letter, and the step stays pending. A run that this very step has paused goes on.

        Args:
            step: Its id, or its name where the file knows of one pending step so called: one that
                waits for a retry, for an answer, or for long.
            output: What it is to have returned.
            reason: For the audit.

        Raises:
            RunClosed: The run has ended.
            WrongState: The step has ended already, or none can be meant by that name.
            PayloadError: The output cannot be stored.
        """
        payload = output_payload(step, output, self._client._payload_bytes_max)
        by = self._client._by(reason)
        await self._client._commit(repairs.skip(self._pk, step, payload, by, fails=False))

    async def fail(self, step: str, message: str, *, reason: str = "") -> None:
        """Let a pending step end with an `ActivityError` of this message; see `skip`.

        Raises:
            RunClosed: The run has ended.
            WrongState: The step has ended already, or none can be meant by that name.
        """
        payload = failure_payload(message)
        by = self._client._by(reason)
        await self._client._commit(
            repairs.skip(self._pk, step_named(step), payload, by, fails=True)
        )

    async def edit(self, step: str, *, reason: str = "", **changes: Unpack[PolicyChanges]) -> None:
        """Change the retry policy or the timeouts of a pending step; what is left out stays.

        On return it is in the file. It counts from the next attempt on; limits of an attempt that
        runs are set anew from its begin, and a wait for the next attempt gets shorter, never
        longer. Later ordinals of the run keep it.

        Args:
            step: Its id, or its name; see `skip`.
            reason: For the audit.
            **changes: See `PolicyChanges`.

        Raises:
            UsageError: Nothing is changed, or to something that cannot be.
            RunClosed: The run has ended.
            WrongState: The step has ended already, or none can be meant by that name.
        """
        stored, by = policy_changes(changes), self._client._by(reason)
        await self._client._commit(repairs.edit(self._pk, step_named(step), stored, by))

    async def accept(self, step: str, *, reason: str = "") -> None:
        """Let a blocked run take a step's recorded end although its arguments changed.

        Raises:
            WrongState: The run is not blocked, or has recorded no end of this step.
        """
        client = self._client
        await client._commit(repairs.accept(self._pk, step_named(step), client._by(reason)))

    async def pause(self, reason: str = "") -> None:
        """Let the run do nothing more until `resume`: attempts that run finish and are recorded.

        Raises:
            RunClosed: It has ended.
            WrongState: It is paused or blocked already.
        """
        await self._client._commit(repairs.pause(self._pk, self._client._by(reason)))

    async def resume(self, reason: str = "") -> None:
        """Let a paused run go on.

        Raises:
            RunClosed: It has ended.
            WrongState: It is not paused.
        """
        await self._client._commit(repairs.resume(self._pk, self._client._by(reason)))

    async def remove(self, *, children: bool = False, reason: str = "") -> int:
        """Delete the run, which has ended, with all it has; return how many runs went.

        Args:
            children: Whether the runs it started go too, and theirs.
            reason: For the audit, which stays.

        Raises:
            WrongState: It is open, or one of its children is.
        """
        client = self._client
        operation = repairs.remove(self._pk, client._by(reason), children=children)
        removed: int = await client._commit(operation)
        return removed


def plan_of(
    place: str,
    input: Sequence[object] | Mapping[str, object] | None,
    outputs: Mapping[str, object] | None,
    messages: str,
    children: str | None,
    again: Sequence[str],
    payload_bytes_max: int,
) -> Plan:
    """Return the checked plan of a restart.

    Raises:
        UsageError: Something of it has no meaning.
        PayloadError: The input or an output cannot be stored.
    """
    if messages not in {"keep", "drop"} or children not in {"keep", "again", None}:
        raise UsageError(
            f"messages are 'keep' or 'drop', children 'keep' or 'again', not {messages!r}, "
            f"{children!r}"
        )
    stored = msgspec.Raw(b"null")
    if input is not None:
        payload = codec_for(Any, "input").encode(_call(input))
        check_size(payload, payload_bytes_max, "input")
        stored = msgspec.Raw(payload)
    replaced: dict[str, msgspec.Raw] = {}
    for step, output in (outputs or {}).items():
        payload = codec_for(Any, f"output of step {step}").encode(output)
        check_size(payload, payload_bytes_max, f"output of step {step}")
        replaced[step_named(step)] = msgspec.Raw(payload)
    return Plan(
        place=step_named(place),
        arguments=stored,
        outputs=replaced,
        keeps_messages=messages == "keep",
        keeps_children=children == "keep" or (children is None and place != "start"),
        again=steps_named(again),
        begins_anew=place == "start" and children != "keep",
    )


def output_payload(step: str, output: object, payload_bytes_max: int) -> bytes:
    """Return what a step is to have returned, as it is stored.

    Raises:
        UsageError: The step has no name.
        PayloadError: The output cannot be stored.
    """
    what = f"output of step {step_named(step)}"
    payload = codec_for(Any, what).encode(output)
    check_size(payload, payload_bytes_max, what)
    return payload


def failure_payload(message: str) -> bytes:
    """Return the record of an `ActivityError`, as it is stored."""
    from durable._core.failures import failure_json
    from durable.errors import ActivityError

    return failure_json(ActivityError(reason_text(message)))


def policy_changes(changes: PolicyChanges) -> dict[str, Any]:
    """Return what is changed of a policy, as it is stored.

    Raises:
        UsageError: Nothing is, or something that cannot be.
    """
    given = cast("dict[str, Any]", changes)
    unknown = given.keys() - PolicyChanges.__annotations__.keys()
    if not given or unknown:
        names = ", ".join(PolicyChanges.__annotations__)
        raise UsageError(f"say what of the step's policy is to change; there are {names}")
    stored: dict[str, Any] = {}
    for name, value in given.items():
        if name in _INTERVALS:
            stored[name] = f"{duration_us(value, name)}us"
        elif name in _LIMITS:
            stored[f"{name}_us"] = None if value is None else _limit_us(value, name)
        else:
            stored[name] = value
    try:
        edited(ActivityPolicy(), stored)  # What is wrong is said here.
    except TypeError as error:
        raise UsageError(f"this is no policy: {error}") from None
    return stored


def _limit_us(value: Duration, what: str) -> int:
    limit_us = duration_us(value, what)
    if not limit_us:
        raise UsageError(f"{what} must be longer than 0; use None for no limit")
    return limit_us


def steps_named(again: Sequence[str]) -> tuple[str, ...]:
    """Return the steps that may be done again.

    Raises:
        UsageError: They are no list of texts.
    """
    if isinstance(again, str) or not all(isinstance(one, str) for one in again):
        raise UsageError(f"again is a list of step ids, not {again!r:.80}")
    return tuple(again)


def _call(given: object) -> object:
    if isinstance(given, Mapping):
        call = cast("Mapping[str, object]", given)
        args, kwargs = call.get("args", []), call.get("kwargs", {})
        if set(call) - {"args", "kwargs"} or not isinstance(args, list):
            raise UsageError(
                'the input of a run is a list of arguments, or {"args": [...], "kwargs": {...}}'
            )
        if not isinstance(kwargs, Mapping):
            raise UsageError(f"kwargs are a mapping, not {kwargs!r:.80}")
        named = cast("Mapping[str, object]", kwargs)
        positional = cast("list[object]", args)
        return {"args": positional, "kwargs": dict(sorted(named.items()))} if named else positional
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise UsageError(f"the input of a run is a list of its arguments, not {given!r:.80}")
    return list(cast("Sequence[object]", given))


def step_named(step: object) -> str:
    if not isinstance(step, str) or not 1 <= len(step) <= STEP_CHARACTERS_MAX:
        raise UsageError(f"a step is named by its id or its name, not {step!r:.80}")
    return step


def user_name() -> str:
    """Return who uses this process, for the audit: ``ada@host``."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # A container's user has no name.
        user = str(os.getuid())
    return f"{user}@{os.uname().nodename}"


def reason_text(reason: object) -> str:
    """Return a reason that may be stored.

    Raises:
        UsageError: It is no text, or too long.
    """
    if not isinstance(reason, str) or len(reason) > REASON_CHARACTERS_MAX:
        raise UsageError(
            f"a reason is text of at most {REASON_CHARACTERS_MAX:,} characters, not {reason!r:.80}"
        )
    return reason
