"""``durable wait``: until runs have ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click

import durable
from durable_cli._errors import OPEN_STILL, Failed
from durable_cli._options import (
    color_option,
    file_option,
    json_option,
    settings,
    timeout_option,
)
from durable_cli._verbs import code_of_end, ended, look_at, tell_trouble, write_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable import Run, RunSummary

__all__ = ["command"]

Ends = dict["Run[Any]", "RunSummary"]


@click.command("wait", epilog="Example: durable wait order-42 order-43 --timeout 10m")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@timeout_option("Wait at most so long; else until all have ended")
@click.option("--any", "any_", is_flag=True, help="Until one of them has ended.")
@json_option
@file_option
@color_option
def command(runs: tuple[str, ...], limit_s: float | None, *, any_: bool, as_json: bool) -> int:
    """Wait until each RUN has ended: a line for each, in the order in which they were given.

    A run that continues as new is followed. No worker is needed to wait, but somebody must do the
    work. Exit code 0: all completed; 1: one failed; 7: one was cancelled or terminated; 8: the time
    was over.
    """
    path, names = look_at(list(dict.fromkeys(runs)))
    return asyncio.run(_wait(path, names, limit_s, any_=any_, as_json=as_json))


async def _wait(
    path: str, names: Sequence[str], limit_s: float | None, *, any_: bool, as_json: bool
) -> int:
    screen, ends = settings().screen(), Ends()
    async with durable.Client(path) as client:
        handles = [await client.get(name) for name in names]
        following = _first(handles) if any_ else _each(handles)
        telling = asyncio.ensure_future(tell_trouble(path))
        try:
            async with asyncio.timeout(limit_s):
                async for handle, end in following:
                    ends[handle] = end
                    if not as_json:
                        write_end(screen, end)
        except TimeoutError:
            for handle in handles:
                if handle not in ends:
                    ends[handle] = await handle.details()
                    if not as_json:
                        write_end(screen, ends[handle])
        finally:
            telling.cancel()
        if as_json:
            screen.json([await ended(handle, end) for handle, end in ends.items()])
    code = code_of_end([*ends.values()])
    if code == OPEN_STILL:
        still = sum(1 for one in ends.values() if one.closed is None)
        have = "run has" if len(names) == 1 else f"of {len(names):,} runs have"
        raise Failed(f"{still:,} {have} not ended within {limit_s:g} s", code=OPEN_STILL)
    return code


async def _each(handles: Sequence[Run[Any]]) -> AsyncIterator[tuple[Run[Any], RunSummary]]:
    for handle in handles:
        yield handle, await handle.wait()


async def _first(handles: Sequence[Run[Any]]) -> AsyncIterator[tuple[Run[Any], RunSummary]]:
    waits = [asyncio.ensure_future(handle.wait()) for handle in handles]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()
    # Of several that had ended before, the first that was named counts.
    yield next(
        (handle, one.result())
        for handle, one in zip(handles, waits, strict=True)
        if one.done() and not one.cancelled()
    )
