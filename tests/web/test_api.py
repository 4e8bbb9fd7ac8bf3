"""The JSON API: looks, acts and problems, over a file with a living engine and without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

pytest.importorskip("starlette", reason="NOT CHECKED: no starlette; it is in the group `test`")
pytest.importorskip("httpx", reason="NOT CHECKED: no httpx; it is in the group `test`")

from starlette.applications import Starlette
from starlette.routing import Mount

import durable.web
from durable import Client, Engine, Retry, Signal, activity, workflow
from durable.errors import RunFailed
from durable.web import api
from durable.web._app import guarded_app
from durable.web._guard import BODY_BYTES_MAX, HEADERS, URL_BYTES_MAX, Guard
from tests.until import until
from tests.web.browsing import browser, path

go = Signal("go", bool)
is_broken = [True]


@activity(retry=Retry(max_attempts=1))
async def charge(number: int) -> int:
    if is_broken[0]:
        raise ConnectionError("refused \x1b[31m<script>")
    return number


@workflow
async def web_pays(number: int) -> int:
    return await charge(number)


@workflow
async def web_waits() -> bool:
    return await go.receive()


FUNCTIONS = [web_pays, web_waits]


@pytest.fixture
async def served(tmp_path):
    """An engine with a run that failed and one that waits, and a browser that looks at it."""
    is_broken[0] = True
    async with Engine(tmp_path / "app.db", functions=FUNCTIONS) as engine:
        failed = await engine.start(web_pays.options(id="order/42?"), 7)
        with pytest.raises(RunFailed):
            await failed.result()
        await engine.start(web_waits.options(id="waits", tags=["urgent"]))
        async with browser(durable.web.app(engine)) as web:
            yield engine, web


# -- looks -----------------------------------------------------------------------------------------


async def test_runs_are_listed_filtered_and_paged(served):
    _, web = served

    every = (await web.get(path("runs"))).json()
    failed = (await web.get(path("runs"), params={"q": "status:failed"})).json()
    first = (await web.get(path("runs"), params={"limit": "1"})).json()
    second = (await web.get(path("runs"), params={"limit": "1", "before": first["next"]})).json()

    assert [one["id"] for one in every["items"]] == ["waits", "order/42?"]
    assert [one["id"] for one in failed["items"]] == ["order/42?"]
    assert (first["items"][0]["id"], second["items"][0]["id"]) == ("waits", "order/42?")
    assert every["items"][0]["created"].endswith("Z")
    oldest = (await web.get(path("runs"), params={"sort": "started", "limit": "1"})).json()
    behind = {"sort": "started", "before": oldest["next"]}
    assert [one["id"] for one in oldest["items"]] == ["order/42?"]
    assert [one["id"] for one in (await web.get(path("runs"), params=behind)).json()["items"]] == [
        "waits"
    ]
    gone = await web.get(path("runs"), params={"sort": "-took", "before": "7777"})
    assert (gone.status_code, "list from the first page" in gone.json()["detail"]) == (404, True)
    wrong = await web.get(path("runs"), params={"sort": "why"})
    assert (wrong.status_code, "not by 'why'" in wrong.json()["detail"]) == (400, True)
    counts = (await web.get(path("counts"))).json()
    assert counts == {"counts": {"running": 1, "failed": 1}, "total": 2}


async def test_a_run_is_shown_whatever_its_id(served):
    _, web = served

    found = (await web.get(path("runs", "order%2F42%3F"))).json()
    events = (await web.get(path("runs", "order%2F42%3F", "events"))).json()
    family = (await web.get(path("runs", "order%2F42%3F", "family"))).json()

    assert (found["id"], found["status"]) == ("order/42?", "failed")
    assert found["steps"] == []
    assert [one["seq"] for one in events["items"]] == [1]
    assert family["id"] == "order/42?"


@pytest.mark.parametrize("look", [one for one in api.LOOKS if "{" not in one])
async def test_every_look_answers_json(served, look):
    _, web = served

    answer = await web.get(path(look))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.text)


async def test_issues_jobs_and_comparisons_have_their_addresses(served):
    engine, web = served
    is_broken[0] = False
    job = await engine.retry_all("status:failed")
    await job.wait()

    issue = (await web.get(path("issues", "I-1"))).json()
    shown = (await web.get(path("jobs", str(job.id)))).json()
    compared = await web.get(path("runs", "order%2F42%3F%231", "compare"), params={"with": "waits"})

    assert issue["kind"] == "failed"
    assert (shown["verb"], shown["done"]) == ("retry", 1)
    assert compared.status_code == 200


async def test_what_has_not_changed_is_not_sent_again(served):
    engine, web = served
    first = await web.get(path("runs"))
    tag = first.headers["etag"]

    again = await web.get(path("runs"), headers={"if-none-match": tag})
    other = await web.get(path("runs"), params={"q": "tag:urgent"}, headers={"if-none-match": tag})
    await (await engine.get("waits")).signal(go, True)
    later = await web.get(path("runs"), headers={"if-none-match": tag})

    assert (again.status_code, again.content) == (304, b"")
    assert (other.status_code, later.status_code) == (200, 200)
    assert later.headers["etag"] != tag


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("runs/nobody", 404, "not_found"),
        ("issues/I-9", 404, "not_found"),
        ("jobs/9", 404, "not_found"),
        ("jobs/x", 400, "wrong_use"),
        ("runs?limit=0x1", 400, "wrong_use"),
        ("runs?limit=100000", 400, "wrong_use"),
        ("runs?before=-1", 400, "wrong_use"),
        ("runs?q=stauts:failed", 400, "wrong_filter"),
        ("runs/waits/compare", 400, "wrong_use"),
        ("issues?state=strange", 400, "wrong_use"),
        ("stats?since=soon", 400, "wrong_use"),
        ("nothing", 404, "not_found"),
        ("../../../etc/passwd", 404, "not_found"),
    ],
)
async def test_what_is_wrong_is_a_problem(served, address, status, code):
    _, web = served

    answer = await web.get(path(address))

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]
    assert ("position" in problem) == (code == "wrong_filter")


# -- acts ------------------------------------------------------------------------------------------


async def test_a_run_is_retried_and_goes_on(served):
    engine, web = served
    is_broken[0] = False

    answer = await web.post(path("runs", "order%2F42%3F:retry"), json={"reason": "mended"})

    assert answer.status_code == 202
    assert answer.json()["run"]["id"] == "order/42?#2"
    assert await (await engine.get("order/42?")).result() == 7
    audit = (await web.get(path("runs", "order%2F42%3F"))).json()["audit"]
    assert [(one["verb"], one["why"]) for one in audit] == [("retry", "mended")]


async def test_a_signal_an_issue_and_a_restart(served):
    engine, web = served
    is_broken[0] = False

    signal = await web.post(path("runs", "waits:signal"), json={"name": "go", "value": True})
    muted = await web.post(path("issues", "I-1:mute"), json={})
    again = await web.post(
        path("runs", "order%2F42%3F:restart"), json={"from": "start", "input": [8]}
    )

    assert signal.status_code == 202
    assert await (await engine.get("waits")).result()
    assert muted.json()["state"] == "muted"
    assert again.status_code == 202
    assert await (await engine.get("order/42?")).result() == 8


async def test_many_are_counted_then_acted_on(served):
    engine, web = served
    is_broken[0] = False
    said = {"verb": "retry", "q": "workflow:web_pays", "args": {"reason": "mended"}}

    dry = (await web.post(path("runs:bulk"), json={**said, "dry_run": True})).json()
    made = (await web.post(path("runs:bulk"), json=said)).json()["job"]

    assert (dry["total"], dry["counts"]) == (1, {"failed": 1})
    assert [one["id"] for one in dry["first"]] == ["order/42?"]
    while (await web.get(path("jobs", str(made["id"])))).json()["state"] == "running":
        await asyncio.sleep(0)
    assert await (await engine.get("order/42?")).result() == 7


@pytest.mark.parametrize(
    ("address", "said", "status", "code"),
    [
        ("runs/nobody:retry", {}, 404, "not_found"),
        ("runs/waits:retry", {}, 409, "wrong_state"),
        ("runs/waits:explode", {}, 400, "wrong_use"),
        ("runs/waits:skip", {"step": "1"}, 400, "wrong_use"),
        ("runs/waits:skip", {"step": 1, "output": 1}, 400, "wrong_use"),
        ("runs/waits:cancel", {"why": "x"}, 400, "wrong_use"),
        ("runs/order%2F42%3F:signal", {"name": "go", "value": True}, 409, "run_closed"),
        ("runs:bulk", {"verb": "retry", "q": ""}, 400, "wrong_filter"),
        ("runs:bulk", {"verb": "explode", "q": "status:open"}, 400, "wrong_use"),
        ("runs:bulk", {"verb": 3, "q": "status:open"}, 400, "wrong_use"),
        ("issues/I-1:explode", {}, 404, "not_found"),
        ("issues/I-9:mute", {}, 404, "not_found"),
    ],
)
async def test_an_act_that_is_wrong_changes_nothing(served, address, said, status, code):
    engine, web = served
    before = await engine.count("superseded:any")

    answer = await web.post(path(address), json=said)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await engine.count("superseded:any") == before


async def test_without_a_worker_an_act_is_kept_for_one(served, tmp_path):
    engine, _ = served
    async with Client(engine.path) as client, browser(durable.web.app(client)) as web:
        answer = await web.post(path("runs", "waits:cancel"), json={"reason": "moved"})

        assert answer.status_code == 202


async def test_a_reader_only_reads(served):
    engine, _ = served
    async with browser(durable.web.app(engine, read_only=True)) as web:
        looked = await web.get(path("runs"))
        acted = await web.post(path("runs", "waits:terminate"), json={})
        many = await web.post(path("runs:bulk"), json={"verb": "terminate", "q": "status:open"})

    assert looked.status_code == 200
    assert [one.json()["code"] for one in (acted, many)] == ["read_only"] * 2
    assert await (await engine.get("waits")).status() != "terminated"


@workflow
async def web_asks() -> bool:
    approval = durable.promise("approval", bool)
    shown.set(approval.token)
    await web_mails(f"https://shop/answer?t={approval.token}")
    return await approval


shown = durable.Value("shown", str)


@activity
async def web_mails(text: str) -> str:
    return text


LOOKS_AT_A_RUN = ["", "/steps", "/events", "/values", "/family", "/payload?of=arguments&seq=1"]


async def test_who_may_only_look_gets_no_token(tmp_path):
    async with Engine(tmp_path / "app.db", functions=[web_asks]) as engine:
        run = await engine.start(web_asks.options(id="asks"))

        async def waits():
            return (await run.details()).promises

        ((promise,), _) = await until(waits), await until(lambda: _has_mailed(run))
        proof = promise.token.rpartition(".")[2]
        told = {}
        for read_only in (False, True):
            async with browser(durable.web.app(engine, read_only=read_only)) as web:
                found = [await web.get(path("runs", f"asks{each}")) for each in LOOKS_AT_A_RUN]
            told[read_only] = [proof in one.text for one in found]

    assert sum(told[False]) >= 3
    assert not any(told[True])


async def _has_mailed(run):
    return any(event.name == "web_mails" for event in await run.history())


async def test_who_goes_in_the_middle_of_a_body_leaves_no_traceback(served):
    engine, _ = served
    parts = [
        {"type": "http.request", "body": b'{"verb": ', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive():
        return parts.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path("runs:bulk"), "root_path": "",
        "raw_path": path("runs:bulk").encode(), "query_string": b"", "scheme": "http",
        "headers": [(b"host", b"x"), (b"content-type", b"application/json")],
    }  # fmt: skip
    await durable.web.app(engine)(scope, receive, send)

    assert sent[0]["status"] == 400


async def test_it_is_mounted_under_any_prefix(served):
    engine, _ = served
    outer = Starlette(routes=[Mount("/ops/durable", durable.web.app(engine))])
    async with browser(outer) as web:
        found = await web.get("/ops/durable/api/v1/runs")

    assert [one["id"] for one in found.json()["items"]] == ["waits", "order/42?"]


# -- strangers -------------------------------------------------------------------------------------

HOST = "127.0.0.1:8080"
TOKEN = "t" * 32
ALONE = Guard(token=TOKEN, hosts=frozenset({HOST, "localhost:8080"}), cookie="durable-8080")


@pytest.fixture
async def alone(served):
    engine, _ = served
    async with browser(guarded_app(engine, ALONE)) as web:
        yield engine, web


JSON = {"content-type": "application/json"}


def bearing(**headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKEN}", **headers}


@pytest.mark.parametrize(
    "host", ["evil.com", "127.0.0.1.evil.com", "localhost.:8080", "", "127.0.0.1:9", "127.0.0.1"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_host_name_is_refused(alone, host, method):
    _, web = alone

    answer = await web.request(method, path("runs"), headers=bearing(host=host))

    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_host")


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}"]
)
async def test_without_the_token_nobody_comes_in(alone, given):
    _, web = alone

    answer = await web.get(path("runs"), headers={"authorization": given})

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authorized")
    assert TOKEN not in answer.text


async def test_the_tokens_address_gives_a_cookie_and_leaves_no_token_behind(alone):
    _, web = alone

    wrong = await web.get(path("runs"), params={"token": TOKEN[:-1]})
    sent_on = await web.get(path("runs"), params={"token": TOKEN, "q": "status:failed"})

    assert wrong.status_code == 401
    assert (sent_on.status_code, sent_on.headers["location"]) == (303, "runs?q=status%3Afailed")
    kept = sent_on.headers["set-cookie"]
    assert kept.startswith("durable-8080=")
    assert all(word in kept for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
    found = await web.get(path("runs"))
    assert found.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.com"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-length": str(BODY_BYTES_MAX + 1)}, 413),
        ({"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}, 202),
        ({"content-type": "application/json; charset=utf-8"}, 202),
    ],
)
async def test_an_act_comes_from_this_page_and_is_json(alone, headers, status):
    engine, web = alone
    known = {"content-type": "application/json", **bearing(**headers)}

    answer = await web.post(path("runs", "waits:cancel"), content=b"{}", headers=known)

    assert answer.status_code == status
    if status != 202:
        assert (await (await engine.get("waits")).details()).audit == []


@pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff", b'"x"', b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(alone, body):
    _, web = alone

    answer = await web.post(
        path("runs", "waits:cancel"),
        content=body,
        headers=bearing(**{"content-type": "application/json"}),
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "not_json")


async def test_a_body_that_grows_beyond_its_limit_is_refused(alone):
    _, web = alone

    async def grows() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES_MAX // 100_000 + 1):
            yield b" " * 100_000

    answer = await web.post(
        path("runs", "waits:cancel"),
        content=grows(),
        headers=bearing(**{"content-type": "application/json"}),
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "ask",
    [
        lambda web: web.get(path("runs"), headers=bearing()),
        lambda web: web.get(path("nothing"), headers=bearing()),
        lambda web: web.get(path("runs")),
        lambda web: web.post(path("runs:bulk"), json={}, headers=bearing()),
        lambda web: web.request(
            "OPTIONS", path("runs"), headers=bearing(origin="https://evil.com")
        ),
        lambda web: web.get(path("runs"), headers=bearing(host="evil.com")),
    ],
)
async def test_every_answer_has_the_headers_and_none_lets_another_origin_in(alone, ask):
    _, web = alone

    answer = await ask(web)

    for name, value in HEADERS.items():
        if name != "cache-control":
            assert answer.headers[name] == value
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
async def test_another_method_is_refused(alone, method):
    _, web = alone

    answer = await web.request(method, path("runs", "waits:cancel"), headers=bearing())

    assert answer.status_code in {405, 404}


async def test_an_address_has_a_limit(alone):
    _, web = alone
    used = len(path("runs")) + len("q=")

    at_most = await web.get(path("runs") + "?q=" + "x" * (URL_BYTES_MAX - used), headers=bearing())
    over = await web.get(path("runs") + "?q=" + "x" * (URL_BYTES_MAX - used + 1), headers=bearing())

    assert (at_most.status_code, over.status_code) == (200, 414)


async def test_a_service_decides_itself_who_may_ask(served):
    engine, _ = served

    async def known(scope: object) -> bool:
        return any(name == b"x-user" for name, _ in scope["headers"])  # type: ignore[index]

    for auth in (known, lambda scope: any(name == b"x-user" for name, _ in scope["headers"])):
        async with browser(durable.web.app(engine, auth=auth)) as web:
            assert (await web.get(path("runs"))).status_code == 401
            assert (await web.get(path("runs"), headers={"x-user": "ada"})).status_code == 200


@pytest.mark.parametrize(
    "place", ["%5C%5Cevil.example", "//evil.example", "a%0D%0Ax:y", "%2F%2Fe.x"]
)
async def test_the_token_is_never_sent_on_to_another_origin(alone, place):
    _, web = alone

    answer = await web.get(f"/{place}?token={TOKEN}", headers={"host": HOST})

    assert answer.status_code == 303
    assert not answer.headers["location"].startswith(("//", "\\", "http"))
    assert "\n" not in answer.headers["location"]


@pytest.mark.parametrize(
    "cookie",
    [
        'prefs={"a":1,"b":"x y"}; durable-8080=TOKEN', "flag; durable-8080=TOKEN",
        "a[b]=1; foo bar=2; durable-8080=TOKEN", "durable-8080=old; durable-8080=TOKEN",
        "name=J\u00fcrgen;durable-8080=TOKEN",
    ],
)  # fmt: skip
async def test_odd_cookies_of_others_do_not_lock_anybody_out(alone, cookie):
    _, web = alone
    sent = cookie.replace("TOKEN", TOKEN).encode("latin-1")

    answer = await web.get(path("runs"), headers=[(b"host", HOST.encode()), (b"cookie", sent)])

    assert answer.status_code == 200


async def test_a_body_that_is_no_text_is_refused(alone):
    _, web = alone

    answer = await web.post(
        path("runs", "waits:cancel"),
        content=b'{"reason": "\xff"}',
        headers=bearing(**{"content-type": "application/json"}),
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "not_json")


async def test_a_scope_that_lacks_what_may_lack_is_judged(served):
    engine, _ = served
    app = durable.web.app(engine)
    answers: list[dict[str, object]] = []

    async def send(message):
        answers.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/api/v1/meta", "raw_path": None,
             "headers": [(b"host", b"x")], "query_string": b""}  # fmt: skip
    await app(scope, receive, send)

    assert answers[0]["status"] == 200


class Proxied:
    """A service whose proxy has taken a prefix away, as Starlette and FastAPI are told of it."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app({**scope, "root_path": "/proxy", "app_root_path": "/proxy"}, receive, send)


@pytest.mark.parametrize("place", ["/ops/durable", "/a/b/c", "/t/{x}"])
@pytest.mark.parametrize("is_proxied", [False, True])
async def test_it_is_mounted_under_every_prefix_also_behind_a_proxy(served, place, is_proxied):
    engine, _ = served
    app = Starlette(routes=[Mount(place, durable.web.app(engine))])
    prefix = place.replace("{x}", "q")

    async with browser(Proxied(app) if is_proxied else app) as web:
        page = await web.get(f"{prefix}/")
        meta = await web.get(f"{prefix}/api/v1/meta")
        run = await web.get(f"{prefix}/api/v1/runs/order%2F42%3F")
        act = await web.post(f"{prefix}/api/v1/runs/waits:pause", json={})

    assert [one.status_code for one in (page, meta, run, act)] == [200, 200, 200, 202]
    assert "main.js" in page.text
