"""Replays that only look: a run's code, brought to where its history ends, without an engine."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any

import msgspec

from durable._core import context
from durable._core.driver import Driver
from durable._runtime.inside import InWorkflow
from durable.errors import Blocked, PayloadError, QueryFailed
from durable.policies import Limits

if TYPE_CHECKING:
    from durable._store.reader import Reader
    from durable._store.rows import RunRow
    from durable.definitions import Workflow

__all__ = ["query_by_replay"]


def query_by_replay(
    reader: Reader, row: RunRow, workflow: Workflow[Any, Any], name: str, encoded: bytes
) -> bytes:
    """Answer a query from a run's history.

    Raises:
        QueryFailed: The code does not fit the history, there is no such query, or it raised.
    """
    headers = msgspec.json.decode(row.headers, type=dict[str, str]) if row.headers else {}
    limits = Limits()
    runner = InWorkflow(
        row, workflow, row.clock_us or row.created_us, headers, limits.payload_bytes_max
    )
    fresh = Context()
    fresh.run(context.workflow.set, runner)

    def make() -> Any:
        args, kwargs = workflow.codec.decode(reader.payload(row.arguments, row.checksum))
        return workflow.fn(*args, **kwargs)

    driver = Driver(make, fresh, row.salt)
    runner.bind(driver)
    try:
        driver.know_patches(reader.patches(row.pk))
        driver.replay(reader.events(row.pk))
        with driver.loop.reading():
            return driver.mailbox.query(name, encoded)
    except (Blocked, PayloadError) as error:
        raise QueryFailed(f"run {row.name} cannot be replayed here: {error}") from error
    finally:
        driver.evict()
