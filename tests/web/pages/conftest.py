"""A real browser before real pages: ``durable ui`` and ``durable worker`` are processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

import durable

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
TOKEN = "a-token-of-the-tests"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # A name that an attacker's server resolves to this machine.
    "--host-resolver-rules=MAP rebound.test 127.0.0.1",
]
WAIT_MS = 15_000
# What a browser says of answers that are meant: a problem, a refusal, a name of elsewhere.
EXPECTED = ("Failed to load resource", "Cross-Origin-Opener-Policy header has been ignored")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


def aside(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run async work on a thread: playwright keeps a loop on this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(work())).result()


@attrs.frozen
class Site:
    """A file, and where its pages are."""

    path: Path
    port: int

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def address(self, page: str = "#/") -> str:
        return f"{self.origin}/?token={TOKEN}{page}"

    def get(self, path: str) -> bytes:
        asked = urllib.request.Request(
            f"{self.origin}/api/v1/{path}", headers={"authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            found: bytes = answer.read()
        return found


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


@contextmanager
def serving(path: Path, *options: str) -> Iterator[Site]:
    """Serve a file's pages until the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "durable_cli", "ui", str(path), "--port", "0", "--token", TOKEN,
         "--no-open", *options],
        stdout=subprocess.PIPE, text=True, cwd=HERE, env={**os.environ, "SHOP_DB": str(path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+)/", line)
        assert found, f"durable ui wrote {line!r}"
        yield Site(path, int(found[1]))
    finally:
        _end(process)


@contextmanager
def working(
    path: Path, broken: str = "", app: str = "shop.py:engine"
) -> Iterator[subprocess.Popen[str]]:
    """Let a worker serve a file until the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "durable_cli", "worker", app],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=HERE,
        env={**os.environ, "SHOP_DB": str(path), "SHOP_BROKEN": broken},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.readline()  # It says that it serves.
        yield process
    finally:
        _end(process)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's browser, or a loud skip."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.skip("NOT CHECKED: no chromium is on this machine; `make browser` installs it")
    api = pytest.importorskip(
        "playwright.sync_api", reason="NOT CHECKED: playwright is missing; say `make browser`"
    )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open pages; what their scripts complain about fails the test."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def opened(address: str, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text)
                if said.type == "error" and not any(one in said.text for one in EXPECTED)
                else None
            ),
        )
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with runs of every kind; nobody writes to it."""
    path = tmp_path_factory.mktemp("shop") / "shop.db"
    subprocess.run(
        [sys.executable, str(HERE / "shop.py"), str(path)], check=True, cwd=HERE, timeout=120
    )
    return path


@pytest.fixture(scope="session")
def looked_at(filled: Path) -> Iterator[Site]:
    """The pages of that file, with its code, and no worker."""
    with serving(filled, "--app", "shop.py:engine") as site:
        yield site


@pytest.fixture
def copied(filled: Path, tmp_path: Path) -> Path:
    """A copy of that file, to be worked on."""
    path = tmp_path / "shop.db"
    with durable.view(filled) as runs:
        runs.backup(path)
    return path


# -- what the tests of several pages look for ------------------------------------------------------


def show(page: Any, site: Site, place: str) -> None:
    page.goto(f"{site.origin}/#/{place}")


def run_of(site: Site, run: str) -> Any:
    return json.loads(site.get(f"runs/{run}"))


def dialog(page: Any) -> Any:
    return page.get_by_role("dialog")


def status(page: Any) -> Any:
    return page.locator(".run-title .status")
