"""Exceptions as records and back: the same everywhere, bounded, and nothing of the user's runs."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, Self

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable._core import failures
from durable._core.failures import rebuild_exception, record_exception, summary
from durable.errors import ActivityError, OutcomeUnknown, RetryAfter, RunFailed, StartToCloseTimeout

ran: list[str] = []


class Refused(Exception):
    """An application's error with state; its __init__ takes other arguments than `args`."""

    def __init__(self, code: int, *, reason: str) -> None:
        ran.append("init")
        super().__init__(f"refused: {reason}")
        self.code = code
        self.reason = reason
        self.connection = object()

    def __new__(cls, *_: object, **__: object) -> Self:
        ran.append("new")
        return super().__new__(cls)

    def __setattr__(self, name: str, value: object) -> None:
        ran.append("setattr")
        super().__setattr__(name, value)


class NotFound(OSError):
    """An OSError whose own __init__ sets errno."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ENOENT, "gone", path)


class Base(Exception):
    """A base that a workflow may catch."""


class Both(Base, KeyError):
    """Two bases that a workflow may catch."""


class ByPrivate(Exception):
    """Its text needs what is not recorded."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self._value = value

    def __str__(self) -> str:
        return f"private {self._value}"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Slotted(Exception):
    __slots__ = ("extra", "unset")

    def __init__(self, extra: int) -> None:
        super().__init__("slotted")
        self.extra = extra


class Tagged(ExceptionGroup[Exception]):
    def derive(self, excs: Any) -> Any:
        return Tagged(self.message, excs)


class Outer:
    class Inner(Exception):
        pass


class Stop(BaseException):
    """A user's own way out."""


@attrs.frozen
class Frozen(Exception):
    code: int


def stored(exc: BaseException) -> Any:
    """The record after its way through the file."""
    record = record_exception(exc)
    text = msgspec.json.encode(record)
    assert json.loads(text) == record  # plain JSON: nothing is changed by storing it
    return json.loads(text)


def rebuilt(exc: BaseException) -> BaseException:
    return rebuild_exception(stored(exc))


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:
        return caught


def unloaded(exc: BaseException, *paths: str) -> Any:
    """The record as another process would read it that lacks these classes."""
    record = stored(exc)
    names = [name.replace(f"{__name__}:", "gone:") for name in record["mro"]]
    keep = {f"gone:{path}" for path in paths}
    record["mro"] = [n.replace("gone:", f"{__name__}:") if n in keep else n for n in names]
    return record


# This module is loaded under a name that pytest chose; records find it through sys.modules.
@pytest.fixture(autouse=True)
def _this_module_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(__name__)
    module.__dict__.update(globals())
    monkeypatch.setitem(sys.modules, __name__, module)
    ran.clear()


