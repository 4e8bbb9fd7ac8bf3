"""One attempt, performed in a process of the pool: what its code says becomes what it asks for.

Laws:

* The attempt's body, and its clocks, begin when the process has imported the function.
* A process that dies, or says what is no message, is one failed attempt: `ProcessDied`.
* An attempt that is cancelled is not waited for: its process ends, and is never used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from durable import _isolation
from durable._clock import since_epoch_us
from durable._core.failures import rebuild_exception
from durable._runtime.process_wire import Closed
from durable._runtime.processes import LOOK_S, READY_S_MAX
from durable.definitions import Activity
from durable.errors import DefinitionError, PayloadError, ProcessDied
from durable.payloads import decode_document

if TYPE_CHECKING:
    from durable._runtime.activities import Activities
    from durable._runtime.attempts import Attempt
    from durable._runtime.processes import Processes, WorkerProcess
    from durable._runtime.worker import Worker

__all__ = ["Performance"]


class Performance:
    """One attempt in a process; `cancel` ends both.

    Args:
        worker: Whose attempt it is.
        activities: Gets its begin and its end.
        attempt: The attempt; it has its place.
    """

    def __init__(self, worker: Worker, activities: Activities, attempt: Attempt) -> None:
        self._worker = worker
        self._pool: Processes = worker.processes
        self._activities = activities
        self._attempt = attempt
        self._guard = threading.Lock()
        self._process: WorkerProcess | None = None
        self._is_cancelled = False
        self._knows_of_stop = False

    def cancel(self) -> None:
        """Nobody waits for it any more: end its process; from any thread."""
        with self._guard:
            self._is_cancelled = True
            if self._process is not None:
                self._process.terminate()

    def perform(self) -> None:
        """Let the body begin, and wait for its end; on a thread of the pool."""
        activities, attempt, payload = self._activities, self._attempt, None
        error = self._try(self._make_ready)
        begins = activities.body_begins(attempt)
        if begins and error is None:
            self._worker.call_from_thread(activities.watch_body, attempt)
            found = self._try(self._call)
            payload, error = (found, None) if isinstance(found, bytes) else (None, found)
        self._let_go(error)
        if payload is not None:
            try:
                attempt.decode_if_large(payload, self._worker.limits.payload_bytes_max)
            except PayloadError as misfit:
                payload, error = None, misfit
        if begins:
            self._worker.call_from_thread(activities.body_ends, attempt, payload, error)

    def _try(self, work: Callable[[], bytes | BaseException | None]) -> Any:
        """Return what came of it: a payload, an exception, or None."""
        try:
            return work()
        except Closed as closed:
            process = self._process
            assert process is not None
            how = self._end_process()
            return self._died(process, how, closed)
        except BaseException as error:  # noqa: BLE001  whatever it is ends the attempt
            if self._process is not None:  # In the middle of a conversation.
                self._process.kill()
                self._end_process()
            return error

    def _died(self, process: WorkerProcess, how: str, closed: Closed) -> BaseException:
        if self._is_cancelled:
            return asyncio.CancelledError()
        limit = self._attempt.activity.policy.memory_bytes_max
        limited = "" if limit is None else f"; its memory is limited to {limit / 2**20:g} MiB"
        if closed.is_unreadable:
            how = "sent what is no message, and was ended"
        return ProcessDied(
            f"the process of {self._attempt.activity.name} (pid {process.pid}) {how}{limited}"
        )

    def _let_go(self, error: BaseException | None) -> None:
        """Give its process back; one that was told to end, or ran out of memory, ends."""
        with self._guard:
            process = self._process
            if process is None:
                return
            ends = self._is_cancelled or isinstance(error, MemoryError)
            if not ends:
                self._process = None
        if not ends:
            self._pool.give_back(process)
        else:
            process.kill()
            self._end_process()

    def _end_process(self) -> str:
        process = self._process
        assert process is not None
        how = self._pool.retire(process)
        with self._guard:
            self._process = None
        return how

    # -- before the body -------------------------------------------------------------------------

    def _make_ready(self) -> BaseException | None:
        """Have a process that has imported the function; return why it could not."""
        fn = self._attempt.activity.fn
        _check_found(fn)
        if self._is_cancelled:
            raise asyncio.CancelledError
        process = self._pool.take()
        with self._guard:
            self._process = process
            if self._is_cancelled:
                process.terminate()
        process.look = _Patience(self._attempt.activity.name).look
        process.begin()
        key = (fn.__module__, fn.__qualname__)
        if key not in process.known:
            process.send(["find", *key])
            header, payload = self._listen(process)
            if header[0] != "found":
                return rebuild_exception(decode_document(payload))
            process.known.add(key)
        process.look = self._tell_of_stop
        return None

    # -- the body --------------------------------------------------------------------------------

    def _call(self) -> bytes | BaseException:
        """Call the function; return its result, or what it raised."""
        process, attempt = self._process, self._attempt
        assert process is not None
        fn, policy = attempt.activity.fn, attempt.activity.policy
        attempt.renew_info()
        info = attempt.info()
        task = {
            "module": fn.__module__,
            "qualname": fn.__qualname__,
            "memory_bytes_max": policy.memory_bytes_max,
            "token": attempt.token,
            "about": {
                "run_id": info.run_id,
                "step_id": info.step_id,
                "activity": info.activity,
                "number": info.number,
                "idempotency_key": info.idempotency_key,
                "started": since_epoch_us(info.started),
                "deadline": None if info.deadline is None else since_epoch_us(info.deadline),
                "details": info.details,
                "headers": dict(info.headers),
                "last_failure": info.last_failure,
            },
        }
        process.send(["call", task], attempt.pending.step.arguments)
        header, payload = self._listen(process)
        if header[0] == "returned":
            return payload
        return rebuild_exception(decode_document(payload))

    def _listen(self, process: WorkerProcess) -> tuple[list[Any], bytes]:
        """Do what the code asks for until it has ended; return how."""
        attempt = self._attempt
        while True:
            header, payload = process.receive()
            match header:
                case ["returned" | "raised" | "found" | "refused"]:
                    return header, payload
                case ["beat"]:
                    attempt.heartbeat(decode_document(payload))
                case ["value", str(name)]:
                    attempt.set_value(name, payload)
                case ["item", str(name)]:
                    attempt.append(name, payload)
                case ["later"]:
                    attempt.complete_later()
                case ["log", str(name), int(level), float(created), str(text), *place]:
                    with contextlib.suppress(Exception):  # Of handlers and filters of the user's.
                        self._log(name, level, created, text, place)
                case _:
                    raise Closed("what it said is no message", is_unreadable=True)

    def _log(self, name: str, level: int, created: float, text: str, place: list[Any]) -> None:
        target = logging.getLogger(name)
        if not target.isEnabledFor(level):
            return
        attempt = self._attempt
        info = attempt.info()
        record = logging.makeLogRecord(
            {
                "name": name, "msg": text, "args": (), "levelno": level,
                "levelname": logging.getLevelName(level),
                "created": created, "msecs": int(created % 1 * 1_000),
                "pathname": place[0], "filename": place[0].rpartition("/")[2],
                "lineno": place[1], "funcName": place[2],
                "durable_run": info.run_id, "durable_workflow": "",
                "durable_step": info.step_id, "durable_attempt": info.number,
            }
        )  # fmt: skip
        attempt.keep(record)
        target.handle(record)

    def _tell_of_stop(self) -> None:
        if self._pool.is_stopping and not self._knows_of_stop and self._process is not None:
            self._knows_of_stop = True
            self._process.send(["stopping"])


class _Patience:
    """Waits for a process to be there, and not for ever."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = round(READY_S_MAX / LOOK_S)

    def look(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise ProcessDied(
                f"the process of {self._name} had not imported its module after {READY_S_MAX:g} s"
            )


def _check_found(fn: Callable[..., Any]) -> None:
    """Refuse a function that its module does not have under its name, or no more."""
    module = sys.modules.get(fn.__module__)
    if module is None:
        return
    found = _isolation.lookup(module, fn.__qualname__)
    found = found.fn if isinstance(found, Activity) else found
    code: Any = getattr(found, "__code__", None)
    if found is not fn and getattr(code, "co_filename", None) != fn.__code__.co_filename:
        raise DefinitionError(
            f"{fn.__module__}.{fn.__qualname__} is another object than the function of "
            f'@activity(isolation="process"): a process that imports the module would call that. '
            "Give the two different names, or put @activity above other decorators"
        )
