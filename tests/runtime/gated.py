"""A module that a process of the pool can import once a file is there."""

import os
import time
from pathlib import Path

from durable import activity
from durable._runtime import process_child

if process_child.here is not None:
    gate = Path(os.environ["GATE"])
    gate.with_suffix(f".{os.getpid()}").touch()
    while not gate.exists():
        time.sleep(0.002)


@activity(isolation="process", start_to_close=5)
def behind() -> str:
    return "through"
