"""``durable lint``: what in workflow code would not be the same on replay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from durable.linting import RULES, SOURCE_BYTES_MAX, UNREADABLE, Finding, lint, unreadable
from durable_cli._errors import CHECK_FAILED, NOT_FOUND, Failed
from durable_cli._options import color_option, json_option, settings
from durable_cli._output import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_cli._output import Screen

__all__ = ["command"]

# Besides hidden folders and virtual environments; what is in them is others' code.
FOLDERS_LEFT_OUT = {"__pycache__", "node_modules", "site-packages"}


def _codes(_: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> frozenset[str]:
    codes = {one.strip().upper() for text in texts for one in text.split(",")}
    unknown = sorted(codes - set(RULES))
    if unknown:
        raise click.UsageError(
            f"{parameter.opts[0]}: no rule {clean(unknown[0])!r}; there are {', '.join(RULES)}"
        )
    return frozenset(codes)


@click.command("lint", epilog="Example: durable lint app.py flows --ignore DUR107")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--select", metavar="CODES", multiple=True, callback=_codes,
              help="These rules only, as in DUR101,DUR105.")  # fmt: skip
@click.option("--ignore", metavar="CODES", multiple=True, callback=_codes,
              help="Not these rules.")  # fmt: skip
@json_option
@color_option
def command(
    paths: tuple[str, ...], select: frozenset[str], ignore: frozenset[str], *, as_json: bool
) -> int:
    """Warn of what workflows should not do: time, chance, files, threads, the order of sets.

    PATH is a file or a folder; without one it is this folder. The code is read, not imported.
    Helpers in the same module are followed. `# noqa: DUR101` at the end of a line silences it.
    If anything is found the exit code is 6.
    """
    given = paths or (".",)
    for path in given:
        if not Path(path).exists():
            raise Failed(f"{path} does not exist", code=NOT_FOUND)
    # What cannot be read was not checked, so leaving it out takes more than not selecting it.
    wanted = ((select | {UNREADABLE}) if select else set(RULES)) - ignore
    count, found = 0, list[Finding]()
    for one in _files(given):
        if isinstance(one, Finding):
            found.append(one)
        else:
            count += 1
            found += _lint_file(one)
    found = [one for one in found if one.code in wanted]
    _tell(settings().screen(), count, found, as_json=as_json)
    return CHECK_FAILED if found else 0


def _files(paths: tuple[str, ...]) -> Iterator[str | Finding]:
    """Yield each file once, in order; or that a folder cannot be read."""
    seen: set[str] = set()
    chosen = sorted((one for path in paths for one in _files_below(path)), key=_place)
    for one in chosen:
        real = os.path.realpath(one if isinstance(one, str) else one.path)
        if real not in seen:
            seen.add(real)
            yield one


def _place(one: str | Finding) -> str:
    return one if isinstance(one, str) else one.path


def _files_below(path: str) -> Iterator[str | Finding]:
    if not Path(path).is_dir():
        yield os.path.normpath(path)
        return
    troubles: list[Finding] = []

    def note(error: OSError) -> None:
        where = os.path.normpath(str(error.filename))
        troubles.append(unreadable(where, error.strerror or "it cannot be listed"))

    # Symbolic links to folders are not followed, so there are no loops.
    for folder, folders, files in os.walk(path, onerror=note):
        folders[:] = [one for one in folders if not _is_left_out(Path(folder, one))]
        for name in files:
            file = os.path.normpath(Path(folder, name))
            if name.endswith(".py") and not name.startswith(".") and Path(file).is_file():
                yield file
    yield from troubles


def _is_left_out(folder: Path) -> bool:
    return (
        folder.name.startswith(".")
        or folder.name in FOLDERS_LEFT_OUT
        or (folder / "pyvenv.cfg").exists()
    )


def _lint_file(path: str) -> list[Finding]:
    try:
        # A pipe would wait for its other end, forever.
        if not Path(path).is_file():
            return [unreadable(path, "it is no file")]
        with Path(path).open("rb") as file:
            source = file.read(SOURCE_BYTES_MAX + 1)
    except OSError as error:
        return [unreadable(path, error.strerror or str(error))]
    return lint(source, path)


def _tell(screen: Screen, count: int, found: list[Finding], *, as_json: bool) -> None:
    if as_json:
        findings = [{**attrs.asdict(one), "name": RULES[one.code].name} for one in found]
        screen.json({"files": count, "findings": findings})
        return
    for one in found:
        place = f"{screen.style(clean(one.path), 'bold')}:{one.line}:{one.column}:"
        screen.line(f"{place} {screen.style(one.code, 'red')} {clean(one.message)}")
    if screen.is_terminal:
        screen.line(f"{_counted(len(found), 'warning')} in {_counted(count, 'file')}")


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
