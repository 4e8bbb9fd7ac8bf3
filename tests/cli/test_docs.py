"""docs/cli.md: every command and every option is in it, and nothing that is gone."""

import re
from pathlib import Path

import click
import pytest

from durable_cli._main import COMMANDS, group

TEXT = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")
CONTEXT = click.Context(group)


def section(name: str) -> str:
    found = re.search(rf"^## durable {name}\b.*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/cli.md has no section on durable {name}"
    return found[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_with_an_example(name: str) -> None:
    assert re.search(rf"^\$ durable (-d \S+ )?{name}\b", section(name), re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_in_its_section(name: str) -> None:
    command = group.get_command(CONTEXT, name)
    assert command is not None
    shared = {option for one in group.params for option in one.opts}

    for parameter in command.params:
        if not isinstance(parameter, click.Option) or set(parameter.opts) <= shared:
            continue
        assert all(f"`{option}" in section(name) for option in parameter.opts), parameter.opts


def test_the_shared_options_are_there() -> None:
    assert all(f"`{option}" in TEXT for one in group.params for option in one.opts)


def test_no_option_is_there_that_is_gone() -> None:
    known = {"--help", "--"}
    for command in (group, *(group.get_command(CONTEXT, name) for name in COMMANDS)):
        assert command is not None
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        for each in (command, *inner):
            known |= {option for one in each.params for option in (*one.opts, *one.secondary_opts)}

    assert set(re.findall(r"(?<![-\w])--[a-z][a-z-]*", TEXT)) <= known
