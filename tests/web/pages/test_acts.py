"""Everything that can be done from the pages is done, with a living worker and without."""

import json
import re

import pytest

import durable
from tests.web.pages.conftest import dialog, run_of, serving, show, status, working

expect = pytest.importorskip("playwright.sync_api", reason="NOT CHECKED: no playwright").expect


@pytest.fixture
def mended(copied, open_page):
    """The shop with its bug mended: a worker, the pages, and a page."""
    with working(copied), serving(copied, "--app", "shop.py:engine") as site:
        yield site, open_page(site.address())


@pytest.fixture
def alone(copied, open_page):
    """The same without a worker."""
    with serving(copied, "--app", "shop.py:engine") as site:
        yield site, open_page(site.address())


def press(page, verb, *, in_dialog=None, why=""):
    page.get_by_role("button", name=verb, exact=True).first.click()
    if why:
        dialog(page).get_by_label("Why").fill(why)
    dialog(page).get_by_role("button", name=in_dialog or verb, exact=True).click()


def test_a_failed_run_is_retried_from_the_step_that_failed(mended):
    site, page = mended
    show(page, site, "runs/order-8804")
    press(page, "Retry", why="the bug is mended")

    page.wait_for_url(re.compile(r"order-8804%232"))
    expect(status(page)).to_have_text("✓completed")
    audit = run_of(site, "order-8804%231")["audit"] + run_of(site, "order-8804")["audit"]
    assert (audit[0]["verb"], audit[0]["why"]) == ("retry", "the bug is mended")


def test_a_step_that_waits_is_tried_now(mended):
    site, page = mended
    show(page, site, "runs/order-8805?step=5")
    page.locator(".step-panel").get_by_role("button", name="Retry now").click()
    dialog(page).get_by_role("button", name="Retry", exact=True).click()

    expect(status(page)).to_have_text("✓completed")


def test_a_run_is_restarted_from_a_step_with_another_input_and_another_result(mended):
    site, page = mended
    show(page, site, "runs/order-8801")
    page.get_by_role("option", name=re.compile("reserve")).click()
    page.get_by_role("button", name="Restart run from here").click()
    dialog(page).get_by_role("button", name="Other arguments").click()
    dialog(page).get_by_label("Arguments").fill("[2]")
    dialog(page).get_by_role("button", name=re.compile("Another result")).click()
    dialog(page).get_by_label(re.compile("Result of step 2")).fill('"by hand"')
    dialog(page).get_by_role("button", name="Restart", exact=True).click()

    page.wait_for_url(re.compile(r"order-8801%232"))
    after = run_of(site, "order-8801%232")
    assert json.loads(after["arguments"]) == [2]
    details = json.loads(site.get("runs/order-8801%232/steps"))["items"]
    assert [one["step"] for one in details][:2] == ["1", "2"]


def test_a_restart_from_the_start_does_everything_again(mended):
    site, page = mended
    show(page, site, "runs/nightly-wednesday")
    page.get_by_role("button", name="Restart from").click()
    dialog(page).get_by_role("radio", name="the start").check()
    dialog(page).get_by_role("button", name="Restart", exact=True).click()

    page.wait_for_url(re.compile("nightly-wednesday%232"))
    expect(status(page)).to_have_text(re.compile("sleeping|running"))


def test_pause_and_resume(mended):
    site, page = mended
    show(page, site, "runs/nightly-monday")
    press(page, "Pause", why="a moment")
    expect(status(page)).to_have_text("‖paused")
    press(page, "Resume")

    expect(status(page)).to_have_text(re.compile("sleeping|running"))


def test_cancel_terminate_and_delete(mended):
    site, page = mended
    show(page, site, "runs/nightly-monday")
    press(page, "Cancel", why="no")
    expect(status(page)).to_have_text("⊘cancelled")
    show(page, site, "runs/nightly-tuesday")
    press(page, "Terminate")
    expect(status(page)).to_have_text("⊗terminated")
    press(page, "Delete")

    page.wait_for_url(re.compile(r"#/$"))
    with pytest.raises(durable.RunNotFound), durable.view(site.path) as runs:
        runs.get("nightly-tuesday")


def test_a_signal_is_sent_by_a_form_of_its_type(mended):
    site, page = mended
    show(page, site, "runs/approve-1")
    page.get_by_role("button", name="Signal").click()
    expect(dialog(page).get_by_label("Name")).to_have_value("approval")
    dialog(page).get_by_label("Name").fill("approval")
    dialog(page).get_by_role("checkbox").check()
    dialog(page).get_by_role("button", name="Send").click()

    expect(status(page)).to_have_text("✓completed")
    assert json.loads(run_of(site, "approve-1")["result"]) == "Delft 120 True "


