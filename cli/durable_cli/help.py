"""``durable help``: what is no single command's."""

from __future__ import annotations

import click

from durable_cli._options import settings

__all__ = ["command"]


@click.command("help", epilog="Example: durable help query")
@click.argument("topic", type=click.Choice(["query", "exit-codes", "environment"]))
def command(topic: str) -> None:
    """Explain what many commands share: filters, exit codes, the environment."""
    text = {"query": _query, "exit-codes": _exit_codes, "environment": _environment}[topic]()
    for line in text.strip().splitlines():
        settings().screen().line(line)


def _query() -> str:
    from durable import filters

    about = (filters.__doc__ or "").replace("``", "").replace("::\n", "")
    fields = {
        **{name: field.text for name, field in filters.FIELDS.items()},
        "attr.NAME": "an attribute it was started with",
        "input.PATH": "of its arguments; input.1.id looks into the second one",
        "output.PATH": "of its result",
    }
    width = max(map(len, fields))
    lines = [f"  {name:{width}}  {text}" for name, text in fields.items()]
    language = about.partition("A text is parsed here")[0].rstrip()
    return "\n".join([language, "", "Fields:", "", *lines])


def _exit_codes() -> str:
    from durable_cli import _errors

    return _errors.__doc__ or ""


def _environment() -> str:
    return """
DURABLE_DB    the file, where no -d FILE is given
NO_COLOR      no colour
FORCE_COLOR   colour into a pipe too
COLUMNS       how wide a table may be
"""
