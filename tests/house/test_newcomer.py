"""`.ci/run` begins as a newcomer does: with the README's commands, in its order."""

import re
import subprocess
import sys
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


def test_tests_in_the_background_can_interrupt_what_they_start() -> None:
    told = "import signal, tests.conftest; print(signal.getsignal(signal.SIGINT).__name__)"
    done = subprocess.run(
        ["sh", "-c", f"trap '' INT; exec {sys.executable} -c '{told}'"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.strip() == "default_int_handler"
