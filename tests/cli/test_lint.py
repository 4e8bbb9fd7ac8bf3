"""`durable lint`: what it warns of in workflow code, and what it must not warn of."""

import json
import os
import textwrap
from pathlib import Path

import pytest

from durable.linting import RULES, SOURCE_BYTES_MAX, Finding, lint
from durable_cli import lint as command_module
from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]


def findings(source: str, path: str = "app.py") -> list[Finding]:
    return lint(textwrap.dedent(source).encode(), path)


def in_workflow(body: str, *, imports: str = "") -> list[Finding]:
    """Lint a workflow with this body; its first line is line 1 of the answer's lines."""
    head = ["import durable", *textwrap.dedent(imports).strip().splitlines()]
    head += ["@durable.workflow", "async def flow(given, other=None):"]
    lines = [f"    {line}" for line in textwrap.dedent(body).strip("\n").splitlines()]
    return lint("\n".join([*head, *lines, ""]).encode(), "app.py")


def codes(found: list[Finding]) -> list[str]:
    return [one.code for one in found]


# -- what each rule finds --------------------------------------------------------------------------

FOUND = [
    ("DUR101", "import time", "time.time()"),
    ("DUR101", "import time", "time.time_ns()"),
    ("DUR101", "import time", "time.monotonic()"),
    ("DUR101", "import time", "time.perf_counter_ns()"),
    ("DUR101", "import time", "time.localtime()"),
    ("DUR101", "import time", "time.gmtime(None)"),
    ("DUR101", "import time", "time.strftime('%Y')"),
    ("DUR101", "import time as clock", "clock.time()"),
    ("DUR101", "from time import time as now", "now()"),
    ("DUR101", "from time import *", "monotonic()"),
    ("DUR101", "import datetime", "datetime.datetime.now(datetime.UTC)"),
    ("DUR101", "import datetime as dt", "dt.datetime.utcnow()"),
    ("DUR101", "from datetime import datetime", "datetime.today()"),
    ("DUR101", "from datetime import date as day", "day.today().isoformat()"),
    ("DUR101", "import time\nclock = time.monotonic\nfaster = clock", "faster()"),
    ("DUR101", "import time", "f'{time.time()}'"),
    ("DUR101", "import time", "[x async for x in given if time.time() > 1]"),
    ("DUR102", "import time", "time.sleep(1)"),
    ("DUR102", "from time import sleep", "sleep(1)"),
    ("DUR103", "import random", "random.random()"),
    ("DUR103", "import random", "random.Random().choice(given)"),
    ("DUR103", "import random", "random.Random(None)"),
    ("DUR103", "import random", "random.SystemRandom(1)"),
    ("DUR103", "from random import choice", "choice(given)"),
    ("DUR103", "import secrets", "secrets.token_hex()"),
    ("DUR103", "import numpy as np", "np.random.normal()"),
    ("DUR103", "import numpy.random", "numpy.random.default_rng()"),
    ("DUR103", "from numpy import random as chance", "chance.rand(3)"),
    ("DUR103", "import os", "os.urandom(8)"),
    ("DUR104", "import uuid", "uuid.uuid4()"),
    ("DUR104", "from uuid import uuid1", "str(uuid1())"),
    ("DUR104", "import uuid", "uuid.uuid7()"),
    ("DUR105", "", "open('x')"),
    ("DUR105", "", "input()"),
    ("DUR105", "import os", "os.environ['X']"),
    ("DUR105", "import os", "os.environ.get('X')"),
    ("DUR105", "import os", "'X' in os.environ"),
    ("DUR105", "from os import environ", "environ['X']"),
    ("DUR105", "from os import getenv", "getenv('X')"),
    ("DUR105", "import os", "os.path.exists('x')"),
    ("DUR105", "import os.path", "os.path.getsize('x')"),
    ("DUR105", "import os", "os.listdir()"),
    ("DUR105", "import shutil", "shutil.rmtree('x')"),
    ("DUR105", "from pathlib import Path", "Path('x').read_text()"),
    ("DUR105", "from pathlib import Path", "(Path('x') / 'y').parent.write_text('')"),
    ("DUR105", "from pathlib import Path\nHOME = Path('x')", "(HOME / 'y').exists()"),
    ("DUR105", "import pathlib", "pathlib.Path.home()"),
    ("DUR105", "import subprocess", "subprocess.run(['ls'])"),
    ("DUR105", "import socket", "socket.gethostname()"),
    ("DUR105", "import requests", "requests.get('x').json()"),
    ("DUR105", "try:\n    import requests\nexcept ImportError:\n    requests = None",
     "requests.get('x')"),
    ("DUR105", "import httpx", "httpx.AsyncClient()"),
    ("DUR105", "import urllib.request", "urllib.request.urlopen('x')"),
    ("DUR105", "import urllib.request as ask", "ask.urlopen('x')"),
    ("DUR105", "from urllib import request", "request.urlopen('x')"),
    ("DUR105", "import sqlite3", "sqlite3.connect('x')"),
    ("DUR105", "import aiohttp", "aiohttp.ClientSession()"),
    ("DUR105", "import boto3", "boto3.client('s3')"),
    ("DUR105", "import asyncio", "await asyncio.open_connection('x', 1)"),
    ("DUR105", "import anyio", "await anyio.open_file('x')"),
    ("DUR105", "import sys", "sys.stdin.read()"),
    ("DUR106", "import threading", "threading.Thread(target=given).start()"),
    ("DUR106", "import multiprocessing as mp", "mp.Pool()"),
    ("DUR106", "from concurrent.futures import ThreadPoolExecutor as Pool", "Pool()"),
    ("DUR106", "import concurrent.futures", "concurrent.futures.ProcessPoolExecutor()"),
    ("DUR106", "import asyncio", "await asyncio.to_thread(given)"),
    ("DUR106", "import asyncio",
     "await asyncio.get_running_loop().run_in_executor(None, given)"),
    ("DUR106", "from anyio import to_thread", "await to_thread.run_sync(given)"),
    ("DUR106", "import anyio.to_process", "await anyio.to_process.run_sync(given)"),
    ("DUR107", "", "[x for x in {'a', 'b'}]"),
    ("DUR107", "", "{x: 1 for x in {y for y in given}}"),
    ("DUR107", "", "list(set(given))"),
    ("DUR107", "", "tuple(frozenset(given))"),
    ("DUR107", "", "', '.join({'a', given})"),
    ("DUR107", "", "enumerate({'a', given})"),
    ("DUR107", "", "zip(given, set(given))"),
    ("DUR107", "", "print(*set(given))"),
    ("DUR107", "", "next(iter(set(given)))"),
    ("DUR107", "", "set(given).pop()"),
    ("DUR107", "", "list({'a', given} | {1})"),
    ("DUR107", "", "list(set(given).union(other))"),
    ("DUR107", "NAMES = {'a', 'b'}", "[x for x in NAMES]"),
    ("DUR107", "", "await durable.map(other, {'a', 'b'})"),
    ("DUR107", "", "sorted([await given(x) for x in {'a', 'b'}])"),
    ("DUR107", "import asyncio", "{asyncio.create_task(given(x)) for x in {'a', 'b'}}"),
    ("DUR108", "SEEN = []", "SEEN.append(1)"),
    ("DUR108", "SEEN = {}", "SEEN['a'] = 1"),
    ("DUR108", "SEEN = {}", "SEEN['a'] += 1"),
    ("DUR108", "SEEN = {}", "del SEEN['a']"),
    ("DUR108", "SEEN: dict[str, dict] = {}", "SEEN['a']['b'] = 1"),
    ("DUR108", "SEEN = set()", "SEEN.add(1)"),
    ("DUR108", "from collections import defaultdict\nSEEN = defaultdict(list)",
     "SEEN['a'].append(1)"),
    ("DUR109", "import asyncio", "asyncio.as_completed([given(), other()])"),
    ("DUR109", "from asyncio import as_completed", "as_completed(given)"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "imports", "line"), FOUND)
