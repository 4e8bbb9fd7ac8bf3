"""From a source to its findings: the workflows of a module, what they call, and the rules."""

from __future__ import annotations

import ast
import importlib.util
import re
import warnings
from typing import TYPE_CHECKING

import attrs

from durable.linting._names import Function, Names
from durable.linting._rules import MISSING_ARGUMENTS, READ_TOO, RULES, UNREADABLE, code_of
from durable.linting._sets import Sets

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SOURCE_BYTES_MAX", "Finding", "lint", "unreadable"]

# The largest modules that people write have some 1 MiB; what is larger was generated.
SOURCE_BYTES_MAX = 4 * 1_048_576
# Its own, or with codes behind it; whatever follows those is a comment.
_NOQA = re.compile(
    r"#\s*noqa(?![\w-])(?P<codes>\s*:\s*[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*)?", re.IGNORECASE
)
_CODE = re.compile(r"[A-Z]+[0-9]+")
_MUTABLE = {
    "builtins.list", "builtins.dict", "builtins.set", "builtins.bytearray",
    *(f"collections.{name}" for name in ("Counter", "OrderedDict", "defaultdict", "deque")),
}  # fmt: skip
_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_CHANGING = {
    "add", "append", "appendleft", "clear", "difference_update", "discard", "extend", "extendleft",
    "insert", "intersection_update", "pop", "popitem", "popleft", "remove", "reverse", "rotate",
    "setdefault", "sort", "subtract", "symmetric_difference_update", "update",
}  # fmt: skip
# Functions given to these run elsewhere than in the workflow.
_ELSEWHERE = {"durable.step", "asyncio.to_thread", "anyio.to_thread.run_sync"}
_METHODS_ELSEWHERE = {"options", "run_in_executor"}
_PATHS = {"pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath"}
_METHODS_MAKING_PATHS = {
    "absolute", "expanduser", "joinpath", "relative_to", "resolve", "with_name", "with_segments",
    "with_stem", "with_suffix",
}  # fmt: skip
# `a / b / c`, `a.parent.parent` and `a = b` are followed so deep.
DEPTH_MAX = 20
NAME_CHARACTERS_MAX = 80


