import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"


try:  # The plugin is installed by its entry point; a bare checkout loads it here.
    from importlib.metadata import entry_points

    if not any(one.value == "durable.testing.plugin" for one in entry_points(group="pytest11")):
        pytest_plugins = ["durable.testing.plugin"]
except ImportError:
    pass
