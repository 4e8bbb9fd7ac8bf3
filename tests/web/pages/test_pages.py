"""Every page shows what is in the file, with no worker and by nobody's hand."""

import json
import re
import shutil
import subprocess
import sys
from urllib.parse import quote

import pytest

from tests.web.pages.conftest import HERE, serving

expect = pytest.importorskip("playwright.sync_api", reason="NOT CHECKED: no playwright").expect

PAGES = ["", "issues", "waiting", "workers", "stats", "jobs", "compare", "start", "about"]
SHAPES = [
    {},
    {"color_scheme": "dark"},
    {"viewport": {"width": 390, "height": 844}},
]


def test_the_list_shows_runs_with_their_counts_and_filters_by_a_click(looked_at, open_page):
    page = open_page(looked_at.address())
    page.locator(".chip", has_text="failed").click()

    page.wait_for_url(re.compile(r"status%3Afailed"))
    page.locator("tbody tr").first.wait_for()
    assert set(page.locator("tbody .status").all_inner_texts()) == {"✕failed"}
    assert page.locator(".chip[aria-pressed=true] b").inner_text() == "6"
    assert page.locator("tbody tr").count() == 6


def test_a_filter_is_completed_typed_and_kept_in_the_address(looked_at, open_page):
    page = open_page(looked_at.address())
    page.keyboard.press("/")
    page.keyboard.type("workf")
    page.get_by_role("option", name=re.compile("workflow:")).wait_for()
    page.keyboard.press("Tab")
    page.keyboard.type("night")
    page.get_by_role("option", name="nightly").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator("tbody tr")).to_have_count(4)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(4)
    assert page.locator("#filter").input_value() == "workflow:nightly"


def test_a_wrong_filter_is_told_with_its_place(looked_at, open_page):
    page = open_page(looked_at.address("#/?q=statsu:failed"))

    told = page.get_by_role("alert").inner_text()

    assert "status" in told
    assert "^" in told


def test_pages_of_a_list_follow_each_other(looked_at, open_page):
    page = open_page(looked_at.address("#/?q=order-"))
    page.locator("tbody tr").first.wait_for()
    assert page.locator("a", has_text="older").count() == 0
    page.get_by_role("button", name="Newest first").click()

    page.get_by_role("button", name="Oldest first").wait_for()
    assert page.locator(".run-link").first.inner_text() == "order-8801"


def test_a_run_shows_why_it_waits_and_its_steps(looked_at, open_page):
    page = open_page(looked_at.address("#/runs/order-8805"))

    page.locator(".banner", has_text="the label printer is out").wait_for()
    rows = page.get_by_role("listbox", name="Steps").get_by_role("option")
    rows.first.wait_for()
    texts = " ".join(rows.all_inner_texts())
    assert all(name in texts for name in ("validate", "reserve", "timer", "charge", "pack"))
    page.locator(".tl-row.fold").click()
    expect(page.locator(".tl-row.inner")).to_have_count(6)


def test_a_step_shows_each_attempt_with_its_traceback(looked_at, open_page):
    page = open_page(looked_at.address("#/runs/order-8803"))
    page.get_by_role("option", name=re.compile("reserve")).click()

    panel = page.locator(".step-panel")
    panel.locator("summary", has_text="2 failed attempts").wait_for()
    assert "the stock service did not answer" in panel.locator("pre.trace").first.inner_text()
    assert "reserved-3" in panel.inner_text()


@pytest.mark.parametrize(
    ("tab", "text"),
    [
        ("steps", "reserve"), ("events", "validate"), ("children", "notify-5"),
        ("values", "packed"), ("payloads", "5"), ("audit", "Nobody did anything"),
        ("json", "order-8805"), ("messages", "No update"), ("code", "in fulfil"),
    ],
)  # fmt: skip
def test_each_tab_of_a_run_has_its_content(looked_at, open_page, tab, text):
    page = open_page(looked_at.address(f"#/runs/order-8805?tab={tab}"))

    page.locator("[role=tabpanel]", has_text=text).wait_for()


