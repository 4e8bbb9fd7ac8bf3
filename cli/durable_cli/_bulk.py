"""What the verbs share that act on one run or on all that a filter means."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING, Any

import click

import durable
from durable.errors import FilterError
from durable.filters import mentions, narrowed, parse
from durable_cli._errors import NOT_FOUND, WRONG_STATE, Failed
from durable_cli._options import find_run, settings
from durable_cli._output import Screen, clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from durable import Client, Run
    from durable.client import Job
    from durable.inspection import JobView, RunSummary, Viewer
    from durable.verbs import Verb

__all__ = ["act_on_many", "act_on_whole", "confirmed", "query_of", "runs_text"]

RUNS_SHOWN = 5
REFUSED_SHOWN = 5
_ISSUE = re.compile(r"I-\d{1,18}")


def act_on_many(
    text: str,
    verb: Verb,
    many: Callable[[Client, str], Awaitable[Job]],
    one: Callable[[Run[Any]], Awaitable[object]] | None = None,
    *,
    yes: bool,
    dry_run: bool,
) -> bool:
    """Act on every run that a filter means, if the text is one; return whether it was.

    It says how many and which come first, asks, waits until the job is done and says how it went.

    Args:
        text: RUN or QUERY, as typed.
        verb: The verb.
        many: Asks for the job.
        one: Acts on one run, and is rehearsed if nothing is to be done to it; not needed where the
            text is a filter.
        yes: Do not ask.
        dry_run: Say which, and do nothing.

    Raises:
        DurableError: Of the one run that nothing is done to: it would be refused.
        Failed: For some it was refused; or the filter means no run.
        click.UsageError: Nobody is there to be asked.
    """
    path, screen = settings().path(), settings().words()
    with durable.view(path) as runs:
        query = query_of(runs, text)
        if query is None:
            if dry_run:
                name = find_run(runs, text)
                assert one is not None, text
                asyncio.run(_rehearse(path, name, one))
                settings().outcome({"runs": 1, "first": [name]})
                screen.line(f"would {verb.name} {clean(name)}")
            return dry_run
        meant = narrowed(verb.name, query)
        counts = runs.count(meant)
        first = runs.list(meant, limit=RUNS_SHOWN)
    total = sum(counts.values())
    if not total:
        raise Failed(f"no run to {verb.name} is meant by {clean(meant)}", code=NOT_FOUND)
    would = "would " if dry_run else ""
    screen.line(
        f"{would}{verb.name} {runs_text(total)} ({_by_status(counts)}): {_names(first, total)}"
    )
    if dry_run:
        settings().outcome(
            {"runs": total, "by_status": dict(counts), "first": [one.id for one in first]}
        )
        return True
    confirmed(f"{verb.name} {runs_text(total)}", yes=yes)
    _say(screen, verb.one, verb.many, asyncio.run(_do(path, query, many)))
    return True


def act_on_whole(
    run: str,
    workflow: str | None,
    queue: str | None,
    became: tuple[str, str],
    act: Callable[[Client, str, str], Awaitable[Job]],
) -> bool:
    """Act on a workflow or a queue as a whole, if one is named; return whether it was.

    Args:
        run: RUN or QUERY, as typed, or an empty text.
        workflow: What ``--workflow`` says.
        queue: What ``--queue`` says.
        became: What happened to the whole, and to each of its runs.
        act: Asks for the job, by kind and name.

    Raises:
        click.UsageError: Not exactly one of them is named.
    """
    if sum((bool(run), workflow is not None, queue is not None)) != 1:
        raise click.UsageError("name one: a run, a filter, --workflow NAME or --queue NAME")
    if run:
        return False
    path, screen = settings().path(), settings().words()
    with durable.view(path):
        pass  # What is no file of ours is refused before anything could write to it.
    kind, name = ("workflow", workflow) if workflow is not None else ("queue", queue or "")
    assert name is not None

    async def ask(client: Client, _: str) -> Job:
        return await act(client, kind, name)

    ended = asyncio.run(_do(path, "", ask))
    screen.line(f"{kind} {clean(name)} {became[0]}")
    _say(screen, became[1], became[1], ended)
    return True


def confirmed(what: str, *, yes: bool) -> None:
    """Ask a person.

    Raises:
        click.UsageError: Nobody is there.
        click.Abort: They say no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody is there to be asked: {what}? Say --yes")
    click.confirm(f"{what}?", abort=True)


def runs_text(count: int) -> str:
    """Return ``1 run`` or ``1,000 runs``."""
    return f"{count:,} run" if count == 1 else f"{count:,} runs"


def query_of(runs: Viewer, text: str) -> str | None:
    """Return the filter that a text is, or None; a run of that name comes first."""
    if _ISSUE.fullmatch(text) and runs.find_name(text) is None:
        return f"issue:{text}"
    try:
        found = parse(text)
    except FilterError:
        if ":" not in text or runs.find_name(text) is not None:
            return None
        raise
    is_filter = any(mentions(found))
    if is_filter and (text.startswith("last:") or runs.find_name(text) is not None):
        return None
    return text if is_filter else None


def _names(first: Sequence[RunSummary], total: int) -> str:
    names = ", ".join(clean(one.id) for one in first)
    return f"{names}, ..." if total > len(first) else names


def _by_status(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {status}" for status, number in counts.items())


async def _rehearse(path: str, name: str, verb: Callable[[Run[Any]], Awaitable[object]]) -> None:
    client: Client
    async with durable.Client(path) as client:
        with client._dry_run() as dry:  # Told what it would be refused for, and undone.
            await verb(await dry.get(name))


async def _do(path: str, query: str, many: Callable[[Client, str], Awaitable[Job]]) -> JobView:
    client: Client
    async with durable.Client(path) as client:
        job = await many(client, query)
        progress = Screen(sys.stderr)

        def show(found: JobView) -> None:
            if progress.is_terminal:
                seen = found.done + found.refused
                progress.control(f"\r{seen:,} of {found.total:,} runs\x1b[K")
                progress.flush()

        try:
            ended = await job.wait(show)
        except (asyncio.CancelledError, KeyboardInterrupt):
            progress.line(
                f"job {job.id} goes on while a worker serves the file; durable jobs stop {job.id}"
            )
            raise
        if progress.is_terminal:
            progress.control("\r\x1b[K")
        return ended


def _say(screen: Screen, one: str, many: str, ended: JobView) -> None:
    settings().outcome(ended)
    of = f" of {ended.done + ended.refused:,}" if ended.refused else ""
    is_one = ended.done == 1
    noun = "run" if is_one and not of else "runs"
    done = one if is_one else many
    screen.line(f"{ended.done:,}{of} {noun} {done} (job {ended.id})")
    for name, why in list(ended.refusals.items())[:REFUSED_SHOWN]:
        screen.line(f"not {clean(name)}: {clean(why)}")
    if ended.refused:
        more = ended.refused - min(ended.refused, REFUSED_SHOWN)
        tail = f" ({more:,} more: durable jobs show {ended.id})" if more else ""
        raise Failed(
            f"{ended.verb} was refused for {runs_text(ended.refused)}{tail}", code=WRONG_STATE
        )
