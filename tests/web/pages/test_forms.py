"""Forms send what they show, whatever happens around them, and lose nothing that was typed."""

import json
import re

import pytest

import durable
from tests.web.pages import odd
from tests.web.pages.conftest import dialog, run_of, serving, show, status, working

expect = pytest.importorskip("playwright.sync_api", reason="NOT CHECKED: no playwright").expect


def stored(path, *starts):
    """Store runs of the odd workflows; workers take them."""

    with durable.Client(path, create=True).blocking() as client:
        for start, *given in starts:
            client.start(start, *given)


@pytest.fixture
def served(tmp_path, open_page):
    path = tmp_path / "odd.db"
    stored(
        path,
        (odd.approves.options(id="ask"),),
        (odd.orders.options(id="buy"),),
        (odd.promises.options(id="say"),),
        (odd.loops.options(id="loop"), 1),
        (odd.which.options(id="wide"), [3]),
    )
    app = "odd.py:engine"
    with working(path, app=app), serving(path, "--app", app) as site:
        yield site, open_page(site.address())


def poked(page):
    """Let the page believe that it is seen again: everything is asked anew, and answered anew."""

    def anew(route):
        headers = {k: v for k, v in route.request.headers.items() if k != "if-none-match"}
        route.continue_(headers=headers)

    page.route("**/forms", anew)
    with page.expect_response(re.compile("forms")):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def result(site, run):
    return json.loads(run_of(site, run)["result"])


def test_a_ticked_box_is_sent_ticked_though_everything_was_asked_anew(served):
    site, page = served
    show(page, site, "runs/ask")
    expect(status(page)).to_have_text("◇waiting")
    page.get_by_role("button", name="Signal").click()
    dialog(page).get_by_role("checkbox").check()

    poked(page)
    dialog(page).get_by_role("button", name="Send").click()

    expect(status(page)).to_have_text("✓completed")
    assert result(site, "ask") == "approved: True"


def test_an_answer_is_sent_as_it_is_shown_after_one_that_failed(served):
    site, page = served
    show(page, site, "runs/say?tab=messages")
    page.get_by_role("button", name="Answer").click()
    dialog(page).get_by_role("checkbox").check()
    page.route("**/promises:answer", lambda route: route.fulfill(status=503, body="{}"))
    dialog(page).get_by_role("button", name="Answer").click()
    dialog(page).get_by_role("alert").wait_for()
    page.unroute("**/promises:answer")

    expect(dialog(page).get_by_role("checkbox")).to_be_checked()
    dialog(page).get_by_role("button", name="Answer").click()

    expect(status(page)).to_have_text("✓completed")
    assert result(site, "say") == "answer: True"


def test_json_that_was_typed_is_shown_by_the_form_and_the_other_way_round(served):
    site, page = served
    show(page, site, "runs/buy")
    expect(status(page)).to_have_text("◇waiting")
    page.get_by_role("button", name="Signal").click()
    dialog(page).get_by_role("button", name="as JSON").click()
    dialog(page).get_by_label("Value").fill('{"sku": "typed"}')

    dialog(page).get_by_role("button", name="as a form").click()
    expect(dialog(page).get_by_label("sku")).to_have_value("typed")
    dialog(page).get_by_label("sku").fill("typed again")
    dialog(page).get_by_role("button", name="as JSON").click()
    expect(dialog(page).get_by_label("Value")).to_have_value('{"sku":"typed again"}')
    dialog(page).get_by_label("Value").fill('{"sku": 7}')
    expect(dialog(page).get_by_role("button", name="as a form")).to_be_disabled()
    dialog(page).get_by_label("Value").fill('{"sku": "right"}')
    dialog(page).get_by_role("button", name="Send").click()

    expect(status(page)).to_have_text("✓completed")
    assert result(site, "buy") == "right careful ['std'] None"


def test_what_is_left_out_of_a_form_is_left_to_the_code_and_nothing_is_sent_as_nothing(served):
    site, page = served
    show(page, site, "runs/buy")
    expect(status(page)).to_have_text("◇waiting")
    page.get_by_role("button", name="Signal").click()
    dialog(page).get_by_label("sku").fill("tea")
    dialog(page).get_by_role("button", name="+ note").click()
    dialog(page).get_by_label("note is given").uncheck()
    expect(dialog(page).get_by_label("note is given")).not_to_be_checked()
    dialog(page).get_by_role("button", name="+ middle").click()
    dialog(page).get_by_label("middle is given").check()
    dialog(page).get_by_label("number").fill("9")
    dialog(page).get_by_role("button", name="Send").click()

    expect(status(page)).to_have_text("✓completed")
    assert result(site, "buy") == "tea None ['std'] Middle(inner=Inner(number=9))"


