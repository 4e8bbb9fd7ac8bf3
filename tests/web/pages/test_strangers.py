"""Who else may try: pages of other origins, names that lead here, texts that want to be code."""

from __future__ import annotations

import contextlib
import http.client
import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import durable
from durable import Engine, workflow
from durable.payloads import checksum
from tests.web.pages.conftest import TOKEN, aside, serving

expect = pytest.importorskip("playwright.sync_api", reason="NOT CHECKED: no playwright").expect

# Each ends the run, if it gets through.
ATTACKS = {
    "a form": """
        const form = document.createElement('form');
        form.method = 'post'; form.enctype = 'text/plain'; form.action = TARGET;
        const field = document.createElement('input');
        field.name = '{"reason":"'; field.value = 'x"}'; form.append(field);
        const frame = document.createElement('iframe'); frame.name = 'f'; form.target = 'f';
        document.body.append(frame, form); form.submit();""",
    "fetch without cors": """
        fetch(TARGET, {method: 'POST', mode: 'no-cors', credentials: 'include', body: '{}'});""",
    "fetch with json": """
        fetch(TARGET, {method: 'POST', credentials: 'include', body: '{}',
                       headers: {'content-type': 'application/json'}}).catch(() => {});""",
    "a beacon": "navigator.sendBeacon(TARGET, new Blob(['{}'], {type: 'application/json'}));",
    "a get": "new Image().src = TARGET;",
}


@pytest.fixture(scope="module")
def attacker() -> Iterator[str]:
    """A page of another origin."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>free tea</title><body>free tea</body>")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_page_of_another_origin_cannot_act(copied, open_page, attacker, attack):
    with serving(copied) as site:
        page = open_page(site.address())  # The victim is let in, in this browser.
        page.locator("tbody tr").first.wait_for()
        other = page.context.new_page()
        other.goto(attacker)
        target = f"{site.origin}/api/v1/runs/nightly-monday:terminate"
        other.evaluate(f"() => {{ const TARGET = {json.dumps(target)}; {ATTACKS[attack]} }}")
        other.wait_for_timeout(500)

        run = json.loads(site.get("runs/nightly-monday"))
        assert (run["status"], run["audit"]) == ("sleeping", [])


def test_a_page_of_another_origin_reads_nothing_and_frames_nothing(copied, open_page, attacker):
    with serving(copied) as site:
        page = open_page(site.address())
        page.locator("tbody tr").first.wait_for()
        other = page.context.new_page()
        other.goto(attacker)
        read = other.evaluate(
            "(url) => fetch(url, {credentials: 'include'}).then((one) => one.text(), () => 'no')",
            f"{site.origin}/api/v1/runs",
        )
        other.evaluate(
            "(url) => { const frame = document.createElement('iframe'); frame.src = url;"
            " document.body.append(frame); }",
            site.origin + "/",
        )
        other.wait_for_timeout(500)

        assert read == "no"
        assert all("order-88" not in frame.content() for frame in other.frames[1:])


def test_a_name_that_an_attacker_leads_here_is_refused(copied, open_page):
    with serving(copied) as site:
        page = open_page("about:blank")
        answer = page.goto(f"http://rebound.test:{site.port}/?token={TOKEN}")

        assert answer.status == 403
        assert "order-88" not in page.content()


def test_the_token_goes_into_a_cookie_that_no_script_reads(copied, open_page):
    with serving(copied) as site:
        page = open_page(site.address())
        page.locator("tbody tr").first.wait_for()
        (cookie,) = page.context.cookies()

        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert "token" not in page.url
        assert page.evaluate("document.cookie") == ""


def test_without_the_token_nothing_is_shown_and_the_page_says_what_to_do(copied, open_page):
    with serving(copied) as site:
        page = open_page("about:blank")
        answer = page.goto(site.origin + "/")

        assert answer.status == 401
        assert "token" in page.content()


@pytest.mark.parametrize(
    "path",
    ["/assets/../api.py", "/assets/%2e%2e/api.py", "/assets//etc/passwd", "/static/main.js",
     "/assets/vendor/../main.js", "/../main.js", "/assets/main.js%00", "/assets/"],
)  # fmt: skip
def test_assets_come_from_a_fixed_list(looked_at, path):
    connection = http.client.HTTPConnection("127.0.0.1", looked_at.port)
    connection.request("GET", path, headers={"authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()

    assert answer.status == 404
    assert b"import" not in body


# -- hostile text ----------------------------------------------------------------------------------

MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
BIDI = "safe\u202e gnp.exe \u2066hidden\u2069 \x1b[31mred\x1b[0m \x00nul"
DEEP = 10_000


@workflow
async def hostile(text: str, more: list[Any]) -> str:
    durable.Value("state", str).set(text)
    if len(more) == 1:
        raise ValueError(text)
    return text


@pytest.fixture(scope="module")
def hostile_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "hostile.db"

    async def fill() -> None:
        async with Engine(path, functions=[hostile]) as engine:
            for run, arguments in {
                "<b>bold</b>": (MARKUP, []), "failed": (MARKUP + BIDI, [1]),
                "bidi": (BIDI, []), "long": ("x" * 50_000_000, []), "deep": ("d", []),
                "x" * 200: ("long id " * 100, []),
            }.items():  # fmt: skip
                made = await engine.start(hostile.options(id=run), *arguments)
                await made.wait()

    aside(fill)
    # Nothing that nests so deep is ever stored; somebody else may have written the file.
    deep = "[" * DEEP + "]" * DEEP
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        text = deep.encode()
        made.execute(
            "UPDATE durable_run SET arguments = ?, checksum = ? WHERE id = 'deep'",
            (deep, checksum(text)),
        )
    return path


@pytest.fixture(scope="module")
def hostile_site(hostile_file):
    with serving(hostile_file) as site:
        yield site


@pytest.mark.parametrize("run", ["%3Cb%3Ebold%3C%2Fb%3E", "failed", "bidi", "deep", "x" * 200])
@pytest.mark.parametrize("tab", ["", "payloads", "values", "json", "events"])
def test_hostile_text_is_shown_as_text(hostile_site, open_page, run, tab):
    page = open_page(hostile_site.address(f"#/runs/{run}?tab={tab}"))
    page.locator(".run-title").wait_for()
    page.wait_for_timeout(150)

    assert "owned" not in page.title()
    assert page.locator("main img, main script, main b img").count() == 0
    text = page.locator("body").inner_text()
    assert not set(text) & set("\u202e\u2066\u2069\x1b\x00")
    if (run, tab) == ("bidi", "payloads"):
        assert "\\u202e" in text
        assert "\\u001b" in text
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440


def test_hostile_ids_and_errors_are_text_in_lists_and_issues(hostile_site, open_page):
    page = open_page(hostile_site.address())
    page.get_by_text("<b>bold</b>").first.wait_for()
    page.goto(hostile_site.origin + "/#/issues")
    page.locator(".issue-title").wait_for()

    assert "owned" not in page.title()
    assert page.locator("main img").count() == 0


def test_a_text_of_50_mb_is_loaded_on_demand_and_freezes_nothing(hostile_site, open_page):
    page = open_page(hostile_site.address("#/runs/long?tab=payloads"))
    page.get_by_role("button", name="load 48 MB").first.click()

    expect(page.get_by_role("button", name="more").first).to_be_visible()
    shown = page.evaluate("document.querySelector('[role=tabpanel]').textContent.length")
    assert shown < 100_000
    page.get_by_role("tab", name="JSON").click()
    page.get_by_role("button", name="copy all").wait_for()
