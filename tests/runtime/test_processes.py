"""Activities in processes: what they may do, how they die, what is left of them."""

import asyncio
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import durable
from durable import (
    DefinitionError,
    Engine,
    HeartbeatTimeout,
    Limits,
    OutcomeUnknown,
    ProcessDied,
    Retry,
    StartToCloseTimeout,
    UsageError,
    activity,
    workflow,
)
from durable._runtime.attempts import Attempt
from durable.inspection import view
from durable.testing import ManualClock
from tests.runtime import gated
from tests.runtime import in_processes as code
from tests.until import until

pytestmark = pytest.mark.slow

ONE = Limits(processes_max=1)


def is_alive(pid):
    """Say whether a process runs; one that has ended and was not fetched does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        if sys.platform == "linux":
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"


def pids_in(folder):
    return [int(one.name) for one in folder.iterdir() if one.name.isdigit()]


async def begun(folder):
    (pid,) = await until(lambda: pids_in(folder))
    return pid


def pool(engine):
    return engine._running().processes


def later(engine, clock, seconds):
    clock.advance(seconds)
    engine._running().timers.fire_due()


def places(engine):
    return engine._running().activities.places


# -- in the three modes --------------------------------------------------------------------------


async def test_plain_and_async_functions_run_in_a_process(durable_harness):
    assert await durable_harness.run(code.both) == [1, 2]


async def test_an_exception_of_a_class_of_ones_own_is_caught_by_it(durable_harness):
    assert await durable_harness.run(code.catches) == "order-1 500 KeyError('inner')"


@pytest.mark.parametrize("way", ["exit", "kill"])
async def test_a_process_that_dies_is_one_failed_attempt_and_its_heartbeat_is_there(
    durable_harness, way
):
    assert await durable_harness.run(code.goes_on, way) == 2


async def test_retry_after_sets_the_wait(durable_harness):
    assert await durable_harness.run(code.waits_an_hour) == 2


# -- where it runs -------------------------------------------------------------------------------


async def test_it_is_another_process_and_is_used_again(tmp_path):
    @workflow
    async def many() -> list[int]:
        found = await asyncio.gather(*(code.where(number) for number in range(200)))
        assert [number for number, _ in found] == list(range(200))
        return [pid for _, pid in found]

    async with Engine(tmp_path / "app.db", limits=Limits(processes_max=2)) as engine:
        run = await engine.start(many)
        pids = set(await run.result())
        assert pool(engine).started <= 2
        assert all(is_alive(pid) for pid in pids)

    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2
    assert not any(is_alive(pid) for pid in pids)


async def test_no_process_is_started_before_one_is_needed(tmp_path):
    @workflow
    async def needs_none() -> int:
        return 1

    async with Engine(tmp_path / "app.db") as engine:
        assert await (await engine.start(needs_none)).result() == 1
        assert pool(engine).started == 0


async def test_options_and_step_isolate_too(tmp_path):
    @workflow
    async def several() -> list[bool]:
        one = await code.echo.options(isolation=None)("here")
        other = await durable.step(code.pid, isolation="process")
        return [one == "here", other == os.getpid()]

    async with Engine(tmp_path / "app.db") as engine:
        assert await (await engine.start(several)).result() == [True, False]


async def test_large_arguments_and_results_pass(tmp_path):
    text = "ä" * 2_500_000

    @workflow
    async def large() -> bool:
        return await code.echo(text) == text

    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        assert await (await engine.start(large)).result()


async def test_a_result_beyond_the_limit_is_refused_and_not_tried_again(tmp_path):
    limits = Limits(processes_max=1, payload_bytes_max=10_000)

    @workflow
    async def too_large() -> str:
        try:
            await code.grows(20_000)
        except durable.PayloadTooLarge as error:
            return str(error)
        return "?"

    async with Engine(tmp_path / "app.db", limits=limits) as engine:
        assert "result of grows" in await (await engine.start(too_large)).result()
        assert not places(engine).running


# -- what it may ask for -------------------------------------------------------------------------


async def test_it_knows_its_attempt(tmp_path):
    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        run = await engine.start(code.tells.options(id="r", headers={"trace": "t-1"}))
        found = await run.result()

    assert found["run"] == "r"
    assert found["step"] == "1"
    assert found["activity"] == "about"
    assert found["key"].startswith("r/")
    assert found["header"] == "t-1"
    assert found["cancelled"] == found["stopping"] == found["has deadline"] == "False"


async def test_it_publishes_values_items_and_log_lines(tmp_path, caplog):
    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        run = await engine.start(code.reads.options(id="r"))
        assert await run.result() == "done"
        items = [one.value async for one in run.tail(code.tokens)]
        value = await run.read(code.state)

    with view(tmp_path / "app.db") as runs:
        lines = runs.logs("r")
    assert items == ["a", "b", "c"]
    assert value == {"c": 1}
    assert [(one.text, one.step, one.attempt) for one in lines] == [("said aloud", "1", 1)]
    (record,) = [one for one in caplog.records if one.name == code.logger.name]
    assert (record.getMessage(), record.levelno) == ("said aloud", logging.WARNING)
    assert (record.durable_run, record.durable_step) == ("r", "1")
    assert record.pathname.endswith("in_processes.py")


async def test_a_resource_of_the_engine_is_refused_with_the_reason(tmp_path):
    @workflow
    async def needs() -> str:
        try:
            await code.uses_resource()
        except UsageError as error:
            return str(error)
        return "?"

    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        found = await (await engine.start(needs)).result()

    assert "'pool'" in found
    assert "another one" in found
    assert "in a variable of its module" in found


async def test_it_may_be_completed_later(tmp_path):
    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        run = await engine.start(code.hands_over, str(tmp_path))
        await until((tmp_path / "token").exists)
        token = await until((tmp_path / "token").read_text)
        await engine.resolve(token, 42)
        assert await run.result() == 42


async def test_what_a_thread_it_has_left_says_is_nobodys(tmp_path):
    @workflow
    async def two() -> str:
        await code.leaves_a_thread()
        return await code.publishes()

    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        run = await engine.start(two)
        assert await run.result() == "done"


# -- how it dies ---------------------------------------------------------------------------------


@workflow
async def calls(what: str, *args: int | str) -> str:
    try:
        await getattr(code, what)(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "?"


@pytest.mark.parametrize(
    ("what", "args", "why"),
    [
        ("leaves", [3], "ended with exit code 3"),
        ("leaves", [0], "ended with exit code 0"),
        ("kills_itself", [9], "was killed by SIGKILL (signal 9)"),
        ("segfaults", [], "was killed by SIGSEGV (signal 11)"),
        ("leaves_a_fork", [], "ended with exit code 4"),
        ("says_half", [], "ended with exit code 0"),
        ("says_nonsense", [], "sent what is no message, and was ended"),
    ],
)
async def test_a_death_is_a_failure_that_says_how(tmp_path, what, args, why):
    async with Engine(tmp_path / "app.db", limits=ONE, functions=[calls, code.both]) as engine:
        run = await engine.start(calls, what, *args)
        found = await run.result()
        (step,) = (await run.details()).steps
        after = await (await engine.start(code.both)).result()

    assert found.startswith(f"ProcessDied: the process of {what} (pid ")
    assert why in found
    assert len(step.attempts) == 1
    assert after == [1, 2]  # The pool has another one.


async def test_sys_exit_is_an_exception_of_the_attempt(tmp_path):
    async with Engine(tmp_path / "app.db", limits=ONE, functions=[calls]) as engine:
        found = await (await engine.start(calls, "exits")).result()

    assert found == "SystemExit: 3"


async def test_deaths_lose_no_worker_and_disturb_no_other_run(tmp_path):
    @workflow
    async def dies() -> None:
        await code.leaves.options(retry=Retry(max_attempts=8, initial_interval=0))(1)

    @workflow
    async def lives() -> int:
        (number, _), *_ = await asyncio.gather(*(code.where(one) for one in range(30)))
        return number

    async with Engine(tmp_path / "app.db", limits=Limits(processes_max=2)) as engine:
        bad = await engine.start(dies.options(id="bad"))
        good = await engine.start(lives)
        assert await good.result() == 0
        with pytest.raises(durable.RunFailed, match="exit code 1"):
            await bad.result()
        (step,) = (await bad.details()).steps

    assert len(step.attempts) == 8  # More than a run may lose workers.


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms limit no memory")
async def test_memory_is_limited_and_given_back(tmp_path):
    @workflow
    async def hungry() -> list[int]:
        small, first = await code.takes(1_000_000)
        try:
            await code.takes(1 << 30)
        except MemoryError:
            _, other = await code.takes(1)
            large = await code.unlimited(1 << 29)
            return [small, large, int(first != other)]
        return []

    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        assert await (await engine.start(hungry)).result() == [1_000_000, 1 << 29, 1]


async def test_at_most_once_is_not_called_again(tmp_path):
    @workflow
    async def sends() -> str:
        try:
            await code.letter(str(tmp_path))
        except (OutcomeUnknown, ProcessDied) as error:
            return type(error).__name__
        return "?"

    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        assert await (await engine.start(sends)).result() == "ProcessDied"

    assert (tmp_path / "letters").read_text() == "sent\n"


# -- how it is ended -----------------------------------------------------------------------------


async def test_a_timeout_ends_the_process_and_the_pool_heals(tmp_path):
    @workflow
    async def impatient() -> str:
        try:
            await code.spins.options(start_to_close=10)(str(tmp_path))
        except StartToCloseTimeout:
            return str((await code.where(1))[0])
        return "?"

    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", limits=ONE, clock=clock) as engine:
        run = await engine.start(impatient)
        pid = await begun(tmp_path)
        later(engine, clock, 9)
        assert is_alive(pid)
        later(engine, clock, 1)
        assert await run.result() == "1"
        await until(lambda: not is_alive(pid))


async def test_missing_heartbeats_end_the_process(tmp_path):
    @workflow
    async def impatient() -> str:
        try:
            await code.beats_once.options(heartbeat=10)(str(tmp_path))
        except HeartbeatTimeout:
            return "no heartbeat"
        return "?"

    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", limits=ONE, clock=clock) as engine:
        run = await engine.start(impatient)
        pid = await begun(tmp_path)
        later(engine, clock, 10)
        assert await run.result() == "no heartbeat"
        await until(lambda: not is_alive(pid))


@workflow
async def goes_for_ever(what: str, folder: str) -> None:
    await getattr(code, what)(folder)


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_an_end_of_the_run_ends_the_process(tmp_path, how):
    async with Engine(tmp_path / "app.db", limits=ONE, functions=[goes_for_ever]) as engine:
        run = await engine.start(goes_for_ever, "cleans_up", str(tmp_path))
        pid = await begun(tmp_path)
        await getattr(run, how)()
        await until(lambda: not is_alive(pid))
        await until(lambda: not places(engine).running)
        assert places(engine).processes.in_use == 0

    assert (tmp_path / "cleaned").read_text() == "True"


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path):
    async with Engine(tmp_path / "app.db", limits=ONE, functions=[goes_for_ever]) as engine:
        run = await engine.start(goes_for_ever, "holds_on", str(tmp_path))
        pid = await begun(tmp_path)
        await run.cancel()
        await until(lambda: not is_alive(pid))


async def test_what_it_has_started_ends_with_it(tmp_path):
    async with Engine(tmp_path / "app.db", limits=ONE, functions=[goes_for_ever]) as engine:
        run = await engine.start(goes_for_ever, "has_a_child", str(tmp_path))
        await begun(tmp_path)
        child = int((tmp_path / "child").read_text())
        await run.cancel()
        await until(lambda: not is_alive(child))
        await until(lambda: not places(engine).running)


async def test_a_step_that_the_code_gives_up_is_ended(tmp_path):
    @workflow
    async def gives_up() -> str:
        try:
            async with asyncio.timeout(10):
                await code.spins(str(tmp_path))
        except TimeoutError:
            return "gave up"
        return "?"

    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", limits=ONE, clock=clock) as engine:
        run = await engine.start(gives_up)
        pid = await begun(tmp_path)
        later(engine, clock, 10)
        assert await run.result() == "gave up"
        await until(lambda: not is_alive(pid))


async def test_what_waits_for_a_process_is_queued_and_given_up_it_never_begins(tmp_path):
    @workflow
    async def first() -> int:
        return await code.waits_for(str(tmp_path), "one")

    @workflow
    async def second() -> int:
        return await code.waits_for.options(start_to_close=0.001)(str(tmp_path), "two")

    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        one = await engine.start(first)
        await until((tmp_path / "one.begun").exists)
        two = await engine.start(second)
        await until(lambda: places(engine).waiting == 1)
        found = await two.details()
        assert found.status == "queued"
        assert "all 1 processes are in use (Limits.processes_max)" in found.why
        await two.cancel()
        with pytest.raises(durable.RunCancelled):
            await two.result()
        (tmp_path / "one").touch()
        await one.result()
        await until(lambda: not places(engine).running)

    assert not (tmp_path / "two.begun").exists()


@workflow
async def goes_through() -> str:
    return await gated.behind()


async def importing(tmp_path):
    (found,) = await until(lambda: list(tmp_path.glob("gate.*")))
    return int(found.suffix[1:])


async def test_its_clocks_begin_once_its_module_is_imported(tmp_path, monkeypatch):
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    clock = ManualClock(jumps=False)
    async with Engine(tmp_path / "app.db", limits=ONE, clock=clock) as engine:
        run = await engine.start(goes_through)
        await importing(tmp_path)
        later(engine, clock, 1_000)
        (tmp_path / "gate").touch()
        assert await run.result() == "through"


async def test_given_up_while_its_module_is_imported_it_never_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        run = await engine.start(goes_through)
        pid = await importing(tmp_path)
        await run.cancel()
        await until(lambda: not is_alive(pid))
        with pytest.raises(durable.RunCancelled):
            await run.result()
        assert not places(engine).running
        assert not any(one.attempts for one in (await run.details()).steps)


async def test_a_module_that_cannot_be_imported_is_a_failed_attempt(tmp_path, monkeypatch):
    monkeypatch.delenv("GATE", raising=False)

    @workflow
    async def fails() -> str:
        try:
            await gated.behind.options(retry=code.QUICK)()
        except KeyError as error:
            return str(error)
        return "?"

    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        run = await engine.start(fails)
        assert await run.result() == "'GATE'"
        (step,) = (await run.details()).steps
        assert len(step.attempts) == 2


async def test_places_count_processes_too(tmp_path):
    limits = Limits(processes_max=2, max_running_activities=1)

    @workflow
    async def two() -> None:
        await asyncio.gather(*(code.waits_for(str(tmp_path), name) for name in "ab"))

    async with Engine(tmp_path / "app.db", limits=limits) as engine:
        run = await engine.start(two)
        await until((tmp_path / "a.begun").exists)
        assert (places(engine).running, places(engine).waiting) == (1, 1)
        assert not (tmp_path / "b.begun").exists()
        for name in "ab":
            (tmp_path / name).touch()
        await run.result()


async def test_async_activities_go_on_while_all_processes_are_in_use(tmp_path):
    @activity
    async def here() -> int:
        return 7

    @workflow
    async def on_the_loop() -> int:
        return await here()

    async with Engine(
        tmp_path / "app.db", limits=ONE, functions=[goes_for_ever, on_the_loop]
    ) as engine:
        run = await engine.start(goes_for_ever, "spins", str(tmp_path))
        await begun(tmp_path)
        assert await (await engine.start(on_the_loop)).result() == 7
        await run.terminate()


# -- the end of the engine -----------------------------------------------------------------------


async def test_an_engine_that_closes_ends_a_running_process_and_makes_it_again(tmp_path):
    path = tmp_path / "app.db"

    @workflow
    async def long() -> int:
        return await code.waits_for(str(tmp_path), "go")

    async with Engine(path, limits=ONE, functions=[long], grace=0) as engine:
        run = await engine.start(long.options(id="r"))
        await until((tmp_path / "go.begun").exists)
        (process,) = pool(engine)._all
    assert not is_alive(process.pid)

    (tmp_path / "go").touch()
    async with Engine(path, limits=ONE, functions=[long]) as engine:
        run = await engine.get("r")
        assert await run.result() > 0
        (step,) = (await run.details()).steps
        assert not step.attempts  # It did not fail.


async def test_an_engine_that_stops_tells_it_and_waits_for_its_grace(tmp_path):
    path = tmp_path / "app.db"

    @workflow
    async def polite() -> str:
        return await code.ends_when_told(str(tmp_path))

    async with Engine(path, limits=ONE, functions=[polite], grace=30) as engine:
        run = await engine.start(polite.options(id="r"))
        await until((tmp_path / "begun").exists)

    async with durable.Client(path) as client:
        run = await client.get("r")
        (step,) = (await run.details()).steps
        assert step.status == "completed"


SCRIPT = """
import asyncio, sys
import durable
from tests.runtime import in_processes as code

