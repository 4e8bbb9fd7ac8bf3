"""Like failures are one issue: what is alike, what is counted, and what is done about a group."""

import asyncio

import pytest

import durable
from durable import Retry, Signal, activity, workflow
from durable._runtime.issues import normalise
from durable.testing import ManualClock

is_broken = [True]
go = Signal("go", int)


@pytest.fixture(autouse=True)
def _breaks():
    is_broken[0] = True


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", clock=ManualClock()) as opened:
        yield opened


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("order 42 took 3.5 s", "order <n> took <n> s"),
        ("no user 'ada' in \"users\"", "no user <text> in <text>"),
        ("GET https://bank.example/pay?id=7 failed", "GET <url> failed"),
        ("10.0.0.7:5432 refused", "<ip> refused"),
        ("cannot open /var/lib/app/x.db", "cannot open <path>"),
        ("run 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "run <uuid>"),
        ("object at 0x7f3a", "object at <hash>"),
        ("commit deadbeefcafe01", "commit <hash>"),
        ("one\ntwo", "one"),
        ("", ""),
    ],
)
def test_what_varies_is_taken_out_of_a_message(message, title):
    assert normalise(message) == title


def post(number):
    raise ConnectionError(f"the bank refused order {number}")


@activity(retry=Retry(max_attempts=1))
async def charge(number: int) -> int:
    if is_broken[0]:
        post(number)
    return number


@workflow
async def pays(number: int) -> int:
    return await charge(number)


@workflow
async def refunds(number: int) -> int:
    return await charge(number)


@workflow
async def divides(number: int) -> float:
    return 1 / number


async def failed(engine, workflow, *args):
    run = await engine.start(workflow, *args)
    with pytest.raises(durable.RunFailed):
        await run.result()
    return run


async def test_like_failures_of_several_workflows_are_one_issue(engine):
    for number in range(3):
        await failed(engine, pays, number)
    await failed(engine, refunds, 7)
    await failed(engine, divides, 0)

    issues = {one.kind + " " + one.title: one for one in await engine.issues()}

    assert set(issues) == {
        "failed ConnectionError: the bank refused order <n>",
        "failed ZeroDivisionError: division by zero",
    }
    bank = issues["failed ConnectionError: the bank refused order <n>"]
    assert (bank.seen, bank.open, bank.state) == (4, 4, "open")
    assert bank.workflows == {"pays": 3, "refunds": 1}
    assert list(bank.versions) == [pays.fingerprint, refunds.fingerprint]
    assert (bank.function, bank.place) == ("post", __file__)
    assert sum(bank.hours) == bank.hours[-1] == 4
    assert "in post" in bank.sample


async def test_a_retried_group_leaves_its_issue(engine):
    runs = [await failed(engine, pays.options(id=f"run-{at}"), at) for at in range(3)]
    (issue,) = await engine.issues()
    is_broken[0] = False

    ended = await (await engine.retry_all(f"issue:{issue.id}", reason="mended")).wait()

    assert (ended.done, ended.refusals) == (3, {})
    for run in runs:
        again = await engine.get(run.id)
        assert (await again.result(), again.name) == (int(run.id[-1]), f"{run.id}#2")
    (issue,) = await engine.issues()
    assert (issue.seen, issue.open) == (3, 0)
    assert (await (await engine.retry_all(f"issue:{issue.id}")).wait()).total == 0
    audit = (await (await engine.get("run-0")).details()).audit
    assert [(one.verb, one.why) for one in audit] == [("retry", "mended")]


@workflow
async def careful(number: int) -> int:
    try:
        return await charge(number)
    except ConnectionError:
        await note(number)
        raise


@activity
async def note(number: int) -> int:
    return number


async def test_what_a_run_refuses_is_its_own(engine):
    await failed(engine, careful.options(id="cleaned-up"), 1)
    await failed(engine, pays.options(id="plain"), 1)
    (issue,) = await engine.issues()
    is_broken[0] = False

    ended = await (await engine.retry_all(f"issue:{issue.fingerprint}")).wait()

    assert (ended.done, ended.refused, list(ended.refusals)) == (1, 1, ["cleaned-up"])
    assert "completed after the step that failed" in ended.refusals["cleaned-up"]
    again = await (await engine.retry_all(f"issue:{issue.id}", anyway=True)).wait()
    assert (again.done, again.refused) == (1, 0)


async def test_resolved_is_open_again_with_the_next_and_muted_is_not(engine):
    await failed(engine, pays, 1)
    (issue,) = await engine.issues()

    await engine.set_issue(issue.id, "resolved")
    assert [one.state for one in await engine.issues(state=None)] == ["resolved"]
    assert await engine.issues() == []
    await failed(engine, pays, 2)
    assert [one.seen for one in await engine.issues()] == [2]
    await engine.set_issue(issue.id, "muted")
    await failed(engine, pays, 3)

    assert await engine.issues() == []
    assert [one.seen for one in await engine.issues(state="muted")] == [3]


