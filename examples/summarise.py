"""Extractive summaries with the standard library alone: pure text functions, no network, no model.

A text is cut into chunks; of each chunk the sentences that the others resemble most are kept
(TextRank), and summaries are merged upwards: chunks to a file, files to a folder, each part
counting by how much it says that its neighbours do not (tf-idf).

Laws of this module:

- The chunks of a text, joined, are that text.
- A summary holds sentences of the text, whitespace aside, and nothing else.
- Same text, same summary, in every process: nothing iterates over a set, ties go to the earlier.

Source: Mihalcea and Tarau, "TextRank: Bringing Order into Texts" (2004); Luhn, "The Automatic
Creation of Literature Abstracts" (1958).
"""

from __future__ import annotations

import ast
import inspect
import io
import math
import operator
import re
import threading
import tokenize
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "CHUNK_CHARACTERS_MAX",
    "Chunk",
    "Sentence",
    "Summary",
    "count_terms",
    "extract_prose",
    "key_terms",
    "merge",
    "rank_sentences",
    "split_chunks",
    "split_sentences",
    "summarise",
    "weigh_terms",
]

# About ten sentences: enough for them to resemble one another, little enough to rank at once.
CHUNK_CHARACTERS_MAX = 1_500
# Ranking compares each sentence with each other one, so 20,000 pairs are the most it does.
RANKED_SENTENCES_MAX = 200
# A "sentence" beyond this is a table or a dump; nobody wants to read it in a summary.
SENTENCE_CHARACTERS_MAX = 400
# The terms a summary carries upwards. The rest of a chunk's are used once or twice each.
TERMS_MAX = 40
# TextRank's damping; the rank moves by less than a thousandth after some 20 rounds.
DAMPING = 0.85
ROUNDS_MAX = 40
ROUND_CHANGE_MIN = 1e-6

_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
# After a stop and closing quotes, where something follows that begins a sentence; after the full
# stops of Chinese and Japanese (U+3002, and "!" and "?" at full width), which no blank follows.
_SENTENCE_END = re.compile(
    r"""[.!?\u2026]['"\u201d\u2019)\]]*\s+(?=['"\u201c\u2018(\[]*[^\W_a-z])"""
    r"""|[\u3002\uff01\uff1f]['"\u201d\u2019\u300d\u300f\uff09)]*\s*"""
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:e\.g|i\.e|cf|vs|etc|approx|resp|fig|eq|no|vol|dr|mr|mrs|ms|st|[a-z])\.\s+$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
_BLANK = re.compile(r"\s+")
_RULE = re.compile(r"(?m)^[ \t]*[^\w\s]{3,}[ \t]*$\n?")

_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about above after again all also although always am an and another any are as at be
        because been before being below between both but by can cannot could did do does doing done
        down during each either else even every few first for from further get gets given had has
        have having he her here hers him his how however i if in into instead is it its itself just
        last less let like made make makes many may me might more most much must my need needs
        neither never new no nor not note now of off often on once one only or other others our out
        over own per rather said same see seen self set shall she should since so some still such
        take than that the their theirs them then there these they this those through thus to too
        two under until up upon us use used uses using value values very via was way we well were
        what when where whether which while who whom whose why will with within without would yet
        you your yours none true false return returns returned raise raises class function method
        object def todo xxx
        """,
    )
)

# CPython 3.11 counts the depth of a tree for all threads together (gh-106905).
_parsing = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a text.

    Attributes:
        index: From 0, in the text's order.
        start: Where it begins in the text, in characters.
        text: 1 to `CHUNK_CHARACTERS_MAX` characters.
    """

    index: int
    start: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence with its rank: 1.0 is the average of the text it was ranked in."""

    text: str
    rank: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is kept of a chunk, a file or a folder.

    Attributes:
        title: Of what it is a summary.
        sentences: In the text's order.
        terms: The most frequent terms with their counts, most frequent first.
        characters: The length of the text behind it.
        parts: How many summaries were merged into it; 0 for one made from text.
    """

    title: str
    sentences: list[Sentence]
    terms: dict[str, int]
    characters: int
    parts: int = 0


# -- text out of files ----------------------------------------------------------------------------


def extract_prose(name: str, source: str) -> str:
    """Return what a file says to people, as paragraphs with one blank line between them.

    Of Python source (by its name) that is its docstrings and comments in their order; source that
    does not parse, and any other file, is read as text.

    Args:
        name: The file's name; only its ending counts.
        source: Its content.
    """
    if name.endswith((".py", ".pyi")):
        try:
            paragraphs = [text for _line, text in sorted(_python_prose(source))]
        except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
            paragraphs = [source]
    else:
        paragraphs = [source]
    cleaned = (_PARAGRAPH_END.sub("\n\n", _RULE.sub("\n", text)).strip() for text in paragraphs)
    return "\n\n".join(text for text in cleaned if _WORD.search(text))


