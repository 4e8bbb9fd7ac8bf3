"""The migrations of an application over a file that has our tables too: they leave ours alone."""

import sqlite3
import subprocess
import sys

import pytest

import durable
from durable import workflow


@workflow
async def one() -> int:
    return 1


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "shop.db")
    made = sqlite3.connect(path)
    made.execute("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, cents INTEGER NOT NULL)")
    made.close()
    durable.adopt(path)
    assert durable.run(path, one.options(id="before")) == 1
    return path


def ours(path):
    made = sqlite3.connect(path)
    found = made.execute(
        "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'durable%'"
    ).fetchall()
    made.close()
    return sorted(found, key=str)


def is_the_applications(name, kind, *_):
    """What docs/storage.md says to give to Alembic as ``include_name``."""
    return not (kind in {"table", "index"} and (name or "").startswith("durable_"))


def test_alembic_sees_and_changes_its_own_tables_alone(path):
    sa = pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed: make beside")
    migration = pytest.importorskip(
        "alembic.migration", reason="alembic is not installed: make beside"
    )
    from alembic.autogenerate import compare_metadata
    from alembic.operations import Operations

    model = sa.MetaData()
    sa.Table(
        "orders",
        model,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("cents", sa.Integer, nullable=False),
        sa.Column("note", sa.Text),
    )
    before = ours(path)
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        context = migration.MigrationContext.configure(
            connection, opts={"include_name": is_the_applications, "render_as_batch": True}
        )
        wanted = compare_metadata(context, model)
        assert [change[0] for change in wanted] == ["add_column"]
        with Operations(context).batch_alter_table("orders") as batch:  # Makes the table anew.
            batch.add_column(sa.Column("note", sa.Text))
            batch.alter_column("cents", type_=sa.BigInteger)
    engine.dispose()

    assert ours(path) == before
    assert durable.run(path, one.options(id="after")) == 1


DJANGO = """
import sys, django
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    USE_TZ=True,
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("migrate", "auth", "zero", verbosity=0)
call_command("migrate", verbosity=0)
call_command("flush", interactive=False, verbosity=0)
"""


def test_django_migrates_and_flushes_its_own_tables_alone(path):
    pytest.importorskip("django", reason="django is not installed: make beside")
    before = ours(path)

    subprocess.run([sys.executable, "-W", "ignore", "-c", DJANGO, path], check=True)

    assert ours(path) == before
    with durable.view(path) as runs:
        assert [one.id for one in runs.list()] == ["before"]
    assert durable.run(path, one.options(id="after")) == 1
