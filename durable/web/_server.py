"""The web interface standing alone: one process that looks at one file, on loopback."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from durable.client import Client
from durable.errors import UsageError
from durable.web._app import guarded_app
from durable.web._guard import Guard

if TYPE_CHECKING:
    from durable.engine import Engine

__all__ = ["TOKEN_CHARACTERS_MIN", "Served", "serve"]

# A token that people choose; ours has 43 characters.
TOKEN_CHARACTERS_MIN = 16
# What goes through an address and a cookie as it is.
_TOKEN = re.compile(rf"[A-Za-z0-9._~-]{{{TOKEN_CHARACTERS_MIN},}}")
# Requests are short; whoever keeps a connection open does not keep the process.
SHUTDOWN_S = 1


@attrs.frozen
class Served:
    """Where it is served.

    Attributes:
        address: With the token: opened once, it lets a browser in.
        port: The port, also where 0 was asked for.
    """

    address: str
    port: int


async def serve(
    client: Client,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    read_only: bool = False,
    engine: Engine | None = None,
    ready: Callable[[Served], object] = lambda _: None,
) -> None:
    """Serve the pages of a file until SIGINT or SIGTERM.

    Args:
        client: A client, opened by this.
        host: The address to listen at; another one than of loopback needs a token.
        port: The port; 0: any that is free.
        token: What a browser has to know, at least 16 characters; a random one if left out.
        read_only: Whether acts are refused.
        engine: Whose code is here; see `app`.
        ready: Called once requests are answered.

    Raises:
        UsageError: The address is not one of loopback and no token is given, or it cannot be used.
    """
    import uvicorn

    class _Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Who is cut off after its second knows why; a traceback would tell nobody more.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)

    if not host:
        raise UsageError("say where to listen: 127.0.0.1, for example")
    if token is None and not _is_loopback(host):
        raise UsageError(
            f"{host} is no address of loopback, so others may reach it; give a token of your own, "
            "and put TLS before it"
        )
    if token is not None and not _TOKEN.fullmatch(token):
        raise UsageError(
            f"a token has at least {TOKEN_CHARACTERS_MIN} characters: letters of ASCII, digits and "
            "any of . _ ~ -"
        )
    chosen = secrets.token_urlsafe(32) if token is None else token
    with contextlib.closing(_listener(host, port)) as listener:
        bound = listener.getsockname()[1]
        guard = Guard(token=chosen, hosts=_hosts(host, bound), cookie=f"durable_{bound}")
        made = guarded_app(client, guard, read_only=read_only, engine=engine)
        config = uvicorn.Config(
            made, log_level="warning", access_log=False, lifespan="on", server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_S, proxy_headers=False, ws="none",
        )  # fmt: skip
        shown = f"[{host}]" if ":" in host else host
        served = Served(f"http://{shown}:{bound}/?token={chosen}", bound)
        async with client:
            # The socket listens already: whoever asks now is answered as soon as the loop turns.
            ready(served)
            await _Server(config).serve([listener])


def _listener(host: str, port: int) -> socket.socket:
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio sends small writes at once (TCP_NODELAY) only on sockets of this kind:
    # without it each answer waits 40 ms for the browser's delayed acknowledgement.
    made = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
    except (OSError, OverflowError) as error:
        made.close()
        raise UsageError(f"nothing can listen at {host}:{port}: {error}") from None
    return made


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts(host: str, port: int) -> frozenset[str] | None:
    """Return the Host headers that are right; None where any name may be ours."""
    if not _is_loopback(host):
        return None
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host.lower()}
    # Browsers leave the usual port out.
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))
