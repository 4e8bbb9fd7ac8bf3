"""Exceptions as records, and back: the same in every process.

Laws of this module:

- A record is plain JSON data of bounded size, whatever was raised: hostile ``__str__`` methods,
  cycles, endless chains and huge messages included.
- Rebuilding imports nothing and runs no ``__init__``, ``__new__``, property or ``__setattr__`` of
  the user's, nor what a class is told of its subclasses by: ``__init_subclass__`` and metaclasses.
  The names of the recorded class's MRO are looked up among the builtins and in modules that are
  loaded already. If the exact class is not there, those that are there are mixed with
  `ActivityError`, so that ``except`` by any class the workflow can name decides alike everywhere;
  in the place of a class that would be told of it stands the next of the MRO that would not.
- A recorded exception never cancels a task nor ends a process: `CancelledError`, `SystemExit`,
  `KeyboardInterrupt` and `GeneratorExit` come back as `ActivityError`.
- A damaged or hostile record gives an `ActivityError`; it never raises and never runs anything.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import math
import sys
import traceback
import types
from typing import Any

import attrs
import msgspec

from durable._core.summaries import summary
from durable.errors import ActivityError

__all__ = ["failure_json", "rebuild_exception", "record_exception", "summary"]

# Of one message, note or text argument. People read the first lines; 16 KiB holds an HTTP body.
MESSAGE_BYTES_MAX = 16 * 1024
# Of the whole chain's text. A traceback of 1,000 frames without repetition has about 100 KiB; its
# head says where it began and its tail what happened.
TRACEBACK_BYTES_MAX = 64 * 1024
# Of the own part of a cause, a context or a group's member: the whole chain's text has them all.
NESTED_TRACEBACK_BYTES_MAX = 4 * 1024
# Exceptions in one text; more take seconds and, below each other in groups, all memory.
FORMATTED_MAX = 10_000
# Causes, contexts and groups below each other. Real chains have one to four.
DEPTH_MAX = 10
# Records in one tree, and members of one group: the tree stays below some MB.
RECORDS_MAX = 100
# Of all arguments, and of all attributes, of one exception: some texts of full length.
VALUES_BYTES_MAX = 64 * 1024
# What one value costs beside its text: its marks, quotes and commas.
VALUE_BYTES = 16
VALUE_DEPTH_MAX = 10
ARGS_MAX = 100
# Of an argument that is not plain. A repr only has to be recognised.
REPR_BYTES_MAX = 1024
NAME_CHARACTERS_MAX = 200
NOTES_MAX = 20
CLASSES_MAX = 100
# A worker meets a handful of unknown exception classes.
MIXES_CACHED_MAX = 1_024

_NOTE = "The traceback of the process that raised it:\n"
_TRACEBACK = "durable_traceback"
# They would stop a task, a thread or the process that only reads what once happened.
_NEVER_REBUILT = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
_NEVER_REBUILT_NAMES = frozenset({"trio:Cancelled"})
# `obj` of AttributeError and NameError is a live object; the others have their own place.
_OWN_PLACE = frozenset({"args", "obj", "with_traceback", "add_note", _TRACEBACK})
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: the class was made at run time, not in C
# Past a metaclass, which may answer for its classes by code of the user's.
_mro_of, _base_of, _namespace_of, _flags_of = (
    type.__dict__[name].__get__ for name in ("__mro__", "__base__", "__dict__", "__flags__")
)
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)


# -- recording -------------------------------------------------------------------------------------


@attrs.define
class _Budget:
    records: int = RECORDS_MAX


def record_exception(exc: BaseException) -> dict[str, Any]:
    """Return the exception as plain JSON data of bounded size.

    Returns:
        ``type`` (``app.errors.Refused``; builtins without module), ``mro``, ``message``, ``args``,
        ``attributes`` (public and plain ones), ``is_partial`` (some argument or attribute is not
        plain), ``traceback`` (of the whole chain), ``suppress_context``, and where there are any
        ``notes``, ``cause``, ``context``, ``group`` with ``group_message`` and ``group_count``.
    """
    try:
        return _record(exc, _Budget(), ())
    except Exception as error:  # noqa: BLE001 - hostile properties: the failure itself must not be lost
        return {
            "type": _type_name(type(exc)),
            "mro": _mro_names(type(exc)),
            "message": f"<recording it raised {type(error).__name__}>",
            "args": [],
            "attributes": {},
            "is_partial": True,
            "traceback": "",
            "suppress_context": False,
        }


def failure_json(error: BaseException) -> bytes:
    """Return the record of an exception, encoded."""
    return msgspec.json.encode(record_exception(error))


def _record(exc: BaseException, budget: _Budget, above: tuple[int, ...]) -> dict[str, Any]:
    budget.records -= 1
    cls = type(exc)
    args, is_args_partial = _record_args(exc)
    attributes, is_attributes_partial = _record_attributes(exc)
    record: dict[str, Any] = {
        "type": _type_name(cls),
        "mro": _mro_names(cls),
        "message": _cut(_text(exc), MESSAGE_BYTES_MAX),
        "args": args,
        "attributes": attributes,
        "is_partial": is_args_partial or is_attributes_partial,
        "traceback": _format(exc, is_whole=not above),
        "suppress_context": bool(exc.__suppress_context__),
    }
    if notes := _notes(exc):
        record["notes"] = notes
    above = (*above, id(exc))

    def record_below(other: BaseException | None) -> dict[str, Any] | None:
        if other is None or id(other) in above or len(above) > DEPTH_MAX or budget.records <= 0:
            return None
        return _record(other, budget, above)

    if isinstance(exc, BaseExceptionGroup):
        # By the C fields: a subclass may have properties of these names.
        exceptions = BaseExceptionGroup.__dict__["exceptions"].__get__(exc)
        message = BaseExceptionGroup.__dict__["message"].__get__(exc)
        members = map(record_below, exceptions[:RECORDS_MAX])
        record["group"] = [member for member in members if member is not None]
        record["group_count"] = len(exceptions)
        record["group_message"] = _cut(str.__str__(message), MESSAGE_BYTES_MAX)
    if (cause := record_below(exc.__cause__)) is not None:
        record["cause"] = cause
    if not exc.__suppress_context__ and exc.__context__ is not exc.__cause__:
        context = record_below(exc.__context__)
        if context is not None:
            record["context"] = context
    return record


def _type_name(cls: type[Any]) -> str:
    name = cls.__qualname__ if cls.__module__ == "builtins" else _class_path(cls, ".")
    return _cut(name, MESSAGE_BYTES_MAX)


def _class_path(cls: type[Any], separator: str) -> str:
    return f"{cls.__module__}{separator}{cls.__qualname__}"


def _mro_names(cls: type[Any]) -> list[str]:
    # A mix that fails again is recorded as what it stands for.
    if isinstance(recorded := cls.__dict__.get("_durable_mro"), tuple):
        return list(recorded)
    names = [_class_path(base, ":") for base in cls.__mro__ if base is not object]
    return [_cut(name, MESSAGE_BYTES_MAX) for name in names[:CLASSES_MAX]]


def _text(exc: BaseException) -> str:
    try:
        text = str(exc)
    except Exception as error:  # noqa: BLE001 - a __str__ of the user's may raise anything
        return f"<its __str__ raised {type(error).__name__}>"
    return str.__str__(text)  # a plain str, also of a str subclass


def _cut(text: str, bytes_max: int, *, tail: int = 0) -> str:
    """Return text that UTF-8 can hold, shortened in the middle to about ``bytes_max`` bytes."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= bytes_max:
        return data.decode()
    head = data[: bytes_max - tail].decode("utf-8", "ignore")
    end = data[len(data) - tail :].decode("utf-8", "ignore") if tail else ""
    return f"{head}\n... {len(data) - bytes_max} bytes left out ...\n{end}"


