"""Tokens are keyed with a secret of the file, which nothing but the file and its backups hold."""

import gzip
import json
import sqlite3

import pytest

import durable
from durable import Client, Engine, TokenUnknown, Value, activity, workflow
from durable._store.messages import make_token
from durable.payloads import HIDDEN_PROOF, TOKEN_MARK, fingerprint
from tests.until import until

asked = Value("asked", str)


@activity
async def mail(text: str) -> str:
    return f"sent {text}"


@activity
async def read_back(text: str) -> int:
    return len(text)


@workflow
async def buys(item: str) -> int:
    approval = durable.promise("approval", int)
    asked.set(approval.token)
    sent = await mail(f"https://shop/answer?t={approval.token}&of={item}")
    await read_back(sent)
    return await approval


FUNCTIONS = [buys]


@pytest.fixture
async def bought(tmp_path):
    """A file in which a run waits for its promise; its path, and the token."""
    path = tmp_path / "app.db"
    async with Engine(path, functions=FUNCTIONS) as engine:
        run = await engine.start(buys.options(id="buy-1"), "hat")

        async def has_read_back():
            return any(event.name == "read_back" for event in await run.history())

        await until(has_read_back)
        return path, await run.read(asked)


def secret_of(path):
    made = sqlite3.connect(path)
    (secret,) = made.execute("SELECT value FROM durable_meta WHERE name = 'secret'").fetchone()
    made.close()
    return secret


async def export(path, target, redact=()):
    async with Client(path) as client:
        await client.export("buy-1", target, redact=redact)
    data = target.read_bytes()
    return gzip.decompress(data) if target.suffix == ".gz" else data


async def test_what_an_export_tells_of_a_run_makes_no_token(bought, tmp_path):
    path, _ = bought
    lines = (await export(path, tmp_path / "x.jsonl")).splitlines()
    run = next(line for line in map(json.loads, lines) if line["kind"] == "run")

    for key in (b"", run["salt"].to_bytes(8, "big"), bytes(32)):
        async with Client(path) as client:
            with pytest.raises(TokenUnknown):
                await client.resolve(make_token(key, "buy-1", run["salt"], "1"), 1)


@pytest.mark.parametrize("redact", [(), ("email",), ("*",)])
@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
async def test_no_export_holds_a_token_or_the_secret(bought, tmp_path, redact, name):
    path, token = bought

    data = await export(path, tmp_path / name, redact)

    proof = token.rpartition(".")[2]
    assert proof.encode() not in data
    assert secret_of(path) not in data
    assert secret_of(path).hex().encode() not in data.lower()
    assert "*" in redact or HIDDEN_PROOF.encode() in data


async def test_an_imported_run_goes_on_and_is_answered_by_a_token_of_its_new_file(bought, tmp_path):
    path, token = bought
    await export(path, tmp_path / "x.jsonl")
    async with Engine(tmp_path / "new.db", functions=FUNCTIONS) as engine:
        await engine.import_(tmp_path / "x.jsonl")
        run = await engine.get("buy-1")
        await run.resume()
        await until(lambda: _is_asking(run))
        (promise,) = (await run.details()).promises

        with pytest.raises(TokenUnknown):
            await engine.resolve(token, 1)
        await engine.resolve(promise.token, 2)

        assert promise.token != token
        assert await run.result() == 2


async def _is_asking(run):
    return (await run.details()).promises


async def test_a_backup_takes_the_tokens_that_were_handed_out(bought, tmp_path):
    path, token = bought
    async with Client(path) as client:
        await client.backup(tmp_path / "copy.db")
    async with Engine(tmp_path / "copy.db", functions=FUNCTIONS) as engine:
        await engine.resolve(token, 5)

        assert await (await engine.get("buy-1")).result() == 5


async def test_a_token_is_good_in_every_later_process_and_looks_alike_everywhere(bought):
    path, token = bought
    for _ in range(2):
        async with Engine(path, functions=FUNCTIONS) as engine:
            (promise,) = (await (await engine.get("buy-1")).details()).promises
            assert promise.token == token
            assert [one async for one in _aiter(engine.check())] == []
    with durable.view(path) as runs:
        assert runs.get("buy-1").promises[0].token == token


async def _aiter(found):
    for one in found:
        if one is not None:
            yield one


async def test_who_has_no_right_token_is_not_told_which_runs_there_are(bought):
    path, token = bought
    said = set()
    async with Client(path) as client:
        for wrong in (token[:-4] + "AAAA", make_token(b"x" * 32, "nobody", 1, "1")):
            with pytest.raises(TokenUnknown) as caught:
                await client.resolve(wrong, 1)
            said.add(str(caught.value))

    assert len(said) == 1
    assert "buy-1" not in said.pop()


@pytest.mark.parametrize(
    "wrong",
    ["", "x", TOKEN_MARK, f"{TOKEN_MARK}.", f"{TOKEN_MARK}YQ.{'A' * 22}", f"{TOKEN_MARK}é.x",
     f"{TOKEN_MARK}YQox.{'é' * 22}", f"{TOKEN_MARK}YQox.{'A' * 21}", "\udcff"],
)  # fmt: skip
async def test_what_is_no_token_is_refused(bought, wrong):
    path, _ = bought
    async with Client(path) as client:
        with pytest.raises(TokenUnknown, match="is no token"):
            await client.resolve(wrong, 1)


def test_a_token_has_128_bits_of_proof_and_is_told_by_its_run_step_and_salt():
    made = {
        make_token(secret, run, salt, step)
        for secret in (b"a" * 32, b"b" * 32)
        for run in ("a", "b")
        for salt in (1, 2)
        for step in ("1", "2/1")
    }

    assert len(made) == 16
    assert len({one.rpartition(".")[2] for one in made}) == 16
    assert all(len(one.rpartition(".")[2]) == 22 for one in made)


def test_a_call_with_a_token_is_the_same_call_in_another_file():
    first, second = (make_token(key * 32, "a", 1, "1") for key in (b"a", b"b"))
    other = make_token(b"a" * 32, "a", 1, "2")

    assert fingerprint(first.encode()) == fingerprint(second.encode())
    assert fingerprint(first.encode()) != fingerprint(other.encode())


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM durable_meta WHERE name = 'secret'",
        "UPDATE durable_meta SET value = '' WHERE name = 'secret'",
        "UPDATE durable_meta SET value = x'00' WHERE name = 'secret'",
        "UPDATE durable_meta SET value = 5 WHERE name = 'secret'",
    ],
)
async def test_a_lost_secret_is_said_and_made_again(bought, change, caplog):
    path, token = bought
    made = sqlite3.connect(path)
    made.execute(change)
    made.commit()
    made.close()
    with durable.view(path) as runs:
        assert runs.get("buy-1").promises[0].token == ""

    async with Engine(path, functions=FUNCTIONS) as engine:
        (promise,) = (await (await engine.get("buy-1")).details()).promises
        with pytest.raises(TokenUnknown):
            await engine.resolve(token, 1)
        await engine.resolve(promise.token, 3)

        assert await (await engine.get("buy-1")).result() == 3
    assert "the tokens that were handed out open nothing any more" in caplog.text