def test_typed_json_survives_another_name(served):
    site, page = served
    show(page, site, "runs/ask")
    expect(status(page)).to_have_text("◇waiting")
    page.get_by_role("button", name="Signal").click()
    dialog(page).get_by_label("Name").fill("nothing")
    dialog(page).get_by_label("Value").fill('{"mine": 1}')

    for name in ("approval", "approval2"):
        dialog(page).get_by_label("Name").fill(name)

    expect(dialog(page).get_by_label("Value")).to_have_value('{"mine": 1}')


@pytest.mark.parametrize(
    ("typed", "ticked", "found"),
    [
        ([], False, [1, 2, [], False]),
        ([9], False, [1, 2, [9], False]),
        ([9, 8], True, [1, 2, [9, 8], True]),
    ],
)
def test_what_is_left_of_the_positions_shifts_nothing(served, typed, ticked, found):
    site, page = served
    show(page, site, "start?workflow=rest")
    page.get_by_label("a", exact=True).fill("1")
    page.get_by_role("button", name="+ more").click()
    page.get_by_label("more").fill(json.dumps(typed))
    if ticked:
        page.get_by_role("button", name="+ flag").click()
        page.get_by_label("flag").check()
    page.get_by_role("button", name="Start", exact=True).click()

    page.wait_for_url(re.compile("runs/"))
    expect(status(page)).to_have_text("✓completed")
    assert result(site, page.url.rpartition("/")[2]) == found


def test_what_goes_by_position_alone_or_by_name_alone_is_sent_so(served):
    site, page = served
    show(page, site, "start?workflow=only")
    page.get_by_label("a", exact=True).fill("1")
    page.get_by_role("button", name="+ c").click()
    page.get_by_label("c", exact=True).fill("3")
    page.get_by_role("button", name="Start", exact=True).click()

    page.wait_for_url(re.compile("runs/"))
    expect(status(page)).to_have_text("✓completed")
    assert result(site, page.url.rpartition("/")[2]) == [1, 5, 3]


def test_the_start_form_shows_what_was_typed_as_json(served):
    site, page = served
    show(page, site, "start?like=wide")
    page.get_by_role("button", name="as a form").click()
    expect(page.get_by_label("ids")).to_have_value(re.compile(r"^\[\s*3\s*\]$"))
    page.get_by_role("button", name="as JSON").click()
    page.get_by_label("Arguments").fill("[[1], 2]")
    page.get_by_role("button", name="as a form").click()
    page.locator(".toast", has_text="cannot show these arguments").wait_for()
    expect(page.get_by_label("Arguments")).to_have_value("[[1], 2]")
    page.get_by_label("Arguments").fill("7")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    page.get_by_label("Arguments").fill('{"kwargs": {"ids": [9007199254740993, 1.0e2]}}')
    page.get_by_role("button", name="as a form").click()
    expect(page.get_by_label("ids")).to_have_value(re.compile("9007199254740993"))
    page.get_by_label("ids").fill("[9007199254740993]")
    page.get_by_role("button", name="Start", exact=True).click()

    page.wait_for_url(re.compile("runs/"))
    expect(status(page)).to_have_text("✓completed")
    run = page.url.rpartition("/")[2]
    assert run_of(site, run)["result"] == "[9007199254740993]"


def test_an_act_is_done_to_the_run_that_was_shown_and_to_no_newer_one(served):
    site, page = served
    show(page, site, "runs/wide")
    expect(status(page)).to_have_text("✓completed")
    page.get_by_role("button", name="Delete").click()

    with durable.Client(site.path).blocking() as client:
        client.get("wide").restart("start").result()
    dialog(page).get_by_role("button", name="Delete").click()
    page.wait_for_url(re.compile(r"#/$"))

    with durable.view(site.path) as runs:
        assert [one.id for one in runs.list("workflow:which superseded:any")] == ["wide#2"]


def test_an_act_without_an_answer_is_not_done_twice(served):
    site, page = served
    show(page, site, "start?workflow=which")
    page.get_by_label("ids").fill("[5]")

    def lost(route):
        route.fetch()
        route.abort()

    page.route("**/runs:start", lost)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("alert").wait_for()
    page.unroute("**/runs:start")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url(re.compile("runs/"))

    with durable.view(site.path) as runs:
        assert len(runs.list("workflow:which")) == 2  # The one that was there, and this one.


