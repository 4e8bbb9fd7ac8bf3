"""Makes the pictures of the README: ``python screenshots.py FOLDER``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.web.pages.conftest import ARGUMENTS, HERE, serving, working

WIDE: dict[str, Any] = {"viewport": {"width": 1280, "height": 760}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 760}, "device_scale_factor": 1.5}
DARK: dict[str, Any] = {"color_scheme": "dark"}
PICTURES = {
    "runs": ("#/", WIDE),
    "runs-dark": ("#/?q=workflow:fulfil", WIDE | DARK),
    "runs-phone": ("#/", PHONE),
    "run": ("#/runs/order-8803?step=e-2", WIDE),
    "run-dark": ("#/runs/order-8805", WIDE | DARK),
    "run-phone": ("#/runs/order-8805", PHONE),
    "issues": ("#/issues", WIDE),
    "issues-dark": ("#/issues/I-1", WIDE | DARK),
    "issues-phone": ("#/issues", PHONE),
}

ROOT = HERE.parents[2]
# Where the machine that makes them keeps its files is nothing for pictures.
ELSEWHERE = """(root) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.data.includes(root)) node.data = node.data.replaceAll(root, "/srv");
  }
}"""


def main(folder: Path) -> None:
    """Make every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        path = Path(made) / "shop.db"
        subprocess.run([sys.executable, str(HERE / "shop.py"), str(path)], check=True, cwd=HERE)
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        with working(path, "label"), serving(path, "--app", "shop.py:engine") as site:
            for name, (place, options) in PICTURES.items():
                context = browser.new_context(**options)
                page = context.new_page()
                page.goto(site.address(place))
                page.locator("main h1").first.wait_for(state="attached")
                page.wait_for_timeout(900)
                page.evaluate(ELSEWHERE, str(ROOT))
                page.screenshot(path=str(folder / f"{name}.png"))
                context.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
