"""Types that msgspec does not take, and that can be read back all the same.

msgspec reads a union by the first byte of its value: of two classes it takes neither, nor a
pydantic model beside text, nor a date beside text. What stands in a hint instead, a *stand-in*, is
a class of ours that msgspec leaves to the decoding hook, which knows the whole value.

Laws:

- The data alone decide, and exactly one member fits what an encoder wrote: by the kind of JSON
  value, by a field of `Literal` type, by the names of the fields, by the kind of a field's value.
  Two members for which none of this holds are refused when the function is defined.
- Of several types that are all text in JSON (``datetime | str``) the one is taken that would write
  this very text. A text that looks like a date is refused when it is encoded, not changed. So is an
  object whose fields hold what their hints do not say, if that makes it look like another class.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import operator
import sys
import types
import typing
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Literal

import attrs
import msgspec

from durable.payloads._fields import (
    NO_DEFAULT,
    Field,
    bare_hint,
    class_fields,
    has_discriminator,
    plain_origin,
    union_members,
)
from durable.payloads._json import StandIn, decode_hook, encode_json, stand_in
from durable.payloads._members import is_model
from durable.payloads._shapes import KIND_OF, Shape, shape_of

# Nearly every text is one of them, so only one of them can stand beside others that are text.
_ANY_TEXT = (str, bytes, bytearray, memoryview)


NONE_FITS = "none of its types fits"


class CannotTell(TypeError):
    """Two members of a union cannot be told apart; the message says what to write."""


def readable(hint: Any, text: Callable[[Any], str]) -> Any:
    """Return the hint with a stand-in wherever msgspec needs one; the same hint if nowhere.

    Args:
        hint: A hint that msgspec refuses, or that names `object`.
        text: Gives a hint as people write it.

    Raises:
        CannotTell: Of a union two members cannot be told apart.
        NameError: A field of a class has a type that is not known.
    """
    return _Reading(text).rewrite(hint)


@attrs.define
class _Reading:
    _text: Callable[[Any], str]
    _classes: dict[Any, Any] = attrs.field(factory=dict)

    def rewrite(self, hint: Any) -> Any:
        if hint is object:
            return Any
        if has_discriminator(hint):
            return self._discriminated(hint)
        if (members := union_members(hint)) is not None:
            return self._union(hint, members)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is not typing.Annotated and class_fields(hint) is not None:
            return self._class(hint)
        if origin is typing.Annotated:
            inner = self.rewrite(arguments[0])
            return hint if inner is arguments[0] else typing.Annotated[(inner, *hint.__metadata__)]
        if origin is Literal or origin is None:
            return self._class(hint) if isinstance(hint, type) else self._named(hint)
        if not isinstance(origin, type) or is_model(origin):
            return hint
        changed = tuple(one if one is ... else self.rewrite(one) for one in arguments)
        if all(map(operator.is_, changed, arguments)):
            return hint
        return types.GenericAlias(origin, changed)

    def _named(self, hint: Any) -> Any:
        bare = bare_hint(hint)
        if bare is hint:
            return hint
        inner = self.rewrite(bare)
        return hint if inner is bare else inner

    # -- unions

    def _union(self, hint: Any, members: tuple[Any, ...]) -> Any:
        known = tuple(self.rewrite(member) for member in members)
        whole: Any = typing.Union[known]  # noqa: UP007 - made at run time
        if Any in known:
            return Any
        if _is_taken(whole):
            return hint if all(map(operator.is_, known, members)) else whole
        name = self._text(hint)
        cases = self._cases(members, known)
        for one, other in itertools.combinations(cases, 2):
            if not one.shape.is_apart_from(other.shape) and not _are_texts(one, other):
                raise CannotTell(self._advice(one, other))

        def read(data: Any) -> Any:
            # What is tagged has its type said, whatever else fits or does not.
            fitting = [case for case in cases if case.shape.is_tagged_by(data)]
            if len(fitting) != 1:
                fitting = [case for case in cases if case.shape.fits(data)]
            if not fitting:
                fitting = [case for case in cases if _reads(case, data)]
            elif len(fitting) > 1:
                exact = [case for case in fitting if case.hint is not str and _writes(case, data)]
                fitting = exact or [case for case in fitting if case.hint is str]
            if len(fitting) != 1:
                few = ", ".join(case.name for case in fitting)
                raise ValueError(f"more than one of its types fits ({few})" if few else NONE_FITS)
            return fitting[0].read(data)

        pairs = itertools.combinations(cases, 2)
        compares = any(not one.shape.is_marked_off_from(other.shape) for one, other in pairs)
        return stand_in(name, read, [case.known for case in cases], compares=compares)

    def _cases(self, members: tuple[Any, ...], known: tuple[Any, ...]) -> list[_Case]:
        """Return the members one by one; what msgspec tells apart by itself, as one."""
        simple: list[Any] = []
        cases: list[_Case] = []
        for member, inner in zip(members, known, strict=True):
            shape = shape_of(member)
            if shape.kinds <= {"null", "bool", "number"}:
                simple.append(inner)
            else:
                cases.append(_Case(member, inner, shape, self._text(member)))
        if simple:
            whole: Any = typing.Union[tuple(simple)]  # noqa: UP007 - made at run time
            if not _is_taken(whole):
                raise CannotTell(
                    f"{' and '.join(map(self._text, simple))} are all numbers in JSON and "
                    "cannot be told apart; use one of them"
                )
            cases.append(_Case(whole, whole, shape_of(whole), self._text(whole)))
        return cases

    def _advice(self, one: _Case, other: _Case) -> str:
        both = f"{one.name} and {other.name} cannot be told apart in JSON"
        kinds = one.shape.kinds & other.shape.kinds
        classes = [case for case in (one, other) if case.shape.fields]
        if kinds == {"object"} and len(classes) == 2:
            tags = " and ".join(
                f'`kind: Literal["{case.name.lower()}"] = "{case.name.lower()}"` to {case.name}'
                for case in classes
            )
            return f"{both}: both have the same fields; add {tags}"
        if kinds == {"object"} and classes:
            return (
                f"{both}: both are objects; put the dict into a class, as in "
                "`@dataclass class Other: data: dict[str, Any]`, or use the dict alone"
            )
        if kinds == {"array"}:
            return f"{both}: both are arrays; write one list of a union, as in `list[int | str]`"
        if kinds == {"string"}:
            return f"{both}: both are text, and nearly every text fits; use one of them"
        return (
            f"{both}; wrap one of them in a class, as in `@dataclass class Other: value: "
            f"{other.name}`"
        )

    def _discriminated(self, hint: Any) -> Any:
        """Leave to pydantic what is all pydantic's, and told apart by its discriminator."""
        members = [bare_hint(one) for one in union_members(typing.get_args(hint)[0]) or ()]
        if not all(member in {None, types.NoneType} or is_model(member) for member in members):
            raise CannotTell(
                f"{self._text(hint)} has a discriminator, which is for pydantic models alone"
            )
        adapter = sys.modules["pydantic"].TypeAdapter(hint)
        return stand_in(self._text(hint), adapter.validate_python, [])

    # -- classes that hold such hints

    def _class(self, cls: Any) -> Any:
        if cls in self._classes:
            return self._classes[cls]
        if typing.is_typeddict(cls):
            return self._typed_dict(cls)
        fields = class_fields(cls)
        if fields is None or not _reaches(cls, set()):
            return cls
        self._require_readable(cls)
        # Set before its fields are looked at: they may name the class itself.
        reader = _ClassReader(typing.get_origin(cls) or cls)
        self._classes[cls] = made = stand_in(self._text(cls), reader.read, [])
        made.inner += [self.rewrite(field.hint) for field in fields]
        reader.fields = list(zip(fields, made.inner, strict=True))
        return made

    def _require_readable(self, cls: Any) -> None:
        declared = getattr(typing.get_origin(cls) or cls, "__dataclass_fields__", {}).values()
        # Its type may be text; dataclasses keeps what it found it to be.
        if any(one._field_type.name == "_FIELD_INITVAR" for one in declared):
            raise CannotTell(f"{self._text(cls)} has an InitVar, which is not stored; use a field")
        attributes: Any = getattr(cls, "__attrs_attrs__", ())
        if any(getattr(one.default, "takes_self", False) for one in attributes):
            raise CannotTell(
                f"{self._text(cls)} has a default that is made of the object (takes_self); set it "
                "in __attrs_post_init__"
            )

    def _typed_dict(self, cls: Any) -> Any:
        hints = typing.get_type_hints(cls, include_extras=True)
        if not any(_reaches_by(bare_hint(hint), {cls}) for hint in hints.values()):
            return cls
        known: dict[str, Any] = {}
        for key, hint in typing.get_type_hints(cls).items():
            inner = self.rewrite(hint)
            is_required = key in cls.__required_keys__
            known[key] = typing.Required[inner] if is_required else typing.NotRequired[inner]
        return typing.TypedDict(cls.__name__, known)  # type: ignore[operator]


