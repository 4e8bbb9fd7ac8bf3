"""What the API does, as plain functions: looks over a `Viewer`, acts over a `Client`.

Nothing here knows HTTP. A look takes what was asked (texts by name) and returns plain data and
views; an act takes a decoded JSON object, checked, and returns what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from durable.client import Client, Job, Run
from durable.errors import UsageError
from durable.filters import FIELDS, STATUSES
from durable.inspection import LIST_LIMIT_MAX, Viewer
from durable.messages import Signal

__all__ = ["ACTS", "BULK", "LOOKS", "act", "act_on_many"]

PAGE = 100
Asked = Mapping[str, str]


# -- looks -----------------------------------------------------------------------------------------


def runs(viewer: Viewer, asked: Asked) -> dict[str, Any]:
    """Return a page of runs, newest first: ``q`` a filter, ``limit``, ``before`` a cursor."""
    limit = _number(asked, "limit", PAGE, LIST_LIMIT_MAX)
    before = _number(asked, "before", 0, 2**62)
    found = viewer.list(asked.get("q", ""), limit=limit, before=before or None)
    return {"items": found, "next": str(found[-1].key) if len(found) == limit else None}


def counts(viewer: Viewer, asked: Asked) -> dict[str, Any]:
    """Return how many runs a filter ``q`` means, by status."""
    found = viewer.count(asked.get("q", ""))
    return {"counts": found, "total": sum(found.values())}


def run(viewer: Viewer, asked: Asked) -> Any:
    """Return everything about the run ``id``."""
    return viewer.get(asked["id"])


def events(viewer: Viewer, asked: Asked) -> dict[str, Any]:
    """Return a page of the history of the run ``id``: ``after`` an event's number, ``limit``."""
    limit = _number(asked, "limit", PAGE, LIST_LIMIT_MAX)
    found = viewer.events(asked["id"], after=_number(asked, "after", 0, 2**62), limit=limit)
    return {"items": found, "next": str(found[-1].seq) if len(found) == limit else None}


def family(viewer: Viewer, asked: Asked) -> Any:
    """Return the run ``id`` with the runs it started; ``root``: from the top of its family."""
    return viewer.family(asked["id"], from_root=asked.get("root") == "true")


def compare(viewer: Viewer, asked: Asked) -> Any:
    """Compare the runs ``id`` and ``with``, step by step."""
    if "with" not in asked:
        raise UsageError("name the other run: ?with=ID")
    return viewer.compare(asked["id"], asked["with"])


def issues(viewer: Viewer, asked: Asked) -> dict[str, Any]:
    """Return groups of like failures: ``state`` open, resolved, muted or all."""
    state = asked.get("state", "open")
    limit = _number(asked, "limit", PAGE, LIST_LIMIT_MAX)
    return {"items": viewer.issues(state=None if state == "all" else state, limit=limit)}


def issue(viewer: Viewer, asked: Asked) -> Any:
    """Return one group of like failures."""
    return viewer.issue(asked["id"])


def jobs(viewer: Viewer, asked: Asked) -> dict[str, Any]:
    """Return acts on many runs, the newest first."""
    return {"items": viewer.jobs(limit=_number(asked, "limit", PAGE, LIST_LIMIT_MAX))}


def job(viewer: Viewer, asked: Asked) -> Any:
    """Return one act on many runs."""
    return viewer.job(_number(asked, "id", 0, 2**62))


def stats(viewer: Viewer, asked: Asked) -> Any:
    """Return figures of the file: ``by`` workflow or activity, ``since`` a duration."""
    by = asked.get("by", "workflow")
    return viewer.stats(
        by="activity" if by == "activity" else "workflow", since=asked.get("since", "24h")
    )


def holds(viewer: Viewer, asked: Asked) -> dict[str, Any]:
    """Return the workflows and queues that are paused as a whole."""
    del asked
    return {"items": viewer.holds()}


def language(viewer: Viewer, asked: Asked) -> dict[str, Any]:
    """Return what a filter can say: statuses, and fields with the kind of their values."""
    del viewer, asked
    fields = {name: {"kind": field.kind, "text": field.text} for name, field in FIELDS.items()}
    return {"statuses": STATUSES, "fields": fields}


LOOKS: Mapping[str, Callable[[Viewer, Asked], Any]] = {
    "runs": runs,
    "counts": counts,
    "runs/{id}": run,
    "runs/{id}/events": events,
    "runs/{id}/family": family,
    "runs/{id}/compare": compare,
    "issues": issues,
    "issues/{id}": issue,
    "jobs": jobs,
    "jobs/{id}": job,
    "stats": stats,
    "holds": holds,
    "language": language,
}
"""What can be looked at, by its path."""


