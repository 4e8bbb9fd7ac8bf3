"""Payloads: what goes in comes out equal, or is refused with its path; fingerprints are stable."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import math
import os
import subprocess
import sys
import uuid
import warnings
import zlib
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.errors import DefinitionError, PayloadError, PayloadTooLarge
from durable.payloads import (
    INLINE_BYTES_MAX,
    LARGE_MEMBERS,
    PAYLOAD_BYTES_LIMIT,
    PAYLOAD_BYTES_MAX,
    ArgumentsCodec,
    Codec,
    DurablePayloadWarning,
    arguments_codec,
    checksum,
    codec_for,
    compress,
    decompress,
    fingerprint,
    seems_large,
)

NAN, INF = float("nan"), float("inf")


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float


class Options(TypedDict, total=False):
    depth: int


@attrs.frozen
class Item:
    name: str
    at: Path


@dataclasses.dataclass
class Reading:
    value: float
    label: str | None = None


@dataclasses.dataclass
class Reading2(Reading):
    """Has the same fields."""


class Event(msgspec.Struct):
    when: dt.datetime
    readings: list[Reading]


@dataclasses.dataclass(frozen=True)
class Tags:
    names: frozenset[str]


class Session:
    """A live object."""

    def __repr__(self) -> str:
        return "<Session object>"


def same(left: object, right: object) -> bool:
    """Equality in which NaN equals itself and types count."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return left == right


UTC = dt.UTC
TYPED: list[tuple[Any, Any]] = [
    (int, 3),
    (int, 10**30),
    (float, 1.5),
    (str, "né\n\u2028null"),
    (None, None),
    (bool, True),
    (bytes, b"\x00\xff"),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (dict[int, str], {1: "a"}),
    (dict[str, tuple[int, int]], {"a": (1, 2)}),
    (dt.datetime, dt.datetime(2024, 2, 29, 12, 0, 1, 5, tzinfo=UTC)),
    (dt.date, dt.date(2024, 2, 29)),
    (dt.time, dt.time(1, 2, 3)),
    (dt.timedelta, dt.timedelta(days=3, microseconds=1)),
    (uuid.UUID, uuid.UUID(int=5)),
    (decimal.Decimal, decimal.Decimal("1.50")),
    (Color, Color.RED),
    (Point, Point(1, 2.5)),
    (Options, {"depth": 2}),
    (Item, Item("a", Path("/tmp/x"))),
    (Reading, Reading(1.0)),
    (Event, Event(dt.datetime(2024, 1, 1, tzinfo=UTC), [Reading(2.0, "b")])),
    (Literal["a", "b"], "a"),
    (int | None, None),
    (int | str | None, "a"),
    (Path, Path("/tmp/é")),
    (PurePosixPath, PurePosixPath("a/b")),
    (list[Path], [Path("a"), Path("b")]),
    (dict[str, Path | None], {"a": Path("a"), "b": None}),
    (Annotated[int, msgspec.Meta(ge=0)], 3),
    (Sequence[int], [1, 2]),
]


@pytest.mark.parametrize(("hint", "value"), TYPED, ids=[str(hint) for hint, _ in TYPED])
def test_a_typed_value_comes_back_equal(hint: Any, value: Any) -> None:
    codec = codec_for(hint, "result of fetch")

    decoded = codec.decode(codec.encode(value))

    assert same(decoded, value)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (float, NAN),
        (float, -INF),
        (list[float], [1.0, NAN, INF]),
        (list[float | None], [None, NAN]),
        (dict[int, float], {1: NAN, 2: 0.5}),
        (tuple[float, set[int]], (INF, {1})),
        (dict[str, tuple[float, Path]], {"a": (NAN, Path("x"))}),
        (Any, {"a": [None, NAN, {"b": -INF}], "NaN": "NaN"}),
        (Any, NAN),
    ],
)
def test_nan_and_infinities_survive(hint: Any, value: Any) -> None:
    codec = codec_for(hint, "result of fetch")

    decoded = codec.decode(codec.encode(value))

    assert same(decoded, value)


def test_nan_survives_in_the_fields_of_classes() -> None:
    codec = codec_for(list[Reading | None], "result of fetch")
    event = Event(dt.datetime(2024, 1, 1, tzinfo=UTC), [Reading(NAN), Reading(INF, "x")])
    struct_codec = codec_for(Event, "result of fetch")

    readings = codec.decode(codec.encode([Reading(NAN), None]))
    back = struct_codec.decode(struct_codec.encode(event))

    assert isinstance(readings[0], Reading)
    assert math.isnan(readings[0].value)
    assert readings[1] is None
    assert math.isnan(back.readings[0].value)
    assert back.readings[1] == event.readings[1]
    assert back.when == event.when


