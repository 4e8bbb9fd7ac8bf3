"""``durable new``: the beginning of a project."""

from __future__ import annotations

import re
from pathlib import Path

import click

from durable_cli._errors import Failed
from durable_cli._options import color_option, json_option, settings
from durable_cli._output import clean
from durable_cli._skeleton import files_of

__all__ = ["command"]

# What packages, users of Linux and units of systemd may all be called.
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}[a-z0-9]")


@click.command("new", epilog="Example: durable new shop")
@click.argument("name")
@json_option
@color_option
def command(name: str, *, as_json: bool) -> None:
    """Make a folder NAME with a workflow, its engine, a test and a unit for systemd.

    NAME may be a path. A folder that exists is left alone.
    """
    folder = Path(name)
    if not _NAME.fullmatch(folder.name):
        raise click.UsageError(
            f"{folder.name!r} cannot be the name of a project: it has 2 to 32 small letters of "
            "ASCII, digits, - and _, begins with a letter, and ends with a letter or a digit"
        )
    files = files_of(folder.name)
    try:
        folder.mkdir()
        for path, text in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise click.UsageError(f"{folder} exists already; it was left alone") from None
    except FileNotFoundError:
        raise click.UsageError(f"there is no folder {str(folder.parent)!r}") from None
    except OSError as error:
        raise Failed(f"{folder} cannot be made: {error.strerror}") from None
    screen = settings().screen()
    if as_json:
        screen.json({"folder": str(folder), "files": list(files)})
        return
    for path in files:
        screen.line(clean(str(folder / path)))
    if screen.is_terminal:
        screen.line(screen.style(f"next: cd {clean(str(folder))} && python app.py", "dim"))