def test_a_rule_finds_once(code: str, imports: str, line: str) -> None:
    found = in_workflow(line, imports=imports)

    assert codes(found) == [code]
    assert RULES[code].advice in found[0].message
    assert found[0].workflow == "flow"


@pytest.mark.parametrize(("code", "imports", "line"), FOUND)
def test_the_same_outside_of_workflows_is_nobodys_concern(
    code: str, imports: str, line: str
) -> None:
    body = f"{imports}\nimport durable\n@durable.activity\nasync def act(given, other): {line}\n"
    body += f"@durable.transaction\nasync def write(given, other): {line}\n"
    body += f"async def unused(given, other): {line}\n"

    assert findings(body) == []


MULTILINE = [
    ("DUR107", "for x in {'a', 'b'}:\n    print(x)"),
    ("DUR107", "names = {'a', 'b'}\nfor x in names:\n    print(x)"),
    ("DUR107", "names = set()\nnames.add(given)\nfor x in names:\n    print(x)"),
    ("DUR107", "names: set[str] = await given()\nfor x in names:\n    print(x)"),
    ("DUR107", "first, second = {'a', 'b'}"),
    ("DUR108", "global COUNT\nCOUNT = 1"),
    ("DUR108", "global COUNT\nCOUNT += 1"),
    ("DUR108", "global COUNT\nfor COUNT in given:\n    pass"),
    ("DUR101", "import time\ntime.time()"),
    ("DUR101", "from time import time\ndef inner():\n    return time()\nprint(inner())"),
    ("DUR101", "import time\nx = lambda: time.time()\nprint(x())"),
    ("DUR101", "import time\nclass Part:\n    age = time.time()\n"),
    ("DUR101", "import time\nclass Part:\n    time = 1\n    def age(self): return time.time()"),
    ("DUR101", "import time\ndef inner(at=time.time()):\n    time = 1\n    return at"),
    ("DUR105", "from pathlib import Path\npath = Path('x')\npath.unlink()"),
    ("DUR105", "from pathlib import Path\ndef inner(path: Path): return path.stat()"),
    ("DUR105", "import httpx\nasync def inner(c: httpx.AsyncClient): return await c.get('x')"),
]


