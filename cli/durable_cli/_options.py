"""The options several commands share, and how a command finds its file and its run."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from durable_cli._errors import Failed
from durable_cli._output import Screen, clean, cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable.inspection import Viewer

__all__ = [
    "Settings",
    "color_option",
    "file_option",
    "find_run",
    "json_option",
    "json_value",
    "message_id_option",
    "reason_option",
    "run_argument",
    "say",
    "seconds_of",
    "settings",
    "tell",
    "timeout_option",
    "value_of",
]

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")
ENVIRONMENT = "DURABLE_DB"
# More names than that help nobody to choose.
NAMES_SHOWN = 5
# Of what was typed, in an error.
TEXT_SHOWN = 60


@attrs.define
class Settings:
    """What the options before and after the command's name say; the later one counts."""

    file: str | None = None
    color: str = "auto"
    as_json: bool = False

    def words(self) -> Screen:
        """Return the screen for what is said in words: nowhere, if the outcome is JSON."""
        return Screen(io.StringIO()) if self.as_json else self.screen()

    def outcome(self, value: Any) -> None:
        """Write what a verb did, if it is wanted as JSON."""
        if self.as_json:
            self.screen().json(value)

    def screen(self) -> Screen:
        """Return the screen for stdout."""
        return Screen(sys.stdout, self.color)

    def path(self) -> str:
        """Return the file: the option's, else ``$DURABLE_DB``, else the only ``*.db`` here.

        Raises:
            click.UsageError: There is none, or more than one.
        """
        named = self.file if self.file is not None else os.environ.get(ENVIRONMENT)
        if named:
            return _refuse_pipes(named)
        if self.file is not None:
            raise click.UsageError("--db is empty; it takes the path of a file")
        found = sorted(path.name for path in Path().glob("*.db") if path.is_file())
        if len(found) == 1:
            return found[0]
        if not found:
            raise click.UsageError(
                f"which file? No *.db is in this folder; name one with -d FILE or ${ENVIRONMENT}"
            )
        names = ", ".join(map(clean, found[:NAMES_SHOWN]))
        more = ", ..." if len(found) > NAMES_SHOWN else ""
        raise click.UsageError(
            f"which file? This folder has {names}{more}; name one with -d FILE or ${ENVIRONMENT}"
        )


def _refuse_pipes(path: str) -> str:
    # Opening a named pipe would wait for its other end, forever.
    if "\0" not in path and Path(path).is_fifo():
        raise Failed(f"{path} is a pipe; durable needs a file")
    return path


def settings() -> Settings:
    """Return the settings of the command being run."""
    return click.get_current_context().ensure_object(Settings)


def _keep(name: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def callback(context: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            setattr(context.ensure_object(Settings), name, value)

    return callback


def file_option(function: Decorated) -> Decorated:
    """Add ``-d FILE``."""
    return click.option(
        "-d", "--db", metavar="FILE", expose_value=False, callback=_keep("file"),
        help=f"The file; else ${ENVIRONMENT}, else the only *.db in this folder.",
    )(function)  # fmt: skip


def color_option(function: Decorated) -> Decorated:
    """Add ``--color``."""
    return click.option(
        "--color", type=click.Choice(["auto", "always", "never"]), expose_value=False,
        callback=_keep("color"),
        help="Colour: auto means on a terminal; NO_COLOR and FORCE_COLOR count.",
    )(function)  # fmt: skip


def json_option(function: Decorated) -> Decorated:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")(function)


def _as_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Settings).as_json = True


def outcome_option(function: Decorated) -> Decorated:
    """Add ``--json`` to a verb: its words become one object."""
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=_as_json, help="The outcome, as JSON."
    )(function)


def watch_option(function: Decorated) -> Decorated:
    """Add ``--watch``."""
    return click.option(
        "--watch", type=_Interval(), is_flag=False, flag_value="2s", metavar="[INTERVAL]",
        help="Again whenever the file changes, and at the latest after 2s, until Ctrl-C.",
    )(function)  # fmt: skip


