"""What does not fit between a history and today's code, in words: the first place that differs.

Law 5: replays are checked, and so is what the file remembers of a pending step, as soon as it has a
row. Another name at its id blocks the run. Other arguments: a step that only waits for its next
attempt runs with today's, so that a person can mend the code and go on; one that has touched the
world (an intent, a token that was handed out) blocks, as a recorded step does.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from durable._core.events import Kind
from durable.errors import Blocked

if TYPE_CHECKING:
    from durable._core.driver import Driver
    from durable._core.loop import Step

__all__ = [
    "RememberedStep",
    "check_pending",
    "difference",
    "first_difference",
    "in_brackets",
    "parameters_of",
    "shown",
]

# Of each side of a difference: enough to see it, short enough for a line of a terminal.
SIDE_CHARACTERS_MAX = 60
# Of a payload as a whole.
SHOWN_CHARACTERS_MAX = 240
# Of a long text what comes before the place that differs.
BEFORE_CHARACTERS = 20
_MISSING = object()


@attrs.frozen(kw_only=True)
class RememberedStep:
    """What the file remembers of a pending step.

    Attributes:
        step_id: Its id.
        name: What the code called when it asked.
        fingerprint: Of the arguments as passed.
        arguments: The arguments; None where the file does not keep them.
        touched: How it has touched the world, in words; empty if it only waits for an attempt.
    """

    step_id: str
    name: str
    fingerprint: int
    arguments: bytes | None
    touched: str


def check_pending(driver: Driver, remembered: RememberedStep) -> None:
    """Refuse what the file remembers of a pending step if today's code asks for something else.

    Raises:
        Blocked: Both sides are in the message; nothing was performed.
    """
    loop, step_id = driver.loop, remembered.step_id
    step = loop.steps.get(step_id)
    at, was = (step_id, driver.seq, driver.at_us), remembered.name
    if step is None:
        if not remembered.touched or step_id in loop.dropped:
            return
        where = loop.where()
        waits = f", and waits at {where}" if where else ""
        raise Blocked(
            f"step {step_id} ({was}) {remembered.touched}, but the code does not ask for it"
            f"{waits}; restore the call, or guard the new code with durable.patched(...)",
            difference=difference(*at, was, "nothing there", where),
        )
    where = loop.where(step)
    place = in_brackets(where)
    if step.name != was or step.kind != Kind.COMPLETED:
        now = step.name if step.name != was else f"something else of the name {was}"
        raise Blocked(
            f"step {step_id} is pending as {was}, but the code now calls {now}{place}; restore the "
            "call, or guard the new one with durable.patched(...)",
            difference=difference(*at, was, now, where),
        )
    is_same = not step.checked or step.fingerprint == remembered.fingerprint
    if is_same or not remembered.touched or driver.has_accepted(step_id):
        return
    told = "its arguments are not kept"
    if remembered.arguments is not None:
        told = first_difference(remembered.arguments, step.arguments, parameters_of(step))
    raise Blocked(
        f"step {step_id} ({was}) {remembered.touched}, with other arguments: {told}{place}; "
        "restore them, guard the new call with durable.patched(...), or take the answer as it is "
        "(durable accept)",
        difference=difference(
            *at,
            f"{was}{shown(remembered.arguments or b'')}",
            f"{step.name}{shown(step.arguments)}",
            where,
        ),
    )


def difference(
    step_id: str, seq: int, at_us: int, recorded: str, code: str, where: str
) -> dict[str, Any]:
    """Return both sides, for what shows them one below the other."""
    return {
        "step": step_id,
        "event": seq,
        "recorded": recorded,
        "at_us": at_us,
        "code": code,
        "where": where,
    }


def in_brackets(where: str) -> str:
    """Return a place as a message shows it behind what stands there."""
    return f" ({where})" if where else ""


def shown(payload: bytes) -> str:
    """Return a payload as text, cut where it is long."""
    text = payload.decode("utf-8", "replace")
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "..."


def parameters_of(step: Step) -> Sequence[str]:
    """Return the names of the parameters of what a step calls; empty if they are not known."""
    fn = getattr(step.spec, "fn", None) or getattr(getattr(step.spec, "workflow", None), "fn", None)
    try:
        names = list(inspect.signature(fn).parameters) if callable(fn) else []
    except (TypeError, ValueError):
        return []
    # The first parameter of a transaction is the cursor, which is not passed by the caller.
    return names[1:] if getattr(step.spec, "in_transaction", False) else names


def first_difference(recorded: bytes, code: bytes, parameters: Sequence[str] = ()) -> str:
    """Return the first place where two calls differ, with both sides.

    Args:
        recorded: The arguments in the history, as JSON: an array, or an object of ``args`` and
            ``kwargs``.
        code: Those of the code, likewise.
        parameters: The names of the positional parameters.
    """
    try:
        one, other = _named(json.loads(recorded), parameters), _named(json.loads(code), parameters)
    except (ValueError, RecursionError):
        return f"{_side(recorded.decode('utf-8', 'replace'))} in the history"
    try:
        found = next(_differences("", one, other), None)
    except RecursionError:
        found = None
    if found is None:
        return "the same values in another order, or passed in another way"
    place, was, now = found
    if isinstance(was, str) and isinstance(now, str):
        at = next((i for i, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), None)
        at = min(len(was), len(now)) if at is None else at
        if at > BEFORE_CHARACTERS:
            place = f"{place} from character {at + 1}"
            was, now = was[at - BEFORE_CHARACTERS :], now[at - BEFORE_CHARACTERS :]
    return f"argument {place}: {_side(was)} in the history, {_side(now)} in the code"


def _named(call: Any, parameters: Sequence[str]) -> dict[str, Any]:
    args, kwargs = call, {}
    if isinstance(call, dict):
        args, kwargs = call.get("args", []), call.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise ValueError("these are no arguments")  # noqa: TRY004  stored text, not a caller's
    named = {
        parameters[at] if at < len(parameters) else str(at + 1): value
        for at, value in enumerate(args)
    }
    return {**named, **kwargs}


def _differences(place: str, was: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in (*was, *(key for key in now if key not in was)):
            inner = f"{place}.{key}" if place else key
            yield from _differences(inner, was.get(key, _MISSING), now.get(key, _MISSING))
    elif isinstance(was, list) and isinstance(now, list):
        for at in range(max(len(was), len(now))):
            one = was[at] if at < len(was) else _MISSING
            other = now[at] if at < len(now) else _MISSING
            yield from _differences(f"{place}[{at}]", one, other)
    elif type(was) is not type(now) or (was != now and not (was != was and now != now)):  # noqa: PLR0124  NaN
        yield place, was, now


def _side(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SIDE_CHARACTERS_MAX else text[:SIDE_CHARACTERS_MAX] + "..."
