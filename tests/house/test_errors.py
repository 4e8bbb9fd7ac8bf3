"""Every error survives pickling, and the drawn tree is the tree."""

import pickle
import re

import attrs
import pytest

from durable import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]
every_error = pytest.mark.parametrize("cls", CLASSES, ids=errors.__all__)


def field_names(cls: type) -> list[str]:
    return [field.name for field in attrs.fields(cls)] if attrs.has(cls) else []


def made(cls: type[errors.DurableError]) -> errors.DurableError:
    numbers = {"seconds": 2.5, "position": 3}
    values = [numbers.get(name, f"the {name}") for name in field_names(cls)]
    return cls(*(values or ["what, why, what to do"]))


@every_error
def test_survives_pickling(cls: type[errors.DurableError]) -> None:
    error = made(cls)

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is cls
    assert (again.args, str(again)) == (error.args, str(error))
    for name in field_names(cls):
        assert getattr(again, name) == getattr(error, name)


@every_error
def test_is_raised_caught_and_shown_as_what_it_is(cls: type[errors.DurableError]) -> None:
    error = made(cls)

    with pytest.raises(errors.DurableError) as caught:
        raise error

    assert caught.value is error
    assert str(error)


def drawn() -> dict[str, str | None]:
    """Return the parent of each class as the module's docstring draws it."""
    assert errors.__doc__ is not None
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"( {4}[ │├└─]*)([A-Z]\w+)(?: {2,}| \(|$)", line)
        if not match:
            continue
        depth, name = len(match[1]), match[2]
        while above and above[-1][0] >= depth:
            above.pop()
        parents[name] = above[-1][1] if above else None
        above.append((depth, name))
    return parents


def test_the_drawn_tree_is_the_tree() -> None:
    parents = {
        cls.__name__: cls.__bases__[0].__name__ if cls is not errors.DurableError else None
        for cls in CLASSES
    }

    assert drawn() == parents


def test_every_class_of_the_module_is_exported() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }

    assert defined == set(errors.__all__)
    assert errors.__all__ == sorted(errors.__all__)
