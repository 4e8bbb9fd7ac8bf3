"""The application whose runs are sent to somebody else: `fill` leaves whatever a file may hold."""

import asyncio
from pathlib import Path
from typing import Any

import attrs

import durable
from durable import Retry, Signal, Stream, Update, Value, activity, workflow

LARGE = "large " * 20_000
HOSTILE = "\x1b]0;owned\x07 \u202egpj.exe 'quote' \"two\" \\ line\nbreak \x00 \U0001f600"
EMAIL = "ada@example.org"
CARD = 4111111111111111

go = Signal("go", str)
note = Update("note", str, str)
seen = Value("seen", dict)
log = Stream("log", str)
calls: list[tuple[str, str]] = []


@attrs.frozen
class Customer:
    email: str
    card: int
    is_new: bool = True


class Declined(Exception):
    def __init__(self, message: str, email: str) -> None:
        super().__init__(message)
        self.email = email


@activity
async def look_up(number: int) -> Customer:
    return Customer(EMAIL, CARD + number - number)


@activity(retry=Retry(max_attempts=2, initial_interval=0.001))
async def charge(customer: Customer, amount: int) -> str:
    calls.append(("charge", durable.attempt().idempotency_key))
    if not Path("bank-works").exists():
        raise Declined(f"bank: card {customer.card} of {customer.email} declined", customer.email)
    return f"charged {amount}"


@activity
async def mail(to: str) -> str:
    calls.append(("mail", durable.attempt().idempotency_key))
    return f"mailed to {to}"


@activity(at_most_once=True)
async def wire(amount: int) -> int:
    calls.append(("wire", durable.attempt().idempotency_key))
    return amount


@activity
async def enlarge(text: str) -> str:
    log.append(text)
    return text + "!"


@workflow
async def order(number: int) -> str:
    customer = await look_up(number)
    seen.set({"email": customer.email, "amount": 3})
    log.append(f"to {customer.email}")
    await mail(customer.email)
    await wire(number)
    return await charge(customer, 3)


@workflow
async def bulky(text: str) -> str:
    log.append(text)
    return await enlarge(text)


@workflow
async def counts_down(left: int) -> str:
    await wire(left)
    if left:
        durable.continue_as_new(left - 1)
    return "done"


@workflow
async def listens() -> list[str]:
    said: list[str] = []

    @note.handler
    async def on_note(text: str) -> str:
        said.append(text)
        return f"noted {text}"

    said.append(await go.receive())
    said.append(await go.receive())
    return said


@workflow
async def part(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is no part")
    return number


@workflow
async def lasting() -> str:
    return await go.receive()


@workflow
async def whole() -> str:
    held = await lasting.options(id="held-part").start()
    parts = await durable.settle(part(1), part(-1))
    return f"{await held.result()} {len(parts)}"


FUNCTIONS = (order, bulky, counts_down, listens, part, lasting, whole)


async def fill(path: Path) -> None:
    labels: dict[str, Any] = {"tags": ["urgent", "'; DROP TABLE"], "attributes": {"email": EMAIL}}
    async with durable.Engine(path, functions=FUNCTIONS) as engine:
        first = await engine.start(order.options(id="order-1", **labels), 1)
        await first.wait()
        again = await first.restart("mail", reason=f"{EMAIL} did not get it", again=["3"])
        await again.wait()
        listening = await engine.start(listens.options(id="listening"))
        await listening.signal(go, HOSTILE)
        await listening.signal(Signal("go", int), 7)  # A dead letter: it is no text.
        await listening.update(note, "remember", id="note-1")
        await engine.start(whole.options(id="whole"))
        for one in (
            await engine.start(bulky.options(id="bulky"), LARGE),
            await engine.start(bulky.options(id="-o 'quote' \"two\" \\ ; $(rm) 😀"), HOSTILE),
            await engine.start(counts_down.options(id="countdown"), 2),
        ):
            await one.result()
        async with asyncio.timeout(20):
            while await engine.count("status:open") != {"waiting": 3}:
                await asyncio.sleep(0.005)
