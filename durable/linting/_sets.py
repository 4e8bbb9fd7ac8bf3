"""Where code takes a set in its order, which for text is another in each process.

What is in order in every process is not reported: sets of numbers, and those of tasks and futures,
which durable's loop gives hashes of its own.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.linting._names import Names

__all__ = ["Sets"]

_SET_TYPES = {
    "builtins.set", "builtins.frozenset", "typing.Set", "typing.FrozenSet", "typing.AbstractSet",
    "collections.abc.Set", "collections.abc.MutableSet",
}  # fmt: skip
_MAKING = {"builtins.set", "builtins.frozenset"}
_METHODS_MAKING = {"copy", "difference", "intersection", "symmetric_difference", "union"}
# What takes its arguments in order, and what does not care.
_ORDERED = {
    *(f"builtins.{name}" for name in (
        "enumerate", "filter", "iter", "list", "map", "reversed", "tuple", "zip",
    )),
    "builtins.dict.fromkeys", "collections.deque", "durable.map",
}  # fmt: skip
_UNORDERED = {
    f"builtins.{name}"
    for name in ("all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum")
}
_TASKS = {"asyncio.create_task", "asyncio.ensure_future", "asyncio.Task", "asyncio.Future"}
_TASK_METHODS = {"create_task", "create_future"}
_NUMBERS = {"builtins.int", "builtins.bool", "builtins.float"}
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
# `a = b`, `a | b`, `a.union(b)` are followed so deep.
DEPTH_MAX = 8


class Sets:
    """The sets of one module."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._added: dict[tuple[object, str], list[ast.expr]] = {}
        for node in names.nodes:
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name() as name, attr="add"), args=[one]):
                    self._added.setdefault((names.home_of(name), name.id), []).append(one)
                case _:
                    pass

    # -- where -------------------------------------------------------------------------------------

    def taken_in_order(self, node: ast.AST) -> Iterator[ast.expr]:
        """Yield the sets that this node goes through in their order."""
        for taken in self._taken(node):
            if self.is_set(taken):
                yield taken

    def _taken(self, node: ast.AST) -> Iterator[ast.expr]:
        match node:
            case ast.For(iter=source) | ast.YieldFrom(value=source):
                yield source
            case ast.Assign(targets=[ast.Tuple() | ast.List()], value=value):
                yield value
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                if not self._is_indifferent(node):
                    yield from (one.iter for one in node.generators)
            case ast.Starred(value=value, ctx=ast.Load()):
                if not self._is_given_to_indifferent(node):
                    yield value
            case ast.Call():
                yield from self._taken_by_call(node)
            case _:
                return

    def _taken_by_call(self, node: ast.Call) -> Iterator[ast.expr]:
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="pop"), args=[], keywords=[]):
                yield value
            case ast.Call(func=ast.Attribute(attr="join"), args=[argument]):
                yield argument
            case ast.Call(func=func, args=arguments):
                if self._names.full_name(func) in _ORDERED and not (
                    self._is_given_to_indifferent(node)
                ):
                    yield from arguments

    def _is_indifferent(self, node: ast.expr) -> bool:
        """Return whether the order of a comprehension shows nowhere: no step, no result."""
        parts = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
        for part in parts:
            for one in ast.walk(part):
                if isinstance(one, ast.Await | ast.NamedExpr) or self._is_task(one):
                    return False
        return isinstance(node, ast.SetComp) or self._is_given_to_indifferent(node)

    def _is_given_to_indifferent(self, node: ast.expr) -> bool:
        match self._names.parents.get(node):
            case ast.Call(func=func, args=arguments) if node in arguments:
                return self._names.full_name(func) in _UNORDERED
            case ast.Set():
                return True
            case ast.Compare(ops=[*_, ast.In() | ast.NotIn()]):
                return True
            case _:
                return False

    # -- what --------------------------------------------------------------------------------------

    def is_set(self, node: ast.expr, depth: int = 0) -> bool:
        """Return whether this is certainly a set, of what may have another order elsewhere."""
        if depth > DEPTH_MAX:
            return False
        match node:
            case ast.Set(elts=elements):
                return not all(map(self._is_in_order, elements))
            case ast.SetComp(elt=element):
                return not self._is_in_order(element)
            case ast.Call(func=ast.Attribute(value=value, attr=attribute)) if (
                attribute in _METHODS_MAKING
            ):
                return self.is_set(value, depth + 1)
            case ast.Call(func=func, args=arguments):
                made = self._names.full_name(func) in _MAKING
                return made and not (arguments and self._has_ordered_elements(arguments[0]))
            case ast.BinOp(
                left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right
            ):
                return self.is_set(left, depth + 1) or self.is_set(right, depth + 1)
            case ast.IfExp(body=one, orelse=other):
                return self.is_set(one, depth + 1) and self.is_set(other, depth + 1)
            case ast.Name():
                return self._is_name_of_set(node, depth)
            case _:
                return False

    def _is_name_of_set(self, node: ast.Name, depth: int) -> bool:
        found = self._names.bindings(node)
        added = self._added.get((self._names.home_of(node), node.id), [])
        if not found or (added and all(map(self._is_in_order, added))):
            return False
        return all(
            self._is_type_of_set(one.annotation)
            if one.annotation is not None
            else one.value is not None and self.is_set(one.value, depth + 1)
            for one in found
        )

    def _is_type_of_set(self, annotation: ast.expr) -> bool:
        match annotation:
            case ast.Subscript(value=value, slice=element):
                is_set = self._names.full_name(value) in _SET_TYPES
                while isinstance(element, ast.Subscript):
                    element = element.value
                return is_set and self._names.full_name(element) not in _TASKS | _NUMBERS
            case _:
                return self._names.full_name(annotation) in _SET_TYPES

    def _has_ordered_elements(self, source: ast.expr) -> bool:
        match source:
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return bool(elements) and all(map(self._is_in_order, elements))
            case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
                return self._is_in_order(element)
            case ast.SetComp(elt=element):
                return self._is_in_order(element)
            case ast.Call(func=func):
                return self._names.full_name(func) == "builtins.range"
            case ast.Name():
                values = [one.value for one in self._names.bindings(source)]
                return bool(values) and all(
                    isinstance(one, ast.List | ast.ListComp) and self._has_ordered_elements(one)
                    for one in values
                )
            case _:
                return False

    def holds_tasks(self, source: ast.expr) -> bool:
        """Return whether this certainly is a collection of tasks."""
        match source:
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return bool(elements) and all(map(self._is_task, elements))
            case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
                return self._is_task(element)
            case ast.SetComp(elt=element):
                return self._is_task(element)
            case ast.Name():
                values = [one.value for one in self._names.bindings(source)]
                return bool(values) and all(
                    isinstance(one, ast.List | ast.Set | ast.ListComp | ast.SetComp)
                    and self.holds_tasks(one)
                    for one in values
                )
            case _:
                return False

    def _is_in_order(self, element: ast.expr) -> bool:
        match element:
            case ast.Constant(value=value):
                return isinstance(value, int | float)
            case ast.UnaryOp(operand=ast.Constant(value=value)):
                return isinstance(value, int | float)
            case _:
                return self._is_task(element)

    def _is_task(self, node: ast.AST) -> bool:
        match node:
            case ast.Call(func=func):
                made = isinstance(func, ast.Attribute) and func.attr in _TASK_METHODS
                return made or self._names.full_name(func) in _TASKS
            case ast.Name():
                values = [one.value for one in self._names.bindings(node)]
                return bool(values) and all(
                    isinstance(one, ast.Call) and self._is_task(one) for one in values
                )
            case _:
                return False
