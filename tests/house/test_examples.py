"""Every example runs as a person would run it, twice, and says the same both times."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ARGUMENTS = {
    "04_document_pipeline.py": ["--limit", "6", "--slow-ms", "0"],
    "demo.py": ["--limit", "25", "--slow-ms", "20", "--kill-after", "40"],
}
# Modules that others import.
MODULES = {"summarise.py"}
# Served, not run: its test needs a browser.
SERVICES = {"09_in_fastapi.py"}
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if path.name not in MODULES | SERVICES)

pytestmark = pytest.mark.slow


def run(script: Path, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(script), *ARGUMENTS.get(script.name, [])],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # An example may fail on purpose: that is told, and nothing else.
    told = [line for line in done.stderr.splitlines() if line.startswith("run ")]
    assert bool(told) == bool(done.stderr), done.stderr
    assert all(" failed, " in line or " failed: " in line for line in told), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if path.name != "demo.py"], ids=lambda path: path.name
)
def test_an_example_says_the_same_when_it_is_run_again(script: Path, tmp_path: Path) -> None:
    first = run(script, tmp_path)
    again = run(script, tmp_path)

    assert first
    assert again == first


@pytest.mark.crash
def test_the_demo_proves_that_nothing_recorded_ran_twice(tmp_path: Path) -> None:
    said = run(EXAMPLES / "demo.py", tmp_path)

    assert "kill -9" in said
    assert said.splitlines()[-1] == "Proved: no recorded step ran twice, and none is missing."
