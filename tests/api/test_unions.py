"""Unions and what msgspec does not take by itself: each value comes back as what it was."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import subprocess
import sys
import types
import uuid
from collections.abc import Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    TypedDict,
    TypeVar,
)

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import durable
from durable import Signal, activity, workflow
from durable.errors import DefinitionError, PayloadError
from durable.payloads import arguments_codec, codec_for

if TYPE_CHECKING:
    import pydantic
else:
    pydantic = pytest.importorskip("pydantic", reason="NOT CHECKED: no pydantic; it is in `test`")

T = TypeVar("T")
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
TODAY = dt.date(2026, 1, 2)


def shown_alike(value: object) -> str:
    """Name a case alike in each process: a set's order differs."""
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    return str(value)


@dataclasses.dataclass(frozen=True)
class Ok:
    value: int


@dataclasses.dataclass(frozen=True)
class Err:
    reason: str


@dataclasses.dataclass
class Named:
    value: str


@dataclasses.dataclass
class Alike:
    value: int


@dataclasses.dataclass(frozen=True)
class Longer(Ok):
    more: str | None = None


@dataclasses.dataclass
class Cat:
    kind: Literal["cat"] = "cat"
    lives: int = 9


@attrs.define
class Dog:
    kind: Literal["dog"] = "dog"
    lives: int = 1


class Fish(pydantic.BaseModel):
    kind: Literal["fish"] = "fish"
    lives: int = 1


class Bird(pydantic.BaseModel):
    kind: Literal["bird", "duck"] = "bird"
    lives: int = 1


class Note(pydantic.BaseModel):
    text: str
    at: dt.datetime
    by: str = pydantic.Field(default="x", alias="writtenBy")


