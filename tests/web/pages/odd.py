"""Workflows whose forms are not simple; served as ``odd.py:engine``."""

from __future__ import annotations

import os
from typing import Any

import attrs

import durable
from durable import Signal, Stream, Update, activity, workflow


@attrs.define
class Inner:
    """At the bottom."""

    number: int


@attrs.define
class Middle:
    """Holds another."""

    inner: Inner


@attrs.define
class Order:
    """What an order may look like."""

    sku: str
    note: str | None = "careful"
    tags: list[str] = attrs.field(factory=lambda: ["std"])
    middle: Middle | None = None


approval = Signal("approval", bool)
order = Signal("order", Order)
numbers = Update("numbers", list[int], str)
step_on = Signal("step_on", int)
lines = Stream("lines", str)


@activity
async def told(text: str) -> str:
    """Say something."""
    return text


@workflow
async def rest(a: int, b: int = 2, *more: int, flag: bool = False) -> list[Any]:
    """Take what is left."""
    return [a, b, list(more), flag]


@workflow
async def only(a: int, b: int = 5, /, *, c: int = 7) -> list[int]:
    """Take the first two by position alone."""
    return [a, b, c]


@workflow
async def which(ids: list[int]) -> list[int]:
    """Give back what it got."""
    return ids


@workflow
async def approves() -> str:
    """Wait for a word."""

    @numbers.handler
    def _numbers(value: list[int]) -> str:
        return ",".join(map(str, value))

    return f"approved: {await approval.receive()}"


@workflow
async def orders() -> str:
    """Wait for an order."""
    found = await order.receive()
    return f"{found.sku} {found.note} {found.tags} {found.middle}"


@workflow
async def promises() -> str:
    """Wait for an answer."""
    return f"answer: {await durable.promise('consent', bool)}"


@workflow
async def loops(turn: int) -> int:
    """Go on as new with each signal."""
    for number in range(3):
        await told(f"turn {turn} step {number}")
    durable.continue_as_new(await step_on.receive())


@workflow
async def writes() -> None:
    """Append as many lines as it is told."""
    total = 0
    while True:
        for _ in range(await step_on.receive()):
            lines.append(f"line {total}")
            total += 1


engine = durable.Engine(os.environ.get("SHOP_DB", "odd.db"))
