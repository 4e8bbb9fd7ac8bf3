"""The documents say what is so: their code compiles, their names exist, their links resolve."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import durable

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
NAME = re.compile(r"\bdurable\.([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*))?")
# What follows "durable." in names of other things.
NO_NAMES = {"client", "db", "fish", "md", "testing", "py", "web"}


@attrs.frozen
class Block:
    """A fenced block; the words after the fence say what is done with it.

    ``python`` compiles; ``python run`` is also run as a script of its own, with exit code 0.
    """

    path: Path
    line: int
    words: list[str]
    text: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


def blocks() -> list[Block]:
    found: list[Block] = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(path, line, match[1].split(), match[2]))
    return found


PYTHON = [block for block in blocks() if block.words[:1] == ["python"]]
RUN = [block for block in PYTHON if "run" in block.words]

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
every_python_block = pytest.mark.parametrize("block", PYTHON, ids=str)


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


@every_python_block
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=str)
def test_python_marked_run_does_run(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(block.text, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr


def test_some_blocks_run() -> None:
    assert {"README.md", "tutorial.md"} <= {block.path.name for block in RUN}


@every_document
def test_names_of_the_library_exist(path: Path) -> None:
    for name, attribute in NAME.findall(path.read_text(encoding="utf-8")):
        if name in NO_NAMES or name.startswith("_"):
            continue
        assert name in durable.__all__, f"{path.name} speaks of durable.{name}"
        value = getattr(durable, name)
        if attribute and isinstance(value, type):
            fields = {field.name for field in attrs.fields(value)} if attrs.has(value) else set()
            assert attribute in fields or hasattr(value, attribute), f"durable.{name}.{attribute}"


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_keywords_of_our_calls_exist(block: Block) -> None:
    # Compiling does not see a keyword argument that no longer exists; these few carry most of them.
    import inspect

    known = {
        "activity": set(inspect.signature(durable.Activity.options).parameters),
        "workflow": {"name", "aliases", "on_failure", "run_timeout"},
        "Retry": {field.name for field in attrs.fields(durable.Retry)},
        "Limits": {field.name for field in attrs.fields(durable.Limits)},
        "Engine": set(inspect.signature(durable.Engine).parameters),
    }
    known["options"] = known["activity"] | set(
        inspect.signature(durable.Workflow.options).parameters
    )
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            used = {keyword.arg for keyword in node.keywords if keyword.arg}
            assert used <= known.get(name, used), f"{block}: {name}(...)"


@every_document
def test_relative_links_resolve(path: Path) -> None:
    for target, anchor in LINK.findall(prose(path)):
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{path.name} links to {target}#{anchor}"


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def test_the_changelog_has_a_place_for_what_is_next() -> None:
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_leads_to_every_document() -> None:
    linked = {target for target, _ in LINK.findall(prose(ROOT / "README.md"))}

    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= linked


def test_the_limits_are_those_of_the_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    for field in attrs.fields(durable.Limits):
        row = re.search(rf"^\| `{field.name}` \| ([^|]+) \|", text, re.MULTILINE)
        assert row, f"README.md does not name Limits.{field.name}"
        shown = row[1].strip()
        if shown == "one per processor":
            shown = str(os.cpu_count())
        value = int(shown.removesuffix(" MiB").replace(",", ""))
        assert value * (1024 * 1024 if shown.endswith("MiB") else 1) == field.default


@pytest.mark.parametrize(
    "word",
    [
        "nondeterminism", "transient", "poison", "quarantine", "endpoint", "side effect",
        "dispatcher", "recovery", "retention", "purge", "log capture", "replay", "checkpoint",
        "dead letter", "fencing", "lease", "idempotency key", "task queue", "reset", "fork",
        "task token", "versioning", "heartbeat", "batch", "history",
    ],
)  # fmt: skip
def test_a_newcomer_finds_the_fields_word_in_the_glossary(word: str) -> None:
    assert word in (ROOT / "docs/glossary.md").read_text(encoding="utf-8").lower()
