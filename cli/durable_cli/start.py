"""``durable start``: a new run, for a worker to take."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from typing import TYPE_CHECKING, Any

import click

import durable
from durable.filters import interval_of, span_of
from durable_cli._apps import find_workflow
from durable_cli._errors import OPEN_STILL, Failed
from durable_cli._options import (
    color_option,
    file_option,
    find_run,
    json_option,
    json_value,
    seconds_of,
    settings,
    timeout_option,
)
from durable_cli._output import clean
from durable_cli._verbs import code_of_end, ended, tell_why, write_end

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from durable import Run, Workflow
    from durable.inspection import Viewer

__all__ = ["command"]


@click.command("start", epilog="Example: durable start shop:fulfil '[8812]' --id order-8812 --wait")
@click.argument("app", metavar="APP:WORKFLOW")
@click.argument("arguments", metavar="[JSON]", required=False)
@click.option("--id", "run_id", metavar="ID", help="Of the run: the same id means the same run.")
@click.option(
    "--arg", "named", metavar="NAME=JSON", multiple=True,
    help="An argument by its name; NAME=@FILE reads it. May be given again.",
)  # fmt: skip
@click.option("--like", metavar="RUN", help="With the arguments of this run.")
@click.option("--delay", metavar="TIME", help="Begin after so long, as in 5m.")
@click.option("--at", metavar="TIME", help="Begin then, as in 2026-12-01T09:00 (UTC).")
@click.option(
    "--on-closed",
    type=click.Choice(["return", "retry", "restart", "error"]),
    help="If the run of this id has ended: return it (the default), or something else.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be started, and store nothing.")
@click.option("--wait", "waits", is_flag=True, help="Until it has ended; the exit code says how.")
@timeout_option("With --wait: at most so long")
@json_option
@file_option
@color_option
def command(
    app: str,
    arguments: str | None,
    run_id: str | None,
    named: Sequence[str],
    like: str | None,
    delay: str | None,
    at: str | None,
    on_closed: str | None,
    limit_s: float | None,
    *,
    dry_run: bool,
    waits: bool,
    as_json: bool,
) -> int:
    """Start a run, and write its id; a worker does the work.

    APP is a module or a path.py, WORKFLOW a workflow in it. JSON is a list of arguments, or
    {"args": [...], "kwargs": {...}}; @FILE reads it. Nothing of the workflow is executed here.
    """
    if limit_s is not None and not waits:
        raise click.UsageError("--timeout is for --wait")
    if like is not None and (arguments is not None or named):
        raise click.UsageError("--like takes the arguments of another run; give it, or arguments")
    if delay is not None and at is not None:
        raise click.UsageError("say when it begins by --delay or by --at")
    args, kwargs = _given(arguments, named)
    workflow = find_workflow(app)
    path = settings().path()
    with durable.view(path) as runs:  # What is no file of ours is refused before it is written to.
        options = _options(run_id, delay, at, on_closed, runs.now())
        if like is not None:
            args, kwargs = _of_run(runs, find_run(runs, like), workflow)
        workflow = workflow.options(**options)
        args, kwargs = _fitting(workflow, args, kwargs)
        if dry_run:
            return _rehearse(runs, workflow, run_id, args, kwargs, as_json=as_json)
    return asyncio.run(_start(path, workflow, args, kwargs, limit_s, waits=waits, as_json=as_json))


def _options(
    run_id: str | None, delay: str | None, at: str | None, on_closed: str | None, now: dt.datetime
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if run_id is not None:
        options["id"] = run_id
    if delay is not None:
        options["start_delay"] = seconds_of(delay, "--delay")
    if at is not None:
        options["start_delay"] = _until(at, now)
    if on_closed is not None:
        options["on_closed"] = on_closed
    return options


def _until(text: str, now: dt.datetime) -> float:
    """Return the seconds until a moment that somebody names."""
    now_us = round(now.timestamp() * 1e6)
    found = None if span_of(text) is not None else interval_of(text, now_us)
    if found is None or found[0] < now_us:
        raise click.UsageError(
            f"--at takes a moment to come, as in 2026-12-01T09:00 (UTC), not {clean(text)!r:.60}"
        )
    return (found[0] - now_us) / 1e6


def _of_run(
    runs: Viewer, name: str, workflow: Workflow[..., Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments that another run has, as plain data."""
    other = runs.get_row(name).workflow
    if other not in {workflow.name, *workflow.aliases}:
        raise click.UsageError(
            f"run {clean(name)} is of the workflow {clean(other)}, not of {workflow.name}"
        )
    return _given(runs.payload(name, "arguments").decode(), ())