def _python_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, paragraph) of each docstring and each block of comments."""
    # Only statements hold docstrings, so expressions, the bulk of a tree, are not visited.
    with _parsing:
        pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.body[0].lineno, docstring
        pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.string.startswith(("#!", "#:", "# type:")):
            continue
        line = token.start[0]
        if block and line != last + 1:
            yield first, inspect.cleandoc("\n".join(block))
            block = []
        if not block:
            first = line
        block.append(token.string.lstrip("#").strip())
        last = line
    if block:
        yield first, inspect.cleandoc("\n".join(block))


# -- chunks and sentences -------------------------------------------------------------------------


def split_chunks(text: str, characters_max: int = CHUNK_CHARACTERS_MAX) -> list[Chunk]:
    """Cut a text into chunks that, joined, are the text; a blank text has none.

    A chunk is as long as fits and ends where a paragraph does; failing that where a sentence does,
    failing that between words, failing that anywhere but before a combining mark.

    Args:
        text: Any text.
        characters_max: The longest chunk, 1 or more.

    Raises:
        ValueError: ``characters_max`` is less than 1.
    """
    if characters_max < 1:
        raise ValueError(f"characters_max is {characters_max}; it must be 1 or more")
    if not text.strip():
        return []
    chunks: list[Chunk] = []
    start = 0
    while start < len(text):
        end = _chunk_end(text, start, characters_max)
        chunks.append(Chunk(index=len(chunks), start=start, text=text[start:end]))
        start = end
    return chunks


def _chunk_end(text: str, start: int, characters_max: int) -> int:
    limit = start + characters_max
    if limit >= len(text):
        return len(text)
    for border in (_PARAGRAPH_END, _SENTENCE_END, _BLANK):
        # In the second half only, lest one early border makes a chunk of a few words.
        ends = [match.end() for match in border.finditer(text, start + characters_max // 2, limit)]
        if ends:
            return ends[-1]
    end = limit
    while end > start + 1 and unicodedata.combining(text[end]):
        end -= 1
    return end if end > start + 1 else limit


def split_sentences(text: str) -> list[str]:
    """Return the sentences in order, line breaks and runs of blanks within them made one blank.

    A sentence never spans paragraphs; a heading is a sentence too.
    """
    sentences: list[str] = []
    for paragraph in _PARAGRAPH_END.split(text):
        start = 0
        for match in _SENTENCE_END.finditer(paragraph):
            if not _ABBREVIATION.search(paragraph, start, match.end()):
                sentences.append(paragraph[start : match.end()])
                start = match.end()
        sentences.append(paragraph[start:])
    spaced = (_BLANK.sub(" ", sentence).strip() for sentence in sentences)
    return [sentence for sentence in spaced if sentence]


# -- weights --------------------------------------------------------------------------------------


def count_terms(text: str) -> Counter[str]:
    """Count the words that carry meaning, small, without plural endings, in order of appearance."""
    return Counter(
        _stem(word)
        for word in map(str.casefold, _WORD.findall(unicodedata.normalize("NFC", text)))
        if (len(word) > 2 or not word.isascii()) and word not in _STOP_WORDS
    )


def _stem(word: str) -> str:
    # Plurals only: enough for "files" to meet "file", too little to merge what differs.
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def weigh_terms(counts: Sequence[Mapping[str, int]]) -> list[dict[str, float]]:
    """Return the tf-idf weights of each count among all: ``(1 + log n) * log(1 + N / df)``."""
    documents = Counter(term for count in counts for term in count)
    return [
        {
            term: (1 + math.log(n)) * math.log(1 + len(counts) / documents[term])
            for term, n in count.items()
        }
        for count in counts
    ]


def key_terms(counts: Sequence[Mapping[str, int]], terms_max: int) -> list[list[str]]:
    """Return for each count the terms that tell it from the others, heaviest first."""
    return [
        [term for term, _ in sorted(weights.items(), key=lambda item: (-item[1], item[0]))][
            :terms_max
        ]
        for weights in weigh_terms(counts)
    ]


def rank_sentences(sentences: Sequence[str]) -> list[float]:
    """Return the rank of each sentence: 1.0 on average, 0.0 for one that is no candidate.

    A sentence ranks high when many others share its weightier terms. Candidates are the
    `RANKED_SENTENCES_MAX` with the heaviest terms.
    """
    weights = weigh_terms([count_terms(sentence) for sentence in sentences])
    lengths = [math.sqrt(sum(weight * weight for weight in one.values())) for one in weights]
    candidates = [
        index
        for index, sentence in enumerate(sentences)
        if lengths[index] > 0 and len(sentence) <= SENTENCE_CHARACTERS_MAX
    ]
    if len(candidates) > RANKED_SENTENCES_MAX:
        heaviest = sorted(candidates, key=lambda index: (-lengths[index], index))
        candidates = sorted(heaviest[:RANKED_SENTENCES_MAX])
    ranks = [0.0] * len(sentences)
    unit_vectors = [
        {term: weight / lengths[index] for term, weight in weights[index].items()}
        for index in candidates
    ]
    for index, rank in zip(candidates, _power_iteration(_similarities(unit_vectors)), strict=True):
        # Fragments of three words resemble everything and say nothing.
        ranks[index] = rank * min(1.0, len(weights[index]) / 5) * _prose_likeness(sentences[index])
    average = sum(ranks) / len(candidates) if candidates else 0.0
    return [rank / average for rank in ranks] if average else ranks


def _prose_likeness(sentence: str) -> float:
    """Return 1.0 for a sentence of words that ends like one, down to 0.0 for a row of signs."""
    letters = sum(character.isalpha() or character == " " for character in sentence)
    is_ended = sentence.rstrip("\"')]").endswith((".", "!", "?", "\u2026", "\u3002"))
    return (letters / len(sentence)) ** 2 * (1.0 if is_ended else 0.5)


def _similarities(vectors: Sequence[Mapping[str, float]]) -> list[list[float]]:
    """Return the matrix of cosines, 0.0 on the diagonal."""
    matrix = [[0.0] * len(vectors) for _ in vectors]
    for row, one in enumerate(vectors):
        for column in range(row):
            other = vectors[column]
            cosine = sum(weight * other[term] for term, weight in one.items() if term in other)
            matrix[row][column] = matrix[column][row] = cosine
    return matrix


def _power_iteration(matrix: Sequence[Sequence[float]]) -> list[float]:
    """Return the stationary distribution of a walk along the similarities, as PageRank does."""
    n = len(matrix)
    if n == 0:
        return []
    outflow = [sum(row) for row in matrix]
    ranks = [1 / n] * n
    for _ in range(ROUNDS_MAX):
        shares = [rank / out if out else 0.0 for rank, out in zip(ranks, outflow, strict=True)]
        stranded = sum(rank for rank, out in zip(ranks, outflow, strict=True) if not out)
        base = (1 - DAMPING + DAMPING * stranded) / n
        moved = [
            base + DAMPING * sum(map(operator.mul, row, shares))  # the matrix is symmetric
            for row in matrix
        ]
        change = sum(abs(new - old) for new, old in zip(moved, ranks, strict=True))
        ranks = moved
        if change < ROUND_CHANGE_MIN:
            break
    return ranks


# -- summaries ------------------------------------------------------------------------------------


def summarise(title: str, text: str, sentences_max: int = 3) -> Summary:
    """Return the sentences that stand for the text, in its order, each once.

    Args:
        title: Becomes the summary's title.
        text: Any text; a blank one has no sentences.
        sentences_max: The most sentences to keep; 0 keeps the terms alone.
    """
    sentences = list(dict.fromkeys(split_sentences(text)))
    ranked = [
        Sentence(text=sentence, rank=round(rank, 6))
        for sentence, rank in zip(sentences, rank_sentences(sentences), strict=True)
        if rank > 0
    ]
    return Summary(
        title=title,
        sentences=_best(ranked, sentences_max),
        terms=_most_frequent(count_terms(text)),
        characters=len(text),
    )


def merge(title: str, parts: Sequence[Summary], sentences_max: int = 3) -> Summary:
    """Return one summary of many: the best sentences of the parts, in the parts' order.

    A sentence counts by its rank in its part, by the part's length, and by how much the terms of
    that part tell it from the others; one that stands in several parts (a licence) is kept once.

    Args:
        title: Becomes the summary's title.
        parts: Summaries of neighbours: the chunks of a file, the files of a folder.
        sentences_max: The most sentences to keep.
    """
    scores = [
        math.log1p(part.characters) * sum(weights.values()) / max(1, len(weights))
        for part, weights in zip(parts, weigh_terms([part.terms for part in parts]), strict=True)
    ]
    average = sum(scores) / len(scores) if scores else 0.0
    weighted = {
        sentence.text: Sentence(text=sentence.text, rank=round(sentence.rank * score / average, 6))
        for part, score in zip(parts, scores, strict=True)
        for sentence in part.sentences
        if average
    }
    terms: Counter[str] = Counter()
    for part in parts:
        terms.update(part.terms)
    return Summary(
        title=title,
        sentences=_best(list(weighted.values()), sentences_max),
        terms=_most_frequent(terms),
        characters=sum(part.characters for part in parts),
        parts=len(parts),
    )


def _best(sentences: Sequence[Sentence], sentences_max: int) -> list[Sentence]:
    order = sorted(range(len(sentences)), key=lambda index: (-sentences[index].rank, index))
    return [sentences[index] for index in sorted(order[: max(0, sentences_max)])]


def _most_frequent(terms: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(terms.items(), key=lambda item: (-item[1], item[0]))[:TERMS_MAX])
