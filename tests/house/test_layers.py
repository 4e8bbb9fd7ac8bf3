"""Imports go one way, and each law of the house has one place: read from the source, by ast."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Lowest first. A module imports from lower rows and, if it is a package, from itself; two of one
# row know nothing of each other. Imports for type checkers alone may look up: they load nothing.
LAYERS = [
    ["_clock", "_version", "linting"],
    ["durations", "names", "run_name", "verbs"],
    ["errors"],
    ["policies", "payloads"],
    ["filters"],
    ["_core", "_isolation"],
    ["_store"],
    ["children"],
    ["definitions"],
    ["messages"],
    ["inside", "fanout"],
    ["_runtime"],
    ["inspection"],
    ["client"],
    ["engine"],
    ["testing", "web", "temporal"],
    ["durable_cli"],
    ["__main__"],
]
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# The core is pure: what it may know of the house, and what it may not know of the host.
CORE_KNOWS = {"errors", "_core"}
HOST = {
    *("apsw", "fcntl", "io", "multiprocessing", "os", "pathlib", "queue", "random", "select"),
    *("selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile"),
    *("threading", "time", "_thread"),
}
# The loop keeps what it swaps away from the host, and each thread of the host has its own.
HOST_ALLOWED = {"loop.py": {"threading"}}
# The only files of the core that know how asyncio makes its tasks and futures.
KNOW_TASKS = {"loop.py", "driver.py", "mailbox.py", "anyio_support.py"}
TASK_NAMES = {"Task", "Future", "tasks", "futures", "_PyTask", "_PyFuture", "_CTask", "_CFuture"}
# They call msgspec.json: the core may know nothing of payloads, and its records hold NaN in a
# form of their own. All others use `encode_document` and `decode_document`.
USE_JSON = {
    "durable/_core/driver.py",
    "durable/_core/failures.py",
}
# The client borrows a thread of anyio's to commit, the web interface one to look; the others are
# the runtime's and the writer's.
START_THREADS = re.compile(r"durable/(_runtime/\w+|_store/writer|client/_client|web/_app)\.py")
SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE (TABLE|INDEX|VIEW|TRIGGER)|PRAGMA|BEGIN"
    r"|COMMIT|ROLLBACK|ATTACH|VACUUM)\b"
)

FILES = sorted([*ROOT.glob("durable/**/*.py"), *ROOT.glob("cli/durable_cli/**/*.py")])
PATHS = [path.relative_to(ROOT).as_posix() for path in FILES]
every_file = pytest.mark.parametrize("path", FILES, ids=PATHS)
every_file_of_the_core = pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.parent.name == "_core"],
    ids=[name for name in PATHS if "/_core/" in name],
)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def walk(node: ast.AST, *, type_checking: bool) -> Iterator[ast.AST]:
    """Yield all nodes; those under ``if TYPE_CHECKING`` only if asked for."""
    for child in ast.iter_child_nodes(node):
        if type_checking or not is_for_type_checkers(child):
            yield child
            yield from walk(child, type_checking=type_checking)


def imports(path: Path, *, type_checking: bool) -> Iterator[str]:
    """Yield the full names of the imported modules, wherever in the file."""
    for node in walk(parsed(path), type_checking=type_checking):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{one.name}" for one in node.names)


def part(module: str) -> str | None:
    """Return which part of the house a full module name belongs to, or None for others' modules."""
    names = module.split(".")
    if names[0] == "durable_cli":
        return "durable_cli"
    if names[0] != "durable" or len(names) == 1:
        return None
    # A name off the package itself is one of the public ones: the surface is above everything.
    return names[1] if names[1] in RANKS else "surface"


