"""What a report of a fault begins with."""

from __future__ import annotations

import platform
import sys

from durable._store.versions import apsw_version, sqlite_version
from durable._version import __version__

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Return the versions of this library, Python, SQLite and apsw, and what machine this is."""
    return {
        "durable": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite_version(),
        "apsw": apsw_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
