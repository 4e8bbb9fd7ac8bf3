"""The suite is collected whatever is not installed, and says aloud what it does not check then."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What some tests want and not every environment has: the browser's tools, the extra `ui` and what
# asks it, the frameworks that users bring. Pytest, hypothesis and coverage are the suite itself.
OPTIONAL = [
    *("playwright", "axe_playwright_python", "fastapi", "pydantic", "trio"),
    *("starlette", "uvicorn", "httpx", "jsonschema"),
]

# Run by Python before anything else: what is blocked is as if it were not installed.
BLOCKER = """
import os, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["BLOCKED"].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def concerned(packages: list[str]) -> list[str]:
    """Return the test files that reach any of the packages by their imports, however indirectly."""
    files = {
        path.relative_to(ROOT): path.read_text()
        for folder in ("durable", "cli", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    names = {path: ".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files}
    reached = {path for path, text in files.items() if _imports(text, packages)}
    found = reached
    while found:
        modules = [names[path] for path in reached]
        found = {path for path in files.keys() - reached if _imports(files[path], modules)}
        reached |= found
    return sorted(str(path) for path in reached if path.name.startswith("test_"))


def _imports(text: str, modules: list[str]) -> bool:
    # At the beginning of a line: what a function imports when it is called hinders no collection.
    named = "|".join(re.escape(module) for module in modules)
    pattern = rf"^(?:import|from) +({named})\b|importorskip\(\s*\"({named})\b"
    return re.search(pattern, text, re.MULTILINE) is not None


def collected(
    blocked: list[str], where: list[str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Collect tests in a process in which some packages cannot be imported."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *where],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "BLOCKED": " ".join(blocked)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_suite_is_collected_without_each_optional_package(tmp_path: Path) -> None:
    """The whole suite without all of them; then what reaches one, without that one alone."""
    asked = [(OPTIONAL, ["tests"])]
    asked += [([package], files) for package in OPTIONAL if (files := concerned([package]))]

    with ThreadPoolExecutor(2) as two_at_a_time:
        futures = [
            two_at_a_time.submit(collected, blocked, where, tmp_path / str(index))
            for index, (blocked, where) in enumerate(asked)
        ]
        done = [future.result() for future in futures]

    # 5 is pytest's exit code where every file skipped itself.
    failed = [
        f"without {' '.join(blocked)}:\n{one.stdout}{one.stderr}"
        for (blocked, _), one in zip(asked, done, strict=True)
        if one.returncode not in {0, 5}
    ]
    assert failed == []
    # A file that skips itself says so, and why.
    said = [line for one in done for line in one.stdout.splitlines() if line.startswith("SKIPPED")]
    assert said
    assert [line for line in said if "NOT CHECKED" not in line] == []
