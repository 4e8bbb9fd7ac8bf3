"""The ASGI application: addresses, ETags, errors as RFC 9457 has them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from durable import errors
from durable.client import Client
from durable.inspection import Viewer, view
from durable.web import api
from durable.web._guard import BODY_BYTES_MAX, HEADERS, Guard, Refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from durable.web._guard import Auth

__all__ = ["app", "guarded_app"]

T = TypeVar("T")
# The first class that fits counts; `code` is for programs.
_PROBLEMS: tuple[tuple[type[BaseException], int, str], ...] = (
    (errors.FilterError, 400, "wrong_filter"),
    (errors.RunNotFound, 404, "not_found"),
    (errors.TokenUnknown, 404, "not_found"),
    (errors.WrongState, 409, "wrong_state"),
    (errors.RunClosed, 409, "run_closed"),
    (errors.PayloadTooLarge, 413, "too_large"),
    (errors.UsageError, 400, "wrong_use"),
    (errors.StoreBusy, 503, "busy"),
    (errors.StoreError, 503, "file_trouble"),
    (errors.DurableError, 500, "error"),
)


def app(client: Client, *, auth: Auth | None = None, read_only: bool = False) -> ASGIApp:
    """Return the web interface of a file, to be mounted into a service.

    All its addresses are relative, so it may be mounted under any prefix. It opens no streams, and
    starts nothing.

    Args:
        client: An `Engine` or a `Client`, open while requests come in.
        auth: Called with the ASGI scope of each request, async or plain: what is false is refused
            with 401. Left out, whoever reaches the service may do everything.
        read_only: Whether acts are refused.
    """
    return guarded_app(client, Guard(auth=auth), read_only=read_only)


def guarded_app(
    client: Client, guard: Guard, *, read_only: bool = False, opens: bool = False
) -> ASGIApp:
    """Return the web interface with a guard of its own.

    Args:
        client: The client.
        guard: Judges each request.
        read_only: Whether acts are refused.
        opens: Whether the client is opened with the application.
    """
    site = _Site(client, read_only=read_only)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with client:
            yield
        site.close()

    made = Starlette(routes=site.routes(), lifespan=lifespan if opens else None)
    return _Guarded(made, guard)


class _Guarded:
    """Asks the guard, and puts its headers on every answer."""

    def __init__(self, inner: ASGIApp, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._inner(scope, receive, send)
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
            await self._guard.judge(scope)
        except Refused as refused:
            answer = _problem(refused.status, refused.code, refused.detail)
            answer.headers.update(refused.headers)
            await answer(scope, receive, send_with_headers)
            return
        await self._inner(scope, receive, send_with_headers)


class _Site:
    def __init__(self, client: Client, *, read_only: bool) -> None:
        self._client = client
        self._read_only = read_only
        # Of this process: after a restart the file's version begins anew.
        self._boot = os.urandom(6).hex()
        self._one_look = asyncio.Lock()
        self._viewer: Viewer | None = None
        self._opened = contextlib.ExitStack()

    def routes(self) -> list[Route]:
        looks = [
            Route(f"/api/v1/{path.replace('{id}', '{id:path}')}", self._look(look), methods=["GET"])
            for path, look in sorted(api.LOOKS.items(), key=lambda one: -one[0].count("/"))
        ]
        acts = [
            Route("/api/v1/runs:bulk", self._act_on_many, methods=["POST"]),
            Route("/api/v1/runs/{id:path}:{verb}", self._act, methods=["POST"]),
            Route("/api/v1/issues/{id}:{state}", self._set_issue, methods=["POST"]),
        ]
        return [*acts, *looks, Route("/{rest:path}", _nothing, methods=["GET", "POST"])]

    def _look(self, look: Callable[[Viewer, Mapping[str, str]], Any]) -> Any:
        async def endpoint(request: Request) -> Response:
            asked = {**dict(request.query_params), **request.path_params}
            seen = request.headers.get("if-none-match", "")

            def answer(viewer: Viewer) -> tuple[str, bytes | None]:
                tag = f'"{self._boot}-{viewer.version()}-{_digest(str(request.url.query))}"'
                if seen == tag:
                    return tag, None
                return tag, msgspec.json.encode(look(viewer, asked))

            try:
                tag, body = await self._looked(answer)
            except Exception as error:  # noqa: BLE001  each has its problem
                return _problem_of(error)
            headers = {"etag": tag, "cache-control": "private, no-cache"}
            if body is None:
                return Response(status_code=304, headers=headers)
            return Response(body, media_type="application/json", headers=headers)

        return endpoint

    async def _looked(self, look: Callable[[Viewer], T]) -> T:
        """Look on a thread: whoever mounted us goes on meanwhile."""

        def inside() -> T:
            # One connection for good: whether somebody has committed is asked of it.
            if self._viewer is None:
                self._viewer = self._opened.enter_context(view(self._client.path))
            try:
                return look(self._viewer)
            except errors.StoreError:
                self.close()
                raise

        async with self._one_look:
            return await to_thread.run_sync(inside)

    def close(self) -> None:
        """Close the connection; the next look opens another."""
        self._viewer = None
        self._opened.close()

    async def _act(self, request: Request) -> Response:
        said = await self._said(request)
        if isinstance(said, Response):
            return said
        try:
            found = await api.act(
                self._client, request.path_params["id"], request.path_params["verb"], said
            )
        except Exception as error:  # noqa: BLE001  each has its problem
            return _problem_of(error)
        return Response(msgspec.json.encode(found), 202, media_type="application/json")

    async def _act_on_many(self, request: Request) -> Response:
        said = await self._said(request)
        if isinstance(said, Response):
            return said
        try:
            verb, query = said.get("verb"), said.get("q")
            given = said.get("args", {})
            if not (isinstance(verb, str) and isinstance(query, str) and isinstance(given, dict)):
                raise errors.UsageError('say {"verb": TEXT, "q": FILTER, "args": {...}}')
            is_dry = said.get("dry_run") is True
            found = await api.act_on_many(self._client, verb, query, given, is_dry=is_dry)
        except Exception as error:  # noqa: BLE001  each has its problem
            return _problem_of(error)
        return Response(msgspec.json.encode(found), 202, media_type="application/json")

    async def _set_issue(self, request: Request) -> Response:
        said = await self._said(request)
        if isinstance(said, Response):
            return said
        try:
            state = {"resolve": "resolved", "mute": "muted", "reopen": "open"}.get(
                request.path_params["state"], request.path_params["state"]
            )
            reason = str(said.get("reason", ""))
            name = request.path_params["id"]
            await self._client.set_issue(name, state, reason=reason)
            found = await self._looked(lambda viewer: viewer.issue(name))
        except Exception as error:  # noqa: BLE001  each has its problem
            return _problem_of(error)
        return Response(msgspec.json.encode(found), 202, media_type="application/json")

    async def _said(self, request: Request) -> dict[str, Any] | Response:
        """Return the object that a request carries, or why it is refused."""
        if self._read_only:
            return _problem(403, "read_only", "this interface only looks")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                return _problem(413, "too_large", f"a body has at most {BODY_BYTES_MAX:,} bytes")
        try:
            return msgspec.json.decode(bytes(body) or b"{}", type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError) as error:
            return _problem(400, "not_json", f"the body is no JSON object: {error}")


async def _nothing(request: Request) -> Response:
    return _problem(404, "not_found", f"there is nothing at {request.url.path!r:.100}")


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
    return Response(msgspec.json.encode(body), status, media_type="application/problem+json")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
