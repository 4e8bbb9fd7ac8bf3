"""``durable check``: does this code fit the runs in flight?"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

import durable
from durable.inspection import LIST_LIMIT_MAX, check_report_target
from durable_cli._apps import find_engine
from durable_cli._misfits import Found, junit_option, tell
from durable_cli._options import color_option, json_option, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable import Engine

__all__ = ["command"]


@click.command("check", epilog="Example: durable check shop:engine --junit check.xml")
@click.argument("app", metavar="APP:ENGINE")
@click.argument("query", nargs=-1)
@click.option(
    "--exported",
    metavar="FILE",
    multiple=True,
    help="Also the runs of an export, open or closed, as durable replay does. May be given again.",
)
@junit_option
@json_option
@color_option
def command(
    app: str,
    query: tuple[str, ...],
    exported: tuple[str, ...],
    junit: str | None,
    *,
    as_json: bool,
) -> int:
    """Replay every open run, or those of a filter, against the code on disk, before a deploy.

    Nothing is performed and nothing is written; workers may serve the file meanwhile. Each run that
    does not fit is shown with its difference; then the exit code is 6.
    """
    if settings().file is not None:
        raise click.UsageError("the engine names its file; leave out -d")
    engine, found = find_engine(app), Found()
    if junit is not None:
        check_report_target(engine.path, junit)
    if Path(engine.path).exists() or not exported:
        for one in engine.check(" ".join(query)):
            found.add(one)
    for source in exported:
        _check_export(engine, source, found)
    return tell(settings().screen(), found, junit, as_json=as_json)


def _check_export(engine: Engine, source: str, found: Found) -> None:
    """Replay the runs of an export, in a file of their own that goes afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.db"
        names = asyncio.run(_import(path, source))
        for name, one in zip(names, engine.check(runs=names, path=path), strict=True):
            found.add(one, name)


async def _import(path: Path, source: str) -> Sequence[str]:
    client: durable.Client
    async with durable.Client(path, create=True) as client:
        await client.import_(source)
    with durable.view(path) as runs:
        names: list[str] = []
        before = None
        while page := runs.list("superseded:any", limit=LIST_LIMIT_MAX, before=before):
            names += [one.id if "#" in one.id else f"{one.id}#1" for one in page]
            before = page[-1].key
        return names[::-1]