def test_an_update_is_sent_and_answered_and_a_query_asked(mended):
    site, page = mended
    show(page, site, "runs/approve-1")
    page.get_by_role("button", name="Update").click()
    dialog(page).get_by_label("Name").fill("address")
    dialog(page).get_by_label("street").fill("Quay 2")
    dialog(page).get_by_label("city").fill("Gouda")
    dialog(page).get_by_role("button", name="Send").click()
    expect(page.locator(".toast")).to_have_text("answer: true")
    page.get_by_role("button", name="Query").click()
    dialog(page).get_by_label("Name").fill("stock")
    dialog(page).get_by_role("button", name="Ask").click()

    expect(dialog(page).locator(".tree")).to_contain_text("120")


def test_a_promise_is_answered_and_another_is_rejected(mended):
    site, page = mended
    show(page, site, "runs/ask-1?tab=messages")
    page.get_by_role("button", name="Answer").first.click()
    # Its type is text, which a replay of the code has told: no JSON is asked for.
    dialog(page).get_by_role("button", name="as JSON").wait_for()
    dialog(page).get_by_label("Value").fill("blue")
    dialog(page).get_by_role("button", name="Answer", exact=True).click()

    expect(status(page)).to_have_text("✓completed")
    assert json.loads(run_of(site, "ask-1")["result"]) == "blue"


def test_a_pending_step_is_ended_by_hand_and_its_policy_changed(mended):
    site, page = mended
    show(page, site, "runs/order-8810?step=5")
    panel = page.locator(".step-panel")
    panel.get_by_role("button", name="Policy").click()
    dialog(page).get_by_label(re.compile("^Attempts at most")).fill("9")
    dialog(page).get_by_role("button", name="Change").click()
    expect(dialog(page)).to_have_count(0)
    panel.get_by_role("button", name="End by hand").click()
    dialog(page).get_by_role("textbox", name=re.compile("^Result")).fill('"printed by hand"')
    dialog(page).get_by_role("button", name="End the step").click()

    expect(status(page)).to_have_text("✓completed")
    audit = [one["verb"] for one in run_of(site, "order-8810")["audit"]]
    assert audit == ["edit", "skip"]
    assert "printed by hand" in run_of(site, "order-8810")["result"]


def test_a_run_is_started_by_a_form_made_of_its_types(mended):
    site, page = mended
    show(page, site, "start")
    page.get_by_label("Workflow").fill("approve")
    page.get_by_label("amount").fill("75")
    page.get_by_label("street").fill("Dam 1")
    page.get_by_label("city").fill("Edam")
    page.get_by_text("Id, delay, queue, tags").click()
    page.get_by_label("Id", exact=False).first.fill("approve-edam")
    page.get_by_role("button", name="Start", exact=True).click()

    page.wait_for_url(re.compile("approve-edam"))
    expect(status(page)).to_have_text(re.compile("waiting|running"))
    assert json.loads(run_of(site, "approve-edam")["arguments"])["kwargs"]["amount"] == 75


def test_a_run_like_another_is_started(mended):
    site, page = mended
    show(page, site, "start?like=report-40")
    expect(page.get_by_label("Arguments")).to_have_value("[40]")
    page.get_by_label("Arguments").fill("[3]")
    page.get_by_role("button", name="Start", exact=True).click()

    expect(status(page)).to_have_text("✓completed")


def test_those_selected_are_retried_as_a_job_with_its_progress(mended):
    site, page = mended
    show(page, site, "?q=status:failed")
    page.get_by_label("Select this page").check()
    page.get_by_role("toolbar").get_by_role("button", name="Retry").click()
    dialog(page).get_by_text("6 runs").first.wait_for()
    dialog(page).get_by_role("button", name="Retry 6 runs").click()

    page.wait_for_url(re.compile("jobs/1"))
    expect(page.locator("main")).to_contain_text("6 of 6")
    show(page, site, "?q=status:failed")
    page.get_by_text("No run is meant").wait_for()


def test_all_that_match_are_meant_and_not_only_the_page(mended):
    site, page = mended
    show(page, site, "start")
    show(page, site, "?q=status:open")
    expect(page.locator("tbody tr").first).to_be_visible()
    page.get_by_label("Select this page").check()
    page.get_by_role("toolbar").get_by_role("button", name="Terminate").click()
    dialog(page).get_by_role("button", name=re.compile("Terminate .* runs")).click()

    page.wait_for_url(re.compile("jobs/"))
    expect(page.locator("main")).to_contain_text("done")
    assert json.loads(site.get("counts?q=status:open"))["total"] == 0


