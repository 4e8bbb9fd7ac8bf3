"""The client's verbs for plain functions: from threads, from a script, under a running loop."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import durable
from durable import Signal, Update, Value, workflow

number = Signal("number", int)
double = Update("double", int, int)
state = Value("state", str)


@workflow
async def takes_one() -> int:
    state.set("waiting")

    @double.handler
    def on_double(value: int) -> int:
        return 2 * value

    return await number.receive()


@pytest.fixture
def path(tmp_path):
    """A file that an engine on another thread serves."""
    started, stop = threading.Event(), threading.Event()

    async def serve():
        async with durable.Engine(tmp_path / "app.db", functions=[takes_one]):
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    yield tmp_path / "app.db"
    stop.set()
    thread.join()


def play(client, n):
    """What a view of a web framework would do."""
    run = client.start(takes_one.options(id=f"r{n}"))
    assert run.update(double, n) == 2 * n
    assert run.read(state) == "waiting"
    run.signal(number, n)
    return run.result()


def test_plain_functions_have_every_verb_from_any_thread(path):
    with durable.Client(path).blocking() as client, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: play(client, n), range(8)))
        listed = client.list()
        counts = client.count("status:completed")

    assert found == list(range(8))
    assert (len(listed), counts) == (8, {"completed": 8})


async def test_a_cell_of_a_notebook_has_a_running_loop(path):
    with durable.Client(path).blocking() as client:
        assert play(client, 5) == 5


def test_a_value_is_watched_without_a_loop(path):
    with durable.Client(path).blocking() as client:
        run = client.start(takes_one.options(id="w"))
        watching = run.watch(state)
        assert next(watching) == "waiting"
        run.signal(number, 1)
        assert list(watching) == []


def test_a_closed_client_says_so(path):
    with durable.Client(path).blocking() as client:
        pass

    with pytest.raises(durable.UsageError, match="not open"):
        client.list()


def test_each_verb_of_the_client_is_there():
    ours = {name for name in dir(durable.Client) if not name.startswith("_")} - {"blocking", "job"}
    runs = {name for name in dir(durable.Run) if not name.startswith("_")} - {"children", "parent"}

    assert ours <= set(dir(durable.BlockingClient))
    assert runs <= set(dir(durable.BlockingRun))