@pytest.mark.parametrize(("code", "body"), MULTILINE)
def test_a_rule_finds_what_takes_several_lines(code: str, body: str) -> None:
    assert codes(in_workflow(body)) == [code]


# -- what must not be found ------------------------------------------------------------------------

FINE = [
    ("", "durable.now(), durable.random().random(), durable.uuid4()"),
    ("from durable import random, now, sleep", "random().choice(given), now(), sleep(1)"),
    ("import asyncio", "await asyncio.sleep(1)"),
    ("import asyncio", "asyncio.get_running_loop().time()"),
    ("import asyncio", "async with asyncio.timeout(1), asyncio.TaskGroup(): pass"),
    ("import anyio", "async with anyio.create_task_group() as group: group.start_soon(given)"),
    ("import logging", "logging.getLogger('x').info('y')"),
    ("", "print('x')"),
    ("from datetime import datetime", "datetime.fromisoformat(given)"),
    ("from datetime import datetime", "datetime(2026, 1, 1)"),
    ("import time", "time.gmtime(given)"),
    ("import time", "time.strftime('%Y', given)"),
    ("import random", "random.Random(7).choice(given)"),
    ("import random", "random.Random(7)"),
    ("import numpy as np", "np.random.default_rng(7)"),
    ("import uuid", "uuid.uuid5(uuid.NAMESPACE_URL, given), uuid.UUID(given)"),
    ("import os", "os.path.join('a', 'b'), os.fspath(given)"),
    ("from os.path import basename", "basename(given)"),
    ("from pathlib import Path", "(Path('a') / 'b').name"),
    ("from pathlib import PurePath", "PurePath('a').with_suffix('.b')"),
    ("import requests", "raise requests.HTTPError('x')"),
    ("import httpx", "httpx.Timeout(5)"),
    ("import subprocess", "raise subprocess.CalledProcessError(1, 'x')"),
    ("import urllib.parse", "urllib.parse.quote('x')"),
    ("from . import time", "time.time()"),
    ("from .requests import get", "get('x')"),
    ("import time\ntime = None\ndef time(): ...", "time()"),
    ("import requests", "await durable.step(requests.get, 'x')"),
    ("import requests", "await durable.step(lambda: requests.get('x'), name='get')"),
    ("from durable import step\nimport time", "await step(time.time)"),
    ("import time\ndef helper(): return time.time()", "await durable.step(helper)"),
    ("import time\ndef helper(): time.sleep(1)\n@durable.activity\ndef act(): helper()",
     "await act()"),
    ("", "sorted({'a', 'b'}), len({'a'}), min({'a'}), max({'a'}), any({'a'}), all({'a'})"),
    ("", "sum(set(given))"),
    ("", "sorted(x for x in {'a', 'b'}), sorted([x for x in {'a', 'b'}])"),
    ("", "sorted(list(set(given)))"),
    ("", "{x.upper() for x in {'a', 'b'}}"),
    ("", "given in {'a', 'b'}"),
    ("", "set(given) == {'a'}"),
    ("", "[x for x in {1, 2, -3}]"),
    ("", "list(set(range(9)))"),
    ("", "[x for x in [y for y in given]]"),
    ("", "[x for x in sorted({'a', 'b'})]"),
    ("", "[x for x in {'a': 1}]"),
    ("import asyncio", "await asyncio.wait({asyncio.create_task(x) for x in given})"),
    ("import asyncio", "[t for t in {asyncio.create_task(x) for x in given}]"),
    ("import asyncio", "asyncio.as_completed([asyncio.create_task(x) for x in given])"),
    ("", "durable.as_completed([given()])"),
    ("SEEN = {'a': 1}", "print(SEEN['a'], SEEN.get('b'), len(SEEN))"),
    ("SEEN = durable.Stream('seen')", "SEEN.append(1)"),
    ("SEEN = durable.Value('seen')", "SEEN.set(1)"),
    ("SEEN = []", "SEEN = []; SEEN.append(1)"),
    ("", "given.append(1); given['a'] = 2"),
]  # fmt: skip


