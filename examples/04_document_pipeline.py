"""Summarise a folder of documents in one durable run: hundreds of files, thousands of steps.

Each file is read, its prose extracted and cut into chunks, each chunk summarised by a service that
fails now and then, the chunks merged to a file, the files to a folder, the folders to one report.
Kill the process at any moment and start it again with the same arguments: it goes on where it was,
and no recorded step is called a second time. ``demo.py`` does just that, and proves it.

Usage: ``python 04_document_pipeline.py [FOLDER] --db FILE --out FOLDER``; without FOLDER it reads
the source of Python's own standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from summarise import (
    Chunk,
    Summary,
    extract_prose,
    key_terms,
    merge,
    split_chunks,
    summarise,
)

import durable
from durable import Retry, activity, workflow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A file beyond this is data, whatever its name says.
FILE_BYTES_MAX = 1_000_000
# Reading far ahead of the chunks that are being summarised would only fill memory.
FILES_AT_ONCE = 12
# As many calls as the imagined service lets one customer make.
CHUNKS_AT_ONCE = 16
ENDINGS = (".py", ".txt", ".rst", ".md")
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "node_modules"}
)


class FlakyService(ConnectionError):
    """The service that summarises hung up."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """What every step is told about the outside.

    Attributes:
        log: The file to which each attempt appends what it does.
        seed: Decides which attempts fail.
        flaky: The share of attempts that fail, 0.0 to below 1.0.
        slow_ms: How long the service thinks about a chunk.
    """

    log: str
    seed: int
    flaky: float
    slow_ms: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """The argument of a run.

    Attributes:
        folder: What to read, with its folders.
        report: The file to write.
        limit: The most files to read, in the order of their paths.
        service: Handed on to every step.
    """

    folder: str
    report: str
    limit: int
    service: Service


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The result of a run."""

    report: str
    folders: int
    files: int
    chunks: int

    @property
    def steps(self) -> int:
        """How many steps the workflow made: the list, three per file, the report, and the rest."""
        return 2 + 3 * self.files + self.chunks + self.folders


# -- the outside: a log of what really happened, and a service that fails -------------------------


@contextlib.contextmanager
def logged(service: Service, subject: str) -> Iterator[dict[str, Any]]:
    """Append a line to the side-effect log when the running attempt starts and when it ends.

    The log is what the outside sees. It is no part of the library, which is why it can prove
    something about it. One `os.write` with ``O_APPEND`` is one whole line, whoever else writes.

    Yields:
        The line of the end; the caller may add to it.
    """
    attempt = durable.attempt()
    line: dict[str, Any] = {
        "key": attempt.idempotency_key,
        "step_id": attempt.step_id,
        "step": attempt.activity,
        "subject": subject,
        "attempt": attempt.number,
        "pid": os.getpid(),
    }
    append_line(service.log, {**line, "phase": "start"})
    try:
        yield line
    except BaseException:
        append_line(service.log, {**line, "phase": "failed"})
        raise
    append_line(service.log, {**line, "phase": "end"})


