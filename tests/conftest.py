import gc
import os
import shutil
import signal
from pathlib import Path

import pytest

from durable import definitions

HERE = Path(__file__).parent

# A shell without job control starts what it puts into the background with SIGINT ignored, and so
# would each process that a test starts and interrupts: it would wait for its end for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Of /dev/shm at least, where it is used: the default of containers, 64 MB, is not enough.
TMPFS_BYTES_MIN = 4 << 30


def pytest_configure():
    """Let the tests' files lie in memory where there is room for them: a third of their time.

    Who wants them on a disk says --basetemp, or PYTEST_DEBUG_TEMPROOT.
    """
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free >= TMPFS_BYTES_MIN:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


def pytest_collection_finish():
    """Keep what was imported and collected out of the collector's way.

    A run that is dropped from memory costs a collection of everything; over the objects of some
    thousand collected tests that takes longer than the test.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _frozen():
    """Do so again before each module: what the ones before have left is kept for the reports."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show text that is no Unicode escaped: what the tests of odd names log goes to a process."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


class Files(dict[str, bool]):
    """Which files' workflows a test's engines know: asked for each workflow at each claim."""

    def __init__(self, own: Path) -> None:
        super().__init__()
        self._own = own

    def __missing__(self, name: str) -> bool:
        file, own = Path(name), self._own
        is_helper = file.parent in own.parents and not file.name.startswith("test_")
        known = self[name] = file == own or is_helper or HERE not in file.parents
        return known


@pytest.fixture(autouse=True)
def _own_workflows(request, monkeypatch):
    """Let an engine know the workflows of the test's own module, and of helpers beside it.

    All modules are imported into one process, and a name that two of them use means neither.
    """
    known, files = definitions.candidates, Files(request.path)

    def candidates():
        found = {}
        for name, workflows in known().items():
            kept = [one for one in workflows if files[one.fn.__code__.co_filename]]
            if kept:
                found[name] = kept
        return found

    monkeypatch.setattr(definitions, "candidates", candidates)


@pytest.fixture
def anyio_backend():
    return "asyncio"


try:  # The plugin is installed by its entry point; a bare checkout loads it here.
    from importlib.metadata import entry_points

    if not any(one.value == "durable.testing.plugin" for one in entry_points(group="pytest11")):
        pytest_plugins = ["durable.testing.plugin"]
except ImportError:
    pass