def test_where_the_code_waits_is_shown_by_replay(looked_at, open_page):
    page = open_page(looked_at.address("#/runs/approve-1?tab=code"))

    page.locator("pre", has_text="in approve").first.wait_for()


def test_a_promise_and_an_audit_are_shown(looked_at, open_page):
    page = open_page(looked_at.address("#/runs/ask-1?tab=messages"))
    page.locator("td", has_text="which colour?").wait_for()
    page.goto(looked_at.origin + "/#/runs/nightly-tuesday?tab=audit")

    page.locator("td", has_text="the printer is away").wait_for()


def test_issues_are_groups_with_what_repairs_them(looked_at, open_page):
    page = open_page(looked_at.address("#/issues"))

    page.get_by_role("button", name="Retry 6").wait_for()
    page.locator(".issue-title", has_text="ConnectionError").first.click()
    page.locator("pre", has_text="ConnectionError").wait_for()


def test_waiting_has_the_soonest_first(looked_at, open_page):
    page = open_page(looked_at.address("#/waiting"))

    page.locator("h2", has_text="Soonest").wait_for()
    first = page.locator("table").first.locator(".run-link")
    expect(first).to_have_count(4)
    assert first.last.inner_text() == "nightly-monday"


def test_workers_stats_start_and_about_tell_what_they_know(looked_at, open_page):
    page = open_page(looked_at.address("#/workers"))
    page.get_by_text("No worker serves this file.").wait_for()
    page.goto(looked_at.origin + "/#/stats")
    page.locator("td", has_text="fulfil").wait_for()
    page.goto(looked_at.origin + "/#/start?workflow=approve")
    page.get_by_label("amount").wait_for()
    page.goto(looked_at.origin + "/#/about")
    page.get_by_role("button", name="Look it over").click()

    page.locator("td", has_text="every page reads").wait_for()


def test_two_runs_are_compared(looked_at, open_page):
    page = open_page(looked_at.address("#/compare?one=order-8801&other=order-8804"))

    page.get_by_text("first difference").wait_for()
    assert "arguments" in page.locator("table").first.inner_text()


def test_keys_move_select_and_open(looked_at, open_page):
    page = open_page(looked_at.address("#/?q=status:failed"))
    page.locator("tbody tr").first.wait_for()
    page.keyboard.press("j")
    expect(page.locator("tr.cursor")).to_have_count(1)
    page.keyboard.press("x")
    page.get_by_text("1 run selected").wait_for()
    page.keyboard.press("j")
    expect(page.locator("tr.cursor")).to_contain_text("order-8820")
    page.keyboard.press("x")
    page.get_by_text("2 runs selected").wait_for()
    page.keyboard.press("Enter")

    page.wait_for_url(re.compile("runs/order-8820"))
    page.keyboard.press("g")
    page.keyboard.press("i")
    page.wait_for_url(re.compile("issues"))
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("go anywhere").wait_for()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog").get_by_role("combobox")).to_be_focused()
    page.keyboard.type("approve-1")
    page.get_by_role("option", name=re.compile("approve-1")).first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("approve-1"))


def test_a_view_is_saved_and_found_again(looked_at, open_page):
    page = open_page(looked_at.address("#/?q=workflow:fulfil"))
    page.locator("summary", has_text="Views").click()
    page.get_by_role("button", name="Save this view").click()
    page.get_by_label("Name").fill("Orders")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto(looked_at.origin + "/#/")
    page.reload()
    page.locator("summary", has_text="Views").click()
    page.get_by_role("link", name=re.compile("Orders")).click()

    page.wait_for_url(re.compile("workflow%3Afulfil"))


def test_columns_and_order_are_chosen(looked_at, open_page):
    page = open_page(looked_at.address("#/?q=workflow:fulfil"))
    page.locator("summary", has_text="Columns").click()
    page.get_by_label("Tags").check()
    page.locator("td.c-tags").first.wait_for()