@pytest.mark.parametrize("name", ["I-99", "nothing", "", "I-", "-1"])
async def test_an_issue_that_is_not_there_is_an_error(engine, name):
    with pytest.raises(durable.RunNotFound, match="no issue"):
        await engine.set_issue(name, "muted")


async def test_a_state_that_is_none_is_refused(engine):
    with pytest.raises(durable.UsageError):
        await engine.issues(state="gone")
    with pytest.raises(durable.UsageError):
        await engine.set_issue("I-1", "gone")


@activity(retry=Retry(initial_interval=1, backoff=1, jitter=0))
async def flaky(number: int) -> int:
    if is_broken[0]:
        raise TimeoutError(f"no answer for {number}")
    return number


@workflow
async def insists(number: int) -> int:
    await flaky(number)
    return await go.receive()


async def test_what_is_tried_for_the_third_time_is_an_issue_until_it_goes_on(engine):
    engine._clock.host.jumps = False
    run = await engine.start(insists, 4)
    for _ in range(3):
        assert await engine.issues() == []
        while not (await run.details()).steps:
            await asyncio.sleep(0)
        seen = (await run.details()).steps[0].tries
        engine._clock.host.advance(1.0)
        while (await run.details()).steps[0].tries == seen:
            engine._clock.host.advance(0.5)
            await asyncio.sleep(0)
        if await engine.issues():
            break

    (issue,) = await engine.issues()
    assert (issue.kind, issue.title) == ("retrying", "TimeoutError: no answer for <n>")
    assert issue.open == 1
    is_broken[0] = False
    await (await engine.retry_all(f"issue:{issue.id}")).wait()
    while len(await run.history()) < 1:
        await asyncio.sleep(0)
    (issue,) = await engine.issues()
    assert issue.open == 0
    await run.terminate()


@workflow(name="edited")
async def edited_before(number: int) -> int:
    await note(number)
    return await go.receive()


@workflow(name="edited")
async def with_another_step(number: int) -> int:
    await other(number)
    return await go.receive()


@workflow(name="edited")
async def with_other_arguments(number: int) -> int:
    await note(number + 1)
    return await go.receive()


@activity(name="note")
async def note_as_list(number: int) -> list[int]:
    return [number]


@workflow(name="edited")
async def with_another_type(number: int) -> int:
    await note_as_list(number)
    return await go.receive()


@activity
async def other(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("after", "title"),
    [
        (with_another_step, "code changed at step 1: recorded note, code has other"),
        (with_other_arguments, "code changed at step 1: note gets other arguments"),
        (with_another_type, "the recorded result of step 1 (note) does not decode: "),
    ],
)
async def test_runs_blocked_by_one_edit_are_one_issue(tmp_path, after, title):
    path = tmp_path / "app.db"
    async with durable.Engine(path, functions=[edited_before]) as engine:
        runs = [await engine.start(edited_before, number) for number in range(4)]
        for run in runs:
            while not await run.history():
                await asyncio.sleep(0)
    async with durable.Engine(path, functions=[after]) as engine:
        while await engine.count("status:blocked") != {"blocked": 4}:
            await asyncio.sleep(0)

        (issue,) = await engine.issues()

        assert (issue.kind, issue.seen, issue.open) == ("blocked", 4, 4)
        assert issue.title.startswith(title)
        assert issue.place == __file__
    async with durable.Engine(path, functions=[edited_before]) as engine:
        for run in runs:
            handle = await engine.get(run.id)
            await handle.signal(go, 1)
            await handle.result()
        (issue,) = await engine.issues()
        assert issue.open == 0


class Chosen(Exception):
    def __init__(self, message, durable_fingerprint):
        super().__init__(message, durable_fingerprint)
        self.durable_fingerprint = durable_fingerprint


@workflow
async def chooses(message: str) -> None:
    raise Chosen(message, "mine")


async def test_an_exception_may_say_itself_what_it_is_like(engine):
    await failed(engine, chooses, "one")
    await failed(engine, chooses, "quite another")

    assert [one.seen for one in await engine.issues()] == [2]


async def test_runs_that_no_living_worker_knows_are_an_issue(tmp_path):
    path, clock = tmp_path / "app.db", ManualClock(jumps=False)

    @workflow
    async def left_alone(number: int) -> int:
        return number

    async with durable.Engine(path, functions=[], clock=clock) as engine:
        async with durable.Client(path) as client:
            client._clock = clock
            await client.start(left_alone.options(id="ready"), 1)
            await client.start(left_alone.options(id="due", start_delay=5), 1)
        assert await engine.issues() == []
        clock.advance(40)

        (issue,) = await engine.issues()

        assert (issue.kind, issue.id) == ("no worker", "no-worker:left_alone")
        assert (issue.open, issue.sample_run) == (2, "ready")
        assert "durable worker" in issue.sample
        assert engine._viewer.issue(issue.id).title == issue.title
        with pytest.raises(durable.RunNotFound, match="no issue"):
            await engine.set_issue(issue.id, "muted")
        async with durable.Engine(path, functions=[left_alone], clock=clock) as knows:
            for name in ("ready", "due"):
                await (await knows.get(name)).result()
            assert await engine.issues() == []
