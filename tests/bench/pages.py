"""How fast the pages are: their answers over HTTP, and what a person sees in a real Chromium."""

import asyncio
import http.client
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import durable
from durable import activity, workflow

TOKEN = "a-token-of-the-bench"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@activity
async def page_step(number: int) -> int:
    return number


@workflow
async def page_chain(steps: int) -> int:
    for number in range(steps):
        await page_step(number)
    return steps


@workflow
async def page_sleeper() -> None:
    await durable.sleep(3_600)


@contextmanager
def serving(path):
    """Serve a file's pages; yield the port and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "durable_cli", "ui", str(path), "--port", "0", "--token", TOKEN,
         "--no-open"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield int(re.search(r":(\d+)/", process.stdout.readline())[1]), process.pid
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@contextmanager
def looking(port):
    """Open a real browser at the pages; yield the page."""
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/?token={TOKEN}")
        page.locator("h1").first.wait_for(state="attached")
        yield page
        browser.close()


def answer_ms(port, path, times=30, *, again=False):
    """Return the median and the slowest time of an answer, in ms; with ``again`` of a 304."""
    found = []
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        headers = {"authorization": f"Bearer {TOKEN}"}
        for turn in range(times + 3):
            began = time.perf_counter()
            connection.request("GET", f"/api/v1/{path}", headers=headers)
            answer = connection.getresponse()
            answer.read()
            took = (time.perf_counter() - began) * 1000
            if again:
                headers["if-none-match"] = answer.headers["etag"]
                if turn and answer.status != 304:  # Every ten seconds an answer is made anew.
                    continue
            if turn >= 3:
                found.append(took)
    return round(statistics.median(found), 2), round(max(found), 2)


def lists(path):
    """Measure the list of a large file."""
    with serving(path) as (port, _):
        page, slowest_page = answer_ms(port, "runs?limit=100")
        filtered, _ = answer_ms(port, "runs?limit=100&q=status:failed")
        counts, slowest_counts = answer_ms(port, "counts")
        same, _ = answer_ms(port, "runs?limit=100", again=True)
        with looking(port) as shown:
            seen = shown.evaluate("performance.now()")
            shown.locator("tbody tr").first.wait_for()
            seen = shown.evaluate("performance.getEntriesByType('resource').at(-1).responseEnd")
    return {
        "page_ms": page, "page_ms_max": slowest_page, "page_of_a_filter_ms": filtered,
        "counts_ms": counts, "counts_ms_max": slowest_counts, "unchanged_304_ms": same,
        "page_in_the_browser_ms": round(seen),
    }  # fmt: skip


_FIRST_ROW = """() => new Promise((done) => {
  const look = () => document.querySelector('.tl-row') ? done(performance.now())
                                                       : requestAnimationFrame(look);
  look();
})"""
_CLICK = """(selector) => new Promise((done) => {
  const began = performance.now();
  document.querySelector(selector[0]).click();
  const look = () => document.querySelector(selector[1]) ? done(performance.now() - began)
                                                         : requestAnimationFrame(look);
  look();
})"""


def large_run(path, steps):
    """Measure the page of a run of many steps."""
    durable.run(path, page_chain.options(id="large"), steps)
    with serving(path) as (port, _), looking(port) as page:
        first = []
        for _ in range(3):
            page.goto("about:blank")
            page.goto(f"http://127.0.0.1:{port}/#/runs/large")
            first.append(page.evaluate(_FIRST_ROW))
        page.get_by_text(f"{steps:,} steps").wait_for()
        # Like steps are one row; a click opens it to all of them, another picks one.
        unfold = page.evaluate(_CLICK, [".tl-row.fold", ".tl-row.inner"])
        pick = page.evaluate(_CLICK, [".tl-row.inner:nth-child(9)", ".step-panel"])
        other = page.evaluate(_CLICK, [".tl-row.inner:nth-child(12)", "[aria-selected=true]"])
        rows = page.evaluate("document.querySelectorAll('.tl-row').length")
    return {
        "steps": steps,
        "first_useful_screen_ms": round(statistics.median(first)),
        "click_to_unfold_all_ms": round(unfold),
        "click_on_a_step_ms": round(max(pick, other)),
        "rows_in_the_page": rows,
    }


def commit_to_pixels(path, times=7):
    """Measure from a commit of another process to what a person sees."""
    found = []
    with (
        durable.Client(path, create=True).blocking() as client,
        serving(path) as (port, _),
        looking(port) as page,
    ):
        for number in range(times):
            run = client.start(page_sleeper.options(id=f"seen-{number}"))
            began = time.perf_counter()
            page.get_by_role("link", name=run.id, exact=True).wait_for()
            found.append((time.perf_counter() - began) * 1000)
    return {
        "commit_to_pixels_ms": round(statistics.median(found)),
        "commit_to_pixels_ms_max": round(max(found)),
    }


# Long enough for some polls and hundreds of commits; what a machine does besides falls on both.
WINDOW_S = 3.0
IN_FLIGHT = 300


def polling_cost(folder, pairs):
    """Measure an engine under a steady load, asked as a page asks, then by a browser, and not.

    The turns alternate within one process (off, on, on, off, ...), so that neither the machine's
    moods nor the growing file fall on one side. What is asked is asked by a process of its own; it
    and the browser compute on the same cores, which is not what being asked takes.
    """
    found = {}
    for how in ("asks", "browser"):
        with folder() as where:
            durable.run(where / "a.db", page_chain.options(id="first"), 1)
            with serving(where / "a.db") as (port, pid), beside(how, port) as switch:
                found[how] = asyncio.run(_windows(where / "a.db", switch, pairs, pid))
    (asked, share), (watched, _) = found["asks"], found["browser"]
    return {
        "asked_of_not_asked": round(statistics.median(asked), 3),
        "quarter_and_three_quarters": [round(one, 3) for one in statistics.quantiles(asked)[::2]],
        "of_a_core_for_answers": round(share, 4),
        "watched_by_a_browser": round(statistics.median(watched), 3),
    }


async def _windows(path, switch, pairs, pid):
    """Return the steps of asked windows as parts of those of the unasked ones beside them.

    And how much of a core the process ``pid`` took in the asked ones; NaN where nobody knows.
    """
    ended = 0

    async with durable.Engine(path) as engine:

        async def keep_going():
            nonlocal ended
            while True:
                await (await engine.start(page_chain, 20)).result()
                ended += 1

        load = [asyncio.create_task(keep_going()) for _ in range(IN_FLIGHT)]
        await asyncio.sleep(WINDOW_S)
        ratios, busy_s = [], 0.0
        for turn in range(pairs):
            count = {}
            for on in (False, True) if turn % 2 == 0 else (True, False):
                await asyncio.to_thread(switch, on=on)
                before, began, computed = ended, time.perf_counter(), cpu_s(pid)
                await asyncio.sleep(WINDOW_S)
                count[on] = (ended - before) / (time.perf_counter() - began)
                busy_s += (cpu_s(pid) - computed) * on
            ratios.append(count[True] / count[False])
        for one in load:
            one.cancel()
    return ratios, busy_s / (pairs * WINDOW_S)


def cpu_s(pid):
    """Return the seconds a process has computed; NaN where the kernel does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def beside(what, port):
    """Open a page, or ask as one does, in a process of its own; yield what switches it."""
    process = subprocess.Popen(
        [sys.executable, __file__, what, str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def switch(*, on):
        process.stdin.write("on\n" if on else "off\n")
        process.stdin.flush()
        if process.stdout.readline() != "done\n":
            raise RuntimeError(f"what {what} has ended")

    try:
        process.stdout.readline()
        yield switch
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def ask_as_a_page(port, is_on, stopped, asked):
    """Ask each second for what the list of runs asks for, with the tags of the last answers."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    tags = {"runs?limit=100": "", "counts": "", "meta": ""}
    while not stopped.wait(1.0):
        if not is_on.is_set():
            continue
        # One for each time: a connection that was idle is closed by the other side.
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            for path, tag in tags.items():
                connection.request(
                    "GET", f"/api/v1/{path}", headers={**headers, "if-none-match": tag}
                )
                answer = connection.getresponse()
                answer.read()
                tags[path] = answer.headers["etag"]
        asked.append(time.perf_counter())


def switched(switch):
    """Say that it is ready, and switch it as the other process says."""
    print("open", flush=True)
    for line in sys.stdin:
        switch(line.strip() == "on")
        print("done", flush=True)


def main(what, port):
    if what == "browser":
        with looking(port) as page:
            follow = page.get_by_role("button", name=re.compile("live|paused"))

            def turn(on):
                if (follow.get_attribute("aria-pressed") == "false") != on:
                    follow.click()

            switched(turn)
        return
    stopped, is_on, asked = threading.Event(), threading.Event(), []
    asking = threading.Thread(target=ask_as_a_page, args=(port, is_on, stopped, asked))
    asking.start()

    def turn(on):
        if on:
            asked.clear()
            is_on.set()
            return
        assert len(asked) > 1 or not is_on.is_set(), "it was switched on, and nothing was asked"
        is_on.clear()

    switched(turn)
    stopped.set()
    asking.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
