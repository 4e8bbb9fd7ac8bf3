"""Large payloads are compressed by the writer's thread, and not at all where that gains little."""

import os
import threading

import pytest

import durable
from durable import activity, workflow
from durable._store import stored_payloads
from durable.payloads import compress, decompress


@activity
async def make(size: int) -> str:
    return "ab" * (size // 2)


@workflow
async def makes(size: int) -> int:
    return len(await make(size))


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_000])
def test_what_shrinks_is_compressed_and_comes_back(size):
    data = b"abc" * (size // 3)

    packed = compress(data)

    assert decompress(packed, len(data)) == data
    assert size < 100 or len(packed) < size // 10


@pytest.mark.parametrize("size", [65_537, 1_000_000])
def test_what_does_not_shrink_is_kept_as_it_is(size):
    data = os.urandom(size)

    packed = compress(data)

    assert decompress(packed, size) == data
    assert size < len(packed) < size + 1_000
    assert data[:1_000] in packed


async def test_the_loop_compresses_nothing(tmp_path, monkeypatch):
    threads = []

    def noting(data):
        threads.append(threading.current_thread().name)
        return compress(data)

    monkeypatch.setattr(stored_payloads, "compress", noting)
    async with durable.Engine(tmp_path / "app.db", functions=[makes]) as engine:
        engine._worker.owns_loop = True  # As `durable.run`, which commits on the loop if it can.
        assert await (await engine.start(makes, 200_000)).result() == 200_000

    assert threads == ["durable-writer"]