@durable.workflow
async def two(folder: str) -> None:
    await asyncio.gather(*(getattr(code, what)(folder) for what in sys.argv[3:]))

if __name__ == "__main__":
    durable.run(sys.argv[1], two, sys.argv[2])
"""


def started(tmp_path, *what):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "pids"
    folder.mkdir()
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    engine = subprocess.Popen(
        [sys.executable, script, tmp_path / "app.db", folder, *what],
        env=environment,
        stderr=subprocess.PIPE,
    )
    return engine, folder


@pytest.mark.parametrize("what", ["spins", "holds_the_interpreter", "holds_on"])
async def test_a_killed_engine_leaves_no_process_behind(tmp_path, what):
    engine, folder = started(tmp_path, what, "spins")
    try:
        pids = await until(lambda: len(found := pids_in(folder)) == 2 and found)
        assert all(is_alive(pid) for pid in pids)
    finally:
        engine.kill()
        engine.communicate()

    await until(lambda: not any(is_alive(pid) for pid in pids))


async def test_ctrl_c_is_the_engines_and_ends_all(tmp_path):
    engine, folder = started(tmp_path, "spins")
    try:
        pid = await begun(folder)
        os.kill(pid, signal.SIGINT)
        engine.send_signal(signal.SIGINT)
        while b"stopping; it waits for spins" not in engine.stderr.readline():
            pass
        engine.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(engine.communicate, timeout=20)
    finally:
        engine.kill()
        engine.wait()

    assert engine.returncode == 130
    assert b"KeyboardInterrupt" not in said
    await until(lambda: not is_alive(pid))


MAIN = """
import durable

