"""Queries in words: what is typed, and the vector it becomes; with bad input: nothing, separators
alone, too many phrases, too long ones, weights of 0, below 0 and 11, only negation, opposites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError
from kindred.search.query import Clip, Search, SimilarQuery
from kindred.search.words import (
    MAX_LENGTH,
    MAX_PHRASES,
    MAX_WEIGHT,
    Phrase,
    parse_words,
    words_vector,
)
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, Track

AXES = ("strings", "piano", "drums", "choir")


def on_axes(texts: Sequence[str]) -> np.ndarray:
    """Each of four words is an axis of its own."""
    return np.eye(len(AXES), dtype=np.float32)[[AXES.index(text) for text in texts]]


def random_rows(texts: Sequence[str]) -> np.ndarray:
    rows = [
        np.random.default_rng(list(text.encode("utf-8", "surrogatepass"))).standard_normal(16)
        for text in texts
    ]
    return (np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("typed", "phrases"),
    [
        ("warm strings", [("warm strings", 1)]),
        ("warm strings; slow piano", [("warm strings", 1), ("slow piano", 1)]),
        ("warm strings, slow\npiano;", [("warm strings", 1), ("slow", 1), ("piano", 1)]),
        ("warm strings:2", [("warm strings", 2)]),
        ("warm  strings ^0.5", [("warm strings", 0.5)]),
        ("strings : .25", [("strings", 0.25)]),
        ("not drums", [("drums", -0.5)]),
        ("No drums; WITHOUT voice", [("drums", -0.5), ("voice", -0.5)]),
        ("-drums", [("drums", -0.5)]),
        ("− drums:2", [("drums", -1)]),
        ("not drums^3", [("drums", -1.5)]),
        ("lo-fi, no-wave", [("lo-fi", 1), ("no-wave", 1)]),
        ("nothing, nocturne", [("nothing", 1), ("nocturne", 1)]),
        ("not only sad", [("only sad", -0.5)]),
        ("mode: dorian", [("mode: dorian", 1)]),
        ("古琴:2; ロック", [("古琴", 2), ("ロック", 1)]),
    ],
)
def test_what_is_typed(typed: str, phrases: list[tuple[str, float]]) -> None:
    assert parse_words(typed) == [Phrase(text, weight) for text, weight in phrases]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "Type what to listen for"),
        (" ;, \n ", "Type what to listen for"),
        ("!!!", "holds no word"),
        ("strings; not", "holds no word"),
        ("-", "holds no word"),
        (":2", "holds no word"),
        ("strings:0", "above 0 and at most 10"),
        ("strings:-1", 'Write "not" before'),
        ("strings:11", "got 11"),
        ("x" * (MAX_LENGTH + 1), "this one has 201"),
        (";".join(["x"] * (MAX_PHRASES + 1)), "at most 12 phrases, got 13"),
    ],
)
def test_what_cannot_be_searched_with(typed: str, told: str) -> None:
    with pytest.raises(QueryError, match=told):
        parse_words(typed)


@given(st.text(max_size=300))
def test_any_text_gives_bounded_phrases_or_one_clear_error(typed: str) -> None:
    try:
        phrases = parse_words(typed)
    except QueryError:
        return
    assert 1 <= len(phrases) <= MAX_PHRASES
    for phrase in phrases:
        assert 1 <= len(phrase.text) <= MAX_LENGTH
        assert phrase.text == " ".join(phrase.text.split())
        assert 0 < abs(phrase.weight) <= MAX_WEIGHT


words = st.text("abcdefgh ", min_size=1, max_size=20).filter(
    lambda text: text.strip() and not text.strip().startswith(("no ", "not "))
)


@given(st.lists(st.tuples(words, st.booleans(), st.integers(1, 10)), min_size=1, max_size=12))
def test_what_is_written_is_read_back(parts: list[tuple[str, bool, int]]) -> None:
    typed = "; ".join(f"{'not ' * unwanted}{text}:{weight}" for text, unwanted, weight in parts)
    assert parse_words(typed) == [
        Phrase(" ".join(text.split()), weight * (-0.5 if unwanted else 1))
        for text, unwanted, weight in parts
    ]


def test_one_phrase_is_its_own_vector() -> None:
    vector = words_vector(parse_words("piano:7"), on_axes)
    assert vector.dtype == np.float32
    assert vector.tolist() == [0, 1, 0, 0]


def test_weights_and_subtraction() -> None:
    vector = words_vector(parse_words("strings:3; piano; not drums; not choir:2"), on_axes)
    expected = np.array([0.75, 0.25, -0.25, -0.5])
    assert vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


@pytest.mark.parametrize("typed", ["not drums", "-drums; no piano"])
def test_only_unwanted_phrases_have_no_answer(typed: str) -> None:
    with pytest.raises(QueryError, match="Only what should not be heard"):
        words_vector(parse_words(typed), on_axes)


def test_opposites_cancel_out() -> None:
    with pytest.raises(QueryError, match="cancel each other out"):
        words_vector(parse_words("strings; not strings:2"), on_axes)


phrases = st.lists(
    st.builds(
        Phrase,
        st.text("abc", min_size=1, max_size=9),
        st.floats(0.1, 10) | st.floats(-5, -0.1),
    ),
    min_size=1,
    max_size=12,
).filter(lambda found: any(phrase.wanted for phrase in found))


@given(phrases, st.randoms())
def test_the_vector_is_unit_and_the_order_is_free(found: list[Phrase], random: object) -> None:
    try:
        vector = words_vector(found, random_rows)
    except QueryError:
        return
    assert vector.shape == (16,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert words_vector(shuffled, random_rows) == pytest.approx(vector, abs=1e-4)


@given(
    st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=6, unique=True),
    st.lists(st.text("cd", min_size=1, max_size=6), max_size=6, unique=True),
)
def test_unweighted_phrases_are_a_query_by_example(wanted: list[str], unwanted: list[str]) -> None:
    typed = "; ".join([*wanted, *(f"not {text}" for text in unwanted)])
    expected = random_rows(wanted).mean(axis=0)
    if unwanted:
        expected = expected - 0.5 * random_rows(unwanted).mean(axis=0)
    vector = words_vector(parse_words(typed), random_rows)
    assert vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


def test_words_are_answered_like_a_clip(home: Path) -> None:
    space = EmbeddingSpace("axes", "1", 8000, 1.0, 1.0, "mean", len(AXES))
    store = LocalBackend(home)
    for name, vector in zip(AXES, on_axes(AXES), strict=True):
        store.put_tracks([Track(name, title=name)])
        store.put_embeddings(space, [Embedding(name, "", vector, vector[None])])
    search = Search(store, descriptors=space, reasons=lambda a, b: {})
    typed = "strings:2; piano; not drums"
    clip = Clip(typed, space, words_vector(parse_words(typed), on_axes))
    result = search.similar(SimilarQuery(clip=clip, k=4), space)
    store.close()
    assert [match.track.track_id for match in result.matches] == [
        "strings",
        "piano",
        "choir",
        "drums",
    ]
