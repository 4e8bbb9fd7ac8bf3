"""Values and streams: what a run publishes, what a reader sees, and what never comes twice."""

import asyncio
import contextlib
import threading

import apsw
import pytest

import durable
from durable import Signal, Stream, Value, activity, workflow
from durable.testing import ManualClock
from tests.runtime.insist import insist, reach

go = Signal("go", int)
count = Value("count", int)
text = Value("text", str)
lines = Stream("lines", str)
numbers = Stream("numbers", int)


class Sad(Exception):
    pass


@activity
async def echo_stream(value: int) -> int:
    return value


@pytest.fixture
async def engine(tmp_path):
    # For readers that look on while the run goes on: they are no part of what is replayed.
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


async def items(run, stream=lines, **options):
    """Return all items of a stream of a run that has ended."""
    async with asyncio.timeout(10):
        return [item async for item in run.tail(stream, **options)]


# -- values ----------------------------------------------------------------------------------------


@workflow
async def counts_up(to: int) -> int:
    for n in range(to):
        count.set(n)
        await echo_stream(n)
    count.set(to)
    return to


async def test_a_value_never_goes_back(durable_harness):
    harness = durable_harness
    handle = await harness.start(counts_up, 8)
    seen = [-1]
    while (await (await harness.again(handle)).status()) != "completed":
        with contextlib.suppress(durable.UsageError):
            seen.append(await (await harness.again(handle)).read(count, default=-1))
        await asyncio.sleep(0)

    assert seen == sorted(seen)
    assert await (await harness.again(handle)).read(count) == 8


@workflow
async def sets_then_waits() -> None:
    text.set("first")
    text.set("second")
    await go.receive()
    text.set("third")
    await go.receive()


async def test_a_value_is_in_the_checkpoint_of_its_event(durable_harness):
    harness = durable_harness
    handle = await harness.start(sets_then_waits)
    await insist(harness, handle, lambda run: run.signal(go, 1, id="a"))
    await reach(harness, handle, lambda kinds: len(kinds) == 1)

    # Whoever sees the event sees the value: they are one commit.
    assert await insist(harness, handle, lambda run: run.read(text)) == "third"


async def test_a_value_is_read_with_no_worker_alive_and_after_the_end(tmp_path):
    path = tmp_path / "app.db"
    async with durable.Engine(path, clock=ManualClock()) as engine:
        run = await engine.start(sets_then_waits.options(id="x"))
        assert await anext(run.watch(text)) == "second"

    async with durable.Client(path) as client:
        assert await (await client.get("x")).read(text) == "second"
        await (await client.get("x")).terminate()
        assert await (await client.get("x")).read(text) == "second"
    with durable.Client(path).blocking() as plain:
        assert plain.get("x").read(text) == "second"


async def test_one_never_set_has_a_default_or_an_error(durable_harness):
    harness = durable_harness
    handle = await harness.start(counts_up, 0)
    await harness.finish(handle)
    run = await harness.again(handle)

    assert await run.read(text, default="none") == "none"
    assert await run.read(text, default=None) is None
    with pytest.raises(LookupError, match="has not set the value text"):
        await run.read(text)


async def test_a_value_of_another_type_than_read_is_an_error(engine):
    run = await engine.start(counts_up, 1)
    await run.result()

    with pytest.raises(durable.PayloadError):
        await run.read(Value("count", str))


@workflow
async def sets_large(length: int) -> int:
    for letter in "abc":
        text.set(letter * length)
        await echo_stream(1)
    return length


@pytest.mark.parametrize("length", [32_765, 32_766, 32_767, 300_000])
async def test_a_large_value_is_whole(durable_harness, length):
    harness = durable_harness
    handle = await harness.start(sets_large, length)
    await harness.finish(handle)

    assert await (await harness.again(handle)).read(text) == "c" * length


async def test_a_large_value_that_is_replaced_leaves_nothing(durable_harness):
    harness = durable_harness
    handle = await harness.start(sets_large, 40_000)
    await harness.finish(handle)

    connection = harness.engine._store.reader._connection
    assert connection.execute("SELECT count(*) FROM durable_blob").get <= 1


@activity
async def sets_while_it_runs(steps: int) -> None:
    for n in range(steps):
        count.set(n)
        durable.progress(n, steps)
        await asyncio.sleep(0)


@activity
def sets_in_a_thread(steps: int) -> None:
    for n in range(steps):
        count.set(n)