def test_null_without_nan_stays_plain_json() -> None:
    codec = codec_for(Any, "result of fetch")

    data = codec.encode({"a": [None, 1.0], "text": "null"})

    assert data == b'{"a":[null,1.0],"text":"null"}'


def test_text_is_decoded_from_str_as_from_bytes() -> None:
    codec = codec_for(list[float], "result of fetch")

    assert codec.decode("[1.5]") == [1.5]
    assert math.isinf(codec.decode("[Infinity]")[0])


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(plain_json)
@settings(max_examples=100, deadline=None)
def test_every_plain_json_value_round_trips_untyped(value: Any) -> None:
    codec = codec_for(Any, "a property", strict=True)

    assert same(codec.decode(codec.encode(value)), value)
    assert codec.changes(value) is None


@given(st.lists(st.floats()), st.dictionaries(st.integers(), st.floats()))
@settings(max_examples=100, deadline=None)
def test_every_float_round_trips_typed(floats: list[float], table: dict[int, float]) -> None:
    hint = tuple[list[float], dict[int, float]]
    codec = codec_for(hint, "a property")

    assert same(codec.decode(codec.encode((floats, table))), (floats, table))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.binary()
        | st.characters(categories=["Cs"])
        | st.complex_numbers()
        | st.datetimes(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner)
            | st.dictionaries(
                st.integers() | st.text() | st.none() | st.tuples(st.integers()), inner
            )
        ),
        max_leaves=10,
    )
)
@settings(max_examples=100, deadline=None)
def test_strict_untyped_values_round_trip_or_are_refused(value: Any) -> None:
    codec = codec_for(Any, "a property", strict=True)

    try:
        data = codec.encode(value)
    except PayloadError:
        return

    assert same(codec.decode(data), value)


# -- refusals --------------------------------------------------------------------------------------


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


def deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"items": [1, 2, 3, {"session": Session()}]},
            "$.items[3].session: <Session object> cannot be stored",
        ),
        (Session(), "$: <Session object> cannot be stored"),
        ([Reading(1.0, Session())], "$[0].label: <Session object>"),  # type: ignore[arg-type]
        ({"a b": Session()}, "$['a b']: <Session object>"),
        ({"k": {(1, 2): 3}}, "$.k: the key (1, 2) cannot be stored"),
        (cyclic(), "$[0].again: list contains itself"),
        (deep(100_000), "nested too deep"),
        (["ok", "\ud800"], "$[1]: '\\ud800' has a lone surrogate"),
        ({"n": 10**5000}, "$.n: an int of"),
        ([1 + 2j], "$[0]: (1+2j) cannot be stored"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_cannot_be_stored_is_refused_with_its_path(value: Any, expected: str) -> None:
    codec = codec_for(Any, "result of fetch")

    with pytest.raises(PayloadError) as caught:
        codec.encode(value)

    assert str(caught.value).startswith("result of fetch: $")
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_repr_or_property_that_raises_still_gives_a_payload_error() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(PayloadError, match="whose repr raised RuntimeError"):
        codec_for(Any, "result of fetch").encode([Hostile()])


def test_a_misfit_shows_at_decoding_with_the_reason() -> None:
    codec = codec_for(dict[str, int], "result of fetch")

    with pytest.raises(PayloadError, match=r"result of fetch: .*Expected `int`.*\$\[\.\.\.\]"):
        codec.decode(codec.encode({"a": "x"}))


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"a": NaN', b"[" * 100_000, b"\xff", '"\ud800"', b"NaN]", b"1e999"]
)
def test_damaged_text_is_a_payload_error(data: bytes | str) -> None:
    with pytest.raises(PayloadError, match="result of fetch"):
        codec_for(Any, "result of fetch").decode(data)


@pytest.mark.parametrize(
    "hint",
    [
        list[int] | set[int],
        Path | str,
        Session,
        list[Session],
        Callable[[int], int],
        Reading | Reading2,
        dict[tuple[int, int], str],
        dict[int | str, int],
        dict[bool, int],
        type[int],
        complex,
    ],
)
def test_an_unsupported_hint_is_refused_at_definition(hint: Any) -> None:
    with pytest.raises(DefinitionError, match="result of fetch: ") as caught:
        codec_for(hint, "result of fetch")

    assert "; " in str(caught.value)