@attrs.frozen
class _Case:
    """A member of a union: as written, as it is read, what its values look like."""

    hint: Any
    known: Any
    shape: Shape
    name: str

    def read(self, data: Any) -> Any:
        return msgspec.convert(data, self.known, dec_hook=decode_hook, str_keys=True)


def _are_texts(one: _Case, other: _Case) -> bool:
    """Return whether both are text in JSON of which one knows its own by writing it again."""
    if one.shape.kinds != {"string"} or other.shape.kinds != {"string"}:
        return False
    return not (_is_any_text(one.hint) and _is_any_text(other.hint))


def _is_any_text(hint: Any) -> bool:
    bare = bare_hint(hint)
    return (
        isinstance(bare, type)
        and issubclass(bare, (*_ANY_TEXT, PurePath))
        and not issubclass(bare, enum.Enum)
    )


def _reads(case: _Case, data: Any) -> bool:
    """Return whether it can be read at all: people leave out what has a default."""
    if KIND_OF[type(data)] not in case.shape.kinds:
        return False
    if type(data) is dict:
        written = case.shape.fields
        if any(
            key in data and shape.constants and not shape.fits(data[key])
            for key, shape in written.items()
        ):
            return False
        if not case.shape.is_open and not data.keys() <= written.keys() | case.shape.optional:
            return False
    try:
        case.read(data)
    except Exception:  # noqa: BLE001 - validators of the user's may raise anything
        return False
    return True


