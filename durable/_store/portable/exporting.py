"""Writing an export: of one moment, read twice, in its place whole or not at all.

The first time over, every row is checked and what is to be hidden is learned; so a damaged run is
known before a byte is written. Links between runs become their numbers in the file.
"""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import attrs
import msgspec

from durable._clock import new_salt
from durable._core.events import Kind
from durable._store.backup import move_into_place
from durable._store.connection import real_path
from durable._store.filtering import Selection
from durable._store.ownership import create_private, refuse_target
from durable._store.portable import lines as form
from durable._store.portable import passing
from durable._store.portable.redaction import Redactor
from durable._store.portable.tokens import without_tokens
from durable._store.reader import Reader
from durable._store.rows import RunRow, StepRow
from durable._store.statements import Statement
from durable._version import __version__
from durable.errors import FileCorrupt, PayloadError, RunNotFound, StoreError
from durable.payloads import checksum_of_two, decode_document
from durable.run_name import run_name

__all__ = ["ExportView", "Portion", "export"]

# A page of runs, and of what belongs to one: each row may have 64 KiB of payloads in it.
ROWS_PER_PAGE = 100
# Of runs that were left out, so many are told; the others are counted.
SKIPPED_TOLD_MAX = 1_000
_KINDS = frozenset(map(int, Kind))

Numbers = dict[int, int]
"""The numbers of the runs in the file, by their keys."""


@attrs.frozen(kw_only=True)
class Portion:
    """Which runs are exported.

    Attributes:
        run: One run; or None.
        selection: A filter, where it is none.
        has_ordinals: Every ordinal of their ids.
        has_children: The runs they started, and what those started.
        skips_damaged: Leave out what does not read, and say so.
    """

    run: RunRow | None = None
    selection: Selection | None = None
    has_ordinals: bool = False
    has_children: bool = False
    skips_damaged: bool = False


@attrs.frozen(kw_only=True)
class ExportView:
    """What was exported.

    Attributes:
        path: The absolute path of the file; empty if it went into a stream.
        runs: How many runs.
        events: How many events they have together.
        redacted: Whether something was to be hidden.
        damaged: How many runs were left out because they do not read.
        skipped: The first of them, and why.
    """

    path: str
    runs: int
    events: int
    redacted: bool
    damaged: int
    skipped: tuple[tuple[str, str], ...]


def export(
    reader: Reader,
    portion: Callable[[], Portion],
    dest: str | os.PathLike[str] | IO[bytes],
    redactor: Redactor | None,
    written: str,
    *,
    overwrite: bool,
) -> ExportView:
    """Write runs, as they are now, into a file or a stream.

    Args:
        reader: Of the file.
        portion: Says which; called in the moment the export is of.
        dest: Where they go: a path, which is compressed if it ends in ``.gz``, or a stream.
        redactor: What is hidden.
        written: When, as text.
        overwrite: Whether a file that is there is replaced.

    Raises:
        RunNotFound: It is no run.
        UsageError: There is a file already, or it is one that the runs are in.
        PayloadError: A run is damaged.
        StoreError: The file cannot be read, or the export not written.
    """
    target = None
    if isinstance(dest, str | os.PathLike):
        target = Path(real_path(dest))
        refuse_target(reader.path, str(target), overwrite=overwrite)
    with reader.snapshot():
        kept, skipped = _look_over(reader, portion(), redactor)
        numbers = {pk: number for number, pk in enumerate(kept, 1)}

        def write(stream: passing.Sink) -> passing.LineWriter:
            writer = passing.LineWriter(stream)
            paths = [] if redactor is None else list(redactor.paths)
            writer.write(
                form.Header(
                    format=form.FORMAT, version=form.VERSION, library=__version__,
                    written=written, redacted=redactor is not None, paths=paths, runs=len(kept),
                )
            )  # fmt: skip
            for pk in kept:
                for line in _lines_of_run(reader, pk, numbers):
                    for one in (line,) if redactor is None else redactor.redacted(line):
                        writer.write(without_tokens(one))
            writer.close()
            return writer

        if target is not None:
            writer = _write_file(target, write, overwrite=overwrite)
        else:
            assert not isinstance(dest, str | os.PathLike)
            writer = write(dest)
            dest.flush()
    return ExportView(
        path="" if target is None else str(target), runs=writer.runs, events=writer.events,
        redacted=redactor is not None, damaged=skipped.count, skipped=tuple(skipped.told),
    )  # fmt: skip


# -- the place -------------------------------------------------------------------------------------


