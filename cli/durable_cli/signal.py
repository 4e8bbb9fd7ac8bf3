"""``durable signal``: a message into a run, without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable.verbs import VERBS
from durable_cli._bulk import act_on_many
from durable_cli._options import (
    bulk_options,
    color_option,
    file_option,
    message_id_option,
    outcome_option,
    target_argument,
    value_of,
)
from durable_cli._output import clean
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Client, Run
    from durable.client import Job

__all__ = ["command"]


@click.command("signal", epilog="Example: durable signal order-42 approval true")
@target_argument
@click.argument("name")
@click.argument("payload", metavar="[JSON]", default="null")
@bulk_options
@message_id_option("Of the message: a second one of this id is not delivered.")
@outcome_option
@file_option
@color_option
def command(
    run: str,
    name: str,
    payload: str,
    message_id: str,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    """Send a run a signal.

    It is in the file when this returns, and the run receives it once: now, or when a worker starts,
    or when its code asks for it. JSON is null if left out.
    """
    from durable.messages import Signal

    signal, value = Signal[Any](name), value_of(payload)

    words = VERBS["signal"]

    async def many(client: Client, query: str) -> Job:
        return await client.signal_all(query, signal, value)

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.signal(signal, value, id=message_id)
        return handle

    if act_on_many(run, words, many, verb, yes=yes, dry_run=dry_run):
        return

    asked = ask(run, verb)
    asked.screen.line(f"signal {clean(name)} is sent to {asked.name}")
    asked.say_status()
