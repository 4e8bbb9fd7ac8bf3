"""Each act on a run stands in `durable.verbs`, and is everywhere where somebody looks for it."""

import inspect
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

from durable.client import BlockingClient, BlockingRun, Client, Run
from durable.filters import narrowed
from durable.verbs import BULK, VERBS, Verb
from durable_cli._main import COMMANDS

ROOT = Path(__file__).parents[2]
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
every_bulk_verb = pytest.mark.parametrize("verb", BULK.values(), ids=BULK)


@every_verb
def test_a_run_and_a_blocking_run_have_it(verb: Verb) -> None:
    assert inspect.iscoroutinefunction(getattr(Run, verb.name))
    assert callable(getattr(BlockingRun, verb.name))


@every_bulk_verb
def test_clients_have_it_for_many(verb: Verb) -> None:
    assert inspect.iscoroutinefunction(getattr(Client, f"{verb.name}_all"))
    assert callable(getattr(BlockingClient, f"{verb.name}_all"))


@every_verb
def test_a_command_does_it_and_the_docs_tell(verb: Verb) -> None:
    assert verb.command in COMMANDS
    assert import_module(f"durable_cli.{verb.command}").command.name == verb.command
    assert f"\n## durable {verb.command}\n" in (ROOT / "docs/cli.md").read_text()
    if verb.command == verb.name:
        assert COMMANDS[verb.command] == verb.text


@every_verb
def test_an_address_does_it(verb: Verb) -> None:
    document = pytest.importorskip("durable.web._openapi", exc_type=ImportError).document
    body = json.loads(document())["paths"][f"/runs/{{id}}:{verb.name}"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]

    assert set(schema["properties"]) == set(verb.fields)
    assert set(schema.get("required", ())) == verb.required


@every_bulk_verb
def test_it_says_what_it_is_about(verb: Verb) -> None:
    assert verb.one
    assert verb.many
    if verb.meant_for:
        assert f"status:{verb.meant_for}" in narrowed(verb.name, "workflow:pay")


def test_nobody_keeps_a_list_of_his_own() -> None:
    listing = re.compile(r"[\"']retry[\"'],? *[\"']restart[\"'],? *[\"']cancel[\"']")
    lists = [
        path.relative_to(ROOT).as_posix()
        for folder in ("durable", "cli")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".sql"} and listing.search(path.read_text(encoding="utf-8"))
    ]

    assert lists == []