@pytest.mark.parametrize(("imports", "line"), FINE)
def test_what_is_the_same_on_replay_is_not_found(imports: str, line: str) -> None:
    assert in_workflow(line, imports=imports) == []


FINE_MULTILINE = [
    "import asyncio\ntasks = set()\ntasks.add(asyncio.create_task(given))\nprint(*tasks)",
    "done, waiting = await given()\nfor one in done:\n    print(one)",
    "ids: set[int] = await given()\nfor one in ids:\n    print(one)",
    "names = {'a', 'b'}\nnames = sorted(names)\nfor x in names:\n    print(x)",
    "time = given\ntime.time()",
    "def inner(open, random):\n    open('x')\n    random.random()\nprint(inner)",
    "import random\nrandom = durable.random()\nrandom.random()",
    "import random\ndef inner(chance: random.Random): return chance.random()\nprint(inner)",
    "for open in given:\n    open()",
    "with given as open:\n    open()",
    "match given:\n    case [open, *input]:\n        open(), input()",
    "try:\n    pass\nexcept ValueError as open:\n    open()",
    "if (open := given):\n    open()",
    "[open() for open in given]",
    "lambda open: open()",
    "import time\n@durable.activity\ndef inner(): return time.time()\nawait inner()",
    "import time\ndef inner(): return time.time()\nawait durable.step(inner)",
    "global COUNT\nprint(COUNT)",
    "count = 0\ndef inner():\n    nonlocal count\n    count += 1\ninner()",
]


@pytest.mark.parametrize("body", FINE_MULTILINE)
def test_what_shadows_or_stays_outside_is_not_found(body: str) -> None:
    assert in_workflow(body) == []


def test_a_name_of_a_comprehension_shadows_only_in_it() -> None:
    found = in_workflow("[open() for open in given]\nopen('x')")

    assert [(one.code, one.line) for one in found] == [("DUR105", 5)]


# -- which functions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("imported", "decorator"),
    [
        ("import durable", "@durable.workflow"),
        ("import durable", "@durable.workflow(name='x')"),
        ("import durable as d", "@d.workflow"),
        ("from durable import workflow", "@workflow"),
        ("from durable import workflow as wf", "@wf(on_failure='pause')"),
        ("from durable import *", "@workflow"),
        ("from durable.definitions import workflow", "@workflow"),
        ("import durable\nmine = durable.workflow", "@mine"),
        ("import durable, other", "@other.thing\n@durable.workflow"),
    ],
)
def test_a_workflow_is_known_by_its_decorator(imported: str, decorator: str) -> None:
    assert codes(lint(f"{imported}\n{decorator}\nasync def flow(): open('x')\n".encode(), "x"))


