"""What a name means where it stands: an import, a function of this module, a value, or unknown.

It follows Python's scopes (a class is not seen from its methods, a comprehension has one of its
own) and not the flow of control: of several bindings in one scope the last one counts.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import attrs

from durable.linting._rules import code_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Binding", "Function", "Names", "Scope"]

Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_MAKING_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, *_COMPREHENSIONS)
# Python has one object of each of these for all places.
_SHARED = (ast.expr_context, ast.operator, ast.boolop, ast.unaryop, ast.cmpop)
# `a = b` is followed so often: enough for people, an end for `a = b; b = a`.
ALIASES_MAX = 8
# What `from durable import *` brings and this package asks for.
_DURABLE = frozenset(
    {"activity", "as_completed", "map", "now", "random", "sleep", "step", "transaction", "uuid4",
     "workflow"}
)  # fmt: skip


@attrs.frozen
class Binding:
    """One place that gives a name a meaning.

    Attributes:
        full_name: Of what was imported; empty for all others.
        value: What was assigned, if the name alone was assigned it.
        annotation: The type, where one stands.
        function: The function that is defined here.
    """

    full_name: str = ""
    value: ast.expr | None = None
    annotation: ast.expr | None = None
    function: Function | None = None


@attrs.define(eq=False)
class Scope:
    """A module, class, function, lambda or comprehension, with the names bound in it."""

    node: ast.AST
    parent: Scope | None
    bindings: dict[str, list[Binding]] = attrs.field(factory=dict[str, list[Binding]])
    global_names: set[str] = attrs.field(factory=set[str])
    outer_names: set[str] = attrs.field(factory=set[str])

    def visible(self) -> Iterator[Scope]:
        """Yield the scopes a name here is looked for in, inmost first."""
        yield self
        above = self.parent
        while above is not None:
            if not isinstance(above.node, ast.ClassDef):
                yield above
            above = above.parent


class Names:
    """The names of one module.

    Attributes:
        nodes: All nodes, in the order of the source.
        parents: Of each node but the module.
        module: The scope of the module.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.module = Scope(tree, None)
        self.nodes: list[ast.AST] = []
        self.parents: dict[ast.AST, ast.AST] = {}
        self._scopes: dict[ast.AST, Scope] = {tree: self.module}
        self._stars: list[str] = []
        self._uses: dict[str, list[ast.Name]] = {}
        self._place(tree)
        for node in self.nodes:
            self._declare(node)
        for node in self.nodes:
            self._bind(node)

    # -- building ----------------------------------------------------------------------------------

    def _place(self, tree: ast.Module) -> None:
        """Give each node its scope. Not recursive: sources may be nested deeper than our stack."""
        left: list[tuple[ast.AST, Scope]] = [(tree, self.module)]
        while left:
            node, scope = left.pop()
            self._scopes[node] = scope
            self.nodes.append(node)
            inner = Scope(node, scope) if isinstance(node, _MAKING_SCOPES) else scope
            for child in reversed(list(ast.iter_child_nodes(node))):
                if isinstance(child, _SHARED):
                    continue
                self.parents[child] = node
                if _is_of_head(node, child):
                    left.append((child, scope))
                elif self._is_evaluated_outside(node, child):
                    left.append((child, scope.parent or scope))
                else:
                    left.append((child, inner))

    def _is_evaluated_outside(self, node: ast.AST, child: ast.AST) -> bool:
        """Return whether a child of a part of a scope is evaluated before there is that scope."""
        match node:
            case ast.arguments():
                return not isinstance(child, ast.arg)
            case ast.arg():
                return True
            case ast.comprehension(iter=source) if child is source:
                owner = self.parents[node]
                assert isinstance(owner, _COMPREHENSIONS)
                return owner.generators[0] is node
            case _:
                return False

    def _declare(self, node: ast.AST) -> None:
        if isinstance(node, ast.Global):
            self._scopes[node].global_names.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            self._scopes[node].outer_names.update(node.names)

    def _bind(self, node: ast.AST) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._bind_imported(node)
            case ast.Name(id=name, ctx=ast.Store()):
                self._bind_stored(node, name)
            case ast.Name(id=name, ctx=ast.Load()):
                self._uses.setdefault(name, []).append(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._add(node, node.name, Binding(function=node))
            case ast.arg(arg=name, annotation=annotation):
                self._add(node, name, Binding(annotation=annotation))
            case (
                ast.ClassDef(name=str(name))
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
            ):
                self._add(node, name, Binding())
            case _:
                return

    def _bind_imported(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for one in node.names:
                full_name = one.name if one.asname else one.name.partition(".")[0]
                self._add(node, one.asname or full_name, Binding(full_name))
            return
        module = "." * node.level + (node.module or "")
        for one in node.names:
            if one.name == "*":
                self._stars.append(module)
            else:
                self._add(node, one.asname or one.name, Binding(f"{module}.{one.name}"))

    def _bind_stored(self, node: ast.Name, name: str) -> None:
        match self.parents[node]:
            case ast.Assign(value=value, targets=targets) if node in targets:
                self._add(node, name, Binding(value=value))
            case ast.NamedExpr(value=value):
                self._add(node, name, Binding(value=value))
            case ast.AnnAssign(value=value, annotation=annotation):
                self._add(node, name, Binding(value=value, annotation=annotation))
            case ast.AugAssign():
                # It stays what it was: a set for `|=`, a list for `+=`.
                self._owner(node, name).bindings.setdefault(name, [])
            case _:
                self._add(node, name, Binding())

    def _add(self, node: ast.AST, name: str, binding: Binding) -> None:
        self._owner(node, name).bindings.setdefault(name, []).append(binding)

    def _owner(self, node: ast.AST, name: str) -> Scope:
        """Return the scope in which a store at this node binds the name."""
        scope = self._scopes[node]
        if isinstance(node, ast.arg):
            return scope
        if isinstance(self.parents[node], ast.NamedExpr):
            while isinstance(scope.node, _COMPREHENSIONS) and scope.parent is not None:
                scope = scope.parent
        if name in scope.global_names:
            return self.module
        if name in scope.outer_names:
            for above in list(scope.visible())[1:]:
                if name in above.bindings and above is not self.module:
                    return above
        return scope

    # -- asking ------------------------------------------------------------------------------------

    def scope_of(self, node: ast.AST) -> Scope:
        """Return the scope a node stands in."""
        return self._scopes[node]

    def home_of(self, name: ast.Name) -> Scope | None:
        """Return the scope that binds a name, or None for builtins and unknown names."""
        scope = self._scopes[name]
        if name.id in scope.global_names:
            return self.module
        return next((one for one in scope.visible() if name.id in one.bindings), None)

    def bindings(self, name: ast.Name) -> list[Binding]:
        """Return what a name is bound to, in the order of the source."""
        home = self.home_of(name)
        return home.bindings.get(name.id, []) if home is not None else []

    def last(self, name: ast.Name) -> Binding | None:
        """Return the binding that counts."""
        found = self.bindings(name)
        # `except ImportError: requests = None` is no other meaning.
        told = [one for one in found if not _is_none(one.value)] or found
        return told[-1] if told else None

    def full_name(self, node: ast.expr, aliases: int = 0) -> str | None:
        """Return the name by which this could be imported, or None if it is not from elsewhere."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        root = self._full_name_of_name(node, aliases)
        return None if root is None else ".".join((root, *reversed(attributes)))

    def _full_name_of_name(self, node: ast.Name, aliases: int) -> str | None:
        if self.home_of(node) is None:
            return self._starred(node.id) or f"builtins.{node.id}"
        found = self.last(node)
        if found is None:
            return None
        if found.full_name:
            return found.full_name
        if found.value is not None and aliases < ALIASES_MAX:
            return self.full_name(found.value, aliases + 1)
        return None

    def _starred(self, name: str) -> str | None:
        for module in reversed(self._stars):
            full_name = f"{module}.{name}"
            if code_of(full_name) or (module == "durable" and name in _DURABLE):
                return full_name
        return None

    def uses(self, name: str) -> list[ast.Name]:
        """Return where a name of this spelling is read, in whichever scope."""
        return self._uses.get(name, [])

    def function(self, node: ast.expr) -> Function | None:
        """Return the function of this module that a name means, or None."""
        found = self.last(node) if isinstance(node, ast.Name) else None
        return found.function if found is not None else None

    def durable_name(self, node: ast.expr) -> str:
        """Return which of durable's public names this is: ``workflow``; else an empty text."""
        full_name = self.full_name(node) or ""
        return full_name.rpartition(".")[2] if full_name.startswith("durable.") else ""

    def kind(self, function: Function) -> str:
        """Return ``workflow``, ``activity``, ``transaction``, or an empty text for all others."""
        for decorator in function.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            name = self.durable_name(called)
            if name in {"workflow", "activity", "transaction"}:
                return name
        return ""


def _is_none(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _is_of_head(node: ast.AST, child: ast.AST) -> bool:
    """Return whether a child of what makes a scope stands outside of it: decorators, bases."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return child in node.decorator_list or child is node.returns
        case ast.ClassDef():
            return child in node.decorator_list or child in node.bases or child in node.keywords
        case _:
            return False