def test_a_whole_issue_is_retried_muted_and_resolved(mended):
    site, page = mended
    show(page, site, "issues")
    page.get_by_role("button", name="Retry 6").click()
    dialog(page).get_by_role("button", name="Retry 6 runs").click()
    page.wait_for_url(re.compile("jobs/1"))
    expect(page.locator("main")).to_contain_text("6 of 6")
    show(page, site, "issues/I-1")
    press(page, "Resolve", why="the card service is back")

    expect(page.get_by_role("button", name="Open again")).to_be_visible()
    press(page, "Open again")
    press(page, "Mute")
    show(page, site, "issues?state=muted")
    expect(page.locator(".issue")).to_have_count(1)


def test_a_workflow_is_paused_as_a_whole_and_goes_on(mended):
    site, page = mended
    show(page, site, "workers")
    row = page.locator("tr", has_text="nightly").last
    row.get_by_role("button", name="Pause").click()
    dialog(page).get_by_label("Why").fill("maintenance")
    dialog(page).get_by_role("button", name="Pause", exact=True).click()
    page.wait_for_url(re.compile("jobs/"))
    show(page, site, "workers")
    expect(page.locator("tr", has_text="maintenance")).to_have_count(1)
    page.locator("tr", has_text="maintenance").get_by_role("button", name="Resume").click()
    dialog(page).get_by_role("button", name="Resume", exact=True).click()

    page.wait_for_url(re.compile("jobs/"))
    assert json.loads(site.get("holds"))["items"] == []


def test_what_is_refused_is_told_in_the_dialog_and_nothing_is_lost(mended):
    site, page = mended
    show(page, site, "runs/order-8801")
    page.get_by_role("button", name="Restart from").click()
    dialog(page).get_by_label(re.compile("by its id or name")).check()
    dialog(page).get_by_placeholder(re.compile("event:17")).fill("nowhere")
    dialog(page).get_by_label("Why").fill("because")
    dialog(page).get_by_role("button", name="Restart", exact=True).click()

    expect(dialog(page).get_by_role("alert")).to_contain_text("nowhere")
    assert dialog(page).get_by_label("Why").input_value() == "because"


def test_without_a_worker_acts_are_kept_for_the_next_one(alone):
    site, page = alone
    show(page, site, "runs/order-8804")
    press(page, "Retry")
    page.wait_for_url(re.compile(r"order-8804%232"))
    expect(status(page)).to_have_text("○queued")
    expect(page.locator(".banner").first).to_contain_text("no worker lives")

    with working(site.path):
        expect(status(page)).to_have_text("✓completed")


def test_read_only_pages_offer_no_act_and_refuse_them(copied, open_page):
    with serving(copied, "--read-only") as site:
        page = open_page(site.address("#/runs/order-8804"))
        page.locator(".run-title").wait_for()
        page.get_by_text("read only").wait_for()

        assert page.get_by_role("button", name="Retry").count() == 0
        refused = page.evaluate(
            "fetch('api/v1/runs/order-8804:retry', {method: 'POST', body: '{}',"
            " headers: {'content-type': 'application/json'}}).then((one) => one.status)"
        )
        assert refused == 403


def test_what_happens_elsewhere_is_seen(mended):
    site, page = mended
    show(page, site, "runs/approve-1")
    expect(status(page)).to_have_text("◇waiting")

    with durable.Client(site.path).blocking() as client:
        client.get("approve-1").signal(durable.Signal("approval", bool), False)

    expect(status(page)).to_have_text("✓completed")


def test_the_pages_say_when_the_server_is_gone(copied, open_page):
    with serving(copied) as site:
        page = open_page(site.address())
        page.locator("tbody tr").first.wait_for()

    page.get_by_text("The server does not answer").wait_for()


