"""What the values of a type look like in JSON, so that data tell which type they are of."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

import attrs
import msgspec
import msgspec.inspect

from durable.payloads._fields import (
    bare_hint,
    class_fields,
    hint_of_field,
    plain_origin,
    union_members,
)
from durable.payloads._members import is_model

Kind: TypeAlias = Literal["null", "bool", "number", "string", "array", "object"]
ALL_KINDS: frozenset[Kind] = frozenset(typing.get_args(Kind))
KIND_OF: dict[type[Any], Kind] = {
    types.NoneType: "null",
    bool: "bool",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_KINDS: dict[type[Any], frozenset[Kind]] = {
    msgspec.inspect.NoneType: frozenset({"null"}),
    msgspec.inspect.BoolType: frozenset({"bool"}),
    msgspec.inspect.IntType: frozenset({"number"}),
    msgspec.inspect.FloatType: frozenset({"number"}),
    msgspec.inspect.DictType: frozenset({"object"}),
    msgspec.inspect.TypedDictType: frozenset({"object"}),
    msgspec.inspect.DataclassType: frozenset({"object"}),
    **dict.fromkeys(
        (
            msgspec.inspect.StrType,
            msgspec.inspect.BytesType,
            msgspec.inspect.ByteArrayType,
            msgspec.inspect.DateTimeType,
            msgspec.inspect.DateType,
            msgspec.inspect.TimeType,
            msgspec.inspect.TimeDeltaType,
            msgspec.inspect.UUIDType,
            msgspec.inspect.DecimalType,
        ),
        frozenset[Kind]({"string"}),
    ),
    **dict.fromkeys(
        (
            msgspec.inspect.ListType,
            msgspec.inspect.SetType,
            msgspec.inspect.FrozenSetType,
            msgspec.inspect.VarTupleType,
            msgspec.inspect.TupleType,
            msgspec.inspect.NamedTupleType,
        ),
        frozenset[Kind]({"array"}),
    ),
}


@attrs.frozen
class Shape:
    """What JSON a type's values are written as.

    Attributes:
        kinds: Of JSON values.
        constants: The only values there are, of a Literal or an Enum.
        fields: Of a class: the shape of each field that is always written.
        optional: Names of fields that may be missing.
        is_open: Whether it may have fields of other names.
    """

    kinds: frozenset[Kind]
    constants: frozenset[Any] | None = None
    fields: Mapping[str, Shape] = attrs.field(factory=dict)
    optional: frozenset[str] = frozenset()
    is_open: bool = False

    def fits(self, data: Any) -> bool:
        """Return whether an encoder may have written the data."""
        if KIND_OF[type(data)] not in self.kinds:
            return False
        if self.constants is not None:
            return KIND_OF[type(data)] not in {"array", "object"} and (
                (type(data), data) in self.constants
            )
        if type(data) is not dict or not (self.fields or self.optional):
            return True
        if not self.is_open and not data.keys() <= self.fields.keys() | self.optional:
            return False
        return all(key in data and shape.fits(data[key]) for key, shape in self.fields.items())

    def is_apart_from(self, other: Shape) -> bool:
        """Return whether no data fit both, if the fields hold what their hints say."""
        return self.is_marked_off_from(other) or any(
            shape.is_apart_from(other.fields[key]) for key, shape in self._shared_fields(other)
        )

    def is_marked_off_from(self, other: Shape) -> bool:
        """Return whether no data fit both, whatever the fields hold: by kind, tag or names."""
        if not self.kinds & other.kinds:
            return True
        if self.constants is not None and other.constants is not None:
            return not self.constants & other.constants
        if self.kinds != {"object"} or other.kinds != {"object"}:
            return False
        if self._needs_more_than(other) or other._needs_more_than(self):
            return True
        return any(
            shape.constants is not None
            and other.fields[key].constants is not None
            and shape.is_marked_off_from(other.fields[key])
            for key, shape in self._shared_fields(other)
        )

    def is_tagged_by(self, data: Any) -> bool:
        """Return whether the data have a constant of this shape in one of its fields."""
        return type(data) is dict and any(
            shape.constants is not None and key in data and shape.fits(data[key])
            for key, shape in self.fields.items()
        )

    def _shared_fields(self, other: Shape) -> list[tuple[str, Shape]]:
        if self.kinds != {"object"} or other.kinds != {"object"}:
            return []
        return [(key, shape) for key, shape in self.fields.items() if key in other.fields]

    def _needs_more_than(self, other: Shape) -> bool:
        return not other.is_open and not self.fields.keys() <= other.fields.keys() | other.optional


ANYTHING = Shape(ALL_KINDS, is_open=True)


def shape_of(hint: Any) -> Shape:
    """Return what the values of a hint look like; what is not known may look like anything."""
    return _shape_of(hint, ())


def _shape_of(hint: Any, above: tuple[Any, ...]) -> Shape:
    hint = bare_hint(hint)
    if hint in above:
        return ANYTHING
    above = (*above, hint)
    if hint is None or hint is types.NoneType:
        return Shape(frozenset({"null"}))
    if (members := union_members(hint)) is not None:
        shapes = [_shape_of(member, above) for member in members]
        return Shape(frozenset().union(*(shape.kinds for shape in shapes)), is_open=True)
    if typing.get_origin(hint) is Literal:
        return _constants(typing.get_args(hint))
    if (fields := class_fields(hint)) is not None:
        shapes_of = {one.name: _shape_of(one.hint, above) for one in fields if one.is_written}
        return Shape(frozenset({"object"}), None, shapes_of)
    return _shape_of_class(hint, above) or _shape_by_msgspec(hint, above)


def _shape_of_class(hint: Any, above: tuple[Any, ...]) -> Shape | None:
    """Return the shape of an enum, a path or a pydantic model, else None."""
    if not isinstance(hint, type):
        return None
    if issubclass(hint, enum.Enum):
        return _constants([member.value for member in hint])
    if issubclass(hint, PurePath):
        return Shape(frozenset({"string"}))
    return _shape_of_model(hint, above) if is_model(hint) else None


def _shape_by_msgspec(hint: Any, above: tuple[Any, ...]) -> Shape:
    try:
        info = msgspec.inspect.type_info(plain_origin(hint))
    except Exception:  # noqa: BLE001 - what msgspec does not know may be anything
        return ANYTHING
    return _shape_of_info(info, above)


def _shape_of_info(info: Any, above: tuple[Any, ...]) -> Shape:
    if isinstance(info, msgspec.inspect.StructType) and not info.array_like:
        fields = {field.encode_name: field for field in info.fields}
        shapes = {
            name: _shape_of(hint_of_field(info.cls, field.name), above)
            for name, field in fields.items()
            if field.required or not info.cls.__struct_config__.omit_defaults
        }
        if info.tag_field is not None:
            shapes[info.tag_field] = _constants([info.tag])
        return Shape(frozenset({"object"}), None, shapes, frozenset(fields) - shapes.keys())
    if isinstance(info, msgspec.inspect.TypedDictType):
        cls: Any = info.cls
        hints = typing.get_type_hints(cls)
        required = cls.__required_keys__
        shapes = {name: _shape_of(hints[name], above) for name in required}
        return Shape(frozenset({"object"}), None, shapes, frozenset(cls.__optional_keys__))
    kinds = _KINDS.get(type(info))
    return ANYTHING if kinds is None else Shape(kinds, is_open=True)


def _shape_of_model(model: Any, above: tuple[Any, ...]) -> Shape:
    decorators = model.__pydantic_decorators__
    if decorators.model_serializers:
        return ANYTHING
    if getattr(model, "__pydantic_root_model__", False):
        return _shape_of(model.model_fields["root"].annotation, above)
    has_serializers = bool(decorators.field_serializers)
    shapes: dict[str, Shape] = {}
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        written = field.serialization_alias or field.alias or name
        # A serializer of its own may write anything.
        shapes[written] = ANYTHING if has_serializers else _shape_of(field.annotation, above)
    for name, computed in model.model_computed_fields.items():
        shapes[computed.alias or name] = ANYTHING
    return Shape(
        frozenset({"object"}), None, shapes, is_open=model.model_config.get("extra") == "allow"
    )


def _constants(values: Any) -> Shape:
    plain = [msgspec.to_builtins(value, enc_hook=repr) for value in values]
    kinds = frozenset(KIND_OF.get(type(value), "object") for value in plain)
    try:
        return Shape(kinds, frozenset((type(value), value) for value in plain))
    except TypeError:  # An enum of values that do not hash.
        return Shape(kinds, is_open=True)
