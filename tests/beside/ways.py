"""What a service does with its file beside the engine: each way once, by its real library."""

import contextlib
import gc
import hashlib
import importlib
import shutil
import sqlite3
import threading
from pathlib import Path

LOOK = "SELECT COUNT(*) FROM durable_runs"


def prepare(way):
    """Import what a way needs, before anything is timed."""
    if way in {one.__name__ for one in BY_OTHERS}:
        importlib.import_module(way)
    if way == "django":
        import django as library
        from django.conf import settings

        settings.configure(DATABASES={})
        library.setup()


def nothing(_path):
    """Leave the file alone."""


def stdlib(path):
    """Ask by `sqlite3`, and close."""
    made = sqlite3.connect(path)
    made.execute(LOOK).fetchone()
    made.close()


def stdlib_read_only(path):
    """Ask by `sqlite3`, which may not write."""
    made = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    made.execute(LOOK).fetchone()
    made.close()


def stdlib_on_a_thread(path):
    """Ask by `sqlite3` on another thread, while the engine commits."""
    thread = threading.Thread(target=stdlib, args=(path,))
    thread.start()
    thread.join()


def stdlib_by_the_collector(path):
    """Ask by `sqlite3`, and let the collector close it."""
    sqlite3.connect(path).execute(LOOK).fetchone()
    gc.collect()


def plain_read(path):
    """Read the file's bytes."""
    with Path(path).open("rb") as file:
        hashlib.file_digest(file, "sha256")


def read_of_all(path):
    """Read the bytes of the file and of everything beside it."""
    for each in Path(path).parent.glob(f"{Path(path).name}*"):
        with contextlib.suppress(FileNotFoundError):  # The log of a file that is closed.
            each.read_bytes()


def copy_of_the_file(path):
    """Copy the file."""
    shutil.copy(path, f"{path}.copied")


def copy_of_the_folder(path):
    """Copy the folder, as a nightly job in a web service does."""
    folder = Path(path).parent
    target = folder.with_name(f"{folder.name}-copied")
    shutil.rmtree(target, ignore_errors=True)
    with contextlib.suppress(shutil.Error):  # A log that has just gone.
        shutil.copytree(folder, target)


def aiosqlite(path):
    """Ask by aiosqlite, on its thread."""
    import asyncio

    import aiosqlite as library

    async def ask():
        async with library.connect(path) as made, made.execute(LOOK) as found:
            await found.fetchone()

    thread = threading.Thread(target=asyncio.run, args=(ask(),))
    thread.start()
    thread.join()


def sqlalchemy(path):
    """Ask by SQLAlchemy, and throw its pool away."""
    import sqlalchemy as library

    engine = library.create_engine(f"sqlite:///{path}")
    with engine.connect() as made:
        made.execute(library.text(LOOK)).scalar()
    engine.dispose()


def pandas(path):
    """Read a table by pandas."""
    import pandas as pd

    made = sqlite3.connect(path)
    pd.read_sql("SELECT id, state FROM durable_runs", made)
    made.close()


def django(path):
    """Ask by Django's connection on a thread, and close it as after each request."""
    from django.db.utils import ConnectionHandler

    def ask():
        handler = ConnectionHandler({
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path},
        })  # fmt: skip
        with handler["default"].cursor() as cursor:
            cursor.execute(LOOK)
            cursor.fetchone()
        handler["default"].close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()


PLAIN = [
    stdlib, stdlib_read_only, stdlib_on_a_thread, stdlib_by_the_collector, plain_read, read_of_all,
    copy_of_the_file, copy_of_the_folder,
]  # fmt: skip
BY_OTHERS = [aiosqlite, sqlalchemy, pandas, django]
ALL = {one.__name__: one for one in (nothing, *PLAIN, *BY_OTHERS)}
