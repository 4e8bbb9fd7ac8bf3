"""``durable backup``: a checked copy of a file that is in use."""

from __future__ import annotations

from pathlib import Path

import click

import durable
from durable_cli._options import color_option, file_option, json_option, settings
from durable_cli._output import clean, size

__all__ = ["command"]


@click.command("backup", epilog="Example: durable backup /var/backups/shop --keep 7")
@click.argument("dest")
@click.option("--force", is_flag=True, help="Replace DEST if it exists.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="DEST is a folder: add a copy named by the time, and leave the newest N.",
)
@json_option
@file_option
@color_option
def command(dest: str, keep: int | None, *, force: bool, as_json: bool) -> None:
    """Copy the file to DEST, consistent and checked, while others go on using it.

    DEST appears whole, or not at all.
    """
    if force and keep is not None:
        raise click.UsageError("--keep replaces nothing: leave out --force")
    with durable.view(settings().path()) as runs:
        made = runs.backup(dest, keep=keep, overwrite=force)
    screen, count = settings().screen(), Path(made).stat().st_size
    if as_json:
        screen.json({"path": made, "bytes": count})
    else:
        screen.line(f"{clean(made)} is a checked copy, {size(count)}")
