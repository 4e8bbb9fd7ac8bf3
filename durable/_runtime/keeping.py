"""What runs say through Python's logging, kept with them; and the source of the code that ran.

Law: never in the way of runs. A line is put into a buffer of bounded size, from any thread, and
written soon after; what cannot be kept is counted and left out.
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from durable._store.statements import Rows
from durable._store.writer import Change
from durable.errors import RowRefused, StoreError

if TYPE_CHECKING:
    from durable._runtime.worker import Worker
    from durable._store.rows import RunRow
    from durable.definitions import Workflow

__all__ = ["Keeper"]

# Lines wait that long for others, so that a commit takes many.
DELAY_S = 0.2
# In memory at most; what comes faster than it can be written is counted and left out.
LINES_WAITING_MAX = 10_000
# Of one run; a loop that logs for ever does not fill the disk.
LINES_PER_RUN_MAX = 10_000
LINE_CHARACTERS_MAX = 8_192
SOURCE_CHARACTERS_MAX = 200_000
# Of so many runs it is known how many lines they have.
RUNS_KNOWN_MAX = 10_000


class Keeper:
    """Keeps the lines of one worker's runs.

    Args:
        worker: The worker.
        level: The lowest level that is kept; None: none is.
    """

    def __init__(self, worker: Worker, level: int | None) -> None:
        self._worker = worker
        self._level = level
        self._lines: deque[tuple[Any, ...]] = deque()
        self._is_due = False
        self._left_out = 0
        self._counts: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._sources: set[str] = set()

    # -- lines -----------------------------------------------------------------------------------

    def keep(
        self, record: logging.LogRecord, run: RunRow, step: str = "", attempt: int = 0
    ) -> None:
        """Keep a line of a run; from any thread."""
        if self._level is None or record.levelno < self._level:
            return
        if len(self._lines) >= LINES_WAITING_MAX:
            self._left_out += 1
            return
        self._lines.append(
            (run.pk, run.salt, round(record.created * 1e6), record.levelno,
             _storable(record.name[:200]), step, attempt, _text_of(record))
        )  # fmt: skip
        if not self._is_due:
            self._is_due = True
            self._worker.call_from_thread(self._worker.after, DELAY_S, self.write)

    def write(self) -> None:
        """Hand what was said to the writer: soon after, and before a run's end is."""
        self._is_due = False
        rows: Rows = []
        while self._lines:
            line = self._lines.popleft()
            run = line[:2]
            count = self._count(run)
            self._counts[run] = count + 1
            if count < LINES_PER_RUN_MAX:
                rows.append(("insert_log", line))
            elif count == LINES_PER_RUN_MAX:
                text = f"{LINES_PER_RUN_MAX:,} lines are kept of a run; what follows is not"
                rows.append(("insert_log", (*line[:3], logging.WARNING, "durable", "", 0, text)))
        if self._left_out and rows:
            text = f"{self._left_out:,} lines came too fast and are not kept"
            self._left_out = 0
            last = rows[-1][1]
            rows.append(("insert_log", (*last[:3], logging.WARNING, "durable", "", 0, text)))
        if rows:
            self._worker.submit(Change(rows=rows, done=self._written, soft=True))

    def _written(self, change: Change) -> None:
        """See how it went: what the file never takes is left out, and disturbs nobody."""
        if change.error is not None and not isinstance(change.error, RowRefused):
            self._worker.commit_failed(change.error)

    def _count(self, run: tuple[int, int]) -> int:
        found = self._counts.get(run)
        if found is None:
            try:
                found = self._worker.store.reader.count_logs(run[0])
            except StoreError:
                found = 0  # Rather some lines too many than a run that is disturbed.
            if len(self._counts) >= RUNS_KNOWN_MAX:
                self._counts.popitem(last=False)
        return found

    # -- sources ---------------------------------------------------------------------------------

    def keep_source(self, workflow: Workflow[Any, Any]) -> None:
        """Keep the source of a workflow's code, once for each fingerprint."""
        code = workflow.fingerprint
        if code in self._sources:
            return
        self._sources.add(code)
        try:
            text = inspect.getsource(workflow.fn)
        except (OSError, TypeError):
            return  # There is none: it was made of a text, or the file is gone.
        if len(text) > SOURCE_CHARACTERS_MAX:
            text = f"{text[:SOURCE_CHARACTERS_MAX]}\n# ... the rest is not kept"
        made = workflow.fn.__code__
        row = (
            code, workflow.name, _storable(text), _storable(made.co_filename),
            made.co_firstlineno, self._worker.now_us(),
        )  # fmt: skip
        self._worker.submit(Change(rows=[("insert_source", row)], soft=True))


def _text_of(record: logging.LogRecord) -> str:
    try:
        text = _message_of(record)
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}\n{''.join(traceback.format_exception(record.exc_info[1]))}".rstrip()
    except Exception as error:  # noqa: BLE001  what cannot be shown does not stop who says it
        text = f"<a line that cannot be shown: {type(error).__name__}>"
    if len(text) > LINE_CHARACTERS_MAX:
        text = f"{text[:LINE_CHARACTERS_MAX]}... ({len(text):,} characters)"
    return _storable(text)


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  a wrong format harms nobody: the parts are shown
        return f"{record.msg!r} {record.args!r}"


def _storable(text: str) -> str:
    """Return a text that SQLite takes: half a character is none."""
    return text.encode("utf-8", "replace").decode()
