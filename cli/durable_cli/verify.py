"""``durable verify``: is a file, or a backup of one, whole."""

from __future__ import annotations

import sys

import click

from durable_cli._options import color_option, file_option, json_option, settings
from durable_cli._output import clean
from durable_cli.doctor import UNWELL, looked_over

__all__ = ["command"]

_OF_THE_FILE = frozenset({"integrity", "commits", "rows", "payloads", "counts"})


@click.command("verify", epilog="Example: durable verify backup.db")
@click.argument("file", required=False, type=click.Path())
@json_option
@file_option
@color_option
def command(file: str | None, *, as_json: bool) -> None:
    """Say whether a file, or a backup of one, is whole: what doctor finds wrong, and nothing else.

    Silent and 0 if it is, one line for each fault and 1 if not.
    """
    found = looked_over(file or settings().path(), quick=False)
    wrong = [one for one in found if not one.is_well and one.name in _OF_THE_FILE]
    screen = settings().screen()
    if as_json:
        screen.json(wrong)
    else:
        for one in wrong:
            screen.line(clean(f"{one.name}: {one.text}"))
    if wrong:
        screen.flush()
        sys.exit(UNWELL)
