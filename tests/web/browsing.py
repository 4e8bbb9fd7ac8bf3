"""A browser without a window: what asks the JSON API in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx


@asynccontextmanager
async def browser(app, base: str = "http://127.0.0.1:8080") -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=base) as made:
        yield made


def path(*parts: str) -> str:
    return "/api/v1/" + "/".join(parts)
