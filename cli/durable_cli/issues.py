"""``durable issues``: like failures, grouped; and what is done about a group."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

import durable
from durable.verbs import VERBS
from durable_cli._bulk import act_on_many, runs_text
from durable_cli._options import (
    bulk_options,
    color_option,
    file_option,
    json_option,
    outcome_option,
    reason_option,
    settings,
    watch_option,
)
from durable_cli._output import Cell, age, clean, clean_lines, moment
from durable_cli._talk import field
from durable_cli._watch import repeated

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from durable.client import Job
    from durable.inspection import IssueView
    from durable_cli._output import Screen

__all__ = ["command"]

TITLES = ("ISSUE", "KIND", "SEEN", "OPEN", "FIRST", "LAST", "LAST 24 H", "WHERE", "ERROR")
_BARS = "▁▂▃▄▅▆▇█"


@click.group("issues", invoke_without_command=True)
@click.option(
    "--state", type=click.Choice(["open", "resolved", "muted", "all"]), default="open",
    show_default=True, help="Only these.",
)  # fmt: skip
@watch_option
@json_option
@file_option
@color_option
@click.pass_context
def command(context: click.Context, state: str, watch: float | None, *, as_json: bool) -> None:
    """List like failures as one: runs that failed, retry again and again, or are blocked.

    Example: durable issues retry I-14
    """
    if context.invoked_subcommand is not None:
        return
    screen = settings().screen()
    with durable.view(settings().path()) as runs:

        def once() -> None:
            found = runs.issues(state=None if state == "all" else state)
            now = runs.now()
            if as_json:
                screen.json(found)
                return
            rows = [_row(one, screen, now) for one in found]
            if state != "all":
                screen.listing(TITLES, rows, yielding=(7,))
                return
            states = [Cell(one.state) for one in found]
            rows = [(*row[:2], of, *row[2:]) for row, of in zip(rows, states, strict=True)]
            screen.listing((*TITLES[:2], "STATE", *TITLES[2:]), rows, yielding=(8,))

        repeated(screen, runs, once, watch)


@command.command("show")
@click.argument("issue")
@json_option
@file_option
@color_option
def show(issue: str, *, as_json: bool) -> None:
    """Show one group: counts, workflows, versions of the code, the newest traceback.

    Example: durable issues show I-14
    """
    screen = settings().screen()
    with durable.view(settings().path()) as runs:
        found = runs.issue(issue)
        now = runs.now()
    if as_json:
        screen.json(found)
        return
    _show(screen, found, now)


@command.command("retry")
@click.argument("issue")
@click.option("--anyway", is_flag=True, help="Also where steps completed after the failure.")
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def retry(issue: str, reason: str, *, anyway: bool, yes: bool, dry_run: bool) -> None:
    """Retry every run of a group that needs somebody, each from the step that failed.

    Example: durable issues retry I-14 --reason 'the bank is back'
    """

    async def many(client: durable.Client, query: str) -> Job:
        return await client.retry_all(query, anyway=anyway, reason=reason)

    words = VERBS["retry"]
    act_on_many(_meant(issue), words, many, yes=yes, dry_run=dry_run)


@command.command("restart")
@click.argument("issue")
@click.option(
    "--from", "place", metavar="PLACE", default="failed", show_default=True,
    help="start, failed, last, or a step's id or name.",
)  # fmt: skip
@bulk_options
@reason_option
@outcome_option
@file_option
@color_option
def restart(issue: str, place: str, reason: str, *, yes: bool, dry_run: bool) -> None:
    """Restart every run of a group that needs somebody, each from the same place.

    Example: durable issues restart I-14 --from charge
    """

    async def many(client: durable.Client, query: str) -> Job:
        return await client.restart_all(query, place, reason=reason)

    words = VERBS["restart"]
    act_on_many(_meant(issue), words, many, yes=yes, dry_run=dry_run)


def _meant(issue: str) -> str:
    """Return the filter of the runs of a group that need somebody."""
    with durable.view(settings().path()) as runs:
        return f"issue:I-{runs.issue_row(issue).id}"


def _state_command(name: str, state: str, text: str) -> None:
    @command.command(name, help=text)
    @click.argument("issue")
    @reason_option
    @outcome_option
    @file_option
    @color_option
    def change(issue: str, reason: str) -> None:
        path = settings().path()
        with durable.view(path) as runs:
            runs.issue_row(issue)
            found = runs.issue(issue)
        asyncio.run(_set(path, found.id, state, reason))
        settings().outcome({"issue": found.id, "state": state})
        settings().words().line(f"{clean(found.id)} is {state}: {clean(found.title)}")


_state_command(
    "resolve", "resolved",
    "Say that a group is mended; the next failure like it opens it again."
    "\n\nExample: durable issues resolve I-14",
)  # fmt: skip
_state_command(
    "mute", "muted",
    "Leave a group out of the list and of alerts; it is counted on."
    "\n\nExample: durable issues mute I-14",
)  # fmt: skip
_state_command(
    "reopen", "open", "Take back resolve or mute.\n\nExample: durable issues reopen I-14"
)


async def _set(path: str, issue: str, state: str, reason: str) -> None:
    client: durable.Client
    async with durable.Client(path) as client:
        match state:
            case "resolved":
                await client.set_issue(issue, "resolved", reason=reason)
            case "muted":
                await client.set_issue(issue, "muted", reason=reason)
            case _:
                await client.set_issue(issue, "open", reason=reason)


def _row(one: IssueView, screen: Screen, now: dt.datetime) -> tuple[Cell, ...]:
    where = f"{clean(one.function)}  {clean(one.place.rpartition('/')[2])}".strip()
    return (
        Cell(clean(one.id), ("bold",)),
        screen.status(one.kind),
        Cell(f"{one.seen:,}"),
        Cell(f"{one.open:,}"),
        Cell("" if one.first is None else age(now - one.first)),
        Cell("" if one.last is None else age(now - one.last)),
        Cell(_sparkline(one.hours) if screen.is_unicode else " ".join(map(str, one.hours))),
        Cell(where),
        Cell(clean(one.title)),
    )


def _sparkline(counts: Sequence[int]) -> str:
    most = max(counts, default=0)
    if not most:
        return _BARS[0] * len(counts)
    top = len(_BARS) - 1
    return "".join(_BARS[(count * top + most - 1) // most] for count in counts)


def _show(screen: Screen, one: IssueView, now: dt.datetime) -> None:
    kind = screen.status(one.kind)
    head = f"{screen.style(clean(one.id), 'bold')}  {screen.style(kind.text, *kind.styles)}"
    screen.line(f"{head}  {clean(one.title)}")
    screen.line()
    field(screen, "state", clean(one.state))
    field(
        screen,
        "seen",
        f"{'once' if one.seen == 1 else f'{one.seen:,} times'}; {runs_text(one.open)} open",
    )
    for label, at in (("first", one.first), ("last", one.last)):
        if at is not None:
            field(screen, label, f"{moment(at)} ({age(now - at)} ago)")
    if one.function or one.place:
        field(screen, "where", f"{clean(one.function)}  {clean(one.place)}".strip())
    field(screen, "last 24 h", _sparkline(one.hours))
    for label, counts in (("workflows", one.workflows), ("versions", one.versions)):
        text = ", ".join(f"{clean(name) or '?'} {count:,}" for name, count in counts.items())
        field(screen, label, text)
    if one.sample_run:
        field(screen, "sample", clean(one.sample_run))
    screen.line()
    screen.line(clean_lines(one.sample.rstrip("\n")))