class Odd(Exception):
    pass

@durable.activity(isolation="process", retry=durable.Retry(max_attempts=1))
def here(number: int) -> str:
    if number:
        raise Odd(number)
    print("out of", __name__)
    return __name__

@durable.workflow
async def of_main() -> str:
    name = await here(0)
    try:
        await here(1)
    except Odd as error:
        return f"{name} {error}"
    return "?"

%s
"""
GUARDED = 'if __name__ == "__main__":\n    print(durable.run("app.db", of_main))'
UNGUARDED = 'print(durable.run("app.db", of_main))'


def run_script(tmp_path, *command):
    return subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", [["script.py"], ["-m", "script"]])
def test_functions_and_exceptions_of_a_script_are_found(tmp_path, command):
    (tmp_path / "script.py").write_text(MAIN % GUARDED)

    done = run_script(tmp_path, *command)

    assert done.stdout == "out of __mp_main__\n__mp_main__ 1\n", done.stderr


def test_a_script_that_starts_its_engine_when_it_is_imported_is_told(tmp_path):
    (tmp_path / "script.py").write_text(MAIN % UNGUARDED)

    done = run_script(tmp_path, "script.py")

    assert done.returncode == 1
    assert 'put that into if __name__ == "__main__"' in done.stderr


# -- refusals ------------------------------------------------------------------------------------


def test_what_no_process_could_find_is_refused_at_its_definition():
    with pytest.raises(DefinitionError, match=r"inside another function.*top of its module"):

        @activity(isolation="process")
        def inner() -> None: ...

    with pytest.raises(DefinitionError, match=r"is a lambda.*with def"):
        activity(name="short", isolation="process")(lambda: 1)

    @activity
    def local() -> None: ...

    with pytest.raises(DefinitionError, match="finds it there by name"):
        local.options(isolation="process")


async def test_our_own_error_in_the_conversation_ends_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(Attempt, "heartbeat", lambda _self, _details: 1 / 0)

    async with Engine(tmp_path / "app.db", limits=ONE, functions=[calls, code.both]) as engine:
        run = await engine.start(calls, "beats_once", str(tmp_path))
        assert await run.result() == "ZeroDivisionError: division by zero"
        assert await (await engine.start(code.both)).result() == [1, 2]
        assert pool(engine).started == 2


def test_a_function_of_a_prompt_is_refused(tmp_path):
    text = 'import durable\n@durable.activity(isolation="process")\ndef f() -> None: ...'

    done = run_script(tmp_path, "-c", text)

    assert "DefinitionError: f is of a notebook or a prompt" in done.stderr
    assert "Put it into a module, and import it" in done.stderr


def test_a_transaction_cannot_be_isolated():
    @durable.transaction
    def books(cursor) -> None: ...

    with pytest.raises(DefinitionError, match="books is a transaction"):
        books.options(isolation="process")


async def test_a_builtin_is_refused_as_an_isolated_step(tmp_path):
    @workflow
    async def steps() -> str:
        try:
            await durable.step(math.factorial, 5, isolation="process")
        except DefinitionError as error:
            return str(error)
        return "?"

    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        assert "pass a function that calls it" in await (await engine.start(steps)).result()


@pytest.mark.parametrize("isolation", ["thread", "", 1, True])
def test_other_isolations_are_refused(isolation):
    with pytest.raises(UsageError, match='isolation is "process" or None'):
        code.where.options(isolation=isolation)


@pytest.mark.parametrize("size", ["lots", "2 parsecs", "", -1, 1.5, True, "63MiB", 1 << 63])
@pytest.mark.skipif(sys.platform != "linux", reason="refused as a whole")
def test_wrong_memory_limits_are_refused(size):
    with pytest.raises(UsageError, match="memory_limit is"):
        code.where.options(memory_limit=size)


@pytest.mark.parametrize(
    ("size", "count"),
    [("64MiB", 1 << 26), ("2GiB", 1 << 31), ("1.5 gb", 1_500_000_000), (1 << 26, 1 << 26)],
)
@pytest.mark.skipif(sys.platform != "linux", reason="refused as a whole")
def test_memory_limits_are_sizes(size, count):
    assert code.where.options(memory_limit=size).policy.memory_bytes_max == count


def test_memory_limits_need_a_process_and_a_platform(monkeypatch):
    with pytest.raises(DefinitionError, match='needs isolation="process"'):
        activity(memory_limit=1 << 30)(code.pid)

    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(DefinitionError, match="only there on Linux"):
        code.where.options(memory_limit="1GiB")


@activity(isolation="process", retry=Retry(initial_interval=0))
def replaced() -> int:
    return 1


called = replaced
replaced = int  # type: ignore[assignment, misc]


async def test_a_name_that_means_something_else_fails_the_step_at_once(tmp_path):
    @workflow
    async def calls_replaced() -> str:
        try:
            await called()
        except DefinitionError as error:
            return str(error)
        return "?"

    async with Engine(tmp_path / "app.db", limits=ONE) as engine:
        found = await (await engine.start(calls_replaced)).result()

    assert "is another object than the function" in found
    assert "two different names" in found
