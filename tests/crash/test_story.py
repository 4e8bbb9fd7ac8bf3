"""The story: a thousand invoices, and what an operator with a terminal does when things go wrong.

A bug fails 1 % of them, an edit blocks 12, an outage makes 200 retry. Everything that is done is
done by the command line, in processes of its own, some of which are killed. In the end every
invoice is completed, nothing recorded ran again, and the audit tells the story.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import pytest

import durable
from tests.crash import invariants

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
COUNT = 1_000
BUGS, LARGE, SERVICE = 10, 12, 200
WAIT_S_MAX = 120


class Shop:
    """The folder, the worker, the command line, and what was recorded whenever one was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "invoices.db"
        self.version = "first"
        self.worker: subprocess.Popen[bytes] | None = None
        self.kills: list[tuple[int, set[str]]] = []

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "INVOICES_VERSION": self.version,
            "INVOICES_FOLDER": str(self.folder),
            "DURABLE_DB": str(self.path),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}",
        }

    def begin(
        self, *arguments: str, log: "int | IO[bytes]" = subprocess.PIPE
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "durable", *arguments],
            cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip

    def durable(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a command to its end; return what it wrote."""
        process = self.begin(*arguments)
        out, err = process.communicate(timeout=WAIT_S_MAX)
        assert process.returncode in codes, (arguments, process.returncode, out, err)
        return out.decode()

    def serve(self, version: str) -> None:
        self.version = version
        # Nobody reads what it tells of a thousand failures while it serves.
        with (self.folder / "worker.log").open("ab") as log:
            self.worker = self.begin("worker", "tests.crash.invoices:engine", log=log)

    def wait_for_worker(self) -> None:
        """Wait until the file is made: it is there for a moment before its tables are."""
        deadline = time.monotonic() + WAIT_S_MAX
        while True:
            assert time.monotonic() < deadline
            with (
                contextlib.suppress(durable.errors.StoreError, FileNotFoundError),
                durable.view(self.path) as runs,
            ):
                if runs.known_by_workers():
                    return
            time.sleep(0.01)

    def stop(self) -> None:
        assert self.worker is not None
        self.worker.terminate()
        self.worker.communicate(timeout=WAIT_S_MAX)
        self.worker = None

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill a process, and note what was recorded by then."""
        process.kill()
        process.communicate()
        self.note()

    def note(self) -> None:
        steps = invariants.snapshot(self.path).steps
        recorded = {key for key, (kind, *_) in steps.items() if kind == invariants.COMPLETED}
        self.kills.append((len(self.ledger()), recorded))

    def kill_worker(self) -> None:
        assert self.worker is not None
        self.kill(self.worker)
        self.worker = None

    def close(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.communicate()

    def ledger(self) -> list[str]:
        path = self.folder / "ledger"
        return path.read_text().splitlines() if path.exists() else []

    def counts(self, query: str = "") -> dict[str, int]:
        found: dict[str, int] = json.loads(self.durable("ls", query, "--count", "--json"))
        return found

    def wait_for(self, query: str, count: int) -> None:
        deadline = time.monotonic() + WAIT_S_MAX
        while (found := sum(self.counts(query).values())) != count:
            assert time.monotonic() < deadline, f"{query}: {found}, not {count}: {self.counts()}"

    def issues(self) -> dict[str, dict[str, object]]:
        return {one["kind"]: one for one in json.loads(self.durable("issues", "--json"))}


@pytest.fixture
def shop(tmp_path):
    with contextlib.closing(Shop(tmp_path)) as made:
        yield made


async def start_all(path: Path) -> None:
    os.environ.setdefault("INVOICES_VERSION", "first")
    os.environ.setdefault("INVOICES_FOLDER", str(path.parent))
    from tests.crash import invoices

    async with durable.Client(path) as client:
        for number in range(COUNT):
            run_id = f"inv-{number}"
            await client.start(invoices.invoice.options(id=run_id, tags=["november"]), number)


def test_a_thousand_invoices_and_an_operator(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "outage").touch()
    shop.serve("first")
    shop.wait_for_worker()
    starting = threading.Thread(target=lambda: asyncio.run(start_all(shop.path)))
    starting.start()

    # Two deaths while the thousand are under way.
    for attempts in (400, 1_500):
        while len(shop.ledger()) < attempts:
            time.sleep(0.01)
        shop.kill_worker()
        shop.serve("first")
    starting.join()
    shop.wait_for("status:completed", COUNT - BUGS - LARGE - SERVICE)
    shop.wait_for("status:failed", BUGS)
    shop.wait_for("status:waiting", LARGE)
    shop.wait_for("status:retrying", SERVICE)

    # An edit is deployed that does not fit the runs that wait. A check would have told.
    shop.version = "edited"
    told = json.loads(shop.durable("check", "tests.crash.invoices:engine", "--json", codes=(6,)))
    assert (told["fit"], told["misfit"]) == (SERVICE, LARGE)
    shop.kill_worker()
    shop.serve("edited")
    for number in range(1, 120, 10):  # The approvals come in, and find code that does not fit.
        shop.durable("signal", f"inv-{number}", "approval", "true")
    shop.wait_for("status:blocked", LARGE)
    shop.wait_for("status:retrying issue:I-1,I-2,I-3", SERVICE)

    # Three groups, each with all of its runs.
    issues = shop.issues()
    assert {kind: one["open"] for kind, one in issues.items()} == {
        "failed": BUGS, "retrying": SERVICE, "blocked": LARGE
    }  # fmt: skip
    assert issues["failed"]["title"] == "KeyError: <text>"
    assert issues["failed"]["function"] == "convert"
    assert "the mail service is down (invoice <n>)" in str(issues["retrying"]["title"])
    assert issues["blocked"]["title"] == (
        "code changed at step 3: recorded ask, code has ask_by_mail"
    )

    # The bug is mended and the edit guarded: the blocked ones go on by themselves.
    shop.stop()
    shop.version = "mended"
    assert json.loads(shop.durable("check", "tests.crash.invoices:engine", "--json")) == {
        "fit": SERVICE + LARGE,
        "misfit": 0,
        "misfits": [],
    }
    shop.serve("mended")
    shop.wait_for("status:completed", COUNT - SERVICE - BUGS)
    assert shop.counts("status:blocked") == {}

    # One command retries the group from the step that failed.
    issue = str(issues["failed"]["id"])
    dry = shop.durable("retry", issue, "--dry-run")
    assert dry.startswith(f"would retry {BUGS} runs ({BUGS} failed): inv-")
    shop.durable("issues", "retry", issue, "--yes", "--reason", "the rate of USD was missing")
    shop.wait_for("status:completed", COUNT - SERVICE)
    shop.durable("issues", "resolve", issue)

    # The outage ends, and one command skips the back-off. It is killed, and so is the worker.
    (tmp_path / "outage").unlink()
    asking = shop.begin("retry", "status:retrying", "--yes", "--reason", "the service is back")
    while not json.loads(shop.durable("jobs", "--json"))[0]["query"].startswith("status:retrying"):
        pass
    shop.kill(asking)
    shop.kill_worker()
    shop.serve("mended")
    shop.wait_for("status:completed", COUNT)
    shop.stop()

    # Every run is completed, and what was recorded at a kill never ran again.
    assert shop.counts() == {"completed": COUNT}
    assert shop.counts("superseded:any") == {"completed": COUNT, "failed": BUGS}
    ledger = shop.ledger()
    assert 0 < len(shop.kills[0][1]) < len(shop.kills[1][1]) < 2 * COUNT
    for length, recorded in shop.kills:
        assert not recorded & set(ledger[length:])
    assert invariants.file_problems(shop.path) == []
    job = json.loads(shop.durable("jobs", "--json"))[0]
    assert (job["state"], job["done"], job["refused"]) == ("done", SERVICE, 0)
    # The audit tells it.
    for number in range(COUNT):
        why = ""
        if number % 100 == 7:
            why = "the rate of USD was missing"
        elif number % 5 == 0:
            why = "the service is back"
        if why:
            assert audit_of(shop, f"inv-{number}") == [("retry", why)]
    assert audit_of(shop, "inv-1") == []
    assert shop.issues() == {} or all(one["open"] == 0 for one in shop.issues().values())


def audit_of(shop: Shop, run_id: str) -> list[tuple[str, str]]:
    with durable.view(shop.path) as runs:
        return [(one.verb, one.why) for one in runs.get(run_id).audit]
