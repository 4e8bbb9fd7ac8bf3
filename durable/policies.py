"""Retry policies, timeouts and durations: pure decisions, no clock.

Defaults are Temporal's (1 s, factor 2, cap 100 s, no limit on attempts), plus 10 % of jitter so
that a thousand runs which failed together do not come back together.
Source: temporal.io documentation, "Retry Policies"; jitter: AWS, "Exponential backoff and jitter".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import attrs

from durable.durations import RETRY_AFTER_S_MAX, Duration, is_negative, microseconds_of, shortened
from durable.errors import DefinitionError, RetryAfter, UsageError

__all__ = ["Duration", "Isolation", "Limits", "Retention", "Retry", "duration_us", "edited"]


def duration_us(value: Duration, what: str = "duration") -> int:
    """Return the duration in whole microseconds, rounded up; negative durations count as 0.

    Raises:
        UsageError: It is no duration, not finite, or longer than 10,000 years.
    """
    try:
        return microseconds_of(value, what)
    except ValueError as error:
        raise UsageError(str(error)) from None


Isolation = Literal["process"]
"""Where an activity runs, if not in the engine's own process."""

# What a float holds: beyond it the second wait is the longest one anyhow.
BACKOFF_MAX = 1e308


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(what: str) -> Callable[[object, object, Duration], None]:
    def check(_instance: object, _attribute: object, value: Duration) -> None:
        if duration_us(value, what) <= 0:
            raise UsageError(f"{what} must be longer than 0, not {value!r}")

    return check


def _duration(what: str) -> Callable[[object, object, Duration], None]:
    def check(_instance: object, _attribute: object, value: Duration) -> None:
        duration_us(value, what)
        if is_negative(value):
            raise UsageError(f"{what} must not be negative, and is {shortened(value)}")

    return check


def _exception_classes(classes: Iterable[type[BaseException]]) -> tuple[type[BaseException], ...]:
    return tuple(classes)


@attrs.frozen(kw_only=True)
class Retry:
    """How a failed activity is tried again.

    The n-th wait is ``initial_interval * backoff ** (n - 1)``, at most ``max_interval``, and then
    changed by chance by up to ``jitter`` of itself in either direction: 1 s, 2 s, 4 s ... 100 s.

    Attributes:
        initial_interval: The wait before the second attempt; 0 tries again at once, always.
        backoff: The factor from one wait to the next, 1 or more.
        max_interval: No wait is longer, before jitter.
        max_attempts: Attempts in all, 1 or more; None for no limit, so that a repaired service or
            a fixed program lets runs go on.
        jitter: 0 to 1.
        retry_if: Called with the exception; False gives up.
        give_up_on: Exception classes (with their subclasses) that are never tried again.
        on_exhausted: ``"fail"`` hands the last exception to the workflow; ``"pause"`` keeps the
            step pending and pauses the run until a person retries it.
    """

    initial_interval: Duration = attrs.field(default=1, validator=_duration("initial_interval"))
    backoff: float = 2
    max_interval: Duration = attrs.field(default=100, validator=_positive("max_interval"))
    max_attempts: int | None = None
    jitter: float = 0.1
    retry_if: Callable[[BaseException], bool] | None = None
    give_up_on: tuple[type[BaseException], ...] = attrs.field(
        default=(), converter=_exception_classes
    )
    on_exhausted: Literal["fail", "pause"] = "fail"

    def __attrs_post_init__(self) -> None:
        if not (_is_number(self.backoff) and 1 <= self.backoff <= BACKOFF_MAX):
            raise UsageError(
                f"Retry.backoff is {shortened(self.backoff)}; it must be a number from 1 to 1e308"
            )
        if self.max_attempts is not None and not _counts(self.max_attempts):
            raise UsageError(
                f"Retry.max_attempts is {self.max_attempts!r}; it counts the first attempt too, so "
                "it must be a whole number of 1 or more, or None for no limit"
            )
        if not (_is_number(self.jitter) and 0 <= self.jitter <= 1):
            raise UsageError(
                f"Retry.jitter is {shortened(self.jitter)}; it must be a number from 0 to 1"
            )
        if self.on_exhausted not in {"fail", "pause"}:
            raise UsageError(f'Retry.on_exhausted is {self.on_exhausted!r}, not "fail" or "pause"')
        for cls in self.give_up_on:
            if not (isinstance(cls, type) and issubclass(cls, BaseException)):
                raise UsageError(f"Retry.give_up_on holds {cls!r}, which is no exception class")

    def wait_us(self, attempt: int, chance: float) -> int:
        """Return the wait after the failed attempt number ``attempt``, from 1.

        Args:
            attempt: The number of the attempt that failed, from 1.
            chance: 0 to 1; 0.5 gives the wait without jitter.
        """
        first, longest = duration_us(self.initial_interval), duration_us(self.max_interval)
        longest = min(longest, RETRY_AFTER_S_MAX * 1_000_000)
        if first == 0:
            return 0
        try:
            wait = min(first * self.backoff ** (attempt - 1), longest)
        except OverflowError:  # The cap was reached long before.
            wait = longest
        return max(0, round(wait * (1 + self.jitter * (2 * chance - 1))))

    def gives_up(self, error: BaseException, attempt: int) -> bool:
        """Say whether no attempt follows the one numbered ``attempt`` that ended with ``error``."""
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return True
        if isinstance(error, RetryAfter):
            return False
        if isinstance(error, self.give_up_on):
            return True
        return self.retry_if is not None and not self.retry_if(error)


