"""What people see of runs: statuses that tell the truth, and why each open run waits.

Stored is only what needs a commit anyway; the rest is computed here, and whether a worker lives is
asked of the kernel, not of a column. Everything is synchronous and reads only: the command line and
scripts use it without an event loop.
"""

from durable._store.asking import TableView
from durable._store.portable import ExportView, ImportView, PortableView, look_into
from durable.filters import CLOSED, OPEN, STATUSES
from durable.inspection._compare import ComparisonView, StepDifference
from durable.inspection._groups import LIST_LIMIT_MAX
from durable.inspection._log import EventLog, EventsOfMany
from durable.inspection._looks import check_report_target
from durable.inspection._stats import DurationView, HourView, StatsView
from durable.inspection._texts import duration
from durable.inspection._versions import versions
from durable.inspection._viewer import SORTS, Viewer, view
from durable.inspection._views import (
    AttemptTime,
    AttemptView,
    AuditView,
    CheckView,
    ChildView,
    CodeView,
    DeadLetter,
    DifferenceView,
    EventView,
    FamilyView,
    HoldView,
    IssueAlert,
    IssueView,
    ItemView,
    JobView,
    LogView,
    PromiseView,
    QueueView,
    RunDetails,
    RunSummary,
    SourceView,
    StepLine,
    StepView,
    StreamView,
    UpdateView,
    ValueView,
    WorkerView,
)

__all__ = [
    "CLOSED",
    "LIST_LIMIT_MAX",
    "OPEN",
    "SORTS",
    "STATUSES",
    "AttemptTime",
    "AttemptView",
    "AuditView",
    "CheckView",
    "ChildView",
    "CodeView",
    "ComparisonView",
    "DeadLetter",
    "DifferenceView",
    "DurationView",
    "EventLog",
    "EventView",
    "EventsOfMany",
    "ExportView",
    "FamilyView",
    "HoldView",
    "HourView",
    "ImportView",
    "IssueAlert",
    "IssueView",
    "ItemView",
    "JobView",
    "LogView",
    "PortableView",
    "PromiseView",
    "QueueView",
    "RunDetails",
    "RunSummary",
    "SourceView",
    "StatsView",
    "StepDifference",
    "StepLine",
    "StepView",
    "StreamView",
    "TableView",
    "UpdateView",
    "ValueView",
    "Viewer",
    "WorkerView",
    "check_report_target",
    "duration",
    "look_into",
    "versions",
    "view",
]
