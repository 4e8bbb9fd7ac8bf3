"""`durable new`: what it makes runs, passes its own tests, and is served."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from durable_cli import main
from durable_cli._skeleton import files_of
from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]
PYTHONPATH = f"{ROOT}:{ROOT / 'cli'}"
FILES = [".gitignore", "README.md", "app.py", "pyproject.toml", "shop.service", "tests/test_app.py"]


def made(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def test_a_project_has_its_files_and_its_name(durable_: Command, tmp_path: Path) -> None:
    done = durable_("new", "shop")

    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.split()) == sorted(f"shop/{one}" for one in FILES)
    assert made(tmp_path / "shop") == FILES
    project = tomllib.loads((tmp_path / "shop/pyproject.toml").read_text())["project"]
    assert (project["name"], project["dependencies"]) == ("shop", ["durable-sqlite"])
    for path in FILES:
        text = (tmp_path / "shop" / path).read_text()
        assert "$name" not in text
        assert "$$" not in text


def test_a_path_is_the_place_and_json_tells_it(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "deep er").mkdir()

    done = durable_("new", tmp_path / "deep er" / "my-shop_2", "--json")

    found = json.loads(done.out)
    assert found["folder"] == str(tmp_path / "deep er" / "my-shop_2")
    assert made(Path(found["folder"])) == sorted(found["files"])
    assert "my-shop_2.service" in found["files"]


def test_a_folder_or_file_that_exists_is_left_alone(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious")

    for name in ("folder", "file"):
        done = durable_("new", name)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"error: {name} exists already; it was left alone\n")

    assert made(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", "a", "x" * 33, "Shop", "1shop", "shop-", "sh op", "shöp", "shop\n",
     "a/../b c", "\x1b[31m", "none/shop", 'x"y', "shop;reboot"],
)  # fmt: skip
def test_a_name_that_cannot_be_one_is_refused(name: str, durable_: Command, tmp_path: Path) -> None:
    done = durable_("new", name)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.replace("\n", "").isprintable()
    assert made(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_to_is_one_line(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "sealed").mkdir(mode=0o500)

    done = durable_("new", "sealed/shop")

    assert done.code == 1
    assert done.err == "error: sealed/shop cannot be made: Permission denied\n"


def test_the_program_is_readable_python() -> None:
    for path, text in files_of("shop").items():
        if path.endswith(".py"):
            compile(text, path, "exec")
            assert max(map(len, text.splitlines())) <= 100


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={"PYTHONPATH": PYTHONPATH},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.slow
def test_its_program_runs_and_remembers(tmp_path: Path) -> None:
    assert main(["new", "shop"]) == 0

    done = [run(tmp_path / "shop", "app.py", "ada") for _ in range(2)]
    shown = run(tmp_path / "shop", "-m", "durable_cli", "ls")
    checked = run(tmp_path / "shop", "-m", "durable_cli", "check", "app:engine")
    replayed = run(tmp_path / "shop", "-m", "durable_cli", "replay", "app:engine", "greet-ada")

    assert [(one.stdout, one.stderr) for one in done] == [("Hello, Ada!\n", "")] * 2
    assert len(shown.stdout.splitlines()) == 1
    assert shown.stdout.startswith("completed\tgreet\tgreet-ada\t")
    assert (checked.returncode, checked.stdout) == (0, "0 fit, 0 do not\n")
    assert replayed.stdout == "greet-ada  fits\n1 fits, 0 do not\n"


@pytest.mark.slow
def test_its_tests_pass(tmp_path: Path) -> None:
    assert main(["new", "shop"]) == 0

    done = run(tmp_path / "shop", "-m", "pytest", "-q", "-p", "no:cacheprovider")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.slow
def test_its_engine_is_served_and_its_workflow_started(tmp_path: Path) -> None:
    assert main(["new", "shop"]) == 0
    folder = tmp_path / "shop"
    unit = (folder / "shop.service").read_text()
    assert "ExecStart=/srv/shop/.venv/bin/durable worker app:engine\n" in unit

    served = run(folder, "-m", "durable_cli", "worker", "app:engine", "--until-idle")
    started = run(folder, "-m", "durable_cli", "start", "app:greet", '["ada"]', "--id", "x")
    again = run(folder, "-m", "durable_cli", "worker", "app:engine", "--until-idle")
    waited = run(folder, "-m", "durable_cli", "wait", "x", "--json")

    assert (served.returncode, again.returncode, started.stdout) == (0, 0, "x\n")
    assert json.loads(waited.stdout)[0]["result"] == "Hello, Ada!"
