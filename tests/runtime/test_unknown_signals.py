"""Who sends a signal that nothing in a run's code is known to ask for is warned; it is kept."""

import logging
from typing import Any

import pytest

import durable
from durable import Engine, Signal, workflow
from durable._runtime import known_signals
from durable._runtime.known_signals import NAMES_MAX, _named_by
from durable.testing import ManualClock
from tests import signals_elsewhere
from tests.until import until

approval = Signal("approval", bool)
later = Signal("later", bool)
BY_TABLE = {"one": Signal("one", int), "two": Signal("two", int)}
MANY = [Signal(f"many-{number}", int) for number in range(NAMES_MAX + 1)]


async def ask_later() -> bool:
    return await later.receive()


class Asks:
    async def far(self) -> int:
        return await signals_elsewhere.far.receive()


@workflow
async def approves() -> bool:
    return await approval.receive() and await ask_later()


@workflow
async def sleeps_first() -> bool:
    await durable.sleep("1h")
    return await approval.receive()


@workflow
async def takes_any() -> None:
    found: list[Any] = []
    Signal.any_handler(lambda name, value: found.append((name, value)))
    await durable.wait_until(lambda: bool(found))


@workflow
async def knows_none() -> None:
    await durable.sleep("1h")


async def by_closure(mine: Signal[int]) -> Any:
    async def inner() -> int:
        return await mine.receive()

    return inner


class Holds:
    def __init__(self) -> None:
        self.mine = Signal("held", int)

    async def ask(self) -> int:
        return await self.mine.receive()


HOLDS = Holds()


async def in_many_ways(which: str, default: "Signal[int]" = BY_TABLE["one"]) -> int:
    found = await HOLDS.ask() + await BY_TABLE[which].receive()
    return found + await Asks().far() + await default.receive()


def make(name: str) -> "Signal[int]":
    return Signal(name, int)


async def by_a_factory() -> int:
    return await approval.receive() + await make("made").receive()


async def by_its_own(key: str) -> int:
    return await approval.receive() + await Signal(f"item-{key}", int).receive()


async def by_an_import() -> int:
    from tests.signals_elsewhere import far

    return await approval.receive() + await far.receive()


def takes_all() -> None:
    Signal.any_handler(print)


async def with_a_helper() -> bool:
    found = await approval.receive()
    takes_all()
    return found


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.WARNING, "durable.client")
    return lambda: [one.getMessage() for one in caplog.records if one.name == "durable.client"]


@pytest.mark.parametrize("where", ["engine", "client"])
async def test_a_misspelt_signal_is_told_with_the_names_the_code_knows(tmp_path, warnings, where):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)
    async with Engine(path, clock=clock) as engine, durable.Client(path) as client:
        run = await engine.start(approves.options(id="order-42"))
        if where == "client":
            clock.advance(2)
            await until(lambda: engine._get_row(run._pk).state == "parked")
            sender: Any = await client.get("order-42")
        else:
            sender = run

        await sender.signal(Signal("approvd", bool), True)
        (told,) = warnings()
        await sender.signal(approval, True)
        await sender.signal(later, True)

        assert await run.result() is True
    assert told == (
        "signal 'approvd' is sent to run order-42, and kept, but nothing in its code is known to "
        "ask for it; it knows: approval, later"
    )
    assert warnings() == [told]


async def test_a_signal_that_the_code_asks_for_later_is_known_while_it_sleeps(tmp_path, warnings):
    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", clock=clock) as engine:
        run = await engine.start(sleeps_first)

        await run.signal(approval, True)
        assert warnings() == []
        await until(lambda: "unreceived" in engine._row_now(engine._get_row(run._pk)).waits_for())
        await run.signal(Signal("aproval", bool), True)

        assert len(warnings()) == 1
        clock.advance(3_600)
        assert await run.result() is True


@pytest.mark.parametrize("defined", [takes_any, knows_none])
async def test_where_any_name_is_taken_or_none_is_known_nothing_is_told(
    tmp_path, warnings, defined
):
    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", clock=clock) as engine:
        run = await engine.start(defined)
        await run.signal(Signal("whatever", bool), True)
        clock.advance(3_600)
        await run.result()

    assert warnings() == []


async def test_a_second_one_of_a_misspelt_name_is_told_too(tmp_path, warnings):
    async with Engine(tmp_path / "app.db", clock=ManualClock(jumps=False)) as engine:
        run = await engine.start(approves)
        for _ in range(2):
            await run.signal(Signal("approvd", bool), True)
            await until(lambda: not engine._worker.live[run._pk].uncommitted)

    assert len(warnings()) == 2


def test_names_are_found_however_the_code_gets_at_its_signals() -> None:
    assert _named_by(in_many_ways) == {"held", "one", "two", "far"}
    assert _named_by(approves.fn) == {"approval", "later"}


def test_a_proxy_that_cannot_say_what_it_is_is_passed_over() -> None:
    class Proxy:
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError("working outside of request context")

    proxy = Proxy()

    async def asks() -> object:
        await approval.receive()
        return proxy

    assert _named_by(asks) == {"approval"}


async def test_a_signal_of_a_closure_is_found() -> None:
    assert _named_by(await by_closure(Signal("mine", int))) == {"mine"}


def test_code_that_names_very_many_is_not_asked_about_any() -> None:
    async def asks_for_many() -> int:
        return await MANY[0].receive()

    assert len(_named_by(asks_for_many) or ()) >= NAMES_MAX


@pytest.mark.parametrize("fn", [by_a_factory, by_its_own, by_an_import, with_a_helper])
def test_of_code_that_makes_or_imports_signals_none_is_known(fn: Any) -> None:
    assert _named_by(fn) is None


@pytest.mark.parametrize(
    ("most", "known"), [(4, {"approval", "later"}), (3, {"approval", "later"}), (2, None)]
)
def test_of_code_that_is_too_much_to_walk_through_none_is_known(
    monkeypatch: pytest.MonkeyPatch, most: int, known: set[str] | None
) -> None:
    async def calls() -> bool:
        return await approval.receive() and await asks()

    async def asks() -> bool:
        return await ask_later()

    monkeypatch.setattr(known_signals, "FUNCTIONS_MAX", most)

    assert _named_by(calls) == known
