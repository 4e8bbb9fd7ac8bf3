"""``durable version``: what a report of a bug should name."""

from __future__ import annotations

import click

from durable.inspection import versions
from durable_cli._options import color_option, json_option, settings

__all__ = ["command"]


@click.command("version")
@json_option
@color_option
def command(*, as_json: bool) -> None:
    """Show the versions of durable, Python, SQLite and apsw."""
    screen = settings().screen()
    found = versions()
    if as_json:
        screen.json(found)
        return
    for name, version in found.items():
        screen.line(f"{name:<8}  {version}")