class _Interval(click.ParamType[float]):
    name = "interval"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds of a duration."""
        if isinstance(value, float):
            return value
        from durable.errors import UsageError
        from durable.policies import duration_us

        try:
            seconds = duration_us(value, "interval") / 1e6
        except UsageError as error:
            self.fail(str(error), param, ctx)
        if not 0.1 <= seconds <= 86_400:
            self.fail(f"{value} is no interval; between 100ms and 1d", param, ctx)
        return seconds


def message_id_option(text: str) -> Callable[[Decorated], Decorated]:
    """Add ``--id``, with this help."""
    return click.option("--id", "message_id", metavar="ID", default="", help=text)


def reason_option(function: Decorated) -> Decorated:
    """Add ``--reason``."""
    return click.option(
        "--reason", metavar="TEXT", default="", help="Why, in your words; kept in the audit."
    )(function)


def timeout_option(text: str) -> Callable[[Decorated], Decorated]:
    """Add ``--timeout``, with this help; the command gets seconds, or None."""
    return click.option(
        "--timeout", "limit_s", metavar="TIME", callback=_limit_s, help=f"{text}, as in 30s or 2m."
    )


def _limit_s(_: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    found = seconds_of(text, parameter.opts[0])
    if found == 0:
        raise click.UsageError(f"{parameter.opts[0]} is longer than 0")
    return found


def seconds_of(text: str, option: str) -> float:
    """Return a duration of the command line, ``30s`` or ``90``, in seconds.

    Raises:
        click.UsageError: It is none.
    """
    from durable.errors import UsageError
    from durable.policies import duration_us

    try:
        given = float(text) if text.replace(".", "", 1).isdecimal() else text
        return duration_us(given, "it") / 1e6
    except UsageError as error:
        raise click.UsageError(f"{option}: {str(error).removeprefix('it: ')}") from None


def run_argument(function: Decorated) -> Decorated:
    """Add ``RUN``."""
    return click.argument("run")(function)


def value_of(text: str) -> Any:
    """Return what a JSON text of the command line means.

    Raises:
        click.UsageError: It is no JSON.
    """
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise click.UsageError(
            f"{cut(clean(text), TEXT_SHOWN)} is no JSON; a text has quotes of its own: '\"yes\"'"
        ) from None


def json_value(text: str) -> Any:
    """Return what a JSON text means, or that of a file: ``@answer.json``.

    Raises:
        click.UsageError: It is no JSON, or there is no such file.
    """
    if not text.startswith("@"):
        return value_of(text)
    try:
        return value_of(Path(text[1:]).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{clean(text[1:])} cannot be read: {clean(str(error))}") from None


def find_run(runs: Viewer, text: str) -> str:
    """Return what names the run in the file that was typed; see `Viewer.find_name`.

    Raises:
        RunNotFound: There is none, or several.
    """
    found = runs.find_name(text)
    if found is None:
        from durable.errors import RunNotFound

        if text == "last":
            raise RunNotFound("no run is in the file, so there is no last one")
        raise RunNotFound(f"no run {text!r} is in the file; `durable ls` lists them")
    return found


def bulk_options(function: Decorated) -> Decorated:
    """Add ``--yes`` and ``--dry-run``."""
    yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    dry = click.option("--dry-run", is_flag=True, help="Say which runs, and do nothing.")
    return yes(dry(function))


def target_argument(function: Decorated) -> Decorated:
    """Add ``RUN|QUERY``."""
    return click.argument("run", metavar="RUN|QUERY")(function)


def whole_options(function: Decorated) -> Decorated:
    """Add ``RUN|QUERY``, or ``--workflow NAME``, or ``--queue NAME``."""
    run = click.argument("run", metavar="[RUN|QUERY]", required=False, default="")
    workflow = click.option(
        "--workflow", metavar="NAME", help="A workflow as a whole: what is started later too."
    )
    queue = click.option(
        "--queue", metavar="NAME", help="A task queue as a whole: what is started later too."
    )
    return run(workflow(queue(function)))


def tell(runs: Viewer) -> None:
    """Say on stderr what the file seems to lack, and why a worker cannot write to it."""
    for text in (runs.missing, runs.trouble):
        if text:
            say(text)


def say(text: str) -> None:
    """Say something on stderr."""
    screen = Screen(sys.stderr, settings().color)
    screen.line(clean(text))
    screen.flush()
