"""The processes of an engine's pool, in which activities with ``isolation="process"`` run.

Each is a fresh interpreter (never a fork: this process holds SQLite connections, locks and
threads), is started when there is work and none is free, is used again, and ends with the engine.
One thread of this process talks with each while it works.

Laws:

* A process is idle, works for one performance, or is ended: `Processes.take` gives it out,
  `give_back` takes it back, `WorkerProcess.end` is the one way out, and leaves nothing of its
  process group behind.
* Whoever is to end its work ends the process: SIGTERM, and SIGKILL after ``TERMINATE_GRACE_S``.

Why no `multiprocessing`: it pickles, its resource tracker is one process more that outlives the
engine, and it fixes the start method for everybody else in the program.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from durable._runtime import process_child
from durable._runtime.process_wire import Closed, Wire
from durable._runtime.threads import Threads
from durable.errors import DefinitionError, ProcessDied
from durable.payloads import encode_document

if TYPE_CHECKING:
    from durable.policies import Limits

__all__ = ["Processes", "WorkerProcess"]

# From SIGTERM to SIGKILL: for `finally` blocks, which remove files.
TERMINATE_GRACE_S = 1.0
# A dead process is noticed at once by the end of its connection, unless one that it has started
# holds that too; then it is noticed within this time.
LOOK_S = 0.25
# Python, the library and the modules of the activities are imported in seconds; one that takes
# longer than this hangs.
READY_S_MAX = 300.0

_CODE = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from durable._runtime.process_child import main; main(int(sys.argv[1]), int(sys.argv[3]))"
)


class WorkerProcess:
    """One process of the pool.

    Attributes:
        pid: Its number.
        known: The functions it has imported, by module and qualified name.
        look: Called every ``LOOK_S`` seconds while it says nothing.
    """

    def __init__(self, bytes_max: int) -> None:
        self.known: set[tuple[str, str]] = set()
        self.look: Callable[[], None] = _nothing
        self._guard = threading.Lock()
        self._killer: threading.Timer | None = None
        self._has_begun = self._is_gone = False
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()
        try:
            self._popen = _started(theirs.fileno(), life)
        except BaseException:
            ours.close()
            os.close(self._life)
            raise
        finally:
            theirs.close()
            os.close(life)
        self.pid = self._popen.pid
        self._wire = Wire(ours, self._look, LOOK_S)
        self.send = self._wire.send
        self.receive = self._wire.receive
        self._bytes_max = bytes_max

    def begin(self) -> None:
        """Wait until a new process is there, and tell it what it has to know.

        Raises:
            Closed: It died.
        """
        if not self._has_begun:
            self.receive()
            self.send(["begin", _start_data(self._bytes_max)])
            self._has_begun = True

    def is_alive(self) -> bool:
        """Say whether it has not ended."""
        with self._guard:
            return not self._is_gone and self._popen.poll() is None

    def _look(self) -> None:
        if not self.is_alive():
            raise Closed("it died")
        self.look()

    def terminate(self) -> None:
        """Let its work end: soon, and then for certain."""
        with self._guard:
            if self._killer is None and not self._is_gone:
                self._signal(signal.SIGTERM)
                self._killer = threading.Timer(TERMINATE_GRACE_S, self.kill)
                self._killer.daemon = True
                self._killer.start()

    def kill(self) -> None:
        """End it, and all it has started, at once."""
        with self._guard:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # Of its group: what it has started ends with it.
        if not self._is_gone:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):  # It is gone, or has left its group.
                self._popen.send_signal(number)

    def end(self) -> str:
        """See to it that it is gone; return how it ended, for people."""
        self._wire.close()
        os.close(self._life)
        try:
            self._popen.wait(TERMINATE_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._popen.wait()
        with self._guard:
            self._signal(signal.SIGKILL)  # What it has left behind.
            self._is_gone = True
            if self._killer is not None:
                self._killer.cancel()
        return _end_text(self._popen.returncode)

    def wait_gone(self) -> None:
        """Wait until a process that was killed is gone; another thread ends it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(TERMINATE_GRACE_S)


def _nothing() -> None:
    """Look at nothing."""


