"""What running code finds in its context: the SQLite runtime's side of ``_core.context``."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from durable._clock import Random
from durable._core.context import AttemptInfo, WorkflowInfo
from durable._core.driver import ContinueAsNew
from durable.errors import PayloadTooLarge, UsageError

if TYPE_CHECKING:
    from durable._core.driver import Driver
    from durable._runtime.activities import Attempt
    from durable._store.rows import RunRow
    from durable.definitions import Activity, Workflow

__all__ = ["InWorkflow", "attempt_info", "check_size", "moment"]

PATCH_NAME_CHARACTERS_MAX = 200
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def moment(at_us: int) -> dt.datetime:
    """Return microseconds since the epoch as a moment, UTC."""
    return _EPOCH + dt.timedelta(microseconds=at_us)


def check_size(payload: bytes, bytes_max: int, what: str) -> bytes:
    """Return the payload.

    Raises:
        PayloadTooLarge: It is over the limit.
    """
    if len(payload) > bytes_max:
        raise PayloadTooLarge(
            f"{what}: {len(payload):,} bytes are more than the limit of {bytes_max:,}; store the "
            "data elsewhere and pass its name, or raise Limits.payload_bytes_max"
        )
    return payload


class InWorkflow:
    """One run's code asks here."""

    __slots__ = ("_ask", "_bytes_max", "_clock_us", "_driver", "_headers", "_row", "_workflow")

    def __init__(
        self,
        row: RunRow,
        workflow: Workflow[Any, Any],
        clock_us: int,
        headers: Mapping[str, str],
        bytes_max: int,
    ) -> None:
        self._row = row
        self._workflow = workflow
        self._clock_us = clock_us
        self._headers = headers
        self._bytes_max = bytes_max

    def bind(self, driver: Driver) -> None:
        """Tell which driver runs the code."""
        self._driver = driver
        self._ask = driver.loop.ask

    @property
    def is_silent(self) -> bool:
        """Whether log records of this drain were made before."""
        return self._driver.loop.silent

    def step(
        self, activity: Activity[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Any]:
        """Ask for a step."""
        codec = activity.codec
        encoded = codec.encode(args, kwargs)
        if len(encoded) > self._bytes_max:
            check_size(encoded, self._bytes_max, f"arguments of {activity.name}")
        return self._ask(
            activity.name,
            codec.fingerprint(args, kwargs, encoded),
            encoded,
            activity,
            codec.decode_result,
            activity.policy.arguments_checked,
        )

    def now(self) -> dt.datetime:
        """Return the run's time."""
        return moment(self._clock_us + self._driver.loop.now_us())

    def random(self) -> Random:
        """Return the task's random stream."""
        lineage = self._driver.loop.lineage()
        if lineage.random is None:
            lineage.random = Random(f"{self._row.salt}:{lineage.path}")
        stream: Random = lineage.random
        return stream

    def uuid4(self) -> uuid.UUID:
        """Return a UUID out of the task's random stream."""
        return uuid.UUID(int=self.random().getrandbits(128), version=4)

    def info(self) -> WorkflowInfo:
        """Return what is known about the run."""
        return WorkflowInfo(
            run_id=self._row.id,
            ordinal=self._row.ordinal,
            workflow=self._row.workflow,
            started=moment(self._clock_us),
            headers=self._headers,
            is_replaying=self._driver.replaying,
            events=self._driver.seq,
        )

    def patched(self, name: str) -> bool:
        """Decide, once per run, whether it goes through the new branch."""
        if not isinstance(name, str) or not 1 <= len(name) <= PATCH_NAME_CHARACTERS_MAX:
            raise UsageError(f"the name of a patch has 1 to 200 characters, not {name!r}")
        return self._driver.patched(name)

    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        """End this ordinal and go on as the next."""
        encoded = self._workflow.codec.encode(args, kwargs)  # Refused here, before it ends.
        check_size(encoded, self._bytes_max, f"arguments of {self._workflow.name}")
        raise ContinueAsNew(args, kwargs)


def attempt_info(attempt: Attempt) -> AttemptInfo:
    """Return what an activity may know about its attempt.

    The key is made of the run's id and salt: both stay when a run is retried as a new ordinal, so a
    service that saw the failed attempt recognises the next one.
    """
    row = attempt.run.row
    return AttemptInfo(
        run_id=row.name,
        step_id=attempt.step_id,
        activity=attempt.activity.name,
        number=attempt.number,
        idempotency_key=f"{row.id}/{row.salt:x}/{attempt.step_id}",
        started=moment(attempt.started_us),
        deadline=None if attempt.deadline_us is None else moment(attempt.deadline_us),
        details=None if attempt.details is None else msgspec.json.decode(attempt.details),
        headers=attempt.run.headers,
    )
