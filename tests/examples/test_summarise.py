"""The text functions of the document pipeline."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import summarise
from hypothesis import given
from hypothesis import strategies as st
from summarise import (
    CHUNK_CHARACTERS_MAX,
    RANKED_SENTENCES_MAX,
    SENTENCE_CHARACTERS_MAX,
    TERMS_MAX,
    Summary,
    count_terms,
    extract_prose,
    key_terms,
    merge,
    rank_sentences,
    split_chunks,
    split_sentences,
    weigh_terms,
)

ESSAY = """The harbour lights the ships at night. Every ship needs a harbour, and every harbour \
needs ships.

A lighthouse stands above the harbour. Its keeper counts the ships that pass the lighthouse! Who \
counts the keeper? Nobody counts him, e.g. on Sundays.

Bread costs two coins."""
# Written as escapes, so that no editor or tool can normalise them.
CHINESE = "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002\u6211\u4eec\u53bb\u516c\u56ed\uff01"
ACCENTS = "a\u0301" * 2_000

# Words, blanks, borders, stops and marks, in every order: where cutting goes wrong if it does.
pieces = st.sampled_from(
    [
        *("ship", "harbour", "Lights", "x" * 50, "42", "e.g. ", "\u0301", "\U0001f600", "\x00"),
        *(" ", "\n", "\n\n", " \n \n ", "\t", "\r\n", "\u2028"),
        *(". ", "! ", "?", "...", "\u3002", "(", '"'),
    ]
)
texts = st.one_of(st.text(max_size=400), st.lists(pieces, max_size=200).map("".join))


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


class TestChunks:
    @given(text=texts, characters_max=st.integers(1, 120))
    def test_joined_are_the_text(self, text: str, characters_max: int) -> None:
        chunks = split_chunks(text, characters_max)

        assert "".join(chunk.text for chunk in chunks) == (text if text.strip() else "")

    @given(text=texts, characters_max=st.integers(1, 120))
    def test_fit_and_are_numbered_and_placed(self, text: str, characters_max: int) -> None:
        chunks = split_chunks(text, characters_max)

        assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
        for chunk in chunks:
            assert 1 <= len(chunk.text) <= characters_max
            assert text.startswith(chunk.text, chunk.start)

    @pytest.mark.parametrize(
        ("length", "count"),
        [
            (1, 1),
            (CHUNK_CHARACTERS_MAX - 1, 1),
            (CHUNK_CHARACTERS_MAX, 1),
            (CHUNK_CHARACTERS_MAX + 1, 2),
        ],
    )
    def test_are_as_long_as_the_limit_lets_them(self, length: int, count: int) -> None:
        assert len(split_chunks("x" * length)) == count

    @pytest.mark.parametrize("text", ["", " ", "\n\n \t\n"])
    def test_a_blank_text_has_none(self, text: str) -> None:
        assert split_chunks(text) == []

    def test_a_limit_below_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match="1 or more"):
            split_chunks("x", 0)

    def test_end_at_a_paragraph_rather_than_at_a_later_sentence(self) -> None:
        text = "One two three four.\n\nFive. Six seven eight nine ten."

        assert split_chunks(text, 30)[0].text == "One two three four.\n\n"

    def test_end_at_a_sentence_rather_than_at_a_later_word(self) -> None:
        text = "One two three four. Five six seven eight."

        assert split_chunks(text, 30)[0].text == "One two three four. "

    def test_end_between_words_where_no_sentence_ends(self) -> None:
        assert [chunk.text for chunk in split_chunks("alpha beta gamma", 12)] == [
            "alpha beta ",
            "gamma",
        ]

    def test_are_not_cut_before_a_combining_mark(self) -> None:
        chunks = split_chunks(ACCENTS, 101)

        assert {chunk.text[0] for chunk in chunks} == {"a"}

    def test_a_letter_under_more_marks_than_fit_is_cut(self) -> None:
        text = "a" + "\u0301" * 50

        assert "".join(chunk.text for chunk in split_chunks(text, 10)) == text


class TestSentences:
    @given(text=texts)
    def test_joined_are_the_text_but_for_blanks(self, text: str) -> None:
        sentences = split_sentences(text)

        assert re.sub(r"\s", "", "".join(sentences)) == re.sub(r"\s", "", text)
        assert all(sentence == spaced(sentence) != "" for sentence in sentences)

    def test_end_with_stops_marks_and_paragraphs(self) -> None:
        assert split_sentences(ESSAY)[:5] == [
            "The harbour lights the ships at night.",
            "Every ship needs a harbour, and every harbour needs ships.",
            "A lighthouse stands above the harbour.",
            "Its keeper counts the ships that pass the lighthouse!",
            "Who counts the keeper?",
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "See e.g. Knuth on that.",
            "Versions 3.11 and 3.12 do.",
            "Ask Dr. Who about it.",
            "It was J. Smith.",
            "Call os.path.join here.",
        ],
    )
    def test_do_not_end_at_an_abbreviation_or_within_a_number(self, text: str) -> None:
        assert split_sentences(text) == [text]

    def test_in_chinese_end_without_a_blank(self) -> None:
        assert split_sentences(CHINESE) == [CHINESE[:7], CHINESE[7:]]


class TestTerms:
    def test_are_small_singular_and_without_stop_words(self) -> None:
        assert dict(count_terms("The Ships of the ship's harbours: CLASS, classes; ties")) == {
            "ship": 2,
            "harbour": 1,
            "classe": 1,
            "tie": 1,
        }

    def test_do_not_depend_on_how_an_accent_is_written(self) -> None:
        assert count_terms("cafe\u0301") == count_terms("caf\u00e9")

    def test_in_every_document_weigh_less_than_those_in_one(self) -> None:
        weights = weigh_terms([{"ship": 1, "mast": 1}, {"ship": 1}, {"ship": 1}])

        assert weights[0]["mast"] > weights[0]["ship"] > 0

    def test_that_tell_a_document_from_the_others_come_first(self) -> None:
        assert key_terms([{"ship": 1, "mast": 2, "oar": 1}, {"ship": 1}], 2) == [
            ["mast", "oar"],
            ["ship"],
        ]


class TestRanks:
    def test_a_sentence_that_others_resemble_is_above_one_they_do_not(self) -> None:
        sentences = split_sentences(ESSAY)

        ranks = rank_sentences(sentences)

        assert ranks[sentences.index("Bread costs two coins.")] < min(ranks[:2])

    def test_average_one(self) -> None:
        ranks = rank_sentences(split_sentences(ESSAY))

        assert sum(ranks) / len(ranks) == pytest.approx(1)

    def test_sentences_with_nothing_in_common_are_ranked_alike(self) -> None:
        ranks = rank_sentences(["Green apples ripen.", "Seven mules cough."])

        assert ranks[0] == pytest.approx(ranks[1], rel=0.05)

    @pytest.mark.parametrize(
        ("length", "is_candidate"),
        [(-1, True), (0, True), (1, False)],
    )
    def test_a_sentence_beyond_the_limit_is_no_candidate(
        self, length: int, is_candidate: bool
    ) -> None:
        sentence = "harbour " * SENTENCE_CHARACTERS_MAX
        sentence = sentence[: SENTENCE_CHARACTERS_MAX + length - 1] + "."

        assert (rank_sentences([sentence])[0] > 0) is is_candidate

    @pytest.mark.parametrize("more", [-1, 0, 1])
    def test_only_so_many_candidates_are_compared(self, more: int) -> None:
        count = RANKED_SENTENCES_MAX + more
        sentences = [f"Ship {'abcdefghij'[n % 10] * (3 + n // 10)} sails." for n in range(count)]

        ranks = rank_sentences(sentences)

        assert sum(rank > 0 for rank in ranks) == min(count, RANKED_SENTENCES_MAX)


class TestSummaries:
    @given(text=texts, sentences_max=st.integers(0, 5))
    def test_hold_sentences_of_the_text_in_its_order_each_once(
        self, text: str, sentences_max: int
    ) -> None:
        summary = summarise.summarise("t", text, sentences_max)

        kept = [sentence.text for sentence in summary.sentences]
        order = list(dict.fromkeys(split_sentences(text)))
        assert kept == [sentence for sentence in order if sentence in kept]
        assert len(kept) <= sentences_max
        assert len(summary.terms) <= TERMS_MAX

    @pytest.mark.parametrize("text", ["", " \n\n ", "...", "\x00", "12 + 34", "the of and"])
    def test_of_a_text_without_words_are_empty(self, text: str) -> None:
        summary = summarise.summarise("t", text)

        assert summary == Summary(title="t", sentences=[], terms={}, characters=len(text))

    def test_of_one_sentence_are_that_sentence(self) -> None:
        summary = summarise.summarise("t", "A lighthouse stands\nabove the harbour.")

        assert [one.text for one in summary.sentences] == ["A lighthouse stands above the harbour."]

    def test_leave_out_what_the_rest_does_not_speak_of(self) -> None:
        summary = summarise.summarise("t", ESSAY, 3)

        assert "Bread costs two coins." not in [one.text for one in summary.sentences]

    def test_of_unicode_work(self) -> None:
        summary = summarise.summarise("t", f"{CHINESE}\n\n\U0001f600 \U0001f600\n\n{ACCENTS}")

        assert [one.text for one in summary.sentences] == [CHINESE[:7], CHINESE[7:]]

    def test_of_a_huge_text_work(self) -> None:
        words = ["harbour", "ship", "mast", "storm", "keeper", "light", "night", "rope", "crew"]
        text = " ".join(f"The {words[n % 9]} met the {words[n % 7]}{n}x." for n in range(20_000))

        summary = summarise.summarise("t", text)

        assert len(summary.sentences) == 3
        assert len(summary.terms) <= TERMS_MAX

    @pytest.mark.slow
    def test_are_the_same_under_every_hash_seed(self) -> None:
        folder = Path(summarise.__file__).parent
        program = (
            "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import summarise as s\n"
            "source = pathlib.Path(s.__file__).read_text(encoding='utf-8')\n"
            "prose = s.extract_prose('a.py', source)\n"
            "parts = [s.summarise(str(c.index), c.text) for c in s.split_chunks(prose, 500)]\n"
            "print(ascii([prose, parts, s.merge('all', parts)]))\n"
            "print(ascii(s.key_terms([part.terms for part in parts], 5)))\n"
        )

        said = {
            subprocess.run(
                [sys.executable, "-c", program, str(folder)],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                check=True,
            ).stdout
            for seed in ("0", "1", "4711")
        }

        assert len(said) == 1
        assert len(said.pop()) > 1_000


class TestMerging:
    def test_keeps_the_best_sentences_of_the_parts_in_their_order(self) -> None:
        parts = [summarise.summarise(str(n), text) for n, text in enumerate(ESSAY.split("\n\n"))]

        merged = merge("all", parts, 2)

        among = [sentence.text for part in parts for sentence in part.sentences]
        kept = [sentence.text for sentence in merged.sentences]
        assert len(kept) == 2
        assert kept == [sentence for sentence in among if sentence in kept]

    def test_adds_up(self) -> None:
        parts = [summarise.summarise(str(n), text) for n, text in enumerate(ESSAY.split("\n\n"))]

        merged = merge("all", parts)

        assert merged.parts == 3
        assert merged.characters == sum(len(text) for text in ESSAY.split("\n\n"))
        assert merged.terms["harbour"] == 4

    def test_keeps_a_sentence_of_several_parts_once(self) -> None:
        part = summarise.summarise("a", "The licence covers ships and harbours alike.")

        assert len(merge("all", [part, part]).sentences) == 1

    def test_of_nothing_is_empty(self) -> None:
        assert merge("all", []) == Summary(title="all", sentences=[], terms={}, characters=0)

    def test_of_an_empty_part_is_that_of_the_others(self) -> None:
        full, empty = summarise.summarise("a", ESSAY), summarise.summarise("b", "")

        merged = merge("all", [empty, full])

        assert [one.text for one in merged.sentences] == [one.text for one in full.sentences]


class TestProse:
    def test_of_python_is_its_docstrings_and_comments_in_order(self) -> None:
        source = (
            '#!/usr/bin/env python\n"""Module says this."""\n\n# A comment\n# of two lines.\n'
            'x = "no # comment"\n\n'
            'class A:\n    """Class says this."""\n\n    async def f(self):\n'
            '        """Function\n        says this."""\n        y = """no docstring"""\n'
            "if x:\n    def g():\n        'Nested says this.'  # trailing\n"
        )

        assert extract_prose("a.py", source) == (
            "Module says this.\n\nA comment\nof two lines.\n\nClass says this.\n\n"
            "Function\nsays this.\n\nNested says this.\n\ntrailing"
        )

    @pytest.mark.parametrize(
        "source", ["def broken(:\n    words", "words\x00", "(" * 10_000 + "words", "'''words"]
    )
    def test_of_python_that_does_not_parse_is_its_text(self, source: str) -> None:
        assert extract_prose("a.py", source) == source

    def test_of_text_is_the_text_without_rules(self) -> None:
        assert extract_prose("a.rst", "Title\n=====\n\nWords.\n\n---\n\nMore.\n") == (
            "Title\n\nWords.\n\nMore."
        )

    @pytest.mark.parametrize("name", ["a.py", "a.txt"])
    def test_of_an_empty_file_is_empty(self, name: str) -> None:
        assert extract_prose(name, "") == ""


@given(text=texts)
def test_a_summary_is_plain_data(text: str) -> None:
    summary = summarise.summarise("t", text)

    assert json.loads(json.dumps(summary.terms)) == summary.terms
    assert all(isinstance(sentence.rank, float) for sentence in summary.sentences)
