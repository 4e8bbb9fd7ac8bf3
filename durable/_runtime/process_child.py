"""What a process of the pool does: it finds functions by name, and calls one at a time.

Started by `durable._runtime.processes` as a fresh interpreter. It knows no file of the engine's:
whatever its code asks durable for is a message to the engine, or a clear error.

Laws:

* It ends when the engine does, whatever its code is doing: a thread of its own waits for the end of
  the connection, and looks whether its parent is still the one that started it.
* SIGINT is the engine's concern. SIGTERM is the engine's word that the call is over: `SystemExit`
  is raised in its code, so that ``finally`` blocks run, and the process ends.
* What code that outlives its call says (a thread it has left) is nobody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import inspect
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any

from durable import _isolation
from durable._clock import moment
from durable._core import context
from durable._core.context import AttemptInfo
from durable._core.failures import record_exception
from durable._runtime import logs
from durable._runtime.process_wire import Closed, Wire
from durable.definitions import Activity
from durable.errors import PayloadError, UsageError
from durable.payloads import arguments_codec, check_size, encode_document

if TYPE_CHECKING:
    from types import FrameType

    from durable.payloads import ArgumentsCodec

__all__ = ["main"]

# The end of the connection tells at once that the engine is gone, unless another process has
# inherited the engine's end of it; then it is noticed within this time.
LOOK_AT_PARENT_S = 2.0
TERMINATED = 128 + signal.SIGTERM
# The name under which spawn imports the main module, so that its guard keeps it from running.
_MP_MAIN = "__mp_main__"
_MP_MAIN_OF = f"{_MP_MAIN}:"

here: socket.socket | None = None
"""This process's end of the connection; None in any other process."""
is_importing_main = False
"""Whether the engine's main module is being imported: nothing may start an engine in it."""


def main(end: int, life: int) -> None:
    """Serve the engine at the other end of a connection until it closes it.

    Args:
        end: The descriptor of a connected socket.
        life: The descriptor of a pipe that the engine holds open, and into which nothing is put.
    """
    global here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGIO])
    for descriptor in (end, life):
        os.set_inheritable(descriptor, False)
    _die_with(life)
    here = socket.socket(fileno=end)
    _Child(here).serve()


def _die_with(life: int) -> None:
    """Let the kernel end this process when a pipe is closed, also while C code holds the GIL.

    The thread that listens needs the GIL. The signal of a descriptor's news needs nothing: unless
    code of the user's handles it, it kills.
    """
    if hasattr(fcntl, "F_SETOWN"):
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


class _Call:
    """One call, as its code finds it in its context (`context.AttemptRunner`)."""

    def __init__(self, child: _Child, about: dict[str, Any], bytes_max: int) -> None:
        self._child = child
        self._about = about
        self._bytes_max = bytes_max
        self._guard = threading.Lock()
        self._is_over = False
        self._info: AttemptInfo | None = None

    def say(self, header: list[Any], payload: bytes = b"") -> None:
        """Tell the engine something of this call, as long as it goes on."""
        with self._guard:
            if not self._is_over:
                self._child.say(header, payload)

    def end(self, header: list[Any], payload: bytes) -> None:
        """Tell the engine how the call has ended; nothing is said of it after that."""
        with self._guard:
            self._is_over = True
            self._child.say(header, payload)

    def info(self) -> AttemptInfo:
        if self._info is None:
            about = dict(self._about)
            for name in ("started", "deadline"):
                about[name] = None if about[name] is None else moment(about[name])
            self._info = AttemptInfo(**about)
        return self._info

    def keep(self, record: logging.LogRecord) -> None:
        """Keep nothing here: the handler hands each record to the engine."""

    def heartbeat(self, details: Any) -> None:
        try:
            encoded = encode_document(details)
        except (TypeError, ValueError, RecursionError) as error:
            raise PayloadError(
                f"heartbeat details of {self._about['activity']}: {error}; pass plain data"
            ) from error
        self.say(["beat"], encoded)

    def set_value(self, name: str, payload: bytes) -> None:
        self.say(["value", name], check_size(payload, self._bytes_max, name))

    def append(self, stream: str, payload: bytes) -> None:
        self.say(["item", stream], check_size(payload, self._bytes_max, stream))

    def complete_later(self) -> str:
        self.say(["later"])
        return self._child.token

    def is_cancelled(self) -> bool:
        return self._child.is_terminated

    def is_stopping(self) -> bool:
        return self._child.is_stopping

    def resource(self, name: str) -> Any:
        raise UsageError(
            f"durable.resource({name!r}) is open in the engine's process, and "
            f'{self._about["activity"]} runs in another one (isolation="process"): open what it '
            "needs in the function, or once per process in a variable of its module"
        )