def _is_plain(policy: ActivityPolicy) -> bool:
    limits = (
        policy.start_to_close_us,
        policy.schedule_to_close_us,
        policy.schedule_to_start_us,
        policy.heartbeat_us,
    )
    return (
        policy.isolation is None
        and not policy.at_most_once
        and all(limit is None for limit in limits)
    )


@attrs.frozen(kw_only=True)
class ActivityPolicy:
    """Everything ``@activity(...)`` and ``.options(...)`` set, checked."""

    retry: Retry = Retry()
    start_to_close_us: int | None = None
    schedule_to_close_us: int | None = None
    schedule_to_start_us: int | None = None
    heartbeat_us: int | None = None
    at_most_once: bool = False
    arguments_checked: bool = True
    isolation: Isolation | None = None
    memory_bytes_max: int | None = None
    is_plain: bool = attrs.field(init=False, default=attrs.Factory(_is_plain, takes_self=True))
    """No limit, no intent, no process: nothing to set up for an attempt."""

    def __attrs_post_init__(self) -> None:
        if self.at_most_once and self.retry.max_attempts not in {None, 1}:
            raise DefinitionError(
                "at_most_once=True means one attempt; Retry(max_attempts="
                f"{self.retry.max_attempts}) contradicts it"
            )
        if self.memory_bytes_max is not None and self.isolation is None:
            raise DefinitionError(
                'memory_limit is of a process: it needs isolation="process". A thread shares the '
                "memory of the engine"
            )


# What a person may change of a pending step, as it is stored: of its retry policy, and its limits.
_RETRY_EDITS = ("max_attempts", "initial_interval", "backoff", "max_interval", "on_exhausted")
_LIMIT_EDITS = ("start_to_close_us", "schedule_to_close_us", "heartbeat_us")