def _started(end: int, life: int) -> subprocess.Popen[bytes]:
    from multiprocessing import spawn

    return subprocess.Popen(  # noqa: S603  our own interpreter, our own code
        [
            os.fsdecode(spawn.get_executable()),
            *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]
            "-c", _CODE, str(end), encode_document(_path()).decode(), str(life),
        ],
        stdin=subprocess.DEVNULL,
        pass_fds=[end, life],
        process_group=0,  # Ctrl-C is the engine's alone, and the process and its own end together.
    )  # fmt: skip


def _path() -> list[str]:
    # As spawn does: an empty entry means where the program was started.
    from multiprocessing import process

    start: Any = process
    return [start.ORIGINAL_DIR if one == "" else one for one in sys.path]


def _start_data(bytes_max: int) -> dict[str, Any]:
    logger = logging.getLogger()
    levels = {
        name: one.level
        for name, one in list(logger.manager.loggerDict.items())
        if isinstance(one, logging.Logger) and one.level
    }
    return {
        "path": _path(),
        "argv": sys.argv,
        "levels": {"": logger.level, **levels},
        "bytes_max": bytes_max,
        "main": _main_data(),
    }


def _main_data() -> dict[str, Any]:
    """Return how `multiprocessing.spawn.prepare` finds the main module."""
    from multiprocessing import process

    start: Any = process
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        return {"init_main_from_name": name}
    path = getattr(main, "__file__", None)
    if path is None:
        return {}
    return {"init_main_from_path": os.path.normpath(os.path.join(start.ORIGINAL_DIR, path))}  # noqa: PTH118  as spawn does


def _end_text(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name} (signal {-code})"
    except ValueError:
        return f"was killed by signal {-code}"


class Processes:
    """At most ``Limits.processes_max`` processes, and the threads that talk with them.

    Attributes:
        is_stopping: The engine stops; the processes are told.
    """

    def __init__(self, limits: Limits) -> None:
        if process_child.is_importing_main:
            raise DefinitionError(
                "an engine is started while its main module is imported, which each of its "
                'processes does (isolation="process"): put that into '
                'if __name__ == "__main__":'
            )
        self._bytes_max = limits.payload_bytes_max
        self._threads = Threads(limits.processes_max)
        self._guard = threading.Lock()
        self._all: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._is_closed = False
        self.is_stopping = False
        self.started = 0
        """Processes started so far."""

    def run(self, job: Callable[[], None]) -> None:
        """Run a job on a thread as soon as one, and so a process, is free; it must not raise."""
        self._threads.run(job)

    def take(self) -> WorkerProcess:
        """Return a process that is idle, else a new one, which is to `begin`.

        Raises:
            ProcessDied: None can be started.
        """
        while True:
            with self._guard:
                self._refuse_closed()
                idle = self._idle.pop() if self._idle else None
            if idle is None:
                return self._start()
            if idle.is_alive():
                return idle
            self.retire(idle)

    def _start(self) -> WorkerProcess:
        try:
            made = WorkerProcess(self._bytes_max)
        except OSError as error:
            raise ProcessDied(f"no process could be started: {error}") from error
        with self._guard:
            self.started += 1
            self._all.add(made)
            is_closed = self._is_closed
        if is_closed:
            made.kill()
            self.retire(made)
            raise ProcessDied("the engine is closed")
        return made

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise ProcessDied("the engine is closed")

    def give_back(self, process: WorkerProcess) -> None:
        """Keep a process that has done its work for the next."""
        process.look = _nothing
        with self._guard:
            if not self._is_closed:
                self._idle.append(process)
                return
        process.kill()
        self.retire(process)

    def retire(self, process: WorkerProcess) -> str:
        """End a process; return how it ended, for people."""
        how = process.end()
        with self._guard:
            self._all.discard(process)
        return how

    def close(self) -> None:
        """End all processes: none is left behind."""
        with self._guard:
            self._is_closed = True
            left = list(self._all)
            idle, self._idle = self._idle, []
        for process in left:
            process.kill()
        for process in idle:
            self.retire(process)
        for process in left:
            process.wait_gone()
        self._threads.close()