@workflow
async def has_it_set(steps: int) -> None:
    await sets_while_it_runs(steps)
    await sets_in_a_thread(steps + 1)


async def test_an_activity_sets_values_too(durable_harness):
    harness = durable_harness
    handle = await harness.start(has_it_set, 5)
    await harness.finish(handle)

    assert await (await harness.again(handle)).read(count) == 5


async def test_an_activitys_value_is_seen_while_it_runs(engine):
    seen = asyncio.Event()

    @activity
    async def waits_to_be_seen() -> str:
        text.set("here")
        await seen.wait()
        return "seen"

    @workflow
    async def is_seen() -> str:
        return await waits_to_be_seen()

    run = await engine.start(is_seen)
    async with asyncio.timeout(5):
        assert await anext(run.watch(text)) == "here"
    seen.set()

    assert await run.result() == "seen"


@workflow
async def goes_on_setting(left: int) -> int:
    count.set(left)
    await go.receive()
    if left:
        durable.continue_as_new(left - 1)
    count.set(-1)
    return left


async def test_a_watch_shows_the_newest_and_ends_with_the_run(engine):
    run = await engine.start(goes_on_setting, 2)
    seen = []

    async with asyncio.timeout(5):
        async for now in run.watch(count):
            seen.append(now)
            if now >= 0:
                await run.signal(go, 1)

    assert seen == [2, 1, 0, -1]
    assert [one async for one in run.watch(count)] == [-1]


async def test_a_watch_from_another_client_ends_too(tmp_path):
    path = tmp_path / "app.db"
    async with (
        durable.Engine(path, clock=ManualClock()) as engine,
        durable.Client(path) as client,
    ):
        await engine.start(goes_on_setting.options(id="x"), 1)
        run, seen = await client.get("x"), []
        async with asyncio.timeout(5):
            async for now in run.watch(count):
                seen.append(now)
                await run.signal(go, 1)
                if now == 0:
                    break
            await run.result()

    assert seen == [1, 0]


async def test_a_watch_of_what_is_never_set_ends_with_the_run(engine):
    run = await engine.start(counts_up, 2)

    async with asyncio.timeout(5):
        assert [one async for one in run.watch(text)] == []


@workflow
async def makes_progress() -> None:
    durable.progress(1)
    durable.details("asks Ada")
    await echo_stream(1)
    durable.progress(30, 100)


async def test_progress_and_details_are_values_with_names_of_their_own(durable_harness):
    harness = durable_harness
    handle = await harness.start(makes_progress)
    await harness.finish(handle)
    values = {one.name: one.value for one in (await (await harness.again(handle)).details()).values}

    assert set(values) == {"progress", "details"}
    assert "30" in str(values["progress"])
    assert "100" in str(values["progress"])
    assert "asks Ada" in str(values["details"])


# -- refused at the call site ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Value, Stream, Signal])
@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", None, 3])
def test_a_bad_name_is_refused_where_it_is_declared(kind, name):
    with pytest.raises(durable.UsageError, match="the name of a"):
        kind(name, int)


@workflow
async def publishes_wrongly(how: str) -> list[str]:
    said = []
    for wrong in ("text", object(), None):
        try:
            if how == "value":
                count.set(wrong)  # type: ignore[arg-type]
            else:
                numbers.append(wrong)  # type: ignore[arg-type]
        except durable.PayloadError as error:
            said.append(type(error).__name__)
    numbers.append(7)
    await echo_stream(1)
    numbers.append(8)
    return said


@pytest.mark.parametrize("how", ["value", "stream"])
async def test_what_does_not_fit_is_refused_and_nothing_is_published(durable_harness, how):
    harness = durable_harness
    handle = await harness.start(publishes_wrongly, how)

    assert await harness.finish(handle) == ["PayloadError"] * 3
    run = await harness.again(handle)
    assert await run.read(count, default=0) == 0
    assert [one.value for one in await items(run, numbers)] == [7, 8]


def test_outside_of_runs_nothing_is_published():
    with pytest.raises(durable.NotInWorkflow, match=r"value count\.set\(\)"):
        count.set(1)
    with pytest.raises(durable.NotInWorkflow, match=r"stream lines\.append\(\)"):
        lines.append("x")


