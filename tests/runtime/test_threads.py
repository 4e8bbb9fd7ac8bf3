"""As many jobs run side by side as there may be threads, however quickly one follows another."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from durable._runtime.threads import Threads

ROUNDS = 300


@pytest.fixture
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching_often")
def test_two_jobs_run_side_by_side_though_one_thread_was_idle() -> None:
    met = 0
    for _ in range(ROUNDS):
        threads, barrier = Threads(2), threading.Barrier(3)

        def meet(barrier: threading.Barrier = barrier) -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(5)

        threads.run(lambda: None)
        while threads.busy or not threads._idle:
            time.sleep(0)
        threads.run(meet)
        for _ in range(20):  # The idle thread may take it, and not have said so yet.
            if threads._jobs.empty():
                break
        threads.run(meet)
        try:
            barrier.wait(2)
            met += 1
        except threading.BrokenBarrierError:
            break
        finally:
            threads.close()

    assert met == ROUNDS
