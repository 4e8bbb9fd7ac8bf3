"""The files of the pages: a fixed list, read once; no path of a request reaches the disk."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib import resources

import attrs

__all__ = ["ASSET_BYTES_MAX", "Asset", "assets"]

# All of them together: what a phone loads in a second, and what a reader can still read.
ASSET_BYTES_MAX = 200_000

_KINDS = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8",
          "html": "text/html; charset=utf-8", "svg": "image/svg+xml"}  # fmt: skip
_NAMES = (
    "index.html", "style.css", "icon.svg",
    "main.js", "live.js", "parts.js", "payload.js", "forms.js", "acts.js", "charts.js",
    "runs.js", "run.js", "timeline.js", "restart.js", "talk.js",
    "issues.js", "waiting.js", "workers.js", "stats.js", "compare.js", "start.js", "jobs.js",
    "about.js", "vendor/preact.js",
)  # fmt: skip


@attrs.frozen
class Asset:
    """A file of the pages."""

    data: bytes
    kind: str
    tag: str


@functools.cache
def assets() -> Mapping[str, Asset]:
    """Return every file by its name."""
    root = resources.files(__package__).joinpath("static")
    found: dict[str, Asset] = {}
    for name in _NAMES:
        data = root.joinpath(*name.split("/")).read_bytes()
        tag = f'"{hashlib.blake2b(data, digest_size=8).hexdigest()}"'
        found[name] = Asset(data, _KINDS[name.rpartition(".")[2]], tag)
    return found