async def test_what_is_too_large_is_refused_at_the_call(tmp_path):
    @workflow
    async def publishes_too_much() -> list[str]:
        said = []
        for publish in (text.set, lines.append):
            try:
                publish("x" * 1_000)
            except durable.PayloadTooLarge as error:
                said.append(str(error))
        return said

    limits = durable.Limits(payload_bytes_max=1_000)
    async with durable.Engine(tmp_path / "app.db", limits=limits) as engine:
        run = await engine.start(publishes_too_much)
        said = await run.result()

        assert ["value text" in said[0], "stream lines" in said[1]] == [True, True]
        assert await items(run) == []


# -- streams ---------------------------------------------------------------------------------------


@workflow
async def says(words: int) -> int:
    for n in range(words):
        lines.append(f"w{n}")
        numbers.append(n)
        await echo_stream(n)
    return words


async def test_what_a_workflow_says_comes_once_and_in_order(durable_harness):
    harness = durable_harness
    handle = await harness.start(says, 6)
    await harness.finish(handle)
    run = await harness.again(handle)
    found = await items(run)

    assert [one.value for one in found] == [f"w{n}" for n in range(6)]
    assert [one.position for one in found] == list(range(6))
    assert {(one.attempt, one.ordinal) for one in found} == {(0, 1)}
    assert [one.value for one in await items(run, numbers)] == list(range(6))


@pytest.mark.parametrize("from_", [0, 1, 4, 5, 6, 100])
async def test_a_tail_begins_where_it_is_told(engine, from_):
    run = await engine.start(says, 5)
    await run.result()

    found = await items(run, from_=from_)

    assert [one.position for one in found] == list(range(from_, 5))


@pytest.mark.parametrize("from_", [-1, "1", 1.5, None])
async def test_a_tail_from_nowhere_is_refused(engine, from_):
    run = await engine.start(says, 5)
    await run.result()

    with pytest.raises(durable.UsageError, match="from_"):
        await items(run, from_=from_)


async def test_a_tail_shows_each_item_as_it_comes(engine):
    @workflow
    async def says_when_told() -> None:
        for n in range(4):
            lines.append(f"{n}")
            await go.receive()

    run = await engine.start(says_when_told)
    seen = []
    async with asyncio.timeout(5):
        async for item in run.tail(lines):
            seen.append(item.value)
            await run.signal(go, 1)

    assert seen == ["0", "1", "2", "3"]


async def test_a_page_more_than_a_tail_reads_at_once_is_whole(engine):
    @workflow
    async def says_much() -> None:
        for n in range(2_500):
            numbers.append(n)

    run = await engine.start(says_much)

    assert [one.value for one in await items(run, numbers)] == list(range(2_500))


@workflow
async def says_and_goes_on(left: int) -> None:
    lines.append(f"{left} begins")
    await echo_stream(1)
    lines.append(f"{left} ends")
    if left:
        durable.continue_as_new(left - 1)


async def test_a_tail_follows_a_run_that_goes_on(durable_harness):
    harness = durable_harness
    handle = await harness.start(says_and_goes_on.options(id="x"), 2)
    await harness.finish(handle)
    run = await (await harness.again(handle))._client.get("x#1")

    found = await items(run)
    later = await items(run, from_=1)

    assert [(one.ordinal, one.position, one.value) for one in found] == [
        (1, 0, "2 begins"), (1, 1, "2 ends"), (2, 0, "1 begins"), (2, 1, "1 ends"),
        (3, 0, "0 begins"), (3, 1, "0 ends"),
    ]  # fmt: skip
    assert later == found[1:]


@activity(retry=durable.Retry(initial_interval=1, max_attempts=3))
async def says_again() -> None:
    number = durable.attempt().number
    for n in range(3):
        lines.append(f"{number}.{n}")
        numbers.append(n)
        if number < 3 and n == number:
            raise ConnectionError("again")


@workflow
async def has_it_said() -> None:
    await says_again()


async def test_a_repeated_attempt_tells_its_number_and_begins_its_index_again(durable_harness):
    harness = durable_harness
    handle = await harness.start(has_it_said)
    await harness.finish(handle)
    found = await items(await harness.again(handle))

    assert [one.position for one in found] == list(range(len(found)))
    assert {one.step for one in found} == {"1"}
    told = [(one.attempt, one.index) for one in found]
    # An attempt that a death cut off is made again under its number: some may come twice.
    assert set(told) == {(1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2)}
    kept = []
    for one in found:
        del kept[one.index :]
        kept.append(one.value)
    assert kept == ["3.0", "3.1", "3.2"]


