"""The command group. It names each command and loads none of them before it is used."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING

import click

from durable.verbs import VERBS
from durable_cli._errors import ReaderGone, guarded
from durable_cli._options import color_option, file_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "run"]

# Listed with what else reads and sends.
MESSAGES = ("query", "signal", "update")
COMMANDS = {
    "ls": "List runs, newest first.",
    "show": "Show one run: why it waits, its steps, its error.",
    "jobs": "List acts on many runs, and how far they are.",
    "tree": "Show a run's family: who started whom, and how each is.",
    "diff": "Show where two runs' histories differ first.",
    "issues": "List like failures as one; retry, mute or resolve a group.",
    "stats": "How many runs, how often, how long, how large the file is.",
    "doctor": "Look the file over: pages, rows, counts, log, workers.",
    "verify": "Say whether a file, or a backup, is whole.",
    "sql": "Ask the file in SQL; reading only.",
    "start": "Start a run; a worker does the work.",
    "read": "Show what a run has published.",
    "logs": "Show what a run's code has logged.",
    "tail": "Follow a run's events, or a stream of it, until it ends.",
    "wait": "Wait until runs have ended; the exit code says how.",
    "query": VERBS["query"].text,
    "signal": VERBS["signal"].text,
    "update": VERBS["update"].text,
    "answer": "Answer what a run waits for, by its token.",
    **{one.command: one.text for one in VERBS.values() if one.name == one.command not in MESSAGES},
    "prune": "Delete runs that ended long ago, or that a filter means.",
    "check": "Replay every open run against the code on disk.",
    "replay": "Replay runs, open or closed, against the code on disk.",
    "debug": "Look into the code of a run, where it stands, with pdb.",
    "lint": "Warn of what workflow code should not do: time, chance, files, threads.",
    "backup": "Copy the file, consistent and checked, while it is in use.",
    "export": "Write runs into one file, for somebody else; hide what is private.",
    "import": "Read the runs of such a file, paused.",
    "ui": "Show the file's runs in a browser, and repair them there.",
    "adopt": "Put durable's tables into your application's own SQLite file.",
    "worker": "Serve the file of an engine until stopped.",
    "new": "Make a folder with a workflow, its engine, a test, a unit file.",
    "completion": "Write a script for the completion of bash, zsh or fish.",
    "version": "Show versions.",
    "help": "Explain filters, exit codes and the environment.",
}
"""Name and what ``durable --help`` says of it. Each is the object ``command`` of its own module:
``import`` of ``import_``, for a module cannot be called as a keyword is."""


class LazyGroup(click.Group):
    """Loads the module of a command when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        found = import_module(f"durable_cli.{module}").command
        assert isinstance(found, click.Command)
        return found

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin so, without loading the commands."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=text)
            for name, text in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        # Of the options, when those are asked for.
        return names or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="RUN is an id (its newest run), id#2 (exactly that one), the end of an id, last (the "
    "newest of all) or last:invoice.* (of these workflows). QUERY: see durable help query.",
)
@file_option
@color_option
def group() -> None:
    """Look at durable runs in a SQLite file, let them go on, stop them, serve them."""


def run(arguments: Sequence[str] | None) -> int:
    """Run one command and return the exit code."""
    # Started with a closed stdout or stderr (`>&-`), Python has None there.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  to the end
            setattr(sys, name, nowhere)
    given = list(sys.argv[1:] if arguments is None else arguments)

    def command() -> int:
        code = group.main(given or ["--help"], prog_name="durable", standalone_mode=False)
        return code if isinstance(code, int) else 0

    return guarded(command)
