"""`.ci/run` begins as a newcomer does: with the README's commands, in its order."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKE = re.compile(r"^\(?make (?:--\w+ )*((?:VENV=\S+ )?[a-z-]+)", re.MULTILINE)


def test_the_readme_commands_come_first_and_in_its_order() -> None:
    readme = re.findall(r"^make ([a-z]+) ", (ROOT / "README.md").read_text(), re.MULTILINE)
    run = MAKE.findall((ROOT / ".ci/run").read_text())

    assert len(readme) == 2
    assert run[:2] == readme


def test_nothing_more_is_installed_where_the_tests_run() -> None:
    *_, later = (ROOT / ".ci/run").read_text().partition("make --silent test")
    asked = MAKE.findall(later)

    assert asked[-1] == "check"  # After the tests have ended.
    assert asked[:-1]
    assert all(target.startswith("VENV=") for target in asked[:-1])