def test_a_class_with_unknown_field_types_is_refused_and_not_taken_as_plain_json() -> None:
    @dataclasses.dataclass
    class Broken:
        field: "Missing"  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(DefinitionError, match="Missing"):
        codec_for(Broken, "result of fetch")


@pytest.mark.parametrize("hint", ["Missing", list["Missing"], Any, object])  # type: ignore[name-defined]  # noqa: F821
def test_unresolved_references_and_missing_hints_are_untyped(hint: Any) -> None:
    codec = codec_for(hint, "result of fetch")

    assert codec.hint is Any
    assert codec.untyped


def test_unhashable_hints_are_accepted() -> None:
    hint = Annotated[int, msgspec.Meta(extra_json_schema={"a": []})]

    assert codec_for(hint, "result of fetch").decode(b"3") == 3


def test_codecs_are_made_once() -> None:
    assert codec_for(list[int], "result of once") is codec_for(list[int], "result of once")


# -- untyped values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2), "$ is a tuple, which comes back as a list"),
        ({"a": [1, {2}]}, "$.a[1] is a set, which comes back as a list"),
        ({"a": b"x"}, "$.a is a bytes, which comes back as text"),
        ([dt.date(2024, 1, 1)], "$[0] is a date, which comes back as text"),
        ({"a": {1: 2}}, "$.a has the key 1, which comes back as text"),
        (Reading(1.0), "$ is a Reading, which comes back as a dict"),
        ({"a": [1, "x", None, {"b": 2.5}]}, None),
        ("text", None),
    ],
)
def test_changes_names_the_first_member_that_would_change(value: Any, expected: Any) -> None:
    assert codec_for(Any, "result of fetch").changes(value) == expected


def test_an_untyped_change_is_warned_about_once() -> None:
    codec = codec_for(Any, "result of warned_once")

    with pytest.warns(DurablePayloadWarning, match=r"result of warned_once .*annotate"):
        codec.encode({"a": (1,)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = codec.encode({"a": (1,)})

    assert data == b'{"a":[1]}'


def test_strict_codecs_refuse_a_change_every_time() -> None:
    codec = codec_for(Any, "result of fetch", strict=True)

    for _ in range(2):
        with pytest.raises(PayloadError, match=r"\$\.a is a tuple"):
            codec.encode({"a": (1,)})


def test_bare_containers_are_untyped_and_typed_ones_are_not() -> None:
    hints = [dict, list, dict[str, Any], list[dict[str, Any]], dict[str, Any] | None]
    typed = [list[int], dict[int, Any], tuple[Any, ...], set, Reading, str]

    assert all(codec_for(hint, "result of fetch").untyped for hint in hints)
    assert not any(codec_for(hint, "result of fetch").untyped for hint in typed)


# -- pydantic --------------------------------------------------------------------------------------


def test_pydantic_models_round_trip() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", value=(float, ...), tags=(set[str], ...))
    codec: Codec = codec_for(list.__class_getitem__(model), "result of fetch")

    back = codec.decode(codec.encode([model(value=INF, tags={"a", "b"})]))

    assert back == [model(value=INF, tags={"a", "b"})]


def test_importing_payloads_does_not_import_pydantic() -> None:
    code = "import durable.payloads, sys; print('pydantic' in sys.modules)"

    assert run_python(code) == "False"


# -- arguments -------------------------------------------------------------------------------------


async def fetch(url: str, depth: int = 1, *, where: Path | None = None) -> tuple[int, str]: ...  # type: ignore[empty-body]


def variadic(first: Path, *rest: Path, **named: dt.date) -> None: ...


def positional_only(a: int, /, b: Path, **rest: Any) -> None: ...


def required_keyword(a: int, *, key: str) -> None: ...


def untyped(a, b=None): ...  # type: ignore[no-untyped-def]


def no_parameters() -> None: ...


CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any], bytes]] = [
    (fetch, ("u",), {}, b'["u"]'),
    (fetch, ("u", 2), {}, b'["u",2]'),
    (
        fetch,
        ("u",),
        {"where": Path("x"), "depth": 3},
        b'{"args":["u"],"kwargs":{"depth":3,"where":"x"}}',
    ),
    (fetch, (), {"url": "u"}, b'{"args":[],"kwargs":{"url":"u"}}'),
    (variadic, (Path("a"),), {}, b'["a"]'),
    (
        variadic,
        (Path("a"), Path("b"), Path("c")),
        {"on": dt.date(2024, 1, 2)},
        b'{"args":["a","b","c"],"kwargs":{"on":"2024-01-02"}}',
    ),
    (variadic, tuple(Path(str(i)) for i in range(100)), {}, b""),
    (positional_only, (1, Path("b")), {}, b'[1,"b"]'),
    (positional_only, (1,), {"b": Path("b"), "a": 5}, b'{"args":[1],"kwargs":{"a":5,"b":"b"}}'),
    (required_keyword, (1,), {"key": "k"}, b'{"args":[1],"kwargs":{"key":"k"}}'),
    (untyped, (1, [None]), {}, b"[1,[null]]"),
    (untyped, (NAN,), {"b": [INF]}, b'{"args":[NaN],"kwargs":{"b":[Infinity]}}'),
    (untyped, (NAN, None), {}, b"[NaN,null]"),
    (no_parameters, (), {}, b"[]"),
    (functools.partial(fetch, "u"), (), {"depth": 2}, b'{"args":[],"kwargs":{"depth":2}}'),
    (len, ([1],), {}, b"[[1]]"),
    (min, (1, 2), {}, b"[1,2]"),
]


