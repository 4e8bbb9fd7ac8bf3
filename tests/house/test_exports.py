"""The exports are the exports: written three times for three readers, the same in each."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import durable

SOURCE = Path(durable.__file__)


def imported_for_type_checkers() -> dict[str, str]:
    """Return the module of each name that a type checker sees."""
    found: dict[str, str] = {}
    for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                (one,) = line.names
                assert one.name == one.asname, f"{one.name} must be exported as itself"
                assert line.module is not None
                found[one.name] = line.module
    return found


def test_all_is_sorted_and_without_repetition() -> None:
    assert durable.__all__ == sorted(set(durable.__all__))


def test_what_is_loaded_when_used_is_what_type_checkers_see() -> None:
    assert imported_for_type_checkers() == durable._HOME_OF


def test_all_is_what_can_be_imported() -> None:
    assert set(durable.__all__) == set(durable._HOME_OF)
    assert set(dir(durable)) == {*durable.__all__, "__version__"}


@pytest.mark.parametrize("name", durable.__all__)
def test_each_name_is_its_home_s_and_explained(name: str) -> None:
    value = getattr(durable, name)

    assert value is getattr(import_module(durable._HOME_OF[name]), name)
    if name != "Duration":  # an alias of a union cannot carry a docstring
        assert value.__doc__, f"durable.{name} has no docstring"


def test_star_import_gives_the_surface_and_nothing_else() -> None:
    namespace: dict[str, object] = {}

    exec("from durable import *", namespace)

    assert namespace.keys() - {"__builtins__"} == set(durable.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        durable.nothing  # noqa: B018


def test_no_name_is_hidden_by_a_module_that_is_imported_later() -> None:
    # A submodule becomes an attribute of its package when imported: `durable.run` must stay a
    # function whatever is loaded, so no public name may be the name of a submodule.
    modules = {path.stem for path in SOURCE.parent.glob("*.py")}
    modules |= {path.name for path in SOURCE.parent.iterdir() if path.is_dir()}

    assert not modules & set(durable.__all__)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(durable._HOME_OF.values())))
def test_each_module_can_be_imported_first(name: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