def _format(exc: BaseException, *, is_whole: bool) -> str:
    try:
        if is_whole and _is_formattable(exc):
            text = "".join(traceback.format_exception(exc))
        else:  # without `chain`, format_exception still walks the whole tree
            frames = "".join(traceback.format_tb(exc.__traceback__))
            text = f"Traceback (most recent call last):\n{frames}" if frames else ""
            text += f"{_type_name(type(exc))}: {_text(exc)}\n"
    except Exception as error:  # noqa: BLE001 - it calls repr and str of the user's objects
        return f"<formatting the traceback raised {type(error).__name__}>"
    bytes_max = TRACEBACK_BYTES_MAX if is_whole else NESTED_TRACEBACK_BYTES_MAX
    return _cut(text, bytes_max, tail=bytes_max // 2)


def _is_formattable(exc: BaseException) -> bool:
    # `traceback` makes an object for each member of each group before it limits what it shows.
    count = 0
    seen: set[int] = set()
    stack = [exc]
    while stack and count <= FORMATTED_MAX:
        current = stack.pop()
        count += 1
        if isinstance(current, BaseExceptionGroup):
            stack.extend(current.exceptions[: FORMATTED_MAX + 1])
        for other in (current.__cause__, current.__context__):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                stack.append(other)
    return count <= FORMATTED_MAX


def _notes(exc: BaseException) -> list[str]:
    notes = getattr(exc, "__notes__", None)
    if not isinstance(notes, list | tuple):
        return []
    # Our own note is made again from the new traceback, which has the old one in it.
    texts = [note for note in notes if isinstance(note, str) and not note.startswith(_NOTE)]
    return [_cut(note, MESSAGE_BYTES_MAX) for note in texts[:NOTES_MAX]]


class _NotPlain(Exception):
    """The value is not plain data, or too large."""


def _record_args(exc: BaseException) -> tuple[list[Any], bool]:
    if isinstance(exc, BaseExceptionGroup):  # the message and the members have their own place
        return [], False
    args: list[Any] = []
    is_partial = len(exc.args) > ARGS_MAX
    budget = [VALUES_BYTES_MAX]
    for value in exc.args[:ARGS_MAX]:
        try:
            args.append(_mark(value, budget, 0))
        except Exception:  # noqa: BLE001 - what is not plain is kept as its repr
            is_partial = True
            args.append({"$repr": _cut(_repr(value), REPR_BYTES_MAX)})
    return args, is_partial


def _record_attributes(exc: BaseException) -> tuple[dict[str, Any], bool]:
    attributes: dict[str, Any] = {}
    is_partial = False
    budget = [VALUES_BYTES_MAX]
    for name, value in {**_fields(exc), **object.__getattribute__(exc, "__dict__")}.items():
        if not _is_restorable(name):
            # What is private may be needed by its __str__; what is special is not.
            is_partial = is_partial or not str(name).startswith("__")
            continue
        try:
            attributes[name] = _mark(value, budget, 0)
        except Exception:  # noqa: BLE001 - live objects stay in the process that has them
            is_partial = True
    return attributes, is_partial


def _is_restorable(name: object) -> bool:
    return (
        isinstance(name, str)
        and name.isidentifier()
        and len(name) <= NAME_CHARACTERS_MAX
        and not name.startswith("_")
        and name not in _OWN_PLACE
    )


def _fields(exc: BaseException) -> dict[str, Any]:
    """Return what is stored in slots and, if it is set, in fields of exceptions made in C."""
    found: dict[str, Any] = {}
    for base in reversed(type(exc).__mro__):
        if base in {BaseException, BaseExceptionGroup, object}:
            continue
        is_slots = bool(base.__flags__ & _HEAP_TYPE)
        for name, descriptor in base.__dict__.items():
            if not isinstance(descriptor, _DESCRIPTORS):
                continue
            try:
                value = descriptor.__get__(exc, type(exc))
            except Exception:  # noqa: BLE001, S112 - an unset slot, or a half-made exception
                continue
            if is_slots or value is not None:
                found[name] = value
    return found


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a repr of the user's may raise anything
        return f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"


def _mark(value: Any, budget: list[int], depth: int) -> Any:
    """Return the value as plain JSON, marking what JSON does not have.

    Marks are objects of one key: ``$tuple $bytes $float $text $dict $repr``.

    Args:
        value: Anything.
        budget: How many bytes are left, counted down.
        depth: How deep the value lies in others.

    Raises:
        _NotPlain: It holds something else, too much, or nests too deep.
    """
    budget[0] -= VALUE_BYTES
    if budget[0] < 0 or depth > VALUE_DEPTH_MAX:
        raise _NotPlain
    kind = type(value)
    if kind is list:
        return [_mark(member, budget, depth + 1) for member in value]
    if kind is tuple:
        return {"$tuple": [_mark(member, budget, depth + 1) for member in value]}
    if kind is dict:
        return _mark_dict(value, budget, depth)
    return _mark_scalar(value, budget)


def _mark_scalar(value: Any, budget: list[int]) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int and value.bit_length() <= 1_024:  # Python reads at most 4,300 digits
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if kind is str:
        budget[0] -= min(len(value), MESSAGE_BYTES_MAX)
        return _mark_text(value)
    if kind is bytes and len(value) <= MESSAGE_BYTES_MAX:
        budget[0] -= len(value)
        return {"$bytes": base64.b64encode(value).decode()}
    raise _NotPlain


def _mark_dict(value: dict[Any, Any], budget: list[int], depth: int) -> dict[str, Any]:
    marked = {}
    for key, member in value.items():
        if type(key) is not str or not isinstance(_mark_text(key), str):
            raise _NotPlain
        budget[0] -= len(key)
        marked[key] = _mark(member, budget, depth + 1)
    return {"$dict": marked} if any(key.startswith("$") for key in marked) else marked


def _mark_text(text: str) -> Any:
    try:
        data = text.encode()
    except UnicodeEncodeError:  # file names have lone surrogates (surrogateescape)
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > MESSAGE_BYTES_MAX:
            raise _NotPlain from None
        return {"$text": base64.b64encode(data).decode()}
    return text if len(data) <= MESSAGE_BYTES_MAX else _cut(text, MESSAGE_BYTES_MAX)


# -- rebuilding ------------------------------------------------------------------------------------


def rebuild_exception(record: object) -> BaseException:
    """Return the recorded exception, made from what this process has loaded already.

    Its ``durable_traceback`` attribute has the recorded traceback's text, which is also a note.
    """
    try:
        return _rebuild(record, 0)
    except Exception:  # noqa: BLE001 - a damaged record must not stop who reads it
        return ActivityError(summary(record))


def _rebuild(record: object, depth: int) -> BaseException:
    if not isinstance(record, dict):
        return ActivityError("the record of this exception is damaged")
    message = record.get("message")
    if not isinstance(message, str):
        message = ""
    args = _rebuild_args(record)
    members = _rebuild_members(record, depth)
    exc = _make(record, message, args, members)
    namespace: dict[str, Any] = object.__getattribute__(exc, "__dict__")
    for key in ("cause", "context"):
        if depth < DEPTH_MAX and isinstance(below := record.get(key), dict):
            _set(exc, f"__{key}__", _rebuild(below, depth + 1))
    _set(exc, "__suppress_context__", record.get("suppress_context") is True)
    notes = record.get("notes")
    kept = notes[:NOTES_MAX] if isinstance(notes, list) else []
    kept = [note for note in kept if isinstance(note, str)]
    text = record.get("traceback")
    if isinstance(text, str) and text:
        namespace[_TRACEBACK] = text
        if depth == 0:  # the text of the whole chain is in it
            kept.append(_NOTE + text)
    if kept:
        namespace["__notes__"] = kept
    return exc


def _set(exc: BaseException, name: str, value: object) -> None:
    # Past the class's own __setattr__, which is the user's.
    BaseException.__setattr__(exc, name, value)


def _rebuild_args(record: dict[Any, Any]) -> tuple[Any, ...]:
    args = record.get("args")
    if not isinstance(args, list):
        return ()
    return tuple(_unmark(value, 0) for value in args[:ARGS_MAX])


def _rebuild_members(record: dict[Any, Any], depth: int) -> list[BaseException]:
    group = record.get("group")
    if not isinstance(group, list) or depth >= DEPTH_MAX:
        return []
    return [_rebuild(member, depth + 1) for member in group[:RECORDS_MAX]]


def _make(
    record: dict[Any, Any], message: str, args: tuple[Any, ...], members: list[BaseException]
) -> BaseException:
    names = _names(record)
    found = [cls for name in names if (cls := _find_class(name)) is not None]
    if not found:
        return ActivityError(message)
    if members:
        group_message = record.get("group_message")
        args = (group_message if isinstance(group_message, str) else message, members)
    exact = _find_class(names[0])
    if exact is not None and (exc := _create(exact, args)) is not None:
        _restore_attributes(exc, record)
        if _has_text(exc, message if record.get("is_partial") is True else None):
            return exc
        if not _is_silent(exact):  # Whom it is caught by counts for more than its words.
            return exc
        # What its __str__ needs was not plain data: a subclass that knows the recorded message.
        mixes: list[tuple[type[BaseException], ...]] = [(exact,)]
    else:
        bases = _bases([cls for cls in found if _is_silent(cls)], is_group=bool(members))
        mixes = [(*bases[:count], ActivityError) for count in range(len(bases), -1, -1)]
    for mix in mixes:
        cls = _mix(names, mix)
        if cls is not None and (exc := _create(cls, args)) is not None:
            _restore_attributes(exc, record)
            object.__getattribute__(exc, "__dict__")["_durable_message"] = message
            return exc
    return ActivityError(message)


def _has_text(exc: BaseException, message: str | None) -> bool:
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001 - a __str__ of the user's may raise anything
        return False
    return message is None or text == message


def _names(record: dict[Any, Any]) -> tuple[str, ...]:
    names = record.get("mro")
    if not isinstance(names, list):
        return ()
    return tuple(name for name in names[:CLASSES_MAX] if isinstance(name, str))


def _find_class(path: str) -> type[BaseException] | None:
    """Return a loaded exception class; nothing is imported and no ``__getattr__`` runs."""
    module_name, _, qualname = path.partition(":")
    module = sys.modules.get(module_name)
    if path in _NEVER_REBUILT_NAMES or not isinstance(module, types.ModuleType):
        return None
    # Past `getattr`: a lazy module would load itself, and a module's __getattr__ may import.
    namespace: Any = object.__getattribute__(module, "__dict__")
    found: Any = None
    for part in qualname.split("."):
        found = namespace.get(part)
        if not issubclass(type(found), type):
            return None
        namespace = _namespace_of(found)
    if BaseException not in _mro_of(found):
        return None
    cls: type[BaseException] = found
    return None if _is_never_rebuilt(cls) else cls


def _is_never_rebuilt(cls: type[BaseException]) -> bool:
    # By `__mro__` and not `issubclass`, which a metaclass may answer.
    return any(base in _NEVER_REBUILT for base in _mro_of(cls))


def _is_silent(cls: type[BaseException]) -> bool:
    """Say whether no code of the user's runs when a subclass of it is made."""
    above = _mro_of(cls)
    return type(cls) is type and not any(
        "__init_subclass__" in _namespace_of(base) for base in above[:-1]
    )


def _bases(found: list[type[BaseException]], *, is_group: bool) -> list[type[BaseException]]:
    """Return the most special of the classes found, in the order of the recorded MRO.

    All of them and not only the first: of ``class Missing(AppError, KeyError)`` both bases must
    catch, also where ``Missing`` itself is not loaded.
    """
    bases: list[type[BaseException]] = []
    for cls in found:
        is_covered = any(cls in base.__mro__ for base in bases)
        is_empty_group = not is_group and BaseExceptionGroup in cls.__mro__
        if not is_covered and not is_empty_group and cls not in ActivityError.__mro__[1:]:
            bases.append(cls)
    return bases


@functools.lru_cache(maxsize=MIXES_CACHED_MAX)
def _mix(
    names: tuple[str, ...], bases: tuple[type[BaseException], ...]
) -> type[BaseException] | None:
    """Return a class that looks like the recorded one and is caught by all the bases."""
    kept = tuple(
        base
        for index, base in enumerate(bases)
        if not any(base in other.__mro__ for other in bases[:index])
    )
    if ActivityError in kept and any(ActivityError in base.__mro__[1:] for base in kept):
        kept = tuple(base for base in kept if base is not ActivityError)
    module, _, qualname = names[0].partition(":")
    namespace = {
        "__module__": module,
        "__qualname__": qualname,
        "__doc__": "Stands for a class that is not loaded in this process.",
        "__str__": _recorded_message,
        "_durable_mro": names,
    }
    try:
        return type(qualname.rpartition(".")[2], kept, namespace)
    except Exception:  # noqa: BLE001 - bases that do not mix
        return None


def _recorded_message(exc: BaseException) -> str:
    message: str = object.__getattribute__(exc, "__dict__").get("_durable_message", "")
    return message


def _create(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException | None:
    """Make the exception with the constructor that CPython's C code has for it, and no other."""
    builtin: Any = cls
    while _flags_of(builtin) & _HEAP_TYPE:
        builtin = _base_of(builtin)
    if builtin is BaseExceptionGroup:
        return _create_group(cls, args)
    try:
        exc: BaseException = builtin.__new__(cls, *args)
        # Sets what is stored in C: errno of OSError, the five of UnicodeDecodeError.
        builtin.__init__(exc, *args)
    except Exception:  # noqa: BLE001 - recorded arguments that its constructor does not take
        try:
            exc = builtin.__new__(cls)
        except Exception:  # noqa: BLE001 - no way to make one
            return None
    _set(exc, "args", args)
    return exc


def _create_group(cls: Any, args: tuple[Any, ...]) -> BaseException | None:
    try:
        exc: BaseException = BaseExceptionGroup.__new__(cls, *args)
    except Exception:  # noqa: BLE001 - no members, or members an ExceptionGroup does not take
        return None
    return exc


def _restore_attributes(exc: BaseException, record: dict[Any, Any]) -> None:
    namespace: dict[str, Any] = object.__getattribute__(exc, "__dict__")
    attributes = record.get("attributes")
    if not isinstance(attributes, dict):
        return
    for name, marked in attributes.items():
        if not _is_restorable(name):
            continue
        value = _unmark(marked, 0)
        descriptor = _find_descriptor(type(exc), name)
        if descriptor is None:
            namespace[name] = value
            continue
        try:
            descriptor.__set__(exc, value)
        except Exception:  # noqa: BLE001, S112 - read-only in C, or of another type
            continue


def _find_descriptor(cls: type[BaseException], name: str) -> Any:
    # Slots and C fields only: a property's setter would be code of the user's.
    for base in _mro_of(cls):
        found = _namespace_of(base).get(name)
        if isinstance(found, _DESCRIPTORS):
            return found
    return None


def _unmark(value: Any, depth: int) -> Any:
    if depth > 2 * VALUE_DEPTH_MAX + 2:  # a mark is a level of its own
        return None
    if isinstance(value, list):
        return [_unmark(member, depth + 1) for member in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and isinstance(text := next(iter(value.values())), str):
        return _unmark_text(value, text)
    match value:
        case {"$tuple": list(members)} if len(value) == 1:
            return tuple(_unmark(member, depth + 1) for member in members)
        case {"$dict": dict(members)} if len(value) == 1:
            return {key: _unmark(member, depth + 1) for key, member in members.items()}
        case _:
            return {key: _unmark(member, depth + 1) for key, member in value.items()}


def _unmark_text(value: dict[Any, Any], text: str) -> Any:
    match next(iter(value)):
        case "$repr":
            return text
        case "$float" if text in {"nan", "inf", "-inf"}:
            return float(text)
        case "$bytes":
            return base64.b64decode(text)
        case "$text":
            return base64.b64decode(text).decode("utf-8", "surrogatepass")
        case _:
            return value
