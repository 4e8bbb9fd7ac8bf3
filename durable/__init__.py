"""Durable async functions in one SQLite file.

::

    import asyncio, durable

    @durable.activity
    async def fetch(url: str) -> int:
        return len(url)

    @durable.workflow
    async def measure(urls: list[str]) -> int:
        return sum(await asyncio.gather(*(fetch(url) for url in urls)))

    if __name__ == "__main__":
        print(durable.run("app.db", measure.options(id="first"), ["https://example.org"]))

Kill it at any moment and run it again: it goes on from its last checkpoint.

Names are loaded when first used, so that ``import durable`` and the command line stay light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from durable._version import __version__ as __version__

if TYPE_CHECKING:
    from durable._core.context import AttemptInfo as AttemptInfo
    from durable._core.context import WorkflowInfo as WorkflowInfo
    from durable._runtime.debugging import Stopped as Stopped
    from durable._runtime.replay import Misfit as Misfit
    from durable._store.cursor import Cursor as Cursor
    from durable.children import ChildRun as ChildRun
    from durable.client import BlockingClient as BlockingClient
    from durable.client import BlockingRun as BlockingRun
    from durable.client import Client as Client
    from durable.client import HistoryEvent as HistoryEvent
    from durable.client import Item as Item
    from durable.client import Job as Job
    from durable.client import Run as Run
    from durable.definitions import Activity as Activity
    from durable.definitions import Workflow as Workflow
    from durable.definitions import activity as activity
    from durable.definitions import transaction as transaction
    from durable.definitions import workflow as workflow
    from durable.engine import Engine as Engine
    from durable.engine import EngineTransaction as EngineTransaction
    from durable.engine import adopt as adopt
    from durable.engine import run as run
    from durable.engine import run_only as run_only
    from durable.errors import ActivityError as ActivityError
    from durable.errors import ActivityTimeout as ActivityTimeout
    from durable.errors import Blocked as Blocked
    from durable.errors import CodeMisfit as CodeMisfit
    from durable.errors import CommitUnknown as CommitUnknown
    from durable.errors import DefinitionError as DefinitionError
    from durable.errors import DurableError as DurableError
    from durable.errors import FileCorrupt as FileCorrupt
    from durable.errors import FileMoved as FileMoved
    from durable.errors import FileTooNew as FileTooNew
    from durable.errors import FilterError as FilterError
    from durable.errors import ForkedEngine as ForkedEngine
    from durable.errors import HeartbeatTimeout as HeartbeatTimeout
    from durable.errors import IdConflict as IdConflict
    from durable.errors import LogLost as LogLost
    from durable.errors import NotADurableFile as NotADurableFile
    from durable.errors import NotDurable as NotDurable
    from durable.errors import NotInActivity as NotInActivity
    from durable.errors import NotInWorkflow as NotInWorkflow
    from durable.errors import OutcomeUnknown as OutcomeUnknown
    from durable.errors import OwnershipLost as OwnershipLost
    from durable.errors import PayloadError as PayloadError
    from durable.errors import PayloadTooLarge as PayloadTooLarge
    from durable.errors import ProcessDied as ProcessDied
    from durable.errors import PromiseRejected as PromiseRejected
    from durable.errors import QueryFailed as QueryFailed
    from durable.errors import ReadOnly as ReadOnly
    from durable.errors import RetryAfter as RetryAfter
    from durable.errors import RowRefused as RowRefused
    from durable.errors import RunCancelled as RunCancelled
    from durable.errors import RunClosed as RunClosed
    from durable.errors import RunFailed as RunFailed
    from durable.errors import RunNotFound as RunNotFound
    from durable.errors import RunTerminated as RunTerminated
    from durable.errors import RunTimedOut as RunTimedOut
    from durable.errors import ScheduleToCloseTimeout as ScheduleToCloseTimeout
    from durable.errors import ScheduleToStartTimeout as ScheduleToStartTimeout
    from durable.errors import SQLiteTooOld as SQLiteTooOld
    from durable.errors import StartToCloseTimeout as StartToCloseTimeout
    from durable.errors import StoreBusy as StoreBusy
    from durable.errors import StoreError as StoreError
    from durable.errors import TokenUnknown as TokenUnknown
    from durable.errors import TooManyFailures as TooManyFailures
    from durable.errors import UpdateAbandoned as UpdateAbandoned
    from durable.errors import UpdateFailed as UpdateFailed
    from durable.errors import UpdateRefused as UpdateRefused
    from durable.errors import UsageError as UsageError
    from durable.errors import WorkflowError as WorkflowError
    from durable.errors import WrongState as WrongState
    from durable.fanout import Outcome as Outcome
    from durable.fanout import map as map
    from durable.fanout import settle as settle
    from durable.inside import as_completed as as_completed
    from durable.inside import attempt as attempt
    from durable.inside import complete_later as complete_later
    from durable.inside import continue_as_new as continue_as_new
    from durable.inside import details as details
    from durable.inside import heartbeat as heartbeat
    from durable.inside import info as info
    from durable.inside import is_cancelled as is_cancelled
    from durable.inside import now as now
    from durable.inside import patched as patched
    from durable.inside import progress as progress
    from durable.inside import random as random
    from durable.inside import resource as resource
    from durable.inside import sleep as sleep
    from durable.inside import step as step
    from durable.inside import uuid4 as uuid4
    from durable.inside import wait_until as wait_until
    from durable.inspection import IssueAlert as IssueAlert
    from durable.inspection import RunDetails as RunDetails
    from durable.inspection import RunSummary as RunSummary
    from durable.inspection import view as view
    from durable.messages import Promise as Promise
    from durable.messages import Query as Query
    from durable.messages import Signal as Signal
    from durable.messages import Stream as Stream
    from durable.messages import Update as Update
    from durable.messages import Value as Value
    from durable.messages import promise as promise
    from durable.policies import Duration as Duration
    from durable.policies import Limits as Limits
    from durable.policies import Retention as Retention
    from durable.policies import Retry as Retry

_HOMES = {
    "durable._core.context": "AttemptInfo WorkflowInfo",
    "durable._runtime.debugging": "Stopped",
    "durable._runtime.replay": "Misfit",
    "durable._store.cursor": "Cursor",
    "durable.children": "ChildRun",
    "durable.client": "BlockingClient BlockingRun Client HistoryEvent Item Job Run",
    "durable.definitions": "Activity Workflow activity transaction workflow",
    "durable.engine": "Engine EngineTransaction adopt run run_only",
    "durable.errors": (
        "ActivityError ActivityTimeout Blocked CodeMisfit CommitUnknown DefinitionError "
        "DurableError FileCorrupt FileMoved FileTooNew FilterError ForkedEngine HeartbeatTimeout "
        "IdConflict LogLost "
        "NotADurableFile NotDurable NotInActivity NotInWorkflow OutcomeUnknown OwnershipLost "
        "PayloadError PayloadTooLarge ProcessDied PromiseRejected QueryFailed ReadOnly RetryAfter "
        "RowRefused RunCancelled RunClosed RunFailed RunNotFound RunTerminated RunTimedOut "
        "SQLiteTooOld ScheduleToCloseTimeout ScheduleToStartTimeout StartToCloseTimeout "
        "StoreBusy StoreError TokenUnknown TooManyFailures UpdateAbandoned UpdateFailed "
        "UpdateRefused UsageError WorkflowError WrongState"
    ),
    "durable.fanout": "Outcome map settle",
    "durable.inside": (
        "as_completed attempt complete_later continue_as_new details heartbeat info "
        "is_cancelled now patched progress random resource sleep step uuid4 wait_until"
    ),
    "durable.inspection": "IssueAlert RunDetails RunSummary view",
    "durable.messages": "Promise Query Signal Stream Update Value promise",
    "durable.policies": "Duration Limits Retention Retry",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Activity",
    "ActivityError",
    "ActivityTimeout",
    "AttemptInfo",
    "Blocked",
    "BlockingClient",
    "BlockingRun",
    "ChildRun",
    "Client",
    "CodeMisfit",
    "CommitUnknown",
    "Cursor",
    "DefinitionError",
    "DurableError",
    "Duration",
    "Engine",
    "EngineTransaction",
    "FileCorrupt",
    "FileMoved",
    "FileTooNew",
    "FilterError",
    "ForkedEngine",
    "HeartbeatTimeout",
    "HistoryEvent",
    "IdConflict",
    "IssueAlert",
    "Item",
    "Job",
    "Limits",
    "LogLost",
    "Misfit",
    "NotADurableFile",
    "NotDurable",
    "NotInActivity",
    "NotInWorkflow",
    "Outcome",
    "OutcomeUnknown",
    "OwnershipLost",
    "PayloadError",
    "PayloadTooLarge",
    "ProcessDied",
    "Promise",
    "PromiseRejected",
    "Query",
    "QueryFailed",
    "ReadOnly",
    "Retention",
    "Retry",
    "RetryAfter",
    "RowRefused",
    "Run",
    "RunCancelled",
    "RunClosed",
    "RunDetails",
    "RunFailed",
    "RunNotFound",
    "RunSummary",
    "RunTerminated",
    "RunTimedOut",
    "SQLiteTooOld",
    "ScheduleToCloseTimeout",
    "ScheduleToStartTimeout",
    "Signal",
    "StartToCloseTimeout",
    "Stopped",
    "StoreBusy",
    "StoreError",
    "Stream",
    "TokenUnknown",
    "TooManyFailures",
    "Update",
    "UpdateAbandoned",
    "UpdateFailed",
    "UpdateRefused",
    "UsageError",
    "Value",
    "Workflow",
    "WorkflowError",
    "WorkflowInfo",
    "WrongState",
    "activity",
    "adopt",
    "as_completed",
    "attempt",
    "complete_later",
    "continue_as_new",
    "details",
    "heartbeat",
    "info",
    "is_cancelled",
    "map",
    "now",
    "patched",
    "progress",
    "promise",
    "random",
    "resource",
    "run",
    "run_only",
    "settle",
    "sleep",
    "step",
    "transaction",
    "uuid4",
    "view",
    "wait_until",
    "workflow",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'durable' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
