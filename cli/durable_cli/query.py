"""``durable query``: a question to a run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

import durable
from durable.errors import QueryFailed
from durable_cli._errors import REFUSED, Failed
from durable_cli._options import (
    color_option,
    file_option,
    json_option,
    run_argument,
    settings,
    value_of,
)
from durable_cli._verbs import look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable import Engine

__all__ = ["command"]


@click.command("query", epilog="Example: durable query cart-7 total --app shop:engine")
@run_argument
@click.argument("name")
@click.argument("arguments", metavar="[JSON]...", nargs=-1)
@click.option(
    "--app",
    metavar="APP:ENGINE",
    help="Import this application, and replay the run here if no worker can answer.",
)
@json_option
@file_option
@color_option
def command(
    run: str, name: str, arguments: Sequence[str], app: str | None, *, as_json: bool
) -> None:
    """Ask a run a question; the answer is written as JSON.

    The worker that serves the run answers. With --app a run that has ended, or that no worker
    serves, is replayed in this process; nothing is executed, and nothing changes.
    """
    values = [value_of(one) for one in arguments]
    engine = None
    if app is not None:
        from durable_cli._apps import find_engine

        engine = find_engine(app)
        if settings().file is None:
            settings().file = engine.path
    path, name_of_run, before = look(run)
    try:
        answer = asyncio.run(_query(path, name_of_run, name, values, engine))
    except QueryFailed as error:
        hint = "" if engine else "where no worker serves the run, --app APP:ENGINE replays it here"
        raise Failed(str(error), hint, REFUSED) from None
    screen = settings().screen()
    if as_json:
        screen.json({"run": before.id, "query": name, "answer": answer})
    else:
        screen.json(answer)


async def _query(
    path: str, run: str, name: str, values: Sequence[Any], engine: Engine | None
) -> Any:
    from durable.messages import Query

    client = durable.Client(path)
    if engine is not None:  # The engine knows which functions it was given; it is not entered.
        client._resolve = engine._resolve  # type: ignore[method-assign]
    async with client:
        handle = await client.get(run)
        return await handle.query(Query[Any](name), *values)
