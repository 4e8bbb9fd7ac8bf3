"""Tables, colour and JSON: aligned, in the width there is, and with nothing hostile in them."""

import datetime as dt
import io
import json

import pytest

from durable_cli._output import Cell, Screen, age, cells, clean, clean_lines, cut, to_json

HOSTILE = [
    ("\x1b[31mred", r"\x1b[31mred"),
    ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ("\x9b31m", r"\x9b31m"),
    ("a\nb\tc\rd", r"a\nb\tc\rd"),
    ("\x00\x7f\x08", r"\x00\x7f\x08"),
    ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
    ("\u2066\u2069\u200f\u061c", r"\u2066\u2069\u200f\u061c"),
    ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
    ("\u2028\u2029\xa0", r"\u2028\u2029\xa0"),
    ("\udc80", r"\udc80"),
    ("\U000e0041", r"\U000e0041"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_hostile_characters_are_shown_escaped(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize("text", ["", "plain text", "café", "世界", "🎉", "a\\b", "שלום"])
def test_visible_characters_stay_as_they_are(text: str) -> None:
    assert clean(text) == text


def test_lines_keep_newlines_alone() -> None:
    assert clean_lines("a\x1b[0m\n  b\r\n\tc") == "a\\x1b[0m\n  b\\r\n\\tc"


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_json_escapes_what_is_invisible_and_means_the_same(text: str, shown: str) -> None:
    written = to_json({"id": text})

    assert written.replace("\n", "").isprintable()
    assert json.loads(written) == {"id": text}


def test_json_leaves_letters_readable() -> None:
    assert to_json(["世界 é"]) == '[\n  "世界 é"\n]'


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("世界", 4), ("e\u0301", 1), ("🎉", 2), ("", 0)]
)
def test_cells_count_what_a_terminal_shows(text: str, width: int) -> None:
    assert cells(text) == width


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
        ("世界世界", 6, "世界…"),
        ("世界世界", 4, "世…"),
        ("one two", 5, "one…"),
    ],
)
def test_long_texts_are_cut_with_an_ellipsis(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown
    assert cells(cut(text, width)) <= width


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m"), (3_599, "59m"), (3_600, "1h"),
     (86_399, "23h"), (86_400, "1d"), (1e9, "11574d")],
)  # fmt: skip
def test_ages_have_one_unit(seconds: float, shown: str) -> None:
    assert age(dt.timedelta(seconds=seconds)) == shown


def table(width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    rows = [
        [Cell("failed"), Cell("a" * 30), Cell("b" * 60), Cell("x" * 200)],
        [Cell("ok"), Cell("世界"), Cell("b"), Cell("")],
    ]
    Screen(out, "never").table(["STATUS", "WORKFLOW", "RUN", "WHY"], rows, yielding=(1, 2))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [1, 5, 10, 20, 40, 60, 80, 100, 120, 200, 400])
def test_a_table_is_never_wider_than_the_screen(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = table(width, monkeypatch)

    assert len(lines) == 3
    assert all(cells(line) <= width for line in lines)


@pytest.mark.parametrize("width", [60, 80, 200, 400])
def test_columns_are_aligned_in_cells_and_end_without_blanks(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, first, second = table(width, monkeypatch)

    starts = {cells(first[: first.index("b")]), cells(second[: second.index("b")])}
    assert starts == {head.index("RUN")}
    assert second == second.rstrip()


@pytest.mark.parametrize(
    ("option", "environment", "colored"),
    [
        ("auto", {}, False),
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("auto", {"FORCE_COLOR": ""}, False),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
    ],
)
def test_the_option_then_no_color_then_force_color_decide(
    option: str, environment: dict[str, str], colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert ("\x1b[31m" in Screen(io.StringIO(), option).style("x", "red")) == colored


def test_a_stream_that_is_not_unicode_gets_escapes_and_valid_json() -> None:
    raw = io.BytesIO()
    screen = Screen(io.TextIOWrapper(raw, encoding="ascii", write_through=True))

    screen.line(screen.cut("é" * 20, 10))
    screen.json(["é"])

    assert raw.getvalue() == rb"\xe9" * 7 + b'...\n[\n  "\\u00e9"\n]\n'
