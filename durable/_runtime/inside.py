"""What running code finds in its context: the SQLite runtime's side of ``_core.context``."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from durable._clock import Random, moment
from durable._core.commands import AppendItem, SetValue
from durable._core.context import AttemptInfo, WorkflowInfo
from durable._core.driver import ContinueAsNew
from durable._core.events import Kind
from durable._runtime.specs import Act, Answer, ChildCall
from durable._store.messages import make_token
from durable.errors import UsageError
from durable.names import NAME_CHARACTERS_MAX, is_name
from durable.payloads import check_size, decode_document, encode_document, fingerprint

if TYPE_CHECKING:
    import logging

    from durable._core.driver import Driver
    from durable._core.loop import Step
    from durable._core.mailbox import Mailbox
    from durable._runtime.attempts import Attempt
    from durable._runtime.keeping import Keeper
    from durable._store.reader import Reader
    from durable._store.rows import RunRow
    from durable.definitions import Activity, Workflow

__all__ = ["InWorkflow", "attempt_info"]


class InWorkflow:
    """One run's code asks here."""

    __slots__ = (
        "_ask", "_bytes_max", "_clock_us", "_driver", "_family", "_headers", "_keeper", "_reader",
        "_row", "_workflow", "minds_children",
    )  # fmt: skip

    def __init__(
        self,
        row: RunRow,
        workflow: Workflow[Any, Any],
        clock_us: int,
        headers: Mapping[str, str],
        bytes_max: int,
        keeper: Keeper | None = None,
        reader: Reader | None = None,
    ) -> None:
        self._row = row
        self._keeper = keeper
        self._workflow = workflow
        self._clock_us = clock_us
        self._headers = headers
        self._bytes_max = bytes_max
        self._reader = reader
        self._family: tuple[str | None, str | None] | None = None
        self.minds_children = False
        """Whether it has children that end when it ends."""

    def bind(self, driver: Driver) -> None:
        """Tell which driver runs the code."""
        self._driver = driver
        self._ask = driver.loop.ask

    @property
    def is_silent(self) -> bool:
        """Whether log records of this drain were made before."""
        return self._driver.loop.silent

    def keep(self, record: logging.LogRecord) -> None:
        """Keep a line that its code has logged."""
        if self._keeper is not None:
            self._keeper.keep(record, self._row)

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

    @property
    def mailbox(self) -> Mailbox:
        """The run's messages and handlers."""
        return self._driver.mailbox

    def child(
        self, workflow: Workflow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Step:
        """Start a child run and wait for its end."""
        call = ChildCall(workflow, workflow.start_options.id, "")
        step = self._ask_child(workflow, args, kwargs, call, Kind.CHILD_COMPLETED)
        call.end_step = step.step_id
        return step

    async def start_child(
        self, workflow: Workflow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, int, Step]:
        """Start a child run; return its id, its ordinal and what ends with it."""
        call = ChildCall(workflow, workflow.start_options.id, "")
        step = self._ask_child(workflow, args, kwargs, call, Kind.ACTED)
        call.end_step = f"{step.step_id}!end"
        run_id, ordinal = await step
        end = self._ask(
            workflow.name,
            step.fingerprint,
            step.arguments,
            Answer(),
            workflow.codec.decode_result,
            True,
            Kind.CHILD_COMPLETED,
            call.end_step,
        )
        return run_id, ordinal, end

    def _ask_child(
        self,
        workflow: Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        call: ChildCall,
        kind: Kind,
    ) -> Step:
        codec = workflow.codec
        encoded = codec.encode(args, kwargs)
        check_size(encoded, self._bytes_max, f"arguments of {workflow.name}")
        codec.decode(encoded)  # What does not fit the annotations is refused here.
        if workflow.start_options.on_parent_close != "abandon":
            self.minds_children = True
        decode = codec.decode_result if kind == Kind.CHILD_COMPLETED else decode_document
        mark = codec.fingerprint(args, kwargs, encoded)
        return self._ask(workflow.name, mark, encoded, call, decode, True, kind)

    def act(self, verb: str, target: str, name: str, payload: bytes, key: str) -> Step:
        """Signal or cancel another run."""
        check_size(payload, self._bytes_max, f"{verb} {name}".strip())
        arguments = encode_document([target, msgspec.Raw(payload)])
        what = f"{verb} {name}".strip()
        return self._ask(
            what, fingerprint(arguments), arguments, Act(verb, target, name, payload, key),
            decode_document, True, Kind.ACTED,
        )  # fmt: skip

    def promise(self, name: str, decode: Callable[[bytes], Any]) -> tuple[str, Step]:
        """Return a token, and what ends when somebody answers it."""
        step = self._ask(name, 0, b"", Answer(), decode, True, Kind.RESOLVED)
        self._driver.promise(step)
        assert self._reader is not None
        return make_token(self._reader.secret(), self._row.id, self._row.salt, step.step_id), step

    def wait_until(self, predicate: Callable[[], object]) -> Awaitable[None]:
        """Wait until a predicate holds."""
        return self._driver.loop.wait_until(predicate)

    def set_value(self, name: str, payload: bytes) -> None:
        """Publish a value."""
        check_size(payload, self._bytes_max, f"value {name}")
        self._driver.loop.record(SetValue(name, payload), f"value {name}")

    def append(self, stream: str, payload: bytes) -> None:
        """Append to a stream."""
        check_size(payload, self._bytes_max, f"item of stream {stream}")
        loop = self._driver.loop
        step = loop.lineage().next_write()
        loop.record(AppendItem(stream, step, payload), f"stream {stream}")

    def begin_items(self) -> str:
        """Return the id of a call that does something for each of many items."""
        return self._driver.loop.lineage().next_call()

    def enter_item(self, call: str, index: int) -> None:
        """Let what the running task asks for from here on count for one item."""
        self._driver.loop.enter_lineage(f"{call}[{index}]")

    def now(self) -> dt.datetime:
        """Return the run's time."""
        return moment(self._clock_us + self._driver.loop.now_us())

    def random(self) -> Random:
        """Return the task's random stream."""
        self._driver.loop.refuse_reader("durable.random() and durable.uuid4()")
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
        if self._family is None:  # Read when it is asked for: few runs do.
            self._family = _family_of(self._reader, self._row)
        parent, root = self._family
        return WorkflowInfo(
            run_id=self._row.id,
            ordinal=self._row.ordinal,
            workflow=self._row.workflow,
            started=moment(self._clock_us),
            headers=self._headers,
            is_replaying=self._driver.replaying,
            events=self._driver.seq,
            cancel_reason=self._driver.cancel_reason,
            deadline=None if self._row.deadline_us is None else moment(self._row.deadline_us),
            parent=self._row.parent_step,
            parent_run=parent,
            root=root or self._row.id,
            update=_update_of(self._driver.loop.lineage().path),
        )

    def patched(self, name: str) -> bool:
        """Decide, once per run, whether it goes through the new branch."""
        if not is_name(name):
            raise UsageError(
                f"the name of a patch has 1 to {NAME_CHARACTERS_MAX} printable characters, not "
                f"{name!r:.200}"
            )
        return self._driver.patched(name)

    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        """End this ordinal and go on as the next."""
        loop = self._driver.loop
        loop.refuse_reader("continue_as_new()")
        if _update_of(loop.lineage().path) is not None:
            raise UsageError(
                "continue_as_new() in the handler of an update would leave the update without its "
                "answer; let the handler set a flag, and the main function wait for the flag and "
                "go on as new"
            )
        encoded = self._workflow.codec.encode(args, kwargs)  # Refused here, before it ends.
        check_size(encoded, self._bytes_max, f"arguments of {self._workflow.name}")
        raise ContinueAsNew(args, kwargs)


def _family_of(reader: Reader | None, row: RunRow) -> tuple[str | None, str | None]:
    """Return the ids of a run's parent and of the run at the top of its family, if it has them."""
    if reader is None or row.parent_pk is None:
        return None, None
    parent = reader.find_run(row.parent_pk)
    root = parent
    if row.root_pk is not None and row.root_pk != row.parent_pk:
        root = reader.find_run(row.root_pk)
    return None if parent is None else parent.id, None if root is None else root.id


def _update_of(path: str) -> str | None:
    """Return the id of the update in whose handler a path lies."""
    if not path.startswith("update:"):
        return None
    return path.removeprefix("update:").partition("/")[0]


def attempt_info(attempt: Attempt) -> AttemptInfo:
    """Return what an activity may know about its attempt.

    The key is made of the run's id and salt: both stay when a run is retried as a new ordinal, so a
    service that saw the failed attempt recognises the next one. A step that completed, and is done
    again by a restart, is another call, and has the ordinal that does it in its key.
    """
    row = attempt.run.row
    pending = attempt.pending
    limits = [one for one in (pending.deadline_us, attempt.run.deadline_us) if one is not None]
    if pending.policy.start_to_close_us is not None:
        limits.append(attempt.started_us + pending.policy.start_to_close_us)
    key, again = f"{row.id}/{row.salt:x}/{attempt.step_id}", attempt.run.redone.get(attempt.step_id)
    return AttemptInfo(
        run_id=row.name,
        step_id=attempt.step_id,
        activity=attempt.activity.name,
        number=attempt.number,
        idempotency_key=key if again is None else f"{key}#{again}",
        started=moment(attempt.started_us),
        deadline=moment(min(limits)) if limits else None,
        details=None if pending.details is None else decode_document(pending.details),
        headers=attempt.run.headers,
        last_failure=pending.last_error,
    )
