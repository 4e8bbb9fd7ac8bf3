"""``durable ui``: the runs of a file in a browser."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

import durable
from durable_cli._errors import Failed
from durable_cli._options import color_option, file_option, settings

if TYPE_CHECKING:
    from durable.web import Served

__all__ = ["command"]

PORT = 8080


@click.command("ui", epilog="Example: durable ui app.db --app shop:engine")
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help=f"The port, {PORT} if it is free; 0: any that is free.",
)
@click.option(
    "--token",
    envvar="DURABLE_TOKEN",
    metavar="TEXT",
    help="What a browser has to know, instead of a random text; also DURABLE_TOKEN.",
)
@click.option("--read-only", is_flag=True, help="Look only; acts are refused.")
@click.option(
    "--app",
    metavar="APP:ENGINE",
    help="Import this application: for typed forms, and to see where code waits.",
)
@click.option("--open/--no-open", "opens", default=None, help="Whether a browser is opened.")
@file_option
@color_option
def command(
    file: str | None,
    host: str,
    port: int | None,
    token: str | None,
    app: str | None,
    *,
    read_only: bool,
    opens: bool | None,
) -> None:
    """Show the runs of a file in a browser, and repair them there.

    No worker and no code is needed. It listens on this machine alone; the address that is written
    holds a token, and lets a browser in once. Ctrl-C ends it; runs are not touched by that.
    """
    engine = None
    if app is not None:
        from durable_cli._apps import find_engine

        engine = find_engine(app)
        if file is None and settings().file is None:
            file = engine.path
    if file is not None:
        settings().file = file
    path, screen = settings().path(), settings().screen()
    with durable.view(path):  # What is no file of ours is refused before anything listens.
        pass
    try:
        from durable.web import serve
    except ModuleNotFoundError as error:
        raise Failed(
            f"the pages need {error.name}, which is not installed",
            'pip install "durable-sqlite[ui]"',
        ) from None

    def ready(served: Served) -> None:
        screen.line(served.address)
        screen.flush()
        if opens or (opens is None and screen.is_terminal):
            click.launch(served.address)

    client = durable.Client(path)
    asyncio.run(
        serve(
            client,
            host=host,
            port=_port(host) if port is None else port,
            token=token,
            read_only=read_only,
            engine=engine,
            ready=ready,
        )
    )


def _port(host: str) -> int:
    """Return the usual port if nobody listens there, else 0."""
    import socket

    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(kind, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, PORT))
        except OSError:
            return 0
    return PORT