@pytest.mark.parametrize(("fn", "args", "kwargs", "text"), CALLS)
def test_arguments_come_back_as_passed(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], text: bytes
) -> None:
    codec = arguments_codec(fn, "fn")

    data = codec.encode(args, kwargs)
    first = codec.decode(data)
    second = codec.decode(data.decode())

    assert text in {b"", data}
    assert same(first, (args, kwargs))
    assert same(second, (args, kwargs))


def test_decoding_follows_a_changing_count_of_arguments() -> None:
    codec = arguments_codec(variadic, "variadic")
    calls = [tuple(Path(str(i)) for i in range(count)) for count in (1, 3, 1, 33, 2, 32, 3)]

    decoded = [codec.decode(codec.encode(args, {}))[0] for args in calls]

    assert decoded == calls


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "message"),
    [
        (fetch, (), {}, "fetch\\(\\): missing a required argument: 'url'"),
        (fetch, (1, 2, 3), {}, "too many positional arguments"),
        (fetch, ("u",), {"nope": 1}, "unexpected keyword argument 'nope'"),
        (fetch, ("u",), {"url": "u"}, "multiple values for argument 'url'"),
        (required_keyword, (1,), {}, "missing a required.* argument: 'key'"),
        (no_parameters, (1,), {}, "too many positional arguments"),
    ],
)
def test_a_wrong_call_is_a_type_error_at_once(
    fn: Any, args: Any, kwargs: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        arguments_codec(fn, fn.__name__).encode(args, kwargs)

    assert not isinstance(caught.value, PayloadError)


def test_a_refused_argument_is_named_with_its_path() -> None:
    codec = arguments_codec(untyped, "untyped")

    with pytest.raises(PayloadError, match=r"argument b of untyped: \$\.x\[0\]: <Session object>"):
        codec.encode((1, {"x": [Session()]}), {})
    with pytest.raises(PayloadError, match=r"argument b of untyped: \$: <Session object>"):
        codec.encode((1,), {"b": Session()})


def test_an_argument_of_another_type_shows_at_decoding_by_its_name() -> None:
    codec = arguments_codec(fetch, "fetch")

    with pytest.raises(PayloadError, match=r"argument depth of fetch: .*Expected `int`, got `str`"):
        codec.decode(codec.encode(("u", "deep"), {}))


@pytest.mark.parametrize(
    "data",
    [
        b'["u",1,2]',
        b"[]",
        b'{"args":["u"],"kwargs":{"gone":1}}',
        b"3",
        b"",
        b"[",
        b"{}",
        b'{"args":[NaN],"kwargs":3}',
        b'{"args":["u",2],"kwargs":{"depth":1}}',
    ],
)
def test_stored_arguments_that_do_not_fit_the_function_are_a_payload_error(data: bytes) -> None:
    codec = arguments_codec(fetch, "fetch")

    for _ in range(2):
        with pytest.raises(PayloadError, match="of fetch: "):
            codec.decode(data)


def test_untyped_arguments_that_would_change_are_warned_about_by_name() -> None:
    codec = arguments_codec(untyped, "untyped_warned")

    with pytest.warns(DurablePayloadWarning, match="argument a of untyped_warned"):
        codec.encode(((1, 2),), {})
    with pytest.warns(DurablePayloadWarning, match="argument b of untyped_warned"):
        codec.encode((1,), {"b": {1}})
    codec.encode(((1, 2),), {})


def test_strict_arguments_are_refused() -> None:
    def rest(*values): ...  # type: ignore[no-untyped-def]

    with pytest.raises(PayloadError, match="argument a of untyped"):
        arguments_codec(untyped, "untyped", strict=True).encode(((1, 2),), {})
    with pytest.raises(PayloadError, match="argument values of rest"):
        arguments_codec(rest, "rest", strict=True).encode((1, {2}), {})


def test_the_result_is_what_awaiting_the_function_gives() -> None:
    def delegating() -> Coroutine[Any, Any, set[int]]: ...  # type: ignore[empty-body]
    def forever() -> None: ...

    codec = arguments_codec(fetch, "fetch")

    assert codec.result.decode(codec.result.encode((1, "a"))) == (1, "a")
    assert codec.result.where == "result of fetch"
    assert arguments_codec(delegating, "d").result.hint == set[int]
    assert arguments_codec(forever, "f").result.decode(b"null") is None
    assert arguments_codec(untyped, "u").result.hint is Any


def test_hints_resolve_one_by_one_from_globals_and_closure() -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    def inner(known: Item, local: Local, unknown: Missing) -> Local:  # type: ignore[name-defined]  # noqa: F821
        return Local(1)

    codec = arguments_codec(inner, "inner")
    args = (Item("a", Path("b")), Local(2), {"plain": 1})

    assert codec.decode(codec.encode(args, {})) == (args, {})
    assert codec.result.hint is Local


def test_a_parameter_of_a_live_type_is_refused_at_definition() -> None:
    def uses(session: Session) -> None: ...

    with pytest.raises(DefinitionError, match=r"argument session of uses: .*Session"):
        arguments_codec(uses, "uses")


# -- fingerprints ----------------------------------------------------------------------------------

SEEDED = """
import sys
from pathlib import Path
import dataclasses, enum
from durable.payloads import arguments_codec
import warnings; warnings.simplefilter("ignore")

class Color(enum.Enum):
    RED = "red"; GREEN = "green"; BLUE = "blue"

@dataclasses.dataclass(frozen=True)
class Tags:
    names: frozenset
    colors: frozenset = frozenset()

def f(*args, **kwargs): ...
words = ["alpha", "beta", "gamma", "delta", "epsilon"]
calls = [
    (({*words},), {}),
    ((Tags(frozenset(words), frozenset(Color)),), {}),
    (({"a": {"b": {*words}}, "c": [{*words}]},), {}),
    (({frozenset(words[:2]), frozenset(words[2:])},), {}),
    (({Tags(frozenset({w})) for w in words},), {}),
    (({*words, 1, 2, None, Color.RED},), {}),
    (({(w, frozenset(words)) for w in words},), {}),
    (({Path("/", w) for w in words},), {}),
    (({float("nan"), 1.0, 2.0},), {}),
    (({1: {*words}, 2: {*words}},), {}),
    ((1,), {"b": {*words}, "a": {float("inf"): {*words}}}),
]
codec = arguments_codec(f, "f")
print([codec.fingerprint(a, k, codec.encode(a, k)) for a, k in calls])
"""


def run_python(code: str, **env: str) -> str:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root, **env},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.mark.slow
def test_fingerprints_do_not_depend_on_the_hash_seed() -> None:
    outputs = [run_python(SEEDED, PYTHONHASHSEED=seed) for seed in ("0", "1", "4242")]

    assert len(set(outputs)) == 1
    assert len(set(json.loads(outputs[0]))) == 11