def _counts(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1


def edited(policy: ActivityPolicy, changes: Mapping[str, Any]) -> ActivityPolicy:
    """Return a policy with what a person changed of it.

    Args:
        policy: As the code has it.
        changes: By the names of `Retry`, and ``start_to_close_us``, ``schedule_to_close_us`` and
            ``heartbeat_us``; what else stands there is of another version, and left out.

    Raises:
        UsageError: Something of it is wrong.
    """
    retry = {name: changes[name] for name in _RETRY_EDITS if name in changes}
    limits = {name: changes[name] for name in _LIMIT_EDITS if name in changes}
    return attrs.evolve(policy, retry=attrs.evolve(policy.retry, **retry), **limits)


_PROCESSORS = os.cpu_count() or 1


def _ages_us(ages: Mapping[str, Duration | None]) -> dict[str, int | None]:
    if not isinstance(ages, Mapping):
        raise UsageError(f"a retention by workflow or tag is a dict of ages, not {ages!r:.80}")
    return {name: _age_us(name, age) for name, age in ages.items()}


def _age_us(name: str, age: Duration | None) -> int | None:
    if age is None:
        return None
    if is_negative(age):  # Taken as 0, it would delete every one of them.
        raise UsageError(
            f"the retention of {name} is how long runs stay, not {age!r:.80}; None is for ever"
        )
    return duration_us(age, f"the retention of {name}")


def _ages_by_state(retention: Retention) -> dict[str, int | None]:
    states = ("completed", "failed", "cancelled", "terminated")
    ages = _ages_us({name: getattr(retention, name) for name in states})
    return {**ages, "continued": ages["completed"]}


@attrs.frozen(kw_only=True)
class Retention:
    """How long runs stay that have ended; then they are deleted with all they have.

    ::

        Retention(completed="30d", failed=None, workflows={"report.*": "7d"}, tags={"keep": None})

    The first that says something counts: a tag of the run, its workflow, its status. ``None`` means
    for ever, and so does what is not named. A run whose parent or child is open, or from which an
    open run goes on, stays until that has ended.

    Attributes:
        completed: Runs that completed, counted from their end; and ordinals that went on as new.
        failed: Runs that failed.
        cancelled: Runs that were cancelled.
        terminated: Runs that were terminated.
        workflows: By workflow; ``*`` stands for anything, and the first that fits counts.
        tags: By tag, as it is written.
    """

    completed: Duration | None = None
    failed: Duration | None = None
    cancelled: Duration | None = None
    terminated: Duration | None = None
    workflows: Mapping[str, Duration | None] = attrs.field(factory=dict[str, Duration | None])
    tags: Mapping[str, Duration | None] = attrs.field(factory=dict[str, Duration | None])
    _by_state: Mapping[str, int | None] = attrs.field(
        init=False, default=attrs.Factory(_ages_by_state, takes_self=True)
    )
    _by_workflow: Mapping[str, int | None] = attrs.field(
        init=False, default=attrs.Factory(lambda self: _ages_us(self.workflows), takes_self=True)
    )
    _by_tag: Mapping[str, int | None] = attrs.field(
        init=False, default=attrs.Factory(lambda self: _ages_us(self.tags), takes_self=True)
    )

    def ages_us(self) -> Sequence[int]:
        """Return every age that is named, the shortest first."""
        rules = (self._by_state, self._by_workflow, self._by_tag)
        return sorted({age for rule in rules for age in rule.values() if age is not None})

    def age_us(self, state: str, workflow: str, labels: str | None) -> int | None:
        """Return how long a run stays after its end; None: for ever.

        Args:
            state: As it is stored.
            workflow: Its name.
            labels: As they are stored: JSON, pairs of a name and a value.
        """
        if labels is not None and self._by_tag:
            for name, age in self._by_tag.items():
                if _has_tag(labels, name):
                    return age
        for pattern, age in self._by_workflow.items():
            if fnmatchcase(workflow, pattern):
                return age
        return self._by_state.get(state)


def _has_tag(labels: str, tag: str) -> bool:
    from json import loads  # Only where there are rules by tag.

    try:
        found = loads(labels)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, list) and ["tag", tag] in found


@attrs.frozen(kw_only=True)
class Limits:
    """The named limits of an engine.

    Attributes:
        payload_bytes_max: The largest single value, 1 byte to 953 MiB; 64 MiB by default.
        max_running_activities: Attempts in hand at once; more wait in order.
        threads_max: Threads for plain-function activities.
        processes_max: Processes for activities with ``isolation="process"``; as many as there are
            processors by default.
        warm_runs_max: Waiting runs kept in memory, at about 8 KB each and whatever their code
            holds; the others are a row, and are read and replayed when they go on.
        drain_callbacks_max: Callbacks of one drain without a new command.
        stalled_drains_max: Drains in a row that hit that budget before the run is blocked.
        switch_interval_us: The interpreter's switch interval while an engine is open, if it is
            longer (5,000 by CPython's default, which leaves a commit beside a busy thread waiting
            for 5 ms a dozen times); 5,000 or more leaves it alone.
    """

    payload_bytes_max: int = 64 * 1024 * 1024
    max_running_activities: int = 1_000
    threads_max: int = 32
    processes_max: int = _PROCESSORS
    warm_runs_max: int = 10_000
    drain_callbacks_max: int = 2_000
    stalled_drains_max: int = 1_000
    switch_interval_us: int = 250

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(Limits):
            given = getattr(self, field.name)
            if type(given) is not int or given < 1:
                raise UsageError(f"Limits.{field.name} is a whole number from 1, not {given!r:.80}")
        # SQLite holds 1,000,000,000 bytes in a value; a MiB is left for the rest of the row.
        if self.payload_bytes_max > 1_000_000_000 - 1024 * 1024:
            raise UsageError("Limits.payload_bytes_max: SQLite cannot hold more than 953 MiB")
