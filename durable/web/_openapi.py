"""The OpenAPI 3.1 document, made of what the looks return and the acts take."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from durable.payloads import encode_for_browsers, schemas_of
from durable.verbs import VERBS, Verb
from durable.web._acts import FILE_ACTS, ISSUE_STATES, Act
from durable.web.api import LOOKS, Look, Text

__all__ = ["document"]

_NUMBERS = frozenset({"limit", "before", "after", "seq", "from"})
_PROBLEM = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 has it.",
    "properties": {
        "type": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "For programs: not_found, wrong_state, ..."},
        "detail": {"type": "string", "description": "For people."},
        "position": {"type": "integer", "description": "Of a filter: where it is wrong."},
    },
    "required": ["type", "status", "code", "detail"],
}
_ANSWER = {"type": "object", "description": "How it is now: run, job, answer, removed or pending."}


@functools.cache
def document() -> bytes:
    """Return the document, as JSON."""
    import durable

    kinds = sorted({look.result for look in LOOKS.values()} - {Text}, key=lambda one: one.__name__)
    schemas, components = schemas_of(kinds, ref_template="#/components/schemas/{name}")
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Any] = {}
    for address, look in LOOKS.items():
        paths[f"/{address}"] = {"get": _get(address, look, by_kind.get(look.result))}
    one: Act | Verb
    for verb, one in VERBS.items():
        paths[f"/runs/{{id}}:{verb}"] = {"post": _post(f"run_{verb}", one, ["id"])}
    for address, one in FILE_ACTS.items():
        paths[f"/{address}"] = {"post": _post(address.replace(":", "_"), one, [])}
    for verb, state in ISSUE_STATES.items():
        one = Act(f"A group of like failures becomes {state}.", {"reason": str})
        paths[f"/issues/{{id}}:{verb}"] = {"post": _post(f"issue_{verb}", one, ["id"])}
    stop = Act("Stop an act on many runs; what was done stays.", {"reason": str})
    paths["/jobs/{id}:stop"] = {"post": _post("job_stop", stop, ["id"])}
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "durable", "version": durable.__version__},
        "servers": [{"url": "./"}],
        "paths": paths,
        "components": {"schemas": {**components, "Problem": _PROBLEM}},
    }
    return encode_for_browsers(whole)


def _get(address: str, look: Look, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    asked = [
        {
            "name": name,
            "in": "query",
            "description": text,
            "schema": {"type": "integer", "minimum": 0} if name in _NUMBERS else {"type": "string"},
        }
        for name, text in look.parameters.items()
    ]
    return {
        "operationId": re.sub(r"\W+", "_", address).strip("_"),
        "summary": _line(look.function.__doc__),
        "parameters": [*_places(re.findall(r"{(\w+)}", address)), *asked],
        "responses": {
            "200": _content("The answer.", "application/json", schema or {}),
            "304": {"description": "Nothing has changed since the ETag in If-None-Match."},
            "default": _problem(),
        },
    }


def _post(name: str, act: Act | Verb, places: list[str]) -> dict[str, Any]:
    schemas, _ = schemas_of(list(act.fields.values()))
    body: dict[str, Any] = {
        "type": "object",
        "properties": dict(zip(act.fields, schemas, strict=True)),
        "additionalProperties": False,
    }
    if act.required:
        body["required"] = sorted(act.required)
    return {
        "operationId": name,
        "summary": act.text,
        "parameters": [
            *_places(places),
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Sent again with the same key, it is done once.",
                "schema": {"type": "string", "maxLength": 200},
            },
        ],
        "requestBody": {
            "required": bool(act.required),
            "content": {"application/json": {"schema": body}},
        },
        "responses": {
            "202": _content("Done, or asked for.", "application/json", _ANSWER),
            "default": _problem(),
        },
    }


def _places(names: list[str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]


def _content(text: str, kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema}}}


def _problem() -> dict[str, Any]:
    ref = {"$ref": "#/components/schemas/Problem"}
    return _content("It was refused.", "application/problem+json", ref)


def _line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""