BUILTINS: list[BaseException] = [
    Exception(),
    ValueError("a", 1, None, 2.5),
    KeyError("k"),
    IndexError(3),
    StopIteration(7),
    TimeoutError("late"),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    FileNotFoundError(errno.ENOENT, "No such file", "/tmp/x"),
    OSError(errno.EXDEV, "cross", "a", None, "b"),
    UnicodeDecodeError("utf-8", b"\xff\x00", 0, 1, "invalid start byte"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    ImportError("no", name="m", path="p"),
    SyntaxError("bad", ("f.py", 1, 2, "x = ", 1, 3)),
    ZeroDivisionError("division by zero"),
    RecursionError("deep"),
    asyncio.InvalidStateError("x"),
    asyncio.IncompleteReadError(b"ab", 5),
    RetryAfter(60, "busy"),
    RunFailed("order-1", "x"),
    OutcomeUnknown("perhaps"),
    StartToCloseTimeout("late"),
    Outer.Inner("nested"),
    Frozen(3),
    Both("k"),
    Stop("way out"),
]


@pytest.mark.parametrize("exc", BUILTINS, ids=lambda exc: type(exc).__name__)
def test_a_known_exception_comes_back_as_its_own_class(exc: BaseException) -> None:
    back = rebuilt(exc)

    assert type(back) is type(exc)
    assert back.args == exc.args
    assert str(back) == str(exc)


def test_fields_made_in_c_come_back() -> None:
    missing = rebuilt(FileNotFoundError(errno.ENOENT, "No such file", "/tmp/x"))
    decode = rebuilt(UnicodeDecodeError("utf-8", b"\xff\x00", 0, 1, "bad"))
    imported = rebuilt(ImportError("no", name="m"))
    own = rebuilt(NotFound("/tmp/y"))

    assert isinstance(missing, FileNotFoundError)
    assert (missing.errno, missing.filename) == (errno.ENOENT, "/tmp/x")
    assert isinstance(decode, UnicodeDecodeError)
    assert (decode.object, decode.start, decode.reason) == (b"\xff\x00", 0, "bad")
    assert isinstance(imported, ImportError)
    assert imported.name == "m"
    assert isinstance(own, NotFound)
    assert (own.errno, own.strerror, own.filename) == (errno.ENOENT, "gone", "/tmp/y")


def test_the_librarys_own_attrs_exceptions_keep_their_fields() -> None:
    back = rebuilt(RetryAfter(60, "busy"))

    assert isinstance(back, RetryAfter)
    assert (back.seconds, back.message, str(back)) == (60, "busy", "busy")


def test_no_code_of_the_user_runs_and_plain_attributes_come_back() -> None:
    record = stored(Refused(7, reason="full"))
    ran.clear()

    back = rebuild_exception(record)

    assert ran == []
    assert isinstance(back, Refused)
    assert (back.code, back.reason, str(back)) == (7, "full", "refused: full")
    assert not hasattr(back, "connection")


def test_an_attribute_called_message_comes_back() -> None:
    exc = ValueError("x")
    exc.message = "own"  # type: ignore[attr-defined]

    assert vars(rebuilt(exc))["message"] == "own"


def test_slots_come_back_and_unset_ones_stay_unset() -> None:
    back = rebuilt(Slotted(5))

    assert isinstance(back, Slotted)
    assert back.extra == 5
    assert not hasattr(back, "unset")


@pytest.mark.parametrize(
    "value",
    [b"\xff", (1, (2, b"x")), {"a": [1, None]}, {"$tuple": [1]}, {"$repr": "x"}, "\ud800/x", {},
     float("inf"), [True, 1, 1.0], {"$bytes": "eA=="}, {"$dict": {}}],
    ids=repr,
)  # fmt: skip
def test_plain_arguments_come_back_as_they_were(value: Any) -> None:
    (back,) = rebuilt(ValueError(value)).args

    assert back == value
    assert type(back) is type(value)


marked = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary()
    | st.text(st.characters()) | st.text(st.characters(categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text() | st.sampled_from(["$tuple", "$dict"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(marked)
@settings(max_examples=100, deadline=None)
def test_every_plain_argument_round_trips(value: Any) -> None:
    assert rebuilt(ValueError(value)).args == (value,)


def test_other_arguments_come_back_as_their_repr() -> None:
    back = rebuilt(ValueError("x", Path("a"), {1: 2}))

    assert back.args == ("x", "PosixPath('a')", "{1: 2}")


# -- classes that are not loaded -------------------------------------------------------------------


@pytest.mark.parametrize(
    "exc",
    [OSError(1, "x"), ValueError("v"), KeyError("k"), StopIteration(1), TimeoutError("t"),
     UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ConnectionResetError(errno.ECONNRESET, "r"),
     RuntimeError("x"), ImportError("x")],
    ids=lambda exc: type(exc).__name__,
)  # fmt: skip
def test_a_missing_class_is_its_nearest_known_base_mixed_with_activity_error(
    exc: BaseException,
) -> None:
    record = stored(exc)
    record["mro"].insert(0, "gone.errors:Missing")
    record["message"] = "the recorded text"

    back = rebuild_exception(record)

    assert isinstance(back, type(exc))
    assert isinstance(back, ActivityError)
    assert str(back) == "the recorded text"
    assert back.args == exc.args
    assert (type(back).__name__, type(back).__module__) == ("Missing", "gone.errors")


def test_every_known_base_catches_not_only_the_first() -> None:
    back = rebuild_exception(unloaded(Both("k"), "Base"))

    assert isinstance(back, Base)
    assert isinstance(back, KeyError)
    assert isinstance(back, ActivityError)
    assert str(back) == "'k'"


def test_bases_that_are_activity_errors_already_are_not_mixed_twice() -> None:
    record = stored(StartToCloseTimeout("late"))
    record["mro"].insert(0, "gone:Slow")

    back = rebuild_exception(record)

    assert isinstance(back, StartToCloseTimeout)
    assert type(back).__bases__ == (StartToCloseTimeout,)


told: list[str] = []


class Metaclass(type):
    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        told.append(f"made {name}")
        return super().__new__(cls, name, bases, namespace)

    def __getattribute__(cls, name: str) -> Any:
        told.append(f"asked for {name}")
        return super().__getattribute__(name)

    def mro(cls) -> list[type]:
        told.append("ordered")
        return super().mro()

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        told.append("called")
        return super().__call__(*args, **kwargs)


class Registry(LookupError):
    def __init_subclass__(cls) -> None:
        told.append(f"subclassed by {cls.__name__}")


class Registered(Registry, KeyError):
    def __init__(self, said: str) -> None:
        self._said = said

    def __str__(self) -> str:
        return self._said


class Abstract(OSError, metaclass=Metaclass):
    pass


class Above(Abstract):
    def __init__(self, said: str) -> None:
        self._said = said

    def __str__(self) -> str:
        return self._said


@pytest.mark.parametrize(
    ("record", "caught"),
    [
        ({"mro": ["gone:Sub", f"{__name__}:Registry", "builtins:LookupError"]}, LookupError),
        ({"mro": ["gone:Sub", f"{__name__}:Registered", "builtins:KeyError"]}, KeyError),
        ({"mro": ["gone:Sub", f"{__name__}:Abstract", "builtins:OSError"]}, OSError),
        ({"mro": ["gone:Sub", f"{__name__}:Above", f"{__name__}:Registry"]}, ActivityError),
        ({"mro": [f"{__name__}:Registered"], "is_partial": True}, Registered),
        ({"mro": [f"{__name__}:Above"], "is_partial": True}, Above),
        ({"mro": [f"{__name__}:Abstract"], "message": "x", "is_partial": True}, Abstract),
        ({"mro": [f"{__name__}:Abstract"], "attributes": {"code": 5}}, Abstract),
    ],
)
def test_no_class_is_told_that_a_file_made_another_of_it(
    record: dict[str, Any], caught: type[BaseException]
) -> None:
    told.clear()

    back = rebuild_exception({"args": [], "message": "late", **record})
    heard = list(told)

    assert heard == []
    assert isinstance(back, caught)
    assert isinstance(back, ActivityError) is ("gone:Sub" in record["mro"])


def test_a_missing_plain_exception_is_a_named_activity_error() -> None:
    record = unloaded(Refused(7, reason="full"))

    back = rebuild_exception(record)

    assert type(back).__bases__ == (ActivityError,)
    assert type(back).__name__ == "Refused"
    assert str(back) == "refused: full"
    assert back.code == 7  # type: ignore[attr-defined]


def test_the_same_missing_class_is_made_once() -> None:
    first, second = (rebuild_exception(unloaded(Refused(n, reason="x"))) for n in (1, 2))

    assert type(first) is type(second)


def test_classes_made_in_functions_are_never_found() -> None:
    class Local(ValueError):
        pass

    back = rebuilt(Local("x"))

    assert type(back) is not Local
    assert isinstance(back, ValueError)
    assert isinstance(back, ActivityError)


def test_layouts_that_do_not_mix_fall_back() -> None:
    record = stored(ValueError("x"))
    record["mro"] = ["gone:X", "builtins:OSError", "builtins:UnicodeDecodeError"]

    back = rebuild_exception(record)

    assert isinstance(back, OSError)
    assert isinstance(back, ActivityError)


def test_a_mix_that_fails_again_is_recorded_as_what_it_stands_for() -> None:
    once = unloaded(Both("k"), "Base")

    again = stored(raised(rebuild_exception(once)))

    assert again["mro"] == once["mro"]
    assert again["message"] == once["message"]
    assert str(rebuild_exception(again)) == "'k'"


def test_text_that_needs_private_state_is_the_recorded_text() -> None:
    back = rebuilt(ByPrivate(5))

    assert isinstance(back, ByPrivate)
    assert str(back) == "private 5"


@pytest.mark.parametrize(
    "exc", [asyncio.CancelledError("c"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()],
    ids=lambda exc: type(exc).__name__,
)  # fmt: skip
def test_what_would_stop_the_reader_comes_back_as_an_activity_error(exc: BaseException) -> None:
    back = rebuilt(exc)

    assert isinstance(back, ActivityError)
    assert not isinstance(back, type(exc))
    assert type(back).__name__ == type(exc).__name__
    assert str(back) == str(exc)


def test_cancelled_members_of_a_group_do_not_cancel_either() -> None:
    group = BaseExceptionGroup("g", [asyncio.CancelledError(), ValueError("v")])

    back = rebuilt(group)

    assert isinstance(back, ExceptionGroup)
    assert isinstance(back.exceptions[0], ActivityError)


# -- chains, groups, notes -------------------------------------------------------------------------


def test_causes_contexts_and_their_suppression_come_back() -> None:
    caused = ValueError("outer")
    caused.__cause__ = KeyError("inner")
    plain = ValueError("outer")
    plain.__context__ = KeyError("inner")
    silent = ValueError("outer")
    silent.__context__ = KeyError("inner")
    silent.__suppress_context__ = True

    with_cause, with_context, with_none = map(rebuilt, (caused, plain, silent))

    assert isinstance(with_cause.__cause__, KeyError)
    assert with_cause.__suppress_context__
    assert isinstance(with_context.__context__, KeyError)
    assert not with_context.__suppress_context__
    assert with_none.__context__ is None
    assert with_none.__suppress_context__


def test_cycles_and_endless_chains_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    chain: BaseException = ValueError("0")
    for number in range(1, 5000):
        following = ValueError(str(number))
        following.__cause__ = chain
        chain = following

    back = rebuilt(first)
    long = rebuilt(chain)

    assert back.__context__ is not None
    assert back.__context__.__context__ is None
    depth = 0
    current: BaseException | None = long
    while current is not None:
        current, depth = current.__cause__, depth + 1
    assert depth == failures.DEPTH_MAX + 1


def test_groups_come_back_from_their_members() -> None:
    group = Tagged("several", [ValueError("v"), ExceptionGroup("inner", [OSError(2, "o")])])

    back = rebuilt(group)

    assert type(back) is Tagged
    assert back.message == "several"
    assert str(back) == str(group)
    matched, rest = back.split(OSError)
    assert matched is not None
    assert rest is not None
    assert isinstance(rest.exceptions[0], ValueError)


def test_a_missing_group_class_is_still_caught_by_except_star() -> None:
    back = rebuild_exception(unloaded(Tagged("several", [ValueError("v"), KeyError("k")])))
    seen: list[str] = []

    try:
        raise back
    except* ValueError:
        seen.append("value")
    except* KeyError:
        seen.append("key")

    assert seen == ["value", "key"]
    assert isinstance(back, ActivityError)
    assert type(back).__name__ == "Tagged"


def test_a_large_group_is_cut_and_its_size_noted() -> None:
    group = ExceptionGroup("many", [ValueError(n) for n in range(1000)])

    record = stored(group)

    assert len(record["group"]) == failures.RECORDS_MAX - 1
    assert record["group_count"] == 1000
    assert isinstance(rebuild_exception(record), ExceptionGroup)


def test_wide_trees_stay_bounded() -> None:
    tree: Exception = ValueError("x" * 100_000)
    for _ in range(8):
        tree = ExceptionGroup("g", [tree] * 5)

    assert len(json.dumps(record_exception(tree))) < 5_000_000


def test_notes_and_the_remote_traceback_come_back_and_do_not_pile_up() -> None:
    exc = raised(ValueError("x"))
    exc.add_note("look here")

    back = rebuilt(exc)
    again = rebuilt(raised(back))

    text = back.durable_traceback  # type: ignore[attr-defined]
    assert "in raised" in text
    assert back.__notes__[0] == "look here"
    assert text in back.__notes__[1]
    assert len(again.__notes__) == 2
    assert "durable_traceback" not in record_exception(back)["attributes"]


def test_the_traceback_has_the_whole_chain() -> None:
    exc = ValueError("outer")
    exc.__cause__ = raised(KeyError("inner"))

    text = record_exception(raised(exc))["traceback"]

    assert "KeyError: 'inner'" in text
    assert "ValueError: outer" in text


# -- bounds and hostile input ----------------------------------------------------------------------


def test_messages_at_the_limit_are_kept_and_above_it_cut() -> None:
    limit = failures.MESSAGE_BYTES_MAX

    assert stored(ValueError("x" * limit))["message"] == "x" * limit
    assert len(stored(ValueError("é" * limit))["message"]) < limit
    assert "bytes left out" in stored(ValueError("x" * (limit + 1)))["message"]


def test_long_tracebacks_keep_head_and_tail() -> None:
    text = record_exception(raised(ValueError("x" * 1_000_000)))["traceback"]

    assert text.startswith("Traceback")
    assert text.endswith("x\n")
    assert len(text) < failures.TRACEBACK_BYTES_MAX + 100


def test_huge_state_is_bounded() -> None:
    deep: list[Any] = []
    exc = ValueError(*[Path("x" * 10_000)] * 1_000, 10**5000, b"x" * 10**6, deep)
    exc.rows = [["text"] * 1000] * 1000  # type: ignore[attr-defined]
    exc.code = 3  # type: ignore[attr-defined]
    deep.append(deep)

    record = stored(exc)

    assert len(json.dumps(record)) < 1_000_000
    assert "rows" not in record["attributes"]
    assert record["is_partial"]


def test_a_failing_str_and_repr_are_noted() -> None:
    record = stored(Unprintable(Unprintable()))

    assert record["message"] == "<its __str__ raised RuntimeError>"
    assert str(rebuild_exception(record)) == record["message"]


def test_hostile_properties_do_not_lose_the_failure() -> None:
    class Hostile(ValueError):
        @property
        def __notes__(self) -> list[str]:  # type: ignore[override]
            raise RuntimeError("no")

    record = stored(Hostile("x"))

    assert record["type"].endswith("Hostile")
    assert isinstance(rebuild_exception(record), ValueError)


@pytest.mark.parametrize(
    "record",
    [None, 3, [], {}, "text", {"mro": 3}, {"mro": ["os:system"], "args": ["touch /tmp/pwned"]},
     {"mro": ["os:system", "builtins:eval", ":", "", "os", "builtins:int", "builtins:object"]},
     {"mro": [None, {}, []], "args": 3, "attributes": [], "notes": 3, "group": "x"},
     {"mro": ["builtins:Exception.__class__"]}, {"mro": ["sys:modules.os"]},
     {"group": [None], "mro": [], "cause": 3, "message": 5, "traceback": {}},
     {"type": 3, "args": {"$bytes": "%"}, "mro": ["builtins:__dict__"]}],
    ids=repr,
)  # fmt: skip
def test_a_garbage_record_is_a_plain_activity_error(record: object) -> None:
    back = rebuild_exception(record)

    assert type(back) is ActivityError
    assert isinstance(summary(record), str)


garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.sampled_from(["builtins:OSError", "builtins:UnicodeDecodeError", "a\0:b", "\ud800:x",
                       "builtins:ExceptionGroup", "os:system", "builtins:BaseException"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["mro", "args", "attributes", "message", "notes", "cause", "context",
                         "group", "group_message", "traceback", "$tuple", "$bytes", "$dict",
                         "errno", "args", "__class__", "is_partial"]), inner),
    max_leaves=20,
)  # fmt: skip


@given(garbage)
@settings(max_examples=100, deadline=None)
def test_no_record_makes_rebuilding_fail(record: object) -> None:
    back = rebuild_exception(record)

    assert isinstance(back, BaseException)
    assert not isinstance(back, asyncio.CancelledError | KeyboardInterrupt | SystemExit)
    assert len(summary(record)) <= 300
    str(back)
    record_exception(back)


def test_deeply_nested_records_end() -> None:
    record: dict[str, Any] = {"mro": ["builtins:ValueError"], "args": []}
    nested: list[Any] = []
    for _ in range(50_000):
        record = {"mro": ["builtins:ValueError"], "cause": record}
        nested = [nested]
    record["args"] = nested

    assert isinstance(rebuild_exception(record), ValueError)


def test_attributes_cannot_reach_special_names() -> None:
    record = stored(ValueError("x"))
    record["attributes"] = {"__class__": "y", "args": [1], "__notes__": "n", "_x": 1, "ok": 2}

    back = rebuild_exception(record)

    assert type(back) is ValueError
    assert back.args == ("x",)
    assert vars(back).keys() == {"ok", "durable_traceback", "__notes__"}


def test_nothing_is_imported_and_no_module_getattr_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = types.ModuleType("lazy_module")
    lazy.__getattr__ = ran.append  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_module", lazy)
    record = stored(ValueError("x"))
    record["mro"] = ["lazy_module:Error", "colorsys:Error", "builtins:ValueError"]
    was_loaded = "colorsys" in sys.modules

    back = rebuild_exception(record)

    assert isinstance(back, ValueError)
    assert ran == []
    assert ("colorsys" in sys.modules) is was_loaded


def test_a_new_process_rebuilds_the_same() -> None:
    record = stored(raised(Both("k")))
    code = (
        "import json, sys; from durable._core.failures import rebuild_exception as r;"
        "e = r(json.load(sys.stdin));"
        "print(type(e).__name__, isinstance(e, KeyError), str(e), e.args)"
    )

    output = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(record),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()

    assert output == "Both True 'k' ('k',)"


# -- summary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (ValueError("x"), "ValueError: x"),
        (ValueError(), "ValueError"),
        (Outer.Inner("a\nb\x1b[31m\u202e"), "Inner: a\\nb\\x1b[31m\\u202e"),
        (ValueError("x" * 288), "ValueError: " + "x" * 288),
        (ValueError("x" * 289), "ValueError: " + "x" * 285 + "..."),
    ],
)
def test_the_summary_is_one_safe_line(exc: BaseException, expected: str) -> None:
    assert summary(record_exception(exc)) == expected
    assert len(expected) <= 300
