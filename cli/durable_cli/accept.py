"""``durable accept``: a recorded result is taken although its arguments changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from durable_cli._options import (
    color_option,
    file_option,
    outcome_option,
    reason_option,
    run_argument,
)
from durable_cli._output import clean
from durable_cli._verbs import ask

if TYPE_CHECKING:
    from durable import Run

__all__ = ["command"]


@click.command("accept")
@run_argument
@click.argument("step")
@reason_option
@outcome_option
@file_option
@color_option
def command(run: str, step: str, reason: str) -> None:
    """Take the recorded result of STEP although the code now passes it other arguments.

    RUN is blocked for that reason; it goes on with the result as it was recorded.

    Example: durable accept order-8812 4
    """

    async def verb(handle: Run[Any]) -> Run[Any]:
        await handle.accept(step, reason=reason)
        return handle

    asked = ask(run, verb)
    asked.screen.line(f"{asked.name} takes the recorded result of step {clean(step)}")
    asked.say_status()