def fingerprint_of(codec: ArgumentsCodec, *args: Any, **kwargs: Any) -> int:
    return codec.fingerprint(args, kwargs, codec.encode(args, kwargs))


def anything(*args: Any, **kwargs: Any) -> None: ...


@pytest.mark.filterwarnings("ignore::durable.payloads.DurablePayloadWarning")
def test_fingerprints_do_not_depend_on_insertion_order() -> None:
    codec = arguments_codec(anything, "anything")

    assert fingerprint_of(codec, {"a": 1, "b": 2}) == fingerprint_of(codec, {"b": 2, "a": 1})
    assert fingerprint_of(codec, {1: 1, 2: 2}) == fingerprint_of(codec, {2: 2, 1: 1})
    assert fingerprint_of(codec, a=1, b=[2]) == fingerprint_of(codec, b=[2], a=1)
    assert fingerprint_of(codec, a=1, b=2) == fingerprint_of(codec, b=2, a=1)


def test_different_arguments_have_different_fingerprints() -> None:
    codec = arguments_codec(anything, "anything")
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}), ((1,), {}), ((1.0,), {}), (("1",), {}), ((True,), {}), ((None,), {}),
        ((NAN,), {}), ((INF,), {}), (([None],), {}), (([NAN],), {}), (([1, 2],), {}),
        (([2, 1],), {}), (([[1], 2],), {}), ((), {"a": 1}), ((), {"b": 1}), ((1,), {"a": 1}),
    ]  # fmt: skip

    prints = [fingerprint_of(codec, *args, **kwargs) for args, kwargs in calls]

    assert len(set(prints)) == len(calls)


