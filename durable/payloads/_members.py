"""What a value holds: its members, each with the step of the path that leads to it."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

# Of a value in a message: enough to recognise it by.
SHOWN_CHARACTERS_MAX = 120
SCALARS = frozenset({str, int, float, bool, types.NoneType})


def _pydantic_model() -> type[Any] | None:
    # Asked of sys.modules: whoever has a model has imported pydantic, and nobody else pays for it.
    model = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return model if isinstance(model, type) else None


def is_model(cls: type[Any]) -> bool:
    """Return whether it is a pydantic model; pydantic is not imported to find out."""
    model = _pydantic_model()
    return model is not None and issubclass(cls, model)


def field_names(cls: type[Any]) -> tuple[str, ...] | None:
    """Return the names of the fields of an attrs, dataclass or Struct class, else None."""
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_fields__
    if (attributes := getattr(cls, "__attrs_attrs__", None)) is not None:
        return tuple(attribute.name for attribute in attributes)
    if (fields := getattr(cls, "__dataclass_fields__", None)) is not None:
        return tuple(fields)
    return None


def members_of(value: Any) -> Iterator[tuple[str, Any]] | None:
    """Yield what a value holds, as (step of the path, member); None if it holds nothing."""
    if isinstance(value, Mapping):
        return ((step_to(key), member) for key, member in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((f"[{index}]", member) for index, member in enumerate(value))
    if (names := field_names(type(value))) is not None:
        return ((f".{name}", getattr(value, name)) for name in names if hasattr(value, name))
    if is_model(type(value)):
        return iter([("", value.model_dump(by_alias=True))])
    return None


def step_to(key: object) -> str:
    """Return the step of a path that leads to the member of that key."""
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f"[{shown(key)}]"
    return f"[{shown(key)}]"


def shown(value: object) -> str:
    """Return the value's repr, short and fit for a message; it raises nothing."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a repr of the user's may raise anything
        text = f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"
    if len(text) > SHOWN_CHARACTERS_MAX:
        text = text[: SHOWN_CHARACTERS_MAX - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode()
