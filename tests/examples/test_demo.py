"""The demo's proof: it must be able to fail."""

import json
from pathlib import Path
from typing import Any

import demo
import pytest


def line(step: str, subject: str, phase: str, **more: Any) -> dict[str, Any]:
    return {"key": f"{step}/{subject}", "step": step, "subject": subject, "phase": phase, **more}


def both(step: str, subject: str, **more: Any) -> list[dict[str, Any]]:
    return [line(step, subject, "start"), line(step, subject, "end", **more)]


BEFORE = [
    *both("list_files", "root", makes=1),
    *both("read_file", "a.py"),
    *both("extract", "a.py", makes=2),
    *both("summarise_chunk", "a.py#0"),
    line("summarise_chunk", "a.py#1", "start"),
]
AFTER = [
    *both("summarise_chunk", "a.py#1"),
    *both("merge_file", "a.py"),
    *both("merge_folder", "."),
    *both("write_report", "report.md"),
]


ENDED = {one["key"] for one in BEFORE if one["phase"] == "end"}


def prove(
    before: list[dict[str, Any]], after: list[dict[str, Any]], recorded: set[str] = ENDED
) -> demo.Proof:
    log = demo.Log(Path("unused"), lines=before + after)
    return demo.prove(log, len(before), recorded)


def test_a_run_that_went_on_is_proved() -> None:
    proof = prove(BEFORE, AFTER)

    assert proof.complaints == []
    assert (len(proof.done), len(proof.kept), len(proof.repeated)) == (4, 4, 1)


def test_a_step_that_ended_too_late_to_be_recorded_may_run_again() -> None:
    late = "summarise_chunk/a.py#0"

    proof = prove(BEFORE, both("summarise_chunk", "a.py#0") + AFTER, ENDED - {late})

    assert proof.complaints == []
    assert (len(proof.done), len(proof.kept), len(proof.repeated)) == (4, 3, 2)


def test_a_step_that_waited_for_its_retry_is_not_counted_as_repeated() -> None:
    proof = prove([*BEFORE, line("summarise_chunk", "a.py#1", "failed")], AFTER)

    assert proof.complaints == []
    assert (len(proof.repeated), len(proof.retried)) == (0, 1)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (BEFORE, both("read_file", "a.py") + AFTER, "recorded, but called again: read_file a.py"),
        (BEFORE, AFTER[:-2], "6 steps ended|7 steps ended; the workflow makes 8"),
        (BEFORE, AFTER[:-1], "never ended: write_report report.md"),
        (BEFORE, AFTER + AFTER[-1:], "ended twice within one process"),
    ],
)
def test_the_proof_fails(
    before: list[dict[str, Any]], after: list[dict[str, Any]], complaint: str
) -> None:
    proof = prove(before, after)

    assert any(said in one for one in proof.complaints for said in complaint.split("|"))


def test_what_the_file_holds_must_have_ended() -> None:
    proof = prove(BEFORE, AFTER, ENDED | {"summarise_chunk/a.py#1"})

    assert any("its end is not in the log" in one for one in proof.complaints)


def test_a_result_that_was_not_recorded_cannot_be_kept() -> None:
    proof = prove(BEFORE, AFTER, ENDED - {"summarise_chunk/a.py#0"})

    assert any("not recorded, and yet not called again" in one for one in proof.complaints)


def test_half_a_line_is_left_for_the_next_reading(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = demo.Log(path)
    log.read()
    whole = json.dumps(line("read_file", "a.py", "end")).encode() + b"\n"

    path.write_bytes(whole + whole[:10])
    log.read()
    first = len(log.lines)
    path.write_bytes(whole + whole)
    log.read()

    assert (first, len(log.lines)) == (1, 2)


def test_a_folder_that_no_demo_wrote_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(SystemExit, match="choose another"):
        demo.clear(tmp_path)

    assert (tmp_path / "thesis.txt").exists()
