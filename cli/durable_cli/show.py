"""``durable show``: everything about one run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import click

import durable
from durable.inspection import duration
from durable_cli._errors import NOT_FOUND, Failed
from durable_cli._events import plain, write_event
from durable_cli._options import (
    color_option,
    file_option,
    find_run,
    json_option,
    run_argument,
    settings,
    tell,
    watch_option,
)
from durable_cli._output import Cell, Screen, age, cells, clean, clean_lines, moment
from durable_cli._talk import LABEL_CELLS, decoded, field, name_of, write_talk
from durable_cli._watch import repeated

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from durable import RunDetails
    from durable.inspection import AttemptView, DifferenceView, SourceView, StepView, Viewer

__all__ = ["command"]

# Of a fingerprint so much tells two versions apart.
CODE_SHOWN = 8

# Of a run that has not the one that was asked for.
STEPS_SHOWN = 8
TITLES = ("STEP", "NAME", "STATUS", "TRIES", "TOOK", "ENDED", "ERROR")
# What one line shows of a payload where no terminal gives a width.
PAYLOAD_CELLS = 160
INDENT = "  "


@click.command("show")
@run_argument
@click.option("--payloads", is_flag=True, help="Arguments and results whole, of each step too.")
@click.option(
    "--stack",
    "app",
    metavar="APP:ENGINE",
    help="Where its code waits now, by a replay with this code; no worker is touched.",
)
@click.option("--code", "sources", is_flag=True, help="The source of the workflow's code that ran.")
@click.option("--attempts", is_flag=True, help="Each failed attempt with its whole traceback.")
@click.option(
    "--step", metavar="STEP", help="One step, by its id or name, with payloads and attempts."
)
@click.option("--events", is_flag=True, help="The recorded events, with their numbers.")
@watch_option
@json_option
@file_option
@color_option
def command(
    run: str,
    app: str | None,
    step: str | None,
    watch: float | None,
    *,
    sources: bool,
    payloads: bool,
    attempts: bool,
    events: bool,
    as_json: bool,
) -> None:
    """Show one run: why it waits, its steps, its error.

    RUN is an id (its newest run), id#2 (exactly that one), or last (the newest of all).
    """
    if sum((app is not None, sources, step is not None, events)) > 1:
        raise click.UsageError("--stack, --code, --step and --events exclude each other")
    path, screen = settings().path(), settings().screen()
    with durable.view(path) as runs:
        tell(runs)
        name = find_run(runs, run)

        def once() -> None:
            if app is not None:
                from durable_cli._apps import find_engine

                screen.text(find_engine(app).stack(name, path) + "\n")
            elif sources:
                _write_sources(screen, runs.sources(name), as_json=as_json)
            elif events:
                _write_events(screen, runs, name, as_json=as_json)
            elif step is not None:
                _write_steps(screen, runs, name, step, as_json=as_json)
            elif as_json:
                screen.json(_plain(runs.get(name)))
            else:
                _write(screen, runs.get(name), runs.now(), payloads=payloads, attempts=attempts)

        repeated(screen, runs, once, watch)


def _write_sources(screen: Screen, found: Sequence[SourceView], *, as_json: bool) -> None:
    if as_json:
        screen.json(_plain(found))
        return
    if not found:
        screen.line("its source is not kept in this file")
    for one in found:
        place = f"{clean(one.code)}  from event {one.event}  {clean(one.place)}"
        screen.line(screen.style(place, "bold"))
        screen.line(clean_lines(one.text.rstrip("\n")))
        screen.line()


def _write_events(screen: Screen, runs: Viewer, name: str, *, as_json: bool) -> None:
    found: list[dict[str, Any]] = []
    after = 0
    while page := runs.events(name, after=after):
        after = page[-1].seq
        for event in page:
            if as_json:
                found.append(plain(event))
            else:
                write_event(screen, event)
    if as_json:
        screen.json(found)


def _write_steps(screen: Screen, runs: Viewer, name: str, step: str, *, as_json: bool) -> None:
    """Write what goes by an id or a name: one step, or all that are called so."""
    run = runs.get(name)
    meant = [one for one in run.steps if one.step == step]
    meant = meant or [one for one in run.steps if one.name == step]
    if not meant:
        known = ", ".join(f"{one.step} ({one.name})" for one in run.steps[:STEPS_SHOWN] if one.step)
        raise Failed(
            f"run {run.id} has no step {step!r:.60}; it has {known or 'none'}", code=NOT_FOUND
        )
    if as_json:
        screen.json(_plain(meant))
        return
    _steps(screen, attrs.evolve(run, steps=meant), runs.now())
    _payloads_of_steps(screen, meant)
    _attempts(screen, meant)


def _write(
    screen: Screen, run: RunDetails, now: dt.datetime, *, payloads: bool, attempts: bool
) -> None:
    _header(screen, run, now)
    _payloads_of_run(screen, run, whole=payloads)
    write_talk(screen, run)
    if run.steps:
        screen.line()
        _steps(screen, run, now)
    if payloads:
        _payloads_of_steps(screen, run.steps)
    if attempts:
        _attempts(screen, run.steps)
    if run.traceback:
        screen.line()
        screen.line(clean_lines(run.traceback.rstrip("\n")))


# -- JSON ------------------------------------------------------------------------------------------

_PAYLOADS = frozenset({"arguments", "details", "result", "value", "answer", "payload"})


def _plain(one: Any) -> Any:
    """Return views as plain data, with payloads decoded: no program should decode JSON in JSON."""
    if isinstance(one, list | tuple):
        return [_plain(each) for each in one]
    if not attrs.has(type(one)):
        return one
    fields = {field.name: getattr(one, field.name) for field in attrs.fields(type(one))}
    return {
        name: decoded(value) if name in _PAYLOADS else _plain(value)
        for name, value in fields.items()
    }


# -- the header ------------------------------------------------------------------------------------


def _header(screen: Screen, run: RunDetails, now: dt.datetime) -> None:
    status = screen.status(run.status)
    ended = run.closed or now
    since = ""
    began = run.started or (None if run.closed else run.created)
    if began is not None:
        word = "after" if run.closed else "for"
        since = f" {word} {duration(max(0.0, (ended - began).total_seconds()))}"
    name = f"{screen.style(clean(run.id), 'bold')}{INDENT}{clean(run.workflow)}"
    screen.line(f"{name}{INDENT}{screen.style(status.text, *status.styles)}{since}")
    if run.why:
        screen.line(screen.style(f"{INDENT}{clean(run.why)}", *status.styles))
    if run.difference is not None:
        _difference(screen, run.difference)
    screen.line()
    field(screen, "created", f"{moment(run.created)} ({age(now - run.created)} ago)")
    if run.started is not None and run.started != run.created:
        field(screen, "started", moment(run.started))
    if run.closed is not None:
        field(screen, "ended", moment(run.closed))
    if run.wakes is not None:
        field(screen, "goes on", moment(run.wakes))
    if run.deadline is not None:
        field(screen, "run_timeout", moment(run.deadline))
    _lineage(screen, run)
    if run.worker:
        field(screen, "worker", clean(run.worker))
    _trouble(screen, run)
    _codes(screen, run)
    field(screen, "events", f"{run.events:,}")


def _codes(screen: Screen, run: RunDetails) -> None:
    """Write which code it began with, and which went on with it since."""
    if run.codes:
        first, *later = (clean(one.code[:CODE_SHOWN]) for one in run.codes)
        since = f", since event {run.codes[-1].event:,}" if later else ""
        field(screen, "code", " → ".join([first, *later[-3:]]) + since)


def _difference(screen: Screen, one: DifferenceView) -> None:
    """Write both sides, one below the other."""
    step = f"step {clean(one.step)}" if one.step else f"event {one.event}"
    at = "" if one.at is None else f"{INDENT}{moment(one.at)}"
    where = f"{INDENT}{clean(one.where)}" if one.where else ""
    screen.line()
    screen.line(f"{INDENT}recorded  {step}{INDENT}{clean(one.recorded)}{at}")
    screen.line(f"{INDENT}code now  {step}{INDENT}{clean(one.code)}{where}")


def _trouble(screen: Screen, run: RunDetails) -> None:
    if run.issue:
        field(screen, "issue", clean(run.issue))
    if run.lost:
        field(screen, "lost", f"{run.lost:,} times its worker died with it in hand")


def _lineage(screen: Screen, run: RunDetails) -> None:
    cause = clean(run.cause) + (f", goes on from {clean(run.source)}" if run.source else "")
    field(screen, "cause", cause)
    if run.followed_by:
        field(screen, "next", ", ".join(map(clean, run.followed_by)))
    if run.parent:
        root = "" if run.root in {"", run.parent} else f", of the family of {clean(run.root)}"
        field(screen, "parent", clean(run.parent) + root)


# -- payloads --------------------------------------------------------------------------------------


def _payloads_of_run(screen: Screen, run: RunDetails, *, whole: bool) -> None:
    for label, text in (("arguments", run.arguments), ("result", run.result)):
        # The result of a cancelled or terminated run is its reason, which the header says.
        if text and (label == "arguments" or run.status in {"completed", "continued"}):
            _payload(screen, label, text, whole=whole)


def _payloads_of_steps(screen: Screen, steps: Sequence[StepView]) -> None:
    for step in steps:
        payloads = (
            ("arguments", step.arguments), ("heartbeat", step.details), ("result", step.result)
        )  # fmt: skip
        if any(text for _, text in payloads):
            screen.line()
            _title(screen, _heading(step))
            for label, text in payloads:
                if text:
                    _payload(screen, label, text, whole=True)


def _payload(screen: Screen, label: str, text: str, *, whole: bool) -> None:
    """Write a payload in one line: cut, or if it is wanted whole, over several if it must be."""
    room = (screen.columns if screen.is_terminal else PAYLOAD_CELLS) - LABEL_CELLS
    shown = clean(text)
    if whole and cells(shown) > room:
        lines = _pretty(text, room)
        field(screen, label, lines[0])
        for line in lines[1:]:
            screen.line(" " * LABEL_CELLS + line)
    else:
        field(screen, label, screen.cut(shown, room))


def _pretty(text: str, room: int) -> list[str]:
    try:
        return _spread(json.loads(text), room)
    except (ValueError, RecursionError):
        return [clean(text)]


def _spread(value: Any, room: int) -> list[str]:
    """Return JSON in lines: what fits into one is in one, and short members share lines."""
    whole = clean(json.dumps(value, ensure_ascii=False))
    if cells(whole) <= room or not value or not isinstance(value, list | dict):
        return [whole]
    lines = ["{" if isinstance(value, dict) else "["]
    is_open = False  # Whether the last line is one of short members, with room for more.
    for member in _members(value, room - len(INDENT)):
        text = member[0] + ","
        if len(member) == 1 and is_open and cells(f"{lines[-1]} {text}") <= room:
            lines[-1] += f" {text}"
            continue
        is_open = len(member) == 1
        lines += [INDENT + line for line in member]
        lines[-1] += ","
    lines[-1] = lines[-1].removesuffix(",")
    return [*lines, "}" if isinstance(value, dict) else "]"]


def _members(value: list[Any] | dict[str, Any], room: int) -> Iterator[list[str]]:
    if isinstance(value, list):
        for member in value:
            yield _spread(member, room)
        return
    for key, member in value.items():
        label = clean(json.dumps(key, ensure_ascii=False)) + ": "
        lines = _spread(member, room - cells(label))
        yield [label + lines[0], *lines[1:]]


# -- steps -----------------------------------------------------------------------------------------


def _steps(screen: Screen, run: RunDetails, now: dt.datetime) -> None:
    zero = run.started or run.created
    # The reason of the cancel that ended the run is said above.
    steps = [
        attrs.evolve(step, error="") if step.kind == "cancel" and step.error == run.why else step
        for step in run.steps
    ]
    rows = [_step(step, screen, zero, now) for step in steps]
    # A pipe has no width: nothing is cut there.
    screen.table(TITLES, rows, yielding=(0, 1), is_cut=screen.is_terminal)


def _step(step: StepView, screen: Screen, zero: dt.datetime, now: dt.datetime) -> Sequence[Cell]:
    error = clean(step.error)
    if step.next_try is not None:
        left_s = (step.next_try - now).total_seconds()
        when = f"in {duration(left_s)}" if left_s > 0 else "is due"
        error = f"next try {when}" + (f", after {error}" if error else "")
    elif step.started is not None:
        error = f"for {duration(max(0.0, (now - step.started).total_seconds()))}"
        error += f", heartbeat {clean(step.details)}" if step.details else ""
    return (
        Cell(clean(step.step)),
        Cell(name_of(step)),
        screen.status(step.status),
        Cell(str(step.tries) if step.tries else ""),
        Cell("" if step.took_us is None else duration(step.took_us / 1e6)),
        Cell(_ended(step.ended, zero)),
        Cell(error),
    )


def _ended(ended: dt.datetime | None, zero: dt.datetime) -> str:
    """Return when a step ended, counted from the run's start."""
    if ended is None:
        return ""
    if ended < zero:  # A retried run has it from the run before.
        return "kept"
    return f"+{duration((ended - zero).total_seconds())}"


def _attempts(screen: Screen, steps: Sequence[StepView]) -> None:
    for step in steps:
        for attempt in step.attempts:
            screen.line()
            _attempt(screen, step, attempt)


def _attempt(screen: Screen, step: StepView, attempt: AttemptView) -> None:
    took = duration(max(0.0, (attempt.ended - attempt.started).total_seconds()))
    _title(
        screen,
        f"{_heading(step)}, attempt {attempt.number} {clean(attempt.state)} "
        f"{moment(attempt.ended)} after {took}",
    )
    for line in clean_lines(attempt.traceback.rstrip("\n") or attempt.error).split("\n"):
        screen.line(f"{INDENT}{line}")


def _heading(step: StepView) -> str:
    name = f" ({name_of(step)})" if step.name else ""
    return f"step {clean(step.step)}{name}" if step.step else name_of(step)


def _title(screen: Screen, text: str) -> None:
    screen.line(screen.style(text, "bold"))
