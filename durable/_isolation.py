"""What ``isolation="process"`` asks of a function: a process that imports it must find it by name.

The name is the module and the qualified name, as `pickle` and `multiprocessing` have it. Nothing
else of a function travels, so that what a process runs is what the module says.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from durable.errors import DefinitionError, UsageError

__all__ = ["MAIN", "check_findable", "lookup", "memory_bytes"]

MAIN = "__main__"
# The interpreter and this library take about 40 MB: with less no function could begin.
MEMORY_BYTES_MIN = 64 * 1024 * 1024
_UNIT_BYTES = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def check_findable(fn: Callable[..., Any]) -> None:
    """Refuse a function that a process could not find by its name.

    Raises:
        DefinitionError: It is a lambda, one of inside another function, or of no file.
    """
    name = fn.__qualname__
    if "<lambda>" in name:
        what, remedy = "is a lambda", "Give it a name with def, at the top of a module"
    elif "<locals>" in name:
        what, remedy = "is defined inside another function", "Move it to the top of its module"
    elif fn.__module__ == MAIN and not _main_has_file():
        what, remedy = "is of a notebook or a prompt", "Put it into a module, and import it"
    else:
        return
    raise DefinitionError(
        f'{name} {what}; with isolation="process" it runs in a process that imports its module and '
        f"finds it there by name. {remedy}"
    )


def _main_has_file() -> bool:
    main = sys.modules.get(MAIN)
    has_name = getattr(getattr(main, "__spec__", None), "name", None) is not None
    return has_name or getattr(main, "__file__", None) is not None


def lookup(module: object, qualname: str) -> Any:
    """Return what a module has under a qualified name.

    Raises:
        DefinitionError: It has nothing there.
    """
    found = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise DefinitionError(
            f"{getattr(module, '__name__', module)} has no {qualname} when a process imports it; "
            'with isolation="process" the function must be there under its own name whenever the '
            "module is imported"
        )
    return found


def memory_bytes(value: int | str) -> int:
    """Return a size in bytes, given as a number of them or as text such as ``"2GiB"``.

    Raises:
        UsageError: It is no size, or too small.
        DefinitionError: This platform cannot limit the memory of a process.
    """
    if sys.platform != "linux":
        raise DefinitionError(
            "memory_limit is only there on Linux: this platform does not limit the memory of a "
            "process. Leave it out"
        )
    size = _size(value)
    if size is None:
        raise UsageError(
            f'memory_limit is {value!r}; it is a number of bytes, or text such as "512MiB" or "2GB"'
        )
    if not MEMORY_BYTES_MIN <= size < 2**63:
        raise UsageError(
            f"memory_limit is {value!r}; it must be 64 MiB or more, for the interpreter itself "
            "needs most of that"
        )
    return size


def _size(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _UNIT_BYTES:
        return None
    return int(float(match[1]) * _UNIT_BYTES[match[2].lower()])