@pytest.mark.parametrize(
    ("imported", "decorator"),
    [
        ("", "@workflow"),
        ("from prefect import workflow", "@workflow"),
        ("def workflow(f): return f", "@workflow"),
        ("import temporalio.workflow", "@temporalio.workflow"),
        ("import durable", "@durable.activity"),
        ("from durable import activity as workflow", "@workflow"),
    ],
)
def test_another_decorator_makes_no_workflow(imported: str, decorator: str) -> None:
    assert lint(f"{imported}\n{decorator}\nasync def flow(): open('x')\n".encode(), "x") == []


def test_a_workflow_inside_a_function_or_a_class_is_checked() -> None:
    found = findings("""
        def test_it():
            import time
            from durable import workflow
            def stamp(): return time.time()
            @workflow
            async def flow(): return stamp()
        class Group:
            import durable
            @durable.workflow
            async def flow(): open("x")
    """)

    assert [(one.line, one.code) for one in found] == [(5, "DUR101"), (11, "DUR105")]


def test_helpers_are_followed_each_once_and_the_finding_names_the_workflow() -> None:
    found = findings("""
        import time
        from durable import workflow
        @workflow
        async def first(): return upper()
        @workflow
        async def second(): return upper()
        def upper(): return lower(upper)
        def lower(again): return again() or time.time()
    """)

    (one,) = found
    assert (one.line, one.workflow) == (9, "first")
    assert one.message.endswith("(in lower, called by workflow first)")


def test_a_helper_that_is_passed_on_is_followed() -> None:
    found = findings("""
        import anyio, durable
        async def helper(): open("x")
        @durable.workflow
        async def flow():
            async with anyio.create_task_group() as group:
                group.start_soon(helper)
    """)

    assert [(one.line, one.code) for one in found] == [(3, "DUR105")]


def test_a_helper_that_is_given_away_and_called_too_is_followed() -> None:
    found = in_workflow(
        "await durable.step(helper)\nhelper()", imports="def helper(): return open('x')"
    )

    assert codes(found) == ["DUR105"]


def test_a_parameter_is_no_helper_of_the_same_name() -> None:
    found = findings("""
        import durable
        def helper(): open("x")
        @durable.workflow
        async def flow(helper): helper()
    """)

    assert found == []


def test_other_workflows_and_activities_are_not_parts_of_the_caller() -> None:
    found = findings("""
        import durable
        @durable.workflow
        async def parent():
            await child()
            await act()
        @durable.workflow
        async def child(): open("x")
        @durable.activity
        def act(): open("x")
    """)

    assert [one.workflow for one in found] == ["child"]


# -- places and silence ----------------------------------------------------------------------------


def test_a_place_counts_characters_from_one() -> None:
    (found,) = in_workflow("x = 'äöü𝄞'; open('x')")

    assert (found.line, found.column) == (4, 17)


def test_lines_are_those_that_editors_count() -> None:
    source = "import durable\r\n@durable.workflow\r\nasync def f():\r\n  '\x0c\u2028'\r\n  open('')"

    assert [one.line for one in lint(source.encode(), "x")] == [5]


def test_findings_come_in_the_order_of_the_source() -> None:
    found = in_workflow(
        "helper(open('x'), input())\nopen('y')", imports="def helper(*_): open('z')"
    )

    places = [(one.line, one.column) for one in found]
    assert places == sorted(places)
    assert len(places) == 4


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa", "#noqa", "# NOQA", "# noqa: DUR105", "# noqa:dur105", "# noqa: E501, DUR105",
        "# noqa: E501 DUR105  because", "# noqa: DUR105 the file never changes", "# why # noqa",
    ],
)  # fmt: skip
def test_noqa_silences_its_line(comment: str) -> None:
    assert in_workflow(f"open('x')  {comment}") == []


@pytest.mark.parametrize("comment", ["# noqa: DUR101", "# noqa: E501", "# noqaish", "# no qa"])
def test_noqa_of_something_else_silences_nothing(comment: str) -> None:
    assert codes(in_workflow(f"open('x')  {comment}")) == ["DUR105"]


def test_noqa_is_for_one_line() -> None:
    assert len(in_workflow("open('x')  # noqa\nopen('y')")) == 1


