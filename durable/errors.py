"""Every error of the library, split by who has to act.

::

    DurableError
    ├── UsageError                  the caller: wrong use, said before anything is stored
    │   ├── NotInWorkflow           a durable call made outside a workflow
    │   ├── NotInActivity           an activity's call made outside an activity
    │   ├── DefinitionError         a function that cannot be a workflow or an activity
    │   ├── PayloadError            a value that cannot be stored
    │   │   └── PayloadTooLarge     a value over ``Limits.payload_bytes_max``
    │   ├── IdConflict              the id belongs to another workflow or other arguments
    │   ├── RunNotFound             no run of that id in the file
    │   ├── RunClosed               the run has ended and takes no more requests
    │   ├── TokenUnknown            no open run waits for this token
    │   ├── FilterError             a text that is no filter, and where
    │   ├── CodeMisfit              open runs do not fit the code that was to serve them
    │   └── WrongState              the verb does not fit the run's state
    ├── WorkflowError               the workflow's author
    │   ├── RunFailed               raised by ``result()``: the run ended ``failed``
    │   ├── RunCancelled            raised by ``result()``: the run ended ``cancelled``
    │   ├── RunTerminated           raised by ``result()``: the run ended ``terminated``
    │   ├── ReadOnly                a query, validator or predicate tried to change the run
    │   ├── UpdateRefused           the update's validator said no, or the run takes none such
    │   ├── UpdateFailed            the update's handler raised
    │   ├── UpdateAbandoned         the run ended before the update did
    │   ├── QueryFailed             the query's function raised, or there is none
    │   ├── RunTimedOut             the run's ``run_timeout`` is over (also a TimeoutError)
    │   ├── TooManyFailures         more items of a ``map`` failed than it tolerates
    │   ├── PromiseRejected         a promise was rejected from outside
    │   ├── Blocked                 code and history do not fit
    │   └── NotDurable              real I/O, threads or processes inside a workflow
    ├── ActivityError               what an activity raised, where its own class is not known
    │   ├── ProcessDied             the process of an ``isolation="process"`` activity died
    │   ├── OutcomeUnknown          an at-most-once call that may or may not have happened
    │   └── ActivityTimeout         a time limit was reached (also a TimeoutError)
    │       ├── StartToCloseTimeout     one attempt took too long
    │       ├── ScheduleToCloseTimeout  all attempts together took too long
    │       ├── ScheduleToStartTimeout  no attempt could begin in time
    │       └── HeartbeatTimeout        an attempt stopped giving signs of life
    ├── RetryAfter                  raised by an activity: try again after that many seconds
    └── StoreError                  the operator
        ├── NotADurableFile         a foreign file, a directory, an empty path
        ├── FileTooNew              written by a newer version of the library
        ├── SQLiteTooOld            the SQLite library has a known corruption bug
        ├── FileCorrupt             SQLite says the file is damaged
        ├── FileMoved               it was moved, deleted or replaced while it was open
        ├── LogLost                 its write-ahead log was deleted or replaced while it was open
        ├── StoreBusy               other processes kept the file locked
        ├── RowRefused              the file takes a row never: nothing of its change is in it
        ├── CommitUnknown           a commit failed: it may or may not be in the file
        ├── OwnershipLost           another process took this worker's runs over
        └── ForkedEngine            an open engine was used in a forked child
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from durable.durations import retry_after_s

__all__ = [
    "ActivityError",
    "ActivityTimeout",
    "Blocked",
    "CodeMisfit",
    "CommitUnknown",
    "DefinitionError",
    "DurableError",
    "FileCorrupt",
    "FileMoved",
    "FileTooNew",
    "FilterError",
    "ForkedEngine",
    "HeartbeatTimeout",
    "IdConflict",
    "LogLost",
    "NotADurableFile",
    "NotDurable",
    "NotInActivity",
    "NotInWorkflow",
    "OutcomeUnknown",
    "OwnershipLost",
    "PayloadError",
    "PayloadTooLarge",
    "ProcessDied",
    "PromiseRejected",
    "QueryFailed",
    "ReadOnly",
    "RetryAfter",
    "RowRefused",
    "RunCancelled",
    "RunClosed",
    "RunFailed",
    "RunNotFound",
    "RunTerminated",
    "RunTimedOut",
    "SQLiteTooOld",
    "ScheduleToCloseTimeout",
    "ScheduleToStartTimeout",
    "StartToCloseTimeout",
    "StoreBusy",
    "StoreError",
    "TokenUnknown",
    "TooManyFailures",
    "UpdateAbandoned",
    "UpdateFailed",
    "UpdateRefused",
    "UsageError",
    "WorkflowError",
    "WrongState",
]


class DurableError(Exception):
    """The base of everything this library raises."""


class UsageError(DurableError):
    """Wrong use, reported at the call, before anything is stored."""


class NotInWorkflow(UsageError, RuntimeError):
    """A durable call was made where no workflow runs."""


class NotInActivity(UsageError, RuntimeError):
    """``durable.attempt()`` and its kin were called where no activity runs."""


class DefinitionError(UsageError, TypeError):
    """The function cannot be a workflow or an activity; the message says why."""


class PayloadError(UsageError, TypeError):
    """A value cannot be stored; the message names its path, as in ``$.items[3].session``."""


class PayloadTooLarge(PayloadError):
    """A value is larger than ``Limits.payload_bytes_max``; nothing of it was stored."""


class IdConflict(UsageError):
    """The id names a run of another workflow, or of other arguments."""


class RunNotFound(UsageError, LookupError):
    """No run of that id is in the file."""


@attrs.define
class FilterError(UsageError, ValueError):
    """A text is no filter.

    Attributes:
        message: What is wrong with it, in one line.
        text: The text.
        position: Where, in characters from 0.
    """

    message: str
    text: str
    position: int

    def __str__(self) -> str:
        return f"{self.message} (at character {self.position + 1} of the filter)"


class CodeMisfit(UsageError):
    """Open runs do not fit the code that was to serve them; nothing was started."""


class RunClosed(UsageError):
    """The run has ended; it takes no more requests."""


class TokenUnknown(UsageError, LookupError):
    """No open run waits for an answer under this token."""


class WrongState(UsageError):
    """The verb does not fit the state the run is in; the message says which would."""


class WorkflowError(DurableError):
    """Something only the author of the workflow can mend."""


@attrs.define
class RunFailed(WorkflowError):
    """The run ended ``failed``; ``__cause__`` is the exception that ended it, rebuilt."""

    run_id: str
    message: str

    def __str__(self) -> str:
        return f"run {self.run_id} failed: {self.message}"


@attrs.define
class RunCancelled(WorkflowError):
    """The run ended ``cancelled``."""

    run_id: str
    reason: str

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return f"run {self.run_id} was cancelled{because}"


@attrs.define
class RunTerminated(WorkflowError):
    """The run was terminated: none of its code ran any more."""

    run_id: str
    reason: str

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return f"run {self.run_id} was terminated{because}"


@attrs.define
class Blocked(WorkflowError):
    """Code and history, a payload, or a function do not fit; the run waits for code that does.

    Attributes:
        message: What does not fit, with both sides, and what to do.
        kind: ``"history"``, ``"payload"``, ``"not-durable"``, ``"endless"``,
            ``"function"``, ``"refused"`` or ``"lost"``.
        difference: Of code and history, both sides: ``step``, ``event``, ``recorded``, ``at_us``
            (microseconds since the run's start), ``code`` and ``where`` (file:line); else empty.
    """

    message: str
    kind: str = "history"
    difference: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    def __str__(self) -> str:
        return self.message


class NotDurable(WorkflowError, RuntimeError):
    """Something that cannot be replayed was asked for inside a workflow."""


class ReadOnly(WorkflowError, RuntimeError):
    """A query, a validator or a predicate asked for what would change the run."""


class UpdateRefused(WorkflowError):
    """The run did not accept the update: its validator refused, or it has no handler for it."""


class UpdateFailed(WorkflowError):
    """The update's handler raised; ``__cause__`` is what it raised, rebuilt."""


class UpdateAbandoned(WorkflowError):
    """The run ended before the update did."""


class QueryFailed(WorkflowError):
    """The query's function raised (see ``__cause__``), or the run has none of that name."""


class RunTimedOut(WorkflowError, TimeoutError):
    """The run did not end within its ``run_timeout``."""


class TooManyFailures(WorkflowError):
    """More items of a ``map`` failed than it tolerates; ``__cause__`` is the last failure."""


class PromiseRejected(WorkflowError):
    """A promise was rejected from outside; the message is what was said."""


class ActivityError(DurableError):
    """An activity failed.

    Exceptions come back as their own class where this process knows it. Where it does not, the
    nearest known base class is mixed with this one, so ``except ActivityError`` catches it.
    """


class ProcessDied(ActivityError):
    """The process of an activity with ``isolation="process"`` died before its end.

    The message names the signal or the exit code. It is one failed attempt.
    """


class OutcomeUnknown(ActivityError):
    """An at-most-once activity was begun and its end was not recorded; it is not called again."""


class ActivityTimeout(ActivityError, TimeoutError):
    """A time limit of an activity was reached."""


class StartToCloseTimeout(ActivityTimeout):
    """One attempt took longer than ``start_to_close``."""


class ScheduleToCloseTimeout(ActivityTimeout):
    """All attempts together took longer than ``schedule_to_close``."""


class ScheduleToStartTimeout(ActivityTimeout):
    """The first attempt did not begin within ``schedule_to_start``."""


class HeartbeatTimeout(ActivityTimeout):
    """An attempt gave no sign of life for longer than ``heartbeat``."""


def _retry_after_s(value: Any) -> float:
    try:
        return retry_after_s(value)
    except ValueError as error:
        raise UsageError(str(error)) from None


@attrs.define
class RetryAfter(DurableError):
    """Raise it in an activity: this attempt failed, the next one starts after ``seconds``.

    Attributes:
        seconds: How long: seconds, a `timedelta`, text such as ``"30s"``, or what a server says in
            ``Retry-After``: a number of seconds or an HTTP date, both as text; a date that is over
            means at once. At most 100 years. Kept as seconds.
        message: What the failure says.

    Raises:
        UsageError: It is none of these.

    Source: RFC 9110, section 10.2.3.
    """

    seconds: float = attrs.field(converter=_retry_after_s)
    message: str = ""

    def __str__(self) -> str:
        return self.message or f"try again in {self.seconds} s"


class StoreError(DurableError):
    """The file, the disk or the SQLite library needs an operator."""


class NotADurableFile(StoreError):
    """The path holds something else, or nothing that can hold a file."""


class FileTooNew(StoreError):
    """A newer version of the library wrote this file."""


class SQLiteTooOld(StoreError):
    """This SQLite has a bug that can damage the file (WAL reset, mended in 3.51.3)."""


class FileCorrupt(StoreError):
    """SQLite found the file damaged; nothing was changed."""


class FileMoved(StoreError):
    """The path leads to another file by now, or to none: nothing more is written or read."""


class LogLost(StoreError):
    """The write-ahead log beside the file was deleted or replaced while it was open."""


class StoreBusy(StoreError):
    """Other processes kept the file locked for longer than the limit."""


class RowRefused(StoreError):
    """The file refuses a row for good; nothing of its change was written.

    Its ``__cause__`` is `FileCorrupt` where a page that the row belongs in is damaged.
    """


class CommitUnknown(StoreError):
    """A commit failed; what it held may or may not be in the file."""


class OwnershipLost(StoreError):
    """Another process has taken over the runs of this worker."""


class ForkedEngine(StoreError):
    """An open engine cannot be used in a forked child; open a new one there."""
