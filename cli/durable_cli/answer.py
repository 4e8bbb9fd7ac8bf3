"""``durable answer``: what a run waits for, by its token."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

import durable
from durable_cli._options import color_option, file_option, json_option, settings, value_of
from durable_cli._output import clean

if TYPE_CHECKING:
    from durable import RunDetails

__all__ = ["command"]


@click.command("answer", epilog="Example: durable answer TOKEN true")
@click.argument("token")
@click.argument("payload", metavar="[JSON]", required=False)
@click.option("--reject", metavar="MESSAGE", help="Say no: PromiseRejected is raised in the run.")
@json_option
@file_option
@color_option
def command(token: str, payload: str | None, reject: str | None, *, as_json: bool) -> None:
    """Answer a promise of a run, or an activity that is completed from outside.

    The run hands its token out; `durable show RUN` has it too. The first answer counts.
    """
    if (payload is None) == (reject is None):
        raise click.UsageError("one of JSON and --reject MESSAGE is the answer")
    value = None if payload is None else value_of(payload)
    path, screen = settings().path(), settings().screen()
    with durable.view(path):  # What is no file of ours is refused before anything is written.
        pass
    found = asyncio.run(_answer(path, token, value, reject))
    if as_json:
        screen.json({"run": found.id, "status": found.status})
        return
    screen.line(f"{screen.style(clean(found.id), 'bold')} has its answer")
    status = screen.status(found.status)
    why = f": {clean(found.why)}" if found.why else ""
    screen.line(f"now {screen.style(status.text, *status.styles)}{why}")


async def _answer(path: str, token: str, value: object, reject: str | None) -> RunDetails:
    async with durable.Client(path) as client:
        if reject is None:
            run = await client.resolve(token, value)
        else:
            run = await client.reject(token, reject)
        return await run.details()
