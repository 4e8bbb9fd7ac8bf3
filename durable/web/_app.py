"""The ASGI application: addresses, ETags, errors as RFC 9457 has them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

import msgspec
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from durable import errors
from durable._clock import steady_s
from durable.client import Client
from durable.engine import Engine
from durable.inspection import Viewer, view
from durable.payloads import decode_document, encode_for_browsers, without_proofs
from durable.web import _acts
from durable.web._assets import assets
from durable.web._guard import BODY_BYTES_MAX, HEADERS, Guard, Refused
from durable.web._openapi import document
from durable.web.api import LOOKS, Asked, Look, Text

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from durable.web._guard import Auth

__all__ = ["app", "guarded_app"]

T = TypeVar("T")
# Answers say in how long something happens, and filters how long ago: older ones are made anew,
# although nobody has committed.
FRESH_S = 10
# An act sent again under its key is answered again; the newest so many keys are known.
KEYS_MAX = 1_000
KEPT_BYTES_MAX = 16 * 1024 * 1024
KEY_CHARACTERS_MAX = 200
# What an act waits for, when its run is in the hands of a worker.
ACT_WAIT_S = 30
# Of looks that may take seconds so many go on at once, each for so long.
SLOW_LOOKS_MAX = 2
LOOK_WAIT_S = 60
# The first class that fits counts; `code` is for programs.
_PROBLEMS: tuple[tuple[type[BaseException], int, str], ...] = (
    (errors.FilterError, 400, "wrong_filter"),
    (errors.RunNotFound, 404, "not_found"),
    (errors.TokenUnknown, 404, "not_found"),
    (errors.WrongState, 409, "wrong_state"),
    (errors.RunClosed, 409, "run_closed"),
    (errors.IdConflict, 409, "id_conflict"),
    (errors.PayloadTooLarge, 413, "too_large"),
    (errors.PayloadError, 400, "wrong_payload"),
    (errors.UsageError, 400, "wrong_use"),
    (errors.WorkflowError, 409, "refused"),
    (errors.StoreBusy, 503, "busy"),
    (errors.StoreError, 503, "file_trouble"),
    (errors.DurableError, 500, "error"),
    (TypeError, 400, "wrong_use"),
    (TimeoutError, 504, "no_answer"),
)


def app(
    client: Client,
    *,
    auth: Auth | None = None,
    read_only: bool = False,
    engine: Engine | None = None,
) -> ASGIApp:
    """Return the web interface of a file, to be mounted into a service.

    All its addresses are relative, so it may be mounted under any prefix. It opens no streams, and
    starts nothing.

    Args:
        client: An `Engine` or a `Client`, open while requests come in.
        auth: Called with the ASGI scope of each request, async or plain: what is false is refused
            with 401; a text is who it is, for the audit. Left out, whoever reaches the service may
            do everything.
        read_only: Whether acts are refused.
        engine: Whose code is here, for typed forms and for looking where code waits; an engine
            given as ``client`` is its own.
    """
    return guarded_app(client, Guard(auth=auth), read_only=read_only, engine=engine)


def guarded_app(
    client: Client, guard: Guard, *, read_only: bool = False, engine: Engine | None = None
) -> ASGIApp:
    """Return the web interface with a guard of its own."""
    code = engine if engine is not None or not isinstance(client, Engine) else client
    return _Guarded(_Site(client, code, read_only=read_only), guard)


class _Guarded:
    """Asks the guard, and puts its headers on every answer."""

    def __init__(self, site: _Site, guard: Guard) -> None:
        self._site = site
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                has = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.encode() not in has
                    ),
                ]
            await send(message)

        try:
            who = await self._guard.judge(scope)
        except Refused as refused:
            answer = _problem(refused.status, refused.code, refused.detail)
            answer.headers.update(refused.headers)
        else:
            answer = await self._site.answer(Request(scope, receive), who)
        await answer(scope, receive, send_with_headers)

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        self._site.close()
        await send({"type": "lifespan.shutdown.complete"})


class _Doing:
    """An act with a key under way, and how many wait for its answer."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


