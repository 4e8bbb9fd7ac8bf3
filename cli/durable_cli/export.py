"""``durable export``: runs in one file, for somebody else."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import click

import durable
from durable_cli._bulk import query_of, runs_text
from durable_cli._options import color_option, file_option, find_run, json_option, settings
from durable_cli._output import Screen, clean, size

__all__ = ["command"]

SKIPPED_SHOWN = 5


@click.command("export", epilog="Example: durable export order-42 -o order-42.jsonl --redact email")
@click.argument("run", metavar="RUN|QUERY")
@click.option(
    "-o", "--output", metavar="FILE", required=True,
    help="Where they go, compressed if it ends in .gz; - is stdout.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--all-ordinals", is_flag=True, help="Every ordinal of their ids.")
@click.option("--children", is_flag=True, help="The runs they started too, and what those started.")
@click.option(
    "--redact", metavar="PATH", multiple=True,
    help="A key whose values are hidden, as email or customer.card; * hides every text. May be "
    "given again.",
)  # fmt: skip
@click.option("--skip-damaged", is_flag=True, help="Leave out runs that do not read, and say so.")
@json_option
@file_option
@color_option
def command(
    run: str,
    output: str,
    redact: tuple[str, ...],
    *,
    force: bool,
    all_ordinals: bool,
    children: bool,
    skip_damaged: bool,
    as_json: bool,
) -> None:
    """Write RUN, or every run of QUERY, with all that belongs to it into one file.

    durable import reads it into another file, where it can be shown, replayed and gone on with.
    FILE is of one moment; it appears whole, or not at all.
    """
    is_stream = output == "-"
    if is_stream and as_json:
        raise click.UsageError("--json tells of a FILE; with -o - the runs are on stdout")
    with durable.view(settings().path()) as runs:
        meant = query_of(runs, run) or find_run(runs, run)
        made = runs.export(
            meant,
            sys.stdout.buffer if is_stream else output,
            all_ordinals=all_ordinals,
            children=children,
            redact=redact,
            skip_damaged=skip_damaged,
            overwrite=force,
        )
    if as_json:
        count = Path(made.path).stat().st_size
        settings().screen().json(attrs.asdict(made) | {"bytes": count})
        return
    errors = Screen(sys.stderr)
    for name, why in made.skipped[:SKIPPED_SHOWN]:
        errors.line(f"left out {clean(name)}: {clean(why)}")
    if made.damaged > SKIPPED_SHOWN:
        errors.line(f"left out {runs_text(made.damaged - SKIPPED_SHOWN)} more")
    if not is_stream:
        hidden = ", redacted" if made.redacted else ""
        count = Path(made.path).stat().st_size
        settings().screen().line(
            f"{clean(made.path)} has {runs_text(made.runs)}, {made.events:,} "
            f"{'event' if made.events == 1 else 'events'}{hidden}, {size(count)}"
        )
