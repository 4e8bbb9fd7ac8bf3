"""``durable debug``: into a run's code, where it stands, with its real local variables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import durable
from durable_cli._apps import find_engine
from durable_cli._errors import CHECK_FAILED
from durable_cli._options import color_option, file_option, find_run, settings
from durable_cli._output import clean

if TYPE_CHECKING:
    from durable import Stopped
    from durable_cli._debugger import Stack
    from durable_cli._output import Screen

__all__ = ["command"]

LIBRARY = str(Path(durable.__file__).parent)


@click.command("debug", epilog="Example: durable debug shop:engine order-8812 --at charge")
@click.argument("app", metavar="APP:ENGINE")
@click.argument("run", metavar="RUN")
@click.option(
    "--at", "place", metavar="PLACE",
    help="Before this: a step's end, by its id or name, or event:N, or last. The end by default.",
)  # fmt: skip
@click.option(
    "-c", "--command", "commands", metavar="COMMAND", multiple=True,
    help="Type this into pdb, and quit after the last one. May be given again.",
)  # fmt: skip
@file_option
@color_option
def command(app: str, run: str, place: str | None, commands: tuple[str, ...]) -> int:
    """Replay a run up to a place of its history, and look into its code with pdb.

    Of a failed run the failure is shown. Nothing is performed and nothing is written, and workers
    may serve the file meanwhile; a breakpoint() in the workflow stops the replay there. Without a
    terminal each task is written with its variables.
    """
    engine, screen = find_engine(app), settings().screen()
    path = engine.path if settings().file is None else settings().path()
    with durable.view(path) as runs:
        name = find_run(runs, run)
    with engine.stopped(name, at=place, path=path) as stopped:
        return _look(screen, stopped, commands)


def _look(screen: Screen, stopped: Stopped, commands: tuple[str, ...]) -> int:
    from durable_cli._debugger import Debugger, locals_of, own_frames, scripted

    stacks = own_frames(stopped, LIBRARY)
    _header(screen, stopped, stacks)
    if stacks and commands:
        screen.text(scripted(stacks, commands))
    elif stacks and sys.stdin.isatty() and screen.is_terminal:
        screen.line("tasks lists the tasks, task NAME goes to one; w u d p l are pdb's; q leaves")
        screen.flush()
        Debugger(stacks).look()
    else:
        for name, stack in stacks.items():
            screen.line(f"task {clean(name)}:")
            for line in locals_of(stack):
                screen.line(line)
    return 0 if stopped.blocked is None else CHECK_FAILED


def _header(screen: Screen, stopped: Stopped, stacks: dict[str, Stack]) -> None:
    name = screen.style(clean(stopped.run), "bold")
    screen.line(f"{name} after event {stopped.event:,}")
    if stopped.blocked is not None:
        screen.line(screen.style(clean(f"blocked: {stopped.blocked}"), "red"))
    elif stopped.error is not None:
        what = f"{type(stopped.error).__name__}: {stopped.error}"
        screen.line(screen.style(clean(f"failed: {what}"), "red"))
    elif not stacks:
        screen.line("its code has ended; choose an earlier place with --at")
