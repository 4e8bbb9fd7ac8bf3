"""``durable check``: does this code fit the runs in flight?"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from durable_cli._apps import find_engine
from durable_cli._errors import CHECK_FAILED
from durable_cli._options import color_option, json_option, settings
from durable_cli._output import clean, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable import Misfit
    from durable_cli._output import Screen

__all__ = ["command"]


@click.command("check", epilog="Example: durable check shop:engine --junit check.xml")
@click.argument("app", metavar="APP:ENGINE")
@click.argument("query", nargs=-1)
@click.option(
    "--junit", metavar="FILE", type=click.Path(dir_okay=False),
    help="Write the outcome as JUnit XML too: a test case a run.",
)  # fmt: skip
@json_option
@color_option
def command(app: str, query: tuple[str, ...], junit: str | None, *, as_json: bool) -> int:
    """Replay every open run, or those of a filter, against the code on disk, before a deploy.

    Nothing is performed and nothing is written; workers may serve the file meanwhile. Each run that
    does not fit is shown with its difference; then the exit code is 6.
    """
    if settings().file is not None:
        raise click.UsageError("the engine names its file; leave out -d")
    screen = settings().screen()
    engine = find_engine(app)
    fits, misfits = 0, list[Any]()
    for one in engine.check(" ".join(query)):
        if one is None:
            fits += 1
        else:
            misfits.append(one)
    if junit is not None:
        Path(junit).write_text(_junit(fits, misfits), encoding="utf-8")
    if as_json:
        found = [attrs.asdict(one) for one in misfits]
        screen.json({"fit": fits, "misfit": len(misfits), "misfits": found})
    else:
        for one in misfits:
            _misfit(screen, one)
        screen.line(_summary(fits, misfits))
    return CHECK_FAILED if misfits else 0


def _summary(fits: int, misfits: Sequence[Misfit]) -> str:
    do = "does" if len(misfits) == 1 else "do"
    fit = "fits" if fits == 1 else "fit"
    return f"{fits:,} {fit}, {len(misfits):,} {do} not"


def _misfit(screen: Screen, one: Misfit) -> None:
    screen.line(f"{screen.style(clean(one.run), 'bold')}  {clean(one.workflow)}")
    difference = one.difference
    if difference:
        step = difference["step"]
        at = f"step {clean(step)}" if step else f"event {difference['event']}"
        recorded = dt.datetime.fromtimestamp(difference["at_us"] / 1e6, dt.UTC)
        where = f"  {clean(difference['where'])}" if difference["where"] else ""
        screen.line(f"  recorded  {at}  {clean(difference['recorded'])}  {moment(recorded)}")
        screen.line(f"  code now  {at}  {clean(difference['code'])}{where}")
    screen.line(f"  {clean(one.message)}")
    screen.line()


def _junit(fits: int, misfits: Sequence[Misfit]) -> str:
    from xml.sax.saxutils import quoteattr

    lines = ['<?xml version="1.0" encoding="utf-8"?>']
    lines.append(
        f'<testsuite name="durable check" tests="{fits + len(misfits)}" failures="{len(misfits)}">'
    )
    for one in misfits:
        name, group = quoteattr(clean(one.run)), quoteattr(clean(one.workflow))
        lines.append(f"  <testcase name={name} classname={group}>")
        lines.append(
            f"    <failure type={quoteattr(one.kind)} message={quoteattr(clean(one.message))}/>"
        )
        lines.append("  </testcase>")
    if fits:
        lines.append(f'  <testcase name="{fits} runs that fit" classname="durable"/>')
    lines.append("</testsuite>")
    return "\n".join(lines) + "\n"