def test_text_that_is_dragged_out_of_a_dialog_does_not_close_it(served):
    site, page = served
    show(page, site, "runs/ask")
    page.get_by_role("button", name="Cancel", exact=True).click()
    why = dialog(page).get_by_label("Why")
    why.fill("because")
    box = why.bounding_box()
    edge = dialog(page).bounding_box()

    page.mouse.move(box["x"] + 40, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(edge["x"] - 60, box["y"] + 8, steps=5)
    page.mouse.up()

    expect(why).to_have_value("because")
    page.mouse.click(edge["x"] - 60, box["y"] + 8)  # A click there alone does.
    expect(dialog(page)).to_have_count(0)


def test_a_run_that_goes_on_as_new_shows_one_history(served):
    site, page = served
    show(page, site, "runs/loop?tab=steps")
    expect(page.get_by_role("listitem")).to_have_count(3)
    page.get_by_role("button", name="Signal").click()
    dialog(page).get_by_label("Name").fill("step_on")
    dialog(page).get_by_label("Value").fill("2")
    dialog(page).get_by_role("button", name="Send").click()

    expect(page.locator(".run-id")).to_have_text("loop#2")
    rows = page.get_by_role("list", name="Steps")
    expect(rows).to_contain_text("turn 2 step 2")
    expect(rows).not_to_contain_text("turn 1")
    expect(page.get_by_role("listitem")).to_have_count(3)


def test_what_is_typed_into_compare_stays(served):
    site, page = served
    show(page, site, "compare?one=ask&other=buy")
    page.locator("table.compare").first.wait_for()
    box = page.get_by_label("The other")
    box.fill("wi")

    with page.expect_response(re.compile("compare")):
        pass  # It is drawn anew with each answer.

    expect(box).to_have_value("wi")


def test_a_page_of_long_ids_is_acted_on(tmp_path, open_page):
    path = tmp_path / "odd.db"
    stored(path, *((odd.which.options(id=f"{number:0180d}"), [1]) for number in range(102)))
    with serving(path, "--app", "odd.py:engine") as site:
        page = open_page(site.address())
        page.get_by_label("Select this page").check()
        page.get_by_role("toolbar").get_by_role("button", name="Terminate").click()

        dialog(page).get_by_role("button", name="Terminate 100 runs").wait_for()


def test_a_look_that_failed_once_is_made_again(served):
    site, page = served
    failed = []

    def once(route):
        if failed:
            route.continue_()
        else:
            failed.append(route.request.url)
            route.abort()

    page.route("**/forms", once)
    show(page, site, "start")
    page.reload()
    page.get_by_label("Workflow").wait_for()
    assert failed
    failed.clear()
    page.route("**/steps?*", once)
    show(page, site, "runs/loop?tab=steps")

    expect(page.get_by_role("listitem")).to_have_count(3)
    assert failed


def test_numbers_that_javascript_cannot_hold_are_shown_as_they_are(tmp_path, open_page):
    path = tmp_path / "odd.db"
    large = 9007199254740993
    stored(path, (odd.which.options(id="large", attributes={"customer": large}), [large]))
    with serving(path) as site:
        page = open_page(site.address("#/runs/large"))
        page.locator("dl.facts", has_text=f"customer{large}").wait_for()
        page.get_by_role("tab", name="JSON").click()

        expect(page.get_by_role("tabpanel")).to_contain_text(f"customer: {large}")


def test_keys_go_past_a_folded_row_and_work_after_a_click_on_a_box(looked_at, open_page):
    page = open_page(looked_at.address("#/runs/order-8805"))
    rows = page.get_by_role("listbox", name="Steps").get_by_role("option")
    page.locator(".tl-row.fold").wait_for()
    count = rows.count()
    rows.first.click()
    seen = []
    for _ in range(count):
        seen.append(page.evaluate("document.activeElement.dataset.key || ''"))
        page.keyboard.press("ArrowDown")
        page.wait_for_timeout(60)  # The focus follows the drawing.
    assert len(set(seen[1:])) >= count - 1
    page.goto(looked_at.origin + "/#/")
    page.locator("tbody input[type=checkbox]").first.click()
    page.keyboard.press("?")

    dialog(page).wait_for()


def test_a_stream_that_grows_fast_loses_no_line(served):
    site, page = served
    with durable.Client(site.path).blocking() as client:
        run = client.start(odd.writes.options(id="lines"))
        run.signal(odd.step_on, 300)
        show(page, site, "runs/lines?tab=values")
        lines = page.locator(".stream li")
        expect(lines.last).to_contain_text("line 299")
        page.get_by_role("button", name="earlier").click()
        expect(lines).to_have_count(300)

        run.signal(odd.step_on, 1_250)

        expect(lines.last).to_contain_text("line 1549")
        expect(lines).to_have_count(1_550)
    texts = lines.all_inner_texts()
    assert [int(one.rpartition(" ")[2]) for one in texts] == list(range(1_550))
