"""``durable adopt``: the library's tables in a file of your application."""

from __future__ import annotations

import click

import durable
from durable_cli._options import color_option, settings

__all__ = ["command"]


@click.command("adopt", epilog="Example: durable adopt shop.db")
@click.argument("file", type=click.Path())
@color_option
def command(file: str) -> None:
    """Put durable's tables into a SQLite file of your application, beside its own.

    They are named durable_...; the file gets a write-ahead log, and nothing else of it changes.
    """
    durable.adopt(file)
    settings().screen().line(f"{file} has durable's tables now, beside its own")
