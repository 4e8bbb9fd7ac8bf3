"""Messages with an id, sent together with a start: each is heard once, and answered again."""

import pytest

import durable
from durable import Signal, Update, workflow
from durable.errors import UsageError

add = Update("add", str, int)
note = Signal("note", str)
out = Signal[None]("out")


@workflow
async def cart() -> list[str]:
    items: list[str] = []

    @add.handler
    def _(item: str) -> int:
        items.append(item)
        return len(items)

    @note.handler
    def _(text: str) -> None:
        items.append(text)

    await out.receive()
    return items


@pytest.fixture
async def engine(tmp_path):
    async with durable.Engine(tmp_path / "app.db", functions=[cart]) as found:
        yield found


async def test_an_update_with_start_is_done_once_for_its_id(engine):
    click = add.options(id="click-1")

    answers = [await engine.update_with_start(click, "tea", cart.options(id="c")) for _ in range(3)]
    other = await engine.update_with_start(add, "tea", cart.options(id="c"))

    assert (answers, other) == ([1, 1, 1], 2)
    assert await (await engine.get("c")).update_result(add, "click-1") == 1


async def test_its_answer_is_given_again_after_the_end(engine):
    click = add.options(id="click-1")
    await engine.update_with_start(click, "tea", cart.options(id="c"))
    run = await engine.get("c")
    await run.signal(out, None)
    await run.result()

    again = await engine.update_with_start(click, "tea", cart.options(id="c"))

    assert again == 1
    for restarts in (None, "restart"):
        workflow_ = cart.options(id="c", on_closed=restarts) if restarts else cart.options(id="c")
        assert await engine.update_with_start(click, "tea", workflow_) == 1
    with pytest.raises(durable.RunClosed):
        await engine.update_with_start(add.options(id="click-2"), "tea", cart.options(id="c"))


async def test_a_signal_with_start_is_heard_once_before_and_after_the_end(engine):
    once = note.options(id="n")

    for _ in range(2):
        run = await engine.signal_with_start(once, "hello", cart.options(id="c"))
    await run.signal(once, "hello")
    await run.signal(out, None)
    result = await run.result()
    after = await engine.signal_with_start(once, "hello", cart.options(id="c"))

    assert result == ["hello"]
    assert await after.result() == ["hello"]


async def test_the_message_itself_is_left_as_it_is(engine):
    once = add.options(id="click")

    assert (add.message_id, once.message_id, once.name) == ("", "click", "add")
    with pytest.raises(UsageError, match="at most 200 printable"):
        add.options(id="x" * 201)
    assert add.options(id="x" * 200).message_id == "x" * 200
