"""``durable version``: what a report of a bug should name."""

from __future__ import annotations

import platform
import sys
from importlib import import_module

import click

import durable
from durable_cli._options import color_option, json_option, settings

__all__ = ["command"]


@click.command("version")
@json_option
@color_option
def command(*, as_json: bool) -> None:
    """Show the versions of durable, Python, SQLite and apsw."""
    screen = settings().screen()
    # By name: only the store imports apsw; here nothing but its versions is asked.
    apsw = import_module("apsw")
    versions = {
        "durable": durable.__version__,
        "python": platform.python_version(),
        "sqlite": str(apsw.sqlite_lib_version()),
        "apsw": str(apsw.apsw_version()),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    if as_json:
        screen.json(versions)
        return
    for name, version in versions.items():
        screen.line(f"{name:<8}  {version}")
