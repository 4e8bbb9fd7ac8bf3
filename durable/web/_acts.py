"""What can be done: acts over a `Client`, of checked words; nothing here knows HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs
import msgspec

from durable.client._repair import PolicyChanges
from durable.errors import UsageError
from durable.filters import narrowed
from durable.messages import Query, Signal, Update
from durable.payloads import encode_document
from durable.verbs import BULK, VERBS, Verb

if TYPE_CHECKING:
    from durable.client import Client, Job, Run
    from durable.engine import Engine

__all__ = ["FILE_ACTS", "Act", "act", "act_on_file", "act_on_many"]

# An answer that takes longer is asked for again with the same message id.
ANSWER_WAIT_S = 10
# Of a filter so many runs are shown before anything is done.
FIRST_SHOWN = 20


@attrs.frozen
class Act:
    """Something that can be done.

    Attributes:
        text: What it does, in one line.
        fields: What may be said of it, by name: the type.
        required: What has to be.
    """

    text: str
    fields: Mapping[str, Any]
    required: frozenset[str] = frozenset()


_REASON = {"reason": str}
FILE_ACTS: Mapping[str, Act] = {
    "runs:start": Act(
        "Start a run; a worker does the work.",
        {
            "workflow": str,
            "args": list[Any],
            "kwargs": dict[str, Any],
            "id": str,
            "start_delay": str,
            "on_closed": str,
            "queue": str,
            "tags": list[str],
            "attributes": dict[str, Any],
        },
        frozenset({"workflow"}),
    ),
    "promises:answer": Act(
        "Answer what a run waits for, by its token.",
        {"token": str, "value": Any, "reject": str},
        frozenset({"token"}),
    ),
    "holds:pause": Act(
        "Pause a workflow or a queue as a whole.",
        {"kind": str, "name": str, **_REASON},
        frozenset({"kind", "name"}),
    ),
    "holds:resume": Act(
        "Let a workflow or a queue go on that was paused as a whole.",
        {"kind": str, "name": str, **_REASON},
        frozenset({"kind", "name"}),
    ),
    "runs:bulk": Act(
        "Do something to every run of a filter, or say which they would be.",
        {"verb": str, "q": str, "args": dict[str, Any], "dry_run": bool},
        frozenset({"verb", "q"}),
    ),
}
"""What can be done besides, by the address."""

ISSUE_STATES = {"resolve": "resolved", "mute": "muted", "reopen": "open"}
"""What can be done to a group of like failures, and what it becomes."""


async def act(client: Client, run_id: str, verb: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Do something to a run; return how it is now, or the one that goes on in its place.

    Raises:
        UsageError: What was said does not go with the verb.
        DurableError: It was refused.
    """
    known = VERBS.get(verb)
    if known is None:
        raise UsageError(f"there is no act {verb!r:.60}; there are {', '.join(VERBS)}")
    given = _checked(verb, known, said)
    handle = await client.get(run_id)
    match verb:
        case "remove":
            return {"removed": await handle.remove(**given)}
        case "query":
            answer = await handle.query(Query[Any](given["name"]), *given.get("args", []))
            return {"answer": answer}
        case "update":
            await client._note(handle, "update", name=given["name"])
            return await _update(handle, given)
        case "signal":
            signal = Signal[Any](given["name"])
            await handle.signal(signal, given.get("value"), id=given.get("message_id", ""))
            await client._note(handle, "signal", name=given["name"])
            return {"run": client._viewer.header(handle.name)}
        case _:
            after = await _do(handle, verb, given)
            return {"run": client._viewer.header(after.name)}


