"""Clients and run handles: the verbs, without executing anything; async and for plain functions."""

from durable.client._blocking import BlockingClient, BlockingRun
from durable.client._bulk import Job, ended_before
from durable.client._client import Client
from durable.client._new_file import import_into_new
from durable.client._run import HistoryEvent, Item, Run
from durable.client._starts import conflict

__all__ = [
    "BlockingClient",
    "BlockingRun",
    "Client",
    "HistoryEvent",
    "Item",
    "Job",
    "Run",
    "conflict",
    "ended_before",
    "import_into_new",
]
