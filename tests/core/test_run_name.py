"""An id means its newest run, ``id#n`` exactly one; one rule for everybody who reads a name."""

import pytest

import durable
from durable import Signal, workflow
from durable.run_name import RunName, run_name

go = Signal("go", int)
# Names that look like the second ordinal of "a", and are nobody's.
STRANGE = ["a#01", "a#\u0662", "a#0", "a#-1", "a# 2", "a#2 ", "a#2\n", "a#1000000000", "a##2", "#2"]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("a", ("a", None)),
        ("a#1", ("a", 1)),
        ("a#22", ("a", 22)),
        ("a#999999999", ("a", 999_999_999)),
        ("a\n#2", ("a\n", 2)),
        ("", ("", None)),
        ("#", ("#", None)),
    ],
)
def test_a_name_is_read_and_written_alike(text, parsed):
    found = RunName.parse(text)

    assert found == parsed
    assert str(found) == text


@pytest.mark.parametrize("text", [one for one in STRANGE if one != "a##2"])
def test_what_is_no_name_of_an_ordinal_is_an_id_that_nobody_has(text):
    assert RunName.parse(text) == (text, None)


def test_the_first_ordinal_is_written_as_the_id():
    assert (run_name("a", 1), run_name("a", 2)) == ("a", "a#2")


@workflow
async def waits() -> int:
    return await go.receive()


@pytest.mark.parametrize("name", STRANGE)
async def test_nobody_reads_a_strange_name_as_a_run(tmp_path, name):
    async with durable.Engine(tmp_path / "app.db", functions=[waits]) as engine:
        run = await engine.start(waits.options(id="a"))
        await run.terminate()
        again = await run.restart()
        assert again.name == "a#2"

        with pytest.raises(durable.RunNotFound):
            await engine.get(name)
        with pytest.raises(durable.RunNotFound):
            await engine.transaction(lambda tx: tx.signal(name, go, 1))
        assert await engine.count(f'id:"{name}"') == {}
        with durable.view(tmp_path / "app.db") as runs:
            assert runs.find_name(name) is None
        assert sum((await engine.count("id:a#2")).values()) == 1