async def act_on_many(client: Client, said: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for an act on all runs of a filter, or say which they would be.

    Raises:
        UsageError: What was said does not go with the verb, or the filter is none.
    """
    whole = _checked("bulk", FILE_ACTS["runs:bulk"], said)
    verb, query = whole["verb"], whole["q"]
    if verb not in BULK:
        raise UsageError(f"many runs take {', '.join(BULK)}, not {verb!r:.60}")
    given = _checked(verb, VERBS[verb], whole.get("args", {}))
    if whole.get("dry_run"):
        meant = narrowed(verb, query)
        found = await client.count(meant)
        first = await client.list(meant, limit=FIRST_SHOWN)
        return {"query": meant, "counts": found, "total": sum(found.values()), "first": first}
    given.pop("message_id", None)
    made: Job
    match verb:
        case "restart":
            made = await client.restart_all(query, given.pop("from", "failed"), **given)
        case "edit":
            changes = _changes(given.pop("changes"))
            made = await client.edit_all(query, given.pop("step"), **given, **changes)
        case "signal":
            made = await client.signal_all(query, Signal[Any](given["name"]), given.get("value"))
        case _:
            made = await getattr(client, f"{verb}_all")(query, **given)
    return {"job": await made.status()}


async def act_on_file(
    client: Client, engine: Engine | None, address: str, said: Mapping[str, Any]
) -> dict[str, Any]:
    """Start a run, answer a token, pause or resume a workflow or a queue.

    Raises:
        UsageError: What was said does not go with it.
        DurableError: It was refused.
    """
    if address == "runs:bulk":
        return await act_on_many(client, said)
    given = _checked(address.rpartition(":")[2], FILE_ACTS[address], said)
    match address:
        case "runs:start":
            started = await _start(client, engine, given)
            await client._note(started, "start")
            return {"run": client._viewer.header(started.name)}
        case "promises:answer":
            if ("value" in given) == ("reject" in given):
                raise UsageError("one of value and reject is the answer")
            if "reject" in given:
                found = await client.reject(given["token"], given["reject"])
            else:
                found = await client.resolve(given["token"], given["value"])
            await client._note(found, "answer", rejects="reject" in given)
            return {"run": client._viewer.header(found.name)}
        case _:
            kind, verb = given["kind"], address.rpartition(":")[2]
            if kind not in {"workflow", "queue"}:
                raise UsageError(f"kind is workflow or queue, not {kind!r:.60}")
            change = getattr(client, f"{verb}_{kind}")
            job: Job = await change(given["name"], reason=given.get("reason", ""))
            return {"job": await job.status()}


async def _do(handle: Run[Any], verb: str, given: dict[str, Any]) -> Run[Any]:
    match verb:
        case "retry":
            return await handle.retry(**given)
        case "restart":
            return await handle.restart(given.pop("from", "failed"), **given)
        case "edit":
            changes = _changes(given["changes"])
            await handle.edit(given["step"], reason=given.get("reason", ""), **changes)
        case _:
            await getattr(handle, verb)(**given)
    return handle


def _changes(said: Mapping[str, Any]) -> PolicyChanges:
    """Return what of a policy is to change.

    Raises:
        UsageError: It is nothing of a policy.
    """
    known = PolicyChanges.__annotations__
    for name in said.keys() - known.keys():
        raise UsageError(f"{name!r:.60} is nothing of a policy; there are {', '.join(known)}")
    return cast("PolicyChanges", dict(said))


async def _update(handle: Run[Any], given: dict[str, Any]) -> dict[str, Any]:
    update = Update[Any, Any](given["name"])
    key = given.get("message_id", "")
    try:
        async with asyncio.timeout(ANSWER_WAIT_S):
            return {"answer": await handle.update(update, given.get("value"), id=key)}
    except TimeoutError:
        return {"pending": True}


async def _start(client: Client, engine: Engine | None, given: dict[str, Any]) -> Run[Any]:
    from durable.engine import Engine as EngineClass

    name, args, kwargs = given.pop("workflow"), given.pop("args", []), given.pop("kwargs", {})
    known = None if engine is None else engine._resolve(name)
    if known is None or isinstance(known, str):
        if isinstance(client, EngineClass):  # It would take the run, and has not the code.
            raise UsageError(str(known))
        known = _unknown(name)
    options = {name: value for name, value in given.items() if value not in ("", [], {})}
    whole = encode_document({"args": args, "kwargs": kwargs} if kwargs else args)
    values, named = known.codec.decode(whole)
    return await client.start(known.options(**options), *values, **named)


def _unknown(name: str) -> Any:
    """Return what stands for a workflow whose code is not here: a worker knows it."""
    from durable.definitions import workflow

    @workflow(name=name)
    async def elsewhere(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{name}{args}{kwargs} runs where its code is")

    return elsewhere


def _checked(verb: str, known: Act | Verb, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was said of a verb, each of its type.

    Raises:
        UsageError: Something does not go with it, or is missing.
    """
    for name in (*(said.keys() - known.fields.keys()), *(known.required - said.keys())):
        takes = ", ".join(known.fields)
        what = "is missing" if name in known.required else "is nothing it takes"
        raise UsageError(f"{verb}: {name!r:.60} {what}; it takes {takes}")
    try:
        return {name: msgspec.convert(value, known.fields[name]) for name, value in said.items()}
    except msgspec.ValidationError as error:
        raise UsageError(f"{verb}: {error}") from None
