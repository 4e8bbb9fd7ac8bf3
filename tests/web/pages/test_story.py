"""The story of the thousand invoices, repaired wholly in the browser."""

from __future__ import annotations

import contextlib
import re

import pytest

import durable
from durable import Signal
from tests.crash import invariants
from tests.crash.test_story import BUGS, COUNT, LARGE, SERVICE, Shop, audit_of, start_all
from tests.web.pages.conftest import aside, serving

expect = pytest.importorskip("playwright.sync_api", reason="NOT CHECKED: no playwright").expect
pytestmark = [pytest.mark.slow]


@pytest.fixture
def shop(tmp_path):
    with contextlib.closing(Shop(tmp_path)) as made:
        yield made


def chip(page, status):
    return page.locator(".chip", has_text=status).locator("b")


def test_a_thousand_invoices_are_repaired_in_the_browser(shop, tmp_path, open_page):
    (tmp_path / "outage").touch()
    shop.serve("first")
    shop.wait_for_worker()
    aside(lambda: start_all(shop.path))
    with serving(shop.path) as site:
        page = open_page(site.address())
        wait = {"timeout": 60_000}

        # A bug fails ten, an outage makes two hundred retry, twelve wait for a person.
        expect(chip(page, "completed")).to_have_text(str(COUNT - BUGS - LARGE - SERVICE), **wait)
        expect(chip(page, "failed")).to_have_text(str(BUGS))
        expect(chip(page, "retrying")).to_have_text(str(SERVICE))
        expect(chip(page, "waiting")).to_have_text(str(LARGE))

        # An edit is deployed that does not fit those that wait; their approvals come in.
        shop.kill_worker()
        shop.serve("edited")
        with durable.Client(shop.path).blocking() as client:
            for number in range(11, 120, 10):
                client.get(f"inv-{number}").signal(Signal("approval", bool), True)
        page.goto(f"{site.origin}/#/runs/inv-1")
        page.get_by_role("button", name="Signal").click()
        page.get_by_role("dialog").get_by_label("Name").fill("approval")
        page.get_by_role("dialog").get_by_label("Value").fill("true")
        page.get_by_role("dialog").get_by_role("button", name="Send").click()
        expect(page.locator(".run-title .status")).to_have_text("■blocked", **wait)
        expect(page.locator(".difference")).to_contain_text("ask_by_mail")

        # Three groups, each with all of its runs.
        page.goto(f"{site.origin}/#/issues")
        for number in (BUGS, SERVICE, LARGE):
            expect(page.get_by_role("button", name=f"Retry {number}", exact=True)).to_be_visible(
                **wait
            )
        assert page.locator(".issue").count() == 3

        # The bug is mended and the edit guarded: the blocked ones go on by themselves.
        shop.stop()
        shop.serve("mended")
        expect(
            page.get_by_role("button", name=f"Retry {LARGE}", exact=True)
        ).to_have_count(0, **wait)  # fmt: skip

        # The group of the bug is retried from the step that failed, and resolved.
        page.get_by_role("button", name=f"Retry {BUGS}", exact=True).click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Why").fill("the rate of USD was missing")
        dialog.get_by_role("button", name=f"Retry {BUGS} runs").click()
        expect(page.locator("main")).to_contain_text(f"{BUGS} of {BUGS}", **wait)
        page.goto(f"{site.origin}/#/issues")
        page.locator(".issue", has_text="KeyError").get_by_role("button", name="Resolve").click()
        dialog.get_by_role("button", name="Resolve").click()
        expect(page.locator(".issue", has_text="KeyError")).to_have_count(0)

        # The outage ends, and all two hundred skip their back-off, though a page has one hundred.
        (tmp_path / "outage").unlink()
        page.goto(f"{site.origin}/#/?q=status:retrying")
        expect(page.locator("tbody tr")).to_have_count(100)
        page.get_by_label("Select this page").check()
        page.get_by_role("button", name=f"select all {SERVICE} matching").click()
        page.get_by_role("toolbar").get_by_role("button", name="Retry").click()
        dialog.get_by_label("Why").fill("the service is back")
        dialog.get_by_role("button", name=f"Retry {SERVICE} runs").click()
        expect(page.locator("main")).to_contain_text(f"{SERVICE} of {SERVICE}", **wait)
        page.goto(f"{site.origin}/#/")
        expect(chip(page, "completed")).to_have_text("1,000", **wait)

        # The audit tells it.
        page.goto(f"{site.origin}/#/runs/inv-5?tab=audit")
        expect(page.locator("td", has_text="the service is back")).to_have_count(1)
        page.goto(f"{site.origin}/#/runs/inv-7")
        page.wait_for_url(re.compile("inv-7"))
        expect(page.locator(".run-title .status")).to_have_text("✓completed")
    shop.stop()
    assert shop.counts() == {"completed": COUNT}
    assert invariants.file_problems(shop.path) == []
    for number in (7, 107, 907):
        assert audit_of(shop, f"inv-{number}") == [("retry", "the rate of USD was missing")]
    for number in (0, 5, 995):
        assert audit_of(shop, f"inv-{number}") == [("retry", "the service is back")]