class Wide(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    lives: int


class Struct(msgspec.Struct):
    length: int


class Tagged(msgspec.Struct, tag=True):
    value: int


class Color(enum.Enum):
    RED = "red"


class Size(enum.StrEnum):
    BIG = "big"


Pet = Annotated[Fish | Bird, pydantic.Field(discriminator="kind")]


@dataclasses.dataclass
class Holder:
    one: Ok | Err
    many: list[Cat | Dog]
    perhaps: Ok | Err | None = None
    named: dict[str, Note | str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Leaf:
    n: int


@dataclasses.dataclass
class Tree:
    kids: list["Tree | Leaf"]
    parent: "Tree | None" = None


@dataclasses.dataclass(slots=True)
class Slotted:
    one: Ok | Err
    counted: int = dataclasses.field(init=False, default=7)
    marks: list[int] = dataclasses.field(init=False, default_factory=list)


@attrs.frozen
class Private:
    one: Ok | Err
    _secret: int = 4


@dataclasses.dataclass
class Box(Generic[T]):
    inner: T


@dataclasses.dataclass
class Numbers(Box[list[int]]):
    one: Ok | Err


class Keys(TypedDict):
    one: Ok | Err
    two: NotRequired[int]


class Holding(pydantic.BaseModel):
    pet: Fish | Bird


CASES: list[tuple[Any, list[Any]]] = [
    (Ok | Err, [Ok(1), Err("x")]),
    (Ok | Named, [Ok(1), Named("1")]),
    (Ok | Longer, [Ok(1), Longer(1), Longer(1, "x")]),
    (Ok | Err | None, [None, Ok(1)]),
    (Ok | float, [Ok(1), 1.5, float("inf")]),
    (list[Ok | Err | float], [[Ok(1), float("-inf"), Err("")]]),
    (Annotated[Ok | Err, "said about it"], [Ok(1)]),
    (Cat | Dog | Fish | Bird, [Cat(), Dog(), Fish(), Bird(kind="duck")]),
    (Pet, [Fish(), Bird()]),
    (Pet | None, [None, Fish()]),
    (list[Pet], [[Fish(), Bird()]]),
    (dict[str, Cat | Dog], [{"a": Cat(), "b": Dog()}]),
    (dict[uuid.UUID, Ok | Err], [{uuid.UUID(int=1): Ok(1)}]),
    (set[Ok | Err], [{Ok(1), Err("x"), Ok(2)}]),
    (tuple[Ok | Err, int], [(Err(""), 2)]),
    (tuple[Ok | Err, ...], [(Err(""), Ok(2))]),
    (Sequence[Ok | Err], [[Ok(1)]]),
    (Mapping[str, Ok | Err], [{"a": Ok(1)}]),
    (list[Ok] | Err, [[Ok(1)], Err("")]),
    (Literal["none"] | Ok, ["none", Ok(1)]),
    (Color | Ok, [Color.RED, Ok(1)]),
    (Note | str, [Note(text="", at=NOW, writtenBy="me"), "x", '{"text":1}']),
    (Note | int | str | None, [Note(text="", at=NOW), 1, "x", None]),
    (list[Note | str] | None, [None, [Note(text="", at=NOW), "x"]]),
    (Note | Ok, [Note(text="", at=NOW), Ok(1)]),
    (Struct | Ok, [Struct(1), Ok(1)]),
    (Tagged | Ok, [Tagged(1), Ok(1)]),
    (dt.datetime | str, [NOW, "x", "2026", NOW.replace(tzinfo=None, microsecond=3)]),
    (dt.datetime | dt.date | None, [NOW, TODAY, None]),
    (dt.date | dt.time | str, [TODAY, dt.time(1, 2), "x"]),
    (list[dt.datetime | str], [[NOW, "x"]]),
    (dt.datetime | Literal["now"], [NOW, "now"]),
    (dt.timedelta | str, [dt.timedelta(days=1, seconds=3), "x"]),
    (uuid.UUID | str, [uuid.UUID(int=3), "x"]),
    (decimal.Decimal | str, [decimal.Decimal("1.50"), "x"]),
    (Color | str, [Color.RED, "green"]),
    (Size | str, [Size.BIG, "small"]),
    (object, [1, {"a": [None]}]),
    (dict[str, object], [{"a": 1, "b": [1, {"c": None}]}]),
    (dict[str, object] | None, [None, {"a": 1}]),
    (Holder, [Holder(Ok(1), [Cat(), Dog()]), Holder(Err(""), [], Ok(2), {"a": "b"})]),
    (Holder | str, [Holder(Ok(1), [], None, {"a": Note(text="", at=NOW)}), "x"]),
    (Tree, [Tree([Leaf(1), Tree([])], Tree([Leaf(2)]))]),
    (Tree | Leaf, [Tree([Leaf(1)]), Leaf(2)]),
    (Slotted, [Slotted(Ok(1))]),
    (Private, [Private(Ok(1))]),
    (Box[int] | Err, [Box(1), Err("")]),
    (Box[Ok | Err], [Box(Ok(1)), Box(Err(""))]),
    (Box[Ok | Err] | str, [Box(Ok(1)), "x"]),
    (Numbers, [Numbers([1, 2], Ok(1))]),
    (Keys, [{"one": Ok(1)}, {"one": Err(""), "two": 2}]),
    (Holding, [Holding(pet=Bird())]),
]  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, and of equal types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set):
        return one == other and set(map(type, one)) == set(map(type, other))
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other)


def box_of(hint: Any) -> Any:
    generic: Any = Box
    return generic[hint]


PAIRS = [(hint, value) for hint, values in CASES for value in values]


@pytest.mark.parametrize(("hint", "value"), PAIRS, ids=shown_alike)
@pytest.mark.parametrize(
    ("around", "put"),
    [
        (lambda hint: hint, lambda value: value),
        (lambda hint: types.GenericAlias(list, hint), lambda value: [value, value]),
        (lambda hint: types.GenericAlias(dict, (str, hint)), lambda value: {"k": value}),
        (box_of, Box),
        (lambda hint: hint | None, lambda value: value),
    ],
    ids=["alone", "list", "dict", "field", "optional"],
)
def test_a_value_comes_back_as_what_it_was(hint, value, around, put):
    codec = codec_for(around(hint) if hint is not object else hint, "it")
    whole = put(value) if hint is not object else value

    text = codec.encode(whole)

    assert same(codec.decode(text), whole)
    assert same(codec.convert(json.loads(text)), whole)