# -- what cannot be read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (b"def f(:\n", 1),
        (b"x = 1\nif x:\npass\n", 3),
        (b"x = 1\ny = '\xff'\n", 2),
        (b"# coding: klingon\n", 1),
        (b"x = '\0'\n", 1),
        (b"(" * 5_000, 1),
        (b"-" * 200_000 + b"1", 1),
        (b"x" * (SOURCE_BYTES_MAX + 1), 1),
    ],
)
def test_what_does_not_parse_is_one_finding(source: bytes, line: int) -> None:
    (found,) = lint(source, "x.py")

    assert (found.code, found.line, found.workflow) == ("DUR001", line, "")
    assert found.message.startswith("cannot be checked: ")


@pytest.mark.parametrize(
    "source",
    [
        b"", b"\n", b"\xef\xbb\xbfx = 1\n", b"# coding: latin-1\nx = '\xff'\n", b"x = '\\d'\n",
        b"x = " + b" + ".join([b"1"] * 400), b"a = b\nb = a\nimport durable\n@a\ndef f(): b()\n",
        b"x" * SOURCE_BYTES_MAX,
    ],
)  # fmt: skip
def test_what_parses_is_fine(source: bytes) -> None:
    assert lint(source, "x.py") == []


def test_an_encoding_of_its_own_keeps_places_right() -> None:
    source = "# coding: latin-1\nimport durable\n@durable.workflow\ndef f(): 'ä'; open('x')\n"

    assert [one.column for one in lint(source.encode("latin-1"), "x")] == [15]


def test_a_module_of_five_thousand_lines_is_checked_to_its_end() -> None:
    lines = ["import durable"]
    for at in range(1_000):
        called = f"step_{at - 1}(" if at else "print("
        lines += [f"def step_{at}(x):", f"    y = {called}x)", f"    z = {{y: {at}}}"]
        lines += ["    return [one for one in z]", ""]
    lines += ["@durable.workflow", "async def flow(): step_999(open('x'))"]

    (found,) = findings("\n".join(lines))

    assert found.line == 5_003


def test_a_workflow_of_deep_nesting_is_checked() -> None:
    added = " + ".join(["given"] * 400)

    assert codes(in_workflow(f"x = {added} + open('x')")) == ["DUR105"]


# -- the command -----------------------------------------------------------------------------------

BAD = "import durable\n@durable.workflow\nasync def flow():\n    open('x')\n"


def test_findings_are_lines_and_exit_code_6(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD)
    (tmp_path / "fine.py").write_text("x = 1\n")

    done = durable_("lint")

    advice = RULES["DUR105"].advice
    assert (done.code, done.out) == (6, f"app.py:4:5: DUR105 open() {advice}\n")


def test_nothing_found_is_exit_code_0_and_silence(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "fine.py").write_text("x = 1\n")

    done = durable_("lint", ".")

    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_terminal_gets_a_count(on_terminal: Command, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD)
    (tmp_path / "fine.py").write_text("x = 1\n")

    assert on_terminal("lint").out.endswith("\n1 warning in 2 files\n")
    assert on_terminal("lint", "fine.py").out == "0 warnings in 1 file\n"


def test_json_has_everything(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD)

    done = durable_("lint", "--json")
    told = json.loads(done.out)

    assert (done.code, told["files"]) == (6, 1)
    (one,) = told["findings"]
    assert one.pop("message").startswith("open() ")
    assert one == {
        "path": "app.py", "line": 4, "column": 5, "code": "DUR105", "name": "outside",
        "workflow": "flow",
    }  # fmt: skip


def test_select_and_ignore_choose_rules(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD + "    durable.workflow(list({'a', 'b'}))\n")
    (tmp_path / "bad.py").write_text("(")

    def found(*options: str) -> list[str]:
        out = durable_("lint", *options).out
        return [line.split()[1] for line in out.splitlines()]

    assert found() == ["DUR105", "DUR107", "DUR001"]
    assert found("--select", "dur107") == ["DUR107", "DUR001"]
    assert found("--select", "DUR107, DUR105", "--select", "DUR101") == found()
    assert found("--ignore", "DUR107,DUR001") == ["DUR105"]
    assert found("--select", "DUR107", "--ignore", "DUR107") == ["DUR001"]
    assert durable_("lint", "--ignore", "DUR107,DUR001,DUR105").code == 0


