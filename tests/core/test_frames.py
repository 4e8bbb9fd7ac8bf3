"""Whose code a frame is, wherever durable and the others are installed."""

import asyncio
import json

import attrs
import pytest

import durable
from durable._core import frames
from durable._core.frames import innermost_of_user, owner_of

INSTALLED = "/srv/app/.venv/lib/python3.12/site-packages/"


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        (durable.__file__, "durable"),
        (frames.__file__, "durable"),
        (attrs.__file__, "installed"),
        (INSTALLED + "httpx/_client.py", "installed"),
        ("/usr/lib/python3/dist-packages/numpy/core.py", "installed"),
        (json.__file__, "python"),
        (asyncio.__file__, "python"),
        ("<frozen importlib._bootstrap>", "python"),
        (__file__, "user"),
        ("<stdin>", "user"),
        ("/srv/durable/app.py", "user"),
        ("/srv/durable_pipelines/app.py", "user"),
    ],
)
def test_a_file_has_one_owner(path: str, owner: str) -> None:
    assert owner_of(path) == owner


def test_durable_stays_durable_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_DURABLE", INSTALLED + "durable/")

    assert owner_of(INSTALLED + "durable/_core/loop.py") == "durable"
    assert owner_of(INSTALLED + "durable_extras/__init__.py") == "installed"


def test_the_place_where_code_waits_is_the_users_and_not_the_one_of_asyncio_below_it() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def waits() -> None:
        await queue.get()

    async def main() -> str:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        try:
            return innermost_of_user(task.get_coro())
        finally:
            task.cancel()

    assert asyncio.run(main()) == f"{__file__}:{waits.__code__.co_firstlineno + 1}"


def test_the_place_in_code_of_others_alone_is_the_innermost_of_theirs() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def main() -> str:
        task = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        try:
            return innermost_of_user(task.get_coro())
        finally:
            task.cancel()

    assert asyncio.run(main()).startswith(f"{asyncio.queues.__file__}:")
