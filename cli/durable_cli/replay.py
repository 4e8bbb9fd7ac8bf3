"""``durable replay``: does this code fit these runs, open or closed?"""

from __future__ import annotations

import click

import durable
from durable.inspection import check_report_target
from durable_cli._apps import find_engine
from durable_cli._misfits import Found, junit_option, tell
from durable_cli._options import color_option, file_option, find_run, json_option, settings
from durable_cli._output import clean

__all__ = ["command"]


@click.command("replay", epilog="Example: durable replay shop:engine order-42#1 order-43")
@click.argument("app", metavar="APP:ENGINE")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@junit_option
@json_option
@file_option
@color_option
def command(app: str, runs: tuple[str, ...], junit: str | None, *, as_json: bool) -> int:
    """Replay each RUN, open or closed, against the code on disk.

    Nothing is performed and nothing is written. A closed run fits if the code would end it as it
    ended. The file is the engine's, unless -d names another one. Exit code 6: one does not fit.
    """
    engine, screen = find_engine(app), settings().screen()
    path = engine.path if settings().file is None else settings().path()
    if junit is not None:
        check_report_target(path, junit)
    with durable.view(path) as viewer:
        names = [find_run(viewer, one) for one in dict.fromkeys(runs)]
    found = Found()
    for name, one in zip(names, engine.check(runs=names, path=path), strict=True):
        found.add(one, name)
        if one is None and not as_json:
            screen.line(f"{screen.style(clean(name), 'bold')}  fits")
    return tell(screen, found, junit, as_json=as_json)