# -- acts ------------------------------------------------------------------------------------------


@attrs.frozen
class Act:
    """Something that can be done to a run.

    Attributes:
        fields: What may be said of it, by name: the type.
        required: What has to be.
    """

    fields: Mapping[str, Any]
    required: frozenset[str] = frozenset()


_STEPS = list[str]
_REASON = {"reason": str}
ACTS: Mapping[str, Act] = {
    "retry": Act({"anyway": bool, "again": _STEPS, **_REASON}),
    "restart": Act(
        {
            "from": str,
            "input": Any,
            "outputs": dict[str, Any],
            "messages": str,
            "children": str,
            "again": _STEPS,
            **_REASON,
        }
    ),
    "cancel": Act(_REASON),
    "terminate": Act(_REASON),
    "pause": Act(_REASON),
    "resume": Act(_REASON),
    "remove": Act({"children": bool, **_REASON}),
    "skip": Act({"step": str, "output": Any, **_REASON}, frozenset({"step", "output"})),
    "fail": Act({"step": str, "message": str, **_REASON}, frozenset({"step", "message"})),
    "accept": Act({"step": str, **_REASON}, frozenset({"step"})),
    "edit": Act(
        {"step": str, "changes": dict[str, Any], **_REASON}, frozenset({"step", "changes"})
    ),
    "signal": Act({"name": str, "value": Any, "message_id": str}, frozenset({"name"})),
}
"""What can be done to a run, by the verb."""

BULK = ("retry", "restart", "cancel", "terminate", "pause", "resume", "remove")
"""The verbs that many runs take at once."""


async def act(client: Client, run_id: str, verb: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Do something to a run; return how it is now, or the one that goes on in its place.

    Raises:
        UsageError: What was said does not go with the verb.
        DurableError: It was refused.
    """
    given = _checked(verb, said)
    handle = await client.get(run_id)
    after = await _do(handle, verb, given)
    if after is None:
        return {"removed": True}
    return {"run": await after.details()}


async def act_on_many(
    client: Client, verb: str, query: str, said: Mapping[str, Any], *, is_dry: bool
) -> dict[str, Any]:
    """Ask for an act on all runs of a filter, or say which they would be.

    Raises:
        UsageError: What was said does not go with the verb, or the filter is none.
    """
    if verb not in BULK:
        raise UsageError(f"many runs take {', '.join(BULK)}, not {verb!r:.60}")
    given = _checked(verb, said)
    if is_dry:
        from durable.filters import narrowed

        meant = narrowed("rm" if verb == "remove" else verb, query)
        found = await client.count(meant)
        first = await client.list(meant, limit=20)
        return {"query": meant, "counts": found, "total": sum(found.values()), "first": first}
    if verb == "restart":
        given["from_"] = given.pop("from", "failed")
    made: Job = await getattr(client, f"{verb}_all")(query, **given)
    return {"job": await made.status()}


async def _do(handle: Run[Any], verb: str, given: dict[str, Any]) -> Run[Any] | None:
    match verb:
        case "retry":
            return await handle.retry(**given)
        case "restart":
            return await handle.restart(given.pop("from", "failed"), **given)
        case "remove":
            await handle.remove(**given)
            return None
        case "edit":
            await handle.edit(given["step"], reason=given.get("reason", ""), **given["changes"])
        case "signal":
            signal = Signal[Any](given["name"])
            await handle.signal(signal, given.get("value"), id=given.get("message_id", ""))
        case _:
            await getattr(handle, verb)(**given)
    return handle


def _checked(verb: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was said of a verb, each of its type.

    Raises:
        UsageError: Something does not go with it, or is missing, or there is no such verb.
    """
    known = ACTS.get(verb)
    if known is None:
        raise UsageError(f"there is no act {verb!r:.60}; there are {', '.join(ACTS)}")
    for name in (*(said.keys() - known.fields.keys()), *(known.required - said.keys())):
        takes = ", ".join(known.fields)
        what = "is missing" if name in known.required else "is nothing it takes"
        raise UsageError(f"{verb}: {name!r:.60} {what}; it takes {takes}")
    try:
        return {name: msgspec.convert(value, known.fields[name]) for name, value in said.items()}
    except msgspec.ValidationError as error:
        raise UsageError(f"{verb}: {error}") from None


def _number(asked: Asked, name: str, otherwise: int, most: int) -> int:
    text = asked.get(name)
    if text is None:
        return otherwise
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or not 0 <= int(text) <= most:
        raise UsageError(f"{name} is a whole number from 0 to {most:,}, not {text!r:.60}")
    return int(text)