def _write_file(
    target: Path, write: Callable[[passing.Sink], passing.LineWriter], *, overwrite: bool
) -> passing.LineWriter:
    partial = target.with_name(f".{target.name}.{new_salt():x}.partial")
    try:
        with os.fdopen(create_private(partial), "wb") as file:
            if target.suffix == ".gz":
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                    writer = write(packed)
            else:
                writer = write(file)
        move_into_place(partial, target, overwrite=overwrite)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return writer


# -- which runs ------------------------------------------------------------------------------------


@attrs.define
class _Skipped:
    count: int = 0
    told: list[tuple[str, str]] = attrs.field(factory=list)


def _look_over(
    reader: Reader, portion: Portion, redactor: Redactor | None
) -> tuple[list[int], _Skipped]:
    """Return the keys of the runs that are exported, in order, and those that are left out."""
    chosen = sorted(_chosen(reader, portion))
    numbers = {pk: number for number, pk in enumerate(chosen, 1)}
    kept: list[int] = []
    skipped = _Skipped()
    for pk in chosen:
        try:
            for line in _lines_of_run(reader, pk, numbers):
                if redactor is not None:
                    redactor.learn(line)
        except (PayloadError, FileCorrupt) as error:
            name = _name_of(reader, pk)
            if not portion.skips_damaged:
                raise PayloadError(
                    f"run {name} is damaged: {error}; nothing was exported. To leave such runs "
                    "out: --skip-damaged"
                ) from error
            skipped.count += 1
            if len(skipped.told) < SKIPPED_TOLD_MAX:
                skipped.told.append((name, str(error)))
        else:
            kept.append(pk)
    if redactor is not None:
        redactor.ready()
    return kept, skipped


def _name_of(reader: Reader, pk: int) -> str:
    (found,) = reader.all("get_name_as_found", pk=pk)
    name, ordinal = found[0].decode("utf-8", "backslashreplace"), found[1]
    return run_name(name, ordinal)


def _chosen(reader: Reader, portion: Portion) -> set[int]:
    found: set[int] = set()
    for run in _meant(reader, portion):
        if portion.has_ordinals:
            found.update(pk for (pk,) in reader.all("list_ordinals", id=run.id))
        found.add(run.pk)
    if portion.has_children:
        family = list(found)
        for parent in family:
            for (pk,) in reader.all("list_keys_of_children", parent=parent):
                if pk not in found:
                    found.add(pk)
                    family.append(pk)
    return found


def _meant(reader: Reader, portion: Portion) -> Iterator[RunRow]:
    if portion.run is not None:
        yield portion.run
    after = 0
    while portion.selection is not None:
        page = reader.select(portion.selection, after=after, limit=ROWS_PER_PAGE, is_ascending=True)
        yield from page
        if len(page) < ROWS_PER_PAGE:
            return
        after = page[-1].pk


# -- one run ---------------------------------------------------------------------------------------


def _lines_of_run(reader: Reader, pk: int, numbers: Numbers) -> Iterator[form.Line]:
    """Yield a run's lines, each read and checked.

    Raises:
        PayloadError: A row of it is missing or damaged.
        FileCorrupt: It holds text that is none, or SQLite finds a page damaged.
    """
    rows = reader.all("get_run", pk=pk)  # Not for people: text that is none is damage here.
    if not rows:
        raise RunNotFound("the run was deleted")
    row = RunRow(*rows[0])
    yield _run_line(reader, row, numbers)
    for event in reader.events(pk):
        if event.kind not in _KINDS:
            raise PayloadError(
                f"event {event.seq} is of kind {event.kind}, which this version does not know"
            )
        yield form.EventLine(
            seq=event.seq, what=event.kind, step=event.step, name=event.name,
            fingerprint=event.fingerprint, arguments=_text(event.arguments),
            result=_text(event.result), checksum=checksum_of_two(event.arguments, event.result),
            at_us=event.at_us, took_us=event.took_us,
        )  # fmt: skip
    yield from _pending(reader, pk)
    yield from _published(reader, pk)
    yield from _said(reader, pk, numbers)
    for (step,) in _paged(reader, "page_once", pk, step=""):
        yield form.OnceLine(step=step)
    for step, ordinal in _paged(reader, "page_redone", pk, step=""):
        yield form.RedoneLine(step=step, ordinal=ordinal)
    of_run = reader.all("find_accepted_end", run=pk)
    for (step,) in itertools.chain(of_run, _paged(reader, "page_accepted", pk, step="")):
        yield form.AcceptedLine(step=step)
    for seq, code, at_us in reader.all("list_code_spans", run=pk):
        yield form.CodeLine(from_seq=seq, code=code, at_us=at_us)
    for step, changes in _paged(reader, "page_policies", pk, step=""):
        yield form.PolicyLine(step=step, changes=changes)
    for _, verb, who, why, details, at_us in _paged(reader, "page_audit", pk, id=0):
        yield form.AuditLine(verb=verb, who=who, why=why, details=details, at_us=at_us)


