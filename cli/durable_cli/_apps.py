"""APP:NAME of the command line: importing an application, and finding an engine or a workflow."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from durable_cli._errors import Failed

if TYPE_CHECKING:
    from types import ModuleType

    from durable import Engine, Workflow

__all__ = ["find_engine", "find_workflow"]


def find_engine(app: str) -> Engine:
    """Import an application and return its engine, not entered.

    Args:
        app: ``module:attribute`` or ``path.py:attribute``; a function is called.

    Raises:
        click.UsageError: There is no such module, file or engine.
        Failed: Importing it failed.
    """
    module, name, attribute = _split(app, "APP:ENGINE", "engine")
    return _engine_of(module, name, attribute)


def find_workflow(app: str) -> Workflow[..., Any]:
    """Import an application and return one of its workflows.

    Args:
        app: ``module:attribute`` or ``path.py:attribute``.

    Raises:
        click.UsageError: There is no such module, file or workflow.
        Failed: Importing it failed.
    """
    module, name, attribute = _split(app, "APP:WORKFLOW", "publish")
    from durable.definitions import Workflow

    others = _names_of(module, Workflow)
    found = _attribute_of(module, name, attribute, others)
    if isinstance(found, Workflow):
        return found
    raise click.UsageError(
        f"{name}:{attribute} is {_article(type(found).__name__)}; it must be a workflow{others}"
    )


def _split(app: str, kind: str, example: str) -> tuple[ModuleType, str, str]:
    module_name, colon, attribute = app.rpartition(":")
    if not colon or not module_name or not attribute:
        raise click.UsageError(
            f"{app!r} is not {kind}; for example shop:{example} or shop.py:{example}"
        )
    return _load(module_name), module_name, attribute


def _load(name: str) -> ModuleType:
    if name.endswith(".py"):
        return _load_file(Path(name))
    if not all(part.isidentifier() for part in name.split(".")):
        raise click.UsageError(f"{name!r} is no module; name one (shop.jobs) or a file (jobs.py)")
    # As `python -m` does: modules of this folder are found, wherever the script is installed.
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # One that the application itself lacks is an error of the application.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise click.UsageError(f"there is no module {error.name!r} here or installed") from None
        raise _not_importable(name, error) from error
    except Exception as error:
        raise _not_importable(name, error) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise click.UsageError(f"there is no file {str(path)!r}")
    # As `python path.py` does: its neighbours can be imported.
    sys.path.insert(0, str(path.resolve().parent))
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _not_importable(str(path), error) from error
    return module


def _not_importable(name: str, error: Exception) -> Failed:
    return Failed(f"{name} cannot be imported: {type(error).__name__}: {error}")


def _engine_of(module: ModuleType, name: str, attribute: str) -> Engine:
    from durable.engine import Engine

    others = _names_of(module, Engine)
    found = _attribute_of(module, name, attribute, others)
    if not isinstance(found, Engine) and callable(found) and _takes_nothing(found):
        found = found()
        if inspect.iscoroutine(found):
            found.close()
    if isinstance(found, Engine):
        return found
    raise click.UsageError(
        f"{name}:{attribute} is {_article(type(found).__name__)}; it must be a durable.Engine, or "
        f"a function without arguments that returns one{others}"
    )


def _attribute_of(module: ModuleType, name: str, attribute: str, others: str) -> object:
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise click.UsageError(f"{name} has no {attribute!r}{others}")
    return found


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _takes_nothing(function: object) -> bool:
    assert callable(function)
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


def _names_of(module: ModuleType, kind: type) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, kind)]
    return f"; it has {', '.join(sorted(names))}" if names else ""