@pytest.mark.parametrize(("hint", "value"), PAIRS, ids=shown_alike)
def test_so_does_an_argument(hint, value):
    def fn(it: Any, *more: Any, last: Any = None) -> None: ...

    fn.__annotations__ = {"it": hint, "more": hint, "last": hint}
    codec = arguments_codec(fn, "fn")

    for args, kwargs in [((value,), {}), ((value, value), {}), ((), {"it": value, "last": value})]:
        encoded = codec.encode(args, kwargs)
        back, named = codec.decode(encoded)
        assert same(back, args)
        assert same(named, kwargs)
        assert isinstance(codec.fingerprint(args, kwargs, encoded), int)


@pytest.mark.parametrize(
    ("hint", "advice"),
    [
        (Ok | Alike, r'Ok and Alike.*add `kind: Literal\["ok"\] = "ok"` to Ok'),
        (list[Ok | Alike], r"cannot be told apart"),
        (Holder | dict[str, Any], r"both are objects; put the dict into a class"),
        (Note | dict, r"both are objects"),
        (Wide | Cat, r"cannot be told apart"),
        (list[int] | list[str], r"both are arrays; write one list of a union"),
        (list[Ok] | tuple[int, ...], r"both are arrays"),
        (bytes | str, r"both are text"),
        (pathlib.Path | str, r"both are text"),
        (Box[int] | Box[float], r"cannot be told apart"),
        (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], r"pydantic models alone"),
    ],
    ids=shown_alike,
)  # fmt: skip
def test_what_cannot_be_told_apart_is_refused_with_the_way_out(hint, advice):
    with pytest.raises(DefinitionError, match=advice):
        codec_for(hint, "result of pay")


class Session:
    """A live object."""


@dataclasses.dataclass
class Alive:
    session: Session


@dataclasses.dataclass
class Odd:
    odd: Literal[Color.RED]
    counts: int = 0


@dataclasses.dataclass
class Keyed:
    by: dict[tuple[int, int], str]


@dataclasses.dataclass
class Around:
    one: Ok | Err
    alive: Alive | None = None


@pytest.mark.parametrize("hint", [Alive | Ok, Odd | Ok, Keyed | Ok | None, Around, list[Around]])
def test_what_cannot_be_read_is_refused_within_a_union_too(hint):
    with pytest.raises(DefinitionError, match="result of pay: "):
        codec_for(hint, "result of pay")


def test_what_holds_such_a_union_and_cannot_is_refused():
    class Two(NamedTuple):
        one: Ok | Err

    @dataclasses.dataclass
    class Given:
        one: Ok | Err
        seed: "dataclasses.InitVar[int]" = 0

    with pytest.raises(DefinitionError, match="a dataclass for what holds a union"):
        codec_for(Two, "it")
    with pytest.raises(DefinitionError, match="InitVar"):
        codec_for(Given, "it")


@pytest.mark.parametrize(
    ("hint", "value", "path"),
    [
        (dt.datetime | str, "2026-01-02T03:04:05Z", r"\$: the text '2026-.*come back as datetime"),
        (list[uuid.UUID | str], [str(uuid.UUID(int=1))], r"\$\[0\]: the text"),
        (dict[str, dt.date | str], {"a": "2026-01-02"}, r"\$\.a: the text"),
        (dict[dt.date | str, int], {"2026-01-02": 1}, r"the key '2026-01-02'"),
        (set[uuid.UUID | str], {str(uuid.UUID(int=1)), "x"}, r"a member of the set"),
        (Color | str, "red", r"come back as Color"),
        (Size | str, "big", r"come back as Size"),
        (Box[dt.date | str], Box("2026-01-02"), r"\$\.inner: the text"),
        (Box[dt.date | str] | Err, Box("2026-01-02"), r"\$\.inner: the text"),
        (Ok | Named, Ok("no number"), r"\$: Ok would come back as Named"),  # type: ignore[arg-type]
    ],
    ids=shown_alike,
)
def test_what_would_come_back_as_something_else_is_refused_at_the_call(hint, value, path):
    def fn(it: Any) -> None: ...

    fn.__annotations__ = {"it": hint}

    with pytest.raises(PayloadError, match=path):
        codec_for(hint, "it").encode(value)
    with pytest.raises(PayloadError, match=path):
        arguments_codec(fn, "fn").encode((value,), {})
    with pytest.raises(PayloadError, match=path):
        arguments_codec(fn, "fn").encode((), {"it": value})