@pytest.mark.parametrize("column", ["Took", "Started"])
def test_the_whole_list_is_sorted_by_a_column(looked_at, open_page, column):
    name = column.lower()
    finished = "status:completed"  # What takes longer with every moment has no place to stay at.

    def ids(sort: str) -> list[str]:
        found = json.loads(looked_at.get(f"runs?q={finished}&sort={sort}"))
        return [one["id"] for one in found["items"]]

    down, up = ids(f"-{name}"), ids(name)
    assert down == up[::-1]
    assert len(down) > 3
    page = open_page(looked_at.address(f"#/?q={finished}"))
    head = page.locator(f"th.c-{name}")

    head.get_by_role("button").click()

    expect(head).to_have_attribute("aria-sort", "descending")
    expect(page.locator(".run-link")).to_have_text(down)
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(page.locator(".run-link")).to_have_text(up)
    page.get_by_role("button", name=f"By {name}").click()
    page.get_by_role("button", name="Newest first").wait_for()
    expect(head).to_have_attribute("aria-sort", "none")


def test_the_focus_stays_where_it_is_while_the_list_is_drawn_again(looked_at, open_page):
    page = open_page(looked_at.address())
    page.locator("tbody tr").nth(4).wait_for()
    page.locator(".run-link").nth(4).focus()
    before = page.evaluate("document.activeElement.textContent")

    page.wait_for_timeout(2500)  # Two polls, and two ticks of the clock.

    assert page.evaluate("document.activeElement.textContent") == before


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_phone(looked_at, open_page, name):
    page = open_page(looked_at.address(f"#/{name}"), viewport={"width": 390, "height": 844})
    page.locator("main h1").first.wait_for(state="attached")
    page.wait_for_load_state("networkidle")

    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_page_is_wider_than_a_phone_wherever_the_code_and_the_file_are(tmp_path, open_page):
    folder = tmp_path / ("where-the-code-is-" * 8) / ("and-deeper-" * 10)
    folder.mkdir(parents=True)
    app = folder / "shop.py"
    shutil.copy(HERE / "shop.py", app)
    path = folder / f"{'a-file-with-a-long-name-' * 6}.db"
    subprocess.run([sys.executable, app, path], check=True, cwd=folder, timeout=120)
    wide = {}

    with serving(path, "--app", f"{app}:engine") as site:
        for name in [*PAGES, "runs/order-8805?step=5", "runs/order-8804", "issues/I-1"]:
            page = open_page(site.address(f"#/{name}"), viewport={"width": 390, "height": 844})
            page.locator("main h1").first.wait_for(state="attached")
            page.wait_for_load_state("networkidle")
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > 390:
                wide[name] = width

    assert wide == {}


def test_a_dialog_that_is_opened_while_a_page_changes_stays(looked_at, open_page):
    page = open_page(looked_at.address("#/issues"))
    page.locator("main h1").first.wait_for()
    # The change of the address is told after it: a key can be faster.
    page.evaluate("""() => {
        const press = (key) => document.body.dispatchEvent(
            new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        for (const key of ["g", "w", "?"]) press(key);
    }""")
    page.wait_for_url(re.compile("waiting"))
    page.wait_for_function("() => new Promise((done) => setTimeout(() => done(true), 100))")

    expect(page.get_by_role("dialog").get_by_text("go anywhere")).to_be_visible()


def test_a_key_right_after_a_dialog_was_closed_is_heard(looked_at, open_page):
    page = open_page(looked_at.address("#/issues"))
    page.locator("main h1").first.wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("go anywhere").wait_for()
    # That it was closed is told after it.
    page.evaluate("""() => {
        document.querySelector("dialog").close();
        document.body.dispatchEvent(
            new KeyboardEvent("keydown", { key: "k", ctrlKey: true, bubbles: true }));
    }""")

    expect(page.get_by_role("dialog").get_by_role("combobox")).to_be_focused()
    expect(page.get_by_role("dialog")).to_have_count(1)


