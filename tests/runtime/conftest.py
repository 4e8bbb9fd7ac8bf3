"""What every test in this folder needs."""

from pathlib import Path

import pytest

from durable import definitions

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _own_workflows(request, monkeypatch):
    """Let an engine know the workflows of the test's own module, and of this folder's helpers.

    All modules are imported into one process, some as scripts by their paths, and a name that two
    of them use means neither.
    """
    known = definitions.candidates
    own = request.path

    def candidates():
        found = {}
        for name, workflows in known().items():
            kept = [one for one in workflows if _is_for(Path(one.fn.__code__.co_filename), own)]
            if kept:
                found[name] = kept
        return found

    monkeypatch.setattr(definitions, "candidates", candidates)


def _is_for(file, own):
    if file == own or HERE.parent not in file.parents:
        return True
    return file.parent == own.parent and not file.name.startswith("test_")