@activity
async def says_its_own(who: int, words: int) -> int:
    for n in range(words):
        lines.append(f"{who}:{n}")
        await asyncio.sleep(0)
    return who


@activity
def says_in_a_thread(who: int, words: int) -> int:
    for n in range(words):
        lines.append(f"{who}:{n}")
    return threading.get_ident() and who


@workflow
async def many_speak(speakers: int, words: int) -> list[int]:
    lines.append("all begin")
    found = await asyncio.gather(
        *((says_its_own if n % 2 else says_in_a_thread)(n, words) for n in range(speakers))
    )
    lines.append("all have ended")
    return found


async def test_many_that_speak_at_once_are_each_in_order(durable_harness):
    harness = durable_harness
    handle = await harness.start(many_speak, 6, 5)
    await harness.finish(handle)
    found = await items(await harness.again(handle))

    assert [one.position for one in found] == list(range(len(found)))
    said = {}
    for one in found:
        of_step = said.setdefault(one.step, [])
        del of_step[one.index :]
        of_step.append(one.value)
    spoken = [words for step, words in said.items() if not step.startswith("!")]
    assert sorted(spoken) == [[f"{who}:{n}" for n in range(5)] for who in range(6)]
    assert (found[0].value, found[-1].value) == ("all begin", "all have ended")


@pytest.mark.parametrize("length", [32_765, 32_766, 32_767, 300_000])
async def test_large_items_are_whole(durable_harness, length):
    harness = durable_harness

    @activity
    async def says_large() -> None:
        lines.append("a" * length)

    @workflow
    async def has_large_said() -> None:
        await says_large()
        lines.append("w" * length)

    handle = await harness.start(has_large_said)
    await harness.finish(handle)
    found = await items(await harness.again(handle))

    assert {one.value for one in found} == {"a" * length, "w" * length}


async def test_an_attempt_that_timed_out_says_nothing_more(engine):
    late = asyncio.Event()

    @activity(start_to_close=1, retry=durable.Retry(max_attempts=1))
    async def says_late() -> None:
        lines.append("in time")
        try:
            await asyncio.Event().wait()
        finally:
            lines.append("late")
            text.set("late")
            late.set()

    @workflow
    async def gives_up_on_it() -> None:
        with contextlib.suppress(TimeoutError):
            await says_late()
        await go.receive()

    run = await engine.start(gives_up_on_it)
    async with asyncio.timeout(5):
        await late.wait()
        await run.signal(go, 1)
        await run.result()

    assert [one.value for one in await items(run)] == ["in time"]
    assert await run.read(text, default="unset") == "unset"


async def test_a_worker_that_was_declared_dead_cannot_append(tmp_path):
    path = tmp_path / "app.db"
    fenced, attempts = asyncio.Event(), []

    @activity
    async def speaks() -> int:
        attempts.append(1)
        mine = len(attempts)
        lines.append(f"before {mine}")
        if mine == 1:
            await fenced.wait()
            lines.append("from the dead")
            text.set("from the dead")
            await asyncio.Event().wait()
        return mine

    @workflow
    async def has_spoken() -> int:
        return await speaks()

    async with durable.Engine(path, clock=ManualClock(), grace=0) as engine:
        run = await engine.start(has_spoken.options(id="x"))
        async with asyncio.timeout(10):
            assert (await anext(run.tail(lines))).value == "before 1"
            other = apsw.Connection(str(path))
            other.execute(
                "UPDATE durable_worker SET state = 'dead' WHERE id = ?", (engine._worker.id,)
            )
            other.close()
            fenced.set()
            assert await (await engine.get("x")).result() == 2
            run = await engine.get("x")
            found = await items(run)

        assert [one.value for one in found] == ["before 1", "before 2"]
        assert await run.read(text, default="unset") == "unset"


async def test_a_tail_in_another_client_sees_the_same(tmp_path):
    path = tmp_path / "app.db"
    async with (
        durable.Engine(path, clock=ManualClock()) as engine,
        durable.Client(path) as client,
    ):
        run = await engine.start(says_and_goes_on.options(id="x"), 2)
        await run.result()
        here, there = await items(run), await items(await client.get("x#1"))

    with durable.Client(path).blocking() as plain:
        assert here == there == list(plain.get("x#1").tail(lines))
