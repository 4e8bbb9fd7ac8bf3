"""``durable update``: a message into a run, and its answer."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import click

import durable
from durable_cli._errors import REFUSED, Failed
from durable_cli._options import (
    color_option,
    file_option,
    json_option,
    message_id_option,
    run_argument,
    settings,
    timeout_option,
    value_of,
)
from durable_cli._verbs import look, tell_why

__all__ = ["command"]


@click.command(
    "update", epilog='Example: durable update cart-7 add \'{"sku": "tea"}\' --id order-1'
)
@run_argument
@click.argument("name")
@click.argument("payload", metavar="[JSON]", default="null")
@message_id_option("Of the update: it is done once, and this asks for its answer again.")
@timeout_option("Wait so long for the answer, else until it comes")
@json_option
@file_option
@color_option
def command(
    run: str, name: str, payload: str, message_id: str, limit_s: float | None, *, as_json: bool
) -> None:
    """Send a run an update, and wait for its answer.

    The answer is written as JSON. Exit code 6: it was refused, it failed, or the run ended first.
    """
    value = value_of(payload)
    path, name_of_run, before = look(run)
    key = message_id or secrets.token_hex(8)
    answer = asyncio.run(_update(path, name_of_run, name, value, key, limit_s))
    screen = settings().screen()
    if as_json:
        screen.json({"run": before.id, "update": name, "id": key, "answer": answer})
    else:
        screen.json(answer)


async def _update(
    path: str, run: str, name: str, value: Any, key: str, limit_s: float | None
) -> Any:
    from durable.messages import Update

    async with durable.Client(path) as client:
        handle = await client.get(run)
        asking = asyncio.ensure_future(handle.update(Update[Any, Any](name), value, id=key))
        telling = asyncio.ensure_future(tell_why(handle, path))
        try:
            async with asyncio.timeout(limit_s):
                return await asking
        except TimeoutError:
            raise Failed(
                f"no answer within {limit_s:g} s",
                f"the update is not taken back; ask for its answer with --id {key}",
                REFUSED,
            ) from None
        finally:
            telling.cancel()
