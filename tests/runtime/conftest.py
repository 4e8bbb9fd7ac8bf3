"""What every test in this folder needs."""

import pytest

from durable import definitions


@pytest.fixture(autouse=True)
def _own_workflows(request, monkeypatch):
    """Let an engine know the workflows of the test's own module alone.

    All modules are imported into one process, and a name that two of them use means neither.
    """
    known = definitions.candidates
    own = request.module.__name__

    def candidates():
        found = {}
        for name, workflows in known().items():
            kept = [one for one in workflows if _is_for(str(one.fn.__module__), own)]
            if kept:
                found[name] = kept
        return found

    monkeypatch.setattr(definitions, "candidates", candidates)


def _is_for(module, own):
    """Say whether a module's workflows are for the tests of another: those of their helpers are."""
    if module == own or not module.startswith("tests."):
        return True
    folder, _, name = module.rpartition(".")
    return folder == own.rpartition(".")[0] and not name.startswith("test_")
