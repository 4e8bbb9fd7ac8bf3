"""``durable diff``: two runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

import durable
from durable_cli._errors import CHECK_FAILED
from durable_cli._options import color_option, file_option, find_run, json_option, settings
from durable_cli._output import cells, clean
from durable_cli._talk import decoded, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.inspection import ComparisonView, StepDifference, StepView
    from durable_cli._output import Screen

__all__ = ["command"]

INDENT = "  "
# Of what two values have in common, so much is shown before the place where they part.
SHOWN_BEFORE = 20
# Into a pipe a value is not cut before this.
VALUE_CELLS = 1_000
_PAYLOADS = ("arguments", "result")


@click.command("diff", epilog="Example: durable diff order-42#1 order-42#2")
@click.argument("one", metavar="RUN")
@click.argument("other", metavar="RUN")
@click.option("--all", "every", is_flag=True, help="Every step that differs, not only the first.")
@json_option
@file_option
@color_option
def command(one: str, other: str, *, every: bool, as_json: bool) -> int:
    """Show where the histories of two runs differ first, and how many of their steps do.

    Exit code 6: there is a difference.
    """
    path, screen = settings().path(), settings().screen()
    with durable.view(path) as runs:
        found = runs.compare(find_run(runs, one), find_run(runs, other))
    if as_json:
        screen.json(_plain(found))
    else:
        _write(screen, found, every=every)
    return 0 if found.is_same else CHECK_FAILED


def _plain(found: ComparisonView) -> dict[str, Any]:
    fields = attrs.asdict(found)
    fields["fields"] = {
        name: [decoded(one) for one in pair] if name in _PAYLOADS else list(pair)
        for name, pair in found.fields.items()
    }
    for difference in fields["differences"]:
        for side in ("one", "other"):
            step = difference[side]
            if step is not None:
                step.update({name: decoded(step[name]) for name in _PAYLOADS})
    return fields


def _write(screen: Screen, found: ComparisonView, *, every: bool) -> None:
    names = [clean(found.one.id), clean(found.other.id)]
    for field, (one, other) in found.fields.items():
        screen.line(screen.style(field, "dim"))
        _sides(screen, names, _parted(clean(one), clean(other), screen.ellipsis))
    if found.fields:
        screen.line()
    screen.line(_summary(found, names))
    for difference in found.differences if every else found.differences[:1]:
        screen.line()
        _step(screen, names, difference)
    told = len(found.differences)
    more = found.differ + found.only_one + found.only_other - told
    if every and more:
        screen.line(f"{screen.ellipsis} and {more:,} more")


def _summary(found: ComparisonView, names: Sequence[str]) -> str:
    are = "step is" if found.same == 1 else "steps are"
    does = "differs" if found.differ == 1 else "differ"
    only = f"{found.only_one:,} only in {names[0]}, {found.only_other:,} only in {names[1]}"
    return f"{found.same:,} {are} the same, {found.differ:,} {does}, {only}"


def _step(screen: Screen, names: Sequence[str], found: StepDifference) -> None:
    step = found.one or found.other
    assert step is not None, "one of them has it"
    title = f"step {clean(step.step)} ({name_of(step)})" if step.step else name_of(step)
    if found.what:
        what = ", ".join(found.what)
    else:
        what = f"only in {names[0] if found.other is None else names[1]}"
    screen.line(f"{screen.style(title, 'bold')}: {what}")
    contents = [_content(one) for one in (found.one, found.other)]
    if "name" not in found.what:  # The title has it.
        contents = [content[1:] for content in contents]
    if found.one is not None and found.other is not None:
        pairs = zip(*contents, strict=True)
        parted = [_parted(one, other, screen.ellipsis) for one, other in pairs]
        contents = [list(side) for side in zip(*parted, strict=True)]
    lines: list[str] = []
    for one, content in zip((found.one, found.other), contents, strict=True):
        status = "" if one is None else screen.status(one.status).text
        lines.append(INDENT.join([f"{status:<11}", *filter(None, content)]) if status else "")
    _sides(screen, names, lines)


def _content(step: StepView | None) -> list[str]:
    if step is None:
        return ["", "", ""]
    arguments = "" if step.status == "damaged" else clean(step.arguments)
    return [clean(step.name), arguments, clean(step.error or step.result)]


def _parted(one: str, other: str, ellipsis: str) -> tuple[str, str]:
    """Return two texts from a little before the place where they part."""
    parting = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    begin = next(parting, min(len(one), len(other))) - SHOWN_BEFORE
    if one == other or begin <= SHOWN_BEFORE:
        return one, other
    return ellipsis + one[begin:], ellipsis + other[begin:]


def _sides(screen: Screen, names: Sequence[str], texts: Sequence[str]) -> None:
    width = max(map(cells, names))
    for name, text in zip(names, texts, strict=True):
        label = f"{INDENT}{name}{' ' * (width - cells(name))}{INDENT}"
        room = (screen.columns if screen.is_terminal else VALUE_CELLS) - cells(label)
        line = screen.style(label, "dim") + screen.cut(text, max(0, room))
        screen.line(line.rstrip(" "))
