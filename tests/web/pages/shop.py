"""A small shop: what the pages are tried on, and what their pictures show.

``python shop.py FILE`` fills a file with runs of every kind and leaves; ``shop:engine`` serves it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import attrs

import durable
from durable import Retry, Signal, Stream, Update, Value, activity, workflow

log = logging.getLogger("shop")


@attrs.define
class Address:
    """Where it goes."""

    street: str
    city: str
    zip: int = 0


approval = Signal("approval", bool)
address = Update("address", Address, bool)
stock = durable.Query("stock", dict[str, int])
progress = Value("progress", dict[str, int])
tokens = Stream("tokens", str)

# What is broken stands in the environment: a worker started with other values has the bug mended.
BROKEN = set(os.environ.get("SHOP_BROKEN", "").split(","))


@activity
async def validate(order: int) -> dict[str, Any]:
    """Look whether the order makes sense."""
    log.info("order %d is looked at", order)
    return {"order": order, "items": [{"sku": "tea", "n": 2}, {"sku": "cup", "n": 1}]}


@activity(retry=Retry(initial_interval=0.02, max_attempts=5))
async def reserve(order: int) -> str:
    """Fails now and then."""
    if durable.attempt().number < 3 and order % 3 == 0:
        raise TimeoutError(f"the stock service did not answer for order {order}")
    return f"reserved-{order}"


@activity(retry=Retry(max_attempts=1))
async def charge(order: int) -> dict[str, Any]:
    """The one with the bug."""
    if "charge" in BROKEN and order % 4 == 0:
        raise ConnectionError(f"connection to 10.0.0.{order % 250} refused")
    return {"charged": True, "amount": order * 10}


@activity(retry=Retry(initial_interval=3600, max_attempts=None))
async def label(order: int) -> str:
    """The one whose service is out."""
    if "label" in BROKEN and order % 5 == 0:
        raise TimeoutError("the label printer is out")
    return f"label-{order}"


@activity
async def pack(item: str, order: int) -> str:
    """One of many."""
    await asyncio.sleep(0.01)
    return f"{item}-{order}"


@workflow
async def notify(order: int) -> str:
    """A child."""
    await durable.sleep(0.05)
    return f"told {order}"


@workflow
async def fulfil(order: int) -> str:
    """An order, from the cart to the door.

    Waits for nobody.
    """
    progress.set({"done": 0, "total": 5})
    await validate(order)
    await reserve(order)
    await durable.sleep(0.03)
    charged = await charge(order)
    progress.set({"done": 3, "total": 5})
    await notify.options(id=f"notify-{order}").start(order)
    await asyncio.gather(
        *(pack(name, order) for name in ("tea", "cup", "pot", "tin", "bag", "lid"))
    )
    tokens.append("packed")
    return f"{await label(order)} {charged['amount']}"


@workflow
async def approve(amount: int, to: Address, note: str = "") -> str:
    """Waits for a person."""
    where = [to]

    @address.handler
    def move(new: Address) -> bool:
        where[0] = new
        return True

    @stock.handler
    def shown() -> dict[str, int]:
        return {"tea": amount}

    is_right = await approval.receive()
    return f"{where[0].city} {amount} {is_right} {note}"


@workflow
async def nightly(day: str) -> str:
    """Sleeps."""
    await durable.sleep("8h")
    return day


@workflow
async def asks(what: str) -> str:
    """Waits for an answer to a promise."""
    promise = durable.promise(what, str)
    return await promise


@workflow
async def report(pages: int) -> int:
    """As many steps as asked for."""
    done = 0
    for page in range(pages):
        done += len(await pack("page", page)) > 0
    return done


def engine(path: str | None = None) -> durable.Engine:
    """Return the engine of the shop."""
    functions: list[Any] = [fulfil, notify, approve, nightly, asks, report]
    return durable.Engine(path or os.environ["SHOP_DB"], functions=functions)


async def fill(path: str, orders: int = 24) -> None:
    """Put runs of every kind into a file, and leave."""
    BROKEN.update({"charge", "label"})
    async with engine(path) as made:
        for order in range(1, orders + 1):
            await made.start(fulfil.options(id=f"order-{8800 + order}", tags=["web"]), order)
        await made.start(approve.options(id="approve-1"), 120, Address("Canal St 1", "Delft"))
        await made.start(nightly.options(id="nightly-monday"), "monday")
        await made.start(asks.options(id="ask-1"), "which colour?")
        run = await made.start(nightly.options(id="nightly-tuesday"), "tuesday")
        await run.pause("the printer is away")
        run = await made.start(nightly.options(id="nightly-wednesday"), "wednesday")
        await run.cancel("not this week")
        run = await made.start(nightly.options(id="nightly-thursday"), "thursday")
        await run.terminate("wrong day")
        long = await made.start(report.options(id="report-40"), 40)
        await long.result()
        await until_calm(made)


async def until_calm(made: durable.Engine) -> None:
    """Wait until nothing goes on by itself at once."""
    while (await made.count()).keys() & {"running", "queued"}:
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    Path(sys.argv[1]).unlink(missing_ok=True)
    asyncio.run(fill(sys.argv[1]))