class _Site:
    def __init__(self, client: Client, engine: Engine | None, *, read_only: bool) -> None:
        self._client = client
        self._engine = engine
        self._read_only = read_only
        self._boot = ""
        self._in_thread = threading.Lock()
        self._one_look = asyncio.Lock()
        self._slow_looks = asyncio.Semaphore(SLOW_LOOKS_MAX)
        self._viewer: Viewer | None = None
        self._opened = contextlib.ExitStack()
        self._doing: dict[tuple[str, str, str], _Doing] = {}
        self._done: OrderedDict[tuple[str, str, str], tuple[str, Response]] = OrderedDict()
        self._kept_bytes = 0

    async def answer(self, request: Request, who: str) -> Response:
        """Answer a request that has been judged."""
        try:
            places = _places(request.scope)
            if places[:2] == ["api", "v1"]:
                if request.method == "POST":
                    return await self._act(request, places[2:], who)
                return await self._look(request, places[2:])
            return _asset(request, places)
        except Refused as refused:
            return _problem(refused.status, refused.code, refused.detail)
        except ClientDisconnect:  # In the middle of its body: nobody is there to be answered.
            return _problem(400, "cut_off", "the body was cut off")
        except Exception as error:  # noqa: BLE001  each has its problem
            return _problem_of(error)

    # -- looks -----------------------------------------------------------------------------------

    async def _look(self, request: Request, places: list[str]) -> Response:
        if places == ["openapi.json"]:
            return Response(document(), media_type="application/json")
        look, found = _find_look(places)
        if look.needs_code and self._engine is None:
            raise Refused(
                409, "no_code", "this needs the code of the workflows: durable ui --app APP:ENGINE"
            )
        values = {**dict(request.query_params), **found}
        if look.is_slow:
            asked = partial(Asked, values=values, engine=self._engine, is_read_only=self._read_only)
            body = await self._looked_aside(
                lambda viewer: self._told(_encoded(look.function(asked(viewer))))
            )
            return Response(body, media_type="application/json")
        seen = request.headers.get("if-none-match", "")
        of = _digest(f"{'/'.join(places)}?{request.url.query}")

        def inside(viewer: Viewer) -> tuple[str, bytes | None]:
            turn = int(steady_s() / FRESH_S)
            tag = f'"{self._boot}-{viewer.version()}-{of}-{turn}"'
            if seen == tag:
                return tag, None
            asked = Asked(viewer, values, self._engine, self._read_only)
            return tag, self._told(_encoded(look.function(asked)))

        tag, body_or_none = await self._looked(inside)
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        if body_or_none is None:
            return Response(status_code=304, headers=headers)
        return Response(body_or_none, media_type="application/json", headers=headers)

    def _told(self, body: bytes) -> bytes:
        """Return what is told: to who may only look, nothing that opens anything."""
        return without_proofs(body) if self._read_only else body

    async def _looked(self, look: Callable[[Viewer], T]) -> T:
        """Look on a thread: whoever mounted us goes on meanwhile."""

        def inside() -> T:
            # A request may be given up while its thread looks: the next one waits here for it.
            with self._in_thread:
                # One connection for good: whether somebody has committed is asked of it.
                if self._viewer is None:
                    self._viewer = self._opened.enter_context(view(self._client.path))
                    # What a connection calls the file's version means nothing to the next one.
                    self._boot = os.urandom(6).hex()
                try:
                    return look(self._viewer)
                except errors.StoreError:
                    self._close()
                    raise

        async with self._one_look:
            return await to_thread.run_sync(inside)

    async def _looked_aside(self, look: Callable[[Viewer], T]) -> T:
        """Look for long: on a connection of its own, so that nobody else waits.

        It has no ETag: what a connection calls the file's version means nothing to another one.
        """

        def inside() -> T:
            with view(self._client.path) as viewer:
                return look(viewer)

        async with asyncio.timeout(LOOK_WAIT_S), self._slow_looks:
            return await to_thread.run_sync(inside, abandon_on_cancel=True)

    def close(self) -> None:
        """Close the connection; the next look opens another."""
        with self._in_thread:
            self._close()

    def _close(self) -> None:
        self._viewer = None
        self._opened.close()

    # -- acts ------------------------------------------------------------------------------------

    async def _act(self, request: Request, places: list[str], who: str) -> Response:
        if self._read_only:
            raise Refused(403, "read_only", "this interface only looks")
        said = await _said(request)
        key = request.headers.get("idempotency-key", "")
        if len(key) > KEY_CHARACTERS_MAX:
            raise Refused(400, "wrong_use", f"a key has at most {KEY_CHARACTERS_MAX} characters")
        client = self._client.acting_as(who) if who else self._client
        if not key:
            return await self._performed(client, places, said)
        mark, said_now = (who, "/".join(places), key), _digest(repr(said))
        doing = self._doing.setdefault(mark, _Doing())
        doing.waiting += 1
        try:
            async with doing.lock:
                if mark not in self._done:
                    answer = await self._performed(client, places, said)
                    self._done[mark] = (said_now, answer)
                    self._kept_bytes += len(answer.body)
                    while len(self._done) > 1 and (
                        len(self._done) > KEYS_MAX or self._kept_bytes > KEPT_BYTES_MAX
                    ):
                        _, (_, oldest) = self._done.popitem(last=False)
                        self._kept_bytes -= len(oldest.body)
        finally:
            doing.waiting -= 1
            if not doing.waiting:
                self._doing.pop(mark, None)
        said_then, answered = self._done[mark]
        if said_then != said_now:
            raise Refused(409, "key_in_use", "something else was said with this key")
        return answered

    async def _performed(
        self, client: Client, places: list[str], said: Mapping[str, Any]
    ) -> Response:
        async with asyncio.timeout(ACT_WAIT_S):
            found = await self._perform(client, places, said)
        return Response(encode_for_browsers(found), 202, media_type="application/json")

    async def _perform(self, client: Client, places: list[str], said: Mapping[str, Any]) -> object:
        head, colon, verb = places[-1].rpartition(":") if places else ("", "", "")
        match places:
            case [address] if address in _acts.FILE_ACTS:
                return await _acts.act_on_file(client, self._engine, address, said)
            case ["runs", _] if colon:
                return await _acts.act(client, unquote(head), verb, said)
            case ["issues", _] if verb in _acts.ISSUE_STATES:
                state: Any = _acts.ISSUE_STATES[verb]
                name = unquote(head)
                await client.set_issue(name, state, reason=str(said.get("reason", "")))
                return await self._looked(lambda viewer: viewer.issue(name))
            case ["jobs", _] if verb == "stop" and head.isdecimal() and head.isascii():
                job = await client.job(int(head[:18]))
                await job.stop(str(said.get("reason", "")))
                return {"job": await job.status()}
            case _:
                raise Refused(404, "not_found", f"there is no act at {'/'.join(places)!r:.100}")


