"""What people install: the wheel holds the library, all of it, and nothing else."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def quietly(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    made = quietly(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, folder=folder)
    assert made.returncode == 0, made.stderr
    (path,) = folder.glob("*.whl")
    yield path


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """Return the interpreter of a fresh environment in which the wheel is installed."""
    fresh = wheel.parent / "fresh"
    made = quietly(sys.executable, "-m", "venv", fresh, folder=wheel.parent)
    assert made.returncode == 0, made.stderr
    python = fresh / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    installed = quietly(*pip, "install", "--quiet", wheel, folder=wheel.parent)
    assert installed.returncode == 0, installed.stderr
    return python


def sources() -> set[str]:
    roots = [(ROOT, ROOT / "durable"), (ROOT / "cli", ROOT / "cli" / "durable_cli")]
    return {
        path.relative_to(base).as_posix()
        for base, package in roots
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_holds_the_library_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}

    assert names - metadata == sources()
    assert "durable/py.typed" in names
    assert any(name.endswith(".sql") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_can_be_imported_where_it_is_installed(python: Path, tmp_path: Path) -> None:
    code = "import durable, durable_cli; print(durable.Engine, durable.__file__)"

    done = quietly(python, "-c", code, folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert str(ROOT) not in done.stdout


def test_installs_nothing_called_cli(python: Path, tmp_path: Path) -> None:
    done = quietly(python, "-c", "import cli", folder=tmp_path)

    assert "ModuleNotFoundError" in done.stderr


def test_runs_a_workflow_where_it_is_installed(python: Path, tmp_path: Path) -> None:
    example = ROOT / "examples" / "01_hello.py"

    done = quietly(python, example, tmp_path / "hello.db", folder=tmp_path)

    assert (done.returncode, done.stdout) == (0, "Hello, Ada! Hello, Grace!\n")


def test_the_command_answers(python: Path, tmp_path: Path) -> None:
    done = quietly(python.with_name("durable"), "--help", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
