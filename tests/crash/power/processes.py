"""Lets processes of their own do what needs a file system, or a library, that is not shared."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CHILD_S_MAX = 230


def in_child(verb, *arguments, of="power"):
    """Let `child.py` of a campaign do something; return what it printed.

    Raises:
        RuntimeError: It failed, which no expected failure of a test stands for.
    """
    command = [sys.executable, "-m", f"tests.crash.{of}.child", verb, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=CHILD_S_MAX,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)