def _places(scope: Scope) -> list[str]:
    """Return the parts of an address below the mount; those of acts are still quoted.

    An id may hold anything, a slash too: what was quoted is taken apart before it is unquoted.
    """
    raw = scope.get("raw_path")
    text = quote(scope["path"]) if not raw else raw.decode("latin-1")
    parts = text.partition("?")[0].split("/")[1:]
    root = scope.get("root_path", "").rstrip("/")
    if not scope["path"].startswith(root):  # A proxy has taken its prefix away already.
        root = root.removeprefix(scope.get("app_root_path", ""))
    taken, above = 0, ""
    while len(above) < len(root) and taken < len(parts):
        above += f"/{unquote(parts[taken])}"
        taken += 1
    places = parts[taken:]
    if scope["method"] == "POST":
        return places
    return [unquote(one) for one in places]


def _find_look(places: list[str]) -> tuple[Look, dict[str, str]]:
    for address, look in LOOKS.items():
        parts = address.split("/")
        if len(parts) == len(places) and all(
            part in (place, "{id}") for part, place in zip(parts, places, strict=True)
        ):
            return look, {"id": places[1]} if "{id}" in parts else {}
    raise Refused(404, "not_found", f"there is nothing at {'/'.join(places)!r:.100}")


def _asset(request: Request, places: list[str]) -> Response:
    if request.method == "POST":
        raise Refused(405, "method_not_allowed", "acts are under api/v1/")
    name = "/".join(places)
    if name in {"", "index.html"}:
        # Mounted, and asked for without the slash: relative addresses need it.
        if not places and not request.scope["path"].endswith("/"):
            last = request.scope["path"].rstrip("/").rpartition("/")[2]
            return Response(status_code=307, headers={"location": f"{quote(last)}/"})
        name = "index.html"
    found = assets().get(name.removeprefix("assets/") if name.startswith("assets/") else name)
    if found is None or (name != "index.html" and not name.startswith("assets/")):
        raise Refused(404, "not_found", f"there is nothing at {name!r:.100}")
    headers = {"etag": found.tag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.data, media_type=found.kind, headers=headers)


async def _said(request: Request) -> dict[str, Any]:
    """Return the object that a request carries."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Refused(413, "too_large", f"a body has at most {BODY_BYTES_MAX:,} bytes")
    try:
        return decode_document(bytes(body) or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(400, "not_json", f"the body is no JSON object: {error}") from None


def _encoded(answer: object) -> bytes:
    return answer.data if isinstance(answer, Text) else encode_for_browsers(answer)


def _problem_of(error: BaseException) -> Response:
    for kind, status, code in _PROBLEMS:
        if isinstance(error, kind):
            more = {"position": error.position} if isinstance(error, errors.FilterError) else {}
            text = error.message if isinstance(error, errors.FilterError) else str(error)
            return _problem(status, code, text, **more)
    raise error


def _problem(status: int, code: str, detail: str, **more: object) -> Response:
    """Return an error as RFC 9457 has it."""
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail, **more}
    return Response(encode_for_browsers(body), status, media_type="application/problem+json")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