def test_every_act_is_taken_without_a_worker_and_done_by_the_next_one(alone):
    site, page = alone
    show(page, site, "runs/nightly-monday")
    press(page, "Pause")
    expect(status(page)).to_have_text("‖paused")
    press(page, "Resume")
    expect(status(page)).to_have_text(re.compile("queued|sleeping"))
    press(page, "Cancel")
    expect(status(page)).to_have_text("○queued")
    show(page, site, "runs/approve-1")
    page.get_by_role("button", name="Signal").click()
    dialog(page).get_by_label("Name").fill("approval")
    dialog(page).get_by_role("button", name="Send").click()
    expect(status(page)).to_have_text("○queued")
    show(page, site, "runs/ask-1?tab=messages")
    page.get_by_role("button", name="Answer").first.click()
    dialog(page).get_by_role("button", name="as JSON").wait_for()
    dialog(page).get_by_label("Value").fill("red")
    dialog(page).get_by_role("button", name="Answer", exact=True).click()
    expect(status(page)).to_have_text("○queued")
    show(page, site, "runs/order-8810?step=5")
    page.locator(".step-panel").get_by_role("button", name="End by hand").click()
    dialog(page).get_by_role("textbox", name=re.compile("^Result")).fill('"by hand"')
    dialog(page).get_by_role("button", name="End the step").click()
    expect(status(page)).to_have_text("○queued")
    show(page, site, "runs/nightly-tuesday")
    press(page, "Terminate")
    expect(status(page)).to_have_text("⊗terminated")
    show(page, site, "runs/order-8801")
    page.get_by_role("button", name="Restart from").click()
    dialog(page).get_by_role("button", name="Restart", exact=True).click()
    page.wait_for_url(re.compile("order-8801%232"))
    show(page, site, "start?workflow=report")
    page.get_by_role("textbox", name="pages").fill("3")
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator(".run-title").wait_for()
    show(page, site, "issues")
    page.get_by_role("button", name="Retry 6").click()
    dialog(page).get_by_role("button", name="Retry 6 runs").click()
    expect(page.locator("main")).to_contain_text("It is done by an engine, and none lives")

    with working(site.path):
        expect(page.locator("main")).to_contain_text("6 of 6")
        for run, end in {
            "nightly-monday": "cancelled", "approve-1": "completed", "ask-1": "completed",
            "order-8810": "completed", "order-8801": "completed",
        }.items():  # fmt: skip
            show(page, site, f"runs/{run}")
            expect(status(page)).to_contain_text(end)


def test_numbers_are_sent_as_they_are_typed(alone):
    site, page = alone
    show(page, site, "start?workflow=approve")
    amount = page.get_by_label("amount")
    for typed in ("-3", "1.", "", "12"):
        amount.fill("")
        amount.press_sequentially(typed)
        assert amount.input_value() == typed
        start = page.get_by_role("button", name="Start", exact=True)
        (
            expect(start).to_be_enabled
            if typed in {"-3", "1.", "12"}
            else expect(start).to_be_disabled
        )()
    amount.fill("9007199254740993")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()


def test_a_signal_carries_what_its_form_shows(mended):
    site, page = mended
    show(page, site, "runs/approve-1")
    page.get_by_role("button", name="Signal").click()
    expect(dialog(page).get_by_role("checkbox")).not_to_be_checked()
    dialog(page).get_by_role("button", name="Send").click()

    expect(status(page)).to_have_text("✓completed")
    assert json.loads(run_of(site, "approve-1")["result"]) == "Delft 120 False "


def test_large_numbers_survive_the_editor(alone):
    site, page = alone
    show(page, site, "start?workflow=report")
    page.get_by_role("button", name="as JSON").click()
    page.get_by_label("Arguments").fill('{"args": [1152921504606846977], "kwargs": {}}')
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator(".run-title").wait_for()
    page.get_by_role("button", name="Restart from").click()
    dialog(page).get_by_role("button", name="Other arguments").click()

    expect(dialog(page).get_by_label("Arguments")).to_have_value("[\n  1152921504606846977\n]")


def test_a_limit_that_is_no_number_is_refused_before_it_is_sent(alone):
    site, page = alone
    show(page, site, "runs/order-8810?step=5")
    page.locator(".step-panel").get_by_role("button", name="Policy").click()
    dialog(page).get_by_label(re.compile("^Attempts at most")).fill("five")
    dialog(page).get_by_role("button", name="Change").click()

    expect(dialog(page).get_by_role("alert")).to_contain_text("five is no number")
    assert run_of(site, "order-8810")["audit"] == []


def test_keys_act_on_the_run_that_has_the_focus_though_others_arrive(alone):
    site, page = alone
    show(page, site, "")
    page.locator("tbody tr").nth(3).wait_for()
    for row in (0, 1):
        page.keyboard.press("j")
        expect(page.locator("tbody tr").nth(row)).to_have_class(re.compile("cursor"))
    focused = page.evaluate("document.activeElement.textContent")
    with durable.Client(site.path).blocking() as client:
        client.get("order-8801").restart("start")
    expect(page.get_by_role("link", name="order-8801#2")).to_be_visible()
    page.keyboard.press("x")

    assert page.locator("tr.picked .run-link").all_inner_texts() == [focused]


def test_the_back_button_closes_a_dialog(alone):
    site, page = alone
    show(page, site, "runs/nightly-monday")
    page.get_by_role("button", name="Terminate").click()
    page.go_back()

    expect(dialog(page)).to_have_count(0)
