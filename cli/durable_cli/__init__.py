"""The command line: ``durable ls``, ``durable show RUN``, ``durable worker APP:ENGINE``.

Law: a command is loaded when it is used, and one that only looks loads no event loop: ``durable
ls`` should feel like ``ls``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows the program's name; by default what the process was given.

    Returns:
        The exit code; `durable_cli._errors` has the table.
    """
    from durable_cli._main import run

    return run(arguments)
