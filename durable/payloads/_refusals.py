"""The walks that find what cannot be stored, and what would come back changed, with its path.

They run where encoding has failed already, or over values whose hints say nothing; what they return
is the middle of a message.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from durable.payloads._json import as_builtins, encode_json
from durable.payloads._members import SCALARS, field_names, is_model, members_of, shown, step_to

# Only bounds error messages: what nests deeper is named by its beginning.
DEPTH_SHOWN_MAX = 100


# -- what would change -----------------------------------------------------------------------------


def find_change(value: Any, path: str) -> str | None:
    """Return the path and kind of the first member that plain JSON would change."""
    kind = type(value)
    if kind in SCALARS:
        return None
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return f"{path} has the key {shown(key)}, which comes back as text"
        members = value.values()
        steps: Iterable[Any] = value
    elif kind is list:
        members = value
        steps = range(len(value))
    else:
        return f"{path} is a {kind.__qualname__}, which comes back as {_becomes(value)}"
    if set(map(type, members)) <= SCALARS:
        return None
    for step, member in zip(steps, members, strict=True):
        if type(member) not in SCALARS:
            found = find_change(member, path + step_to(step))
            if found is not None:
                return found
    return None


def _becomes(value: Any) -> str:
    try:
        name = type(as_builtins(value)).__name__
    except Exception:  # noqa: BLE001 - a message about a value that is refused anyway
        return "something else"
    return {"dict": "a dict", "list": "a list", "tuple": "a list", "str": "text"}.get(
        name, f"{name}"
    )


def find_mistaken(value: Any, back: Any, path: str = "$") -> str | None:
    """Return the path of the first member that came back as another type."""
    if type(value) in SCALARS and type(value) is type(back):
        return None
    if isinstance(value, set | frozenset):
        return None if value == back else f"{path}: a member of the set would come back otherwise"
    if _is_mistaken(value, back):
        shown = f"the text {value!r:.80}" if isinstance(value, str) else type(value).__qualname__
        return f"{path}: {shown} would come back as {type(back).__qualname__}"
    if isinstance(value, Mapping) and isinstance(back, Mapping):
        for key, other in zip(value, back, strict=False):
            if _is_mistaken(key, other):
                return f"{path}: the key {key!r:.80} would come back as {type(other).__qualname__}"
    if is_model(type(value)):  # What is in it, pydantic has read by itself.
        return None
    members = zip(members_of(value) or (), members_of(back) or (), strict=False)
    for (step, member), (_, other) in members:
        if (found := find_mistaken(member, other, path + step)) is not None:
            return found
    return None


def _is_mistaken(value: Any, back: Any) -> bool:
    kinds = type(value), type(back)
    if kinds[0] is kinds[1]:
        return False
    if isinstance(value, enum.Enum) or isinstance(back, enum.Enum):
        return True
    if isinstance(value, str) or isinstance(back, str):  # A subclass of str comes back as str.
        return not (isinstance(value, str) and isinstance(back, str))
    return any(field_names(kind) is not None or is_model(kind) for kind in kinds)


# -- what cannot be stored -------------------------------------------------------------------------


def find_refused(value: Any, path: str, above: tuple[int, ...]) -> str | None:
    """Return why the first member that cannot be encoded cannot, with its path."""
    if id(value) in above:
        return f"{path}: {type(value).__qualname__} contains itself"
    if len(above) >= DEPTH_SHOWN_MAX:
        return f"{path}: nested too deep"
    children = members_of(value)
    if children is None:
        return _refused_leaf(value, path)
    if isinstance(value, Mapping):
        for key in value:
            try:
                encode_json({key: None})
            except Exception:  # noqa: BLE001 - whatever the reason, this key is the culprit
                return (
                    f"{path}: the key {shown(key)} cannot be stored; "
                    "keys are text, numbers, dates, UUIDs or enums"
                )
    for step, member in children:
        if (found := find_refused(member, path + step, (*above, id(value)))) is not None:
            return found
    # All members pass, the whole does not: a class of its own kind, as a Mapping that is no dict.
    return _refused_leaf(value, path) if type(value) not in {dict, list, tuple, set} else None


def _refused_leaf(value: Any, path: str) -> str | None:
    try:
        encode_json(value)
    except UnicodeEncodeError:
        return f"{path}: {shown(value)} has a lone surrogate, which UTF-8 cannot hold; encode it"
    except (ValueError, OverflowError) as error:
        return f"{path}: {_shown_safely(value)} cannot be stored: {error}"
    except Exception:  # noqa: BLE001 - hooks and properties of the user's may raise anything
        if inspect.isawaitable(value) or inspect.isasyncgen(value):
            return f"{path}: {_unawaited(value)}"
        return (
            f"{path}: {shown(value)} cannot be stored; "
            "return plain data or add a type msgspec knows"
        )
    return None


def _unawaited(value: Any) -> str:
    """Say what is to be awaited: a call of an activity is a coroutine of ours, with its name."""
    if inspect.isasyncgen(value):
        return f"{shown(value)} is an async generator; collect its items, `[x async for x in ...]`"
    if not inspect.iscoroutine(value):
        return f"await is missing before {shown(value)}: what it ends with can be stored"
    frame = value.cr_frame
    called = None if frame is None else frame.f_locals.get("self")
    name = getattr(called, "name", None)
    if not isinstance(name, str) or not value.__name__.startswith("_call"):
        name = value.__name__
    if inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
        value.close()  # Said here, and not once more by a warning at the collector's line.
    return f"await is missing before {name}(...): a call is a coroutine until it is awaited"


def _shown_safely(value: Any) -> str:
    # repr of a huge int raises ValueError itself.
    if isinstance(value, int):
        return f"an int of {value.bit_length()} bits"
    return shown(value)