@pytest.mark.parametrize("shape", SHAPES, ids=["light", "dark", "phone"])
@pytest.mark.parametrize(
    "name",
    [*PAGES, "runs/order-8805?step=5", "runs/order-8804", "issues/I-1", "runs/approve-1?tab=code",
     "start?workflow=approve", "runs/order-8805?tab=steps", "runs/order-8805?tab=payloads",
     "compare?one=order-8801&other=order-8804"],
)  # fmt: skip
def test_axe_finds_nothing_wrong_with_a_page(looked_at, open_page, name, shape):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="NOT CHECKED: no axe")
    page = open_page(looked_at.address(f"#/{name}"), bypass_csp=True, **shape)
    page.locator("main h1").first.wait_for(state="attached")
    page.wait_for_timeout(400)

    found = axe.Axe().run(page).response["violations"]

    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []


def test_a_timeline_is_zoomed_by_dragging_and_idle_time_is_hidden(looked_at, open_page):
    page = open_page(looked_at.address("#/runs/order-8801"))
    bar = page.get_by_role("option", name=re.compile("charge")).locator(".tl-bar")
    bar.wait_for()
    before = bar.evaluate("(one) => one.style.left")
    axis = page.locator(".tl-ticks").bounding_box()
    page.mouse.move(axis["x"] + axis["width"] * 0.5, axis["y"] + 10)
    page.mouse.down()
    page.mouse.move(axis["x"] + axis["width"] * 0.9, axis["y"] + 10)
    page.mouse.up()

    whole = page.get_by_role("button", name="all", exact=True)
    expect(whole).to_be_enabled()
    assert bar.evaluate("(one) => one.style.left") != before
    whole.click()
    assert bar.evaluate("(one) => one.style.left") == before
    page.get_by_label("hide idle time").check()
    expect(page.locator(".tl-gap").first).to_be_attached()


def test_steps_are_reached_by_the_keyboard(looked_at, open_page):
    page = open_page(looked_at.address("#/runs/order-8804"))
    page.get_by_role("option").first.click()
    for _ in range(3):
        page.keyboard.press("ArrowDown")

    expect(page.locator(".step-panel h2")).to_contain_text("charge")
    page.get_by_role("tab", name="Timeline").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name=re.compile("Steps"))).to_be_focused()


def test_open_runs_are_checked_against_the_code_from_the_page(looked_at, open_page):
    page = open_page(looked_at.address("#/about"))
    page.get_by_role("button", name="Check open runs").click()

    expect(page.locator("main")).to_contain_text(re.compile(r"\d+ fit, 0 do not"))


def test_the_address_of_a_page_leads_back_and_forth(looked_at, open_page):
    page = open_page(looked_at.address("#/?q=status:failed"))
    page.get_by_role("link", name="order-8804").click()
    page.locator(".run-title").wait_for()
    page.get_by_role("tab", name="Audit").click()
    page.go_back()
    expect(page.locator("#filter")).to_have_value("status:failed")
    page.go_forward()

    expect(page.get_by_role("tab", name="Audit")).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize(
    ("query", "pressed", "after"),
    [
        ("workflow:fulfil", "failed", "status:failed workflow:fulfil"),
        ("workflow:fulfil status:failed", "completed", "status:completed workflow:fulfil"),
        ("id:ask-1 or status:failed", "failed", "status:failed (id:ask-1 or status:failed)"),
        ('(id:approve-1 or status:failed) -id:"a b"', "failed",
         'status:failed (id:approve-1 or status:failed) -id:"a b"'),
    ],
)  # fmt: skip
def test_a_count_that_is_clicked_narrows_whatever_filter_there_is(
    looked_at, open_page, query, pressed, after
):
    page = open_page(looked_at.address(f"#/?q={quote(query)}"))
    page.locator(".chip", has_text=pressed).click()

    expect(page.locator("#filter")).to_have_value(after)
    page.locator("tbody tr").first.wait_for()
    assert set(page.locator("tbody .c-status").all_inner_texts()) <= {
        "✕failed", "✓completed", f"✕{pressed}", f"✓{pressed}"
    }  # fmt: skip
    assert page.get_by_role("alert").count() == 0
