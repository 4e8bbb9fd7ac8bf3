"""Tests that documents link to exist; each line of docs/comparison.md has a verdict, and one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/comparison.md").read_text(encoding="utf-8")
LINES = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| Temporal")
]
VERDICTS = {"same", "better", "not offered"}
SHOWN_BY = re.compile(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)")


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


def test_there_are_lines_of_every_section() -> None:
    sections = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)

    assert len(LINES) >= 60
    assert {"Activities", "Timers", "Signals", "Queries", "Updates", "Children"} <= set(sections)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0][:60])
def test_a_line_has_a_verdict_and_a_test_that_exists(line: list[str]) -> None:
    what, verdict, why, shown_by = line

    assert what
    assert verdict in VERDICTS
    assert why
    links = SHOWN_BY.findall(shown_by)
    # What is not there cannot be shown; where something else is there, it is.
    assert links or verdict == "not offered"
    assert SHOWN_BY.sub("", shown_by).strip(", ") == ""
    for name, path in links:
        assert name in names_in(path), f"{path} has no {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_every_test_that_a_document_links_to_exists(path: Path) -> None:
    for name, linked in SHOWN_BY.findall(path.read_text(encoding="utf-8")):
        assert name in names_in(linked), f"{linked} has no {name}"