@attrs.frozen(kw_only=True)
class Finding:
    """A place in a source, and what is wrong there.

    Attributes:
        path: As it was given.
        line: From 1.
        column: In characters, from 1.
        code: The rule's, as in `RULES`.
        message: What was found, and what to do.
        workflow: The workflow's function, or an empty text for what cannot be checked.
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    workflow: str = ""


def lint(source: bytes, path: str) -> list[Finding]:
    """Return what in the workflows of a module would not be the same on replay.

    Never raises for what the source holds: one that cannot be read is a finding.

    Args:
        source: The module as it is in its file; its encoding is told as Python's is.
        path: What to call it in the findings.

    Returns:
        The findings by place; those with ``# noqa`` on their line are left out.
    """
    if len(source) > SOURCE_BYTES_MAX:
        reason = f"it has {len(source):,} bytes, more than the {SOURCE_BYTES_MAX:,} that are read"
        return [unreadable(path, reason)]
    try:
        text = importlib.util.decode_source(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        return _Module(tree, text, path).findings()
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        return [unreadable(path, f"it is not {error.encoding.upper()}", line)]
    except SyntaxError as error:
        return [unreadable(path, error.msg, error.lineno or 1, error.offset or 1)]
    except (RecursionError, MemoryError):
        return [unreadable(path, "it is nested too deeply")]
    except ValueError as error:
        return [unreadable(path, str(error))]


def unreadable(path: str, reason: str, line: int = 1, column: int = 1) -> Finding:
    """Return the finding that a file cannot be checked."""
    return Finding(
        path=path, line=max(1, line), column=max(1, column), code=UNREADABLE,
        message=f"{RULES[UNREADABLE].advice}: {reason}",
    )  # fmt: skip


class _Module:
    def __init__(self, tree: ast.Module, text: str, path: str) -> None:
        self._names = Names(tree)
        self._sets = Sets(self._names)
        self._lines = text.split("\n")
        self._path = path
        self._found: dict[tuple[int, int, str], Finding] = {}
        self._seen: set[ast.AST] = set()

    def findings(self) -> list[Finding]:
        for node in self._names.nodes:
            if isinstance(node, Function) and self._names.kind(node) == "workflow":
                self._workflow(node)
        return sorted(
            (one for one in self._found.values() if not self._is_silenced(one)),
            key=lambda one: (one.line, one.column, one.code),
        )

    def _workflow(self, workflow: Function) -> None:
        left: list[Function] = [workflow]
        while left:
            function = left.pop()
            if function in self._seen:
                continue
            self._seen.add(function)
            part = ""
            if function is not workflow:
                part = f" (in {_shown(function.name)}, called by workflow {_shown(workflow.name)})"
            for node in self._body(function):
                for place, what, code in self._judge(node):
                    self._add(place, code, f"{what} {RULES[code].advice}{part}", workflow.name)
                helper = self._helper(node)
                if helper is not None:
                    left.append(helper)

    def _body(self, function: Function) -> Iterator[ast.AST]:
        """Yield all of a function that runs in its workflow, nested functions too."""
        left: list[ast.AST] = [*reversed(function.body)]
        while left:
            node = left.pop()
            if isinstance(node, Function):
                self._seen.add(node)
                if self._names.kind(node) or self._is_only_given_away(node):
                    continue
            elif isinstance(node, ast.Lambda) and self._is_given_away(node):
                continue
            yield node
            left.extend(reversed(list(ast.iter_child_nodes(node))))

    # -- functions ---------------------------------------------------------------------------------

    def _helper(self, node: ast.AST) -> Function | None:
        """Return the plain function of this module that is used here, in the workflow."""
        if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
            return None
        found = self._names.function(node)
        if found is None or self._names.kind(found) or self._is_given_away(node):
            return None
        return found

    def _is_given_away(self, node: ast.expr) -> bool:
        """Return whether a function is an argument of what runs it outside of the workflow."""
        parent = self._names.parents.get(node)
        if isinstance(parent, ast.keyword):
            parent = self._names.parents.get(parent)
        if not isinstance(parent, ast.Call) or parent.func is node:
            return False
        if isinstance(parent.func, ast.Attribute) and parent.func.attr in _METHODS_ELSEWHERE:
            return True
        return self._names.full_name(parent.func) in _ELSEWHERE

    def _is_only_given_away(self, function: Function) -> bool:
        uses = [
            node
            for node in self._names.uses(function.name)
            if self._names.function(node) is function
        ]
        return bool(uses) and all(map(self._is_given_away, uses))

    # -- the rules ---------------------------------------------------------------------------------

    def _judge(self, node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
        """Yield what breaks a rule at a node: where, what it is called, and the code."""
        match node:
            case ast.Call():
                yield from self._judge_call(node)
            case ast.Attribute(ctx=ast.Load()) | ast.Name(ctx=ast.Load()):
                full_name = self._names.full_name(node)
                code = code_of(full_name) if full_name in READ_TOO else None
                if full_name and code:
                    yield node, full_name, code
            case ast.Subscript(ctx=ast.Store() | ast.Del()):
                yield from self._judge_change(node, node.value)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                if name in self._names.scope_of(node).global_names:
                    yield node, f"the global {_shown(name)}", "DUR108"
            case _:
                pass
        for taken in self._sets.taken_in_order(node):
            yield taken, _shown(_head(node)), "DUR107"

    def _judge_call(self, node: ast.Call) -> Iterator[tuple[ast.expr, str, str]]:
        full_name = self._called(node.func)
        code = code_of(full_name) if full_name else None
        if full_name in MISSING_ARGUMENTS:
            wanted, without = MISSING_ARGUMENTS[full_name]
            given = [one for one in node.args if not _is_none(one)]
            code = without if len(given) + len(node.keywords) < wanted else code
        if code == "DUR109" and node.args and self._sets.holds_tasks(node.args[0]):
            code = None
        func = node.func
        if isinstance(func, ast.Attribute) and code is None:
            if func.attr == "run_in_executor":
                full_name, code = "run_in_executor", "DUR106"
            elif func.attr in _CHANGING:
                yield from self._judge_change(node, func.value)
        if full_name and code:
            yield node, f"{_shown(full_name.removeprefix('builtins.'))}()", code

    def _judge_change(
        self, node: ast.expr, changed: ast.expr
    ) -> Iterator[tuple[ast.expr, str, str]]:
        while isinstance(changed, ast.Subscript):
            changed = changed.value
        if not isinstance(changed, ast.Name):
            return
        if self._names.home_of(changed) is self._names.module and any(
            self._is_mutable(one.value) for one in self._names.bindings(changed)
        ):
            yield node, f"the global {_shown(changed.id)}", "DUR108"

    def _is_mutable(self, value: ast.expr | None) -> bool:
        if isinstance(value, ast.Call):
            return self._names.full_name(value.func) in _MUTABLE
        return isinstance(value, _DISPLAYS)

    def _called(self, func: ast.expr) -> str | None:
        """Return the full name of what is called; a method's begins with the class."""
        full_name = self._names.full_name(func)
        if full_name is not None or not isinstance(func, ast.Attribute):
            return full_name
        if self._is_path(func.value):
            return f"pathlib.Path.{func.attr}"
        if isinstance(func.value, ast.Name):
            found = self._names.last(func.value)
            of = self._names.full_name(found.annotation) if found and found.annotation else None
            method = f"{of}.{func.attr}"
            return method if of and code_of(method) == "DUR105" else None
        return None

    def _is_path(self, node: ast.expr, depth: int = 0) -> bool:
        if depth > DEPTH_MAX:
            return False
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=attribute)) if (
                attribute in _METHODS_MAKING_PATHS
            ):
                return self._is_path(value, depth + 1)
            case ast.Call(func=func):
                name = self._names.full_name(func) or ""
                return name in _PATHS or name in {"pathlib.Path.cwd", "pathlib.Path.home"}
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self._is_path(left, depth + 1) or self._is_path(right, depth + 1)
            case ast.Attribute(value=value, attr="parent"):
                return self._is_path(value, depth + 1)
            case ast.Name():
                found = self._names.last(node)
                if found is None:
                    return False
                if found.annotation is not None:
                    return self._names.full_name(found.annotation) in _PATHS
                return found.value is not None and self._is_path(found.value, depth + 1)
            case _:
                return False

    # -- findings ----------------------------------------------------------------------------------

    def _add(self, node: ast.expr | ast.stmt, code: str, message: str, workflow: str) -> None:
        line = self._lines[min(node.lineno, len(self._lines)) - 1]
        before = line.encode("utf-8", "surrogatepass")[: node.col_offset]
        column = len(before.decode("utf-8", "ignore")) + 1
        self._found.setdefault(
            (node.lineno, column, code),
            Finding(
                path=self._path, line=node.lineno, column=column, code=code, message=message,
                workflow=workflow,
            ),
        )  # fmt: skip

    def _is_silenced(self, finding: Finding) -> bool:
        line = self._lines[min(finding.line, len(self._lines)) - 1]
        for noqa in _NOQA.finditer(line):
            codes = noqa["codes"]
            if codes is None or finding.code in _CODE.findall(codes.upper()):
                return True
        return False


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _shown(name: str) -> str:
    return name if len(name) <= NAME_CHARACTERS_MAX else f"{name[: NAME_CHARACTERS_MAX - 3]}..."


def _head(node: ast.AST) -> str:
    """Return what to call the code that goes through a set."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)):
            return f"{name}()"
        case ast.For():
            return "the loop"
        case ast.Starred():
            return "the star"
        case ast.Assign():
            return "the assignment"
        case ast.YieldFrom():
            return "yield from"
        case _:
            return "the comprehension"