@given(st.text() | st.dates() | st.datetimes(timezones=st.just(dt.UTC)) | st.uuids())
def test_whatever_is_text_in_json_comes_back_or_is_refused(value):
    codec = codec_for(dt.datetime | dt.date | uuid.UUID | str, "it")
    try:
        text = codec.encode(value)
    except PayloadError:
        assert isinstance(value, str)
    else:
        assert same(codec.decode(text), value)


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (Cat | Dog, b'{"kind":"dog"}', Dog()),
        (Cat | Dog, b'{"kind":"dog","gone":1}', Dog()),
        (Fish | Bird, b'{"kind":"duck"}', Bird(kind="duck")),
        (Longer | Err, b'{"value":1}', Longer(1)),
        (Holder, b'{"one":{"value":1},"many":[]}', Holder(Ok(1), [])),
    ],
    ids=shown_alike,
)
def test_fields_may_come_and_go(hint, text, value):
    assert same(codec_for(hint, "it").decode(text), value)


@pytest.mark.parametrize(
    ("hint", "text", "reason"),
    [
        (Ok | Err, b'{"value":"x"}', "none of its types fits"),
        (Ok | Err, b"5", "none of its types fits"),
        (Cat | Dog, b'{"kind":"bird"}', "none of its types fits"),
        (Cat | Dog, b'{"kind":"dog","lives":"x"}', r"Expected `int`, got `str` - at `\$\.lives`"),
        (Fish | Bird, b'{"kind":"fish","lives":"x"}', "valid integer"),
        (Holder, b'{"one":{},"many":[]}', "in the field `one`"),
        (Holder, b'{"many":[]}', "missing required field `one`"),
        (Holder, b"[]", "Expected `object`, got `array`"),
        (list[Ok | Err], b'[{"value":1},{}]', r"at `\$\[1\]`"),
    ],
    ids=shown_alike,
)
def test_what_is_stored_and_fits_nothing_is_told(hint, text, reason):
    with pytest.raises(PayloadError, match=reason):
        codec_for(hint, "it").decode(text)


def test_objects_are_begun_as_msgspec_begins_them():
    @dataclasses.dataclass
    class Begun:
        one: Ok | Err

        def __post_init__(self) -> None:
            self.was_begun = True

    @attrs.define
    class Checked:
        one: Ok | Err
        count: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    assert codec_for(Begun, "it").decode(b'{"one":{"value":1}}').was_begun
    with pytest.raises(PayloadError, match="count"):
        codec_for(Checked, "it").decode(b'{"one":{"value":1},"count":0}')


