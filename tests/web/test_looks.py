"""What the pages ask for beside lists: steps, payloads, logs, forms, workers; and the document."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import attrs
import pytest

pytest.importorskip("starlette", reason="NOT CHECKED: no starlette; it is in the group `test`")
pytest.importorskip("httpx", reason="NOT CHECKED: no httpx; it is in the group `test`")
pytest.importorskip("jsonschema", reason="NOT CHECKED: no jsonschema; it is in the group `test`")

import jsonschema

import durable.web
from durable import Engine, Retry, Signal, Stream, Update, Value, activity, workflow
from durable.web._app import FRESH_S
from durable.web._assets import ASSET_BYTES_MAX, assets
from durable.web._openapi import document
from durable.web.api import LOOKS
from tests.web.browsing import browser, path

log = logging.getLogger("tests.looks")
go = Signal("looks-go", bool)
move = Update("looks-move", int, int)
state = Value("looks-state", str)
lines = Stream("looks-lines", str)
STATIC = Path(durable.web.__file__).parent / "static"


@attrs.define
class Box:
    """Something with a size."""

    width: int
    name: str = "box"


@activity(retry=Retry(initial_interval=0.001, max_attempts=3))
async def lifts(box: Box) -> Box:
    if durable.attempt().number == 1:
        raise OSError("too heavy")
    return box


@workflow
async def looks_at(box: Box, *rest: int, note: str = "none") -> str:
    """Look at a box.

    And at the rest.
    """
    log.warning("a box")
    state.set("seen")
    for word in ("one", "two", "three"):
        lines.append(word)
    lifted = await lifts(box)
    await durable.sleep(0.01)
    await go.receive()
    return f"{lifted.name} {note} {rest}"


@workflow
async def looks_long(text: str) -> str:
    return text


@pytest.fixture
async def served(tmp_path, caplog):
    caplog.set_level(logging.INFO, "tests.looks")
    async with Engine(tmp_path / "app.db", functions=[looks_at, looks_long]) as engine:
        run = await engine.start(looks_at.options(id="box", tags=["a"]), Box(3), 1, 2)
        while (await run.details()).events < 2:
            await asyncio.sleep(0)
        long = await engine.start(looks_long.options(id="long"), "x" * 100_000)
        await long.result()
        async with browser(durable.web.app(engine)) as web:
            yield engine, web


async def asked(web: Any, address: str, **values: Any) -> Any:
    answer = await web.get(path(address), params=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


# -- looks -----------------------------------------------------------------------------------------


async def test_the_header_of_a_run_has_all_but_its_recorded_steps(served):
    _, web = served

    found = await asked(web, "runs/box")

    assert (found["id"], found["status"], found["events"], found["steps"]) == (
        "box", "running", 2, [],
    )  # fmt: skip
    assert [one["name"] for one in found["values"]] == ["looks-state"]
    assert found["streams"] == [{"items": 3, "name": "looks-lines"}]


async def test_steps_come_in_pages_with_their_times_and_tries(served):
    _, web = served

    first = await asked(web, "runs/box/steps", limit=1)
    second = await asked(web, "runs/box/steps", limit=1, after=first["next"])

    (lift,), (timer,) = first["items"], second["items"]
    assert (lift["seq"], lift["name"], lift["status"], lift["tries"]) == (
        1,
        "lifts",
        "completed",
        2,
    )
    assert lift["label"] == '{"name":"box","width":3}'
    assert (timer["kind"], timer["status"]) == ("timer", "fired")
    assert timer["started"] >= lift["started"]
    assert timer["started"] < timer["ended"]
    assert (first["next"], second["next"]) == ("1", "2")


async def test_a_step_is_shown_whole_with_its_attempts(served):
    _, web = served

    found = await asked(web, "runs/box/step", seq=1)
    times = await asked(web, "runs/box/attempts")

    (attempt,) = found["attempts"]
    assert attempt["error"] == "OSError: too heavy"
    assert "raise OSError" in attempt["traceback"]
    assert json.loads(found["result"])["width"] == 3
    assert [(one["step"], one["number"], one["state"]) for one in times["items"]] == [
        ("1", 1, "failed")
    ]


@pytest.mark.parametrize("values", [{"seq": 9}, {"step": "9"}, {}])
async def test_a_step_that_is_not_there_is_not_found(served, values):
    _, web = served

    answer = await web.get(path("runs/box/step"), params=values)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_payload_is_cut_in_the_header_and_whole_on_demand(served):
    _, web = served

    header = await asked(web, "runs/long")
    whole = await web.get(path("runs/long/payload"), params={"of": "result"})
    step = await web.get(path("runs/box/payload"), params={"of": "arguments", "seq": 1})

    assert header["result"].endswith("... (100,002 bytes)")
    assert whole.json() == "x" * 100_000
    assert step.json() == [{"width": 3, "name": "box"}]
    assert (await web.get(path("runs/long/payload"), params={"of": "x"})).status_code == 400


async def test_values_streams_logs_and_code_are_shown(served):
    engine, web = served
    engine._running().keeper.write()
    await (await engine.get("long")).status()
    await engine.start(looks_long.options(id="another"), "y")  # The lines are committed by now.

    values = await asked(web, "runs/box/values")
    end = await asked(web, "runs/box/stream", name="looks-lines", limit=2)
    begin = await asked(web, "runs/box/stream", **{"name": "looks-lines", "from": 0, "limit": 1})
    logs = await asked(web, "runs/box/logs")
    code = await asked(web, "runs/box/code")

    assert [one["value"] for one in values["items"]] == ['"seen"']
    assert [one["value"] for one in end["items"]] == ['"two"', '"three"']
    assert [one["position"] for one in begin["items"]] == [0]
    assert [(one["level"], one["text"]) for one in logs["items"]] == [("WARNING", "a box")]
    assert "async def looks_at" in code["items"][0]["text"]


async def test_where_code_waits_is_found_by_replay_or_needs_the_code(served):
    engine, web = served

    found = await asked(web, "runs/box/stack")
    async with durable.Client(engine.path) as client, browser(durable.web.app(client)) as alone:
        without = await alone.get(path("runs/box/stack"))

    assert "in looks_at" in found["text"]
    assert (without.status_code, without.json()["code"]) == (409, "no_code")


async def test_forms_are_made_of_signatures_and_declarations(served):
    _, web = served

    found = await asked(web, "forms")

    form = next(one for one in found["workflows"] if one["name"] == "looks_at")
    assert form["text"] == "Look at a box.\n\nAnd at the rest."
    assert [(one["name"], one["kind"], one["is_required"]) for one in form["parameters"]] == [
        ("box", "one", True), ("rest", "many", False), ("note", "keyword", False),
    ]  # fmt: skip
    assert form["parameters"][2]["default"] == "none"
    assert form["parameters"][0]["schema"]["$ref"] == "#/$defs/Box"
    said = {(one["kind"], one["name"]): one["schema"] for one in found["messages"]}
    assert said["signal", "looks-go"] == {"type": "boolean"}
    assert said["update", "looks-move"] == {"type": "integer"}


async def test_workers_queues_and_what_comes_soonest(served):
    engine, web = served
    await engine.start(looks_long.options(id="later", start_delay=3600), "z")

    workers = await asked(web, "workers")
    meta = await asked(web, "meta")

    (worker,) = workers["items"]
    assert (worker["is_alive"], worker["workflows"]) == (True, ["looks_at", "looks_long"])
    assert (meta["workers"], meta["has_code"], meta["is_read_only"]) == (1, True, False)
    assert [one["id"] for one in (await asked(web, "waiting"))["items"]] in ([], ["later"])


async def test_the_doctor_finds_a_file_well(served):
    _, web = served

    checks = {one["name"]: one for one in (await asked(web, "doctor"))["items"]}

    assert all(one["is_well"] for one in checks.values())
    assert checks["integrity"]["text"] == "every page reads"
    assert checks["workers"]["text"] == "1 worker live"


# -- acts ------------------------------------------------------------------------------------------


async def test_a_run_is_started_by_name_and_by_its_types(served):
    _, web = served

    made = await web.post(
        path("runs:start"), json={"workflow": "looks_long", "args": ["a"], "id": "started"}
    )
    wrong = await web.post(path("runs:start"), json={"workflow": "looks_long", "args": [1]})
    nobody = await web.post(path("runs:start"), json={"workflow": "nobody", "args": []})

    assert (made.status_code, made.json()["run"]["id"]) == (202, "started")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "wrong_payload")
    assert (nobody.status_code, nobody.json()["code"]) == (400, "wrong_use")


async def test_a_client_starts_what_a_worker_elsewhere_knows(served):
    engine, _ = served
    async with durable.Client(engine.path) as client, browser(durable.web.app(client)) as alone:
        said = {"workflow": "looks_long", "args": ["b"], "id": "by-name"}
        made = await alone.post(path("runs:start"), json=said)

    assert made.status_code == 202
    assert await (await engine.get("by-name")).result() == "b"


async def test_an_act_sent_again_with_its_key_is_done_once(served):
    engine, web = served
    said = {"workflow": "looks_long", "args": ["x"]}

    one = await web.post(path("runs:start"), json=said, headers={"idempotency-key": "k1"})
    same = await web.post(path("runs:start"), json=said, headers={"idempotency-key": "k1"})
    other = await web.post(path("runs:start"), json=said, headers={"idempotency-key": "k2"})
    long = await web.post(path("runs:start"), json=said, headers={"idempotency-key": "k" * 201})

    at_once = await asyncio.gather(
        *(
            web.post(path("runs:start"), json=said, headers={"idempotency-key": "k3"})
            for _ in range(5)
        )
    )

    assert len({answer.json()["run"]["id"] for answer in at_once}) == 1
    ids = [answer.json()["run"]["id"] for answer in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]
    assert long.status_code == 400
    assert sum((await engine.count("workflow:looks_long")).values()) == 4


async def test_each_act_leaves_a_row_in_the_audit(served):
    engine, web = served
    for verb, said in (
        ("signal", {"name": "other", "value": 1}), ("pause", {}), ("resume", {}), ("cancel", {}),
    ):  # fmt: skip
        assert (await web.post(path(f"runs/box:{verb}"), json=said)).status_code == 202
    await web.post(path("runs:start"), json={"workflow": "looks_long", "args": ["x"], "id": "s"})

    audit = (await (await engine.get("box")).details()).audit
    assert [one.verb for one in audit] == ["signal", "pause", "resume", "cancel"]
    assert json.loads(audit[0].details) == {"name": "other"}
    assert [one.verb for one in (await (await engine.get("s")).details()).audit] == ["start"]


async def test_open_runs_are_checked_against_the_code(served):
    _, web = served

    found = await asked(web, "check")

    assert (found["fit"], found["misfits"], found["is_whole"]) == (1, [], True)


async def test_what_is_said_of_time_is_never_old(served, monkeypatch):
    _, web = served
    now = [100.0]
    monkeypatch.setattr("durable.web._app.steady_s", lambda: now[0])
    tag = (await web.get(path("runs"))).headers["etag"]

    same = await web.get(path("runs"), headers={"if-none-match": tag})
    now[0] += FRESH_S
    later = await web.get(path("runs"), headers={"if-none-match": tag})

    assert (same.status_code, later.status_code) == (304, 200)


async def test_a_look_that_takes_long_has_no_tag(served):
    _, web = served

    for look in ("stats", "doctor", "check", "runs/box/compare?with=long", "runs/box/stack"):
        assert "etag" not in (await web.get(path(look))).headers


async def test_a_file_that_was_replaced_is_told_and_not_shown_on(tmp_path):
    file = tmp_path / "app.db"
    async with Engine(file, functions=[looks_long]) as engine:
        await (await engine.start(looks_long.options(id="old"), "x")).result()
    async with durable.Client(file) as client, browser(durable.web.app(client)) as web:
        assert (await web.get(path("runs"))).status_code == 200
        file.rename(tmp_path / "moved.db")

        details = list[str]()
        for address in ("runs", "meta", "runs/old"):
            answer = await web.get(path(address))
            assert (answer.status_code, answer.json()["code"]) == (503, "file_trouble")
            details.append(answer.json()["detail"])
        assert "was moved, deleted or replaced" in details[0]
        assert "does not exist" in details[-1]
        (tmp_path / "moved.db").rename(file)
        assert (await web.get(path("runs"))).status_code == 200


async def test_answers_kept_by_key_have_a_limit_in_bytes(served, monkeypatch):
    monkeypatch.setattr("durable.web._app.KEPT_BYTES_MAX", 1)
    _, web = served
    said = {"workflow": "looks_long", "args": ["x"]}

    async def started(key):
        answer = await web.post(path("runs:start"), json=said, headers={"idempotency-key": key})
        return answer.json()["run"]["id"]

    one, same = await started("k1"), await started("k1")
    two = await started("k2")
    forgotten = await started("k1")

    assert one == same
    assert len({one, two, forgotten}) == 3


async def test_something_else_under_the_same_key_is_refused(served):
    _, web = served
    said = {"workflow": "looks_long", "args": ["x"], "id": "one"}

    await web.post(path("runs:start"), json=said, headers={"idempotency-key": "k"})
    other = await web.post(
        path("runs:start"), json={**said, "id": "two"}, headers={"idempotency-key": "k"}
    )

    assert (other.status_code, other.json()["code"]) == (409, "key_in_use")


async def test_an_engine_starts_only_what_it_has_whoever_asks(served):
    engine, _ = served

    async with browser(durable.web.app(engine, auth=lambda _: "ada")) as web:
        answer = await web.post(path("runs:start"), json={"workflow": "nobody", "args": []})

    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_use")


async def test_a_look_that_is_given_up_disturbs_no_other(served):
    _, web = served

    async def look(number: int) -> int:
        try:
            async with asyncio.timeout(0.002 if number % 2 else 10):
                return (await web.get(path("runs"))).status_code
        except TimeoutError:
            return 0

    for _ in range(10):
        found = await asyncio.gather(*(look(number) for number in range(20)))
        assert set(found) <= {0, 200}


async def test_what_is_edited_has_to_be_of_a_policy(served):
    _, web = served

    for changes in ({"step": "x"}, {"reason": "x"}, {"nothing": 1}):
        said = {"step": "1", "changes": changes}
        answer = await web.post(path("runs/box:edit"), json=said)
        assert (answer.status_code, answer.json()["code"]) == (400, "wrong_use")
        assert "is nothing of a policy" in answer.json()["detail"]


@pytest.mark.parametrize("query", ["started:<" + "9" * 400 + "h", "started:<1e400h"])
async def test_a_duration_without_end_is_refused(served, query):
    _, web = served

    assert (await web.get(path("runs"), params={"q": query})).status_code == 400
    assert (await web.get(path("stats"), params={"since": "9" * 400 + "h"})).status_code == 400


async def test_a_wrong_filter_of_a_check_is_told_by_its_own_places(served):
    _, web = served

    answer = (await web.get(path("check"), params={"q": "(("})).json()

    assert (answer["code"], answer["position"] <= 2) == ("wrong_filter", True)


async def test_who_the_service_knows_stands_in_the_audit(served):
    engine, _ = served

    async with browser(durable.web.app(engine, auth=lambda _: "ada@example.org")) as web:
        await web.post(path("runs/box:pause"), json={"reason": "tea"})

    (row,) = (await (await engine.get("box")).details()).audit
    assert (row.who, row.why) == ("ada@example.org", "tea")


async def test_a_queue_is_paused_and_its_job_stopped_while_no_engine_does_it(tmp_path):
    async with (
        durable.Client(tmp_path / "app.db", create=True) as client,
        browser(durable.web.app(client)) as web,
    ):
        held = await web.post(path("holds:pause"), json={"kind": "queue", "name": "default"})
        wrong = await web.post(path("holds:pause"), json={"kind": "file", "name": "x"})
        stopped = await web.post(path("jobs/1:stop"), json={"reason": "enough"})
        again = await web.post(path("jobs/1:stop"), json={})

        assert (held.status_code, held.json()["job"]["state"]) == (202, "running")
        assert (wrong.status_code, wrong.json()["code"]) == (400, "wrong_use")
        assert stopped.json()["job"]["state"] == "stopped"
        assert (again.status_code, again.json()["code"]) == (409, "wrong_state")
        assert [one["name"] for one in (await asked(web, "holds"))["items"]] == ["default"]
        assert (await web.post(path("jobs/99:stop"), json={})).status_code == 404


# -- the document ----------------------------------------------------------------------------------

DOCUMENT = json.loads(document())
QUERIES = {
    "runs/{id}/step": {"seq": 1}, "runs/{id}/payload": {"of": "result"},
    "runs/{id}/promise": {"name": "x"}, "runs/{id}/compare": {"with": "long"},
    "runs/{id}/stream": {"name": "looks-lines"},
}  # fmt: skip


def schema_of(operation: Any, code: str, kind: str) -> Any:
    schema = operation["responses"][code]["content"][kind]["schema"]
    return {**schema, "components": DOCUMENT["components"]}


def test_the_document_is_one_of_openapi_3_1():
    assert DOCUMENT["openapi"] == "3.1.0"
    names = [one["operationId"] for each in DOCUMENT["paths"].values() for one in each.values()]
    assert len(names) == len(set(names))
    for operations in DOCUMENT["paths"].values():
        for one in operations.values():
            for answer in one["responses"].values():
                for content in answer.get("content", {}).values():
                    schema = {**content["schema"], "components": DOCUMENT["components"]}
                    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("address", LOOKS)
async def test_each_answer_is_as_the_document_says(served, address):
    _, web = served
    operation = DOCUMENT["paths"][f"/{address}"]["get"]
    if address in {"issues/{id}", "jobs/{id}"}:
        answer = await web.get(path(address.replace("{id}", "1")))
        schema = schema_of(operation, "default", "application/problem+json")
    else:
        answer = await web.get(
            path(address.replace("{id}", "long" if "payload" in address else "box")),
            params=QUERIES.get(address, {}),
        )
        assert answer.status_code == 200, answer.text
        schema = schema_of(operation, "200", "application/json")

    jsonschema.validate(answer.json(), schema)


async def test_the_document_is_served(served):
    _, web = served

    assert (await web.get(path("openapi.json"))).json() == DOCUMENT


# -- assets ----------------------------------------------------------------------------------------


async def test_the_pages_are_served_with_their_types(served):
    _, web = served

    page = await web.get("/")
    script = await web.get("/assets/main.js")
    again = await web.get("/assets/main.js", headers={"if-none-match": script.headers["etag"]})

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert again.status_code == 304
    assert 'src="assets/main.js"' in page.text


def test_all_assets_together_are_small():
    assert sum(len(one.data) for one in assets().values()) < ASSET_BYTES_MAX


def test_every_file_of_the_pages_is_on_the_list():
    files = {one.relative_to(STATIC).as_posix() for one in STATIC.rglob("*") if one.is_file()}

    assert files - {"vendor/LICENSES.txt", "vendor/SHA256SUMS"} == set(assets())


def test_the_vendored_module_is_the_one_that_was_made_and_its_licences_are_kept():
    sums = dict(
        reversed(line.split()) for line in (STATIC / "vendor/SHA256SUMS").read_text().splitlines()
    )

    for name in ("preact.js", "LICENSES.txt"):
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == sums[name]
    licences = (STATIC / "vendor/LICENSES.txt").read_text()
    assert all(f"==== {one} " in licences for one in ("preact", "htm", "@preact/signals"))


def test_no_page_has_inline_script_or_style_or_a_foreign_address():
    for name, one in assets().items():
        text = one.data.decode()
        assert "innerHTML" not in text or name.startswith("vendor/"), name
        assert "dangerouslySetInnerHTML=" not in text, name
        if name == "index.html":
            assert "<style" not in text
            assert "<script>" not in text
            assert "//" not in text.replace("<!doctype html>", "")