@pytest.mark.parametrize("codes", ["DUR999", "DUR1", "", "DUR101,", "time", "\x1b[31m"])
@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_an_unknown_code_is_wrong_usage(durable_: Command, option: str, codes: str) -> None:
    done = durable_("lint", option, codes)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {option}: no rule")
    assert "\x1b" not in done.err


def test_a_path_that_does_not_exist_is_exit_code_3(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD)

    done = durable_("lint", "app.py", "gone.py")

    assert (done.code, done.out, done.err) == (3, "", "error: gone.py does not exist\n")


def test_the_code_of_others_is_left_out(durable_: Command, tmp_path: Path) -> None:
    for folder in (".hidden", "__pycache__", "node_modules", "site-packages", "env", "app/inner"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "app.py").write_text(BAD)
    (tmp_path / "env/pyvenv.cfg").touch()
    (tmp_path / ".hidden.py").write_text(BAD)
    (tmp_path / "notes.txt").write_text(BAD)

    done = durable_("lint")

    assert [line.split(":")[0] for line in done.out.splitlines()] == ["app/inner/app.py"]
    assert durable_("lint", ".hidden", "notes.txt").out.count("DUR105") == 2


def test_a_file_is_told_once_and_links_make_no_loop(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/app.py").write_text(BAD)
    (tmp_path / "flows/loop").symlink_to(tmp_path / "flows")
    (tmp_path / "flows/link.py").symlink_to(tmp_path / "flows/app.py")
    (tmp_path / "flows/round.py").symlink_to(tmp_path / "flows/round.py")
    (tmp_path / "flows/broken.py").symlink_to(tmp_path / "gone.py")

    done = durable_("lint", "flows", ".", "flows/app.py", tmp_path / "flows")

    assert done.out.count("DUR") == 1
    assert durable_("lint", "flows/round.py").code == 3


def test_a_pipe_is_not_waited_for(durable_: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")

    assert durable_("lint").code == 0
    assert "DUR001 cannot be checked: it is no file" in durable_("lint", "pipe.py").out


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_a_finding(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BAD)
    (tmp_path / "app.py").chmod(0)
    (tmp_path / "locked").mkdir(mode=0)

    done = durable_("lint")

    (tmp_path / "locked").chmod(0o700)
    assert done.code == 6
    assert done.out.count("DUR001 cannot be checked: Permission denied") == 2


def test_a_file_that_goes_away_meanwhile_is_a_finding(tmp_path: Path) -> None:
    (found,) = command_module._lint_file(str(tmp_path / "gone.py"))

    assert found.code == "DUR001"


def test_hostile_text_is_shown_plainly(durable_: Command, tmp_path: Path) -> None:
    source = "import durable\nSEEN = []\n@durable.workflow\ndef \u202ef(): open('x')\n"
    (tmp_path / "a\x1b[31m\n.py").write_text(BAD)
    (tmp_path / "b.py").write_text(source)
    (tmp_path / "c.py").write_bytes(b"# coding: \x1b[31m\nx = \x1b\n")
    (tmp_path / os.fsdecode(b"d\xff.py")).write_text(BAD)

    done = durable_("lint")
    as_json = durable_("lint", "--json")

    assert done.out.startswith("a\\x1b[31m\\n.py:4:5: DUR105")
    assert "\nd\\udcff.py:4:5: DUR105" in done.out
    assert not {"\x1b", "\u202e"} & set(done.out + as_json.out)
    assert len(done.out.splitlines()) == len(json.loads(as_json.out)["findings"]) == 4


def test_nothing_is_imported_or_executed(durable_: Command, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit('executed')\n" + BAD)

    assert durable_("lint").code == 6


def test_the_examples_are_clean(durable_: Command) -> None:
    done = durable_("lint", ROOT / "examples")

    assert (done.code, done.out) == (0, "")


def test_the_skeleton_of_durable_new_is_clean(durable_: Command, tmp_path: Path) -> None:
    assert durable_("new", tmp_path / "shop").code == 0
    assert durable_("lint", "shop").code == 0


def test_the_manual_has_every_rule() -> None:
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")

    assert all(f"| `{rule.code}` | {rule.name} |" in text for rule in RULES.values())