class _ToEngine(logging.Handler):
    """Hands the records of this process to the engine, whose handlers decide about them."""

    def __init__(self, child: _Child) -> None:
        super().__init__()
        self._child = child

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001  a wrong format harms nobody: the parts are shown
            text = f"{record.msg!r} {record.args!r}"
        header = [
            "log", record.name, record.levelno, record.created, _storable(text),
            _storable(record.pathname), record.lineno, record.funcName,
        ]  # fmt: skip
        self._child.log(header)


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class _Child:
    """The process: one thread listens, the main one calls.

    Attributes:
        token: By which the call that runs may be completed later.
        is_terminated: SIGTERM has come.
        is_stopping: The engine stops.
    """

    def __init__(self, end: socket.socket) -> None:
        self._parent = os.getppid()
        self._wire = Wire(end, self._look_at_parent, LOOK_AT_PARENT_S)
        self._jobs: queue.SimpleQueue[tuple[list[Any], bytes]] = queue.SimpleQueue()
        self._known: dict[tuple[str, str], tuple[Callable[..., Any], ArgumentsCodec]] = {}
        self._start: dict[str, Any] = {}
        self._call: _Call | None = None
        self.token = ""
        self.is_terminated = False
        self.is_stopping = False

    # -- the connection --------------------------------------------------------------------------

    def serve(self) -> None:
        """Do what the engine asks for; never returns."""
        signal.signal(signal.SIGTERM, self._terminate)
        try:
            threading.Thread(target=self._listen, name="durable-engine", daemon=True).start()
            self.say(["ready"])
            while True:
                self._perform(*self._jobs.get())
        except SystemExit:
            _leave(TERMINATED)

    def _listen(self) -> None:
        with contextlib.suppress(Closed):
            while True:
                header, payload = self._wire.receive()
                if header[0] == "stopping":
                    self.is_stopping = True
                else:
                    self._jobs.put((header, payload))
        _end_all()

    def _look_at_parent(self) -> None:
        if os.getppid() != self._parent:
            raise Closed("the engine is gone")

    def say(self, header: list[Any], payload: bytes = b"") -> None:
        """Send a message; if the engine is gone, so is this process."""
        try:
            self._wire.send(header, payload)
        except Closed:
            _end_all()

    def log(self, header: list[Any]) -> None:
        """Hand a record to the engine."""
        runner = context.attempt.get()
        if isinstance(runner, _Call):
            runner.say(header)
        elif self._call is not None:  # Of another thread, or of an import.
            self._call.say(header)

    def _terminate(self, _number: int, _frame: FrameType | None) -> None:
        self.is_terminated = True
        raise SystemExit(TERMINATED)

    # -- what the engine asks for ----------------------------------------------------------------

    def _perform(self, header: list[Any], payload: bytes) -> None:
        what = header[0]
        if what == "begin":
            self._begin(header[1])
        elif what == "find":
            self._find_first(header[1], header[2])
        else:
            self._run(header[1], payload)

    def _begin(self, start: dict[str, Any]) -> None:
        self._start = start
        sys.path[:] = start["path"]
        sys.argv[:] = start["argv"]
        logging.getLogger().addHandler(_ToEngine(self))
        for name, level in start["levels"].items():
            logging.getLogger(name or None).setLevel(level)
        logs.install()

    def _find_first(self, module: str, qualname: str) -> None:
        """Import a function's module, before the call and its clocks begin."""
        call = self._call = _Call(self, {}, 0)
        try:
            self._find(module, qualname)
        except BaseException as error:  # noqa: BLE001  a module may raise anything
            self._leave_if_terminated()
            call.end(["refused"], _failure(error))
        else:
            call.end(["found"], b"")

    def _find(self, module: str, qualname: str) -> tuple[Callable[..., Any], ArgumentsCodec]:
        found = self._known.get((module, qualname))
        if found is None:
            loaded = self._main() if module == _isolation.MAIN else importlib.import_module(module)
            made = _isolation.lookup(loaded, qualname)
            if isinstance(made, Activity):
                found = made.fn, made.codec
            else:
                found = made, arguments_codec(made, made.__name__)
            self._known[module, qualname] = found
        return found

    def _main(self) -> object:
        """Import the engine's main module, under the name ``__mp_main__``, as spawn does."""
        global is_importing_main
        from multiprocessing import process, spawn

        current: Any = process.current_process()
        is_importing_main = current._inheriting = True
        try:
            prepare: Any = spawn.prepare
            prepare(self._start["main"])
        finally:
            is_importing_main = False
            del current._inheriting
        return sys.modules[_isolation.MAIN]

    # -- a call ----------------------------------------------------------------------------------

    def _run(self, task: dict[str, Any], arguments: bytes) -> None:
        bytes_max = self._start["bytes_max"]
        call = self._call = _Call(self, task["about"], bytes_max)
        self.token = task["token"]
        try:
            with _memory_limited(task["memory_bytes_max"]):
                fn, codec = self._find(task["module"], task["qualname"])
                args, kwargs = codec.decode(arguments)
                value = Context().run(_called, call, fn, args, kwargs)
                encoded = check_size(
                    codec.result.encode(value), bytes_max, f"result of {call.info().activity}"
                )
        except BaseException as error:  # noqa: BLE001  an activity may raise anything
            self._leave_if_terminated()
            _flush()
            call.end(["raised"], _failure(error))
        else:
            self._leave_if_terminated()
            _flush()
            call.end(["returned"], encoded)

    def _leave_if_terminated(self) -> None:
        if self.is_terminated:
            _leave(TERMINATED)


