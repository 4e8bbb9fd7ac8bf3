"""What `check` and `replay` tell: which runs fit the code, and what does not fit."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from durable_cli._errors import CHECK_FAILED
from durable_cli._output import clean, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable import Misfit
    from durable_cli._options import Decorated
    from durable_cli._output import Screen

__all__ = ["Found", "junit_option", "tell"]


def junit_option(function: Decorated) -> Decorated:
    """Add ``--junit``."""
    return click.option(
        "--junit", metavar="FILE", type=click.Path(dir_okay=False),
        help="Write the outcome as JUnit XML too: a test case a run.",
    )(function)  # fmt: skip


@attrs.define
class Found:
    """What was found so far.

    Attributes:
        fits: How many runs fit.
        names: Which they are, where that is known.
        misfits: What does not fit.
    """

    fits: int = 0
    names: list[str] = attrs.field(factory=list[str])
    misfits: list[Misfit] = attrs.field(factory=list[Any])

    def add(self, one: Misfit | None, name: str = "") -> None:
        """Add one run."""
        if one is not None:
            self.misfits.append(one)
            return
        self.fits += 1
        if name:
            self.names.append(name)


def tell(screen: Screen, found: Found, junit: str | None, *, as_json: bool) -> int:
    """Write what was found, and return the exit code."""
    if junit is not None:
        Path(junit).write_text(_junit(found), encoding="utf-8")
    if as_json:
        misfits = [attrs.asdict(one) for one in found.misfits]
        counts = {"fit": found.fits, "misfit": len(misfits), "misfits": misfits}
        screen.json({**counts, "fits": found.names} if found.names else counts)
    else:
        for one in found.misfits:
            _misfit(screen, one)
        screen.line(_summary(found.fits, found.misfits))
    return CHECK_FAILED if found.misfits else 0


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


def _junit(found: Found) -> str:
    from xml.sax.saxutils import quoteattr

    lines = ['<?xml version="1.0" encoding="utf-8"?>']
    lines.append(
        f'<testsuite name="durable check" tests="{found.fits + len(found.misfits)}" '
        f'failures="{len(found.misfits)}">'
    )
    for one in found.misfits:
        name, group = quoteattr(clean(one.run)), quoteattr(clean(one.workflow))
        lines.append(f"  <testcase name={name} classname={group}>")
        lines.append(
            f"    <failure type={quoteattr(one.kind)} message={quoteattr(clean(one.message))}/>"
        )
        lines.append("  </testcase>")
    lines += [
        f'  <testcase name={quoteattr(clean(name))} classname="durable"/>' for name in found.names
    ]
    if found.fits > len(found.names):
        lines.append(f'  <testcase name="{found.fits} runs that fit" classname="durable"/>')
    lines.append("</testsuite>")
    return "\n".join(lines) + "\n"
