"""What redaction leaves of a line."""

import json

import pytest

from durable import errors
from durable._store.portable import Redactor, known
from durable._store.portable.lines import EventLine, ItemLine, RunLine
from durable.payloads import checksum, checksum_of_two, fingerprint
from tests.store.exports import event_line, run_line


def as_line(row):
    kinds = {"run": RunLine, "event": EventLine, "item": ItemLine}
    return kinds[row.pop("kind")](**row)


def redacted(paths, *rows):
    """Return what becomes of lines."""
    redactor = Redactor(paths)
    for row in rows:
        redactor.learn(as_line(dict(row)))
    redactor.ready()
    return [one for row in rows for one in redactor.redacted(as_line(dict(row)))]


def event_of(value, **changes):
    return event_line(result=json.dumps(value), **changes)


@pytest.mark.parametrize(
    ("paths", "before", "after"),
    [
        (["email"], {"email": "ada@x.org"}, {"email": "<redacted>"}),
        (["email"], {"a": [{"email": "ada"}]}, {"a": [{"email": "<redacted>"}]}),
        (["email"], {"email": None, "b": "c"}, {"email": None, "b": "c"}),
        (["n"], {"n": [7, 1.5, True, {"x": "y"}]}, {"n": [0, 0.0, True, {"x": "<redacted>"}]}),
        (["n"], {"n": {"ada@x.org": 1}}, {"n": {"<redacted 1>": 0}}),
        (["c.card"], {"c": {"card": "1"}, "card": "2"}, {"c": {"card": "<redacted>"}, "card": "2"}),
        (["c.card"], {"c": [{"card": "1"}]}, {"c": [{"card": "<redacted>"}]}),
        (["k"], [{"k": "secret"}, "a secret!"], [{"k": "<redacted>"}, "a <redacted>!"]),
        (["k"], [{"k": "secret"}, {"secret": 1}], [{"k": "<redacted>"}, {"<redacted 1>": 1}]),
        (["k"], [{"k": "yes"}, "yes"], [{"k": "<redacted>"}, "yes"]),
        (["k"], [{"k": 1234567}, 1234567, "n1234567"], [{"k": 0}, 0, "n<redacted>"]),
        (["k"], [{"k": 42}, 42], [{"k": 0}, 42]),
        (["k"], [{"k": "long secret"}, {"k": "long"}, "long secret"],
         [{"k": "<redacted>"}, {"k": "<redacted>"}, "<redacted>"]),
        (["k"], [{"k": "it's\n\"so\""}, "{'k': 'it\\'s\\n\"so\"'}"], None),
        (["*"], {"a": "b", "n": 7, "t": True}, {"a": "<redacted>", "n": 7, "t": True}),
        (["*"], {"a b": "c", "d": ""}, {"<redacted 1>": "<redacted>", "d": ""}),
    ],
)  # fmt: skip
def test_what_becomes_of_a_payload(paths, before, after):
    (line,) = redacted(paths, event_of(before))

    if after is not None:
        assert json.loads(line.result) == after
    assert "so" not in line.result
    assert line.checksum == checksum_of_two(b"[]", line.result.encode())


def test_what_nothing_is_hidden_of_stays_as_it_is():
    text = '{"a": 1.50, "b": NaN, "\\u0061": "\\ud800"}'

    (line,) = redacted(["email"], event_line(result=text, checksum=3))

    assert line.result == text


@pytest.mark.parametrize("text", ["[" * 100_000, "no json", "9" * 5_000])
def test_what_cannot_be_looked_into_is_hidden(text):
    (line,) = redacted(["email"], event_line(result=text))

    assert line.result == '"<redacted>"'


def test_lone_surrogates_and_no_numbers_survive():
    (line,) = redacted(["k"], event_line(result='{"k":"x","a":NaN,"b":"\\ud800 \\u4e16"}'))

    assert line.result.encode()
    assert line.result.startswith('{"k":"<redacted>","a":NaN,"b":"\\ud800 ')