def _writes(case: _Case, data: str) -> bool:
    """Return whether the type reads a text, and would write that very text."""
    try:
        return bool(encode_json(case.read(data)) == encode_json(data))
    except Exception:  # noqa: BLE001 - it is no text of that type
        return False


def _is_taken(hint: Any) -> bool:
    try:
        msgspec.json.Decoder(hint, dec_hook=decode_hook)
    except Exception:  # noqa: BLE001 - whatever the reason, it is not taken
        return False
    return True


def _is_taken_alone(members: tuple[Any, ...]) -> bool:
    """Return whether msgspec takes a union, whatever is in its classes and containers."""
    return _is_taken(typing.Union[tuple(map(_hollow, members))])  # noqa: UP007 - made at run time


def _hollow(hint: Any) -> Any:
    bare = bare_hint(hint)
    if class_fields(bare) is not None:
        return dataclasses.make_dataclass("Hollow", [])
    return plain_origin(bare)


def _reaches(hint: Any, seen: set[Any]) -> bool:
    """Return whether a class has, however deep, a field that needs a stand-in."""
    if hint in seen:
        return False
    fields = class_fields(hint) or ()
    return any(_reaches_by(field.hint, {*seen, hint}) for field in fields)


def _reaches_by(hint: Any, seen: set[Any]) -> bool:
    if has_discriminator(hint):
        return True
    hint = bare_hint(hint)
    if hint is object:
        return True
    if (members := union_members(hint)) is not None:
        if any(_reaches_by(member, seen) for member in members):
            return True
        return not _is_taken_alone(members)
    if class_fields(hint) is not None:
        return _reaches(hint, seen)
    if isinstance(hint, type) and not typing.get_args(hint):
        if typing.is_typeddict(hint):
            inner = typing.get_type_hints(hint, include_extras=True).values()
            return hint not in seen and any(_reaches_by(one, seen | {hint}) for one in inner)
        return False
    if typing.get_origin(hint) is Literal:
        return False
    return any(_reaches_by(one, seen) for one in typing.get_args(hint) if one is not ...)


@attrs.define
class _ClassReader:
    """Makes objects of a class whose fields msgspec does not take, as msgspec makes others."""

    cls: Any
    fields: list[tuple[Field, Any]] = attrs.field(factory=list)

    def read(self, data: Any) -> Any:
        if type(data) is not dict:
            raise ValueError(f"Expected `object`, got `{KIND_OF[type(data)]}`")
        made = self.cls.__new__(self.cls)
        for field, hint in self.fields:
            object.__setattr__(made, field.name, self._value(field, hint, data))
        if hasattr(self.cls, "__attrs_attrs__"):
            attrs.validate(made)
        for name in ("__post_init__", "__attrs_post_init__"):
            if (begin := getattr(made, name, None)) is not None:
                begin()
        return made

    def _value(self, field: Field, hint: Any, data: dict[str, Any]) -> Any:
        if field.is_written and field.name in data:
            try:
                return msgspec.convert(data[field.name], hint, dec_hook=decode_hook, str_keys=True)
            except msgspec.ValidationError as error:
                raise ValueError(f"{error} - in the field `{field.name}`") from error
        if field.factory is not None:
            return field.factory()
        if field.default is NO_DEFAULT:
            raise ValueError(f"Object missing required field `{field.name}`")
        return field.default


def compares(hint: Any) -> bool:
    """Return whether a hint has, anywhere, types of which one may look like another."""
    return any(one.compares for one in stand_ins(hint))


def stand_ins(hint: Any) -> list[Any]:
    """Return the stand-ins in a hint, those within others too."""
    found: list[Any] = []
    seen: list[Any] = []
    left = [hint]
    while left:
        one = left.pop()
        if any(one is other for other in seen):
            continue
        seen.append(one)
        if isinstance(one, type) and issubclass(one, StandIn):
            found.append(one)
            left += one.inner
        elif isinstance(one, type) and typing.is_typeddict(one):
            left += typing.get_type_hints(one).values()
        else:
            left += typing.get_args(one)
    return found