def test_a_default_is_not_part_of_the_fingerprint() -> None:
    def before(a: int) -> None: ...
    def after(a: int, b: int = 2) -> None: ...

    first = fingerprint_of(arguments_codec(before, "f"), 1)
    second = fingerprint_of(arguments_codec(after, "f"), 1)

    assert first == second


@given(st.binary(max_size=100))
@settings(max_examples=50, deadline=None)
def test_numbers_fit_the_file(data: bytes) -> None:
    assert -(2**63) <= fingerprint(data) < 2**63
    assert -(2**31) <= checksum(data) < 2**31
    assert checksum(data[:3], data[3:]) == checksum(data)
    assert checksum(data) % 2**32 == zlib.crc32(data)


def test_fingerprint_and_checksum_never_change_between_releases() -> None:
    assert fingerprint(b"[3]") == 212445649056788027
    assert checksum(b"[3]") == 2115588154


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_compression_round_trips_at_the_limit_and_not_above_it(size: int) -> None:
    data = b"x" * size

    assert decompress(compress(data), size) == data
    if size:
        with pytest.raises(PayloadTooLarge):
            decompress(compress(data), size - 1)


@pytest.mark.parametrize(
    "data", [b"", b"garbage", compress(b"x" * 1000)[:-1], compress(b"x") + b"y"]
)
def test_damaged_compressed_data_are_a_payload_error(data: bytes) -> None:
    with pytest.raises(PayloadError, match="damaged"):
        decompress(data, 10_000)


def test_a_compression_bomb_is_not_unpacked() -> None:
    bomb = compress(b"\0" * 50_000_000)

    with pytest.raises(PayloadTooLarge, match="more than 1000 bytes"):
        decompress(bomb, 1000)


@pytest.mark.parametrize(("data", "size"), [(b"x", "text"), (b"x", None), ("text", 10), (None, 1)])
def test_a_row_that_is_no_compressed_payload_is_damaged(data: Any, size: Any) -> None:
    with pytest.raises(PayloadError, match="the compressed payload is damaged"):
        decompress(data, size)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * INLINE_BYTES_MAX, False),
        ("x" * (INLINE_BYTES_MAX + 1), True),
        (b"x" * (INLINE_BYTES_MAX + 1), True),
        ([0] * LARGE_MEMBERS, False),
        ([0] * (LARGE_MEMBERS + 1), True),
        (({"a": [0] * (LARGE_MEMBERS + 1)},), False),
        ({"a": [0] * (LARGE_MEMBERS + 1)}, True),
        (([0] * (LARGE_MEMBERS + 1),), True),
        (["x" * (INLINE_BYTES_MAX + 1)], True),
        (3, False),
        (None, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_seems_large_guesses_by_two_levels(value: Any, expected: bool) -> None:
    assert seems_large(value) is expected


def test_the_limits_fit_each_other() -> None:
    assert INLINE_BYTES_MAX < PAYLOAD_BYTES_MAX < PAYLOAD_BYTES_LIMIT < 1_000_000_000


def test_pure_paths_are_paths() -> None:
    codec = codec_for(PurePath, "result of fetch")

    with pytest.raises(PayloadError, match="Expected a path as `str`, got `int`"):
        codec.decode(b"3")