def home(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return "durable_cli" if relative.parts[0] == "cli" else relative.with_suffix("").parts[1]


@every_file
def test_imports_go_down(path: Path) -> None:
    own = home(path)
    if own == "__init__":
        return
    assert own in RANKS, f"durable/{own} has no place: give it one in LAYERS"

    for module in imports(path, type_checking=False):
        imported = part(module)
        if imported is None or imported == own:
            continue
        if imported == "surface":
            assert RANKS[own] > RANKS["engine"], (
                f"{path} imports the surface, which stands above it"
            )
        else:
            assert RANKS[imported] < RANKS[own], f"{path} imports {module}, which stands above it"


@every_file
def test_the_command_line_uses_public_modules_only(path: Path) -> None:
    if home(path) != "durable_cli":
        return

    used = {part(module) for module in imports(path, type_checking=True)}

    assert not {name for name in used if name and name.startswith("_")}


@every_file_of_the_core
def test_the_core_knows_errors_and_itself(path: Path) -> None:
    known = {part(module) for module in imports(path, type_checking=False)} - {None}
    for_types = set(imports(path, type_checking=True)) - set(imports(path, type_checking=False))

    assert known <= CORE_KNOWS
    assert {one for one in for_types if part(one) not in CORE_KNOWS | {None}} <= {
        "durable._clock.Random"
    }


@every_file_of_the_core
def test_the_core_touches_no_host(path: Path) -> None:
    tops = {module.split(".")[0] for module in imports(path, type_checking=True)}
    names = {node.id for node in ast.walk(parsed(path)) if isinstance(node, ast.Name)}

    assert not tops & (HOST - HOST_ALLOWED.get(path.name, set()))
    assert not names & {"open", "print", "input"}


@every_file_of_the_core
def test_only_the_loop_knows_how_asyncio_makes_tasks(path: Path) -> None:
    used = {
        node.attr
        for node in walk(parsed(path), type_checking=False)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).startswith("asyncio")
    }
    used |= {
        module.split(".")[1]
        for module in imports(path, type_checking=False)
        if module.startswith("asyncio.")
    }

    assert path.name in KNOW_TASKS or not used & TASK_NAMES


@every_file_of_the_core
def test_only_anyio_support_knows_anyio(path: Path) -> None:
    tops = {module.split(".")[0] for module in imports(path, type_checking=True)}

    assert path.name == "anyio_support.py" or not tops & {"anyio", "sniffio"}


@every_file
def test_only_the_store_knows_apsw(path: Path) -> None:
    tops = {module.split(".")[0] for module in imports(path, type_checking=True)}

    assert home(path) == "_store" or not tops & {"apsw", "sqlite3"}


@every_file
def test_only_the_store_holds_sql(path: Path) -> None:
    texts = [
        node.value
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]

    assert home(path) == "_store" or not [text for text in texts if SQL.match(text)]


@every_file
def test_only_payloads_reads_and_writes_json_by_msgspec(path: Path) -> None:
    # Its functions write NaN as null and do not read it: `durable.payloads` has ones that do.
    named = {
        ast.unparse(node) for node in ast.walk(parsed(path)) if isinstance(node, ast.Attribute)
    }
    named.update(imports(path, type_checking=True))

    is_used = any(f"{name}.".startswith("msgspec.json.") for name in named)
    assert home(path) == "payloads" or path.relative_to(ROOT).as_posix() in USE_JSON or not is_used


@every_file
def test_threads_start_where_the_house_says(path: Path) -> None:
    starting = {"Thread", "ThreadPoolExecutor", "start_new_thread", "to_thread", "run_in_executor"}
    called = {
        name
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        for name in ast.unparse(node.func).split(".")
    }

    assert START_THREADS.fullmatch(path.relative_to(ROOT).as_posix()) or not called & starting


def test_no_two_parts_import_each_other_while_types_are_checked() -> None:
    # A cycle between packages under TYPE_CHECKING would say that their border is drawn wrongly.
    edges = {
        (home(path), part(module))
        for path in FILES
        if home(path) != "__init__"
        for module in imports(path, type_checking=True)
    }
    allowed = {("_runtime", "definitions"), ("_core", "_clock")}

    upward = {
        (own, imported)
        for own, imported in edges
        if imported in RANKS and RANKS[own] < RANKS[imported]
    }
    assert upward <= allowed