def append_line(path: str, line: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")
    finally:
        os.close(descriptor)


def fail_now_and_then(service: Service) -> None:
    """Fail the seeded share of attempts; each attempt of a step has its own luck.

    Raises:
        FlakyService: This attempt is one of them.
    """
    attempt = durable.attempt()
    luck = f"{service.seed}/{attempt.step_id}/{attempt.number}"
    digest = hashlib.blake2b(luck.encode(), digest_size=8).digest()
    if int.from_bytes(digest, "big") / 2**64 < service.flaky:
        raise FlakyService(f"the service hung up on attempt {attempt.number}")


# -- the steps: plain functions, each in a thread -------------------------------------------------

PATIENT = Retry(max_attempts=20, initial_interval=0.05, max_interval=1)


@activity
def list_files(service: Service, folder: str, limit: int) -> list[str]:
    with logged(service, folder) as end:
        root = Path(folder)
        found: list[str] = []
        for parent, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
            paths = (Path(parent, name) for name in names if name.endswith(ENDINGS))
            found += [
                path.relative_to(root).as_posix()
                for path in paths
                if path.is_file() and path.stat().st_size <= FILE_BYTES_MAX
            ]
        files = sorted(found)[:limit]
        end["makes"] = len(files)
        return files


@activity(retry=PATIENT)
def read_file(service: Service, folder: str, file: str) -> str:
    with logged(service, file):
        fail_now_and_then(service)
        # Recorded with the step: what later steps see is this text, even if the file changes.
        return Path(folder, file).read_text(encoding="utf-8", errors="replace")


@activity
def extract(service: Service, file: str, source: str) -> list[Chunk]:
    with logged(service, file) as end:
        chunks = split_chunks(extract_prose(file, source))
        end["makes"] = len(chunks)
        return chunks


@activity(retry=PATIENT)
def summarise_chunk(service: Service, file: str, chunk: Chunk) -> Summary:
    with logged(service, f"{file}#{chunk.index}"):
        time.sleep(service.slow_ms / 1_000)
        fail_now_and_then(service)
        return summarise(f"{file}#{chunk.index}", chunk.text)


@activity
def merge_file(service: Service, file: str, chunks: list[Summary]) -> Summary:
    with logged(service, file):
        return merge(file, chunks, sentences_max=2)


@activity
def merge_folder(service: Service, folder: str, files: list[Summary]) -> Summary:
    with logged(service, folder):
        return merge(folder, files, sentences_max=4)


@activity
def write_report(job: Job, folders: list[Summary], files: list[Summary]) -> str:
    with logged(job.service, job.report):
        # Written aside and renamed: whoever reads it finds a whole report, and a repeated attempt
        # writes the same one again.
        target = Path(job.report)
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        aside.write_text(render_report(job.folder, folders, files), encoding="utf-8")
        aside.replace(target)
        return str(target)


def render_report(root: str, folders: Sequence[Summary], files: Sequence[Summary]) -> str:
    """Return the report as Markdown; a pure function of what was recorded."""
    characters = sum(folder.characters for folder in folders)
    lines = [
        f"# What {root} says",
        "",
        f"{len(files):,} files in {len(folders):,} folders, {characters:,} characters of prose.",
    ]
    folder_terms = key_terms([folder.terms for folder in folders], 8)
    file_terms = dict(
        zip(
            [file.title for file in files],
            key_terms([file.terms for file in files], 5),
            strict=True,
        )
    )
    for folder, terms in zip(folders, folder_terms, strict=True):
        lines += ["", f"## {folder.title}", "", f"*{', '.join(terms) or 'no words'}*", ""]
        lines += [f"> {escape(sentence.text)}  " for sentence in folder.sentences]
        lines.append("")
        for file in files:
            if folder_of(file.title) == folder.title:
                best = max(file.sentences, key=lambda sentence: sentence.rank, default=None)
                says = f": {escape(best.text)}" if best else ""
                lines.append(f"- `{file.title}` ({', '.join(file_terms[file.title])}){says}")
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    return "".join(f"\\{sign}" if sign in r"\`*_[]<>#|" else sign for sign in text)


def folder_of(file: str) -> str:
    return Path(file).parent.as_posix()


# -- the workflow ---------------------------------------------------------------------------------


@workflow
async def summarise_documents(job: Job) -> Totals:
    service = job.service
    file_gate = asyncio.Semaphore(FILES_AT_ONCE)
    chunk_gate = asyncio.Semaphore(CHUNKS_AT_ONCE)

    async def chunk_summary(file: str, chunk: Chunk) -> Summary:
        async with chunk_gate:
            return await summarise_chunk(service, file, chunk)

    async def file_summary(file: str) -> Summary:
        async with file_gate:
            source = await read_file(service, job.folder, file)
            chunks = await extract(service, file, source)
            parts = await asyncio.gather(*(chunk_summary(file, chunk) for chunk in chunks))
            return await merge_file(service, file, parts)

    async def folder_summary(folder: str, members: list[str]) -> tuple[Summary, list[Summary]]:
        summaries = await asyncio.gather(*(file_summary(file) for file in members))
        return await merge_folder(service, folder, summaries), summaries

    files = await list_files(service, job.folder, job.limit)
    members: dict[str, list[str]] = {}
    for file in files:
        members.setdefault(folder_of(file), []).append(file)
    merged = await asyncio.gather(*(folder_summary(*item) for item in sorted(members.items())))

    folders = [folder for folder, _ in merged]
    summaries = [file for _, of_folder in merged for file in of_folder]
    return Totals(
        report=await write_report(job, folders, summaries),
        folders=len(folders),
        files=len(files),
        chunks=sum(file.parts for file in summaries),
    )


# -- the command line -----------------------------------------------------------------------------


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Summarise a folder of documents durably.")
    parser.add_argument("folder", nargs="?", type=Path, default=sysconfig.get_path("stdlib"))
    parser.add_argument("--db", default="documents.db", help="the file that holds the run")
    parser.add_argument("--out", type=Path, default=Path("documents-out"), help="for the report")
    parser.add_argument("--limit", type=int, default=300, help="the most files to read")
    parser.add_argument("--seed", type=int, default=1, help="decides which attempts fail")
    parser.add_argument("--flaky", type=float, default=0.05, help="share of attempts that fail")
    parser.add_argument("--slow-ms", type=float, default=2, help="how slow the service is")
    options = parser.parse_args(arguments)
    if not Path(options.folder).is_dir():
        parser.error(f"{options.folder} is no folder")
    if not 0 <= options.flaky < 1:
        parser.error("--flaky is a share of all attempts: 0 or more, less than 1")
    return options


def main() -> None:
    options = parse_arguments()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    service = Service(
        log=str(out / "side-effects.jsonl"),
        seed=options.seed,
        flaky=options.flaky,
        slow_ms=options.slow_ms,
    )
    job = Job(
        folder=str(Path(options.folder).resolve()),
        report=str(out / "report.md"),
        limit=options.limit,
        service=service,
    )
    totals = durable.run(options.db, summarise_documents.options(id="documents"), job)
    print(
        f"{totals.report}: {totals.files:,} files, {totals.chunks:,} chunks, "
        f"{totals.folders:,} folders, {totals.steps:,} steps"
    )


if __name__ == "__main__":
    main()