def _run_line(reader: Reader, row: RunRow, numbers: Numbers) -> form.RunLine:
    for text in filter(None, (row.labels, row.headers)):
        try:
            decode_document(text)
        except msgspec.DecodeError as error:
            raise PayloadError(f"its labels or headers are no JSON: {error}") from error
    result = None
    if row.result is not None:
        result = _text(reader.payload(row.result, row.result_checksum))
    has_parent = row.parent_pk in numbers
    return form.RunLine(
        number=numbers[row.pk], id=row.id, ordinal=row.ordinal, workflow=row.workflow,
        state=row.state, waits=row.waits, queue=row.queue, priority=row.priority,  # type: ignore[arg-type]  # the table's CHECK
        headers=row.headers, salt=row.salt,
        arguments=_text(reader.payload(row.arguments, row.checksum)),
        fingerprint=row.fingerprint, checksum=row.checksum, cause=row.cause,  # type: ignore[arg-type]  # likewise
        code=row.code, created_us=row.created_us, started_us=row.started_us,
        clock_us=row.clock_us, closed_us=row.closed_us, result=result,
        result_checksum=row.result_checksum, origin=row.origin,
        root=numbers.get(row.root_pk or 0), parent=numbers.get(row.parent_pk or 0),
        parent_step=row.parent_step if has_parent else None,
        on_parent_close=row.on_parent_close if has_parent else None,  # type: ignore[arg-type]  # likewise
        deadline_us=row.deadline_us, run_timeout_us=row.run_timeout_us,
        source=numbers.get(row.source_pk or 0), redo_seq=row.redo_seq,
        adopts=row.adopts, labels=row.labels, error=row.error,  # type: ignore[arg-type]  # likewise
    )  # fmt: skip


def _pending(reader: Reader, pk: int) -> Iterator[form.Line]:
    for row in (StepRow(*one) for one in _paged(reader, "page_steps", pk, step="")):
        yield form.StepLine(
            step=row.step, name=row.name, state=row.state, attempt=row.attempt,  # type: ignore[arg-type]  # likewise
            counted_from=row.counted_from, scheduled_us=row.scheduled_us,
            started_us=row.started_us, retry_at_us=row.retry_at_us, fingerprint=row.fingerprint,
            arguments=row.arguments, details=row.details, error=row.error,
        )  # fmt: skip
    for step, attempt, name, state, started_us, ended_us, error in _paged(
        reader, "page_attempts", pk, step="", attempt=0
    ):
        yield form.AttemptLine(
            step=step, attempt=attempt, name=name, state=state, started_us=started_us,
            ended_us=ended_us, error=error,
        )  # fmt: skip


def _published(reader: Reader, pk: int) -> Iterator[form.Line]:
    for name, payload, check, at_us in _paged(reader, "page_values", pk, name=""):
        yield form.ValueLine(
            name=name, payload=_text(reader.payload(payload, check)), checksum=check, at_us=at_us
        )
    for stream, position, step, attempt, number, seq, payload, check, at_us in _paged(
        reader, "page_items", pk, stream="", position=-1
    ):
        yield form.ItemLine(
            stream=stream, position=position, step=step, attempt=attempt, number=number, seq=seq,
            payload=_text(reader.payload(payload, check)), checksum=check, at_us=at_us,
        )  # fmt: skip


def _said(reader: Reader, pk: int, numbers: Numbers) -> Iterator[form.Line]:
    for key, name, state, result, at_us in _paged(reader, "page_answers", pk, key=""):
        yield form.AnswerLine(
            key=key, name=name, state=state, result=_text(reader.payload(result)), at_us=at_us
        )
    for _, seq, name, key, payload, why, at_us in _paged(reader, "page_letters", pk, id=0):
        yield form.LetterLine(
            seq=seq, name=name, key=key, payload=_text(reader.payload(payload)), why=why,
            at_us=at_us,
        )  # fmt: skip
    for _, step, payload in _paged(reader, "page_child_ends", pk, id=0):
        child = numbers.get(int(payload)) if str(payload).isdecimal() else None
        if child is not None:
            yield form.EndLine(step=step, child=child)


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise PayloadError(f"a payload is not UTF-8: {error}") from error


def _paged(reader: Reader, statement: Statement, pk: int, **place: Any) -> Iterator[Sequence[Any]]:
    """Yield all rows of a statement; the columns that make up the place are its first."""
    while True:
        page = reader.all(statement, run=pk, limit=ROWS_PER_PAGE, **place)
        yield from page
        if len(page) < ROWS_PER_PAGE:
            return
        place = dict(zip(place, page[-1], strict=False))