def _rehearse(
    runs: Viewer,
    workflow: Workflow[..., Any],
    run_id: str | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    as_json: bool,
) -> int:
    """Say what would be started; everything but the commit has been tried."""
    workflow.codec.encode(tuple(args), dict(kwargs))
    status = ""
    if run_id is not None:
        with contextlib.suppress(durable.RunNotFound):
            status = runs.header(run_id).status
    screen = settings().screen()
    if as_json:
        screen.json({"id": run_id, "workflow": workflow.name, "status": status or None})
        return 0
    name = "" if run_id is None else f" {clean(run_id)}"
    is_there = f"; there is one of this id: {status}" if status else ""
    screen.line(f"would start{name} ({clean(workflow.name)}){is_there}")
    return 0


def _given(text: str | None, named: Sequence[str]) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments of the command line, as plain data."""
    args, kwargs = list[Any](), dict[str, Any]()
    match [] if text is None else json_value(text):
        case list() as values:
            args = values
        case {"args": list() as values, "kwargs": dict() as others, **rest} if not rest:
            args, kwargs = values, others
        case _:
            raise click.UsageError(
                'the arguments are a list, as in \'[8812]\', or {"args": [...], "kwargs": {...}}'
            )
    for one in named:
        name, mark, value = one.partition("=")
        if not mark or not name:
            raise click.UsageError(f"--arg takes NAME=JSON, not {one!r}")
        if name in kwargs:
            raise click.UsageError(f"the argument {name!r} is given twice")
        kwargs[name] = json_value(value)
    return args, kwargs


def _fitting(
    workflow: Workflow[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments by the types of the workflow's parameters."""
    whole = {"args": args, "kwargs": kwargs} if kwargs else args
    try:
        values, named = workflow.codec.decode(json.dumps(whole).encode())
    except durable.PayloadError as error:
        reason = str(error).rpartition("does not fit the function: ")[2]
        signature = f"{workflow.fn.__name__}{inspect.signature(workflow.fn)}"
        raise click.UsageError(f"these arguments do not fit {signature}: {reason}") from None
    return values, named


async def _start(
    path: str,
    workflow: Workflow[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    limit_s: float | None,
    *,
    waits: bool,
    as_json: bool,
) -> int:
    async with durable.Client(path) as client:
        run: Run[Any] = await client.start(workflow, *args, **kwargs)
        if waits:
            return await _wait(run, path, limit_s, as_json=as_json)
        screen, found = settings().screen(), await run.details()
        if as_json:
            screen.json({"id": found.id, "workflow": found.workflow, "status": found.status})
            return 0
        screen.line(clean(found.id))
        if screen.is_terminal:
            why = f": {clean(found.why)}" if found.why else ""
            screen.line(screen.style(f"now {found.status}{why}", "dim"))
    return 0


async def _wait(run: Run[Any], path: str, limit_s: float | None, *, as_json: bool) -> int:
    telling = asyncio.ensure_future(tell_why(run, path))
    try:
        async with asyncio.timeout(limit_s):
            end = await run.wait()
    except TimeoutError:
        end = await run.details()
    finally:
        telling.cancel()
    screen = settings().screen()
    if as_json:
        screen.json(await ended(run, end))
    else:
        write_end(screen, end)
    code = code_of_end([end])
    if code == OPEN_STILL:
        raise Failed(
            f"run {end.id} has not ended within {limit_s:g} s", f"durable wait {end.id}", code
        )
    return code
