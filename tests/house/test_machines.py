"""The tables of states: whole, and drawn in the documents as they are."""

from pathlib import Path
from typing import Any

import pytest

from durable._core.machines import ATTEMPT, RUN, STEP, IllegalTransition, Machine

MACHINES: list[Machine[Any]] = [ATTEMPT, STEP, RUN]
CONCEPTS = Path(__file__).parents[2] / "docs/concepts.md"


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: one.name)
def test_it_is_drawn_in_the_documents_as_it_is(machine: Machine[Any]) -> None:
    assert f"```mermaid\n{machine.drawing()}\n```" in CONCEPTS.read_text(encoding="utf-8")


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: one.name)
def test_every_state_is_reached_and_every_row_is_used_once(machine: Machine[Any]) -> None:
    reached = {machine.first}
    for _ in machine.rows:
        reached |= {after for before, _, after in machine.rows if before in reached}

    assert reached == {before for before, _, _ in machine.rows} | {
        after for *_, after in machine.rows
    }
    assert len({(before, fact) for before, fact, _ in machine.rows}) == len(machine.rows)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: one.name)
def test_a_fact_without_a_row_is_an_error_that_names_both(machine: Machine[Any]) -> None:
    tried = 0
    for name, fact in machine.facts.items():
        for state in type(machine.first):
            if state not in fact:
                tried += 1
                with pytest.raises(
                    IllegalTransition, match=f"'{state.value}' has no row for '{name}'"
                ):
                    fact[state]

    assert tried
