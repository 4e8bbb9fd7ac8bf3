"""``durable check``: does this code fit the runs in flight?"""

from __future__ import annotations

import click

from durable_cli._apps import find_engine
from durable_cli._misfits import Found, junit_option, tell
from durable_cli._options import color_option, json_option, settings

__all__ = ["command"]


@click.command("check", epilog="Example: durable check shop:engine --junit check.xml")
@click.argument("app", metavar="APP:ENGINE")
@click.argument("query", nargs=-1)
@junit_option
@json_option
@color_option
def command(app: str, query: tuple[str, ...], junit: str | None, *, as_json: bool) -> int:
    """Replay every open run, or those of a filter, against the code on disk, before a deploy.

    Nothing is performed and nothing is written; workers may serve the file meanwhile. Each run that
    does not fit is shown with its difference; then the exit code is 6.
    """
    if settings().file is not None:
        raise click.UsageError("the engine names its file; leave out -d")
    found = Found()
    for one in find_engine(app).check(" ".join(query)):
        found.add(one)
    return tell(settings().screen(), found, junit, as_json=as_json)