def test_hidden_arguments_are_accepted_and_have_another_fingerprint():
    arguments = '[{"email":"ada@x.org"}]'

    line, accepted = redacted(["email"], event_line(arguments=arguments))

    assert line.arguments == '[{"email":"<redacted>"}]'
    assert line.fingerprint == fingerprint(line.arguments.encode())
    assert (type(accepted).__name__, accepted.step) == ("AcceptedLine", "1")


def test_ids_stay_two_and_labels_and_reasons_are_hidden_too():
    labels = json.dumps([["tag", "to ada@x.org"], ["attr.email", "ada@x.org"], ["attr.n", 3]])
    rows = [
        run_line(n, f"mail {name}", arguments=json.dumps([{"email": name}]), labels=labels,
                 error=f"Declined: {name} is unknown")
        for n, name in enumerate(("ada@x.org", "bob@x.org"), 1)
    ]  # fmt: skip

    one, other = redacted(["email"], *rows)

    assert one.id.startswith("mail <redacted ")
    assert other.id.startswith("mail <redacted ")
    assert one.id != other.id
    assert json.loads(one.labels) == [
        ["tag", "to <redacted>"], ["attr.email", "<redacted>"], ["attr.n", 3]
    ]  # fmt: skip
    assert one.error == "Declined: <redacted> is unknown"
    assert one.checksum == checksum(one.arguments.encode())


@pytest.mark.parametrize("paths", [["*", "email", "card"], ["card", "email", "*"]])
def test_every_text_is_hidden_and_ids_by_what_stands_under_a_key(paths):
    arguments = '["a text",{"email":"ada@x.org","n":7,"card":4111},4111111]'

    run, *_ = redacted(paths, run_line(1, "for ada@x.org", arguments=arguments))

    assert run.id.startswith("for <redacted ")
    assert json.loads(run.arguments) == [
        "<redacted>", {"email": "<redacted>", "n": 7, "card": 0}, 4111111
    ]  # fmt: skip


def record():
    """Make the record of a group of chained exceptions, as activities leave them."""
    from durable._core.failures import record_exception

    try:
        try:
            raise KeyError('secret key\n  File "x", line 1\n    secret source')
        except KeyError as error:
            inner = OSError(2, "secret text")
            inner.add_note("secret note")
            inner.data = {"secret key": (b"secret", "secret"), "inner": "secret"}
            raise ExceptionGroup("secret group", [inner, ValueError("secret value")]) from error
    except ExceptionGroup as group:
        return record_exception(group)


def test_of_an_exception_its_classes_and_frames_stay():
    before = record()
    assert json.dumps(before).count("secret") > 10

    (line,) = redacted(["*"], event_of(before, what=2))

    after = json.loads(line.result)
    # Its source lines are code, and stay.
    text = "\n".join(one for one in after.pop("traceback").split("\n") if "raise " not in one)
    assert "secret" not in text
    assert after["mro"] == before["mro"]
    assert after["cause"]["type"] == "KeyError"
    assert [one["type"] for one in after["group"]] == ["FileNotFoundError", "ValueError"]
    assert "test_redaction.py" in text
    assert "ExceptionGroup: <redacted>" in text
    for one in (after["cause"], *after["group"]):
        one.pop("traceback")
    assert "secret" not in json.dumps(after)


def test_of_an_exception_known_texts_are_hidden_where_they_are():
    before = record()
    before["attributes"] = {"email": "secret value"}

    (line,) = redacted(["email"], event_of(before, what=2))

    after = json.loads(line.result)
    assert "secret value" not in line.result
    assert "ValueError: <redacted>" in after["traceback"]
    assert after["group_message"] == "secret group"


@pytest.mark.parametrize("paths", [[""], ["."], ["a."], ["x" * 201], ["a"] * 101, "email", [7]])
def test_what_is_no_path_is_refused(paths):
    with pytest.raises(errors.UsageError):
        Redactor(paths)


def test_what_is_remembered_has_a_limit(monkeypatch):
    monkeypatch.setattr(known, "KNOWN_CHARACTERS_MAX", 20)

    redacted(["k"], event_of({"k": "x" * 20}))
    with pytest.raises(errors.UsageError, match=r"redact \*"):
        redacted(["k"], event_of({"k": "x" * 21}))
