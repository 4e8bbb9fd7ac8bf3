"""`import durable` is light: what it does not need is loaded when it is first used."""

import json
import subprocess
import sys

import pytest

HEAVY = {"asyncio", "anyio", "apsw", "msgspec", "sqlite3", "ssl", "socket", "click", "inspect"}

LOOK = """
import json, os, sys
before = set(sys.modules)
handles = len(os.listdir("/dev/fd"))
{statement}
handles = len(os.listdir("/dev/fd")) - handles
new = set(sys.modules) - before
import threading
print(json.dumps([sorted(new), handles, threading.active_count()]))
"""


def after(statement: str) -> tuple[set[str], int, int]:
    """Return the modules a statement loads, the handles it leaves open, and the threads alive."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOOK.format(statement=statement)],
        check=True,
        capture_output=True,
        text=True,
    )
    modules, handles, threads = json.loads(done.stdout)
    return set(modules), handles, threads


def test_import_durable_loads_nothing_heavy() -> None:
    modules, _, _ = after("import durable")

    assert not {module.split(".")[0] for module in modules} & HEAVY
    assert {module for module in modules if module.startswith("durable")} <= {
        "durable",
        "durable._version",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement", ["import durable", "from durable import *", "import durable.engine"]
)
def test_importing_opens_no_file_and_starts_no_thread(statement: str) -> None:
    _, handles, threads = after(statement)

    assert (handles, threads) == (0, 1)


@pytest.mark.slow
def test_errors_and_policies_come_without_the_engine() -> None:
    modules, _, _ = after("import durable; durable.Retry; durable.RunFailed")

    assert not {module.split(".")[0] for module in modules} & {"asyncio", "anyio", "apsw"}


@pytest.mark.slow
def test_defining_functions_opens_no_database_library() -> None:
    modules, _, _ = after("import durable; durable.workflow; durable.activity")

    assert not {module.split(".")[0] for module in modules} & {"apsw", "sqlite3"}
