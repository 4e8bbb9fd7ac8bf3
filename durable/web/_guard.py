"""Who may ask: each request is judged before anything of it is done.

Standing alone: a token, by a one-time address into a cookie of this port; the exact Host on every
request; for acts the Origin too, and JSON alone. Mounted: the service's own ``auth``. Nothing is
ever allowed to another origin, and nothing may be framed.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import attrs

__all__ = ["BODY_BYTES_MAX", "HEADERS", "Guard", "Refused"]

# Larger bodies are refused unread.
BODY_BYTES_MAX = 1_000_000
URL_BYTES_MAX = 16_000
WHO_CHARACTERS_MAX = 200
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""On every answer, whatever it is."""

Scope = Mapping[str, Any]
Auth = Callable[[Scope], "object | Awaitable[object]"]


@attrs.frozen
class Refused(Exception):
    """A request is refused."""

    status: int
    code: str
    detail: str
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


@attrs.frozen(kw_only=True)
class Guard:
    """What a request has to have.

    Attributes:
        token: Standing alone: what the cookie has to hold; None where ``auth`` decides.
        hosts: The Host headers that are right; None where the service checks them.
        auth: Called with the ASGI scope; what is false is refused.
        cookie: The cookie's name: of this port, so that two do not disturb each other.
    """

    token: str | None = None
    hosts: frozenset[str] | None = None
    auth: Auth | None = None
    cookie: str = "durable"

    async def judge(self, scope: Scope) -> str:
        """Let a request through, or not; return who asks, if ``auth`` said so.

        Raises:
            Refused: It may not ask this; or it is sent on, with the cookie.
        """
        headers = _headers(scope)
        if len(scope.get("raw_path") or b"") + len(_query(scope)) > URL_BYTES_MAX:
            raise Refused(414, "url_too_long", f"an address has at most {URL_BYTES_MAX:,} bytes")
        self._judge_host(headers)
        who = await self._judge_person(scope, headers)
        match scope["method"]:
            case "GET" | "HEAD":
                return who
            case "POST":
                _judge_act(scope, headers)
                return who
            case method:
                raise Refused(
                    405, "method_not_allowed", f"{method} is not offered", {"allow": "GET, POST"}
                )

    def _judge_host(self, headers: Mapping[str, list[str]]) -> None:
        given = headers.get("host", [])
        if len(given) != 1 or (self.hosts is not None and given[0].lower() not in self.hosts):
            raise Refused(403, "wrong_host", "this address is served under another name")

    async def _judge_person(self, scope: Scope, headers: Mapping[str, list[str]]) -> str:
        who = ""
        if self.auth is not None:
            found = self.auth(scope)
            if isinstance(found, Awaitable):
                found = await found
            if not found:
                raise Refused(401, "not_authorized", "you are not known here")
            if isinstance(found, str):
                who = found[:WHO_CHARACTERS_MAX]
        if self.token is None:
            return who
        for line in headers.get("authorization", []):
            scheme, _, given = line.partition(" ")
            if scheme.lower() == "bearer" and _is_same(given, self.token):
                return who
        if any(_is_same(one, self.token) for one in _cookies(headers, self.cookie)):
            return who
        self._take_token(scope)
        raise Refused(
            401, "not_authorized", "open the address that durable ui has written, with its token"
        )

    def _take_token(self, scope: Scope) -> None:
        """Put a right token of the address into the cookie, and send on without it."""
        pairs = parse_qsl(_query(scope).decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in pairs if name == "token"]
        if scope["method"] != "GET" or len(given) != 1 or not _is_same(given[0], self.token or ""):
            return
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        path = scope.get("root_path", "") or "/"
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        kept = f"{self.cookie}={self.token}; Path={path}; HttpOnly; SameSite=Strict{secure}"
        target = quote(scope["path"].rpartition("/")[2]) or "./"
        raise Refused(
            303, "see_other", "", {"location": f"{target}?{rest}" if rest else target,
                                   "set-cookie": kept}
        )  # fmt: skip


def _judge_act(scope: Scope, headers: Mapping[str, list[str]]) -> None:
    """Judge a request that changes something: of this origin, and JSON."""
    host = headers["host"][0]
    origins = headers.get("origin", [])
    right = (
        {f"http://{host}", f"https://{host}"}
        if scope.get("scheme") != "https"
        else {f"https://{host}"}
    )
    if len(origins) > 1 or (origins and origins[0].lower() not in {one.lower() for one in right}):
        raise Refused(403, "wrong_origin", "another page may not ask for this")
    site = headers.get("sec-fetch-site", [])
    if site and site not in (["same-origin"], ["none"]):
        raise Refused(403, "wrong_origin", "another page may not ask for this")
    kind = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "not_json", "say it as application/json")
    length = headers.get("content-length", ["0"])[0]
    if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
        raise Refused(413, "too_large", f"a body has at most {BODY_BYTES_MAX:,} bytes")


def _headers(scope: Scope) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _query(scope: Scope) -> bytes:
    return scope.get("query_string") or b""


def _cookies(headers: Mapping[str, list[str]], name: str) -> list[str]:
    """Return every cookie of a name; what else is there, and how odd, is others' affair."""
    parts = [part for line in headers.get("cookie", []) for part in line.split(";")]
    pairs = [part.strip().partition("=") for part in parts]
    return [value for key, _, value in pairs if key == name]


def _is_same(given: str, wanted: str) -> bool:
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())
