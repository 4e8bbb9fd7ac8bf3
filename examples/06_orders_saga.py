"""Orders as a saga: stock in your own table, a child run for each parcel, a way back for each step.

Each step that changes something pushes its undoing onto a `contextlib.AsyncExitStack`. If a later
step fails, or the run is cancelled, the stack is unwound: what was done last is undone first. A
kill in the middle of that changes nothing: what is recorded as undone is not undone again.

The stock is two tables in the same file. Each `@transaction` changes them in the very transaction
that records the step, so the tables hold exactly what the history says: no more, no less.

Usage: ``python 06_orders_saga.py [FILE] [--orders N]``. Look at it with ``durable ls`` and
``durable show order-3``; the tables are there for ``sqlite3 FILE 'SELECT * FROM stock'``.
"""

import argparse
import asyncio
import json
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import durable
from durable import Cursor, Retry, activity, transaction, workflow

STOCK = {"tea": 500, "milk": 500, "cup": 500, "lamp": 2}
PATIENT = Retry(initial_interval=0.02, max_attempts=10)


class Refused(Exception):
    """Somebody said no, and will say no again: there is not enough, the card is empty."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What somebody wants.

    Attributes:
        id: Also the id of its run.
        lines: How many of each thing.
        cents: What it costs.
        outside: The file that stands for the bank and the carrier.
    """

    id: str
    lines: dict[str, int]
    cents: int
    outside: str = field(repr=False)


# -- the stock: transactions on tables of your own, in the same file -------------------------------


@transaction
def open_shop(cursor: Cursor) -> None:
    cursor.execute(
        "CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, left INTEGER CHECK (left >= 0));"
        "CREATE TABLE IF NOT EXISTS movement ("
        "  id INTEGER PRIMARY KEY, order_id TEXT, sku TEXT, count INTEGER)"
    )
    cursor.executemany("INSERT OR IGNORE INTO stock VALUES (?, ?)", list(STOCK.items()))


@transaction(retry=Retry(give_up_on=(Refused,)))
def reserve(cursor: Cursor, order_id: str, sku: str, count: int) -> None:
    cursor.execute(
        "UPDATE stock SET left = left - ? WHERE sku = ? AND left >= ?", (count, sku, count)
    )
    if cursor.changes == 0:
        raise Refused(f"not enough {sku}")
    move(cursor, order_id, sku, -count)


@transaction
def release(cursor: Cursor, order_id: str, sku: str, count: int) -> None:
    cursor.execute("UPDATE stock SET left = left + ? WHERE sku = ?", (count, sku))
    move(cursor, order_id, sku, count)


def move(cursor: Cursor, order_id: str, sku: str, count: int) -> None:
    cursor.execute(
        "INSERT INTO movement (order_id, sku, count) VALUES (?, ?, ?)", (order_id, sku, count)
    )


# -- the outside: a bank and a carrier, whose calls may be made twice ------------------------------


def call_outside(path: str, what: str, order_id: str, detail: str) -> str:
    """Append a call to the file that stands for the outside, with its key; return a receipt.

    A call under way when the process dies is made again, under the same key: by that a real bank
    recognises it, and so do those who read the file.
    """
    key = durable.attempt().idempotency_key
    line = {"key": key, "what": what, "order": order_id, "detail": detail}
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)
    return f"{what} {order_id} {detail}"


@activity(retry=Retry(give_up_on=(Refused,)))
def charge(order: Order) -> str:
    if order.cents > 100_000:
        raise Refused(f"the card does not cover {order.cents / 100:.2f}")
    return call_outside(order.outside, "charge", order.id, str(order.cents))


@activity(retry=PATIENT)
def refund(order: Order, receipt: str) -> str:
    return call_outside(order.outside, "refund", order.id, receipt)


@activity(retry=PATIENT)
async def hand_over(order: Order, sku: str) -> str:
    await asyncio.sleep(0.01)  # The carrier takes a while,
    if sku == "lamp":
        raise Refused("the carrier takes no lamps")
    if durable.attempt().number == 1 and len(sku) == 3:  # and is not always there.
        raise ConnectionError("the carrier hung up")
    return call_outside(order.outside, "hand over", order.id, sku)


@activity(retry=PATIENT)
def recall(order: Order, sku: str) -> str:
    return call_outside(order.outside, "recall", order.id, sku)


# -- the workflows ---------------------------------------------------------------------------------


@workflow
async def ship(order: Order, sku: str) -> str:
    """A parcel: a run of its own, with steps of its own, seen in ``durable ls``."""
    carrier = hand_over.options(retry=Retry(initial_interval=0.02, give_up_on=(Refused,)))
    return await carrier(order, sku)


@workflow
async def place(order: Order) -> str:
    try:
        async with AsyncExitStack() as undo:
            for sku, count in order.lines.items():
                await reserve(order.id, sku, count)
                undo.push_async_callback(release, order.id, sku, count)
            receipt = await charge(order)
            undo.push_async_callback(refund, order, receipt)
            for sku in order.lines:
                await ship(order, sku)
                undo.push_async_callback(recall, order, sku)
            undo.pop_all()  # All is well: nothing is undone.
    except Refused as error:
        return f"{order.id}: undone, {error}"
    return f"{order.id}: {len(order.lines)} parcels are on their way"


@workflow
async def trade(orders: list[Order]) -> list[str]:
    await open_shop()
    place_it = [place.options(id=order.id)(order) for order in orders]
    return list(await asyncio.gather(*place_it))


def orders(count: int, outside: str) -> list[Order]:
    """Return orders of which each fourth goes well, and the others fail somewhere."""
    kinds: list[tuple[dict[str, int], int]] = [
        ({"tea": 2, "milk": 1}, 1_250),  # goes well
        ({"tea": 1, "lamp": 3}, 9_000),  # there are only two lamps
        ({"cup": 6, "milk": 2}, 120_000),  # the card does not cover it
        ({"tea": 1, "cup": 1, "lamp": 1}, 4_200),  # the carrier takes no lamps
    ]
    return [
        Order(
            id=f"order-{number}",
            lines=kinds[number % len(kinds)][0],
            cents=kinds[number % len(kinds)][1],
            outside=outside,
        )
        for number in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Place orders durably, and undo what fails.")
    parser.add_argument("db", nargs="?", default="orders.db", help="the file that holds it all")
    parser.add_argument("--orders", type=int, default=4, help="how many orders to place")
    options = parser.parse_args()
    todo = orders(options.orders, f"{options.db}.outside")
    for line in durable.run(options.db, trade.options(id="trade"), todo):
        print(line)


if __name__ == "__main__":
    main()
