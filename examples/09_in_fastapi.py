"""In FastAPI: the engine lives with the service, and the pages are mounted beside its own.

Usage: ``pip install fastapi "durable-sqlite[ui]"``, then in this folder
``uvicorn 09_in_fastapi:app``, also with ``--reload`` or ``--workers 2``: each process has an engine
of its own, and they share the file. Start an order with
``curl -X POST http://127.0.0.1:8000/orders/7``, and open ``http://127.0.0.1:8000/ops/durable/``.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

import durable
import durable.web
from durable import activity, workflow


@activity
async def charge(order: int) -> str:
    return f"charged {order}"


@workflow
async def fulfil(order: int) -> str:
    receipt = await charge(order)
    await durable.sleep(0.5)  # It survives a deploy.
    return receipt


engine = durable.Engine(os.environ.get("ORDERS_DB", "orders.db"), functions=[fulfil], grace=1)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine:
        yield


app = FastAPI(lifespan=lifespan)


def is_operator(scope: Any) -> str:
    """Say who asks, for the audit; an empty text is refused. Yours looks at the session."""
    return "operator" if scope["client"][0] == "127.0.0.1" else ""


app.mount("/ops/durable", durable.web.app(engine, auth=is_operator))


@app.post("/orders/{order}", status_code=202)
async def order(order: int) -> dict[str, str]:
    run = await engine.start(fulfil.options(id=f"order-{order}"), order)
    return {"run": run.id}


@app.get("/orders/{order}")
async def status(order: int) -> dict[str, str]:
    run = await engine.get(f"order-{order}")
    return {"status": await run.status()}
