"""The pipeline of the story: a thousand invoices, a bug, an outage, and an edit while runs wait.

``VERSION`` says which code is deployed: ``first`` has the bug; ``edited`` asks for approvals in
another way, unguarded; ``mended`` has neither fault.
"""

import os
from pathlib import Path

import durable
from durable import Retry, Signal, activity, workflow

VERSION = os.environ["INVOICES_VERSION"]
FOLDER = Path(os.environ["INVOICES_FOLDER"])
COUNT = 1_000
approval = Signal("approval", bool)

engine = durable.Engine(FOLDER / "invoices.db", durability="normal", grace=1)


def has_bug(number: int) -> bool:
    return number % 100 == 7


def needs_service(number: int) -> bool:
    return number % 5 == 0


def is_large(number: int) -> bool:
    return number % 10 == 1 and number < 120


def begin() -> None:
    """Write down that an attempt begins, before it does anything."""
    line = durable.attempt().idempotency_key.encode() + b"\n"
    descriptor = os.open(FOLDER / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line)
    os.close(descriptor)


@activity
async def draw_up(number: int) -> int:
    begin()
    return 10 * number


@activity(retry=Retry(max_attempts=1))
async def convert(number: int, amount: int) -> float:
    begin()
    rates = {"EUR": 1.0, "CHF": 1.1}
    currency = "USD" if has_bug(number) else "EUR"
    if VERSION == "mended":
        rates["USD"] = 1.2
    return amount * rates[currency]


@activity
async def ask(number: int) -> str:
    begin()
    return "asked"


@activity
async def ask_by_mail(number: int) -> str:
    begin()
    return "asked by mail"


@activity(retry=Retry(initial_interval=0.02, backoff=60, max_interval=3_600))
async def send(number: int, amount: float) -> str:
    begin()
    if needs_service(number) and (FOLDER / "outage").exists():
        raise ConnectionError(f"the mail service is down (invoice {number})")
    return f"{number}: {amount:.2f}"


@workflow
async def invoice(number: int) -> str:
    amount = await draw_up(number)
    converted = await convert(number, amount)
    if is_large(number):
        if VERSION == "first":
            await ask(number)
        elif VERSION == "edited" or durable.patched("ask-by-mail"):
            await ask_by_mail(number)
        else:
            await ask(number)
        await approval.receive()
    return await send(number, converted)