def _called(
    call: _Call, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    context.attempt.set(call)
    if inspect.iscoroutinefunction(fn):
        return asyncio.run(fn(*args, **kwargs))
    return fn(*args, **kwargs)


def _failure(error: BaseException) -> bytes:
    return encode_document(_of_main(record_exception(error)))


def _of_main(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record with the main module called what the engine calls it."""
    record["mro"] = [
        f"{_isolation.MAIN}{name.removeprefix(_MP_MAIN)}" if name.startswith(_MP_MAIN_OF) else name
        for name in record["mro"]
    ]
    if record["type"].startswith(f"{_MP_MAIN}."):
        record["type"] = _isolation.MAIN + record["type"].removeprefix(_MP_MAIN)
    for name in ("cause", "context"):
        if name in record:
            record[name] = _of_main(record[name])
    if "group" in record:
        record["group"] = [_of_main(one) for one in record["group"]]
    return record


@contextlib.contextmanager
def _memory_limited(bytes_max: int | None) -> Generator[None]:
    """Limit the memory of this process meanwhile.

    By RLIMIT_DATA, which counts what is really private since Linux 4.7. RLIMIT_AS counts reserved
    addresses too: many libraries reserve gigabytes that they never use.
    """
    if bytes_max is None:
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    soft = bytes_max if before[1] == resource.RLIM_INFINITY else min(bytes_max, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _flush() -> None:
    """Let what was printed out: an idle process may be ended at any time."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # Closed, or none.
            stream.flush()


def _leave(code: int) -> None:
    """End this process; what hangs in its other threads does not matter."""
    _flush()
    os._exit(code)


def _end_all() -> None:
    """End this process and those it has started: the engine is gone, and nobody else would."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(TERMINATED)
