"""``durable completion``: what a shell needs to complete this program's words."""

from __future__ import annotations

import click

from durable_cli._options import color_option, settings

__all__ = ["command"]

PROGRAM, VARIABLE = "durable", "_DURABLE_COMPLETE"


@click.command("completion", epilog='Example: eval "$(durable completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@color_option
def command(shell: str) -> None:
    """Write a script by which SHELL completes the commands and options of `durable`.

    bash: eval "$(durable completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc, after compinit;
    fish: durable completion fish > ~/.config/fish/completions/durable.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "each of the shells is one that click knows"
    root = click.get_current_context().find_root().command
    # Click's `source` runs the shell first, to see whether it is new enough: whoever asks for a
    # script may do so where that shell is not.
    made = kind(root, {}, PROGRAM, VARIABLE)
    settings().screen().text(made.source_template % made.source_vars() + "\n")
