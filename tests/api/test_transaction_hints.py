"""The hints of a transaction are found where it is written, though they are text."""

from __future__ import annotations

import dataclasses

import durable
from durable import transaction


@dataclasses.dataclass
class Order:
    number: int
    lines: list[str]


@transaction
def store(cursor: durable.Cursor, order: Order, *more: Order, key: Order) -> list[Order]:
    return [order, *more, key]


def test_arguments_and_result_of_a_transaction_have_the_types_of_its_hints() -> None:
    one, two, three = (Order(number, ["lamp"]) for number in range(3))

    args, kwargs = store.codec.decode(store.codec.encode((one, two), {"key": three}))

    assert (args, kwargs) == ((one, two), {"key": three})
    assert store.codec.decode_result(b'[{"number":1,"lines":[]}]') == [Order(1, [])]


def test_a_type_of_the_body_of_a_function_is_found_too() -> None:
    @dataclasses.dataclass
    class Local:
        number: int

    @transaction
    def keep(cursor: durable.Cursor, one: Local) -> Local:
        return Local(one.number)

    assert keep.codec.decode(keep.codec.encode((Local(1),), {})) == ((Local(1),), {})
