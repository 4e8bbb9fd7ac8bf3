"""Which signals a workflow can ask for, as far as its code names them: a misspelt one is told.

Nothing depends on it. What code makes up as it runs is not found, so a signal is never refused.
"""

from __future__ import annotations

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
NAME_CHARACTERS_MAX = 200

_found: WeakKeyDictionary[Callable[..., Any], frozenset[str]] = WeakKeyDictionary()


def known_signals(fn: Callable[..., Any], mailbox: Mailbox) -> list[str]:
    """Return the signals that a run may ask for, sorted; empty if that is not known.

    Args:
        fn: The workflow's function.
        mailbox: The run's: what its code has asked for so far counts as well.
    """
    asked = mailbox.known
    if asked is None:
        return []
    named = _found.get(fn)
    if named is None:
        named = _found[fn] = frozenset(_named_by(fn))
    names = sorted({*asked, *named})
    return names if len(names) <= NAMES_MAX else []


def _named_by(fn: Callable[..., Any]) -> set[str]:
    """Return the names of the signals that a function names, or that what it calls does."""
    found: set[str] = set()
    seen: set[int] = set()
    stack: list[Any] = [fn]
    while stack and len(seen) < FUNCTIONS_MAX:
        value = stack.pop()
        kind = type(value)  # What a proxy says that it is may raise.
        if issubclass(kind, Signal):
            found.add(value.name)
        elif kind is FunctionType:
            if id(value) not in seen and owner_of(value.__code__.co_filename) == "user":
                seen.add(id(value))
                stack += _values_in(value)
                if "Signal" in _names(value.__code__):
                    found |= _texts(value.__code__)
        elif issubclass(kind, type):
            if id(value) not in seen:
                seen.add(id(value))
                stack += vars(value).values()
        elif kind in {list, tuple}:
            stack += value[:NAMES_MAX]
        elif kind is dict:
            stack += list(value.values())[:NAMES_MAX]
    return found


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


def _texts(code: CodeType) -> set[str]:
    """Return what may be the name of a signal that the code makes itself."""
    return {
        one
        for inner in _codes(code)
        for one in inner.co_consts
        if isinstance(one, str) and 1 <= len(one) <= NAME_CHARACTERS_MAX and one.split() == [one]
    }
