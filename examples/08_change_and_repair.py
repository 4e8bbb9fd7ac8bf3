"""What to do when a run fails, and when the code changes under runs in flight: in the terminal.

Usage: ``python 08_change_and_repair.py``. It plays an operator: each line that begins with ``$`` is
a command you could type. It works in a folder of its own, which is gone afterwards.

A parcel service packs, weighs, waits for a label and sends. First there is a bug in ``weigh``. Then
somebody edits the workflow while a parcel waits for its label.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DURABLE = [sys.executable, "-m", "durable"]

APP = """
import durable
from durable import Retry, Signal, activity, workflow

label = Signal("label", str)
engine = durable.Engine("parcels.db")
WEIGHTS = {"books": 9}

@activity
async def pack(name: str) -> str:
    return f"packed {name}"

@activity(retry=Retry(max_attempts=1))
async def weigh(name: str) -> int:
    return WEIGHTS[name]

@activity
async def insure(name: str) -> str:
    return f"insured {name}"

@activity
async def send(name: str, text: str) -> str:
    return f"sent {name} {text}"

@workflow
async def parcel(name: str) -> str:
    await pack(name)
    await weigh(name)
    text = await label.receive()
    return await send(name, text)
"""

# The same edit twice: as it comes to mind, and as it fits the runs in flight.
BEFORE = "    await weigh(name)\n"
UNGUARDED = "    await insure(name)\n    await weigh(name)\n"
GUARDED = (
    '    if durable.patched("insurance"):\n        await insure(name)\n    await weigh(name)\n'
)


class Terminal:
    """Types commands into a folder, and shows what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = folder / "parcels.py"

    def say(self, text: str) -> None:
        """Explain what comes."""
        print(f"\n# {text}")

    def type(self, command: str, *, code: int = 0) -> None:
        """Run a command; it ends with this exit code."""
        print(f"$ {command}")
        text = self._run(command, code)
        # Moments and durations are others each time.
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "<moment>", text)
        text = re.sub(r"\b\d+(\.\d+)?(us|ms|s)\b", "<time>", text)
        print(re.sub(r'[^\s"(]*/parcels\.py', "parcels.py", text), end="")

    def until(self, query: str) -> None:
        """List the runs of a filter, as soon as there is one."""
        print(f"$ durable ls {query} --ids")
        while not (found := self._run(f"durable ls {query} --ids", 0)):
            time.sleep(0.05)
        print(found, end="")

    def edit(self, old: str, new: str) -> None:
        """Change the code."""
        text = self.app.read_text()
        assert old in text
        self.app.write_text(text.replace(old, new))

    @contextlib.contextmanager
    def worker(self) -> Iterator[None]:
        """Let a worker serve the file meanwhile."""
        print("$ durable worker parcels.py:engine &")
        serving = subprocess.Popen(  # noqa: S603  our own command
            [*DURABLE, "worker", "parcels.py:engine"], cwd=self.folder, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            print("$ kill %1")
            serving.terminate()  # It stops in order; nothing is lost.
            serving.wait()

    def _run(self, command: str, code: int) -> str:
        done = subprocess.run(  # noqa: S603  likewise
            [*DURABLE, *shlex.split(command)[1:]],
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "100"},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout


def repair(terminal: Terminal) -> None:
    """A bug in an activity fails a run."""
    terminal.say("Two parcels are to be sent, and a worker serves them.")
    terminal.type("durable worker parcels.py:engine --until-idle")  # It makes the file.
    terminal.type("""durable start parcels.py:parcel '["books"]' --id p-books""")
    terminal.type("""durable start parcels.py:parcel '["lamps"]' --id p-lamps""")
    terminal.type("""durable signal p-books label '"to Ada"'""")
    terminal.type("durable worker parcels.py:engine --until-idle")
    terminal.type("durable ls --count")

    terminal.say("One failed: weigh knows no lamps. Like failures are one issue.")
    terminal.type("durable issues show I-1")

    terminal.say("The bug is mended; all runs of the issue go on from the step that failed.")
    terminal.edit('{"books": 9}', '{"books": 9, "lamps": 2}')
    terminal.type("durable retry I-1 --yes --reason 'the weight of lamps was missing'")
    terminal.type("""durable signal p-lamps label '"to Grace"'""")
    terminal.type("durable worker parcels.py:engine --until-idle")
    terminal.type("durable ls superseded:any --ids")
    terminal.type("durable ls --count")


def change(terminal: Terminal) -> None:
    """An edit of the workflow does not fit a run in flight."""
    terminal.say("A third parcel waits for its label when the workflow is edited.")
    with terminal.worker():
        terminal.type("""durable start parcels.py:parcel '["books"]' --id p-waits""")
        terminal.until("status:waiting")
    terminal.edit(BEFORE, UNGUARDED)

    terminal.say("Before the deploy, a check replays all open runs and tells what would block.")
    terminal.type("durable check parcels.py:engine", code=6)

    terminal.say("Deployed all the same: the run is blocked, and says why. Nothing of it is lost.")
    terminal.type("""durable signal p-waits label '"to Lin"'""")
    with terminal.worker():
        terminal.until("status:blocked")

    terminal.say("Guarded, the edit is for new runs alone. The blocked run goes on by itself.")
    terminal.edit(UNGUARDED, GUARDED)
    terminal.type("durable check parcels.py:engine")
    with terminal.worker():
        terminal.type("durable wait p-waits")

    terminal.say("From any step, with another result of it: the run is done again as p-waits#2.")
    terminal.type("""durable restart p-waits --from send --step-output '2=11'""")
    terminal.type("durable worker parcels.py:engine --until-idle")
    terminal.type("durable diff p-waits#1 p-waits", code=6)


def main() -> None:
    """Play it."""
    with tempfile.TemporaryDirectory() as folder:
        terminal = Terminal(Path(folder))
        terminal.app.write_text(APP)
        repair(terminal)
        change(terminal)


if __name__ == "__main__":
    main()
