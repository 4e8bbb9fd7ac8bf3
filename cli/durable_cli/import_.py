"""``durable import``: runs out of somebody else's file, paused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import click

import durable
from durable.client import import_into_new
from durable.inspection import ImportView
from durable_cli._bulk import runs_text
from durable_cli._options import color_option, file_option, json_option, reason_option, settings
from durable_cli._output import clean

__all__ = ["command"]


@click.command("import", epilog="Example: durable import order-42.jsonl -d debug.db")
@click.argument("file")
@click.option("--rename", metavar="PREFIX", default="", help="What every id begins with here.")
@reason_option
@json_option
@file_option
@color_option
def command(file: str, rename: str, reason: str, *, as_json: bool) -> None:
    """Read the runs of FILE, which durable export wrote, into the file: all of them, or none.

    The file of -d is made if it does not exist. No run starts by itself: what was open is paused,
    and durable resume lets it run here.
    """
    path = settings().path()
    is_new = not Path(path).exists()
    made = asyncio.run(_import(path, file, rename, reason, is_new=is_new))
    screen = settings().screen()
    if as_json:
        screen.json(attrs.asdict(made))
        return
    names = ", ".join(map(clean, made.names)) + (", ..." if made.runs > len(made.names) else "")
    hidden = ", redacted" if made.redacted else ""
    paused = f", {made.paused:,} paused" if made.paused else ""
    screen.line(f"{runs_text(made.runs)} imported{paused}{hidden}{': ' if names else ''}{names}")


async def _import(path: str, file: str, rename: str, reason: str, *, is_new: bool) -> ImportView:
    if is_new:
        return await import_into_new(path, file, rename=rename, reason=reason)
    async with durable.Client(path) as client:
        return await client.import_(file, rename=rename, reason=reason)
