"""What a person can be asked for: the parameters of workflows and the contents of messages."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from durable.messages import declared, promised
from durable.payloads import schema_of

if TYPE_CHECKING:
    from durable.definitions import Workflow
    from durable.engine import Engine

__all__ = [
    "MessageForm",
    "ParameterForm",
    "WorkflowForm",
    "message_forms",
    "promise_form",
    "workflow_forms",
]

# Of a docstring that much is shown.
TEXT_CHARACTERS_MAX = 2_000


@attrs.frozen(kw_only=True)
class ParameterForm:
    """A parameter of a workflow.

    Attributes:
        name: As it is passed by name.
        kind: ``one``; ``positional`` or ``keyword``: that way alone; ``many``: what is left of the
            positions; ``named``: of the names.
        is_required: Whether it has no default.
        default: The default, where it is plain data.
        schema: A JSON schema of it; ``{}`` allows anything.
    """

    name: str
    kind: str
    is_required: bool
    default: Any
    schema: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class WorkflowForm:
    """A workflow that can be started.

    Attributes:
        name: The stored name.
        is_known: Whether its code is here: then its parameters are known.
        text: Its docstring.
        place: Where it is defined, as ``file:line``.
        parameters: In order.
    """

    name: str
    is_known: bool
    text: str
    place: str
    parameters: Sequence[ParameterForm]


@attrs.frozen(kw_only=True)
class MessageForm:
    """A message that the code declares.

    Attributes:
        kind: ``signal``, ``update``, ``query``, ``value``, ``stream`` or ``promise``.
        name: Its name.
        schema: A JSON schema of what it carries; ``{}`` allows anything.
    """

    kind: str
    name: str
    schema: Mapping[str, Any]


def workflow_forms(engine: Engine | None, names: Iterable[str]) -> Sequence[WorkflowForm]:
    """Return what can be started: of these names, and what an engine knows."""
    every = {*names, *(() if engine is None else engine.workflows)}
    found: list[WorkflowForm] = []
    for name in sorted(every):
        made = None if engine is None else engine._resolve(name)
        if made is None or isinstance(made, str):
            empty = WorkflowForm(name=name, is_known=False, text="", place="", parameters=[])
            found.append(empty)
        else:
            found.append(_form_of(name, made))
    return found


def message_forms() -> Sequence[MessageForm]:
    """Return the messages that the code of this process declares, by kind and name."""
    return [
        MessageForm(kind=one._kind, name=one.name, schema=_schema(one._hint()))
        for one in declared()
    ]


def promise_form(name: str) -> MessageForm | None:
    """Return what a promise wants, if this process has made or replayed it."""
    hint = promised(name)
    return None if hint is None else MessageForm(kind="promise", name=name, schema=_schema(hint))


_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "one",
    inspect.Parameter.VAR_POSITIONAL: "many",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "named",
}


def _form_of(name: str, made: Workflow[Any, Any]) -> WorkflowForm:
    hints = _hints_of(made.fn)
    found: list[ParameterForm] = []
    for one in inspect.signature(made.fn).parameters.values():
        kind = _KINDS[one.kind]
        has_default = one.default is not inspect.Parameter.empty
        may_be_missing = has_default or kind in {"many", "named"}
        found.append(
            ParameterForm(
                name=one.name, kind=kind, is_required=not may_be_missing,
                default=_plain(one.default) if has_default else None,
                schema=_schema(hints.get(one.name, Any)),
            )
        )  # fmt: skip
    text = inspect.cleandoc(made.fn.__doc__ or "")[:TEXT_CHARACTERS_MAX]
    return WorkflowForm(name=name, is_known=True, text=text, place=made.place, parameters=found)


def _hints_of(fn: Any) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except Exception:  # noqa: BLE001  an annotation that does not resolve is no reason to fail
        return {}


def _schema(hint: Any) -> Mapping[str, Any]:
    if hint is Any:
        return {}
    of_model = getattr(hint, "model_json_schema", None)
    try:
        if of_model is not None:
            return dict(of_model())
        return schema_of(hint)
    except Exception:  # noqa: BLE001  what has no schema may be anything
        return {}


def _plain(value: object) -> Any:
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError, msgspec.MsgspecError):
        return None