def test_unions_of_classes_do_not_import_pydantic():
    code = (
        "import dataclasses, sys, durable.payloads as p\n"
        "@dataclasses.dataclass\nclass A: a: int\n"
        "@dataclasses.dataclass\nclass B: b: int\n"
        "assert p.codec_for(A | B, 'it').decode(b'{\"b\":1}') == B(1)\n"
        "print('pydantic' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


# -- in runs ---------------------------------------------------------------------------------------

message: Signal[Cat | Dog | str] = Signal[Cat | Dog | str]("message")


@activity
async def pay(amount: int | Ok) -> Ok | Err:
    return Ok(1) if isinstance(amount, Ok) else Err(f"{amount}")


@workflow
async def shop(pet: Pet, when: dt.datetime | str) -> list[Ok | Err | Fish | Bird | Cat | str]:
    said = await message.receive()
    assert isinstance(said, Cat)
    assert isinstance(when, str)
    return [await pay(3), await pay(Ok(2)), pet, said, when]


async def test_a_run_takes_hands_on_and_returns_them(durable_harness):
    run = await durable_harness.start(shop.options(id="x"), Bird(), "soon")
    await run.signal(message, Cat())

    assert await durable_harness.finish(run) == [Err("3"), Ok(1), Bird(), Cat(), "soon"]


def define(how: str) -> object:
    match how:
        case "workflow":

            @workflow
            async def broken(what: Ok | Alike) -> None: ...

            return broken
        case "workflow with options":

            @workflow(name="broken")
            async def named(what: Ok | Alike) -> None: ...

            return named
        case "activity":

            @activity
            async def broken(what: Ok | Alike) -> None: ...

            return broken
        case "plain activity":

            @activity(start_to_close=5, name="broken")
            def timed(what: "list[Ok | Alike]") -> None: ...

            return timed
        case "transaction":

            @durable.transaction
            def broken(cursor: durable.Cursor, what: Ok | Alike) -> None: ...

            return broken
        case "result":

            @activity
            async def broken() -> dict[str, Ok | Alike]:
                return {}

            return broken
        case "signal":
            return Signal("broken", Ok | Alike)  # type: ignore[arg-type]
        case "update":
            return durable.Update("broken", int, Ok | Alike)  # type: ignore[arg-type]
        case _:
            raise AssertionError(how)


@pytest.mark.parametrize(
    "how",
    [
        *("workflow", "workflow with options", "activity", "plain activity", "transaction"),
        *("result", "signal", "update"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_where_it_is_written(how: str) -> None:
    with pytest.raises(DefinitionError, match=r"broken: in the type .*cannot be told apart"):
        define(how)


def test_types_that_are_defined_later_are_looked_at_when_they_are_there() -> None:
    module: dict[str, Any] = {"__name__": "later"}
    source = """
import dataclasses, durable

@durable.activity
async def pay(what: "Order") -> "list[Order]":
    return [what]

@dataclasses.dataclass
class Holder:
    order: "Order | Alike"

@durable.activity
async def hold(what: Holder) -> None: ...

got = durable.Signal("got", Holder)

@dataclasses.dataclass
class Order:
    number: int
"""
    sys.modules["later"] = types.ModuleType("later")
    vars(sys.modules["later"]).update(module)
    try:
        exec(source, vars(sys.modules["later"]))
        later = sys.modules["later"]
        order = later.Order(1)
        assert later.pay.codec.decode(later.pay.codec.encode((order,), {})) == ((order,), {})
        vars(later)["Alike"] = later.Order
        held = later.Holder(order)
        assert later.hold.codec.decode(later.hold.codec.encode((held,), {})) == ((held,), {})
        assert later.got._codec().decode(later.got._encode(held)) == held
    finally:
        del sys.modules["later"]


LATER = """
import dataclasses, durable, msgspec, attrs
from typing import Literal, NamedTuple, TypeVar

class Struct(msgspec.Struct):
    item: "Item"

@dataclasses.dataclass
class Card:
    owner: "Item"
    kind: Literal["card"] = "card"

@attrs.define
class Cash:
    payer: "Item"
    cents: int = 0

class Pair(NamedTuple):
    left: "Item"

B = TypeVar("B", bound="Item")

@durable.activity
async def bound(x: B) -> B: return x

@durable.activity
async def find(x: %(hint)s) -> "%(hint)s | None": return x

got = durable.Signal("got", %(hint)s)

@dataclasses.dataclass
class Item:
    number: int
"""


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        ("Struct | None", "Struct(Item(1))"),
        ("list[Struct | None]", "[Struct(Item(1)), None]"),
        ("dict[str, Struct | str]", "{'a': Struct(Item(1)), 'b': 'x'}"),
        ("Card | Cash", "Cash(Item(1))"),
        ("Pair | None", "Pair(Item(1))"),
    ],
)
def test_a_union_whose_members_name_types_of_later_is_looked_at_when_they_are_there(hint, value):
    module = types.ModuleType("later_union")
    sys.modules["later_union"] = module
    try:
        exec(LATER % {"hint": hint}, vars(module))
        given = eval(value, vars(module))
        find, got = vars(module)["find"], vars(module)["got"]

        assert find.codec.decode(find.codec.encode((given,), {})) == ((given,), {})
        assert got._codec().decode(got._encode(given)) == given
    finally:
        del sys.modules["later_union"]
