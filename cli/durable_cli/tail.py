"""``durable tail``: events as they are committed, or a stream as it is written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

import durable
from durable_cli._bulk import query_of
from durable_cli._errors import NOT_FOUND, Failed
from durable_cli._events import plain, write_event
from durable_cli._options import color_option, file_option, json_option, settings
from durable_cli._output import clean, to_json
from durable_cli._verbs import look, write_end

if TYPE_CHECKING:
    from durable import Item
    from durable_cli._output import Screen

__all__ = ["command"]


@click.command("tail", epilog="Example: durable tail chat-1 tokens --join")
@click.argument("run", metavar="[RUN|QUERY]", required=False, default="")
@click.argument("stream", required=False)
@click.option(
    "--from",
    "first",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of a stream: begin at this position; the first item has 0.",
)
@click.option(
    "--join", is_flag=True, help="Of a stream: write texts one after another: tokens become prose."
)
@click.option(
    "--since",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of events: leave out those up to number N; the first event has 1.",
)
@json_option
@file_option
@color_option
def command(
    run: str,
    stream: str | None,
    first: int | None,
    since: int | None,
    *,
    join: bool,
    as_json: bool,
) -> None:
    """Follow a run's events, or a stream of it, until the run ends; from the beginning.

    Of a QUERY, or of nothing, the events of all runs that it means are followed, from now on, until
    Ctrl-C.

    Without STREAM: a line for each event as it is committed. With STREAM: an item a line. An
    activity that is tried again appends again: a line says so, and with --json each item has its
    step, attempt and index, from 0 in each attempt.
    """
    if stream is None:
        if first is not None or join:
            raise click.UsageError("--from and --join are of a stream; name one, or use --since")
        path, query = _meant(run)
        if query is not None:
            if since is not None:
                raise click.UsageError("--since is of one run; many are followed from now on")
            asyncio.run(_follow_many(path, query, as_json=as_json))
            return
        path, name_of_run, _ = look(run)
        asyncio.run(_follow_events(path, name_of_run, since or 0, as_json=as_json))
        return
    if since is not None:
        raise click.UsageError("--since is of events; a stream begins --from a position")
    path, name_of_run, before = look(run)
    names = [one.name for one in before.streams]
    # What an open run has not, it may have yet; one that continued may have it in what follows.
    if before.closed is not None and before.status != "continued" and stream not in names:
        known = ", ".join(names) or "none"
        message = f"run {before.id} has no stream {stream!r}; it has: {known}"
        raise Failed(message, code=NOT_FOUND)
    follower = _Follower(settings().screen(), join=join, as_json=as_json)
    asyncio.run(_follow(path, name_of_run, stream, first or 0, follower))
    follower.end()


# -- events ----------------------------------------------------------------------------------------


def _meant(text: str) -> tuple[str, str | None]:
    """Return the path of the file, and the filter that a text is; None if it is a run."""
    path = settings().path()
    with durable.view(path) as runs:
        return path, query_of(runs, text) if text else ""


async def _follow_many(path: str, query: str, *, as_json: bool) -> None:
    screen = settings().screen()
    client: durable.Client
    async with durable.Client(path) as client:
        async for event in client.events(query):
            if as_json:
                screen.json(plain(event), is_line=True)
            else:
                write_event(screen, event)
            screen.flush()


async def _follow_events(path: str, run: str, after: int, *, as_json: bool) -> None:
    screen = settings().screen()
    async with durable.Client(path) as client:
        handle = await client.get(run)
        async for event in handle.events(after=after):
            if as_json:
                screen.json(plain(event), is_line=True)
            else:
                write_event(screen, event)
            screen.flush()
        if screen.is_terminal and not as_json:
            write_end(screen, await handle.wait())


# -- a stream --------------------------------------------------------------------------------------


async def _follow(path: str, run: str, stream: str, first: int, follower: _Follower) -> None:
    from durable.messages import Stream

    async with durable.Client(path) as client:
        handle = await client.get(run)
        async for item in handle.tail(Stream[Any](stream), from_=first):
            follower.write(item)


class _Follower:
    """Writes items as they come."""

    def __init__(self, screen: Screen, *, join: bool, as_json: bool) -> None:
        self._screen = screen
        self._join = join
        self._as_json = as_json
        self._seen: set[tuple[int, str]] = set()
        self._in_line = False

    def write(self, item: Item[Any]) -> None:
        """Write one item, at once."""
        if self._as_json:
            self._screen.json(
                {
                    "position": item.position,
                    "ordinal": item.ordinal,
                    "step": item.step,
                    "attempt": item.attempt,
                    "index": item.index,
                    "at": item.at,
                    "value": item.value,
                },
                is_line=True,
            )
        else:
            self._tell_again(item)
            self._write(item.value)
        self._screen.flush()

    def _write(self, value: Any) -> None:
        if self._join and isinstance(value, str):
            self._screen.text(value)
            self._in_line = not value.endswith("\n") if value else self._in_line
            return
        self.end()
        self._screen.line(clean(value) if isinstance(value, str) else to_json(value, is_line=True))

    def _tell_again(self, item: Item[Any]) -> None:
        """Say that an attempt is repeated: what it appended before comes once more."""
        key = item.ordinal, item.step
        is_again = item.index == 0 and key in self._seen
        self._seen.add(key)
        if is_again:
            self.end()
            text = f"-- step {clean(item.step)} again, attempt {item.attempt} --"
            self._screen.line(self._screen.style(text, "dim"))

    def end(self) -> None:
        """End the line, if one is open."""
        if self._in_line:
            self._screen.line()
            self._in_line = False
