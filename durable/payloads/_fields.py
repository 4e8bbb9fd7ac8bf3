"""What a hint is made of: a union's members, and the fields of dataclasses and attrs classes."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from durable.payloads._members import is_model


@attrs.frozen
class Field:
    """A field of a dataclass or attrs class, as msgspec sees it."""

    name: str
    hint: Any
    default: Any
    factory: Callable[[], Any] | None
    is_written: bool = True


NO_DEFAULT: Any = object()


def class_fields(hint: Any) -> list[Field] | None:
    """Return the fields of a dataclass or attrs class that msgspec writes and reads, else None.

    Raises:
        NameError: The type of one is not known.
    """
    cls = typing.get_origin(hint) or hint
    if not isinstance(cls, type) or issubclass(cls, msgspec.Struct) or is_model(cls):
        return None
    found = _declared_fields(cls)
    known = _parameters_of(hint)
    if found is None or not known:
        return found
    return [attrs.evolve(field, hint=_with_parameters(field.hint, known)) for field in found]


def _parameters_of(hint: Any) -> dict[Any, Any]:
    """Return what stands for the parameters of a generic class and of its bases."""
    cls = typing.get_origin(hint) or hint
    known = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(hint), strict=False))
    for base in getattr(cls, "__orig_bases__", ()):
        if typing.get_origin(base) not in {None, typing.Generic}:
            inner = _parameters_of(_with_parameters(base, known))
            known = {**inner, **known}
    return known


def _with_parameters(hint: Any, known: Mapping[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return known.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if (isinstance(hint, type) and not typing.get_args(hint)) or not parameters:
        return hint
    return hint[tuple(known.get(one, one) for one in parameters)]


def _declared_fields(cls: Any) -> list[Field] | None:
    attributes: Any = getattr(cls, "__attrs_attrs__", None)
    if attributes is None and not dataclasses.is_dataclass(cls):
        return None
    hints = typing.get_type_hints(cls, include_extras=True)
    if attributes is not None:
        # msgspec neither writes nor reads the private ones; they get their defaults.
        return [
            Field(
                one.name,
                hints.get(one.name, Any),
                *_default_of_attribute(one.default),
                one.name[0] != "_",
            )
            for one in attributes
        ]
    return [
        Field(one.name, hints[one.name], *_default_of_field(one)) for one in dataclasses.fields(cls)
    ]


def _default_of_attribute(default: Any) -> tuple[Any, Callable[[], Any] | None]:
    # attrs.Factory is a class and, for type checkers, a function.
    if (factory := getattr(default, "factory", None)) is not None and hasattr(
        default, "takes_self"
    ):
        return NO_DEFAULT, factory
    return (NO_DEFAULT if default is attrs.NOTHING else default), None


def _default_of_field(field: dataclasses.Field[Any]) -> tuple[Any, Callable[[], Any] | None]:
    missing = dataclasses.MISSING
    factory = None if field.default_factory is missing else field.default_factory
    return (NO_DEFAULT if field.default is missing else field.default), factory


def hint_of_field(cls: Any, name: str) -> Any:
    try:
        return typing.get_type_hints(cls, include_extras=True).get(name, Any)
    except Exception:  # noqa: BLE001 - what is not known may be anything
        return Any


def bare_hint(hint: Any) -> Any:
    """Return the hint without what is said about it."""
    while True:
        if typing.get_origin(hint) in {typing.Annotated, typing.Required, typing.NotRequired}:
            hint = typing.get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif isinstance(hint, getattr(typing, "TypeAliasType", ())):
            hint = getattr(hint, "__value__")  # noqa: B009 - of Python 3.12 on
        else:
            return hint


def plain_origin(hint: Any) -> Any:
    # What is in a container does not matter for its own kind, and may be what msgspec refuses.
    origin = typing.get_origin(hint)
    return origin if origin in {list, dict, set, frozenset} else hint


def union_members(hint: Any) -> tuple[Any, ...] | None:
    """Return the members of a union, those of unions within it too; None if it is none."""
    if typing.get_origin(hint) not in {typing.Union, types.UnionType}:
        return None
    found: list[Any] = []
    for member in typing.get_args(hint):
        inner = member
        if not has_discriminator(member):
            inner = bare_hint(member)
        found += union_members(inner) or (member,)
    return tuple(found)


def has_discriminator(hint: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    kind = getattr(pydantic, "Discriminator", None)
    return typing.get_origin(hint) is typing.Annotated and any(
        getattr(one, "discriminator", None) is not None
        or (kind is not None and isinstance(one, kind))
        for one in hint.__metadata__
    )
