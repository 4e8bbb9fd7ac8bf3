"""Which signals a workflow can ask for, as far as its code names them: a misspelt one is told.

Nothing depends on it. What code makes up as it runs is not found, so a signal is never refused.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from durable._core.frames import owner_of
from durable.messages import Signal

if TYPE_CHECKING:
    from durable._core.mailbox import Mailbox

__all__ = ["known_signals"]

# So many functions are walked through, from the workflow on: more is a program, not a workflow.
FUNCTIONS_MAX = 500
# A run that knows more names is not asked about any.
NAMES_MAX = 50

_found: WeakKeyDictionary[Callable[..., Any], frozenset[str] | None] = WeakKeyDictionary()


def known_signals(fn: Callable[..., Any], mailbox: Mailbox) -> list[str]:
    """Return the signals that a run may ask for, sorted; empty if that is not known.

    Args:
        fn: The workflow's function.
        mailbox: The run's: what its code has asked for so far counts as well.
    """
    asked = mailbox.known
    if asked is None:
        return []
    if fn not in _found:
        found = _named_by(fn)
        _found[fn] = None if found is None else frozenset(found)
    named = _found[fn]
    if named is None:
        return []
    names = sorted({*asked, *named})
    return names if len(names) <= NAMES_MAX else []


def _named_by(fn: Callable[..., Any]) -> set[str] | None:
    """Return the signals that a function names, or that what it calls does.

    None if its code makes signals, takes any or imports what it calls, or if it is too much to walk
    through: they are not known then.
    """
    found: set[str] = set()
    seen: set[int] = set()
    stack: list[Any] = [fn]
    while stack:
        value = stack.pop()
        kind = type(value)  # What a proxy says that it is may raise.
        if issubclass(kind, Signal):
            found.add(value.name)
        elif kind in {list, tuple, dict}:
            stack += list(value.values() if kind is dict else value)[:NAMES_MAX]
        elif id(value) not in seen:
            if kind is FunctionType and owner_of(value.__code__.co_filename) == "user":
                if _makes_signals(value.__code__):
                    return None
                stack += _values_in(value)
            elif issubclass(kind, type):
                # What it makes when it is made is found in its objects.
                stack += [one for name, one in vars(value).items() if name != "__init__"]
            elif _is_of_user(kind) and "__dict__" in dir(kind):
                stack += [kind, *object.__getattribute__(value, "__dict__").values()]
            else:
                continue
            seen.add(id(value))
            if len(seen) > FUNCTIONS_MAX:
                return None
    return found


def _is_of_user(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    file = None if module is None else vars(module).get("__file__")
    return isinstance(file, str) and owner_of(file) == "user"


def _makes_signals(code: CodeType) -> bool:
    return any(
        "Signal" in one.co_names
        or "any_handler" in one.co_names
        or any(step.opname == "IMPORT_NAME" for step in dis.get_instructions(one))
        for one in _codes(code)
    )


def _values_in(function: FunctionType) -> Iterator[Any]:
    """Yield what the code of a function can reach by name."""
    names = _names(function.__code__)
    for name in names:
        value = function.__globals__.get(name)
        yield value
        if issubclass(type(value), ModuleType):
            for attribute in names:
                yield vars(value).get(attribute)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # Nothing has been assigned to it yet.
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType) -> set[str]:
    return {name for one in _codes(code) for name in one.co_names}
