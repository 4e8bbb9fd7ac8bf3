"""Reading an export into a file, in one transaction: all of it, or nothing.

Keys are new: that of a run is its number behind the newest of the file, so links need no look-up.
What was open is paused, and is told of the ends of its children; nobody holds anything.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec

from durable._store.portable import lines as form
from durable._store.portable.passing import read
from durable._store.repairs import By, audit
from durable._store.rows import shown_status
from durable._store.statements import Statement
from durable._store.stored_payloads import EncodedPayload
from durable._store.writer import Transaction
from durable.errors import FileCorrupt, IdConflict, UsageError
from durable.names import NAME_CHARACTERS_MAX, is_run_id
from durable.payloads import checksum, checksum_of_two, decode_document, encode_document

__all__ = ["ImportView", "importing"]

# What is kept of a run before it is written.
ROWS_MAX = 250
BYTES_MAX = 1024 * 1024
NAMES_TOLD_MAX = 5
_ACTED = 10


@attrs.frozen(kw_only=True)
class ImportView:
    """What was imported.

    Attributes:
        runs: How many runs.
        events: How many events they have together.
        paused: How many of them were open, and wait for somebody to resume them.
        redacted: Whether something in them is hidden.
        names: The first of them, as they are called now.
    """

    runs: int
    events: int
    paused: int
    redacted: bool
    names: tuple[str, ...]


def importing(
    source: str | os.PathLike[str], prefix: str, path: str, by: By
) -> Callable[[Transaction], ImportView]:
    """Return the operation that imports every run of an export; it may be done again.

    Args:
        source: The export; `look_into` has found it whole.
        prefix: What every id begins with here.
        path: The file, for messages.
        by: Who does it.

    Raises:
        UsageError: The prefix is none.
        IdConflict: The id of a run is in the file.
        FileCorrupt: The export was cut off or changed.
    """
    if not isinstance(prefix, str) or "#" in prefix or not prefix.isprintable():
        raise UsageError(f"a prefix of ids is printable text without '#', not {prefix!r:.80}")

    def operation(transaction: Transaction) -> ImportView:
        with read(source) as (header, lines):
            importer = _Importer(
                transaction, header, Path(os.fspath(source)).name, prefix, path, by
            )
            for line in lines:
                importer.take(line)
            return importer.finish()

    return operation


class _Importer:
    def __init__(
        self,
        transaction: Transaction,
        header: form.Header,
        file: str,
        prefix: str,
        path: str,
        by: By,
    ) -> None:
        self._transaction = transaction
        self._header = header
        self._file = file
        self._prefix = prefix
        self._path = path
        self._by = by
        self._base: int = transaction.all("get_last_key")[0][0]
        self._run: form.RunLine | None = None
        self._said: dict[str, Any] = {}
        self._parents = array("q")
        self._pk = 0
        self._seq = self._number = 0
        self._rows: dict[Statement, list[tuple[Any, ...]]] = {}
        self._count = self._bytes = 0
        self._events = self._paused = 0
        self._names: list[str] = []

    def take(self, line: form.Line) -> None:
        match line:
            case form.RunLine():
                self._begin(line)
            case form.EventLine():
                self._event(line)
            case form.StepLine():
                self._step(line)
            case form.AttemptLine():
                self._add(
                    "insert_attempt", line.step, line.attempt, line.name, line.state,
                    line.started_us, line.ended_us, line.error,
                )  # fmt: skip
            case form.ValueLine():
                self._check(f"value {line.name}", line.checksum, line.payload)
                payload = self._packed(line.payload)
                self._add("upsert_value", line.name, payload, line.checksum, line.at_us)
            case form.ItemLine():
                self._check(f"item {line.position} of {line.stream}", line.checksum, line.payload)
                self._add(
                    "insert_item", line.stream, line.position, line.step, line.attempt, line.number,
                    line.seq, self._packed(line.payload), line.checksum, line.at_us,
                )  # fmt: skip
            case _:
                self._repaired(line)

    def _repaired(self, line: form.Line) -> None:
        match line:
            case form.OnceLine():
                self._add("insert_once", line.step)
            case form.RedoneLine():
                self._add("insert_imported_redone", line.step, line.ordinal)
            case form.AcceptedLine():
                self._add("insert_imported_accepted", line.step)
            case form.CodeLine():
                self._add("insert_code_span", line.from_seq, line.code, line.at_us)
            case form.PolicyLine():
                self._add("insert_imported_policy", line.step, line.changes)
            case _:
                self._talk(line)

    def _talk(self, line: form.Line) -> None:
        match line:
            case form.AnswerLine():
                result = self._packed(line.result)
                self._add("upsert_answer", line.key, line.name, line.state, result, line.at_us)
            case form.LetterLine():
                payload = self._packed(line.payload)
                self._add(
                    "insert_letter", line.seq, line.name, line.key, payload, line.why, line.at_us
                )
            case form.AuditLine():
                self._add("insert_audit", line.verb, line.who, line.why, line.details, line.at_us)
            case form.EndLine():
                # A row that is no use to a closed run is not inserted.
                self._transaction.one(
                    "insert_inbox", run=self._pk, kind="child", name="", key=line.step,
                    payload=str(self._key(line.child)), at_us=self._by.now_us,
                )  # fmt: skip

    def finish(self) -> ImportView:
        self._end()
        if self._number != self._header.runs or _has_circle(self._parents):
            raise self._damaged("its runs are not those that belong together")
        return ImportView(
            runs=self._number, events=self._events, paused=self._paused,
            redacted=self._header.redacted, names=tuple(self._names),
        )  # fmt: skip

    # -- runs --------------------------------------------------------------------------------------

    def _begin(self, line: form.RunLine) -> None:
        self._end()
        if line.number != self._number + 1 or (line.source or 0) >= line.number:
            raise self._damaged(f"run {line.name} has the number {line.number}")
        self._number, self._seq, self._run = line.number, 0, line
        self._parents.append(line.parent or 0)
        self._pk = self._key(line.number)
        before, was = line.name, line.state
        line.id = self._prefix + line.id
        self._refuse_id(line)
        self._check("its arguments", line.checksum, line.arguments)
        if line.result is not None:
            self._check("its result", line.result_checksum, line.result)
        if line.is_open != (was in {"ready", "parked", "paused", "blocked"}):
            raise self._damaged(f"run {line.name} is {was}, and its end does not fit that")
        said: dict[str, Any] = {"file": self._file, "exported": self._header.written}
        if self._header.redacted:
            said["redacted"] = True
        if self._prefix:
            said["run"] = before
        state, waits = self._paused_as(line, said) if line.is_open else (was, None)
        values = msgspec.structs.asdict(line)
        del values["number"]
        values |= {
            "pk": self._pk, "state": state, "waits": waits,
            "arguments": self._packed(line.arguments),
            "result": None if line.result is None else self._packed(line.result),
            "root": self._link(line.root), "parent": self._link(line.parent),
            "source": self._link(line.source),
        }  # fmt: skip
        self._transaction.all("insert_imported_run", **values)
        if line.labels is not None:
            self._transaction.rows("insert_labels", [(self._pk,)])
        self._said = said
        if len(self._names) < NAMES_TOLD_MAX:
            self._names.append(line.name)

    def _paused_as(self, line: form.RunLine, said: dict[str, Any]) -> tuple[str, str]:
        """Return the state and the reason of a run that was open, and keep what it was."""
        self._paused += 1
        said["was"] = shown_status(line.state, None, line.waits, lambda _: False)
        if line.waits is not None:
            said["waits"] = line.waits
        message = (
            f"imported from {self._file} (exported {self._header.written}), where it was "
            f"{said['was']}; `durable resume` lets it run here"
        )
        return "paused", encode_document({"kind": "paused", "message": message}).decode()

    def _refuse_id(self, line: form.RunLine) -> None:
        if not is_run_id(line.id):  # With its prefix: it may be too long.
            raise UsageError(
                f"{line.id!r} cannot be the id of a run: it has 1 to {NAME_CHARACTERS_MAX} "
                "printable characters and no '#', and is no '.' or '..'; nothing was imported"
            )
        found = self._transaction.one("find_newest", id=line.id)
        if found is not None and found[0] > self._base and found[2] == line.ordinal:
            raise self._damaged(f"run {line.name} is in it twice")
        if found is not None and found[0] <= self._base:
            raise IdConflict(
                f"run {line.id} is in {self._path} already; nothing was imported. To import under "
                "other ids: --rename PREFIX"
            )

    def _key(self, number: int) -> int:
        if number > self._header.runs:
            raise self._damaged(f"there is no run {number} in it")
        return self._base + number

    def _link(self, number: int | None) -> int | None:
        return None if number is None else self._key(number)

    def _end(self) -> None:
        self._flush()
        if self._run is not None:
            audit(self._transaction, self._by, self._pk, "import", **self._said)
        self._run = None

    # -- what belongs to one -----------------------------------------------------------------------

    def _event(self, line: form.EventLine) -> None:
        self._seq += 1
        if line.seq != self._seq:
            raise self._damaged(f"event {self._seq} of the run is missing")
        self._check(f"event {line.seq}", line.checksum, line.arguments, line.result)
        if self._prefix and line.what == _ACTED:
            self._rename_child(line)
        self._events += 1
        self._add(
            "insert_event", line.seq, line.what, line.step, line.name, line.fingerprint,
            self._packed(line.arguments), self._packed(line.result), line.checksum, line.at_us,
            line.took_us,
        )  # fmt: skip

    def _rename_child(self, line: form.EventLine) -> None:
        """Let the recorded start of a child name it as it is called here."""
        try:
            run_id, ordinal = decode_document(line.result, type=tuple[str, int])
        except msgspec.DecodeError:
            return
        line.result = encode_document([self._prefix + run_id, ordinal]).decode()
        line.checksum = checksum_of_two(line.arguments.encode(), line.result.encode())

    def _step(self, line: form.StepLine) -> None:
        self._add(
            "insert_imported_step", line.step, line.name, line.state, line.attempt,
            line.counted_from, line.scheduled_us, line.started_us, line.retry_at_us,
            line.fingerprint, line.arguments, line.details, line.error,
        )  # fmt: skip

    def _check(self, what: str, check: int | None, *payloads: str) -> None:
        if checksum(*(one.encode() for one in payloads)) != check:
            raise self._damaged(f"{what} does not match its checksum")

    def _damaged(self, why: str) -> FileCorrupt:
        of = "" if self._run is None else f", in run {self._run.name}"
        return FileCorrupt(f"{self._file} was changed or damaged{of}: {why}; nothing was imported")

    def _packed(self, payload: str) -> str | int:
        self._bytes += len(payload)
        return EncodedPayload.of(payload.encode()).store(self._transaction)

    def _add(self, statement: Statement, *values: Any) -> None:
        self._rows.setdefault(statement, []).append((self._pk, *values))
        self._count += 1
        if self._count >= ROWS_MAX or self._bytes >= BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        for statement, rows in self._rows.items():
            self._transaction.rows(statement, rows)
        self._rows.clear()
        self._count = self._bytes = 0


def _has_circle(parents: Sequence[int]) -> bool:
    """Say whether somebody descends from themselves; whoever walks a family would not end."""
    seen = bytearray(len(parents) + 1)  # 1: on the way up from here, 2: leads to a top
    for number in range(1, len(parents) + 1):
        way = []
        at = number
        while at and not seen[at]:
            seen[at] = 1
            way.append(at)
            at = parents[at - 1]
        if at and seen[at] == 1:
            return True
        for one in way:
            seen[one] = 2
    return False
