"""The files of a new project; ``$name`` stands for its name."""

from __future__ import annotations

from string import Template

__all__ = ["files_of"]

_APP = '''\
"""What $name does, durably: killed at any moment, it goes on from its last checkpoint."""

import sys

import durable
from durable import Retry, activity, workflow

FILE = "$name.db"


@activity(retry=Retry(max_attempts=5), start_to_close="30s")
def look_up(name: str) -> str:
    """Touch the outside: files, network, clocks. It may fail, and is tried again."""
    return name.title()


@workflow
async def greet(name: str) -> str:
    """Put activities together. Each result is recorded, and never asked for twice."""
    found = await look_up(name)
    await durable.sleep("100ms")  # Or "30d": it outlives the process.
    return f"Hello, {found}!"


engine = durable.Engine(FILE)  # What `durable worker app:engine` serves.

if __name__ == "__main__":
    who = sys.argv[1] if len(sys.argv) > 1 else "world"
    print(durable.run(FILE, greet.options(id=f"greet-{who}"), who))
'''

_TEST = '''\
"""The workflow as a plain function, and in an engine with a file of its own."""

import asyncio
from pathlib import Path

import durable
import pytest
from app import greet, look_up


def test_an_activity_is_a_function() -> None:
    assert asyncio.run(look_up("ada")) == "Ada"


def test_the_workflow_goes_through(tmp_path: Path) -> None:
    assert durable.run(tmp_path / "test.db", greet, "ada") == "Hello, Ada!"


def test_the_same_id_is_the_same_run(tmp_path: Path) -> None:
    run = greet.options(id="once")

    assert durable.run(tmp_path / "test.db", run, "ada") == "Hello, Ada!"
    with pytest.raises(durable.IdConflict):
        durable.run(tmp_path / "test.db", run, "bob")
'''

_PYPROJECT = """\
[project]
name = "$name"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["durable-sqlite"]

[dependency-groups]
dev = ["pytest"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
"""

_SERVICE = """\
# Copy to /etc/systemd/system, then: systemctl enable --now $name
[Unit]
Description=$name: a durable worker
After=local-fs.target network.target

[Service]
User=$name
WorkingDirectory=/srv/$name
ExecStart=/srv/$name/.venv/bin/durable worker app:engine
# SIGTERM ends it in order, with 143; whatever was open goes on at the next start.
SuccessExitStatus=143
TimeoutStopSec=30
Restart=always
RestartSec=2
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ReadWritePaths=/srv/$name

[Install]
WantedBy=multi-user.target
"""

_README = """\
# $name

```console
$$ python -m venv .venv && . .venv/bin/activate
$$ pip install durable-sqlite pytest
$$ python app.py ada              # runs to its end; run it again: the result is in $name.db
$$ pytest
```

As a service: `$name.service` serves the file.

```console
$$ durable worker app:engine      # serves $name.db until Ctrl-C
$$ durable start app:greet '["ada"]' --id greet-1 --wait
$$ durable ls                     # and show, tail, retry, stats, backup: durable --help
$$ durable check app:engine       # before a deploy: does this code fit the runs in flight?
```
"""

_IGNORE = """\
.venv/
__pycache__/
*.db
*.db-*
"""

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "app.py": _APP,
    "tests/test_app.py": _TEST,
    "$name.service": _SERVICE,
    "README.md": _README,
    ".gitignore": _IGNORE,
}


def files_of(name: str) -> dict[str, str]:
    """Return the texts of a new project's files, by path in its folder."""
    return {
        Template(path).substitute(name=name): Template(text).substitute(name=name)
        for path, text in _FILES.items()
    }
