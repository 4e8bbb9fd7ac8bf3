"""The rules, each with its code, and what of the world each of them is about."""

from __future__ import annotations

import attrs

__all__ = ["MISSING_ARGUMENTS", "READ_TOO", "RULES", "UNREADABLE", "Rule", "code_of"]

UNREADABLE = "DUR001"


@attrs.frozen
class Rule:
    """A rule.

    Attributes:
        code: ``DUR101``.
        name: One word.
        advice: What is wrong, and what to do; it follows what was found.
    """

    code: str
    name: str
    advice: str


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule(UNREADABLE, "unreadable", "cannot be checked"),
        Rule(
            "DUR101", "time",
            "tells another time on replay; use durable.now(), or the loop's time()",
        ),
        Rule(
            "DUR102", "sleep",
            "stops every run of the engine; use `await asyncio.sleep(...)` or durable.sleep",
        ),
        Rule("DUR103", "chance", "differs on replay; use durable.random()"),
        Rule("DUR104", "ids", "makes another id on replay; use durable.uuid4()"),
        Rule("DUR105", "outside", "depends on the outside; move it into an activity"),
        Rule("DUR106", "threads", "belongs to threads, which replay cannot order; use an activity"),
        Rule(
            "DUR107", "sets",
            "takes a set in an order that differs between processes (only tasks and futures keep "
            "theirs); use sorted()",
        ),
        Rule(
            "DUR108", "globals",
            "is shared by all runs, and changed again on replay; use an argument, or a result",
        ),
        Rule("DUR109", "completed", "has no order on replay; use durable.as_completed()"),
    )
}  # fmt: skip

# -- what is asked for by its full name ------------------------------------------------------------

_CLOCKS = (
    *(f"time.{name}{unit}" for unit in ("", "_ns")
      for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time",
                   "clock_gettime")),
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today",
    "datetime.date.today",
)  # fmt: skip
_CHANCE = ("random", "secrets", "numpy.random", "os.urandom", "os.getrandom")
_IDS = ("uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7")
_OUTSIDE = (
    "builtins.open", "builtins.input", "io.open", "os", "posixpath", "shutil", "subprocess",
    "socket", "ssl", "select", "requests", "httpx", "urllib.request", "urllib3", "http.client",
    "sqlite3", "apsw", "aiosqlite", "aiohttp", "boto3", "smtplib", "ftplib", "redis", "psycopg",
    "psycopg2", "asyncpg", "pymongo", "tempfile", "glob", "getpass", "sys.stdin",
    *(f"asyncio.{name}" for name in (
        "open_connection", "open_unix_connection", "start_server", "start_unix_server",
        "create_subprocess_exec", "create_subprocess_shell",
    )),
    *(f"anyio.{name}" for name in (
        "connect_tcp", "connect_unix", "create_tcp_listener", "create_unix_listener",
        "create_udp_socket", "getaddrinfo", "open_file", "open_process", "run_process", "Path",
        "open_signal_receiver", "mkdtemp", "mkstemp", "TemporaryFile", "TemporaryDirectory",
        "NamedTemporaryFile",
    )),
    *(f"pathlib.Path.{name}" for name in (
        "absolute", "chmod", "copy", "copy_into", "cwd", "exists", "expanduser", "glob", "group",
        "hardlink_to", "home", "is_block_device", "is_char_device", "is_dir", "is_fifo", "is_file",
        "is_junction", "is_mount", "is_socket", "is_symlink", "iterdir", "lchmod", "lstat",
        "mkdir", "move", "move_into", "open", "owner", "read_bytes", "read_text", "readlink",
        "rename", "replace", "resolve", "rglob", "rmdir", "samefile", "stat", "symlink_to",
        "touch", "unlink", "walk", "write_bytes", "write_text",
    )),
)  # fmt: skip
_THREADS = (
    "threading", "_thread", "multiprocessing", "concurrent.futures", "asyncio.to_thread",
    "anyio.to_thread", "anyio.to_process", "anyio.to_interpreter", "anyio.from_thread", "os.fork",
    "os.forkpty", "os.posix_spawn",
)  # fmt: skip
# Parts of the above that compute and no more.
_HARMLESS = (
    "random.Random", "numpy.random.Generator", "numpy.random.RandomState",
    "numpy.random.default_rng", "secrets.compare_digest",
    "os.fspath", "os.fsencode", "os.fsdecode", "os.strerror", "os.PathLike",
    *(f"{module}.{name}" for module in ("os.path", "posixpath") for name in (
        "basename", "commonpath", "commonprefix", "dirname", "isabs", "join", "normcase",
        "normpath", "relpath", "split", "splitdrive", "splitext", "splitroot",
    )),
    "glob.escape", "subprocess.list2cmdline", "subprocess.CompletedProcess",
    *(f"socket.{name}" for name in (
        "htonl", "htons", "inet_aton", "inet_ntoa", "inet_ntop", "inet_pton", "ntohl", "ntohs",
    )),
    "sqlite3.Row", "requests.Request", "urllib.request.Request", "urllib.request.quote",
    *(f"httpx.{name}" for name in (
        "URL", "Timeout", "Limits", "Headers", "QueryParams", "Request", "Response", "BasicAuth",
    )),
    *(f"requests.{name}" for name in ("codes", "exceptions", "structures", "utils.quote")),
    *(f"aiohttp.{name}" for name in ("ClientTimeout", "BasicAuth", "FormData")),
    "tempfile.gettempprefix",
)  # fmt: skip

_CODES: dict[str, str | None] = {
    **dict.fromkeys(_CLOCKS, "DUR101"),
    "time.sleep": "DUR102",
    **dict.fromkeys(_CHANCE, "DUR103"),
    **dict.fromkeys(_IDS, "DUR104"),
    **dict.fromkeys(_OUTSIDE, "DUR105"),
    **dict.fromkeys(_THREADS, "DUR106"),
    "asyncio.as_completed": "DUR109",
    **dict.fromkeys(_HARMLESS, None),
}
# With fewer arguments than these they read the clock, or seed themselves from the system.
MISSING_ARGUMENTS: dict[str, tuple[int, str]] = {
    **{f"time.{name}": (1, "DUR101") for name in ("asctime", "ctime", "gmtime", "localtime")},
    "time.strftime": (2, "DUR101"),
    **dict.fromkeys(
        ("random.Random", "numpy.random.default_rng", "numpy.random.RandomState"), (1, "DUR103")
    ),
}
# Found wherever they are read; of everything else it is the call that counts.
READ_TOO = frozenset({"os.environ", "os.environb", "sys.stdin"})


def code_of(full_name: str) -> str | None:
    """Return the code of the rule against calling this, or None.

    Args:
        full_name: As it could be imported: ``datetime.datetime.now``, ``builtins.open``.
    """
    if full_name.endswith(("Error", "Exception", "Warning")):
        return None
    name = full_name
    while name:
        if name in _CODES:
            return _CODES[name]
        name = name.rpartition(".")[0]
    return None
