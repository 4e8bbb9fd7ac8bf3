"""``durable worker``: serve a file until stopped."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from durable_cli._apps import find_engine
from durable_cli._options import color_option, settings
from durable_cli._output import Screen, clean

if TYPE_CHECKING:
    from durable import Engine

__all__ = ["command"]

# The line at the start names so many workflows, and counts the others.
NAMES_SHOWN = 8


@click.command("worker")
@click.argument("app", metavar="APP:ENGINE")
@click.option("--until-idle", is_flag=True, help="Leave when no run can go on by itself.")
@color_option
def command(app: str, *, until_idle: bool) -> None:
    """Serve the file of an engine until SIGTERM or Ctrl-C.

    APP is a module or a path.py; ENGINE is a durable.Engine in it, or a function that returns one.
    It stops in order: running activities get the engine's grace time, and nothing is lost.
    """
    if settings().file is not None:
        raise click.UsageError("the engine names its file; leave out -d")
    engine = find_engine(app)
    _announce(engine)

    from durable.engine import run_until_stopped

    run_until_stopped(engine, until_idle=until_idle)


def _announce(engine: Engine) -> None:
    names = [clean(name) for name in engine._names()]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    known = ", ".join(names[:NAMES_SHOWN]) + more or "none"
    path = Path(engine._path).absolute()
    screen = Screen(sys.stderr, settings().color)
    screen.line(f"worker {os.getpid()} serves {clean(str(path))}; workflows: {known}")
