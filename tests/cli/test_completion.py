"""`durable completion`: the scripts, and what they ask of the program."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from durable_cli import main
from durable_cli._main import COMMANDS
from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]
PYTHONPATH = f"{ROOT}:{ROOT / 'cli'}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_names_the_program_and_its_variable(shell: str, durable_: Command) -> None:
    done = durable_("completion", shell)

    assert (done.code, done.err) == (0, "")
    assert f"_DURABLE_COMPLETE={shell}_complete" in done.out
    assert "%(" not in done.out


@pytest.mark.parametrize("arguments", [[], ["tcsh"], ["bash", "zsh"], [""]])
def test_another_shell_is_wrong_usage(arguments: list[str], durable_: Command) -> None:
    assert durable_("completion", *arguments).code == 2


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("durable st", ["stats", "start"]),
        ("durable ", [*COMMANDS]),
        ("durable nothing-like-it", []),
        ("durable issues --st", ["--state"]),
        ("durable issues --state res", ["resolved"]),
        ("durable --co", ["--color"]),
        ("durable wait --a", ["--any"]),
        ("durable completion z", ["zsh"]),
    ],
)
def test_words_are_completed(
    words: str, completed: list[str], durable_: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_DURABLE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))

    done = durable_("ignored")

    assert [line.partition(",")[2] for line in done.out.split()] == completed
    assert (done.code, done.err) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "completed"),
    [("durable res", ["restart", "resume"]), ("durable tail x --s", ["--since"])],
)
def test_bash_completes_by_the_script(
    line: str, completed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    program = tmp_path / "durable"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m durable_cli "$@"\n')
    program.chmod(0o755)
    words = line.split()
    text = (
        f"source {tmp_path}/script; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1};"
        f' _durable_completion durable; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )

    done = subprocess.run(
        ["bash", "--norc", "-c", text],
        env={"PYTHONPATH": PYTHONPATH, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.split() == completed
    assert done.stderr == ""
